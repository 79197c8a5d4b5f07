"""What ``status`` says of a cluster: units in the queue, jobs, and what all of it has cost."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench.execute.compute import compute
from bench.execute.lease import noted
from bench.execute.outcome import Outcome
from bench.execute.slurm import queue
from bench.execute.slurm.queue import Entry
from bench.execute.slurm.reconcile import Assignment, entries_of, find_job, reconcile
from bench.execute.slurm.submission import Submission, submissions, submissions_folder
from bench.plan import Job
from bench.store import Store, UnitId


@dataclass(frozen=True)
class Overview:
    """What is known of a suite's jobs on a cluster.

    Args:
        lines: For people.
        where: The job of each unit that has one.
        silent: Whether the queue did not answer.
    """

    store: Store
    lines: tuple[str, ...] = ()
    where: Mapping[UnitId, Assignment] = field(default_factory=dict)
    silent: bool = False

    def judge(self, unit: UnitId, seen: Outcome) -> Outcome:
        """Returns what became of a unit, given what its files say, where the queue knows better."""
        where = self.where.get(unit)
        if where is None or seen.state == "done":
            return seen
        if self.silent:
            return replace(seen, state="unknown (no word from squeue)")
        if not where.alive:
            return seen
        if where.entry is not None and where.entry.state != "RUNNING":
            return replace(seen, state="queued", live=None)
        facts = noted(self.store.path(unit, ".lease"))  # locks may say nothing about other nodes
        if (
            facts.get("submission") == where.submission.name
            and facts.get("element") == where.element
        ):
            return replace(seen, state="running", live=facts)
        return replace(seen, state="queued", live=None)


def overview(jobs: Sequence[Job], store: Store, results: Path) -> Overview:
    """Returns what is known of a suite's jobs on a cluster; nothing where none was ever
    submitted.
    """
    if not submissions_folder(results).exists():
        return Overview(store)
    known = submissions(results)
    open_ = [submission for submission in known if not submission.over and not submission.abandoned]
    entries: dict[str, Entry] = {}
    silent = ""
    if open_:
        try:
            entries = queue.queue()
        except queue.ClusterError as error:
            silent = str(error)
    where = reconcile(open_, entries)
    lines = [f"the queue does not answer: {silent}"] if silent else []
    for submission in open_:
        line = elements_line(submission, entries, silent=bool(silent))
        if line:
            lines.append(line)
    if not lines and open_:
        lines = ["no job of the suite is in the queue"]
    spent = compute(store, jobs)
    cost = f"{spent.gpu / 3600:.2f} GPU-hours and {spent.cpu / 3600:.2f} CPU-hours in all attempts"
    lines.append(
        f"compute: {cost}; {spent.lost / 3600:.2f} hours of {spent.wall / 3600:.2f} were lost work"
    )
    return Overview(store, tuple(lines), where, bool(silent))


def elements_line(
    submission: Submission, entries: Mapping[str, Entry] | None = None, *, silent: bool = False
) -> str:
    """Returns a line on a submission: id, stage, jobs by state; empty where the queue no longer has
    it.

    Args:
        entries: What the queue says; None where it was not asked.
    """
    units = sum(map(len, submission.elements))
    job = submission.job or find_job(submission, entries or {})
    jobs = len(submission.elements)
    head = f"job {job or '?':<8} {submission.stage:<10} {units} units in {jobs} job{'s' if jobs > 1 else ''}"
    if entries is None or silent:
        after = submission.intent["after"]
        return head + (f", after {', '.join(after)}" if after else "")
    seen = [
        entry for entry in entries_of(replace(submission, job=job), entries) if entry is not None
    ]
    if not any(entry.alive for entry in seen):
        return ""
    states = Counter(
        entry.state.lower()
        + (f" ({entry.reason})" if entry.state == "PENDING" and entry.reason else "")
        for entry in seen
    )
    gone = jobs - len(seen)
    words = [f"{count} {state}" for state, count in states.items()] + (
        [f"{gone} ended"] if gone else []
    )
    return f"{head}: {', '.join(words)}  {submission.name}"
