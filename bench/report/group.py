"""Groups of points that differ only in their seeds, and whose numbers have one identity each."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from bench.metrics.card import MetricCard
from bench.report.columns import BITS, identity_text
from bench.report.seeds import Measured, finite, measured_as, seed_table
from bench.report.statistics import Estimate, estimate


@dataclass(frozen=True, eq=False)
class Group:
    """The points of one row of the leaderboard.

    Args:
        rows: Rows of the tidy table.
        metrics: Cards by column.
    """

    rows: pd.DataFrame
    metrics: Mapping[str, MetricCard]

    @cached_property
    def name(self) -> str:
        """The label of its points without their seeds."""
        return self.rows["group"].iloc[0]

    @cached_property
    def identity(self) -> Mapping[str, str]:
        """The hash of each metric's identity, of the row that has the most numbers."""
        return max(self.rows["identity"], key=lambda identity: len(identity_text(identity)))

    @cached_property
    def estimates(self) -> dict[str, tuple[Estimate, np.ndarray]]:
        """By column, for each metric with a finite value: the estimate of its mean, and the values
        of shape (I, J) that it is made from, NaN for a missing one.
        """
        found = {}
        for name, card in self.metrics.items():
            if len(known := finite(self.rows, name)):
                values = seed_table(known, name).to_numpy(float)
                found[name] = estimate(values, card.bounds), values
        return found

    @cached_property
    def measured(self) -> dict[str, Measured]:
        """By column, for each metric with a finite value: its mean with the interval or values."""
        return {name: measured_as(*estimated) for name, estimated in self.estimates.items()}

    def is_complete(self, metric: str) -> bool:
        """Tells whether every point has a finite value and was sampled, so that means are fair."""
        values = self.rows[metric].astype(float)
        return bool(np.isfinite(values).all() and self.rows["nfe"].notna().all())


def groups_of(rows: pd.DataFrame, metrics: Mapping[str, MetricCard]) -> Iterator[Group]:
    """Yields the groups in order; one whose metrics have several identities is split."""
    for _, named in rows.groupby("group", sort=False):
        parts: list[tuple[dict[str, str], list[Any]]] = []
        for index, identity in named["identity"].items():
            own = {name: short for name, short in identity.items() if name != BITS}
            for common, members in parts:
                if all(common.get(name, short) == short for name, short in own.items()):
                    common |= own
                    members.append(index)
                    break
            else:
                parts.append((own, [index]))
        for _, members in parts:
            # A copy of so wide a table takes longer than what is done with it.
            yield Group(named if len(parts) == 1 else named.loc[members], metrics)
