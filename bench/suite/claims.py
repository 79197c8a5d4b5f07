"""What a suite claims before its run: which groups are compared, and whether it can be decided."""

import json
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from bench.schema import Problem
from bench.spec import ImagesSpec, Point
from bench.suite.fault import Findings, KeyPath
from bench.suite.sections import Claims

LEVEL = 0.05
"""Of every test; intervals have confidence 1 - LEVEL."""
LEAST_TRAININGS = 5
"""Trainings of each side of a claim about methods: of three against three, p is at least 0.10."""
LEAST_PAIRS = 6
"""Trainings that two samplers share in a claim about them, or sample seeds of exact scores, which
have no trainings: p of sign flips is at least 0.031."""
LEAST_SEEDS = 2
"""Sample seeds of any claim: one seed does not show what it does to all trainings alike."""
FIT_SEEDS = 4
"""Sample seeds from which most large differences show in so few trainings: docs/calibration."""


class Claim(NamedTuple):
    """One comparison that a suite states before its run: the first group is better.

    Args:
        metric: The metric's column.
        smallest_effect: The least difference that is of interest, in units of the metric.
    """

    metric: str
    smallest_effect: float
    first: str
    second: str


def words_of(text: str) -> str:
    """Returns a group's name with single spaces and no dots: ``vp flow_heun nfe 20``."""
    return " ".join(text.replace("·", " ").split())


def _matching(wanted: str, groups: Mapping[str, Point]) -> list[str]:
    """Returns the groups of that name, of that train label, or with those whole words."""
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
            path, allowed = () if names[0] is None else (str(index),), tuple(map(words_of, groups))
            return [], Problem(path, name, "names no group of the suite", allowed)
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
    for place in (0,) if names[0] is None else (0, 1):
        for group in sides[place]:
            several = [pair[1 - place] for pair in pairs if pair[place] == group]
            if len(several) > 1:
                others = " and with ".join(several)
                why = f"compares {group} with {others}: say more words of the one that is meant"
                return [], Problem((), named, why)
    if not pairs:
        return [], Problem((), named, "names no two groups of equal budget")
    if any(first == second for first, second in pairs):
        return [], Problem((), named, "compares a group with itself")
    return pairs, None


def _counterpart(point: Point) -> Any:
    """Returns what two compared groups share; one without a budget has no counterpart."""
    spec = point.sample
    if point.budget is None or isinstance(spec, ImagesSpec):
        return point.group
    return point.budget, spec.snapshot, spec.ema, json.dumps(spec.given, sort_keys=True)


def needed_units(*, shared: bool = False, untrained: bool = False) -> tuple[int, str]:
    """Returns how many units a claim needs, and what they are."""
    if untrained:
        return LEAST_PAIRS, "sample seeds, exact scores having no trainings"
    return (
        (LEAST_PAIRS, "trainings that both share")
        if shared
        else (LEAST_TRAININGS, "trainings each")
    )


def least_p(first: int, second: int, *, shared: bool) -> float:
    """Returns the least p-value, two-sided, that permutations of so many units have.

    Args:
        first: Trainings of the first group.
        second: Those of the second.
        shared: Whether they are the same ones.
    """
    return 2 / (2**first if shared else math.comb(first + second, first))


def expand_claims(
    sections: Sequence[Claims], groups: Mapping[str, Point], findings: Findings, *, smoke: bool
) -> tuple[Claim, ...]:
    """Returns the claims, each about two groups.

    Args:
        groups: A point of each group.
        smoke: Note those that a trial run has no groups for, rather than refuse them.
    """
    claims: dict[Claim, KeyPath] = {}
    for section in sections:
        pairs = section.pairs if section.vs is None else ((None, section.vs),)
        for index, names in enumerate(pairs):
            place = ("vs",) if section.vs is not None else ("pairs", str(index))
            path = (*section.path, *place)
            matches, problem = paired(names, groups)
            if problem and smoke:
                findings.notes.append(
                    f"{'.'.join(path)}: left out of the trial run ({problem.why})"
                )
            elif problem:
                findings.problems.append(problem._replace(path=(*path, *problem.path)))
            for first, second in matches:
                claim = Claim(section.column, section.smallest_effect, first, second)
                earlier = claims.setdefault(claim, path)
                if earlier != path:
                    why = f"{first} against {second} is claimed already by {'.'.join(earlier)}"
                    findings.problems.append(Problem(path, None, why))
    return tuple(claims)


def sample_seeds(points: Sequence[Point]) -> dict[str, frozenset[int]]:
    """Returns the sample seeds of each group; images made elsewhere have none."""
    seeds: dict[str, set[int]] = {}
    for point in points:
        own = seeds.setdefault(point.group, set())
        if not isinstance(point.sample, ImagesSpec):
            own.add(point.sample.seed)
    return {group: frozenset(own) for group, own in seeds.items()}


def note_power(
    claims: Sequence[Claim],
    trainings: Mapping[str, int],
    groups: Mapping[str, Point],
    seeds: Mapping[str, frozenset[int]],
    untrained: Collection[str] = (),
) -> list[str]:
    """Returns a line for each reason why claims cannot be decided, however the run ends.

    Args:
        claims: All claims of the suite: Holm's correction counts them.
        trainings: How many models each train label has.
        groups: A point of each group.
        seeds: Sample seeds of each group, none of images made elsewhere.
        untrained: Train labels of exact scores: the unit of claims about two of them is a sample
            seed.
    """
    if not claims:
        return []
    notes = []
    claimed = {name for claim in claims for name in (claim.first, claim.second)}
    fewest = min((len(seeds[name]) for name in claimed if seeds[name]), default=FIT_SEEDS)
    if fewest < LEAST_SEEDS:
        notes.append(f"claims: {fewest} sample seed is too few, {LEAST_SEEDS} are needed")
    least = []
    for claim in claims:
        if seeds[claim.first] and seeds[claim.second] and seeds[claim.first] != seeds[claim.second]:
            notes.append(
                f"claims: {claim.first} against {claim.second} stays undecided: "
                "their sample seeds are unlike"
            )
        labels = [groups[name].train for name in (claim.first, claim.second)]
        first, second = (trainings[label] for label in labels)
        shared = labels[0] == labels[1]
        needed, what = needed_units(shared=shared)
        if all(label in untrained for label in labels):
            first = second = len(seeds[claim.first])
            shared, (needed, what) = True, needed_units(untrained=True)
        if min(first, second) < needed:
            notes.append(
                f"claims: {claim.first} against {claim.second} stays undecided: "
                f"it needs {needed} {what}"
            )
        least.append(least_p(first, second, shared=shared))
    if not notes and (best := min(least) * len(claims)) > LEVEL:
        notes.append(
            "claims: no difference can be shown: the least p-value of so few trainings is "
            f"{min(least):.2g}, after Holm's correction over {len(claims)} claims "
            f"{min(best, 1.0):.2g}; state fewer claims or train more often"
        )
    if LEAST_SEEDS <= fewest < FIT_SEEDS:
        notes.append(
            f"claims: {fewest} sample seeds; of differences of three deviations between trainings, "
            f"two show one in five and {FIT_SEEDS} show three in four (docs/calibration)"
        )
    return notes
