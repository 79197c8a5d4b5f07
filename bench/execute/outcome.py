"""What became of a unit, from its files alone: the one reading that workers, driver, status and
report share.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.execute.lease import holder
from bench.store import Store, UnitId

DEATHS = 3
"""How many times a unit may take its process down (killed, out of memory) before it is given up in
one run.
"""


@dataclass(frozen=True)
class Outcome:
    """State of one unit: done, running, failed, or waiting (to be done, or to be done again).

    Args:
        cause: Of a failure, in one line.
        log: Where the output of the last attempt lies.
        attempts: How many there were.
        live: What the holder of the lease notes while running.
        tail: The last words of what failed, where they say more than the cause.
    """

    state: str
    cause: str = ""
    log: str = ""
    attempts: int = 0
    live: dict[str, Any] | None = None
    tail: tuple[str, ...] = ()


def outcome(
    store: Store,
    unit: UnitId,
    run: str | None = None,
    *,
    results: Sequence[UnitId] = (),
    leased: bool = True,
) -> Outcome:
    """Returns what became of a unit.

    Args:
        run: Judge failures by this run's attempts alone (starting a suite again tries failed units
            again); by default those of the last run that touched the unit.
        results: The records that the unit makes, where it makes several (the metrics of one sample
            set).
        leased: Look whether somebody holds the unit (the holder itself does not).
    """
    if all(store.record(*result) is not None for result in results or (unit,)):
        return Outcome("done")
    live = holder(store.path(unit, ".lease")) if leased else None
    attempts = store.attempts(*unit)
    last = attempts[-1] if attempts else {}
    log = last.get("log") or ""
    if live is not None:
        return Outcome("running", log=log, attempts=len(attempts), live=live)
    run = last.get("run") if run is None else run
    ours = [attempt for attempt in attempts if attempt["run"] == run]
    if ours and ours[-1]["state"] == "failed":
        tail = tuple(ours[-1].get("tail", ()))
        return Outcome("failed", ours[-1].get("cause", ""), log, len(attempts), tail=tail)
    # Whether a unit of a cluster's job is given up is for its driver to say, which asks SLURM what
    # became of the job.
    deaths = sum(
        attempt["state"] in ("died", "running") and "submission" not in attempt for attempt in ours
    )
    if deaths >= DEATHS:
        cause = f"died {deaths} times without a word (killed from outside, or out of memory?)"
        return Outcome("failed", cause, log, len(attempts))
    return Outcome("waiting", log=log, attempts=len(attempts))
