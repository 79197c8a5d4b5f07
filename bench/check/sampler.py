"""Checks of a sampler: what it spends, what decides its images, and to what it converges."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch

from bench.card import BudgetError, SamplerCard, cards
from bench.check.finding import Finding
from bench.check.order import convergence
from bench.counter import NetworkCounter
from bench.method import Method, Noise, Sampler

BUDGETS = (5, 10, 20, 23, 50)
LOOSE = 0.1
"""The tolerance of adaptive samplers: only whether they run is checked with it."""


def check_sampler(method: Method, name: str) -> Iterator[Finding]:
    """Yields the findings of a sampler of a trained method."""
    card = cards()[method.card.name].samplers[name]
    yield _effort(method, name, card)
    sampler = _within(card, name, 20)
    images = method.sample(4, sampler, Noise(0))
    shape, wanted = tuple(images.shape), (4, *method.image_shape)
    finite = bool(images.isfinite().all())
    right = shape == wanted and images.dtype == torch.float32 and finite
    kind = f"shape {shape}, {str(images.dtype).removeprefix('torch.')}"
    found = f"{kind}, {'finite' if finite else 'NaN or infinity among them'}"
    yield Finding("images", right, found if right else f"{found}; wanted {wanted}, float32, finite")
    again, other = (method.sample(4, sampler, Noise(seed)) for seed in (0, 1))
    yield Finding("equal noise", torch.equal(images, again), "equal images are asked for")
    yield Finding("other noise", not torch.equal(images, other), "other images are asked for")
    for times in card.times[1:]:
        finite = bool(method.sample(2, replace(sampler, times=times), Noise(0)).isfinite().all())
        yield Finding(f"times {times}", finite, "finite" if finite else "NaN or infinity")
    yield from convergence(method.card.name, name, card)


def _effort(method: Method, name: str, card: SamplerCard) -> Finding:
    evaluations = card.effort.evaluations if card.effort.exact else None
    budgets = BUDGETS if evaluations else BUDGETS[:1]
    counts, wrong = [], []
    for budget in budgets:
        try:
            sampler = _within(card, name, budget)
        except BudgetError:
            continue
        with NetworkCounter(method.networks) as counter:
            method.sample(3, sampler, Noise(0))
        counted = counter.rows / 3
        counts.append(counted)
        if evaluations and counted != (said := evaluations(sampler.params)):
            wrong.append(f"{counted:g} counted, {said:g} declared for {sampler.params}")
    listed = ", ".join(f"{count:g}" for count in counts)
    if not card.effort.exact:
        return Finding("evaluations", bool(counts[0]), f"{listed} with a loose tolerance")
    found = f"{listed} counted, as declared" if counts else "none of the budgets buys a step"
    return Finding("evaluations", bool(counts) and not wrong, "; ".join(wrong) or found)


def _within(card: SamplerCard, name: str, budget: int) -> Sampler:
    """Returns a sampler within a budget; an adaptive one with a loose tolerance."""
    params: Any = card.params()
    if card.effort.exact:
        params = replace(params, **card.effort.fit(budget, params))
    elif hasattr(params, "tolerance"):
        params = replace(params, tolerance=LOOSE)
    return Sampler(name, next(iter(card.times), ""), params)
