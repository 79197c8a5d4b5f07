r"""The Frechet distance between Gaussians fitted to two sets of features.

.. math::
    d^2 = \|m_1 - m_2\|^2 + \operatorname{tr} S_1 + \operatorname{tr} S_2
          - 2 \operatorname{tr} (S_1^{1/2} S_2 S_1^{1/2})^{1/2},

the squared 2-Wasserstein distance of :math:`\mathcal{N}(m_1, S_1)` and :math:`\mathcal{N}(m_2,
S_2)`. With any factors :math:`S_i = F_i^\top F_i` the last trace is the sum of the singular values
of :math:`F_1 F_2^\top`, so it stays real and finite where a general matrix square root does not:
singular covariances, fewer images than dimensions.

Everything in float64; covariances are unbiased (n - 1). Shapes: N images, D features.

The distance of n images is biased upwards by about a constant over n; :func:`frechet_at_infinity`
lays a line in 1/n through the distances of subsets and takes it to 0. With fewer than about 2.4
images per dimension the bias rises faster than 1/n, and a line through such subsets subtracts too
much.

Source: Dowson and Landau, 1982 (the closed form); Heusel et al., 2017,
https://arxiv.org/abs/1706.08500; Chan, Golub and LeVeque, 1983 (merging moments); Chong and
Forsyth, 2020, https://arxiv.org/abs/1911.07023 (the line).
"""

import numpy as np
from scipy import linalg

from bench.metrics.infinity import SUBSET_PER_DIMENSION, least_for_infinity

BLOCK = 2048
"""Images whose features are folded into the moments at once; a smaller set keeps its features."""


def statistics(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns mean (D,) and unbiased covariance (D, D) of features of shape (N, D).

    Raises:
        ValueError: Fewer than 2 images, or features that are not finite.
    """
    features = _checked(features)
    mean = features.mean(0)
    centred = features - mean
    return mean, centred.T @ centred / (len(features) - 1)


class Moments:
    """Mean and covariance of features that come in parts; no more than a block of them is held.

    Blocks have one size however the parts are cut, so that equal features give equal moments.

    Raises:
        ValueError: Features that are not finite, of another dimension than those before, or of
            fewer than 2 images.
    """

    def __init__(
        self, mean: np.ndarray | None = None, covariance: np.ndarray | None = None, count: int = 0
    ) -> None:
        """Starts with what is known of ``count`` images: mean (D,) and unbiased covariance (D,
        D).
        """
        self.count = self._folded = count
        self._mean = mean
        self._covariance = covariance
        self._scatter: np.ndarray | None = None
        self._parts: list[np.ndarray] = []
        self._held = 0

    def add(self, features: np.ndarray) -> None:
        """Takes features of shape (n, D)."""
        bad = int((~np.isfinite(features)).any(1).sum())
        if bad:
            raise ValueError(f"features of {bad} of {len(features)} images are NaN or infinite")
        self.count += len(features)
        while len(features):
            part, features = np.split(features, [BLOCK - self._held])
            self._parts.append(np.array(part))  # a view would keep its whole part alive
            self._held += len(part)
            if self._held == BLOCK and len(features):
                self._fold()

    def _fold(self) -> None:
        if self._covariance is not None:
            self._scatter, self._covariance = self._covariance * (self._folded - 1), None
        block = np.concatenate(self._parts).astype(np.float64)
        self._parts, self._held = [], 0
        before = self._folded
        mean = block.mean(0)
        block -= mean
        scatter = block.T @ block
        if self._mean is None:
            self._mean, self._scatter = mean, scatter
        else:
            total, shift = before + len(block), mean - self._mean
            scatter += np.outer(shift, shift) * (before * len(block) / total)
            self._scatter += scatter
            self._mean = self._mean + shift * (len(block) / total)
        self._folded = before + len(block)

    @property
    def features(self) -> np.ndarray | None:
        """All features, float64 of shape (N, D), where they still fit into one block; else None."""
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
        if self._held:
            self._fold()
        if (
            self._covariance is None
        ):  # one matrix is held, not two: the next fold makes the scatter of it again
            self._scatter /= self.count - 1
            self._covariance, self._scatter = self._scatter, None
        return self._mean, self._covariance


def frechet_of_moments(moments1: Moments, moments2: Moments) -> float:
    """Returns the squared Frechet distance of two sets of features by their moments.

    Raises:
        ValueError: Unequal D, or fewer than 2 images.
    """
    for moments in (moments1, moments2):
        if moments.count < 2:
            raise ValueError(f"a covariance needs at least 2 images, got {moments.count}")
    if moments1.dimension != moments2.dimension:
        raise ValueError(
            f"features have {moments1.dimension} and {moments2.dimension} dimensions: not one extractor's"
        )
    features1, features2 = moments1.features, moments2.features
    few = min(moments1.count, moments2.count) < moments1.dimension
    if few and features1 is not None and features2 is not None:
        return frechet_from_features(features1, features2)
    for features, other in ((features1, moments2), (features2, moments1)):
        if features is not None and len(features) < moments1.dimension:
            return _thin_distance(features, *other.statistics())
    return frechet_distance(*moments1.statistics(), *moments2.statistics())


def frechet_at_infinity(
    features: np.ndarray, reference: Moments, sizes: int = 15, seed: int = 0
) -> float:
    """Returns where a line in 1/n through the distances of subsets meets 1/n = 0.

    It may lie below 0 by noise, unlike a distance.

    Args:
        features: Of the samples, shape (N, D); subsets are drawn from them without replacement.
        reference: What they are compared with, once and for all: its own bias stays.
        sizes: How many subsets, of sizes from N/10 (but at least :data:`SUBSET_PER_DIMENSION` D) to
            N, evenly spaced in 1/n.
        seed: Of the subsets.

    Raises:
        ValueError: Features that are not finite, or of fewer images than
            :func:`bench.metrics.infinity.least_for_infinity`.
    """
    features = _checked(features)
    count, dimension = features.shape
    if count < (least := least_for_infinity(dimension)):
        raise ValueError(
            f"a line through subsets in {dimension} dimensions needs {least} images, got {count}"
        )
    smallest = max(count // 10, SUBSET_PER_DIMENSION * dimension)
    wanted = np.unique(np.rint(1 / np.linspace(1 / count, 1 / smallest, sizes)).astype(int))
    generator = np.random.default_rng([seed, count])
    known, values = reference.statistics(), []
    for size in wanted:
        subset = features[np.sort(generator.permutation(count)[:size])]
        values.append(frechet_distance(*known, *statistics(subset)))
    return float(np.polyfit(1 / wanted, values, 1)[1])


def frechet_distance(
    mean1: np.ndarray, cov1: np.ndarray, mean2: np.ndarray, cov2: np.ndarray
) -> float:
    """Returns the squared Frechet distance of two Gaussians, means (D,) and covariances (D, D).

    Raises:
        ValueError: Shapes that do not fit together, or values that are not finite.
    """
    mean1, cov1, mean2, cov2 = (
        np.asarray(value, np.float64) for value in (mean1, cov1, mean2, cov2)
    )
    d = mean1.size
    if mean1.shape != (d,) or mean2.shape != (d,) or cov1.shape != (d, d) or cov2.shape != (d, d):
        shapes = ", ".join(str(value.shape) for value in (mean1, cov1, mean2, cov2))
        raise ValueError(
            f"means and covariances should have shapes (D,), (D, D), (D,), (D, D), got {shapes}"
        )
    if not all(np.isfinite(value).all() for value in (mean1, cov1, mean2, cov2)):
        raise ValueError("means or covariances hold NaN or infinity")
    variances, axes = linalg.eigh(cov1)
    factor = np.multiply(axes, np.sqrt(np.maximum(variances, 0)), out=axes)
    squares = linalg.eigvalsh(factor.T @ cov2 @ factor, overwrite_a=True)
    overlap = np.sqrt(np.maximum(squares, 0)).sum()
    return _distance(mean1 - mean2, np.trace(cov1) + np.trace(cov2), overlap)


def frechet_from_features(features1: np.ndarray, features2: np.ndarray) -> float:
    """Returns the squared Frechet distance of two sets of features, shapes (N, D) and (M, D).

    With fewer images than dimensions on either side the covariances are never formed: singular
    values of the thin factors cost N M min(N, M) instead of D^3 and keep full precision on singular
    covariances.

    Raises:
        ValueError: Fewer than 2 images, unequal D, or features that are not finite.
    """
    features1, features2 = _checked(features1), _checked(features2)
    if features1.shape[1] != features2.shape[1]:
        raise ValueError(
            f"features have {features1.shape[1]} and {features2.shape[1]} dimensions: not one extractor's"
        )
    if min(len(features1), len(features2)) >= features1.shape[1]:
        return frechet_distance(*statistics(features1), *statistics(features2))
    mean1, factor1 = _factor(features1)
    mean2, factor2 = _factor(features2)
    overlap = linalg.svdvals(factor1 @ factor2.T).sum()
    return _distance(mean1 - mean2, np.square(factor1).sum() + np.square(factor2).sum(), overlap)


def _thin_distance(features: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> float:
    """Returns the distance of few features, shape (N, D) with N < D, to a Gaussian: N D^2 and N^3
    instead of D^3.

    With S_1 = F^T F the trace is that of the square root of F S_2 F^T, of shape (N, N).
    """
    own, factor = _factor(_checked(features))
    squares = linalg.eigvalsh(factor @ covariance @ factor.T)
    overlap = np.sqrt(np.maximum(squares, 0)).sum()
    return _distance(own - mean, np.square(factor).sum() + np.trace(covariance), overlap)


def _factor(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the mean and the shortest F with F^T F the covariance, shape (min(N, D), D)."""
    mean = features.mean(0)
    factor = (features - mean) / np.sqrt(len(features) - 1)
    if len(features) > features.shape[1]:
        factor = linalg.qr(factor, mode="r")[0][: features.shape[1]]
    return mean, factor


def _distance(shift: np.ndarray, spread: float, overlap: float) -> float:
    """Never below 0: what rounding leaves there is about 1e-15 of the spread."""
    return max(float(shift @ shift + spread - 2 * overlap), 0.0)


def _checked(features: np.ndarray) -> np.ndarray:
    features = np.asarray(features, np.float64)
    if features.ndim != 2:
        raise ValueError(f"features should have shape (N, D), got {features.shape}")
    if len(features) < 2:
        raise ValueError(f"a covariance needs at least 2 images, got {len(features)}")
    if not np.isfinite(features).all():
        bad = int((~np.isfinite(features)).any(1).sum())
        raise ValueError(f"features of {bad} of {len(features)} images are NaN or infinite")
    return features
