"""A YAML text as plain values, with the line on which each of them stands.

Strict: one document, mappings with text keys and no key twice, finite numbers, no tag but the plain
ones. Words and numbers are those of YAML 1.2: ``1e-3`` is a number; ``yes``, ``no``, ``on`` and
``off`` are texts. What 1.1 reads as octal or in base 60 (``010``, ``12:30:45``) is refused rather
than guessed at.
"""

import math
import re
from collections.abc import Iterator
from typing import Any

import yaml

from bench.suite.fault import Fault, KeyPath, Place, SuiteError

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_SCALARS = yaml.constructor.SafeConstructor()
_TAG = "tag:yaml.org,2002:"
MERGE = f"{_TAG}merge"
"""The tag of a key ``<<`` without quotes."""
_TEXTS = {f"{_TAG}{name}" for name in ("str", "timestamp", "value")}
_BOOLS = {"true": True, "false": False}
_DECIMAL = re.compile(r"[-+]?(0|[1-9][0-9_]*)")
_FLOAT = re.compile(r"[-+]?(\.\d+|\d+(\.\d*)?)[eE][-+]?\d+")

MOST_WHOLE = 2**63 - 1
"""The largest whole number that tables, arrays and random generators can all hold."""
MOST_VALUES = 200_000
DEEPEST = 100
"""Limits of a file with its aliases written out: far above any suite, and read in two seconds."""
_TOO_DEEP = f"is nested deeper than {DEEPEST} levels"


class Parser:
    """Reads one YAML text.

    Args:
        name: What messages call the text: its file.

    Attributes:
        places: Where each value was written, by key path.
        problems: Values that are not allowed; None stands for them.
    """

    def __init__(self, name: object) -> None:
        self.name = name
        self.places: dict[KeyPath, Place] = {(): Place(1, f"{name}:1")}
        self.problems: list[Fault] = []
        self.values = 0

    def parse(self, text: str, path: KeyPath = ()) -> Any:
        """Returns the values of ``text``, which stands at ``path`` of a larger tree.

        Raises:
            SuiteError: The text is not one YAML document, or is too large.
        """
        return self._construct(self._compose(text), path, ())

    def _compose(self, text: str) -> yaml.Node | None:
        try:
            self._check_depth(text)
            return yaml.compose(text, Loader=_LOADER)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            why = getattr(error, "problem", None) or str(error).splitlines()[0]
            # A parser that looks far ahead may meet its own limit before ours is seen.
            too_deep = "nesting depth" in why
            why = _TOO_DEEP if too_deep else f"is not valid YAML: {why}"
            raise self._error(mark.line + 1 if mark else 1, why) from None

    def _check_depth(self, text: str) -> None:
        """Refuses brackets within brackets that the parser's own recursion could not follow."""
        depth = 0
        for event in yaml.parse(text, Loader=_LOADER):
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST:
                raise self._error(event.start_mark.line + 1 if event.start_mark else 1, _TOO_DEEP)

    def _error(self, line: int, why: str) -> SuiteError:
        return SuiteError([Fault(Place(line, f"{self.name}:{line}"), (), None, why)])

    def _construct(
        self, node: yaml.Node | None, path: KeyPath, open_nodes: tuple[yaml.Node, ...]
    ) -> Any:
        """Returns a node's plain value, noting where each value stands and what is not allowed."""
        if node is None:
            return None
        if node in open_nodes:
            return self._refuse(path, None, "an anchor cannot contain itself")
        self.values += 1
        if self.values > MOST_VALUES or len(open_nodes) >= DEEPEST:
            many = self.values > MOST_VALUES
            limit = f"{MOST_VALUES} values" if many else f"{DEEPEST} levels"
            why = f"holds more than {limit} once its aliases are written out"
            raise SuiteError([Fault(nearest(self.places, path[:1]), path[:1], None, why)])
        open_nodes = (*open_nodes, node)
        if isinstance(node, yaml.MappingNode) and node.tag == f"{_TAG}map":
            return self._mapping(node, path, open_nodes)
        if isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAG}seq":
            values = []
            for index, item in enumerate(node.value):
                inner = (*path, str(index))
                self.places[inner] = self._place(item)
                values.append(self._construct(item, inner, open_nodes))
            return values
        return self._scalar(node, path)

    def _mapping(
        self, node: yaml.MappingNode, path: KeyPath, open_nodes: tuple[yaml.Node, ...]
    ) -> dict[str, Any]:
        values = self._merged(node, path, open_nodes)
        own: set[str] = set()
        for key, item in node.value:
            if key.tag == MERGE:
                continue
            if not isinstance(key, yaml.ScalarNode) or _tag(key) not in _TEXTS:
                self.places[*path, "?"] = self._place(key)
                shown = key.value if isinstance(key, yaml.ScalarNode) else None
                self._refuse((*path, "?"), shown, "a key should be a text: write it in quotes")
                continue
            inner = (*path, key.value)
            if key.value in own:
                why = f"the key stands here twice, first on line {self.places[inner].order}"
                self.problems.append(Fault(self._place(key), inner, None, why))
                continue
            own.add(key.value)
            if key.value in values:  # one that was merged
                forget(self.places, inner, values[key.value])
            self.places[inner] = self._place(key)
            values[key.value] = self._construct(item, inner, open_nodes)
        return values

    def _merged(
        self, node: yaml.MappingNode, path: KeyPath, open_nodes: tuple[yaml.Node, ...]
    ) -> dict[str, Any]:
        """Returns what ``<<`` puts in before the mapping's own keys; the first source wins."""
        merged: dict[str, Any] = {}
        sources = [item for key, item in node.value if key.tag == MERGE]
        path_here = (*path, "<<")
        if len(sources) > 1:
            why = "the key stands here twice: merge a list, <<: [*first, *second]"
            self._refuse(path_here, None, why)
        for source in sources[:1]:
            parts = source.value if isinstance(source, yaml.SequenceNode) else [source]
            for part in reversed(parts):
                if not isinstance(part, yaml.MappingNode):
                    why = (
                        "should be a mapping, usually an anchor (<<: *name), or a list of mappings"
                    )
                    self._refuse(path_here, None, why)
                    continue
                values = self._construct(part, path, open_nodes)
                merged |= values if isinstance(values, dict) else {}
        return merged

    def _scalar(self, node: yaml.Node, path: KeyPath) -> Any:
        kind = _tag(node).removeprefix(_TAG)
        if not isinstance(node, yaml.ScalarNode):
            return self._refuse_tag(node, path)
        if "\0" in node.value:
            why = "holds a NUL character, which neither a name nor a path can"
            return self._refuse(path, node.value, why)
        try:
            if _tag(node) in _TEXTS:
                is_number = not node.style and _FLOAT.fullmatch(node.value)
                return self._finite(float(node.value), path) if is_number else node.value
            if kind == "bool":
                return _BOOLS[node.value.lower()]
            of_base_60 = kind == "float" and ":" in node.value
            if of_base_60 or (kind == "int" and not _DECIMAL.fullmatch(node.value)):
                why = "is not a plain decimal number: write it without a leading 0, or in quotes"
                return self._refuse(path, node.value, f"{why} as a text")
            if kind == "int":
                return self._whole(node.value, path)
            if kind == "float":
                return self._finite(_SCALARS.construct_yaml_float(node), path)
            if kind == "null":
                return _SCALARS.construct_yaml_null(node)
        except (ValueError, KeyError, yaml.YAMLError):
            return self._refuse(path, node.value, f"does not read as {kind}")
        return self._refuse_tag(node, path)

    def _refuse_tag(self, node: yaml.Node, path: KeyPath) -> Any:
        tag = node.tag.replace(_TAG, "!!")
        return self._refuse(path, tag, "this tag is not allowed: values are plain")

    def _whole(self, text: str, path: KeyPath) -> int | None:
        value = int(text) if len(text) <= 2 * len(str(MOST_WHOLE)) else MOST_WHOLE + 1
        if -MOST_WHOLE <= value <= MOST_WHOLE:
            return value
        why = f"is too large for a whole number: {MOST_WHOLE} at most, here and in the tables"
        return self._refuse(path, text, why)

    def _finite(self, value: float, path: KeyPath) -> float:
        if not math.isfinite(value):
            self._refuse(path, str(value), "should be finite")
        return value

    def _place(self, node: yaml.Node) -> Place:
        line = node.start_mark.line + 1
        return Place(line, f"{self.name}:{line}")

    def _refuse(self, path: KeyPath, value: Any, why: str) -> Any:
        """Notes a problem; returns None, which stands for the value."""
        self.problems.append(Fault(nearest(self.places, path), path, value, why))


def nearest(places: dict[KeyPath, Place], path: KeyPath) -> Place:
    """Returns where the value of that path was written, or else the nearest value around it."""
    while path not in places:
        path = path[:-1]
    return places[path]


def paths(value: Any, path: KeyPath = ()) -> Iterator[KeyPath]:
    """Yields the path of a value and of all that it holds, if it stands at ``path``."""
    yield path
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from paths(inner, (*path, name))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from paths(inner, (*path, str(index)))


def forget(places: dict[KeyPath, Place], path: KeyPath, value: Any) -> None:
    """Removes the places of a value, which stands at ``path``, and of all that it holds."""
    for old in paths(value, path):
        places.pop(old, None)


def _tag(node: yaml.Node) -> str:
    """Returns the tag of a node in YAML 1.2, in which only true and false are booleans."""
    is_bool = isinstance(node, yaml.ScalarNode) and node.tag == f"{_TAG}bool"
    return f"{_TAG}str" if is_bool and node.value.lower() not in _BOOLS else node.tag
