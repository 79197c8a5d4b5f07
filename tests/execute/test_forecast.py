"""What plans say a suite costs."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest
from priced_suite import CPU, GPU, STAGES, made, of_stage

from bench.execute.board import Board
from bench.execute.executor import read_executor
from bench.execute.slurm.arrays import ArrayPlanner
from bench.execute.slurm.bill import Bill
from bench.execute.slurm.estimate import estimate
from bench.execute.slurm.forecast import forecast
from bench.execute.slurm.packing import Sizes
from bench.execute.slurm.quantities import two_digits
from bench.execute.slurm.resources import Resources, Slurm
from bench.plan import Job
from bench.progress import examine
from bench.spec import SnapshotSpec
from bench.store import UnitId

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.usefixtures("no_cluster")


def planner(jobs, store, executor):
    board = Board(jobs, store, "r")
    return ArrayPlanner(board, executor, Sizes(store, jobs, executor))


def test_plan_says_training_sampling_and_scoring_apart_for_each_point_and_what_it_rests_on(priced):
    jobs, store, results = priced
    plan = forecast(jobs, store, results, Slurm(**GPU, threads=4)).splitlines()
    head = next(line for line in plan if "training GPU-h" in line)
    assert head.split()[:8] == [
        "training",
        "GPU-h",
        "likelihood",
        "GPU-h",
        "sampling",
        "GPU-h",
        "scoring",
        "GPU-h",
    ]
    points = [line for line in plan if "euler_maruyama" in line or "flow_adaptive" in line]
    assert len(points) == 3
    assert all(float(cell) > 0 for line in points for cell in line.split()[:4])
    stages = {line.split()[0]: line for line in plan if "by an assumed" in line}
    assert list(stages) == list(STAGES)
    assert all(
        "an assumed 10 TFLOP/s of an A100 (the file names no type of GPU) in float32" in line
        for line in stages.values()
    )
    assert "evaluations of adaptive solvers guessed" in stages["samples"]
    (total,) = (line for line in plan if line.startswith("predicted:"))
    assert "GPU-hours" in total
    assert "FLOP" in total
    (budgets,) = (line for line in plan if line.startswith("of these, sampling takes"))
    assert "at 100 NFE" in budgets
    assert "at 10 NFE" in budgets


def test_estimate_without_an_executor_is_the_sum_of_the_bill(priced):
    jobs, store, _ = priced
    executor = read_executor("slurm")
    plan = planner(jobs, store, executor)
    bill = Bill(plan, plan.board.missing())
    line = estimate(examine(jobs, store).values(), store)
    whole = two_digits(sum(bill.hours.values()))
    assert line.startswith(f"predicted: {whole} GPU-hours (training ")
    sampled = sum(hours for (stage, _), hours in bill.hours.items() if stage == "samples")
    assert f"sampling {two_digits(sampled)}" in line
    assert estimate([], store) == ""


def test_hours_are_those_of_what_a_stage_runs_on(priced):
    jobs, store, results = priced
    executor = Slurm(**{**GPU, "scores": Resources(cpus=2)})
    plan = forecast(jobs, store, results, executor)
    assert "sampling GPU-h" in plan
    assert "scoring CPU-h" in plan


@pytest.mark.parametrize(
    "written",
    ['gpus: "a100:2"', 'gpus: "1g.10gb:1"', 'sbatch: {gres: "gpu:a100:1"}', "sbatch: {gpus: 2}"],
)
def test_gpu_hours_count_typed_gpus(priced, tmp_path, written):
    jobs, store, results = priced
    path = tmp_path / "cluster.yaml"
    path.write_text(f"cluster: slurm\nresources: {{{written}, minutes: 600}}\n")
    executor = read_executor(str(path))
    (total,) = (
        line
        for line in forecast(jobs, store, results, executor).splitlines()
        if "predicted:" in line
    )
    plan = planner(jobs, store, executor)
    units_took, count = 0.0, 0
    for level in plan.levels(plan.board.missing()):
        for order in plan.orders(level):
            units_took += sum(sum(map(plan.sizes.of, units)) for units in order.array_tasks)
            count += len(order.array_tasks)
    gpus = executor.train.gpus_on_node.count
    assert f" {two_digits(units_took * gpus / 3600)} GPU-hours" in total
    assert f"the start of {count} jobs" in total
    assert total.endswith(f" {two_digits(count * gpus * 15 / 3600)} hours")


def test_plan_warns_of_what_is_asked_for_and_not_used(priced):
    jobs, store, results = priced
    executor = Slurm(
        train=Resources(gpus=2, cpus=2, minutes=600),
        samples=Resources(cpus=2),
        likelihood=Resources(cpus=4, sbatch={"gres": "shard:1"}),
        inspect=Resources(cpus=4, sbatch={"exclusive": True}),
        scores=Resources(cpus=4, gpus="a100:1,v100:1"),
        threads=4,
        device="cuda",
    )
    plan = forecast(jobs, store, results, executor)
    for words in (
        "train: threads (4) are more than the CPUs of a process (2)",
        "train: 2 GPUs for 1 processes, which use one each",
        "samples: device is cuda and no GPU is asked for",
        "likelihood: a share of a GPU is counted as a whole one",
        "inspect: exclusive takes whole nodes",
        "scores: GPUs of several types (a100,v100) are counted alike",
    ):
        assert f"warning: {words}" in plan, words
    assert "they would stand idle" in forecast(
        jobs, store, results, replace(executor, device="cpu")
    )


def test_what_is_there_costs_nothing(priced):
    jobs, store, results = priced
    for job in jobs:
        for unit in job.results:
            store.finish(unit, {"seconds": 1.0, "value": 0.0, "provenance": made()})
    assert "nothing to submit" in forecast(jobs, store, results, Slurm(**CPU))
    again = of_stage(jobs, "samples")[0]
    store.discard(again.units[0])
    plan = forecast(jobs, store, results, Slurm(**CPU))
    assert "(finished)" in plan
    assert len([line for line in plan.splitlines() if "euler_maruyama" in line]) == 1


def test_numbers_are_written_to_two_digits():
    values = {
        5512.0: "5,500",
        0.01234: "0.012",
        0: "0",
        12.6: "13",
        1.04: "1.0",
        99.6: "100",
        196e3: "200,000",
        9.96: "10",
    }
    assert {value: two_digits(value) for value in values} == values


def test_a_plan_with_an_executor_takes_at_most_three_times_the_plan_and_grows_with_the_points(
    tmp_path,
):
    place = importlib.util.spec_from_file_location("plan_cost", ROOT / "tests/perf/plan.py")
    perf = importlib.util.module_from_spec(place)
    place.loader.exec_module(perf)
    perf.plan_seconds(tmp_path, 20)  # imports
    plain, priced = perf.plan_seconds(tmp_path, 100)
    more, much = perf.plan_seconds(tmp_path, 800)
    assert priced <= 3 * plain
    assert much <= 3 * more
    assert much <= 2 * 8 * priced


def test_a_chain_of_snapshots_of_any_length_is_put_into_levels(priced):
    jobs, store, _ = priced
    spec = of_stage(jobs, "train")[0].specs[0]
    chain = [
        Job(
            stage="train",
            key=f"k{k}",
            label="",
            specs=(SnapshotSpec(train=spec, images=10 * k + 10),),
            parts=("weights",),
            needs=(UnitId("train", f"k{k - 1}", "weights"),) if k else (),
        )
        for k in range(3000)
    ]
    plan = planner(chain, store, Slurm(**CPU))
    levels = plan.levels(reversed(plan.board.missing()))
    assert [level[0].key for level in levels] == [job.key for job in chain]
