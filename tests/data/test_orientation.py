"""Pictures are turned upright as their EXIF orientation says, in every format that carries one."""

import io

import numpy as np
import pytest
from PIL import Image

from bench.data import pictures
from bench.data.card import DataCard
from bench.data.external import read_external
from bench.data.pictures import Shaping

UPRIGHT = np.kron(
    np.array(
        [[[255, 0, 0], [0, 255, 0], [0, 0, 255]], [[0, 0, 0], [255, 255, 255], [255, 255, 0]]],
        np.uint8,
    ),
    np.ones((16, 16, 1), np.uint8),
)
"""Six squares of 16 pixels, each of its own colour: 32 high, 48 wide, and no turn or mirror leaves
it as it is.
"""

STORED = {
    1: UPRIGHT,
    2: UPRIGHT[:, ::-1],
    3: UPRIGHT[::-1, ::-1],
    4: UPRIGHT[::-1],
    5: UPRIGHT.transpose(1, 0, 2),
    6: UPRIGHT.transpose(1, 0, 2)[::-1],
    7: UPRIGHT.transpose(1, 0, 2)[::-1, ::-1],
    8: UPRIGHT.transpose(1, 0, 2)[:, ::-1],
}
"""How each orientation stores it. EXIF 2.3, table 6: 6 says that row 0 is the right side and column
0 the top.
"""

FORMS = {
    "a.jpg": ("JPEG", {"quality": 95, "subsampling": 0}),
    "a.png": ("PNG", {}),
    "a.webp": ("WEBP", {"lossless": True}),
    "a.tif": ("TIFF", {}),
    "b.tif": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    "c.tif": ("TIFF", {"compression": "tiff_lzw"}),
}
COLOUR = DataCard(
    version=1,
    summary="",
    shape=(3, 32, 48),
    levels=256,
    splits={},
    split_rule="",
    load=lambda split: np.empty(0),
)


def stored(array, form, options, orientation):
    exif, stream = Image.Exif(), io.BytesIO()
    if orientation is not None:
        exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(array)).save(stream, form, exif=exif.tobytes(), **options)
    return stream.getvalue()


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("name", FORMS)
def test_every_orientation_of_every_format_is_turned_upright(tmp_path, name, orientation):
    content = stored(STORED[orientation], *FORMS[name], orientation)
    (tmp_path / name).write_bytes(content)
    near = {"rtol": 0, "atol": 4 if name == "a.jpg" else 0}
    np.testing.assert_allclose(
        read_external(tmp_path, COLOUR)[0].transpose(1, 2, 0).astype(int), UPRIGHT, **near
    )
    (image,) = pictures.read(tmp_path, [name], Shaping(size=32))
    np.testing.assert_allclose(image[0].transpose(1, 2, 0).astype(int), UPRIGHT[:, 8:40], **near)
    (grey,) = pictures.read(tmp_path, [name], Shaping(size=32, channels=1))
    expected = np.asarray(Image.fromarray(UPRIGHT).convert("L"))[:, 8:40]
    np.testing.assert_allclose(grey[0, 0].astype(int), expected, **near)


def test_orientation_of_xmp_counts_too(tmp_path):
    note = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf tiff:Orientation="6"/></x:xmpmeta>'
    Image.fromarray(np.ascontiguousarray(STORED[6])).save(
        tmp_path / "a.webp", "WEBP", lossless=True, xmp=note
    )
    np.testing.assert_array_equal(read_external(tmp_path, COLOUR)[0].transpose(1, 2, 0), UPRIGHT)


@pytest.mark.parametrize("orientation", [None, 0, 9, 65535])
def test_no_orientation_and_none_that_there_is_leave_a_picture_as_it_is(tmp_path, orientation):
    (tmp_path / "a.png").write_bytes(stored(UPRIGHT, "PNG", {}, orientation))
    np.testing.assert_array_equal(read_external(tmp_path, COLOUR)[0].transpose(1, 2, 0), UPRIGHT)


@pytest.mark.parametrize(
    "note",
    [b"", b"Exif\0\0", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"II*\0\xff\xff\xff\xff", b"\xff" * 40],
)
def test_damaged_notes_leave_a_picture_as_it_is(tmp_path, note, recwarn):
    Image.fromarray(UPRIGHT).save(tmp_path / "a.webp", "WEBP", lossless=True, exif=note)
    np.testing.assert_array_equal(read_external(tmp_path, COLOUR)[0].transpose(1, 2, 0), UPRIGHT)
    assert not recwarn.list


def test_turned_picture_of_the_other_shape_is_refused(tmp_path):
    (tmp_path / "a.png").write_bytes(stored(STORED[1], "PNG", {}, 6))
    with pytest.raises(
        ValueError, match=r"a\.png: is 32x48 pixels, asked for are 48x32; nothing is resized"
    ):
        read_external(tmp_path, COLOUR)
