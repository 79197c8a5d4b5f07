"""How a driver is asked to leave: by a signal on its host, or by a file from any other host."""

import contextlib
import json
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from bench.execute.attempt import now
from bench.execute.lease import Lease
from bench.files import put_aside, read_json, write


class Interrupted(BaseException):
    """The driver was asked to stop by a signal."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def interrupt(number: int, frame: FrameType | None) -> None:
    """Handles a signal by raising :class:`Interrupted`; later signals do not disturb what follows
    from it.
    """
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, lambda number, frame: None)
    raise Interrupted(number)


@contextlib.contextmanager
def handling(handler: Callable[[int, FrameType | None], None] = interrupt) -> Iterator[None]:
    """Handles SIGINT and SIGTERM by ``handler`` inside the context."""
    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def ask_to_cancel(results: Path, driver: Mapping[str, Any]) -> None:
    """Asks a driver, on whatever host, to leave at its next poll.

    Args:
        driver: What it noted in its lease. The token names it, so no two clocks have to agree.
    """
    write(results / "cancel", json.dumps({"driver": driver.get("token"), "at": now()}).encode())


def is_cancelled(results: Path, lease: Lease) -> bool:
    """Tells whether the driver that holds a lease has been asked to leave."""
    asked = read_json(results / "cancel")
    return isinstance(asked, dict) and asked.get("driver") == lease.token


def sweep_orders(results: Path) -> None:
    """Deletes the orders of killed drivers: workers that start by them would find no driver."""
    for orders in results.glob("jobs/*/orders.json"):
        with contextlib.suppress(OSError):
            put_aside(orders) if orders.is_dir() else orders.unlink(missing_ok=True)
