"""Suites of folders that come split: what plan and assets print, which images are trained on, and
the identity that this gives.
"""

import io
import os

import numpy as np
import pytest
from PIL import Image

from bench.cli.parser import main
from bench.data.gallery import Gallery
from bench.data.gallery_files import equal_pictures
from bench.data.images import load_images
from bench.report.notices import in_both_splits
from bench.suite.fault import SuiteError
from bench.suite.reader import read_suite

SUITE = """
name: photographs
dataset: {{name: image_folder, path: {path}, size: 8{more}}}
metrics: []
samples: {{count: 2, batch: 2}}
train:
  vp:
    method: sde
    preset: null
    params: {{network: {{width: 8, multipliers: [1, 2], blocks: 1, attention: []}}}}
points:
  - {{train: vp, sampler: euler_maruyama, grid: {{nfe: [5]}}}}
"""


def encoded(seed):
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(
        stream, "PNG"
    )
    return stream.getvalue()


def photos(folder, contents):
    for name, seed in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(encoded(seed))
    return folder


def suite_of(path, more=""):
    with open("suite.yaml", "w") as file:
        file.write(SUITE.format(path=path, more=more))
    return read_suite("suite.yaml")


def seen(name, split):
    return {image.tobytes() for image in load_images(name).split(split)}


def pixels(*seeds):
    return {
        np.ascontiguousarray(
            np.asarray(Image.open(io.BytesIO(encoded(k)))).transpose(2, 0, 1)
        ).tobytes()
        for k in seeds
    }


THREE = {
    "x/Train/0.png": 0,
    "x/Train/1.png": 1,
    "x/val/2.png": 2,
    "x/Test/3.png": 3,
    "x/notes.txt": 4,
}


def test_plan_and_assets_print_rule_and_counts_and_the_images_are_those(root, capsys):
    photos(root / "photos", THREE)
    name = suite_of("photos").dataset
    assert seen(name, "train") == pixels(0, 1)
    assert seen(name, "test") == pixels(3)
    line = (
        "note: photos: 2 train, 1 test, by folders x/Train/ and x/Test/; "
        "1 for validation are not used"
    )
    line = f"{line}; left out: 1 .txt"
    for command in ("plan", "assets"):
        assert main([command, "suite.yaml"]) == 0
        assert line in capsys.readouterr().out.splitlines()


def test_split_at_random_is_asked_for_and_has_another_identity(root, capsys):
    photos(root / "photos", THREE)
    known, drawn = suite_of("photos"), suite_of("photos", ", split: random, test: 0.5")
    assert known.dataset != drawn.dataset
    assert Gallery.of(drawn.dataset).rule == "random"
    assert load_images(drawn.dataset).card.splits == {"train": 2, "test": 2}
    assert (
        "photos: 2 train, 2 test, at random (as split: random asks); left out: 1 .txt"
        in drawn.notes
    )


def test_identity_changes_when_links_change_which_images_are_trained_on(root):
    photos(root / "photos", {"a/0.png": 0, "b/1.png": 1})
    for train, test in (("a", "b"), ("b", "a")):
        for link, target in (("train", train), ("val", test)):
            (root / "photos" / link).unlink(missing_ok=True)
            os.symlink(target, root / "photos" / link)
        name = suite_of("photos").dataset
        assert seen(name, "train") == pixels(0 if train == "a" else 1)
        first = name if train == "a" else first  # noqa: F821
    assert name != first


def test_folder_that_is_refused_is_one_line_of_the_suite(root):
    photos(root / "photos", {"train/0.png": 0, "val/1.png": 1, "more/2.png": 2})
    with pytest.raises(SuiteError) as caught:
        suite_of("photos")
    (problem,) = caught.value.problems
    assert str(problem).startswith("suite.yaml:3: dataset: ")
    assert "more/ holds 1 pictures beside train/ and val/" in str(problem)


def test_everything_by_links_in_both_splits_leaves_nothing_to_train_on(root):
    photos(root / "photos", {"train/0.png": 0, "train/1.png": 1})
    os.symlink("train", root / "photos" / "test")
    with pytest.raises(
        SuiteError,
        match=r"links put the same pictures into train/ and test/, so that nothing is left",
    ):
        suite_of("photos")


@pytest.mark.parametrize("folders", [("train", "test"), ("a", "b")])
def test_pictures_in_both_splits_are_counted_by_their_pixels_and_shown(root, folders, capsys):
    first, second = folders
    photos(
        root / "photos",
        {
            **{f"{first}/{k}.png": k % 2 for k in range(6)},
            **{f"{second}/{k}.png": k for k in (0, 7, 8)},
        },
    )
    Image.open(io.BytesIO(encoded(1))).save(
        root / "photos" / second / "9.bmp"
    )  # other bytes, equal pixels
    name = suite_of("photos", ", test: 0.4").dataset
    assert equal_pictures(name) is None
    assert in_both_splits(name) == []
    train, test = (
        [image.tobytes() for image in load_images(name).split(split)] for split in ("train", "test")
    )
    count = sum(image in train for image in test)
    assert count == 2 if folders == ("train", "test") else count > 0
    assert equal_pictures(name) == count
    assert in_both_splits(name) == [
        f"Warning: {count} of {len(test)} held-out pictures equal a training picture, pixel by "
        "pixel as they are used: "
        "held-out numbers are too good by them."
    ]
    assert main(["plan", "suite.yaml"]) == 0
    assert f"; {count} held-out pictures equal one for training" in capsys.readouterr().out


def test_pictures_that_are_gone_are_said_where_equal_ones_are_counted(root):
    photos(root / "photos", {"train/0.png": 0, "test/1.png": 1})
    name = suite_of("photos").dataset
    load_images(name).train  # noqa: B018
    for file in (root / "photos").rglob("*.png"):
        file.unlink()
    (line,) = in_both_splits(name)
    assert "is not known: " in line
    assert "holds no picture" in line
    assert in_both_splits("digits") == []
