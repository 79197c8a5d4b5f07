"""Cards: a budget buys the most steps that fit."""

from dataclasses import dataclass

import pytest

from bench.card import BudgetError, Effort, SamplerCard, adaptive


@dataclass(frozen=True, kw_only=True)
class Steps:
    steps: int = 10
    corrections: int = 0


CORRECTED = SamplerCard(
    version=1,
    summary="",
    params=Steps,
    effort=Effort(evaluations=lambda params: params.steps * (1 + params.corrections) + 1),
)


@pytest.mark.parametrize("corrections", [0, 1, 3])
def test_budget_buys_the_most_steps_that_fit(corrections):
    for budget in range(2 + corrections, 60):
        params = Steps(corrections=corrections)
        steps = CORRECTED.effort.fit(budget, params)["steps"]
        assert CORRECTED.effort.evaluations(Steps(steps=steps, corrections=corrections)) <= budget
        assert (
            CORRECTED.effort.evaluations(Steps(steps=steps + 1, corrections=corrections)) > budget
        )


def test_budget_that_buys_nothing_says_what_a_step_costs():
    with pytest.raises(BudgetError, match="one step costs 4 evaluations"):
        CORRECTED.effort.fit(3, Steps(corrections=2))


def test_adaptive_sampler_has_no_budget():
    sampler = SamplerCard(version=1, summary="", params=Steps, effort=adaptive())
    with pytest.raises(BudgetError, match="give it a tolerance"):
        sampler.effort.fit(10, Steps())
