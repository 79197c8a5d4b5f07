"""What became of a unit, from its files alone: workers, drivers, status and report all read it
here.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from bench.execute.lease import holder
from bench.frozen import dataclass
from bench.store import Store, UnitId

DEATHS = 3
"""How often a unit may take its process down (killed, out of memory) in one run before it counts
as failed.
"""

MOST_HEADER = 2**27
"""Bytes of a checkpoint's header that are read at most: a damaged file may claim any number."""


@dataclass(frozen=True)
class Outcome:
    """State of one unit: done, running, failed, or waiting (to be done, or to be done again).

    Args:
        cause: Of a failure, in one line.
        log: Path of the output of the last attempt.
        attempts: How many there were.
        live: What the holder of the lease notes while running.
        tail: The last lines that a failed attempt wrote, if they say more than the cause.
    """

    state: str
    cause: str = ""
    log: str = ""
    attempts: int = 0
    live: dict[str, Any] | None = None
    tail: tuple[str, ...] = ()


def is_done(store: Store, records: Iterable[UnitId]) -> bool:
    """Tells whether all of these records are in the store and sound."""
    return all(store.record(*record) is not None for record in records)


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
        run: Count only failures of this run (starting a suite again tries failed units again); by
            default those of the last run that touched the unit.
        results: The records that the unit makes, if there are several (the metrics of one sample
            set).
        leased: Whether to check if somebody holds the unit (its holder does not).
    """
    if is_done(store, results or (unit,)):
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
    # Attempts of a cluster's job do not count: the SLURM driver asks the queue what became of the
    # job, and notes a failure itself once it gives the unit up.
    deaths = sum(
        attempt["state"] in ("died", "running") and "submission" not in attempt for attempt in ours
    )
    if deaths >= DEATHS:
        return Outcome("failed", died_often(deaths), log, len(attempts))
    return Outcome("waiting", log=log, attempts=len(attempts))


def died_often(deaths: int) -> str:
    """Returns the cause of a unit that is given up because its processes keep dying."""
    return f"died {deaths} times without a word (killed from outside, or out of memory?)"


def trained_steps(store: Store, key: str) -> int:
    """Returns the step of the checkpoint of an unfinished training; 0 if there is none."""
    try:
        with open(store.folder("train", key) / "resume.safetensors", "rb") as file:
            header = json.loads(file.read(min(int.from_bytes(file.read(8), "little"), MOST_HEADER)))
        return int(header["__metadata__"]["step"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError, OverflowError):
        return 0
