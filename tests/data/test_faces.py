"""FFHQ and CelebA-HQ, on small sets of pictures in the layout of their makers."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from made_pictures import encoded, picture, unpacked, zipped
from PIL import Image

from bench.cli.parser import main
from bench.data import faces
from bench.data.images import Images
from bench.data.registry import DATASETS

COUNT, TRAIN, WIDE = 5, 3, 128
FFHQ = {f"{number:05}.png": picture(number, WIDE, WIDE) for number in range(COUNT)}
MASKS = {
    "CelebAMask-HQ/CelebAMask-HQ-mask-anno/0/00000_hair.png": b"",
    "CelebAMask-HQ/CelebA-HQ-to-CelebA-mapping.txt": b"idx",
}


@pytest.fixture
def root(tmp_path, monkeypatch):
    """BENCH_DATA, empty, for sets of five faces whose originals are 128 pixels wide."""
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    monkeypatch.setattr(faces, "ORIGINAL", WIDE)
    return tmp_path


def small(kind, size):
    kind = replace(kind, count=COUNT, train=TRAIN)
    return Images(f"faces{size}", faces._card(kind, size))


def png(pictures, folder=""):
    return {f"{folder}{name}": encoded(image, "PNG") for name, image in pictures.items()}


def expected(image, filter_):
    small_image = image.resize((64, 64), filter_)
    return np.asarray(small_image).transpose(2, 0, 1)


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_ffhq_is_the_whole_picture_by_lanczos_in_the_order_of_the_numbers(root, form):
    files = {
        f"{1000 * (number // 2):05}/{name}": content
        for number, (name, content) in enumerate(png(FFHQ).items())
    }
    if form == "folder":
        unpacked(root / "ffhq" / "images1024x1024", files | {"LICENSE.txt": b"text"})
    else:
        (root / "ffhq").mkdir()
        within = {f"images1024x1024/{name}": files[name] for name in reversed(files)}
        zipped(root / "ffhq" / "images1024x1024.zip", within)
    data = small(faces.FFHQ, 64)
    assert (len(data.train), len(data.test)) == (TRAIN, COUNT - TRAIN)
    for row, image in zip([*data.train, *data.test], FFHQ.values(), strict=True):
        np.testing.assert_array_equal(row, expected(image, Image.Resampling.LANCZOS))


def test_ffhq_made_smaller_by_edms_tool_is_the_same_images(root):
    unpacked(root / "ffhq" / "images1024x1024", png(FFHQ))
    whole = small(faces.FFHQ, 64).train.copy()
    made = {
        f"00000/img{number:08}.png": encoded(
            image.resize((64, 64), Image.Resampling.LANCZOS), "PNG"
        )
        for number, image in enumerate(FFHQ.values())
    }
    zipped(root / "ffhq" / "ffhq-64x64.zip", made | {"dataset.json": b'{"labels": null}'})
    np.testing.assert_array_equal(small(faces.FFHQ, 64).train, whole)


@pytest.mark.parametrize("form", ["CelebAMask-HQ.zip", "CelebA-HQ-img"])
def test_celeba_hq_is_read_from_the_pictures_of_its_masks(root, monkeypatch, form):
    monkeypatch.setitem(faces.FILTERS, 64, "box")
    images = {f"{number}.jpg": encoded(picture(number, WIDE, WIDE)) for number in range(COUNT)}
    (root / "celebahq").mkdir()
    if form.endswith(".zip"):
        inside = {f"CelebAMask-HQ/CelebA-HQ-img/{name}": c for name, c in images.items()}
        zipped(root / "celebahq" / form, MASKS | inside)
    else:
        unpacked(root / "celebahq" / form, images)
    data = small(faces.CELEBA_HQ, 64)
    pixels = np.asarray(Image.open(io.BytesIO(images["2.jpg"]))).astype(float)
    means = pixels.reshape(64, 2, 64, 2, 3).mean((1, 3)).transpose(2, 0, 1)
    assert np.abs(data.train[2] - means).max() <= 1  # rounded in each of two directions
    assert np.abs(data.train[2] - means).mean() < 0.5


def test_each_set_has_the_numbers_and_the_rule_of_its_makers():
    for name, count, train in (("ffhq64", 70_000, 60_000), ("celebahq256", 30_000, 27_000)):
        card = DATASETS[name]
        assert (sum(card.splits.values()), card.splits["train"]) == (count, train)
    assert faces.shaping(64).rule == "pictures 2: crop none, lanczos to 64, 3 channels"
    assert faces.shaping(256).rule == "pictures 2: crop none, box to 256, 3 channels"
    assert {DATASETS[f"celebahq{size}"].shape for size in (256, 1024)} == {
        (3, 256, 256),
        (3, 1024, 1024),
    }


def test_what_is_missing_or_of_another_size_is_told_with_what_to_do(root):
    data = small(faces.FFHQ, 64)
    with pytest.raises(
        FileNotFoundError, match=r"holds none of ffhq/ffhq-64x64\.zip, .*get images"
    ):
        data.train  # noqa: B018
    folder = unpacked(root / "ffhq" / "images1024x1024", png(FFHQ))
    (folder / "00003.png").unlink()
    with pytest.raises(
        ValueError, match=r"holds 4 faces and no face 3; FFHQ has 5, from 0 on: get"
    ):
        data.train  # noqa: B018
    unpacked(folder, png({"00003.png": FFHQ["00003.png"], "again/00001.png": FFHQ["00001.png"]}))
    with pytest.raises(ValueError, match=r"00001\.png and again/00001\.png are both face 1: take"):
        data.train  # noqa: B018
    (folder / "again" / "00001.png").unlink()
    unpacked(folder, png({"00002.png": picture(2, 100, 100)}))
    with pytest.raises(
        ValueError, match=r"00002\.png: is 100x100 pixels, and its width should be 64 or 128"
    ):
        data.train  # noqa: B018
    unpacked(folder, png(FFHQ) | png({"00005.png": picture(5, WIDE, WIDE)}))
    with pytest.raises(ValueError, match=r"holds 6 faces and a face 5; FFHQ has 5"):
        data.train  # noqa: B018


def test_assets_say_what_to_put_where(root, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    suite = {
        "name": "faces",
        "dataset": "ffhq64",
        "metrics": [],
        "samples": {"count": 1, "batch": 1},
        "train": {"vp": {"method": "sde"}},
        "points": [{"train": "vp", "sampler": "ddim", "grid": {"nfe": [5]}}],
    }
    (tmp_path / "faces.yaml").write_text(json.dumps(suite))
    assert main(["assets", "faces.yaml"]) == 1
    out = capsys.readouterr().out
    assert f"    {root / 'ffhq' / 'images1024x1024'}" in out
    assert "how: get images1024x1024 (89 GB) from https://github.com/NVlabs/ffhq-dataset" in out
