"""The section ``likelihood``: held-out images, parameters of the methods, and a sweep over them."""

import itertools
import math
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bench.card import LikelihoodCard
from bench.schema import Problem, check, field_types, names
from bench.suite.fault import KeyPath
from bench.suite.read.data import read_held_out
from bench.suite.read.reading import MOST_POINTS, Reading
from bench.suite.sections import HeldOut, Likelihood, Model, Source

SMOKE_IMAGES = 2
"""Held-out images whose likelihood a trial run computes."""
PATH = ("likelihood",)

Written = Mapping[str, tuple[Any, KeyPath]]
"""The value of each parameter that the suite names, with its key path."""


def read_likelihood(r: Reading, train: Mapping[str, Model | Source | None]) -> Likelihood | None:
    """Returns the likelihoods that are computed, None for none."""
    section = r.tree.get("likelihood")
    models = [entry.card for entry in train.values() if isinstance(entry, Model)]
    cards = {card.name: card.likelihood for card in models if card.likelihood}
    if section in (None, "none") or not _methods_are_known(r):
        return None
    if not cards:
        reasons = sorted({f"{card.name}: {card.no_likelihood}" for card in models})
        why = f"no method here has a likelihood ({'; '.join(reasons) or 'none is trained'})"
        r.refuse(PATH, None, why)
        return None
    options = dict.fromkeys(name for card in cards.values() for name in names(card.params))
    section = r.mapping(PATH, section, (*names(HeldOut), "sweep", *options), ("images",))
    held_out = read_held_out(r, HeldOut, PATH, section, 1)
    images = min(SMOKE_IMAGES, held_out.images) if r.smoke else held_out.images
    # A last, smaller batch has other noise: equal work should have equal batches, and so an equal
    # key.
    held_out = replace(held_out, images=images, batch=min(held_out.batch, images))

    params, before = {}, len(r.problems)
    axes = _read_axes(r, section["sweep"], cards) if "sweep" in section else {}
    axes = axes if len(r.problems) == before else {}
    sweep = {}
    for name, card in cards.items():
        own = names(card.params)
        written = {key: (value, (*PATH, key)) for key, value in section.items() if key in own}
        params[name] = _read_params(r, card, written)
        swept = {axis: values for axis, values in axes.items() if axis in own}
        if params[name] is not None and swept:
            sweep[name] = _read_sweep(r, card, written, swept)
    return Likelihood(held_out, params, axes, {} if r.smoke else sweep)


def _methods_are_known(r: Reading) -> bool:
    """Tells whether every method can be read: else neither can what its likelihood takes."""
    train = r.tree.get("train")
    entries = list(train.values()) if isinstance(train, Mapping) else [None]
    return all(
        isinstance(entry, Mapping)
        and ("samples_from" in entry or str(entry.get("method")) in r.cards.methods)
        for entry in entries
    )


def _read_params(r: Reading, card: LikelihoodCard, written: Written) -> Any:
    """Returns a method's parameters, or None; problems are noted at the value at fault."""
    problems: list[Problem] = []
    params = check(card.params, {name: value for name, (value, _) in written.items()}, problems)
    for problem in problems:
        # A rule of the parameters together names those that break it in its message.
        named = [name for name in written if re.search(rf"\b{name}\b", problem.why)]
        name, *rest = problem.path or named[:1] or [""]
        value, path = written.get(name, (None, PATH))
        value = problem.value if rest else value
        r.refuse((*path, *rest), value, problem.why, problem.allowed)
    return None if problems else params


def _read_axes(
    r: Reading, value: Any, cards: Mapping[str, LikelihoodCard]
) -> dict[str, tuple[Any, ...]]:
    path = (*PATH, "sweep")
    kinds = {
        name: kind for card in cards.values() for name, kind in field_types(card.params).items()
    }
    section = r.mapping(path, value, kinds)
    if not section:
        r.refuse(path, None, "should not be empty", kinds)
    return {
        axis: r.typed_items(kinds[axis], (*path, axis), values)
        for axis, values in section.items()
        if axis in kinds
    }


def _read_sweep(
    r: Reading, card: LikelihoodCard, written: Written, axes: Mapping[str, tuple[Any, ...]]
) -> list[Any]:
    """Returns a method's parameters at each point of the product of its axes."""
    path = (*PATH, "sweep")
    if not r.at_most(path, math.prod(map(len, axes.values())), MOST_POINTS, "points"):
        return []
    steps = [
        [(axis, (value, (*path, axis, str(index)))) for index, value in enumerate(values)]
        for axis, values in axes.items()
    ]
    return [_read_params(r, card, {**written, **dict(step)}) for step in itertools.product(*steps)]
