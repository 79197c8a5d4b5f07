"""Files as the harness writes, locks, hashes and compares them.

A file that is written whole appears under its name complete and on disk, or not at all: it is
written under another name in the same folder, flushed and renamed, and the folder is flushed. So a
reader sees the old content or the new one at any moment, after a crash or a power cut too. What a
killed process leaves under a temporary name says whose it was, and :func:`sweep` deletes it. Errors
of a full or forbidden disk are OSErrors that name the file.

Standard library only.
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from bench import host

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS})
"""Errors of a file system on which nothing more can be written."""

NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})
"""Errors of flock(2) on a file system without locks."""

NOT_OURS = (
    FULL
    | NO_LOCKS - {errno.EINVAL}
    | {
        errno.EACCES,
        errno.EPERM,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.EEXIST,
        errno.ENAMETOOLONG,
        errno.ELOOP,
        errno.EIO,
        errno.ESTALE,
    }
)
"""Errors of the place where files lie, not of the program: full, read-only, not a folder, without
locks.
"""


# Writing


@contextlib.contextmanager
def whole(path: Path) -> Iterator[BinaryIO]:
    """Opens a file that appears at ``path``, in place of an older one, when the block ends.

    When the block raises, ``path`` stays as it was. A folder at ``path`` is put aside.

    Raises:
        OSError: It cannot be written, because the disk is full, say; the error names the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}{_owner()}")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if path.is_dir():
            put_aside(path)
        os.replace(temporary, path)
        _flush_folder(path.parent)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and str(error.filename) in ("None", str(temporary)):
            raise with_path(error, path) from error
        raise


def write(path: Path, content: bytes) -> None:
    """Writes a file so that it is there whole or not at all.

    Raises:
        OSError: It cannot be written, because the disk is full, say; the error names the file.
    """
    with whole(path) as file:
        file.write(content)


def _flush_folder(folder: Path) -> None:
    """Makes what was renamed in a folder outlive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def append(path: Path, values: Mapping[str, Any]) -> None:
    """Adds a JSON object as one line; several processes may append to one file.

    Raises:
        OSError: It cannot be written; the error names the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        put_aside(path)
    # It begins with a line end, because the last line may have been cut short.
    line = ("\n" + json.dumps(values) + "\n").encode()
    try:
        with open(path, "ab", buffering=0) as file:
            if file.write(line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as error:
        raise with_path(error, path) from error


def probe(folder: Path) -> None:
    """Makes sure that files can be written to a folder.

    Raises:
        OSError: They cannot, because the disk is full, say; the error names the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f".probe{_owner()}"
    try:
        with open(path, "wb") as file:
            file.write(bytes(2**16))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise with_path(error, folder) from error
    finally:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def put_aside(path: Path, target: Path | None = None) -> Path | None:
    """Renames a file or folder to ``<name>.damaged``, in place of an earlier one; None if there is
    none.
    """
    if not os.path.lexists(path):
        return None
    target = target or path.with_name(f"{path.name}.damaged")
    try:
        if target.is_dir() or (target.exists() and path.is_dir()):
            target = target.with_name(f"{target.name}.{os.urandom(4).hex()}")
        os.replace(path, target)
    except FileNotFoundError:
        return None
    return target


def with_path(error: OSError, path: Path) -> OSError:
    """Returns an error that names the file, which those of reading and writing do not."""
    return error if error.errno is None else OSError(error.errno, error.strerror, str(path))


# What killed processes leave behind


def _owner() -> str:
    """Returns the end of a temporary file's name: unique, and telling which process writes it."""
    me = host.myself()
    return ".{host}.{pid}.{machine}-{boot}-{namespace}-{born}-".format(**me) + os.urandom(4).hex()


def sweep(folder: Path) -> None:
    """Deletes what processes that have provably ended left half-written in ``folder``."""
    name = host.here()["host"]
    for entry in scan(folder):
        head, _, tail = entry.rpartition(f".{name}.")
        pid, _, rest = tail.partition(".")
        if not head.startswith(".") or not re.fullmatch("[0-9]{1,10}", pid):
            continue
        facts: dict[str, Any] = {"host": name, "pid": int(pid)}
        owner = re.fullmatch("([0-9a-f]*)-([0-9a-f]*)-([0-9]*)-([0-9]{1,19})-[0-9a-f]+", rest)
        if owner:
            facts |= dict(zip(("machine", "boot", "namespace"), owner.groups(), strict=False))
            facts["born"] = int(owner[4])
        if host.has_ended(facts):
            with contextlib.suppress(OSError):  # a store that is only read
                (folder / entry).unlink(missing_ok=True)


# Reading


def scan(folder: Path) -> list[str]:
    """Returns the names in a folder, sorted; none if it is not there."""
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Returns the objects of a file that :func:`append` wrote, without lines that were cut short;
    none if there is no file.
    """
    try:
        lines = path.read_bytes().decode(errors="replace").split("\n")
    except OSError:
        return []
    values = (parse(line) for line in lines if line.strip())
    return [value for value in values if isinstance(value, dict)]


def read_json(path: Path) -> Any:
    """Returns the value in a JSON file, None if there is none or it is damaged."""
    try:
        return parse(path.read_bytes())
    except OSError:
        return None


def parse(content: bytes | str) -> Any:
    """Returns the value of a JSON text, None if it is not JSON."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


# Hashes and stamps


def sha256(content: bytes | str) -> str:
    """Returns the sha256 of bytes, or of a text in UTF-8, as 64 hexadecimal digits."""
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()


def hash_file(path: Path, algorithm: str = "sha256") -> str:
    """Returns the digest of a file's content as hexadecimal digits."""
    with open(path, "rb") as file:
        new = partial(hashlib.new, algorithm, usedforsecurity=False)
        return hashlib.file_digest(file, new).hexdigest()


class Stamp(NamedTuple):
    """What changes when a file is written, replaced or renamed; ``changed_ns`` (ctime) cannot be
    set back by a program.
    """

    size: int
    modified_ns: int
    changed_ns: int
    inode: int
    device: int


def stamp(path: Path) -> Stamp:
    """Returns the stamp of a file: equal stamps, equal content, for files at rest.

    Raises:
        OSError: There is none.
    """
    facts = path.stat()
    return Stamp(facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino, facts.st_dev)


# Locks


def try_lock(descriptor: int, path: Path, *, shared: bool = False) -> bool:
    """Locks an open file until it is closed; returns False if another process has locked it.

    Raises:
        OSError: The file system has no locks.
    """
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        why = (
            f"this file system knows no locks ({error.strerror}), "
            "without which two processes might do the same work"
        )
        remedy = (
            "put the results and the store (--results, --store) "
            "on one that does, such as a local disk"
        )
        raise OSError(error.errno, f"{why}: {remedy}", str(path)) from None
    return True


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Waits until no other process holds the lock file ``path``, and holds it for the block.

    On a file system without locks it does not wait: for work that may be done twice, and comes out
    the same.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "ab") as file:
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
