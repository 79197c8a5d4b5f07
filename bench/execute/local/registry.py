"""The living workers of a suite, each with a lease in ``workers/``: counting, stopping them."""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench import host
from bench.execute.cancellation import handling, sweep_orders
from bench.execute.launcher import CONTROLLER
from bench.execute.lease import clear_hint, holder
from bench.files import put_aside, scan

GRACE_SECONDS = 30.0
KILL_SECONDS = 5.0


def living(registry: Path) -> list[dict[str, Any]]:
    """Returns what the living workers of a suite note of themselves: host, pid, run, slot, log; and
    the path of their ``lease``.

    The leases of those that have provably ended are deleted.
    """
    alive = []
    for name in scan(registry):
        path = registry / name
        facts = holder(path)
        if facts is not None:
            alive.append({**facts, "lease": str(path)})
        elif name.endswith(".lease"):
            with contextlib.suppress(OSError):
                put_aside(path) if path.is_dir() else path.unlink(missing_ok=True)
    return alive


def signal_workers(workers: Sequence[dict[str, Any]], number: signal.Signals) -> None:
    """Sends a signal to those workers that provably live here, in this pid namespace."""
    for facts in workers:
        if host.lives(facts):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(facts["pid"], number)


def stop_workers(registry: Path, starting: Callable[[], Sequence[Any]] = tuple) -> None:
    """Asks every worker of a suite to stop and waits; those that do not within the grace time are
    killed, and so are all at once if a second signal asks for it.

    The orders of every run are deleted first, so that a worker that a killed driver had just
    started finds none. Workers of other hosts are named, since nothing here can end them.

    Args:
        registry: Folder of the leases of the suite's living workers.
        starting: Returns the jobs that have been started and may not be registered yet.
    """
    sweep_orders(registry.parent)
    for facts in living(registry):
        if not host.lives(facts):
            hint = clear_hint(Path(facts["lease"]), facts)
            print(f"not stopped: a worker, {host.describe(facts)}; {hint}", file=sys.stderr)
    again: list[int] = []
    with handling(lambda number, frame: again.append(number)):
        deadline = time.monotonic() + GRACE_SECONDS
        # A worker and the controllers above it: all of them have to be gone at the end.
        asked: dict[int, dict[str, Any]] = {}
        while (
            (alive := _living_here(registry)) or starting() or any(map(host.lives, asked.values()))
        ):
            if again or time.monotonic() >= deadline:
                _kill(registry, starting, asked)
                return
            new = [facts for facts in alive if facts["pid"] not in asked]
            for facts in new:
                family = [facts, *host.controllers(facts["pid"], CONTROLLER)]
                asked |= {member["pid"]: member for member in family}
            signal_workers(new, signal.SIGTERM)
            time.sleep(0.1)


def _kill(
    registry: Path, starting: Callable[[], Sequence[Any]], asked: Mapping[int, dict[str, Any]]
) -> None:
    """Kills every worker here, those that are only starting included, and waits for their end."""
    deadline = time.monotonic() + KILL_SECONDS
    while time.monotonic() < deadline:
        alive = [*_living_here(registry), *filter(host.lives, asked.values())]
        if not alive and not starting():
            return
        signal_workers(alive, signal.SIGKILL)
        # The controller of a job that is only starting passes SIGTERM on; nothing is begun there.
        for job in starting():
            with contextlib.suppress(OSError, ValueError):
                os.kill(int(job.job_id), signal.SIGTERM)
        time.sleep(0.1)


def _living_here(registry: Path) -> list[dict[str, Any]]:
    return [facts for facts in living(registry) if host.lives(facts)]
