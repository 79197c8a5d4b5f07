"""Samples of the best samplers across budgets: what the numbers look like."""

from collections.abc import Iterator, Set
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure as MatplotlibFigure

from bench.data.images import Images
from bench.report.figures.canvas import new_figure, show, tile
from bench.report.figures.figure import Figure, LazyFigure
from bench.report.figures.samples import first_seeds
from bench.report.figures.style import Style
from bench.report.records import Records
from bench.report.results import Results

SHOWN, COLUMNS = 16, 4
MOST_LINES = 6
MOST_BUDGETS = 6
ALIKE = 0.8
"""Correlation of images of equal noise at two budgets above which they are the same images."""

PANEL, LEAST_HEIGHT = 1.9, 0.9
"""Width of a panel, and the least height of a row, which its title takes (inches)."""


class Row(NamedTuple):
    """One sampler of a model: images by budget.

    Args:
        costs: Measured NFE, by budget.
        same: Whether equal noise gives the same image at its two largest budgets; None with one
            budget.
    """

    title: str
    images: dict[float, np.ndarray]
    costs: dict[float, float]
    same: bool | None


def across(
    results: Results, records: Records, data: Images, style: Style, conditional: Set[str]
) -> Iterator[LazyFigure]:
    """Yields one figure: a row for each sampler that is on the Pareto front or the best of its
    model, a column per budget.

    Args:
        conditional: Groups that are conditioned on something and not shown.
    """
    rows = sorted(_rows(results, records, style, conditional), key=lambda row: not row.same)
    if not rows:
        return
    caption = (
        "The first samples of the first seeds, not selected, of each sampler with a row on the "
        "Pareto front and of the best of each model; columns: budgets. All start from the "
        "same noise: a sampler that adds none makes the same images with more and more detail, a "
        "stochastic one others at each budget. Which of the two a row shows is told by the "
        "correlation of its images."
    )
    figure = Figure("samples", "Samples across budgets", caption, "samples")
    yield LazyFigure(figure, partial(_drawn, rows[:MOST_LINES], data.levels))


def _rows(results: Results, records: Records, style: Style, conditional: Set[str]) -> Iterator[Row]:
    table = results.rows
    front = _chosen(results) - conditional
    for model in results.models:
        mine = table[(table["train"] == model) & table["snapshot"].isna() & table["ema"].isna()]
        mine = mine[~mine["group"].isin(conditional) & mine["sampler"].notna()]
        if not front & set(mine["group"]):
            continue
        for name, part in first_seeds(mine, style).items():
            if not front & set(part["group"]):
                continue
            images, costs = {}, {}
            for _, row in part.iterrows():
                if len(found := records.images(row["key"], SHOWN)):
                    budget = float(row["nfe"] if pd.isna(row["budget"]) else row["budget"])
                    images[budget], costs[budget] = found, float(row["nfe"])
            if images:
                yield Row(f"{model}\n{name}", images, costs, _are_the_same(images))


def _chosen(results: Results) -> set[str]:
    """Returns the groups on the Pareto front, and the best one of each model."""
    board, name = results.board, results.first_metric
    done = board[(board["state"] == "done") & board["sampler"].notna()]
    if name is None or done.empty:
        return set()
    best = done.groupby("train")[name]
    best = best.idxmax() if results.metrics[name].higher_is_better else best.idxmin()
    front = done[done["pareto"].fillna(False)]
    return {*front["group"], *done.loc[best.dropna(), "group"]}


def _are_the_same(images: dict[float, np.ndarray]) -> bool | None:
    if len(images) < 2:
        return None
    count = min(map(len, images.values()))
    flat = [images[k][:count].reshape(count, -1).astype(float) for k in sorted(images)[-2:]]
    centred = [part - part.mean(1, keepdims=True) for part in flat]
    norms = np.prod([np.linalg.norm(part, axis=1) for part in centred], axis=0)
    products = (centred[0] * centred[1]).sum(1)
    return bool(np.mean(products / np.maximum(norms, 1e-12)) > ALIKE)


def _drawn(rows: list[Row], levels: int) -> MatplotlibFigure:
    budgets = sorted({budget for row in rows for budget in row.images})
    if len(budgets) > MOST_BUDGETS:
        spread = np.linspace(0, len(budgets) - 1, MOST_BUDGETS).round().astype(int)
        budgets = [budgets[place] for place in dict.fromkeys(spread)]
    sets = [images for row in rows for images in row.images.values()]
    tall = max(-(-len(images) // COLUMNS) * images.shape[-2] / images.shape[-1] for images in sets)
    height = max(LEAST_HEIGHT, PANEL * tall / COLUMNS) + 0.1
    figure = new_figure(PANEL * len(budgets) + 1.6, height * len(rows) + 0.4)
    panels = figure.subplots(len(rows), len(budgets), squeeze=False)
    for line, row in zip(panels, rows, strict=True):
        for axes, budget in zip(line, budgets, strict=True):
            if budget in row.images:
                title = f"{row.costs[budget]:.4g} NFE"
                show(axes, tile(row.images[budget], COLUMNS, levels), title)
            else:
                axes.set_axis_off()
        kind = {True: "\nthe same images", False: "\nother images", None: ""}[row.same]
        text = row.title.replace(", ", "\n").replace(" ", "\n") + kind
        place = {"transform": line[0].transAxes, "ha": "right", "va": "center", "fontsize": 9}
        line[0].text(-0.06, 0.5, text, **place)
    return figure
