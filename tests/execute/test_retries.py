"""Which units of jobs that ended are tried again, and when a stage is given up."""

import json
from dataclasses import replace

import pytest
from fake_cluster import EXECUTOR, SUITE, begun, note, poll

from bench.execute.outcome import outcome, trained_steps
from bench.execute.slurm import tracker
from bench.execute.slurm.driver import SlurmDriver
from bench.plan import expand
from bench.store import Store
from bench.suite.reader import read_suite


@pytest.mark.parametrize(
    ("state", "kind", "tries"),
    [
        *(
            ("NODE_FAIL", "node", 3),
            ("CANCELLED", "cancelled", 3),
            ("TIMEOUT", "time", 3),
            ("FAILED", "died", 3),
        ),
        ("OUT_OF_MEMORY", "memory", 2),
    ],
)
def test_unit_whose_job_dies_is_tried_as_often_as_its_kind_allows(
    study, fake, monkeypatch, state, kind, tries
):
    monkeypatch.setattr(tracker, "NODE_SECONDS", 0.0)
    driver = begun(study)
    for _ in range(6):
        for submission in fake.taken:
            if not submission.over:
                for unit in [unit for units in submission.array_tasks for unit in units]:
                    note(study, submission, unit)
                fake.set(submission, state)
        poll(driver, fake)
        poll(driver, fake)
    failed = [job.units[0] for job in study[0] if job.stage == "train"]
    for unit in failed:
        (attempt,) = study[1].attempts(*unit)
        assert (attempt["state"], attempt["kind"]) == ("failed", kind)
        assert outcome(study[1], unit).state == "failed"
        of_unit = [s for s in fake.taken if any(unit in units for units in s.array_tasks)]
        assert len(of_unit) == tries
    assert {state for unit, state in driver.board.closed.items() if unit.stage == "scores"} == {
        "blocked"
    }
    if kind == "memory":
        assert [s.intent["memory"] for s in fake.taken] == [1.0, 1.5]
        assert "it had 3 GB" in study[1].attempts(*failed[0])[-1]["cause"]


def test_units_whose_job_ran_out_of_memory_before_their_turn_get_more_as_well(study, fake):
    driver = SlurmDriver(*study, replace(EXECUTOR, train=replace(EXECUTOR.train, units=2)))
    driver.refresh(driver.take_stock())
    driver.submit_ready()
    (first,) = fake.taken
    ((one, other),) = first.array_tasks
    note(study, first, one)
    fake.set(first, "OUT_OF_MEMORY")
    poll(poll(driver, fake), fake)
    later = fake.taken[1:]
    assert {unit for submission in later for units in submission.array_tasks for unit in units} == {
        one,
        other,
    }
    assert {submission.intent["memory"] for submission in later} == {1.5}
    for submission in later:
        for units in submission.array_tasks:
            for unit in units:
                note(study, submission, unit)
        fake.set(submission, "OUT_OF_MEMORY")
    poll(poll(driver, fake), fake)
    assert {driver.board.closed[one], driver.board.closed[other]} == {"failed"}, (
        "each has had what there is"
    )
    assert fake.taken[1:] == later


def test_training_that_gets_on_between_deaths_is_tried_on_and_on(study, fake):
    driver = begun(study)
    for step in range(1, 8):
        for submission in [s for s in fake.taken if not s.over]:
            for unit in [unit for units in submission.array_tasks for unit in units]:
                note(study, submission, unit)
                header = json.dumps({"__metadata__": {"step": str(step)}}).encode()
                path = study[1].folder("train", unit.key) / "resume.safetensors"
                path.write_bytes(len(header).to_bytes(8, "little") + header)
                assert trained_steps(study[1], unit.key) == step
            fake.set(submission, "TIMEOUT")
        poll(poll(driver, fake), fake)
    assert "failed" not in driver.board.closed.values()
    assert len(fake.taken) >= 7


def test_exception_is_not_tried_again_and_keeps_its_last_words(study, fake):
    driver = begun(study)
    (first,) = fake.taken
    unit = first.array_tasks[0][0]
    note(study, first, unit)
    study[1].note_attempt(
        unit,
        attempt="a",
        state="failed",
        cause="ValueError: no",
        traceback="Traceback\nValueError: no",
    )
    fake.set(first, "FAILED")
    poll(poll(driver, fake), fake)
    assert driver.board.closed[unit] == "failed"
    assert outcome(study[1], unit).tail == ("Traceback", "ValueError: no")


def test_stage_whose_first_jobs_all_fail_alike_is_stopped(tmp_path, fake):
    (tmp_path / "small.yaml").write_text(
        SUITE.replace("seeds: [0, 1]", "seeds: [0, 1, 2, 3, 4, 5]")
    )
    suite = read_suite(tmp_path / "small.yaml")
    study = expand(suite), Store(tmp_path / "store"), tmp_path / "small"
    driver = begun(study)
    first, second = fake.taken
    for element, (unit,) in enumerate(first.array_tasks):
        note(study, first, unit)
        study[1].note_attempt(
            unit,
            attempt="a",
            state="failed",
            cause=f"RuntimeError: no GPU {element} on node {element}",
        )
    fake.set(first, "FAILED")
    poll(poll(driver, fake), fake)
    assert fake.taken == [first, second]
    assert set(fake.cancelled) == {second.id(element) for element in range(3)}
    for (unit,) in second.array_tasks:
        seen = outcome(study[1], unit)
        assert seen.state == "failed"
        assert seen.cause.startswith(
            "not tried: the first jobs all failed alike (3): RuntimeError: no GPU"
        )


def test_stopped_stage_leaves_alone_what_runs_already(tmp_path, fake):
    (tmp_path / "small.yaml").write_text(
        SUITE.replace("seeds: [0, 1]", "seeds: [0, 1, 2, 3, 4, 5]")
    )
    study = (
        expand(read_suite(tmp_path / "small.yaml")),
        Store(tmp_path / "store"),
        tmp_path / "small",
    )
    driver = begun(study)
    first, second = fake.taken
    for (unit,) in first.array_tasks:
        note(study, first, unit)
        study[1].note_attempt(unit, attempt="a", state="failed", cause="RuntimeError: no GPU")
    fake.set(first, "FAILED")
    fake.set(second, "RUNNING")
    poll(poll(driver, fake), fake)
    assert fake.cancelled == []
    assert not {unit for units in second.array_tasks for unit in units} & driver.board.closed.keys()
