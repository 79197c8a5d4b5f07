"""What pictures claim of themselves is checked before they are decoded; unfit and damaged ones are
one line.
"""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageFile
from refusals import COLOUR, refusal

from bench.data import pictures
from bench.data.external import read_external
from bench.data.pictures import Shaping


def png(width, height, bits=8):
    def chunk(name, body):
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    header = chunk(b"IHDR", struct.pack(">2I5B", width, height, bits, 2, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n"
        + header
        + chunk(b"IDAT", zlib.compress(b"\0" * 100))
        + chunk(b"IEND", b"")
    )


LARGE = {
    "a.png": png(10_000, 10_000),
    "b.png": png(2**31 - 1, 2**31 - 1),
    "c.ppm": b"P6 60000 60000 255\n",
    "d.bmp": b"BM"
    + struct.pack("<IHHI", 54, 0, 0, 54)
    + struct.pack("<IiiHHIIiiII", 40, 30_000, 30_000, 1, 24, *[0] * 6),
}


@pytest.mark.parametrize("name", LARGE)
def test_picture_that_claims_too_many_pixels_is_refused_before_it_is_decoded(
    tmp_path, name, monkeypatch
):
    (tmp_path / name).write_bytes(LARGE[name])
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("was decoded"))
    with pytest.raises(ValueError, match=rf"{name}: cannot be decoded \(.*exceeds limit of"):
        list(pictures.read(tmp_path, [name], Shaping(size=8)))
    with pytest.raises(ValueError, match=rf"{name}: cannot be decoded \(.*exceeds limit of"):
        read_external(tmp_path, COLOUR)


def test_sample_of_another_size_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(png(9000, 9000))
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("was decoded"))
    with pytest.raises(
        ValueError, match=r"a\.png: is 9000x9000 pixels, asked for are 8x8; nothing is resized"
    ):
        read_external(tmp_path, COLOUR)


def test_picture_that_holds_less_than_it_claims_is_refused(tmp_path):
    (tmp_path / "a.png").write_bytes(png(500, 500))
    with pytest.raises(ValueError, match=r"a\.png: cannot be decoded \("):
        list(pictures.read(tmp_path, ["a.png"], Shaping(size=8)))


@pytest.mark.parametrize(
    ("name", "form"), [("a.tif", "TIFF"), ("a.webp", "WEBP"), ("a.png", "PNG")]
)
def test_file_of_several_pictures_is_refused(tmp_path, name, form):
    first, second = (Image.new("RGB", (8, 8), colour) for colour in ("red", "blue"))
    first.save(tmp_path / name, form, save_all=True, append_images=[second])
    for look in (
        lambda: list(pictures.read(tmp_path, [name], Shaping(size=8))),
        lambda: read_external(tmp_path, COLOUR),
    ):
        with pytest.raises(
            ValueError, match=rf"{name}: holds 2 pictures: save each as a file of its own"
        ):
            look()


UNFIT = {
    "empty.png": (b"", r"empty\.png: cannot be decoded \(it is empty\)"),
    "text.png": (b"hello", r"text\.png: cannot be decoded \(it is none of JPEG, PNG"),
    "sixteen.png": (
        Image.new("I;16", (8, 8)),
        r"mode I;16: convert it|mode I;16, asked for is 8-bit RGB; convert it",
    ),
    "deep.png": (
        png(8, 8, 16),
        r"deep\.png: has 16 bits a channel: convert it to 8-bit RGB or grey",
    ),
    "alpha.png": (
        Image.new("RGBA", (8, 8)),
        r"mode RGBA: convert it|mode RGBA, asked for is 8-bit RGB; convert it",
    ),
    "floats.tif": (
        Image.new("F", (8, 8)),
        r"mode F: convert it|mode F, asked for is 8-bit RGB; convert it",
    ),
}


@pytest.mark.parametrize("name", UNFIT)
def test_unfit_pictures_are_named_by_both_readers(tmp_path, name):
    content, message = UNFIT[name]
    (tmp_path / name).write_bytes(content) if isinstance(content, bytes) else content.save(
        tmp_path / name
    )
    for look in (
        lambda: list(pictures.read(tmp_path, [name], Shaping(size=8))),
        lambda: read_external(tmp_path, COLOUR),
    ):
        with pytest.raises(ValueError, match=message):
            look()


def test_damaged_pictures_never_end_in_anything_but_one_line():
    draw = np.random.default_rng(0)
    picture = Image.fromarray(draw.integers(0, 256, (8, 8, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    for form in pictures.FORMATS:
        stream = io.BytesIO()
        picture.save(
            stream, form, **({"exif": exif.tobytes()} if form not in ("BMP", "PPM") else {})
        )
        for _ in range(40):
            content = bytearray(stream.getvalue())
            for place in draw.integers(0, len(content), 1 + draw.integers(8)):
                content[place] = draw.integers(256)
            content = (
                content[: draw.integers(1, len(content) + 1)] if draw.random() < 0.3 else content
            )
            said = refusal(lambda content=content: pictures.decode("a", bytes(content)))
            assert said is None or said.startswith("a: ")
