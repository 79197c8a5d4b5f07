"""Two groups that were sampled with the same seeds: their difference with its interval."""

from typing import Any

import numpy as np

from bench.report.statistics import (
    BOTH,
    LEAST_VALUES,
    UNBOUNDED,
    Bounds,
    Estimate,
    Scope,
    estimate,
    interval_of,
    of_seeds,
)


def contrast(first: Any, second: Any, *, paired: bool, bounds: Bounds = UNBOUNDED) -> Estimate:
    """Returns first minus second with its interval, of groups that were sampled with the same
    seeds.

    Pairs: the interval of the trainings' differences. Otherwise the trainings of each side give the
    first part of its variance (with Welch's degrees of freedom), and what the sides' answers to the
    sample seeds differ by the second; with one training on a side the latter alone, for these
    trainings. A difference of values within two bounds stays within their distance.

    Args:
        first: Shape (..., I, J), without missing values.
        second: Shape (..., K, J); with ``paired`` K = I, and row i of both is one training.
        paired: Whether the trainings are the same ones.
        bounds: Of a value.

    Raises:
        ValueError: Unlike numbers of sample seeds or of pairs, or missing values.
    """
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    units, seeds = (first.shape[-2], second.shape[-2]), first.shape[-1]
    if second.shape[-1] != seeds or (paired and units[0] != units[1]):
        raise ValueError(f"tables of shapes {first.shape} and {second.shape} cannot be compared")
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise ValueError("tables to compare should lack no value")
    found = estimate(first - second) if paired else _apart(first, second)
    width = bounds[1] - bounds[0]
    return found._replace(
        low=np.clip(found.low, -width, width), high=np.clip(found.high, -width, width)
    )


def _apart(first: np.ndarray, second: np.ndarray) -> Estimate:
    """Returns the difference of two groups of other trainings."""
    trainings, seeds = min(first.shape[-2], second.shape[-2]), first.shape[-1]
    by_seed = first.mean(-2) - second.mean(-2)
    parts: list[tuple[Any, Any]] = []
    scope: Scope = BOTH if seeds > 1 else "trainings"
    if trainings == 1:
        scope = "sample seeds"
    else:
        parts.append(_welch(first, second))
    if seeds > 1:
        between = by_seed.var(-1, ddof=1) / seeds
        if trainings > 1:
            between = of_seeds(between, _rest_variance(first) + _rest_variance(second))
        parts.append((between, seeds - 1))
    if max(trainings, seeds) < LEAST_VALUES:
        parts = []
    unknown = np.full(by_seed.shape[:-1], np.nan)
    return Estimate(
        *interval_of(scope, by_seed.mean(-1), parts, UNBOUNDED), unknown, unknown, unknown
    )


def _welch(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the trainings' part of the difference's variance, and its degrees of freedom."""
    sides = [
        (side.mean(-1).var(-1, ddof=1) / side.shape[-2], side.shape[-2] - 1)
        for side in (first, second)
    ]
    variance = sides[0][0] + sides[1][0]
    with np.errstate(invalid="ignore", divide="ignore"):
        df = np.square(variance) / sum(np.square(value) / df for value, df in sides)
    return variance, np.where(variance > 0, df, min(df for _, df in sides))


def _rest_variance(side: np.ndarray) -> np.ndarray:
    """Returns the variance that e gives to the mean of a side with I trainings and J seeds."""
    trainings, seeds = side.shape[-2:]
    rest = (
        side
        - side.mean(-1, keepdims=True)
        - side.mean(-2, keepdims=True)
        + side.mean((-1, -2), keepdims=True)
    )
    return np.square(rest).sum((-1, -2)) / ((trainings - 1) * (seeds - 1)) / (trainings * seeds)
