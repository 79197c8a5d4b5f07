"""The pictures below a folder or in a zip archive, and what else lies there.

A folder is searched through and through, links to files and folders included. A file or folder that
several names lead to (links, links in a circle, hard links) is one: it keeps the name without a
link, or else the first. Whatever is not read is counted by its kind, and what cannot be read (an
unreadable folder, a link to nothing, an encrypted member) is an error. Sizes are compared with
:data:`MOST_BYTES` before anything is read.

Standard library only.
"""

from __future__ import annotations

import io
import os
import re
import stat
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.printable import one_line

PICTURES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".tif", ".tiff"),
)
"""How the names of pictures end, in small letters."""

VERSION = 2
"""Rises when equal pictures would become other images, or be split in another way."""

MOST_BYTES = 256 * 2**20
"""Bytes of one picture's file at most."""

EXPANSION = 200
"""How many times its packed size a member of an archive may have, beyond :data:`MOST_EXPANDED`
bytes.
"""

MOST_EXPANDED = 64 * 2**20

PIECE = 2**20
"""Bytes that are unpacked at once."""

PLURALS = {
    "hidden file": "hidden files",
    "hidden folder": "hidden folders",
    "__MACOSX folder": "__MACOSX folders",
    "special file": "special files",
    "file without an ending": "files without an ending",
    "other name of what is read": "other names of what is read",
    "repeated member": "repeated members",
    "__MACOSX file": "__MACOSX files",
}
"""Kinds of what is left out that are words."""

ARCHIVE_ERRORS = (
    *(zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError),
    *(struct.error, zlib.error, UnicodeError, OverflowError, IndexError),
)
"""What damaged zip archives make the standard library raise."""


def shown(name: str | Path) -> str:
    """Returns a file's name as it can be printed: control characters and bytes that are no text are
    escaped.
    """
    return one_line(str(name))


@dataclass(frozen=True)
class Collection:
    """What was found.

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
        """The files that the pictures are read from, in order: the archive, or the pictures
        themselves.
        """
        return [self.path / name for name in self.names] if self.path.is_dir() else [self.path]

    @property
    def what_is_left_out(self) -> str:
        """``left out: 3 .txt, 1 hidden file``; empty where everything is read."""
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
        raise ValueError(
            f"{shown(path)}: cannot be read ({error.strerror}): allow it, or name another"
        ) from None
    if folder:
        found = _Walk(path).collection()
    elif file:
        with opened(path) as archive:
            members, left_out = members_of(archive, path)
        found = Collection(path, tuple(sorted(members)), left_out)
    else:
        raise ValueError(f"there is no folder or .zip of pictures {shown(path)}")
    if not found.names:
        told = f"; {found.what_is_left_out}" if found.left_out else ""
        raise ValueError(f"{shown(path)} holds no picture ({', '.join(PICTURES)}){told}")
    return found


def contents(path: Path, chosen: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """Yields (where it lies, bytes) of chosen pictures of a folder or archive, one at a time.

    Raises:
        FileNotFoundError: One is not there.
        ValueError: One is too large or cannot be unpacked; the message names it and the remedy.
    """
    if path.is_dir():
        for name in chosen:
            yield shown(path / name), _read(path / name)
        return
    with opened(path) as archive:
        members, _ = members_of(archive, path)
        for name in chosen:
            if name not in members:
                raise FileNotFoundError(
                    f"{shown(path)}: {shown(name)} is missing: get the archive again"
                )
            where = f"{shown(path)}: {shown(name)}"
            yield where, _unpacked(archive, members[name], where)


def _read(file: Path) -> bytes:
    try:
        state = file.stat()
        if not stat.S_ISREG(state.st_mode):
            raise ValueError(f"{shown(file)}: is no file: take it out")
        _check_size(shown(file), state.st_size)
        with file.open("rb") as stream:
            return stream.read(MOST_BYTES)
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{shown(file)} is missing: unpack the archive again, or put it back"
        ) from None
    except OSError as error:
        raise ValueError(
            f"{shown(file)}: cannot be read ({error.strerror}): allow it, or take it out"
        ) from None


def _unpacked(archive: zipfile.ZipFile, member: zipfile.ZipInfo, where: str) -> bytes:
    """Returns a member's bytes, which are as many as it says: never more, whatever it unpacks
    to.
    """
    try:
        with archive.open(member) as stream:
            whole = io.BytesIO()  # joined without holding it twice
            while piece := stream.read(PIECE):
                whole.write(piece)
            content = whole.getvalue()
    except ARCHIVE_ERRORS as error:
        raise ValueError(
            f"{where}: cannot be unpacked ({shown(str(error))}): get the archive again"
        ) from error
    if len(content) != member.file_size:
        raise ValueError(
            f"{where}: holds {len(content):,} of {member.file_size:,} bytes: get the archive again"
        )
    return content


def _check_size(where: str, size: int) -> None:
    if size > MOST_BYTES:
        raise ValueError(
            f"{where}: has {size:,} bytes, more than the {MOST_BYTES:,} that a picture may have: take it out, or save "
            "it smaller"
        )


def is_picture(name: str) -> bool:
    """Whether a file's name, with its folders, is that of a picture that is read."""
    *folders, base = re.split(r"[/\\]", name)
    hidden = base.startswith(".") or any(_hidden(folder) for folder in folders)
    return base.lower().endswith(PICTURES) and not hidden


def _hidden(folder: str) -> bool:
    return folder == "__MACOSX" or (folder.startswith(".") and folder not in (".", ".."))


def kind(name: str) -> str:
    """Returns the kind of a file that is not read: its ending, ``._*``, ``.DS_Store``, ..."""
    base = re.split(r"[/\\]", name)[-1]
    if base.startswith("._"):
        return "._*"
    if base in (".DS_Store", "Thumbs.db", "desktop.ini"):
        return base
    if base.startswith("."):
        return "hidden file"
    ending = os.path.splitext(base)[1].lower()
    return shown(ending[:12]) if len(ending) > 1 else "file without an ending"


# Folders

Identity = tuple[int, int]
"""Device and inode."""


class _Walk:
    """Looks at everything below a folder: first without links, then along them, so that names
    without links come first.

    Args:
        root: The folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.left_out: Counter[str] = Counter()
        self.round = 0
        self.links: list[str] = []
        self.folders: dict[Identity, str] = {}
        self.pictures: dict[Identity, list[tuple[int, str]]] = {}
        self.other_names: list[tuple[str, str]] = []

    def collection(self) -> Collection:
        """Returns what there is.

        Raises:
            ValueError: A folder cannot be looked into, a link leads nowhere, or a file is too
                large.
        """
        self._search("", self._state(""))
        while self.links:
            links, self.links = sorted(self.links), []
            self.round += 1
            for name in links:
                self._follow(name)
        for names in self.pictures.values():
            (_, used), *others = sorted(names)
            self.other_names += [(other, used) for _, other in others]
        if self.other_names:
            self.left_out["other name of what is read"] += len(self.other_names)
        names = sorted(min(names)[1] for names in self.pictures.values())
        return Collection(
            self.root, tuple(names), dict(self.left_out), tuple(sorted(self.other_names))
        )

    def _path(self, name: str) -> Path:
        return self.root / name if name else self.root

    def _state(self, name: str) -> os.stat_result:
        path = self._path(name)
        try:
            return os.stat(path)
        except OSError as error:
            if path.is_symlink():
                target = shown(os.readlink(path))
                raise ValueError(
                    f"{shown(path)}: is a link to {target}, which cannot be followed ({error.strerror}): mend it, or "
                    "take it out"
                ) from None
            raise ValueError(
                f"{shown(path)}: cannot be read ({error.strerror}): allow it, or take it out"
            ) from None

    def _search(self, name: str, state: os.stat_result) -> None:
        """Notes everything below a folder."""
        waiting = [(name, state)]
        while waiting:
            name, state = waiting.pop()
            if not self._is_new(name, state):
                continue
            try:
                with os.scandir(self._path(name)) as entries:
                    found = [
                        (entry.name, entry.is_symlink(), entry.is_dir(follow_symlinks=False))
                        for entry in entries
                    ]
            except OSError as error:
                where = shown(self._path(name))
                why = error.strerror
                raise ValueError(
                    f"{where}: cannot be looked into ({why}): allow it, or take it out"
                ) from None
            for base, linked, below in sorted(found):
                child = f"{name}/{base}" if name else base
                if _hidden(base) and below:
                    self.left_out["__MACOSX folder" if base == "__MACOSX" else "hidden folder"] += 1
                elif linked and not base.startswith("."):
                    self.links.append(child)
                elif below:
                    waiting.append((child, self._state(child)))
                else:
                    self._note(child)

    def _is_new(self, name: str, state: os.stat_result) -> bool:
        """Whether a folder was not met before; notes its other name where it was."""
        known = self.folders.setdefault((state.st_dev, state.st_ino), name)
        if known == name:
            return True
        circle = known == "" or name.startswith(f"{known}/")
        if not circle:
            self.other_names.append((name, known))
        else:
            self.left_out["other name of what is read"] += 1
        return False

    def _follow(self, name: str) -> None:
        state = self._state(name)
        if stat.S_ISDIR(state.st_mode):
            self._search(name, state)
        else:
            self._note(name)

    def _note(self, name: str) -> None:
        """Notes a file, by the name that leads to it."""
        if not is_picture(name):
            self.left_out[kind(name)] += 1
            return
        state = self._state(name)
        if not stat.S_ISREG(state.st_mode):
            self.left_out["special file"] += 1
            return
        _check_size(shown(self._path(name)), state.st_size)
        self.pictures.setdefault((state.st_dev, state.st_ino), []).append((self.round, name))


# Archives

OTHERS = {
    b"\x1f\x8b": "a .gz file",
    b"BZh": "a .bz2 file",
    b"\xfd7zXZ": "an .xz file",
    b"\x28\xb5\x2f\xfd": "a .zst file",
    b"7z\xbc\xaf\x27\x1c": "a .7z archive",
    b"Rar!": "a .rar archive",
    b"\x93NUMPY": "an .npy array",
    b"\x89PNG": "one picture",
    b"\xff\xd8\xff": "one picture",
    b"\x89HDF": "an HDF5 file",
}
"""How files begin that are no zip archive."""


def opened(path: Path) -> zipfile.ZipFile:
    """Returns a zip archive, to be closed.

    Raises:
        ValueError: It is none, or damaged; the message says what it is where that is known.
    """
    where, again = shown(path), "get it again"
    try:
        with path.open("rb") as file:
            start = file.read(262)
    except OSError as error:
        raise ValueError(f"{where}: cannot be read ({error.strerror}): {again}") from None
    what = "a .tar archive" if start[257:262] == b"ustar" else ""
    what = what or next((what for begins, what in OTHERS.items() if start.startswith(begins)), "")
    if what:
        instead = "name its folder" if what == "one picture" else "unpack it and name the folder"
        raise ValueError(f"{where}: is {what}: {instead}, or make a .zip of the pictures")
    if path.suffix.lower() != ".zip":
        why = (
            "an .npz file, which holds arrays"
            if path.suffix.lower() == ".npz"
            else "a file of another kind"
        )
        raise ValueError(f"there is no folder or .zip of pictures {where}, but {why}")
    try:
        return zipfile.ZipFile(path)
    except (*ARCHIVE_ERRORS, ValueError) as error:  # a negative offset is a ValueError
        raise ValueError(
            f"{where}: is no zip archive that can be read ({shown(str(error))}): {again}"
        ) from error


def members_of(
    archive: zipfile.ZipFile, path: Path
) -> tuple[dict[str, zipfile.ZipInfo], dict[str, int]]:
    """Returns the pictures of an archive by name, and how many of each other kind there are.

    Raises:
        ValueError: One is encrypted, a link, too large, or there twice with other content; the
            message names it.
    """
    members: dict[str, zipfile.ZipInfo] = {}
    left_out: Counter[str] = Counter()
    for info in archive.infolist():
        name = "/".join(
            part for part in info.filename.replace("\\", "/").split("/") if part not in ("", ".")
        )
        where = f"{shown(path)}: {shown(name)}"
        if info.is_dir() or info.filename.endswith("\\"):
            continue
        if any(_hidden(folder) for folder in name.split("/")[:-1]):
            left_out["__MACOSX file" if "__MACOSX" in name.split("/") else "hidden file"] += 1
        elif info.create_system == 3 and stat.S_ISLNK(info.external_attr >> 16):
            raise ValueError(
                f"{where}: is a link in the archive: make it again with the files (zip without -y)"
            )
        elif not is_picture(name):
            left_out[kind(name)] += 1
        elif name in members:
            if (info.CRC, info.file_size) != (members[name].CRC, members[name].file_size):
                raise ValueError(
                    f"{where}: is in the archive twice, with other content: make the archive again"
                )
            left_out["repeated member"] += 1
        else:
            _check_member(where, info)
            members[name] = info
    return members, dict(left_out)


def _check_member(where: str, info: zipfile.ZipInfo) -> None:
    if info.flag_bits & 1:
        raise ValueError(f"{where}: is encrypted: make the archive again without a password")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        how = zipfile.compressor_names.get(info.compress_type, f"method {info.compress_type}")
        raise ValueError(
            f"{where}: is packed by {how}: make the archive again with deflate, or without packing"
        )
    _check_size(where, info.file_size)
    if info.file_size > max(MOST_EXPANDED, EXPANSION * info.compress_size):
        raise ValueError(
            f"{where}: says that {info.compress_size:,} bytes unpack to {info.file_size:,}, which pictures never do: "
            "take it out"
        )
