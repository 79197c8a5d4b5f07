r"""The Frechet distance between Gaussians fitted to two sets of features.

.. math::
    d^2 = \|m_1 - m_2\|^2 + \operatorname{tr} S_1 + \operatorname{tr} S_2
          - 2 \operatorname{tr} (S_1^{1/2} S_2 S_1^{1/2})^{1/2},

the squared 2-Wasserstein distance of :math:`\mathcal{N}(m_1, S_1)` and :math:`\mathcal{N}(m_2, S_2)`. With any
factors :math:`S_i = F_i^\top F_i` the last trace is the sum of the singular values of :math:`F_1 F_2^\top`, so
it stays real and finite where a general matrix square root does not: singular covariances, fewer images than
dimensions.

Everything in float64; covariances are unbiased (n - 1). Shapes: N images, D features.

Source: Dowson and Landau, 1982 (the closed form); Heusel et al., 2017, https://arxiv.org/abs/1706.08500.
"""

import numpy as np
from scipy import linalg


def statistics(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns mean (D,) and unbiased covariance (D, D) of features of shape (N, D).

    Raises:
        ValueError: Fewer than 2 images, or features that are not finite.
    """
    features = _checked(features)
    mean = features.mean(0)
    centred = features - mean
    return mean, centred.T @ centred / (len(features) - 1)


def frechet_distance(mean1: np.ndarray, cov1: np.ndarray, mean2: np.ndarray, cov2: np.ndarray) -> float:
    """Returns the squared Frechet distance of two Gaussians, means (D,) and covariances (D, D).

    Raises:
        ValueError: Shapes that do not fit together, or values that are not finite.
    """
    mean1, cov1, mean2, cov2 = (np.asarray(value, np.float64) for value in (mean1, cov1, mean2, cov2))
    d = mean1.size
    if mean1.shape != (d,) or mean2.shape != (d,) or cov1.shape != (d, d) or cov2.shape != (d, d):
        shapes = ", ".join(str(value.shape) for value in (mean1, cov1, mean2, cov2))
        raise ValueError(f"means and covariances should have shapes (D,), (D, D), (D,), (D, D), got {shapes}")
    if not all(np.isfinite(value).all() for value in (mean1, cov1, mean2, cov2)):
        raise ValueError("means or covariances hold NaN or infinity")
    variances, axes = linalg.eigh(cov1)
    factor = axes * np.sqrt(np.maximum(variances, 0))
    squares = linalg.eigvalsh(factor.T @ cov2 @ factor)
    overlap = np.sqrt(np.maximum(squares, 0)).sum()
    return _distance(mean1 - mean2, np.trace(cov1) + np.trace(cov2), overlap)


def frechet_from_features(features1: np.ndarray, features2: np.ndarray) -> float:
    """Returns the squared Frechet distance of two sets of features, shapes (N, D) and (M, D).

    With fewer images than dimensions on either side the covariances are never formed: singular values of the
    thin factors cost N M min(N, M) instead of D^3 and keep full precision on singular covariances.

    Raises:
        ValueError: Fewer than 2 images, unequal D, or features that are not finite.
    """
    features1, features2 = _checked(features1), _checked(features2)
    if features1.shape[1] != features2.shape[1]:
        raise ValueError(f"features have {features1.shape[1]} and {features2.shape[1]} dimensions: not one extractor's")
    if min(len(features1), len(features2)) >= features1.shape[1]:
        return frechet_distance(*statistics(features1), *statistics(features2))
    mean1, factor1 = _factor(features1)
    mean2, factor2 = _factor(features2)
    overlap = linalg.svdvals(factor1 @ factor2.T).sum()
    return _distance(mean1 - mean2, np.square(factor1).sum() + np.square(factor2).sum(), overlap)


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
