"""Groups of points that differ only in their seeds, and whose numbers have one identity each.

What their seeds say is estimated for all groups of one design at once: of many groups, what is done
for each takes longer than the numbers themselves.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from bench.frozen import dataclass
from bench.metrics.card import MetricCard
from bench.report.columns import BITS, identity_text
from bench.report.seeds import Measured, SeedTable, measured_as, stacked, tabulated
from bench.report.statistics import Estimate, estimate


@dataclass(frozen=True, eq=False)
class Table:
    """The tidy table, its columns of seeds as whole numbers, and which rows are a group's.

    Args:
        metrics: Cards by column.
        places: Rows of each group.
    """

    rows: pd.DataFrame
    metrics: Mapping[str, MetricCard]
    places: list[np.ndarray] = field(default_factory=list)

    @cached_property
    def seeds(self) -> list[tuple[np.ndarray, ...]]:
        """By group: for each row the training's place and the sample seed's, and what these are."""
        trainings, _ = pd.factorize(self.rows["train_key"].astype(object).fillna(""))
        seeds, _ = pd.factorize(self.rows["sample_seed"].astype(object).fillna(0))
        return [(*_numbered(trainings[at]), *_numbered(seeds[at])) for at in self.places]

    @cached_property
    def identities(self) -> np.ndarray:
        """The hash of each metric's identity, by row."""
        return self.rows["identity"].to_numpy()

    @cached_property
    def counts(self) -> list[dict[str, int]]:
        """By group: how many trainings and sample seeds there are."""
        codes = {
            title: pd.factorize(self.rows[name])[0]
            for title, name in (("trainings", "train_key"), ("sample seeds", "sample_seed"))
        }
        return [
            {title: len({*column[at]} - {-1}) for title, column in codes.items()}
            for at in self.places
        ]

    def column(self, name: str) -> np.ndarray:
        """Returns the values of one column by row, as they are."""
        if name not in self._columns:
            self._columns[name] = self.rows[name].to_numpy(object)
        return self._columns[name]

    @cached_property
    def _columns(self) -> dict[str, np.ndarray]:
        return {}

    @cached_property
    def values(self) -> dict[str, np.ndarray]:
        """Each metric, and the evaluations, by row: NaN for a missing number."""
        names = dict.fromkeys((*self.metrics, "nfe"))
        return {name: self.rows[name].to_numpy(float, na_value=np.nan) for name in names}

    @cached_property
    def tables(self) -> dict[str, list[SeedTable]]:
        """By metric: the values of each group."""
        designs = [(at.tobytes(), by.tobytes()) for at, _, by, _ in self.seeds]
        found: dict[str, list[SeedTable]] = {}
        for name in self.metrics:
            values, tables = self.values[name], [np.empty(0)] * len(self.places)
            for part in stacked(range(len(designs)), designs):
                at, _, by, _ = self.seeds[part[0]]
                of_all = tabulated(values[np.stack([self.places[index] for index in part])], at, by)
                for index, table in zip(part, of_all, strict=True):
                    tables[index] = table
            found[name] = [
                SeedTable(table, trainings, seeds)
                for table, (_, trainings, _, seeds) in zip(tables, self.seeds, strict=True)
            ]
        return found

    @cached_property
    def estimates(self) -> list[dict[str, Estimate]]:
        """By group and metric with a finite value: the estimate of its mean."""
        found: list[dict[str, Estimate]] = [{} for _ in self.places]
        for name, card in self.metrics.items():
            finite = [table.finite for table in self.tables[name]]
            kinds = [(values.shape, np.isfinite(values).tobytes()) for values in finite]
            known = [index for index, values in enumerate(finite) if np.isfinite(values).any()]
            for part in stacked(known, kinds):
                of_all = estimate(np.stack([finite[index] for index in part]), card.bounds)
                for place, index in enumerate(part):
                    found[index][name] = of_all.at(place)
        return found


def _numbered(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the place of each value among the distinct ones, and these by first appearance:
    :func:`pandas.factorize` of so few values takes most of its time to begin.
    """
    places: dict[Any, int] = {}
    at = [places.setdefault(value, len(places)) for value in values.tolist()]
    return np.array(at), np.array(list(places))


@dataclass(frozen=True, eq=False)
class Group:
    """The points of one row of the leaderboard.

    Args:
        index: Its place among the groups of the table.
    """

    table: Table
    index: int

    @property
    def metrics(self) -> Mapping[str, MetricCard]:
        """Cards by column."""
        return self.table.metrics

    @cached_property
    def rows(self) -> pd.DataFrame:
        """Rows of the tidy table."""
        return self.table.rows.iloc[self.table.places[self.index]]

    def column(self, name: str) -> np.ndarray:
        """Returns the values of one column of its rows, shape (N,): of the whole table at once,
        where taking the rows of one group after another takes a hundred times as long.
        """
        return self.table.column(name)[self.table.places[self.index]]

    def first(self, name: str) -> Any:
        """Returns the value of one column in the first of its rows."""
        return self.table.column(name)[self.table.places[self.index][0]]

    def lacks(self, name: str) -> bool:
        """Tells whether none of its rows has a value in a column."""
        return bool(pd.isna(self.column(name)).all())

    def mean(self, name: str) -> float:
        """Returns the mean of a column of numbers over its rows that have one, NaN without any."""
        return float(pd.Series(self.column(name), dtype=float).mean())

    @cached_property
    def name(self) -> str:
        """The label of its points without their seeds."""
        return str(self.column("group")[0])

    @cached_property
    def identity(self) -> Mapping[str, str]:
        """The hash of each metric's identity, of the row that has the most numbers."""
        known = self.table.identities[self.table.places[self.index]]
        if all(one == known[0] for one in known):
            return known[0]
        return max(known, key=lambda identity: len(identity_text(identity)))

    def seed_table(self, name: str) -> SeedTable:
        """Returns the values of a metric by training and sample seed."""
        return self.table.tables[name][self.index]

    @property
    def estimates(self) -> dict[str, Estimate]:
        """By column, for each metric with a finite value: the estimate of its mean."""
        return self.table.estimates[self.index]

    @cached_property
    def measured(self) -> dict[str, Measured]:
        """By column, for each metric with a finite value: its mean with the interval or values."""
        return {
            name: measured_as(found, self.seed_table(name).finite)
            for name, found in self.estimates.items()
        }

    def is_complete(self, metric: str) -> bool:
        """Tells whether every point has a finite value and was sampled, so that means are fair."""
        at, values = self.table.places[self.index], self.table.values
        return bool(np.isfinite(values[metric][at]).all() and not np.isnan(values["nfe"][at]).any())


def groups_of(rows: pd.DataFrame, metrics: Mapping[str, MetricCard]) -> list[Group]:
    """Returns the groups in order; one whose metrics have several identities is split."""
    codes, names = pd.factorize(rows["group"])
    order, counts = np.argsort(codes, kind="stable"), np.bincount(codes, minlength=len(names))
    identities = rows["identity"].to_numpy()
    table = Table(rows, metrics)
    for named in np.split(order, np.cumsum(counts)[:-1]) if len(rows) else ():
        table.places.extend(_alike(named, identities))
    return [Group(table, index) for index in range(len(table.places))]


def _alike(named: np.ndarray, identities: Sequence[Mapping[str, str]]) -> Iterable[np.ndarray]:
    """Yields the rows of one name in parts that have one identity each."""
    if all(identities[index] == identities[named[0]] for index in named):
        yield named
        return
    parts: list[tuple[dict[str, str], list[int]]] = []
    for index in named:
        own = {name: short for name, short in identities[index].items() if name != BITS}
        for common, members in parts:
            if all(common.get(name, short) == short for name, short in own.items()):
                common |= own
                members.append(index)
                break
        else:
            parts.append((own, [index]))
    yield from (np.array(members) for _, members in parts)
