"""The Pareto front of a leaderboard: which groups are beaten at no higher cost, and by which."""

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


def front(board: pd.DataFrame, name: str, card: MetricCard) -> pd.DataFrame:
    """Returns what stands beside each complete group: whether it is on the Pareto front of a
    metric, and which group beats it.

    Columns: ``pareto``, whether it is on the front of any of :data:`COSTS`, blank for groups that
    are on none because they are incomplete or have no cost; and ``beaten in NFE by``, ``beaten in
    GFLOPs by``, blank on that front. A group without a cost (no FLOPs were counted) is on no front
    of it. Only groups of one identity compete, and only their means:
    whether a difference is evidence is another question.

    Args:
        board: The leaderboard.
    """
    found = pd.DataFrame({"pareto": pd.Series(pd.NA, board.index, dtype="boolean")})
    known = board[(board["state"] == "done") & np.isfinite(board[name].astype(float))]
    for column, cost in COSTS.items():
        beaten = pd.Series("", board.index, dtype=object)
        measured = known[known[column] > 0]
        same = [identity.get(name, "") for identity in measured["identity"]]
        for _, part in measured.groupby(np.array(same, object)):
            points = part[column].to_numpy(float), part[name].to_numpy(float)
            best = dominators(*points, higher=card.higher_is_better)
            on_front = pd.Series(best < 0, part.index, dtype="boolean")
            found.loc[part.index, "pareto"] = found["pareto"].fillna(False) | on_front
            beaten[part.index] = [part["group"].iloc[i] if i >= 0 else "" for i in best]
        found[f"beaten in {cost} by"] = beaten
    return found
