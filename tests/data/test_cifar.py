"""CIFAR from the true formats of its files, in small."""

import gzip
import hashlib
import io
import os
import pickle
import shutil
import tarfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from authors_data import Python2Pickler, binary_batch, python_batch

from bench.data import cifar
from bench.data.images import Images, load_images
from bench.data.registry import DATASETS

ROWS = 4
TRAIN, TEST = [f"data_batch_{k}" for k in range(1, 6)], ["test_batch"]


WRITERS = {"bin": (binary_batch, ".bin", "binary"), "py": (python_batch, "", "python")}


@pytest.fixture(scope="module")
def content():
    """The rows of every batch: (pixels, labels) by name."""
    draw = np.random.default_rng(0)
    return {
        name: (draw.integers(0, 256, (ROWS, 3072), dtype=np.uint8), draw.integers(0, 10, ROWS))
        for name in TRAIN + TEST
    }


def folder(root, content, version):
    writer, suffix, _ = WRITERS[version]
    place = root / f"cifar-10-batches-{version}"
    place.mkdir(parents=True)
    for name, batch in content.items():
        (place / f"{name}{suffix}").write_bytes(writer(*batch))
    return place


def archive(root, content, version, names=None):
    """Writes the archive as its authors did: the folder, the batches in no order, files of other
    kinds.
    """
    writer, suffix, word = WRITERS[version]
    path = root / f"cifar-10-{word}.tar.gz"
    with tarfile.open(path, "w:gz") as file:
        for name in ["readme.html", *reversed(names or list(content))]:
            data = writer(*content[name]) if name in content else b"<html>"
            member = tarfile.TarInfo(
                f"cifar-10-batches-{version}/{name}{suffix if name in content else ''}"
            )
            member.size = len(data)
            file.addfile(member, io.BytesIO(data))
    return path


def small(root):
    """Returns the data set of files with fewer images."""
    splits = {"train": 5 * ROWS, "test": ROWS}
    loaders = {"load": lambda split: cifar.read(root, split, ROWS)[0]}
    loaders |= {"labels": lambda split: cifar.read(root, split, ROWS)[1]}
    return Images("cifar10", replace(DATASETS["cifar10"], splits=splits, **loaders))


@pytest.mark.parametrize("version", WRITERS)
@pytest.mark.parametrize("write", [folder, archive])
def test_images_and_classes_are_those_of_the_files_in_every_form_of_them(
    tmp_path, content, write, version
):
    write(tmp_path, content, version)
    images = small(tmp_path)
    for split, names in (("train", TRAIN), ("test", TEST)):
        expected = np.concatenate([content[name][0] for name in names]).reshape(-1, 3, 32, 32)
        np.testing.assert_array_equal(images.split(split), expected)
        np.testing.assert_array_equal(
            images.labels(split), np.concatenate([content[name][1] for name in names])
        )
        assert images.split(split).dtype == np.uint8
        assert images.labels(split).dtype == np.int64
    assert (
        sorted(path.name for path in tmp_path.rglob("*") if path.suffix == ".html") == []
    )  # nothing was unpacked


def test_planes_are_red_green_and_blue_by_rows(tmp_path, content):
    folder(tmp_path, content, "bin")
    pixels = content["test_batch"][0]
    image = small(tmp_path).test[2]
    assert (image[0, 0, 1], image[1, 0, 0], image[2, 31, 31]) == (
        pixels[2, 1],
        pixels[2, 1024],
        pixels[2, 3071],
    )


@pytest.mark.parametrize("pickler", [pickle.Pickler, Python2Pickler])
def test_python_batches_of_either_python_are_read(tmp_path, content, pickler):
    place = folder(tmp_path, content, "py")
    pixels, labels = content["test_batch"]
    for array in (pixels, np.asfortranarray(pixels)):
        (place / "test_batch").write_bytes(python_batch(array, labels, pickler))
        np.testing.assert_array_equal(small(tmp_path).test.reshape(ROWS, -1), pixels)


def test_real_card_is_the_official_split_of_ten_thousand_rows_a_batch(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    images = Images("cifar10", DATASETS["cifar10"])
    assert (images.shape, images.levels, images.classes) == ((3, 32, 32), 256, 10)
    assert images.card.splits == {"train": 50_000, "test": 10_000}
    pixels = np.random.default_rng(0).integers(0, 256, (10_000, 3072), dtype=np.uint8)
    place = tmp_path / "cifar-10-batches-bin"
    place.mkdir()
    (place / "test_batch.bin").write_bytes(binary_batch(pixels, np.arange(10_000) % 10))
    np.testing.assert_array_equal(images.test.reshape(10_000, -1), pixels)
    with pytest.raises(
        FileNotFoundError,
        match=r"data_batch_1.bin is missing.*md5 c32a1d4ab5d03f1284b67883e8d87530",
    ):
        images.split("train")


def test_half_of_the_training_images_is_flipped(tmp_path, content):
    folder(tmp_path, content, "bin")
    images = small(tmp_path)
    batch = (images.batch(seed=0, k=0, size=20) * 255).round().byte().numpy()
    known = {image.tobytes() for image in images.train}
    flipped = sum(image.tobytes() not in known for image in batch)
    assert 4 <= flipped <= 16
    assert {image.tobytes() for image in images.train} >= {
        (image if image.tobytes() in known else image[:, :, ::-1]).tobytes() for image in batch
    }


class Crafted:
    """Runs a command when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def test_python_batch_that_would_run_code_is_refused_by_name_and_runs_nothing(tmp_path, content):
    place, marker = folder(tmp_path, content, "py"), tmp_path / "ran"
    (place / "test_batch").write_bytes(
        python_batch(*content["test_batch"], pickle.Pickler, extra=Crafted(marker))
    )
    with pytest.raises(
        ValueError, match=r"test_batch: refused, reading it would call (posix|nt)\.system"
    ):
        small(tmp_path).split("test")
    assert not marker.exists()


PIXELS, LABELS = np.zeros((ROWS, 3072), dtype=np.uint8), np.zeros(ROWS, dtype=int)
BROKEN = {
    "binary cut short": (
        "bin",
        binary_batch(PIXELS, LABELS)[:-1],
        r"has 12291 bytes, not 4 x 3073",
    ),
    "binary of other classes": ("bin", binary_batch(PIXELS, LABELS + 10), r"classes beyond 0 to 9"),
    "python cut short": ("py", python_batch(PIXELS, LABELS)[:-400], r"cut short or damaged"),
    "python that is text": ("py", b"<html>not found</html>", r"cut short or damaged"),
    "python without labels": (
        "py",
        python_batch(PIXELS, LABELS[:2]),
        r"labels should be 4 whole numbers",
    ),
    "python of CIFAR-100": (
        "py",
        python_batch(PIXELS, LABELS, labels=None),
        r"labels should be 4 whole numbers",
    ),
    "python of fewer pixels": (
        "py",
        python_batch(PIXELS[:, 1:], LABELS),
        r"data should be 4 x 3072 bytes",
    ),
    "python of floats": (
        "py",
        python_batch(PIXELS.astype("f4") * 0, LABELS),
        r"more than 4 images take|data should be",
    ),
    "python list": ("py", pickle.dumps([1, 2], protocol=2), r"holds no mapping"),
}


@pytest.mark.parametrize(("version", "broken", "message"), BROKEN.values(), ids=BROKEN)
def test_damaged_batch_is_told_by_name_with_what_to_do(tmp_path, content, version, broken, message):
    place = folder(tmp_path, content, version)
    path = place / f"test_batch{WRITERS[version][1]}"
    path.write_bytes(broken)
    with pytest.raises(ValueError, match=message) as caught:
        small(tmp_path).split("test")
    assert str(caught.value).startswith(str(path))
    assert "https://www.cs.toronto.edu/~kriz/cifar.html" in str(caught.value)


@pytest.mark.parametrize("version", WRITERS)
def test_archive_that_is_cut_short_or_lacks_a_batch_is_told_by_name(tmp_path, content, version):
    path = archive(tmp_path, content, version)
    whole = path.read_bytes()
    for broken in (whole[: len(whole) // 2], b"", b"no archive", gzip.compress(b"no archive")):
        path.write_bytes(broken)
        with pytest.raises(ValueError, match=r"tar\.gz: (cannot be unpacked|does not hold).*md5"):
            small(tmp_path).split("train")
    archive(tmp_path, content, version, names=TRAIN[:3])
    with pytest.raises(ValueError, match=r"does not hold .*data_batch_4.*data_batch_5"):
        small(tmp_path).split("train")


def test_member_outside_the_folder_is_never_written_nor_read(tmp_path, content):
    path = tmp_path / "cifar-10-binary.tar.gz"
    data = binary_batch(*content["test_batch"])
    with tarfile.open(path, "w:gz") as file:
        for name in ("../test_batch.bin", "/cifar-10-batches-bin/test_batch.bin"):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            file.addfile(member, io.BytesIO(data))
        link = tarfile.TarInfo("cifar-10-batches-bin/test_batch.bin")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        file.addfile(link)
    with pytest.raises(ValueError, match=r"does not hold cifar-10-batches-bin/test_batch\.bin"):
        small(tmp_path).split("test")
    assert not (tmp_path.parent / "test_batch.bin").exists()


FINE, COARSE = np.arange(ROWS) * 33, np.arange(ROWS) * 6


def hundred(root, version):
    """Writes CIFAR-100's folder or archive with few images; returns the data set of it and the test
    images' rows.
    """
    draw, kind = np.random.default_rng(1), cifar.CIFAR100
    rows = {
        split: draw.integers(0, 256, (ROWS, 3072), dtype=np.uint8) for split in ("train", "test")
    }
    for split, pixels in rows.items():
        if version == "python":
            place = root / "cifar-100-python"
            coarse = {
                "labels": None,
                "fine_labels": FINE.tolist(),
                "coarse_labels": COARSE.tolist(),
            }
            content, name = python_batch(pixels, FINE, **coarse), split
        else:
            place = root / "cifar-100-binary"
            codes = np.stack([COARSE, FINE], axis=1).astype(np.uint8)
            content, name = np.concatenate([codes, pixels], axis=1).tobytes(), f"{split}.bin"
        place.mkdir(exist_ok=True)
        (place / name).write_bytes(content)
    loaders = {"load": lambda split: cifar.read(root, split, ROWS, kind)[0]}
    loaders |= {"labels": lambda split: cifar.read(root, split, ROWS, kind)[1]}
    splits = {"train": ROWS, "test": ROWS}
    return Images("cifar100", replace(DATASETS["cifar100"], splits=splits, **loaders)), rows


@pytest.mark.parametrize("version", ["binary", "python"])
@pytest.mark.parametrize("archived", [False, True])
def test_hundred_classes_are_the_fine_ones_in_every_form_of_the_files(tmp_path, version, archived):
    images, rows = hundred(tmp_path, version)
    if archived:
        folder = tmp_path / f"cifar-100-{version}"
        with tarfile.open(tmp_path / f"{folder.name}.tar.gz", "w:gz") as file:
            file.add(folder, folder.name)
        shutil.rmtree(folder)
    for split, pixels in rows.items():
        np.testing.assert_array_equal(images.split(split).reshape(ROWS, -1), pixels)
        assert images.labels(split).tolist() == FINE.tolist()
    assert images.classes == 100


def test_files_of_the_other_cifar_are_refused(tmp_path, content):
    hundred(tmp_path, "python")
    (tmp_path / "cifar-100-python" / "test").write_bytes(python_batch(*content["test_batch"]))
    with pytest.raises(
        ValueError,
        match=r"fine_labels should be 4 whole numbers, so this is no batch of CIFAR-100; get",
    ):
        cifar.read(tmp_path, "test", ROWS, cifar.CIFAR100)
    with pytest.raises(
        FileNotFoundError,
        match=r"holds none of cifar-10-batches-bin.*cifar-10-python\.tar\.gz: get",
    ):
        cifar.read(tmp_path, "test", ROWS)


def test_cards_images_are_converted_once_and_again_when_a_batch_changes(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    pixels = np.random.default_rng(0).integers(0, 256, (10_000, 3072), dtype=np.uint8)
    place = tmp_path / "cifar-10-batches-bin"
    place.mkdir()
    (place / "test_batch.bin").write_bytes(binary_batch(pixels, np.arange(10_000) % 10))
    images = load_images("cifar10")
    np.testing.assert_array_equal(images.labels("test"), np.arange(10_000) % 10)
    assert isinstance(images.test.base, np.memmap)
    assert load_images("cifar10").digest("test") == hashlib.sha256(pixels.tobytes()).hexdigest()
    monkeypatch.setattr(cifar, "read", lambda *arguments, **keywords: pytest.fail("read again"))
    np.testing.assert_array_equal(load_images("cifar10").test, images.test)
    monkeypatch.undo()
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    (place / "test_batch.bin").write_bytes(binary_batch(255 - pixels, np.arange(10_000) % 10))
    np.testing.assert_array_equal(load_images("cifar10").test, 255 - images.test)


def test_stored_levels_are_seen_as_before(tmp_path, content):
    folder(tmp_path, content, "bin")
    images = small(tmp_path)
    assert (images.span, images.mixture) == (255, None)
    assert torch.equal(
        images.scaled(torch.tensor([0.0, 51.0, 255.0])), torch.tensor([0.0, 0.2, 1.0])
    )
