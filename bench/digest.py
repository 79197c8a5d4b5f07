"""What was made elsewhere: the digest of images (a folder of PNG files or an .npz) and of checkpoints, how many images.

A suite is planned from these alone, so numpy is not needed and a known digest is not computed again: it is
remembered by path, size and modification time. Reading the images themselves is :mod:`bench.external`'s, reading a
checkpoint its method's.

Standard library only.
"""

import ast
import hashlib
import json
import os
import struct
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

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
        cache: Folder that remembers digests by path, size and modification time; None: always read the files.

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


def _digest_known(path: Path, files: Sequence[Path], cache: Path | None, *, named: bool = False) -> str:
    """Returns the digest of a file, or of a folder's ``files``, from the cache where their stamp is known.

    Args:
        named: Whether the names of a folder's files are part of it.
    """
    state = stamp(files, path) + (" named" if named else "")
    known = None if cache is None else cache / f"{hashlib.sha256(str(path).encode()).hexdigest()[:20]}.json"
    if known is not None and (remembered := _remembered(known, state)) is not None:
        return remembered
    if path.is_dir():
        names = [f"{file.relative_to(path).as_posix()}\n" if named else "" for file in files]
        parts = "".join(name + _digest(file) for name, file in zip(names, files, strict=True))
        digest = hashlib.sha256(parts.encode()).hexdigest()
    else:
        digest = _digest(path)
    if known is not None:
        known.parent.mkdir(parents=True, exist_ok=True)
        new = known.with_suffix(f".{os.getpid()}.tmp")
        new.write_text(json.dumps({"path": str(path), "stamp": state, "sha256": digest}))
        os.replace(new, known)
    return digest


def stamp(files: Sequence[Path], root: Path | None = None) -> str:
    """Returns what changes when a file is added, removed, renamed or written; names below ``root`` count from there."""
    states = []
    for file in files:
        state = file.stat()
        name = file.relative_to(root) if root is not None and file.is_relative_to(root) else file.name
        states.append((str(name), state.st_size, state.st_mtime_ns))
    return hashlib.sha256(repr(states).encode()).hexdigest()


def _remembered(known: Path, state: str) -> str | None:
    try:
        entry = json.loads(known.read_text())
    except (OSError, ValueError):
        return None  # nothing remembered, or cut short: the files are read again
    return entry["sha256"] if entry.get("stamp") == state else None


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
