"""MNIST's file format, of which Fashion-MNIST's files are too: arrays of bytes, as they are or
compressed by gzip.

A file begins with four bytes, 0, 0, 8 (for unsigned bytes) and the number of dimensions, then one
32-bit number per dimension, the most significant byte first; the values follow, the last dimension
running fastest.

Source: LeCun, Cortes & Burges, http://yann.lecun.com/exdb/mnist/; Xiao, Rasul & Vollgraf, 2017,
https://arxiv.org/abs/1708.07747.

Standard library alone until a file is read.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bench.data.card import DataCard, FileFacts
from bench.data.fault import InputError, MissingError
from bench.data.mapped import converted
from bench.data.root import data_root
from bench.frozen import dataclass

if TYPE_CHECKING:
    import numpy as np


SHAPE = (28, 28)
CLASSES = 10
ROWS = {"train": 60_000, "test": 10_000}
QUARTER_ROWS = {"train": 50_000, "validation": 10_000, "test": 10_000}
PARTS = {"train": "train", "validation": "train", "test": "t10k"}
"""How the names of the files begin that hold a split."""

What = Literal["images", "labels"]


def read_idx(path: Path, shape: tuple[int, ...], how: str) -> np.ndarray:
    """Returns the array of a file, uint8.

    Args:
        path: The file; compressed if its name ends in ``.gz``.
        shape: What it should have.
        how: How to get it, for messages.

    Raises:
        ValueError: It is not whole, or holds something else; the message names it and the remedy.
    """
    import numpy as np

    header = struct.pack(f">4B{len(shape)}I", 0, 0, 8, len(shape), *shape)
    wanted = len(header) + math.prod(shape)
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = file.read(wanted + 1)  # not more, however much it unpacks to
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be unpacked ({error or 'cut short'}); {how}") from error
    if content[:4] != header[:4]:
        begins = content[:4].hex(" ") or "nothing"
        raise InputError(
            f"{path}: begins with {begins}, not {header[:4].hex(' ')} as such a file does; {how}"
        )
    if content[: len(header)] != header:
        count = len(content[4 : len(header)]) // 4
        actual = struct.unpack(f">{count}I", content[4 : 4 + 4 * count])
        raise InputError(f"{path}: holds an array of shape {actual}, not {shape}; {how}")
    if len(content) != wanted:
        extra = (
            "more" if len(content) > wanted else f"{len(content) - len(header)}, so it is cut short"
        )
        raise InputError(f"{path}: should hold {math.prod(shape)} values and holds {extra}; {how}")
    return np.frombuffer(content, dtype=np.uint8, offset=len(header)).reshape(shape)


def file_name(split: str, what: What) -> str:
    """Returns the name of the file that holds a split, uncompressed."""
    return f"{PARTS[split]}-{what}-idx{3 if what == 'images' else 1}-ubyte"


@dataclass(frozen=True)
class Mnist:
    """MNIST, or what has its files: 28x28 pictures of ten classes.

    Args:
        name: Of its converted arrays.
        folders: Where its files may lie; in the first of them they are asked for.
        url: Where they are published, compressed.
        facts: Size and md5 of each compressed file as it is published.
        unpacked: md5 of each file as it is when it is not compressed.
        how: How to get them.
    """

    name: str
    folders: tuple[str, ...]
    url: str
    facts: Mapping[str, tuple[int, str]]
    unpacked: Mapping[str, str]
    how: str

    @property
    def places(self) -> list[tuple[str, ...]]:
        """Where each of the four files may lie, compressed or not."""
        return [self._places(split, what) for split in ROWS for what in ("images", "labels")]

    def _places(self, split: str, what: What) -> tuple[str, ...]:
        name = file_name(split, what)
        return tuple(f"{folder}/{name}{end}" for folder in self.folders for end in (".gz", ""))

    def _find(self, root: Path, split: str, what: What) -> Path:
        places = [root / place for place in self._places(split, what)]
        place = next((place for place in places if place.is_file()), None)
        if place is None:
            raise MissingError(f"{' or '.join(map(str, places))} is missing: {self.how}")
        return place

    def sources(self, root: Path) -> list[Path]:
        """Returns the four files; raises FileNotFoundError if one is missing."""
        return [self._find(root, split, what) for split in ROWS for what in ("images", "labels")]

    def _read(self, root: Path, split: str, what: What) -> np.ndarray:
        count = ROWS["test" if split == "test" else "train"]
        shape = (count, *SHAPE) if what == "images" else (count,)
        return read_idx(self._find(root, split, what), shape, self.how)

    def images(self, root: Path, split: str) -> np.ndarray:
        """Returns the images of a split, uint8 of shape (N, 1, 28, 28), memory-mapped.

        Raises:
            FileNotFoundError: The file is not there.
            ValueError: It is damaged; the message names it and the remedy.
        """
        name, source = f"{self.name}-{split}", self._find(root, split, "images")
        shape = (ROWS[split], 1, *SHAPE)
        return converted(
            root,
            name,
            "idx 1",
            [source],
            shape,
            lambda: [self._read(root, split, "images")[:, None]],
        )

    def labels(self, root: Path, split: str) -> np.ndarray:
        """Returns the classes of a split, int64 of shape (N,); raises as :meth:`images` does."""
        labels = self._read(root, split, "labels").astype("int64")
        if labels.max() >= CLASSES:
            where = self._find(root, split, "labels")
            raise InputError(
                f"{where}: has classes beyond 0 to {CLASSES - 1}, so it is damaged; {self.how}"
            )
        return labels

    def quarters(self, root: Path, split: str) -> np.ndarray:
        """Returns images of half the height and width, means of 2x2 pixels, uint8 of shape (N, 1,
        14, 14).

        The last 10,000 of the files for training are the split "validation". Raises as
        :meth:`images` does.
        """

        def chunks() -> Iterator[np.ndarray]:
            import numpy as np

            squares = self._read(root, split, "images")[self._quarter(split)].reshape(
                -1, 14, 2, 14, 2
            )
            yield np.rint(squares.mean((2, 4), dtype=np.float32)).astype(np.uint8)[:, None]

        shape = (QUARTER_ROWS[split], 1, 14, 14)
        source = self._find(root, split, "images")
        return converted(
            root, f"{self.name}14-{split}", "idx, 2x2 means 1", [source], shape, chunks
        )

    def quarter_labels(self, root: Path, split: str) -> np.ndarray:
        """Returns the classes of :meth:`quarters`."""
        return self.labels(root, "test" if split == "test" else "train")[self._quarter(split)]

    @staticmethod
    def _quarter(split: str) -> slice:
        most = QUARTER_ROWS["train"]
        return {"train": slice(most), "validation": slice(most, None), "test": slice(None)}[split]


MNIST = Mnist(
    name="mnist",
    folders=("mnist", "MNIST/raw"),
    url="https://ossci-datasets.s3.amazonaws.com/mnist/",
    facts={
        "train-images-idx3-ubyte": (9_912_422, "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
        "train-labels-idx1-ubyte": (28_881, "d53e105ee54ea40749a09fcbcd1e9432"),
        "t10k-images-idx3-ubyte": (1_648_877, "9fb629c4189551a2d022fa330f9573f3"),
        "t10k-labels-idx1-ubyte": (4_542, "ec29112dd5afa0611ce80d1b7f02629c"),
    },
    unpacked={
        "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    },
    how="get the four files of MNIST from https://ossci-datasets.s3.amazonaws.com/mnist/, as "
    "torchvision does, and put them there, as they are or unpacked",
)
FASHION_MNIST = Mnist(
    name="fashion_mnist",
    folders=("fashion_mnist", "FashionMNIST/raw", "/usr/share/datasets/fashion-mnist"),
    url="http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    facts={
        "train-images-idx3-ubyte": (26_421_880, "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
        "train-labels-idx1-ubyte": (29_515, "25c81989df183df01b3e8a0aad5dffbe"),
        "t10k-images-idx3-ubyte": (4_422_102, "bef4ecab320f06d8554ea6380940ec79"),
        "t10k-labels-idx1-ubyte": (5_148, "bb300cfdad3c16e7a12a480ee83cd310"),
    },
    unpacked={
        "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
        "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
        "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
    },
    how="get the four files of Fashion-MNIST from "
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/, as torchvision does, and put "
    "them there, as they are or unpacked; or install Debian's package dataset-fashion-mnist",
)


def _card(kind: Mnist, summary: str) -> DataCard:
    return DataCard(
        version=1,
        summary=summary,
        shape=(1, *SHAPE),
        splits=ROWS,
        split_rule="the authors': the train files for training, the t10k files held out",
        load=lambda split: kind.images(data_root(), split),
        classes=CLASSES,
        labels=lambda split: kind.labels(data_root(), split),
        files=dict.fromkeys(kind.places, kind.how),
        facts={
            f"{kind.folders[0]}/{name}.gz": FileFacts(
                size=size, md5=md5, url=f"{kind.url}{name}.gz"
            )
            for name, (size, md5) in kind.facts.items()
        },
        unpacked=kind.unpacked,
        sources=kind.sources,
    )


CARDS = {
    "mnist": _card(MNIST, "MNIST's handwritten digits, 28x28 grey, from its authors' files"),
    "fashion_mnist": _card(
        FASHION_MNIST, "Fashion-MNIST, 28x28 grey pictures of clothes, from its authors' files"
    ),
    "fashion_mnist14": replace(
        _card(FASHION_MNIST, "Fashion-MNIST at 14x14, means of 2x2 pixels: for studies on a CPU"),
        shape=(1, 14, 14),
        splits=QUARTER_ROWS,
        split_rule="the train files' first 50,000 for training and last 10,000 for validation, the "
        "t10k files held out",
        load=lambda split: FASHION_MNIST.quarters(data_root(), split),
        labels=lambda split: FASHION_MNIST.quarter_labels(data_root(), split),
    ),
}
