"""Pictures of one or two places, divided into those for training and those held out.

Standard library alone until a split is drawn at random.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.data.collection import Collection, collect
from bench.data.digest import digest_pictures
from bench.data.fault import InputError
from bench.data.filenames import printable
from bench.data.splits import Folders, by_folder
from bench.files import sha256
from bench.frozen import dataclass

DIGITS = 20
"""Hexadecimal digits of the digest that a name holds."""

SPLITS = ("train", "test")


@dataclass(frozen=True)
class PictureSet:
    """The pictures of a data set: where they lie, and how they are split.

    Args:
        collections: The pictures of each split, or all under the name "".
        folders: The splits that folders of one place make; None: by place, or at random.
    """

    collections: Mapping[str, Collection]
    folders: Folders | None = None

    @classmethod
    def search(cls, places: Mapping[str, Path], *, random: bool) -> PictureSet:
        """Returns the pictures of each split's place, or of one place under the name "".

        Args:
            random: Whether the names of folders say nothing about splits.

        Raises:
            ValueError: There is no picture, or it is not clear which are held out.
        """
        collections = {split: collect(place) for split, place in places.items()}
        one = collections.get("")
        return cls(collections, None if one is None or random else by_folder(one))

    @property
    def where(self) -> str:
        """The places, for a message."""
        return ", ".join(printable(collection.path) for collection in self.collections.values())

    @property
    def files(self) -> list[Path]:
        """What the images are made from."""
        return [file for collection in self.collections.values() for file in collection.files]

    @property
    def what_is_left_out(self) -> str:
        """What is not read, by kind, for the end of a line; empty if everything is."""
        parts = (collection.what_is_left_out for collection in self.collections.values())
        return "".join(f"; {part}" for part in parts if part)

    def digest(self, cache: Path | None) -> str:
        """Returns the first digits of the digest of all pictures and their names."""
        digests = [digest_pictures(collection, cache) for collection in self.collections.values()]
        if len(digests) > 1:
            digests = [sha256("".join(digests))]
        return digests[0][:DIGITS]

    def counts(self, test: float) -> dict[str, int]:
        """Returns how many pictures each split has.

        Args:
            test: Share of the pictures that is held out if that is drawn at random.

        Raises:
            ValueError: A split would be empty.
        """
        if "" not in self.collections:
            counts = {split: len(self.collections[split].names) for split in SPLITS}
        elif self.folders is not None:
            counts = {"train": len(self.folders.train), "test": len(self.folders.test)}
        else:
            total = len(self.collections[""].names)
            held_out = max(1, math.floor(test * total + 0.5))
            counts = {"train": total - held_out, "test": held_out}
        if min(counts.values()) >= 1:
            return counts
        why = f"{sum(counts.values())} pictures are too few to split"
        if self.folders is not None:
            train, test_folder = self.folders.folders
            why = (
                f"links put the same pictures into {train}/ and {test_folder}/, so that nothing is "
                "left to train on"
            )
        raise InputError(f"{self.where}: {why}")

    def chosen(self, split: str, rule: str, train: int) -> tuple[Path, Sequence[str]]:
        """Returns the place of a split and the names of its pictures, in the order of its images.

        Args:
            rule: "folders" or "random".
            train: How many are for training.

        Raises:
            ValueError: The folders have changed.
        """
        if "" not in self.collections:
            return self.collections[split].path, self.collections[split].names
        collection = self.collections[""]
        if rule == "random":
            return collection.path, _at_random(collection.names, train)[split]
        if self.folders is None:
            raise InputError(
                f"{self.where}: its folders are no splits any more; start the suite again"
            )
        return collection.path, self.folders.train if split == "train" else self.folders.test


def _at_random(names: Sequence[str], train: int) -> dict[str, list[str]]:
    """Returns the names of each split; ``train`` of them, drawn at random, are for training."""
    import numpy as np

    order = np.random.default_rng(0).permutation(len(names))
    parts = zip(SPLITS, (order[:train], order[train:]), strict=True)
    return {split: [names[index] for index in chosen] for split, chosen in parts}
