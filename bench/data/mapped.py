"""Arrays that are made from a data set's files once and read back memory-mapped.

Decoding an archive takes seconds to minutes, and what comes out can be larger than memory; so it is
written to a flat ``.npy`` file, and a job maps it: pages are read when they are accessed, and the
system drops them when it needs the memory. A file is named after what it was made from (the content
of every source) and how, so that a changed source is noticed; its own digest lies beside it, and
each process compares it before it maps the array for the first time, so that a damaged or replaced
file is noticed and made again. Of several processes that want one array the first makes it and the
others wait.

Standard library alone until an array is made.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.data.digest import digest_files
from bench.data.fault import InputError
from bench.files import Stamp, hash_file, locked, sha256, stamp, whole, write

if TYPE_CHECKING:
    import numpy as np

FOLDER = "converted"
DIGITS = 16
"""Hexadecimal digits by which a file's name says what it was made from."""


def folder(root: Path) -> Path:
    """Returns the folder of converted arrays: beside the data, or in the user's cache."""
    beside = root / FOLDER
    try:
        beside.mkdir(parents=True, exist_ok=True)
        if os.access(beside, os.W_OK):
            return beside
    except OSError:
        pass
    own = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "score-bench" / FOLDER
    own.mkdir(parents=True, exist_ok=True)
    return own


def converted(
    root: Path,
    name: str,
    rule: str,
    sources: Sequence[Path],
    shape: tuple[int, ...],
    chunks: Callable[[], Iterable[np.ndarray]],
    dtype: str = "uint8",
) -> np.ndarray:
    """Returns an array, memory-mapped: what is written to it stays in this process and never
    reaches the file.

    Args:
        root: Folder of the data.
        name: Names the array for a person; arrays of one name replace each other.
        rule: How it is made, with a version: another rule is another array.
        sources: The files that it is made from.
        shape: Its shape.
        chunks: Yields its rows from first to last, some at a time.
        dtype: Its type.

    Raises:
        ValueError: ``chunks`` yields more or fewer rows, or others.
    """
    import numpy as np

    place = folder(root)
    content = digest_files(sources, place / "digests")
    digest = sha256(f"{rule}\n{shape}\n{dtype}\n{content}")[:DIGITS]
    path = place / f"{name}-{digest}.npy"
    with locked(place / f"{name}.lock"):
        array = _mapped(path)
        if array is None or (array.shape, array.dtype) != (shape, np.dtype(dtype)):
            if path.exists():
                print(
                    f"{path}: damaged, or not what was written here; it is made again",
                    file=sys.stderr,
                )
            _write(path, shape, dtype, chunks())
            for other in place.glob(f"{name}-{'?' * DIGITS}.npy"):
                if other != path:
                    other.unlink(missing_ok=True)
                    _note(other).unlink(missing_ok=True)
            array = _mapped(path)
    if array is None:
        raise InputError(f"{path}: what was written cannot be read back; is the disk damaged?")
    return array


def is_converted(root: Path, name: str) -> bool:
    """Whether some array of that name has been made."""
    return any(folder(root).glob(f"{name}-{'?' * DIGITS}.npy"))


_CHECKED: dict[Path, Stamp] = {}
"""Stamps of arrays whose digest this process has compared."""


def _note(path: Path) -> Path:
    return path.with_suffix(".sha256")


def _mapped(path: Path) -> np.ndarray | None:
    """Returns the array of a file, None if there is none or it is not what was written."""
    import numpy as np

    try:
        now = stamp(path)
        if _CHECKED.get(path) != now:
            if json.loads(_note(path).read_bytes()) != hash_file(path):
                return None
            _CHECKED[path] = now
        return np.asarray(np.load(path, mmap_mode="c", allow_pickle=False))
    except (OSError, ValueError, EOFError):
        return None


def _write(path: Path, shape: tuple[int, ...], dtype: str, chunks: Iterable[np.ndarray]) -> None:
    """Writes an array and its digest. By plain writes: on a full disk these fail, where a mapped
    page ends the process.

    Raises:
        OSError: There is no room, or the folder is not to be written to; nothing is left behind.
        ValueError: ``chunks`` yields more or fewer rows, or others.
    """
    import numpy as np

    header = io.BytesIO()
    described = {
        "descr": np.lib.format.dtype_to_descr(np.dtype(dtype)),
        "fortran_order": False,
        "shape": shape,
    }
    np.lib.format.write_array_header_1_0(header, described)
    digest, row = hashlib.sha256(header.getvalue()), 0
    with whole(path) as file:
        file.write(header.getvalue())
        for chunk in chunks:
            if chunk.shape[1:] != shape[1:] or row + len(chunk) > shape[0]:
                raise ValueError(
                    f"{path.name}: rows {row} on have shape {chunk.shape}, the array's is {shape}"
                )
            content = np.ascontiguousarray(chunk, dtype).data.cast("B")
            file.write(content)
            digest.update(content)
            row += len(chunk)
        if row != shape[0]:
            raise ValueError(f"{path.name}: {row} rows were read, not {shape[0]}")
    # Stopped here, the array has no digest or that of an older one, and is made again.
    write(_note(path), json.dumps(digest.hexdigest()).encode())
