r"""The inception score, from 1 to the number of classes.

.. math:: \exp \mathbb{E}_x\, \mathrm{KL}(p(y \mid x) \,\|\, p(y))

Split k of K is images :math:`[\lfloor kN/K \rfloor, \lfloor (k+1)N/K \rfloor)` in their given
order, so that every image counts; p(y) is the mean over the split. The result is the mean over
splits.

Source: Salimans et al., 2016, https://arxiv.org/abs/1606.03498 (section 4), with the splits of the
authors' code.
"""

from itertools import pairwise

import numpy as np
from scipy.special import entr, rel_entr


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
        raise ValueError(
            f"{splits} splits need as many rows of class probabilities, got {probabilities.shape}"
        )
    if not np.isfinite(probabilities).all():
        raise ValueError("class probabilities hold NaN or infinity")
    if probabilities.min() < 0 or not np.allclose(probabilities.sum(1), 1, rtol=0, atol=1e-6):
        raise ValueError("rows should be probabilities: not negative and summing to 1")
    edges = [k * len(probabilities) // splits for k in range(splits + 1)]
    scores = [_score(probabilities[start:end]) for start, end in pairwise(edges)]
    return float(np.mean(scores)), float(np.std(scores))


class Classes:
    """Sums over each split of log class probabilities that come in parts.

    They are all that the score needs: the mean divergence over a split is the mean of p log p minus
    p log p of the mean p.

    Args:
        splits: Number K of contiguous splits.
        count: Number of images to come, which several splits need for their edges.
    """

    def __init__(self, splits: int, count: int | None = None) -> None:
        if splits > 1 and count is None:
            raise ValueError(f"{splits} splits need the number of images beforehand")
        self.splits = splits
        self.count = count
        self.added = 0
        self._sums: list[np.ndarray] = [np.zeros(())] * splits
        self._entropies = np.zeros(splits)
        self._counts = np.zeros(splits, dtype=np.int64)

    def add(self, log_probs: np.ndarray) -> None:
        """Adds log class probabilities of the next images, shape (n, classes).

        Raises:
            ValueError: NaN, or more images than were announced.
        """
        log_probs = np.asarray(log_probs, np.float64)
        if np.isnan(log_probs).any():
            raise ValueError("class probabilities hold NaN or infinity")
        edges = [self.added, *self._inner_edges(len(log_probs)), self.added + len(log_probs)]
        for start, end in pairwise(edges):
            part = log_probs[start - self.added : end - self.added]
            if len(part):
                self._add(self._split(start), part)
        self.added += len(log_probs)

    def _inner_edges(self, size: int) -> list[int]:
        if self.count is None or self.splits == 1:
            return []
        if self.added + size > self.count:
            raise ValueError(f"{self.count} images were announced, more have come")
        edges = [k * self.count // self.splits for k in range(1, self.splits)]
        return [edge for edge in edges if self.added < edge < self.added + size]

    def _split(self, index: int) -> int:
        if self.count is None or self.splits == 1:
            return 0
        return max(k for k in range(self.splits) if k * self.count // self.splits <= index)

    def _add(self, split: int, log_probs: np.ndarray) -> None:
        probabilities = np.exp(log_probs)
        total = probabilities.sum(0)
        self._sums[split] = self._sums[split] + total
        self._entropies[split] += -entr(probabilities).sum()
        self._counts[split] += len(log_probs)

    def score(self) -> float:
        """Returns the mean of the inception score over the splits.

        Raises:
            ValueError: A split without images.
        """
        if not self._counts.all() or (self.splits > 1 and self.added != self.count):
            raise ValueError(f"{self.splits} splits need as many images, got {self.added}")
        values = []
        for total, entropies, count in zip(self._sums, self._entropies, self._counts, strict=True):
            values.append(np.exp(entropies / count + entr(total / count).sum()))
        return float(np.mean(values))


def _score(probabilities: np.ndarray) -> float:
    divergence = rel_entr(probabilities, probabilities.mean(0)).sum(1)
    return float(np.exp(divergence.mean()))
