"""A YAML file as plain values that know the line each of them stands on.

Strict: one document, mappings with text keys and no key twice, finite numbers, no tag but the plain
ones. What profiles and the command line lay over the file keeps its own place, so that every
mistake is shown where it was made. A key path is a tuple of texts, ``("points", "0", "grid")``,
written ``points.0.grid``.

Words and numbers are those of YAML 1.2: ``1e-3`` is a number, ``yes``, ``no``, ``on`` and ``off``
are texts. What 1.1 reads as octal or in base 60 (``010``, ``12:30:45``) is refused rather than
guessed at.
"""

import copy
import difflib
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from bench.printable import one_line
from bench.schema import Problem

KeyPath = tuple[str, ...]

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
"""What a file may hold once its aliases are written out: far above any suite, and read in a second
or two.
"""


class Place(NamedTuple):
    """Where a value was written; ``order`` sorts places as a person reads them."""

    order: int
    text: str


@dataclass(frozen=True)
class Fault:
    """One mistake: where it was made, the key path, the value, why it is one, and what would be
    right.
    """

    place: Place
    path: KeyPath
    value: Any
    why: str
    allowed: tuple[str, ...] = ()

    @property
    def near(self) -> str | None:
        """The allowed word that was probably meant."""
        word = self.path[-1] if self.why == "unknown key" else self.value
        found = difflib.get_close_matches(word, self.allowed, 1) if isinstance(word, str) else []
        return found[0] if found else None

    def __str__(self) -> str:
        """Returns ``suite.yaml:14: train.vp.params.sgima_max: unknown key; did you mean sigma_max?
        allowed: ...``.
        """
        help_ = f" did you mean {self.near}?" if self.near else ""
        if not all(repr(word) in self.why for word in self.allowed):
            help_ += f" allowed: {', '.join(self.allowed)}"
        value = "" if self.value is None else f" (value: {_shorten(self.value)})"
        path = ".".join(self.path)
        return one_line(
            f"{self.place.text}: {path}{': ' if path else ''}{self.why}{';' if help_ else ''}{help_}{value}"
        )


class SuiteError(ValueError):
    """What is written in a file or on the command line is wrong; it carries every problem."""

    def __init__(self, problems: Iterable[Fault]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(fault) for fault in self.problems))


def _shorten(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


class Document:
    """The values of a YAML file, with what profiles and options lay over them.

    Args:
        path: The file; it is shown in messages as given.

    Raises:
        SuiteError: There is no such file, or it is not one YAML document.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.places: dict[KeyPath, Place] = {(): Place(1, f"{self.path}:1")}
        self.problems: list[Fault] = []
        self.values = 0
        self.tree: Any = self._construct(self._compose(self._text(), self.path), (), ())

    def _text(self) -> str:
        try:
            return self.path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise SuiteError(
                [Fault(Place(0, str(self.path)), (), None, f"is not UTF-8 text: {error}")]
            ) from None
        except OSError as error:
            folder = self.path.parent
            others = sorted(str(file) for file in folder.glob("*.yaml")) if folder.is_dir() else []
            why = f"cannot be read: {error.strerror}"
            near = difflib.get_close_matches(str(self.path), others, 1)
            why += f"; did you mean {near[0]}?" if near else ""
            raise SuiteError([Fault(Place(0, str(self.path)), (), None, why)]) from None

    @staticmethod
    def _compose(text: str, name: object) -> yaml.Node | None:
        try:
            _check_depth(text, name)
            return yaml.compose(text, Loader=_LOADER)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            line = mark.line + 1 if mark else 1
            why = getattr(error, "problem", None) or str(error).splitlines()[0]
            raise SuiteError(
                [Fault(Place(line, f"{name}:{line}"), (), None, f"is not valid YAML: {why}")]
            ) from None

    def _construct(self, node: yaml.Node | None, path: KeyPath, open_nodes: tuple[int, ...]) -> Any:
        """Returns a node's plain value, noting where each value stands and what is not allowed."""
        if node is None:
            return None
        if id(node) in open_nodes:
            self._refuse(path, None, "an anchor cannot contain itself")
            return None
        self.values += 1
        if self.values > MOST_VALUES or len(open_nodes) >= DEEPEST:
            held = (
                f"more than {MOST_VALUES} values"
                if self.values > MOST_VALUES
                else f"more than {DEEPEST} levels"
            )
            why = f"holds {held} once its aliases are written out"
            raise SuiteError([Fault(self.place(path[:1]), path[:1], None, why)])
        open_nodes = (*open_nodes, id(node))
        if isinstance(node, yaml.MappingNode) and node.tag == f"{_TAG}map":
            return self._mapping(node, path, open_nodes)
        if isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAG}seq":
            values = []
            for index, item in enumerate(node.value):
                inner = (*path, str(index))
                self._put(inner, item)
                values.append(self._construct(item, inner, open_nodes))
            return values
        return self._scalar(node, path)

    def _mapping(
        self, node: yaml.MappingNode, path: KeyPath, open_nodes: tuple[int, ...]
    ) -> dict[str, Any]:
        values = self._merged(node, path, open_nodes)
        own: set[str] = set()
        for key, item in node.value:
            if key.tag == MERGE:
                continue
            if not isinstance(key, yaml.ScalarNode) or _tag(key) not in _TEXTS:
                self._put((*path, "?"), key)
                shown = key.value if isinstance(key, yaml.ScalarNode) else None
                self._refuse((*path, "?"), shown, "a key should be a text: write it in quotes")
                continue
            inner = (*path, key.value)
            if key.value in own:
                first = self.places[inner].order
                fault = Fault(
                    self._at(key), inner, None, f"the key stands here twice, first on line {first}"
                )
                self.problems.append(fault)
                continue
            own.add(key.value)
            self._forget(inner)
            self._put(inner, key)
            values[key.value] = self._construct(item, inner, open_nodes)
        return values

    def _merged(
        self, node: yaml.MappingNode, path: KeyPath, open_nodes: tuple[int, ...]
    ) -> dict[str, Any]:
        """Returns what ``<<`` puts in before the mapping's own keys: of several mappings, the first
        that has a key.
        """
        merged: dict[str, Any] = {}
        sources = [item for key, item in node.value if key.tag == MERGE]
        if len(sources) > 1:
            self._refuse(
                (*path, "<<"),
                None,
                "the key stands here twice: merge a list, <<: [*first, *second]",
            )
        for source in sources[:1]:
            parts = source.value if isinstance(source, yaml.SequenceNode) else [source]
            for part in reversed(parts):
                if not isinstance(part, yaml.MappingNode):
                    why = (
                        "should be a mapping, usually an anchor (<<: *name), or a list of mappings"
                    )
                    self._refuse((*path, "<<"), None, why)
                    continue
                given = self._construct(part, path, open_nodes)
                merged |= given if isinstance(given, dict) else {}
        return merged

    def _scalar(self, node: yaml.Node, path: KeyPath) -> Any:
        kind = _tag(node).removeprefix(_TAG)
        if isinstance(node, yaml.ScalarNode):
            try:
                if "\0" in node.value:
                    self._refuse(
                        path,
                        node.value,
                        "holds a NUL character, which neither a name nor a path can",
                    )
                    return None
                if _tag(node) in _TEXTS:
                    is_number = not node.style and _FLOAT.fullmatch(node.value)
                    return self._finite(float(node.value), path) if is_number else node.value
                if kind == "bool":
                    return _BOOLS[node.value.lower()]
                of_base_60 = kind == "float" and ":" in node.value
                if of_base_60 or (kind == "int" and not _DECIMAL.fullmatch(node.value)):
                    why = "is not a plain decimal number: write it without a leading 0, or in quotes as a text"
                    self._refuse(path, node.value, why)
                    return None
                if kind == "int":
                    return self._whole(node.value, path)
                if kind in ("float", "null"):
                    value = getattr(_SCALARS, f"construct_yaml_{kind}")(node)
                    return self._finite(value, path) if kind == "float" else value
            except (ValueError, KeyError, yaml.YAMLError):
                self._refuse(path, node.value, f"does not read as {kind}")
                return None
        self._refuse(
            path, node.tag.replace(_TAG, "!!"), "this tag is not allowed: values are plain"
        )
        return None

    def _whole(self, text: str, path: KeyPath) -> int | None:
        value = int(text) if len(text) <= 2 * len(str(MOST_WHOLE)) else math.inf
        if not -MOST_WHOLE <= value <= MOST_WHOLE:
            self._refuse(
                path,
                text,
                f"is too large for a whole number: {MOST_WHOLE} at most, here and in the tables",
            )
            return None
        return value

    def _finite(self, value: float, path: KeyPath) -> float:
        if not math.isfinite(value):
            self._refuse(path, str(value), "should be finite")
        return value

    def _at(self, node: yaml.Node) -> Place:
        line = node.start_mark.line + 1
        return Place(line, f"{self.path}:{line}")

    def _put(self, path: KeyPath, node: yaml.Node) -> None:
        self.places[path] = self._at(node)

    def _refuse(self, path: KeyPath, value: Any, why: str) -> None:
        self.problems.append(Fault(self.place(path), path, value, why))

    def place(self, path: KeyPath) -> Place:
        """Returns where the value of that path was written, or else the nearest value around it."""
        while path not in self.places:
            path = path[:-1]
        return self.places[path]

    def copy(self) -> "Document":
        """Returns a document of its own with the same values and places, and none of the
        problems.
        """
        other = copy.copy(self)
        other.tree, other.places, other.problems = copy.deepcopy(self.tree), dict(self.places), []
        return other

    def overlay(self, source: KeyPath) -> None:
        """Lays the mapping at ``source`` over the whole tree: mappings are merged, anything else is
        replaced.
        """
        self._lay(self.tree, (), self._value(source), source)

    def _value(self, path: KeyPath) -> Any:
        value = self.tree
        for name in path:
            value = value[name]
        return value

    def _lay(
        self, target: dict[str, Any], path: KeyPath, over: Mapping[str, Any], source: KeyPath
    ) -> None:
        for name, value in over.items():
            inner, origin = (*path, name), (*source, name)
            if isinstance(value, Mapping) and isinstance(target.get(name), Mapping):
                self._lay(target[name], inner, value, origin)
                continue
            target[name] = value
            self._forget(inner)
            moved = {p: place for p, place in self.places.items() if p[: len(origin)] == origin}
            self.places.update({(*inner, *p[len(origin) :]): place for p, place in moved.items()})

    def _forget(self, path: KeyPath) -> None:
        for old in [p for p in self.places if p[: len(path)] == path]:
            del self.places[old]

    def set(self, option: str, number: int = 0) -> None:
        """Puts in the value of one ``--set`` option, ``train.vp.params.sigma_max=3``.

        The value is read as YAML is in the file. Keys that nobody knows are put in too, and found
        by whoever checks the tree.
        """
        place = Place(10**9 + number, f"--set {option}")
        dotted, equals, text = option.partition("=")
        path = tuple(dotted.strip().split("."))
        if not equals or not all(path):
            why = "an option should read key.path=value"
            self.problems.append(Fault(place, (), None, why))
            return
        parent = self._parent(path, place)
        if parent is None:
            return
        before, earlier = len(self.problems), dict(self.places)
        self._forget(path)
        known = dict(self.places)
        try:
            value = self._construct(self._compose(text, "value"), path, ())
        except SuiteError as error:
            self.places = earlier
            self.problems.append(Fault(place, path, text, error.problems[0].why))
            return
        self.places = known | {path: place}
        self.problems[before:] = [
            Fault(place, f.path, f.value, f.why, f.allowed) for f in self.problems[before:]
        ]
        parent[int(path[-1]) if isinstance(parent, list) else path[-1]] = value

    def _parent(self, path: KeyPath, place: Place) -> Any:
        """Returns the mapping or list to put the last key of ``path`` into, making mappings on the
        way.
        """
        parent = self.tree
        for depth, name in enumerate(path):
            if isinstance(parent, list):
                if not name.isdecimal() or int(name) >= len(parent):
                    why = f"should be the number of an item, 0 to {len(parent) - 1}"
                    self.problems.append(Fault(place, path[: depth + 1], name, why))
                    return None
            elif not isinstance(parent, dict):
                self.problems.append(Fault(place, path[:depth], parent, "has no keys to set"))
                return None
            if depth == len(path) - 1:
                return parent
            if isinstance(parent, list):
                parent = parent[int(name)]
            else:
                if name not in parent:
                    self.places[path[: depth + 1]] = place
                parent = parent.setdefault(name, {})
        return None

    def faults(self, problems: Iterable[Problem]) -> list[Fault]:
        """Returns problems with the values at key paths as faults, each once, in the order of their
        places.

        A value that could not even be read is not blamed again for what came of it.
        """
        unread = {fault.path for fault in self.problems}
        checked = [Fault(self.place(p.path), p.path, p.value, p.why, p.allowed) for p in problems]
        found = self.problems + [fault for fault in checked if fault.path not in unread]
        return sorted(
            {str(fault): fault for fault in found}.values(), key=lambda fault: fault.place.order
        )


def _check_depth(text: str, name: object) -> None:
    """Refuses brackets within brackets that the parser's own recursion could not follow."""
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(
            event, yaml.CollectionEndEvent
        )
        if depth > DEEPEST:
            line = event.start_mark.line + 1
            place = Place(line, f"{name}:{line}")
            raise SuiteError([Fault(place, (), None, f"is nested deeper than {DEEPEST} levels")])


def _tag(node: yaml.Node) -> str:
    """Returns the tag of a node as YAML 1.2 would resolve it, where only true and false are
    booleans.
    """
    is_word = (
        isinstance(node, yaml.ScalarNode)
        and node.tag == f"{_TAG}bool"
        and node.value.lower() not in _BOOLS
    )
    return f"{_TAG}str" if is_word else node.tag


def check_keys(
    problems: list[Problem],
    path: KeyPath,
    value: Any,
    allowed: Sequence[str],
    required: Sequence[str] = (),
) -> Mapping[str, Any]:
    """Returns ``value`` where it is a mapping, else an empty one, noting keys that are unknown or
    missing.
    """
    if not isinstance(value, Mapping):
        problems.append(Problem(path, value, "should be a mapping", tuple(allowed)))
        return {}
    for name in value:
        if name not in allowed:
            problems.append(Problem((*path, name), value[name], "unknown key", tuple(allowed)))
    for name in required:
        if name not in value:
            problems.append(Problem((*path, name), None, "is missing"))
    return value
