"""Checks of a sampler: what it spends, and what decides its images."""

from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

import torch

from bench.card import BudgetError, SamplerCard, cards
from bench.check.finding import Finding
from bench.counter import NetworkCounter
from bench.method import Method, Noise, Sampler

BUDGETS = (5, 10, 23, 50)
LOOSE = 0.1
"""The tolerance of adaptive samplers: only whether they run is checked with it."""
LARGEST_BUDGET = 10_000


def check_sampler(method: Method, name: str) -> Iterator[Finding]:
    """Yields the findings of a sampler of a trained method."""
    card = cards()[method.card.name].samplers[name]
    yield _effort(method, name, card)
    yield _too_small(card)
    sampler = within(card, name, 20)
    images = method.sample(4, sampler, Noise(0))
    shape, wanted = tuple(images.shape), (4, *method.image_shape)
    finite = bool(images.isfinite().all())
    right = shape == wanted and images.dtype == torch.float32 and finite
    kind = f"shape {shape}, {str(images.dtype).removeprefix('torch.')}"
    found = f"{kind}, {'finite' if finite else 'NaN or infinity among them'}"
    yield Finding("images", right, found if right else f"{found}; wanted {wanted}, float32, finite")
    if images.requires_grad:
        yield Finding("gradient", False, "images should not require a gradient")
    again, other = (method.sample(4, sampler, Noise(seed)) for seed in (0, 1))
    yield from _of_noise(torch.equal(images, again), not torch.equal(images, other))
    yield from _grids(method, name, card)


def _of_noise(repeated: bool, moved: bool) -> Iterator[Finding]:
    found = "gives equal images" if repeated else "gives other images: something else is drawn"
    yield Finding("equal noise", repeated, found)
    yield Finding("other noise", moved, "gives other images" if moved else "changes nothing")


def within(card: SamplerCard, name: str, budget: int, times: str | None = None) -> Sampler:
    """Returns a sampler within a budget, or the least that buys a step; an adaptive one with a
    loose tolerance.

    Args:
        times: Its time grid; the first that it knows if not given.

    Raises:
        BudgetError: No budget of at most 10,000 evaluations buys a step.
    """
    params: Any = card.params()
    if card.effort.exact:
        params = replace(params, **card.effort.fit(max(budget, _least(card)), params))
    elif hasattr(params, "tolerance"):
        params = replace(params, tolerance=LOOSE)
    return Sampler(name, times or next(iter(card.times), ""), params)


def _least(card: SamplerCard) -> int:
    """Returns the least budget that buys a step."""
    for budget in range(1, LARGEST_BUDGET):
        try:
            card.effort.fit(budget, card.params())
        except BudgetError:
            continue
        return budget
    raise BudgetError(f"no budget below {LARGEST_BUDGET:,} evaluations buys a step")


def _effort(method: Method, name: str, card: SamplerCard) -> Finding:
    """Compares counted evaluations with those that the card declares, and with the budget."""
    evaluations = card.effort.evaluations if card.effort.exact else None
    counts, wrong = [], []
    for least in BUDGETS if evaluations else BUDGETS[:1]:
        sampler = within(card, name, least)
        with NetworkCounter(method.networks) as counter:
            method.sample(3, sampler, Noise(0))
        counted = counter.rows / 3
        counts.append(counted)
        if evaluations is None:
            continue
        said, budget = evaluations(sampler.params), max(least, _least(card))
        if counted != said:
            wrong.append(f"{counted:g} counted, {said:g} declared for {sampler.params}")
        if said > budget:
            wrong.append(f"{said:g} are more than the budget of {budget}")
        elif _more(sampler.params, evaluations) <= budget:
            wrong.append(f"one step more than {sampler.params} fits the budget of {budget}")
    listed = ", ".join(f"{count:g}" for count in counts)
    if not card.effort.exact:
        return Finding("evaluations", bool(counts[0]), f"{listed} with a loose tolerance")
    return Finding("evaluations", not wrong, "; ".join(wrong) or f"{listed} counted, as declared")


def _more(params: Any, evaluations: Any) -> float:
    """Returns what one step more would cost; infinity for a sampler without a count of steps."""
    if "steps" not in [item.name for item in fields(params)]:
        return float("inf")
    return evaluations(replace(params, steps=params.steps + 1))


def _too_small(card: SamplerCard) -> Finding:
    try:
        card.effort.fit(0, card.params())
    except BudgetError as error:
        return Finding("budget of 0", bool(str(error)), f"refused: {error}")
    return Finding("budget of 0", False, "is not refused")


def _grids(method: Method, name: str, card: SamplerCard) -> Iterator[Finding]:
    """Samples at few evaluations on each time grid: finite images, others on each."""
    seen: dict[str, torch.Tensor] = {}
    for times in card.times or ("",):
        batch = method.sample(2, within(card, name, BUDGETS[0], times), Noise(0))
        equal = [other for other, images in seen.items() if torch.equal(images, batch)]
        seen[times] = batch
        finite = bool(batch.isfinite().all())
        found = "finite" if finite else "NaN or infinity"
        found += f", equal to those on {equal[0]}" if equal else ""
        what = f"times {times}" if times else "few evaluations"
        yield Finding(what, finite and not equal, found)
