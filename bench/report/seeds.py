"""What the seeds of one group say about a metric: its mean, an interval, or the bare values."""

from collections.abc import Hashable, Iterable, Sequence
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


class SeedTable(NamedTuple):
    """Values by training and sample seed, shape (I, J), NaN for a missing one.

    Args:
        trainings: What each row is, shape (I,), ``seeds`` what each column is, shape (J,).
    """

    values: np.ndarray
    trainings: np.ndarray
    seeds: np.ndarray

    @classmethod
    def of(
        cls,
        values: np.ndarray,
        at: np.ndarray,
        trainings: np.ndarray,
        by: np.ndarray,
        seeds: np.ndarray,
    ) -> "SeedTable":
        """Returns the table of values of shape (N,); several in one place count as their mean.

        Args:
            at: Row of each value, ``by`` its column, both of shape (N,).
        """
        known = ~np.isnan(values)
        shape = len(trainings), len(seeds)
        counts, sums = np.zeros(shape), np.zeros(shape)
        np.add.at(counts, (at[known], by[known]), 1)
        np.add.at(sums, (at[known], by[known]), values[known])
        with np.errstate(invalid="ignore"):
            return cls(sums / counts, trainings, seeds)

    @property
    def finite(self) -> np.ndarray:
        """The values, NaN for infinite ones as well."""
        return np.where(np.isfinite(self.values), self.values, np.nan)


def seed_table(rows: pd.DataFrame, name: str) -> SeedTable:
    """Returns a column's values by training and sample seed."""
    trainings = pd.factorize(rows["train_key"].astype(object).fillna(""))
    seeds = pd.factorize(rows["sample_seed"].astype(object).fillna(0))
    return SeedTable.of(rows[name].to_numpy(float, na_value=np.nan), *trainings, *seeds)


def stacked(items: Iterable[int], kinds: Sequence[Hashable]) -> list[list[int]]:
    """Returns items in parts of one kind each.

    Args:
        kinds: By item.
    """
    parts: dict[Hashable, list[int]] = {}
    for item in items:
        parts.setdefault(kinds[item], []).append(item)
    return list(parts.values())


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


def sides_of(first: SeedTable, second: SeedTable) -> Sides | None:
    """Returns the values of two groups that can be subtracted.

    None if a value is missing, if the sample seeds are unlike, or if some trainings are on both
    sides and some are not.
    """
    if not (np.isfinite(first.values).all() and np.isfinite(second.values).all()):
        return None
    other = second.values
    if list(first.seeds) != list(second.seeds):
        if (columns := _order(second.seeds, first.seeds)) is None:
            return None
        other = other[:, columns]
    rows = _order(second.trainings, first.trainings)
    if rows is None and set(first.trainings) & set(second.trainings):
        return None
    return Sides(first.values, other if rows is None else other[rows], rows is not None)


def _order(names: np.ndarray, wanted: np.ndarray) -> list[int] | None:
    """Returns where each wanted name is, None if others are there."""
    places = {name: place for place, name in enumerate(names)}
    return [places[name] for name in wanted] if places.keys() == set(wanted) else None


def difference_of(first: SeedTable, second: SeedTable, bounds: Bounds) -> Estimate | None:
    """Returns first minus second with its interval, None if two groups cannot be subtracted."""
    if (sides := sides_of(first, second)) is None:
        return None
    return contrast(sides.first, sides.second, paired=sides.paired, bounds=bounds)
