"""CIFAR-10's and CIFAR-100's files as their authors give them: the binary or python version, or the
archive of either.

Both versions hold batches for training and one for testing, in the same order. A binary batch is
one record per image: its class (of CIFAR-100, its coarse class first), then its red, green and blue
planes, a byte each. A python batch is a pickled mapping of ``data``, the same planes as rows of an
array, and ``labels`` (of CIFAR-100 ``fine_labels``). Pickles may name functions to be called; here
only stand-ins for numpy's arrays are called, so that a file cannot run anything.

Source: Krizhevsky, 2009, Learning multiple layers of features from tiny images,
https://www.cs.toronto.edu/~kriz/cifar.html.

Standard library alone until images are read.
"""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, cast

from bench.data.card import DataCard, FileFacts
from bench.data.fault import InputError, MissingError
from bench.data.mapped import converted
from bench.data.root import data_root
from bench.frozen import dataclass

if TYPE_CHECKING:
    import numpy as np

KRIZHEVSKY = "https://www.cs.toronto.edu/~kriz"
SHAPE = (3, 32, 32)
PIXELS = math.prod(SHAPE)
ARCHIVE_MARGIN = 2**26
"""Bytes that an archive may unpack to beside twice its batches."""
PICKLED_MARGIN = 200
"""Bytes per image that a pickled batch may hold beside its pixels: its classes, its file name."""


@dataclass(frozen=True, kw_only=True)
class Cifar:
    """One of the two sets of files.

    Args:
        classes: How many there are.
        batches: Names of the batches of each split.
        rows: Images of a batch of each split.
        folders: Folders of the archives, with how the names of their batches end.
        archives: Archives, each with its folder.
        codes: Bytes of a binary record before its planes; the last is the class.
        labels: Where a python batch has the classes.
        unpacked: md5 of the python batches as their archive holds them; none is published of the
            binary ones.
        split_rule: Which batches are for training, for a person.
        facts: What is published of the archives, by name.
        how: How to get the files.
    """

    name: str
    classes: int
    batches: Mapping[str, Sequence[str]]
    rows: Mapping[str, int]
    folders: Mapping[str, str]
    archives: Mapping[str, str]
    codes: int
    labels: bytes
    unpacked: Mapping[str, str]
    split_rule: str
    facts: Mapping[str, FileFacts]
    how: str

    @property
    def places(self) -> tuple[str, ...]:
        """What lies in the data's folder, one of which is enough."""
        return (*self.folders, *self.archives)

    @property
    def record(self) -> int:
        """Bytes of a binary record."""
        return self.codes + PIXELS


CIFAR10 = Cifar(
    name="CIFAR-10",
    classes=10,
    batches={"train": [f"data_batch_{k}" for k in range(1, 6)], "test": ["test_batch"]},
    rows={"train": 10_000, "test": 10_000},
    folders={"cifar-10-batches-bin": ".bin", "cifar-10-batches-py": ""},
    archives={
        "cifar-10-binary.tar.gz": "cifar-10-batches-bin",
        "cifar-10-python.tar.gz": "cifar-10-batches-py",
    },
    codes=1,
    labels=b"labels",
    unpacked={
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        "test_batch": "40351d587109b95175f43aff81a1287e",
    },
    split_rule="the authors': data_batch_1 to data_batch_5 for training, test_batch held out",
    facts={
        "cifar-10-binary.tar.gz": FileFacts(
            size=170_052_171,
            md5="c32a1d4ab5d03f1284b67883e8d87530",
            url=f"{KRIZHEVSKY}/cifar-10-binary.tar.gz",
        ),
        "cifar-10-python.tar.gz": FileFacts(
            size=170_498_071,
            md5="c58f30108f718f92721af3b95e74349a",
            url=f"{KRIZHEVSKY}/cifar-10-python.tar.gz",
        ),
    },
    how="get cifar-10-binary.tar.gz (162 MB, md5 c32a1d4ab5d03f1284b67883e8d87530) or "
    "cifar-10-python.tar.gz (163 MB, md5 c58f30108f718f92721af3b95e74349a) from "
    "https://www.cs.toronto.edu/~kriz/cifar.html and put it there, as it is or unpacked",
)
CIFAR100 = Cifar(
    name="CIFAR-100",
    classes=100,
    batches={"train": ["train"], "test": ["test"]},
    rows={"train": 50_000, "test": 10_000},
    folders={"cifar-100-binary": ".bin", "cifar-100-python": ""},
    archives={
        "cifar-100-binary.tar.gz": "cifar-100-binary",
        "cifar-100-python.tar.gz": "cifar-100-python",
    },
    codes=2,
    labels=b"fine_labels",
    unpacked={
        "train": "16019d7e3df5f24257cddd939b257f8d",
        "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
    },
    split_rule="the authors': train for training, test held out",
    facts={
        "cifar-100-binary.tar.gz": FileFacts(
            md5="03b5dce01913d631647c71ecec9e9cb8", url=f"{KRIZHEVSKY}/cifar-100-binary.tar.gz"
        ),
        "cifar-100-python.tar.gz": FileFacts(
            size=169_001_437,
            md5="eb9058c3a382ffc7106e4002c42a8d85",
            url=f"{KRIZHEVSKY}/cifar-100-python.tar.gz",
        ),
    },
    how="get cifar-100-binary.tar.gz (161 MB, md5 03b5dce01913d631647c71ecec9e9cb8) or "
    "cifar-100-python.tar.gz (161 MB, md5 eb9058c3a382ffc7106e4002c42a8d85) from "
    "https://www.cs.toronto.edu/~kriz/cifar.html and put it there, as it is or unpacked",
)


def sources(root: Path, split: str, kind: Cifar = CIFAR10) -> list[Path]:
    """Returns the files that a split is read from: the batches of a folder, or an archive.

    Raises:
        FileNotFoundError: Nothing is there, or a batch is missing.
    """
    place = next((name for name in kind.places if (root / name).exists()), None)
    if place is None:
        raise MissingError(f"{root} holds none of {', '.join(kind.places)}: {kind.how}")
    if place in kind.archives:
        return [root / place]
    paths = [root / place / f"{name}{kind.folders[place]}" for name in kind.batches[split]]
    for path in paths:
        if not path.is_file():
            raise MissingError(f"{path} is missing: unpack the archive again, or {kind.how}")
    return paths


def read(
    root: Path, split: str, rows: int | None = None, kind: Cifar = CIFAR10
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the images of a split, uint8 of shape (N, 3, 32, 32), and their classes, int64 of
    shape (N,).

    Args:
        root: Folder that holds one of ``kind.places``; the first that is there is read.
        split: "train" or "test".
        rows: Images per batch; None for as many as there are.
        kind: Which of the two.

    Raises:
        FileNotFoundError: Nothing is there, or a batch is missing.
        ValueError: A file is not whole or of another kind; the message names it and a remedy.
    """
    import numpy as np

    rows, names = rows or kind.rows[split], kind.batches[split]
    images = np.empty((rows * len(names), *SHAPE), dtype=np.uint8)
    labels = np.empty(rows * len(names), dtype=np.int64)
    for where, name, content in _contents(root, split, rows, kind):
        part = slice(rows * names.index(name), rows * (names.index(name) + 1))
        pixels, classes = _batch(where, content, rows, kind)
        if classes.min() < 0 or classes.max() >= kind.classes:
            raise InputError(
                f"{where}: has classes beyond 0 to {kind.classes - 1}, so it is damaged; {kind.how}"
            )
        images[part], labels[part] = pixels.reshape(-1, *SHAPE), classes
    return images, labels


def _contents(root: Path, split: str, rows: int, kind: Cifar) -> Iterator[tuple[str, str, bytes]]:
    """Yields (where it lies, name, bytes) of each batch."""
    names, paths = kind.batches[split], sources(root, split, kind)
    if paths[0].name in kind.archives:
        yield from _unpacked(paths[0], names, rows, kind)
        return
    for name, path in zip(names, paths, strict=True):
        _check_size(str(path), path.stat().st_size, rows, kind)
        yield str(path), name, path.read_bytes()


def _unpacked(
    path: Path, names: Sequence[str], rows: int, kind: Cifar
) -> Iterator[tuple[str, str, bytes]]:
    """Yields the same of an archive; nothing is written, paths of members are only compared."""
    import tarfile

    folder = kind.archives[path.name]
    wanted = {f"{folder}/{name}{kind.folders[folder]}": name for name in names}
    most = ARCHIVE_MARGIN + 2 * rows * (kind.record + PICKLED_MARGIN) * sum(
        map(len, kind.batches.values())
    )
    try:
        with (
            gzip.open(path) as file,
            tarfile.open(fileobj=cast(Any, _Bounded(file, most)), mode="r|") as archive,
        ):
            for member in archive:
                name = wanted.pop(member.name.removeprefix("./"), None) if member.isfile() else None
                if name is not None:
                    where = f"{path}: {member.name}"
                    _check_size(where, member.size, rows, kind)
                    yield where, name, cast(IO[bytes], archive.extractfile(member)).read()
                if not wanted:
                    return
    except (tarfile.TarError, zlib.error, EOFError, OSError, UnicodeError, OverflowError) as error:
        raise InputError(
            f"{path}: cannot be unpacked ({error or 'cut short'}), get it again: {kind.how}"
        ) from error
    raise InputError(f"{path}: does not hold {', '.join(wanted)}; {kind.how}")


class _Bounded:
    """A file of which so many bytes are read at most, whatever it unpacks to.

    Args:
        file: The file.
        most: Bytes.
    """

    def __init__(self, file: IO[bytes] | gzip.GzipFile, most: int) -> None:
        self.file = file
        self.left = most

    def read(self, size: int) -> bytes:
        """Returns the next bytes.

        Raises:
            OSError: There are more than there may be.
        """
        content = self.file.read(min(size, self.left + 1))
        self.left -= len(content)
        if self.left < 0:
            raise OSError("it unpacks to more than such an archive holds")
        return content


def _check_size(where: str, size: int, rows: int, kind: Cifar) -> None:
    """Refuses a file of another length before it is read."""
    if where.endswith(".bin"):
        if size != rows * kind.record:
            raise InputError(
                f"{where}: has {size} bytes, not {rows} x {kind.record}: cut short or damaged; "
                f"{kind.how}"
            )
    elif size > rows * (kind.record + PICKLED_MARGIN) + 10_000:
        raise InputError(f"{where}: has {size} bytes, more than {rows} images take; {kind.how}")


def _batch(where: str, content: bytes, rows: int, kind: Cifar) -> tuple[np.ndarray, np.ndarray]:
    """Returns the planes, uint8 of shape (rows, 3072), and classes, shape (rows,), of a batch."""
    import numpy as np

    from bench.data.pickles import PickledArray, unpickle

    if where.endswith(".bin"):
        records = np.frombuffer(content, dtype=np.uint8).reshape(rows, kind.record)
        return records[:, kind.codes :], records[:, kind.codes - 1]
    no = f"so this is no batch of {kind.name}; {kind.how}"
    batch = unpickle(where, content, f"batch of {kind.name}", kind.how)
    pixels, classes = batch.get(b"data"), batch.get(kind.labels)
    if not isinstance(pixels, PickledArray) or not pixels.is_bytes((rows, PIXELS)):
        raise InputError(f"{where}: data should be {rows} x {PIXELS} bytes, {no}")
    if (
        not isinstance(classes, list)
        or len(classes) != rows
        or {type(label) for label in classes} != {int}
    ):
        raise InputError(f"{where}: {kind.labels.decode()} should be {rows} whole numbers, {no}")
    order: Literal["F", "C"] = "F" if pixels.columns_first else "C"
    return np.frombuffer(pixels.content, dtype=np.uint8).reshape(
        (rows, PIXELS), order=order
    ), np.array(classes)


def load(kind: Cifar, what: Literal["images", "labels"], split: str) -> np.ndarray:
    """Returns the images or the classes of a split, memory-mapped; raises as :func:`read` does."""
    root, name = data_root(), f"{kind.name.lower().replace('-', '')}-{split}-{what}"
    rows = kind.rows[split] * len(kind.batches[split])
    images = what == "images"
    return converted(
        root,
        name,
        "cifar 1",
        sources(root, split, kind),
        (rows, *SHAPE) if images else (rows,),
        lambda: [read(root, split, kind=kind)[0 if images else 1]],
        "uint8" if images else "int64",
    )


def _card(kind: Cifar) -> DataCard:
    return DataCard(
        version=1,
        summary=f"{kind.name}, 32x32 photographs of {kind.classes} classes in colour, from its "
        "authors' files",
        shape=SHAPE,
        splits={"train": 50_000, "test": 10_000},
        split_rule=kind.split_rule,
        load=partial(load, kind, "images"),
        flips=True,
        classes=kind.classes,
        labels=partial(load, kind, "labels"),
        files={kind.places: kind.how},
        facts=kind.facts,
        unpacked=kind.unpacked,
        sources=lambda root: list(
            dict.fromkeys(path for part in kind.rows for path in sources(root, part, kind))
        ),
    )


CARDS = {"cifar10": _card(CIFAR10), "cifar100": _card(CIFAR100)}
