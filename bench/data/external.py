"""Images made elsewhere, read as a sample set: an ``.npz`` file, or a folder or ``.zip`` of
pictures.

- ``.npz``: the array ``images``, else ``arr_0``, else the only one; shape (N, C, H, W) or (N, H, W,
  C); uint8 in 0, ..., levels - 1, or floats in [0, 1], which are rounded to these levels
  (:mod:`bench.data.scale` has other scales). Pickled objects are never read.
- Of a data set of real values, the ``.npz`` holds floats in its own units, of shape (N, C, H, W) or
  (N, C H W).
- Folder or zip archive: every picture anywhere in it, by name (:mod:`bench.data.collection`);
  upright, 8-bit grey or RGB as the data set has channels and of its size, white at 255.

What a file claims of itself (the shape of an array, the size of a picture) is compared with what is
asked for and with what is there before memory is taken for it.
"""

import math
import os
from pathlib import Path

import numpy as np

from bench.data.archive import ARCHIVE_ERRORS
from bench.data.card import DataCard
from bench.data.collection import collect, contents
from bench.data.filenames import printable
from bench.data.npz import NpzHeader, npz_header
from bench.data.pictures import decode
from bench.data.scale import PICTURE_WHITE, Scale, check_finite, to_levels


def read_external(path: str | Path, data: DataCard, scale: Scale | None = None) -> np.ndarray:
    """Returns the images of a file or folder as the data set stores its own, shape (N, C, H, W).

    That is uint8 in 0, ..., ``data.levels`` - 1, or float32 where its values are real.

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
            raise FileNotFoundError(f"{printable(path)}: no such file or folder of images")
        values = _read_array(path, data)
        return (
            _real(values, path)
            if data.kind == "real"
            else to_levels(values, data.levels, path, scale)
        )
    if not path.exists():
        raise FileNotFoundError(f"{printable(path)}: no such file or folder of images")
    if not path.is_dir() and path.suffix.lower() != ".zip":
        raise ValueError(
            f"{printable(path)}: should be an .npz file, or a folder or .zip of pictures"
        )
    if data.kind == "real":
        raise ValueError(f"{printable(path)}: pictures hold no real values; use an .npz file")
    return to_levels(_read_folder(path, data), data.levels, path, scale, usual_white=PICTURE_WHITE)


def _read_array(path: Path, data: DataCard) -> np.ndarray:
    """Returns the array of images, axes in order; its header is checked before it is read."""
    header = npz_header(path)
    order = _axes(header.shape, data, path)
    _check_memory(header, path)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            images = arrays[header.name]
    except (*ARCHIVE_ERRORS, ValueError) as error:
        why = printable(str(error))
        raise ValueError(
            f"{printable(path)} is not an .npz file that can be read ({why}); write it again with numpy.savez"
        ) from error
    return images.reshape(len(images), *data.shape) if order is None else images.transpose(order)


def _check_memory(header: NpzHeader, path: Path) -> None:
    needed = math.prod(header.shape) * header.item
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > there:
        raise ValueError(
            f"{printable(path)}: {header.name} takes {needed / 1e9:,.1f} GB, and this machine has {there / 1e9:,.1f} GB; "
            "save fewer images, or uint8"
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
    raise ValueError(
        f"{printable(path)}: images have shape {shape}; this data set asks for (N, {channels}, {height}, {width}) or "
        f"(N, {height}, {width}, {channels}) with N > 0"
    )


def _real(values: np.ndarray, path: Path) -> np.ndarray:
    if values.dtype.kind != "f":
        raise ValueError(f"{path}: dtype {values.dtype}; save floats in the data set's own units")
    check_finite(values, path)
    return values.astype(np.float32)


def _read_folder(path: Path, data: DataCard) -> np.ndarray:
    """Returns the pictures of a folder or archive as they are stored, uint8 of shape (N, C, H,
    W).
    """
    if data.shape[0] not in MODES:
        raise ValueError(
            f"{printable(path)}: pictures cannot hold this data set's {data.shape[0]} channels; use an .npz file"
        )
    return np.stack(
        [_picture(where, content, data) for where, content in contents(path, collect(path).names)]
    )


MODES = {1: "L", 3: "RGB"}
"""Pillow's mode of 8-bit pictures by their channels."""


def _picture(where: str, content: bytes, data: DataCard) -> np.ndarray:
    """Returns one picture as it is stored, upright: uint8 of shape (C, H, W)."""
    channels, height, width = data.shape
    picture = decode(where, content, (width, height))
    if picture.mode != MODES[channels] or "transparency" in picture.info:
        told = f"{picture.mode}{', with transparency' if 'transparency' in picture.info else ''}"
        raise ValueError(
            f"{where}: is of Pillow mode {told}, asked for is 8-bit {MODES[channels]}; convert it"
        )
    if picture.size != (width, height):
        found = f"{picture.size[0]}x{picture.size[1]}"
        raise ValueError(
            f"{where}: is {found} pixels, asked for are {width}x{height}; nothing is resized"
        )
    pixels = np.asarray(picture)
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)
