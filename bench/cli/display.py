"""Live progress of a run: stages, units done, images a second, time left; plain lines where there
is no terminal.
"""

import time
from typing import TYPE_CHECKING, Any

from bench.printable import one_line, say

if TYPE_CHECKING:
    from bench.execute.board import RunProgress

STAGES = {
    "train": "train",
    "samples": "sample",
    "likelihood": "likelihood",
    "inspect": "inspect",
    "scores": "score",
}
PLAIN_SECONDS = 10.0


class ProgressDisplay:
    """Shows a :class:`~bench.execute.board.RunProgress` as it changes. Use as a context manager."""

    def __init__(self) -> None:
        from rich.console import Console

        self.console = Console()
        self.begin = time.monotonic()
        self.first: dict[str, int] = {}
        self.images: int | None = None
        self.shown = 0.0
        self.line = ""

    def __enter__(self) -> "ProgressDisplay":
        if self.console.is_terminal:
            from rich.progress import (
                BarColumn,
                MofNCompleteColumn,
                Progress,
                TextColumn,
                TimeElapsedColumn,
            )

            columns = (
                TextColumn("{task.description:<11}"),
                BarColumn(bar_width=30),
                MofNCompleteColumn(),
                TextColumn("{task.fields[note]}"),
                TimeElapsedColumn(),
            )
            self.progress: Any = Progress(*columns, console=self.console)
            self.progress.start()
            self.tasks: dict[str, Any] = {}
        else:
            self.progress = None
        return self

    def __exit__(self, *exception: object) -> None:
        if self.progress is not None:
            self.progress.stop()
        elif self.line:
            self._print(force=True)

    def show(self, progress: "RunProgress") -> None:
        """Shows how far the run is."""
        ended = {
            stage: progress.done.get(stage, 0) + progress.failed.get(stage, 0)
            for stage in progress.total
        }
        if not self.first:
            self.first = ended
        if self.images is None:
            self.images = progress.images
        if self.progress is not None:
            for stage, total in progress.total.items():
                if stage not in self.tasks:
                    self.tasks[stage] = self.progress.add_task(STAGES[stage], total=total, note="")
                self.progress.update(
                    self.tasks[stage],
                    completed=ended[stage],
                    note=self._note(stage, progress, ended),
                )
            return
        parts = [
            f"{STAGES[stage]} {ended[stage]}/{total}" for stage, total in progress.total.items()
        ]
        left = self._left(progress, ended)
        rate = self._rate(progress)
        failed = sum(progress.failed.values())
        extra = [
            rate,
            left,
            f"{failed} failed or blocked" if failed else "",
            f"{progress.workers} workers",
            progress.note,
        ]
        self.line = ", ".join([*parts, *filter(None, extra)])
        self._print()

    def _print(self, force: bool = False) -> None:
        now = time.monotonic()
        if force or now - self.shown >= PLAIN_SECONDS:
            say(f"[{now - self.begin:6.0f} s] {one_line(self.line)}", flush=True)
            self.shown = now

    def _note(self, stage: str, progress: "RunProgress", ended: dict[str, int]) -> str:
        from rich.markup import escape

        failed = progress.failed.get(stage, 0)
        notes = [f"[red]{failed} failed or blocked[/red]"] if failed else []
        if stage == "train":
            notes += [
                f"{escape(one_line(str(live.get('label', ''))))}: step {live['step']}"
                + (f"/{live['steps']}" if live.get("steps") else "")
                for live in progress.live
                if live.get("stage") == "train" and "step" in live
            ][:3]
        if stage == "samples":
            notes.append(self._rate(progress))
        if stage == list(progress.total)[-1]:
            notes.append(self._left(progress, ended))
        return " ".join(filter(None, notes))

    def _rate(self, progress: "RunProgress") -> str:
        made = progress.images - (self.images or 0)
        return f"{made / (time.monotonic() - self.begin):,.0f} images/s" if made else ""

    def _left(self, progress: "RunProgress", ended: dict[str, int]) -> str:
        """Estimates the time left from the share of units ended since the start, each stage weighed
        alike.
        """
        shares = [
            (ended[stage] - self.first[stage], total - self.first[stage])
            for stage, total in progress.total.items()
            if total > self.first[stage]
        ]
        if not shares or any(made == 0 for made, _ in shares[:1]):
            return ""
        share = sum(made / total for made, total in shares) / len(shares)
        if not 0 < share < 1:
            return ""
        seconds = (time.monotonic() - self.begin) * (1 - share) / share
        return (
            f"about {seconds / 60:.0f} min left" if seconds > 90 else f"about {seconds:.0f} s left"
        )
