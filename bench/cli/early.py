"""The leaderboard while a run goes on: the rows that are finished, in a few columns."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bench.execute.outcome import is_done
from bench.frozen import dataclass
from bench.printable import one_line
from bench.spec import Point
from bench.store import Store, UnitId
from bench.suite.resolved import Suite

if TYPE_CHECKING:
    from rich.table import Table

    from bench.report.results import Results

MOST = 10
"""Rows shown."""

LEAST_SECONDS = 30.0
LARGEST_SHARE = 0.02
"""Tables follow one another after so many seconds at least, and take at most this share of the
time.
"""

AGE_SHARE = 0.1
"""And by this share of the time that the run has taken: a long run leaves a short log."""


@dataclass(frozen=True)
class EarlyTable:
    """Some rows of the leaderboard as text.

    Args:
        title: How many rows there are so far.
        more: How many finished rows are not shown.
    """

    title: str
    headers: list[str]
    cells: list[list[str]]
    more: int = 0

    def lines(self) -> list[str]:
        """Returns aligned lines."""
        table = [self.headers, *self.cells]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        rows = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in table)
        return [self.title, *(f"  {row}" for row in rows), *self._rest()]

    def render(self) -> "Table":
        """Returns a table for a terminal."""
        from rich.markup import escape
        from rich.table import Table

        table = Table(title=self.title, title_justify="left", box=None, pad_edge=False)
        table.caption, table.caption_justify = "".join(self._rest()), "left"
        for header in self.headers:
            table.add_column(header, justify="left" if header == "group" else "right")
        for row in self.cells:
            table.add_row(*map(escape, row), style="bold" if row[1] == "1" else "")
        return table

    def _rest(self) -> list[str]:
        return [f"  ... and {self.more} more"] if self.more else []


class EarlyRows:
    """Follows which rows of a suite are finished, and makes a table of them now and then.

    A row is finished once the samples of all of its seeds are scored.

    Args:
        clock: Returns the time in seconds.
        earlier: Whether rows that are finished already count as new.
    """

    def __init__(
        self,
        suite: Suite,
        store: Store,
        clock: Callable[[], float] = time.monotonic,
        *,
        earlier: bool = False,
    ) -> None:
        self.suite, self.store, self.clock = suite, store, clock
        self.open: dict[str, list[Point]] = defaultdict(list)
        for point in suite.points:
            if point.scores:
                self.open[point.group].append(point)
        self.total = len(self.open)
        self.finished: set[str] = set()
        if not earlier:
            self._settle()
        self.begin, self.not_before, self.scored = clock(), 0.0, -1

    def update(self, scored: int) -> EarlyTable | None:
        """Returns a table if rows have been finished since the last one and it is time.

        Args:
            scored: How many sample sets are scored: files are only read when that changes.
        """
        now = self.clock()
        if scored == self.scored or now < self.not_before:
            return None
        self.scored = scored
        if not self._settle():
            return None
        table = self._table()
        took = self.clock() - now
        pause = max(LEAST_SECONDS, took / LARGEST_SHARE, AGE_SHARE * (now - self.begin))
        self.not_before = now + pause
        return table

    def _settle(self) -> bool:
        """Finds the rows that are finished by now; tells whether there are new ones."""
        new = [
            group
            for group, points in self.open.items()
            if all(is_done(self.store, _scores(point)) for point in points)
        ]
        self.finished.update(new)
        for group in new:
            del self.open[group]
        return bool(new)

    def _table(self) -> EarlyTable:
        from bench.report.results import read_results

        points = (
            replace(point, likelihood=None)
            for point in self.suite.points
            if point.group in self.finished
        )
        none: dict[str, Any] = {"sweep": {}, "inspections": {}, "claims": ()}
        suite = replace(self.suite, points=tuple(points), **none)
        return table_of(read_results(suite, self.store), self.total)


def _scores(point: Point) -> Iterable[UnitId]:
    return (UnitId(*score.place) for score in point.scores)


def table_of(results: "Results", total: int, most: int = MOST) -> EarlyTable:
    """Returns the rows of a leaderboard in a few columns: of each budget the best ones, if there
    are too many.

    Args:
        total: How many rows there will be.
    """
    from bench.report.columns import SECONDS
    from bench.report.formats import arrow, compact, metric_text, nfe_text, number

    board, metric = results.board, results.first_metric
    ranked = board["rank"].astype("float64") if "rank" in board else board["budget"] * float("nan")
    shown = board.loc[ranked.sort_values(kind="stable").index[:most]].sort_index()
    headers = ["budget", "rank", "group", "NFE"]
    if metric is not None:
        headers.append(f"{metric} {arrow(results.metrics[metric].higher_is_better)}")
    headers.append("ms/image")
    cells = []
    for index, group in shown.iterrows():
        rank = ranked[index]
        row = [compact(group["budget"]), compact(rank), group["group"], nfe_text(group)]
        row += [metric_text(group, metric)] if metric is not None else []
        cells.append([one_line(text) for text in (*row, number(group[SECONDS] * 1e3))])
    title = f"so far {len(board)} of {total} rows"
    return EarlyTable(title, headers, cells, len(board) - len(shown))
