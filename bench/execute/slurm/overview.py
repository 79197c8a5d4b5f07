"""What ``status`` says of a cluster: units in the queue, jobs, and what all of it has cost."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from pathlib import Path

from bench.execute.compute import compute
from bench.execute.lease import noted
from bench.execute.outcome import Outcome
from bench.execute.slurm import queue
from bench.execute.slurm.queue import Entry
from bench.execute.slurm.reconcile import Assignment, entries_of, find_job, reconcile
from bench.execute.slurm.submission import Submission, submissions, submissions_folder
from bench.frozen import dataclass
from bench.plan import Job
from bench.store import Store, UnitId


@dataclass(frozen=True)
class Overview:
    """A suite's jobs on a cluster.

    Args:
        lines: For people.
        assignments: The job of each unit that has one.
        silent: Whether the queue did not answer.
    """

    store: Store
    lines: tuple[str, ...] = ()
    assignments: Mapping[UnitId, Assignment] = field(default_factory=dict)
    silent: bool = False

    def judge(self, unit: UnitId, outcome: Outcome) -> Outcome:
        """Returns what became of a unit: what its files say, unless the queue knows better."""
        assignment = self.assignments.get(unit)
        if assignment is None or outcome.state == "done":
            return outcome
        if self.silent:
            return replace(outcome, state="unknown (no word from squeue)")
        if not assignment.alive:
            return outcome
        if assignment.entry is not None and assignment.entry.state == "RUNNING":
            # By the lease's content: locks may say nothing about other nodes.
            facts = noted(self.store.path(unit, ".lease"))
            place = (assignment.submission.name, assignment.index)
            if (facts.get("submission"), facts.get("element")) == place:
                return replace(outcome, state="running", live=facts)
        return replace(outcome, state="queued", live=None)


def overview(jobs: Sequence[Job], store: Store, results: Path) -> Overview:
    """Returns a suite's jobs on a cluster; an empty overview if none was ever submitted."""
    if not submissions_folder(results).exists():
        return Overview(store)
    open_ = [submission for submission in submissions(results) if submission.open]
    entries: dict[str, Entry] = {}
    error = ""
    if open_:
        try:
            entries = queue.queue()
        except queue.ClusterError as silence:
            error = str(silence)
    lines = [f"the queue does not answer: {error}"] if error else []
    arrays = (array_line(submission, entries, silent=bool(error)) for submission in open_)
    lines += filter(None, arrays)
    if not lines and open_:
        lines = ["no job of the suite is in the queue"]
    spent = compute(store, jobs)
    cost = f"{spent.gpu / 3600:.2f} GPU-hours and {spent.cpu / 3600:.2f} CPU-hours in all attempts"
    lost = f"{spent.lost / 3600:.2f} hours of {spent.wall / 3600:.2f} were lost work"
    lines.append(f"compute: {cost}; {lost}")
    return Overview(store, tuple(lines), reconcile(open_, entries), bool(error))


def array_line(
    submission: Submission, entries: Mapping[str, Entry] | None = None, *, silent: bool = False
) -> str:
    """Returns a line on a submission: id, stage, jobs by state; empty if the queue no longer has
    it.

    Args:
        entries: What the queue says; None if it was not asked.
    """
    units = sum(map(len, submission.array_tasks))
    job = submission.job or find_job(submission, entries or {})
    count = len(submission.array_tasks)
    jobs = f"{count} job{'s' if count > 1 else ''}"
    head = f"job {job or '?':<8} {submission.stage:<10} {units} units in {jobs}"
    if entries is None or silent:
        after = submission.intent["after"]
        return head + (f", after {', '.join(after)}" if after else "")
    queued = [entry for entry in entries_of(replace(submission, job=job), entries) if entry]
    if not any(entry.alive for entry in queued):
        return ""
    states = Counter(
        entry.state.lower()
        + (f" ({entry.reason})" if entry.state == "PENDING" and entry.reason else "")
        for entry in queued
    )
    words = [f"{count} {state}" for state, count in states.items()]
    if ended := count - len(queued):
        words.append(f"{ended} ended")
    return f"{head}: {', '.join(words)}  {submission.name}"
