"""Data sets of pictures that a suite names by path and rule: any folder or zip archive, or one of
LSUN's categories.

Such a data set is identified by its content: its name in specs holds the rule, the digest of the
pictures and how many there are, ``image_folder{"sha256":"...","size":64,...}``, and
not where they lie, so that equal pictures elsewhere are the same data set.

Standard library only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Literal

from bench.data.fault import InputError
from bench.data.image_folder import ImageFolder
from bench.data.lsun import Lsun
from bench.data.pictures import Filter, Shaping
from bench.frozen import dataclass

KINDS: Mapping[str, type] = {"image_folder": ImageFolder, "lsun": Lsun}
"""Parameters that a suite may give, by the name of the kind of data set."""


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """Such a data set, as far as it is known without its pictures.

    Args:
        kind: A name of :data:`KINDS`.
        sha256: The first digits of the digest of the pictures and their names.
        train, test: How many there are.
        rule: How they are split: "folders", or "random" with the held-out share in ``test``.
        folders: Those of the two splits, if these are folders of one path: ``train/ and val/``.
        unused: How many pictures are neither: a folder for validation beside one for testing.
    """

    kind: str
    sha256: str
    train: int
    test: int
    rule: Literal["folders", "random"]
    size: int
    crop: Literal["center", "none"] | int = "center"
    resize: Filter = "bicubic"
    channels: Literal[1, 3] = 3
    flips: bool = False
    category: str = ""
    scale: int | None = None
    folders: str = ""
    unused: int = 0

    @property
    def name(self) -> str:
        """Its name in specs: what differs from the defaults, so that a new option renames none."""
        values = {
            item.name: getattr(self, item.name)
            for item in fields(self)
            if item.name != "kind" and getattr(self, item.name) != item.default
        }
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
                raise InputError(f"there is no kind {kind}")
            return cls(kind=kind, **json.loads(bracket + rest))
        except (ValueError, TypeError) as error:
            raise InputError(f"{name}: is no name of a data set: {error}") from None

    @property
    def shaping(self) -> Shaping:
        """How a picture becomes an image."""
        return Shaping(
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
        """How the splits are made, for a person."""
        if self.rule == "folders":
            unused = f"; {self.unused:,} for validation are not used" if self.unused else ""
            return (
                f"by folders {self.folders}{unused}"
                if self.folders
                else "by folder, as the pictures lie"
            )
        order = f"numpy default_rng(0).permutation({self.train + self.test})"
        return f"random: {order}, the last {self.test} held out"

    @property
    def summary(self) -> str:
        """What it is, for a person."""
        what = f"LSUN {self.category}" if self.kind == "lsun" else "pictures of a folder or archive"
        crop = {"center": "central square", "none": "whole"}.get(
            str(self.crop), f"central {self.crop} pixels"
        )
        return f"{what} (sha256 {self.sha256}), {crop}, {self.resize} to {self.size}x{self.size}"
