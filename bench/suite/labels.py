"""What a person reads of a point: the name of its group, and which points ``--only`` means."""

import json
from collections.abc import Collection, Sequence
from typing import Any

from bench.card import SamplerCard
from bench.data.conditioning import describe
from bench.schema import did_you_mean, differences
from bench.spec import Point, Values
from bench.suite.claims import words_of
from bench.suite.document import OPTION_ORDER
from bench.suite.fault import Fault, Place, SuiteError
from bench.suite.sections import Sweep


def group_name(
    sweep: Sweep, card: SamplerCard, params: Any, bought: Values, times: str, budget: int | None
) -> str:
    """Returns ``vp · flow_heun · nfe 20``: the budget, or else the steps, then whatever is swept or
    unusual.

    Two points with equal groups are equal, since what is not named has its default.

    Args:
        bought: The parameters that the budget decides.
    """
    swept = {name: getattr(params, name) for name in sweep.axes if name not in ("nfe", "times")}
    named = differences(params) | swept
    if budget is None:
        named = {**card.effort.stated(params), **named}
    else:
        named = {"nfe": budget} | {n: value for n, value in named.items() if n not in bought}
    if "times" in sweep.axes or times != next(iter(card.times), ""):
        named["times"] = times
    words = [f"{name} {_text(value)}" for name, value in named.items()]
    if sweep.given is not None:
        words.append(describe(sweep.given))
    return " · ".join([sweep.label, sweep.sampler, *words])


def _text(value: Any) -> str:
    """Returns a parameter's value as labels have it."""
    if isinstance(value, tuple | list):
        return ",".join(map(_text, value))
    return json.dumps(value) if isinstance(value, bool | None) else str(value)


def select(points: Sequence[Point], train: Collection[str], only: Sequence[str]) -> list[Point]:
    """Returns the points that ``--only`` asks for: by train label, by whole words of the group, or
    by a part of it.

    Raises:
        SuiteError: A word that matches no point.
    """
    if not only:
        return list(points)
    groups = {point.group: words_of(point.group) for point in points}
    chosen: set[str] = set()
    faults = []
    for number, wanted in enumerate(map(words_of, only)):
        matches = (
            {point.group for point in points if point.train == wanted}
            or {group for group, words in groups.items() if f" {wanted} " in f" {words} "}
            or {group for group, words in groups.items() if wanted and wanted in words}
        )
        chosen |= matches
        if not matches:
            hint = did_you_mean(wanted, [*train, *groups.values()])
            why = f"matches no point{hint}; train labels: {', '.join(train)}"
            place = Place(OPTION_ORDER + number, f"--only {wanted}")
            faults.append(Fault(place, (), None, why))
    if faults:
        raise SuiteError(faults)
    return [point for point in points if point.group in chosen]
