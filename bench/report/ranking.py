"""The leaderboard as one table, with the lines below it; and the ranks at equal compute."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from bench.report.columns import BITS, BITS_ERROR, BITS_NOTE, BITS_TITLE, GFLOPS, SECONDS
from bench.report.control import costs_differ
from bench.report.formats import (
    FRONT,
    TIED,
    arrow,
    behind_text,
    budget_text,
    compact,
    mark_bound,
    model_title,
    number,
    sampler_title,
    value_text,
    with_error,
)
from bench.report.identity import used
from bench.report.matched import (
    COSTS,
    At,
    comparable_rows,
    curves,
    levels,
    ranked_at,
    ranked_to_reach,
    targets,
    training_is_equal,
)
from bench.report.results import Results
from bench.report.section import Cell, Section
from bench.report.standing import ESTABLISHED
from bench.report.statistics import LEAST_VALUES

MILLI = 1e3
BETWEEN = "~"
"""Marks a number that lies between two measured points."""


def ranking(results: Results) -> Section:
    """Returns a row per group, by budget and rank; those without a budget come last."""
    names = [name for name in (results.first_metric, results.second_metric) if name]
    headers = ["budget (NFE)", "model", "sampler"]
    headers += [f"{name} {arrow(results.metrics[name].higher_is_better)}" for name in names]
    if names:
        headers.insert(4, "behind the best")
    headers += [f"{BITS_TITLE} ↓", "ms/image"]
    cells = [_row(group, names) for group in results.lines]
    below = [*_marks(results), *_floors(results), *_ties(results)]
    return Section("Leaderboard", (), headers, cells, below=below)


def _row(group: Mapping[str, Any], names: Sequence[str]) -> list[Cell]:
    model = model_title(group["train"], group["snapshot"], group["ema"])
    front = f"{FRONT} " if group["pareto"] is True else ""
    cells = [Cell(budget_text(group)), Cell(f"{front}{model}"), Cell(sampler_title(group))]
    for place, name in enumerate(names):
        text = value_text(group, name) if place else value_text(group, name) or group["state"]
        tied = group[f"{name} tied"] is True
        strong = group[f"{name} behind"] == 0
        cells.append(Cell(f"{TIED} {text}" if tied and place else text, strong))
        if not place:
            verdict = f", {ESTABLISHED}" if group["verdict"] == ESTABLISHED else ""
            mark = f"{TIED} " if tied else ""
            cells.append(Cell(f"{mark}{behind_text(group, name)}{verdict}"))
    bits = mark_bound(with_error(group[BITS], group[BITS_ERROR]), group[BITS_NOTE])
    return [*cells, Cell(bits), Cell(number(group[SECONDS] * MILLI))]


def _marks(results: Results) -> list[str]:
    lines = ["Bold: the best of its budget and identity."]
    if results.board["pareto"].fillna(False).any():
        lines[0] += (
            f" {FRONT}: on the Pareto front of {results.first_metric}: no row is at least as good "
            "for as little. ±: half the width of the 95 % interval; [ ]: that of the difference."
        )
    return lines


def _floors(results: Results) -> list[str]:
    """Returns a line for each metric and identity whose value for real images is known."""
    lines = []
    for name, short in used(results.board):
        if (floor := results.floors.get(name, {}).get(short)) is None:
            continue
        count = results.identities[short].get("count")
        text = f"{name}: real images against themselves at n = {count}: "
        text += with_error(floor["mean"], floor["std"])
        if floor["std"] is not None and math.isfinite(floor["std"]):
            text += " (standard deviation over sets)"
        lines.append(f"{text}.")
        if (whole_set := floor.get("training_set")) is not None:
            images, value = whole_set["images"], number(whole_set["value"])
            lines.append(f"{name}: the training set itself, {images:,} images: {value}.")
    return lines


def _ties(results: Results) -> list[str]:
    """Returns what the tie marks mean, and in which columns there can be none."""
    board, lines, unknown = results.board, [], []
    if any(board[f"{name} tied"].fillna(False).any() for name in results.metrics):
        lines.append(
            f"{TIED}: cannot be told from the best of its budget: the 95 % interval of the "
            "difference holds 0."
        )
    for name in results.metrics:
        others = board[board[f"{name} behind"] > 0]
        if len(others) and others[f"{name} tied"].isna().all():
            unknown.append(name)
    if unknown:
        lines.append(
            f"No differences from the best are judged in {', '.join(unknown)}: they have no "
            f"interval (fewer than {LEAST_VALUES} trainings or sample seeds in common)."
        )
    return lines


def at_equal_compute(results: Results) -> Section:
    """Returns who is best at the same evaluations, FLOPs, seconds and training FLOPs."""
    name = results.first_metric
    if name is None or comparable_rows(results).empty:
        return Section("")
    higher, cells = results.metrics[name].higher_is_better, []
    equal = not costs_differ(results.rows)
    for cost, title in COSTS.items():
        if equal and cost == GFLOPS:
            continue
        lines = curves(results, cost)
        for level in levels(results, cost):
            at = ranked_at(lines, level, higher=higher)
            if len(at) > 1:
                shown = compact(level) if cost == "nfe" else number(level)
                cells.append([Cell(title), Cell(shown), Cell(_listed(at))])
    text = [
        f"{name} of each model at exactly the compute of the best row of a budget, best first. "
        f"{BETWEEN}: between two measured points of one sampler, in logarithms; nothing is "
        "extended beyond what was measured, so a model may be missing. Of training FLOPs: its best "
        "row at any budget."
    ]
    if equal:
        text.append("One evaluation costs the same in every model: equal NFE is equal GFLOPs.")
    if training_is_equal(comparable_rows(results)):
        text.append("All models took the same training FLOPs, so these do not tell them apart.")
    return Section("At equal compute", text, ["equal", "at", f"{name}, by rank"], cells)


def to_reach(results: Results) -> Section:
    """Returns how much compute each model needs for a value of the first metric."""
    name = results.first_metric
    if name is None or comparable_rows(results).empty:
        return Section("")
    higher, models = results.metrics[name].higher_is_better, results.models
    lines = {cost: curves(results, cost) for cost in list(COSTS)[:2]}
    cells = []
    for target in targets(results):
        row = [Cell(number(target))]
        for curves_of in lines.values():
            known = ranked_to_reach(curves_of, target, higher=higher)
            row.append(Cell(_listed(known)))
            lacking = [model for model in models if model not in {at.model for at in known}]
        cells.append([*row, Cell(", ".join(lacking))])
    headers = [f"{name} {arrow(higher)}", *(f"{COSTS[cost]} to reach it" for cost in lines)]
    return Section("What a quality costs", (), [*headers, "never reached by"], cells)


def _listed(known: Sequence[At]) -> str:
    parts = [
        f"{place}. {at.model} {'' if at.exact else BETWEEN}{number(at.number)}"
        for place, at in enumerate(known, 1)
    ]
    return "; ".join(parts)
