r"""Distances between points of a few dimensions: values themselves are compared, not features.

The energy distance of distributions P and Q, with X, X' ~ P and Y, Y' ~ Q independent, is

.. math:: 2\,\mathbb{E}|X - Y| - \mathbb{E}|X - X'| - \mathbb{E}|Y - Y'| ,

never negative, and 0 only for P = Q. Here P and Q are the samples themselves (the V-statistic):
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
"""Points whose distances to all others are in memory at once."""


class Points:
    """N points in d dimensions, float64 of shape (N, d), with their mean distance."""

    def __init__(self, values: np.ndarray) -> None:
        self.features = values.reshape(len(values), -1).astype(np.float64)
        self.count = len(values)

    @cached_property
    def spread(self) -> float:
        """The mean distance over all pairs, those of a point with itself included."""
        return mean_distance(self.features, self.features)


def mean_distance(x: np.ndarray, y: np.ndarray) -> float:
    """Returns the mean Euclidean distance between points x, shape (N, d), and y, shape (M, d)."""
    total = sum(cdist(x[start : start + CHUNK], y).sum() for start in range(0, len(x), CHUNK))
    return float(total) / (len(x) * len(y))


def energy_distance(samples: Points, reference: Points) -> float:
    """Returns the energy distance between two sets of points."""
    between = mean_distance(samples.features, reference.features)
    return 2 * between - samples.spread - reference.spread


def mode_weight_error(samples: Points, mixture: GaussianMixture) -> float:
    """Returns the total variation between a mixture's weights and samples' shares of components.

    A sample belongs to the component that is most probable given it.
    """
    components = mixture.component(samples.features)
    shares = np.bincount(components, minlength=len(mixture.weights)) / samples.count
    return float(0.5 * np.abs(shares - mixture.weights).sum())


def exact_frechet_distance(samples: Points, mixture: GaussianMixture) -> float:
    """Returns the squared Frechet distance of the samples' mean and covariance to a mixture's own.

    Of n samples of the mixture itself it is not 0: of a Gaussian with covariance S = v I in d
    dimensions it is tr S (d + 5) / (4 n) on average, to first order: compare it with that of
    as many real ones.
    """
    return frechet_distance(*statistics(samples.features), *mixture.moments())
