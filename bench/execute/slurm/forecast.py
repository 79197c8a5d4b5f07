"""What a suite would be to a cluster: its job graph, its arrays, the sbatch text, and what it would
cost.

Seconds are those of finished units, or follow from the FLOPs of a unit at a throughput: that of
finished units of its model or stage, that of a measurement (``--measure``), or an assumed one. The
forecast says which of these, stage by stage.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.data.registry import data_card
from bench.execute.board import Board, new_run
from bench.execute.slurm import queue
from bench.execute.slurm.advice import unused, warnings
from bench.execute.slurm.arrays import ArrayPlanner
from bench.execute.slurm.bill import Bill, Load
from bench.execute.slurm.packing import Sizes, measured
from bench.execute.slurm.quantities import disk_space, duration, durations, flops, two_digits
from bench.execute.slurm.resources import Slurm
from bench.execute.slurm.submit import sbatch_text
from bench.execute.workload import networks
from bench.plan import Job
from bench.spec import AverageSpec, SampleSpec, SnapshotSpec, TrainSpec
from bench.store import Store, UnitId

COPIES = 2
"""Weights that a training leaves: the network's and their average's, of four bytes each."""


def forecast(
    jobs: Sequence[Job],
    store: Store,
    results: Path,
    executor: Slurm,
    budgets: Mapping[str, int] | None = None,
) -> str:
    """Returns in words what would be submitted.

    Args:
        budgets: Network evaluations that points were asked to spend, by label.
    """
    board = Board(jobs, store, new_run())
    sizes = Sizes(store, jobs, executor, measured(results))
    planner = ArrayPlanner(board, executor, sizes, queue.limits())
    missing = board.missing()
    if not missing:
        return "\nnothing to submit: all of it is done"
    loads = [Load(planner.orders(level), sizes) for level in planner.levels(missing)]
    head = f"{'stage':<10} {'units':>6} {'jobs':>5} {'arrays':>6}"
    lines = ["", f"{head}  {'a unit':<34} {'a job':<18} after"]
    lines += [_line(load, planner, set(missing)) for load in loads]
    lines += _costs(planner, missing, loads, budgets or {})
    advice = unused(executor, {unit.stage for unit in missing})
    advice += [warning for load in loads for warning in warnings(load, planner)]
    total = sum(len(load.took) for load in loads)
    limit = planner.submit_limit
    if limit is not None and total > limit:
        advice.append(
            f"{total} jobs are more than the {limit} that the queue takes of one user: an attached "
            "run feeds it, a detached one has to be run again"
        )
    lines += [f"warning: {warning}" for warning in dict.fromkeys(advice)]
    first_loads = {load.stage: load for load in reversed(loads)}
    for stage in dict.fromkeys(load.stage for load in loads):
        text = sbatch_text(first_loads[stage].orders[0], results, executor.settings)
        lines.append(f"\nsbatch of {stage}:")
        lines += ["  " + line for line in text.strip().splitlines()]
    return "\n".join(lines)


def _line(load: Load, planner: ArrayPlanner, missing: set[UnitId]) -> str:
    """Returns the line of a load: its units, jobs and arrays, and what they come after."""
    units = [unit for order in load.orders for unit in order.units]
    jobs = planner.board.units
    needs = Counter(need.stage for unit in units for need in jobs[unit].needs if need in missing)
    after = ", ".join(f"{count} of {name}" for name, count in needs.items()) or "nothing"
    of_each_key = {unit.key: unit for unit in units}.values()
    sources = "/".join(sorted({planner.sizes.source(unit) for unit in of_each_key}))
    each = f"{durations(load.each)} ({sources})"
    counts = f"{load.stage:<10} {len(units):>6} {len(load.took):>5} {len(load.orders):>6}"
    return f"{counts}  {each:<34} {durations(load.took):<18} {after}"


def _costs(
    planner: ArrayPlanner, missing: Sequence[UnitId], loads: Sequence[Load], budgets: Mapping
) -> list[str]:
    """Returns lines on what missing units cost: by point, by stage, in all, and by budget."""
    bill = Bill(planner, missing)
    gpus, cpus = (two_digits(sum(load.hours(of) for load in loads)) for of in ("gpus", "cpus"))
    starts = two_digits(sum(load.start_hours for load in loads))
    count = sum(len(load.took) for load in loads)
    jobs = planner.board.jobs
    disk = disk_space(sum(count * _bytes(jobs[place]) for place, count in bill.counts.items()))
    wall = duration(sum(load.wall for load in loads))
    total = (
        f"predicted: {flops(bill.flops)}, {gpus} GPU-hours, {cpus} CPU-hours, "
        f"{wall} without waiting in the queue, {disk} of disk; the start of {count:,} jobs "
        f"holds GPUs for another {starts} hours"
    )
    return ["", *bill.by_point(), "", *bill.by_stage(loads), total, *bill.by_budget(budgets)]


def _bytes(job: Job) -> float:
    """Returns the bytes that a unit leaves on disk."""
    spec = job.specs[0]
    if isinstance(spec, SampleSpec):
        channels, height, width = data_card(spec.train.dataset).shape
        return spec.batch * channels * height * width * (4 if spec.quantise == "none" else 1)
    if isinstance(spec, TrainSpec | SnapshotSpec | AverageSpec):
        train = spec if isinstance(spec, TrainSpec) else spec.train
        whole = isinstance(spec, AverageSpec) or train.checkpoint is not None
        files = 1 if whole else 2  # the weights, and the checkpoint that a training resumes from
        return files * COPIES * 4.0 * sum(net.parameters for net in networks(train) or ())
    return 0.0
