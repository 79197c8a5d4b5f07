"""The pictures below a folder or in a zip archive, and what else lies there.

A folder is searched through and through, links to files and folders included. A file or folder that
several names lead to (links, links in a circle, hard links) is one: it keeps the name without a
link, or else the first. Whatever is not read is counted by its kind, and what cannot be read (an
unreadable folder, a link to nothing, an encrypted member) is an error. Sizes are compared with
:data:`MOST_BYTES` before anything is read.

Standard library only.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from bench.data.archive import MOST_BYTES, check_size, members_of, opened, unpacked
from bench.data.fault import InputError, MissingError
from bench.data.filenames import PICTURES, PLURALS, printable
from bench.data.walk import Walk
from bench.frozen import dataclass

VERSION = 2
"""Rises when equal pictures would become other images, or be split in another way."""


@dataclass(frozen=True)
class Collection:
    """The pictures of one place.

    Args:
        path: The folder or archive.
        names: Of its pictures from there, with ``/`` between folders, in order.
        left_out: How many of each kind are not read.
        links: Other names of pictures and folders, each with the name that is used.
    """

    path: Path
    names: tuple[str, ...]
    left_out: Mapping[str, int]
    links: tuple[tuple[str, str], ...] = ()

    @property
    def files(self) -> list[Path]:
        """The files of the pictures, in order: the archive, or the pictures themselves."""
        return [self.path / name for name in self.names] if self.path.is_dir() else [self.path]

    @property
    def what_is_left_out(self) -> str:
        """``left out: 3 .txt, 1 hidden file``; empty if everything is read."""
        kinds = [
            f"{count:,} {kind if count == 1 else PLURALS.get(kind, kind)}"
            for kind, count in sorted(self.left_out.items(), key=lambda item: (-item[1], item[0]))
        ]
        return f"left out: {', '.join(kinds)}" if kinds else ""


def collect(path: Path) -> Collection:
    """Returns what lies below a folder or in a zip archive.

    Raises:
        ValueError: There is no picture, or something cannot be read; the message names it and the
            remedy.
    """
    try:
        folder, file = path.is_dir(), path.is_file()
    except OSError as error:
        raise InputError(
            f"{printable(path)}: cannot be read ({error.strerror}): allow it, or name another"
        ) from None
    if folder:
        collection = Collection(path, *Walk(path).result())
    elif file:
        with opened(path) as archive:
            members, left_out = members_of(archive, path)
        collection = Collection(path, tuple(sorted(members)), left_out)
    else:
        raise InputError(f"there is no folder or .zip of pictures {printable(path)}")
    if not collection.names:
        rest = f"; {collection.what_is_left_out}" if collection.left_out else ""
        raise InputError(f"{printable(path)} holds no picture ({', '.join(PICTURES)}){rest}")
    return collection


def contents(path: Path, chosen: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """Yields (where it lies, bytes) of chosen pictures of a folder or archive, one at a time.

    Raises:
        FileNotFoundError: One is not there.
        ValueError: One is too large or cannot be unpacked; the message names it and the remedy.
    """
    if path.is_dir():
        for name in chosen:
            yield printable(path / name), _read(path / name)
        return
    with opened(path) as archive:
        members, _ = members_of(archive, path)
        for name in chosen:
            if name not in members:
                raise MissingError(
                    f"{printable(path)}: {printable(name)} is missing: get the archive again"
                )
            where = f"{printable(path)}: {printable(name)}"
            yield where, unpacked(archive, members[name], where)


def _read(file: Path) -> bytes:
    try:
        state = file.stat()
        if not stat.S_ISREG(state.st_mode):
            raise InputError(f"{printable(file)}: is no file: take it out")
        check_size(printable(file), state.st_size)
        with file.open("rb") as stream:
            return stream.read(MOST_BYTES)
    except FileNotFoundError:
        raise MissingError(
            f"{printable(file)} is missing: unpack the archive again, or put it back"
        ) from None
    except OSError as error:
        raise InputError(
            f"{printable(file)}: cannot be read ({error.strerror}): allow it, or take it out"
        ) from None
