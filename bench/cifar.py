"""CIFAR-10's files as their authors give them: the binary version, the python version, or the archive of either.

Both versions hold five batches for training and one for testing, in the same order. A binary batch is one record an
image: its class, then its red, green and blue planes, a byte each. A python batch is a pickled mapping of
``data``, the same planes as rows of an array, and ``labels``. Pickles may name functions to be called; here only
stand-ins for numpy's arrays are called, so that a file cannot run anything.

Source: Krizhevsky, 2009, Learning multiple layers of features from tiny images,
https://www.cs.toronto.edu/~kriz/cifar.html.

Standard library alone until images are read.
"""

from __future__ import annotations

import io
import math
import pickle
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

SHAPE = (3, 32, 32)
CLASSES = 10
RECORD = 1 + math.prod(SHAPE)
ROWS = 10_000
BATCHES = {"train": [f"data_batch_{k}" for k in range(1, 6)], "test": ["test_batch"]}
FOLDERS = {"cifar-10-batches-bin": ".bin", "cifar-10-batches-py": ""}
"""Folders of the archives, with how the names of their batches end."""

ARCHIVES = {"cifar-10-binary.tar.gz": "cifar-10-batches-bin", "cifar-10-python.tar.gz": "cifar-10-batches-py"}
PLACES = (*FOLDERS, *ARCHIVES)
HOW = (
    "get cifar-10-binary.tar.gz (162 MB, md5 c32a1d4ab5d03f1284b67883e8d87530) or cifar-10-python.tar.gz (163 MB, "
    "md5 c58f30108f718f92721af3b95e74349a) from https://www.cs.toronto.edu/~kriz/cifar.html and put it there, as it is "
    "or unpacked"
)
PICKLED_MARGIN = 100
"""Bytes an image that a pickled batch may hold beside its pixels: its class, its file name."""


def read(root: Path, split: str, rows: int = ROWS) -> tuple[np.ndarray, np.ndarray]:
    """Returns the images of a split, uint8 of shape (N, 3, 32, 32), and their classes, int64 of shape (N,).

    Args:
        root: Folder that holds one of :data:`PLACES`; the first that is there is read.
        split: "train" or "test".
        rows: Images a batch.

    Raises:
        FileNotFoundError: Nothing is there, or a batch is missing.
        ValueError: A file is not whole or of another kind; the message names it and a remedy.
    """
    import numpy as np

    names = BATCHES[split]
    images = np.empty((rows * len(names), *SHAPE), dtype=np.uint8)
    labels = np.empty(rows * len(names), dtype=np.int64)
    for where, name, content in _contents(root, names, rows):
        part = slice(rows * names.index(name), rows * (names.index(name) + 1))
        pixels, classes = _batch(where, content, rows)
        if classes.min() < 0 or classes.max() >= CLASSES:
            raise ValueError(f"{where}: has classes beyond 0 to {CLASSES - 1}, so it is damaged; {HOW}")
        images[part], labels[part] = pixels.reshape(-1, *SHAPE), classes
    return images, labels


def _contents(root: Path, names: list[str], rows: int) -> Iterator[tuple[str, str, bytes]]:
    """Yields (where it lies, name, bytes) of each batch."""
    place = next((name for name in PLACES if (root / name).exists()), None)
    if place is None:
        raise FileNotFoundError(f"{root} holds none of {', '.join(PLACES)}: {HOW}")
    if place in ARCHIVES:
        yield from _unpacked(root / place, ARCHIVES[place], names, rows)
        return
    for name in names:
        path = root / place / f"{name}{FOLDERS[place]}"
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing: unpack the archive again, or {HOW}")
        _check_size(str(path), path.stat().st_size, rows)
        yield str(path), name, path.read_bytes()


def _unpacked(path: Path, folder: str, names: list[str], rows: int) -> Iterator[tuple[str, str, bytes]]:
    """Yields the same of an archive; nothing is written, so a member's path is only ever compared."""
    wanted = {f"{folder}/{name}{FOLDERS[folder]}": name for name in names}
    try:
        with tarfile.open(path, "r|gz") as archive:
            for member in archive:
                name = wanted.pop(member.name.removeprefix("./"), None) if member.isfile() else None
                if name is not None:
                    where = f"{path}: {member.name}"
                    _check_size(where, member.size, rows)
                    yield where, name, archive.extractfile(member).read()
                if not wanted:
                    return
    except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
        raise ValueError(f"{path}: cannot be unpacked ({error or 'cut short'}), get it again: {HOW}") from error
    raise ValueError(f"{path}: does not hold {', '.join(wanted)}; {HOW}")


def _check_size(where: str, size: int, rows: int) -> None:
    """Refuses a file of another length before it is read."""
    if where.endswith(".bin"):
        if size != rows * RECORD:
            raise ValueError(f"{where}: has {size} bytes, not {rows} x {RECORD}: cut short or damaged; {HOW}")
    elif size > rows * (RECORD + PICKLED_MARGIN) + 10_000:
        raise ValueError(f"{where}: has {size} bytes, more than {rows} images take; {HOW}")


def _batch(where: str, content: bytes, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the planes, uint8 of shape (rows, 3072), and classes, shape (rows,), of a batch."""
    import numpy as np

    if where.endswith(".bin"):
        records = np.frombuffer(content, dtype=np.uint8).reshape(rows, RECORD)
        return records[:, 1:], records[:, 0]
    batch = _unpickle(where, content)
    pixels, classes = batch.get(b"data"), batch.get(b"labels")
    if not isinstance(pixels, _Array) or not pixels.is_bytes((rows, RECORD - 1)):
        raise ValueError(f"{where}: data should be {rows} x {RECORD - 1} bytes, so this is no batch of CIFAR-10; {HOW}")
    if not isinstance(classes, list) or len(classes) != rows or {type(label) for label in classes} != {int}:
        raise ValueError(f"{where}: labels should be {rows} whole numbers, so this is no batch of CIFAR-10; {HOW}")
    order = "F" if pixels.columns_first else "C"
    return np.frombuffer(pixels.content, dtype=np.uint8).reshape((rows, RECORD - 1), order=order), np.array(classes)


def _unpickle(where: str, content: bytes) -> dict[bytes, Any]:
    """Returns the mapping of a python batch, with bytes for its names."""
    try:
        batch = _Unpickler(io.BytesIO(content), encoding="bytes").load()
    except _RefusedError as error:
        raise ValueError(f"{where}: refused, reading it would call {error}; do not trust this file: {HOW}") from None
    except Exception as error:  # whatever damaged bytes make a pickle do
        raise ValueError(f"{where}: cut short or damaged ({type(error).__name__}: {error}); {HOW}") from error
    if not isinstance(batch, dict):
        raise ValueError(f"{where}: holds no mapping, so this is no batch of CIFAR-10; {HOW}")
    return {name.encode() if isinstance(name, str) else name: value for name, value in batch.items()}


class _RefusedError(Exception):
    """A pickle names what is not allowed."""


class _Dtype:
    """Stands for ``numpy.dtype``: its code alone."""

    def __init__(self, code: bytes | str, *options: Any) -> None:
        self.code = code.decode() if isinstance(code, bytes) else code

    def __setstate__(self, state: Any) -> None:
        pass


class _Array:
    """Stands for ``numpy.ndarray``: shape, type and bytes."""

    shape: Any = None
    dtype: Any = None
    columns_first: Any = False
    content: Any = b""

    def __setstate__(self, state: Any) -> None:
        _, self.shape, self.dtype, self.columns_first, self.content = state

    def is_bytes(self, shape: tuple[int, ...]) -> bool:
        """Whether it is a whole array of bytes of that shape."""
        kind = isinstance(self.dtype, _Dtype) and self.dtype.code == "u1" and isinstance(self.content, bytes)
        return kind and self.shape == shape and len(self.content) == math.prod(shape)


def _reconstruct(*arguments: Any) -> _Array:
    return _Array()


def _encode(text: str, encoding: str = "latin1") -> bytes:
    """Stands for ``_codecs.encode``, as which Python 3 writes bytes that Python 2 is to read."""
    return text.encode("latin1")


STAND_INS = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encode,
}


class _Unpickler(pickle.Unpickler):
    """Reads mappings, lists, numbers, texts and arrays, and calls nothing but stand-ins."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in STAND_INS:
            raise _RefusedError(f"{module}.{name}")
        return STAND_INS[module, name]
