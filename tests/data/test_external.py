import numpy as np
import pytest
from PIL import Image

from bench.data.card import DataCard
from bench.data.external import read_external
from bench.data.registry import DATASETS

DIGITS = DATASETS["digits"]
COLOUR = DataCard(
    version=1,
    summary="",
    shape=(3, 4, 5),
    levels=256,
    splits={},
    split_rule="",
    load=lambda split: np.empty(0),
)


@pytest.fixture
def levels():
    return np.random.default_rng(0).integers(0, 17, (6, 1, 8, 8)).astype(np.uint8)


def save(path, **arrays):
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize("name", ["images", "arr_0", "anything"])
def test_npz_of_levels_is_read_as_it_is(tmp_path, levels, name):
    read = read_external(save(tmp_path / "a.npz", **{name: levels}), DIGITS)
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, levels)


def test_array_called_images_wins_over_others(tmp_path, levels):
    path = save(tmp_path / "a.npz", labels=np.arange(6), arr_0=levels[:2], images=levels)
    np.testing.assert_array_equal(read_external(path, DIGITS), levels)


def test_channels_last_becomes_channels_first(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 5)).astype(np.uint8)
    read = read_external(save(tmp_path / "a.npz", images=images.transpose(0, 2, 3, 1)), COLOUR)
    np.testing.assert_array_equal(read, images)
    assert read.flags.c_contiguous


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_are_rounded_to_the_nearest_level(tmp_path, levels, dtype):
    shifted = (
        np.clip(levels + np.random.default_rng(1).uniform(-0.4, 0.4, levels.shape), 0, 16) / 16
    )
    np.testing.assert_array_equal(
        read_external(save(tmp_path / "a.npz", images=shifted.astype(dtype)), DIGITS), levels
    )


def test_grey_pngs_are_read_by_name_and_mapped_to_levels(tmp_path, levels):
    for i, image in enumerate(levels):
        Image.fromarray(np.rint(image[0] / 16 * 255).astype(np.uint8)).save(
            tmp_path / f"{i:03}.png"
        )
    (tmp_path / "notes.txt").write_text("not an image")
    np.testing.assert_array_equal(read_external(tmp_path, DIGITS), levels)


def test_colour_pngs_keep_their_channels(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (4, 5, 3)).astype(np.uint8)
    Image.fromarray(image).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_external(tmp_path, COLOUR), image.transpose(2, 0, 1)[None])


@pytest.mark.parametrize(
    ("array", "why"),
    [
        (
            np.zeros((2, 1, 9, 9), np.uint8),
            r"shape \(2, 1, 9, 9\); this data set asks for \(N, 1, 8, 8\)",
        ),
        (np.zeros((0, 1, 8, 8), np.uint8), "N > 0"),
        (np.zeros((8, 8), np.uint8), "shape"),
        (
            np.full((2, 1, 8, 8), 255, np.uint8),
            r"values lie in \[255, 255\], outside 0 \(black\) to 16 \(white\).*`scale: 255`",
        ),
        (np.zeros((2, 1, 8, 8), np.int64), "dtype int64; save uint8"),
        (np.zeros((2, 1, 8, 8), bool), "dtype bool"),
        (
            np.full((2, 1, 8, 8), -1.0),
            r"\[-1, -1\], outside 0 \(black\) to 1 \(white\).*`scale: \[-1, 1\]`",
        ),
        (np.full((2, 1, 8, 8), np.nan), "2 of 2 images hold NaN"),
        (
            np.array([{"a": 1}], dtype=object),
            "array of objects, which is never loaded.*save one plain uint8 array",
        ),
    ],
)
def test_wrong_arrays_are_named_with_a_remedy(tmp_path, array, why):
    path = save(tmp_path / "wrong.npz", images=array)
    with pytest.raises(ValueError, match=rf"wrong\.npz.*{why}"):
        read_external(path, DIGITS)


def test_ambiguous_arrays_are_listed(tmp_path):
    with pytest.raises(
        ValueError, match=r"b\.npz should hold an array called images; which .*arrays: x, y"
    ):
        read_external(save(tmp_path / "b.npz", x=np.zeros(1), y=np.zeros(1)), DIGITS)


def test_two_arrays_of_images_are_ambiguous_and_labels_are_not(tmp_path, levels):
    np.savez(tmp_path / "b.npz", levels, 16 - levels)
    with pytest.raises(
        ValueError,
        match=r"b\.npz holds several arrays like images, arr_0, arr_1; call .* meant images",
    ):
        read_external(tmp_path / "b.npz", DIGITS)
    np.savez(tmp_path / "c.npz", levels, np.arange(len(levels)))
    assert np.array_equal(read_external(tmp_path / "c.npz", DIGITS), levels)


@pytest.mark.parametrize("content", [b"", b"not a zip at all"])
def test_broken_npz_is_named(tmp_path, content):
    (tmp_path / "c.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"c\.npz is not an \.npz file that can be read"):
        read_external(tmp_path / "c.npz", DIGITS)


def test_truncated_npz_is_named(tmp_path, levels):
    path = save(tmp_path / "d.npz", images=levels)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match=r"d\.npz is not an \.npz file that can be read"):
        read_external(path, DIGITS)


def test_altered_npz_is_named(tmp_path, levels):
    path = save(tmp_path / "e.npz", images=levels)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"e\.npz is not an \.npz file that can be read"):
        read_external(path, DIGITS)


def test_nothing_there_and_other_files_are_told_apart(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none: no such file"):
        read_external(tmp_path / "none", DIGITS)
    (tmp_path / "a.jpg").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"a\.jpg: should be an \.npz file, or a folder"):
        read_external(tmp_path / "a.jpg", DIGITS)
    (tmp_path / "a.jpg").unlink()
    with pytest.raises(ValueError, match=r"holds no picture"):
        read_external(tmp_path, DIGITS)


@pytest.mark.parametrize(
    ("mode", "size", "why"),
    [
        ("RGB", (8, 8), "mode RGB, asked for is 8-bit L"),
        ("P", (8, 8), "mode P"),
        ("L", (9, 8), "is 9x8 pixels"),
    ],
)
def test_unfitting_pngs_are_named(tmp_path, mode, size, why):
    Image.new(mode, size).save(tmp_path / "bad.png")
    with pytest.raises(ValueError, match=rf"bad\.png: is .*{why}|bad\.png: {why}"):
        read_external(tmp_path, DIGITS)


def test_file_that_is_no_png_is_named(tmp_path):
    (tmp_path / "fake.png").write_bytes(b"GIF89a")
    with pytest.raises(ValueError, match=r"fake\.png: cannot be decoded"):
        read_external(tmp_path, DIGITS)


def test_truncated_png_is_named(tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8)).astype(np.uint8)).save(
        tmp_path / "cut.png"
    )
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:60])
    with pytest.raises(ValueError, match=r"cut\.png: cannot be decoded"):
        read_external(tmp_path, DIGITS)


def test_real_values_are_taken_as_they_are_in_either_shape(tmp_path):
    points = np.random.default_rng(0).normal(0, 20, (6, 2))
    for stored in (points, points.reshape(6, 2, 1, 1), points.reshape(6, 1, 1, 2)):
        read = read_external(save(tmp_path / "a.npz", images=stored), DATASETS["two_modes"])
        assert (read.shape, read.dtype) == ((6, 2, 1, 1), np.float32)
        np.testing.assert_array_equal(read.reshape(6, 2), points.astype(np.float32))


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (np.zeros((3, 2), np.uint8), "dtype uint8; save floats in the data set's own units"),
        (np.zeros((3, 3)), r"shape \(3, 3\)"),
        (np.array([[0, np.nan]]), "1 of 1 images hold NaN"),
    ],
)
def test_values_that_are_no_points_of_the_data_set_are_refused(tmp_path, values, why):
    with pytest.raises(ValueError, match=why):
        read_external(save(tmp_path / "a.npz", images=values), DATASETS["two_modes"])


def test_folder_of_pictures_holds_no_real_values(tmp_path):
    with pytest.raises(ValueError, match="pictures hold no real values"):
        read_external(tmp_path, DATASETS["two_modes"])
