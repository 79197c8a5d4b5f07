"""Parameters for people: what each means, what it may be, and its default.

Meanings are read from the ``Args`` of a dataclass's docstring (Google style), allowed values from
the annotations: both are written once, beside the code that they describe.
"""

import inspect
import re
import textwrap
import types
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml

from bench.frozen import dataclass
from bench.schema import field_types, plain

WIDTH = 100
_ENTRY = re.compile(r"(\w+(?:, \w+)*): (.*)")
_ROLE = re.compile(r":(?:class|func|meth|data|attr):`~?([^`]+)`")
_SEE = re.compile(r",? \(:(?:mod|class|func|meth|data|attr):`[^`]+`\)")
_WORDS = {
    bool: "true, false",
    float: "number",
    int: "whole number",
    str: "text",
    type(None): "null",
}


@dataclass(frozen=True)
class Parameter:
    """One parameter of a params dataclass.

    Args:
        path: Its name, below the names of the parameters that it is nested in.
        meaning: One paragraph; empty if the docstring has none.
        allowed: Which values it takes: ``vp, ve, subvp``, ``whole number, at least 1``.
        default: A plain value; :data:`dataclasses.MISSING` if it has to be given.
        inner: The dataclass of the parameters that it holds, which follow.
    """

    path: tuple[str, ...]
    meaning: str
    allowed: str
    default: Any
    inner: type | None = None

    @property
    def name(self) -> str:
        """Its name in the group that it is nested in."""
        return self.path[-1]


def summary(kind: type) -> str:
    """Returns the first paragraph of a class's docstring, on one line."""
    return " ".join((inspect.getdoc(kind) or "").partition("\n\n")[0].split())


@cache
def meanings(kind: type) -> dict[str, str]:
    """Returns the meaning of each argument that a class's docstring, or that of a base, describes.

    An entry ``width, height: In pixels.`` describes both names.
    """
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        found |= _arguments(inspect.cleandoc(base.__doc__ or ""))
    return found


def _arguments(doc: str) -> dict[str, str]:
    """Returns the entries of the section ``Args`` of a docstring."""
    lines = doc.splitlines()
    if "Args:" not in lines:
        return {}
    section: list[str] = []
    for line in lines[lines.index("Args:") + 1 :]:
        if line and not line.startswith(" "):
            break
        section.append(line)
    found: dict[str, str] = {}
    names: list[str] = []
    for line in textwrap.dedent("\n".join(section)).splitlines():
        entry = _ENTRY.match(line)
        if entry:
            names = entry[1].split(", ")
            found |= dict.fromkeys(names, entry[2])
        elif line.strip():
            found |= {name: f"{found[name]} {line.strip()}" for name in names}
    return found


def parameters(kind: type, path: tuple[str, ...] = (), defaults: Any = None) -> Iterator[Parameter]:
    """Yields the parameters of a dataclass in order, each group before what is nested in it.

    Args:
        kind: The dataclass.
        path: What it is nested in.
        defaults: An instance to take defaults from in place of the dataclass's own.
    """
    for item in fields(kind):
        hint, meaning = field_types(kind)[item.name], meanings(kind).get(item.name, "")
        default = _default(item) if defaults is None else getattr(defaults, item.name)
        inner = hint if isinstance(hint, type) and is_dataclass(hint) else None
        here = (*path, item.name)
        yield Parameter(here, meaning, allowed(hint), plain(default), inner)
        if inner:
            yield from parameters(hint, here, default)


def _default(item: Field) -> Any:
    return item.default if item.default_factory is MISSING else item.default_factory()


def allowed(kind: Any) -> str:
    """Returns what values of a type may be, in words."""
    origin, options = get_origin(kind), get_args(kind)
    if origin is Annotated:
        rules = [str(rule).removeprefix("should be ") for rule in kind.__metadata__]
        return ", ".join([allowed(options[0]), *rules])
    if is_dataclass(kind) or origin is Mapping:
        return "mapping"
    if origin in (Union, types.UnionType):
        return " or ".join(allowed(option) for option in options)
    if origin is Literal:
        return ", ".join(map(str, options))
    if origin is tuple:
        whole = options[-1] is ... or len(set(options)) == 1
        inner = allowed(options[0]) if whole else ", ".join(map(allowed, options))
        length = "" if options[-1] is ... else f" of {len(options)}"
        return f"list{length}: {inner}"
    return _WORDS.get(kind, str(kind))


def commented_yaml(kind: type) -> str:
    """Returns the defaults of a params dataclass as YAML for a suite; a comment above each one says
    what it means and which values it takes.
    """
    lines = []
    for parameter in parameters(kind):
        indent = "  " * (len(parameter.path) - 1)
        values = "" if parameter.inner else f"({parameter.allowed})"
        comment = f"{without_markup(parameter.meaning)} {values}".strip()
        mark = f"{indent}# "
        lines += textwrap.wrap(comment, WIDTH, initial_indent=mark, subsequent_indent=mark)
        name = f"{indent}{parameter.name}:"
        if parameter.inner:
            lines.append(name)
        elif parameter.default is MISSING:
            lines.append(f"{name}  # has to be given")
        else:
            lines.append(f"{name} {flow_yaml(parameter.default)}")
    return "\n".join(lines)


def without_markup(text: str) -> str:
    """Returns a docstring's text without the marks of reStructuredText."""
    return re.sub(r"(?::\w+:)?`+~?([^`]*)`+", r"\1", text)


def markdown(text: str) -> str:
    """Returns a docstring's text with code in backquotes and maths in dollars instead of roles."""
    text = re.sub(r":math:`([^`]+)`", r"$\1$", _SEE.sub("", text))
    text = re.sub(r"\bNone\b", "null", text)
    text = _ROLE.sub(lambda role: f"`{role[1].rsplit('.', 1)[-1]}`", text)
    return re.sub(r":mod:`([^`]+)`", r"`\1`", text.replace("``", "`"))


def as_yaml(values: Any) -> str:
    """Returns plain values as YAML, in the order given."""
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=120)


def flow_yaml(value: Any) -> str:
    """Returns a plain value as YAML on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10**6)
    return text.removesuffix("...\n").strip()
