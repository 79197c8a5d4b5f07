"""Images made elsewhere, read as a sample set: an ``.npz`` file, or a folder or ``.zip`` of
pictures.

- ``.npz``: the array ``images``, else ``arr_0``, else the only one; shape (N, C, H, W) or (N, H, W,
  C); uint8 in 0, ..., levels - 1, or floats in [0, 1], which are rounded to these levels
  (:mod:`bench.data.scale` has other scales). Pickled objects are never read.
- Of a data set of real values, the ``.npz`` holds floats in its own units, of shape (N, C, H, W) or
  (N, C H W).
- Folder or zip archive: every picture anywhere in it, by name (:mod:`bench.data.collection`);
  upright, 8-bit grey or RGB like the data set and of its size, white at 255.

What a file claims of itself (the shape of an array, the size of a picture) is compared with what is
asked for and with what is there before memory is taken for it.

Standard library alone until images are read: a suite is planned from their number and digest.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

from bench.data.archive import archive_errors
from bench.data.card import DataCard
from bench.data.collection import VERSION, collect, contents
from bench.data.digest import digest_known
from bench.data.fault import InputError, MissingError
from bench.data.filenames import printable
from bench.data.npz import NpzHeader, npz_header
from bench.data.pictures import decode
from bench.data.scale import PICTURE_WHITE, Scale, check_finite, to_levels

if TYPE_CHECKING:
    import numpy as np


def count_images(path: Path) -> int:
    """Returns the number of images at ``path``: of pictures in a folder or archive, of rows of the
    array in an .npz.

    Raises:
        ValueError: There are none, or something cannot be read.
    """
    return npz_header(path).shape[0] if _is_array(path) else len(collect(path).names)


def what_is_left_out(path: Path) -> str:
    """Returns what of a folder or archive is not read, by kind; empty if nothing is, and for an
    .npz.

    Raises:
        ValueError: As :func:`count_images`.
    """
    return "" if _is_array(path) else collect(path).what_is_left_out


def _is_array(path: Path) -> bool:
    """Whether it is an .npz; otherwise it is a folder or archive.

    Raises:
        ValueError: It is neither.
    """
    try:
        folder, file = path.is_dir(), path.is_file()
    except OSError as error:
        raise InputError(f"{printable(path)}: cannot be read ({error.strerror})") from None
    if folder:
        return False
    if not file:
        raise InputError(f"there is no folder or file {printable(path)}")
    if path.suffix.lower() not in (".npz", ".zip"):
        raise InputError(
            f"{printable(path)} should be a folder or .zip of pictures or an .npz file"
        )
    return path.suffix.lower() == ".npz"


def digest_images(path: Path, cache: Path | None = None) -> str:
    """Returns the sha256 of the images at ``path``, 64 hexadecimal digits.

    Args:
        path: A folder of pictures, taken in the order of their names, a zip archive of them, or an
            .npz.
        cache: Folder that remembers digests by path, size, times, inode and device; None: always
            read the files.

    Raises:
        ValueError: There are no images at ``path``, or something below it cannot be read.
    """
    path = path.absolute()
    if _is_array(path):
        return digest_known(path, [path], cache)
    return digest_known(path, collect(path).files, cache, rule=f"pictures {VERSION}\n")


def read_external(path: str | Path, data: DataCard, scale: Scale | None = None) -> np.ndarray:
    """Returns the images of a file or folder as the data set stores its own, shape (N, C, H, W).

    That is uint8 in 0, ..., ``data.levels`` - 1, or float32 if its values are real.

    Args:
        path: Where they lie.
        data: The data set that they are to be like.
        scale: The values of black and white in them; None: as usual (:mod:`bench.data.scale`).

    Raises:
        FileNotFoundError: Nothing lies at ``path``.
        ValueError: What lies there does not fit the data set; the message names the file and a
            remedy.
    """
    path = Path(path)
    if path.suffix.lower() == ".npz" and not path.is_dir():
        if not path.exists():
            raise MissingError(f"{printable(path)}: no such file or folder of images")
        values = _read_array(path, data)
        return (
            _real(values, path)
            if data.kind == "real"
            else to_levels(values, data.levels, path, scale)
        )
    if not path.exists():
        raise MissingError(f"{printable(path)}: no such file or folder of images")
    if not path.is_dir() and path.suffix.lower() != ".zip":
        raise InputError(
            f"{printable(path)}: should be an .npz file, or a folder or .zip of pictures"
        )
    if data.kind == "real":
        raise InputError(f"{printable(path)}: pictures hold no real values; use an .npz file")
    return to_levels(_read_folder(path, data), data.levels, path, scale, usual_white=PICTURE_WHITE)


def _read_array(path: Path, data: DataCard) -> np.ndarray:
    """Returns the array of images, axes in order; its header is checked before it is read."""
    import numpy as np

    header = npz_header(path)
    order = _axes(header.shape, data, path)
    _check_memory(header, path)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            images = arrays[header.name]
    except archive_errors(ValueError) as error:
        why = printable(str(error))
        raise InputError(
            f"{printable(path)} is not an .npz file that can be read ({why}); write it again with "
            "numpy.savez"
        ) from error
    return images.reshape(len(images), *data.shape) if order is None else images.transpose(order)


def _check_memory(header: NpzHeader, path: Path) -> None:
    needed = math.prod(header.shape) * header.item
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > there:
        raise InputError(
            f"{printable(path)}: {header.name} takes {needed / 1e9:,.1f} GB, and this machine has "
            f"{there / 1e9:,.1f} GB; save fewer images, or uint8"
        )


def _axes(shape: tuple[int, ...], data: DataCard, path: Path) -> tuple[int, ...] | None:
    """Returns the order of axes that makes images of the data set of an array; None where it is to
    be reshaped.

    Raises:
        ValueError: It holds no such images.
    """
    channels, height, width = data.shape
    if data.kind == "real" and len(shape) == 2 and shape[1] == math.prod(data.shape) and shape[0]:
        return None
    if len(shape) == 4 and shape[0]:
        if shape[1:] == (channels, height, width):
            return (0, 1, 2, 3)
        if shape[1:] == (height, width, channels):
            return (0, 3, 1, 2)
    raise InputError(
        f"{printable(path)}: images have shape {shape}; this data set asks for (N, {channels}, "
        f"{height}, {width}) or (N, {height}, {width}, {channels}) with N > 0"
    )


def _real(values: np.ndarray, path: Path) -> np.ndarray:
    if values.dtype.kind != "f":
        raise InputError(f"{path}: dtype {values.dtype}; save floats in the data set's own units")
    check_finite(values, path)
    return values.astype("float32")


def _read_folder(path: Path, data: DataCard) -> np.ndarray:
    """Returns the pictures of a folder or archive, uint8 of shape (N, C, H, W)."""
    import numpy as np

    if data.shape[0] not in MODES:
        raise InputError(
            f"{printable(path)}: pictures cannot hold this data set's {data.shape[0]} channels; "
            "use an .npz file"
        )
    return np.stack(
        [_picture(where, content, data) for where, content in contents(path, collect(path).names)]
    )


MODES = {1: "L", 3: "RGB"}
"""Pillow's mode of 8-bit pictures by their channels."""


def _picture(where: str, content: bytes, data: DataCard) -> np.ndarray:
    """Returns one picture as it is stored, upright: uint8 of shape (C, H, W)."""
    import numpy as np

    channels, height, width = data.shape
    picture = decode(where, content, (width, height))
    if picture.mode != MODES[channels] or "transparency" in picture.info:
        mode = f"{picture.mode}{', with transparency' if 'transparency' in picture.info else ''}"
        raise InputError(
            f"{where}: is of Pillow mode {mode}, asked for is 8-bit {MODES[channels]}; convert it"
        )
    if picture.size != (width, height):
        size = f"{picture.size[0]}x{picture.size[1]}"
        raise InputError(
            f"{where}: is {size} pixels, asked for are {width}x{height}; nothing is resized"
        )
    pixels = np.asarray(picture)
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)
