"""Frozen dataclasses without generated code do as those of ``dataclasses`` do."""

import ast
import copy
import dataclasses
import pickle
from dataclasses import FrozenInstanceError, asdict, field, fields, replace
from pathlib import Path
from typing import ClassVar

import pytest

from bench.frozen import dataclass

ROOT = Path(__file__).resolve().parent.parent


def unbound():
    return "not bound"


@dataclass(frozen=True)
class Base:
    """Has a field of each kind."""

    kind: ClassVar[str] = "base"
    first: int
    second: float = 2.0
    listed: tuple = field(default_factory=tuple)
    hidden: dict = field(default_factory=dict, compare=False, repr=False)
    called: object = unbound


@dataclass(frozen=True, kw_only=True)
class Derived(Base):
    """Has another default, a rule and a field that is given by name."""

    second: float = 3.0
    third: str

    def __post_init__(self):
        if not self.third:
            raise ValueError("third should not be empty")


@dataclasses.dataclass(frozen=True)
class OfTheirs(Derived):
    """Is one that ``dataclasses`` makes of ours, as a plugin may."""

    fourth: int = 4


@dataclass(frozen=True, kw_only=True)
class OfTheirsAgain(OfTheirs):
    """Is one of ours again."""

    fifth: int = 5


def made(kind):
    return kind(1, third="x")


@pytest.mark.parametrize("kind", [Derived, OfTheirs, OfTheirsAgain])
def test_what_dataclasses_reads_is_there(kind):
    one = made(kind)
    names = ["first", "second", "listed", "hidden", "called", "third", "fourth", "fifth"]
    assert [item.name for item in fields(kind)] == names[: len(fields(kind))]
    assert list(asdict(one)) == [item.name for item in fields(kind)]
    assert replace(one, first=7).first == 7
    assert replace(one, first=7).third == "x"
    assert dataclasses.is_dataclass(kind)
    assert kind.kind == "base"
    assert kind.second == 3.0


@pytest.mark.parametrize("kind", [Derived, OfTheirs, OfTheirsAgain])
def test_equal_fields_are_equal_and_hash_alike(kind):
    one, other = made(kind), replace(made(kind), hidden={1: 2})
    assert one == other
    assert hash(one) == hash(other)
    assert one != replace(one, first=2)
    assert one != Base(1)
    assert pickle.loads(pickle.dumps(one)) == copy.deepcopy(one) == one


def test_representation_names_the_fields_that_are_shown():
    assert repr(replace(made(Derived), called=None)) == (
        "Derived(first=1, second=3.0, listed=(), called=None, third='x')"
    )


def test_defaults_are_values_of_the_instance():
    one, other = Base(1), Base(2)
    assert one.called() == "not bound"
    assert one.hidden is not other.hidden
    assert not hasattr(Base, "hidden")
    assert Base.second == 2.0


@pytest.mark.parametrize("kind", [Base, Derived, OfTheirs, OfTheirsAgain])
def test_nothing_is_assigned_or_deleted(kind):
    one = Base(1) if kind is Base else made(kind)
    with pytest.raises(FrozenInstanceError, match="first"):
        one.first = 2
    with pytest.raises(FrozenInstanceError, match="first"):
        del one.first


@pytest.mark.parametrize(
    ("args", "values", "why"),
    [
        ((), {"third": "x"}, "'first'"),
        ((1,), {}, "'third'"),
        ((1,), {"third": "x", "fourth": 4}, "unexpected keyword argument 'fourth'"),
        ((1,), {"third": "x", "first": 2}, "twice"),
        ((1, 2, (), {}, None, "x"), {}, "4 positional"),
    ],
)
def test_wrong_arguments_are_refused(args, values, why):
    with pytest.raises(TypeError, match=why):
        Derived(*args, **values)


def test_rules_are_asked():
    with pytest.raises(ValueError, match="third should not be empty"):
        Derived(1, third="")


def test_methods_of_the_class_itself_are_kept():
    @dataclass(frozen=True)
    class Own:
        value: int

        def __repr__(self):
            return "own"

        def __hash__(self):
            return 3

    assert repr(Own(1)) == "own"
    assert hash(Own(1)) == 3
    assert Own(1) == Own(1)


def test_instances_may_be_equal_to_themselves_only():
    @dataclass(frozen=True, eq=False)
    class Alone:
        value: int

    assert Alone(1) != Alone(1)
    assert hash(Alone(1)) != hash(Alone(2))


def test_what_can_be_changed_is_not_made_here():
    with pytest.raises(TypeError, match="dataclasses"):
        dataclass(frozen=False)


def test_frozen_ones_are_made_here():
    """Those of ``dataclasses`` cost 0.3 ms each whenever a command starts."""
    late = []
    for path in [*ROOT.glob("bench/**/*.py"), *ROOT.glob("methods/**/*.py")]:
        tree = ast.parse(path.read_text())
        takes = any(
            isinstance(node, ast.ImportFrom)
            and node.module == "dataclasses"
            and "dataclass" in {alias.name for alias in node.names}
            for node in tree.body
        )
        makes = any(
            isinstance(node, ast.ClassDef) and "frozen=True" in map(_argument, _decorators(node))
            for node in ast.walk(tree)
        )
        late += [str(path)] if takes and makes else []
    assert not late, "import dataclass from bench.frozen"


def _decorators(node):
    return [word for one in node.decorator_list for word in getattr(one, "keywords", ())]


def _argument(keyword):
    return f"{keyword.arg}={ast.unparse(keyword.value)}"
