"""What ``show`` says of parameters: their meaning, what they may be, and their defaults."""

from dataclasses import MISSING, dataclass, field
from typing import Literal

import pytest
import yaml

from bench.card import cards
from bench.cli.parser import main
from bench.data.gallery import KINDS
from bench.describe import commented_yaml, meanings, parameters, summary, without_markup
from bench.metrics.registry import METRICS
from bench.schema import build, check, plain


@dataclass(frozen=True, kw_only=True)
class Base:
    """What all of them have.

    Args:
        steps: Solver steps.
        last: Of the base.
    """

    steps: int = 10
    last: bool = True


@dataclass(frozen=True, kw_only=True)
class Inner:
    """Nested.

    Args:
        rate: A rate,
            over several lines: with a colon.
    """

    rate: float = 0.5


@dataclass(frozen=True, kw_only=True)
class Derived(Base):
    """The first paragraph,
    on two lines.

    last: is no argument here.

    Args:
        last: Of :class:`~bench.somewhere.Derived`.
        width, height: In ``pixels``.
        inner: More.

    Raises:
        ValueError: kind is wrong.
    """

    width: int
    height: int = 3
    kind: Literal["a", "b"] = "a"
    inner: Inner = field(default_factory=lambda: Inner(rate=2.0))


def test_meanings_are_those_of_the_docstring_and_of_its_bases():
    assert meanings(Derived) == {
        "steps": "Solver steps.",
        "last": "Of :class:`~bench.somewhere.Derived`.",
        "width": "In ``pixels``.",
        "height": "In ``pixels``.",
        "inner": "More.",
    }
    assert meanings(Inner) == {"rate": "A rate, over several lines: with a colon."}
    assert summary(Derived) == "The first paragraph, on two lines."
    assert without_markup(meanings(Derived)["last"]) == "Of bench.somewhere.Derived."


def test_parameters_are_in_order_with_the_defaults_of_the_instance_that_nests_them():
    found = {".".join(p.path): p for p in parameters(Derived)}
    assert list(found) == ["steps", "last", "width", "height", "kind", "inner", "inner.rate"]
    assert found["width"].default is MISSING
    assert found["kind"].allowed == "a, b"
    assert found["inner"].inner
    assert found["inner.rate"].default == 2.0


def test_what_is_shown_is_yaml_with_a_comment_above_each_parameter():
    text = commented_yaml(Derived)
    assert yaml.safe_load(text) == {
        "steps": 10,
        "last": True,
        "width": None,
        "height": 3,
        "kind": "a",
        "inner": {"rate": 2.0},
    }
    assert "# In pixels. (whole number)\nwidth:  # has to be given\n" in text
    assert "inner:\n  # A rate, over several lines: with a colon. (number)\n  rate: 2.0" in text


def kinds():
    for name, card in cards().items():
        yield name, card.params
        for sampler, facts in card.samplers.items():
            yield f"{name}.{sampler}", facts.params
    for name, metric in METRICS.items():
        yield name, metric.params


@pytest.mark.parametrize(("name", "kind"), list(kinds()))
def test_shown_defaults_build_the_parameters_again(name, kind, capsys):
    problems = []
    values = yaml.safe_load(commented_yaml(kind)) or {}
    assert check(kind, values, problems) == kind()
    assert problems == []
    assert plain(build(kind, {})) == values
    assert main(["show", name]) == 0
    out = capsys.readouterr().out
    assert all(f"{p.path[-1]}:" in out for p in parameters(kind))


@pytest.mark.parametrize("name", KINDS)
def test_every_parameter_of_a_data_set_has_a_meaning(name, capsys):
    assert [p.path for p in parameters(KINDS[name]) if not p.meaning] == []
    assert main(["show", name]) == 0
    assert "# has to be given" in capsys.readouterr().out


def test_every_parameter_of_methods_and_samplers_has_a_meaning():
    lacking = {
        f"{name}: {'.'.join(p.path)}"
        for name, kind in kinds()
        if name not in METRICS
        for p in parameters(kind)
        if not p.meaning
    }
    assert lacking <= {"soft: corruption.pixelate"}
