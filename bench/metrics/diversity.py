r"""Density, coverage and the Vendi score: how real samples are, and how diverse.

With B_i the open ball around real image i up to its k-th neighbour among the real images, M samples
and N real images,

.. math::
    \text{density} = \frac{1}{k M} \sum_j \sum_i 1[y_j \in B_i], \qquad
    \text{coverage} = \frac{1}{N} \sum_i 1[\text{some } y_j \in B_i].

The Vendi score is the exponential of the entropy of the eigenvalues of K / M, where K holds the
cosines between the features of the samples: the number of unlike samples that would be as diverse.

Source: Naeem et al., 2020, https://arxiv.org/abs/2002.09797 (equations 3 and 4); Friedman and
Dieng, 2022, https://arxiv.org/abs/2210.02410 (definition 3.1).
"""

import numpy as np

from bench.metrics.libraries import distances


def density_and_coverage(
    samples: np.ndarray, real: np.ndarray, neighbours: int, real_radii: np.ndarray
) -> tuple[float, float]:
    """Returns density, which may exceed 1, and coverage of features (M, D) and (N, D).

    Args:
        samples: Features of the samples.
        real: Features of the real images.
        neighbours: k.
        real_radii: Distances of real images to their k-th neighbours, shape (N,).

    Raises:
        ValueError: Features that are not finite.
    """
    inside, covered = 0, np.zeros(len(real), dtype=bool)
    for part in distances(samples, real):
        within = part < real_radii
        inside += int(np.count_nonzero(within))
        covered |= within.any(0)
    return inside / (neighbours * len(samples)), float(covered.mean())


def vendi_score(features: np.ndarray) -> float:
    """Returns the Vendi score of features (M, D), between 1 and the smaller of M and D.

    Raises:
        ValueError: Features that are not finite, or 0 in every dimension: they have no direction.
    """
    features = np.asarray(features, dtype=np.float64)
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    if not np.isfinite(lengths).all():
        raise ValueError("features are NaN or infinite")
    if not lengths.all():
        raise ValueError("features of an image are all 0, so that they have no direction")
    unit = features / lengths
    # K and the sum over images of their outer products have the same eigenvalues but for zeros.
    smaller = unit @ unit.T if len(unit) < unit.shape[1] else unit.T @ unit
    shares = np.linalg.eigvalsh(smaller / len(unit))
    shares = shares[shares > 0]
    return float(np.exp(-np.sum(shares * np.log(shares))))
