"""FFHQ and CelebA-HQ: aligned faces of 1024x1024 pixels, whole or made smaller as published.

A picture is known by the number in its name. ``ffhq64`` is what EDM's data set tool makes of FFHQ:
Pillow's Lanczos filter over the whole picture. The 256x256 faces are means over 4x4 pixels, as in
the TFRecords of both data sets, which Score-SDE read.

Source: Karras et al., 2018, https://arxiv.org/abs/1710.10196 (CelebA-HQ); 2019,
https://arxiv.org/abs/1812.04948 (FFHQ); 2022, https://arxiv.org/abs/2206.00364 (FFHQ at 64x64).

Departures: CelebA-HQ is read from the pictures of CelebAMask-HQ, which are JPEG. Pillow's box
filter rounds in each direction, where the TFRecords' means are rounded once: up to one level of
256.

Standard library alone until images are read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bench.data import pictures
from bench.data.card import DataCard
from bench.data.collection import collect
from bench.data.fault import InputError, MissingError
from bench.data.mapped import converted
from bench.data.root import data_root
from bench.frozen import dataclass

if TYPE_CHECKING:
    import numpy as np

ORIGINAL = 1024
"""Width of the pictures as published."""


@dataclass(frozen=True)
class Faces:
    """A set of numbered faces.

    Args:
        title: What a person calls it.
        count: How many there are: the numbers 0, ..., count - 1.
        train: How many of them, from 0 on, are for training.
        split_rule: How they are split, for a person.
        places: Where the pictures may lie, one of which is enough.
        made: Where pictures may lie that are small already, by their width.
        name: The path of a picture within its place, with its number as the group.
        how: How to get them.
    """

    title: str
    count: int
    train: int
    split_rule: str
    places: tuple[str, ...]
    made: dict[int, tuple[str, ...]]
    name: re.Pattern[str]
    how: str

    def looked_for(self, size: int) -> tuple[str, ...]:
        """Returns where faces of that width may lie."""
        return (*self.made.get(size, ()), *self.places)

    def splits(self) -> dict[str, int]:
        """Returns how many faces each split has."""
        return {"train": self.train, "test": self.count - self.train}


FFHQ = Faces(
    title="FFHQ",
    count=70_000,
    train=60_000,
    split_rule="its makers': 0 to 59,999 for training, the others held out",
    places=("ffhq/images1024x1024.zip", "ffhq/images1024x1024"),
    made={64: ("ffhq/ffhq-64x64.zip",)},
    name=re.compile(r"(?:.*/)?(?:img)?(\d{5,8})\.png"),
    how="get images1024x1024 (89 GB) from https://github.com/NVlabs/ffhq-dataset and put the "
    "folder there, or a .zip of it; for 64x64, ffhq-64x64.zip as the data set tool of "
    "https://github.com/NVlabs/edm makes it is the same and smaller",
)
CELEBA_HQ = Faces(
    title="CelebA-HQ",
    count=30_000,
    train=27_000,
    split_rule="0 to 26,999 for training, the others held out; its makers have none",
    places=("celebahq/CelebAMask-HQ.zip", "celebahq/CelebA-HQ-img.zip", "celebahq/CelebA-HQ-img"),
    made={},
    name=re.compile(r"(?:(?:.*/)?CelebA-HQ-img/)?(\d{1,5})\.(?:jpg|png)"),
    how="get CelebAMask-HQ.zip (3 GB) from https://github.com/switchablenorms/CelebAMask-HQ and "
    "put it there as it is, or its folder CelebA-HQ-img",
)
FILTERS: dict[int, Literal["lanczos", "box"]] = {64: "lanczos", 256: "box", 1024: "box"}


def shaping(size: int) -> pictures.Shaping:
    """Returns how a picture becomes a face of that width."""
    return pictures.Shaping(
        size=size, crop="none", resize=FILTERS[size], widths=tuple({size, ORIGINAL})
    )


def numbered(faces: Faces, place: Path) -> list[str]:
    """Returns the paths of all pictures within their place, by number.

    Raises:
        ValueError: A number is missing or there twice, or nothing can be read.
    """
    found: dict[int, str] = {}
    for name in collect(place).names:
        match = faces.name.fullmatch(name)
        if match is None:
            continue
        number = int(match[1])
        if number in found:
            raise InputError(
                f"{place}: {found[number]} and {name} are both face {number}: take one of them out"
            )
        found[number] = name
    missing = next((number for number in range(faces.count) if number not in found), None)
    if missing is not None or len(found) != faces.count:
        what = f"no face {missing}" if missing is not None else f"a face {max(found)}"
        raise InputError(
            f"{place}: holds {len(found):,} faces and {what}; {faces.title} has {faces.count:,}, "
            f"from 0 on: {faces.how}"
        )
    return [found[number] for number in range(faces.count)]


def place_of(faces: Faces, root: Path, size: int) -> Path:
    """Returns where the pictures lie, the first place that is there.

    Raises:
        FileNotFoundError: There is none.
    """
    names = faces.looked_for(size)
    place = next((root / name for name in names if (root / name).exists()), None)
    if place is None:
        raise MissingError(f"{root} holds none of {', '.join(names)}: {faces.how}")
    return place


def sources(faces: Faces, size: int, root: Path) -> list[Path]:
    """Returns the files that images are read from; raises as :func:`numbered` does."""
    place = place_of(faces, root, size)
    return [place] if place.is_file() else [place / name for name in numbered(faces, place)]


def images(faces: Faces, size: int, split: str) -> np.ndarray:
    """Returns the images of a split, uint8 of shape (N, 3, size, size), memory-mapped.

    Raises:
        FileNotFoundError: Nothing is there.
        ValueError: A picture is missing or damaged; the message names it and the remedy.
    """
    root = data_root()
    place = place_of(faces, root, size)
    names = numbered(faces, place)
    chosen = names[: faces.train] if split == "train" else names[faces.train :]
    files = [place] if place.is_file() else [place / name for name in chosen]

    def chunks() -> Iterator[np.ndarray]:
        yield from pictures.read(place, chosen, shaping(size))

    kind = shaping(size)
    name = f"{faces.title.lower().replace('-', '')}{size}-{split}"
    return converted(root, name, kind.rule, files, (len(chosen), *kind.shape), chunks)


def _card(faces: Faces, size: int) -> DataCard:
    how = {64: "Pillow's Lanczos filter", 256: "Pillow's box filter", 1024: "as they are"}[size]
    return DataCard(
        version=1,
        summary=f"{faces.title}'s aligned faces, {size}x{size}, {how}, in colour",
        shape=(3, size, size),
        splits=faces.splits(),
        split_rule=faces.split_rule,
        load=partial(images, faces, size),
        flips=True,
        files={faces.looked_for(size): faces.how},
        sources=partial(sources, faces, size),
    )


CARDS = {
    **{f"ffhq{size}": _card(FFHQ, size) for size in (64, 256, 1024)},
    **{f"celebahq{size}": _card(CELEBA_HQ, size) for size in (256, 1024)},
}
