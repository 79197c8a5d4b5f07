"""What the units of a suite have cost: all attempts at them, lost work included."""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.execute.attempt import seconds, start_time
from bench.execute.lease import noted
from bench.plan import Job
from bench.store import Store, UnitId


@dataclass
class Compute:
    """What units have cost in all attempts, in seconds of GPUs, of CPUs, and of wall time.

    Args:
        lost: Wall time of attempts that came to nothing.
    """

    gpu: float = 0.0
    cpu: float = 0.0
    wall: float = 0.0
    lost: float = 0.0

    def add(self, store: Store, unit: UnitId) -> None:
        """Adds the attempts at a unit."""
        spent = wasted = 0.0
        for attempt in store.attempts(*unit):
            took = seconds(attempt)
            if attempt["state"] not in ("done", "running"):
                wasted += took
            if "end" not in attempt:  # it died, or lives: until when, its lease says
                facts = noted(store.path(unit, ".lease"))
                if facts.get("attempt") == attempt["attempt"] and "beat" in facts:
                    took = max(0.0, facts["beat"] - start_time(attempt, facts["beat"]))
            self.gpu += took * attempt.get("gpus", 0)
            self.cpu += took * attempt.get("cpus", 1)
            spent += took
        self.wall += spent
        record = store.record(*unit) if unit.stage == "train" else None
        if record is not None and "seconds" in record:
            # What earlier attempts left in checkpoints was of use.
            wasted -= max(0.0, record["seconds"] - (spent - wasted))
        self.lost += max(0.0, wasted)


def compute(store: Store, jobs: Sequence[Job]) -> Compute:
    """Returns what all attempts at the units of some jobs have cost."""
    total = Compute()
    for job in jobs:
        for unit in job.units:
            total.add(store, unit)
    return total
