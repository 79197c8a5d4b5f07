"""Zip archives of pictures, whose claims are checked before anything is unpacked.

Standard library only.
"""

from __future__ import annotations

import io
import stat
import struct
import zlib
from collections import Counter
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from bench.data.fault import InputError
from bench.data.filenames import is_hidden, is_picture, kind, printable

if TYPE_CHECKING:
    import zipfile

MOST_BYTES = 256 * 2**20
"""Bytes of one picture's file at most."""

EXPANSION = 200
"""How many times its packed size a member of an archive may have, beyond :data:`MOST_EXPANDED`
bytes.
"""

MOST_EXPANDED = 64 * 2**20

PIECE = 2**20
"""Bytes that are unpacked at once."""


@cache
def archive_errors(*more: type[Exception]) -> tuple[type[Exception], ...]:
    """Returns what damaged zip archives make the standard library raise, and more."""
    import zipfile

    return (
        *(zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError),
        *(struct.error, zlib.error, UnicodeError, OverflowError, IndexError),
        *more,
    )


def unpacked(archive: zipfile.ZipFile, member: zipfile.ZipInfo, where: str) -> bytes:
    """Returns a member's bytes: as many as it claims, never more."""
    try:
        with archive.open(member) as stream:
            whole = io.BytesIO()  # joined without holding it twice
            while piece := stream.read(PIECE):
                whole.write(piece)
            content = whole.getvalue()
    except archive_errors() as error:
        raise InputError(
            f"{where}: cannot be unpacked ({printable(str(error))}): get the archive again"
        ) from error
    if len(content) != member.file_size:
        raise InputError(
            f"{where}: holds {len(content):,} of {member.file_size:,} bytes: get the archive again"
        )
    return content


def check_size(where: str, size: int) -> None:
    """Raises ValueError for a picture's file of more bytes than it may have."""
    if size > MOST_BYTES:
        raise InputError(
            f"{where}: has {size:,} bytes, more than the {MOST_BYTES:,} that a picture may have: "
            "take it out, or save it smaller"
        )


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
        ValueError: It is none, or damaged; the message says what it is, if that is known.
    """
    import zipfile

    where, again = printable(path), "get it again"
    try:
        with path.open("rb") as file:
            start = file.read(262)
    except OSError as error:
        raise InputError(f"{where}: cannot be read ({error.strerror}): {again}") from None
    what = "a .tar archive" if start[257:262] == b"ustar" else ""
    what = what or next((what for begins, what in OTHERS.items() if start.startswith(begins)), "")
    if what:
        instead = "name its folder" if what == "one picture" else "unpack it and name the folder"
        raise InputError(f"{where}: is {what}: {instead}, or make a .zip of the pictures")
    if path.suffix.lower() != ".zip":
        why = (
            "an .npz file, which holds arrays"
            if path.suffix.lower() == ".npz"
            else "a file of another kind"
        )
        raise InputError(f"there is no folder or .zip of pictures {where}, but {why}")
    try:
        return zipfile.ZipFile(path)
    except archive_errors(ValueError) as error:  # a negative offset is a ValueError
        raise InputError(
            f"{where}: is no zip archive that can be read ({printable(str(error))}): {again}"
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
        where = f"{printable(path)}: {printable(name)}"
        if info.is_dir() or info.filename.endswith("\\"):
            continue
        if any(is_hidden(folder) for folder in name.split("/")[:-1]):
            left_out["__MACOSX file" if "__MACOSX" in name.split("/") else "hidden file"] += 1
        elif info.create_system == 3 and stat.S_ISLNK(info.external_attr >> 16):
            raise InputError(
                f"{where}: is a link in the archive: make it again with the files (zip without -y)"
            )
        elif not is_picture(name):
            left_out[kind(name)] += 1
        elif name in members:
            if (info.CRC, info.file_size) != (members[name].CRC, members[name].file_size):
                raise InputError(
                    f"{where}: is in the archive twice, with other content: make the archive again"
                )
            left_out["repeated member"] += 1
        else:
            _check_member(where, info)
            members[name] = info
    return members, dict(left_out)


def _check_member(where: str, info: zipfile.ZipInfo) -> None:
    if info.flag_bits & 1:
        raise InputError(f"{where}: is encrypted: make the archive again without a password")
    import zipfile

    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        packers: dict[int, str] = vars(zipfile).get("compressor_names", {})
        how = packers.get(info.compress_type, f"method {info.compress_type}")
        raise InputError(
            f"{where}: is packed by {how}: make the archive again with deflate, or without packing"
        )
    check_size(where, info.file_size)
    if info.file_size > max(MOST_EXPANDED, EXPANSION * info.compress_size):
        raise InputError(
            f"{where}: says that {info.compress_size:,} bytes unpack to {info.file_size:,}, which "
            "pictures never do: take it out"
        )
