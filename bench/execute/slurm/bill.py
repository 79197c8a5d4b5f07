"""What the missing units of a suite cost, by point, by stage and by budget."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from bench.execute.slurm.arrays import ArrayPlanner
from bench.execute.slurm.packing import Sizes
from bench.execute.slurm.quantities import flops, two_digits
from bench.execute.slurm.submission import Order
from bench.store import STAGES, UnitId

START_SECONDS = 15.0
"""What a job takes before its first unit: the queue's own pace, Python, torch."""

SHOWN_BUDGETS = 2
"""Budgets whose share of the whole is shown: those that cost most."""


class Load:
    """The jobs of one stage, as they would be submitted.

    Args:
        orders: Its arrays.

    Attributes:
        each: Seconds of the units.
        took: Seconds of the jobs.
    """

    def __init__(self, orders: list[Order], sizes: Sizes) -> None:
        self.orders = orders
        self.stage = orders[0].stage
        jobs = [
            [sizes.of(unit) for unit in units] for order in orders for units in order.array_tasks
        ]
        self.each = [seconds for job in jobs for seconds in job]
        self.took = [sum(job) + START_SECONDS for job in jobs]

    def hours(self, of: str) -> float:
        """Returns GPU-hours ("gpus") or CPU-hours ("cpus") of all its units."""
        return sum(self.each) * self._held(of) / 3600

    @property
    def start_hours(self) -> float:
        """GPU-hours until its jobs begin with their first units."""
        return len(self.took) * START_SECONDS * self._held("gpus") / 3600

    def _held(self, of: str) -> int:
        """Returns the GPUs or CPUs that one of its jobs holds."""
        resources = self.orders[0].resources
        on_node = resources.gpus_on_node.count if of == "gpus" else resources.cpus * resources.tasks
        return on_node * resources.nodes

    @property
    def wall(self) -> float:
        """Seconds until its last job ends, without waiting in the queue."""
        at_once = min(self.orders[0].resources.at_once, len(self.took))
        return max(max(self.took), sum(self.took) / at_once)


class Bill:
    """Hours of what the missing units run on: GPUs if their stage has any, else CPUs.

    Attributes:
        counts: Missing units by stage and key.
        hours: By stage and key.
        flops: Of all of them.
    """

    def __init__(self, planner: ArrayPlanner, missing: Sequence[UnitId]) -> None:
        self.jobs = planner.board.jobs
        self.executor = planner.executor
        self.sizes = planner.sizes
        self.hours: dict[tuple[str, str], float] = {}
        self.stages: dict[str, list[UnitId]] = {}
        self.flops_of: defaultdict[str, float] = defaultdict(float)
        self.counts = Counter((unit.stage, unit.key) for unit in missing)
        for (stage, key), count in self.counts.items():
            unit, resources = self.jobs[stage, key].units[0], self.executor.of(stage)
            on_node = resources.gpus_on_node.count or resources.cpus * resources.tasks
            devices = resources.nodes * on_node
            self.hours[stage, key] = self.sizes.of(unit) * count * devices / 3600
            self.stages.setdefault(stage, []).append(unit)
            work = self.sizes.work.of(unit)
            if work is not None:
                self.flops_of[stage] += count * (work.flops + work.host_flops)
        self.flops = sum(self.flops_of.values())

    def hour(self, stage: str) -> str:
        """Returns the unit of a stage's hours."""
        return "GPU-h" if self.executor.of(stage).gpus_on_node.count else "CPU-h"

    def by_stage(self, loads: Sequence[Load]) -> list[str]:
        """Returns a line per stage: FLOPs, hours, and the throughput that was taken."""
        lines = []
        for stage in (name for name in STAGES if name in self.stages):
            of = "gpus" if self.hour(stage) == "GPU-h" else "cpus"
            hours = two_digits(sum(load.hours(of) for load in loads if load.stage == stage))
            reasons = Counter(self.sizes.explain(unit) for unit in self.stages[stage])
            why = "; ".join(reason for reason, _ in reasons.most_common(2))
            why += "; ..." if len(reasons) > 2 else ""
            work = [self.sizes.work.of(unit) for unit in self.stages[stage]]
            if any(each is not None and each.guessed for each in work):
                why += ", evaluations of adaptive solvers guessed"
            computed = flops(self.flops_of[stage])
            lines.append(f"{stage:<10} {computed:>10} {hours:>8} {self.hour(stage)}  by {why}")
        return lines

    def by_point(self) -> list[str]:
        """Returns a line per point with something left to make: training, likelihood, sampling,
        scoring.
        """
        scoring: defaultdict[tuple[str, str], float] = defaultdict(float)
        alone = []  # scores of images made elsewhere
        models: defaultdict[UnitId, float] = defaultdict(float)
        for place, job in self.jobs.items():
            if job.stage == "scores" and place in self.hours:
                sets = {(need.stage, need.key) for need in job.needs}
                for sample_set in sets:
                    scoring[sample_set] += self.hours[place]
                alone += [] if sets else [("", "", "", two_digits(self.hours[place]), job.label)]
            if job.stage == "likelihood" and place in self.hours:
                models[job.needs[0]] += self.hours[place]
        trained: dict[UnitId, float] = {}
        rows = []
        for place, job in self.jobs.items():
            if job.stage == "samples" and (place in self.hours or place in scoring):
                model = job.needs[0]
                hours = (models[model], self.hours.get(place, 0.0), scoring[place])
                cells = (self._training(model, trained), *hours)
                rows.append((*map(two_digits, cells), job.label))
        if not rows and not alone:
            return []
        names = {"train": "training", "likelihood": "likelihood"}
        names |= {"samples": "sampling", "scores": "scoring"}
        head = " ".join(f"{f'{name} {self.hour(stage)}':>16}" for stage, name in names.items())
        return [
            head + "  point (a model's training and likelihood are shared by its points)",
            *(" ".join(f"{cell:>16}" for cell in row[:4]) + f"  {row[4]}" for row in rows + alone),
        ]

    def _training(self, model: UnitId, hours: dict[UnitId, float]) -> float:
        """Returns the hours until a model is trained, with the trainings that it goes on from.

        Args:
            hours: Those of models that were asked for before; added to.
        """
        chain = []
        while model not in hours:
            chain.append(model)
            job = self.jobs.get((model.stage, model.key))
            if job is None or not job.needs:
                hours[model] = 0.0 if job is None else self.hours.get((model.stage, model.key), 0.0)
                chain.pop()
                break
            model = job.needs[0]
        for later in reversed(chain):
            hours[later] = hours[model] + self.hours.get((later.stage, later.key), 0.0)
            model = later
        return hours[model]

    def by_budget(self, budgets: Mapping[str, int]) -> list[str]:
        """Returns the share of sampling at the budgets that cost most."""
        found: defaultdict[int, float] = defaultdict(float)
        for (stage, key), hours in self.hours.items():
            job = self.jobs[stage, key]
            work = self.sizes.work.of(job.units[0]) if stage == "samples" else None
            if work is not None and work.nfe is not None and not work.guessed:
                found[budgets.get(job.label, round(work.nfe))] += hours
        hour = self.hour("samples")
        whole = sum(hours for (stage, _), hours in self.hours.items() if self.hour(stage) == hour)
        costly = sorted(found.items(), key=lambda one: -one[1])[:SHOWN_BUDGETS]
        shares = [
            f"{two_digits(hours)} {hour} at {nfe:,} NFE ({two_digits(100 * hours / whole)} %)"
            for nfe, hours in sorted(costly, reverse=True)
            if whole
        ]
        return [f"of these, sampling takes {', '.join(shares)}"] if shares else []
