"""Image data sets: what each declares, and its images.

A data set declares its shape, its ``levels`` (how many values a pixel takes on disk) and its splits. Images are
uint8 in 0, ..., levels - 1 on disk; methods receive float32 in [0, 1] (:meth:`Images.batch`). Data sets of real
values (kind "real", float32 in units of their own) declare their ``range`` instead, which methods see as [0, 1].
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from bench import cifar

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
        return GaussianMixture(self.weights, (self.means - low) / (high - low), self.stds / (high - low))

    def component(self, x: np.ndarray) -> np.ndarray:
        """Returns the most probable component of each of N points, shape (N, d): int64 of shape (N,)."""
        import numpy as np

        squares = np.square(x[:, None, :] - self.means).sum(2) / np.square(self.stds)
        return np.argmax(np.log(self.weights) - x.shape[1] * np.log(self.stds) - 0.5 * squares, axis=1)


@dataclass(frozen=True, kw_only=True)
class DataCard:
    """What the harness must know of a data set before it is read.

    Args:
        version: Raised by hand when the images or the splits change.
        shape: (C, H, W).
        levels: How many values a pixel takes: 0, ..., levels - 1; 0 for real values.
        splits: Number of images of each split; the split rule is named in ``split_rule``.
        load: Returns a split by name: uint8 images, or float32 for real values, of shape (N, C, H, W).
        kind: Whether images are of discrete levels or of real values.
        range: (low, high) of real values, which become 0 and 1 for methods; None for discrete levels.
        mixture: Returns the distribution that the data are drawn from, in their own units; None where it is not known.
        classes: How many classes the images are of; 0 where they have none.
        labels: Returns the classes of a split by name: int64 of shape (N,), from 0.
        files: What must lie under BENCH_DATA, with how to get it: relative paths, of which one is enough; none: ships
            with a package.
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


class Images:
    """The images of one data set.

    Args:
        name: Its name in :data:`DATASETS`.
    """

    def __init__(self, name: str, card: DataCard) -> None:
        self.name = name
        self.card = card
        self.kind = card.kind
        self.shape = card.shape
        self.levels = card.levels
        self.range = card.range
        self.classes = card.classes

    @cached_property
    def train(self) -> np.ndarray:
        """Training images as stored: uint8, or float32 for real values, shape (N, C, H, W)."""
        return self.split("train")

    @cached_property
    def test(self) -> np.ndarray:
        """Held-out images as stored: uint8, or float32 for real values, shape (N, C, H, W)."""
        return self.split("test")

    def split(self, name: str) -> np.ndarray:
        """Returns the images of a split as stored: uint8, or float32 for real values, shape (N, C, H, W).

        Raises:
            ValueError: They are not what the data set declares.
        """
        images = self.card.load(name)
        expected = (self.card.splits[name], *self.shape)
        low, high = (0, self.levels - 1) if self.range is None else self.range
        if images.shape != expected or not (images.min() >= low and images.max() <= high):
            raise ValueError(
                f"{self.name}: split {name} has shape {images.shape}, expected {expected} in {low}..{high}"
            )
        return images

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
        """The distribution that the data are drawn from, as methods see it: in [0, 1]; None where it is not known."""
        return None if self.card.mixture is None else self.card.mixture().scaled(*self.range)

    def digest(self, name: str) -> str:
        """Returns the sha256 of a split's bytes."""
        images = self.train if name == "train" else self.test
        return hashlib.sha256(images.tobytes()).hexdigest()

    def batch(self, seed: int, k: int, size: int) -> Tensor:
        """Returns training batch ``k``, float32 in [0, 1], shape (size, C, H, W): a function of (seed, k, size) alone.

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
            orders[seed, epoch] = np.random.default_rng([seed, 0, epoch]).permutation(len(self.train))
        return orders[seed, epoch]


def data_root() -> Path:
    """Returns the one root of data and weights: the environment variable BENCH_DATA, or ``./data``."""
    return Path(os.environ.get("BENCH_DATA", "data")).expanduser().absolute()


def load_images(name: str) -> Images:
    """Returns the data set of that name; its images are read when first asked for."""
    return Images(name, DATASETS[name])


def _digits(split: str) -> np.ndarray:
    """scikit-learn's 1797 digits of 8x8 pixels in 17 levels, split at random (they are ordered by writer)."""
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
    """scikit-learn's two sample photographs at half their size, cut into 8x8 tiles; test: the right fifth of each."""
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


TOY_IMAGES = {"train": 10_000, "test": 10_000}
TOY_SEEDS = {"train": 1, "test": 2}


def _toy(name: str, split: str) -> np.ndarray:
    """Draws a split of a distribution of :mod:`bench.toy`."""
    import numpy as np

    from bench import toy

    points = getattr(toy, name)(TOY_IMAGES[split], np.random.RandomState(TOY_SEEDS[split]))
    return points.astype(np.float32)[:, :, None, None]


def _toy_mixture(name: str) -> GaussianMixture:
    from bench import toy

    return GaussianMixture(*toy.MIXTURES[name]())


def _toy_card(name: str, summary: str, high: float, *, mixture: bool) -> DataCard:
    return DataCard(
        version=1,
        summary=summary,
        shape=(2, 1, 1),
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
    "cifar10": DataCard(
        version=1,
        summary="CIFAR-10, 32x32 photographs of 10 classes in colour, from its authors' files",
        shape=cifar.SHAPE,
        levels=256,
        splits={"train": 50_000, "test": 10_000},
        split_rule="the authors': data_batch_1 to data_batch_5 for training, test_batch held out",
        load=lambda split: cifar.read(data_root(), split)[0],
        flips=True,
        classes=cifar.CLASSES,
        labels=lambda split: cifar.read(data_root(), split)[1],
        files={cifar.PLACES: cifar.HOW},
    ),
    "two_modes": _toy_card(
        "two_modes",
        "points of 0.2 N((-5, -5), I) + 0.8 N((5, 5), I) in the plane: does a sampler find the weights?",
        10.0,
        mixture=True,
    ),
    "swiss_rolls": _toy_card("swiss_rolls", "points of five small Swiss rolls in the plane", 1.25, mixture=False),
    "diamond": _toy_card("diamond", "points of nine narrow Gaussians in the plane, on a rhombus", 1.0, mixture=True),
}
