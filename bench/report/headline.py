"""Who leads at each budget, by how much, and whether it is real: one sentence for each budget."""

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from bench.report.formats import MARKS, model_title, sampler_title, with_interval
from bench.report.results import Results
from bench.report.seeds import sides_of, untrained
from bench.report.standing import ESTABLISHED, HINT, TIED, Pair, pairs_of, runner_up
from bench.suite.claims import FIT_SEEDS, LEAST_PAIRS, LEAST_TRAININGS, LEVEL, least_p

MOST_UNITS = 30
"""Trainings, or sample seeds of exact scores, beyond which no study of this kind is proposed."""

STATUS = {ESTABLISHED: "established", HINT: "a hint", TIED: "not told apart"}
"""What is said of a difference, by status."""


class Headline(NamedTuple):
    """The best group of a budget beside the best of another model.

    Args:
        leader: Place in the leaderboard, ``other`` that of the group that it leads.
        status: ``established``, ``hint`` or ``tied``.
        text: ``blur/momentum leads ve/flow_heun by 0.72 [0.30, 1.10]``.
        here: What the status rests on, empty if it is established.
        needs: What would decide it, or why nothing here does.
    """

    budget: float
    leader: int
    other: int
    status: str
    text: str
    here: str
    needs: str

    @property
    def why(self) -> str:
        """What the status rests on, and what would decide it; empty if it is established."""
        return "; ".join(filter(None, (self.here, self.needs)))

    @property
    def sentence(self) -> str:
        """The whole of it in one line."""
        return f"At {self.budget:g} NFE {self.text}: {self.reason}."

    @property
    def reason(self) -> str:
        """The status, and what it rests on."""
        return f"{STATUS[self.status]}; {self.why}" if self.why else STATUS[self.status]


def headlines(results: Results) -> list[Headline]:
    """Returns a sentence for each budget and identity of the first metric that several complete
    groups share.
    """
    name, board = results.first_metric, results.board
    if name is None:
        return []
    contests = list(pairs_of(board, name, results.metrics[name].higher_is_better))
    return [_headline(results, name, runner_up(board, pairs), len(contests)) for pairs in contests]


def shared_reason(found: Sequence[Headline]) -> str:
    """Returns what all sentences that are not established rest on, with what would decide it if
    that is the same as well; empty if it is not the same.
    """
    for reasons in ({one.why for one in found if one.why}, {one.here for one in found if one.here}):
        if len(reasons) == 1 and len(found) > 1:
            return reasons.pop()
    return ""


def short_title(results: Results, index: int) -> str:
    """Returns ``vp/flow_heun``, with the sampler's settings if another group of the budget has
    that name as well.
    """
    board = results.board
    group = board.loc[index]
    alike = board[
        (board["train"] == group["train"])
        & (board["sampler"] == group["sampler"])
        & (board["budget"] == group["budget"])
    ]
    title = model_title(group["train"], group["snapshot"], group["ema"])
    if not isinstance(group["sampler"], str):
        return title
    return f"{title}/{group['sampler'] if len(alike) == 1 else sampler_title(group)}"


def _headline(results: Results, name: str, pair: Pair, contests: int) -> Headline:
    board = results.board
    other = board.loc[pair.other]
    difference, low, high = (other[f"{name} {part}"] for part in _PARTS)
    by = with_interval(difference, low, high)
    by += f" {MARKS[scope]}" if (scope := _scope(other, board.loc[pair.leader], name)) else ""
    leader, second = (short_title(results, index) for index in (pair.leader, pair.other))
    text = f"{leader} leads {second} by {by}"
    status = other["verdict"]
    tied = status == TIED
    if tied:
        text = f"{leader} is ahead of {second} by {by}"
    why = _why(results, name, pair, contests) if status != ESTABLISHED else ("", "")
    return Headline(float(other["budget"]), pair.leader, pair.other, status, text, *why)


_PARTS = ("behind", "behind low", "behind high")


def _scope(other: pd.Series, leader: pd.Series, name: str) -> str:
    """Returns the narrower scope that the interval of a difference has, empty if it has none."""
    if pd.isna(other[f"{name} behind low"]):
        return ""
    scopes = (other[f"{name} interval over"], leader[f"{name} interval over"])
    return next((scope for scope in scopes if scope in MARKS), "")


def _why(results: Results, name: str, pair: Pair, contests: int) -> tuple[str, str]:
    """Returns why a difference is a hint only, and what would decide it."""
    leader, other = (results.group_at(index) for index in (pair.leader, pair.other))
    sides = sides_of(other.seed_table(name), leader.seed_table(name))
    trainings = min(side.rows["train_key"].nunique() for side in (leader, other))
    seeds = max(min(side.rows["sample_seed"].nunique() for side in (leader, other)), 1)
    exact = untrained(leader.rows, other.rows)
    here = _count(seeds, "sample seed")
    here = f"{here} of exact scores" if exact else f"{_count(trainings, 'training')} × {here}"
    if sides is None:
        return f"{here}, not the same sample seeds or trainings on both sides", ""
    needed = units_needed(contests * pair.place, shared=exact or sides.paired)
    asked = []
    if needed is None:
        return here, "too many rows before it to be decided after the fact: claim it"
    if exact:
        asked += [_count(needed, "sample seed")] if seeds < needed else []
    elif trainings < needed or seeds < FIT_SEEDS:
        asked.append(f"{max(needed, trainings)} × {max(FIT_SEEDS, seeds)}")
    count, least = few_images(results, name, leader.identity.get(name, ""))
    if least > count:
        here += f", {count:,} of {least:,} images"
        asked.append(f"{least:,} images")
    if asked:
        return here, f"{' and '.join(asked)} would decide it"
    return f"undecided with {here}", ""


def units_needed(comparisons: int, *, shared: bool) -> int | None:
    """Returns how many trainings of each side let the least p-value of a permutation pass a
    correction over so many comparisons; with ``shared``, of pairs, or sample seeds of exact scores.
    None if more than anybody would run.
    """
    start = LEAST_PAIRS if shared else LEAST_TRAININGS
    tried = range(start, MOST_UNITS + 1)
    return next(
        (n for n in tried if least_p(n, n, shared=shared) * comparisons <= LEVEL),
        None,
    )


def few_images(results: Results, name: str, identity: str) -> tuple[int, int]:
    """Returns how many images a number is of, and how many it needs to be evidence."""
    known = results.identities.get(identity, {})
    count = int(known.get("count", 0))
    return count, int(known.get("least_count", 0))


def _count(number_of: int, what: str) -> str:
    return f"{number_of} {what}" + ("" if number_of == 1 else "s")
