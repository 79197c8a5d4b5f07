"""The leaderboard of the page: one table that sorts, filters and unfolds.

Without a script all rows are shown and nothing unfolds; the script shows the Pareto rows first.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from bench.report.columns import BITS, BITS_ERROR, BITS_NOTE, BITS_TITLE, SECONDS
from bench.report.formats import (
    FRONT,
    TIED,
    arrow,
    behind_text,
    compact,
    mark_bound,
    model_title,
    nfe_text,
    number,
    sampler_title,
    value_text,
    with_error,
)
from bench.report.page.detail import detail
from bench.report.page.markup import escaped, tag
from bench.report.page.pictures import Picture
from bench.report.published import published_of, published_text
from bench.report.results import Results
from bench.report.standing import BEST, ESTABLISHED, HINT

MILLI = 1e3
NO_BUDGET = "none"


class Column(NamedTuple):
    """One column: its heading, and the text and the number to sort by of each row."""

    title: str
    cells: Sequence[tuple[str, Any]]


def board(results: Results, pictures: Mapping[int, Picture]) -> str:
    """Returns the table with its filters.

    Args:
        pictures: Samples of rows, by place in the leaderboard.
    """
    columns, proven = _columns(results), _proven(results.board)
    head = "".join(_heading(index, column.title) for index, column in enumerate(columns))
    rows = "\n".join(
        _row(group, columns, index, proven=index in proven)
        + detail(results, index, pictures.get(index), len(columns) + 1)
        for index, group in enumerate(results.lines)
    )
    first = tag("th", tag("span", "unfold", {"class": "hidden"}))
    table = tag(
        "table",
        tag("thead", tag("tr", first + head)) + tag("tbody", f"\n{rows}\n"),
        {"id": "board", "class": "board"},
    )
    count = tag("p", "", {"id": "count", "class": "note", "role": "status"})
    scroll = tag("div", table, {"class": "wide", "tabindex": 0})
    return _filters(results.board) + count + scroll


def _columns(results: Results) -> list[Column]:
    rows = results.lines
    found = [
        Column("model", [(_model(group), _model(group).lower()) for group in rows]),
        Column("sampler", [(sampler_title(group), sampler_title(group)) for group in rows]),
        Column("NFE", [(nfe_text(group), group["nfe"]) for group in rows]),
    ]
    for place, name in enumerate(filter(None, (results.first_metric, results.second_metric))):
        title = f"{name} {arrow(results.metrics[name].higher_is_better)}"
        found.append(Column(title, [_value(group, name, place) for group in rows]))
        if not place:
            found.append(Column("behind the best", [_behind(group, name) for group in rows]))
            found += _published(results, rows, name)
    if results.board[BITS].notna().any():
        found.append(Column(f"{BITS_TITLE} ↓", [(_bits(group), group[BITS]) for group in rows]))
    seconds = [(number(group[SECONDS] * MILLI), group[SECONDS]) for group in rows]
    return [*found, Column("ms/image", seconds)]


def _model(group: Mapping[str, Any]) -> str:
    return model_title(group["train"], group["snapshot"], group["ema"])


def _value(group: Mapping[str, Any], name: str, place: int) -> tuple[str, Any]:
    text = value_text(group, name) or ("" if place else group["state"])
    tied = f"{TIED} " if place and group[f"{name} tied"] is True else ""
    return f"{tied}{text}", group[name]


def _behind(group: Mapping[str, Any], name: str) -> tuple[str, Any]:
    text = behind_text(group, name)
    verdict = group["verdict"]
    if verdict in (ESTABLISHED, HINT):
        text = f"{text} ({verdict})"
    return f"{TIED} {text}" if group[f"{name} tied"] is True else text, group[f"{name} behind"]


def _published(results: Results, rows: Sequence[Mapping[str, Any]], name: str) -> list[Column]:
    """Returns the column of published numbers, none if no row has one."""
    found = [published_of(results, group) for group in rows]
    if not any(name in one for one in found):
        return []
    texts = [published_text(*pair, name) for pair in zip(rows, found, strict=True)]
    values = [one[name].value if name in one else math.nan for one in found]
    return [Column("published (ours above it)", list(zip(texts, values, strict=True)))]


def _bits(group: Mapping[str, Any]) -> str:
    return mark_bound(with_error(group[BITS], group[BITS_ERROR]), group[BITS_NOTE])


def _heading(index: int, title: str) -> str:
    button = tag("button", escaped(title), {"type": "button", "data-column": index + 1})
    return tag("th", button, {"scope": "col"})


def _proven(rows: pd.DataFrame) -> set[object]:
    """Returns the rows whose distance from the best is established, with the best ones."""
    found = rows[rows["verdict"] == ESTABLISHED]
    best = rows[(rows["verdict"] == BEST) & rows["budget"].isin(found["budget"])]
    return {*found.index, *best.index}


def _row(group: Mapping[str, Any], columns: Sequence[Column], index: int, *, proven: bool) -> str:
    unfold = tag(
        "button",
        "▸",
        {"type": "button", "class": "unfold", "aria-expanded": "false", "aria-label": "details"}
        | {"aria-controls": f"d{index}"},
    )
    cells = [tag("td", unfold)]
    cells += [_cell(*column.cells[index], numeric=at > 1) for at, column in enumerate(columns)]
    on_front = group["pareto"] is True
    attributes = {
        "id": f"r{index}",
        "class": " ".join(
            ["row"]
            + ["front"] * on_front
            + ["best"] * (group["verdict"] == BEST)
            + ["undone"] * (group["state"] != "done")
        ),
        "data-budget": compact(group["budget"]) or NO_BUDGET,
        "data-method": group["method"],
        "data-sampler": group["sampler"] if isinstance(group["sampler"], str) else NO_BUDGET,
        "data-established": "yes" if proven else "no",
        "data-front": "yes" if on_front else "no",
    }
    return tag("tr", "".join(cells), attributes)


def _cell(text: str, value: Any, *, numeric: bool) -> str:
    key = value if isinstance(value, str) else "" if pd.isna(value) else f"{float(value):.9g}"
    return tag("td", escaped(text), {"data-v": key, "class": "number" if numeric else None})


def _filters(rows: pd.DataFrame) -> str:
    budgets = [compact(budget) for budget in sorted(rows["budget"].dropna().unique())]
    budgets += [NO_BUDGET] if rows["budget"].isna().any() else []
    methods = [str(name) for name in dict.fromkeys(rows["method"].dropna())]
    samplers = [str(name) for name in dict.fromkeys(rows["sampler"].dropna())]
    parts = [
        _select("budget", budgets),
        _select("method", methods),
        _select("sampler", samplers),
        _check("front", f"Pareto rows {FRONT}"),
        _check("established", "established only"),
    ]
    return tag("form", "".join(parts), {"id": "filters", "class": "filters"})


def _select(name: str, values: Sequence[str]) -> str:
    options = tag("option", "all", {"value": ""})
    options += "".join(tag("option", escaped(value), {"value": value}) for value in values)
    chosen = tag("select", options, {"name": name, "id": f"by-{name}"})
    return tag("label", f"{escaped(name)} {chosen}")


def _check(name: str, label: str) -> str:
    attributes = {"type": "checkbox", "name": name, "id": f"only-{name}"}
    box = tag("input", "", attributes).removesuffix("</input>")
    return tag("label", f"{box} {escaped(label)}")
