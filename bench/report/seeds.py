"""What the seeds of one group say about a metric: its mean, an interval, or the bare values."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from bench.report.contrast import contrast
from bench.report.statistics import Bounds, Estimate, estimate


class Measured(NamedTuple):
    """A metric of one group, as the table, the figures and the terminal show it.

    Args:
        low: NaN if there is no interval.
        scope: What the interval holds for, empty without one
            (:data:`bench.report.statistics.Scope`).
        values: The values, if they are several and too few for an interval; else empty.
    """

    mean: float
    low: float
    high: float
    scope: str
    values: tuple[float, ...]


def measured(values: np.ndarray, bounds: Bounds) -> Measured:
    """Returns the mean of values of shape (I, J): trainings by sample seeds, NaN if missing."""
    return measured_as(estimate(values, bounds), values)


def measured_as(found: Estimate, values: np.ndarray) -> Measured:
    """Returns an estimate as it is shown, with the values that it was made from."""
    known = values[np.isfinite(values)]
    scope = found.scope if np.isfinite(found.low) else ""
    listed = tuple(map(float, known)) if not found.scope and len(known) > 1 else ()
    return Measured(float(found.mean), float(found.low), float(found.high), scope, listed)


def finite(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    """Returns the rows that have a finite value of a column."""
    return rows[np.isfinite(rows[name].astype(float))]


def seed_table(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    """Returns a column's values, a row per training and a column per seed, NaN if missing.

    Without pandas' own pivot, which takes longer than all else of a leaderboard together.
    """
    at, trainings = pd.factorize(rows["train_key"].astype(object).fillna(""))
    by, seeds = pd.factorize(rows["sample_seed"].astype(object).fillna(0))
    values = rows[name].to_numpy(float, na_value=np.nan)
    known = ~np.isnan(values)
    shape = len(trainings), len(seeds)
    counts, sums = np.zeros(shape), np.zeros(shape)
    np.add.at(counts, (at[known], by[known]), 1)
    np.add.at(sums, (at[known], by[known]), values[known])
    with np.errstate(invalid="ignore"):
        return pd.DataFrame(sums / counts, trainings, seeds)


def untrained(*groups: pd.DataFrame) -> bool:
    """Tells whether the rows of some groups are all of exact scores, which nothing was trained for:
    their unit is a sample seed.
    """
    return all(bool((rows["training_images"] == 0).fillna(False).all()) for rows in groups)


class Sides(NamedTuple):
    """Values of two groups that can be subtracted, shapes (I, J) and (K, J).

    Args:
        paired: Whether row i of both is the same training.
    """

    first: np.ndarray
    second: np.ndarray
    paired: bool


def sides_of(first: pd.DataFrame, second: pd.DataFrame, name: str) -> Sides | None:
    """Returns the values of two groups that can be subtracted.

    None if a value is missing, if the sample seeds are unlike, or if some trainings are on both
    sides and some are not.
    """
    one, other = seed_table(first, name), seed_table(second, name)
    if set(one.columns) != set(other.columns):
        return None
    other = other[one.columns]
    paired = set(one.index) == set(other.index)
    if paired:
        other = other.loc[one.index]
    elif set(one.index) & set(other.index):
        return None
    found = Sides(one.to_numpy(float), other.to_numpy(float), paired)
    return found if all(np.isfinite(part).all() for part in found[:2]) else None


def difference_of(
    first: pd.DataFrame, second: pd.DataFrame, name: str, bounds: Bounds
) -> Estimate | None:
    """Returns first minus second with its interval, None if two groups cannot be subtracted."""
    if (sides := sides_of(first, second, name)) is None:
        return None
    return contrast(sides.first, sides.second, paired=sides.paired, bounds=bounds)
