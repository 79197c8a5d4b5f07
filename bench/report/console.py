"""The leaderboard in a terminal: a few columns, the rest is in the files that the last lines
name.
"""

from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bench.printable import one_line
from bench.report.formats import number, with_error
from bench.report.leaderboard import leaderboard
from bench.report.page import arrow, compact, marked, quality, reach
from bench.report.table import BITS, BITS_ERROR, SECONDS, bare, drawn_lines, uncontrolled
from bench.report.verdicts import judge

MOST = 120
"""Groups shown; more than that nobody reads in a terminal."""


def print_leaderboard(
    rows: pd.DataFrame, console: Console, folder: Path | str | None = None
) -> None:
    """Prints a row a group, by budget and rank: plain aligned lines where the output is not a
    terminal.

    Args:
        rows: The tidy table of :func:`bench.report.results.read_results`.
        console: Where to print.
        folder: The suite's results folder, to say where the report and the pictures are.
    """
    board = leaderboard(rows)
    headers, cells = _cells(board.head(MOST))
    cells = [[one_line(text) for text in row] for row in cells]
    if console.is_terminal:
        console.print(_table(headers, cells))
    else:
        for line in _plain(headers, cells):
            _print(console, line)
    if len(board) > MOST:
        console.print(f"... and {len(board) - MOST} more groups in leaderboard.md", highlight=False)
    if unlike := uncontrolled(rows):
        _print(console, unlike)
    for _, claim in judge(rows).iterrows():
        line = f"claim: {claim['first']} against {claim['second']} in {claim['metric']}: {claim['verdict']}"
        line += f" ({claim['note']})" if claim["note"] else ""
        _print(console, line)
    for line in drawn_lines(rows):
        _print(console, line)
    for line in _lacking(board):
        _print(console, line)
    if folder is not None:
        for line in _places(Path(folder)):
            _print(console, line)


def _print(console: Console, line: str) -> None:
    console.print(one_line(line), markup=False, highlight=False, soft_wrap=True)


def _cells(board: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    metrics, board = board.attrs["metrics"], bare(board)
    headers = [
        "budget",
        "rank",
        "group",
        "NFE",
        *(f"{name} {arrow(higher)}" for name, higher in metrics.items()),
    ]
    headers += ["ms/image", "bits/dim (± over images)", "state"]
    cells = []
    for _, group in board.iterrows():
        values = [quality(group, name) for name in metrics]
        row = [
            compact(group["budget"]),
            "" if pd.isna(group["rank"]) else str(group["rank"]),
            group["group"],
        ]
        row += [reach(group), *values, number(group[SECONDS] * 1e3)]
        bits = marked(with_error(group[BITS], group[BITS_ERROR]), group[f"{BITS}_note"])
        cells.append([*row, bits, group["state"]])
    return headers, cells


def _table(headers: list[str], cells: list[list[str]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for header in headers:
        table.add_column(
            header, overflow="fold", justify="left" if header in ("group", "state") else "right"
        )
    budget = None
    for row in cells:
        if budget is not None and row[0] != budget:
            table.add_section()
        budget = row[0]
        style = "" if row[-1] == "done" else "red" if "failed" in row[-1] else "dim"
        table.add_row(*(escape(text) for text in row), style="bold" if row[1] == "1" else style)
    return table


def _plain(headers: list[str], cells: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(headers, *cells, strict=True)]
    return [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in [headers, *cells]
    ]


def _lacking(board: pd.DataFrame) -> list[str]:
    """Returns a line for each cause of what is missing, with the groups it stops counted."""
    lacking = board[board["state"] != "done"]
    lines = []
    for (cause, log), part in lacking.groupby(["cause", "log"], sort=False):
        lines.append(f"{_count(len(part), 'group')}: {cause}" + (f" (log: {log})" if log else ""))
    return lines


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _places(folder: Path) -> list[str]:
    pictures = sorted((folder / "figures").glob("*.png"))
    lines = [f"leaderboard: {folder / 'leaderboard.md'}   page: {folder / 'report.html'}"]
    if pictures:
        lines.append(
            f"pictures: {folder / 'figures'} ({', '.join(path.stem for path in pictures)})"
        )
    return lines
