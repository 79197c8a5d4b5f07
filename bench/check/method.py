"""Checks of a method: it trains, its state is all of it, its loss is decided by its noise."""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from bench.card import Card, LikelihoodCard
from bench.check.finding import Finding
from bench.data.images import Images
from bench.method import Method, Noise, Run, Sampler, load_method
from bench.schema import build


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
    name, sampler = next(iter(card.samplers.items()))
    asked = Sampler(name, next(iter(sampler.times), ""), _short(sampler.params()))
    same = torch.equal(fresh.sample(2, asked, Noise(0)), method.sample(2, asked, Noise(0)))
    yield Finding("state", same, "put back, it gives equal images" if same else "other images")
    x0 = data.batch(0, 0, 5)
    loss, again, other = (method.loss(x0, Noise(seed)) for seed in (0, 0, 1))
    whole = loss.shape == (5,) and bool(loss.isfinite().all()) and loss.requires_grad
    yield Finding("loss", whole, "a number per image, finite, with a gradient is asked for")
    decided = torch.equal(loss, again) and not torch.equal(loss, other)
    yield Finding("loss and noise", decided, "its noise alone should decide it")
    if card.likelihood is not None:
        yield _score(method, card.likelihood, data)
    if card.inspection is not None:
        seen = method.inspect(x0, Noise(0))
        whole = seen.losses.shape == (len(seen.times), 5) and bool(seen.losses.isfinite().all())
        found = f"losses of shape {tuple(seen.losses.shape)} at {len(seen.times)} noise levels"
        yield Finding("inspection", whole, found)


def _short(params: Any) -> Any:
    """Returns parameters of a sampler that take little time."""
    changes = {"steps": 5, "tolerance": 0.1}
    return replace(params, **{n: value for n, value in changes.items() if hasattr(params, n)})


def _score(method: Method, card: LikelihoodCard, data: Images) -> Finding:
    params = _short(card.params())
    held_out = torch.from_numpy(data.test[:2].astype(np.int64 if data.levels else np.float64))
    images = held_out if data.levels else data.scaled(held_out)
    scored = method.score(images, Noise(0), params)
    values = next(iter(scored.values.values()))
    first = next(iter(scored.values))
    right = first == "bits_per_dim" and values.shape == (2,) and bool(values.isfinite().all())
    listed = ", ".join(f"{value:.3f}" for value in values.tolist() if math.isfinite(value))
    return Finding("likelihood", right, f"{first} of two images: {listed}")
