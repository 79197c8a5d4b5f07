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
from bench.report.contrast import contrast
from bench.report.group import Group
from bench.report.seeds import Sides, sides_of, stacked, untrained
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
    found = {f"{name}{part}": np.full(len(board), np.nan) for part in PARTS}
    value, low, high = found.values()
    tied = np.full(len(board), None, object)
    values, sign = board[name].to_numpy(float), -1 if card.higher_is_better else 1
    pairs = [pair for part in pairs_of(board, name, card.higher_is_better) for pair in part]
    for pair in pairs:
        value[[pair.leader, pair.other]] = 0, sign * (values[pair.other] - values[pair.leader])
    for part, sides in _alike(pairs, groups, name):
        difference = contrast(sides.first, sides.second, paired=sides.paired, bounds=card.bounds)
        if not difference.scope:
            continue
        for place, pair in enumerate(part):
            if value[pair.other] == 0:
                continue
            ends = sign * difference.low[place], sign * difference.high[place]
            low[pair.other], high[pair.other] = sorted(ends)
            tied[pair.other] = bool(min(ends) <= 0 <= max(ends))
    return pd.DataFrame(found, board.index).assign(**{f"{name} tied": pd.array(tied, "boolean")})


def _alike(
    pairs: Sequence[Pair], groups: Sequence[Group], name: str
) -> Iterator[tuple[list[Pair], Sides]]:
    """Yields the pairs that can be subtracted in parts of one design each, with their values of
    shape (K, I, J).
    """
    tables = [group.seed_table(name) for group in groups]
    known = [
        (pair, sides)
        for pair in pairs
        if (sides := sides_of(tables[pair.other], tables[pair.leader])) is not None
    ]
    kinds = [(sides.first.shape, sides.second.shape, sides.paired) for _, sides in known]
    for part in stacked(range(len(known)), kinds):
        chosen = [known[index] for index in part]
        first, second = (np.stack([sides[side] for _, sides in chosen]) for side in (0, 1))
        yield [pair for pair, _ in chosen], Sides(first, second, chosen[0][1].paired)


def verdicts(
    board: pd.DataFrame, groups: Sequence[Group], name: str, card: MetricCard
) -> pd.DataFrame:
    """Returns what is known of each group's distance from the best of its budget.

    Columns: ``verdict``, one of ``best``, ``established``, ``tied`` or ``hint``, empty for a group
    that is compared with none; and ``verdict p``, the corrected p-value of no difference, blank
    without a test.

    Args:
        board: The leaderboard with the columns of :func:`behind`, unsorted: a row per group.
    """
    contests = list(pairs_of(board, name, card.higher_is_better))
    pairs = [pair for part in contests for pair in part]
    p_of = _p_of(pairs, groups, name, card)
    raw = np.array([p_of[pair] for pair in pairs])
    alone: Any = dict(zip(pairs, holm(np.nan_to_num(raw, nan=1.0)) if pairs else (), strict=True))
    runners = [runner_up(board, part) for part in contests]
    lead_p = [np.nan_to_num(p_of[pair], nan=1.0) * pair.place for pair in runners]
    leads: Any = holm(np.minimum(lead_p, 1.0)) if runners else []
    found, corrected = np.full(len(board), "", object), np.full(len(board), np.nan)
    tied, values = board[f"{name} tied"].fillna(False).to_numpy(bool), board[name].to_numpy(float)
    for part, runner, lead in zip(contests, runners, leads, strict=True):
        found[part[0].leader] = BEST
        for pair in part:
            p = min(alone[pair], lead) if pair.place >= runner.place else alone[pair]
            tested = np.isfinite(p_of[pair]) or p < 1
            corrected[pair.other] = p if tested else np.nan
            equal = values[pair.other] == values[pair.leader]
            found[pair.other] = (
                ESTABLISHED if p <= LEVEL else TIED if tied[pair.other] or equal else HINT
            )
    return pd.DataFrame({"verdict": found, "verdict p": corrected}, board.index)


def _p_of(
    pairs: Sequence[Pair], groups: Sequence[Group], name: str, card: MetricCard
) -> dict[Pair, float]:
    """Returns the p-value of no difference of each pair, NaN if there are too few units for a test:
    trainings and sample seeds of a claim, or sample seeds of exact scores.
    """
    found = dict.fromkeys(pairs, np.nan)
    for part, sides in _alike(pairs, groups, name):
        trainings, seeds = min(sides.first.shape[1], sides.second.shape[1]), sides.first.shape[2]
        least = LEAST_PAIRS if sides.paired else LEAST_TRAININGS
        if trainings >= least and seeds >= LEAST_SEEDS:
            difference = contrast(*sides[:2], paired=sides.paired, bounds=card.bounds)
            if difference.scope == BOTH:
                effect = np.abs(difference.mean)  # of equivalence, which is not asked for
                effect[effect == 0] = 1.0
                tested = compare(
                    *sides[:2], paired=sides.paired, smallest_effect=effect, bounds=card.bounds
                )
                found |= zip(part, np.asarray(tested.p, float).tolist(), strict=True)
        elif seeds >= LEAST_PAIRS:
            for pair, first, second in zip(part, *sides[:2], strict=True):
                if untrained(groups[pair.other].rows, groups[pair.leader].rows):
                    means = first.mean(0), second.mean(0)
                    found[pair] = float(
                        compare_seeds(*means, smallest_effect=1.0, bounds=card.bounds).p
                    )
    return found
