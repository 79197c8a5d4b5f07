r"""How many trainings or sample seeds would decide a claim, if its numbers stayed as they are.

With :math:`V_A` and :math:`V_B` the parts that trainings and sample seeds have in the variance of a
difference d (:mod:`bench.report.statistics`), I trainings and J seeds change them to
:math:`V_A I_0 / I` and :math:`V_B J_0 / J`. A difference shows if

.. math:: |d| > \sqrt{t_{I-1}^2 V_A + t_{J-1}^2 V_B}

at the level that Holm's correction leaves the first claim of the family, and the permutations of I
trainings reach that level; its absence, if the same root of one-sided quantiles is less than what
is left of the smallest effect beside :math:`|d|`.

It is a forecast: d and its variance are estimates, and other trainings give others.
"""

import math
from typing import NamedTuple

import numpy as np
from scipy import stats

from bench.suite.claims import FIT_SEEDS, LEAST_PAIRS, LEAST_TRAININGS, LEVEL, least_p

MOST = 100
"""Trainings or seeds beyond which the answer is "more than"."""


class Spread(NamedTuple):
    """A difference and where its variance comes from.

    Args:
        trainings: Part of the trainings in its variance, times their number; 0 of exact scores.
        seeds: Part of the sample seeds, times theirs.
    """

    difference: float
    trainings: float
    seeds: float


class Need(NamedTuple):
    """What would decide a claim.

    Args:
        trainings: Of each side, 0 of exact scores.
        shows: Whether it would show a difference, rather than its absence.
    """

    trainings: int
    seeds: int
    shows: bool


def spread(first: np.ndarray, second: np.ndarray, *, paired: bool) -> Spread:
    """Returns how two groups differ, from values of shapes (I, J) and (K, J)."""
    by_seed = first.mean(0) - second.mean(0)
    sides = [first - second] if paired else [first, second]
    seeds = by_seed.var(ddof=1) if len(by_seed) > 1 else 0.0
    trainings = sum(
        side.mean(1).var(ddof=1) * len(sides[0]) / len(side) for side in sides if len(side) > 1
    )
    return Spread(float(by_seed.mean()), float(trainings), float(seeds))


def needed(of: Spread, effect: float, family: int, *, shared: bool, exact: bool) -> Need | None:
    """Returns the fewest trainings and seeds that would decide a claim, None if over 100 of them.

    Args:
        effect: The smallest difference of interest.
        family: How many claims Holm's correction counts.
        shared: Whether both sides have the same trainings.
        exact: Whether nothing is trained: then only seeds are counted.
    """
    level, least = LEVEL / family, LEAST_PAIRS if shared or exact else LEAST_TRAININGS
    if exact:
        designs = [(0, seeds) for seeds in range(least, MOST + 1)]
    else:
        designs = [(i, j) for j in (FIT_SEEDS, 8, 16) for i in range(least, MOST + 1)]
        designs.sort(key=lambda design: design[0] * design[1])
    for trainings, seeds in designs:
        units = seeds if exact else trainings
        reached = least_p(units, units, shared=shared or exact) <= level
        if reached and abs(of.difference) > _half_width(of, trainings, seeds, level / 2):
            return Need(trainings, seeds, shows=True)
        if effect - abs(of.difference) > _half_width(of, trainings, seeds, level):
            return Need(trainings, seeds, shows=False)
    return None


def _half_width(of: Spread, trainings: int, seeds: int, tail: float) -> float:
    square = stats.t.isf(tail, seeds - 1) ** 2 * of.seeds / seeds
    if trainings:
        square += stats.t.isf(tail, trainings - 1) ** 2 * of.trainings / trainings
    return math.sqrt(square)
