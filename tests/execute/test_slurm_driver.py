"""The driver of a cluster, against a queue that holds what the test puts there."""

import time
from dataclasses import replace

import pytest
from fake_cluster import EXECUTOR, begun, poll

from bench.execute.lease import hold
from bench.execute.outcome import outcome
from bench.execute.slurm import driver as slurm_driver
from bench.execute.slurm.driver import ClusterRefusesError, SlurmDriver
from bench.execute.slurm.overview import overview
from bench.execute.slurm.reconcile import entries_of, reconcile
from bench.execute.slurm.submission import Order, prepare, submissions


def test_unit_is_never_submitted_again_while_the_queue_has_its_job(study, fake):
    driver = begun(study)
    (first,) = fake.taken
    assert len(first.array_tasks) == 2
    for state in ("PENDING", "RUNNING", "COMPLETING", "REQUEUED", "A_STATE_OF_NEXT_YEAR"):
        fake.set(first, state)
        poll(driver, fake)
        assert fake.taken == [first]
    fake.set(
        first, "NODE_FAIL"
    )  # SLURM will start it again: for a while it is not believed to be gone
    poll(driver, fake)
    assert fake.taken == [first]
    fake.set(first, "FAILED")
    poll(poll(driver, fake), fake)
    assert len(fake.taken) > 1


def test_queue_that_does_not_answer_changes_nothing(study, fake):
    driver = begun(study)
    driver.refresh(None)
    driver.submit_ready()
    assert len(fake.taken) == 1
    assert "failed" not in driver.board.closed.values()


def test_id_that_belongs_to_a_job_of_another_name_is_not_ours(study, fake):
    driver = begun(study)
    (first,) = fake.taken
    for id_, entry in list(fake.entries.items()):
        fake.entries[id_] = replace(entry, name="somebody-else", state="RUNNING")
    assert entries_of(first, fake.entries) == [None, None]
    poll(poll(driver, fake), fake)
    assert len(fake.taken) > 1


def test_next_driver_adopts_what_is_alive_and_forgets_the_rest(study, fake):
    begun(study)
    (first,) = fake.taken
    again = begun(study)
    assert fake.taken == [first]
    assert [submission.name for submission in again.tracker.submissions] == [first.name]
    fake.set(first, "NODE_FAIL")
    begun(study)
    assert fake.taken == [first], "SLURM starts it again"
    fake.entries.clear()
    begun(study)
    assert len(fake.taken) == 2
    assert submissions(study[2])[0].over


def test_intent_without_an_id_is_found_by_its_name_or_given_up(study, fake):
    driver = begun(study)
    (first,) = fake.taken
    (first.folder / "job.json").unlink()
    assert reconcile(submissions(study[2]), fake.entries)[first.array_tasks[0][0]].alive
    begun(study)
    assert submissions(study[2])[0].job == first.job
    assert (first.folder / "jobs" / first.id(1) / f"{first.id(1)}_submitted.pkl").exists(), (
        "what its job waits for"
    )
    order = Order(stage="train", array_tasks=first.array_tasks, resources=EXECUTOR.train)
    lost = prepare(order, study[2], driver.board, EXECUTOR.settings)
    begun(study)
    assert lost.name in {
        submission.name for submission in submissions(study[2]) if submission.abandoned
    }
    assert len(fake.taken) == 1


def test_array_that_the_queue_has_no_room_for_is_made_smaller(study, fake):
    fake.refuse = "sbatch: error: AssocMaxSubmitJobLimit"
    driver = begun(study)
    assert driver.planner.most_array_tasks("train") == 1
    fake.refuse = ""
    poll(driver, fake)
    assert [len(submission.array_tasks) for submission in fake.taken] == [1, 1]


def test_refusals_of_sbatch_are_waited_out_and_then_reported(study, fake):
    fake.refuse = "sbatch: error: invalid partition specified: nope"
    driver = begun(study)
    for _ in range(2):
        assert driver.not_before > time.monotonic()
        driver.not_before = 0.0
        poll(driver, fake)
    driver.not_before = 0.0
    with pytest.raises(ClusterRefusesError, match=r"refused 4 times: .*invalid partition"):
        poll(driver, fake)
    assert all(submission.abandoned for submission in submissions(study[2]))


def test_full_queue_is_waited_for_without_end(study, fake):
    driver = begun(study)
    fake.refuse = "sbatch: error: QOSMaxSubmitJobPerUserLimit"
    driver.board.closed[fake.taken[0].array_tasks[0][0]] = "done"  # so that a stage becomes ready
    for _ in range(8):
        poll(driver, fake)
    assert driver.refusals == 0


def test_detached_everything_is_submitted_after_what_it_needs(study, fake):
    with hold(study[2]) as lease:
        made, left_out = SlurmDriver(*study, EXECUTOR).detach(lease)
    assert left_out == 0
    by_stage = {}
    for submission in made:
        by_stage.setdefault(submission.stage, []).append(submission)
    (train,) = by_stage["train"]
    assert train.intent["after"] == []
    assert {tuple(s.intent["after"]) for s in by_stage["samples"]} == {(train.job,)}
    assert {tuple(s.intent["after"]) for s in by_stage["scores"]} == {
        tuple(s.job for s in by_stage["samples"])
    }
    with hold(study[2]) as lease:
        assert SlurmDriver(*study, EXECUTOR).detach(lease) == ([], 0), "all of it is in the queue"


def test_detached_units_are_left_out_where_the_queue_takes_no_more(study, fake):
    with hold(study[2]) as lease:
        made, left_out = SlurmDriver(*study, replace(EXECUTOR, submit_limit=2)).detach(lease)
    assert [submission.stage for submission in made] == ["train"]
    assert left_out == sum(len(job.units) for job in study[0]) - 2


def test_units_that_do_not_fill_a_job_wait_for_more_of_their_stage_but_not_for_ever(
    study, fake, monkeypatch
):
    driver = begun(study)
    (train,) = fake.taken
    done = train.array_tasks[0][0]
    study[1].finish(done, {"seconds": 1.0})
    poll(driver, fake)
    assert fake.taken == [train], "the other model's samples may join"
    monkeypatch.setattr(slurm_driver, "BATCHING_SECONDS", 0.0)
    poll(driver, fake)
    ready = [
        unit
        for job in study[0]
        if job.stage == "samples" and done in job.needs
        for unit in job.units
    ]
    assert {submission.stage for submission in fake.taken[1:]} == {"samples", "inspect"}
    given = [s.array_tasks for s in fake.taken if s.stage == "samples"]
    assert [unit for elements in given for units in elements for unit in units] == ready


def test_polls_become_rarer_as_a_run_ages(study):
    driver = SlurmDriver(*study, EXECUTOR)
    pauses = []
    for hours in (0, 1, 5, 100):
        driver.begin = time.time() - 3600 * hours
        pauses.append(round(driver.pause()))
    assert pauses == [10, 20, 60, 60]


def test_status_says_what_waits_in_the_queue_and_what_all_of_it_cost(study, fake):
    begun(study)
    (first,) = fake.taken
    unit = first.array_tasks[0][0]
    seen = overview(*study)
    assert seen.judge(unit, outcome(study[1], unit)).state == "queued"
    assert f"job {first.job}" in seen.lines[0]
    assert "2 pending" in seen.lines[0]
    study[1].note_attempt(
        unit, attempt="a", run="r", start="2026-01-01T00:00:00+00:00", gpus=2, cpus=8
    )
    study[1].note_attempt(unit, attempt="a", state="died", end="2026-01-01T01:00:00+00:00")
    assert (
        "2.00 GPU-hours and 8.00 CPU-hours in all attempts; 1.00 hours of 1.00 were lost work"
        in overview(*study).lines[-1]
    )
    fake.set(first, "COMPLETED")
    assert "no job of the suite is in the queue" in overview(*study).lines
