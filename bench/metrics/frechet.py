r"""The Frechet distance between Gaussians fitted to two sets of features.

.. math::
    d^2 = \|m_1 - m_2\|^2 + \operatorname{tr} S_1 + \operatorname{tr} S_2
          - 2 \operatorname{tr} (S_1^{1/2} S_2 S_1^{1/2})^{1/2},

the squared 2-Wasserstein distance of :math:`\mathcal{N}(m_1, S_1)` and :math:`\mathcal{N}(m_2,
S_2)`. With any factors :math:`S_i = F_i^\top F_i` the last trace is the sum of the singular values
of :math:`F_1 F_2^\top`, or of the roots of the eigenvalues of
:math:`F_1 S_2 F_1^\top`, so it stays real and finite when a general matrix square root does not:
singular covariances, fewer images than dimensions.

Everything in float64. Shapes: N images, D features.

The distance of n images is biased upwards by about a constant over n; :func:`frechet_at_infinity`
lays a line in 1/n through the distances of subsets and takes it to 0. With fewer than about 2.4
images per dimension the bias rises faster than 1/n, and a line through such subsets subtracts too
much.

Source: Dowson and Landau, 1982 (the closed form); Heusel et al., 2017,
https://arxiv.org/abs/1706.08500; Chong and Forsyth, 2020, https://arxiv.org/abs/1911.07023 (the
line).
"""

import numpy as np
from scipy import linalg
from scipy.linalg import lapack

from bench.metrics.infinity import SUBSET_PER_DIMENSION, least_for_infinity
from bench.metrics.moments import Moments, checked, statistics


def frechet_of_moments(moments1: Moments, moments2: Moments) -> float:
    """Returns the squared Frechet distance of two sets of features by their moments.

    Raises:
        ValueError: Unequal D, or fewer than 2 images.
    """
    for moments in (moments1, moments2):
        if moments.count < 2:
            raise ValueError(f"a covariance needs at least 2 images, got {moments.count}")
    if moments1.dimension != moments2.dimension:
        raise _of_two_extractors(moments1.dimension, moments2.dimension)
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
    features = checked(features)
    count, dimension = features.shape
    if count < (least := least_for_infinity(dimension)):
        raise ValueError(
            f"a line through subsets in {dimension} dimensions needs {least} images, got {count}"
        )
    smallest = max(count // 10, SUBSET_PER_DIMENSION * dimension)
    counts = np.unique(np.rint(1 / np.linspace(1 / count, 1 / smallest, sizes)).astype(int))
    generator = np.random.default_rng([seed, count])
    gaussian, values = reference.statistics(), []
    for size in counts:
        subset = features[np.sort(generator.permutation(count)[:size])]
        values.append(frechet_distance(*gaussian, *statistics(subset)))
    return float(np.polyfit(1 / counts, values, 1)[1])


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
    spread = np.trace(cov1) + np.trace(cov2)
    return _distance(mean1 - mean2, spread, _overlap(cov1, cov2))


def frechet_from_features(features1: np.ndarray, features2: np.ndarray) -> float:
    """Returns the squared Frechet distance of two sets of features, shapes (N, D) and (M, D).

    With fewer images than dimensions on either side the covariances are never formed: singular
    values of the thin factors cost N M min(N, M) instead of D^3 and keep full precision on singular
    covariances.

    Raises:
        ValueError: Fewer than 2 images, unequal D, or features that are not finite.
    """
    features1, features2 = checked(features1), checked(features2)
    if features1.shape[1] != features2.shape[1]:
        raise _of_two_extractors(features1.shape[1], features2.shape[1])
    if min(len(features1), len(features2)) >= features1.shape[1]:
        return frechet_distance(*statistics(features1), *statistics(features2))
    mean1, factor1 = _factor(features1)
    mean2, factor2 = _factor(features2)
    overlap = linalg.svdvals(factor1 @ factor2.T).sum()
    return _distance(mean1 - mean2, np.square(factor1).sum() + np.square(factor2).sum(), overlap)


def _of_two_extractors(dimension1: int, dimension2: int) -> ValueError:
    return ValueError(
        f"features have {dimension1} and {dimension2} dimensions: not those of one extractor"
    )


def _thin_distance(features: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> float:
    """Returns the distance of few features, shape (N, D) with N < D, to a Gaussian.

    It costs N D^2 and N^3 instead of D^3: with S_1 = F^T F the trace is that of the square root of
    F S_2 F^T, of shape (N, N).
    """
    own, factor = _factor(checked(features))
    overlap = _trace_of_root(factor @ covariance @ factor.T)
    return _distance(own - mean, np.square(factor).sum() + np.trace(covariance), overlap)


def _factor(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the mean and the shortest F with F^T F the covariance, shape (min(N, D), D)."""
    mean = features.mean(0)
    factor = (features - mean) / np.sqrt(len(features) - 1)
    if len(features) > features.shape[1]:
        factor = linalg.qr(factor, mode="r")[0][: features.shape[1]]
    return mean, factor


def _overlap(cov1: np.ndarray, cov2: np.ndarray) -> float:
    """Returns the trace of the square root of S_1^(1/2) S_2 S_1^(1/2).

    With a Cholesky factor, S_1 = L L^T, its eigenvalues are those of the symmetric L^T S_2 L, which
    takes a quarter of the operations of a square root of S_1. Of a singular covariance the pivoted
    factor has as many columns as the rank.
    """
    for first, second in ((cov1, cov2), (cov2, cov1)):
        factor, failed = lapack.dpotrf(first, lower=1, clean=1)
        if not failed and _is_regular(factor):
            congruent, _ = lapack.dsygst(second, factor, itype=2, lower=1)
            return _trace_of_root(congruent)
    factor, order, rank, _ = lapack.dpstrf(cov1, lower=1)
    factor, order = np.tril(factor)[:, :rank], order - 1
    return _trace_of_root(factor.T @ cov2[np.ix_(order, order)] @ factor)


def _is_regular(factor: np.ndarray) -> bool:
    """Tells whether the pivots of a Cholesky factor are more than rounding."""
    pivots = np.square(np.diag(factor))
    return pivots.min() > len(pivots) * np.finfo(float).eps * np.square(factor).sum(1).max()


def _trace_of_root(matrix: np.ndarray) -> float:
    """Returns the sum of the square roots of the eigenvalues; reads the lower triangle alone."""
    squares = linalg.eigvalsh(matrix, lower=True, overwrite_a=True)
    return float(np.sqrt(np.maximum(squares, 0)).sum())


def _distance(shift: np.ndarray, spread: float, overlap: float) -> float:
    """Never below 0: rounding leaves about 1e-15 of the spread there."""
    return max(float(shift @ shift + spread - 2 * overlap), 0.0)
