"""The tables of the leaderboard, one per budget, with the lines below each."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from bench.report.columns import BITS, BITS_ERROR, BITS_NOTE, BITS_TITLE, GFLOPS, SECONDS
from bench.report.formats import (
    TIED,
    arrow,
    bits_text,
    compact,
    mark_bound,
    metric_text,
    model_title,
    nfe_text,
    number,
    sampler_title,
    whole,
    with_deviation,
    with_error,
)
from bench.report.identity import used
from bench.report.leaderboard import best_of
from bench.report.memorisation import Memorised
from bench.report.results import Results
from bench.report.section import Cell, Section
from bench.report.statistics import LEAST_VALUES

MILLI = 1e3
CLIPPED = 0.01
"""Share of clipped pixels above which a row is named."""
NAMED = 8
"""Rows named for it, those with most first."""


def rankings(results: Results) -> list[Section]:
    """Returns a table per budget, and one of what has no budget."""
    board = results.board
    parts = [
        _ranking(f"Budget {compact(budget)} (network evaluations per image)", groups, results)
        for budget, groups in board.groupby("budget", sort=True)
    ]
    rest = board[board["budget"].isna()]
    title = (
        "Without a fixed budget: adaptive samplers at the NFE they measured, images made elsewhere "
        "(not ranked)"
    )
    return parts + ([_ranking(title, rest, results)] if len(rest) else [])


def _ranking(title: str, groups: pd.DataFrame, results: Results) -> Section:
    headers = ["rank", "model", "sampler", "steps", "NFE"]
    headers += [f"{name} {arrow(c.higher_is_better)}" for name, c in results.metrics.items()]
    headers += ["time (ms/image)", "compute (GFLOPs/image)", f"{BITS_TITLE} ↓"]
    headers += ["seeds (training × sampling)", "state"]
    best = {
        name: {index for part in best_of(groups, name, card.higher_is_better) for index in part}
        for name, card in results.metrics.items()
    }
    cells = [
        [*map(Cell, _facts(group)), *_values(index, group, best), *map(Cell, _costs(group))]
        for index, group in groups.iterrows()
    ]
    flagged = [memorised for memorised in results.memorised if memorised.index in groups.index]
    below = [*_floors(groups, results), *_ties(groups, best), *_memorised(flagged)]
    return Section(title, (), headers, cells, below=[*below, *_clipped(groups)])


def _facts(group: pd.Series) -> list[str]:
    model = model_title(group["train"], group["snapshot"], group["ema"])
    steps = whole(group["steps"])
    return [whole(group["rank"]), model, sampler_title(group), steps, nfe_text(group)]


def _values(index: Any, group: pd.Series, best: Mapping[str, set[Any]]) -> list[Cell]:
    texts = {name: metric_text(group, name) for name in best}
    return [
        Cell(f"{TIED} {text}" if group[f"{name} tied"] is True else text, index in best[name])
        for name, text in texts.items()
    ]


def _costs(group: pd.Series) -> list[str]:
    sampled = isinstance(group["sampler"], str)
    return [
        with_deviation(group[SECONDS] * MILLI, group[f"{SECONDS} sd"] * MILLI),
        number(group[GFLOPS]),
        mark_bound(bits_text(group[BITS], group[BITS_ERROR]), group[BITS_NOTE]),
        f"{group['train_seeds']} × {group['sample_seeds']}" if sampled else "",
        group["state"],
    ]


def _floors(groups: pd.DataFrame, results: Results) -> list[str]:
    """Returns a line for each metric and identity whose value for real images is known."""
    lines = []
    for name, short in used(groups):
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


def _ties(groups: pd.DataFrame, best: Mapping[str, set[Any]]) -> list[str]:
    """Returns what the tie marks of a table mean, and in which columns there can be none."""
    lines, unknown = [], []
    if any(groups[f"{name} tied"].fillna(False).any() for name in best):
        lines.append(
            f"{TIED}: cannot be told from the best of the column: the 95 % interval of the "
            "difference holds 0."
        )
    for name, indices in best.items():
        done = groups[(groups["state"] == "done") & groups[name].notna()]
        others = done[~done.index.isin(indices)]
        if indices and len(others) and others[f"{name} tied"].isna().all():
            unknown.append(name)
    if unknown:
        lines.append(
            f"No differences from the best are judged in {', '.join(unknown)}: they have no "
            f"interval (fewer than {LEAST_VALUES} trainings or sample seeds in common)."
        )
    return lines


def _memorised(flagged: list[Memorised]) -> list[str]:
    """Returns a line for each measure of memorisation that some group is beyond the bound of."""
    named: dict[str, list[str]] = {}
    for group in flagged:
        side = "above" if group.bound.above else "below"
        what = f"Memorised, {group.metric} {side} {group.bound.value:g}"
        named.setdefault(what, []).append(f"{group.group} ({number(group.value)})")
    return [f"{what}: {'; '.join(groups)}." for what, groups in named.items()]


def _clipped(groups: pd.DataFrame) -> list[str]:
    """Returns a line that names the groups of which many pixels were clipped."""
    much = groups[groups["clipped_fraction"] > CLIPPED]
    much = much.sort_values("clipped_fraction", ascending=False, kind="stable")
    most = zip(much["group"][:NAMED], much["clipped_fraction"], strict=False)
    named = "; ".join(f"{group} ({fraction:.1%})" for group, fraction in most)
    more = f"; and {len(much) - NAMED} more" if len(much) > NAMED else ""
    return [f"Clipped pixels above {CLIPPED:.0%}: {named}{more}."] if named else []
