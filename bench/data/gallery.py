"""Data sets of pictures that a suite names by path and rule: any folder or zip archive, or one of
LSUN's categories.

    dataset: {name: image_folder, path: photos.zip, size: 64, crop: center}
    dataset: {name: lsun, category: bedroom, size: 64}

Such a data set is known by its content: the name under which specs hold it says the rule, the
digest of the pictures and how many there are, ``image_folder{"sha256":"...","size":64,...}``, and
not where they lie, so that equal pictures elsewhere are the same data set. Where they were last
seen is noted beside the converted arrays (:mod:`bench.data.mapped`), for the jobs; so is how many
held-out pictures equal one for training.

Which pictures are held out follows from the names of their folders (:mod:`bench.data.splits`), or
else from a draw.

Standard library alone until images are read.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bench.data import pictures
from bench.data.collection import Collection, collect
from bench.data.digest import digest_pictures
from bench.data.filenames import printable
from bench.data.mapped import converted, folder, is_converted
from bench.data.splits import Folders, by_folder
from bench.files import sha256, write

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
        size, crop, resize, channels: How a picture becomes an image
            (:class:`bench.data.pictures.Shaping`).
        flips: Whether training mirrors images.
        split: "folders" to hold out what folders named test or val hold (:mod:`bench.data.splits`),
            a random share where there are none; "random" for a random share whatever folders are
            called.
        test: Share of the pictures that is held out where that is drawn at random.
        scale: The value of white in the files; null: 255, and pictures of which no value is above 1
            are refused.
    """

    path: str
    size: int
    crop: Literal["center", "none"] | int = "center"
    resize: pictures.Filter = "bicubic"
    channels: Literal[1, 3] = 3
    flips: bool = False
    split: Literal["folders", "random"] = "folders"
    test: float = 0.1
    scale: int | None = None

    def __post_init__(self) -> None:
        _check(self)
        if not 0 < self.test < 1:
            raise ValueError(
                "test should be between 0 and 1: the share of the pictures that is held out"
            )
        if self.scale is not None and not 1 <= self.scale <= 255:
            raise ValueError("scale should be the value of white in the files, from 1 to 255")


@dataclass(frozen=True, kw_only=True)
class Lsun:
    """One category of LSUN as its exporter leaves it: folders ``lsun/<category>_train`` and
    ``_val``, or archives.

    Args:
        category: ``bedroom``, ``church_outdoor``, ...
        size, crop, resize: How a picture becomes an image (:class:`bench.data.pictures.Shaping`).
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
        folders: Those of the two splits, where it is by folders of one path: ``train/ and val/``.
        unused: How many pictures are neither: a folder for validation beside one for testing.
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
    scale: int | None = None
    folders: str = ""
    unused: int = 0

    @property
    def name(self) -> str:
        """The name by which specs know it: what differs from the defaults, so that a new option
        renames nothing.
        """
        known = {
            item.name: getattr(self, item.name) for item in fields(self) if item.name != "kind"
        }
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
        return pictures.Shaping(
            size=self.size,
            crop=self.crop,
            resize=self.resize,
            channels=self.channels,
            white=self.scale,
        )

    @property
    def splits(self) -> dict[str, int]:
        """Images of each split."""
        return {"train": self.train, "test": self.test}

    @property
    def split_rule(self) -> str:
        """How the splits are told apart."""
        if self.rule == "folders":
            unused = f"; {self.unused:,} for validation are not used" if self.unused else ""
            return (
                f"by folders {self.folders}{unused}"
                if self.folders
                else "by folder, as the pictures lie"
            )
        return f"random: numpy default_rng(0).permutation({self.train + self.test}), the last {self.test} held out"

    @property
    def summary(self) -> str:
        """What it is, for a person."""
        what = f"LSUN {self.category}" if self.kind == "lsun" else "pictures of a folder or archive"
        crop = {"center": "central square", "none": "whole"}.get(
            str(self.crop), f"central {self.crop} pixels"
        )
        return f"{what} (sha256 {self.sha256}), {crop}, {self.resize} to {self.size}x{self.size}"


@dataclass(frozen=True)
class _Found:
    """The pictures of a data set: where they lie, and how they are split.

    Args:
        collections: What there is: of one place, or of one for each split.
        folders: The splits that folders of one place make; None: by place, or at random.
    """

    collections: Mapping[str, Collection]
    folders: Folders | None = None

    @property
    def where(self) -> str:
        """The places, for a message."""
        return ", ".join(printable(found.path) for found in self.collections.values())

    @property
    def files(self) -> list[Path]:
        """What the images are made from."""
        return [file for found in self.collections.values() for file in found.files]

    def digest(self, cache: Path | None) -> str:
        """Returns the first digits of the digest of all pictures and their names."""
        digests = [digest_pictures(found, cache) for found in self.collections.values()]
        whole = digests[0] if len(digests) == 1 else sha256("".join(digests))
        return whole[:DIGITS]

    def chosen(self, split: str, rule: str, train: int) -> tuple[Path, Sequence[str]]:
        """Returns the place of a split and the names of its pictures, in the order of its images.

        Args:
            rule: "folders" or "random".
            train: How many are for training.
        """
        if "" not in self.collections:
            return self.collections[split].path, self.collections[split].names
        (found,) = self.collections.values()
        if rule == "random":
            return found.path, _at_random(found.names, train)[split]
        if self.folders is None:
            raise ValueError(
                f"{self.where}: its folders are no splits any more; start the suite again"
            )
        return found.path, self.folders.train if split == "train" else self.folders.test


def settle(kind: str, params: Any, root: Path, cache: Path | None) -> tuple[Gallery, str]:
    """Returns what a suite's parameters stand for and a line on it for a person, and notes where
    its pictures lie.

    Args:
        kind: A name of :data:`KINDS`, with an instance of it.
        root: The data root.
        cache: Folder that remembers digests; None: always read the pictures.

    Raises:
        ValueError: There are no pictures, too few to split, it is not clear which are held out, or
            one cannot be read; the message says where they were looked for.
    """
    places = _lsun_places(params, root) if kind == "lsun" else {"": _find(params.path, root)}
    found = _look(places, random=kind != "lsun" and params.split == "random")
    if kind == "lsun":
        counts = {part: len(found.collections[part].names) for part in PARTS}
    elif found.folders is not None:
        counts = {"train": len(found.folders.train), "test": len(found.folders.test)}
    else:
        total = len(found.collections[""].names)
        held_out = max(1, math.floor(params.test * total + 0.5))
        counts = {"train": total - held_out, "test": held_out}
    if min(counts.values()) < 1:
        raise ValueError(f"{found.where}: {_too_few(found, sum(counts.values()))}")
    known = {
        name: value
        for name, value in asdict(params).items()
        if name not in ("path", "test", "split")
    }
    if found.folders is not None:
        known |= {
            "folders": " and ".join(f"{name}/" for name in found.folders.folders),
            "unused": found.folders.unused,
        }
    rule = "folders" if kind == "lsun" or found.folders is not None else "random"
    gallery = Gallery(kind=kind, sha256=found.digest(cache), rule=rule, **counts, **known)
    note = {part: str(place.absolute()) for part, place in places.items()}
    write(folder(root) / f"{gallery.sha256}.json", json.dumps(note).encode())
    line = _line(kind, params, gallery, found)
    equal = _noted_equal(gallery, root)
    return gallery, line + (
        f"; {equal:,} held-out pictures equal one for training" if equal else ""
    )


def _look(places: Mapping[str, Path], *, random: bool) -> _Found:
    collections = {part: collect(place) for part, place in places.items()}
    return _Found(
        collections, by_folder(collections[""]) if "" in collections and not random else None
    )


def _too_few(found: _Found, count: int) -> str:
    if found.folders is None:
        return f"{count} pictures are too few to split"
    train, test = found.folders.folders
    return f"links put the same pictures into {train}/ and {test}/, so that nothing is left to train on"


def _line(kind: str, params: Any, gallery: Gallery, found: _Found) -> str:
    """Returns ``photos: 20 train, 5 test, by folders train/ and val/; left out: 2 .txt``."""
    if gallery.rule == "folders":
        how = gallery.split_rule
        both = found.folders.in_both if found.folders else 0
        how += (
            f"; {both:,} that links put into another split too are not trained on" if both else ""
        )
    else:
        asked = params.split == "random"
        how = f"at random ({'as split: random asks' if asked else 'no folders for training and testing'})"
    what = params.category if kind == "lsun" else params.path
    left_out = "".join(
        f"; {told}" for item in found.collections.values() if (told := item.what_is_left_out)
    )
    return f"{printable(what)}: {gallery.train:,} train, {gallery.test:,} test, {how}{left_out}"


def load(gallery: Gallery, split: str, root: Path) -> np.ndarray:
    """Returns the images of a split, uint8 of shape (N, C, H, W), memory-mapped.

    Raises:
        FileNotFoundError: Nobody knows where the pictures lie, or they are gone.
        ValueError: They are no longer what they were, or one is damaged.
    """
    return _load(gallery, split, root, _places(gallery, root))


def equal_pictures(gallery: Gallery, root: Path) -> int | None:
    """Returns how many held-out images equal one for training, pixel by pixel as they are used.

    Compared once and noted beside the converted arrays; None where that was not done and those for
    training are not converted yet.

    Raises:
        FileNotFoundError, ValueError: As :func:`load`.
    """
    if (known := _noted_equal(gallery, root)) is not None:
        return known
    places = _places(gallery, root)
    if not is_converted(root, f"{_array_name(gallery)}-train"):
        return None
    train, test = (_load(gallery, split, root, places) for split in PARTS)
    held_out = list(_digests(test))
    seen = set(held_out)
    in_both = {digest for digest in _digests(train) if digest in seen}
    count = sum(digest in in_both for digest in held_out)
    note = {"rule": gallery.shaping.rule, "equal": count}
    write(_equal_note(gallery, root), json.dumps(note).encode())
    return count


def _equal_note(gallery: Gallery, root: Path) -> Path:
    return folder(root) / f"{_array_name(gallery)}-equal.json"


def _noted_equal(gallery: Gallery, root: Path) -> int | None:
    """Returns what :func:`equal_pictures` noted, None where it did not."""
    try:
        known = json.loads(_equal_note(gallery, root).read_text())
        return int(known["equal"]) if known["rule"] == gallery.shaping.rule else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _digests(images: np.ndarray) -> Iterator[bytes]:
    """Yields a digest of each image."""
    for image in images:
        yield hashlib.blake2b(image.tobytes(), digest_size=16).digest()


def _array_name(gallery: Gallery) -> str:
    return f"{gallery.kind}-{gallery.sha256}-{sha256(gallery.name)[:8]}"


def _places(gallery: Gallery, root: Path) -> dict[str, Path]:
    """Returns where the pictures lie.

    Raises:
        FileNotFoundError: Nobody knows, or they are gone.
    """
    note = folder(root) / f"{gallery.sha256}.json"
    try:
        places = {part: Path(place) for part, place in json.loads(note.read_text()).items()}
    except (OSError, ValueError, AttributeError, TypeError):
        raise FileNotFoundError(
            f"{gallery.summary}: {note} does not say where the pictures lie; start the suite again where they are"
        ) from None
    for place in places.values():
        if not place.exists():
            raise FileNotFoundError(
                f"{printable(place)}: the pictures are no longer there; put them back, or start the suite again"
            )
    return places


def _load(gallery: Gallery, split: str, root: Path, places: Mapping[str, Path]) -> np.ndarray:
    found = _look(places, random=gallery.rule == "random")

    def chunks() -> Iterator[np.ndarray]:
        if found.digest(None) != gallery.sha256:
            raise ValueError(
                f"{found.where}: the pictures are no longer those that were planned with; start the suite again"
            )
        brightest = 0
        for image in pictures.read(
            *found.chosen(split, gallery.rule, gallery.train), gallery.shaping
        ):
            brightest = max(brightest, int(image.max()))
            yield image
        dark = brightest == 1 or (
            brightest == 0 and split == "train"
        )  # made smaller, few pixels of 1 become 0
        if dark and gallery.scale is None:
            raise ValueError(
                f"{found.where}: the brightest value of the {split} pictures is {brightest} where white is 255: "
                "give what white is beside the path, `scale: 1` if that is it, `scale: 255` if they are so dark"
            )

    shape = (gallery.splits[split], *gallery.shaping.shape)
    return converted(
        root, f"{_array_name(gallery)}-{split}", gallery.shaping.rule, found.files, shape, chunks
    )


def _find(path: str, root: Path) -> Path:
    if not path.strip():
        raise ValueError("path is empty: name a folder or .zip of pictures")
    places = list(dict.fromkeys([root / path, Path.cwd() / path]))
    try:
        found = next((place for place in places if place.exists()), None)
    except OSError as error:
        raise ValueError(f"{printable(path)} cannot be looked for ({error.strerror})") from None
    if found is None:
        raise ValueError(f"nothing lies at {' or at '.join(map(printable, places))}")
    return found


def _lsun_places(params: Lsun, root: Path) -> dict[str, Path]:
    places = {}
    for part, word in zip(PARTS, ("train", "val"), strict=True):
        base = root / "lsun" / f"{params.category}_{word}"
        found = next(
            (place for place in (base, base.with_name(f"{base.name}.zip")) if place.exists()), None
        )
        if found is None:
            raise ValueError(f"nothing lies at {base} or at {base}.zip: {LSUN}")
        places[part] = found
    return places


def _at_random(names: Sequence[str], train: int) -> dict[str, list[str]]:
    """Returns the names of each split of pictures of which ``train``, drawn at random, are for
    training.
    """
    import numpy as np

    order = np.random.default_rng(0).permutation(len(names))
    parts = zip(PARTS, (order[:train], order[train:]), strict=True)
    return {part: [names[index] for index in chosen] for part, chosen in parts}
