"""Who works on what, held by the kernel: a lock on a file lives exactly as long as its process.

Locks are those of flock(2): released when the holder ends in whatever way, SIGKILL included, so no heartbeat and
no guess about dead owners is needed among processes of one machine.

Where the scheduler of a cluster has given a unit to another process while the old one still lives somewhere, the new
one takes the lease over (:meth:`Lease.take_over`); the old one finds a foreign token in the file and writes no more.
"""

import contextlib
import fcntl
import json
import os
import socket
import threading
import time
import uuid
from pathlib import Path
from typing import Any


class LostError(BaseException):
    """Somebody else was given the lease; not an Exception, so that no adapter swallows it."""


class Lease:
    """A held lock on ``path``, whose content says who holds it. Use as a context manager, or :meth:`release`.

    Attributes:
        before: What the last holder noted, where it ended without releasing the lease.
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
        """Returns the lease on ``path``, or None while a living process holds it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                held = _is_held(descriptor)
                os.close(descriptor)
                if held:
                    return None
                time.sleep(0.001)  # somebody only looked (holder)
                continue
            # The file may have been released and deleted between open and lock: then the lock is on nothing.
            with contextlib.suppress(FileNotFoundError):
                if os.stat(path).st_ino == os.fstat(descriptor).st_ino:
                    lease = cls(path, descriptor)
                    lease.note(host=socket.gethostname(), pid=os.getpid(), since=time.time(), **facts)
                    return lease
            os.close(descriptor)

    @classmethod
    def take_over(cls, path: Path, **facts: Any) -> "Lease | None":
        """Returns the lease on ``path`` whoever holds it: for one whom the scheduler has given the work.

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
        """Adds to what is known of the holder, for people and progress bars, and that it lived now (``beat``)."""
        with self._noting:
            self.facts.update(facts, beat=time.time())
            content = json.dumps(self.facts).encode()
            os.pwrite(self.descriptor, content, 0)
            os.ftruncate(self.descriptor, len(content))

    def check(self) -> None:
        """Makes sure that the lease is still ours: to be called before anything is written in its name.

        Raises:
            LostError: Somebody else has taken it over.
        """
        with self._noting:
            token = noted(self.path).get("token")
        if token != self.token:
            raise LostError(f"{self.path} is now held by another process: nothing more is written here")

    def release(self) -> None:
        """Deletes the file, if it is still ours, and lets go of the lock."""
        with contextlib.suppress(LostError, FileNotFoundError):
            self.check()
            os.unlink(self.path)
        os.close(self.descriptor)

    def __enter__(self) -> "Lease":
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()


def _is_held(descriptor: int) -> bool:
    """Tells whether somebody holds the lease, as against only looking at it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def holder(path: Path) -> dict[str, Any] | None:
    """Returns what the living holder of a lease noted, or None where nobody holds it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _facts(descriptor)
    finally:
        os.close(descriptor)
    return None


def noted(path: Path) -> dict[str, Any]:
    """Returns what stands in a lease, whether its holder lives or not; nothing where there is none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return {}
    try:
        return _facts(descriptor)
    finally:
        os.close(descriptor)


def _facts(descriptor: int) -> dict[str, Any]:
    for _ in range(20):
        try:
            facts = json.loads(os.pread(descriptor, 65536, 0) or b"{}")
            return facts if isinstance(facts, dict) else {}
        except (ValueError, OSError):  # read while its holder was writing
            time.sleep(0.002)
    return {}
