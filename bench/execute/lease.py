"""Who works on what, held by the kernel: a lock on a file lives exactly as long as its process.

Locks are those of flock(2): released when the holder ends in whatever way, SIGKILL included, so no
heartbeat and no guess about dead owners is needed among processes of one machine. A free lock
proves no more than that: some file systems keep locks of other nodes to themselves. So if a lease
says that a process of another host, or of another pid namespace, took it and never released it, it
counts as held, and messages say who holds it and what to delete if it has ended. (Jobs of a
cluster note their ``job``: the queue tells whether they live.) A file system without locks is
refused to whoever wants to take a lease.

If the scheduler of a cluster has given a unit to another process while the old one still lives
somewhere, the new one takes the lease over (:meth:`Lease.take_over`); the old one finds a foreign
token in the file and writes no more.
"""

import contextlib
import errno
import json
import math
import os
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bench import host
from bench.files import put_aside, try_lock, with_path

NUMBERS = (
    *("pid", "born", "slot", "step", "steps", "since", "beat"),
    *("element", "restart", "gpus", "cpus"),
)
"""What holders note as numbers; everything else that is read is text."""

BEAT_SECONDS = 10.0


class HeldError(Exception):
    """Another driver works on the same results."""


class LostError(BaseException):
    """Another process was given the lease; not an Exception, so that no adapter swallows it."""


class Lease:
    """A held lock on ``path``, whose content says who holds it; a context manager.

    Attributes:
        before: What the last holder noted, if it ended without releasing the lease.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.descriptor = descriptor
        self.token = uuid.uuid4().hex
        self.before: dict[str, Any] = _facts(descriptor)
        self.facts: dict[str, Any] = {"token": self.token}
        self._noting = threading.Lock()

    @classmethod
    def take(cls, path: Path, **facts: Any) -> "Lease | None":
        """Returns the lease on ``path``, or None while a process holds it that has not provably
        ended.

        Raises:
            OSError: The file system knows no locks, is full or is not to be written to.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            descriptor = _open(path)
            try:
                if not try_lock(descriptor, path):
                    if _is_held(descriptor, path):
                        return None
                    time.sleep(0.001)  # another process only reads it (holder)
                    continue
                # The file may have been released and deleted between open and lock: then the lock
                # is on nothing.
                with contextlib.suppress(FileNotFoundError):
                    if os.stat(path).st_ino == os.fstat(descriptor).st_ino:
                        lease = cls(path, descriptor)
                        if not _is_free(lease.before):
                            return None
                        lease.note(**host.myself(), since=time.time(), **facts)
                        descriptor = -1  # now the lease's
                        return lease
            finally:
                if descriptor >= 0:
                    os.close(descriptor)

    @classmethod
    def take_over(cls, path: Path, **facts: Any) -> "Lease | None":
        """Returns the lease on ``path`` whoever holds it, for the process that the scheduler has
        given the work.

        The old holder keeps a lock on a file that is no longer there, and its :meth:`check` raises.
        """
        left = noted(path)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        lease = cls.take(path, **facts)
        if lease is not None:
            lease.before = lease.before or left
        return lease

    def note(self, **facts: Any) -> None:
        """Adds facts about the holder, and that it is alive now (``beat``)."""
        with self._noting:
            self.facts.update(facts, beat=time.time())
            content = json.dumps(self.facts).encode()
            try:
                written = os.pwrite(self.descriptor, content, 0)
                os.ftruncate(self.descriptor, written)
                if written < len(content):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError as error:
                raise with_path(error, self.path) from error

    @contextlib.contextmanager
    def beating(self) -> Iterator[None]:
        """Notes every few seconds that the holder lives: if it dies, that dates its death."""
        over = threading.Event()

        def beat() -> None:
            while not over.wait(BEAT_SECONDS):
                with contextlib.suppress(OSError):
                    self.note()

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def check(self) -> None:
        """Makes sure that the lease is still ours; called before anything is written in its name.

        Raises:
            LostError: Another process has taken it over.
        """
        with self._noting:
            token = noted(self.path).get("token")
        if token != self.token:
            why = "is now held by another process: nothing more is written here"
            raise LostError(f"{self.path} {why}")

    def release(self) -> None:
        """Deletes the file if it is still ours, and gives up the lock."""
        with contextlib.suppress(LostError, FileNotFoundError):
            self.check()
            os.unlink(self.path)
        os.close(self.descriptor)

    def __enter__(self) -> "Lease":
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()


def _open(path: Path) -> int:
    """Opens the file of a lease; a folder in its place is put aside."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o644)
    except IsADirectoryError:
        put_aside(path)
        return os.open(path, flags, 0o644)


def _is_held(descriptor: int, path: Path) -> bool:
    """Tells whether another process holds the lease, rather than only reading it."""
    return not try_lock(descriptor, path, shared=True)


def _is_free(before: Mapping[str, Any]) -> bool:
    """Tells whether an unlocked lease may be taken, from what its last holder noted."""
    return not before or "job" in before or host.is_here(before) or host.has_ended(before)


def holder(path: Path) -> dict[str, Any] | None:
    """Returns what the holder of a lease noted, or None if nobody holds it.

    If locks cannot tell, a holder counts as one until it has provably ended.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        if not try_lock(descriptor, path, shared=True):
            return _facts(descriptor)
        facts = _facts(descriptor)
        return None if _is_free(facts) else facts
    except OSError:
        facts = _facts(descriptor)
        return None if not facts or host.has_ended(facts) else facts
    finally:
        os.close(descriptor)


def clear_hint(path: Path, facts: Mapping[str, Any]) -> str:
    """Returns what to do about a holder that cannot be seen from here; empty if it can."""
    if host.is_here(facts) or "job" in facts:
        return ""
    return f"whether it still lives cannot be seen from here; if it does not, delete {path}"


def noted(path: Path) -> dict[str, Any]:
    """Returns the content of a lease, whether its holder lives or not; empty if there is none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return {}
    try:
        return _facts(descriptor)
    finally:
        os.close(descriptor)


def _facts(descriptor: int) -> dict[str, Any]:
    """Returns the content of a lease, without what no holder writes."""
    for _ in range(20):
        try:
            facts = json.loads(os.pread(descriptor, 65536, 0) or b"{}")
            return {name: value for name, value in facts.items() if _is_sound(name, value)}
        # It is damaged, or was read while its holder was writing.
        except (ValueError, OSError, AttributeError, RecursionError):
            time.sleep(0.002)
    return {}


def _is_sound(name: str, value: Any) -> bool:
    if name in NUMBERS:
        is_number = (
            isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        )
        return (is_number and abs(value) < 1e11) or (value is None and name == "slot")
    return isinstance(value, str)


def driver_lock(results: Path) -> Path:
    """Returns the lease that a driver holds on a suite's results folder."""
    return results / "driver.lock"


def running_driver(results: Path) -> dict[str, Any] | None:
    """Returns what the driver of a suite's results folder noted, or None if none runs."""
    return holder(driver_lock(results))


def hold(results: Path) -> Lease:
    """Returns the lease on a suite's results folder, which a driver holds until its report is made.

    Raises:
        HeldError: Another driver holds it.
    """
    lock = driver_lock(results)
    lease = Lease.take(lock)
    if lease is None:
        facts = running_driver(results) or {}
        wait = "wait for it, or stop it with: run_bench.py cancel SUITE"
        raise HeldError(
            f"{results} is held by another driver: {host.describe(facts)}, run {facts.get('run')}; "
            f"{clear_hint(lock, facts) or wait}"
        )
    return lease
