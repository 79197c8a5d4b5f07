"""A YAML file as plain values that know where they were written.

What profiles and the command line lay over the file keeps its own place, so that every mistake is
shown where it was made.
"""

import copy
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bench.schema import Problem, did_you_mean
from bench.suite.fault import Fault, KeyPath, Place, SuiteError, in_order
from bench.suite.syntax import Parser, forget, nearest, paths

OPTION_ORDER = 10**9
"""Order of the command line's places, after the lines of any file."""


class Document:
    """The values of a YAML file, with what profiles and options lay over them.

    Args:
        path: The file; it is shown in messages as it is.

    Raises:
        SuiteError: There is no such file, or it is not one YAML document.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        parser = Parser(self.path)
        self.tree: Any = parser.parse(_read(self.path))
        self.places = parser.places
        self.problems = parser.problems

    def place(self, path: KeyPath) -> Place:
        """Returns where the value of that path was written, or else the nearest value around it."""
        return nearest(self.places, path)

    def copy(self) -> "Document":
        """Returns a document to lay profiles over, with the same values and places, and no
        problems.
        """
        other = copy.copy(self)
        other.tree, other.places, other.problems = copy.copy(self.tree), dict(self.places), []
        return other

    def overlay(self, source: KeyPath) -> None:
        """Lays the mapping at ``source`` over the tree: mappings are merged, the rest replaced;
        copies keep theirs.

        A train label whose entry is null is taken out.
        """
        values = self.tree
        for name in source:
            values = values[name]
        self._lay(self.tree, (), values, source)

    def _lay(
        self, target: dict[str, Any], path: KeyPath, over: Mapping[str, Any], source: KeyPath
    ) -> None:
        for name, value in over.items():
            inner, origin = (*path, name), (*source, name)
            if isinstance(value, Mapping) and isinstance(target.get(name), Mapping):
                target[name] = dict(target[name])
                self._lay(target[name], inner, value, origin)
                continue
            if name in target:
                forget(self.places, inner, target[name])
            if value is None and path == ("train",) and name in target:
                del target[name]
                continue
            target[name] = value
            for held in paths(value):
                if (place := self.places.get((*origin, *held))) is not None:
                    self.places[*inner, *held] = place

    def set(self, option: str, number: int = 0) -> None:
        """Puts in the value of one ``--set`` option, ``train.vp.params.sigma_max=3``.

        The value is read as YAML is in the file. Unknown keys are put in too: whoever checks the
        tree finds them.
        """
        place = Place(OPTION_ORDER + number, f"--set {option}")
        dotted, equals, text = option.partition("=")
        path = tuple(dotted.strip().split("."))
        if not equals or not all(path):
            why = "an option should read key.path=value"
            self.problems.append(Fault(place, (), None, why))
            return
        parent = self._parent(path, place)
        if parent is None:
            return
        parser = Parser("value")
        try:
            value = parser.parse(text, path)
        except SuiteError as error:
            self.problems.append(Fault(place, path, text, error.problems[0].why))
            return
        last: Any = int(path[-1]) if isinstance(parent, list) else path[-1]
        if isinstance(parent, list) or last in parent:
            forget(self.places, path, parent[last])
        self.places[path] = place
        self.problems += [
            Fault(place, fault.path, fault.value, fault.why, fault.allowed)
            for fault in parser.problems
        ]
        parent[last] = value

    def _parent(self, path: KeyPath, place: Place) -> Any:
        """Returns the mapping or list to put the last key of ``path`` into, making mappings on the
        way; None, with the problem noted, if there can be none.
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
        """Returns problems with values as faults, each once, in the order of their places.

        A value that could not even be read is not blamed again for what came of it.
        """
        unread = {fault.path for fault in self.problems}
        checked = [Fault(self.place(p.path), p.path, p.value, p.why, p.allowed) for p in problems]
        return in_order(self.problems + [fault for fault in checked if fault.path not in unread])


def _read(path: Path) -> str:
    """Returns the text of a file.

    Raises:
        SuiteError: It cannot be read, or is no text.
    """
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        why = f"is not UTF-8 text: {error}"
    except OSError as error:
        folder = path.parent
        others = sorted(map(str, folder.glob("*.yaml"))) if folder.is_dir() else []
        why = f"cannot be read: {error.strerror}{did_you_mean(str(path), others)}"
    raise SuiteError([Fault(Place(0, str(path)), (), None, why)])
