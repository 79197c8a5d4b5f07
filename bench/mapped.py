"""Arrays that are made from a data set's files once and read back memory-mapped.

Decoding an archive takes seconds to minutes, and what comes out can be larger than memory; so it is written to a flat
``.npy`` file, and a job maps it: pages are read as they are looked at, and the system drops them when it needs the
room. A file is named after what it was made from (name, size and modification time of every source) and how, so that
a changed source is noticed. Of several processes that want one array the first makes it and the others wait.

Standard library alone until an array is made.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.digest import stamp

if TYPE_CHECKING:
    import numpy as np

FOLDER = "converted"
DIGITS = 16
"""Hexadecimal digits by which a file's name says what it was made from."""


def folder(root: Path) -> Path:
    """Returns where converted arrays lie: beside the data, or in the user's cache where that cannot be written to."""
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
    """Returns an array, memory-mapped: what is written to it stays in this process and never reaches the file.

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

    known = hashlib.sha256(f"{rule}\n{shape}\n{dtype}\n{stamp(sources, root)}".encode()).hexdigest()[:DIGITS]
    place = folder(root)
    path = place / f"{name}-{known}.npy"
    with _alone(place / f"{name}.lock"):
        found = _mapped(path)
        if found is None or (found.shape, found.dtype) != (shape, np.dtype(dtype)):
            _write(path, shape, dtype, chunks())
            for other in place.glob(f"{name}-{'?' * DIGITS}.npy"):
                if other != path:
                    other.unlink(missing_ok=True)
            found = _mapped(path)
    return found


def is_converted(root: Path, name: str) -> bool:
    """Whether some array of that name has been made."""
    return any(folder(root).glob(f"{name}-{'?' * DIGITS}.npy"))


def _mapped(path: Path) -> np.ndarray | None:
    """Returns the array of a file, None where there is none or it is not whole."""
    import numpy as np

    try:
        return np.asarray(np.load(path, mmap_mode="c", allow_pickle=False))
    except (OSError, ValueError, EOFError):
        return None


def _write(path: Path, shape: tuple[int, ...], dtype: str, chunks: Iterable[np.ndarray]) -> None:
    import numpy as np

    new = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        array = np.lib.format.open_memmap(new, mode="w+", dtype=dtype, shape=shape)
        row = 0
        for chunk in chunks:
            if chunk.shape[1:] != shape[1:] or row + len(chunk) > len(array):
                raise ValueError(f"{path.name}: rows {row} on have shape {chunk.shape}, the array is to have {shape}")
            array[row : row + len(chunk)] = chunk
            row += len(chunk)
        if row != len(array):
            raise ValueError(f"{path.name}: {row} rows were read, not {len(array)}")
        array.flush()
        del array
        os.replace(new, path)
    finally:
        new.unlink(missing_ok=True)


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Waits until no other process makes an array of that name."""
    with path.open("w") as file:
        with contextlib.suppress(OSError):  # a file system without locks: two may make the same bytes
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
