"""Ranks at equal compute: evaluations, FLOPs, seconds, training FLOPs; and what a quality costs.

One model spends a budget in its own way, so rows of one budget rarely cost the same. Here each
model stands at exactly the compute of the best row of a budget: at a measured point, or between two
neighbouring points of one sampler, in logarithms. Nothing is extended beyond what was measured.
Adaptive samplers join by what they measured.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from bench.report.columns import GFLOPS, SECONDS
from bench.report.results import Results
from bench.report.standing import best_of

COSTS = {
    "nfe": "NFE",
    GFLOPS: "GFLOPs per image",
    SECONDS: "seconds per image",
    "training_flops": "training FLOPs",
}
"""Titles of the kinds of compute, by column."""
SAME = 0.01
"""Costs that differ by no more than this part are the same."""


class Curve(NamedTuple):
    """What one model reaches with one sampler, by rising cost; arrays of equal length."""

    model: str
    cost: np.ndarray
    value: np.ndarray


class At(NamedTuple):
    """A model's value at some compute, or its compute at some value.

    Args:
        exact: Whether it was measured there; else it lies between two measured points.
    """

    model: str
    number: float
    exact: bool


def comparable_rows(results: Results) -> pd.DataFrame:
    """Returns the complete rows of trained models in the identity of the first metric that most of
    them have; averages of other lengths are left out.
    """
    board, name = results.board, results.first_metric
    rows = board[(board["state"] == "done") & board["sampler"].notna() & board["ema"].isna()]
    if name is None or rows.empty:
        return rows.iloc[:0]
    rows = rows[np.isfinite(rows[name].astype(float))]
    same = pd.Series([identity.get(name, "") for identity in rows["identity"]], rows.index)
    return rows if rows.empty else rows[same == same.mode().iloc[0]]


def curves(results: Results, cost: str) -> list[Curve]:
    """Returns the curves of the first metric against a cost of :data:`COSTS`.

    Along training there is one curve per model, its best row at each cost.
    """
    rows, name = comparable_rows(results), results.first_metric
    if name is None or rows.empty:
        return []
    higher = results.metrics[name].higher_is_better
    if cost != "training_flops":
        rows = rows[rows["snapshot"].isna()]
        lines = rows.groupby(["train", "sampler", "times", "settings"], sort=False, dropna=False)
        parts = ((which[0], part) for which, part in lines)
    else:
        parts = iter(rows.groupby("train", sort=False))
    found = []
    for model, part in parts:
        known = part[part[cost].astype(float) > 0]
        by_cost = known.groupby(cost)[name]
        best = by_cost.max() if higher else by_cost.min()
        if len(best):
            found.append(Curve(str(model), best.index.to_numpy(float), best.to_numpy(float)))
    return found


def value_at(curve: Curve, level: float) -> At | None:
    """Returns what a curve has at some cost, None outside its measured range."""
    near = np.abs(curve.cost / level - 1)
    if near.min() <= SAME:
        return At(curve.model, float(curve.value[near.argmin()]), True)
    if not curve.cost[0] < level < curve.cost[-1]:
        return None
    logarithmic = bool((curve.value > 0).all())
    values = np.log(curve.value) if logarithmic else curve.value
    between = float(np.interp(math.log(level), np.log(curve.cost), values))
    return At(curve.model, math.exp(between) if logarithmic else between, False)


def cost_to_reach(curve: Curve, target: float, *, higher: bool) -> At | None:
    """Returns the least cost at which a curve reaches a value, None if it never does."""
    good = curve.value >= target if higher else curve.value <= target
    if not good.any():
        return None
    first = int(good.argmax())
    if first == 0 or curve.value[first] == target:
        return At(curve.model, float(curve.cost[first]), True)
    pair = slice(first - 1, first + 1)
    values, costs = curve.value[pair], np.log(curve.cost[pair])
    if (values > 0).all():
        values, target = np.log(values), math.log(target)
    order = np.argsort(values)
    cost = float(np.interp(target, values[order], costs[order]))
    return At(curve.model, math.exp(cost), False)


def ranked_at(lines: Sequence[Curve], level: float, *, higher: bool) -> list[At]:
    """Returns the best of each model at some cost, the best model first."""
    known = [at for curve in lines if (at := value_at(curve, level)) is not None]
    return _best(known, reverse=higher)


def ranked_to_reach(lines: Sequence[Curve], target: float, *, higher: bool) -> list[At]:
    """Returns the least cost of each model that reaches a value, the cheapest model first."""
    found = (cost_to_reach(curve, target, higher=higher) for curve in lines)
    return _best([at for at in found if at is not None], reverse=False)


def _best(known: Sequence[At], *, reverse: bool) -> list[At]:
    first: dict[str, At] = {}
    for at in sorted(known, key=lambda one: one.number, reverse=reverse):
        first.setdefault(at.model, at)
    return list(first.values())


def levels(results: Results, cost: str) -> list[float]:
    """Returns the compute of the best row of each budget; along training, of each model's end."""
    name, rows = results.first_metric, comparable_rows(results)
    if name is None or rows.empty:
        return []
    if cost == "training_flops":
        found = rows[rows["snapshot"].isna()].groupby("train", sort=False)[cost].max().dropna()
    else:
        ends = rows[rows["snapshot"].isna()]
        best = best_of(ends, name, results.metrics[name].higher_is_better)
        found = ends.loc[[index[0] for index in best], cost].dropna()
    return list(_distinct(sorted(float(level) for level in found if level > 0)))


def _distinct(values: Sequence[float]) -> Iterator[float]:
    last = 0.0
    for value in values:
        if value > last * (1 + SAME):
            last = value
            yield value


def targets(results: Results) -> list[float]:
    """Returns the values whose cost is asked for: those of the best row of each budget, rounded to
    the worse side.
    """
    name, rows = results.first_metric, comparable_rows(results)
    if name is None or rows.empty:
        return []
    higher = results.metrics[name].higher_is_better
    ends = rows[rows["snapshot"].isna()]
    best = [ends.loc[index[0], name] for index in best_of(ends, name, higher)]
    return sorted({_rounded(float(value), up=not higher) for value in best}, reverse=not higher)


def _rounded(value: float, *, up: bool) -> float:
    if value == 0:
        return value
    unit = 10 ** (math.floor(math.log10(abs(value))) - 1)
    steps = math.ceil(value / unit) if up else math.floor(value / unit)
    return float(f"{steps * unit:.6g}")


def training_is_equal(rows: Mapping[str, Any] | pd.DataFrame) -> bool:
    """Tells whether every row's model took the same training FLOPs."""
    flops = pd.Series(rows["training_flops"]).dropna()
    return len(flops) > 0 and float(flops.max()) <= (1 + SAME) * float(flops.min())
