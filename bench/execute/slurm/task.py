"""The callable that SLURM's jobs run through submitit: it makes the units of one element of a
submission, and ends.

What it makes, and how far it is, stands in files; submitit brings it there, and its ``checkpoint``
lets it queue again after a time limit or a preemption. A unit is made by whom SLURM gave it to: an
element takes over the lease of its own earlier start, and of jobs that SLURM no longer knows, and
the old process writes no more.

No torch before :meth:`Element.__call__`.
"""

import contextlib
import datetime
import os
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.execute.attempt import now, start
from bench.execute.lease import Lease, LostError, noted
from bench.execute.local.worker import READY, attempt
from bench.execute.outcome import DEATHS, trained_steps
from bench.execute.slurm import queue
from bench.execute.slurm.ending import PEER_WORDS
from bench.execute.slurm.submission import Submission
from bench.execute.slurm.submit import add_line
from bench.execute.stop import Stop, Stopped
from bench.plan import Job
from bench.store import Store, UnitId

BEAT_SECONDS = 10.0
HELD_POLL_SECONDS = 5.0
ALIKE = "the first jobs all failed alike"
BREAK = 3
"""So many elements of a stage that fail alike, before any succeeds, stop the others."""


class UnitsFailedError(Exception):
    """Some units failed: so that SLURM shows the job as failed too."""


@dataclass
class Element:
    """One element of a submission.

    Args:
        submission: The folder of the submission.
        index: Which element.
    """

    submission: str
    index: int

    def __call__(self) -> None:
        """Makes what is not there yet of the element's units.

        Raises:
            UnitsFailedError: Some could not be made; why stands beside them.
        """
        _Maker(Submission(Path(self.submission)), self.index).work()

    def checkpoint(self) -> Any:
        """Asks submitit to start the same work again (time limit or preemption); the state is in
        the files.
        """
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


class _Maker:
    def __init__(self, submission: Submission, index: int) -> None:
        from submitit import JobEnvironment

        self.environment = JobEnvironment()
        submission.look()
        self.submission = submission
        self.intent = submission.intent
        self.index = index
        self.units = submission.elements[index]
        self.store = Store(self.intent["store"])
        self.jobs = {
            (values["stage"], values["key"]): Job.from_plain(values)
            for values in self.intent["jobs"]
        }
        self.rank, self.world = self.environment.global_rank, self.environment.num_tasks
        self.settings = {
            **self.intent["settings"],
            **{"rank": self.rank, "world": self.world, "local_rank": self.environment.local_rank},
        }
        resources = self.intent["resources"]
        self.seconds = 60.0 * resources["minutes"]
        self.margin = float(resources["signal_seconds"])
        self.begin = time.time()
        self.end = float(os.environ.get("SLURM_JOB_END_TIME") or self.begin + self.seconds)
        self.job = self.environment.job_id
        self.restart = int(os.environ.get("SLURM_RESTART_COUNT", "0"))
        self.facts = {
            **{
                "submission": submission.name,
                "element": index,
                "job": self.job,
                "restart": self.restart,
            },
            "gpus": resources["gpus_on_node"] * resources["nodes"],
            "cpus": resources["cpus"] * resources["tasks"] * resources["nodes"],
        }
        self.log = str(self.environment.paths.stderr)
        self.stop = Stop()
        self.counts = {"done": 0, "failed": 0, "missing": 0}
        self.cause = ""
        self.longest = 0.0
        self.advanced = False

    # The life of an element

    def work(self) -> None:
        """Makes the units, and queues again when told that the time is over."""
        if self.submission.abandoned:
            print("this submission was given up: nothing to do", file=sys.stderr)
            return
        if self.rank > 0:
            self._follow()
            return
        number = getattr(signal, f"SIG{self.environment.USR_SIG}")
        queue_again = signal.signal(number, self.stop.ask)
        signal.signal(signal.SIGTERM, self.stop.save)
        # Left by an earlier start that was killed as it ended; submitit would fail over it.
        Path(f"{self.environment.paths.result_pickle}.save_tmp").unlink(missing_ok=True)
        self._note("began", host=socket.gethostname(), pid=os.getpid())
        try:
            if cause := self._broken():
                self._note("broken", cause=cause)
                print(f"not begun: {cause}", file=sys.stderr)
                return
            self._make_all()
        except Stopped:
            if self._is_stuck():
                self._note("ended", **self.counts, cause=self.cause)
                raise UnitsFailedError(self.cause) from None
            self._note("stopped", **self.counts, advanced=self.advanced)
            signal.signal(number, signal.SIG_IGN)
            queue_again(number, None)  # submitit's: checkpoint(), scontrol requeue, exit
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
        if self.counts["failed"]:
            raise UnitsFailedError(
                f"{self.counts['failed']} of {len(self.units)} units failed: {self.cause}"
            )

    def _note(self, state: str, **values: Any) -> None:
        path = self.submission.folder / "elements" / f"{self.index}.jsonl"
        cpu = round(time.process_time(), 3)
        add_line(path, state=state, at=now(), job=self.job, restart=self.restart, cpu=cpu, **values)

    def _broken(self) -> str:
        """Returns why there is no use in beginning: the first elements all failed alike, and none
        succeeded.
        """
        causes = []
        for index in range(len(self.submission.elements)):
            last = (self.submission.told(index) or [{}])[-1] if index != self.index else {}
            if last.get("done"):
                return ""
            if last.get("state") == "ended" and last.get("failed"):
                causes.append(last["cause"])
        return alike(causes)

    def _is_stuck(self) -> bool:
        """Tells whether two starts in a row have used their time and got nowhere; notes the failure
        then.
        """
        mine = self.submission.told(self.index)
        used = time.time() - self.begin > self.seconds / 2
        before = [line for line in mine if line["state"] == "stopped"][-1:]
        if self.advanced or not used or not before or before[0].get("advanced", True):
            return False
        minutes = self.intent["resources"]["minutes"]
        self.cause = f"time limit: two jobs of {minutes} minutes ended without a checkpoint or a unit more; raise minutes"
        unit = self.unit
        tries = self.store.attempts(*unit) if unit is not None else []
        if tries and tries[-1].get("submission") == self.submission.name:
            self.store.note_attempt(
                unit, attempt=tries[-1]["attempt"], state="failed", cause=self.cause, kind="time"
            )
        self.counts["failed"] += 1
        return True

    # Making units

    unit: UnitId | None = None

    def _make_all(self) -> None:
        stages = start(self.settings)
        if self.world > 1:
            self._join()
        print(READY, file=sys.stderr, flush=True)
        left = list(self.units)
        patience = time.monotonic() + self.intent["settings"].get("grace_seconds", 0.0)
        while left:
            held = [unit for unit in left if not self._settle(stages, unit, patience)]
            if held and len(held) == len(left):
                self.stop.check()
                time.sleep(
                    HELD_POLL_SECONDS
                )  # other suites want the same units: their jobs will be done with them
            left = held
        if self.world > 1:
            self._tell(None)

    def _settle(self, stages: Any, unit: UnitId, patience: float) -> bool:
        """Makes a unit, or sees why not; returns False where somebody else is making it."""
        self.stop.check()
        job = self.jobs[unit.stage, unit.key]
        while not self._is_done(job, unit) and not all(
            self.store.record(*need) is not None for need in job.needs
        ):
            if time.monotonic() > patience:
                print(f"{unit} {job.label}: what it needs is not there", file=sys.stderr)
                self.counts["missing"] += 1
                return True
            time.sleep(0.5)  # a file system may show late what another node wrote
        if self._is_done(job, unit):
            self.counts["done"] += 1
            return True
        if self._has_failed(unit):
            self.counts["failed"] += 1
            return True
        lease = self._claim(unit, job)
        if lease is None:
            return False
        with lease:
            if self._is_done(job, unit):
                self.counts["done"] += 1
                return True
            self._leave_in_time(job)
            self._attempt(stages, job, unit, lease)
        return True

    def _attempt(self, stages: Any, job: Job, unit: UnitId, lease: Lease) -> None:
        begin, self.unit = time.monotonic(), unit
        at = trained_steps(self.store, unit.key) if unit.stage == "train" else 0
        if self.world > 1:
            self._tell(self.units.index(unit))
        try:
            with _beating(lease):
                who = (self.store, self.settings, lease, self.stop, self.intent["run"], self.log)
                damaged = attempt(
                    stages, job, unit, *who, **self.facts, **({"from_step": at} if at else {})
                )
        finally:
            self.advanced |= unit.stage == "train" and trained_steps(self.store, unit.key) > at
        self.longest = max(self.longest, time.monotonic() - begin)
        if self._is_done(job, unit):
            self.counts["done"] += 1
            self.advanced = True
        elif damaged is not None:
            self.counts["missing"] += 1
        else:
            self.counts["failed"] += 1
            tries = self.store.attempts(*unit)
            self.cause = self.cause or (tries[-1].get("cause", "") if tries else "")
            if self.world > 1:  # the other processes wait in the middle of a step
                if tries and PEER_WORDS.search(
                    self.cause
                ):  # what ended another one is for its log to say
                    self.store.note_attempt(unit, attempt=tries[-1]["attempt"], kind="peer")
                raise UnitsFailedError(self.cause)

    def _is_done(self, job: Job, unit: UnitId) -> bool:
        return all(self.store.record(*result) is not None for result in job.made_by(unit))

    def _has_failed(self, unit: UnitId) -> bool:
        """Tells whether an earlier start of this element has tried the unit often enough."""
        ours = [
            tried
            for tried in self.store.attempts(*unit)
            if tried.get("submission") == self.submission.name
        ]
        if ours and ours[-1]["state"] == "failed":
            self.cause = self.cause or ours[-1].get("cause", "")
            return True
        deaths = [tried for tried in ours if tried["state"] in ("running", "died")]
        if len(deaths) < DEATHS or self._is_training_on(unit, deaths):
            return False
        self.cause = (
            self.cause
            or f"died {len(deaths)} times without a word (killed from outside, or out of memory?)"
        )
        self.store.note_attempt(
            unit, attempt=deaths[-1]["attempt"], state="failed", cause=self.cause, kind="died"
        )
        return True

    def _is_training_on(self, unit: UnitId, deaths: list[dict[str, Any]]) -> bool:
        """Tells whether a training that keeps dying gets on between its deaths."""
        if unit.stage != "train":
            return False
        return trained_steps(self.store, unit.key) > deaths[-1].get("from_step", 0)

    def _claim(self, unit: UnitId, job: Job) -> Lease | None:
        """Returns the lease on a unit, or None where another job works on it that SLURM knows."""
        path = self.store.path(unit, ".lease")
        facts: dict[str, Any] = {
            "run": self.intent["run"],
            "label": job.label,
            "log": self.log,
            **self.facts,
        }
        there = noted(path)
        mine = (
            there.get("submission") == self.submission.name and there.get("element") == self.index
        )
        foreign = bool(there.get("job")) and not mine
        # On file systems without locks across nodes the lock says nothing of other nodes; the queue
        # does.
        if foreign and self._is_alive(there):
            return None
        lease = Lease.take(path, **facts)
        if lease is None and (mine or foreign):
            lease = Lease.take_over(path, **facts)
        return lease

    @staticmethod
    def _is_alive(there: dict[str, Any]) -> bool:
        try:
            entry = queue.queue([there["submission"]]).get(there["job"])
        except (queue.ClusterError, KeyError):
            return True
        return entry is not None and entry.alive

    def _leave_in_time(self, job: Job) -> None:
        """Queues again rather than begin what would not be finished; a training goes on from where
        it is stopped.
        """
        left = self.end - self.margin - time.time()
        if job.stage != "train" and self.counts["done"] and left < self.longest:
            print(
                f"{left:.0f} s are left, and units take up to {self.longest:.0f} s", file=sys.stderr
            )
            self.stop.requested = True
            raise Stopped

    # Several processes for one training

    def _join(self) -> None:
        import torch
        from submitit.helpers import TorchDistributedEnvironment

        place = TorchDistributedEnvironment()
        try:
            socket.gethostbyname(place.master_addr)
        except OSError:  # a node's name in SLURM need not be that of its host
            place.master_addr = os.environ.get("SLURM_LAUNCH_NODE_IPADDR") or "127.0.0.1"
        place.export(set_cuda_visible_devices=False, overwrite=True)
        on_gpu = self.settings["device"] != "cpu" and torch.cuda.is_available()
        if on_gpu:
            torch.cuda.set_device(self.settings["local_rank"] % torch.cuda.device_count())
        timeout = datetime.timedelta(hours=1)
        torch.distributed.init_process_group("nccl" if on_gpu else "gloo", timeout=timeout)

    def _tell(self, index: int | None) -> int | None:
        """Tells all processes which unit is next; returns it."""
        import torch

        words = [index]
        torch.distributed.broadcast_object_list(words)
        return words[0]

    def _follow(self) -> None:
        """Trains with the process of rank 0 what that chooses; writes nothing."""
        stages = start(self.settings)
        self._join()

        def refuse() -> None:
            raise AssertionError("only the process of rank 0 writes")

        while (index := self._tell(None)) is not None:
            unit = self.units[index]
            lease: Any = None
            context = stages.Context(
                Store(self.store.root, guard=refuse), self.settings, lease, self.stop, now(), 1
            )
            stages.make(self.jobs[unit.stage, unit.key], unit, context)


@contextlib.contextmanager
def _beating(lease: Lease) -> Iterator[None]:
    """Notes in the lease, every few seconds, that its holder lives: what is lost when it dies is
    known by that.
    """
    over = threading.Event()

    def beat() -> None:
        while not over.wait(BEAT_SECONDS):
            with contextlib.suppress(OSError):
                lease.note()

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def alike(causes: list[str]) -> str:
    """Returns what the first elements of a stage have in common when enough have failed, and all in
    the same way.
    """
    plain = {re.sub(r"[0-9a-f]{8,}|\d+", "#", cause) for cause in causes}
    if len(causes) < BREAK or len(plain) > 1:
        return ""
    return f"{ALIKE} ({len(causes)}): {causes[0]}"
