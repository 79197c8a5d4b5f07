"""Cards: values are checked against the types of a dataclass, and budgets buy the most steps that
fit.
"""

from dataclasses import dataclass, field
from typing import Literal

import pytest

from bench.card import BudgetError, Effort, SamplerCard, adaptive
from bench.schema import build, check, choices, describe, differences, merge, plain


@dataclass(frozen=True, kw_only=True)
class Inner:
    width: int = 8
    levels: tuple[int, ...] = (1, 2)


@dataclass(frozen=True, kw_only=True)
class Outer:
    kind: Literal["a", "b"] = "a"
    size: Literal["data"] | float = "data"
    pair: tuple[int, str] = (1, "x")
    flag: bool = False
    inner: Inner = field(default_factory=Inner)

    def __post_init__(self):
        if self.kind == "b" and self.flag:
            raise ValueError("kind b takes no flag")


def problems_of(kind, value):
    problems = []
    check(kind, value, problems)
    return [(".".join(p.path), p.value, p.why) for p in problems]


def test_values_are_laid_over_the_defaults():
    assert build(Outer, {"size": 3, "inner": {"levels": [4]}}) == Outer(
        size=3.0, inner=Inner(levels=(4,))
    )


def test_whole_number_becomes_a_float_where_one_is_asked():
    assert isinstance(build(Outer, {"size": 3}).size, float)


def test_all_problems_are_found_at_once():
    values = {
        "kind": "c",
        "size": "big",
        "pair": [1],
        "flag": 1,
        "inner": {"width": 1.0, "wide": 2},
        "more": 1,
    }
    assert problems_of(Outer, values) == [
        ("kind", "c", "should be one of 'a', 'b'"),
        ("size", "big", "should be 'data' or a number"),
        ("pair", [1], "should be a list of whole numbers"),
        ("flag", 1, "should be true or false"),
        ("inner.width", 1.0, "should be a whole number"),
        ("inner.wide", 2, "unknown key"),
        ("more", 1, "unknown key"),
    ]
    with pytest.raises(ValueError, match="kind: should be one of 'a', 'b', got 'c'; size: "):
        build(Outer, values)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (int, True),
        (int, 1.0),
        (float, "1"),
        (float, False),
        (bool, 0),
        (str, 1),
        (int | None, "x"),
        (Literal[1], True),
    ],
)
def test_near_types_are_told_apart(kind, value):
    assert problems_of(kind, value) == [("", value, f"should be {describe(kind)}")]


def test_rule_of_a_dataclass_is_a_problem_like_others():
    assert problems_of(Outer, {"kind": "b", "flag": True}) == [
        ("", {"kind": "b", "flag": True}, "kind b takes no flag")
    ]


def test_problem_carries_the_words_that_would_be_right():
    problems = []
    check(Outer, {"kind": "c", "size": "dat", "moer": 1}, problems)
    assert [p.allowed for p in problems] == [
        ("a", "b"),
        ("data",),
        ("kind", "size", "pair", "flag", "inner"),
    ]
    assert choices(Literal["x", 1] | None) == ("x",)


def test_differences_build_the_same_parameters():
    params = Outer(size=2.0, inner=Inner(levels=(1, 2, 3)))
    assert differences(params) == {"size": 2.0, "inner": {"levels": [1, 2, 3]}}
    assert build(Outer, differences(params)) == params
    assert differences(Outer()) == {}


def test_number_equal_to_a_default_of_another_type_is_a_difference():
    assert differences(Inner(width=True)) == {"width": True}


def test_plain_holds_every_value():
    assert plain(Outer()) == {
        "kind": "a",
        "size": "data",
        "pair": [1, "x"],
        "flag": False,
        "inner": {"width": 8, "levels": [1, 2]},
    }


def test_merge_lays_mappings_over_one_another_and_leaves_them_alone():
    first = {"a": {"b": 1, "c": [1, 2]}, "d": 1}
    assert merge(first, {"a": {"c": [3]}}, {"d": {"e": 2}}) == {
        "a": {"b": 1, "c": [3]},
        "d": {"e": 2},
    }
    assert first == {"a": {"b": 1, "c": [1, 2]}, "d": 1}


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
