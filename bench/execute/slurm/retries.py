"""Which units of jobs that ended without making them are tried again; the others are given up."""

import contextlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from bench.execute.attempt import now
from bench.execute.board import Board
from bench.execute.lease import noted
from bench.execute.outcome import DEATHS, trained_steps
from bench.execute.slurm import queue
from bench.execute.slurm.arrays import MEMORY_FACTOR, Tries
from bench.execute.slurm.ending import ALIKE, Ending, endings, last_lines, shared_cause
from bench.execute.slurm.queue import ClusterError
from bench.execute.slurm.reconcile import reconcile
from bench.execute.slurm.submission import Submission
from bench.execute.slurm.tracker import JobTracker
from bench.store import STAGES, UnitId

MOST_TRIES = 20

NOT_TRIED = ("missing", "unreached")
"""Endings of units that were never begun: they cost nothing, and count for nothing."""


@dataclass
class StageFailures:
    """Why jobs of one stage failed in this run: as long as none succeeds and all fail alike, there
    is no use in more of them.
    """

    causes: dict[UnitId, str] = field(default_factory=dict)
    succeeded: bool = False

    @property
    def broken(self) -> str:
        """Why no more of them should be tried; empty if they should."""
        return "" if self.succeeded else shared_cause(list(self.causes.values()))


class Retries:
    """Settles the units of jobs that have ended.

    Args:
        tries: Noted here, and read by whoever plans the next arrays.
    """

    def __init__(self, board: Board, tracker: JobTracker, tries: Tries) -> None:
        self.board = board
        self.store = board.store
        self.tracker = tracker
        self.tries = tries
        self.stages = {stage: StageFailures() for stage in STAGES}

    def settle(self, submission: Submission, index: int, state: str | None) -> None:
        """Decides for each unit of an array task that has ended whether it is tried again."""
        stage = self.stages[submission.stage]
        units = [unit for unit in submission.array_tasks[index] if unit in self.board.units]
        left = [unit for unit in units if not self.board.is_done(unit)]
        stage.succeeded |= len(left) < len(units)
        failures = {}
        ended = endings(self.store, left, submission, index, state)
        if any(ending.kind == "memory" for ending in ended.values()):
            # All units of the job get more memory: those whose turn did not come would meet the
            # same end, one job each.
            self.tries.needs_more_memory |= ended.keys()
        for unit, ending in ended.items():
            if ending.kind == "missing":
                self._reopen_damaged()
            if self._may_try_again(unit, ending, submission):
                self.tries.kinds.setdefault(unit, []).append(ending.kind)
            elif unit not in self.board.closed:
                self._give_up(unit, ending, submission)
            if ending.kind in ("exception", "start", "died", "memory", "broken"):
                failures[unit] = ending.cause
        # One cause per job: its later units may fail just because the first one did.
        stage.causes |= dict(list(failures.items())[:1])
        alike = (cause for cause in failures.values() if cause.startswith(ALIKE))
        if why := stage.broken or next(alike, ""):
            self._stop_stage(submission.stage, why)

    def _reopen_damaged(self) -> None:
        """Opens units that counted as done and are not: a job has found them damaged."""
        for unit, state in list(self.board.closed.items()):
            if state == "done" and not self.board.is_done(unit):
                self.board.reopen(unit)

    def _may_try_again(self, unit: UnitId, ending: Ending, submission: Submission) -> bool:
        earlier, intent = self.tries.kinds.get(unit, []), submission.intent
        if len(earlier) >= MOST_TRIES:
            return False
        if ending.kind in NOT_TRIED:
            return True
        if ending.kind == "memory":  # once, with more of it
            limited = intent["resources"]["memory_gb"] is not None
            return limited and intent["memory"] < MEMORY_FACTOR
        if ending.kind in ("exception", "broken"):  # the same code on the same inputs
            return False
        if ending.kind == "time" and (ending.attempt or {}).get("state") == "failed":
            return False  # its job found that it got nowhere
        # A training that gets on between its deaths may die as often as it likes.
        if unit.stage == "train":
            before = intent["steps"].get(unit.key, 0)
            if trained_steps(self.store, unit.key) > before:
                return True
        counted = [kind for kind in earlier if kind not in (*NOT_TRIED, "memory")]
        return len(counted) < DEATHS - 1

    def _give_up(self, unit: UnitId, ending: Ending, submission: Submission) -> None:
        """Notes a failure beside its unit, for status and report, and closes it."""
        times = self.tries.kinds.get(unit, []).count(ending.kind)
        cause = ending.cause + (f", {times + 1} times" if times else "")
        if ending.kind == "memory":
            asked = submission.intent["resources"]["memory_gb"]
            factor = submission.intent["memory"]
            had = "an unknown amount" if asked is None else f"{asked * factor:g} GB"
            cause += (
                f" (it had {had}: give memory_gb more, or the suite a smaller batch, "
                "which is part of the key)"
            )
        values = _failed(cause, ending.kind, ending.log, ending.tail)
        attempt = ending.attempt or {"attempt": uuid.uuid4().hex[:12]}
        if ending.attempt is None:
            values |= {"run": self.board.run, "start": now(), "submission": submission.name}
        elif (beat := self._last_beat(unit, attempt)) is not None and "end" not in attempt:
            values["end"] = beat
        self.store.note_attempt(unit, attempt=attempt["attempt"], **values)
        self.board.close(unit, "failed")

    def _last_beat(self, unit: UnitId, attempt: Mapping[str, Any]) -> str | None:
        """Returns when the process of an attempt last said that it lives."""
        facts = noted(self.store.path(unit, ".lease"))
        if facts.get("attempt") != attempt["attempt"] or "beat" not in facts:
            return None
        return datetime.fromtimestamp(facts["beat"]).astimezone().isoformat(timespec="seconds")

    def _stop_stage(self, stage: str, why: str) -> None:
        """Stops a stage whose first jobs all failed alike: what waits is not tried; jobs that run
        may end.
        """
        living = self.tracker.living(stage)
        with contextlib.suppress(ClusterError):
            queue.cancel(entry.id for entry in living if entry.state == "PENDING")
        running = {entry.id for entry in living if entry.state != "PENDING"}
        assignments = reconcile(self.tracker.submissions, self.tracker.entries or {})
        log = self.tracker.example_log(stage)
        tail = () if log is None else last_lines(log)
        values = _failed(f"not tried: {why}", "broken", "" if log is None else str(log), tail)
        for job, unit in list(self.board.open()):
            waits = unit not in assignments or assignments[unit].id not in running
            if job.stage == stage and waits:
                name = uuid.uuid4().hex[:12]
                run = self.board.run
                self.store.note_attempt(unit, attempt=name, run=run, start=now(), **values)
                self.board.close(unit, "failed")


def _failed(cause: str, kind: str, log: str, tail: tuple[str, ...]) -> dict[str, Any]:
    return {"state": "failed", "cause": cause, "kind": kind, "log": log, "tail": list(tail)}
