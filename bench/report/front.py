"""The Pareto front of a leaderboard: which groups are beaten at no higher cost, and by which."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from bench.metrics.card import MetricCard
from bench.report.columns import GFLOPS

COSTS = {"nfe": "NFE", GFLOPS: "GFLOPs"}
"""Measured costs of a sample, by column."""


def dominators(cost: np.ndarray, value: np.ndarray, *, higher: bool) -> np.ndarray:
    """Returns for each point the best other one that is as cheap and as good, and better in one of
    both.

    Args:
        cost: Shape (N,), lower is better.
        value: Shape (N,).
        higher: Whether a higher value is better.

    Returns:
        Indices of shape (N,), -1 on the Pareto front.
    """
    loss = -value if higher else value
    no_worse = (cost[:, None] <= cost) & (loss[:, None] <= loss)
    better = (cost[:, None] < cost) | (loss[:, None] < loss)
    beats = no_worse & better
    best = np.where(beats, loss[:, None], np.inf).argmin(axis=0)
    return np.where(beats.any(axis=0), best, -1)


def pareto(cost: np.ndarray, value: np.ndarray, *, higher: bool) -> np.ndarray:
    """Returns which points are on the Pareto front (:func:`dominators`), booleans of shape (N,)."""
    return dominators(cost, value, higher=higher) < 0


def dominated(board: pd.DataFrame, metrics: Mapping[str, MetricCard]) -> pd.DataFrame:
    """Returns a row per complete group that another one beats by the first metric, in both costs or
    in one of them.

    Columns: ``group``, and for each of :data:`COSTS` the group that beats it there, blank on that
    front. Only groups of one identity of the metric compete, and only their means: whether a
    difference is evidence is another question.

    Args:
        board: The leaderboard.
        metrics: Cards by column; the first one counts.
    """
    beaten: dict[str, dict[str, str]] = {}
    for name, card in list(metrics.items())[:1]:
        known = board[(board["state"] == "done") & np.isfinite(board[name].astype(float))]
        for column, cost in COSTS.items():
            measured = known[known[column].notna()]
            same = [identity.get(name, "") for identity in measured["identity"]]
            for _, part in measured.groupby(np.array(same, object)):
                points = part[column].to_numpy(float), part[name].to_numpy(float)
                best = dominators(*points, higher=card.higher_is_better)
                for group, index in zip(part["group"], best, strict=True):
                    if index >= 0:
                        record = beaten.setdefault(group, dict.fromkeys(COSTS.values(), ""))
                        record[cost] = part["group"].iloc[index]
    order = {group: index for index, group in enumerate(board["group"])}
    records = [{"group": group, **beaten[group]} for group in sorted(beaten, key=order.get)]
    return pd.DataFrame(records, columns=["group", *COSTS.values()])
