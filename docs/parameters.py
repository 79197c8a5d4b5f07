"""What each parameter of a dataclass means, which values it takes and what it is by default.

Meanings are those of the section ``Args:`` in the docstrings of the dataclass and of its bases, so
that ``show``, the documentation and the code cannot differ.

Standard library only.
"""

import re
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from bench.describe import meanings
from bench.schema import field_types, plain

_PLAIN = {
    bool: "true, false",
    float: "number",
    int: "whole number",
    str: "text",
    type(None): "null",
}
_ROLE = re.compile(r":(?:class|func|meth|data|attr):`~?([^`]+)`")
_SEE = re.compile(r",? \(:(?:mod|class|func|meth|data|attr):`[^`]+`\)")


class Parameter(NamedTuple):
    """One parameter, in words.

    Args:
        values: What it may be: ``vp, ve, subvp``, ``whole number, at least 1``.
        default: Its default as YAML, None where it has to be given.
        meaning: In a sentence or two; empty where no docstring says.
        inner: The dataclass of its values, where these are parameters themselves.
    """

    name: str
    values: str
    default: str | None
    meaning: str
    inner: type | None = None


def parameters(kind: type) -> list[Parameter]:
    """Returns the parameters of a dataclass in its order."""
    types_, known = field_types(kind), meanings(kind)
    found = []
    for item in fields(kind):
        hint = types_[item.name]
        usual = item.default if item.default_factory is MISSING else item.default_factory()
        inner = hint if is_dataclass(hint) else None
        default = None if usual is MISSING else "" if inner else written(usual)
        found.append(
            Parameter(item.name, values_of(hint), default, prose(known.get(item.name, "")), inner)
        )
    return found


def prose(text: str) -> str:
    """Returns a docstring's text with code in backquotes and maths in dollars instead of roles."""
    text = re.sub(r":math:`([^`]+)`", r"$\1$", _SEE.sub("", text))
    text = re.sub(r"\bNone\b", "null", text)
    text = _ROLE.sub(lambda role: f"`{role[1].rsplit('.', 1)[-1]}`", text)
    return re.sub(r":mod:`([^`]+)`", r"`\1`", text.replace("``", "`"))


def values_of(kind: Any) -> str:
    """Returns what values of a type may be, in words."""
    origin, options = get_origin(kind), get_args(kind)
    if origin is Annotated:
        rules = [str(rule).removeprefix("should be ") for rule in kind.__metadata__]
        return ", ".join([values_of(options[0]), *rules])
    if is_dataclass(kind) or origin is Mapping:
        return "mapping"
    if origin in (Union, types.UnionType):
        return " or ".join(values_of(option) for option in options)
    if origin is Literal:
        return ", ".join(map(str, options))
    if origin is tuple:
        whole = options[-1] is ... or len(set(options)) == 1
        inner = values_of(options[0]) if whole else ", ".join(map(values_of, options))
        length = "" if options[-1] is ... else f" of {len(options)}"
        return f"list{length}: {inner}"
    return _PLAIN.get(kind, str(kind))


def written(value: Any) -> str:
    """Returns a plain value as a suite would write it: ``1e-05``, ``[1, 2]``, ``null``."""
    value = plain(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(written, value))}]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {written(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return f"{value:g}" if isinstance(value, float) and 0 < abs(value) < 1e6 else str(value)
