"""Data sets that ship with scikit-learn: its digits, and pieces of its two sample photographs.

Standard library alone until images are read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.data.card import DataCard

if TYPE_CHECKING:
    import numpy as np


def _digits(split: str) -> np.ndarray:
    """Returns scikit-learn's digits, split at random because they are ordered by writer."""
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


def _photo_tiles(split: str) -> np.ndarray:
    """Returns 8x8 tiles of two photographs at half their size; test: the right fifth of each."""
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
    """Returns crops of two photographs, every 4 pixels; test: the right fifth of each.

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


CARDS = {
    "digits": DataCard(
        version=1,
        summary="scikit-learn's handwritten digits, 8x8 grey, in its wheel",
        caution="Do not rank methods by digits: of 1,437 training pictures of 8x8 pixels, which "
        "method comes out first depends on the small network and the short training, and says "
        "little of larger images. Samplers of one model share its weights and can be compared",
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
        caution="Pieces of two photographs check a path, they rank nothing",
        summary="8x8 tiles of scikit-learn's two sample photographs in colour: to try a path, "
        "never to rank",
        shape=(3, 8, 8),
        splits={"train": 1664, "test": 416},
        split_rule="by place: the right fifth of each photograph is held out",
        load=_photo_tiles,
        flips=True,
    ),
    "photo_patches": DataCard(
        version=1,
        caution="Pieces of two photographs check a path, they rank nothing",
        summary="32x32 crops of scikit-learn's two sample photographs in colour: CIFAR's shape "
        "without a download",
        shape=(3, PATCH, PATCH),
        splits={"train": 23_958, "test": 4_950},
        split_rule="by place: every 4 pixels; the right fifth of each photograph is held out, and "
        "no crop lies on both",
        load=_photo_patches,
        flips=True,
    ),
}
