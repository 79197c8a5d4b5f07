"""Groups whose samples are copies of training images, by the metrics that tell."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd

from bench.metrics.card import MetricCard
from bench.report.identity import Floors


class Bound(NamedTuple):
    """The value beyond which a group is flagged, and on which side of it."""

    value: float
    above: bool


BOUNDS = {"nn_ratio": Bound(0.5, False), "near_copies": Bound(0.01, True)}
"""By metric.

``nn_ratio`` is 1 for new images and 0 for copies: at one half, samples lie twice as near to
training images as new ones do. ``near_copies`` is a share of the samples, beyond the share that
real held-out images have, if it is known.
"""


class Memorised(NamedTuple):
    """A flagged group.

    Args:
        row: Its index in the leaderboard.
        bound: With the share of real images added.
    """

    row: Any
    group: str
    metric: str
    value: float
    bound: Bound


def memorised(
    board: pd.DataFrame, metrics: Mapping[str, MetricCard], floors: Floors
) -> list[Memorised]:
    """Returns the groups of a leaderboard that are beyond a bound, by metric."""
    flagged = []
    for name in metrics:
        if (bound := BOUNDS.get(name.partition("(")[0])) is None:
            continue
        for index, group in board.iterrows():
            floor = floors.get(name, {}).get(group["identity"].get(name, ""), {})
            limit = bound.value + (floor.get("mean", 0.0) if bound.above else 0.0)
            value = group[name]
            if value > limit if bound.above else value < limit:
                at = Bound(limit, bound.above)
                flagged.append(Memorised(index, group["group"], name, value, at))
    return flagged
