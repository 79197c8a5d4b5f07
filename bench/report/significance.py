"""Tests of a difference and of equivalence, Holm's correction, and the verdict they give."""

from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from bench.report.contrast import contrast
from bench.report.statistics import BOTH, UNBOUNDED, Bounds, Estimate
from bench.suite.claims import LEVEL

EXACT = 20_000
"""Permutations up to which all are tried; of more, as many are drawn."""


class Comparison(NamedTuple):
    """First minus second, with tests; arrays of the leading axes.

    Args:
        p: Of no difference, two-sided.
        p_equivalence: Of a difference at least as large as the smallest effect of interest.
        units: Trainings of the first and of the second, or the pairs twice.
        test: The test's name.
    """

    difference: Any
    low: Any
    high: Any
    p: Any
    p_equivalence: Any
    units: tuple[int, int]
    test: str


def compare(
    first: Any,
    second: Any,
    *,
    paired: bool,
    smallest_effect: Any,
    bounds: Bounds = UNBOUNDED,
) -> Comparison:
    """Returns how two groups differ that were sampled with the same seeds, for other trainings and
    other sample seeds.

    The p-value is the largest of three, so that no level of a correction makes a verdict of what
    the interval holds: of a t test with the error and the degrees of freedom of the interval
    (:func:`contrast`); of a permutation of the trainings (all signs of the pairs, or all ways to
    divide the trainings), which assumes no distribution and takes the sample seeds for all there
    are; and of a t test over the sample seeds, which takes the trainings for all there are.
    Equivalence: two one-sided t tests, of the errors of the first and the last.

    Args:
        first: Shape (..., I, J), without missing values.
        second: Shape (..., K, J); with ``paired`` K = I, and row i of both is one training.
        paired: Whether the trainings are the same ones.
        smallest_effect: The least difference that is of interest, positive; a number, or an array
            that broadcasts.
        bounds: Of a value.

    Raises:
        ValueError: Too few trainings or sample seeds for an interval over both, unlike numbers of
            them, missing values.
    """
    found = contrast(first, second, paired=paired, bounds=bounds)
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if found.scope != BOTH:
        raise ValueError(
            f"tables of shapes {first.shape} and {second.shape} have no interval for both"
        )
    groups = [(first - second).mean(-1)] if paired else [first.mean(-1), second.mean(-1)]
    by_seed, seeds = first.mean(-2) - second.mean(-2), first.shape[-1]
    over_both = _tested(found.mean, found.error, found.df, smallest_effect)
    over_seeds = _tested(
        found.mean, by_seed.std(-1, ddof=1) / np.sqrt(seeds), seeds - 1, smallest_effect
    )
    p, equivalence = (np.maximum(*both) for both in zip(over_both, over_seeds, strict=True))
    name = "sign flips of the pairs" if paired else "permutation of the trainings"
    return Comparison(
        found.mean,
        found.low,
        found.high,
        np.maximum(p, _permuted(*groups)),
        equivalence,
        (first.shape[-2], second.shape[-2]),
        f"{name}, t of the interval, t over sample seeds",
    )


def compare_seeds(
    first: Any, second: Any, *, smallest_effect: float, bounds: Bounds = UNBOUNDED
) -> Comparison:
    """Returns how two groups differ that nothing was trained for, for other sample seeds.

    The p-value is the larger of that of a t test over the seeds' differences and of the flips of
    their signs. Equivalence: two one-sided t tests.

    Args:
        first: Shape (J,), a value per sample seed, without missing ones.
        second: Of the same seeds.
        smallest_effect: The least difference that is of interest, positive.
        bounds: Of a value.

    Raises:
        ValueError: Fewer than three seeds, unlike numbers of them, missing values.
    """
    found = contrast(first[None], second[None], paired=False, bounds=bounds)
    if not np.isfinite(found.error):
        raise ValueError(f"{len(first)} sample seeds have no interval")
    counts, test = (len(first), len(second)), "sign flips of the sample seeds, t over sample seeds"
    return _compared(found, smallest_effect, _permuted(first - second), counts, test)


def compare_trainings(first: Any, second: Any, *, smallest_effect: float) -> Comparison:
    """Returns how two groups differ that have one value per training and are not sampled.

    The p-value is the larger of those of Welch's t test and of the permutation of the trainings.
    Equivalence: two one-sided t tests.

    Args:
        first: Shape (I,), without missing values.
        second: Shape (K,), of other trainings.
        smallest_effect: The least difference that is of interest, positive.

    Raises:
        ValueError: Fewer than three trainings on a side, missing values.
    """
    found = contrast(first[:, None], second[:, None], paired=False)
    if not np.isfinite(found.error):
        raise ValueError(f"{len(first)} and {len(second)} trainings have no interval")
    counts, test = (len(first), len(second)), "permutation of the trainings, Welch's t"
    return _compared(found, smallest_effect, _permuted(first, second), counts, test)


def _compared(
    found: Estimate,
    smallest_effect: float,
    permuted: np.ndarray,
    counts: tuple[int, int],
    test: str,
) -> Comparison:
    """Returns a comparison whose one t test is that of its interval.

    Args:
        permuted: The p-value of the permutations.
        counts: Independent values of the two sides.
        test: Names of the tests.
    """
    p, equivalence = _tested(found.mean, found.error, found.df, smallest_effect)
    largest = np.maximum(p, permuted)
    return Comparison(found.mean, found.low, found.high, largest, equivalence, counts, test)


def _tested(
    difference: Any, error: Any, df: Any, smallest_effect: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Returns p-values of no difference and of a large one; without any error, 0 or 1."""
    with np.errstate(invalid="ignore", divide="ignore"):
        p = 2 * stats.t.sf(np.abs(difference) / error, df)
        above = stats.t.sf((difference + smallest_effect) / error, df)
        below = stats.t.cdf((difference - smallest_effect) / error, df)
    return np.nan_to_num(p, nan=1.0), np.nan_to_num(np.maximum(above, below), nan=1.0)  # nan: 0 / 0


def _permuted(*samples: np.ndarray) -> np.ndarray:
    """Returns two-sided p-values over all signs of one sample, or divisions of two; (..., I)."""
    one = len(samples) == 1

    def statistic(*parts: np.ndarray, axis: int) -> np.ndarray:
        return parts[0].mean(axis) if one else parts[0].mean(axis) - parts[1].mean(axis)

    found = stats.permutation_test(
        samples,
        statistic,
        permutation_type="samples" if one else "independent",
        vectorized=True,
        n_resamples=EXACT,
        batch=max(1, 10_000_000 // sum(sample.size for sample in samples)),
        axis=-1,
        random_state=0,
    )
    return np.minimum(found.pvalue, 1.0)


def holm(p: Any) -> np.ndarray:
    """Returns the p-values of one family after Holm's correction; shape (..., K)."""
    p = np.asarray(p, np.float64)
    order = np.argsort(p, -1, kind="stable")
    steps = np.take_along_axis(p, order, -1) * np.arange(p.shape[-1], 0, -1)
    adjusted = np.empty_like(p)
    np.put_along_axis(adjusted, order, np.minimum(np.maximum.accumulate(steps, -1), 1.0), -1)
    return adjusted


VERDICTS = ("undecided", "better", "worse", "within noise")


def verdicts(difference: Any, p: Any, p_equivalence: Any, *, higher_is_better: bool) -> np.ndarray:
    """Returns a verdict on each first side, one of :data:`VERDICTS`, from p-values already
    adjusted.

    "Within noise" says that an equivalence test passed, and so goes before a difference that is
    real and yet smaller than the smallest effect of interest. Where neither test speaks the verdict
    is "undecided", never "equal".
    """
    difference = np.asarray(difference, np.float64)
    better = difference > 0 if higher_is_better else difference < 0
    found = np.where(np.asarray(p) <= LEVEL, np.where(better, 1, 2), 0)
    return np.array(VERDICTS, object)[np.where(np.asarray(p_equivalence) <= LEVEL, 3, found)]
