"""Who is beaten by whom at no higher cost: the Pareto front of a leaderboard."""

import numpy as np
import pandas as pd

from bench.report.table import bare, identities

COSTS = {"nfe": "NFE", "sampling_gflops_per_image": "GFLOPs"}
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
    """Returns which points are on the Pareto front, as booleans of shape (N,); see
    :func:`dominators`.
    """
    return dominators(cost, value, higher=higher) < 0


def dominated(board: pd.DataFrame) -> pd.DataFrame:
    """Returns a row a complete group that another one beats by the first metric, in both costs or
    in one of them.

    Columns: ``group``, and for each of :data:`COSTS` the group that beats it there, blank on that
    front. Only groups of one identity of the metric compete, and only means: whether a difference
    is evidence is another question.

    Args:
        board: The leaderboard.
    """
    metrics, board = board.attrs["metrics"], bare(board)
    records: dict[str, dict[str, str]] = {}
    if metrics:
        name, higher = next(iter(metrics.items()))
        known = board[(board["state"] == "done") & np.isfinite(board[name].astype(float))]
        for column, cost in COSTS.items():
            measured = known[known[column].notna()]
            for _, part in measured.groupby(
                [identities(text).get(name, "") for text in measured["identity"]]
            ):
                by = dominators(
                    part[column].to_numpy(float), part[name].to_numpy(float), higher=higher
                )
                for group, index in zip(part["group"], by, strict=True):
                    if index >= 0:
                        record = records.setdefault(
                            group, {"group": group, **dict.fromkeys(COSTS.values(), "")}
                        )
                        record[cost] = part["group"].iloc[index]
    order = {group: index for index, group in enumerate(board["group"])}
    found = sorted(records.values(), key=lambda record: order[record["group"]])
    return pd.DataFrame(found, columns=["group", *COSTS.values()])
