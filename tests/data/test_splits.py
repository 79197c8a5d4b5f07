"""Which pictures are held out: folders as people name them, what only looks like them, pictures in
both splits.
"""

import io
import os
import zipfile

import numpy as np
import pytest
from PIL import Image

from bench.cli.parser import main
from bench.data.collection import collect
from bench.data.gallery import Gallery
from bench.data.gallery_files import equal_pictures
from bench.data.images import load_images
from bench.data.splits import by_folder, looks_like
from bench.report.notices import in_both_splits
from bench.suite.fault import SuiteError
from bench.suite.reader import read_suite


def files(folder, *names):
    """Empty files: where pictures lie is told by their names alone."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def archive(path, *names):
    with zipfile.ZipFile(path, "w") as file:
        for name in names:
            info = zipfile.ZipInfo("x")
            info.filename = name  # as it is: on Windows ZipInfo() makes slashes of backslashes
            file.writestr(info, name.encode())
    return path


PAIRS = [
    ("train", "test"),
    ("Train", "Test"),
    ("TRAINING", "TESTING"),
    ("training", "val"),
    ("train", "Valid"),
    ("train", "validation"),
    ("train", "held_out"),
    ("train", "Held-Out"),
    ("train", "held out"),
    ("train_set", "test_set"),
    ("train", "dev"),
]
AROUND = {
    "nothing": "",
    "one folder": "photos/",
    "three folders": "a/b c/photos/",
    "a folder named train": "train/",
}


@pytest.mark.parametrize("around", AROUND.values(), ids=AROUND)
@pytest.mark.parametrize(("train", "test"), PAIRS)
def test_splits_are_known_by_the_names_people_use(tmp_path, train, test, around):
    names = [f"{around}{train}/{k}.png" for k in range(3)] + [
        f"{around}{test}/cats/test/{k}.png" for k in range(2)
    ]
    junk = [
        "__MACOSX/photos/train/._0.png",
        ".DS_Store",
        "readme.txt",
        f"{around}.hidden/1.png",
        f"{around}labels/0.txt",
    ]
    for found in (
        collect(files(tmp_path / "x", *names, *junk)),
        collect(archive(tmp_path / "x.zip", *names, *junk)),
    ):
        split = by_folder(found)
        assert (split.train, split.test) == (sorted(names[:3]), sorted(names[3:]))
        assert split.folders == (around + train, around + test)


def test_backslashes_separate_folders_in_archives_and_in_names_of_files(tmp_path):
    names = ["photos\\Train\\0.png", "photos\\Train\\1.png", "photos\\Val\\0.png"]
    split = by_folder(collect(archive(tmp_path / "x.zip", *names)))
    assert (split.train, split.test) == (
        ["photos/Train/0.png", "photos/Train/1.png"],
        ["photos/Val/0.png"],
    )
    split = by_folder(collect(files(tmp_path / "x", *names)))
    assert (split.train, split.test) == (names[:2], names[2:])


def test_with_test_and_validation_those_for_validation_are_left_alone(tmp_path):
    names = ["train/0.png", "train/1.png", "val/2.png", "val/3.png", "test/4.png"]
    split = by_folder(collect(files(tmp_path, *names)))
    assert (split.train, split.test) == (names[:2], ["test/4.png"])
    assert split.unused == 2


NO_SPLITS = {
    "no folders": ["0.png", "1.png"],
    "classes": ["cats/0.png", "dogs/1.png", "contest/2.png", "valley/3.png", "strains/4.png"],
    "a class called test below others": ["cats/test/0.png", "cats/more/1.png", "dogs/1.png"],
    "words in names of files": ["a_train_1.png", "speed_test_2.png"],
    "train alone": ["photos/train/cats/0.png", "photos/train/dogs/1.png"],
}


@pytest.mark.parametrize("names", NO_SPLITS.values(), ids=NO_SPLITS)
def test_other_folders_are_no_splits(tmp_path, names):
    assert by_folder(collect(files(tmp_path, *names))) is None


def sides(*folders):
    return [f"horses/{folder}/0.png" for folder in folders]


REFUSED = {
    "pairs": (
        sides("trainA", "trainB", "testA", "testB"),
        "point `path:` at one side, as in `path: HERE/horses/trainA`",
    ),
    "pairs in small letters": (sides("train_a", "test_a"), "as in `path: HERE/horses/train_a`"),
    "one side": (sides("trainA", "testA"), "testA/ and trainA/ are of a set of pairs"),
    "pairs beside a split": (sides("trainA", "testA", "val"), "as in `path: HERE/horses/trainA`"),
    "years": (
        ["train2017/0.png", "val2017/0.png"],
        "train2017/ and val2017/ look like splits, and no name of one",
    ),
    "half a name": (
        ["photos_train/0.png", "photos_test/0.png"],
        "photos_test/ and photos_train/ look like splits",
    ),
    "no names": (["xtrain/0.png", "test-images/0.png"], "test-images/ looks like a split"),
    "a third": (
        ["train/0.png", "test/1.png", "extra/2.png"],
        "extra/ holds 1 pictures beside test/ and train/",
    ),
    "a class called train": (["train/0.png", "car/1.png"], "car/ holds 1 pictures beside train/"),
    "loose": (["train/0.png", "val/1.png", "2.png"], "there are 1 pictures beside train/ and val/"),
    "loose and a third": (
        ["train/0.png", "val/1.png", "2.png", "x/3.png"],
        r"x/ hold 2 pictures (1 of them in no folder)",
    ),
    "two for training": (
        ["train/0.png", "Training/1.png", "val/2.png"],
        "Training/ and train/ are both for train",
    ),
    "two for validation": (
        ["train/0.png", "val/1.png", "held_out/2.png"],
        "held_out/ and val/ are both for validation",
    ),
    "held out alone": (
        ["x/test/0.png", "x/test/1.png"],
        "all pictures lie in test/, which by its name is held out",
    ),
    "test and val": (
        ["test/0.png", "val/1.png"],
        "has test/ and val/ and no folder for training beside it",
    ),
    "splits of each class": (
        ["a/train/0.png", "a/test/1.png", "b/train/2.png", "b/test/3.png"],
        "a/ and 1 more has folders",
    ),
    "short names": (["trn/0.png", "tst/1.png"], "trn/ and tst/ look like splits"),
    "held out in two words": (
        ["seen/0.png", "photos_held_out/1.png"],
        "photos_held_out/ looks like a split",
    ),
    "a word that ends in a": (
        ["training data/0.png", "test data/1.png"],
        "test data/ and training data/ look like splits",
    ),
    "held out within training": (
        ["train/train/0.png", "train/val/cats/1.png", "test/2.png"],
        "train/val/ lies within train/ and by its name is held out",
    ),
    "held out alone, half a name": (
        ["my_test/0.png", "my_test/1.png"],
        "all pictures lie in my_test/",
    ),
    "files with splits in their names": (
        ["COCO_train2014_01.jpg", "COCO_val2014_02.jpg"],
        "it has files named for training",
    ),
    "files named like splits": (
        ["train_00.png", "train_01.png", "test_00.png"],
        "it has files named for training",
    ),
}


@pytest.mark.parametrize("form", ["folder", "zip"])
@pytest.mark.parametrize(("names", "message"), REFUSED.values(), ids=REFUSED)
def test_what_only_looks_like_splits_is_refused_with_what_to_write(tmp_path, names, message, form):
    path = (
        files(tmp_path / "x", *names) if form == "folder" else archive(tmp_path / "x.zip", *names)
    )
    with pytest.raises(ValueError, match=r"split: random|path:") as caught:
        by_folder(collect(path))
    assert message.replace("HERE", str(tmp_path / "x")) in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_words_that_hold_others_are_no_splits():
    assert [
        looks_like(name)
        for name in ("strain", "contest", "rival", "Restraint", "evaluate", "developer")
    ] == [None] * 6
    assert [looks_like(name) for name in ("my_TrainData", "TEST1", "img.val")] == [
        "train",
        "test",
        "validation",
    ]


def test_links_make_splits_and_what_they_put_into_both_is_held_out(tmp_path):
    files(tmp_path, *(f"all/{k}.png" for k in range(5)))
    for split, numbers in {"train": (0, 1, 2, 3), "val": (3, 4)}.items():
        (tmp_path / split).mkdir()
        for k in numbers:
            os.symlink(f"../all/{k}.png", tmp_path / split / f"{k}.png")
    split = by_folder(collect(tmp_path))
    assert (split.train, split.test) == (
        [f"all/{k}.png" for k in range(3)],
        ["all/3.png", "all/4.png"],
    )
    assert split.in_both == 1
    files(tmp_path, "all/5.png")
    with pytest.raises(ValueError, match="all/ holds 1 pictures beside train/ and val/"):
        by_folder(collect(tmp_path))


def test_loose_link_to_a_picture_of_a_split_changes_nothing(tmp_path):
    files(tmp_path, "train/0.png", "train/1.png", "test/2.png")
    os.symlink("train/0.png", tmp_path / "preview.png")
    split = by_folder(collect(tmp_path))
    assert (split.train, split.test, split.in_both) == (
        ["train/0.png", "train/1.png"],
        ["test/2.png"],
        0,
    )


def test_links_to_folders_make_splits(tmp_path):
    files(tmp_path, "run1/0.png", "run1/1.png", "run2/2.png")
    os.symlink("run1", tmp_path / "train")
    os.symlink("run2", tmp_path / "test")
    split = by_folder(collect(tmp_path))
    assert (split.train, split.test) == (["run1/0.png", "run1/1.png"], ["run2/2.png"])


# In a suite

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


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "data"


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
