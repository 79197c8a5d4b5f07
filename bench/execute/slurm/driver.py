"""The driver of a SLURM cluster: keeps jobs in the queue until every unit of a suite is done or has
failed.

Attached, it polls: one squeue call per poll, for everything, and submits each stage as its inputs
appear. Detached, it submits everything at once, each stage after the jobs that it needs, and
leaves; whoever runs the suite again goes on. Both read the same files, and so does status
(:mod:`bench.execute.slurm.reconcile`).
"""

import shutil
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from bench.execute.board import Board, RunProgress, new_run
from bench.execute.cancellation import Interrupted, is_cancelled, sweep_orders
from bench.execute.lease import Lease, noted
from bench.execute.slurm import queue
from bench.execute.slurm.arrays import ArrayPlanner
from bench.execute.slurm.packing import Measured, Sizes
from bench.execute.slurm.queue import Entry
from bench.execute.slurm.reconcile import Assignment
from bench.execute.slurm.resources import Slurm
from bench.execute.slurm.retries import Retries
from bench.execute.slurm.submission import Order, Submission, prepare, submissions
from bench.execute.slurm.submit import RefusedError, submit
from bench.execute.slurm.tracker import JobTracker
from bench.plan import Job
from bench.store import STAGES, Store, UnitId

LONGEST_POLL = 6.0
"""By how much ``poll_seconds`` is stretched at most as a run ages."""

REFUSALS = 4
BATCHING_SECONDS = 60.0
"""How long units that do not fill a job wait for more of their stage."""


class ClusterRefusesError(Exception):
    """sbatch takes no jobs of this kind, or squeue does not answer."""


class SlurmDriver:
    """Runs the jobs of one suite on a cluster.

    Args:
        jobs: What is to be done in the end; finished units are left alone.
        results: The suite's results folder.
        watch: Called with the run's progress at every poll.
        expected: What was measured of the time that units take.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        store: Store,
        results: Path,
        executor: Slurm,
        watch: Callable[[RunProgress], None] = lambda progress: None,
        expected: Measured | None = None,
    ) -> None:
        self.board = Board(jobs, store, new_run())
        self.board.count_work()
        self.progress = self.board.progress
        self.store = store
        self.results = results
        self.executor = executor
        self.watch = watch
        self.planner = ArrayPlanner(self.board, executor, Sizes(store, jobs, executor, expected))
        self.tracker = JobTracker(results, executor.grace_seconds)
        self.retries = Retries(self.board, self.tracker, self.planner.tries)
        self.batching_since: dict[str, float] = {}
        self.refusals = 0
        self.not_before = 0.0
        self.begin = time.time()

    # Attached and detached

    def __call__(self, lease: Lease) -> None:
        """Works until nothing is left to do, with the ``lease`` on the results folder held.

        Raises:
            ClusterRefusesError: sbatch takes no jobs, or squeue does not answer for long.
            Interrupted: SIGINT or SIGTERM came, or ``cancel``; jobs stay in the queue.
        """
        lease.note(run=self.board.run)
        entries: dict[str, Entry] | None = self.take_stock()
        while self.refresh(entries):
            self.submit_ready()
            if is_cancelled(self.results, lease):
                raise Interrupted(signal.SIGTERM)
            time.sleep(self.pause())
            entries = self.tracker.poll()
        self._tidy()

    def pause(self) -> float:
        """Returns the seconds until the next poll: longer as the run ages."""
        hours = (time.time() - self.begin) / 3600
        return self.executor.poll_seconds * min(1 + hours, LONGEST_POLL)

    def detach(self, lease: Lease) -> tuple[list[Submission], int]:
        """Submits everything that is neither done nor in the queue, each array after those that it
        needs.

        Returns:
            What was submitted, and how many units were left out because the cluster takes no more
            jobs now.
        """
        lease.note(run=self.board.run)
        if not self.refresh(self.take_stock()):
            self._tidy()
            return [], 0
        assigned = {unit: a for unit, a in self.tracker.assignments.items() if a.alive}
        made: list[Submission] = []
        left_out = 0
        open_ = [unit for _, unit in self.board.open() if unit not in assigned]
        for level in self.planner.levels(open_):
            for order in self.planner.orders(level):
                submission = self._submit_after(order, assigned)
                if submission is None:
                    left_out += len(order.units)
                    continue
                made.append(submission)
                for index, units in enumerate(order.array_tasks):
                    assigned |= {unit: Assignment(submission, index, None) for unit in units}
        return made, left_out

    def _submit_after(self, order: Order, assigned: dict[UnitId, Assignment]) -> Submission | None:
        """Submits an array after the jobs of what it needs; None if one has no job, or sbatch takes
        no more.
        """
        needs = {need for unit in order.units for need in self.board.units[unit].needs}
        needs = {need for need in needs if self.board.closed.get(need) != "done"}
        if not needs <= assigned.keys() or not self._has_room(order):
            return None
        after = {assigned[need].submission.job for need in needs}
        return self._submit(replace(order, after=tuple(sorted(filter(None, after)))))

    # Reading files and queue

    def take_stock(self) -> dict[str, Entry]:
        """Adopts what earlier drivers submitted and SLURM still has; returns the queue.

        Raises:
            ClusterRefusesError: squeue does not answer.
        """
        self.planner.limits = queue.limits()
        sweep_orders(self.results)
        for job in self.board.jobs.values():
            self.store.tidy(job.stage, job.key)
        entries = self.tracker.poll(patience=3)
        if entries is None:
            raise ClusterRefusesError(
                "squeue does not answer, so nobody knows which jobs there are; try again later"
            )
        self.tracker.adopt(entries)
        return entries

    def refresh(self, entries: dict[str, Entry] | None) -> int:
        """Reads the files, settles what has left the queue, and returns how many units can still be
        made.

        Args:
            entries: The queue; None if it does not answer: then nothing is known, and no job counts
                as ended.
        """
        self.progress.note = self.tracker.error if entries is None else ""
        self.tracker.entries = entries
        for job, unit in self.board.open():
            if self.board.is_done(unit):
                self.board.close(unit, "done")
                self.planner.sizes.learn(job, unit)
        for ended in self.tracker.ended(self._is_made):
            self.retries.settle(*ended)
        if entries is not None:
            self.tracker.flag_settled()
        for job, unit in self.board.open():
            if self.board.is_blocked(job):
                self.board.close(unit, "blocked")
        self.tracker.reconcile()
        open_ = list(self.board.open())
        self._count(open_)
        self.watch(self.progress)
        return len(open_)

    def _is_made(self, units: Iterable[UnitId]) -> bool:
        """Tells whether those of some units that are of this suite are closed as done."""
        ours = (unit for unit in units if unit in self.board.units)
        return all(self.board.closed.get(unit) == "done" for unit in ours)

    def _count(self, open_: Sequence[tuple[Job, UnitId]]) -> None:
        progress, running = self.progress, self.tracker.running()
        progress.open, progress.live, progress.workers = len(open_), [], len(running)
        for job, unit in open_:
            assignment = self.tracker.assignments.get(unit)
            if assignment is not None and assignment.id in running and job.stage == "train":
                facts = noted(self.store.path(unit, ".lease"))
                if facts.get("submission") == assignment.submission.name:
                    self.board.note_running(unit, facts)

    # Submitting

    def submit_ready(self) -> None:
        """Submits the units whose inputs are done and that no job has."""
        if self.tracker.entries is None or time.monotonic() < self.not_before:
            return
        ready = [
            unit
            for job, unit in self.board.open()
            if not self.tracker.is_taken(unit) and self.board.needs_done(job)
        ]
        for stage in STAGES:
            for order in self.planner.orders([unit for unit in ready if unit.stage == stage]):
                full = self._without_batching(order, stage)
                if full is not None and self._has_room(full):
                    self._submit(full)

    def _without_batching(self, order: Order, stage: str) -> Order | None:
        """Returns an order without an array task that is not full yet and for which more units of
        its stage may become ready soon; None if nothing is left.
        """
        last, most = order.array_tasks[-1], order.resources.units
        target = 60 * order.resources.element_minutes
        if most == "auto":
            full = sum(map(self.planner.sizes.of, last)) >= 0.5 * target
        else:
            full = len(last) >= most
        since = self.batching_since.get(stage, time.monotonic())
        waited = time.monotonic() - since >= BATCHING_SECONDS
        if full or waited or not self._more_to_come(order, stage):
            self.batching_since.pop(stage, None)
            return order
        self.batching_since[stage] = since
        rest = order.array_tasks[:-1]
        return replace(order, array_tasks=rest) if rest else None

    def _more_to_come(self, order: Order, stage: str) -> bool:
        """Tells whether more units of a stage than those of an order may become ready."""
        taken = {*order.units, *self.tracker.assignments}
        return any(job.stage == stage and unit not in taken for job, unit in self.board.open())

    def _has_room(self, order: Order) -> bool:
        """Tells whether the queue takes the jobs of an order."""
        limit = self.planner.submit_limit
        return limit is None or self.tracker.count_alive() + len(order.array_tasks) <= limit

    def _submit(self, order: Order) -> Submission | None:
        """Submits an array; None if sbatch refused it, which is tried again later.

        Raises:
            ClusterRefusesError: It has refused too often.
        """
        submission = prepare(order, self.results, self.board, self.executor.settings)
        try:
            submit(submission, order)
        except RefusedError as error:
            # It may have been taken, and only the answer lost.
            self.tracker.repair(submission, self.tracker.poll() or {})
            if submission.job is None:
                self._back_off(str(error), len(order.array_tasks))
                return None
        self.refusals = 0
        if self.planner.room is not None:
            self.planner.room *= 2
        self.tracker.submissions.append(submission)
        return submission

    def _back_off(self, why: str, count: int) -> None:
        """Waits after a refusal: without end if the queue is full, a few times otherwise."""
        alive = self.tracker.count_alive()
        if "limit" in why.lower() and (alive or count > 1):
            # As jobs end there is room again, and fewer fit at once.
            self.planner.room = max(alive, count // 2)
            return
        self.refusals += 1
        self.progress.note = why
        self.not_before = time.monotonic() + self.executor.poll_seconds * 2**self.refusals
        if self.refusals >= REFUSALS:
            raise ClusterRefusesError(f"sbatch refused {self.refusals} times: {why}")

    def _tidy(self) -> None:
        """Deletes what was submitted once everything is done; if units failed, all logs stay."""
        if self.board.failed:
            return
        for submission in submissions(self.results):
            if not submission.open:
                shutil.rmtree(submission.folder, ignore_errors=True)
