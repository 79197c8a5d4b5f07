"""What the seeds of one group say about a metric: its mean, an interval, or the bare values."""

from collections.abc import Hashable, Iterable, Sequence
from typing import Any, NamedTuple, cast

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

    @property
    def finite(self) -> np.ndarray:
        """The values, NaN for infinite ones as well."""
        return np.where(np.isfinite(self.values), self.values, np.nan)


def tabulated(values: np.ndarray, at: np.ndarray, by: np.ndarray) -> np.ndarray:
    """Returns tables of values; several in one place count as their mean, NaN where there is none.

    Args:
        values: Shape (..., N).
        at: Row of each value, ``by`` its column, both of shape (N,).

    Returns:
        Shape (..., I, J).
    """
    known = ~np.isnan(values)
    shape = (*values.shape[:-1], int(at.max()) + 1, int(by.max()) + 1)
    counts, sums, place = np.zeros(shape), np.zeros(shape), (..., at, by)
    np.add.at(counts, cast(Any, place), known)
    np.add.at(sums, cast(Any, place), np.where(known, values, 0.0))
    with np.errstate(invalid="ignore"):
        return sums / counts


def seed_table(rows: pd.DataFrame, name: str) -> SeedTable:
    """Returns a column's values by training and sample seed."""
    at, trainings = pd.factorize(rows["train_key"].astype(object).fillna(""))
    by, seeds = pd.factorize(rows["sample_seed"].astype(object).fillna(0))
    values = tabulated(rows[name].to_numpy(float, na_value=np.nan), at, by)
    return SeedTable(values, trainings, seeds)


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
    other, seeds, trainings = second.values, first.seeds.tolist(), first.trainings.tolist()
    if seeds != (names := second.seeds.tolist()):
        if (columns := _order(names, seeds)) is None:
            return None
        other = other[:, columns]
    if trainings == (names := second.trainings.tolist()):
        return Sides(first.values, other, True)
    rows = _order(names, trainings)
    if rows is None and not set(trainings).isdisjoint(names):
        return None
    return Sides(first.values, other if rows is None else other[rows], rows is not None)


def _order(names: Sequence[Any], wanted: Sequence[Any]) -> list[int] | None:
    """Returns where each wanted name is, None if others are there."""
    places = {name: place for place, name in enumerate(names)}
    return [places[name] for name in wanted] if places.keys() == set(wanted) else None


def difference_of(first: SeedTable, second: SeedTable, bounds: Bounds) -> Estimate | None:
    """Returns first minus second with its interval, None if two groups cannot be subtracted."""
    if (sides := sides_of(first, second)) is None:
        return None
    return contrast(sides.first, sides.second, paired=sides.paired, bounds=bounds)
