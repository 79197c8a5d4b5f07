"""State of a row: done, or which of the units that it needs is missing, and why."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from bench.plan import METRICS_PART
from bench.report.records import Records
from bench.store import UnitId

URGENCY = {"failed": 0, "running": 1, "waiting": 2, "done": 3}
"""Order in which the states of several points are named."""


class State(NamedTuple):
    """State, cause and path of the log of one point."""

    state: str
    cause: str = ""
    log: str = ""


def state_of(records: Records, units: Mapping[str, Sequence[UnitId]]) -> State:
    """Returns the state of the first unit that failed, else of the first stage not finished.

    Args:
        units: By stage, in the order in which they are made.
    """
    pending = State("done")
    for name, stage in units.items():
        missing = [unit for unit in stage if records.record(unit) is None]
        several = name in ("samples", "likelihood") and len(stage) > 1
        makes: Sequence[UnitId] = ()
        attempted = missing
        if missing and name == "metrics":  # one pass over the images makes them all
            attempted, makes = [stage[0]._replace(part=METRICS_PART)], stage
        for unit in attempted:
            outcome = records.outcome(unit, makes)
            where = f"{name} {unit.part}" if several else name
            if outcome.state == "failed":
                cause = f"{where} failed: {outcome.cause or 'cause unknown'}"
                return State("failed", cause, _short_path(outcome.log))
            if outcome.state == "running" and pending.state in ("done", "waiting"):
                pending = State("running", f"{where} under way", _short_path(outcome.log))
        if attempted and pending.state == "done":
            count = len(stage) - len(attempted)
            done = f" ({count} of {len(stage)} done)" if len(stage) > 1 else ""
            pending = State("waiting", f"waits for {name}{done}")
    return pending


def _short_path(path: str | None) -> str:
    """Returns a path relative to the current folder if it lies below it."""
    if not path:
        return ""
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else str(path)
