"""Which pictures are held out: folders as people name them, what only looks like them, links."""

import os
import zipfile

import pytest

from bench.data.collection import collect
from bench.data.splits import by_folder, looks_like


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
