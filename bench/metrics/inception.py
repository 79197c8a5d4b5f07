r"""The inception score :math:`\exp \mathbb{E}_x\, \mathrm{KL}(p(y \mid x) \,\|\, p(y))`: 1 to the number of classes.

Split k of K is images :math:`[\lfloor kN/K \rfloor, \lfloor (k+1)N/K \rfloor)` in their given order, so that every
image counts; p(y) is the mean over the split. The result is the mean over splits.

Source: Salimans et al., 2016, https://arxiv.org/abs/1606.03498 (section 4), with the splits of the authors' code.
"""

from itertools import pairwise

import numpy as np
from scipy.special import rel_entr


def inception_score(probabilities: np.ndarray, splits: int = 1) -> tuple[float, float]:
    """Returns mean and standard deviation (over the splits, divisor K) of the inception score.

    Args:
        probabilities: Class probabilities of each image, shape (N, classes), rows summing to 1.
        splits: Number K of contiguous splits.

    Raises:
        ValueError: Fewer images than splits, or rows that are no probabilities.
    """
    probabilities = np.asarray(probabilities, np.float64)
    if probabilities.ndim != 2 or not 1 <= splits <= len(probabilities):
        raise ValueError(f"{splits} splits need as many rows of class probabilities, got {probabilities.shape}")
    if not np.isfinite(probabilities).all():
        raise ValueError("class probabilities hold NaN or infinity")
    if probabilities.min() < 0 or not np.allclose(probabilities.sum(1), 1, rtol=0, atol=1e-6):
        raise ValueError("rows should be probabilities: not negative and summing to 1")
    edges = [k * len(probabilities) // splits for k in range(splits + 1)]
    scores = [_score(probabilities[start:end]) for start, end in pairwise(edges)]
    return float(np.mean(scores)), float(np.std(scores))


def _score(probabilities: np.ndarray) -> float:
    divergence = rel_entr(probabilities, probabilities.mean(0)).sum(1)
    return float(np.exp(divergence.mean()))
