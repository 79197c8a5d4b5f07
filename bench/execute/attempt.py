"""One attempt at making a unit, and the notes that attempts leave beside it.

No torch before :func:`start`.
"""

import contextlib
import os
import sys
import traceback
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from bench.data.fault import InputError
from bench.execute.lease import Lease, LostError
from bench.execute.place import PlaceError
from bench.execute.stop import Stop, Stopped
from bench.plan import Job
from bench.plugins import load_again
from bench.store import DamagedError, Store, UnitId


@dataclass
class Process:
    """A process that makes units: what all of its attempts share.

    Args:
        settings: Of the executor (threads, device, ...) and of the process (slot; rank, world).
        stop: How the process is asked to stop.
        run: The run that it works for.
        log: Path of its output.
        facts: What its attempts note besides: submission, job, gpus, ...
    """

    store: Store
    settings: dict[str, Any]
    stop: Stop
    run: str
    log: str = ""
    facts: dict[str, Any] = field(default_factory=dict)


def start(settings: Mapping[str, Any]) -> None:
    """Pins the threads of torch and imports the stages, so that a broken installation shows before
    any unit is begun.
    """
    import torch

    torch.set_num_threads(settings["threads"])
    load_again(settings.get("plugins", ()))
    import bench.stages.jobs  # noqa: F401


class Attempt:
    """One attempt at a unit, from its first note to its last.

    The states that it notes: "running" (no state yet), then "done"; "failed", with the cause;
    "stopped", as asked or because an input is damaged, to be tried again. An attempt that notes
    nothing more has died, which the next one finds out (:func:`close_attempts`).

    Args:
        lease: On the unit, held by this process.
        facts: What is noted of this attempt, besides those of the process.
    """

    def __init__(
        self, process: Process, job: Job, unit: UnitId, lease: Lease, **facts: Any
    ) -> None:
        self.process, self.job, self.unit, self.lease = process, job, unit, lease
        self.name = uuid.uuid4().hex[:12]
        self.facts = {**process.facts, **facts}
        # Nothing is written once the lease is lost: another process makes the unit then.
        self.store = Store(process.store.root, guard=lease.check)

    def make(self) -> UnitId | None:
        """Makes the unit; returns an input that turned out to be damaged, None otherwise.

        Raises:
            Stopped: As asked.
            LostError: Another process was given the unit; then nothing is noted.
            PlaceError: Nothing can be written any more.
        """
        from bench.stages.context import Context
        from bench.stages.jobs import make

        process, stop = self.process, self.process.stop
        begun = now()
        earlier = self._begin(begun)
        damaged = place = None
        try:
            stop.check()
            stop.gracefully = self.job.stage == "train"  # a training leaves with a checkpoint
            context = Context(
                self.store,
                process.settings,
                self.lease,
                stop,
                begun,
                attempts=len(earlier) + 1,
                earlier_seconds=sum(map(seconds, earlier)),
            )
            make(self.job, self.unit, context)
            ending = {"state": "done"}
        except DamagedError as error:
            # The input is forgotten, so that it is made again; this unit is tried again after it.
            process.store.discard(error.unit)
            damaged = error.unit
            print(f"damaged, to be made again: {error}", file=sys.stderr)
            ending = {"state": "stopped", "cause": f"an input is damaged: {error}"}
        except Stopped:
            self._note(state="stopped", end=now())
            raise
        except LostError:
            raise
        except BaseException as error:
            ending = _failure(error)
            place = PlaceError.of(error, process.store) if isinstance(error, OSError) else None
        finally:
            stop.gracefully = False
        if place is not None:
            with contextlib.suppress(OSError):  # the place may not even take that
                self._note(end=now(), **{**ending, "cause": str(place), "kind": "place"})
            raise place
        self._note(end=now(), **ending)
        return damaged

    def _begin(self, begun: str) -> list[dict[str, Any]]:
        """Notes that the attempt has begun; returns the earlier ones."""
        process = self.process
        earlier = close_attempts(process.store, self.unit, self.lease.before)
        self.lease.note(attempt=self.name)
        here = {"host": os.uname().nodename, "pid": os.getpid(), "log": process.log}
        here["slot"] = process.settings.get("slot")
        # By the store without a guard: the lease was taken a moment ago.
        process.store.note_attempt(
            self.unit, attempt=self.name, run=process.run, start=begun, **self.facts, **here
        )
        print(f"{begun} {self.unit} {self.job.label}", file=sys.stderr, flush=True)
        return earlier

    def _note(self, **values: Any) -> None:
        self.store.note_attempt(self.unit, attempt=self.name, **values)


def _failure(error: BaseException) -> dict[str, Any]:
    """Returns what is noted of an attempt that an exception ended, and prints it to the log.

    A refused file of the user has no traceback, which would only look like a fault of the code.
    """
    message = f"{type(error).__name__}: {error}".strip()
    text = message if isinstance(error, InputError) else traceback.format_exc().rstrip()
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)
    ending = {"state": "failed", "cause": message.splitlines()[0], "traceback": text}
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        ending["kind"] = "memory"
    return ending


def close_attempts(store: Store, unit: UnitId, left: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns the attempts at a unit that nobody works on; those without an end are noted as died.

    Args:
        left: What the lease of the last one noted (:attr:`bench.execute.lease.Lease.before`), whose
            last beat is the time of death.
    """
    attempts = store.attempts(*unit)
    for old in attempts:
        if old["state"] == "running":
            died = {"state": "died", "cause": "the process died without a word"}
            if left.get("attempt") == old["attempt"] and "beat" in left:
                end = datetime.fromtimestamp(left["beat"], UTC)
                died["end"] = end.isoformat(timespec="seconds")
            old.update(died)
            store.note_attempt(unit, attempt=old["attempt"], **died)
    return attempts


def seconds(attempt: Mapping[str, Any]) -> float:
    """Returns how long an attempt took, 0 if that is not known."""
    try:
        start, end = (datetime.fromisoformat(attempt[name]) for name in ("start", "end"))
        return (end - start).total_seconds()
    except (KeyError, ValueError, TypeError, OverflowError):
        return 0.0


def start_time(attempt: Mapping[str, Any], otherwise: float) -> float:
    """Returns when an attempt began, in seconds of the epoch; ``otherwise`` if it does not say."""
    try:
        return datetime.fromisoformat(attempt["start"]).timestamp()
    except (KeyError, ValueError, OverflowError):
        return otherwise


def now() -> str:
    """Returns the time, ISO 8601 in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")
