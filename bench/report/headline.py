"""Who leads at each budget, by how much, and whether it is real: one sentence for each budget."""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache, reduce
from typing import Any, NamedTuple

import pandas as pd

from bench.report.formats import (
    MARKS,
    model_title,
    probability,
    sampler_title,
    value_text,
    with_error,
    with_interval,
)
from bench.report.identity import hashes_of
from bench.report.results import Results
from bench.report.seeds import sides_of, untrained
from bench.report.standing import ESTABLISHED, HINT, TIED, Pair, pairs_of, runner_up
from bench.suite.claims import FIT_SEEDS, LEAST_PAIRS, LEAST_TRAININGS, LEVEL, least_p

MARKED = {
    MARKS[
        "sample seeds"
    ]: f"{MARKS['sample seeds']}: the interval is for other sample seeds of these "
    "trainings; other trainings may differ by more.",
    MARKS["trainings"]: f"{MARKS['trainings']}: the interval is for other trainings with this one "
    "sample seed; other sample seeds may differ by more.",
}
"""What the marks of differences say of their intervals."""
NAMED = ("train", "sampler", "budget")
MOST_UNITS = 30
"""Trainings, or sample seeds of exact scores, beyond which no study of this kind is proposed."""

STATUS = {ESTABLISHED: "established", HINT: "a hint", TIED: "not told apart"}
"""What is said of a difference, by status."""


class Design(NamedTuple):
    """What the values of a row are over.

    Args:
        trainings: 0 for exact scores, which have none.
        images: Of a sample set, 0 if that is not known.
    """

    trainings: int
    seeds: int
    images: int

    @property
    def text(self) -> str:
        """``5 trainings × 4 sample seeds of 240 images``."""
        parts = [_count(self.trainings, "training")] if self.trainings else []
        parts.append(_count(self.seeds, "sample seed"))
        text = " × ".join(parts) + ("" if self.trainings else " of exact scores")
        return f"{text}, {self.images:,} images each" if self.images else text

    def or_more(self, other: "Design") -> "Design":
        """Returns the larger of two in everything."""
        return Design(*map(max, self, other))


class Headline(NamedTuple):
    """The best row of a budget beside the best of another model.

    Args:
        leader: Place in the leaderboard, ``other`` that of the row that it leads.
        status: ``established``, ``hint`` or ``tied``.
        names: Of both, ``values`` their metric with half the width of its interval.
        by: Their difference with its interval.
        since: Why it has its status.
        here: What both rows are over.
        needs: What would allow a test, None if nothing does or there was one.
        why: ``since`` with what of the other two is not said below all sentences.
    """

    budget: float
    leader: int
    other: int
    status: str
    names: tuple[str, str]
    values: tuple[str, str]
    by: str
    since: str
    here: Design
    needs: Design | None
    why: str = ""

    @property
    def verb(self) -> str:
        """What the first does to the second."""
        return "is ahead of" if self.status == TIED else "leads"

    @property
    def sentence(self) -> str:
        """``At 20 NFE blur/momentum (3.4 ± 0.7) leads ve/heun (4.1 ± 0.5) by 0.7 [0.3, 1.1]: a
        hint (too few images for a test).``
        """
        pairs = zip(self.names, self.values, strict=True)
        first, second = (f"{name} ({value})" for name, value in pairs)
        lead = f"At {self.budget:g} NFE {first} {self.verb} {second} by {self.by}"
        return f"{lead}: {STATUS[self.status]} ({self.why})."


class Verdict(NamedTuple):
    """What opens every report.

    Args:
        intro: What the sentences compare, and by which metric.
        headlines: One for each budget and identity of the first metric that several complete rows
            share.
        basis: What all headlines rest on, and their marks, a line each.
    """

    intro: str
    headlines: Sequence[Headline] = ()
    basis: Sequence[str] = ()


@lru_cache(maxsize=1)
def verdict(results: Results) -> Verdict:
    """Returns who leads at each budget, and what that rests on; kept for the next output."""
    name, board = results.first_metric, results.board
    if name is None:
        return Verdict("The suite has no metric: nothing is ranked.")
    higher = results.metrics[name].higher_is_better
    contests = list(pairs_of(board, name, higher))
    if not contests:
        return Verdict("No two complete rows share a budget: nothing is ranked yet.")
    found = [_headline(results, name, runner_up(board, pairs), len(contests)) for pairs in contests]
    pairs = [[results.lines[at]["train"] for at in (one.leader, one.other)] for one in found]
    beside = _beside([leader == other for leader, other in pairs])
    intro = f"The best row of each budget by {name}, beside {beside}. {_scale(results, name)}"
    open_ = [one for one in found if one.status != ESTABLISHED]
    basis = _shared_basis(open_)
    if not basis:
        found = [one if one.status == ESTABLISHED else _with_basis(one) for one in found]
    marks = [text for mark, text in MARKED.items() if any(mark in one.by for one in found)]
    return Verdict(intro, found, [*filter(None, [basis]), *marks])


def _beside(own: Sequence[bool]) -> str:
    """Returns what leaders are held against, from whether each is against its own model."""
    if all(own):
        return "the next best row, of the same model: there is no other"
    other = "the best row of another model"
    return (
        f"{other}, or the next best row of its own where there is no other" if any(own) else other
    )


def _scale(results: Results, name: str) -> str:
    """Returns what a metric measures, in which direction, and what real images have."""
    card = results.metrics[name]
    text = f"{name}: {card.summary}; {'higher' if card.higher_is_better else 'lower'} is better"
    same = hashes_of(results.board, name)
    if len(same) == 1 and (floor := results.floors.get(name, {}).get(same[0])):
        text += f"; real images have {with_error(floor['mean'], floor['std'])}"
    return f"{text}."


def _shared_basis(open_: Sequence[Headline]) -> str:
    """Returns what all leads that are not established rest on, empty if it is not the same."""
    if len(open_) < 2 or len({one.here for one in open_}) > 1:
        return ""
    text = f"What is not established rests on {open_[0].here.text}"
    needs = [one.needs for one in open_ if one.needs is not None]
    if not needs:
        return f"{text}."
    return f"{text}; to test all of it takes {reduce(Design.or_more, needs).text}."


def _with_basis(one: Headline) -> Headline:
    needs = "" if one.needs is None else f"; a test takes {one.needs.text}"
    return one._replace(why=f"{one.since}: {one.here.text}{needs}")


def short_title(results: Results, index: int) -> str:
    """Returns ``vp/flow_heun``, with the sampler's settings if another row of the budget has that
    name as well.
    """
    group = results.lines[index]
    alike = _namesakes(results)[tuple(group[name] for name in NAMED)]
    title = model_title(group["train"], group["snapshot"], group["ema"])
    if not isinstance(group["sampler"], str):
        return title
    return f"{title}/{group['sampler'] if alike == 1 else sampler_title(group)}"


@lru_cache(maxsize=1)
def _namesakes(results: Results) -> Counter[tuple[Any, ...]]:
    """Returns how many rows have a model, a sampler and a budget."""
    return Counter(tuple(line[name] for name in NAMED) for line in results.lines)


def _headline(results: Results, name: str, pair: Pair, contests: int) -> Headline:
    leader, other = results.lines[pair.leader], results.lines[pair.other]
    by = with_interval(
        *(other[f"{name} {part}"] for part in ("behind", "behind low", "behind high"))
    )
    mark = _mark(other, leader, name)
    status = other["verdict"]
    here, needs, lacking = _designs(results, name, pair, contests)
    p = probability(other["verdict p"])
    since = {
        ESTABLISHED: f"p {p}" if p.startswith("<") else f"p = {p}",
        TIED: "the interval of the difference holds 0",
        HINT: lacking,
    }[status]
    return Headline(
        budget=float(other["budget"]),
        leader=pair.leader,
        other=pair.other,
        status=status,
        names=(short_title(results, pair.leader), short_title(results, pair.other)),
        values=(_value(leader, name, mark), _value(other, name, mark)),
        by=f"{by} {mark}".strip(),
        since=since,
        here=here,
        needs=needs,
        why=since,
    )


def _mark(other: Mapping[str, Any], leader: Mapping[str, Any], name: str) -> str:
    """Returns the mark of the narrower scope that the interval of a difference has, empty if it has
    none.
    """
    if pd.isna(other[f"{name} behind low"]):
        return ""
    scopes = (other[f"{name} interval over"], leader[f"{name} interval over"])
    return next((MARKS[scope] for scope in scopes if scope in MARKS), "")


def _value(group: Mapping[str, Any], name: str, mark: str) -> str:
    """Returns a row's value, without a mark that the difference has as well."""
    return value_text(group, name).removesuffix(f" {mark}" if mark else "")


def _designs(
    results: Results, name: str, pair: Pair, contests: int
) -> tuple[Design, Design | None, str]:
    """Returns what both rows are over, what would allow a test if that does not, and why there is
    no more than a hint.
    """
    leader, other = (results.group_at(index) for index in (pair.leader, pair.other))
    sides = sides_of(other.seed_table(name), leader.seed_table(name))
    exact = untrained(leader.rows, other.rows)
    trainings = min(side.rows["train_key"].nunique() for side in (leader, other))
    seeds = max(min(side.rows["sample_seed"].nunique() for side in (leader, other)), 1)
    count, least = few_images(results, name, leader.identity.get(name, ""))
    here = Design(0 if exact else trainings, seeds, count)
    if sides is None:
        return here, None, "the rows have unlike trainings or sample seeds: they are not subtracted"
    needed = units_needed(contests * pair.place, shared=exact or sides.paired)
    if needed is None:
        return here, None, "too many rows lie between for a test afterwards: state it as a claim"
    needs = Design(0, needed, least) if exact else Design(needed, FIT_SEEDS, least)
    needs = needs.or_more(here)
    if needs == here:
        return here, None, "the test does not find it"
    lacking = [
        what
        for what, wanted, has in zip(
            ("trainings", "sample seeds", "images"), needs, here, strict=True
        )
        if wanted > has
    ]
    return here, needs, f"too few {' and '.join(lacking)} for a test"


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
    return count, int(known.get("least_count", 0)) if count else 0


def _count(number_of: int, what: str) -> str:
    return f"{number_of} {what}" + ("" if number_of == 1 else "s")
