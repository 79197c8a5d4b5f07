"""What a job of a cluster does with its units, run in this process as SLURM would run it."""

import os
import signal

import pytest

from bench.execute.board import Board
from bench.execute.lease import Lease, LostError, noted
from bench.execute.slurm import queue, task
from bench.execute.slurm.ending import ALIKE
from bench.execute.slurm.queue import Entry
from bench.execute.slurm.resources import Resources, Slurm
from bench.execute.slurm.submission import Order, prepare
from bench.execute.slurm.task import ArrayTask, TaskRun, UnitsFailedError
from bench.plan import expand
from bench.stages import jobs
from bench.store import Store
from bench.suite.reader import read_suite

SUITE = """
name: small
dataset: two_modes
metrics: [energy_distance]
samples: {count: 40, batch: 20}
inspect: null
train:
  exact: {method: sde, params: {exact: true}}
points:
  - {train: exact, sampler: flow_heun, grid: {nfe: [3]}}
"""


@pytest.fixture
def study(tmp_path, monkeypatch):
    (tmp_path / "small.yaml").write_text(SUITE)
    jobs = expand(read_suite(tmp_path / "small.yaml"))
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "slurm")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    for name in ("SLURM_ARRAY_JOB_ID", "SLURM_PROCID", "SLURM_NTASKS", "SLURM_JOB_END_TIME"):
        monkeypatch.delenv(name, raising=False)
    before = {number: signal.getsignal(number) for number in (signal.SIGUSR2, signal.SIGTERM)}
    yield jobs, Store(tmp_path / "store"), tmp_path / "small"
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def submitted(study, monkeypatch):
    """Makes a submission of stages, each stage's units one array task."""
    jobs, store, results = study

    def make(*wanted, array_tasks=None):
        found = array_tasks or [
            tuple(unit for job in jobs if job.stage == stage for unit in job.units)
            for stage in wanted
        ]
        order = Order(stage="train", array_tasks=tuple(found), resources=Resources(minutes=10))
        board = Board(jobs, store, "r")
        settings = {**Slurm(device="cpu", grace_seconds=0.0).settings}
        submission = prepare(order, results, board, settings)
        submission.note_job("7")
        monkeypatch.setenv("SUBMITIT_FOLDER", str(submission.folder / "jobs" / "%j"))
        return submission

    return make


def states(submission, index=0):
    return [line["state"] for line in submission.read_events(index)]


def attempts(study):
    return [tried for job in study[0] for unit in job.units for tried in study[1].attempts(*unit)]


def test_array_task_makes_its_units_in_turn_and_a_second_start_makes_nothing_again(
    study, submitted
):
    submission = submitted(array_tasks=[tuple(unit for job in study[0] for unit in job.units)])
    ArrayTask(str(submission.folder), 0)()
    first = attempts(study)
    assert [tried["state"] for tried in first] == ["done"] * 4
    assert {(tried["submission"], tried["job"], tried["restart"]) for tried in first} == {
        (submission.name, "7", 0)
    }
    ArrayTask(str(submission.folder), 0)()
    assert attempts(study) == first
    assert states(submission) == ["began", "ended"] * 2
    assert submission.read_events(0)[-1]["done"] == 4


def test_array_task_of_an_abandoned_submission_does_nothing(study, submitted):
    submission = submitted("train")
    submission.set_flag("abandoned")
    ArrayTask(str(submission.folder), 0)()
    assert attempts(study) == []
    assert states(submission) == []


def test_array_task_that_misses_what_it_needs_says_so_and_fails_nothing(study, submitted):
    submission = submitted("samples")
    ArrayTask(str(submission.folder), 0)()
    assert attempts(study) == []
    assert submission.read_events(0)[-1]["missing"] == 2


def test_failing_unit_is_noted_the_others_are_made_and_the_job_fails(study, submitted, monkeypatch):
    real, calls = jobs.make, []

    def make(job, unit, context):
        calls.append(unit)
        if len(calls) == 2:
            raise ValueError("no such luck")
        real(job, unit, context)

    monkeypatch.setattr(jobs, "make", make)
    submission = submitted(array_tasks=[tuple(unit for job in study[0] for unit in job.units)[:3]])
    with pytest.raises(UnitsFailedError, match="1 of 3 units failed: ValueError: no such luck"):
        ArrayTask(str(submission.folder), 0)()
    assert [tried["state"] for tried in attempts(study)] == ["done", "failed", "done"]
    with pytest.raises(UnitsFailedError):
        ArrayTask(str(submission.folder), 0)()
    assert len(calls) == 3, "a start after a requeue does not try it again"


def test_array_task_does_not_begin_after_three_that_failed_alike(study, submitted):
    unit = study[0][0].units
    submission = submitted(array_tasks=[unit] * 4)
    for index in range(3):
        submission.note_event(
            index,
            state="ended",
            done=0,
            failed=1,
            cause=f"E: GPU {index}",
        )
    ArrayTask(str(submission.folder), 3)()
    assert states(submission, 3) == ["began", "broken"]
    assert submission.read_events(3)[-1]["cause"] == f"{ALIKE} (3): E: GPU 0"
    assert attempts(study) == []


def test_unit_that_a_living_job_of_another_suite_makes_is_waited_for(study, submitted, monkeypatch):
    monkeypatch.setattr(task, "HELD_POLL_SECONDS", 0.0)
    unit = study[0][0].units[0]
    path = study[1].path(unit, ".lease")
    lease = Lease.take(path, submission="other-train-1", element=0, job="3")
    lease.note()
    asked = []

    def answer(names):
        asked.append(names)
        return {"3": Entry("3", "other-train-1", "RUNNING" if len(asked) < 4 else "COMPLETED")}

    monkeypatch.setattr(queue, "queue", answer)
    submission = submitted("train")
    ArrayTask(str(submission.folder), 0)()
    assert asked == [["other-train-1"]] * 4
    assert [tried["state"] for tried in attempts(study)] == ["done"]
    with pytest.raises(
        LostError
    ):  # SLURM no longer knew it: whatever still lives of it writes no more
        lease.check()
    lease.release()


def test_own_earlier_start_that_still_lives_on_a_lost_node_is_fenced_off(study, submitted):
    unit = study[0][0].units[0]
    submission = submitted("train")
    old = Lease.take(
        study[1].path(unit, ".lease"), submission=submission.name, element=0, job="7", restart=0
    )
    ArrayTask(str(submission.folder), 0)()
    assert [tried["state"] for tried in attempts(study)] == ["done"]
    with pytest.raises(LostError):
        old.check()
    old.release()


def test_signal_ends_the_unit_and_hands_over_to_submitit(study, submitted, monkeypatch):
    handed = []
    signal.signal(signal.SIGUSR2, lambda number, frame: handed.append(number))

    def make(job, unit, context):
        os.kill(os.getpid(), signal.SIGUSR2)
        context.stop.check()  # as a training does after each step, with its checkpoint written

    monkeypatch.setattr(jobs, "make", make)
    submission = submitted("train")
    ArrayTask(str(submission.folder), 0)()
    assert handed == [signal.SIGUSR2]
    assert states(submission) == ["began", "stopped"]
    assert [tried["state"] for tried in attempts(study)] == ["stopped"]
    assert noted(study[1].path(study[0][0].units[0], ".lease")) == {}


def test_two_starts_that_use_their_time_and_get_nowhere_are_the_last(study, submitted):
    submission = submitted("train")
    unit = study[0][0].units[0]
    study[1].note_attempt(
        unit, attempt="a", run="r", start="2026-01-01T00:00:00+00:00", submission=submission.name
    )
    run = TaskRun(submission, 0)
    run.unit = unit
    run.begin -= 400
    assert not run._is_stuck(), "the first time it may have been bad luck"
    submission.note_event(0, state="stopped", advanced=False)
    assert run._is_stuck()
    (tried,) = study[1].attempts(*unit)
    assert (tried["state"], tried["kind"]) == ("failed", "time")
    assert "raise minutes" in tried["cause"]
    again = TaskRun(submission, 0)
    assert not again._is_stuck(), "stopped at once: a preemption, not the limit"
