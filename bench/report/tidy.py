"""The leaderboard as plain tables for other programs: one fact a column, and one number a row.

Names of columns are words joined by underscores: those of a metric begin with its column of the
other tables, ``fd(digits-cnn@8)`` as ``fd_digits_cnn_8``. results/README.md says what each holds.
"""

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from bench.report.columns import BITS, BITS_ERROR, DRAW_ERROR, DRAW_SD, EXACT_BITS, GFLOPS, SECONDS
from bench.report.published import published_of
from bench.report.results import Results

FACTS = {
    "group": "row",
    "rank": "rank",
    "budget": "budget",
    "verdict": "verdict",
    "verdict p": "verdict_p",
    "pareto": "pareto",
    "beaten in NFE by": "beaten_in_nfe_by",
    "beaten in GFLOPs by": "beaten_in_gflops_by",
    "state": "state",
    "cause": "cause",
    "log": "log",
    "train": "model",
    "snapshot": "snapshot_images",
    "ema": "ema",
    "method": "method",
    "variant": "variant",
    "preset": "preset",
    "weights": "weights",
    "sampler": "sampler",
    "times": "times",
}
"""Columns before the settings of samplers, by their name in the leaderboard."""
COSTS = {
    "steps": "steps",
    "tolerance": "tolerance",
    "adaptive": "adaptive",
    "nfe": "nfe",
    "nfe_min": "nfe_min",
    "nfe_max": "nfe_max",
    SECONDS: SECONDS,
    f"{SECONDS} sd": f"{SECONDS}_sd",
    GFLOPS: GFLOPS,
    "train_seeds": "trainings",
    "sample_seeds": "sample_seeds",
    "points": "points",
    "points_done": "points_done",
    "count": "images",
}
"""Columns after the settings and before the metrics."""
MODEL = {
    BITS: BITS,
    f"{BITS} sd": f"{BITS}_sd",
    BITS_ERROR: BITS_ERROR,
    DRAW_ERROR: DRAW_ERROR,
    DRAW_SD: DRAW_SD,
    EXACT_BITS: EXACT_BITS,
    "likelihood_nfe": "likelihood_nfe",
    "likelihood_gflops_per_image": "likelihood_gflops_per_image",
    "clipped_fraction": "clipped_fraction",
    "training_images": "training_images",
    "training_flops": "training_flops",
    "training_seconds": "training_seconds",
    "parameters": "parameters",
    "device": "device",
    "drawn": "drawn",
}
"""Columns after the metrics."""
OF_A_METRIC = {
    "": "",
    " low": "_low",
    " high": "_high",
    " interval over": "_interval_over",
    " sd": "_sd",
    " sd over trainings": "_sd_over_trainings",
    " behind": "_behind",
    " behind low": "_behind_low",
    " behind high": "_behind_high",
    " tied": "_tied",
}
"""Endings of a metric's columns, by those in the leaderboard."""
MEASURED = ("nfe", SECONDS, GFLOPS, "clipped_fraction", BITS)
"""Columns whose numbers stand in the long table beside the metrics."""


def plain_name(text: str) -> str:
    """Returns a column's name as words joined by underscores."""
    return "_".join("".join(c if c.isalnum() else " " for c in text.lower()).split())


def row_names(board: pd.DataFrame) -> list[str]:
    """Returns a name for each row: the group's, with a number if its identities split it."""
    counts: dict[str, Any] = {}
    names = []
    for group in board["group"]:
        number = next(counts.setdefault(group, itertools.count(1)))
        names.append(group if number == 1 else f"{group} ({number})")
    return names


def leaderboard_table(results: Results) -> pd.DataFrame:
    """Returns the leaderboard with a fact a column, without columns that are empty."""
    board = results.board
    table = _renamed(board, FACTS)
    table["row"] = row_names(board)
    for name in dict.fromkeys(name for options in board["options"] for name in _named(options)):
        table[f"setting_{name}"] = [_named(options).get(name) for options in board["options"]]
    parts = [table, _renamed(board, COSTS)]
    parts += [_of_metric(results, name) for name in results.metrics]
    of_model = _renamed(board, MODEL)
    of_model.insert(1, f"{BITS}_identity", [named.get(BITS) for named in board["identity"]])
    whole = pd.concat([*parts, of_model], axis=1)
    return whole[[name for name in whole.columns if _is_filled(whole[name])]]


def long_table(results: Results) -> pd.DataFrame:
    """Returns a row for each number of each group, with its interval if it has one.

    Columns ``row``, ``metric``, ``value``, ``low`` and ``high``.
    """
    board = results.board
    records = [
        {"row": row, "metric": name, "value": group[name]}
        | {end: group.get(f"{name} {end}") for end in ("low", "high")}
        for row, group in zip(row_names(board), results.lines, strict=True)
        for name in (*results.metrics, *MEASURED)
        if pd.notna(group[name])
    ]
    return pd.DataFrame(records, columns=["row", "metric", "value", "low", "high"])


def _named(options: object) -> Mapping[str, object]:
    return options if isinstance(options, Mapping) else {}


def _renamed(board: pd.DataFrame, names: Mapping[str, str]) -> pd.DataFrame:
    known = {name: new for name, new in names.items() if name in board}
    return board[list(known)].rename(columns=known)


def _of_metric(results: Results, name: str) -> pd.DataFrame:
    board, plain = results.board, plain_name(name)
    table = _renamed(board, {f"{name}{end}": f"{plain}{new}" for end, new in OF_A_METRIC.items()})
    table[f"{plain}_identity"] = [identity.get(name) for identity in board["identity"]]
    found = (published_of(results, group).get(name) for group in results.lines)
    table[f"{plain}_published"] = [None if one is None else one.value for one in found]
    return table


def _is_filled(values: Iterable[Any]) -> bool:
    return any(pd.notna(value) and value != "" for value in values)
