"""Tables of what the figures of quality draw: a row per point of a line."""

import math
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import pandas as pd

from bench.report.columns import SECONDS
from bench.report.figures.figure import slug
from bench.report.figures.lines import Floor
from bench.report.figures.style import Style
from bench.report.group import Group
from bench.report.results import Results
from bench.report.seeds import Measured

COSTS = {
    "nfe": "network evaluations per image (NFE, measured)",
    SECONDS: "sampling time per image (seconds)",
}
"""Labels of the axes of measured cost, by column."""
BAND = (
    "band and bars: its 95 % interval as in the table (there with what it holds for: of one "
    "training or of one sample seed, for that alone); dots: the values, of too few for an "
    "interval. What leaves the panel is cut off"
)
LINE_COLUMNS = ("train", "sampler", "identity")


def complete(groups: Iterable[Group], metric: str) -> list[Group]:
    """Returns the groups of a model of which every point has a finite value.

    A mean over the seeds that happened to survive is none: a group that is split by its identities
    counts as one here.
    """
    groups = list(groups)
    lacking = {group.name for group in groups if not group.is_complete(metric)}
    return [
        group
        for group in groups
        if group.name not in lacking and isinstance(group.first("sampler"), str)
    ]


def ends(groups: Iterable[Group]) -> list[Group]:
    """Returns the groups of finished trainings with their own averages."""
    return [group for group in groups if group.lacks("snapshot") and group.lacks("ema")]


def _line(group: Group, style: Style, metric: str) -> dict[str, Any]:
    named = {name: group.first(name) for name in ("sampler", "times", "settings")}
    line = {"train": group.first("train"), "sampler": style.sampler(named)}
    line["identity"] = group.identity.get(metric, "")
    return line | group.measured[metric]._asdict()


def summarise(groups: Iterable[Group], style: Style, metric: str) -> pd.DataFrame:
    """Returns the metric and its cost, a row per complete (model, sampler, setting) and identity.

    Seconds are blank if they are of unlike devices.
    """
    records = []
    for group in complete(groups, metric):
        record: dict[str, Any] = {name: group.mean(name) for name in COSTS}
        if len(set(filter(pd.notna, group.column("device")))) > 1:
            record[SECONDS] = math.nan
        record |= {"seeds": len(group.column("nfe")), "nfe_min": min(group.column("nfe_min"))}
        record |= {"nfe_max": max(group.column("nfe_max")), "budget": budget_of(group)}
        record |= _line(group, style, metric)
        records.append(record)
    names = [*LINE_COLUMNS, "seeds", "budget", *COSTS, "nfe_min", "nfe_max", *Measured._fields]
    return pd.DataFrame(records, columns=names)


def budget_of(group: Group) -> float:
    """Returns the budget of a group, else the NFE of steps that the suite gave; NaN for adaptive
    samplers.
    """
    if pd.notna(budget := group.first("budget")):
        return float(budget)
    fixed = not pd.isna(adaptive := group.first("adaptive")) and not adaptive
    return group.mean("nfe") if fixed else math.nan


def learning(groups: Iterable[Group], style: Style, metric: str) -> pd.DataFrame:
    """Returns the metric along trainings, a row per (model, sampler, snapshot or end).

    Each sampler stands at its largest measured NFE. Models without a snapshot are left out.
    """
    plain = [group for group in groups if group.lacks("ema")]
    kept = {group.first("train") for group in plain if not group.lacks("snapshot")}
    chosen = [group for group in plain if group.first("train") in kept]
    return _along(chosen, style, metric, "training_images").astype({"training_images": int})


def lengths(groups: Iterable[Group], style: Style, metric: str) -> pd.DataFrame:
    """Returns the metric by relative width of the average, a row per (model, sampler, width).

    Each sampler stands at its largest measured NFE; snapshots are left out.
    """
    chosen = [group for group in groups if group.lacks("snapshot")]
    return _along(chosen, style, metric, "ema")


def _along(groups: Iterable[Group], style: Style, metric: str, axis: str) -> pd.DataFrame:
    """Returns the metric at the largest NFE, a row per line, identity and value of the axis."""
    records = []
    for group in complete(groups, metric):
        if pd.notna(group.column(axis)).all():
            record = {axis: group.first(axis), "nfe": group.mean("nfe")}
            records.append(record | _line(group, style, metric))
    table = pd.DataFrame(records, columns=[*LINE_COLUMNS, axis, "nfe", *Measured._fields])
    table["line"] = table.groupby(["train", "sampler"], sort=False).ngroup()
    table = table.sort_values("nfe", ascending=False, kind="stable")
    table = table.drop_duplicates([*LINE_COLUMNS, axis]).sort_values(["line", "identity", axis])
    return table.drop(columns="line").reset_index(drop=True)


class Comparable(NamedTuple):
    """The part of a summary that may stand in one figure: one identity of the metric.

    Args:
        name: Beginning of the figure's name.
        title: The metric, with the identity if there are several.
        note: What its caption has to add.
        floor: What real images score in that identity.
    """

    name: str
    title: str
    note: str
    floor: Floor
    summary: pd.DataFrame


def comparable(results: Results, metric: str, summary: pd.DataFrame) -> Iterator[Comparable]:
    """Yields the parts of a summary by identity."""
    count = summary["identity"].nunique()
    for identity, part in summary.groupby("identity", sort=False):
        floor = results.floors.get(metric, {}).get(identity)
        note = ""
        if count > 1:
            note += f" Identity {identity} alone, one of {count}, which are not comparable."
        if floor is not None:
            note += " Grey across: held-out real images, mean ± standard deviation over sets."
        name = slug(f"{metric} {identity}" if count > 1 else metric)
        title = f"{metric} ({identity})" if count > 1 else metric
        yield Comparable(name, title, note, floor, part)


def better(higher: bool) -> str:
    """Returns the direction of a metric in words."""
    return "higher is better" if higher else "lower is better"
