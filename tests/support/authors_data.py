"""Data sets of a few images in the formats of their authors."""

import io
import pickle
import tarfile
import zipfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from bench.data import cifar, registry
from bench.data.card import DataCard
from bench.data.images import load_images

ROWS = 12
FACES = {"train": 12, "validation": 4, "test": 8}


def write_cifar(root: Path) -> DataCard:
    """Writes CIFAR-10's archive of the python version with few images a batch; returns a card for
    as many.
    """
    kind = replace(cifar.CIFAR10, rows={"train": ROWS, "test": ROWS})
    patches = load_images("photo_patches").train
    path = root / "cifar-10-python.tar.gz"
    root.mkdir(exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for k, name in enumerate([*kind.batches["train"], *kind.batches["test"]]):
            pixels = patches[ROWS * k : ROWS * (k + 1)].reshape(ROWS, -1)
            content = python_batch(pixels, np.arange(ROWS) % 10)
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    load = partial(cifar.load, kind, "images")
    labels = partial(cifar.load, kind, "labels")
    splits = {"train": 5 * ROWS, "test": ROWS}
    return replace(registry.DATASETS["cifar10"], splits=splits, load=load, labels=labels)


def write_celeba(root: Path, size: int) -> DataCard:
    """Writes CelebA's archive and partition with few photographs; returns a card for as many."""
    folder = root / "celeba"
    folder.mkdir(parents=True, exist_ok=True)
    parts = [k for k, count in enumerate(FACES.values()) for _ in range(count)]
    lines = [f"{number:06}.jpg {part}" for number, part in enumerate(parts, start=1)]
    (folder / "list_eval_partition.txt").write_text("\n".join(lines))
    draw = np.random.default_rng(0)
    with zipfile.ZipFile(folder / "img_align_celeba.zip", "w") as archive:
        for number in range(1, len(parts) + 1):
            small = Image.fromarray(draw.integers(0, 256, (8, 6, 3), dtype=np.uint8))
            stream = io.BytesIO()
            small.resize((178, 218), Image.Resampling.BICUBIC).save(stream, "JPEG")
            archive.writestr(f"img_align_celeba/{number:06}.jpg", stream.getvalue())
    return replace(registry.DATASETS[f"celeba{size}"], splits=FACES)


class Python2Pickler(pickle._Pickler):
    """Writes texts and bytes as Python 2 wrote its strings."""

    dispatch = dict(pickle._Pickler.dispatch)

    def save_string(self, value):
        content = value.encode("latin1") if isinstance(value, str) else value
        self.write(b"T" + len(content).to_bytes(4, "little") + content)
        self.memoize(value)

    dispatch[bytes] = dispatch[str] = save_string


def python_batch(pixels, labels, /, pickler=Python2Pickler, **changes):
    """Returns a batch of the python version, which Python 2 and numpy 1 wrote."""
    stream = io.BytesIO()
    names = [f"image_{k}.png" for k in range(len(labels))]
    batch = {
        "batch_label": "a batch",
        "labels": labels.tolist(),
        "data": pixels,
        "filenames": names,
    }
    pickler(stream, protocol=2).dump({**batch, **changes})
    return stream.getvalue().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")


def binary_batch(pixels, labels):
    return np.concatenate([labels[:, None].astype(np.uint8), pixels], axis=1).tobytes()
