"""Smooth pictures, and the folders and archives that hold them."""

import io
import zipfile

import numpy as np
from PIL import Image


def picture(seed, width=178, height=218, mode="RGB"):
    """A smooth picture: what a JPEG file keeps."""
    draw = np.random.default_rng(seed)
    small = draw.integers(0, 256, (8, 6, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC).convert(mode)


def encoded(image, form="JPEG"):
    stream = io.BytesIO()
    image.save(stream, form)
    return stream.getvalue()


def zipped(path, files):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def unpacked(folder, files):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder
