"""The files behind a gallery: where its pictures lie, how they are split, and its images.

Where the pictures were last seen is noted beside the converted arrays (:mod:`bench.data.mapped`),
for the jobs; so is how many held-out pictures equal one for training. Which pictures are held out
follows from the names of their folders (:mod:`bench.data.splits`), or else from a draw.

Standard library alone until images are read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bench.data.card import DataCard
from bench.data.collection import VERSION
from bench.data.fault import InputError, MissingError
from bench.data.filenames import printable
from bench.data.gallery import Gallery
from bench.data.image_folder import ImageFolder
from bench.data.lsun import Lsun
from bench.data.mapped import converted, folder, is_converted
from bench.data.picture_set import SPLITS, PictureSet
from bench.data.pictures import read
from bench.data.root import data_root
from bench.files import sha256, write

if TYPE_CHECKING:
    import numpy as np


def settle(kind: str, params: ImageFolder | Lsun, cache: Path | None) -> tuple[str, str]:
    """Returns the name of the data set that a suite describes and a line on it for a person, and
    notes where its pictures lie.

    Args:
        kind: A name of :data:`bench.data.gallery.KINDS`.
        params: An instance of it.
        cache: Folder that remembers digests; None: always read the pictures.

    Raises:
        ValueError: There are no pictures, too few to split, it is not clear which are held out, or
            one cannot be read; the message says where they were looked for.
    """
    pictures = PictureSet.search(params.places(data_root()), random=params.random)
    values: dict[str, Any] = asdict(params)
    counts: dict[str, Any] = pictures.counts(values.pop("test", 0))
    for name in ("path", "split"):
        values.pop(name, None)
    if pictures.folders is not None:
        values["folders"] = " and ".join(f"{name}/" for name in pictures.folders.folders)
        values["unused"] = pictures.folders.unused
    random = "" in pictures.collections and pictures.folders is None
    rule: Literal["random", "folders"] = "random" if random else "folders"
    gallery = Gallery(kind=kind, sha256=pictures.digest(cache), rule=rule, **counts, **values)
    places = {split: str(item.path.absolute()) for split, item in pictures.collections.items()}
    write(_place_note(gallery), json.dumps(places).encode())
    line = _line(params, gallery, pictures)
    equal = _noted_equal(gallery)
    return gallery.name, line + (
        f"; {equal:,} held-out pictures equal one for training" if equal else ""
    )


def _line(params: ImageFolder | Lsun, gallery: Gallery, pictures: PictureSet) -> str:
    """Returns ``photos: 20 train, 5 test, by folders train/ and val/; left out: 2 .txt``."""
    if gallery.rule == "random":
        why = "as split: random asks" if params.random else "no folders for training and testing"
        how = f"at random ({why})"
    else:
        how = gallery.split_rule
        if pictures.folders is not None and (both := pictures.folders.in_both):
            how += f"; {both:,} that links put into another split too are not trained on"
    counts = f"{gallery.train:,} train, {gallery.test:,} test"
    return f"{printable(params.title)}: {counts}, {how}{pictures.what_is_left_out}"


@lru_cache(maxsize=64)
def gallery_card(name: str) -> DataCard:
    """Returns the card of the data set of such a name.

    Raises:
        ValueError: It is none.
    """
    gallery = Gallery.of(name)
    return DataCard(
        version=VERSION,
        summary=gallery.summary,
        shape=gallery.shaping.shape,
        splits=gallery.splits,
        split_rule=gallery.split_rule,
        load=lambda split: _load(gallery, split, _places(gallery)),
        flips=gallery.flips,
    )


def _load(gallery: Gallery, split: str, places: Mapping[str, Path]) -> np.ndarray:
    """Returns the images of a split, uint8 of shape (N, C, H, W), memory-mapped.

    Raises:
        ValueError: The pictures are no longer what they were, or one is damaged.
    """
    pictures = PictureSet.search(places, random=gallery.rule == "random")

    def chunks() -> Iterator[np.ndarray]:
        if pictures.digest(None) != gallery.sha256:
            raise InputError(
                f"{pictures.where}: the pictures are no longer those that were planned with; start "
                "the suite again"
            )
        brightest = 0
        for image in read(*pictures.chosen(split, gallery.rule, gallery.train), gallery.shaping):
            brightest = max(brightest, int(image.max()))
            yield image
        # pictures made smaller may lose their few pixels of value 1
        dark = brightest == 1 or (brightest == 0 and split == "train")
        if dark and gallery.scale is None:
            raise InputError(
                f"{pictures.where}: the brightest value of the {split} pictures is {brightest} "
                "where white is 255: give what white is beside the path, `scale: 1` if that is it, "
                "`scale: 255` if they are so dark"
            )

    return converted(
        data_root(),
        f"{_array_name(gallery)}-{split}",
        gallery.shaping.rule,
        pictures.files,
        (gallery.splits[split], *gallery.shaping.shape),
        chunks,
    )


def equal_pictures(name: str) -> int | None:
    """Returns how many held-out images of a data set that a suite describes equal one for training,
    pixel by pixel as they are used.

    Compared once and noted beside the converted arrays; None for other data sets, and while those
    for training are not converted yet.

    Raises:
        FileNotFoundError: Nobody knows where the pictures lie, or they are gone.
        ValueError: They are no longer what they were, or one is damaged.
    """
    if "{" not in name:
        return None
    gallery = Gallery.of(name)
    if (noted := _noted_equal(gallery)) is not None:
        return noted
    places = _places(gallery)
    if not is_converted(data_root(), f"{_array_name(gallery)}-train"):
        return None
    train, test = (_load(gallery, split, places) for split in SPLITS)
    held_out = list(_digests(test))
    distinct = set(held_out)
    in_both = {digest for digest in _digests(train) if digest in distinct}
    count = sum(digest in in_both for digest in held_out)
    note = {"rule": gallery.shaping.rule, "equal": count}
    write(_equal_note(gallery), json.dumps(note).encode())
    return count


def _digests(images: np.ndarray) -> Iterator[bytes]:
    """Yields a digest of each image."""
    for image in images:
        yield hashlib.blake2b(image.tobytes(), digest_size=16).digest()


# Notes beside the converted arrays


def _array_name(gallery: Gallery) -> str:
    return f"{gallery.kind}-{gallery.sha256}-{sha256(gallery.name)[:8]}"


def _place_note(gallery: Gallery) -> Path:
    return folder(data_root()) / f"{gallery.sha256}.json"


def _equal_note(gallery: Gallery) -> Path:
    return folder(data_root()) / f"{_array_name(gallery)}-equal.json"


def _noted_equal(gallery: Gallery) -> int | None:
    """Returns what :func:`equal_pictures` noted, None if it did not."""
    try:
        note = json.loads(_equal_note(gallery).read_text())
        return int(note["equal"]) if note["rule"] == gallery.shaping.rule else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _places(gallery: Gallery) -> dict[str, Path]:
    """Returns where the pictures lie.

    Raises:
        FileNotFoundError: Nobody knows, or they are gone.
    """
    note = _place_note(gallery)
    try:
        places = {part: Path(place) for part, place in json.loads(note.read_text()).items()}
    except (OSError, ValueError, AttributeError, TypeError):
        raise MissingError(
            f"{gallery.summary}: {note} does not say where the pictures lie; start the suite again "
            "where they are"
        ) from None
    for place in places.values():
        if not place.exists():
            raise MissingError(
                f"{printable(place)}: the pictures are no longer there; put them back, or start "
                "the suite again"
            )
    return places
