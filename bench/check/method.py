"""Checks of a method: it trains, its state is all of it, its loss is decided by its noise."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.card import Card, LikelihoodCard
from bench.check.finding import Finding
from bench.check.sampler import LOOSE, within
from bench.data.images import Images
from bench.method import Method, Noise, Run, load_method
from bench.schema import build

MOST_TIMES = 12
"""Noise levels of an inspection, at most."""


def trained(card: Card, data: Images) -> Method:
    """Returns the method, trained with the tiny parameters of its card.

    Raises:
        ValueError: It has none that fit the data set.
    """
    params = build(card.params, card.tiny)
    reasons = card.refuse(params, data.shape)
    if card.needs_levels(params) and data.kind == "real":
        reasons.append("it asks for images of levels")
    if reasons:
        raise ValueError(f"its tiny parameters do not fit {data.name}: {'; '.join(reasons)}")
    method = load_method(card.name, card.tiny, data)
    method.train(data, Run(seed=0))
    return method


def check_method(method: Method, data: Images) -> Iterator[Finding]:
    """Yields the findings of a method that :func:`trained` returned; its samplers are not among
    them.
    """
    card, state = method.card, method.state()
    bad = [name for name, tensor in state.items() if not tensor.double().isfinite().all()]
    found = f"{len(state)} tensors, all finite"
    yield Finding("training", not bad and bool(state), f"not finite: {bad[0]}" if bad else found)
    fresh = load_method(card.name, card.tiny, data)
    fresh.load_state(state)
    yield _state(method, fresh)
    x0 = data.batch(0, 0, 5)
    # Of the trained weights: at first, last layers near 0 would hide what dropout does.
    loss, again, other = (fresh.loss(x0, Noise(seed)) for seed in (0, 0, 1))
    whole = loss.shape == (5,) and bool(loss.isfinite().all()) and loss.requires_grad
    wanted = "one number per image, finite, with a gradient"
    found = wanted if whole else f"{wanted}, was expected; it is {loss}"
    yield Finding("loss", whole, found)
    decided = torch.equal(loss, again) and not torch.equal(loss, other)
    yield _decided("loss and noise", decided)
    if card.likelihood is not None:
        yield _score(method, card.likelihood, data)
    if card.inspection is not None:
        yield from _inspection(method, x0)


def _decided(what: str, right: bool) -> Finding:
    found = "decided by its noise alone" if right else "should be decided by its noise alone"
    return Finding(what, right, found)


def _state(method: Method, fresh: Method) -> Finding:
    """Compares a method with one into which its state was put."""
    name, sampler = next(iter(method.card.samplers.items()))
    asked = within(sampler, name, 5)
    if same_tensors(method.state(), fresh.state()) is not None:
        return Finding("state", False, "put back, it is another state")
    same = torch.equal(fresh.sample(2, asked, Noise(0)), method.sample(2, asked, Noise(0)))
    return Finding("state", same, "put back, it gives equal images" if same else "other images")


def same_tensors(one: Mapping[str, Tensor], two: Mapping[str, Tensor]) -> str | None:
    """Returns the name of a tensor that differs, in a bit or in its type; None if none does."""
    for name in one.keys() | two.keys():
        first, second = one.get(name), two.get(name)
        if first is None or second is None or first.dtype != second.dtype:
            return name
        if first.cpu().numpy().tobytes() != second.cpu().numpy().tobytes():
            return name
    return None


def _score(method: Method, card: LikelihoodCard, data: Images) -> Finding:
    params: Any = card.params()
    if hasattr(params, "tolerance"):
        params = replace(params, tolerance=LOOSE)
    held_out = torch.from_numpy(data.test[:3].astype(np.int64 if data.levels else np.float64))
    images = held_out if data.levels else data.scaled(held_out)
    scored, again = (method.score(images, Noise(0), params) for _ in range(2))
    first, values = next(iter(scored.values.items()))
    right = first == "bits_per_dim" and bool(scored.identity)
    for each in scored.values.values():
        right = right and each.shape == (3,) and bool(each.isfinite().all())
    if right and not torch.equal(values, again.values[first]):
        return Finding("likelihood", False, "other values with equal noise")
    listed = ", ".join(f"{value:.3f}" for value in values.tolist() if math.isfinite(value))
    return Finding("likelihood", right, f"{first} of three images: {listed}")


def _inspection(method: Method, x0: Tensor) -> Iterator[Finding]:
    seen, again, other = (method.inspect(x0, Noise(seed)) for seed in (0, 0, 1))
    times, losses = seen.times, seen.losses
    right = times.dtype == torch.float64 and 1 <= len(times) <= MOST_TIMES
    right = (
        right and bool((times.diff() > 0).all()) and 0 <= float(times[0]) <= float(times[-1]) <= 1
    )
    found = f"{len(times)} times, at most {MOST_TIMES}, rising within 0 to 1, in float64"
    yield Finding("inspection times", right, found)
    whole = losses.shape == (len(times), len(x0)) and bool(losses.isfinite().all())
    whole = whole and not losses.requires_grad and seen.noise_levels.shape == times.shape
    found = f"losses of shape {tuple(losses.shape)} at {len(times)} noise levels, finite"
    yield Finding("inspection", whole, found)
    decided = torch.equal(losses, again.losses) and not torch.equal(losses, other.losses)
    yield _decided("inspection and noise", decided)
    right = all(strip.ndim == 5 and bool(strip.isfinite().all()) for strip in seen.strips.values())
    right = right and all(
        len(c.x) == len(c.y) and c.x.ndim == c.y.ndim == 1 for c in seen.curves.values()
    )
    found = f"{len(seen.strips)} strips of 5 axes, finite, and {len(seen.curves)} curves"
    yield Finding("inspection pictures", right, found)
