"""What the readers of sections share: the values of the file, what it may name, and the problems.

Nothing here stops at the first mistake: every problem is noted with its key path, and reading goes
on with what is left.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.card import Card
from bench.data.card import DataCard
from bench.frozen import dataclass
from bench.metrics.card import MetricCard
from bench.schema import Problem, check
from bench.suite.fault import Findings, KeyPath

SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
MOST_IMAGES = 10_000_000
MOST_POINTS = MOST_UNITS = 1_000_000
"""Bounds on what one suite may ask for: more is almost certainly a typo."""
SMOKE_IMAGES = 4
"""Images of a point, and held-out images inspected, in a trial run."""


@dataclass(frozen=True)
class Cards:
    """What a suite may name."""

    methods: Mapping[str, Card]
    datasets: Mapping[str, DataCard]
    metrics: Mapping[str, MetricCard]


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a suite is read.

    Args:
        smoke: Cut every size to a trial run.
        only: What ``--only`` asks for; checkpoints of models that it leaves out may be absent.
        cache: Folder that remembers the digests of images made elsewhere.
        absent: Let checkpoints and images made elsewhere be absent.
    """

    smoke: bool = False
    only: Sequence[str] = ()
    cache: Path | None = None
    absent: bool = False


class Reading(Findings):
    """One pass over the values of a suite.

    Args:
        tree: The suite as plain values.
        keys: The sections that there may be, and those that there have to be.
    """

    def __init__(
        self,
        tree: Any,
        cards: Cards,
        options: Options,
        keys: tuple[Sequence[str], Sequence[str]],
    ) -> None:
        super().__init__()
        self.cards = cards
        self.options = options
        self.smoke = options.smoke
        self.data: DataCard | None = None  # set by the reader of ``dataset``
        self.tree = self.mapping((), tree, *keys)

    @property
    def count(self) -> int | None:
        """The ``samples.count`` of the file, None if there is none that could be."""
        samples = self.tree.get("samples")
        count = samples.get("count") if isinstance(samples, Mapping) else None
        return count if isinstance(count, int) and count > 0 else None

    def refuse(self, path: KeyPath, value: Any, why: str, allowed: Iterable[str] = ()) -> None:
        """Notes a problem."""
        self.problems.append(Problem(path, value, why, tuple(allowed)))

    def mapping(
        self, path: KeyPath, value: Any, allowed: Iterable[str], required: Sequence[str] = ()
    ) -> Mapping[str, Any]:
        """Returns a mapping, or an empty one for another value; notes unknown and missing keys."""
        allowed = tuple(allowed)
        if not isinstance(value, Mapping):
            self.refuse(path, value, "should be a mapping", allowed)
            return {}
        for name in value:
            if name not in allowed:
                self.refuse((*path, name), value[name], "unknown key", allowed)
        for name in required:
            if name not in value:
                self.refuse((*path, name), None, "is missing")
        return value

    def choice(self, path: KeyPath, value: Any, allowed: Iterable[str], what: str) -> bool:
        """Tells whether ``value`` is one of the ``allowed`` words."""
        allowed = tuple(allowed)
        if isinstance(value, str) and value in allowed:
            return True
        if isinstance(value, str):
            self.refuse(path, value, f"unknown {what}", allowed)
        else:
            kinds = {list: "a list", dict: "a mapping", type(None): "empty"}
            kind = kinds.get(type(value), "not a text")
            self.refuse(path, value, f"should be the name of one {what}, and is {kind}", allowed)
        return False

    def typed(self, kind: Any, path: KeyPath, value: Any) -> Any:
        """Returns ``value`` as ``kind``, or None if it is not of that kind."""
        before = len(self.problems)
        result = check(kind, value, self.problems, path)
        return result if len(self.problems) == before else None

    def dataclass(
        self, kind: Any, path: KeyPath, values: Mapping[str, Any], fallback: Mapping[str, Any]
    ) -> Any:
        """Returns ``values`` as a dataclass; what is wrong is noted, and ``fallback`` or the
        default stands for it, so that the rest can still be checked.
        """
        found: list[Problem] = []
        result = check(kind, values, found, path)
        if not found:
            return result
        self.problems += found
        wrong = {problem.path[len(path)] for problem in found if len(problem.path) > len(path)}
        right = {name: value for name, value in values.items() if name not in wrong}
        result = check(kind, {**fallback, **right}, [], path)
        return result if isinstance(result, kind) else None

    def section(self, kind: Any, name: str, default: Any) -> Any:
        """Returns a section that is one value."""
        return self.typed(kind, (name,), self.tree.get(name, default))

    def items(self, path: KeyPath, value: Any) -> list[Any]:
        """Returns a list that has items, each once."""
        if not isinstance(value, list):
            self.refuse(path, value, "should be a list")
            return []
        if not value:
            self.refuse(path, value, "should not be empty")
        met = set()
        for index, item in enumerate(value):
            if repr(item) in met:
                self.refuse((*path, str(index)), item, "stands in this list twice")
            met.add(repr(item))
        return value

    def typed_items(self, kind: Any, path: KeyPath, value: Any) -> tuple[Any, ...]:
        """Returns a list's items as ``kind``, None for those that are not."""
        items = enumerate(self.items(path, value))
        return tuple(self.typed(kind, (*path, str(index)), item) for index, item in items)

    def at_most(self, path: KeyPath, value: int, most: int, what: str) -> bool:
        """Tells whether a run of so many could ever end."""
        if value > most:
            self.refuse(path, value, f"makes {value:,} {what}: more than {most:,} are refused")
        return value <= most

    def file_name(self, path: KeyPath, value: str) -> None:
        """Notes a label that cannot be the name of a file."""
        if not SAFE_NAME.fullmatch(value):
            why = (
                "should be a name for files: at most 80 letters, digits, '.', '_' and '-', "
                "a letter or digit first"
            )
            self.refuse(path, value, why)
