"""Data sets of pictures that a suite names by path and rule: any folder or zip archive, or one of LSUN's categories.

    dataset: {name: image_folder, path: photos.zip, size: 64, crop: center}
    dataset: {name: lsun, category: bedroom, size: 64}

Such a data set is known by its content: the name under which specs hold it says the rule, the digest of the pictures
and how many there are, ``image_folder{"sha256":"...","size":64,...}``, and not where they lie, so that equal pictures
elsewhere are the same data set. Where they were last seen is noted beside the converted arrays
(:mod:`bench.mapped`), for the jobs.

Standard library alone until images are read.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bench import pictures
from bench.digest import digest_pictures, picture_files
from bench.mapped import converted, folder

if TYPE_CHECKING:
    import numpy as np

DIGITS = 20
"""Hexadecimal digits of the digest that a name holds."""

PARTS = ("train", "test")


@dataclass(frozen=True, kw_only=True)
class ImageFolder:
    """A folder, searched through and through, or a zip archive of pictures.

    Args:
        path: Where it lies, below the data root or else the working folder.
        size, crop, resize, channels: How a picture becomes an image (:class:`bench.pictures.Shaping`).
        flips: Whether training mirrors images.
        test: Share of the pictures that is held out, drawn at random; not used where the pictures lie in two folders
            ``train`` and ``test``.
    """

    path: str
    size: int
    crop: Literal["center", "none"] | int = "center"
    resize: pictures.Filter = "bicubic"
    channels: Literal[1, 3] = 3
    flips: bool = False
    test: float = 0.1

    def __post_init__(self) -> None:
        _check(self)
        if not 0 < self.test < 1:
            raise ValueError("test should be between 0 and 1: the share of the pictures that is held out")


@dataclass(frozen=True, kw_only=True)
class Lsun:
    """One category of LSUN as its exporter leaves it: folders ``lsun/<category>_train`` and ``_val``, or archives.

    Args:
        category: ``bedroom``, ``church_outdoor``, ...
        size, crop, resize: How a picture becomes an image (:class:`bench.pictures.Shaping`).
        flips: Whether training mirrors images.
    """

    category: str
    size: int
    crop: Literal["center", "none"] | int = "center"
    resize: pictures.Filter = "bicubic"
    flips: bool = True

    def __post_init__(self) -> None:
        _check(self)
        if not self.category or "/" in self.category or self.category.startswith("."):
            raise ValueError("category should be a name such as bedroom")


def _check(params: ImageFolder | Lsun) -> None:
    if params.size < 1 or (isinstance(params.crop, int) and params.crop < 1):
        raise ValueError("size and crop should be at least 1 pixel")


KINDS: Mapping[str, type] = {"image_folder": ImageFolder, "lsun": Lsun}
LSUN = (
    "get lmdb files of https://github.com/fyu/lsun, export them by its data.py (python data.py export FILE --out_dir "
    "FOLDER) and put the folders there"
)


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """What is known of such a data set without its pictures.

    Args:
        kind: A name of :data:`KINDS`.
        sha256: The first digits of the digest of the pictures and their names.
        train, test: How many there are.
        rule: How they are split: "folders", or "random" with the held-out share in ``test``.
    """

    kind: str
    sha256: str
    train: int
    test: int
    rule: Literal["folders", "random"]
    size: int
    crop: Literal["center", "none"] | int = "center"
    resize: pictures.Filter = "bicubic"
    channels: Literal[1, 3] = 3
    flips: bool = False
    category: str = ""

    @property
    def name(self) -> str:
        """The name by which specs know it: what differs from the defaults, so that a new option renames nothing."""
        known = {item.name: getattr(self, item.name) for item in fields(self) if item.name != "kind"}
        usual = {item.name: item.default for item in fields(self)}
        values = {name: value for name, value in known.items() if value != usual[name]}
        return self.kind + json.dumps(values, sort_keys=True, separators=(",", ":"))

    @classmethod
    def of(cls, name: str) -> Gallery:
        """Returns the data set of such a name.

        Raises:
            ValueError: It is none.
        """
        kind, bracket, rest = name.partition("{")
        try:
            if kind not in KINDS:
                raise ValueError(f"there is no kind {kind}")
            return cls(kind=kind, **json.loads(bracket + rest))
        except (ValueError, TypeError) as error:
            raise ValueError(f"{name}: is no name of a data set: {error}") from None

    @property
    def shaping(self) -> pictures.Shaping:
        """How a picture becomes an image."""
        return pictures.Shaping(size=self.size, crop=self.crop, resize=self.resize, channels=self.channels)

    @property
    def splits(self) -> dict[str, int]:
        """Images of each split."""
        return {"train": self.train, "test": self.test}

    @property
    def split_rule(self) -> str:
        """How the splits are told apart."""
        if self.rule == "folders":
            return "by folder, as the pictures lie"
        return f"random: numpy default_rng(0).permutation({self.train + self.test}), the last {self.test} held out"

    @property
    def summary(self) -> str:
        """What it is, for a person."""
        what = f"LSUN {self.category}" if self.kind == "lsun" else "pictures of a folder or archive"
        crop = {"center": "central square", "none": "whole"}.get(str(self.crop), f"central {self.crop} pixels")
        return f"{what} (sha256 {self.sha256}), {crop}, {self.resize} to {self.size}x{self.size}"


def settle(kind: str, params: Any, root: Path, cache: Path | None) -> Gallery:
    """Returns what a suite's parameters stand for, and notes where its pictures lie.

    Args:
        kind: A name of :data:`KINDS`, with an instance of it.
        root: The data root.
        cache: Folder that remembers digests; None: always read the pictures.

    Raises:
        ValueError: There are no pictures, or too few to split; the message says where they were looked for.
    """
    places = _lsun_places(params, root) if kind == "lsun" else {"": _find(params.path, root)}
    digest = _digest(places, cache)
    by_folder = kind == "lsun" or _has_folders(pictures.names(places[""]))
    if by_folder:
        counts = {part: len(chosen) for part, (_, chosen) in _by_folder(places).items()}
    else:
        total = len(pictures.names(places[""]))
        held_out = max(1, math.floor(params.test * total + 0.5))
        counts = {"train": total - held_out, "test": held_out}
    if min(counts.values()) < 1:
        raise ValueError(
            f"{', '.join(map(str, places.values()))}: {sum(counts.values())} pictures are too few to split"
        )
    known = {name: value for name, value in asdict(params).items() if name not in ("path", "test")}
    gallery = Gallery(kind=kind, sha256=digest, rule="folders" if by_folder else "random", **counts, **known)
    note = folder(root) / f"{digest}.json"
    new = note.with_suffix(f".{os.getpid()}.tmp")
    new.write_text(json.dumps({part: str(place.absolute()) for part, place in places.items()}))
    os.replace(new, note)
    return gallery


def load(gallery: Gallery, split: str, root: Path) -> np.ndarray:
    """Returns the images of a split, uint8 of shape (N, C, H, W), memory-mapped.

    Raises:
        FileNotFoundError: Nobody knows where the pictures lie, or they are gone.
        ValueError: They are no longer what they were, or one is damaged.
    """
    note = folder(root) / f"{gallery.sha256}.json"
    try:
        places = {part: Path(place) for part, place in json.loads(note.read_text()).items()}
    except (OSError, ValueError):
        raise FileNotFoundError(
            f"{gallery.summary}: {note} does not say where the pictures lie; start the suite again where they are"
        ) from None
    for place in places.values():
        if not place.exists():
            raise FileNotFoundError(
                f"{place}: the pictures are no longer there; put them back, or start the suite again"
            )
    sources = [file for place in places.values() for file in picture_files(place)]

    def chunks() -> Iterator[np.ndarray]:
        if _digest(places, None) != gallery.sha256:
            where = ", ".join(map(str, places.values()))
            raise ValueError(f"{where}: the pictures are no longer those that were planned with; start the suite again")
        known = _by_folder(places) if gallery.rule == "folders" else _at_random(places[""], gallery.train)
        place, chosen = known[split]
        yield from pictures.read(place, chosen, gallery.shaping)

    rule = gallery.shaping.rule
    name = f"{gallery.kind}-{gallery.sha256}-{hashlib.sha256(gallery.name.encode()).hexdigest()[:8]}-{split}"
    return converted(root, name, rule, sources, (gallery.splits[split], *gallery.shaping.shape), chunks)


def _find(path: str, root: Path) -> Path:
    places = list(dict.fromkeys([root / path, Path.cwd() / path]))
    found = next((place for place in places if place.exists()), None)
    if found is None:
        raise ValueError(f"nothing lies at {' or at '.join(map(str, places))}")
    return found


def _lsun_places(params: Lsun, root: Path) -> dict[str, Path]:
    places = {}
    for part, word in zip(PARTS, ("train", "val"), strict=True):
        base = root / "lsun" / f"{params.category}_{word}"
        found = next((place for place in (base, base.with_name(f"{base.name}.zip")) if place.exists()), None)
        if found is None:
            raise ValueError(f"nothing lies at {base} or at {base}.zip: {LSUN}")
        places[part] = found
    return places


def _digest(places: Mapping[str, Path], cache: Path | None) -> str:
    digests = [digest_pictures(place, cache) for place in places.values()]
    whole = digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
    return whole[:DIGITS]


def _has_folders(names: list[str]) -> bool:
    return {name.partition("/")[0] for name in names if "/" in name} >= set(PARTS)


def _by_folder(places: Mapping[str, Path]) -> dict[str, tuple[Path, list[str]]]:
    """Returns where each split lies and the names of its pictures, in the order of its images."""
    if "" not in places:
        return {part: (place, pictures.names(place)) for part, place in places.items()}
    names = pictures.names(places[""])
    return {part: (places[""], [name for name in names if name.startswith(f"{part}/")]) for part in PARTS}


def _at_random(place: Path, train: int) -> dict[str, tuple[Path, list[str]]]:
    """Returns the same of pictures of which ``train``, drawn at random, are for training."""
    import numpy as np

    names = pictures.names(place)
    order = np.random.default_rng(0).permutation(len(names))
    parts = zip(PARTS, (order[:train], order[train:]), strict=True)
    return {part: (place, [names[index] for index in chosen]) for part, chosen in parts}
