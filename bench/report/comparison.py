"""Why rows can be compared, or cannot: what differs between two of them, and which a table does not
rank together.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from bench.report.statistics import BOTH
from bench.report.table import BITS, BITS_TITLE, difference_of, identities
from bench.schema import closest
from bench.spec import flatten

FACTS = {
    "method": "method",
    "variant": "variant",
    "weights": "weights",
    "train": "model",
    "snapshot": "snapshot (training images)",
    "ema": "EMA",
    "sampler": "sampler",
    "times": "time grid",
    "settings": "settings",
    "steps": "steps",
    "tolerance": "tolerance",
    "budget": "budget asked for",
    "nfe": "NFE measured",
    "training_images": "training images",
    "parameters": "parameters",
    "train_seed": "training seeds",
    "sample_seed": "sampling seeds",
    "count": "images",
    "batch": "batch",
    "device": "device",
    "versions": "versions",
    "commit": "commit",
    "state": "state",
}
"""What a row is, in the order in which it is told."""


def find(rows: pd.DataFrame, text: str) -> pd.DataFrame:
    """Returns the rows that a label, a group, a train label or the beginning of a key names.

    Raises:
        ValueError: None, or rows of several groups.
    """
    for column in ("label", "group", "train"):
        found = rows[rows[column] == text]
        if len(found) and found["group"].nunique() == 1:
            return found
    for column in ("key", "train_key"):
        found = rows[rows[column].fillna("").str.startswith(text)]
        if len(found) and found["group"].nunique() == 1:
            return found
    found = rows[rows["label"].str.contains(text, regex=False, case=False)]
    groups = list(dict.fromkeys(found["group"]))
    if len(groups) == 1:
        return found
    if groups:
        raise ValueError(
            f"{text!r} names several rows: {'; '.join(groups[:8])}{' ...' if len(groups) > 8 else ''}"
        )
    near = closest(text, [*rows["group"].unique(), *rows["label"]], count=3, cutoff=0.3)
    raise ValueError(
        f"no row is called {text!r}; there are, for example: {'; '.join(near or rows['group'].unique()[:3])}"
    )


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Returns what differs between two identities, ``count 256 against 128``, with equal parts left
    out.
    """
    first, second = flatten(dict(one)), flatten(dict(other))
    names = [
        name for name in dict.fromkeys([*first, *second]) if first.get(name) != second.get(name)
    ]
    return [
        f"{_words(name)} {_short(first.get(name))} against {_short(second.get(name))}"
        for name in names
    ]


def explain(rows: pd.DataFrame, first: pd.DataFrame, second: pd.DataFrame) -> list[str]:
    """Returns lines on how two rows (or groups of seeds) differ, and on which of their numbers can
    be compared.

    Args:
        rows: The tidy table, for its ``attrs``.
        first: Some of its rows.
        second: Others.
    """
    known, metrics, bounds = rows.attrs["identities"], rows.attrs["metrics"], rows.attrs["bounds"]
    lines = [f"A: {_named(first)}", f"B: {_named(second)}", ""]
    unlike = []
    for column, name in FACTS.items():
        a, b = _values(first[column]), _values(second[column])
        if a != b:
            unlike.append(f"{name}: {a or '-'} against {b or '-'}")
    lines += (
        ["They differ in:"] + [f"  {line}" for line in unlike]
        if unlike
        else ["They differ in nothing but their numbers."]
    )
    lines.append("")
    sides = [_identities(part) for part in (first, second)]
    for name, higher in [*metrics.items(), (BITS, False)]:
        title = BITS_TITLE if name == BITS else name
        a, b = first[name].mean(), second[name].mean()
        if pd.isna(a) and pd.isna(b):
            lines.append(f"{title}: neither has it")
            continue
        if pd.isna(a) or pd.isna(b):
            lacking = "A" if pd.isna(a) else "B"
            lines.append(
                f"{title}: {lacking} has none ({_lack(first if lacking == 'A' else second, name)})"
            )
            continue
        text = f"{title}: {a:.6g} against {b:.6g}"
        why = _unlike(sides[0].get(name, []), sides[1].get(name, []), known)
        if why:
            lines.append(f"{text}: NOT comparable, they are unlike numbers:")
            lines += [f"  {line}" for line in why]
        else:
            better = "A" if (a > b) == higher else "B"
            which = "equal" if a == b else f"{better} is ahead by {abs(a - b):.3g}"
            lines.append(
                f"{text}: comparable, one identity; {which}{_certainty(first, second, name, bounds)}"
            )
    if (budgets := [_values(part["budget"]) for part in (first, second)])[0] != budgets[1]:
        lines += [
            "",
            f"Not ranked against each other: budgets {' and '.join(b or 'none' for b in budgets)}.",
        ]
    return lines


def apart(rows: pd.DataFrame) -> list[str]:
    """Returns a line for each metric of a budget whose rows are unlike numbers: which, and why they
    are not ranked together.

    Args:
        rows: The tidy table with its ``attrs``.
    """
    known, lines = rows.attrs["identities"], []
    bare = rows.copy(deep=False)
    bare.attrs = {}
    for budget, part in bare.groupby("budget", dropna=True, sort=True):
        for name in rows.attrs["metrics"]:
            groups: dict[str, list[str]] = {}
            for group, text in zip(part["group"], part["identity"], strict=True):
                if (
                    short := identities(text).get(name)
                ) is not None and group not in groups.setdefault(short, []):
                    groups[short].append(group)
            first, *others = groups or [None]
            for other in others:
                why = "; ".join(differences(known[first], known[other]))
                lines.append(
                    f"Budget {budget:g}, {name}: {', '.join(groups[other])} not ranked with "
                    f"{', '.join(groups[first])}: {why}."
                )
    return lines


def _certainty(
    first: pd.DataFrame, second: pd.DataFrame, name: str, bounds: Mapping[str, tuple[float, float]]
) -> str:
    """Returns the interval of a difference of metrics, or that there is none; nothing of
    bits/dim.
    """
    if name not in bounds:
        return ""
    found = difference_of(first, second, name, bounds[name])
    if found is None or not found.scope:
        return ", of too few values in common for an interval"
    over = f"for other {found.scope}" + (" alone" if found.scope != BOTH else "")
    return f", A - B in [{found.low:.3g}, {found.high:.3g}] ({over}): " + (
        "not told apart" if found.low <= 0 <= found.high else "told apart"
    )


def _identities(rows: pd.DataFrame) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for text in rows["identity"]:
        for name, short in identities(text).items():
            if short not in found.setdefault(name, []):
                found[name].append(short)
    return found


def _unlike(first: list[str], second: list[str], known: Mapping[str, Any]) -> list[str]:
    if first == second and len(first) == 1:
        return []
    for part, side in ((first, "A"), (second, "B")):
        if len(part) > 1:
            return [
                f"{side} alone has {len(part)} identities: "
                + "; ".join(differences(known[part[0]], known[part[1]]))
            ]
    return differences(known[first[0]], known[second[0]])


def _lack(rows: pd.DataFrame, name: str) -> str:
    causes = [cause for cause in rows["cause"] if isinstance(cause, str) and cause]
    if name == BITS:
        causes = [note for note in rows[f"{BITS}_note"] if isinstance(note, str) and note]
    return causes[0] if causes else "not measured"


def _named(rows: pd.DataFrame) -> str:
    names = list(dict.fromkeys(rows["label"]))
    return names[0] if len(names) == 1 else f"{rows['group'].iloc[0]} ({len(names)} pairs of seeds)"


def _values(column: pd.Series) -> str:
    found = dict.fromkeys(
        f"{value:g}" if isinstance(value, float) else str(value) for value in column.dropna()
    )
    return ", ".join(text for text in found if text)


def _words(name: str) -> str:
    return name.replace("_", " ").replace(".", " ")


def _short(value: Any) -> str:
    text = "nothing" if value is None else str(value)
    is_digest = len(text) == 64 and set(text) <= set("0123456789abcdef")
    return f"{text[:12]}..." if is_digest else text
