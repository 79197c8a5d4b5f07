"""Image data sets: what each declares, and its images.

A data set declares its shape, its ``levels`` (how many values a pixel takes on disk) and its
splits. Images are uint8 in 0, ..., levels - 1 on disk; methods receive float32 in [0, 1]
(:meth:`Images.batch`). Data sets of real values (kind "real", float32 in units of their own)
declare their ``range`` instead, which methods see as [0, 1].
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from bench.data import celeba, cifar, gallery, gallery_files, idx
from bench.data.collection import VERSION
from bench.data.digest import digest_files, digest_md5, unpacked_name
from bench.data.mapped import converted
from bench.data.subset import Drawing, drawing

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

Floats = TypeVar("Floats", "np.ndarray", "Tensor")


@dataclass(frozen=True)
class GaussianMixture:
    """A mixture of isotropic Gaussians, float64 arrays.

    Args:
        weights: Of its K components, summing to 1, shape (K,).
        means: Shape (K, d), d = C H W.
        stds: Standard deviations, the same in every dimension, shape (K,).
    """

    weights: np.ndarray
    means: np.ndarray
    stds: np.ndarray

    def scaled(self, low: float, high: float) -> GaussianMixture:
        """Returns the distribution of (x - low) / (high - low)."""
        return GaussianMixture(
            self.weights, (self.means - low) / (high - low), self.stds / (high - low)
        )

    def component(self, x: np.ndarray) -> np.ndarray:
        """Returns the most probable component of each of N points, shape (N, d): int64 of shape
        (N,).
        """
        import numpy as np

        squares = np.square(x[:, None, :] - self.means).sum(2) / np.square(self.stds)
        return np.argmax(
            np.log(self.weights) - x.shape[1] * np.log(self.stds) - 0.5 * squares, axis=1
        )

    def log_prob(self, x: np.ndarray) -> np.ndarray:
        """Returns the log-density in nats of N points, shape (N, d): float64 of shape (N,)."""
        import numpy as np

        squares = np.square(x[:, None, :] - self.means).sum(2) / np.square(self.stds)
        volumes = x.shape[1] * (np.log(self.stds) + 0.5 * math.log(2 * math.pi))
        joint = np.log(self.weights) - volumes - 0.5 * squares
        most = joint.max(1, keepdims=True)
        return most[:, 0] + np.log(np.exp(joint - most).sum(1))

    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns mean, shape (d,), and covariance, shape (d, d)."""
        import numpy as np

        mean = self.weights @ self.means
        spread = self.means - mean
        inner = (self.weights * np.square(self.stds)).sum() * np.eye(len(mean))
        return mean, inner + (self.weights[:, None] * spread).T @ spread


@dataclass(frozen=True, kw_only=True)
class FileFacts:
    """What is known of a file as its makers publish it, None where it is not.

    Args:
        size: Bytes.
        md5: Its digest, the one that is usually told.
        sha256: The better one, or as many first digits of it as are published.
        url: Where it can be downloaded as it is.
    """

    size: int | None = None
    md5: str | None = None
    sha256: str | None = None
    url: str | None = None


@dataclass(frozen=True, kw_only=True)
class DataCard:
    """What the harness must know of a data set before it is read.

    Args:
        version: Raised by hand when the images or the splits change.
        shape: (C, H, W).
        levels: How many values a pixel takes: 0, ..., levels - 1; 0 for real values.
        splits: Number of images of each split; the split rule is named in ``split_rule``.
        load: Returns a split by name: uint8 images, or float32 for real values, of shape (N, C, H,
            W).
        kind: Whether images are of discrete levels or of real values.
        range: (low, high) of real values, which become 0 and 1 for methods; None for discrete
            levels.
        mixture: Returns the distribution that the data are drawn from, in their own units; None
            where it is not known.
        classes: How many classes the images are of; 0 where they have none.
        labels: Returns the classes of a split by name: int64 of shape (N,), from 0.
        files: What must lie under BENCH_DATA, with how to get it: relative paths, of which one is
            enough; none: ships with a package.
        facts: What is known of some of these files, by path.
        unpacked: The md5 of files as their makers' archives hold them, by name, where it is told.
        sources: Returns all files that the images and classes are read from, given the data's
            folder; None: they ship with a package. Raises FileNotFoundError where one is missing.
    """

    version: int
    summary: str
    shape: tuple[int, int, int]
    levels: int
    splits: Mapping[str, int]
    split_rule: str
    load: Callable[[str], np.ndarray]
    kind: Literal["uint8", "real"] = "uint8"
    range: tuple[float, float] | None = None
    mixture: Callable[[], GaussianMixture] | None = None
    flips: bool = False
    classes: int = 0
    labels: Callable[[str], np.ndarray] | None = None
    files: Mapping[tuple[str, ...], str] = field(default_factory=dict)
    facts: Mapping[str, FileFacts] = field(default_factory=dict)
    unpacked: Mapping[str, str] = field(default_factory=dict)
    sources: Callable[[Path], Sequence[Path]] | None = None


CHUNK = 2**24
"""Values of a split that are looked at at once, so that a memory-mapped one is never held whole."""


class Images:
    """The images of one data set.

    Args:
        name: Its name in :data:`DATASETS`, or that of pictures which a suite names
            (:mod:`bench.data.gallery`).
    """

    def __init__(self, name: str, card: DataCard) -> None:
        self.name = name
        self.card = card
        self.kind = card.kind
        self.shape = card.shape
        self.levels = card.levels
        self.range = card.range
        self.classes = card.classes

    @property
    def train(self) -> np.ndarray:
        """Training images as stored: uint8, or float32 for real values, shape (N, C, H, W)."""
        return self.split("train")

    @property
    def test(self) -> np.ndarray:
        """Held-out images as stored: uint8, or float32 for real values, shape (N, C, H, W)."""
        return self.split("test")

    def split(self, name: str) -> np.ndarray:
        """Returns the images of a split as stored: uint8, or float32 for real values, shape (N, C,
        H, W).

        They are read once; those of large archives are memory-mapped (:mod:`bench.data.mapped`).

        Raises:
            FileNotFoundError: Their files are not there; the message says how to get them.
            ValueError: They are not what the data set declares, or a file is damaged.
        """
        known = self.__dict__.setdefault("_splits", {})
        if name not in known:
            images = self.card.load(name)
            self._check(name, images)
            known[name] = images
        return known[name]

    def _check(self, name: str, images: np.ndarray) -> None:
        expected = (self.card.splits[name], *self.shape)
        low, high = (0, self.levels - 1) if self.range is None else self.range
        every_byte = self.range is None and self.levels == 256 and images.dtype.name == "uint8"
        fits = images.shape == expected
        if (
            fits and not every_byte
        ):  # bytes of 256 levels cannot lie outside them, and need not be read to know
            fits = images.min() >= low and images.max() <= high
        if not fits:
            raise ValueError(
                f"{self.name}: split {name} has shape {images.shape}, expected {expected} in {low}..{high}"
            )

    @property
    def span(self) -> float:
        """How far stored values lie apart that methods see as 0 and 1."""
        return self.levels - 1 if self.range is None else self.range[1] - self.range[0]

    def scaled(self, images: Floats) -> Floats:
        """Returns stored images, floats by now, as methods see them: in [0, 1]."""
        return images / self.span if self.range is None else (images - self.range[0]) / self.span

    def unscaled(self, images: Floats) -> Floats:
        """Returns images as methods see them in the units they are stored in, floats."""
        return images * self.span if self.range is None else images * self.span + self.range[0]

    @cached_property
    def mixture(self) -> GaussianMixture | None:
        """The distribution that the data are drawn from, as methods see it: in [0, 1]; None where
        it is not known.
        """
        return None if self.card.mixture is None else self.card.mixture().scaled(*self.range)

    def digest(self, name: str) -> str:
        """Returns the sha256 of a split's bytes."""
        known = self.__dict__.setdefault("_digests", {})
        if name not in known:
            import numpy as np

            images, digest = self.split(name), hashlib.sha256()
            step = max(1, CHUNK // math.prod(self.shape))
            for start in range(0, len(images), step):
                digest.update(np.ascontiguousarray(images[start : start + step]))
            known[name] = digest.hexdigest()
        return known[name]

    def drawn(self, name: str, which: slice | np.ndarray) -> np.ndarray:
        """Returns images of a split by their numbers in the order in which they are drawn
        (:mod:`bench.data.subset`).

        Whoever takes a part of a split takes its first images in this order: ``drawn("test",
        slice(256))``. They are as stored, shape (N, C, H, W).
        """
        return self.split(name)[self.drawing(name).order[which]]

    def drawing(self, name: str) -> Drawing:
        """Returns the order in which the images of a split are drawn, made once."""
        known = self.__dict__.setdefault("_drawings", {})
        if name not in known:
            known[name] = drawing(self.split(name))
        return known[name]

    def batch(self, seed: int, k: int, size: int) -> Tensor:
        """Returns training batch ``k``, float32 in [0, 1], shape (size, C, H, W): a function of
        (seed, k, size) alone.

        Batches walk through one permutation of the training images an epoch.
        """
        images, _ = self._draw(seed, k, size)
        return images

    def labelled_batch(self, seed: int, k: int, size: int) -> tuple[Tensor, Tensor]:
        """Returns what :meth:`batch` does, and the class of each image, int64, shape (size,).

        Raises:
            ValueError: The images have no classes.
        """
        import torch

        images, index = self._draw(seed, k, size)
        return images, torch.from_numpy(self.labels("train")[index])

    def labels(self, name: str) -> np.ndarray:
        """Returns the classes of a split, int64, shape (N,).

        Raises:
            ValueError: The images have no classes.
        """
        if self.card.labels is None:
            raise ValueError(f"{self.name}: the images have no classes")
        known = self.__dict__.setdefault("_labels", {})
        if name not in known:
            known[name] = self.card.labels(name)
        return known[name]

    def _draw(self, seed: int, k: int, size: int) -> tuple[Tensor, np.ndarray]:
        """Returns training batch ``k`` and which images of the split it holds."""
        import numpy as np
        import torch

        count = len(self.train)
        positions = np.arange(k * size, (k + 1) * size)
        index = np.empty(size, dtype=np.int64)
        for epoch in np.unique(positions // count):
            inside = positions // count == epoch
            order = self._order(seed, int(epoch))
            index[inside] = order[positions[inside] % count]
        images = self.scaled(torch.from_numpy(self.train[index]).float())
        if self.card.flips:
            flipped = np.random.default_rng([seed, 1, k]).random(size) < 0.5
            images[torch.from_numpy(flipped)] = images[torch.from_numpy(flipped)].flip(-1)
        return images, index

    def _order(self, seed: int, epoch: int) -> np.ndarray:
        """Returns the permutation of one epoch; the last two are remembered."""
        import numpy as np

        orders = self.__dict__.setdefault("_orders", {})
        if (seed, epoch) not in orders:
            while len(orders) > 1:
                orders.pop(next(iter(orders)))
            orders[seed, epoch] = np.random.default_rng([seed, 0, epoch]).permutation(
                len(self.train)
            )
        return orders[seed, epoch]


def data_root() -> Path:
    """Returns the one root of data and weights: the environment variable BENCH_DATA, or ``./data``;
    empty is unset.
    """
    given = os.environ.get("BENCH_DATA", "")
    return Path(os.path.expanduser(given if given.strip() else "data")).absolute()


def content(name: str, cache: Path | None = None) -> str | None:
    """Returns the sha256 of the files that a data set is read from, None where they are those that
    are published.

    So the name and the version say which images are meant until other files lie under the name:
    then the digest says it too (:attr:`bench.spec.TrainSpec.dataset_sha256`). None also where the
    data set ships with a package or is named after its content, and where its files are not there:
    those that are published are expected.

    Args:
        cache: Folder that remembers digests; None: always read the files.
    """
    return _content(_sources(name), name, cache)


def check_content(name: str, sha256: str | None, cache: Path | None = None) -> None:
    """Makes sure that the files of a data set, where they are there, are those that a spec stands
    for.

    Args:
        sha256: What :func:`content` said when the spec was made.
        cache: As for :func:`content`.

    Raises:
        ValueError: They are others.
    """
    files = _sources(name)
    found = _content(files, name, cache)
    if files and found != sha256:
        is_, was = (
            f"sha256 {digest[:12]}..." if digest else "as published" for digest in (found, sha256)
        )
        raise ValueError(
            f"data set {name}: its files, {files[0]}{' and others' if len(files) > 1 else ''}, are not those that the "
            f"suite was planned with ({is_}, not {was}); start the suite again"
        )


def _sources(name: str) -> Sequence[Path]:
    """Returns the files of a data set, none where one is missing or it has none."""
    card = data_card(name)
    try:
        files = [] if card.sources is None else card.sources(data_root())
    except FileNotFoundError:
        return []
    return files if all(file.is_file() for file in files) else []


def _content(files: Sequence[Path], name: str, cache: Path | None) -> str | None:
    card = data_card(name)
    known = {place.rsplit("/", 1)[-1]: facts.md5 for place, facts in card.facts.items()} | dict(
        card.unpacked
    )
    published = [known.get(unpacked_name(file)) for file in files]
    if all(
        md5 and digest_md5(file, cache) == md5 for file, md5 in zip(files, published, strict=True)
    ):
        return None
    return digest_files(files, cache)


def load_images(name: str) -> Images:
    """Returns the data set of that name; its images are read when first asked for."""
    return Images(name, data_card(name))


@lru_cache(maxsize=64)
def _gallery_card(name: str) -> DataCard:
    pictures = gallery.Gallery.of(name)
    return DataCard(
        version=VERSION,
        summary=pictures.summary,
        shape=pictures.shaping.shape,
        levels=256,
        splits=pictures.splits,
        split_rule=pictures.split_rule,
        load=lambda split: gallery.load(pictures, split, data_root()),
        flips=pictures.flips,
    )


def data_card(name: str) -> DataCard:
    """Returns the card of a data set: one of :data:`DATASETS`, or that of pictures which a suite
    names.

    Raises:
        ValueError: There is none of that name.
    """
    return _gallery_card(name) if "{" in name else DATASETS[name]


def settle(kind: str, params: Any, cache: Path | None) -> tuple[str, str]:
    """Returns the name of the data set that a suite describes, and a line on it for a person.

    Args:
        kind: One of :data:`bench.data.gallery.KINDS`, with an instance of it.
        cache: Folder that remembers digests; None: always read the pictures.

    Raises:
        ValueError: The pictures are not there, too few, or cannot be split or read.
    """
    settled, line = gallery_files.settle(kind, params, data_root(), cache)
    return settled.name, line


def equal_pictures(name: str) -> int | None:
    """Returns how many held-out images of a data set that a suite describes equal one for training.

    None where that is not known: of other data sets, and before the images are converted.

    Raises:
        FileNotFoundError, ValueError: The pictures are gone, changed or damaged.
    """
    return (
        gallery_files.equal_pictures(gallery.Gallery.of(name), data_root()) if "{" in name else None
    )


def _digits(split: str) -> np.ndarray:
    """scikit-learn's 1797 digits of 8x8 pixels in 17 levels, split at random (they are ordered by
    writer).
    """
    import numpy as np
    from sklearn.datasets import load_digits

    images = load_digits().images.astype(np.uint8)[:, None]
    return np.ascontiguousarray(images[_digits_index(split)])


def digits_labels(split: str) -> np.ndarray:
    """Returns which digit each image of a split of ``digits`` shows, int64 of shape (N,)."""
    import numpy as np
    from sklearn.datasets import load_digits

    return load_digits().target.astype(np.int64)[_digits_index(split)]


def _digits_index(split: str) -> np.ndarray:
    import numpy as np

    order = np.random.default_rng(0).permutation(1797)
    return order[:1437] if split == "train" else order[1437:]


def _photos(split: str) -> np.ndarray:
    """scikit-learn's two sample photographs at half their size, cut into 8x8 tiles; test: the right
    fifth of each.
    """
    import numpy as np
    from sklearn.datasets import load_sample_images

    tiles = []
    for photo in load_sample_images().images:
        rows, columns = photo.shape[0] // 16, photo.shape[1] // 16
        squares = photo[: 16 * rows, : 16 * columns].reshape(8 * rows, 2, 8 * columns, 2, 3)
        small = np.rint(squares.mean((1, 3))).astype(np.uint8).reshape(rows, 8, columns, 8, 3)
        part = slice(columns * 4 // 5) if split == "train" else slice(columns * 4 // 5, None)
        tiles.append(small[:, :, part].transpose(0, 2, 4, 1, 3).reshape(-1, 3, 8, 8))
    images = np.concatenate(tiles)
    return np.ascontiguousarray(images[np.random.default_rng(0).permutation(len(images))])


PATCH = 32
PATCH_STRIDE = 4
HELD_OUT_FROM = 512
"""The column from which photographs are held out: the right fifth of their 640."""


def _photo_patches(split: str) -> np.ndarray:
    """Crops of scikit-learn's two sample photographs in CIFAR's shape, every 4 pixels; test: the
    right fifth of each.

    No pixel of a training crop is in a test crop.
    """
    import numpy as np
    from sklearn.datasets import load_sample_images

    crops = []
    for photo in load_sample_images().images:
        part = photo[:, :HELD_OUT_FROM] if split == "train" else photo[:, HELD_OUT_FROM:]
        windows = np.lib.stride_tricks.sliding_window_view(part, (PATCH, PATCH), axis=(0, 1))
        crops.append(windows[::PATCH_STRIDE, ::PATCH_STRIDE].reshape(-1, 3, PATCH, PATCH))
    images = np.concatenate(crops)
    return np.ascontiguousarray(images[np.random.default_rng(0).permutation(len(images))])


def _cifar(kind: cifar.Cifar, what: Literal["images", "labels"], split: str) -> np.ndarray:
    """Returns images or classes of CIFAR-10 or -100, memory-mapped."""
    root, name = data_root(), f"{kind.name.lower().replace('-', '')}-{split}-{what}"
    rows = kind.rows[split] * len(kind.batches[split])
    images = what == "images"
    return converted(
        root,
        name,
        "cifar 1",
        cifar.sources(root, split, kind),
        (rows, *cifar.SHAPE) if images else (rows,),
        lambda: [cifar.read(root, split, kind=kind)[0 if images else 1]],
        "uint8" if images else "int64",
    )


def _celeba_card(size: int) -> DataCard:
    return DataCard(
        version=1,
        summary=f"CelebA's aligned faces, central 140x140 pixels, Pillow's bilinear filter to {size}x{size}, in colour",
        shape=celeba.SHAPINGS[size].shape,
        levels=256,
        splits=celeba.SPLITS,
        split_rule="the authors': list_eval_partition.txt",
        load=lambda split: celeba.images(data_root(), size, split),
        flips=True,
        files={celeba.PLACES: celeba.HOW, (celeba.PARTITION,): celeba.HOW},
        facts={
            celeba.PLACES[0]: FileFacts(size=1_443_490_838, md5="00d2c5bc6d35e252742224ab0c1e8fcb"),
            celeba.PARTITION: FileFacts(md5="d32c9cbf5e040fd4025c592c306e6668"),
        },
        sources=celeba.sources,
    )


def _cifar_card(kind: cifar.Cifar, split_rule: str, facts: Mapping[str, FileFacts]) -> DataCard:
    return DataCard(
        version=1,
        summary=f"{kind.name}, 32x32 photographs of {kind.classes} classes in colour, from its authors' files",
        shape=cifar.SHAPE,
        levels=256,
        splits={"train": 50_000, "test": 10_000},
        split_rule=split_rule,
        load=partial(_cifar, kind, "images"),
        flips=True,
        classes=kind.classes,
        labels=partial(_cifar, kind, "labels"),
        files={kind.places: kind.how},
        facts=facts,
        unpacked=kind.unpacked,
        sources=lambda root: list(
            dict.fromkeys(path for part in kind.rows for path in cifar.sources(root, part, kind))
        ),
    )


KRIZHEVSKY = "https://www.cs.toronto.edu/~kriz"


def _mnist_card(kind: idx.Mnist, summary: str) -> DataCard:
    facts = {
        name: FileFacts(size=size, md5=md5, url=url) for name, size, md5, url in kind.published
    }
    return DataCard(
        version=1,
        summary=summary,
        shape=(1, *idx.SHAPE),
        levels=256,
        splits=idx.ROWS,
        split_rule="the authors': the train files for training, the t10k files held out",
        load=lambda split: kind.images(data_root(), split),
        classes=idx.CLASSES,
        labels=lambda split: kind.labels(data_root(), split),
        files=dict.fromkeys(kind.places, kind.how),
        facts=facts,
        unpacked=kind.unpacked,
        sources=kind.sources,
    )


TOY_IMAGES = {"train": 10_000, "test": 10_000}
TOY_SEEDS = {"train": 1, "test": 2}


def _toy(name: str, split: str) -> np.ndarray:
    """Draws a split of a distribution of :mod:`bench.data.synthetic`."""
    import numpy as np

    from bench.data import synthetic

    points = getattr(synthetic, name)(TOY_IMAGES[split], np.random.RandomState(TOY_SEEDS[split]))
    return points.astype(np.float32)[:, :, None, None]


def _toy_mixture(name: str) -> GaussianMixture:
    from bench.data import synthetic

    return GaussianMixture(*synthetic.MIXTURES[name]())


def _toy_card(
    name: str, summary: str, high: float, *, mixture: bool, dimensions: int = 2
) -> DataCard:
    return DataCard(
        version=1,
        summary=summary,
        shape=(dimensions, 1, 1),
        levels=0,
        splits=TOY_IMAGES,
        split_rule=f"drawn by numpy's RandomState, seeds {TOY_SEEDS['train']} (train) and {TOY_SEEDS['test']} (test)",
        load=lambda split: _toy(name, split),
        kind="real",
        range=(-high, high),
        mixture=(lambda: _toy_mixture(name)) if mixture else None,
    )


DATASETS: Mapping[str, DataCard] = {
    "digits": DataCard(
        version=1,
        summary="scikit-learn's handwritten digits, 8x8 grey, in its wheel",
        shape=(1, 8, 8),
        levels=17,
        splits={"train": 1437, "test": 360},
        split_rule="random: numpy default_rng(0).permutation(1797), first 1437 for training",
        load=_digits,
        classes=10,
        labels=digits_labels,
    ),
    "photo_tiles": DataCard(
        version=1,
        summary="8x8 tiles of scikit-learn's two sample photographs in colour: to try a path, never to rank",
        shape=(3, 8, 8),
        levels=256,
        splits={"train": 1664, "test": 416},
        split_rule="by place: the right fifth of each photograph is held out",
        load=_photos,
        flips=True,
    ),
    "photo_patches": DataCard(
        version=1,
        summary="32x32 crops of scikit-learn's two sample photographs in colour: CIFAR's shape without a download",
        shape=(3, PATCH, PATCH),
        levels=256,
        splits={"train": 23_958, "test": 4_950},
        split_rule="by place: every 4 pixels; the right fifth of each photograph is held out, and no crop lies on both",
        load=_photo_patches,
        flips=True,
    ),
    "mnist": _mnist_card(
        idx.MNIST, "MNIST's handwritten digits, 28x28 grey, from its authors' files"
    ),
    "fashion_mnist": _mnist_card(
        idx.FASHION_MNIST, "Fashion-MNIST, 28x28 grey pictures of clothes, from its authors' files"
    ),
    "fashion_mnist14": replace(
        _mnist_card(
            idx.FASHION_MNIST, "Fashion-MNIST at 14x14, means of 2x2 pixels: for studies on a CPU"
        ),
        shape=(1, 14, 14),
        splits=idx.QUARTER_ROWS,
        split_rule="the train files' first 50,000 for training and last 10,000 for validation, the t10k files held out",
        load=lambda split: idx.FASHION_MNIST.quarters(data_root(), split),
        labels=lambda split: idx.FASHION_MNIST.quarter_labels(data_root(), split),
    ),
    "cifar10": _cifar_card(
        cifar.CIFAR10,
        "the authors': data_batch_1 to data_batch_5 for training, test_batch held out",
        {
            "cifar-10-binary.tar.gz": FileFacts(
                size=170_052_171,
                md5="c32a1d4ab5d03f1284b67883e8d87530",
                url=f"{KRIZHEVSKY}/cifar-10-binary.tar.gz",
            ),
            "cifar-10-python.tar.gz": FileFacts(
                size=170_498_071,
                md5="c58f30108f718f92721af3b95e74349a",
                url=f"{KRIZHEVSKY}/cifar-10-python.tar.gz",
            ),
        },
    ),
    "cifar100": _cifar_card(
        cifar.CIFAR100,
        "the authors': train for training, test held out",
        {
            "cifar-100-binary.tar.gz": FileFacts(
                md5="03b5dce01913d631647c71ecec9e9cb8", url=f"{KRIZHEVSKY}/cifar-100-binary.tar.gz"
            ),
            "cifar-100-python.tar.gz": FileFacts(
                size=169_001_437,
                md5="eb9058c3a382ffc7106e4002c42a8d85",
                url=f"{KRIZHEVSKY}/cifar-100-python.tar.gz",
            ),
        },
    ),
    "celeba32": _celeba_card(32),
    "celeba64": _celeba_card(64),
    "gaussian": _toy_card(
        "gaussian",
        "points of one Gaussian of unit width in eight dimensions",
        8.0,
        mixture=True,
        dimensions=8,
    ),
    "gaussian_mixture": _toy_card(
        "gaussian_mixture",
        "points of four Gaussians of unlike weight and width in eight dimensions",
        8.0,
        mixture=True,
        dimensions=8,
    ),
    "two_modes": _toy_card(
        "two_modes",
        "points of 0.2 N((-5, -5), I) + 0.8 N((5, 5), I) in the plane: does a sampler find the weights?",
        10.0,
        mixture=True,
    ),
    "swiss_rolls": _toy_card(
        "swiss_rolls", "points of five small Swiss rolls in the plane", 1.25, mixture=False
    ),
    "diamond": _toy_card(
        "diamond", "points of nine narrow Gaussians in the plane, on a rhombus", 1.0, mixture=True
    ),
}
