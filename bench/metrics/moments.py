r"""Mean and covariance of features, in float64; covariances are unbiased (n - 1).

Shapes: N images, D features.

Source: Chan, Golub and LeVeque, 1983 (merging moments).
"""

import numpy as np

BLOCK = 2048
"""Images whose features are folded into the moments at once; a smaller set keeps its features."""


def statistics(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns mean (D,) and unbiased covariance (D, D) of features of shape (N, D).

    Raises:
        ValueError: Fewer than 2 images, or features that are not finite.
    """
    features = checked(features)
    mean = features.mean(0)
    centred = features - mean
    return mean, centred.T @ centred / (len(features) - 1)


class Moments:
    """Mean and covariance of features that come in parts, of which no more than a block is kept.

    Blocks have one size however the parts are cut, so that equal features give equal moments.

    Raises:
        ValueError: Features that are not finite, of another dimension than those before, or of
            fewer than 2 images.
    """

    def __init__(
        self, mean: np.ndarray | None = None, covariance: np.ndarray | None = None, count: int = 0
    ) -> None:
        """Starts from mean (D,) and unbiased covariance (D, D) of ``count`` images."""
        self.count = self._folded = count
        self._mean = mean
        self._covariance = covariance
        self._scatter: np.ndarray | None = None
        self._parts: list[np.ndarray] = []
        self._pending = 0

    def add(self, features: np.ndarray) -> None:
        """Adds features of shape (n, D)."""
        bad = int((~np.isfinite(features)).any(1).sum())
        if bad:
            raise ValueError(f"features of {bad} of {len(features)} images are NaN or infinite")
        self.count += len(features)
        while len(features):
            part, features = np.split(features, [BLOCK - self._pending])
            self._parts.append(np.array(part))  # a view would keep its whole part alive
            self._pending += len(part)
            if self._pending == BLOCK and len(features):
                self._fold()

    def _fold(self) -> None:
        if self._covariance is not None:
            self._scatter, self._covariance = self._covariance * (self._folded - 1), None
        block = np.concatenate(self._parts).astype(np.float64)
        self._parts, self._pending = [], 0
        before = self._folded
        mean = block.mean(0)
        block -= mean
        scatter = block.T @ block
        if self._mean is None or self._scatter is None:
            self._mean, self._scatter = mean, scatter
        else:
            total, shift = before + len(block), mean - self._mean
            scatter += np.outer(shift, shift) * (before * len(block) / total)
            self._scatter += scatter
            self._mean = self._mean + shift * (len(block) / total)
        self._folded = before + len(block)

    @property
    def features(self) -> np.ndarray | None:
        """All features, float64 of shape (N, D), if they still fit into one block; else None."""
        if self._mean is not None or not self._parts:
            return None
        self._parts = [np.concatenate(self._parts)]
        return self._parts[0].astype(np.float64)

    @property
    def dimension(self) -> int:
        """D."""
        return self._mean.size if self._mean is not None else self._parts[0].shape[1]

    def statistics(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns mean (D,) and unbiased covariance (D, D), float64."""
        if self.count < 2:
            raise ValueError(f"a covariance needs at least 2 images, got {self.count}")
        if (features := self.features) is not None:
            return statistics(features)
        if self._pending:
            self._fold()
        if self._scatter is not None:  # one matrix is kept, not two: the next fold scales it back
            self._scatter /= self.count - 1
            self._covariance, self._scatter = self._scatter, None
        assert self._mean is not None, "a set of several images has a mean"
        assert self._covariance is not None, "and a covariance"
        return self._mean, self._covariance


def checked(features: np.ndarray) -> np.ndarray:
    """Returns features as float64 of shape (N, D); refuses what has no covariance."""
    features = np.asarray(features, np.float64)
    if features.ndim != 2:
        raise ValueError(f"features should have shape (N, D), got {features.shape}")
    if len(features) < 2:
        raise ValueError(f"a covariance needs at least 2 images, got {len(features)}")
    if not np.isfinite(features).all():
        bad = int((~np.isfinite(features)).any(1).sum())
        raise ValueError(f"features of {bad} of {len(features)} images are NaN or infinite")
    return features
