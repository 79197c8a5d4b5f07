"""Comparisons of curves that models show of themselves: the mean of each, one value per training.

Means are compared in logarithms, so a difference is that of a ratio from 1. They are a family of
their own for Holm's correction: quantities of networks, not of samples.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from bench.report.significance import compare_trainings, holm, verdicts
from bench.suite.claims import LEAST_TRAININGS


def judge_curves(
    table: pd.DataFrame, asked: Sequence[tuple[str, str, str, float]]
) -> list[dict[str, Any]]:
    """Returns for each comparison what a row of ``claims.csv`` says; empty if it was not run.

    Args:
        table: ``curves.csv`` (:data:`bench.report.curves.COLUMNS`), or an empty one.
        asked: (curve, first, second, smallest effect) of one suite: of the train labels the first
            is claimed to have the smaller mean.
    """
    rows = [_measure(table, *one) for one in asked]
    tested = [row for row in rows if "p" in row]
    for name in ("p", "p_equivalence"):
        adjusted = holm([row[name] for row in tested]) if tested else ()
        for row, p in zip(tested, adjusted, strict=True):
            row[f"{name}_holm"] = float(p)
    for row in tested:
        both = row["p_holm"], row["p_equivalence_holm"]
        row["verdict"] = str(verdicts(math.log(row["ratio"]), *both, higher_is_better=False))
    return rows


def means_of(table: pd.DataFrame, curve: str, train: str) -> np.ndarray:
    """Returns the mean of a curve of each training of a label, in the order of their seeds."""
    if table.empty:
        return np.zeros(0)
    mine = table[(table["curve"] == curve) & (table["train"] == train)]
    return mine.groupby("train_seed")["y"].mean().to_numpy(float)


def _measure(
    table: pd.DataFrame, curve: str, first: str, second: str, effect: float
) -> dict[str, Any]:
    sides = [means_of(table, curve, label) for label in (first, second)]
    if min(map(len, sides)) == 0:
        return {}
    row: dict[str, Any] = {
        "first_mean": math.exp(np.log(sides[0]).mean()),
        "second_mean": math.exp(np.log(sides[1]).mean()),
        "verdict": "undecided",
        "note": "",
    }
    row["ratio"] = row["first_mean"] / row["second_mean"]
    if min(map(len, sides)) < LEAST_TRAININGS:
        counts = " and ".join(str(len(side)) for side in sides)
        row["note"] = f"a claim needs {LEAST_TRAININGS} trainings each, here are {counts}: a hint"
        return row
    logs = [np.log(side) for side in sides]
    tested = compare_trainings(*logs, smallest_effect=math.log1p(effect))
    row |= {name: math.expm1(getattr(tested, name)) for name in ("difference", "low", "high")}
    p = {name: float(getattr(tested, name)) for name in ("p", "p_equivalence")}
    return row | p | {"test": tested.test}
