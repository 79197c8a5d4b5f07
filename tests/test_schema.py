"""Plain parameters: values are checked against the types and rules of a dataclass."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

import pytest

from bench.schema import (
    Above,
    AtLeast,
    AtMost,
    Between,
    MultipleOf,
    NotEmpty,
    build,
    check,
    check_fields,
    choices,
    closest,
    describe,
    did_you_mean,
    differences,
    merge,
    plain,
)


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
    with pytest.raises(ValueError, match="kind should be one of 'a', 'b', got 'c'; size should "):
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
def test_near_types_differ(kind, value):
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
class Ruled:
    count: Annotated[int, AtLeast(1)] = 1
    most: Annotated[float, AtMost(2)] = 1.0
    rate: Annotated[float, Above(0)] = 1.0
    share: Annotated[float, Between(0, 1, "[)")] = 0.0
    width: Annotated[int, AtLeast(4), MultipleOf(2)] = 4
    half: Annotated[int, AtLeast(1)] | None = None
    levels: Annotated[tuple[Annotated[int, AtLeast(0)], ...], NotEmpty()] = (0,)
    end: Literal["last"] | Annotated[float, Between(0, 1, "()")] = "last"
    sizes: tuple[Annotated[int, AtLeast(1)], ...] | None = None

    def __post_init__(self):
        check_fields(self)


def test_rules_of_fields_are_checked_and_all_broken_ones_are_named():
    values = {
        "count": 0,
        "most": 3,
        "rate": 0,
        "share": 1,
        "width": 3,
        "half": 0,
        "levels": [],
        "end": 1,
        "sizes": [1, 0],
    }
    assert problems_of(Ruled, values) == [
        ("count", 0, "should be at least 1"),
        ("most", 3.0, "should be at most 2"),
        ("rate", 0.0, "should be positive"),
        ("share", 1.0, "should be in [0, 1)"),
        ("width", 3, "should be at least 4"),
        ("width", 3, "should be even"),
        ("half", 0, "should be at least 1 or null"),
        ("levels", (), "should not be empty"),
        ("end", 1, "should be in (0, 1) or 'last'"),
        ("sizes.1", 0, "should be at least 1"),
    ]
    with pytest.raises(ValueError, match="count should be at least 1, got 0; rate should be pos"):
        build(Ruled, {"count": 0, "rate": 0})


def test_value_of_another_type_is_not_held_to_the_rules():
    assert problems_of(Ruled, {"count": "x", "half": "x", "end": "lats", "levels": [-1, 0.5]}) == [
        ("count", "x", "should be a whole number"),
        ("half", "x", "should be a whole number or null"),
        ("end", "lats", "should be 'last' or a number"),
        ("levels.0", -1, "should be at least 0"),
        ("levels.1", 0.5, "should be a whole number"),
    ]


def test_number_that_is_none_meets_no_rule():
    for name in ("most", "rate", "share", "end"):
        assert len(problems_of(Ruled, {name: float("nan")})) == 1


def test_ends_of_an_interval_belong_to_it_as_written():
    admitted = {
        ends: [value for value in (0, 0.5, 1) if Between(0, 1, ends).admits(value)]
        for ends in ("[]", "[)", "(]", "()")
    }
    assert admitted == {"[]": [0, 0.5, 1], "[)": [0, 0.5], "(]": [0.5, 1], "()": [0.5]}


def test_parameters_built_by_code_meet_the_same_rules():
    assert Ruled(half=3, levels=(4,), end=0.5, sizes=(1,)).half == 3
    with pytest.raises(ValueError, match="count should be at least 1, got 0; half should be at"):
        Ruled(count=0, half=0)


def test_words_of_a_type_with_rules_are_those_of_the_type():
    assert choices(Ruled.__annotations__["end"]) == ("last",)
    assert choices(Annotated[Literal["a", "b"], NotEmpty()]) == ("a", "b")
    assert describe(Ruled.__annotations__["half"]) == "a whole number or null"


def test_near_miss_is_named():
    words = ("sigma_min", "sigma_max", "beta_min")
    assert closest("sgima_max", words) == ["sigma_max"]
    assert closest("sigma_mxa", words, count=2) == ["sigma_max", "sigma_min"]
    assert closest("tolerance", words) == []
    assert did_you_mean("sgima_max", words) == "; did you mean sigma_max?"
    assert did_you_mean("tolerance", words) == ""
