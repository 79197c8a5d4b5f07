"""CelebA: the aligned photographs, a folder or the zip archive of them, and the authors' partition
of them.

``list_eval_partition.txt`` has a line per photograph, its name and 0, 1 or 2 for training,
validation and test. An image is the central 140x140 pixels of the 178x218, resized by Pillow's
bilinear filter: to 32x32 like NCSN's authors, to 64x64 like those of NCSNv2 and Score-SDE. The
exact filter is part of the data set: another filter makes another one.

Source: Liu et al., 2015, https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html.

Standard library alone until images are read.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from bench.data import pictures
from bench.data.card import DataCard, FileFacts
from bench.data.collection import collect
from bench.data.fault import InputError, MissingError
from bench.data.mapped import converted
from bench.data.root import data_root

if TYPE_CHECKING:
    import numpy as np

SHAPINGS = {size: pictures.Shaping(size=size, crop=140, resize="bilinear") for size in (32, 64)}
SPLITS = {"train": 162_770, "validation": 19_867, "test": 19_962}
PLACES = ("celeba/img_align_celeba.zip", "celeba/img_align_celeba")
PARTITION = "celeba/list_eval_partition.txt"
MOST_BYTES = 2**26
"""Bytes of it at most: it has three million."""
HOW = (
    "get img_align_celeba.zip (1.4 GB, md5 00d2c5bc6d35e252742224ab0c1e8fcb) and "
    "list_eval_partition.txt (md5 d32c9cbf5e040fd4025c592c306e6668) from "
    "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html and put them there, as they are (the "
    "archive may be unpacked, but one file is quicker to look at than 202,599)"
)


def images(root: Path, size: int, split: str) -> np.ndarray:
    """Returns the images of a split, uint8 of shape (N, 3, size, size), memory-mapped.

    Args:
        root: Folder that holds :data:`PARTITION` and one of :data:`PLACES`; the first that is there
            is read.
        size: One of :data:`SHAPINGS`.
        split: "train", "validation" or "test".

    Raises:
        FileNotFoundError: One of them, or a photograph, is missing.
        ValueError: A file is damaged; the message names it and the remedy.
    """
    place = next((root / name for name in PLACES if (root / name).exists()), None)
    if place is None:
        raise MissingError(f"{root} holds none of {', '.join(PLACES)}: {HOW}")
    shaping = SHAPINGS[size]
    chosen = partition(root / PARTITION)[split]
    files = [place] if place.is_file() else [place / name for name in chosen]

    def chunks() -> Iterator[np.ndarray]:
        names = [] if place.is_dir() else collect(place).names
        within = {name.rsplit("/", 1)[-1]: name for name in names}
        yield from pictures.read(place, [within.get(name, name) for name in chosen], shaping)

    try:
        shape = (len(chosen), *shaping.shape)
        return converted(
            root, f"celeba{size}-{split}", shaping.rule, [root / PARTITION, *files], shape, chunks
        )
    except FileNotFoundError as error:
        raise MissingError(f"{error}; {HOW}" if HOW not in str(error) else str(error)) from None


def sources(root: Path) -> list[Path]:
    """Returns all files that images are read from; raises FileNotFoundError if one is missing."""
    place = next((root / name for name in PLACES if (root / name).exists()), None)
    if place is None or not (root / PARTITION).is_file():
        raise MissingError(
            f"{root} holds not both {PARTITION} and one of {', '.join(PLACES)}: {HOW}"
        )
    files = (
        [place]
        if place.is_file()
        else sorted(file for file in place.iterdir() if file.suffix == ".jpg")
    )
    return [root / PARTITION, *files]


def partition(path: Path) -> dict[str, list[str]]:
    """Returns the names of the photographs of each split, in the file's order.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A line is not a name and 0, 1 or 2.
    """
    if not path.is_file():
        raise MissingError(f"{path} is missing: {HOW}")
    if path.stat().st_size > MOST_BYTES:
        raise InputError(
            f"{path}: has {path.stat().st_size:,} bytes, more than such a list has; {HOW}"
        )
    names: dict[str, list[str]] = {split: [] for split in SPLITS}
    splits = list(SPLITS)
    for number, line in enumerate(
        path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1
    ):
        name, _, part = line.strip().partition(" ")
        if part.strip() not in ("0", "1", "2") or not name or "/" in name or "\\" in name:
            raise InputError(
                f"{path}:{number}: should be a name and 0, 1 or 2, and is {line[:60]!r}; {HOW}"
            )
        names[splits[int(part)]].append(name)
    return names


def _card(size: int) -> DataCard:
    return DataCard(
        version=1,
        summary="CelebA's aligned faces, central 140x140 pixels, Pillow's bilinear filter to "
        f"{size}x{size}, in colour",
        shape=SHAPINGS[size].shape,
        splits=SPLITS,
        split_rule="the authors': list_eval_partition.txt",
        load=lambda split: images(data_root(), size, split),
        flips=True,
        files={PLACES: HOW, (PARTITION,): HOW},
        facts={
            PLACES[0]: FileFacts(size=1_443_490_838, md5="00d2c5bc6d35e252742224ab0c1e8fcb"),
            PARTITION: FileFacts(md5="d32c9cbf5e040fd4025c592c306e6668"),
        },
        sources=sources,
    )


CARDS = {"celeba32": _card(32), "celeba64": _card(64)}
