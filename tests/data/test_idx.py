"""MNIST's format and its loaders on small files of it, and on Debian's Fashion-MNIST where it is
installed.
"""

import gzip
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.data import idx
from bench.data.images import Images, load_images
from bench.data.registry import DATASETS

ROWS = {"train": 12, "test": 5}


def idx_bytes(array, code=8):
    return struct.pack(f">4B{array.ndim}I", 0, 0, code, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def arrays():
    draw = np.random.default_rng(0)
    return {
        idx.file_name(split, what): draw.integers(0, high, (count, *shape), dtype=np.uint8)
        for split, count in ROWS.items()
        for what, high, shape in (("images", 256, (28, 28)), ("labels", 10, ()))
    }


def write(folder, arrays, compress=True):
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        content = idx_bytes(array)
        (folder / f"{name}{'.gz' if compress else ''}").write_bytes(
            gzip.compress(content) if compress else content
        )


@pytest.fixture
def small(monkeypatch, tmp_path):
    """The data sets with fewer rows, below an empty data root."""
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    monkeypatch.setattr(idx, "ROWS", ROWS)
    monkeypatch.setattr(idx, "QUARTER_ROWS", {"train": 8, "validation": 4, "test": 5})
    for kind in (idx.MNIST, idx.FASHION_MNIST):
        monkeypatch.setitem(
            kind.__dict__, "folders", tuple(f for f in kind.folders if not f.startswith("/"))
        )
    return {
        name: Images(
            name, replace(DATASETS[name], splits=idx.QUARTER_ROWS if "14" in name else ROWS)
        )
        for name in ("mnist", "fashion_mnist", "fashion_mnist14")
    }


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize(
    ("name", "folder"), [("mnist", "mnist"), ("fashion_mnist", "FashionMNIST/raw")]
)
def test_images_and_classes_are_those_of_the_files(small, tmp_path, arrays, name, folder, compress):
    write(tmp_path / folder, arrays, compress)
    images = small[name]
    for split in ROWS:
        np.testing.assert_array_equal(
            images.split(split)[:, 0], arrays[idx.file_name(split, "images")]
        )
        np.testing.assert_array_equal(images.labels(split), arrays[idx.file_name(split, "labels")])


def test_half_size_images_are_means_of_four_pixels_and_the_last_training_ones_validate(
    small, tmp_path, arrays
):
    write(tmp_path / "fashion_mnist", arrays)
    images, whole = small["fashion_mnist14"], arrays["train-images-idx3-ubyte"].astype(int)
    assert (images.train.shape, images.split("validation").shape) == (
        (8, 1, 14, 14),
        (4, 1, 14, 14),
    )
    corner = whole[:, 2:4, 4:6].sum((1, 2)) / 4
    np.testing.assert_array_equal(images.train[:, 0, 1, 2], np.rint(corner)[:8])
    np.testing.assert_array_equal(images.split("validation")[:, 0, 1, 2], np.rint(corner)[8:])
    labels = [images.labels(split) for split in ("train", "validation")]
    np.testing.assert_array_equal(np.concatenate(labels), arrays["train-labels-idx1-ubyte"])
    np.testing.assert_array_equal(images.labels("test"), arrays["t10k-labels-idx1-ubyte"])


WHOLE = idx_bytes(np.zeros((5, 28, 28), np.uint8))
BROKEN = {
    "cut short": (
        gzip.compress(WHOLE[:-1]),
        "should hold 3920 values and holds 3919, so it is cut short",
    ),
    "too long": (gzip.compress(WHOLE + b"0"), "should hold 3920 values and holds more"),
    "fewer images": (
        gzip.compress(idx_bytes(np.zeros((4, 28, 28), np.uint8))),
        r"shape \(4, 28, 28\), not \(5, 28, 28\)",
    ),
    "labels": (
        gzip.compress(idx_bytes(np.zeros(5, np.uint8))),
        "begins with 00 00 08 01, not 00 00 08 03",
    ),
    "floats": (
        gzip.compress(idx_bytes(np.zeros((5, 28, 28), np.float32), 13)),
        "begins with 00 00 0d 03",
    ),
    "header cut": (gzip.compress(WHOLE[:9]), r"holds an array of shape \(5,\), not"),
    "empty archive": (gzip.compress(b""), "begins with nothing"),
    "not an archive": (b"<html>not found</html>", "cannot be unpacked"),
    "archive cut short": (gzip.compress(WHOLE)[:-9], "cannot be unpacked"),
    "empty": (b"", "begins with nothing"),
}


@pytest.mark.parametrize(("content", "message"), BROKEN.values(), ids=BROKEN)
def test_damaged_file_is_told_by_name_with_what_to_do(small, tmp_path, arrays, content, message):
    write(tmp_path / "fashion_mnist", arrays)
    path = tmp_path / "fashion_mnist" / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        small["fashion_mnist"].test  # noqa: B018
    assert str(caught.value).startswith(str(path))
    assert "Debian's package dataset-fashion-mnist" in str(caught.value)


def test_classes_beyond_the_tenth_are_damage(small, tmp_path, arrays):
    arrays["t10k-labels-idx1-ubyte"][2] = 10
    write(tmp_path / "mnist", arrays)
    with pytest.raises(ValueError, match=r"t10k-labels-idx1-ubyte\.gz: has classes beyond 0 to 9"):
        small["mnist"].labels("test")


def test_missing_file_says_all_places_and_where_to_get_it(small):
    with pytest.raises(
        FileNotFoundError,
        match=r"fashion_mnist/train-images.*FashionMNIST/raw/train.*is missing: get",
    ):
        small["fashion_mnist"].train  # noqa: B018


def test_cards_ask_for_four_files_each_with_what_is_published_of_them():
    for name in ("mnist", "fashion_mnist", "fashion_mnist14"):
        card = DATASETS[name]
        assert len(card.files) == len(card.facts) == 4
        for place, facts in card.facts.items():
            assert any(place in places for places in card.files)
            assert facts.url.endswith(Path(place).name)
            assert len(facts.md5) == 32


@pytest.mark.skipif(
    not Path(idx.FASHION_MNIST.folders[-1]).is_dir(),
    reason="dataset-fashion-mnist is not installed",
)
def test_debians_fashion_mnist_has_six_thousand_training_images_a_class(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    images = load_images("fashion_mnist")
    assert np.bincount(images.labels("train")).tolist() == [6000] * 10
    assert np.bincount(images.labels("test")).tolist() == [1000] * 10
    assert images.test.mean() == pytest.approx(
        73.146, abs=0.01
    )  # 0.2868 of 255, as is often told of it
