"""Which job has each unit: from the files of submissions and one call of squeue.

Attached and detached runs, status and cancel all read it here. It changes nothing.
"""

from collections.abc import Mapping, Sequence

from bench.execute.slurm.queue import Entry
from bench.execute.slurm.submission import Submission
from bench.frozen import dataclass
from bench.store import UnitId


@dataclass(frozen=True)
class Assignment:
    """The last array task that a unit was given to, and its entry in the queue."""

    submission: Submission
    index: int
    entry: Entry | None

    @property
    def id(self) -> str | None:
        """The id in the queue."""
        return self.submission.id(self.index)

    @property
    def alive(self) -> bool:
        """Whether SLURM has it, waiting or running: then nothing else may make its units."""
        return self.entry is not None and self.entry.alive


def entries_of(submission: Submission, entries: Mapping[str, Entry]) -> list[Entry | None]:
    """Returns the entry of each array task, None for those that have left the queue.

    An id alone proves nothing, since a cluster may give it out again: the name has to match too.
    """
    ids = (submission.id(index) for index in range(len(submission.array_tasks)))
    named = [entries.get(id_) if id_ is not None else None for id_ in ids]
    return [e if e is not None and e.name == submission.name else None for e in named]


def reconcile(
    submitted: Sequence[Submission], entries: Mapping[str, Entry]
) -> dict[UnitId, Assignment]:
    """Returns the last assignment of each unit, of the submissions that are still open.

    A submission whose id was never noted is found by its name.
    """
    assignments: dict[UnitId, Assignment] = {}
    for submission in submitted:
        if not submission.open:
            continue
        if submission.job is None:
            job = find_job(submission, entries)
            if job is None:
                continue
            submission = Submission(submission.folder, job=job)
        for index, entry in enumerate(entries_of(submission, entries)):
            for unit in submission.array_tasks[index]:
                # A later submission replaces an earlier one, but never one that lives.
                if unit not in assignments or not assignments[unit].alive:
                    assignments[unit] = Assignment(submission, index, entry)
    return assignments


def find_job(submission: Submission, entries: Mapping[str, Entry]) -> str | None:
    """Returns the id in the queue of a submission whose driver died before it could note it."""
    return next((entry.master for entry in entries.values() if entry.name == submission.name), None)
