"""The order in which workers take jobs: early rows, without holding up trainings."""

import pytest

from bench.execute.board import Board
from bench.execute.order import EARLY_SHARE
from bench.plan import expand
from bench.store import Store
from bench.suite.reader import read_suite

NETWORK = "network: {width: 32, multipliers: [1], blocks: 1, attention: []}"
RATE = "learning_rate"  # unlike ones share no updates
BATCH = "batch: 64"
SUITE = f"""
name: small
dataset: digits
metrics: [{{metric: fd, allow_few: true}}]
samples: {{count: 40, batch: 20, seeds: [0, 1]}}
train:
  long: {{method: sde, params: {{{NETWORK}, training: {{{BATCH}, steps: 4000, {RATE}: 1.0e-4}}}}}}
  short: {{method: sde, params: {{{NETWORK}, training: {{{BATCH}, steps: 1000, {RATE}: 2.0e-4}}}}}}
  middle: {{method: sde, params: {{{NETWORK}, training: {{{BATCH}, steps: 2000, {RATE}: 3.0e-4}}}}}}
points:
  - {{train: [long, short, middle], sampler: euler_maruyama, grid: {{nfe: [1000, 5, 10]}}}}
"""


@pytest.fixture
def board(tmp_path):
    (tmp_path / "small.yaml").write_text(SUITE)
    board = Board(expand(read_suite(tmp_path / "small.yaml")), Store(tmp_path / "store"), "r")
    board.count_work()
    board.sort()
    return board


def budgets(jobs, stage):
    return [
        (job.label.split()[0], job.specs[0].params["steps"]) for job in jobs if job.stage == stage
    ]


def test_the_cheapest_model_is_trained_first_and_its_cheapest_rows_follow_at_once(board):
    jobs = list(board.jobs.values())
    trainings = [job.label for job in jobs if job.stage == "train"]
    assert trainings == ["short", "long", "middle"]
    second = next(i for i, job in enumerate(jobs) if job.label == "long")
    early = jobs[1:second]
    assert [job.stage for job in early] == ["samples", "scores"] * 4
    assert budgets(early, "samples") == [("short", 5)] * 2 + [("short", 10)] * 2


def test_what_is_expensive_waits_for_the_last_training_cheap_first(board):
    jobs = list(board.jobs.values())
    last = max(i for i, job in enumerate(jobs) if job.stage == "train")
    late = budgets([job for job in jobs[last:] if job.stage == "samples"], "samples")
    assert late[-2:] == [("middle", 1000)] * 2
    assert [steps for name, steps in late if name == "long"] == [1000, 1000]


def test_early_rows_hold_no_training_up_for_long(board):
    jobs = list(board.jobs.values())
    work = {job.folder: sum(map(board.work, job.units)) for job in jobs}
    trained = sum(work[job.folder] for job in jobs if job.stage == "train")
    last = max(i for i, job in enumerate(jobs) if job.stage == "train")
    early = sum(work[job.folder] for job in jobs[:last] if job.stage != "train")
    assert 0 < early <= 1.5 * EARLY_SHARE * trained


def test_every_job_stays_and_needs_come_before_what_needs_them(board, tmp_path):
    expanded = expand(read_suite(tmp_path / "small.yaml"))
    assert sorted(job.folder for job in board.jobs.values()) == sorted(j.folder for j in expanded)
    assert list(board.units) == [u for job in board.jobs.values() for u in job.units]
    seen = set()
    for job in board.jobs.values():
        assert set(job.needs) <= seen
        seen.update(job.units)
