"""ImageNet at 32x32 and 64x64, as its makers offer it: batches of pixels, as .npz files or pickles.

``train_data_batch_1`` to ``train_data_batch_10`` and ``val_data`` each hold ``data``, uint8 of
shape (N, 3 H W), the planes of red, green and blue one after the other, and ``labels``, 1 to 1000.
They made every picture smaller by a box filter, whatever its shape. The files lie in a folder, as
they are or in the archives that they come in.

Source: Chrabaszcz et al., 2017, https://arxiv.org/abs/1707.08819;
https://image-net.org/download-images.php.

Standard library alone until images are read.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bench.data.archive import archive_errors
from bench.data.card import DataCard
from bench.data.fault import InputError, MissingError
from bench.data.mapped import converted
from bench.data.npz import check_claims
from bench.data.root import data_root
from bench.frozen import dataclass

if TYPE_CHECKING:
    import numpy as np

CLASSES = 1000
BATCHES = {
    "train": tuple(f"train_data_batch_{number}" for number in range(1, 11)),
    "test": ("val_data",),
}
SPLITS = {"train": 1_281_167, "test": 50_000}
MOST_BYTES = 4 * 2**30
"""Bytes of a batch at most: the largest has 1.6 GB."""


@dataclass(frozen=True)
class Downsampled:
    """One of the two sizes.

    Args:
        size: Height and width.
        splits: How many images each split has.
    """

    size: int
    splits: tuple[tuple[str, int], ...] = tuple(SPLITS.items())

    @property
    def folder(self) -> str:
        """Where the files lie, below the data's folder."""
        return f"imagenet{self.size}"

    @property
    def how(self) -> str:
        """How to get the files."""
        parts = "train.zip" if self.size == 32 else "train_part1.zip, Imagenet64_train_part2.zip"
        return (
            f"get Imagenet{self.size}_{parts} and Imagenet{self.size}_val.zip, or those of .npz "
            "files, from https://image-net.org/download-images.php (downsampled image data) and "
            f"put them into the folder {self.folder}, as they are or unpacked"
        )

    @property
    def pixels(self) -> int:
        """Bytes of an image."""
        return 3 * self.size * self.size


@dataclass(frozen=True)
class Batch:
    """Where a batch lies.

    Args:
        path: The file, or the archive that holds it.
        member: Its name in the archive; empty for a file of its own.
    """

    path: Path
    member: str = ""

    @property
    def where(self) -> str:
        """Names it in messages."""
        return f"{self.path}: {self.member}" if self.member else str(self.path)


def find(root: Path, kind: Downsampled) -> dict[str, Batch]:
    """Returns where each batch lies: as a file, else in an archive.

    Raises:
        FileNotFoundError: The folder or a batch is missing.
        ValueError: An archive cannot be read.
    """
    folder = root / kind.folder
    if not folder.is_dir():
        raise MissingError(f"{folder} is missing: {kind.how}")
    found: dict[str, Batch] = {}
    for archive in sorted(folder.glob("*.zip")):
        for member in _members(archive, kind):
            name = member.rsplit("/", 1)[-1]
            found.setdefault(name.removesuffix(".npz"), Batch(archive, member))
    wanted = [name for names in BATCHES.values() for name in names]
    for name in wanted:
        for path in (folder / f"{name}.npz", folder / name):
            if path.is_file():
                found[name] = Batch(path)
    missing = [name for name in wanted if name not in found]
    if missing:
        raise MissingError(f"{folder}: {', '.join(missing)} missing: {kind.how}")
    return {name: found[name] for name in wanted}


def _members(path: Path, kind: Downsampled) -> list[str]:
    import zipfile

    try:
        with zipfile.ZipFile(path) as archive:
            return [info.filename for info in archive.infolist() if not info.is_dir()]
    except archive_errors() as error:
        raise InputError(f"{path}: cannot be read ({error}), get it again: {kind.how}") from error


def sources(kind: Downsampled, root: Path) -> list[Path]:
    """Returns the files that images and classes are read from; raises as :func:`find` does."""
    return list(dict.fromkeys(batch.path for batch in find(root, kind).values()))


def read(batch: Batch, kind: Downsampled) -> tuple[np.ndarray, np.ndarray]:
    """Returns the images of a batch, uint8 of shape (N, 3, H, W), and their classes, int64 from 0
    on, of shape (N,).

    Raises:
        ValueError: The batch is damaged or another one; the message names it and the remedy.
    """
    import numpy as np

    is_npz = (batch.member or batch.path.name).endswith(".npz")
    pixels, labels = (_of_npz if is_npz else _of_pickle)(batch, kind)
    rows = pixels.shape[0] if pixels.ndim == 2 else 0
    if pixels.dtype != np.uint8 or pixels.shape != (rows, kind.pixels) or not rows:
        raise InputError(
            f"{batch.where}: data has shape {pixels.shape} of {pixels.dtype}, not N x "
            f"{kind.pixels} bytes: images of another size, or damaged; {kind.how}"
        )
    if labels.shape != (rows,) or labels.min() < 1 or labels.max() > CLASSES:
        raise InputError(
            f"{batch.where}: labels should be {rows} whole numbers from 1 to {CLASSES}; {kind.how}"
        )
    return pixels.reshape(rows, 3, kind.size, kind.size), labels.astype(np.int64) - 1


def _content(batch: Batch, kind: Downsampled) -> bytes:
    """Returns the bytes of a batch, of an archive's as many as it claims."""
    import zipfile

    size = batch.path.stat().st_size
    try:
        if not batch.member:
            content = batch.path.read_bytes() if size <= MOST_BYTES else None
        else:
            with zipfile.ZipFile(batch.path) as archive:
                size = archive.getinfo(batch.member).file_size
                content = archive.read(batch.member) if size <= MOST_BYTES else None
    except archive_errors() as error:
        raise InputError(
            f"{batch.where}: cannot be unpacked ({error}), get it again: {kind.how}"
        ) from error
    if content is None:
        raise InputError(f"{batch.where}: has {size:,} bytes, more than a batch has; {kind.how}")
    return content


def _of_pickle(batch: Batch, kind: Downsampled) -> tuple[np.ndarray, np.ndarray]:
    import numpy as np

    from bench.data.pickles import PickledArray, unpickle

    what = f"batch of ImageNet at {kind.size}x{kind.size}"
    values = unpickle(batch.where, _content(batch, kind), what, kind.how)
    data, labels = values.get(b"data"), values.get(b"labels")
    shape = data.shape if isinstance(data, PickledArray) else None
    if (
        not isinstance(data, PickledArray)
        or not isinstance(shape, tuple)
        or len(shape) != 2
        or not data.is_bytes(shape)
    ):
        raise InputError(f"{batch.where}: data should be N x {kind.pixels} bytes; {kind.how}")
    if not isinstance(labels, list) or {type(label) for label in labels} != {int}:
        raise InputError(f"{batch.where}: labels should be a list of whole numbers; {kind.how}")
    order: Literal["F", "C"] = "F" if data.columns_first else "C"
    pixels = np.frombuffer(data.content, np.uint8).reshape(shape, order=order)
    return pixels, np.array(labels)


def _of_npz(batch: Batch, kind: Downsampled) -> tuple[np.ndarray, np.ndarray]:
    import io

    import numpy as np

    try:
        if not batch.member:
            check_claims(batch.path, ("data", "labels"), kind.how, kind.how)
        source: Any = io.BytesIO(_content(batch, kind)) if batch.member else batch.path
        with np.load(source, allow_pickle=False) as arrays:
            return arrays["data"], arrays["labels"]
    except KeyError as error:
        raise InputError(f"{batch.where}: holds no array {error}; {kind.how}") from None
    except archive_errors(ValueError) as error:
        why = str(error)
        if kind.how in why:
            raise
        raise InputError(f"{batch.where}: cannot be read ({why}); {kind.how}") from error


def load(kind: Downsampled, what: Literal["images", "labels"], split: str) -> np.ndarray:
    """Returns the images or the classes of a split, memory-mapped; raises as :func:`find` and
    :func:`read` do.
    """
    root = data_root()
    found = find(root, kind)
    batches = [found[name] for name in BATCHES[split]]

    def chunks() -> Iterator[np.ndarray]:
        for batch in batches:
            images, labels = read(batch, kind)
            yield images if what == "images" else labels

    rows = dict(kind.splits)[split]
    shape = (rows, 3, kind.size, kind.size) if what == "images" else (rows,)
    files = list(dict.fromkeys(batch.path for batch in batches))
    dtype = "uint8" if what == "images" else "int64"
    name = f"{kind.folder}-{split}-{what}"
    return converted(root, name, "downsampled 1", files, shape, chunks, dtype)


def card_of(kind: Downsampled) -> DataCard:
    """Returns the card of one size."""
    return DataCard(
        version=1,
        summary=f"ImageNet, {kind.size}x{kind.size} in colour, by its makers' box filter",
        shape=(3, kind.size, kind.size),
        splits=dict(kind.splits),
        split_rule="the makers': ten batches for training, the validation images held out",
        load=partial(load, kind, "images"),
        flips=True,
        classes=CLASSES,
        labels=partial(load, kind, "labels"),
        files={(kind.folder,): kind.how},
        sources=partial(sources, kind),
    )


CARDS = {f"imagenet{size}": card_of(Downsampled(size)) for size in (32, 64)}
