"""A cluster that is not there: a queue that holds what a test puts into it."""

from bench.execute.slurm import driver as slurm_driver
from bench.execute.slurm import queue
from bench.execute.slurm.driver import SlurmDriver
from bench.execute.slurm.queue import Entry, Limits
from bench.execute.slurm.resources import Resources, Slurm
from bench.execute.slurm.submit import RefusedError

SUITE = """
name: small
dataset: digits
metrics: [{metric: fd, allow_few: true}]
samples: {count: 4, batch: 2}
train:
  vp:
    method: sde
    seeds: [0, 1]
    params: {network: {width: 8, multipliers: [1, 2], blocks: 1, attention: [4]}}
points:
  - {train: vp, sampler: euler_maruyama, grid: {nfe: [3, 5]}}
"""


EXECUTOR = Slurm(
    **{
        stage: Resources(minutes=10, memory_gb=2.0, array_size=3)
        for stage in ("train", "samples", "likelihood", "inspect", "scores")
    },
    grace_seconds=0.0,
)


class FakeCluster:
    """A queue that holds what the test puts there, and an sbatch that numbers what it is given."""

    def __init__(self, monkeypatch):
        self.entries = {}
        self.cancelled = []
        self.refuse = ""
        self.taken = []
        monkeypatch.setattr(queue, "queue", lambda names=None: dict(self.entries))
        monkeypatch.setattr(queue, "account", lambda ids: {})
        monkeypatch.setattr(queue, "limits", lambda: Limits(1000, None))
        monkeypatch.setattr(queue, "cancel", lambda ids: self.cancelled.extend(ids))
        monkeypatch.setattr(queue, "refusals", lambda resources: [])
        monkeypatch.setattr(slurm_driver, "submit", self.submit)

    def submit(self, submission, order):
        if self.refuse:
            raise RefusedError(self.refuse)
        submission.note_job(str(100 + len(self.taken)))
        self.taken.append(submission)
        self.set(submission, "PENDING")

    def set(self, submission, state):
        for element in range(len(submission.array_tasks)):
            id_ = submission.id(element)
            self.entries[id_] = Entry(id_, submission.name, state)


def begun(study):
    """A driver that has taken stock and submitted what is ready."""
    driver = SlurmDriver(*study, EXECUTOR)
    driver.refresh(driver.take_stock())
    driver.submit_ready()
    return driver


def poll(driver, fake):
    driver.refresh(dict(fake.entries))
    driver.submit_ready()
    return driver


def note(study, submission, unit, **facts):
    study[1].note_attempt(
        unit, attempt="a", run=submission.run, start="2026-01-01T00:00:00+00:00", **facts
    )
    study[1].note_attempt(unit, attempt="a", submission=submission.name)
