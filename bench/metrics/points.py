r"""Distances between points of a few dimensions: their values are compared themselves, no features
of them.

The energy distance of distributions P and Q, with X, X' ~ P and Y, Y' ~ Q independent, is

.. math:: 2\,\mathbb{E}|X - Y| - \mathbb{E}|X - X'| - \mathbb{E}|Y - Y'| ,

never negative, and 0 for P = Q alone. Here P and Q are the samples themselves (the V-statistic):
exact for two sets of points, at about the mean distance divided by the count above 0 for two sets
of one distribution.

Source: Szekely & Rizzo, 2013, https://doi.org/10.1016/j.jspi.2013.03.018.
"""

from functools import cached_property

import numpy as np
from scipy.spatial.distance import cdist

from bench.data.mixture import GaussianMixture
from bench.metrics.frechet import frechet_distance
from bench.metrics.moments import statistics

CHUNK = 1000
"""Points whose distances to all others are held at once: bounds the memory."""


class Points:
    """N points in d dimensions, float64 of shape (N, d), with the mean distance between two of
    them.
    """

    def __init__(self, values: np.ndarray) -> None:
        self.features = values.reshape(len(values), -1).astype(np.float64)
        self.count = len(values)

    @cached_property
    def spread(self) -> float:
        """The mean distance over all pairs, those of a point with itself included."""
        return mean_distance(self.features, self.features)


def mean_distance(x: np.ndarray, y: np.ndarray) -> float:
    """Returns the mean Euclidean distance between the points of x, shape (N, d), and those of y,
    shape (M, d).
    """
    total = sum(cdist(x[start : start + CHUNK], y).sum() for start in range(0, len(x), CHUNK))
    return float(total) / (len(x) * len(y))


def energy_distance(samples: Points, reference: Points) -> float:
    """Returns the energy distance between two sets of points."""
    return (
        2 * mean_distance(samples.features, reference.features) - samples.spread - reference.spread
    )


def mode_weight_error(samples: Points, mixture: GaussianMixture) -> float:
    """Returns the total variation between a mixture's weights and the shares of samples that belong
    to its components.

    A sample belongs to the component that is most probable given it.
    """
    shares = np.bincount(mixture.component(samples.features), minlength=len(mixture.weights)) / len(
        samples.features
    )
    return float(0.5 * np.abs(shares - mixture.weights).sum())


def exact_frechet_distance(samples: Points, mixture: GaussianMixture) -> float:
    """Returns the squared Frechet distance between the samples' mean and covariance and a mixture's
    own.

    Of n samples of the mixture itself it is not 0: of a Gaussian with covariance S = v I in d
    dimensions it is tr S (d + 5) / (4 n) on average, to first order. Compare it with what as many
    real ones have.
    """
    return frechet_distance(*statistics(samples.features), *mixture.moments())
