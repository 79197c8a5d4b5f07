"""Digests of files: of a data set's, of pictures, of checkpoints.

A digest is not computed again while nothing about its files has changed: it is remembered by path,
size, times, inode and device.

Standard library only.
"""

import contextlib
import gzip
import hashlib
import json
import os
import re
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from bench.data.collection import Collection
from bench.data.fault import InputError
from bench.data.filenames import printable
from bench.files import hash_file, sha256, stamp, write


def digest_pictures(pictures: Collection, cache: Path | None = None) -> str:
    """Returns the sha256 of the pictures below a folder and of all their names, or of a zip
    archive: 64 digits.

    Args:
        cache: As for :func:`digest_images`.

    Raises:
        ValueError: A file cannot be read.
    """
    links = "".join(f"{other}\n{used}\n" for other, used in pictures.links)
    return digest_known(pictures.path, pictures.files, cache, rule=links, named=True)


def checkpoint_files(path: Path) -> list[Path]:
    """Returns the files that make a checkpoint: the file itself, or those directly in a folder, by
    name.

    Raises:
        ValueError: There is nothing at ``path``.
    """
    if not path.is_dir():
        files = [path] if path.is_file() else []
    else:
        files = sorted(
            file for file in path.iterdir() if file.is_file() and not file.name.startswith(".")
        )
    if not files:
        raise InputError(f"{path} holds no file")
    return files


def digest_checkpoint(path: Path, cache: Path | None = None) -> str:
    """Returns the sha256 of a checkpoint, a file or all files of a folder, 64 hexadecimal digits.

    Args:
        cache: As for :func:`digest_images`.

    Raises:
        ValueError: There is nothing at ``path``.
    """
    path = path.absolute()
    return digest_known(path, checkpoint_files(path), cache)


def digest_files(files: Sequence[Path], cache: Path | None = None) -> str:
    """Returns the sha256 of files and of their names without the folders, 64 hexadecimal digits; in
    any order the same.

    What gzip has compressed counts as it was before, with the name that it had, so that equal data
    have equal digests whoever compressed them.

    Args:
        cache: As for :func:`digest_images`.
    """

    def compute() -> str:
        parts = sorted(f"{unpacked_name(file)}\n{_digest(file, unpacked=True)}" for file in files)
        return _of_text("".join(parts))

    return _remembered("\n".join(str(file.absolute()) for file in files), files, cache, compute)


def digest_md5(file: Path, cache: Path | None = None) -> str:
    """Returns the md5 of a file, as data sets publish it; of a gzip file, of its content."""
    return _remembered(
        f"md5 {file.absolute()}", [file], cache, lambda: _digest(file, "md5", unpacked=True)
    )


def digest_known(
    path: Path, files: Sequence[Path], cache: Path | None, *, rule: str = "", named: bool = False
) -> str:
    """Returns the digest of a file or of a folder's ``files``, remembered if they have not changed.

    Args:
        rule: What else is part of it.
        named: Whether the names of a folder's files are part of it.

    Raises:
        ValueError: A file cannot be read.
    """

    def compute() -> str:
        if not path.is_dir():
            return _of_text(rule + _digest(path)) if rule else _digest(path)
        names = [f"{file.relative_to(path).as_posix()}\n" if named else "" for file in files]
        parts = "".join(name + _digest(file) for name, file in zip(names, files, strict=True))
        return _of_text(rule + parts)

    with _readable(path):
        return _remembered(f"{path}{' named' if named else ''} {rule}", files, cache, compute)


RECENT_SECONDS = 2.0
"""A file that was written so short a time ago may be written again without its times telling: it is
not remembered.
"""


def _remembered(
    what: str, files: Sequence[Path], cache: Path | None, compute: Callable[[], str]
) -> str:
    """Returns a digest of files: what the cache remembers of it while nothing about them has
    changed, or computed.

    A cache that cannot be written to, or that holds something else, costs time and nothing more.
    Each host has entries of its own, for the number of a device differs between hosts that share a
    file system.
    """
    state, newest = _state(files)
    if cache is None:
        return compute()
    path = cache / f"{_of_text(f'{os.uname().nodename} {what}')[:20]}.json"
    with contextlib.suppress(OSError, ValueError, AttributeError):
        entry = json.loads(path.read_bytes())
        if entry.get("stamp") == state and re.fullmatch(
            "[0-9a-f]{32,64}", str(entry.get("digest"))
        ):
            return entry["digest"]
    digest = compute()
    if newest < time.time() - RECENT_SECONDS and _state(files)[0] == state:
        entry = {"what": what[:1000], "stamp": state, "digest": digest}
        with contextlib.suppress(OSError):
            write(path, json.dumps(entry).encode())
    return digest


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Raises ValueError if a file is gone or cannot be read, and names it."""
    try:
        yield
    except OSError as error:
        where, why = printable(error.filename or path), error.strerror or error
        raise InputError(
            f"{where}: cannot be read ({why}): put it back, allow it, or start again"
        ) from None


def _state(files: Sequence[Path]) -> tuple[str, float]:
    """Returns what changes when a file is added, removed, renamed, replaced or written, and when
    that last was.

    The time of its last change (ctime), which no program can set back, is among it, and so are
    inode and device.
    """
    states, newest = hashlib.sha256(), 0
    for file in files:
        now = stamp(file)
        states.update(repr((str(file), *now)).encode())
        newest = max(newest, now.modified_ns, now.changed_ns)
    return states.hexdigest(), newest / 1e9


def unpacked_name(file: Path) -> str:
    """Returns the name of a file, without the ``.gz`` of one that gzip has compressed."""
    return file.stem if _is_compressed(file) else file.name


def _of_text(text: str) -> str:
    """Returns the sha256 of a text; bytes of a file's name that are no text stay as they are."""
    return sha256(text.encode(errors="surrogateescape"))


def _is_compressed(file: Path) -> bool:
    return file.suffix == ".gz" and not file.name.endswith(".tar.gz")


def _digest(file: Path, algorithm: str = "sha256", *, unpacked: bool = False) -> str:
    if unpacked and _is_compressed(file):
        try:
            with gzip.open(file) as stream:
                return _digest_stream(stream, hashlib.new(algorithm, usedforsecurity=False))
        except (EOFError, zlib.error, gzip.BadGzipFile):
            pass  # damaged, as its reader will say: its bytes are hashed as they are
    return hash_file(file, algorithm)


def _digest_stream(stream: IO[bytes] | gzip.GzipFile, digest: Any) -> str:
    while part := stream.read(2**20):
        digest.update(part)
    return digest.hexdigest()
