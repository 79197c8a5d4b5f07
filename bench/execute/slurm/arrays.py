"""Which arrays make a set of units: levels of what needs what, units packed into array tasks, array
tasks split into arrays that the site takes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from bench.execute.board import Board
from bench.execute.outcome import trained_steps
from bench.execute.slurm import queue
from bench.execute.slurm.packing import Sizes
from bench.execute.slurm.resources import Resources, Slurm
from bench.execute.slurm.submission import Order
from bench.store import STAGES, UnitId

MEMORY_FACTOR = 1.5
"""How much more memory units get whose job ran out of it."""

ALONE = frozenset({"died", "time", "node"})
"""Endings that may be a unit's own doing and take its whole job along: it is tried again alone."""


@dataclass
class Tries:
    """How earlier jobs of units ended in this run, as far as it changes their next one."""

    kinds: dict[UnitId, list[str]] = field(default_factory=dict)
    needs_more_memory: set[UnitId] = field(default_factory=set)


class ArrayPlanner:
    """Plans the arrays of a run.

    Args:
        sizes: Seconds that units are expected to take.
        limits: Of the site.

    Attributes:
        tries: How earlier jobs ended; the driver notes it here.
        room: Most jobs in the queue, as refusals of sbatch have shown; None if it never refused.
    """

    def __init__(
        self, board: Board, executor: Slurm, sizes: Sizes, limits: queue.Limits | None = None
    ) -> None:
        self.board = board
        self.executor = executor
        self.sizes = sizes
        self.limits = limits or queue.Limits()
        self.tries = Tries()
        self.room: int | None = None

    def levels(self, units: Iterable[UnitId]) -> list[list[UnitId]]:
        """Returns units in levels, one stage each, each of which needs only earlier ones."""
        depth: dict[tuple[str, str], int] = {}  # that of all units of a job
        wanted = list(units)
        for start in {(unit.stage, unit.key): None for unit in wanted}:
            open_ = [start]
            while open_:  # no recursion: a chain of snapshots may be long
                job = self.board.jobs.get(open_[-1])
                needs = set() if job is None else {need[:2] for need in job.needs}
                if deeper := [need for need in needs if need not in depth]:
                    open_ += deeper
                    continue
                deepest = max((depth[need] for need in needs), default=0)
                depth[open_.pop()] = 0 if job is None else 1 + deepest
        levels: dict[tuple[int, int], list[UnitId]] = {}
        for unit in wanted:
            levels.setdefault((depth[unit[:2]], STAGES.index(unit.stage)), []).append(unit)
        return [levels[level] for level in sorted(levels)]

    def orders(self, units: Sequence[UnitId]) -> list[Order]:
        """Returns the arrays that make units, one or more per stage and class of resources."""
        classes: dict[tuple[str, float], list[UnitId]] = {}
        for unit in units:
            memory = MEMORY_FACTOR if unit in self.tries.needs_more_memory else 1.0
            classes.setdefault((unit.stage, memory), []).append(unit)
        orders = []
        for (stage, memory), members in classes.items():
            resources = self.executor.of(stage)
            alone = {unit for unit in members if ALONE & set(self.tries.kinds.get(unit, []))}
            packed = self._pack([unit for unit in members if unit not in alone], resources, stage)
            tasks = [*packed, *((unit,) for unit in members if unit in alone)]
            for part in split(tasks, self.most_array_tasks(stage)):
                steps = {
                    unit.key: step
                    for units in part
                    for unit in units
                    if stage == "train" and (step := trained_steps(self.board.store, unit.key))
                }
                orders.append(
                    Order(
                        array_tasks=part,
                        steps=steps,
                        stage=stage,
                        resources=resources,
                        memory=memory,
                    )
                )
        return orders

    def _pack(
        self, units: Sequence[UnitId], resources: Resources, stage: str
    ) -> list[tuple[UnitId, ...]]:
        most = 0 if resources.units == "auto" else resources.units
        if stage == "train" and resources.world > 1:
            most = 1  # a failure would leave the other processes in the middle of a step
        # A job must end before its time limit does, whatever the target.
        limit = 60 * resources.minutes - resources.signal_seconds
        target = min(60 * resources.element_minutes, limit)
        return pack(units, most, [self.sizes.of(unit) for unit in units], target)

    def most_array_tasks(self, stage: str) -> int:
        """Returns the most tasks of an array: those of the executor file, and no more than the site
        and its queue take.
        """
        most = self.limits.array or 1000
        asked = self.executor.of(stage).array_size
        size = most if asked == "auto" else min(asked, most)
        limit = self.submit_limit
        return size if limit is None else max(1, min(size, limit))

    @property
    def submit_limit(self) -> int | None:
        """Most jobs in the queue at once, None if nothing limits them."""
        limit = self.executor.submit_limit
        limits = (None if limit == "auto" else limit, self.limits.submit, self.room)
        return min(filter(None, limits), default=None)


def pack(
    units: Sequence[UnitId], most: int, sizes: Sequence[float], target: float
) -> list[tuple[UnitId, ...]]:
    """Packs units, in their order, into array tasks.

    Args:
        most: Most units of an array task; 0 for as many as fit the target.
        sizes: Seconds that each is expected to take.
        target: Seconds that an array task should take.
    """
    tasks: list[tuple[UnitId, ...]] = []
    filling: list[UnitId] = []
    filled = 0.0
    for unit, size in zip(units, sizes, strict=True):
        full = len(filling) >= most if most else filled + size > target
        if filling and full:
            tasks.append(tuple(filling))
            filling, filled = [], 0.0
        filling.append(unit)
        filled += size
    return [*tasks, tuple(filling)] if filling else tasks


def split(tasks: Sequence[tuple[UnitId, ...]], size: int) -> list[tuple[tuple[UnitId, ...], ...]]:
    """Splits array tasks into arrays of at most that many."""
    return [tuple(tasks[start : start + size]) for start in range(0, len(tasks), size)]
