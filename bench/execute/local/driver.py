"""The driver: keeps workers running until every unit of a suite is done or has failed.

It holds ``driver.lock`` in the suite's results folder. Whatever it knows it reads from files, so
one that is killed loses nothing: its workers go on, and the next driver counts them towards its
bound before it starts others.
"""

import contextlib
import json
import os
import shlex
import shutil
import signal
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from bench import host
from bench.execute.attempt import PlaceError, now
from bench.execute.executor import Executor
from bench.execute.lease import Lease, clear_hint, holder
from bench.execute.local.worker import BROKEN, READY, Work, work_through
from bench.execute.outcome import outcome
from bench.execute.stop import Stop
from bench.files import probe, put_aside, read_json, scan, sha256, write
from bench.installation import checkout
from bench.plan import Job
from bench.store import Store, UnitId

POLL_SECONDS = 0.25
GRACE_SECONDS = 30.0
KILL_SECONDS = 5.0
BARREN = 3
"""How many workers in a row may end without having begun a unit before the driver stops starting
others.
"""


class HeldError(Exception):
    """Another driver works on the same results."""


class WorkersFailError(Exception):
    """Workers end before they begin: the environment is broken, not a unit."""


class Interrupted(BaseException):
    """The driver was asked to stop by a signal."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@dataclass
class Tally:
    """How far a run is; what the progress display shows."""

    total: dict[str, int] = field(default_factory=dict)
    done: dict[str, int] = field(default_factory=dict)
    failed: dict[str, int] = field(default_factory=dict)
    images: int = 0
    open: int = 0
    workers: int = 0
    note: str = ""
    live: list[dict[str, Any]] = field(default_factory=list)


class Driver:
    """Runs the jobs of one suite.

    Args:
        jobs: What is to be there in the end; finished units are left alone.
        results: The suite's results folder.
        watch: Called with a :class:`Tally` at every poll.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        store: Store,
        results: Path,
        executor: Executor,
        watch: Callable[[Tally], None] = lambda tally: None,
    ) -> None:
        self.jobs = jobs
        self.store = store
        self.results = results
        self.executor = executor
        self.watch = watch
        self.run = time.strftime("%Y%m%d-%H%M%S-") + uuid.uuid4().hex[:6]
        self.registry = results / "workers"
        self.folder = results / "jobs" / self.run
        self.started: list[Any] = []
        self.over: dict[UnitId, str] = {}
        self.units = [(job, unit) for job in jobs for unit in job.units]
        self.looking = 0.0
        self.tally = Tally()
        for job, _ in self.units:
            self.tally.total[job.stage] = self.tally.total.get(job.stage, 0) + 1

    def __call__(self, lease: Lease) -> None:
        """Works until nothing is left to do, while ``lease`` on the results folder is held
        (:func:`hold`).

        Raises:
            WorkersFailError: Workers cannot start.
            PlaceError: The store takes nothing more.
            Interrupted: SIGINT or SIGTERM came (see :func:`handling`); workers have been stopped.
        """
        sweep_orders(self.results)
        plain = [job.plain() for job in self.jobs]
        digest = sha256(json.dumps(plain, sort_keys=True))
        lease.note(run=self.run, digest=digest)
        orders = {"run": self.run, "digest": digest, "lock": str(lease.path.absolute())}
        if self._look():
            probe(self.store.root)
            for job in self.jobs:
                self.store.tidy(job.stage, job.key)
            self._say_who_cannot_be_seen()
            self._work(lease, {**orders, "store": str(self.store.root.absolute()), "jobs": plain})

    def _work(self, lease: Lease, orders: dict[str, Any]) -> None:
        path = self.folder / "orders.json"
        write(path, json.dumps(orders).encode())
        try:
            if self.executor.cluster == "inline":
                self._inline(path)
            else:
                self._local(path, lease)
        finally:
            path.unlink(missing_ok=True)  # a worker that starts after this finds nothing to do
        for unit, state in self.over.items():
            tries = self.store.attempts(*unit) if state == "failed" else []
            if tries and tries[-1].get("kind") == "place":
                raise PlaceError(tries[-1].get("cause", ""))
        if "failed" not in self.over.values():
            shutil.rmtree(self.folder, ignore_errors=True)

    def _say_who_cannot_be_seen(self) -> None:
        """Tells which units wait for processes that may or may not live."""
        for job, unit in self.units:
            path = self.store.path(unit, ".lease")
            if (
                unit not in self.over
                and path.exists()
                and (facts := holder(path))
                and (hint := clear_hint(path, facts))
            ):
                print(
                    f"{job.stage} {job.label} waits for {host.describe(facts)}: {hint}",
                    file=sys.stderr,
                )

    def _inline(self, orders: Path) -> None:
        stop = Stop()
        with handling(stop.ask):
            work_through(orders, self.registry, self._settings(0), stop, watch=self._look)
        self._look()
        if stop.requested:
            raise Interrupted(stop.number)

    def _local(self, orders: Path, lease: Lease) -> None:
        barren = 0
        try:
            while self._look():
                if is_cancelled(self.results, lease):
                    interrupt(signal.SIGTERM, None)
                taken = {
                    facts.get("slot") for facts in living(self.registry) if host.is_here(facts)
                }
                for slot, job in list(self.started):
                    if not job.done():
                        taken.add(slot)
                        continue
                    self.started.remove((slot, job))
                    self._reopen()
                    if why := _place_of(job):
                        raise PlaceError(why)
                    probe(self.store.root)
                    barren = 0 if _began(job) else barren + 1
                    if barren >= BARREN:
                        raise WorkersFailError(
                            f"{barren} workers ended before they began. {_tail(job.paths.stderr)}"
                        )
                self.tally.workers = len(taken)
                if len(taken) < min(self.executor.slots, self.tally.open):
                    slot = next(number for number in range(len(taken) + 1) if number not in taken)
                    self._submit(orders, slot)
                time.sleep(max(POLL_SECONDS, 2 * self.looking))
        except Interrupted:
            stop_workers(self.registry, lambda: [job for _, job in self.started if not job.done()])
            raise

    def _settings(self, slot: int) -> dict[str, Any]:
        executor = self.executor
        return {
            "threads": executor.threads,
            "device": executor.device,
            "tf32": executor.tf32,
            "compile": executor.compile,
            "checkpoint_seconds": executor.checkpoint_seconds,
            "slot": slot,
        }

    def _submit(self, orders: Path, slot: int) -> None:
        """Starts one worker through submitit; it outlives this process and does not hear its
        Ctrl-C.
        """
        import submitit

        folder = self.folder / uuid.uuid4().hex[:8]
        executor = submitit.LocalExecutor(folder=folder / "%j")
        # Without this the worker's parent would hold our standard output open after we are gone.
        redirect = f"exec >> {shlex.quote(str(folder / 'controller.log'))} 2>&1 < /dev/null"
        # By a line of the shell, for submitit takes numbers only, and hides every GPU where none is
        # given.
        gpu = f"export CUDA_VISIBLE_DEVICES={shlex.quote(self.executor.gpu(slot) or '')}"
        executor.update_parameters(
            timeout_min=60 * 24 * 365, setup=[redirect, gpu, *self.executor.setup]
        )
        threads = str(self.executor.threads)
        environment = {
            "OMP_NUM_THREADS": threads,
            "MKL_NUM_THREADS": threads,
            "OPENBLAS_NUM_THREADS": threads,
            "PYTHONPATH": os.pathsep.join(
                filter(None, [str(checkout()), os.environ.get("PYTHONPATH")])
            ),
        }
        with _undisturbed(), _environment(environment), _deaf():
            work = Work(str(orders.absolute()), str(self.registry.absolute()), self._settings(slot))
            self.started.append((slot, executor.submit(work)))

    def _look(self) -> int:
        """Looks at every open unit and shows the tally; returns how many can still be made."""
        begin = time.monotonic()
        tally = self.tally
        tally.live, tally.open = [], 0
        for job, unit in self.units:
            if unit not in self.over:
                self._look_at(job, unit)
        self.looking = time.monotonic() - begin
        self.watch(tally)
        return tally.open

    def _look_at(self, job: Job, unit: UnitId) -> None:
        states = {self.over.get(need) for need in job.needs}
        if states & {"failed", "blocked"}:
            self._close(job, unit, "blocked")
            return
        if states <= {"done"}:
            seen = outcome(self.store, unit, self.run, results=job.made_by(unit))
            if seen.state in ("done", "failed"):
                self._close(job, unit, seen.state)
                return
            if seen.live is not None:
                self.tally.live.append({**seen.live, "stage": job.stage})
        self.tally.open += 1

    def _reopen(self) -> None:
        """Looks again at what counted as done: a worker may have found it damaged, and failed to
        make it again.
        """
        self.over = {unit: state for unit, state in self.over.items() if state == "failed"}
        self.tally.done, self.tally.failed, self.tally.images = {}, {}, 0
        for job, unit in self.units:
            if self.over.get(unit) == "failed":
                self.tally.failed[job.stage] = self.tally.failed.get(job.stage, 0) + 1

    def _close(self, job: Job, unit: UnitId, state: str) -> None:
        self.over[unit] = state
        counts = self.tally.done if state == "done" else self.tally.failed
        counts[job.stage] = counts.get(job.stage, 0) + 1
        if state == "done" and job.stage == "samples":
            self.tally.images += job.images // len(job.parts)


def stop_workers(registry: Path, starting: Callable[[], Sequence[Any]] = tuple) -> None:
    """Asks every worker of a suite to stop and waits; those that do not within the grace time are
    killed.

    The orders of every run are taken away, so that a worker that a killed driver had just started
    finds none. Whoever is impatient, and asks for a stop once more, has all of them killed at once.
    Workers that are not of this host are named, for nothing here can end them.

    Args:
        registry: Where the suite's living workers are known.
        starting: Returns the jobs that have been started and may not be known yet.
    """
    sweep_orders(registry.parent)
    for facts in living(registry):
        if not host.lives(facts):
            hint = clear_hint(Path(facts["lease"]), facts)
            print(f"not stopped: a worker, {host.describe(facts)}; {hint}", file=sys.stderr)
    again: list[int] = []
    with handling(lambda number, frame: again.append(number)):
        deadline = time.monotonic() + GRACE_SECONDS
        asked: dict[int, dict[str, Any]] = {}
        while (
            (alive := _living_here(registry)) or starting() or any(map(host.lives, asked.values()))
        ):
            if again or time.monotonic() >= deadline:
                _kill(registry, starting, asked)
                return
            new = [facts for facts in alive if facts["pid"] not in asked]
            for facts in new:
                family = [facts, *host.controllers(facts["pid"], "submitit")]
                asked |= {member["pid"]: member for member in family}
            signal_workers(new, signal.SIGTERM)
            time.sleep(0.1)


def _kill(
    registry: Path, starting: Callable[[], Sequence[Any]], asked: Mapping[int, dict[str, Any]]
) -> None:
    """Kills every worker here, those included that are only starting, and waits until they are
    gone.
    """
    deadline = time.monotonic() + KILL_SECONDS
    while time.monotonic() < deadline:
        alive = [*_living_here(registry), *filter(host.lives, asked.values())]
        if not alive and not starting():
            return
        signal_workers(alive, signal.SIGKILL)
        for (
            job
        ) in starting():  # its controller passes SIGTERM on, and the worker has not begun anything
            with contextlib.suppress(OSError, ValueError):
                os.kill(int(job.job_id), signal.SIGTERM)
        time.sleep(0.1)


def _living_here(registry: Path) -> list[dict[str, Any]]:
    return [facts for facts in living(registry) if host.lives(facts)]


def sweep_orders(results: Path) -> None:
    """Deletes the orders that drivers left which were killed: workers that start by them would find
    no driver.
    """
    for orders in results.glob("jobs/*/orders.json"):
        with contextlib.suppress(OSError):
            put_aside(orders) if orders.is_dir() else orders.unlink(missing_ok=True)


def ask_to_cancel(results: Path, driver: Mapping[str, Any]) -> None:
    """Tells a driver, on whatever host, to leave at its next look.

    Args:
        driver: What it noted in its lease, whose token names it: no clock has to agree with another
            one.
    """
    write(results / "cancel", json.dumps({"driver": driver.get("token"), "at": now()}).encode())


def is_cancelled(results: Path, lease: Lease) -> bool:
    """Tells whether the driver that holds a lease has been asked to leave."""
    asked = read_json(results / "cancel")
    return isinstance(asked, dict) and asked.get("driver") == lease.token


def hold(results: Path) -> Lease:
    """Returns the lease on a suite's results folder, which one driver holds from its first look to
    its report.

    Raises:
        HeldError: Another driver holds it.
    """
    lock = results / "driver.lock"
    lease = Lease.take(lock)
    if lease is None:
        facts = holder(lock) or {}
        remedy = (
            clear_hint(lock, facts) or "wait for it, or stop it with: run_bench.py cancel SUITE"
        )
        raise HeldError(
            f"{results} is held by another driver: {host.describe(facts)}, run {facts.get('run')}; {remedy}"
        )
    return lease


def living(registry: Path) -> list[dict[str, Any]]:
    """Returns what the living workers of a suite note of themselves: host, pid, run, slot, log; and
    where (``lease``).

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
    """Sends a signal to those processes that are of this host and pid namespace, and the very ones
    that are meant.
    """
    for facts in workers:
        if host.lives(facts):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(facts["pid"], number)


def _place_of(job: Any) -> str:
    """Returns what a worker that could write nothing more said of the place; empty where none
    did.
    """
    with contextlib.suppress(OSError):
        for line in job.paths.stderr.read_text(errors="replace").splitlines():
            if line.startswith(f"{BROKEN}: "):
                return line.removeprefix(f"{BROKEN}: ")
    return ""


def _began(job: Any) -> bool:
    with contextlib.suppress(OSError):
        text = job.paths.stderr.read_text(errors="replace")
        return READY in text and BROKEN not in text
    return False


def _tail(path: Path, lines: int = 15) -> str:
    try:
        text = path.read_text(errors="replace").splitlines()[-lines:]
    except OSError:
        return f"There is no log at {path}."
    return "\n".join([f"The end of {path}:", *text])


def interrupt(number: int, frame: FrameType | None) -> None:
    """Handles a signal by raising :class:`Interrupted`; further ones do not disturb what it leads
    to.
    """
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, lambda number, frame: None)
    raise Interrupted(number)


@contextlib.contextmanager
def handling(handler: Callable[[int, FrameType | None], None] = interrupt) -> Iterator[None]:
    """Handles SIGINT and SIGTERM in this way for a while."""
    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Puts off the handling of SIGINT and SIGTERM, so that nothing is started that nobody knows
    of.
    """
    came: list[int] = []
    with handling(lambda number, frame: came.append(number)):
        yield
    if came:
        os.kill(os.getpid(), came[0])


@contextlib.contextmanager
def _deaf() -> Iterator[None]:
    """Starts children that do not hear the terminal's Ctrl-C and hang-up: they inherit the blocked
    signals.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
