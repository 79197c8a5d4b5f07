"""What was made elsewhere: the digest of images (a folder of PNG files or an .npz) and of checkpoints, how many images.

A suite is planned from these alone, so numpy is not needed and a known digest is not computed again: it is
remembered by path, size, times, inode and device. Reading the images themselves is :mod:`bench.external`'s, reading a
checkpoint its method's.

Standard library only.
"""

import ast
import contextlib
import gzip
import hashlib
import json
import os
import re
import socket
import struct
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".ppm", ".pgm", ".tif", ".tiff")
"""How the names of pictures end, in small letters."""

KEYS = ("images", "arr_0")
"""Arrays of an .npz that hold the images, the first found; or else its only array."""


def image_files(path: Path) -> list[Path]:
    """Returns the files that make a set of images: the .npz itself, or a folder's PNG files by name.

    Raises:
        ValueError: There is nothing of the kind at ``path``.
    """
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix.lower() == ".png")
        if not files:
            raise ValueError(f"{path} holds no .png file")
        return files
    if not path.is_file():
        raise ValueError(f"there is no folder or file {path}")
    if path.suffix != ".npz":
        raise ValueError(f"{path} should be a folder of PNG files or an .npz file")
    return [path]


def count_images(path: Path) -> int:
    """Returns the number of images at ``path``: of files in a folder, of rows of the array in an .npz.

    Raises:
        ValueError: There are none, or the .npz cannot be read.
    """
    files = image_files(path)
    return len(files) if path.is_dir() else _rows(path)


def _rows(path: Path) -> int:
    """Returns the first length of an .npz's image array, read from its header."""
    try:
        with zipfile.ZipFile(path) as archive:
            arrays = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
            name = next((key for key in KEYS if key in arrays), arrays[0] if len(arrays) == 1 else None)
            if name is None:
                raise ValueError(f"{path} should hold an array called images (it holds {', '.join(arrays) or 'none'})")
            with archive.open(f"{name}.npy") as file:
                start = file.read(8)
                size = struct.unpack("<H" if start[6] == 1 else "<I", file.read(2 if start[6] == 1 else 4))[0]
                shape = ast.literal_eval(file.read(size).decode("latin1"))["shape"]
    except (OSError, zipfile.BadZipFile, struct.error, IndexError, KeyError, SyntaxError) as error:
        raise ValueError(f"{path} is not an .npz file that can be read: {error}") from None
    if not shape:
        raise ValueError(f"{path}: {name} is a single number, not images")
    return shape[0]


def digest_images(path: Path, cache: Path | None = None) -> str:
    """Returns the sha256 of the images at ``path``, 64 hexadecimal digits.

    Args:
        path: A folder of PNG files, taken in the order of their names, or an .npz.
        cache: Folder that remembers digests by path, size, times, inode and device; None: always read the files.

    Raises:
        ValueError: There are no images at ``path``.
    """
    path = path.absolute()
    return _digest_known(path, image_files(path), cache)


def picture_files(path: Path) -> list[Path]:
    """Returns the pictures anywhere below a folder by their names from there, or the zip archive that ``path`` is.

    Hidden files and folders are left out.

    Raises:
        ValueError: There is nothing of the kind at ``path``.
    """
    if path.is_file() and path.suffix.lower() == ".zip":
        return [path]
    if not path.is_dir():
        raise ValueError(f"there is no folder or .zip of pictures {path}")
    files = [file for file in _below(path) if is_picture(file.name)]
    if not files:
        raise ValueError(f"{path} holds no picture ({', '.join(PICTURES)})")
    return sorted(files, key=lambda file: file.relative_to(path).as_posix())


def is_picture(name: str) -> bool:
    """Whether a file's name is that of a picture."""
    base = name.rsplit("/", 1)[-1]
    return base.lower().endswith(PICTURES) and not base.startswith(".") and "__MACOSX/" not in name


def _below(path: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(path, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(folder, name) for name in names)


def digest_pictures(path: Path, cache: Path | None = None) -> str:
    """Returns the sha256 of the pictures below a folder and of their names, or of a zip archive: 64 digits.

    Args:
        cache: As for :func:`digest_images`.

    Raises:
        ValueError: There are no pictures at ``path``.
    """
    path = path.absolute()
    return _digest_known(path, picture_files(path), cache, named=True)


def checkpoint_files(path: Path) -> list[Path]:
    """Returns the files that make a checkpoint: the file itself, or those directly in a folder, by name.

    Raises:
        ValueError: There is nothing at ``path``.
    """
    if not path.is_dir():
        files = [path] if path.is_file() else []
    else:
        files = sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith("."))
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
    """Returns the sha256 of files and of their names without the folders, 64 hexadecimal digits; in any order the same.

    What gzip has compressed counts as it was before, with the name that it had, so that equal data have equal digests
    whoever compressed them.

    Args:
        cache: As for :func:`digest_images`.
    """

    def compute() -> str:
        parts = sorted(f"{unpacked_name(file)}\n{_digest(file, unpacked=True)}" for file in files)
        return hashlib.sha256("".join(parts).encode()).hexdigest()

    return _remembered("\n".join(str(file.absolute()) for file in files), files, cache, compute)


def digest_md5(file: Path, cache: Path | None = None) -> str:
    """Returns the md5 of a file, which is what data sets are published with; of a gzip file, of what is in it."""
    return _remembered(f"md5 {file.absolute()}", [file], cache, lambda: _digest(file, "md5", unpacked=True))


def _digest_known(path: Path, files: Sequence[Path], cache: Path | None, *, named: bool = False) -> str:
    """Returns the digest of a file, or of a folder's ``files``, from the cache where their stamp is known.

    Args:
        named: Whether the names of a folder's files are part of it.
    """

    def compute() -> str:
        if not path.is_dir():
            return _digest(path)
        names = [f"{file.relative_to(path).as_posix()}\n" if named else "" for file in files]
        parts = "".join(name + _digest(file) for name, file in zip(names, files, strict=True))
        return hashlib.sha256(parts.encode()).hexdigest()

    return _remembered(f"{path}{' named' if named else ''}", files, cache, compute)


RECENT_SECONDS = 2.0
"""A file that was written so short a time ago may be written again without its times telling: it is not remembered."""


def _remembered(what: str, files: Sequence[Path], cache: Path | None, compute: Callable[[], str]) -> str:
    """Returns a digest of files: what the cache remembers of it while nothing about them has changed, or computed.

    A cache that cannot be written to, or that holds something else, costs time and nothing more. Each host has entries
    of its own, for the number of a device differs between hosts that share a file system.
    """
    state, newest = _state(files)
    if cache is None:
        return compute()
    known = cache / f"{hashlib.sha256(f'{socket.gethostname()} {what}'.encode()).hexdigest()[:20]}.json"
    with contextlib.suppress(OSError, ValueError, AttributeError):
        entry = json.loads(known.read_bytes())
        if entry.get("stamp") == state and re.fullmatch("[0-9a-f]{32,64}", str(entry.get("digest"))):
            return entry["digest"]
    digest = compute()
    if newest < time.time() - RECENT_SECONDS and _state(files)[0] == state:
        new = known.with_suffix(f".{os.getpid()}.tmp")
        with contextlib.suppress(OSError):
            known.parent.mkdir(parents=True, exist_ok=True)
            try:
                new.write_text(json.dumps({"what": what[:1000], "stamp": state, "digest": digest}))
                os.replace(new, known)
            finally:
                new.unlink(missing_ok=True)
    return digest


def _state(files: Sequence[Path]) -> tuple[str, float]:
    """Returns what changes when a file is added, removed, renamed, replaced or written, and when that last was.

    The time of its last change (ctime), which no program can set back, is among it, and so are inode and device.
    """
    states, newest = hashlib.sha256(), 0
    for file in files:
        stat = file.stat()
        facts = (str(file), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino, stat.st_dev)
        states.update(repr(facts).encode())
        newest = max(newest, stat.st_mtime_ns, stat.st_ctime_ns)
    return states.hexdigest(), newest / 1e9


def unpacked_name(file: Path) -> str:
    """Returns the name of a file, without the ``.gz`` of one that gzip has compressed."""
    return file.stem if _is_compressed(file) else file.name


def _is_compressed(file: Path) -> bool:
    return file.suffix == ".gz" and not file.name.endswith(".tar.gz")


def _digest(file: Path, algorithm: str = "sha256", *, unpacked: bool = False) -> str:
    def new() -> Any:
        return hashlib.new(algorithm, usedforsecurity=False)

    if unpacked and _is_compressed(file):
        try:
            with gzip.open(file) as stream:
                return _digest_stream(stream, new())
        except (EOFError, zlib.error, gzip.BadGzipFile):
            pass  # damaged, as its reader will say: known by its bytes
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, new).hexdigest()


def _digest_stream(stream: IO[bytes], digest: Any) -> str:
    while part := stream.read(2**20):
        digest.update(part)
    return digest.hexdigest()
