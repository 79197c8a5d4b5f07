"""The callable that submitit runs: a worker that claims units of a run until nothing is left for
it.

Any number of workers share one list of jobs. Each takes the first unit that is not done, not failed
in this run and not held by a living process, and whose inputs are there. A worker needs no driver:
workers of a driver that was killed go on, and a new driver adopts them.

No torch before :meth:`Work.__call__`.
"""

import contextlib
import os
import sys
import time
import traceback
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.execute.lease import Lease, LostError, holder
from bench.execute.outcome import outcome
from bench.execute.stop import Stop, Stopped
from bench.files import FULL, NOT_OURS, read_json
from bench.plan import Job
from bench.store import DamagedError, Store, UnitId

POLL_SECONDS = 0.3
READY = "worker ready"
BROKEN = "worker broken"


class PlaceError(Exception):
    """The place where results go takes no more: a full disk, a store that is only read, a file
    system without locks.
    """

    @classmethod
    def of(cls, error: OSError, store: Store) -> "PlaceError | None":
        """Returns what an error says of the place, None where it is one of the unit that was being
        made.
        """
        where = str(error.filename or "")
        ours = error.errno in FULL or (
            error.errno in NOT_OURS and Path(where).is_relative_to(store.root)
        )
        return cls(f"{where or 'files'}: {error.strerror}") if ours else None


@dataclass
class Work:
    """Works through the jobs of one run.

    Args:
        orders: File written by the driver: run, store, suite and jobs as plain values.
        registry: Folder where living workers are known by a lease.
        settings: threads, device, checkpoint_seconds and slot.
    """

    orders: str
    registry: str
    settings: dict[str, Any]

    def __call__(self) -> None:
        """Runs until nothing is left; failures are written beside their units and never raised."""
        from submitit import JobEnvironment

        paths = JobEnvironment().paths
        stop = Stop()
        stop.install()
        try:
            work_through(
                Path(self.orders), Path(self.registry), self.settings, stop, log=str(paths.stderr)
            )
        except PlaceError as error:
            with contextlib.suppress(OSError):  # the log may lie on the same full disk
                print(f"{BROKEN}: {error}", file=sys.stderr, flush=True)
        except Exception:
            print(
                BROKEN, file=sys.stderr, flush=True
            )  # not a unit's failure: the place or the installation is broken
            raise

    def checkpoint(self) -> Any:
        """Asks submitit to start the same work again (time limit or preemption); the state is in
        the files.
        """
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def work_through(
    orders: Path,
    registry: Path,
    settings: dict[str, Any],
    stop: Stop,
    log: str = "",
    watch: Callable[[], Any] = lambda: None,
) -> None:
    """Claims and makes units of the run in ``orders`` until none is left that this worker could
    make.

    Args:
        watch: Called after every unit.

    Raises:
        PlaceError: Nothing can be written any more.
    """
    content = read_json(orders)
    if not isinstance(content, dict):
        print("the run is over" if not orders.exists() else f"{orders}: damaged", file=sys.stderr)
        return
    store = Store(content["store"])
    try:
        _work_through(content, store, orders, registry, settings, stop, log, watch)
    except OSError as error:
        raise PlaceError.of(error, store) or error from error


def _work_through(
    content: dict[str, Any],
    store: Store,
    orders: Path,
    registry: Path,
    settings: dict[str, Any],
    stop: Stop,
    log: str,
    watch: Callable[[], Any],
) -> None:
    run = content["run"]
    name = f"{run}-{uuid.uuid4().hex[:8]}"
    facts = {"run": run, "slot": settings.get("slot"), "log": log}
    if superseded(content) is not None:
        print("another driver has taken over and starts workers of its own", file=sys.stderr)
        return
    lease = Lease.take(registry / f"{name}.lease", **facts)
    assert lease is not None, "a fresh name cannot be held"
    with lease:
        if (
            not orders.exists()
        ):  # whoever stops a run takes its orders away, and then looks for workers
            print("the run is over", file=sys.stderr)
            return
        queue = Queue([Job.from_plain(job) for job in content["jobs"]], store, run)
        try:
            stages = start(settings)
            print(READY, file=sys.stderr, flush=True)
            while (claim := queue.claim(stop, log=log)) is not None:
                job, unit, held = claim
                with held:
                    damaged = attempt(stages, job, unit, store, settings, held, stop, run, log)
                if damaged is not None:
                    queue.remake(damaged)
                watch()
                if superseded(content) == "by other jobs":
                    print("another driver has taken over, with other jobs", file=sys.stderr)
                    break
        except Stopped:
            print("stopped as asked", file=sys.stderr)
        except LostError as lost:
            print(lost, file=sys.stderr)


def superseded(orders: dict[str, Any]) -> str | None:
    """Tells whether a driver of another run has taken over, and if so whether with the same jobs.

    A worker that is at work goes on under a new driver that wants the same (it is adopted), and
    leaves otherwise; one that has only just started leaves in either case, for nobody counts it.
    """
    driver = holder(Path(orders["lock"])) if orders.get("lock") else None
    if not driver or driver.get("run", orders["run"]) == orders["run"]:
        return None
    return "by another run" if driver.get("digest") == orders["digest"] else "by other jobs"


def start(settings: dict[str, Any]) -> Any:
    """Imports torch and pins its threads; returns the stages."""
    import torch

    torch.set_num_threads(settings["threads"])
    from bench.stages import context, jobs

    return jobs


def attempt(
    jobs: Any,
    job: Job,
    unit: UnitId,
    store: Store,
    settings: dict[str, Any],
    held: Lease,
    stop: Stop,
    run: str,
    log: str,
    /,
    **facts: Any,
) -> UnitId | None:
    """Makes one unit, noting how it began and how it ended; returns an input that turned out to be
    damaged.

    Args:
        facts: What else is to be noted of the attempt.

    Raises:
        Stopped: As asked.
        LostError: Somebody else was given the unit; then nothing is noted.
        PlaceError: Nothing can be written any more.
    """
    name = uuid.uuid4().hex[:12]
    earlier = close_attempts(store, unit, held.before)
    start = now()
    held.note(attempt=name)
    facts |= {
        "host": os.uname().nodename,
        "pid": os.getpid(),
        "log": log,
        "slot": settings.get("slot"),
    }
    store.note_attempt(unit, attempt=name, run=run, start=start, **facts)
    print(f"{start} {unit} {job.label}", file=sys.stderr, flush=True)
    damaged = place = None
    guarded = Store(store.root, guard=held.check)
    try:
        stop.check()
        stop.gracefully = job.stage == "train"
        context = jobs.Context(
            guarded,
            settings,
            held,
            stop,
            start,
            attempts=len(earlier) + 1,
            earlier_seconds=sum(map(seconds, earlier)),
        )
        jobs.make(job, unit, context)
        ending = {"state": "done"}
    except DamagedError as error:
        # An input went bad: its unit is forgotten, made again, and this one tried again after it.
        store.discard(error.unit)
        damaged = error.unit
        print(f"damaged, to be made again: {error}", file=sys.stderr)
        ending = {"state": "stopped", "cause": f"an input is damaged: {error}"}
    except Stopped:
        guarded.note_attempt(unit, attempt=name, state="stopped", end=now())
        raise
    except LostError:
        raise
    except BaseException as error:
        told = f"{type(error).__name__}: {error}".strip()
        words = told if refuses_input(error) else traceback.format_exc().rstrip()
        with contextlib.suppress(OSError):
            print(words, file=sys.stderr, flush=True)
        ending = {"state": "failed", "cause": told.splitlines()[0], "traceback": words}
        if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
            ending["kind"] = "memory"
        place = PlaceError.of(error, store) if isinstance(error, OSError) else None
    finally:
        stop.gracefully = False
    if place is not None:
        with contextlib.suppress(OSError):  # it may not even take that
            guarded.note_attempt(
                unit, attempt=name, end=now(), **{**ending, "cause": str(place), "kind": "place"}
            )
        raise place
    guarded.note_attempt(unit, attempt=name, end=now(), **ending)
    return damaged


READERS = (
    *(
        "bench.data.collection",
        "bench.data.pictures",
        "bench.data.external",
        "bench.data.scale",
        "bench.data.digest",
        "bench.data.gallery",
    ),
    *(
        "bench.data.splits",
        "bench.data.images",
        "bench.data.idx",
        "bench.data.cifar",
        "bench.data.celeba",
        "bench.metrics.references",
    ),
    *("methods.shared.checkpoint", "methods.shared.weights", "methods.shared.diffusers"),
)
"""Modules that read what people bring, and say themselves what is wrong with it."""


def refuses_input(error: BaseException) -> bool:
    """Whether an error is what a reader says of a file: its message is all there is to say, and no
    fault of code.
    """
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    said = isinstance(error, ValueError | FileNotFoundError) and not isinstance(error, UnicodeError)
    return said and frame is not None and frame.tb_frame.f_globals.get("__name__") in READERS


def close_attempts(store: Store, unit: UnitId, left: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns the attempts at a unit that nobody works on; those that never said how they ended
    have died.

    Args:
        left: What the lease of the last one still said (:attr:`bench.execute.lease.Lease.before`):
            until when it lived.
    """
    attempts = store.attempts(*unit)
    for old in attempts:
        if old["state"] == "running":
            died = {"state": "died", "cause": "the process died without a word"}
            if left.get("attempt") == old["attempt"] and "beat" in left:
                died["end"] = datetime.fromtimestamp(left["beat"], UTC).isoformat(
                    timespec="seconds"
                )
            old.update(died)
            store.note_attempt(unit, attempt=old["attempt"], **died)
    return attempts


def seconds(of: Mapping[str, Any]) -> float:
    """Returns how long an attempt took, 0 where it is not known."""
    try:
        return (
            datetime.fromisoformat(of["end"]) - datetime.fromisoformat(of["start"])
        ).total_seconds()
    except (KeyError, ValueError, TypeError, OverflowError):
        return 0.0


def begun(attempt: Mapping[str, Any], otherwise: float) -> float:
    """Returns when an attempt began, in seconds of the epoch, or something else where it does not
    say.
    """
    try:
        return datetime.fromisoformat(attempt["start"]).timestamp()
    except (KeyError, ValueError, OverflowError):
        return otherwise


def now() -> str:
    """Returns the time, ISO 8601 in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


class Queue:
    """The units of a run, in order, as one worker sees them."""

    def __init__(self, jobs: list[Job], store: Store, run: str) -> None:
        self.store = store
        self.run = run
        self.remaining = [(job, unit) for job in jobs for unit in job.units]
        self.claims = {
            result: (job, job.units[0])
            for job in jobs
            if job.stage == "scores"
            for result in job.results
        }
        self.claims |= {unit: (job, unit) for job, unit in self.remaining}
        self.finished: set[UnitId] = set()

    def claim(self, stop: Stop, **facts: Any) -> tuple[Job, UnitId, Lease] | None:
        """Returns the next unit with its lease held, or None when nothing is left; waits for units
        of others.
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
                lease = Lease.take(
                    self.store.path(unit, ".lease"), run=self.run, label=job.label, **facts
                )
                if lease is None:
                    continue
                if self._is_over(job, unit, ours=True):  # it ended between the look and the lease
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
        if unit in self.claims:
            self.remaining.insert(0, self.claims[unit])

    def _is_over(self, job: Job, unit: UnitId, ours: bool = False) -> bool:
        """Tells whether a unit is done, has failed in this run, or waits for one that has."""
        if all(map(self._is_finished, job.made_by(unit))):
            return True
        return any(map(self._has_failed, job.needs)) or self._has_failed(unit, ours)

    def _is_finished(self, unit: UnitId) -> bool:
        if unit not in self.finished and self.store.record(*unit) is not None:
            self.finished.add(unit)
        return unit in self.finished

    def _has_failed(self, unit: UnitId, ours: bool = False) -> bool:
        if unit in self.finished:
            return False
        results = self.claims[unit][0].made_by(unit) if unit in self.claims else ()
        if outcome(self.store, unit, self.run, results=results, leased=not ours).state == "failed":
            return True
        needs = self.claims[unit][0].needs if unit in self.claims else ()
        return any(map(self._has_failed, needs))
