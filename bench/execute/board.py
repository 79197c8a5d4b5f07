"""The state of the units of a run: the one object that drivers, workers and array tasks ask what is
done, what has failed, and what can be made now.
"""

import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.execute.order import early_rows_first
from bench.execute.outcome import Outcome, is_done, outcome
from bench.execute.workload import Workload
from bench.files import scan
from bench.plan import Job
from bench.store import STAGES, Store, UnitId

UNIT_SECONDS = 0.5
"""What a unit takes besides its FLOPs (reading, writing), until its stage has been measured."""

NOMINAL_FLOPS = 1e10
"""Weighs FLOPs against :data:`UNIT_SECONDS`; the measured rate of a stage corrects both."""


@dataclass
class RunProgress:
    """How far a run is, by stage; what the progress display shows.

    Args:
        failed: Units that failed or are blocked by one that did.
        images: Images sampled so far.
        open: Units that can still be made.
        live: What the leases of running units note, with their stage, unit and work.
        work: What the units of a stage compute, in seconds of a nominal processor.
        over: The part of it that is done, failed or blocked.
    """

    total: dict[str, int] = field(default_factory=dict)
    done: dict[str, int] = field(default_factory=dict)
    failed: dict[str, int] = field(default_factory=dict)
    images: int = 0
    open: int = 0
    workers: int = 0
    note: str = ""
    live: list[dict[str, Any]] = field(default_factory=list)
    work: dict[str, float] = field(default_factory=dict)
    over: dict[str, float] = field(default_factory=dict)


def new_run() -> str:
    """Returns a name for a run that no other run has and that sorts by time."""
    return time.strftime("%Y%m%d-%H%M%S-") + uuid.uuid4().hex[:6]


class Board:
    """The units of a run. A unit is open until it is closed as done, failed or blocked.

    The files decide: what is closed here is what this process has already read from them.

    Args:
        jobs: In the order in which their units should be made.
        run: Only failures of this run count; None counts those of the last run of each unit.

    Attributes:
        units: Every unit with its job.
        closed: "done", "failed" or "blocked" (it needs a unit that failed) by unit.
    """

    def __init__(self, jobs: Sequence[Job], store: Store, run: str | None = None) -> None:
        self.store = store
        self.run = run
        self.jobs = {(job.stage, job.key): job for job in jobs}
        self.units = {unit: job for job in jobs for unit in job.units}
        self.closed: dict[UnitId, str] = {}
        self.progress = RunProgress()
        self.workload: Workload | None = None
        for job in self.units.values():
            _add(self.progress.total, job.stage, 1)

    # What the files say

    def is_done(self, unit: UnitId) -> bool:
        """Tells whether every record of a unit is in the store."""
        return is_done(self.store, self.units[unit].made_by(unit))

    def has_inputs(self, unit: UnitId) -> bool:
        """Tells whether everything that a unit needs is in the store."""
        return is_done(self.store, self.units[unit].needs)

    def outcome(self, unit: UnitId, *, leased: bool = True) -> Outcome:
        """Returns what became of a unit in this run (see :func:`bench.execute.outcome.outcome`)."""
        results = self.units[unit].made_by(unit)
        return outcome(self.store, unit, self.run, results=results, leased=leased)

    def missing(self) -> list[UnitId]:
        """Returns the units that are not done; folders that do not exist are not searched."""
        begun = {stage: set(scan(self.store.root / stage)) for stage in STAGES}
        return [u for u in self.units if u.key not in begun[u.stage] or not self.is_done(u)]

    # What it takes

    def count_work(self) -> None:
        """Counts what the units compute, for whoever shows the time left; before any is closed."""
        self.workload = Workload(self.jobs)
        for unit in self.units:
            _add(self.progress.work, unit.stage, self.work(unit))

    def sort(self) -> None:
        """Puts the units in the order in which rows appear early, after their work is counted."""
        jobs = early_rows_first(list(self.jobs.values()), self.work)
        self.jobs = {(job.stage, job.key): job for job in jobs}
        self.units = {unit: job for job in jobs for unit in job.units}

    def work(self, unit: UnitId) -> float:
        """Returns what a unit computes, in seconds of a nominal processor; 0 if not counted."""
        if self.workload is None:
            return 0.0
        work = self.workload.of(unit)
        flops = 0.0 if work is None else work.flops + work.host_flops
        return UNIT_SECONDS + flops / NOMINAL_FLOPS

    def note_running(self, unit: UnitId, facts: Mapping[str, Any]) -> None:
        """Adds a unit that runs to the progress, by what its lease notes."""
        job = self.units[unit]
        named = {"stage": unit.stage, "unit": str(unit), "label": job.label}
        self.progress.live.append({**facts, **named, "work": self.work(unit)})

    # What has been decided

    def open(self) -> Iterator[tuple[Job, UnitId]]:
        """Yields the units that are not closed; they may be closed meanwhile."""
        return ((job, unit) for unit, job in self.units.items() if unit not in self.closed)

    def needs_done(self, job: Job) -> bool:
        """Tells whether all that a job needs is closed as done."""
        return all(self.closed.get(need) == "done" for need in job.needs)

    def is_blocked(self, job: Job) -> bool:
        """Tells whether a job needs something that failed."""
        return any(self.closed.get(need) in ("failed", "blocked") for need in job.needs)

    @property
    def failed(self) -> bool:
        """Whether any unit has failed."""
        return "failed" in self.closed.values()

    def close(self, unit: UnitId, state: str) -> None:
        """Closes a unit as done, failed or blocked."""
        self.closed[unit] = state
        self._count(unit, state, 1)

    def reopen(self, unit: UnitId) -> None:
        """Opens a unit again that was closed."""
        self._count(unit, self.closed.pop(unit), -1)

    def _count(self, unit: UnitId, state: str, sign: int) -> None:
        job, progress = self.units[unit], self.progress
        _add(progress.done if state == "done" else progress.failed, job.stage, sign)
        _add(progress.over, job.stage, sign * self.work(unit))
        if state == "done" and job.stage == "samples":
            progress.images += sign * (job.images // len(job.parts))


def _add(counts: dict[str, Any], stage: str, count: float) -> None:
    counts[stage] = counts.get(stage, 0) + count
