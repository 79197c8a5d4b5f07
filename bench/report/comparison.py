"""How two rows (or groups of seeds) differ, and which of their numbers can be compared."""

from typing import Any

import pandas as pd

from bench.report.columns import BITS, BITS_NOTE, BITS_TITLE, PACKED
from bench.report.identity import differences, hashes_of
from bench.report.results import Results
from bench.report.seeds import difference_of, seed_table
from bench.report.statistics import BOTH
from bench.schema import closest

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
"""Columns that say what a row is, in the order in which they are compared."""
SUGGESTED = 3
"""Names that are suggested in place of an unknown one."""


def find(rows: pd.DataFrame, text: str) -> pd.DataFrame:
    """Returns the rows that a label, a group, a train label or the beginning of a key names.

    Raises:
        ValueError: None, or rows of several groups.
    """
    exact = [rows[rows[column] == text] for column in ("label", "group", "train")]
    exact += [rows[rows[c].fillna("").str.startswith(text)] for c in ("key", "train_key")]
    for matches in exact:
        if len(matches) and matches["group"].nunique() == 1:
            return matches
    matches = rows[rows["label"].str.contains(text, regex=False, case=False)]
    groups = list(dict.fromkeys(matches["group"]))
    if len(groups) == 1:
        return matches
    if groups:
        more = " ..." if len(groups) > 8 else ""
        raise ValueError(f"{text!r} names several rows: {'; '.join(groups[:8])}{more}")
    names = [*rows["group"].unique(), *rows["label"]]
    near = closest(text, names, count=SUGGESTED, cutoff=0.3)
    near = near or rows["group"].unique()[:SUGGESTED]
    raise ValueError(f"no row is called {text!r}; there are, for example: {'; '.join(near)}")


def explain(results: Results, first: pd.DataFrame, second: pd.DataFrame) -> list[str]:
    """Returns lines on how two rows (or groups of seeds) differ, and on which of their numbers can
    be compared.

    Args:
        first: Some rows of the results.
        second: Others.
    """
    lines = [f"A: {_title(first)}", f"B: {_title(second)}", ""]
    unlike = []
    for column, name in FACTS.items():
        a, b = _values(first[column]), _values(second[column])
        if a != b:
            unlike.append(f"  {name}: {a or '-'} against {b or '-'}")
    lines += (
        ["They differ in:", *unlike] if unlike else ["They differ in nothing but their numbers."]
    )
    lines.append("")
    for name in (*results.metrics, BITS):
        lines += _compare(results, first, second, name)
    budgets = [_values(part["budget"]) for part in (first, second)]
    if budgets[0] != budgets[1]:
        named = " and ".join(budget or "none" for budget in budgets)
        lines += ["", f"Not ranked against each other: budgets {named}."]
    return lines


def _compare(results: Results, first: pd.DataFrame, second: pd.DataFrame, name: str) -> list[str]:
    """Returns lines on one metric, or on bits/dim."""
    title = BITS_TITLE if name == BITS else name
    a, b = first[name].mean(), second[name].mean()
    if pd.isna(a) and pd.isna(b):
        return [f"{title}: neither has it"]
    for side, mean, rows in (("A", a, first), ("B", b, second)):
        if pd.isna(mean):
            return [f"{title}: {side} has none ({_cause(rows, name)})"]
    text = f"{title}: {a:.6g} against {b:.6g}"
    if why := _unlike(results, hashes_of(first, name), hashes_of(second, name)):
        lines = [f"{text}: NOT comparable, they are unlike numbers:"]
        return lines + [f"  {line}" for line in why]
    higher = name != BITS and results.metrics[name].higher_is_better
    better = "A" if (a > b) == higher else "B"
    which = "equal" if a == b else f"{better} is ahead by {abs(a - b):.3g}"
    certainty = "" if name == BITS else _certainty(results, first, second, name)
    return [f"{text}: comparable, one identity; {which}{certainty}"]


def _certainty(results: Results, first: pd.DataFrame, second: pd.DataFrame, name: str) -> str:
    """Returns the interval of a difference of metrics, or that there is none."""
    tables = seed_table(first, name), seed_table(second, name)
    found = difference_of(*tables, results.metrics[name].bounds)
    if found is None or not found.scope:
        return ", of too few values in common for an interval"
    over = f"for other {found.scope}" + (" alone" if found.scope != BOTH else "")
    told_apart = "not told apart" if found.low <= 0 <= found.high else "told apart"
    return f", A - B in [{found.low:.3g}, {found.high:.3g}] ({over}): {told_apart}"


def _unlike(results: Results, first: list[str], second: list[str]) -> list[str]:
    known = results.identities
    if first == second and len(first) == 1:
        return []
    for part, side in ((first, "A"), (second, "B")):
        if len(part) > 1:
            why = "; ".join(differences(known[part[0]], known[part[1]]))
            return [f"{side} alone has {len(part)} identities: {why}"]
    return differences(known[first[0]], known[second[0]])


def _cause(rows: pd.DataFrame, name: str) -> str:
    causes = rows[BITS_NOTE if name == BITS else "cause"]
    stated = [cause for cause in causes if isinstance(cause, str) and cause]
    return stated[0] if stated else "not measured"


def _title(rows: pd.DataFrame) -> str:
    names = list(dict.fromkeys(rows["label"]))
    return names[0] if len(names) == 1 else f"{rows['group'].iloc[0]} ({len(names)} pairs of seeds)"


def _values(column: pd.Series) -> str:
    texts = dict.fromkeys(_text(column.name, value) for value in column.dropna())
    return ", ".join(text for text in texts if text)


def _text(column: Any, value: Any) -> str:
    if column in PACKED:
        return PACKED[column](value)
    return f"{value:g}" if isinstance(value, float) else str(value)
