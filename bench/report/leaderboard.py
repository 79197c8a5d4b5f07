"""The leaderboard: a row per group, with means and intervals over its seeds, ties and ranks."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from bench.metrics.card import MetricCard
from bench.report.columns import (
    BITS,
    BITS_ERROR,
    BITS_NOTE,
    COLD,
    DRAW_ERROR,
    DRAW_SD,
    EXACT_BITS,
    GFLOPS,
    GROUP_LEADING,
    GROUP_TRAILING,
    LEADING,
    NUMBERS,
    SECONDS,
    SECONDS_NOTE,
    TRAILING,
    TRUTHS,
    WHOLE,
    joined,
)
from bench.report.front import front
from bench.report.group import Group
from bench.report.identity import hashes_of
from bench.report.standing import behind, verdicts
from bench.report.state import URGENCY


def leaderboard(groups: Sequence[Group], metrics: Mapping[str, MetricCard]) -> pd.DataFrame:
    """Returns a row for each group: means and spreads over its seeds, ranked within equal budgets.

    A metric's mean counts each training once; ``<metric> low`` and ``<metric> high`` are its 95 %
    interval (:func:`bench.report.statistics.estimate`), ``<metric> interval over`` what that holds
    for, and ``<metric> values`` the values if they are too few for one. ``<metric> behind`` is by
    how much a complete group is worse than the best of its budget and identity, with its interval
    ``behind low`` to ``behind high``; ``<metric> tied`` says whether that holds 0, blank for the
    best and without an interval; ``verdict`` what is known of the difference in the first metric
    (:mod:`bench.report.standing`); ``pareto`` and ``beaten in ... by`` where it lies among all
    budgets (:func:`bench.report.front.front`). A spread is a sample standard deviation, blank with
    one value: ``<metric> sd`` over all finished points of the group, ``<metric> sd over trainings``
    over the means of its training seeds (:func:`bench.report.uncertainty.uncertainty` has its
    parts). Bits/dim and training cost count each model once; ``bits_per_dim_image_error`` is the
    mean of the models' errors over images, never less than the error of their mean, for they score
    the same images.

    The rank is by the first metric, among groups of one budget and one identity of that metric
    whose points are all done: a group is not ranked on the seeds that happened to survive. The
    budget is the one asked for; a fixed-step group that was given its steps instead stands at the
    NFE it measured. Adaptive samplers and images made elsewhere have no budget and no rank.
    """
    spreads = ("", " low", " high", " sd", " sd over trainings")
    columns = [f"{name}{what}" for name in metrics for what in spreads]
    notes = [f"{name}{what}" for name in metrics for what in (" interval over", " values")]
    board = pd.DataFrame(
        [_record(group) for group in groups],
        columns=[*GROUP_LEADING, *columns, *notes, *GROUP_TRAILING],
    )
    whole = {"rank", "train_seeds", "sample_seeds", "points", "points_done", *WHOLE}
    numbers = {*NUMBERS, *columns}
    board = board.astype(
        {name: "Int64" for name in board.columns if name in whole}
        | {name: "boolean" for name in TRUTHS}
        | {name: "float64" for name in board.columns if name in numbers}
    )
    board["budget"] = [_budget(record) for record in board.to_dict("records")]
    board["budget"] = board["budget"].astype("float64")
    for name, card in metrics.items():
        board = board.assign(**behind(board, groups, name, card))
    board = board.assign(verdict="", pareto=pd.array([pd.NA] * len(board), "boolean"))
    for name, card in list(metrics.items())[:1]:
        board["verdict"] = verdicts(board, groups, name, card)
        board = board.assign(**front(board, name, card))
    return _ranked(board, metrics)


def _record(group: Group) -> dict[str, Any]:
    """Returns one row of the leaderboard."""
    rows = group.rows
    first, models = rows.iloc[0].to_dict(), rows.drop_duplicates("train_key")
    kept = {*GROUP_LEADING, *GROUP_TRAILING}
    record = {name: first[name] for name in (*LEADING, *TRAILING) if name in kept}
    record |= {
        "state": _states(rows["state"]),
        "nfe": rows["nfe"].mean(),
        "nfe_min": rows["nfe_min"].min(),
        "nfe_max": rows["nfe_max"].max(),
        "train_seeds": rows["train_seed"].nunique(),
        "sample_seeds": rows["sample_seed"].nunique(),
        "points": len(rows),
        "points_done": int((rows["state"] == "done").sum()),
        "device": joined(rows["device"].dropna()),
        "identity": group.identity,
        "drawn": max(rows["drawn"], key=len),
        "commit": tuple(dict.fromkeys(c for commits in rows["commit"].dropna() for c in commits)),
        "dirty": rows["dirty"].any(),
        "keys": " ".join(rows["key"].drop_duplicates()),
        "train_keys": " ".join(models["train_key"].dropna()),
        GFLOPS: rows[GFLOPS].mean(),
        "clipped_fraction": rows["clipped_fraction"].mean(),
    }
    for name in ("training_flops", "training_seconds", "likelihood_nfe"):
        record[name] = _mean(models[name])
    record["likelihood_gflops_per_image"] = _mean(models["likelihood_gflops_per_image"])
    for name in ("training_images", "parameters"):
        mean = _mean(models[name])
        record[name] = None if math.isnan(mean) else round(mean)
    record |= _bits(models) | _seconds(rows)
    for name in group.metrics:
        record |= _metric(group, name)
    unfinished = rows[rows["state"] != "done"]
    order = unfinished["state"].map(URGENCY).sort_values(kind="stable").index
    worst = {} if unfinished.empty else unfinished.loc[order[0], ["cause", "log"]].to_dict()
    return record | {"cause": "", "log": "", **worst}


def _bits(models: pd.DataFrame) -> dict[str, Any]:
    """Returns bits/dim over the trainings of a group."""
    if len(hashes_of(models[models[BITS].notna()], BITS)) > 1:
        return {BITS: None, BITS_NOTE: "several identities, see results.csv"}
    means = {name: _mean(models[name]) for name in (DRAW_ERROR, DRAW_SD, EXACT_BITS)}
    return {
        BITS: models[BITS].mean(),
        f"{BITS} sd": models[BITS].std(ddof=1),
        BITS_ERROR: models[BITS_ERROR].mean(),
        BITS_NOTE: joined(models[BITS_NOTE].dropna()),
        **means,
    }


def _seconds(rows: pd.DataFrame) -> dict[str, Any]:
    """Returns sampling time over the points of a group; unlike devices have no mean."""
    if rows["device"].nunique() > 1:
        return {SECONDS: None, f"{SECONDS} sd": None, SECONDS_NOTE: "several devices"}
    seconds = rows[SECONDS]
    found = {SECONDS: seconds.mean(), f"{SECONDS} sd": seconds.std(ddof=1)}
    if cold := int((rows[SECONDS_NOTE] == COLD).sum()):
        found[SECONDS_NOTE] = f"{COLD} in {cold} of {len(rows)} points"
    return found


def _metric(group: Group, name: str) -> dict[str, Any]:
    by_training = group.rows.groupby("train_key", sort=False)[name].mean()
    record = {
        name: None,
        f"{name} sd": group.rows[name].std(ddof=1),
        f"{name} sd over trainings": by_training.std(ddof=1),
    }
    if (shown := group.measured.get(name)) is not None:
        record |= {name: shown.mean, f"{name} low": shown.low, f"{name} high": shown.high}
        record |= {f"{name} interval over": shown.scope, f"{name} values": shown.values}
    return record


def _states(states: pd.Series) -> str:
    """Returns "done", or the states of a group's points: "1 of 4 failed, 2 of 4 waiting"."""
    counts = states.value_counts()
    if len(counts) == 1:
        return str(counts.index[0])
    parts = sorted((state for state in counts.index if state != "done"), key=URGENCY.__getitem__)
    return ", ".join(f"{counts[state]} of {len(states)} {state}" for state in parts)


def _mean(values: pd.Series) -> float:
    mean = values.mean()
    return math.nan if pd.isna(mean) else float(mean)


def _budget(group: Mapping[str, Any]) -> float:
    """Returns the budget at which a group is ranked, NaN for none."""
    if not pd.isna(group["budget"]):
        return float(group["budget"])
    fixed = not pd.isna(group["adaptive"]) and not group["adaptive"]
    return group["nfe"] if fixed and group["nfe_min"] == group["nfe_max"] else math.nan


def _ranked(board: pd.DataFrame, metrics: Mapping[str, MetricCard]) -> pd.DataFrame:
    """Returns the leaderboard with ranks, sorted by budget and rank; groups without come last."""
    if not metrics or board.empty:
        return board
    name, card = next(iter(metrics.items()))
    comparable = (board["state"] == "done") & board["budget"].notna() & board[name].notna()
    ranked = board[comparable].copy()
    ranked["same"] = [identity.get(name, "") for identity in ranked["identity"]]
    by_identity = ranked.groupby(["budget", "same"])[name]
    ranks = by_identity.rank(method="min", ascending=not card.higher_is_better)
    board["rank"] = ranks.reindex(board.index).astype("Int64")
    board["order"] = range(len(board))
    keys = ["budget", "rank", "order"]
    board = board.sort_values(keys, na_position="last", kind="stable", ignore_index=True)
    return board.drop(columns="order")
