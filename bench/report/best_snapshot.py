"""The best of the snapshots of each training, as papers report it: chosen by the metric itself."""

from collections.abc import Iterator

import pandas as pd

from bench.report.formats import number, sampler_title
from bench.report.results import Results

ALIKE = ("train", "ema", "sampler", "times", "settings", "options", "steps", "tolerance", "budget")
"""Columns of the leaderboard in which the snapshots of one curve agree."""


def best_snapshots(results: Results) -> list[str]:
    """Returns a line for each model and sampler whose snapshots, the end being one, have the first
    metric: the best of them, marked as selected on the metric.
    """
    name = results.first_metric
    return [] if name is None else list(_lines(results, name))


def _lines(results: Results, name: str) -> Iterator[str]:
    board = results.board
    if board["snapshot"].isna().all():
        return
    board = board[(board["state"] == "done") & board[name].notna()]
    curves: dict[tuple[str, ...], list[int]] = {}
    for index in board.index:
        row = results.lines[index]
        curves.setdefault(tuple(str(row[column]) for column in ALIKE), []).append(index)
    for indices in curves.values():
        if len(indices) < 2:
            continue
        curve = board.loc[indices]
        higher = results.metrics[name].higher_is_better
        best = curve.loc[curve[name].idxmax() if higher else curve[name].idxmin()]
        ends = curve.loc[curve["snapshot"].isna(), name]
        whole = f" ({number(ends.iloc[0])} at the end of training)" if len(ends) else ""
        after = _after(best)
        yield (
            f"Best of {len(curve)} snapshots of {best['train']} with {sampler_title(best)}: {name} "
            f"{number(best[name])} {after}{whole}. Selected on the metric itself, so too good by "
            "the choice: no claim or rank takes it for more than its row."
        )


def _after(best: pd.Series) -> str:
    at_end = pd.isna(best["snapshot"])
    return "at the end" if at_end else f"after {int(best['snapshot']):,} images"
