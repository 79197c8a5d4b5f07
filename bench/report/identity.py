"""Identities: what a number depends on (extractor, weights, count, reference, ...).

Numbers of unlike identities are never averaged or ranked together. A row names the identity of each
of its numbers by a short hash; the report says once what each hash stands for.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from bench.files import sha256
from bench.spec import flatten

Floors = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""What a metric says about real images, by column and identity: mean, std, and more."""


class Identities(dict[str, dict[str, Any]]):
    """What each short hash stands for."""

    def add(self, identity: Mapping[str, Any]) -> str:
        """Returns the short hash of an identity, and remembers it."""
        text = json.dumps(identity, sort_keys=True, separators=(",", ":"), default=str)
        short = sha256(text)[:8]
        self[short] = dict(identity)
        return short


def used(rows: pd.DataFrame) -> Iterable[tuple[str, str]]:
    """Returns each (column, hash) of some rows once, in order."""
    return dict.fromkeys(pair for identity in rows["identity"] for pair in identity.items())


def hashes_of(rows: pd.DataFrame, column: str) -> list[str]:
    """Returns the distinct identities of a column, in order."""
    return [short for name, short in used(rows) if name == column]


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Returns the parts in which two identities differ: ``count 256 against 128``."""
    first, second = flatten(dict(one)), flatten(dict(other))
    return [
        f"{name.replace('_', ' ').replace('.', ' ')} "
        f"{_short(first.get(name))} against {_short(second.get(name))}"
        for name in dict.fromkeys([*first, *second])
        if first.get(name) != second.get(name)
    ]


def _short(value: Any) -> str:
    text = "nothing" if value is None else str(value)
    return f"{text[:12]}..." if is_digest(text) else text


def is_digest(text: str) -> bool:
    """Tells whether a text is a sha256 in hexadecimal digits."""
    return len(text) == 64 and set(text) <= set("0123456789abcdef")
