"""The leaderboard: a row per group, with means and intervals over its seeds, ties and ranks."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
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
from bench.report.standing import behind, verdicts
from bench.report.state import URGENCY


def leaderboard(groups: Sequence[Group], metrics: Mapping[str, MetricCard]) -> pd.DataFrame:
    """Returns a row for each group: means and spreads over its seeds, ranked within equal budgets.

    A metric's mean counts each training once; ``<metric> low`` and ``<metric> high`` are its 95 %
    interval (:func:`bench.report.statistics.estimate`), ``<metric> interval over`` what that holds
    for, and ``<metric> values`` the values if they are too few for one. ``<metric> behind`` is by
    how much a complete group is worse than the best of its budget and identity, with its interval
    ``behind low`` to ``behind high``; ``<metric> tied`` says whether that holds 0, blank for the
    best and without an interval; ``verdict`` and ``verdict p`` what is known of the difference in
    the first metric (:mod:`bench.report.standing`); ``pareto`` and ``beaten in ... by`` where it
    lies among all budgets (:func:`bench.report.front.front`). A spread is a sample standard
    deviation, blank with one value: ``<metric> sd`` over all finished points of the group,
    ``<metric> sd over trainings`` over the means of its training seeds
    (:func:`bench.report.uncertainty.uncertainty` has its parts). Bits/dim and training cost count
    each model once; ``bits_per_dim_image_error`` is the mean of the models' errors over images,
    never less than the error of their mean, for they score the same images.

    The rank is by the first metric, among groups of one budget and one identity of that metric
    whose points are all done: a group is not ranked on the seeds that happened to survive. The
    budget is the one asked for; a fixed-step group that was given its steps instead stands at the
    NFE it measured. Adaptive samplers and images made elsewhere have no budget and no rank.
    """
    spreads = ("", " low", " high", " sd", " sd over trainings")
    columns = [f"{name}{what}" for name in metrics for what in spreads]
    notes = [f"{name}{what}" for name in metrics for what in (" interval over", " values")]
    board = pd.DataFrame(
        _columns(groups), columns=[*GROUP_LEADING, *columns, *notes, *GROUP_TRAILING]
    )
    whole = {"rank", "train_seeds", "sample_seeds", "points", "points_done", *WHOLE}
    numbers = {*NUMBERS, *columns}
    board = board.astype(
        {name: "Int64" for name in board.columns if name in whole}
        | {name: "boolean" for name in TRUTHS}
        | {name: "float64" for name in board.columns if name in numbers}
    )
    board["budget"] = _budgets(board)
    for name, card in metrics.items():
        board = board.assign(**behind(board, groups, name, card))
    board = board.assign(**{"verdict": "", "verdict p": np.nan})
    board["pareto"] = pd.array([pd.NA] * len(board), "boolean")
    for name, card in list(metrics.items())[:1]:
        board = board.assign(**verdicts(board, groups, name, card))
        board = board.assign(**front(board, name, card))
    return _ranked(board, metrics)


def _columns(groups: Sequence[Group]) -> dict[str, Any]:
    """Returns the columns of the leaderboard that come from the rows of each group."""
    if not groups:
        return {}
    table = groups[0].table
    rows, places = table.rows, table.places
    code = np.empty(len(rows), int)
    for index, at in enumerate(places):
        code[at] = index
    of_group, first = rows.groupby(code), rows.iloc[[at[0] for at in places]].reset_index(drop=True)
    models = rows.assign(code=code).drop_duplicates(["code", "train_key"]).set_index("code")
    kept = [name for name in (*LEADING, *TRAILING) if name in {*GROUP_LEADING, *GROUP_TRAILING}]
    found: dict[str, Any] = {name: first[name] for name in kept}
    found |= {name: of_group[name].mean() for name in ("nfe", GFLOPS, "clipped_fraction")}
    found |= {"nfe_min": of_group["nfe_min"].min(), "nfe_max": of_group["nfe_max"].max()}
    found |= {"train_seeds": of_group["train_seed"].nunique(), "points": of_group.size()}
    found["sample_seeds"] = of_group["sample_seed"].nunique()
    found["dirty"] = of_group["dirty"].any()
    found["identity"] = [group.identity for group in groups]
    found |= _texts(rows, places)
    found["train_keys"] = [" ".join(keys) for keys in _texts_by(models["train_key"], len(places))]
    by_model = models.groupby(level=0)
    likelihood = ("likelihood_nfe", "likelihood_gflops_per_image")
    for name in ("training_flops", "training_seconds", *likelihood):
        found[name] = by_model[name].mean()
    for name in ("training_images", "parameters"):
        found[name] = by_model[name].mean().astype("float64").round()
    found |= _bits(models, len(places)) | _seconds(rows, code, first)
    for name in table.metrics:
        found |= _metric(groups, name, rows, code)
    return {name: list(values) for name, values in found.items()}


def _texts(rows: pd.DataFrame, places: Sequence[np.ndarray]) -> dict[str, list[Any]]:
    """Returns what the points of each group say in words: state, cause, device, commit, keys."""
    names = ("state", "cause", "log", "device", "drawn", "commit", "key")
    columns = {name: rows[name].to_numpy(object) for name in names}
    found: dict[str, list[Any]] = {name: [] for name in (*names[:-1], "keys", "points_done")}
    for at in places:
        state, cause, log, device, drawn, commit, key = (columns[name][at] for name in names)
        unfinished = [place for place, text in enumerate(state) if text != "done"]
        worst = min(unfinished, key=lambda place: URGENCY[state[place]], default=None)
        found["state"].append(_states(state))
        found["cause"].append("" if worst is None else cause[worst])
        found["log"].append("" if worst is None else log[worst])
        found["device"].append(joined(text for text in device if isinstance(text, str)))
        found["drawn"].append(max(drawn, key=len))
        known = (part for part in commit if isinstance(part, tuple))
        found["commit"].append(tuple(dict.fromkeys(name for part in known for name in part)))
        found["keys"].append(" ".join(dict.fromkeys(key)))
        found["points_done"].append(len(at) - len(unfinished))
    return found


def _texts_by(column: pd.Series, count: int) -> list[list[str]]:
    """Returns the texts of each group in a column whose index says which group each is of."""
    parts: list[list[str]] = [[] for _ in range(count)]
    for index, text in zip(column.index, column, strict=True):
        if isinstance(text, str):
            parts[index].append(text)
    return parts


def _bits(models: pd.DataFrame, count: int) -> dict[str, Any]:
    """Returns bits/dim over the trainings of each group."""
    known = models[models[BITS].notna()]
    hashes: dict[int, set[str]] = {}
    for index, identity in zip(known.index, known["identity"], strict=True):
        hashes.setdefault(index, set()).add(identity.get(BITS, ""))
    several = np.array([len(hashes.get(index, ())) > 1 for index in range(count)])
    of_model = models.groupby(level=0)
    means = {
        name: of_model[name].mean() for name in (BITS, BITS_ERROR, DRAW_ERROR, DRAW_SD, EXACT_BITS)
    }
    found: dict[str, Any] = {name: mean.mask(several) for name, mean in means.items()}
    found[f"{BITS} sd"] = of_model[BITS].std(ddof=1).mask(several)
    found[BITS_NOTE] = [
        "several identities, see results.csv" if odd else joined(texts)
        for odd, texts in zip(several, _texts_by(models[BITS_NOTE], count), strict=True)
    ]
    return found


def _seconds(rows: pd.DataFrame, code: np.ndarray, first: pd.DataFrame) -> dict[str, Any]:
    """Returns sampling time over the points of each group; unlike devices have no mean."""
    of_group = rows.groupby(code)
    several = of_group["device"].nunique() > 1
    cold = (rows[SECONDS_NOTE] == COLD).groupby(code).sum()
    known = zip(several, cold, of_group.size(), first[SECONDS_NOTE], strict=True)
    notes = (
        "several devices" if odd else f"{COLD} in {part} of {whole} points" if part else note
        for odd, part, whole, note in known
    )
    return {
        SECONDS: of_group[SECONDS].mean().mask(several),
        f"{SECONDS} sd": of_group[SECONDS].std(ddof=1).mask(several),
        SECONDS_NOTE: list(notes),
    }


def _metric(
    groups: Sequence[Group], name: str, rows: pd.DataFrame, code: np.ndarray
) -> dict[str, Any]:
    by_training = rows[name].groupby([code, rows["train_key"]]).mean()
    over = by_training.groupby(level=0).std(ddof=1)
    shown = [group.measured.get(name) for group in groups]
    parts = {
        "": "mean",
        " low": "low",
        " high": "high",
        " interval over": "scope",
        " values": "values",
    }
    found: dict[str, Any] = {
        f"{name}{end}": [None if one is None else getattr(one, part) for one in shown]
        for end, part in parts.items()
    }
    found[f"{name} sd"] = rows[name].groupby(code).std(ddof=1)
    return found | {f"{name} sd over trainings": over.reindex(range(len(groups)))}


def _states(states: Sequence[str]) -> str:
    """Returns "done", or the states of a group's points: "1 of 4 failed, 2 of 4 waiting"."""
    counts = Counter(states)
    if len(counts) == 1:
        return next(iter(counts))
    parts = sorted((state for state in counts if state != "done"), key=URGENCY.__getitem__)
    return ", ".join(f"{counts[state]} of {len(states)} {state}" for state in parts)


def _budgets(board: pd.DataFrame) -> pd.Series:
    """Returns the budget at which each group is ranked, NaN for none."""
    fixed = ~board["adaptive"].fillna(True).astype(bool) & (board["nfe_min"] == board["nfe_max"])
    return board["budget"].astype("float64").fillna(board["nfe"].where(fixed))


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
