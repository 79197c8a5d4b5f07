"""How each group stands against the best of its budget: by how much it is behind, and whether that
is real.

A difference is *established* if tests say so for other trainings and other sample seeds; it needs
the trainings of a claim (:mod:`bench.suite.claims`), or its sample seeds where nothing is trained
(exact scores). Two families are corrected by Holm's method:
the best of each budget against the runner-up that it is compared with, one test per budget; and all
groups against the best of their budgets. In the first, the best is chosen after the fact, which
costs nothing: the gap between the two best of equal groups is smaller than that of a pair named
beforehand. A runner-up with others before it pays for each of them. What is established of the
runner-up holds for all groups behind it.

Source: Hung and Fithian, 2019, https://doi.org/10.1214/17-AOS1671 (rank verification).
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from bench.metrics.card import MetricCard
from bench.report.group import Group
from bench.report.seeds import Sides, difference_of, sides_of, untrained
from bench.report.significance import compare, compare_seeds, holm
from bench.report.statistics import BOTH
from bench.suite.claims import LEAST_PAIRS, LEAST_SEEDS, LEAST_TRAININGS, LEVEL

BEST, ESTABLISHED, HINT, TIED = "best", "established", "hint", "tied"
PARTS = (" behind", " behind low", " behind high")
"""Endings of a metric's columns: by how much a group is worse than the best, and the interval."""


class Pair(NamedTuple):
    """A group beside the best of its budget and identity, both places in the leaderboard.

    Args:
        place: How many groups are at least as good as this one, without itself: 1 for the second.
    """

    leader: int
    other: int
    place: int


def best_of(board: pd.DataFrame, name: str, higher: bool) -> list[pd.Index]:
    """Returns which complete groups are best in a metric, for each budget and identity that several
    of them share.

    Args:
        board: Rows of the leaderboard.
        name: The metric's column.
        higher: Whether a higher value is better.
    """
    return [
        part.index[part[name] == (part[name].max() if higher else part[name].min())]
        for part in contests(board, name)
    ]


def contests(board: pd.DataFrame, name: str) -> Iterator[pd.DataFrame]:
    """Yields the complete groups that share a budget and an identity of a metric, if several do."""
    known = board[(board["state"] == "done") & board[name].notna() & board["budget"].notna()]
    same = np.array([identity.get(name, "") for identity in known["identity"]], object)
    for _, part in known.groupby([known["budget"], same]):
        if len(part) > 1:
            yield part


def pairs_of(board: pd.DataFrame, name: str, higher: bool) -> Iterator[list[Pair]]:
    """Yields for each budget and identity the groups behind the best one, from the second on."""
    for part in contests(board, name):
        order = part[name].sort_values(ascending=not higher, kind="stable").index
        yield [Pair(order[0], other, place) for place, other in enumerate(order[1:], 1)]


def runner_up(board: pd.DataFrame, pairs: Sequence[Pair]) -> Pair:
    """Returns the best group of another model than the leader's, or the second if there is none."""
    train = board["train"]
    others = (pair for pair in pairs if train[pair.other] != train[pair.leader])
    return next(others, pairs[0])


def behind(
    board: pd.DataFrame, groups: Sequence[Group], name: str, card: MetricCard
) -> pd.DataFrame:
    """Returns by how much each group is worse than the best of its budget, and whether it is tied.

    Columns ``behind``, ``behind low``, ``behind high`` (:data:`PARTS` after the metric's name) and
    ``tied``: whether the interval of the difference holds 0, blank without one.

    Args:
        board: The leaderboard, unsorted: a row per group.
    """
    found = pd.DataFrame(np.nan, board.index, [f"{name}{part}" for part in PARTS])
    tied = pd.Series(pd.NA, index=board.index, dtype="boolean")
    sign = -1 if card.higher_is_better else 1
    for pairs in pairs_of(board, name, card.higher_is_better):
        best = board.loc[pairs[0].leader, name]
        found.loc[pairs[0].leader, f"{name} behind"] = 0.0
        for leader, index, _ in pairs:
            found.loc[index, f"{name} behind"] = sign * (board.loc[index, name] - best)
            pair = groups[index].rows, groups[leader].rows
            difference = difference_of(*pair, name, card.bounds)
            if difference is None or not difference.scope or board.loc[index, name] == best:
                continue
            ends = sorted((sign * float(difference.low), sign * float(difference.high)))
            found.loc[index, [f"{name} behind low", f"{name} behind high"]] = ends
            tied[index] = bool(ends[0] <= 0 <= ends[1])
    return found.assign(**{f"{name} tied": tied})


def verdicts(
    board: pd.DataFrame, groups: Sequence[Group], name: str, card: MetricCard
) -> pd.Series:
    """Returns what is known of each group's distance from the best of its budget: ``best``,
    ``established``, ``tied`` or ``hint``; empty for a group that is compared with none.

    Args:
        board: The leaderboard with the columns of :func:`behind`, unsorted: a row per group.
    """
    contests = list(pairs_of(board, name, card.higher_is_better))
    pairs = [pair for part in contests for pair in part]
    p = [_p(groups[pair.other], groups[pair.leader], name, card) for pair in pairs]
    p_of = dict(zip(pairs, p, strict=True))
    runners = [runner_up(board, part) for part in contests]
    leads: Any = holm([min(1.0, p_of[pair] * pair.place) for pair in runners]) if runners else []
    proven = dict(zip(pairs, holm(p) if p else (), strict=True))
    found = pd.Series("", board.index, dtype=object)
    tied = board[f"{name} tied"].fillna(False)
    for part, runner, lead in zip(contests, runners, leads, strict=True):
        found[part[0].leader] = BEST
        for pair in part:
            clear = proven[pair] <= LEVEL or (lead <= LEVEL and pair.place >= runner.place)
            equal = board.loc[pair.other, name] == board.loc[pair.leader, name]
            found[pair.other] = (
                ESTABLISHED if clear else TIED if tied[pair.other] or equal else HINT
            )
    return found


def is_testable(sides: Sides, *, exact: bool) -> bool:
    """Tells whether two groups have the trainings and sample seeds that a claim needs."""
    if exact:
        return sides.first.shape[1] >= LEAST_PAIRS
    least = LEAST_PAIRS if sides.paired else LEAST_TRAININGS
    return min(map(len, sides[:2])) >= least and sides.first.shape[1] >= LEAST_SEEDS


def _p(group: Group, leader: Group, name: str, card: MetricCard) -> float:
    """Returns the p-value of no difference, 1 if there are too few units for a test."""
    sides, exact = sides_of(group.rows, leader.rows, name), untrained(group.rows, leader.rows)
    if sides is None or not is_testable(sides, exact=exact):
        return 1.0
    if exact:
        first, second = (side.mean(0) for side in sides[:2])
        return float(compare_seeds(first, second, smallest_effect=1.0, bounds=card.bounds).p)
    difference = difference_of(group.rows, leader.rows, name, card.bounds)
    if difference is None or difference.scope != BOTH:
        return 1.0
    effect = abs(float(difference.mean)) or 1.0  # of equivalence, which is not asked for
    values = sides.first, sides.second
    tested = compare(*values, paired=sides.paired, smallest_effect=effect, bounds=card.bounds)
    return float(tested.p)
