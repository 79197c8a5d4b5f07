"""The leaderboard in a terminal: eight columns, verdict and warnings; the last lines name the files
with the rest.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bench.printable import one_line
from bench.report.columns import BITS, BITS_ERROR, BITS_NOTE
from bench.report.formats import (
    TIED,
    arrow,
    behind_text,
    budget_text,
    mark_bound,
    value_text,
    whole,
    with_error,
)
from bench.report.headline import verdict
from bench.report.notices import notices
from bench.report.results import Results

MOST = 120
"""Groups shown; more than that nobody reads in a terminal."""


def print_leaderboard(results: Results, console: Console, folder: Path | str | None = None) -> None:
    """Prints a row per group, by budget and rank: plain aligned lines if the output is not a
    terminal.

    Args:
        results: Of a suite.
        console: Where to print.
        folder: The suite's results folder, to say where the report and the figures are.
    """
    board = results.board
    headers, cells = _cells(results)
    cells = [[one_line(text) for text in row] for row in cells]
    if console.is_terminal:
        console.print(_table(headers, cells))
    else:
        for line in _plain(headers, cells):
            _print(console, line)
    if len(board) > MOST:
        console.print(f"... and {len(board) - MOST} more rows in leaderboard.md", highlight=False)
    told = verdict(results)
    lines = [told.intro, *(headline.sentence for headline in told.headlines), *told.basis]
    lines += notices(results)
    lines += [_claim(claim) for _, claim in results.verdicts.iterrows()]
    lines += [*_lacking(board), *(_places(Path(folder)) if folder else [])]
    for line in lines:
        _print(console, line)


def _print(console: Console, line: str) -> None:
    console.print(one_line(line), markup=False, highlight=False, soft_wrap=True)


def _claim(claim: pd.Series) -> str:
    pair = f"{claim['first']} against {claim['second']}"
    note = f" ({claim['note']})" if claim["note"] else ""
    return f"claim: {pair} in {claim['metric']}: {claim['verdict']}{note}"


def _cells(results: Results) -> tuple[list[str], list[list[str]]]:
    names = [name for name in (results.first_metric, results.second_metric) if name]
    headers = ["budget (NFE)", "rank", "row"]
    headers += [f"{name} {arrow(results.metrics[name].higher_is_better)}" for name in names]
    if names:
        headers.insert(4, "behind the best")
    headers += ["bits/dim (± over images)", "state"]
    return headers, [_row(group, names) for group in results.lines[:MOST]]


def _row(group: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    row = [budget_text(group), whole(group["rank"]), group["group"]]
    row += [value_text(group, name) for name in names]
    if names:
        tied = f"{TIED} " if group[f"{names[0]} tied"] is True else ""
        row.insert(4, f"{tied}{behind_text(group, names[0])}")
    bits = mark_bound(with_error(group[BITS], group[BITS_ERROR]), group[BITS_NOTE])
    return [*row, bits, group["state"]]


def _table(headers: list[str], cells: list[list[str]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for header in headers:
        side: Literal["left", "right"] = "left" if header in ("row", "state") else "right"
        table.add_column(header, overflow="fold", justify=side)
    budget = None
    for row in cells:
        if budget is not None and row[0] != budget:
            table.add_section()
        budget = row[0]
        style = "" if row[-1] == "done" else "red" if "failed" in row[-1] else "dim"
        table.add_row(*map(escape, row), style="bold" if row[1] == "1" else style)
    return table


def _plain(headers: list[str], cells: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(headers, *cells, strict=True)]
    return [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in [headers, *cells]
    ]


def _lacking(board: pd.DataFrame) -> list[str]:
    """Returns a line for each cause of what is missing, with the number of groups that it stops."""
    lines = []
    unfinished = board[board["state"] != "done"]
    for (cause, log), part in unfinished.groupby(["cause", "log"], sort=False):
        count = "1 row" if len(part) == 1 else f"{len(part)} rows"
        lines.append(f"{count}: {cause}" + (f" (log: {log})" if log else ""))
    return lines


def _places(folder: Path) -> list[str]:
    figures = [path.stem for path in sorted((folder / "figures").glob("*.png"))]
    lines = [f"leaderboard: {folder / 'leaderboard.md'}   page: {folder / 'report.html'}"]
    return lines + ([f"pictures: {folder / 'figures'} ({', '.join(figures)})"] if figures else [])
