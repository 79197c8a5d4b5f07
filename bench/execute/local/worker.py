"""The callable that submitit runs on this machine: a worker that claims units of a run until none
is left for it.

Any number of workers share one list of jobs. Each takes the first unit that is not done, has not
failed in this run, is not held by a living process, and whose inputs are done. A worker needs no
driver: workers of a driver that was killed go on, and a new driver adopts them.

No torch before :meth:`Work.__call__`.
"""

import contextlib
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.execute.attempt import Attempt, Process, start
from bench.execute.board import Board
from bench.execute.launcher import JobProcess, run_again
from bench.execute.lease import Lease, LostError, holder
from bench.execute.outcome import is_done, outcome
from bench.execute.place import PlaceError
from bench.execute.stop import Stop, Stopped
from bench.files import read_json
from bench.plan import Job
from bench.store import Store, UnitId

POLL_SECONDS = 0.3
READY = "worker ready"
BROKEN = "worker broken"


@dataclass
class Work:
    """Works through the jobs of one run.

    Args:
        orders: File written by the driver: run, store, suite and jobs as plain values.
        registry: Folder of the leases of living workers.
        settings: threads, device, checkpoint_seconds and slot.
    """

    orders: str
    registry: str
    settings: dict[str, Any]

    def __call__(self) -> None:
        """Runs until nothing is left; failures are noted beside their units and never raised."""
        stop = Stop()
        stop.install()
        worker = Worker(
            Path(self.orders), Path(self.registry), self.settings, stop, JobProcess().log
        )
        try:
            worker.work()
        except PlaceError as error:
            with contextlib.suppress(OSError):  # the log may lie on the same full disk
                print(f"{BROKEN}: {error}", file=sys.stderr, flush=True)
        except Exception:
            # Not a unit's failure: the place or the installation is broken.
            print(BROKEN, file=sys.stderr, flush=True)
            raise

    def checkpoint(self) -> Any:
        """Asks submitit to start the same work again (time limit or preemption); the state is in
        the files.
        """
        return run_again(self)


@dataclass
class Worker:
    """A worker of the run in ``orders``.

    Args:
        log: Path of its output.
        watch: Called after every unit.
    """

    orders: Path
    registry: Path
    settings: dict[str, Any]
    stop: Stop
    log: str = ""
    watch: Callable[[], Any] = lambda: None

    def work(self) -> None:
        """Claims and makes units until none is left that this worker could make.

        Raises:
            PlaceError: Nothing can be written any more.
        """
        orders = read_json(self.orders)
        if not isinstance(orders, dict):
            there = self.orders.exists()
            print(f"{self.orders}: damaged" if there else "the run is over", file=sys.stderr)
            return
        store = Store(orders["store"])
        try:
            self._work(orders, store)
        except OSError as error:
            raise PlaceError.of(error, store) or error from error

    def _work(self, orders: dict[str, Any], store: Store) -> None:
        run = orders["run"]
        if superseded(orders) is not None:
            print("another driver has taken over and starts its own workers", file=sys.stderr)
            return
        facts = {"run": run, "slot": self.settings.get("slot"), "log": self.log}
        lease = Lease.take(self.registry / f"{run}-{uuid.uuid4().hex[:8]}.lease", **facts)
        assert lease is not None, "a fresh name cannot be held"
        with lease:
            # Whoever stops a run first takes its orders away and then counts its workers: a worker
            # that is registered and still has orders is counted.
            if not self.orders.exists():
                print("the run is over", file=sys.stderr)
                return
            board = Board([Job.from_plain(job) for job in orders["jobs"]], store, run)
            try:
                start(self.settings)
                print(READY, file=sys.stderr, flush=True)
                self._make_all(orders, board)
            except Stopped:
                print("stopped as asked", file=sys.stderr)
            except LostError as lost:
                print(lost, file=sys.stderr)

    def _make_all(self, orders: dict[str, Any], board: Board) -> None:
        process = Process(board.store, self.settings, self.stop, orders["run"], self.log)
        queue = Queue(board)
        while (claim := queue.claim(self.stop, log=self.log)) is not None:
            job, unit, lease = claim
            with lease:
                damaged = Attempt(process, job, unit, lease).make()
            if damaged is not None:
                queue.remake(damaged)
            self.watch()
            if superseded(orders) == "by other jobs":
                print("another driver has taken over, with other jobs", file=sys.stderr)
                return


def superseded(orders: dict[str, Any]) -> str | None:
    """Tells whether a driver of another run has taken over, and if so whether with the same jobs.

    A worker that is at work goes on under a new driver that wants the same (it is adopted), and
    leaves otherwise; one that has only just started leaves in either case, since nobody counts it.
    """
    driver = holder(Path(orders["lock"])) if orders.get("lock") else None
    if not driver or driver.get("run", orders["run"]) == orders["run"]:
        return None
    return "by another run" if driver.get("digest") == orders["digest"] else "by other jobs"


class Queue:
    """The units of a run, in order, as one worker takes them."""

    def __init__(self, board: Board) -> None:
        self.board = board
        self.remaining = [(job, unit) for unit, job in board.units.items()]
        # By whatever may be needed or found damaged: a unit, or one of the metrics of a sample set.
        self.owners = {
            result: (job, job.units[0])
            for job in board.jobs.values()
            if job.stage == "scores"
            for result in job.results
        }
        self.owners |= {unit: (job, unit) for job, unit in self.remaining}
        self.finished: set[UnitId] = set()

    def claim(self, stop: Stop, **facts: Any) -> tuple[Job, UnitId, Lease] | None:
        """Returns the next unit with its lease held, None if nothing is left; waits for units that
        others are making.
        """
        while True:
            stop.check()
            left = []
            for index, (job, unit) in enumerate(self.remaining):
                if self._is_over(job, unit):
                    continue
                left.append((job, unit))
                if not all(map(self._is_finished, job.needs)):
                    continue
                path = self.board.store.path(unit, ".lease")
                lease = Lease.take(path, run=self.board.run, label=job.label, **facts)
                if lease is None:
                    continue
                if self._is_over(job, unit, ours=True):  # it ended before we had the lease
                    lease.release()
                    left.pop()
                    continue
                self.remaining = left + self.remaining[index + 1 :]
                return job, unit, lease
            self.remaining = left
            if not left:
                return None
            time.sleep(POLL_SECONDS)

    def remake(self, unit: UnitId) -> None:
        """Puts back a unit whose files turned out to be damaged."""
        self.finished.discard(unit)
        if unit in self.owners:
            self.remaining.insert(0, self.owners[unit])

    def _is_over(self, job: Job, unit: UnitId, ours: bool = False) -> bool:
        """Tells whether a unit is done, has failed in this run, or needs one that has."""
        if all(map(self._is_finished, job.made_by(unit))):
            return True
        return any(map(self._has_failed, job.needs)) or self._has_failed(unit, ours)

    def _is_finished(self, record: UnitId) -> bool:
        """Tells whether a record is in the store; those that are are not read again."""
        if record not in self.finished and is_done(self.board.store, [record]):
            self.finished.add(record)
        return record in self.finished

    def _has_failed(self, unit: UnitId, ours: bool = False) -> bool:
        if unit in self.finished:
            return False
        job = self.owners[unit][0] if unit in self.owners else None
        results = () if job is None else job.made_by(unit)
        run, store = self.board.run, self.board.store
        if outcome(store, unit, run, results=results, leased=not ours).state == "failed":
            return True
        return job is not None and any(map(self._has_failed, job.needs))
