"""Images made elsewhere, read as a sample set: an ``.npz`` file or a folder of PNG files.

- ``.npz``: the array ``images``, else ``arr_0``, else the only one; shape (N, C, H, W) or (N, H, W, C); uint8 in
  0, ..., levels - 1, or floats in [0, 1], which are rounded to these levels (:mod:`bench.scale` has other scales).
  Pickled objects are never read.
- Of a data set of real values, the ``.npz`` holds floats in its own units, of shape (N, C, H, W) or (N, C H W).
- Folder: every ``*.png`` directly in it, by name; 8-bit grey or RGB as the data set has channels, white at 255.
"""

import zipfile
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from bench.data import DataCard
from bench.scale import PICTURE_WHITE, Scale, check_finite, to_levels

NAMES = ("images", "arr_0")
"""Arrays looked for in an .npz file, in this order."""


def read_external(path: str | Path, data: DataCard, scale: Scale | None = None) -> np.ndarray:
    """Returns the images of a file or folder as the data set stores its own, shape (N, C, H, W).

    That is uint8 in 0, ..., ``data.levels`` - 1, or float32 where its values are real.

    Args:
        path: Where they lie.
        data: The data set that they are to be like.
        scale: The values of black and white in them; None: as usual (:mod:`bench.scale`).

    Raises:
        FileNotFoundError: Nothing lies at ``path``.
        ValueError: What lies there does not fit the data set; the message names the file and a remedy.
    """
    path = Path(path)
    if path.is_dir() and data.kind == "real":
        raise ValueError(f"{path}: PNG files hold no real values; use an .npz file")
    if path.is_dir():
        return to_levels(_read_folder(path, data), data.levels, path, scale, usual_white=PICTURE_WHITE)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder of images")
    if path.suffix != ".npz":
        raise ValueError(f"{path}: should be an .npz file or a folder of .png files")
    if data.kind == "real":
        return _real(_read_array(path), data, path)
    return to_levels(_order_axes(_read_array(path), data, path), data.levels, path, scale)


def _read_array(path: Path) -> np.ndarray:
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path}: not a readable .npz file (empty, cut short or of another kind); use numpy.savez")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            name = next((name for name in NAMES if name in arrays.files), None)
            if name is None and len(arrays.files) != 1:
                found = ", ".join(arrays.files) or "none"
                raise ValueError(f"which array holds the images? name it {NAMES[0]} (arrays: {found})")
            return arrays[name or arrays.files[0]]
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError) as error:
        raise ValueError(f"{path}: not a readable .npz file ({error}); write it again with numpy.savez") from error
    except ValueError as error:  # numpy's own: pickled objects, a broken header
        raise ValueError(f"{path}: {error}; save one plain uint8 array of shape (N, C, H, W)") from error


def _order_axes(images: np.ndarray, data: DataCard, path: Path) -> np.ndarray:
    channels, height, width = data.shape
    if images.ndim == 4 and len(images):
        if images.shape[1:] == (channels, height, width):
            return images
        if images.shape[1:] == (height, width, channels):
            return images.transpose(0, 3, 1, 2)
    raise ValueError(
        f"{path}: images have shape {images.shape}; this data set asks for (N, {channels}, {height}, {width}) or "
        f"(N, {height}, {width}, {channels}) with N > 0"
    )


def _real(values: np.ndarray, data: DataCard, path: Path) -> np.ndarray:
    if values.ndim == 2 and values.shape[1] == np.prod(data.shape):
        values = values.reshape(-1, *data.shape)
    if values.dtype.kind != "f":
        raise ValueError(f"{path}: dtype {values.dtype}; save floats in the data set's own units")
    check_finite(values, path)
    return _order_axes(values, data, path).astype(np.float32)


def _read_folder(folder: Path, data: DataCard) -> np.ndarray:
    files = sorted((path for path in folder.iterdir() if path.suffix.lower() == ".png"), key=lambda path: path.name)
    if not files:
        raise ValueError(f"{folder}: no .png files in this folder (folders below it are not searched)")
    return np.stack([_read_png(path, data) for path in files])


def _read_png(path: Path, data: DataCard) -> np.ndarray:
    channels, height, width = data.shape
    modes = {1: "L", 3: "RGB"}
    if channels not in modes:
        raise ValueError(f"{path.parent}: PNG files cannot hold this data set's {channels} channels; use an .npz file")
    try:
        with Image.open(path, formats=["PNG"]) as image:
            image.load()
            mode, size, pixels = image.mode, image.size, np.asarray(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path}: not a readable PNG image ({error}); write it again or take it out") from error
    if mode != modes[channels]:
        raise ValueError(f"{path}: is of Pillow mode {mode}, asked for is 8-bit {modes[channels]}; convert it")
    if size != (width, height):
        raise ValueError(f"{path}: is {size[0]}x{size[1]} pixels, asked for are {width}x{height}; nothing is resized")
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)
