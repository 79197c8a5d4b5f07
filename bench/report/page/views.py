"""What the page's figure shows: quality against compute, a view for each metric and kind of
compute.

A line is a model: its best sampler at each budget. Along training it is the model's best row at
each snapshot.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from bench.metrics.card import MetricCard
from bench.report.formats import (
    arrow,
    behind_text,
    compact,
    metric_text,
    model_title,
    number,
    sampler_title,
)
from bench.report.front import pareto
from bench.report.matched import COSTS
from bench.report.page.chart import Line, Mark, View
from bench.report.published import Published, published_of
from bench.report.results import Results

AXES = dict(zip(COSTS, ("NFE", "GFLOPs", "seconds", "training FLOPs"), strict=True))
"""Names of the switch, by column of the cost."""


class Switched(NamedTuple):
    """A view with the metric and the cost that show it; the order is that of the switches."""

    metric: str
    cost: str
    view: View


def views(results: Results) -> list[Switched]:
    """Returns every view that the finished rows allow."""
    found = []
    for name, card in results.metrics.items():
        rows = _rows(results, name)
        for cost in COSTS:
            if (view := _view(results, rows, name, card, cost)) is not None:
                found.append(Switched(name, cost, view))
    return found


def _rows(results: Results, name: str) -> pd.DataFrame:
    """Returns the complete rows of models in the most common identity of a metric."""
    board = results.board
    rows = board[(board["state"] == "done") & board["sampler"].notna() & board["ema"].isna()]
    rows = rows[np.isfinite(rows[name].astype(float))]
    same = pd.Series([identity.get(name, "") for identity in rows["identity"]], rows.index)
    return rows if rows.empty else rows[same == same.mode().iloc[0]]


def _view(
    results: Results, rows: pd.DataFrame, name: str, card: MetricCard, cost: str
) -> View | None:
    rows = rows[rows[cost].astype(float) > 0]
    if cost != "training_flops":
        rows = rows[rows["snapshot"].isna()]
    if rows.empty:
        return None
    higher = card.higher_is_better
    lines = list(_lines(results, rows, name, cost, higher=higher))
    costs, values = rows[cost].to_numpy(float), rows[name].to_numpy(float)
    best = pareto(costs, values, higher=higher)
    front = sorted({(float(x), float(y)) for x, y in zip(costs[best], values[best], strict=True)})
    direction = "higher is better" if higher else "lower is better"
    return View(
        title=f"{name} against {COSTS[cost]}",
        x_label=COSTS[cost],
        y_label=f"{name} {arrow(higher)} {direction}",
        lines=lines,
        front=front,
        floor=_floor(results, rows, name),
        published=_published(results, rows, name, cost),
        logarithmic=not higher and bool((values > 0).all()),
        higher=higher,
    )


def _lines(
    results: Results, rows: pd.DataFrame, name: str, cost: str, *, higher: bool
) -> Iterator[Line]:
    of_model: dict[str, list[int]] = {}
    for index in map(int, rows.index):
        of_model.setdefault(results.lines[index]["train"], []).append(index)
    for number_of, model in enumerate(results.models):
        loose: list[int] = []
        best: dict[float, int] = {}
        for index in of_model.get(model, ()):
            line = results.lines[index]
            if cost != "training_flops" and pd.isna(line["budget"]):
                loose.append(index)
                continue
            level = float(line["training_flops" if cost == "training_flops" else "budget"])
            known = results.lines[best.setdefault(level, index)][name]
            if line[name] > known if higher else line[name] < known:
                best[level] = index
        joined = _marks(results, best.values(), name, cost)
        apart = _marks(results, loose, name, cost)
        if joined or apart:
            yield Line(model, number_of, joined, apart)


def _marks(results: Results, rows: Iterable[int], name: str, cost: str) -> list[Mark]:
    """Returns the marks of some rows of the leaderboard, by rising cost."""
    marks = []
    for index in sorted(rows, key=lambda index: results.lines[index][cost]):
        group = results.lines[index]
        columns = (cost, name, f"{name} low", f"{name} high")
        x, y, low, high = (float(group[column]) for column in columns)
        tip = row_text(results, group, name, cost)
        named = results.samplers[index], compact(group["budget"])
        marks.append(Mark(x, y, low, high, tip, index, *named))
    return marks


def row_text(results: Results, group: Mapping[str, Any], name: str, cost: str = "nfe") -> str:
    """Returns what the figure shows of a row under the pointer, on a few lines."""
    model = model_title(group["train"], group["snapshot"], group["ema"])
    lines = [f"{model} · {sampler_title(group)}", f"{name}: {metric_text(group, name)}"]
    if behind := behind_text(group, name):
        against = "best" if behind == "best" else f"{behind} behind the best"
        lines.append(f"budget {compact(group['budget'])}: {against}")
    spent = f"NFE {compact(group['nfe'])}"
    lines.append(spent if cost == "nfe" else f"{spent}, {COSTS[cost]}: {number(group[cost])}")
    return "\n".join(lines)


def _floor(results: Results, rows: pd.DataFrame, name: str) -> tuple[float, float] | None:
    short = rows["identity"].iloc[0].get(name, "")
    if (floor := results.floors.get(name, {}).get(short)) is None:
        return None
    deviation = floor["std"]
    known = deviation is not None and math.isfinite(deviation)
    return float(floor["mean"]), float(deviation) if known else 0.0


def _published(results: Results, rows: pd.DataFrame, name: str, cost: str) -> Sequence[Mark]:
    """Returns the published numbers that some row can be held against, each once."""
    found: dict[Published, Mark] = {}
    for group in (results.lines[index] for index in rows.index):
        if (one := published_of(results, group).get(name)) is not None:
            x = one.nfe if cost == "nfe" else math.nan
            where = "" if math.isfinite(x) else ", its cost is not said"
            tip = f"published: {one.model} {number(one.value)} ({one.paper}, {one.source}){where}"
            found[one] = Mark(x, one.value, math.nan, math.nan, tip, -1)
    return list(found.values())
