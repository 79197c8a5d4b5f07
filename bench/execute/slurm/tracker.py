"""What is in the queue for a run: its submissions, those of earlier drivers that still live
included, and which of their array tasks have ended.
"""

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from bench.execute.slurm import queue
from bench.execute.slurm.queue import ClusterError, Entry
from bench.execute.slurm.reconcile import Assignment, entries_of, find_job, reconcile
from bench.execute.slurm.submission import Submission, submissions
from bench.execute.slurm.submit import recover
from bench.store import UnitId

NODE_SECONDS = 60.0
"""How long a job whose node failed may stay out of the queue before it counts as ended: SLURM
starts it again.
"""

RETURNING = frozenset({"NODE_FAIL", "BOOT_FAIL", "PREEMPTED"})
"""States after which SLURM may queue the same job again."""


def _may_live(entry: Entry | None) -> bool:
    """Tells whether a job lives, or may be started again by SLURM itself."""
    return entry is not None and (entry.alive or entry.state in RETURNING)


class JobTracker:
    """The submissions of a run, and what squeue says of them.

    An array task goes through three states: it is in the queue, or may come back to it; it is
    missing since some moment, in which results may not be visible yet on a slow file system; it is
    settled, and what became of its units has been decided. Only the last is for good.

    Args:
        grace_seconds: How long a result may take to be seen after its job has ended.

    Attributes:
        entries: The queue at the last poll; None if it did not answer, and then nothing is known.
        assignments: The last array task of each unit.
        error: Why the queue did not answer.
    """

    def __init__(self, results: Path, grace_seconds: float) -> None:
        self.results = results
        self.grace_seconds = grace_seconds
        self.submissions: list[Submission] = []
        self.settled: set[tuple[str, int]] = set()
        self.missing_since: dict[tuple[str, int], float] = {}
        self.entries: Mapping[str, Entry] | None = None
        self.assignments: dict[UnitId, Assignment] = {}
        self.error = ""

    def poll(self, patience: int = 1) -> dict[str, Entry] | None:
        """Returns the queue, None if it does not answer ``patience`` times in a row."""
        for trial in range(patience):
            try:
                return queue.queue()
            except ClusterError as error:
                self.error = str(error)
                if trial + 1 < patience:
                    time.sleep(1 + 2 * trial)
        return None

    def adopt(self, entries: Mapping[str, Entry]) -> None:
        """Takes on what earlier drivers submitted and SLURM still has; the rest is over.

        Array tasks of theirs that have ended are not settled: their units are simply open, and what
        failed in an earlier run is tried again.
        """
        for submission in submissions(self.results):
            self.repair(submission, entries)
            if not submission.open:
                continue
            ended = [not _may_live(entry) for entry in entries_of(submission, entries)]
            if all(ended):
                submission.set_flag("over")
                continue
            self.submissions.append(submission)
            self.settled |= {(submission.name, index) for index, end in enumerate(ended) if end}

    def repair(self, submission: Submission, entries: Mapping[str, Entry]) -> None:
        """Finds the id of a submission whose driver died between intent and id, or abandons it; and
        cancels the jobs of an abandoned one.
        """
        if submission.job is None and not submission.abandoned:
            job = find_job(submission, entries)
            if job is None:
                submission.set_flag("abandoned", "its driver ended before sbatch did")
            else:
                recover(submission, job)
        if submission.abandoned:  # its jobs would do nothing; they need not wait for their turn
            living = {e.master for e in entries.values() if e.name == submission.name and e.alive}
            with contextlib.suppress(ClusterError):
                queue.cancel(living)

    def reconcile(self) -> None:
        """Finds the assignments again."""
        self.assignments = reconcile(self.submissions, self.entries or {})

    def is_taken(self, unit: UnitId) -> bool:
        """Tells whether a unit is in the queue, or what became of it has yet to be settled."""
        assignment = self.assignments.get(unit)
        if assignment is None:
            return False
        place = (assignment.submission.name, assignment.index)
        return assignment.alive or place not in self.settled

    def ended(
        self, is_made: Callable[[Iterable[UnitId]], bool]
    ) -> list[tuple[Submission, int, str | None]]:
        """Returns the array tasks that have ended since the last call, with SLURM's word for it;
        they count as settled from now on.

        Args:
            is_made: Tells whether units are done: then there is nothing to wait for.
        """
        if self.entries is None:
            return []
        ended: list[tuple[Submission, int, str | None]] = []
        for submission in self.submissions:
            if submission.over:
                continue
            for index, entry in enumerate(entries_of(submission, self.entries)):
                place = (submission.name, index)
                if place in self.settled:
                    continue
                if entry is not None and entry.alive:
                    self.missing_since.pop(place, None)
                    continue
                since = self.missing_since.setdefault(place, time.monotonic())
                patience = self.grace_seconds
                if _may_live(entry):  # SLURM may queue it again in a moment
                    patience = max(patience, NODE_SECONDS)
                made = is_made(submission.array_tasks[index])
                if made or time.monotonic() - since >= patience:
                    ended.append((submission, index, entry.state if entry is not None else None))
        # squeue forgets a job after some minutes; the accounting may still know its state.
        forgotten = [submission.id(index) or "" for submission, index, state in ended if not state]
        states = queue.account(forgotten) if forgotten else {}
        self.settled |= {(submission.name, index) for submission, index, _ in ended}
        return [(s, index, state or states.get(s.id(index) or "")) for s, index, state in ended]

    def flag_settled(self) -> None:
        """Flags the submissions of which everything is settled as over."""
        for submission in self.submissions:
            places = ((submission.name, index) for index in range(len(submission.array_tasks)))
            if not submission.over and all(place in self.settled for place in places):
                submission.set_flag("over")

    def living(self, stage: str) -> list[Entry]:
        """Returns the entries of a stage's jobs that live."""
        return [
            entry
            for submission in self.submissions
            if submission.stage == stage and not submission.over
            for entry in entries_of(submission, self.entries or {})
            if entry is not None and entry.alive
        ]

    def running(self) -> set[str]:
        """Returns the ids of the run's jobs that are running."""
        found: Sequence[Assignment] = list(self.assignments.values())
        return {a.id or "" for a in found if a.entry and a.entry.state == "RUNNING"}

    def count_alive(self) -> int:
        """Returns how many jobs this user has in the queue, of whatever suite; what was submitted
        since the last poll counts too.
        """
        entries = self.entries or {}
        masters = {id_.partition("_")[0] for id_ in entries}
        fresh = sum(
            len(submission.array_tasks)
            for submission in self.submissions
            if submission.job and submission.job not in masters and not submission.over
        )
        return sum(entry.alive for entry in entries.values()) + fresh

    def example_log(self, stage: str) -> Path | None:
        """Returns the log of a settled array task of a stage."""
        for submission in self.submissions:
            if submission.stage == stage:
                for index in range(len(submission.array_tasks)):
                    log = submission.logs(index)[0]
                    if (submission.name, index) in self.settled and log.exists():
                        return log
        return None
