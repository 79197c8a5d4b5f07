"""Mixtures of isotropic Gaussians: data whose density is known in closed form."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from bench.frozen import dataclass

if TYPE_CHECKING:
    import numpy as np


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
        """Returns the most probable component of N points, shape (N, d): int64, shape (N,)."""
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
