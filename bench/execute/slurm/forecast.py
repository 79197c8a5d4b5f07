"""What a suite would be to a cluster: its job graph, its arrays, the sbatch text, and what it would
cost.

Seconds are those of finished units, or follow from the FLOPs of a unit at a throughput: of finished
units of its model or stage, of a measurement (``--measure``), or assumed. Which of these is said,
stage by stage.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.data.registry import data_card
from bench.execute.slurm import queue
from bench.execute.slurm.driver import SlurmDriver
from bench.execute.slurm.packing import Sizes, measured
from bench.execute.slurm.resources import Slurm
from bench.execute.slurm.submission import Order
from bench.execute.slurm.submit import sbatch_text
from bench.execute.slurm.throughput import on_gpu
from bench.execute.workload import networks
from bench.plan import Job
from bench.spec import AverageSpec, SampleSpec, TrainSpec
from bench.store import STAGES, Store, UnitId

START_SECONDS = 15.0
"""What a job takes before its first unit: the queue's own pace, Python, torch."""

COPIES = 2
"""Weights that a training leaves: the network's and their average's, of four bytes each."""

SHOWN_BUDGETS = 2
"""Budgets whose share of the whole is shown: those that cost most."""


@dataclass
class Load:
    """The jobs of one stage, as they would be submitted.

    Args:
        orders: Its arrays.
        each: Seconds of the units.
        took: Seconds of the jobs.
    """

    orders: list[Order]
    each: list[float] = field(default_factory=list)
    took: list[float] = field(default_factory=list)

    @property
    def stage(self) -> str:
        """The stage."""
        return self.orders[0].stage

    def hours(self, of: str) -> float:
        """Returns GPU-hours ("gpus") or CPU-hours ("cpus") of all its jobs."""
        resources = self.orders[0].resources
        on_node = resources.gpus_on_node.count if of == "gpus" else resources.cpus * resources.tasks
        return sum(self.took) * on_node * resources.nodes / 3600

    @property
    def wall(self) -> float:
        """Seconds until its last job ends, without waiting in the queue."""
        return max(
            max(self.took), sum(self.took) / min(self.orders[0].resources.at_once, len(self.took))
        )


def forecast(
    jobs: Sequence[Job],
    store: Store,
    results: Path,
    executor: Slurm,
    budgets: Mapping[str, int] | None = None,
) -> str:
    """Returns what would be submitted, in words.

    Args:
        budgets: Network evaluations that points were asked to spend, by label.
    """
    campaign = SlurmDriver(jobs, store, results, executor, expected=measured(results))
    campaign.limits = queue.limits()
    missing = campaign.missing()
    if not missing:
        return "\nnothing to submit: all of it is done"
    lines = [
        "",
        f"{'stage':<10} {'units':>6} {'jobs':>5} {'arrays':>6}  {'a unit':<34} {'a job':<18} after",
    ]
    warnings = _unused(executor, {unit.stage for unit in missing})
    loads = [_load(campaign, campaign.orders(level)) for level in campaign.levels(missing)]
    wanted = set(missing)
    for load in loads:
        lines.append(_line(load, campaign, wanted))
        warnings += _warn(load, executor, campaign)
    total = sum(len(load.took) for load in loads)
    limit = campaign.submit_limit
    if limit is not None and total > limit:
        warnings.append(
            f"{total} jobs are more than the {limit} that the queue takes of one user: an attached run feeds it, a "
            "detached one has to be run again"
        )
    lines += _costs(campaign, missing, loads, budgets or {})
    lines += [f"warning: {warning}" for warning in dict.fromkeys(warnings)]
    shown: set[str] = set()
    for load in loads:
        if load.stage not in shown:
            shown.add(load.stage)
            text = sbatch_text(load.orders[0], results, executor.settings)
            lines += [
                f"\nsbatch of {load.stage}:",
                *("  " + line for line in text.strip().splitlines()),
            ]
    return "\n".join(lines)


def _load(campaign: SlurmDriver, orders: list[Order]) -> Load:
    load = Load(orders)
    for order in orders:
        for units in order.elements:
            each = [campaign.sizes.of(unit) for unit in units]
            load.each += each
            load.took.append(sum(each) + START_SECONDS)
    return load


def _line(load: Load, campaign: SlurmDriver, missing: set[UnitId]) -> str:
    units = [unit for order in load.orders for units in order.elements for unit in units]
    needs = Counter(
        need.stage
        for unit in units
        for need in campaign.jobs[unit.stage, unit.key].needs
        if need in missing
    )
    sources = "/".join(sorted({campaign.sizes.source(unit) for unit in units}))
    after = ", ".join(f"{count} of {name}" for name, count in needs.items()) or "nothing"
    each = f"{_span(load.each)} ({sources})"
    return (
        f"{load.stage:<10} {len(units):>6} {len(load.took):>5} {len(load.orders):>6}  {each:<34} "
        f"{_span(load.took):<18} {after}"
    )


# What it costs


def _costs(
    campaign: SlurmDriver,
    missing: Sequence[UnitId],
    loads: Sequence[Load],
    budgets: Mapping[str, int],
) -> list[str]:
    """Returns lines on what missing units cost: by stage, by point, by budget, and what that rests
    on.
    """
    bill = Bill(campaign, missing)
    gpus, cpus = (sum(load.hours(of) for load in loads) for of in ("gpus", "cpus"))
    disk = sum(_bytes(campaign.jobs[unit.stage, unit.key]) for unit in missing)
    wall = sum(load.wall for load in loads)
    lines = [
        "",
        *bill.by_point(),
        "",
        *bill.by_stage(loads),
        f"predicted: {_flops(bill.flops)}, {two(gpus)} GPU-hours, {two(cpus)} CPU-hours, "
        f"{_words(wall)} without waiting in the queue, {_scaled(disk, 'MB GB TB', 1e6)} of disk",
        *bill.by_budget(budgets),
    ]
    return lines


class Bill:
    """What the missing units of a suite cost, in hours of what they run on: GPUs where a stage has
    any, else CPUs.
    """

    def __init__(self, campaign: SlurmDriver, missing: Sequence[UnitId]) -> None:
        self.campaign = campaign
        self.sizes: Sizes = campaign.sizes
        self.hours: dict[tuple[str, str], float] = {}
        self.stages: dict[str, list[UnitId]] = {}
        self.flops = 0.0
        self.flops_of: Counter[str] = Counter()
        each = {}
        for stage in STAGES:
            resources = campaign.executor.of(stage)
            each[stage] = resources.nodes * (
                resources.gpus_on_node.count or resources.cpus * resources.tasks
            )
        for (stage, key), count in Counter((unit.stage, unit.key) for unit in missing).items():
            unit = campaign.jobs[stage, key].units[0]
            self.hours[stage, key] = self.sizes.of(unit) * count * each[stage] / 3600
            self.stages.setdefault(stage, []).append(unit)
            work = self.sizes.work.of(unit)
            if work is not None:
                self.flops_of[stage] += count * (work.flops + work.host_flops)
        self.flops = sum(self.flops_of.values())

    def unit(self, stage: str) -> str:
        """Returns what a stage's hours are hours of."""
        return "GPU-h" if self.campaign.executor.of(stage).gpus_on_node.count else "CPU-h"

    def by_stage(self, loads: Sequence[Load]) -> list[str]:
        """Returns a line for each stage: FLOPs, hours, and what throughput was taken."""
        lines = []
        for stage in (name for name in STAGES if name in self.stages):
            of = "gpus" if self.unit(stage) == "GPU-h" else "cpus"
            hours = sum(load.hours(of) for load in loads if load.stage == stage)
            why = Counter(self.sizes.explain(unit) for unit in self.stages[stage])
            told = "; ".join(f"{words}" for words, _ in why.most_common(2)) + (
                "; ..." if len(why) > 2 else ""
            )
            work = [self.sizes.work.of(unit) for unit in self.stages[stage]]
            guess = (
                ", evaluations of adaptive solvers guessed"
                if any(w is not None and w.guessed for w in work)
                else ""
            )
            lines.append(
                f"{stage:<10} {_flops(self.flops_of[stage]):>10} {two(hours):>8} {self.unit(stage)}  by {told}{guess}"
            )
        return lines

    def by_point(self) -> list[str]:
        """Returns a line for each point with something left to make: training, likelihood,
        sampling, scoring.
        """
        jobs = self.campaign.jobs
        scoring: Counter[tuple[str, str]] = Counter()
        alone = []
        for (stage, key), job in jobs.items():
            if stage == "scores" and (stage, key) in self.hours:
                sets = {(need.stage, need.key) for need in job.needs}
                scoring.update(dict.fromkeys(sets, self.hours[stage, key]))
                alone += [] if sets else [("", "", "", two(self.hours[stage, key]), job.label)]
        models: Counter[UnitId] = Counter()
        for (stage, key), job in jobs.items():
            if stage == "likelihood" and (stage, key) in self.hours:
                models[job.needs[0]] += self.hours[stage, key]
        trained: dict[UnitId, float] = {}
        rows = []
        for (stage, key), job in jobs.items():
            place = (stage, key)
            if stage == "samples" and (place in self.hours or place in scoring):
                model = job.needs[0]
                cells = (
                    self._training(model, trained),
                    models[model],
                    self.hours.get(place, 0.0),
                    scoring[place],
                )
                rows.append((*map(two, cells), job.label))
        if not rows and not alone:
            return []
        names = zip(
            ("train", "likelihood", "samples", "scores"),
            ("training", "likelihood", "sampling", "scoring"),
            strict=True,
        )
        head = " ".join(f"{f'{name} {self.unit(stage)}':>16}" for stage, name in names)
        told = "  point (a model's training and likelihood are shared by its points)"
        return [
            head + told,
            *(" ".join(f"{cell:>16}" for cell in row[:4]) + f"  {row[4]}" for row in rows + alone),
        ]

    def _training(self, model: UnitId, known: dict[UnitId, float]) -> float:
        """Returns the hours until a model is there, those of the trainings included that it goes on
        from.
        """
        chain = []
        while model not in known:
            chain.append(model)
            job = self.campaign.jobs.get((model.stage, model.key))
            if job is None or not job.needs:
                known[model] = 0.0 if job is None else self.hours.get((model.stage, model.key), 0.0)
                chain.pop()
                break
            model = job.needs[0]
        for later in reversed(chain):
            known[later] = known[model] + self.hours.get((later.stage, later.key), 0.0)
            model = later
        return known[model]

    def by_budget(self, budgets: Mapping[str, int]) -> list[str]:
        """Returns what sampling at the budgets that cost most is of the whole."""
        found: Counter[int] = Counter()
        for (stage, key), hours in self.hours.items():
            job = self.campaign.jobs[stage, key]
            work = self.sizes.work.of(job.units[0]) if stage == "samples" else None
            if work is not None and work.nfe is not None and not work.guessed:
                found[budgets.get(job.label, round(work.nfe))] += hours
        unit = self.unit("samples")
        alike = {stage for stage in STAGES if self.unit(stage) == unit}
        whole = sum(hours for (stage, _), hours in self.hours.items() if stage in alike)
        shown = sorted(found.most_common(SHOWN_BUDGETS), reverse=True)
        told = [
            f"{two(hours)} {unit} at {nfe:,} NFE ({two(100 * hours / whole)} %)"
            for nfe, hours in shown
            if whole
        ]
        return [f"of these, sampling takes {', '.join(told)}"] if told else []


def two(value: float) -> str:
    """Returns a number to two significant digits: 5,400 or 0.012."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    rounded = float(f"{value:.2g}")
    return (
        f"{rounded:,.0f}"
        if abs(rounded) >= 10
        else f"{rounded:.{1 - math.floor(math.log10(abs(rounded)))}f}"
    )


def _flops(value: float) -> str:
    return _scaled(value, "GFLOP TFLOP PFLOP EFLOP", 1e9)


def _scaled(value: float, units: str, first: float) -> str:
    """Returns a number in the largest of rising units, each a thousand of the one before, that it
    has one of.
    """
    names = units.split()
    power = (
        max(0, min(len(names) - 1, math.floor(math.log10(value / first) / 3 + 1e-9)))
        if value > 0
        else 0
    )
    return f"{two(value / first / 1000**power)} {names[power]}"


# What is to be said of it


def _unused(executor: Slurm, stages: Iterable[str]) -> list[str]:
    """Returns what stages ask for and would not use, and what they use and do not ask for."""
    found = []
    for stage in STAGES:
        if stage not in stages:
            continue
        resources = executor.of(stage)
        gpus = resources.gpus_on_node
        if executor.threads > resources.cpus:
            found.append(
                f"{stage}: threads ({executor.threads}) are more than the CPUs of a process ({resources.cpus})"
            )
        if gpus.count and executor.device == "cpu":
            found.append(
                f"{stage}: asks for {gpus.count} GPUs and device is cpu: they would stand idle"
            )
        elif gpus.count > resources.tasks:
            found.append(
                f"{stage}: {gpus.count} GPUs for {resources.tasks} processes, which use one each"
            )
        if executor.device == "cuda" and not gpus.count:
            found.append(f"{stage}: device is cuda and no GPU is asked for")
        if gpus.share:
            found.append(f"{stage}: a share of a GPU is counted as a whole one")
        if "," in gpus.type:
            found.append(f"{stage}: GPUs of several types ({gpus.type}) are counted alike")
        if resources.options.get("exclusive") not in (None, "user", "mcs"):
            found.append(
                f"{stage}: exclusive takes whole nodes, and the site may charge all of their CPUs and GPUs"
            )
        if not on_gpu(executor, stage) and gpus.part < 1:
            found.append(f"{stage}: asks for MIG instances that it would not use")
    return found


def _warn(load: Load, executor: Slurm, of: SlurmDriver) -> list[str]:
    stage = load.stage
    resources = executor.of(stage)
    useful = 60 * resources.minutes - resources.signal_seconds
    found = []
    if stage == "train" and max(load.took) > useful:
        times = math.ceil(max(load.took) / useful)
        found.append(
            f"train: the longest takes {times} jobs of {resources.minutes} minutes: it queues again"
        )
    if stage != "train" and max(load.each) > useful:
        found.append(
            f"{stage}: a unit takes longer than the {resources.minutes} minutes of a job: raise minutes"
        )
    if len(load.orders) > 1:
        found.append(
            f"{stage}: split into {len(load.orders)} arrays of at most {of.most_elements(stage)} elements"
        )
    found += [f"{stage}: {why}" for why in queue.refusals(resources)]
    return found


def _bytes(job: Job) -> float:
    """Returns the bytes that a unit leaves."""
    spec = job.specs[0]
    if isinstance(spec, SampleSpec):
        channels, height, width = data_card(spec.train.dataset).shape
        return spec.batch * channels * height * width * (4 if spec.quantise == "none" else 1)
    if job.stage == "train":
        train = spec if isinstance(spec, TrainSpec) else spec.train
        files = (
            1 if isinstance(spec, AverageSpec) or train.checkpoint is not None else 2
        )  # and what it resumes from
        return files * COPIES * 4.0 * sum(net.parameters for net in networks(train) or ())
    return 0.0


def _span(seconds: Sequence[float]) -> str:
    low, high = _words(min(seconds)), _words(max(seconds))
    return low if low == high else f"{low} to {high}"


def _words(seconds: float) -> str:
    if seconds < 120:
        return f"{two(seconds)} s"
    if seconds < 7200:
        return f"{two(seconds / 60)} min"
    return f"{two(seconds / 3600)} h" if seconds < 72 * 3600 else f"{two(seconds / 86400)} days"
