r"""Distances of samples to their nearest real images: are they new, or copies of training images?

``ratio``: mean distance to the nearest training image over that to the nearest held-out image. The
larger split has nearer neighbours, so it is divided by what held-out images themselves give, each
left out of its own split (:func:`usual_ratio`): 1 for new images of the data's distribution, 0 for
copies of training images.

``near_copies``: the share of samples whose nearest training image is nearer than a fraction (1/3)
of the distance to the second nearest. Images of a continuous distribution have both at about the
same distance.

Source: Meehan et al., 2020, https://arxiv.org/abs/2004.05675 (copying as nearness beyond that of
held-out images); Yoon et al., 2023, https://openreview.net/forum?id=shciCbSk9h (the criterion of
1/3).
"""

import numpy as np

CHUNK = 512
"""Samples whose distances to all real images are in memory at once."""


def nearest(samples: np.ndarray, real: np.ndarray, k: int, *, same: bool = False) -> np.ndarray:
    """Returns the distances to the k nearest of M real images, float64 of shape (N, k), rising.

    Candidates are found by products of matrices, their distances then computed from the
    differences: a copy is at 0.

    Args:
        samples: Shape (N, D).
        real: Shape (M, D).
        k: How many neighbours.
        same: Whether the two sets are one, so that no image is its own neighbour.

    Raises:
        ValueError: Fewer than k real images, or features that are not finite.
    """
    if len(real) < k + same:
        raise ValueError(f"{k} nearest of {len(real)} real images are asked for")
    squares = np.square(real, dtype=np.float64).sum(1)
    distances = np.empty((len(samples), k))
    candidates = min(k + same + 2, len(real))  # two to spare, because rounding may swap near ones
    for start in range(0, len(samples), CHUNK):
        part = samples[start : start + CHUNK]
        products = part @ real.T
        if not np.isfinite(products).all():
            raise ValueError("features are NaN or infinite")
        rough = squares - 2 * products
        if same:
            rough[np.arange(len(part)), start + np.arange(len(part))] = np.inf
        index = np.argpartition(rough, candidates - 1, axis=1)[:, :candidates]
        for row, (sample, near) in enumerate(zip(part, index, strict=True)):
            squared = np.square(real[near].astype(np.float64) - sample).sum(1)
            if same:
                squared[near == start + row] = np.inf
            distances[start + row] = np.sqrt(np.sort(squared)[:k])
    return distances


def ratio(to_train: np.ndarray, to_test: np.ndarray) -> float:
    """Returns the mean of the first distances over that of the second.

    Raises:
        ValueError: Every sample is a held-out image.
    """
    if not to_test.any():
        raise ValueError("every sample is a held-out image itself")
    return float(to_train.mean() / to_test.mean())


def usual_ratio(train: np.ndarray, test: np.ndarray) -> float:
    """Returns the ratio of held-out images, each compared with the other held-out ones."""
    to_train, to_test = nearest(test, train, 1), nearest(test, test, 1, same=True)
    if not to_train.any():
        raise ValueError("every held-out image is a training image too: the splits overlap")
    return ratio(to_train[:, 0], to_test[:, 0])


def near_copies(distances: np.ndarray, fraction: float) -> float:
    """Returns the share of samples whose first of two distances, (N, 2), is below a fraction."""
    return float((distances[:, 0] < fraction * distances[:, 1]).mean())
