"""Image data sets: what each declares, and its images.

A data set declares its shape, its ``levels`` (how many values a pixel takes on disk) and its
splits. Images are uint8 in 0, ..., levels - 1 on disk; methods receive float32 in [0, 1]
(:meth:`Images.batch`). Data sets of real values (kind "real", float32 in units of their own)
declare their ``range`` instead, which methods see as [0, 1].
"""

from __future__ import annotations

import hashlib
import math
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from bench.data.fault import InputError
from bench.data.subset import Drawing, drawing

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor
from bench.data.card import DataCard
from bench.data.mixture import GaussianMixture
from bench.data.registry import data_card

Floats = TypeVar("Floats", "np.ndarray", "Tensor")

CHUNK = 2**24
"""Values that are hashed at once, so that a memory-mapped split is never in memory as a whole."""


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
        self._splits: dict[str, np.ndarray] = {}
        self._digests: dict[str, str] = {}
        self._drawings: dict[str, Drawing] = {}
        self._labels: dict[str, np.ndarray] = {}
        self._orders: dict[tuple[int, int], np.ndarray] = {}

    @property
    def train(self) -> np.ndarray:
        """Training images as stored: uint8, or float32 for real values, shape (N, C, H, W)."""
        return self.split("train")

    @property
    def test(self) -> np.ndarray:
        """Held-out images as stored: uint8, or float32 for real values, shape (N, C, H, W)."""
        return self.split("test")

    def split(self, name: str) -> np.ndarray:
        """Returns a split as stored: uint8, or float32 for real values, shape (N, C, H, W).

        They are read once; those of large archives are memory-mapped (:mod:`bench.data.mapped`).

        Raises:
            FileNotFoundError: Their files are not there; the message says how to get them.
            ValueError: They are not what the data set declares, or a file is damaged.
        """
        if name not in self._splits:
            images = self.card.load(name)
            self._check(name, images)
            self._splits[name] = images
        return self._splits[name]

    def _check(self, name: str, images: np.ndarray) -> None:
        expected = (self.card.splits[name], *self.shape)
        low, high = (0, self.levels - 1) if self.range is None else self.range
        every_byte = self.range is None and self.levels == 256 and images.dtype.name == "uint8"
        fits = images.shape == expected
        if fits and not every_byte:  # bytes of 256 levels cannot lie outside them
            fits = images.min() >= low and images.max() <= high
        if not fits:
            raise InputError(
                f"{self.name}: split {name} has shape {images.shape}, expected {expected} in "
                f"{low}..{high}"
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
        """The distribution of the data as methods see them, in [0, 1]; None if not known."""
        if self.card.mixture is None or self.range is None:
            return None
        return self.card.mixture().scaled(*self.range)

    def digest(self, name: str) -> str:
        """Returns the sha256 of a split's bytes."""
        if name not in self._digests:
            import numpy as np

            images, digest = self.split(name), hashlib.sha256()
            step = max(1, CHUNK // math.prod(self.shape))
            for start in range(0, len(images), step):
                digest.update(np.ascontiguousarray(images[start : start + step]).data)
            self._digests[name] = digest.hexdigest()
        return self._digests[name]

    def drawn(self, name: str, which: slice | np.ndarray) -> np.ndarray:
        """Returns images by their place in the order of :mod:`bench.data.subset`, as stored, shape
        (N, C, H, W).

        A part of a split is its first images in this order: ``drawn("test", slice(256))``.
        """
        return self.split(name)[self.drawing(name).order[which]]

    def drawing(self, name: str) -> Drawing:
        """Returns the order in which the images of a split are drawn, made once."""
        if name not in self._drawings:
            self._drawings[name] = drawing(self.split(name))
        return self._drawings[name]

    def batch(self, seed: int, k: int, size: int) -> Tensor:
        """Returns training batch ``k``, float32 in [0, 1], shape (size, C, H, W): a function of
        only (seed, k, size).

        Batches walk through one permutation of the training images per epoch.
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
            raise InputError(f"{self.name}: the images have no classes")
        if name not in self._labels:
            self._labels[name] = self.card.labels(name)
        return self._labels[name]

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

        orders = self._orders
        if (seed, epoch) not in orders:
            while len(orders) > 1:
                orders.pop(next(iter(orders)))
            orders[seed, epoch] = np.random.default_rng([seed, 0, epoch]).permutation(
                len(self.train)
            )
        return orders[seed, epoch]


def load_images(name: str) -> Images:
    """Returns the data set of that name; its images are read when first asked for."""
    return Images(name, data_card(name))
