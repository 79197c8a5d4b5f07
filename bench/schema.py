"""Parameters as frozen dataclasses of plain annotated values.

An annotation is bool, int, float, str, ``Literal[...]``, a tuple or a mapping of these, a union of
these, or another such dataclass. ``Annotated`` adds rules: ``Annotated[int, AtLeast(1)]``. Values
from a file are checked against it, all problems at once; rules that tie fields to one another are
stated in ``__post_init__``, as a ValueError.

Standard library only.
"""

import json
import operator
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import (
    Annotated,
    Any,
    Literal,
    NamedTuple,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from bench.frozen import dataclass
from bench.spec import Values, json_text


class Problem(NamedTuple):
    """One thing wrong: the path of keys to it, the value, why, and which words would be right."""

    path: tuple[str, ...]
    value: Any
    why: str
    allowed: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Returns ``network.width should be at least 4, got 2``."""
        colon = "" if self.why.startswith("should ") else ":"
        path = f"{'.'.join(self.path)}{colon} " if self.path else ""
        return f"{path}{self.why}, got {self.value!r}"


@dataclass(frozen=True)
class Rule:
    """What ``Annotated`` asks of a value beside its type: "should be at least 1"."""

    text: str
    admits: Callable[[Any], bool]

    def __str__(self) -> str:
        return self.text


# The rules are named like types, since they stand in annotations. NaN meets none of them.


def AtLeast(least: float) -> Rule:
    """A number from ``least`` on."""
    return Rule(f"should be at least {least}", lambda value: value >= least)


def AtMost(most: float) -> Rule:
    """A number up to ``most``."""
    return Rule(f"should be at most {most}", lambda value: value <= most)


def Above(bound: float) -> Rule:
    """A number larger than ``bound``."""
    what = f"more than {bound}" if bound else "positive"
    return Rule(f"should be {what}", lambda value: value > bound)


def Between(low: float, high: float, ends: Literal["[]", "[)", "(]", "()"] = "[]") -> Rule:
    """A number of an interval; ``ends`` says which ends belong to it."""
    above = operator.ge if ends[0] == "[" else operator.gt
    below = operator.le if ends[1] == "]" else operator.lt
    text = f"should be in {ends[0]}{low}, {high}{ends[1]}"
    return Rule(text, lambda value: above(value, low) and below(value, high))


def MultipleOf(factor: int) -> Rule:
    """A whole number that ``factor`` divides."""
    what = "even" if factor == 2 else f"a multiple of {factor}"
    return Rule(f"should be {what}", lambda value: value % factor == 0)


def NotEmpty() -> Rule:
    """A list or text that holds something."""
    return Rule("should not be empty", lambda value: len(value) > 0)


def build(kind: type, values: Values) -> Any:
    """Returns an instance of the dataclass ``kind`` with ``values`` over its defaults.

    Raises:
        ValueError: All problems at once.
    """
    problems: list[Problem] = []
    built = check(kind, values, problems)
    _raise(problems)
    return built


def built(kind: type, values: Values) -> Any:
    """Returns what :func:`build` does, which is made once: many points share their parameters."""
    return _built(kind, json_text(values))


@cache
def _built(kind: type, text: str) -> Any:
    return build(kind, json.loads(text))


def check_fields(params: Any) -> None:
    """Checks a dataclass that code has built, from its ``__post_init__``.

    Raises:
        ValueError: All fields that are not as their annotations say.
    """
    problems: list[Problem] = []
    cls: type = type(params)
    for name, kind in field_types(cls).items():
        check(kind, getattr(params, name), problems, (name,))
    _raise(problems)


def _raise(problems: list[Problem]) -> None:
    if problems:
        raise ValueError("; ".join(map(str, problems)))


def check(kind: Any, value: Any, problems: list[Problem], path: tuple[str, ...] = ()) -> Any:
    """Returns ``value`` as type ``kind``, noting every problem; an int becomes a float if asked."""
    if isinstance(kind, type) and is_dataclass(kind):
        return _check_dataclass(kind, value, problems, path)
    origin = get_origin(kind)
    if origin is Annotated:
        before = len(problems)
        value = check(kind.__origin__, value, problems, path)
        if len(problems) == before:
            broken = [rule for rule in kind.__metadata__ if not rule.admits(value)]
            problems += [Problem(path, value, rule.text) for rule in broken]
        return value
    if origin in (Union, types.UnionType):
        return _check_union(kind, value, problems, path)
    if origin is Literal:
        if any(value == option and type(value) is type(option) for option in get_args(kind)):
            return value
    elif origin is tuple:
        if isinstance(value, list | tuple):
            item, *rest = get_args(kind)
            kinds = [item] * len(value) if rest == [...] else [item, *rest]
            if len(kinds) == len(value):
                pairs = zip(kinds, value, strict=True)
                return tuple(
                    check(k, v, problems, (*path, str(i))) for i, (k, v) in enumerate(pairs)
                )
    elif origin is Mapping:
        if isinstance(value, Mapping):
            return {
                str(name): check(get_args(kind)[1], v, problems, (*path, str(name)))
                for name, v in value.items()
            }
    elif kind is float:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
    elif kind is int:
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    elif (kind is type(None) and value is None) or (
        kind in (bool, str) and isinstance(value, kind)
    ):
        return value
    problems.append(Problem(path, value, f"should be {describe(kind)}", choices(kind)))
    return value


def _check_union(kind: Any, value: Any, problems: list[Problem], path: tuple[str, ...]) -> Any:
    options, attempts = get_args(kind), []
    for option in options:
        attempt: list[Problem] = []
        result = check(option, value, attempt, path)
        if not attempt:
            return result
        attempts.append(attempt)
    found = [Problem(path, value, f"should be {describe(kind)}", choices(kind))]
    for option, attempt in zip(options, attempts, strict=True):
        of_type: list[Problem] = []
        check(_without_rules(option), value, of_type, path)
        if not of_type:  # the value is of this type: say which rule it breaks
            others = "".join(f" or {describe(other)}" for other in options if other is not option)
            found = [p._replace(why=p.why + others) if p.path == path else p for p in attempt]
    problems += found
    return value


def _check_dataclass(kind: type, value: Any, problems: list[Problem], path: tuple[str, ...]) -> Any:
    if isinstance(value, kind):
        return value
    allowed = tuple(names(kind))
    if not isinstance(value, Mapping):
        why = f"should be a mapping with keys among {', '.join(allowed)}"
        problems.append(Problem(path, value, why))
        return value
    kinds, before, built = field_types(kind), len(problems), {}
    for name, item in value.items():
        if name in kinds:
            built[name] = check(kinds[name], item, problems, (*path, name))
        else:
            problems.append(Problem((*path, str(name)), item, "unknown key", allowed))
    missing = [name for name in _required(kind) if name not in built]
    problems += [Problem((*path, name), None, "is missing") for name in missing]
    if len(problems) > before:
        return value
    try:
        return kind(**built)
    except ValueError as error:  # a rule that the dataclass states in __post_init__
        problems.append(Problem(path, value, str(error)))
        return value


def _without_rules(kind: Any) -> Any:
    """Returns a type without what ``Annotated`` adds to it and to the items of its tuples."""
    if get_origin(kind) is Annotated:
        return _without_rules(kind.__origin__)
    if get_origin(kind) is tuple:
        items: Any = tuple(_without_rules(item) for item in get_args(kind))
        return tuple[items]
    return kind


def names(kind: type) -> tuple[str, ...]:
    """Returns the field names of a parameters dataclass."""
    return _names(kind)


@cache
def _names(kind: type) -> tuple[str, ...]:
    return tuple(item.name for item in fields(kind))


@cache
def _required(kind: type) -> tuple[str, ...]:
    """Returns the names of the fields without a default."""
    return tuple(
        item.name
        for item in fields(kind)
        if item.default is MISSING and item.default_factory is MISSING
    )


@cache
def field_types(kind: type) -> dict[str, Any]:
    """Returns the type of each field of a parameters dataclass."""
    hints = get_type_hints(kind, include_extras=True)
    return {name: hint for name, hint in hints.items() if name in names(kind)}


def choices(kind: Any) -> tuple[str, ...]:
    """Returns the words that a type admits: those of its ``Literal``, or of those in its union."""
    options = get_args(kind)
    if get_origin(kind) is Annotated:
        return choices(options[0])
    if get_origin(kind) is Literal:
        return tuple(option for option in options if isinstance(option, str))
    if get_origin(kind) in (Union, types.UnionType):
        return tuple(word for option in options for word in choices(option))
    return ()


_WORDS = {
    float: "a number",
    int: "a whole number",
    str: "a text",
    bool: "true or false",
    type(None): "null",
}


def describe(kind: Any) -> str:
    """Returns a type as a person would write it: "a number", "one of 'vp', 've'"."""
    origin = get_origin(kind)
    if is_dataclass(kind) or origin is Mapping:
        return "a mapping"
    if origin is Annotated:
        return describe(kind.__origin__)
    if origin in (Union, types.UnionType):
        return " or ".join(describe(option) for option in get_args(kind))
    if origin is Literal:
        options = get_args(kind)
        return ("one of " if len(options) > 1 else "") + ", ".join(map(repr, options))
    if origin is tuple:
        return f"a list of {describe(get_args(kind)[0]).removeprefix('a ').removeprefix('an ')}s"
    return _WORDS.get(kind, str(kind))


def plain(params: Any) -> Any:
    """Returns a parameters dataclass as nested plain values, tuples as lists."""
    if is_dataclass(params):
        return {name: plain(getattr(params, name)) for name in names(type(params))}
    if isinstance(params, tuple):
        return [plain(value) for value in params]
    return params


def differences(params: Any, default: Any = None) -> dict[str, Any]:
    """Returns the values of ``params`` that differ from the defaults, nested like ``params``."""
    default = type(params)() if default is None else default
    changed = {}
    for name in names(type(params)):
        value, usual = getattr(params, name), getattr(default, name)
        if is_dataclass(value) and type(value) is type(usual):
            if inner := differences(value, usual):
                changed[name] = inner
        elif value != usual or type(value) is not type(usual):
            changed[name] = plain(value)
    return changed


def merge(*layers: Values) -> dict[str, Any]:
    """Returns mappings laid over one another, later ones winning, nested mappings merged."""
    merged: dict[str, Any] = {}
    for layer in layers:
        for name, value in layer.items():
            both = isinstance(value, Mapping) and isinstance(merged.get(name), Mapping)
            merged[name] = merge(merged[name], value) if both else value
    return merged


def closest(word: str, choices: Iterable[str], *, count: int = 1, cutoff: float = 0.6) -> list[str]:
    """Returns the ``count`` choices most like ``word``, best first, above ``cutoff`` (0 to 1)."""
    import difflib

    return difflib.get_close_matches(word, list(choices), count, cutoff)


def did_you_mean(word: str, choices: Iterable[str], *, cutoff: float = 0.6) -> str:
    """Returns ``; did you mean sigma_max?``, or nothing if no choice is like ``word``."""
    return "".join(f"; did you mean {near}?" for near in closest(word, choices, cutoff=cutoff))
