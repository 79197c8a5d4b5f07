"""What a suite claims before its run: which groups are compared, and what a claim needs to be
decided at all.

Standard library only.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from bench.schema import Problem
from bench.spec import ImagesSpec, Point, TrainSpec

LEVEL = 0.05
"""Of every test; intervals have confidence 1 - LEVEL."""
LEAST_TRAININGS = 5
"""Trainings of each side of a claim about methods: with three against three no permutation test is
below p = 0.10.
"""
LEAST_PAIRS = 6
"""Trainings that two samplers share in a claim about samplers: the least of sign flips is then p =
0.031.
"""
LEAST_SEEDS = 2
"""Sample seeds of any claim: from one, what it does to all trainings alike cannot be known at
all.
"""
FIT_SEEDS = 4
"""Sample seeds from which most large differences show, with trainings as few as may be:
``docs/calibration``.
"""


class Claim(NamedTuple):
    """One comparison that a suite states before its run: that the first group is better than the
    second.

    Args:
        metric: The metric's column.
        smallest_effect: The least difference that is of interest, in units of the metric.
    """

    metric: str
    smallest_effect: float
    first: str
    second: str


def words_of(text: str) -> str:
    """Returns a group or what was typed for it with single spaces and no dots: ``vp flow_heun nfe
    20``.
    """
    return " ".join(text.replace("·", " ").split())


def _matching(wanted: str, groups: Mapping[str, Point]) -> list[str]:
    """Returns the groups that a claim names: the one of that name, those of a train label, or of
    whole words.
    """
    wanted = words_of(wanted)
    words = {group: words_of(group) for group in groups}
    return (
        [group for group in groups if words[group] == wanted]
        or [group for group, point in groups.items() if point.train == wanted]
        or [group for group in groups if f" {wanted} " in f" {words[group]} "]
    )


def paired(
    names: tuple[str | None, str], groups: Mapping[str, Point]
) -> tuple[list[tuple[str, str]], Problem | None]:
    """Returns which groups two names compare, or why they compare none.

    Two single groups, whatever they cost; else those of equal budget, snapshot and average, of
    which there may be one on each side alone. Without a first name: every other group that has a
    counterpart.
    """
    sides = [list(groups) if name is None else _matching(name, groups) for name in names]
    for index, (name, side) in enumerate(zip(names, sides, strict=True)):
        if not side:
            place = () if names[0] is None else (str(index),)
            return [], Problem(
                place, name, "names no group of the suite", tuple(map(words_of, groups))
            )
    if names[0] is None:
        sides[0] = [group for group in sides[0] if group not in sides[1]]
    if len(sides[0]) == len(sides[1]) == 1:
        pairs = [(sides[0][0], sides[1][0])]
    else:
        second: dict[Any, list[str]] = {}
        for group in sides[1]:
            second.setdefault(_counterpart(groups[group]), []).append(group)
        pairs = [
            (group, other)
            for group in sides[0]
            for other in second.get(_counterpart(groups[group]), ())
        ]
    named = names[1] if names[0] is None else list(names)
    for side in (0,) if names[0] is None else (0, 1):
        for group in sides[side]:
            several = [pair[1 - side] for pair in pairs if pair[side] == group]
            if len(several) > 1:
                why = f"compares {group} with {' and with '.join(several)}: say more words of the one that is meant"
                return [], Problem((), named, why)
    if not pairs:
        return [], Problem((), named, "names no two groups of equal budget")
    if any(first == second for first, second in pairs):
        return [], Problem((), named, "compares a group with itself")
    return pairs, None


def _counterpart(point: Point) -> Any:
    """Returns what groups agree in that a claim compares; groups without a budget have no
    counterpart.
    """
    spec = point.sample
    if point.budget is None or isinstance(spec, ImagesSpec):
        return point.group
    return point.budget, spec.snapshot, spec.ema, json.dumps(spec.given, sort_keys=True)


def least_p(first: int, second: int, *, shared: bool) -> float:
    """Returns the least p-value, two-sided, that permutations of so many trainings have.

    Args:
        first: Trainings of the first group.
        second: Those of the second.
        shared: Whether they are the same ones.
    """
    return 2 / (2**first if shared else math.comb(first + second, first))


def note_power(
    claims: Sequence[Claim],
    train: Mapping[str, Sequence[TrainSpec | ImagesSpec]],
    groups: Mapping[str, Point],
    seeds: int,
) -> list[str]:
    """Returns a line for each reason why claims cannot be decided, however the run ends.

    Args:
        claims: All claims of the suite: Holm's correction counts them.
        train: The models of each train label.
        groups: A point of each group.
        seeds: Sample seeds of the suite.
    """
    if not claims:
        return []
    notes = (
        [f"claims: {seeds} sample seed is too few, {LEAST_SEEDS} are needed"]
        if seeds < LEAST_SEEDS
        else []
    )
    least = []
    for claim in claims:
        models = [train[groups[name].train] for name in (claim.first, claim.second)]
        first, second = map(len, models)
        shared = set(map(id, models[0])) == set(map(id, models[1]))
        needed = LEAST_PAIRS if shared else LEAST_TRAININGS
        if min(first, second) < needed:
            what = "trainings that both share" if shared else "trainings each"
            notes.append(
                f"claims: {claim.first} against {claim.second} stays undecided: it needs {needed} {what}"
            )
        least.append(least_p(first, second, shared=shared))
    if not notes and (best := min(least) * len(claims)) > LEVEL:
        notes.append(
            f"claims: no difference can be shown: the least p-value of so few trainings is {min(least):.2g}, after "
            f"Holm's correction over {len(claims)} claims {min(best, 1.0):.2g}; state fewer claims or train more often"
        )
    if LEAST_SEEDS <= seeds < FIT_SEEDS:
        notes.append(
            f"claims: {seeds} sample seeds; of differences of three deviations between trainings, two show one in five "
            f"and {FIT_SEEDS} show three in four (docs/calibration)"
        )
    return notes
