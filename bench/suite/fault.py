"""What is wrong in a file or an option, and where it was written.

A key path is a tuple of texts, ``("points", "0", "grid")``, written ``points.0.grid``.
"""

import dataclasses
import json
from collections.abc import Iterable
from dataclasses import field
from typing import Any, NamedTuple

from bench.frozen import dataclass
from bench.printable import one_line
from bench.schema import Problem, closest

KeyPath = tuple[str, ...]


class Place(NamedTuple):
    """Where a value was written; ``order`` sorts places as a person reads them."""

    order: int
    text: str


@dataclass(frozen=True)
class Fault:
    """One mistake: its place, key path and value, why it is one, and which words would be right."""

    place: Place
    path: KeyPath
    value: Any
    why: str
    allowed: tuple[str, ...] = ()

    @property
    def near(self) -> str | None:
        """The allowed word that was probably meant."""
        word = self.path[-1] if self.why == "unknown key" else self.value
        return next(iter(closest(word, self.allowed)), None) if isinstance(word, str) else None

    def __str__(self) -> str:
        """Returns ``suite.yaml:14: train.vp.params.sgima_max: unknown key; did you mean sigma_max?
        allowed: ...``.
        """
        hint = f" did you mean {self.near}?" if self.near else ""
        if not all(repr(word) in self.why for word in self.allowed):
            hint += f" allowed: {', '.join(self.allowed)}"
        value = "" if self.value is None else f" (value: {_shorten(self.value)})"
        path = f"{'.'.join(self.path)}: " if self.path else ""
        return one_line(f"{self.place.text}: {path}{self.why}{';' if hint else ''}{hint}{value}")


@dataclasses.dataclass
class Findings:
    """What one pass over a suite met: problems, and notes of what is allowed and yet unusual."""

    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class SuiteError(ValueError):
    """What is written in a file or on the command line is wrong; it carries every problem."""

    def __init__(self, problems: Iterable[Fault]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


def in_order(faults: Iterable[Fault]) -> list[Fault]:
    """Returns faults, each once, in the order of their places."""
    unique = {str(fault): fault for fault in faults}
    return sorted(unique.values(), key=lambda fault: fault.place.order)


def _shorten(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "..."
