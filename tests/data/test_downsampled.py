"""ImageNet at 32x32 and 64x64, on small batches in the true formats."""

import io
import pickle
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from bench.data import downsampled
from bench.data.downsampled import BATCHES, Downsampled
from bench.data.images import Images
from bench.data.registry import DATASETS

ROWS = {name: 2 + number % 2 for names in BATCHES.values() for number, name in enumerate(names)}
COUNTS = {split: sum(ROWS[name] for name in names) for split, names in BATCHES.items()}


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    return tmp_path


def kind_of(size):
    return Downsampled(size, tuple(COUNTS.items()))


def small(size):
    return Images(f"imagenet{size}", downsampled.card_of(kind_of(size)))


def content(size):
    """The planes and labels of every batch."""
    draw = np.random.default_rng(size)
    return {
        name: (
            draw.integers(0, 256, (rows, 3 * size * size), dtype=np.uint8),
            draw.integers(1, 1001, rows).tolist(),
        )
        for name, rows in ROWS.items()
    }


def pickled(pixels, labels, **more):
    mean = pixels.mean(0)
    return pickle.dumps({"data": pixels, "labels": labels, "mean": mean, **more}, protocol=2)


def saved(pixels, labels, **more):
    stream = io.BytesIO()
    np.savez(stream, data=pixels, labels=np.array(labels), **more)
    return stream.getvalue()


def write(root, size, form):
    """Writes all batches: pickles or .npz files, loose or in the archives that they come in."""
    folder = root / f"imagenet{size}"
    folder.mkdir(exist_ok=True)
    npz = "npz" in form
    files = {
        f"{name}.npz" if npz else name: (saved if npz else pickled)(*batch)
        for name, batch in content(size).items()
    }
    if not form.startswith("archive"):
        for name, bytes_ in files.items():
            (folder / name).write_bytes(bytes_)
        return
    for archive in ("train_part1", "train_part2", "val"):
        with zipfile.ZipFile(folder / f"Imagenet{size}_{archive}.zip", "w") as out:
            for number, (name, bytes_) in enumerate(files.items()):
                part = "val" if name.startswith("val") else f"train_part{1 + (number > 4)}"
                if part == archive:
                    out.writestr(name, bytes_)


FORMS = ("pickle", "npz", "archive of pickles", "archive of npz")


@pytest.mark.parametrize("size", [32, 64])
@pytest.mark.parametrize("form", FORMS)
def test_batches_follow_each_other_with_planes_of_colours_and_classes_from_0(root, size, form):
    write(root, size, form)
    data, batches = small(size), content(size)
    for split, names in BATCHES.items():
        pixels = np.concatenate([batches[name][0] for name in names])
        images = data.split(split)
        assert images.shape == (COUNTS[split], 3, size, size)
        red, green, blue = (pixels[:, k * size**2 : (k + 1) * size**2] for k in range(3))
        for plane, flat in enumerate((red, green, blue)):
            np.testing.assert_array_equal(images[:, plane], flat.reshape(-1, size, size))
        labels = np.concatenate([batches[name][1] for name in names])
        np.testing.assert_array_equal(data.labels(split), labels - 1)


def test_pickles_of_python_2_and_columns_first_are_read(root):
    write(root, 32, "pickle")
    pixels, labels = content(32)["val_data"]
    old = pickled(np.asfortranarray(pixels), labels)
    old = old.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")
    (root / "imagenet32" / "val_data").write_bytes(old)
    np.testing.assert_array_equal(small(32).test.reshape(len(pixels), -1), pixels)


def test_the_makers_counts_and_classes_are_declared():
    for size in (32, 64):
        card = DATASETS[f"imagenet{size}"]
        assert card.splits == {"train": 1_281_167, "test": 50_000}
        assert (card.shape, card.classes, card.levels) == ((3, size, size), 1000, 256)


def spoil(root, **changes):
    write(root, 32, "pickle")
    pixels, labels = content(32)["val_data"]
    file = root / "imagenet32" / "val_data"
    match changes:
        case {"size": size}:
            file.write_bytes(pickled(content(size)["val_data"][0], labels))
        case {"labels": labels}:
            file.write_bytes(pickled(pixels, labels))
        case {"cut": length}:
            file.write_bytes(file.read_bytes()[:length])
        case {"missing": name}:
            (root / "imagenet32" / name).unlink()
        case {"evil": True}:
            file.write_bytes(b"cos\nsystem\n(S'true'\ntR.")
        case {"npz": bytes_}:
            file.unlink()
            (root / "imagenet32" / "val_data.npz").write_bytes(bytes_)
        case {"floats": True}:
            file.write_bytes(pickled(pixels.astype(np.float32), labels))


DAMAGES = [
    (
        {"size": 64},
        ValueError,
        r"val_data: data has shape \(2, 12288\) of uint8, not N x 3072 bytes",
    ),
    ({"labels": [0, 5]}, ValueError, "val_data: labels should be 2 whole numbers from 1 to 1000"),
    ({"labels": [1]}, ValueError, "val_data: labels should be 2 whole numbers from 1 to 1000"),
    ({"labels": ["a", "b"]}, ValueError, "val_data: labels should be a list of whole numbers"),
    ({"cut": 3000}, ValueError, "val_data: cut short or damaged"),
    ({"missing": "train_data_batch_7"}, FileNotFoundError, "train_data_batch_7 missing: get Image"),
    ({"evil": True}, ValueError, "val_data: refused, reading it would call os.system"),
    ({"npz": b"PK\x03\x04"}, ValueError, r"val_data\.npz: "),
    ({"npz": saved(*content(32)["val_data"])[:2000]}, ValueError, r"val_data\.npz: "),
    ({"floats": True}, ValueError, "val_data: data should be N x 3072 bytes"),
]


@pytest.mark.parametrize(("change", "kind", "message"), DAMAGES)
def test_damage_is_told_by_file_with_what_to_do(root, change, kind, message):
    spoil(root, **change)
    with pytest.raises(kind, match=message) as error:
        small(32).test  # noqa: B018
    assert "https://image-net.org" in str(error.value)


def test_archive_that_is_none_and_arrays_that_are_missing_are_told(root):
    write(root, 32, "archive of npz")
    (root / "imagenet32" / "Imagenet32_val.zip").write_bytes(b"no archive")
    with pytest.raises(ValueError, match=r"Imagenet32_val\.zip: cannot be read .*get it again"):
        small(32).test  # noqa: B018
    stream = io.BytesIO()
    np.savez(stream, images=np.zeros((2, 3072), np.uint8))
    (root / "imagenet32" / "Imagenet32_val.zip").unlink()
    (root / "imagenet32" / "val_data.npz").write_bytes(stream.getvalue())
    with pytest.raises(ValueError, match=r"val_data\.npz: holds no array .*data"):
        small(32).test  # noqa: B018


def test_other_counts_than_the_makers_are_refused(root, monkeypatch):
    write(root, 32, "npz")
    monkeypatch.setitem(DATASETS, "imagenet32", replace(DATASETS["imagenet32"]))
    with pytest.raises(ValueError, match="rows were read, not 50000"):
        Images("imagenet32", DATASETS["imagenet32"]).test  # noqa: B018
