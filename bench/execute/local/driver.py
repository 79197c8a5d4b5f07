"""The driver of this machine: keeps workers running until every unit of a suite is done or has
failed.

It holds ``driver.lock`` in the suite's results folder. All that it knows is read from files, so one
that is killed loses nothing: its workers go on, and the next driver counts them towards its bound
before it starts others.
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
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from bench import host
from bench.execute.board import Board, RunProgress, new_run
from bench.execute.cancellation import Interrupted, handling, interrupt, is_cancelled, sweep_orders
from bench.execute.executor import Executor
from bench.execute.launcher import job_variables, start_local
from bench.execute.lease import Lease, clear_hint, holder
from bench.execute.local.registry import living, stop_workers
from bench.execute.local.worker import BROKEN, READY, Work, Worker
from bench.execute.place import PlaceError
from bench.execute.stop import Stop
from bench.files import probe, sha256, write
from bench.plan import Job
from bench.store import Store

POLL_SECONDS = 0.25
BARREN = 3
"""How many workers in a row may end without having begun before no more are started."""


class WorkersFailError(Exception):
    """Workers end before they begin: the environment is broken, not a unit."""


class Driver:
    """Runs the jobs of one suite.

    Args:
        jobs: What is to be done in the end; finished units are left alone.
        results: The suite's results folder.
        watch: Called with the run's progress at every poll.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        store: Store,
        results: Path,
        executor: Executor,
        watch: Callable[[RunProgress], None] = lambda progress: None,
    ) -> None:
        run = new_run()
        self.board = Board(jobs, store, run)
        self.board.count_work()
        self.board.sort()
        self.store = store
        self.results = results
        self.executor = executor
        self.watch = watch
        self.registry = results / "workers"
        self.folder = results / "jobs" / run
        self.started: list[tuple[int, Any]] = []
        self.barren = 0
        self.refresh_seconds = 0.0

    def __call__(self, lease: Lease) -> None:
        """Works until nothing is left to do, with the ``lease`` on the results folder held
        (:func:`bench.execute.lease.hold`).

        Raises:
            WorkersFailError: Workers cannot start.
            PlaceError: The store takes nothing more.
            Interrupted: SIGINT or SIGTERM came; workers have been stopped.
        """
        sweep_orders(self.results)
        jobs = [job.plain() for job in self.board.jobs.values()]
        digest = sha256(json.dumps(jobs, sort_keys=True))
        run = self.board.run
        lease.note(run=run, digest=digest)
        if not self._refresh():
            return
        probe(self.store.root)
        for job in self.board.jobs.values():
            self.store.tidy(job.stage, job.key)
        self._report_unseen_holders()
        orders = {"run": run, "digest": digest, "lock": str(lease.path.absolute())}
        self._work(lease, {**orders, "store": str(self.store.root.absolute()), "jobs": jobs})

    def _work(self, lease: Lease, orders: dict[str, Any]) -> None:
        path = self.folder / "orders.json"
        write(path, json.dumps(orders).encode())
        try:
            if self.executor.cluster == "inline":
                self._run_here(path)
            else:
                self._run_workers(path, lease)
        finally:
            path.unlink(missing_ok=True)  # a worker that starts after this finds nothing to do
        for unit, state in self.board.closed.items():
            tries = self.store.attempts(*unit) if state == "failed" else []
            if tries and tries[-1].get("kind") == "place":
                raise PlaceError(tries[-1].get("cause", ""))
        if not self.board.failed:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _report_unseen_holders(self) -> None:
        """Tells which units wait for processes that may or may not live."""
        for job, unit in self.board.open():
            path = self.store.path(unit, ".lease")
            facts = holder(path) if path.exists() else None
            if facts and (hint := clear_hint(path, facts)):
                who = f"{job.stage} {job.label} waits for {host.describe(facts)}"
                print(f"{who}: {hint}", file=sys.stderr)

    def _run_here(self, orders: Path) -> None:
        """Makes all units in this process."""
        stop = Stop()
        with handling(stop.ask):
            Worker(orders, self.registry, self._settings(0), stop, watch=self._refresh).work()
        self._refresh()
        if stop.requested:
            raise Interrupted(stop.number)

    def _run_workers(self, orders: Path, lease: Lease) -> None:
        """Keeps a worker in every slot until nothing is open."""
        try:
            while self._refresh():
                if is_cancelled(self.results, lease):
                    interrupt(signal.SIGTERM, None)
                # Workers of earlier drivers count too; so do jobs that have not registered yet.
                workers = living(self.registry)
                taken = {facts.get("slot") for facts in workers if host.is_here(facts)}
                self._settle_ended(taken)
                progress = self.board.progress
                progress.workers = len(taken)
                if len(taken) < min(self.executor.slots, progress.open):
                    slot = next(number for number in range(len(taken) + 1) if number not in taken)
                    self._start(orders, slot)
                # At most a third of the time goes into reading the files of open units.
                time.sleep(max(POLL_SECONDS, 2 * self.refresh_seconds))
        except Interrupted:
            stop_workers(self.registry, lambda: [job for _, job in self.started if not job.done()])
            raise

    def _settle_ended(self, taken: set[Any]) -> None:
        """Finds out why workers ended; adds the slots of the others to ``taken``."""
        for slot, job in list(self.started):
            if not job.done():
                taken.add(slot)
                continue
            self.started.remove((slot, job))
            self._reopen()
            if why := _place_error(job):
                raise PlaceError(why)
            probe(self.store.root)
            self.barren = 0 if _began(job) else self.barren + 1
            if self.barren >= BARREN:
                why = f"{self.barren} workers ended before they began."
                raise WorkersFailError(f"{why} {_tail(job.paths.stderr)}")

    def _settings(self, slot: int) -> dict[str, Any]:
        return {**self.executor.settings, "slot": slot}

    def _start(self, orders: Path, slot: int) -> None:
        """Starts one worker, which outlives this process and does not receive its Ctrl-C."""
        folder = self.folder / uuid.uuid4().hex[:8]
        # Without this the worker's parent would hold our standard output open after we are gone.
        redirect = f"exec >> {shlex.quote(str(folder / 'controller.log'))} 2>&1 < /dev/null"
        # By a line of the shell, since submitit takes numbers only, and hides every GPU if none is
        # asked for.
        gpu = f"export CUDA_VISIBLE_DEVICES={shlex.quote(self.executor.gpu(slot) or '')}"
        environment = job_variables(self.executor.threads)
        with _signals_deferred(), _environment(environment), _signals_blocked():
            work = Work(str(orders.absolute()), str(self.registry.absolute()), self._settings(slot))
            job = start_local(work, folder, [redirect, gpu, *self.executor.setup])
            self.started.append((slot, job))

    def _refresh(self) -> int:
        """Reads the files of every open unit and shows the progress; returns how many units can
        still be made.
        """
        begin = time.monotonic()
        progress = self.board.progress
        progress.live, progress.open = [], 0
        for job, unit in self.board.open():
            if self.board.is_blocked(job):
                self.board.close(unit, "blocked")
                continue
            # A unit whose inputs are not done cannot be running: its files are not read.
            if self.board.needs_done(job):
                found = self.board.outcome(unit)
                if found.state in ("done", "failed"):
                    self.board.close(unit, found.state)
                    continue
                if found.live is not None:
                    self.board.note_running(unit, found.live)
            progress.open += 1
        self.refresh_seconds = time.monotonic() - begin
        self.watch(progress)
        return progress.open

    def _reopen(self) -> None:
        """Opens all but the failed units: a worker may have found one damaged that counted as done,
        and failed to make it again.
        """
        for unit, state in list(self.board.closed.items()):
            if state != "failed":
                self.board.reopen(unit)


def _log_of(job: Any) -> str:
    with contextlib.suppress(OSError):
        return job.paths.stderr.read_text(errors="replace")
    return ""


def _place_error(job: Any) -> str:
    """Returns the error of a worker that could write nothing more; empty if it could."""
    start = f"{BROKEN}: "
    lines = (line for line in _log_of(job).splitlines() if line.startswith(start))
    return next(lines, "").removeprefix(start)


def _began(job: Any) -> bool:
    text = _log_of(job)
    return READY in text and BROKEN not in text


def _tail(path: Path, lines: int = 15) -> str:
    try:
        text = path.read_text(errors="replace").splitlines()[-lines:]
    except OSError:
        return f"There is no log at {path}."
    return "\n".join([f"The end of {path}:", *text])


@contextlib.contextmanager
def _signals_deferred() -> Iterator[None]:
    """Handles SIGINT and SIGTERM only at the end of the context, so that no worker is started that
    the driver does not know of.
    """
    came: list[int] = []
    with handling(lambda number, frame: came.append(number)):
        yield
    if came:
        os.kill(os.getpid(), came[0])


@contextlib.contextmanager
def _signals_blocked() -> Iterator[None]:
    """Blocks the terminal's Ctrl-C and hang-up; children that are started inherit that."""
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
