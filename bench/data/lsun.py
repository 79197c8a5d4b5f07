"""LSUN: one category as its exporter leaves it, folders or archives of pictures.

    dataset: {name: lsun, category: bedroom, size: 64}

Source: Yu et al., 2015, https://arxiv.org/abs/1506.03365; https://github.com/fyu/lsun.

Standard library only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from bench.data.fault import InputError
from bench.data.pictures import Filter, check_lengths
from bench.frozen import dataclass

HOW = (
    "get lmdb files of https://github.com/fyu/lsun, export them by its data.py (python data.py "
    "export FILE --out_dir FOLDER) and put the folders there"
)
WORDS = {"train": "train", "test": "val"}
"""How the folder of each split ends."""


@dataclass(frozen=True, kw_only=True)
class Lsun:
    """One category of LSUN as its exporter leaves it: folders ``lsun/<category>_train`` and
    ``_val``, or archives.

    Args:
        category: ``bedroom``, ``church_outdoor``, ...
        size: Height and width of the images in pixels.
        crop: Central square of a picture that is kept: a side in pixels, ``center`` for the largest
            one, ``none`` for pictures that are square already.
        resize: Pillow's filter that makes the square an image.
        flips: Whether training mirrors images.
    """

    category: str
    size: int
    crop: Literal["center", "none"] | int = "center"
    resize: Filter = "bicubic"
    flips: bool = True

    def __post_init__(self) -> None:
        check_lengths(self.size, self.crop)
        if not self.category or "/" in self.category or self.category.startswith("."):
            raise ValueError("category should be a name such as bedroom")

    @property
    def title(self) -> str:
        """What a person calls it."""
        return self.category

    @property
    def random(self) -> bool:
        """Whether the split is drawn at random: never, its authors made one."""
        return False

    def places(self, root: Path) -> dict[str, Path]:
        """Returns where the pictures of each split lie.

        Raises:
            ValueError: Nothing lies there.
        """
        places = {}
        for split, word in WORDS.items():
            base = root / "lsun" / f"{self.category}_{word}"
            options = (base, base.with_name(f"{base.name}.zip"))
            place = next((option for option in options if option.exists()), None)
            if place is None:
                raise InputError(f"nothing lies at {base} or at {base}.zip: {HOW}")
            places[split] = place
        return places
