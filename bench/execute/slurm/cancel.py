"""Cancelling the jobs of a suite."""

from pathlib import Path

from bench.execute.slurm import queue
from bench.execute.slurm.submission import submissions


def cancel_submissions(results: Path) -> int:
    """Cancels all jobs of a suite, those included whose driver died before it had their id; returns
    how many.

    Raises:
        ClusterError: SLURM does not answer.
    """
    entries = queue.queue()
    left = [submission for submission in submissions(results) if not submission.over]
    for submission in left:
        submission.set_flag("abandoned", "cancelled")  # first, so that none starts to work
    names = {submission.name for submission in left}
    alive = [entry for entry in entries.values() if entry.name in names and entry.alive]
    queue.cancel(entry.id for entry in alive)
    return len(alive)
