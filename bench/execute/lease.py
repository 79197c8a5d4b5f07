"""Who works on what, held by the kernel: a lock on a file lives exactly as long as its process.

Locks are those of flock(2): released when the holder ends in whatever way, SIGKILL included, so no heartbeat and
no guess about dead owners is needed among processes of one machine.
"""

import contextlib
import fcntl
import json
import os
import socket
import time
from pathlib import Path
from typing import Any


class Lease:
    """A held lock on ``path``, whose content says who holds it. Use as a context manager, or :meth:`release`."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.descriptor = descriptor
        self.facts: dict[str, Any] = {}

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

    def note(self, **facts: Any) -> None:
        """Adds to what is known of the holder, for people and progress bars."""
        self.facts.update(facts)
        content = json.dumps(self.facts).encode()
        os.pwrite(self.descriptor, content, 0)
        os.ftruncate(self.descriptor, len(content))

    def release(self) -> None:
        """Deletes the file and lets go of the lock."""
        with contextlib.suppress(FileNotFoundError):
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
        with contextlib.suppress(ValueError):  # read while its holder was writing
            return json.loads(os.pread(descriptor, 65536, 0))
        return {}
    finally:
        os.close(descriptor)
    return None
