"""What is white in images made elsewhere: taken as usual, told by the suite, or refused with the
line to write.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.data.external import read_external
from bench.data.gallery_files import settle
from bench.data.image_folder import ImageFolder
from bench.data.images import load_images
from bench.data.registry import DATASETS
from bench.data.scale import to_levels
from bench.spec import ImagesSpec, key
from bench.suite.fault import SuiteError
from bench.suite.reader import read_suite

DIGITS = DATASETS["digits"]
COLOUR = replace(DIGITS, shape=(3, 8, 8), levels=256)
PATH = Path("mine.npz")


@pytest.fixture
def levels():
    values = np.random.default_rng(0).integers(0, 17, (6, 1, 8, 8)).astype(np.uint8)
    values[0, 0, 0, 0] = 16
    return values


def pngs(folder, images):
    folder.mkdir()
    for i, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{i:03}.png")
    return folder


def npz(path, images):
    np.savez(path, images=images)
    return path


@pytest.mark.parametrize(
    ("values", "scale"),
    [
        (lambda x: x, None),
        (lambda x: x, (0.0, 16.0)),
        (lambda x: x.astype(np.int64), (0.0, 16.0)),
        (lambda x: np.rint(x * (255 / 16)).astype(np.uint8), (0.0, 255.0)),
        (lambda x: x * (255 / 16), (0.0, 255.0)),
        (lambda x: x / 16, None),
        (lambda x: x / 16, (0.0, 1.0)),
        (lambda x: x / 8 - 1, (-1.0, 1.0)),
        (lambda x: (x / 8 - 1).astype(np.float16), (-1.0, 1.0)),
        (lambda x: x / 16 + np.float64(1e-9), None),  # rounding beyond white is not outside
    ],
    ids=[
        "levels",
        "told",
        "int64",
        "bytes",
        "floats to 255",
        "floats",
        "told floats",
        "-1 to 1",
        "half",
        "rounding",
    ],
)
def test_every_scale_that_is_usual_or_told_gives_the_same_levels(tmp_path, levels, values, scale):
    read = read_external(npz(tmp_path / "mine.npz", values(levels)), DIGITS, scale)
    assert read.dtype == np.uint8
    assert np.array_equal(read, levels)


def test_pictures_in_their_own_levels_are_refused_or_with_the_scale_equal_those_of_full_scale(
    tmp_path, levels
):
    native = pngs(tmp_path / "native", levels[:, 0])
    full = pngs(tmp_path / "full", np.rint(levels[:, 0] * (255 / 16)).astype(np.uint8))
    with pytest.raises(
        ValueError, match=r"native: the brightest value is 16 where white is 255: .*`scale: 16` if"
    ):
        read_external(native, DIGITS)
    assert np.array_equal(read_external(native, DIGITS, (0.0, 16.0)), read_external(full, DIGITS))
    assert np.array_equal(read_external(full, DIGITS, (0.0, 255.0)), levels)


@pytest.mark.parametrize(
    ("images", "data", "told"),
    [
        (
            np.ones((2, 1, 8, 8), np.uint8),
            DIGITS,
            "is 1 where white is 16: .*`scale: 1` if that is it, `scale: 16` if",
        ),
        (
            np.ones((2, 3, 8, 8), np.uint8),
            COLOUR,
            "is 1 where white is 255: .*`scale: 1` .*`scale: 255` if",
        ),
        (
            np.full((2, 3, 8, 8), 1 / 255),
            COLOUR,
            r"is 0\.00392157 where white is 1: .*`scale: 0\.00392`",
        ),
    ],
    ids=["digits", "colour", "divided twice"],
)
def test_images_of_which_no_pixel_is_brighter_than_the_first_level_are_refused(images, data, told):
    with pytest.raises(ValueError, match=rf"mine\.npz: the brightest value {told}"):
        to_levels(images, data.levels, PATH)


@pytest.mark.parametrize(
    ("images", "told"),
    [
        (
            np.array([0.0, 16.0]),
            r"values lie in \[0, 16\], outside 0 \(black\) to 1 \(white\).*`scale: 16`",
        ),
        (np.array([0.0, 255.0]), r"values lie in \[0, 255\].*`scale: 255`"),
        (np.array([-1.0, 1.0]), r"values lie in \[-1, 1\].*`scale: \[-1, 1\]`"),
        (np.array([0.0, np.nan]), "1 of 1 images hold NaN or infinity"),
        (np.array([0.0, np.inf]), "1 of 1 images hold NaN or infinity"),
        (
            np.array([0, 200], np.uint8),
            r"values lie in \[0, 200\], outside 0 \(black\) to 16 \(white\).*`scale: 255`",
        ),
        (np.array([0, 200], np.int32), "dtype int32; save uint8 .*`scale: 255`"),
        (np.array([0, 16]), "dtype int64; save uint8 .*`scale: 16`"),
        (np.array([0, 1], np.int8), "dtype int8; save uint8 .*`scale: 1`"),
        (np.array([0, 65535], np.uint16), "dtype uint16; save uint8 .*`scale: WHITE`"),
        (np.array([-0.5, 0.5]), r"values lie in \[-0\.5, 0\.5\].*`scale: \[-0\.5, 0\.5\]`"),
        (np.array([-3.0, 2.0]), r"values lie in \[-3, 2\].*`scale: \[BLACK, WHITE\]`"),
        (np.array([True, False]), "dtype bool; save uint8 .*`scale: 1`"),
        (np.array([1j, 0]), "dtype complex128; save uint8"),
    ],
    ids=str,
)
def test_values_on_no_scale_are_refused_with_the_line_to_write(images, told):
    with pytest.raises(ValueError, match=rf"mine\.npz: {told}"):
        to_levels(images.reshape(1, 1, 1, 2), 17, PATH)


def test_values_outside_the_scale_that_is_told_are_refused():
    with pytest.raises(
        ValueError, match=r"values lie in \[0, 17\], outside 0 \(black\) to 16 \(white\)"
    ):
        to_levels(np.array([[[[0, 17]]]], np.uint8), 256, PATH, (0.0, 16.0))
    with pytest.raises(
        ValueError, match=r"values lie in \[-0\.2, 0\.5\], outside 0 \(black\) to 1 \(white\)"
    ):
        to_levels(np.array([[[[-0.2, 0.5]]]]), 256, PATH, (0.0, 1.0))
    with pytest.raises(ValueError, match="1 of 1 images hold NaN"):
        to_levels(np.array([[[[np.nan, 0.5]]]]), 256, PATH, (0.0, 1.0))


def test_dark_images_pass_where_the_scale_is_told_and_black_ones_are_black_on_every_scale():
    dark = np.random.default_rng(0).integers(0, 2, (4, 3, 8, 8)).astype(np.uint8)
    assert np.array_equal(to_levels(dark, 256, PATH, (0.0, 255.0)), dark)
    assert np.array_equal(to_levels(dark * 60, 256, PATH), dark * 60)
    assert not to_levels(np.zeros((2, 3, 8, 8), np.uint8), 256, PATH).any()
    two_levels = np.array([[[[0, 1]]]], np.uint8)
    assert np.array_equal(to_levels(two_levels, 2, PATH), two_levels)


def test_binary_masks_with_their_scale_are_black_and_white():
    assert to_levels(np.array([[[[True, False]]]]), 256, PATH, (0.0, 1.0)).tolist() == [
        [[[255, 0]]]
    ]


def test_conversion_in_chunks_changes_nothing(monkeypatch):
    images = np.random.default_rng(0).uniform(-1, 1, (50, 3, 8, 8)).astype(np.float32)
    whole = to_levels(images, 256, PATH, (-1.0, 1.0))
    monkeypatch.setattr("bench.data.scale.CHUNK", 3 * 64 * 7)
    assert np.array_equal(to_levels(images, 256, PATH, (-1.0, 1.0)), whole)


SUITE = """\
name: study
dataset: %s
metrics: [%s]
samples: {count: 5}
train: {mine: {samples_from: %s, scale: %s}}
"""


@pytest.fixture
def read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    npz(tmp_path / "mine.npz", np.full((8, 1, 8, 8), 9, np.uint8))

    def reader(scale, dataset="digits", metric="kd", path="mine.npz"):
        (tmp_path / "suite.yaml").write_text(SUITE % (dataset, metric, path, scale))
        return read_suite(tmp_path / "suite.yaml")

    return reader


def test_scale_is_part_of_the_key_of_the_images_and_of_the_resolved_suite(read):
    assert read("16").points[0].sample.scale == (0.0, 16.0)
    assert read("16").points[0].sample == read("[0, 16]").points[0].sample
    assert read("[-1, 1.0]").points[0].sample.scale == (-1.0, 1.0)
    assert read("16").resolved["train"]["mine"]["scale"] == [0.0, 16.0]
    images = ImagesSpec(dataset="digits", dataset_version=1, sha256="0" * 64)
    assert (
        len(
            {
                key(images),
                key(replace(images, scale=(0.0, 16.0))),
                key(replace(images, scale=(0.0, 255.0))),
            }
        )
        == 3
    )


def test_part_of_the_images_is_noted_when_the_suite_is_read(read):
    assert "train.mine.samples_from: 5 of 8, drawn at random" in read("16").notes


@pytest.mark.parametrize(
    ("scale", "told"),
    [
        ("0", "should be the value of white, above 0, or a list of those of black and white"),
        ("-1", "should be the value of white"),
        ("[1, 1]", "should be the value of white"),
        (".inf", "should be finite"),
        (".nan", "should be finite"),
        ("native", "should be a number or a list of numbers"),
        ("[0, 1, 2]", "should be a number or a list of numbers"),
        ("true", "should be a number or a list of numbers"),
    ],
)
def test_scale_that_is_none_is_refused_in_one_line(read, scale, told):
    with pytest.raises(SuiteError, match=rf"suite\.yaml:5: train\.mine\.scale: {told}"):
        read(scale)


def test_path_of_images_that_is_empty_is_refused(read, tmp_path):
    with pytest.raises(
        SuiteError, match=r"train\.mine\.samples_from: is empty, and should be a path"
    ):
        read("16", path="''")


def test_real_values_have_no_scale(read):
    with pytest.raises(
        SuiteError, match=r"train\.mine\.scale: is of pictures, and the values .* are real"
    ):
        read("16", "two_modes", "energy_distance")


def test_folder_of_pictures_to_train_on_says_its_scale_too(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    (tmp_path / "data").mkdir()
    masks = np.random.default_rng(0).integers(0, 2, (10, 8, 8)).astype(np.uint8)
    pngs(tmp_path / "data" / "masks", masks)

    def train(**options):
        params = ImageFolder(path="masks", size=8, channels=1, test=0.5, **options)
        return load_images(settle("image_folder", params, None)[0]).train

    with pytest.raises(
        ValueError, match=r"masks: the brightest value of the train pictures is 1 .*`scale: 1`"
    ):
        train()
    assert np.unique(train(scale=1)).tolist() == [0, 255]
    assert np.unique(train(scale=255)).tolist() == [0, 1]
    assert np.array_equal(train(scale=1), train(scale=255) * 255)
    with pytest.raises(
        ValueError, match="scale should be the value of white in the files, from 1 to 255"
    ):
        train(scale=0)
    for file in (tmp_path / "data" / "masks").iterdir():
        Image.fromarray(masks[0] * 3).save(file)
    with pytest.raises(
        ValueError, match=r"\d\.png: has values up to 3, above the white of scale: 1"
    ):
        train(scale=1)


def test_pictures_of_ones_that_become_black_when_they_are_made_smaller_are_refused(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    (tmp_path / "data").mkdir()
    masks = np.zeros((4, 64, 64), np.uint8)
    masks[:, ::9, ::9] = 1
    pngs(tmp_path / "data" / "masks", masks)
    params = ImageFolder(path="masks", size=8, channels=1, test=0.5)
    with pytest.raises(
        ValueError, match=r"masks: the brightest value of the train pictures is 0 .*`scale: 1`"
    ):
        _ = load_images(settle("image_folder", params, None)[0]).train
