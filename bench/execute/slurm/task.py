"""The callable that SLURM's jobs run through submitit: it makes the units of one array task of a
submission, and ends.

What it makes, and how far it is, stands in files; submitit brings it there, and its ``checkpoint``
lets it queue again after a time limit or a preemption. The process to which SLURM gave a unit makes
it: an array task takes over the lease of its own earlier start, and of jobs that SLURM no longer
knows, and the old process writes no more.

No torch before :meth:`ArrayTask.__call__`.
"""

import os
import signal
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.execute.attempt import Attempt, Process, now, start
from bench.execute.board import Board
from bench.execute.launcher import JobProcess, run_again
from bench.execute.lease import Lease, LostError, noted
from bench.execute.local.worker import READY
from bench.execute.outcome import DEATHS, died_often, trained_steps
from bench.execute.slurm import queue, shared
from bench.execute.slurm.ending import PEER_WORDS, shared_cause
from bench.execute.slurm.submission import Submission
from bench.execute.stop import Stop, Stopped
from bench.plan import Job
from bench.store import Store, UnitId

HELD_POLL_SECONDS = 5.0


class UnitsFailedError(Exception):
    """Some units failed: so that SLURM shows the job as failed too."""


@dataclass
class ArrayTask:
    """One array task of a submission.

    Args:
        submission: The folder of the submission.
        index: Which array task.
    """

    submission: str
    index: int

    def __call__(self) -> None:
        """Makes the units of the array task that are not done yet.

        Raises:
            UnitsFailedError: Some could not be made; why stands beside them.
        """
        TaskRun(Submission(Path(self.submission)), self.index).work()

    def checkpoint(self) -> Any:
        """Asks submitit to start the same work again (time limit or preemption); the state is in
        the files.
        """
        return run_again(self)


class TaskRun:
    """One start of an array task; after a requeue there is another one.

    Its events, in the submission's files: "began"; then "ended" (with counts), "stopped" (to queue
    again), "broken" (not begun, since the first jobs all failed alike) or "crashed". None of them
    follows if the process was killed, or lost its lease to a later start.

    Attributes:
        counts: Units done (by whomever), failed, and missing an input.
        advanced: Whether this start has finished a unit or got a training to a later checkpoint.
        longest: Seconds of the longest unit so far.
    """

    def __init__(self, submission: Submission, index: int) -> None:
        self.job = JobProcess()
        submission.refresh()
        self.submission, self.index, self.intent = submission, index, submission.intent
        jobs = [Job.from_plain(values) for values in self.intent["jobs"]]
        self.board = Board(jobs, Store(self.intent["store"]), self.intent["run"])
        self.store = self.board.store
        self.units = {unit: self.board.units[unit] for unit in submission.array_tasks[index]}
        resources = self.intent["resources"]
        self.seconds = 60.0 * resources["minutes"]
        self.margin = float(resources["signal_seconds"])
        self.begin = time.time()
        self.end = float(os.environ.get("SLURM_JOB_END_TIME") or self.begin + self.seconds)
        self.restart = int(os.environ.get("SLURM_RESTART_COUNT", "0"))
        self.stop = Stop()
        place = {"rank": self.job.rank, "world": self.job.world, "local_rank": self.job.local_rank}
        facts = {
            "submission": submission.name,
            "element": index,
            "job": self.job.job,
            "restart": self.restart,
            "gpus": resources["gpus_on_node"] * resources["nodes"],
            "cpus": resources["cpus"] * resources["tasks"] * resources["nodes"],
        }
        settings = {**self.intent["settings"], **place}
        run = self.intent["run"]
        self.process = Process(self.store, settings, self.stop, run, self.job.log, facts)
        self.counts = {"done": 0, "failed": 0, "missing": 0}
        self.cause = ""
        self.unit: UnitId | None = None
        self.longest = 0.0
        self.advanced = False

    # The life of a start

    def work(self) -> None:
        """Makes the units, and queues again when signalled that the time is nearly over."""
        if self.submission.abandoned:
            print("this submission was given up: nothing to do", file=sys.stderr)
            return
        if self.job.rank > 0:
            shared.follow(self.process, self.units)
            return
        # Of SLURM's two signals, the one for requeueing ends the unit, with a checkpoint if it is a
        # training; SIGTERM may come with a preemption or from scancel, and only saves.
        queue_again: Any = signal.signal(self.job.requeue_signal, self.stop.ask)
        signal.signal(signal.SIGTERM, self.stop.save)
        self.job.forget_half_written_result()
        self._note("began", host=socket.gethostname(), pid=os.getpid())
        try:
            if cause := self._why_not_begin():
                self._note("broken", cause=cause)
                print(f"not begun: {cause}", file=sys.stderr)
                return
            self._make_all()
        except Stopped:
            if self._is_stuck():
                self._note("ended", **self.counts, cause=self.cause)
                raise UnitsFailedError(self.cause) from None
            self._note("stopped", **self.counts, advanced=self.advanced)
            signal.signal(self.job.requeue_signal, signal.SIG_IGN)
            # submitit's own handler: it calls checkpoint() and scontrol requeue, and exits.
            queue_again(self.job.requeue_signal, None)
            return
        except UnitsFailedError:
            self._note("ended", **self.counts, cause=self.cause)
            raise
        except LostError as lost:
            print(lost, file=sys.stderr)
            return
        except BaseException as error:
            self._note("crashed", cause=f"{type(error).__name__}: {error}".splitlines()[0])
            raise
        self._note("ended", **self.counts, cause=self.cause)
        if failed := self.counts["failed"]:
            raise UnitsFailedError(f"{failed} of {len(self.units)} units failed: {self.cause}")

    def _note(self, state: str, **values: Any) -> None:
        cpu = round(time.process_time(), 3)
        facts = {"at": now(), "job": self.job.job, "restart": self.restart, "cpu": cpu}
        self.submission.note_event(self.index, state=state, **facts, **values)

    def _why_not_begin(self) -> str:
        """Returns why there is no use in beginning: the first array tasks all failed alike, and
        none succeeded. Empty otherwise.
        """
        causes = []
        for index in range(len(self.submission.array_tasks)):
            events = self.submission.read_events(index) if index != self.index else []
            last = events[-1] if events else {}
            if last.get("done"):
                return ""
            if last.get("state") == "ended" and last.get("failed"):
                causes.append(last["cause"])
        return shared_cause(causes)

    def _is_stuck(self) -> bool:
        """Tells whether two starts in a row have used their time and got nowhere; if so, notes the
        failure.

        A start that was stopped early does not count: that was a preemption, not the time limit.
        """
        used = time.time() - self.begin > self.seconds / 2
        events = self.submission.read_events(self.index)
        before = [event for event in events if event["state"] == "stopped"][-1:]
        if self.advanced or not used or not before or before[0].get("advanced", True):
            return False
        self.cause = (
            f"time limit: two jobs of {self.intent['resources']['minutes']} minutes ended without "
            "a checkpoint or a unit more; raise minutes"
        )
        unit = self.unit
        tries = self.store.attempts(*unit) if unit is not None else []
        if unit is not None and tries and tries[-1].get("submission") == self.submission.name:
            self._give_up(unit, tries[-1], "time")
        self.counts["failed"] += 1
        return True

    # Making units

    def _make_all(self) -> None:
        start(self.process.settings)
        if self.job.world > 1:
            shared.join(self.process.settings)
        print(READY, file=sys.stderr, flush=True)
        left = list(self.units)
        patience = time.monotonic() + self.intent["settings"].get("grace_seconds", 0.0)
        while left:
            others = [unit for unit in left if not self._settle(unit, patience)]
            if others and len(others) == len(left):
                self.stop.check()
                # Other suites want the same units: once they are made, this job is done with them.
                time.sleep(HELD_POLL_SECONDS)
            left = others
        if self.job.world > 1:
            shared.broadcast(None)

    def _settle(self, unit: UnitId, patience: float) -> bool:
        """Makes a unit, or finds out why not; returns False if another job is making it."""
        self.stop.check()
        job = self.units[unit]
        while not self.board.is_done(unit) and not self.board.has_inputs(unit):
            if time.monotonic() > patience:
                print(f"{unit} {job.label}: what it needs is not there", file=sys.stderr)
                self.counts["missing"] += 1
                return True
            time.sleep(0.5)  # a file system may show late what another node wrote
        if self.board.is_done(unit):
            self.counts["done"] += 1
            return True
        if self._has_failed(unit):
            self.counts["failed"] += 1
            return True
        lease = self._claim(unit, job)
        if lease is None:
            return False
        with lease:
            if self.board.is_done(unit):
                self.counts["done"] += 1
                return True
            self._leave_in_time(job)
            self._attempt(job, unit, lease)
        return True

    def _attempt(self, job: Job, unit: UnitId, lease: Lease) -> None:
        begin, self.unit = time.monotonic(), unit
        step = trained_steps(self.store, unit.key) if unit.stage == "train" else 0
        if self.job.world > 1:
            shared.broadcast(list(self.units).index(unit))
        facts = {"from_step": step} if step else {}
        try:
            with lease.beating():
                damaged = Attempt(self.process, job, unit, lease, **facts).make()
        finally:
            later = unit.stage == "train" and trained_steps(self.store, unit.key) > step
            self.advanced |= later
        self.longest = max(self.longest, time.monotonic() - begin)
        if self.board.is_done(unit):
            self.counts["done"] += 1
            self.advanced = True
        elif damaged is not None:
            self.counts["missing"] += 1
        else:
            self.counts["failed"] += 1
            tries = self.store.attempts(*unit)
            self.cause = self.cause or (tries[-1].get("cause", "") if tries else "")
            if self.job.world > 1:  # the other processes wait in the middle of a step
                if tries and PEER_WORDS.search(self.cause):
                    # Why another process ended first stands in that one's log.
                    self.store.note_attempt(unit, attempt=tries[-1]["attempt"], kind="peer")
                raise UnitsFailedError(self.cause)

    def _attempts(self, unit: UnitId) -> list[dict[str, Any]]:
        """Returns the attempts of this submission at a unit."""
        name = self.submission.name
        return [a for a in self.store.attempts(*unit) if a.get("submission") == name]

    def _has_failed(self, unit: UnitId) -> bool:
        """Tells whether earlier starts of this array task have tried the unit often enough."""
        tries = self._attempts(unit)
        if tries and tries[-1]["state"] == "failed":
            self.cause = self.cause or tries[-1].get("cause", "")
            return True
        deaths = [attempt for attempt in tries if attempt["state"] in ("running", "died")]
        if len(deaths) < DEATHS:
            return False
        # A training that gets on between its deaths is worth another start.
        step = trained_steps(self.store, unit.key) if unit.stage == "train" else 0
        if step > deaths[-1].get("from_step", 0):
            return False
        self.cause = self.cause or died_often(len(deaths))
        self._give_up(unit, deaths[-1], "died")
        return True

    def _give_up(self, unit: UnitId, attempt: dict[str, Any], kind: str) -> None:
        """Notes that a unit has failed, and why, as the end of its last attempt."""
        name, values = attempt["attempt"], {"cause": self.cause, "kind": kind}
        self.store.note_attempt(unit, attempt=name, state="failed", **values)

    def _claim(self, unit: UnitId, job: Job) -> Lease | None:
        """Returns the lease on a unit, None if another job works on it that SLURM knows."""
        path = self.store.path(unit, ".lease")
        process = self.process
        facts: dict[str, Any] = {"run": process.run, "label": job.label, "log": process.log}
        facts |= process.facts
        holder = noted(path)
        mine = all(holder.get(name) == facts[name] for name in ("submission", "element"))
        foreign = bool(holder.get("job")) and not mine
        # On file systems without locks across nodes the lock says nothing of other nodes; the queue
        # does.
        if foreign and self._is_alive(holder):
            return None
        lease = Lease.take(path, **facts)
        if lease is None and (mine or foreign):
            lease = Lease.take_over(path, **facts)
        return lease

    @staticmethod
    def _is_alive(holder: dict[str, Any]) -> bool:
        """Tells whether SLURM still has the job that holds a lease; if in doubt, it has."""
        try:
            entry = queue.queue([holder["submission"]]).get(holder["job"])
        except (queue.ClusterError, KeyError):
            return True
        return entry is not None and entry.alive

    def _leave_in_time(self, job: Job) -> None:
        """Queues again rather than begin what would not be finished; a training goes on from where
        it is stopped.
        """
        left = self.end - self.margin - time.time()
        if job.stage != "train" and self.counts["done"] and left < self.longest:
            took = f"units take up to {self.longest:.0f} s"
            print(f"{left:.0f} s are left, and {took}", file=sys.stderr)
            self.stop.requested = True
            raise Stopped
