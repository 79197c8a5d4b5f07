"""Folders and zip archives of pictures, cropped and resized to one shape: CelebA, LSUN, or any.

A picture becomes an image in four steps: it is decoded (Pillow), turned upright as its EXIF
orientation says, cropped about its centre, and resized by Pillow's filter, which averages over what
a new pixel covers. Rounding to levels is Pillow's, at the end of each pass of the filter; so do
the papers' pipelines that call ``torchvision.transforms`` on Pillow images.

If the rows and columns cut off are odd in number, the one left over goes as Python rounds
halves: to the even side.

Standard library alone until a picture is read.
"""

from __future__ import annotations

import contextlib
import io
import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from bench.data.collection import VERSION, contents
from bench.data.fault import InputError
from bench.data.filenames import printable
from bench.frozen import dataclass

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

Filter = Literal["bilinear", "bicubic", "lanczos", "box"]
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "PPM", "TIFF")
SEVERAL = ("PNG", "WEBP", "TIFF")
"""Formats of which one file may hold several pictures; of a JPEG file's, all but the first are
previews.
"""


def check_lengths(size: int, crop: str | int) -> None:
    """Raises ValueError for a size or a crop below one pixel."""
    if size < 1 or (isinstance(crop, int) and crop < 1):
        raise InputError("size and crop should be at least 1 pixel")


@dataclass(frozen=True, kw_only=True)
class Shaping:
    """How a picture becomes an image.

    Args:
        size: Height and width of the image.
        crop: Height and width of the central square that is kept: a number of pixels, "center" for
            the largest there is, "none" for pictures that are square already.
        resize: Pillow's filter.
        channels: 3 for RGB, 1 for grey.
        white: The value of white in the files; None: 255, as usual.
        widths: The widths that a picture may have; empty for any.
    """

    size: int
    crop: Literal["center", "none"] | int = "center"
    resize: Filter = "bicubic"
    channels: Literal[1, 3] = 3
    white: int | None = None
    widths: tuple[int, ...] = ()

    @property
    def rule(self) -> str:
        """Names all that an image depends on beside its picture."""
        white = "" if self.white is None else f", white {self.white}"
        how = f"crop {self.crop}, {self.resize} to {self.size}, {self.channels} channels{white}"
        return f"pictures {VERSION}: {how}"

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return self.channels, self.size, self.size


def read(path: Path, chosen: Sequence[str], shaping: Shaping) -> Iterator[np.ndarray]:
    """Yields chosen pictures of a folder or zip archive one by one, uint8 of shape (1, C, H, W).

    Raises:
        FileNotFoundError: A picture is not there.
        ValueError: A picture cannot be decoded or cropped; the message names it and the remedy.
    """
    for where, content in contents(path, chosen):
        yield _image(where, content, shaping)


def decode(where: str, content: bytes, size: tuple[int, int] | None = None) -> Image.Image:
    """Returns a file's picture, decoded and upright, after its claimed size has been checked.

    Args:
        where: Names it in messages.
        content: The file.
        size: Width and height that it should have, before or after it is turned; None: any.

    Raises:
        ValueError: It cannot be decoded, is too large, or one of several; the message names it and
            the remedy.
    """
    from PIL import Image, ImageOps

    if not content:
        raise InputError(f"{where}: cannot be decoded (it is empty): get it again, or take it out")
    with _decoding(where):
        picture = Image.open(io.BytesIO(content), formats=FORMATS)
        frames = (
            picture.n_frames if picture.format in SEVERAL and hasattr(picture, "n_frames") else 1
        )
    if frames > 1:
        raise InputError(
            f"{where}: holds {frames} pictures: save each as a file of its own, or take it out"
        )
    # Of 16 bits a channel, Pillow would drop half
    if picture.format == "PNG" and content[24:25] == b"\x10" and picture.mode == "RGB":
        raise InputError(
            f"{where}: has 16 bits a channel: convert it to 8-bit RGB or grey, or take it out"
        )
    if size is not None and picture.size not in (size, size[::-1]):
        actual, asked = ("x".join(map(str, lengths)) for lengths in (picture.size, size))
        raise InputError(f"{where}: is {actual} pixels, asked for are {asked}; nothing is resized")
    with _decoding(where):
        picture.load()
        with contextlib.suppress(*UNREADABLE):  # without readable notes the pixels are whole
            ImageOps.exif_transpose(picture, in_place=True)
    return picture


@contextlib.contextmanager
def _decoding(where: str) -> Iterator[None]:
    """Raises ValueError for what damaged and too large pictures make Pillow raise."""
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of damaged notes beside the pixels
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    except UnidentifiedImageError:
        formats = ", ".join(FORMATS)
        raise InputError(
            f"{where}: cannot be decoded (it is none of {formats}): get it again, or take it out"
        ) from None
    except (*UNREADABLE, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        why = printable(str(error))
        raise InputError(
            f"{where}: cannot be decoded ({why}): get it again, or take it out"
        ) from error


UNREADABLE = (
    *(OSError, SyntaxError, ValueError, TypeError, EOFError, OverflowError, IndexError, KeyError),
    *(struct.error, zlib.error),
)
"""What damaged pictures make Pillow raise."""


def _image(where: str, content: bytes, shaping: Shaping) -> np.ndarray:
    import numpy as np

    picture = decode(where, content)
    transparent = ", with transparency" if "transparency" in picture.info else ""
    if picture.mode not in ("RGB", "L", "P", "1", "CMYK", "YCbCr") or transparent:
        raise InputError(
            f"{where}: has mode {picture.mode}{transparent}: convert it to 8-bit RGB or grey, or "
            "take it out"
        )
    mode = "RGB" if shaping.channels == 3 else "L"
    if picture.mode != mode:
        picture = picture.convert(mode)
    try:
        image = shape(picture if shaping.white is None else whiten(picture, shaping.white), shaping)
    except ValueError as error:
        raise InputError(f"{where}: {error}") from None
    pixels = np.asarray(image)
    return (pixels[None] if shaping.channels == 1 else pixels.transpose(2, 0, 1))[None]


def whiten(picture: Image.Image, white: int) -> Image.Image:
    """Returns an 8-bit picture, whose white is the value ``white``, with white at 255.

    Raises:
        ValueError: It holds values above that.
    """
    bands = picture.split()
    most = max(cast(float, band.getextrema()[1]) for band in bands)
    if most > white:
        raise InputError(
            f"has values up to {most}, above the white of scale: {white}; give theirs, or take it "
            "out"
        )
    return picture.point(
        [min(255, round(value * 255 / white)) for value in range(256)] * len(bands)
    )


def shape(picture: Image.Image, shaping: Shaping) -> Image.Image:
    """Returns a picture cropped and resized.

    Raises:
        ValueError: It is smaller than the crop, or not square if nothing is cropped.
    """
    from PIL import Image

    width, height = picture.size
    if shaping.widths and width not in shaping.widths:
        asked = " or ".join(map(str, sorted(shaping.widths)))
        raise InputError(f"is {width}x{height} pixels, and its width should be {asked}")
    if shaping.crop == "none" and width != height:
        raise InputError(
            f"is {width}x{height} pixels: with crop none pictures should be square; take crop "
            "center"
        )
    side = min(width, height) if isinstance(shaping.crop, str) else shaping.crop
    if side > min(width, height):
        raise InputError(
            f"is {width}x{height} pixels, fewer than the {side}x{side} that are cropped: take it "
            "out"
        )
    left, top = round((width - side) / 2), round((height - side) / 2)
    picture = picture.crop((left, top, left + side, top + side))
    if side == shaping.size:
        return picture
    return picture.resize((shaping.size, shaping.size), Image.Resampling[shaping.resize.upper()])
