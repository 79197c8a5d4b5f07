"""How units are cut into array tasks and arrays, and how long they are expected to take."""

from dataclasses import replace

import pytest
from fake_cluster import EXECUTOR, begun, poll

from bench.execute.slurm import queue
from bench.execute.slurm.arrays import pack, split
from bench.execute.slurm.forecast import forecast
from bench.store import UnitId


def units(count, stage="samples"):
    return [UnitId(stage, f"k{k}", "00000") for k in range(count)]


def test_small_units_are_packed_in_order_until_a_job_is_long_enough():
    six = units(6)
    assert pack(six, 0, [10.0] * 6, 35.0) == [tuple(six[:3]), tuple(six[3:])]
    assert pack(six, 0, [100.0] * 6, 35.0) == [(unit,) for unit in six]
    assert pack(six, 4, [1.0] * 6, 1e9) == [tuple(six[:4]), tuple(six[4:])]
    assert pack([], 0, [], 1.0) == []


def test_arrays_are_split_at_what_the_site_takes():
    assert [len(part) for part in split([(unit,) for unit in units(7)], 3)] == [3, 3, 1]


def test_expected_time_of_a_unit_is_learned_from_those_that_finish(study, fake):
    driver = begun(study)
    one, other = (job.units[0] for job in study[0] if job.stage == "train")
    scores = [job for job in study[0] if job.stage == "scores"]
    assert driver.planner.sizes.source(other) == "assumed"
    here = {"accelerator": "cpu", "threads": EXECUTOR.threads}
    study[1].finish(one, {"seconds": 7.0, "provenance": {**here, "attempt_seconds": 9.0}})
    for result in scores[0].results:
        study[1].finish(result, {"provenance": {**here, "attempt_seconds": 0.25}})
    poll(driver, fake)
    assert (driver.planner.sizes.of(other), driver.planner.sizes.source(other)) == (
        pytest.approx(7.0),
        "finished alike",
    )
    assert driver.planner.sizes.of(scores[1].units[0]) == pytest.approx(0.25)


def test_plan_of_a_cluster_has_graph_arrays_sbatch_and_warnings(study, fake, monkeypatch):
    monkeypatch.setattr(queue, "refusals", lambda resources: ["the partition allows 5 minutes"])
    plan = forecast(*study, replace(EXECUTOR, submit_limit=2))
    for words in (
        "2 of train",
        "#SBATCH --array=0-1%2",
        "GPU-hours",
        "warning: train: the partition allows 5 minutes",
        "jobs are more than the 2 that the queue takes",
        "warning: train: the longest takes ",
    ):
        assert words in plan
