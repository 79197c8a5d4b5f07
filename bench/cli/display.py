"""Live progress of a run: the rows so far, stages, steps of what runs, images per second and the
time left; plain lines if there is no terminal.
"""

import time
from typing import TYPE_CHECKING, Any

from bench.execute.pace import Pace
from bench.printable import one_line, say

if TYPE_CHECKING:
    from bench.cli.early import EarlyRows
    from bench.execute.board import RunProgress

STAGES = {
    "train": "train",
    "samples": "sample",
    "likelihood": "likelihood",
    "inspect": "inspect",
    "scores": "score",
}
PLAIN_SECONDS = 10.0
TABLE_LINES = 6
"""Of a table besides its rows, and of the prompt."""

MOST_NAMED = 3
"""Units of a stage that are named with their steps."""


class ProgressDisplay:
    """Shows a :class:`~bench.execute.board.RunProgress` as it changes. Use as a context manager.

    Args:
        rows: The rows of the leaderboard as they come; None shows none.
    """

    def __init__(self, rows: "EarlyRows | None" = None) -> None:
        from rich.console import Console

        self.console = Console()
        self.rows = rows
        self.table: Any = None
        self.begin = time.monotonic()
        self.pace = Pace()
        self.images: int | None = None
        self.shown = 0.0
        self.line = ""

    def __enter__(self) -> "ProgressDisplay":
        if self.console.is_terminal:
            from rich.live import Live
            from rich.progress import (
                BarColumn,
                Progress,
                TextColumn,
                TimeElapsedColumn,
            )

            columns = (
                TextColumn("{task.description:<11}"),
                BarColumn(bar_width=30),
                TextColumn("{task.fields[count]}"),
                TextColumn("{task.fields[note]}"),
                TimeElapsedColumn(),
            )
            self.progress: Any = Progress(*columns, console=self.console, auto_refresh=False)
            self.live = Live(console=self.console, get_renderable=self._picture)
            self.live.start()
            self.tasks: dict[str, Any] = {}
        else:
            self.progress = None
        return self

    def __exit__(self, *exception: object) -> None:
        if self.progress is not None:
            self.table = None  # the whole leaderboard follows
            self.live.stop()
        elif self.line:
            self._print(force=True)

    def show(self, progress: "RunProgress") -> None:
        """Shows how far the run is."""
        if self.images is None:
            self.images = progress.images
        self.pace.update(progress, time.monotonic() - self.begin)
        if self.progress is None:
            self.line = self._plain(progress)
            self._print()
        else:
            self._move_bars(progress)
        self._show_rows(progress)

    def _show_rows(self, progress: "RunProgress") -> None:
        table = self.rows.update(progress.done.get("scores", 0)) if self.rows else None
        if table is None:
            return
        if self.progress is None:
            say("\n".join(table.lines()), flush=True)
        else:
            room = self.console.height - len(progress.total) - TABLE_LINES
            self.table = table.render() if len(table.cells) <= room else None

    def _picture(self) -> Any:
        from rich.console import Group

        bars = self.progress.get_renderable()
        return bars if self.table is None else Group(self.table, "", bars)

    def _move_bars(self, progress: "RunProgress") -> None:
        for stage, total in progress.total.items():
            if stage not in self.tasks:
                fields = {"note": "", "count": ""}
                self.tasks[stage] = self.progress.add_task(STAGES[stage], total=total, **fields)
            self.progress.update(
                self.tasks[stage],
                completed=self.pace.share(stage, progress) * total,
                count=f"{_ended(stage, progress)}/{total}",
                note=self._note(stage, progress),
            )

    def _plain(self, progress: "RunProgress") -> str:
        stages = [
            ": ".join([f"{STAGES[stage]} {_ended(stage, progress)}/{total}", *self._running(stage)])
            for stage, total in progress.total.items()
        ]
        failed = sum(progress.failed.values())
        workers = f"{progress.workers} worker{'' if progress.workers == 1 else 's'}"
        extra = [
            self._images_rate(progress),
            f"{failed} failed or blocked" if failed else "",
            workers if self.pace.started else "",
            self._left(progress),
            progress.note,
        ]
        return "; ".join([*stages, *filter(None, extra)])

    def _print(self, force: bool = False) -> None:
        now = time.monotonic()
        if force or now - self.shown >= PLAIN_SECONDS:
            say(f"[{now - self.begin:6.0f} s] {one_line(self.line)}", flush=True)
            self.shown = now

    def _note(self, stage: str, progress: "RunProgress") -> str:
        from rich.markup import escape

        failed = progress.failed.get(stage, 0)
        notes = [f"[red]{failed} failed or blocked[/red]"] if failed else []
        notes += map(escape, self._running(stage))
        if stage == "samples":
            notes.append(self._images_rate(progress))
        if stage == list(progress.total)[-1]:
            notes += [self._left(progress), escape(one_line(progress.note))]
        return " ".join(filter(None, notes))

    def _running(self, stage: str) -> list[str]:
        """Returns what the units of a stage do, ``vp 320/1000 steps (41/s)``, as one text or none.

        A unit that notes no steps is not named: it is over soon.
        """
        running = [one for one in self.pace.running.values() if one.stage == stage and one.steps]
        unit = "steps" if stage == "train" else "passes"
        texts = [
            f"{one_line(one.label)} {one.step:.0f}/{one.steps:.0f} {unit}"
            + (f" ({one.rate:.{0 if one.rate >= 10 else 1}f}/s)" if one.rate else "")
            for one in running[:MOST_NAMED]
        ]
        more = len(running) - MOST_NAMED
        return [", ".join([*texts, f"{more} more"] if more > 0 else texts)] if texts else []

    def _images_rate(self, progress: "RunProgress") -> str:
        made = progress.images - (self.images or 0)
        return f"{made / (time.monotonic() - self.begin):,.0f} images/s" if made else ""

    def _left(self, progress: "RunProgress") -> str:
        """Says how long the run still takes, or why that is not known yet."""
        if not progress.open:
            return ""
        if not self.pace.started:
            return "starting workers"
        if self.pace.left is None:
            return "estimating the time left"
        seconds = self.pace.left
        return (
            f"about {seconds / 60:.0f} min left" if seconds > 90 else f"about {seconds:.0f} s left"
        )


def _ended(stage: str, progress: "RunProgress") -> int:
    return progress.done.get(stage, 0) + progress.failed.get(stage, 0)
