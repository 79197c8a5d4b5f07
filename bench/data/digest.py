"""What was made elsewhere: the digest of images (pictures or an .npz) and of checkpoints, how many
images there are.

A suite is planned from these alone, so numpy is not needed and a known digest is not computed
again: it is remembered by path, size, times, inode and device. Reading the images themselves is
:mod:`bench.data.external`'s, reading a checkpoint its method's.

Standard library only.
"""

import ast
import contextlib
import gzip
import hashlib
import json
import re
import socket
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from bench.data.archive import ARCHIVE_ERRORS, EXPANSION, MOST_EXPANDED
from bench.data.collection import VERSION, Collection, collect
from bench.data.filenames import printable
from bench.files import hash_file, sha256, stamp, write

KEYS = ("images", "arr_0")
"""Arrays of an .npz that hold the images, the first found; or else its only array."""

LONGEST_HEADER = 2**16
"""Characters of an array's header at most."""

MOST_DIMENSIONS = 32


def image_files(path: Path) -> list[Path]:
    """Returns the files that make a set of images: an .npz, a zip archive, or the pictures below a
    folder by name.

    Raises:
        ValueError: There is nothing of the kind at ``path``, or something below it cannot be read.
    """
    return [path] if _is_array(path) else collect(path).files


def count_images(path: Path) -> int:
    """Returns the number of images at ``path``: of pictures in a folder or archive, of rows of the
    array in an .npz.

    Raises:
        ValueError: There are none, or something cannot be read.
    """
    return npz_header(path).shape[0] if _is_array(path) else len(collect(path).names)


def what_is_left_out(path: Path) -> str:
    """Returns what of a folder or archive is not read, by kind; empty where nothing is, and for an
    .npz.

    Raises:
        ValueError: As :func:`count_images`.
    """
    return "" if _is_array(path) else collect(path).what_is_left_out


def _is_array(path: Path) -> bool:
    """Whether it is an .npz; otherwise it is a folder or archive.

    Raises:
        ValueError: It is neither.
    """
    try:
        folder, file = path.is_dir(), path.is_file()
    except OSError as error:
        raise ValueError(f"{printable(path)}: cannot be read ({error.strerror})") from None
    if folder:
        return False
    if not file:
        raise ValueError(f"there is no folder or file {printable(path)}")
    if path.suffix.lower() not in (".npz", ".zip"):
        raise ValueError(
            f"{printable(path)} should be a folder or .zip of pictures or an .npz file"
        )
    return path.suffix.lower() == ".npz"


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
    where = printable(path)
    again = "write it again with numpy.savez"
    if not zipfile.is_zipfile(path):
        raise ValueError(
            f"{where} is not an .npz file that can be read (empty, cut short or of another kind); {again}"
        )
    try:
        with zipfile.ZipFile(path) as archive:
            found = [
                name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")
            ]
            name = next(
                (key for key in KEYS if key in found), found[0] if len(found) == 1 else None
            )
            if name is None:
                arrays = printable(", ".join(found[:10])) or "none"
                raise ValueError(
                    f"{where} should hold an array called {KEYS[0]}; which array holds the images? (arrays: {arrays})"
                )
            if found.count(name) > 1:
                raise ValueError(f"{where} holds the array {printable(name)} twice; {again}")
            member = archive.getinfo(f"{name}.npy")
            _check_member(member, where, again)
            with archive.open(member) as stream:
                header, start = _header(
                    stream, printable(name), f"{where} is not an .npz file that can be read", again
                )
            if name != KEYS[0] and (alike := _alike(archive, header, found)):
                raise ValueError(
                    f"{where} holds several arrays like images, {printable(', '.join([name, *alike]))}; call the one that "
                    f"is meant {KEYS[0]}"
                )
    except ARCHIVE_ERRORS as error:
        raise ValueError(
            f"{where} is not an .npz file that can be read ({printable(str(error))}); {again}"
        ) from None
    if not header.shape:
        raise ValueError(
            f"{where} is not an .npz file that can be read ({printable(name)} is a single number, not images); {again}"
        )
    _check_claim(header, member.file_size - start, where, again)
    return header


def _alike(archive: zipfile.ZipFile, header: NpzHeader, names: Sequence[str]) -> list[str]:
    """Returns the names of other arrays whose rows have the shape of the images."""
    found = []
    for name in names:
        if name == header.name or len(header.shape) < 2:
            continue
        with contextlib.suppress(ValueError), archive.open(f"{name}.npy") as stream:
            other, _ = _header(stream, name, "", "")
            found += [name] if other.shape[1:] == header.shape[1:] else []
    return found


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
    where = printable(path)
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if (name := member.filename.removesuffix(".npy")) in names:
                _check_member(member, where, again)
                with archive.open(member) as stream:
                    header, start = _header(stream, name, where, again, objects)
                _check_claim(header, member.file_size - start, where, again)


def _check_claim(header: NpzHeader, held: int, where: str, again: str) -> None:
    claimed = header.item
    for length in header.shape:
        claimed *= length
    if claimed != held:
        what = "cut short" if held < claimed else "damaged"
        raise ValueError(
            f"{where}: {printable(header.name)} claims shape {header.shape} of {header.dtype}, {claimed:,} bytes, and "
            f"{held:,} are there: {what}; {again}"
        )


def _check_member(member: zipfile.ZipInfo, where: str, again: str) -> None:
    """Refuses what numpy never writes, and what unpacks to far more than it is."""
    if member.flag_bits & 1 or member.compress_type not in (
        zipfile.ZIP_STORED,
        zipfile.ZIP_DEFLATED,
    ):
        raise ValueError(
            f"{where}: {printable(member.filename)} is encrypted or packed as numpy packs nothing; {again}"
        )
    if member.file_size > max(MOST_EXPANDED, EXPANSION * member.compress_size):
        raise ValueError(
            f"{where}: {printable(member.filename)} says that {member.compress_size:,} bytes unpack to "
            f"{member.file_size:,}, which images never do; {again}"
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
        raise ValueError(f"{bad} ({name} has no header of an array); {again}")
    begin = 10 if start[6] == 1 else 12
    length = int.from_bytes(start[8:begin], "little")
    if length > LONGEST_HEADER:
        raise ValueError(f"{bad} ({name} has a header of {length:,} bytes); {again}")
    text = start[begin:] + stream.read(length - len(start[begin:]))
    try:
        values = ast.literal_eval(
            text[:length].decode("utf-8" if start[6] == 3 else "latin1").strip()
        )
        shape, descr, _ = (values[key] for key in ("shape", "descr", "fortran_order"))
    except (ValueError, SyntaxError, TypeError, KeyError, MemoryError, RecursionError):
        raise ValueError(f"{bad} ({name} has a header without shape and type); {again}") from None
    whole = isinstance(shape, tuple) and all(
        type(length) is int and 0 <= length < 2**62 for length in shape
    )
    if not whole or len(shape) > MOST_DIMENSIONS:
        raise ValueError(f"{bad} ({name} claims shape {printable(repr(shape))[:60]}); {again}")
    kind = re.fullmatch(r"[<>|=]?([a-zA-Z])(\d{0,9})", descr) if isinstance(descr, str) else None
    if kind is None or kind[1] == "O":
        told = "objects" if kind else printable(repr(descr))[:60]
        raise ValueError(f"{bad} ({name} is an array of {told}, which is never loaded); {objects}")
    wide = 4 if kind[1] == "U" else 1  # bytes of a character
    return NpzHeader(name, shape, kind[1], int(kind[2] or 1) * wide), begin + length


def digest_images(path: Path, cache: Path | None = None) -> str:
    """Returns the sha256 of the images at ``path``, 64 hexadecimal digits.

    Args:
        path: A folder of pictures, taken in the order of their names, a zip archive of them, or an
            .npz.
        cache: Folder that remembers digests by path, size, times, inode and device; None: always
            read the files.

    Raises:
        ValueError: There are no images at ``path``, or something below it cannot be read.
    """
    path = path.absolute()
    if _is_array(path):
        return _digest_known(path, [path], cache)
    return _digest_known(path, collect(path).files, cache, rule=f"pictures {VERSION}\n")


def digest_pictures(found: Collection, cache: Path | None = None) -> str:
    """Returns the sha256 of the pictures below a folder and of all their names, or of a zip
    archive: 64 digits.

    Args:
        cache: As for :func:`digest_images`.

    Raises:
        ValueError: A file cannot be read.
    """
    links = "".join(f"{other}\n{used}\n" for other, used in found.links)
    return _digest_known(found.path, found.files, cache, rule=links, named=True)


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
        raise ValueError(f"{path} holds no file")
    return files


def digest_checkpoint(path: Path, cache: Path | None = None) -> str:
    """Returns the sha256 of a checkpoint, a file or all files of a folder, 64 hexadecimal digits.

    Args:
        cache: As for :func:`digest_images`.

    Raises:
        ValueError: There is nothing at ``path``.
    """
    path = path.absolute()
    return _digest_known(path, checkpoint_files(path), cache)


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
    """Returns the md5 of a file, which is what data sets are published with; of a gzip file, of
    what is in it.
    """
    return _remembered(
        f"md5 {file.absolute()}", [file], cache, lambda: _digest(file, "md5", unpacked=True)
    )


def _digest_known(
    path: Path, files: Sequence[Path], cache: Path | None, *, rule: str = "", named: bool = False
) -> str:
    """Returns the digest of a file, or of a folder's ``files``, from the cache where their stamp is
    known.

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
    known = cache / f"{_of_text(f'{socket.gethostname()} {what}')[:20]}.json"
    with contextlib.suppress(OSError, ValueError, AttributeError):
        entry = json.loads(known.read_bytes())
        if entry.get("stamp") == state and re.fullmatch(
            "[0-9a-f]{32,64}", str(entry.get("digest"))
        ):
            return entry["digest"]
    digest = compute()
    if newest < time.time() - RECENT_SECONDS and _state(files)[0] == state:
        entry = {"what": what[:1000], "stamp": state, "digest": digest}
        with contextlib.suppress(OSError):
            write(known, json.dumps(entry).encode())
    return digest


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Raises ValueError where a file is gone or cannot be read, and names it."""
    try:
        yield
    except OSError as error:
        where, why = printable(error.filename or path), error.strerror or error
        raise ValueError(
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
    """Returns the sha256 of a text; bytes of a file's name that are no text are taken as they
    are.
    """
    return sha256(text.encode(errors="surrogateescape"))


def _is_compressed(file: Path) -> bool:
    return file.suffix == ".gz" and not file.name.endswith(".tar.gz")


def _digest(file: Path, algorithm: str = "sha256", *, unpacked: bool = False) -> str:
    if unpacked and _is_compressed(file):
        try:
            with gzip.open(file) as stream:
                return _digest_stream(stream, hashlib.new(algorithm, usedforsecurity=False))
        except (EOFError, zlib.error, gzip.BadGzipFile):
            pass  # damaged, as its reader will say: known by its bytes
    return hash_file(file, algorithm)


def _digest_stream(stream: IO[bytes], digest: Any) -> str:
    while part := stream.read(2**20):
        digest.update(part)
    return digest.hexdigest()
