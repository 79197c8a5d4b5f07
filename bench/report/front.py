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
    found = np.full(len(cost), -1)
    least, best = np.inf, -1  # of all that cost less
    order = np.lexsort((np.arange(len(cost)), loss, cost))
    for block in np.split(order, np.flatnonzero(np.diff(cost[order])) + 1):
        first, own = (block[0], loss[block[0]]) if len(block) else (-1, np.inf)
        lower = best if least < own else first if own < least else min(first, best)
        worse = block[loss[block] > min(own, least)]
        found[worse] = lower
        if least <= own:
            found[block[loss[block] == least]] = best
        least, best = min(least, own), lower
    return found


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
            names = np.append(part["group"].to_numpy(object), "")
            beaten[part.index] = names[best]
        found[f"beaten in {cost} by"] = beaten
    return found
