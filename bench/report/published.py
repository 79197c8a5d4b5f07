"""Published numbers beside the rows that make the same thing: never averaged or ranked with them.

``published.csv`` lists them with their sources. A row has one if data set, model (method and
preset), sampler and the identity of the metric agree: the column is called by the metric's bare
name (FID, IS), which belongs to the reference Inception alone, on at least 50,000 images against
the training split. Bits/dim have no sampler and no such name; they are matched by the model.
"""

import csv
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from bench.report.columns import BITS
from bench.report.formats import number
from bench.report.results import Results

FILE = Path(__file__).with_name("published.csv")
IMAGES = 50_000
"""Images of a published FID or IS."""


class Published(NamedTuple):
    """One published number; the fields are the columns of the file.

    Args:
        method: Of this project, empty if it has none such.
        preset: Of that method.
        metric: Bare name of the column, or ``bits_per_dim``.
        sampler: Beginning of the sampler's name here: ``flow`` for the probability flow.
        nfe: NaN if it is not said.
    """

    paper: str
    model: str
    method: str
    preset: str
    dataset: str
    metric: str
    value: float
    plus_minus: float
    conditioning: str
    sampler: str
    nfe: float
    source: str


@cache
def read_published() -> tuple[Published, ...]:
    """Returns the rows of the tracked file."""
    with FILE.open(newline="", encoding="utf-8") as file:
        return tuple(_published(row) for row in csv.DictReader(file))


def _published(row: Mapping[str, str]) -> Published:
    numbers = {name: float(row[name] or "nan") for name in ("value", "plus_minus", "nfe")}
    values: dict[str, Any] = {**row, **numbers}
    return Published(**values)


@cache
def _by_model() -> Mapping[tuple[str, str, str], Sequence[Published]]:
    """Returns what is published of samples without a condition, by data set, method and preset."""
    found: dict[tuple[str, str, str], list[Published]] = {}
    for one in read_published():
        if one.method and one.conditioning == "unconditional":
            found.setdefault((one.dataset, one.method, one.preset), []).append(one)
    return found


def published_of(results: Results, group: Mapping[str, Any]) -> dict[str, Published]:
    """Returns the published numbers to hold a row of the leaderboard against, by column."""
    found: dict[str, Published] = {}
    model = results.dataset, group["method_name"], group["preset"]
    for one in _by_model().get(model, ()):
        if one.metric == BITS or _is_same(results, group, one):
            found.setdefault(one.metric, one)
    return found


def _is_same(results: Results, group: Mapping[str, Any], one: Published) -> bool:
    """Tells whether a row's metric and sampler are those of a published number."""
    if not one.sampler or not _is_sampler(group, one.sampler):
        return False
    identity = results.identities.get(group["identity"].get(one.metric, ""), {})
    reference = identity.get("reference") or {}
    trained_on = str(reference.get("dataset", "")).partition("@")[0] == one.dataset
    return identity.get("count", 0) >= IMAGES and trained_on and reference.get("split") == "train"


def _is_sampler(group: Mapping[str, Any], published: str) -> bool:
    """Tells whether a row is of that sampler, or of it as the predictor without a corrector."""
    alone = {f"predictor {published}", "corrector none"}
    if group["sampler"] == "predictor_corrector" and alone <= set(group["group"].split(" · ")):
        return True
    return str(group["sampler"]).startswith(published)


def published_text(group: Mapping[str, Any], found: Mapping[str, Published], name: str) -> str:
    """Returns ``2.20 (+0.05)``: the published value, and by how much the row's is above it."""
    if (one := found.get(name)) is None:
        return ""
    ours = group[name]
    return f"{number(one.value)} ({ours - one.value:+.3g})" if ours == ours else number(one.value)
