"""Pictures of folders and archives: LSUN and what a suite names, on small files that the tests
write.
"""

import io
import json
import shutil

import numpy as np
import pytest
from made_pictures import encoded, picture, unpacked, zipped
from PIL import Image

from bench.cli.parser import main
from bench.data import picture_set, pictures
from bench.data.collection import collect
from bench.data.gallery import Gallery
from bench.data.image_folder import ImageFolder
from bench.data.images import load_images
from bench.data.lsun import Lsun
from bench.data.pictures import Shaping
from bench.data.registry import data_card
from bench.suite.fault import SuiteError
from bench.suite.reader import read_suite

# Pictures become images


@pytest.mark.parametrize(
    ("crop", "size", "box"),
    [
        ("center", 20, (10, 0, 50, 40)),
        (30, 30, (15, 5, 45, 35)),
        (31, 31, (14, 4, 45, 35)),
        (29, 58, (16, 6, 45, 35)),
    ],
)
def test_crop_is_central_and_an_odd_rest_goes_to_the_even_side(crop, size, box):
    image = picture(0, 60, 40)
    expected = image.crop(box)
    expected = (
        expected
        if expected.size == (size, size)
        else expected.resize((size, size), Image.Resampling.BICUBIC)
    )
    shaped = pictures.shape(image, Shaping(size=size, crop=crop))
    np.testing.assert_array_equal(np.asarray(shaped), np.asarray(expected))


def test_pictures_of_every_kind_are_read_as_colour_or_grey(tmp_path):
    square = picture(0, 24, 24)
    files = {
        "a.png": encoded(square, "PNG"),
        "b.bmp": encoded(square, "BMP"),
        "c.webp": encoded(square, "WEBP"),
        "d.png": encoded(square.convert("L"), "PNG"),
        "e.png": encoded(square.convert("P"), "PNG"),
        "notes.txt": b"",
        ".hidden.png": b"",
        ".git/f.png": b"",
    }
    folder = unpacked(tmp_path / "folder", files)
    assert list(collect(folder).names) == ["a.png", "b.bmp", "c.webp", "d.png", "e.png"]
    images = list(pictures.read(folder, collect(folder).names, Shaping(size=24, crop="none")))
    assert all(image.shape == (1, 3, 24, 24) for image in images)
    np.testing.assert_array_equal(images[0], images[1])
    (grey,) = pictures.read(folder, ["d.png"], Shaping(size=24, crop="none", channels=1))
    np.testing.assert_array_equal(grey, images[3][:, :1])


BROKEN = {
    "cut short": (encoded(picture(0))[:900], "cannot be decoded"),
    "text": (b"<html>not found</html>", "cannot be decoded"),
    "empty": (b"", "cannot be decoded"),
    "transparent": (encoded(picture(0).convert("RGBA"), "PNG"), "has mode RGBA: convert it"),
    "sixteen bits": (encoded(Image.new("I;16", (200, 200)), "PNG"), "has mode I;16: convert it"),
    "too small": (
        encoded(picture(0, 30, 200)),
        "is 30x200 pixels, fewer than the 100x100 that are cropped",
    ),
}


@pytest.mark.parametrize(("content", "message"), BROKEN.values(), ids=BROKEN)
def test_picture_that_cannot_be_used_is_told_by_name(tmp_path, content, message):
    folder = unpacked(tmp_path, {"a/b.png": content})
    with pytest.raises(ValueError, match=rf"a/b\.png: {message}"):
        list(pictures.read(folder, ["a/b.png"], Shaping(size=10, crop=100)))


def test_whole_pictures_should_be_square(tmp_path):
    unpacked(tmp_path, {"a.png": encoded(picture(0))})
    with pytest.raises(
        ValueError, match=r"a\.png: is 178x218 pixels: with crop none pictures should be square"
    ):
        list(pictures.read(tmp_path, ["a.png"], Shaping(size=10, crop="none")))


# What a suite names


PHOTOS = {
    f"{place}/{k}.png": encoded(picture(k, 40, 30), "PNG") for k, place in enumerate("aabbabbaba")
}

SUITE = """
name: photographs
dataset: {dataset}
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


def suite_of(dataset, folder, cache=None):
    path = folder / "suite.yaml"
    path.write_text(SUITE.format(dataset=dataset))
    return read_suite(path, cache=cache)


@pytest.fixture
def photos(root):
    return unpacked(root / "photos", PHOTOS)


FOLDER = "{name: image_folder, path: photos, size: 16, test: 0.3}"


def test_folder_that_a_suite_names_is_a_data_set(photos, tmp_path):
    suite = suite_of(FOLDER, tmp_path, tmp_path / "cache")
    assert suite.points[0].sample.train.dataset == suite.dataset
    assert suite.dataset.startswith("image_folder{")
    images = load_images(suite.dataset)
    assert (images.shape, images.levels, images.card.splits, images.card.flips) == (
        (3, 16, 16),
        256,
        {"train": 7, "test": 3},
        False,
    )
    every = {
        pictures.shape(Image.open(io.BytesIO(content)), Shaping(size=16)).tobytes()
        for content in PHOTOS.values()
    }
    seen = [
        np.ascontiguousarray(i.transpose(1, 2, 0)).tobytes()
        for s in ("train", "test")
        for i in images.split(s)
    ]
    assert len(seen) == len(set(seen)) == 10
    assert set(seen) == every


def test_equal_pictures_elsewhere_are_the_same_data_set_and_others_are_not(photos, tmp_path, root):
    name = suite_of(FOLDER, tmp_path).dataset
    shutil.move(photos, root / "moved")
    assert suite_of(FOLDER.replace("photos", "moved"), tmp_path).dataset == name
    images = load_images(name)
    first = {image.tobytes() for split in ("train", "test") for image in images.split(split)}
    assert suite_of(FOLDER.replace("photos", "moved").replace("16", "18"), tmp_path).dataset != name
    unpacked(root / "moved", {"a/0.png": encoded(picture(99, 40, 30), "PNG")})
    changed = suite_of(FOLDER.replace("photos", "moved"), tmp_path).dataset
    assert changed != name
    images = load_images(changed)
    assert (
        len(
            {image.tobytes() for split in ("train", "test") for image in images.split(split)}
            - first
        )
        == 1
    )


def test_pictures_that_change_between_plan_and_job_are_noticed(photos, tmp_path):
    images = load_images(suite_of(FOLDER, tmp_path).dataset)
    unpacked(photos, {"a/0.png": encoded(picture(99, 40, 30), "PNG")})
    with pytest.raises(
        ValueError, match=r"photos: the pictures are no longer those that were planned with; start"
    ):
        images.train  # noqa: B018
    shutil.rmtree(photos)
    with pytest.raises(
        FileNotFoundError, match=r"photos: the pictures are no longer there; put them back"
    ):
        images.train  # noqa: B018


def test_name_from_another_machine_says_to_start_the_suite_again(root):
    name = Gallery(
        kind="image_folder", sha256="0" * 20, train=3, test=1, rule="random", size=8
    ).name
    assert (
        name == 'image_folder{"rule":"random","sha256":"00000000000000000000",'
        '"size":8,"test":1,"train":3}'
    )
    assert Gallery.of(name).name == name
    with pytest.raises(
        FileNotFoundError, match=r"does not say where the pictures lie; start the suite again"
    ):
        load_images(name).train  # noqa: B018
    with pytest.raises(ValueError, match="is no name of a data set"):
        data_card('image_folder{"size":8}')


def test_archive_and_folder_split_by_folder_where_there_are_two(root, tmp_path):
    files = {f"train/{k}.png": encoded(picture(k, 20, 20), "PNG") for k in range(5)}
    files |= {f"test/{k}.png": encoded(picture(10 + k, 20, 20), "PNG") for k in range(2)}
    zipped(root / "photos.zip", {**files, "__MACOSX/train/0.png": b""})
    images = load_images(
        suite_of("{name: image_folder, path: photos.zip, size: 8, channels: 1}", tmp_path).dataset
    )
    assert (images.card.splits, images.card.split_rule) == (
        {"train": 5, "test": 2},
        "by folders train/ and test/",
    )
    expected = picture(11, 20, 20).convert("L").resize((8, 8), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(images.test[1, 0], np.asarray(expected))


def test_lsun_is_two_folders_or_archives_of_a_category(root, tmp_path):
    unpacked(
        root / "lsun" / "tower_train",
        {f"a/b/{k}.webp": encoded(picture(k, 50, 40), "WEBP") for k in range(3)},
    )
    zipped(
        root / "lsun" / "tower_val.zip",
        {f"{k}.webp": encoded(picture(7 + k, 50, 40), "WEBP") for k in range(2)},
    )
    images = load_images(suite_of("{name: lsun, category: tower, size: 32}", tmp_path).dataset)
    assert (images.card.splits, images.card.flips) == ({"train": 3, "test": 2}, True)
    expected = Image.open(io.BytesIO(encoded(picture(8, 50, 40), "WEBP"))).crop((5, 0, 45, 40))
    expected = expected.resize((32, 32), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(images.test[1].transpose(1, 2, 0), np.asarray(expected))
    with pytest.raises(
        SuiteError, match=r"lsun/church_train or at .*church_train\.zip: get lmdb files of"
    ):
        suite_of("{name: lsun, category: church, size: 32}", tmp_path)


WRONG = {
    "image_folder": "needs parameters: {name: image_folder, ...} with path, size, crop",
    "{name: image_folder, path: photos, siez: 8}": "dataset.siez: unknown key; did you mean size?",
    "{name: image_folder, path: photos}": "dataset.size: is missing",
    "{name: image_folder, path: foto, size: 8}": "dataset: nothing lies at",
    "{name: image_folder, path: '', size: 8}": "path is empty: name a folder or .zip of pictures",
    "{name: image_folder, path: photos, size: 0}": "size and crop should be at least 1 pixel",
    "{name: image_folder, path: photos, size: 8, test: 1.5}": "test should be between 0 and 1",
    "{name: image_folder, path: photos, size: 8, resize: cubic}": "dataset.resize: should be one "
    "of 'bilinear'",
    "{name: image_folder, path: empty, size: 8}": "empty holds no picture",
    "{name: image_folder, path: one, size: 8}": "one: 1 pictures are too few to split",
    "{name: image_folder, path: notes.txt, size: 8}": "there is no folder or .zip of pictures",
    "{name: image_foldr, path: photos, size: 8}": "unknown data set with parameters; did you mean "
    "image_folder?",
    "{name: digits, size: 8}": "takes no parameters: write dataset: digits",
    "{path: photos, size: 8}": "dataset: has no name",
    "[digits]": "dataset: should be the name of one data set, and is a list",
    "{name: [digits]}": "dataset.name: should be the name of one data set with parameters, and is "
    "a list",
    "{name: lsun, category: ../photos, size: 8}": "category should be a name such as bedroom",
}


@pytest.mark.parametrize(("dataset", "message"), WRONG.items(), ids=WRONG)
def test_what_a_suite_says_wrongly_of_pictures_is_told(photos, root, tmp_path, dataset, message):
    (root / "empty").mkdir()
    unpacked(root / "one", {"a.png": encoded(picture(0), "PNG")})
    (root / "notes.txt").write_text("")
    with pytest.raises(SuiteError) as caught:
        suite_of(dataset, tmp_path)
    assert message in str(caught.value)
    assert "suite.yaml:3" in str(caught.value)


def test_digests_are_remembered_apart_from_those_of_sample_sets(photos, tmp_path, monkeypatch):
    monkeypatch.setattr("bench.data.digest.RECENT_SECONDS", -60)
    cache = tmp_path / "cache"
    name = suite_of(FOLDER, tmp_path, cache).dataset
    (entry,) = cache.glob("*.json")
    remembered = json.loads(entry.read_text())
    entry.write_text(json.dumps({**remembered, "digest": "1" * 64}))
    assert Gallery.of(suite_of(FOLDER, tmp_path, cache).dataset).sha256 == "1" * picture_set.DIGITS
    entry.unlink()
    assert suite_of(FOLDER, tmp_path, cache).dataset == name
    assert " named " in remembered["what"]


def test_assets_and_plan_know_the_pictures(photos, tmp_path, capsys):
    suite_of(FOLDER, tmp_path)
    assert main(["assets", "suite.yaml"]) == 0
    assert "nothing to fetch (pictures of a folder or archive (sha256" in capsys.readouterr().out
    assert main(["plan", "suite.yaml"]) == 0


def test_list_and_show_say_how_pictures_are_described(capsys):
    assert main(["list"]) == 0
    assert "dataset  image_folder   A folder, searched through" in capsys.readouterr().out
    assert main(["show", "image_folder"]) == 0
    out = capsys.readouterr().out
    assert "size:  # has to be given" in out
    assert "resize: bicubic" in out


def test_parameters_of_a_suite_have_the_defaults_that_papers_use():
    assert Lsun(category="bedroom", size=64) == Lsun(
        category="bedroom", size=64, crop="center", resize="bicubic", flips=True
    )
    assert ImageFolder(path="p", size=64) == ImageFolder(
        path="p", size=64, crop="center", resize="bicubic", channels=3, flips=False, test=0.1
    )
