"""What an .npz claims of its arrays, compared with the bytes that are there before memory is taken.

Standard library only.
"""

from __future__ import annotations

import ast
import contextlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING

from bench.data.archive import EXPANSION, MOST_EXPANDED, archive_errors
from bench.data.fault import InputError
from bench.data.filenames import printable
from bench.frozen import dataclass

if TYPE_CHECKING:
    import zipfile

KEYS = ("images", "arr_0")
"""Arrays of an .npz that hold the images, the first that is there; or else its only array."""

LONGEST_HEADER = 2**16
"""Characters of an array's header at most."""

MOST_DIMENSIONS = 32


@dataclass(frozen=True)
class NpzHeader:
    """What an .npz says of the array that holds its images, before it is read.

    Args:
        name: The array.
        shape: Its lengths.
        kind: The letter of its type: u for unsigned whole numbers, f for floats, ...
        item: Bytes of a value.
    """

    name: str
    shape: tuple[int, ...]
    kind: str
    item: int

    @property
    def dtype(self) -> str:
        """Its type for a person: ``u1`` for bytes."""
        return f"{self.kind}{self.item}"


def npz_header(path: Path) -> NpzHeader:
    """Returns what an .npz says of its image array, compared with the bytes that are there; no
    memory is taken for it.

    Raises:
        ValueError: The header is none, or claims what the file cannot hold; the message names file
            and remedy.
    """
    import zipfile

    where = printable(path)
    again = "write it again with numpy.savez"
    if not zipfile.is_zipfile(path):
        raise InputError(
            f"{where} is not an .npz file that can be read (empty, cut short or of another kind); "
            f"{again}"
        )
    try:
        with zipfile.ZipFile(path) as archive:
            names = [
                name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")
            ]
            name = next(
                (key for key in KEYS if key in names), names[0] if len(names) == 1 else None
            )
            if name is None:
                arrays = printable(", ".join(names[:10])) or "none"
                raise InputError(
                    f"{where} should hold an array called {KEYS[0]}; which array holds the images? "
                    f"(arrays: {arrays})"
                )
            if names.count(name) > 1:
                raise InputError(f"{where} holds the array {printable(name)} twice; {again}")
            member = archive.getinfo(f"{name}.npy")
            _check_member(member, where, again)
            with archive.open(member) as stream:
                header, start = _header(
                    stream, printable(name), f"{where} is not an .npz file that can be read", again
                )
            if name != KEYS[0] and (alike := _alike(archive, header, names)):
                raise InputError(
                    f"{where} holds several arrays like images, "
                    f"{printable(', '.join([name, *alike]))}; call the one that is meant {KEYS[0]}"
                )
    except archive_errors() as error:
        raise InputError(
            f"{where} is not an .npz file that can be read ({printable(str(error))}); {again}"
        ) from None
    if not header.shape:
        raise InputError(
            f"{where} is not an .npz file that can be read ({printable(name)} is a single number, "
            f"not images); {again}"
        )
    _check_claim(header, member.file_size - start, where, again)
    return header


def _alike(archive: zipfile.ZipFile, header: NpzHeader, names: Sequence[str]) -> list[str]:
    """Returns the names of other arrays whose rows have the shape of the images."""
    alike = []
    for name in names:
        if name == header.name or len(header.shape) < 2:
            continue
        with contextlib.suppress(ValueError), archive.open(f"{name}.npy") as stream:
            other, _ = _header(stream, name, "", "")
            alike += [name] if other.shape[1:] == header.shape[1:] else []
    return alike


def check_claims(path: Path, names: Sequence[str], again: str, objects: str) -> None:
    """Compares what an .npz says of some of its arrays with the bytes that are there, before memory
    is taken for them.

    Args:
        path: The file.
        names: The arrays; those that are not there are not missed.
        again: The remedy that messages end with.
        objects: What they say of an array of objects.

    Raises:
        ValueError: A header is none, or claims what the file cannot hold; the message names the
            file.
    """
    import zipfile

    where = printable(path)
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if (name := member.filename.removesuffix(".npy")) in names:
                _check_member(member, where, again)
                with archive.open(member) as stream:
                    header, start = _header(stream, name, where, again, objects)
                _check_claim(header, member.file_size - start, where, again)


def _check_claim(header: NpzHeader, available: int, where: str, again: str) -> None:
    claimed = header.item
    for length in header.shape:
        claimed *= length
    if claimed != available:
        what = "cut short" if available < claimed else "damaged"
        raise InputError(
            f"{where}: {printable(header.name)} claims shape {header.shape} of {header.dtype}, "
            f"{claimed:,} bytes, and {available:,} are there: {what}; {again}"
        )


def _check_member(member: zipfile.ZipInfo, where: str, again: str) -> None:
    """Refuses what numpy never writes, and what unpacks to far more than it is."""
    import zipfile

    if member.flag_bits & 1 or member.compress_type not in (
        zipfile.ZIP_STORED,
        zipfile.ZIP_DEFLATED,
    ):
        raise InputError(
            f"{where}: {printable(member.filename)} is encrypted or packed as numpy packs nothing; "
            f"{again}"
        )
    if member.file_size > max(MOST_EXPANDED, EXPANSION * member.compress_size):
        raise InputError(
            f"{where}: {printable(member.filename)} says that {member.compress_size:,} bytes "
            f"unpack to {member.file_size:,}, which images never do; {again}"
        )


def _header(
    stream: IO[bytes], name: str, bad: str, again: str, objects: str = "save one plain uint8 array"
) -> tuple[NpzHeader, int]:
    """Returns what the header of an array says, and how many bytes it has.

    Source: numpy.lib.format,
    https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html.
    """
    start = stream.read(12)
    if start[:6] != b"\x93NUMPY" or len(start) < 12 or start[6] not in (1, 2, 3):
        raise InputError(f"{bad} ({name} has no header of an array); {again}")
    begin = 10 if start[6] == 1 else 12
    length = int.from_bytes(start[8:begin], "little")
    if length > LONGEST_HEADER:
        raise InputError(f"{bad} ({name} has a header of {length:,} bytes); {again}")
    text = start[begin:] + stream.read(length - len(start[begin:]))
    try:
        values = ast.literal_eval(
            text[:length].decode("utf-8" if start[6] == 3 else "latin1").strip()
        )
        shape, descr, _ = (values[key] for key in ("shape", "descr", "fortran_order"))
    except (ValueError, SyntaxError, TypeError, KeyError, MemoryError, RecursionError):
        raise InputError(f"{bad} ({name} has a header without shape and type); {again}") from None
    whole = isinstance(shape, tuple) and all(
        type(length) is int and 0 <= length < 2**62 for length in shape
    )
    if not whole or len(shape) > MOST_DIMENSIONS:
        raise InputError(f"{bad} ({name} claims shape {printable(repr(shape))[:60]}); {again}")
    kind = re.fullmatch(r"[<>|=]?([a-zA-Z])(\d{0,9})", descr) if isinstance(descr, str) else None
    if kind is None or kind[1] == "O":
        what = "objects" if kind else printable(repr(descr))[:60]
        raise InputError(f"{bad} ({name} is an array of {what}, which is never loaded); {objects}")
    wide = 4 if kind[1] == "U" else 1  # bytes of a character
    return NpzHeader(name, shape, kind[1], int(kind[2] or 1) * wide), begin + length
