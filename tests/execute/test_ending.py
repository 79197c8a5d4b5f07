"""What the files that a job left say of its end, and what its old process may still do."""

from dataclasses import replace

import pytest

from bench.execute.attempt import close_attempts, seconds
from bench.execute.board import Board
from bench.execute.compute import compute
from bench.execute.lease import Lease, LostError, noted
from bench.execute.slurm.ending import endings, shared_cause
from bench.execute.slurm.resources import Resources
from bench.execute.slurm.submission import Order, Submission, prepare
from bench.plan import Job
from bench.store import Store, UnitId


def units(count, stage="samples"):
    return [UnitId(stage, f"k{k}", "00000") for k in range(count)]


def test_failures_are_alike_up_to_numbers():
    assert shared_cause(["a 1 x", "a 2 x", "a 33 x"])
    assert not shared_cause(["a 1 x", "a 2 x"])
    assert not shared_cause(["a", "b", "a"])


def test_memory_and_packed_units_are_told_apart_by_what_their_job_left(tmp_path):
    store, (first, second, third) = Store(tmp_path), units(3)
    job = Job(stage="samples", key="k0", label="", specs=(), parts=("00000",))
    jobs = [replace(job, key=unit.key) for unit in (first, second, third)]
    order = Order(stage="samples", array_tasks=((first, second, third),), resources=Resources())
    submission = prepare(order, tmp_path / "small", Board(jobs, store, "r"), {})
    submission.note_job("5")
    submission.note_event(0, state="began")
    store.note_attempt(first, attempt="a", run="r", submission=submission.name)
    log = submission.logs(0)[0]
    log.parent.mkdir(parents=True)
    log.write_text(
        "something\nslurmstepd: error: StepId=5.0 exceeded memory limit (9 > 8), being killed\n"
    )
    seen = endings(store, [first, second, third], submission, 0, "FAILED")
    assert [seen[unit].kind for unit in (first, second, third)] == [
        "memory",
        "unreached",
        "unreached",
    ]
    assert "exceeded memory limit" in seen[first].cause
    assert seen[first].log == str(log)


def test_end_of_a_shared_training_is_told_by_the_process_that_ended_first(tmp_path):
    store, (unit,) = Store(tmp_path), units(1, "train")
    jobs = [Job(stage="train", key=unit.key, label="", specs=(), parts=("00000",))]
    order = Order(stage="train", array_tasks=((unit,),), resources=Resources(nodes=2))
    submission = prepare(order, tmp_path / "small", Board(jobs, store, "r"), {})
    submission.note_job("5")
    store.note_attempt(unit, attempt="a", run="r", submission=submission.name)
    cause = "RuntimeError: Connection closed by peer [10.0.0.2]:34731"
    store.note_attempt(unit, attempt="a", state="failed", cause=cause, kind="peer")
    log = submission.logs(0)[1]
    log.parent.mkdir(parents=True)
    submission.logs(0)[0].write_text("Traceback\nRuntimeError: Connection closed by peer\n")
    log.write_text("worker ready\n")
    (seen,) = endings(store, [unit], submission, 0, "FAILED").values()
    assert (seen.kind, seen.cause) == ("died", f"another process died: {cause}")
    log.write_text(
        "Traceback (most recent call last):\n  File x\nValueError: no\n"
        "[rank1]: ValueError: no\nW0 gone\n"
    )
    (seen,) = endings(store, [unit], submission, 0, "FAILED").values()
    assert (seen.kind, seen.cause, seen.log) == ("exception", "ValueError: no", str(log))


def test_old_holder_of_a_lease_that_was_taken_over_writes_nothing(tmp_path):
    store, unit = Store(tmp_path), units(1)[0]
    path = store.path(unit, ".lease")
    old = Lease.take(path, job="1")
    old.note(attempt="a")
    new = Lease.take_over(path, job="1")
    assert new.before["attempt"] == "a"
    guarded = Store(tmp_path, guard=old.check)
    for act in (
        lambda: guarded.finish(unit, {"x": 1}, {".npz": b"1"}),
        lambda: guarded.note_attempt(unit, attempt="a", state="done"),
    ):
        with pytest.raises(LostError):
            act()
    assert {entry.name for entry in path.parent.iterdir()} == {path.name}
    old.note(step=3)
    old.release()
    assert noted(path)["token"] == new.token, "what the old one notes and releases is its own"
    new.check()
    new.release()
    assert not path.exists()


def test_death_is_dated_by_the_last_sign_of_life(tmp_path):
    store, unit = Store(tmp_path), units(1)[0]
    store.note_attempt(unit, attempt="a", run="r", start="2026-01-01T00:00:00+00:00")
    left = {"attempt": "a", "beat": 1767225600.0 + 90}
    (attempt,) = close_attempts(store, unit, left)
    assert (attempt["state"], seconds(attempt)) == ("died", 90.0)
    assert seconds(store.attempts(*unit)[0]) == 90.0
    assert compute(store, []).wall == 0.0


def test_abandoned_submission_is_seen_before_any_work(tmp_path):
    submission = Submission(tmp_path)
    submission.set_flag("abandoned")
    again = Submission(tmp_path)
    again.refresh()
    assert again.abandoned
