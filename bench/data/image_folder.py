"""A data set of pictures that a suite names by path: any folder or zip archive.

    dataset: {name: image_folder, path: photos.zip, size: 64, crop: center}

Standard library only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from bench.data.fault import InputError
from bench.data.filenames import printable
from bench.data.pictures import Filter, check_lengths
from bench.frozen import dataclass


@dataclass(frozen=True, kw_only=True)
class ImageFolder:
    """A folder, searched through and through, or a zip archive of pictures.

    Args:
        path: Where it lies, below the data root or else the working folder.
        size: Height and width of the images in pixels.
        crop: Central square of a picture that is kept: a side in pixels, ``center`` for the largest
            one, ``none`` for pictures that are square already.
        resize: Pillow's filter that makes the square an image.
        channels: 3 for RGB, 1 for grey.
        flips: Whether training mirrors images.
        split: "folders" to hold out what folders named test or val hold (:mod:`bench.data.splits`),
            a random share if there are none; "random" for a random share whatever folders are
            called.
        test: Share of the pictures that is held out if that is drawn at random.
        scale: The value of white in the files; null: 255, and pictures of which no value is above 1
            are refused.
    """

    path: str
    size: int
    crop: Literal["center", "none"] | int = "center"
    resize: Filter = "bicubic"
    channels: Literal[1, 3] = 3
    flips: bool = False
    split: Literal["folders", "random"] = "folders"
    test: float = 0.1
    scale: int | None = None

    def __post_init__(self) -> None:
        check_lengths(self.size, self.crop)
        if not 0 < self.test < 1:
            raise ValueError(
                "test should be between 0 and 1: the share of the pictures that is held out"
            )
        if self.scale is not None and not 1 <= self.scale <= 255:
            raise ValueError("scale should be the value of white in the files, from 1 to 255")

    @property
    def title(self) -> str:
        """What a person calls it."""
        return self.path

    @property
    def random(self) -> bool:
        """Whether the split is drawn at random even if there are folders for one."""
        return self.split == "random"

    def places(self, root: Path) -> dict[str, Path]:
        """Returns where the pictures of all splits lie, under the name "".

        Raises:
            ValueError: Nothing lies there, below the data root or the working folder.
        """
        if not self.path.strip():
            raise InputError("path is empty: name a folder or .zip of pictures")
        places = list(dict.fromkeys([root / self.path, Path.cwd() / self.path]))
        try:
            place = next((place for place in places if place.exists()), None)
        except OSError as error:
            raise InputError(
                f"{printable(self.path)} cannot be looked for ({error.strerror})"
            ) from None
        if place is None:
            raise InputError(f"nothing lies at {' or at '.join(map(printable, places))}")
        return {"": place}
