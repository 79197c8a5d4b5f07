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
MOST_LINES = 12
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
        has_budgets: Whether its columns are budgets; those of adaptive samplers are measured NFE.
    """

    title: str
    images: dict[float, np.ndarray]
    costs: dict[float, float]
    same: bool | None
    has_budgets: bool


def across(
    results: Results, records: Records, data: Images, style: Style, conditional: Set[str]
) -> Iterator[LazyFigure]:
    """Yields one figure: a row for each sampler that is on the Pareto front or the best of its
    model, a column per budget. Its caption names what is left out, and why.

    Args:
        conditional: Groups that are conditioned on something and not shown.
    """
    rows, left_out = _rows(results, records, style, conditional)
    if not rows:
        return
    rows, budgets, count = _in_columns(rows)
    caption = (
        "The first samples of the first seeds, not selected: of each model its best sampler and "
        "those with a row on the Pareto front; columns: budgets. All start from the same noise. A "
        "sampler that adds none makes the same images at every budget, with more and more detail; "
        "a stochastic one makes new images at each. Which of the two a row is, the correlation of "
        "its images at its two largest budgets tells."
    )
    if len(budgets) < count:
        caption += f" Columns: {len(budgets)} of {count} budgets."
    caption += "".join(f" Not shown, {why}: {', '.join(who)}." for why, who in left_out.items())
    rows = sorted(rows, key=lambda row: not row.same)
    figure = Figure("samples", "Samples across budgets", caption, "samples")
    yield LazyFigure(figure, partial(_drawn, rows, budgets, data.levels))


class Chosen(NamedTuple):
    """One sampler of a model whose samples are wanted.

    Args:
        points: Of its first seeds, by rising NFE.
    """

    model: str
    sampler: str
    points: pd.DataFrame


def _rows(
    results: Results, records: Records, style: Style, conditional: Set[str]
) -> tuple[list[Row], dict[str, list[str]]]:
    """Returns the rows of the figure, the best model first, and what is left out, by reason."""
    wanted, left_out = _wanted(results, style, conditional)
    rows: list[Row] = []
    for place, one in enumerate(wanted):
        if len(rows) == MOST_LINES:
            why = f"since there are {MOST_LINES} rows, the best models first"
            left_out[why] = [f"{rest.model} ({rest.sampler})" for rest in wanted[place:]]
            break
        if (row := _row(one, records)) is not None:
            rows.append(row)
        else:
            name = f"{one.model} ({one.sampler})"
            left_out.setdefault("since none of their images are in the store", []).append(name)
    return rows, left_out


def _row(one: Chosen, records: Records) -> Row | None:
    """Returns the images of a sampler at each of its budgets, None if there are none."""
    images, costs = {}, {}
    for _, row in one.points.iterrows():
        if len(found := records.images(row["key"], SHOWN)):
            budget = float(row["nfe"] if pd.isna(row["budget"]) else row["budget"])
            images[budget], costs[budget] = found, float(row["nfe"])
    if not images:
        return None
    has_budgets = bool(one.points["budget"].notna().any())
    return Row(f"{one.model}\n{one.sampler}", images, costs, _are_the_same(images), has_budgets)


def _wanted(
    results: Results, style: Style, conditional: Set[str]
) -> tuple[list[Chosen], dict[str, list[str]]]:
    """Returns the samplers whose samples are wanted, the best of each model before others on the
    Pareto front; and the models that have none, by reason.
    """
    best, front = _best_groups(results, conditional)
    first: list[Chosen] = []
    more: list[Chosen] = []
    for model in (*best, *(model for model in results.models if model not in best)):
        for name, part in _parts(results, model, style, conditional).items():
            named = set(part["group"])
            if best.get(model) in named:
                first.append(Chosen(model, name, part))
            elif front & named:
                more.append(Chosen(model, name, part))
    left_out: dict[str, list[str]] = {}
    known = {one.model for one in (*first, *more)}
    for model in results.models:
        if model not in known:
            left_out.setdefault(_why_not(results, model, conditional), []).append(model)
    return first + more, left_out


def _parts(
    results: Results, model: str, style: Style, conditional: Set[str]
) -> dict[str, pd.DataFrame]:
    table = results.rows
    mine = table[(table["train"] == model) & table["snapshot"].isna() & table["ema"].isna()]
    mine = mine[~mine["group"].isin(conditional) & mine["sampler"].notna()]
    return {} if mine.empty else first_seeds(mine, style)


def _why_not(results: Results, model: str, conditional: Set[str]) -> str:
    """Returns why a model has no samples to show."""
    mine = results.board[results.board["train"] == model]
    if mine["sampler"].isna().all():
        return "since their images were made elsewhere, without a budget"
    if mine["group"].isin(conditional).all():
        return "since they are sampled under a condition"
    return "since no row of theirs is finished"


def _best_groups(results: Results, conditional: Set[str]) -> tuple[dict[str, str], set[str]]:
    """Returns the best group of each model, the best model first, and the groups on the Pareto
    front.
    """
    board, name = results.board, results.first_metric
    done = board[(board["state"] == "done") & board["sampler"].notna() & board["snapshot"].isna()]
    done = done[done["ema"].isna() & ~done["group"].isin(conditional)]
    if name is None or done.empty:
        return {}, set()
    higher = results.metrics[name].higher_is_better
    done = done[done[name].notna()].sort_values(name, ascending=not higher, kind="stable")
    best = done.drop_duplicates("train")
    return dict(zip(best["train"], best["group"], strict=True)), {
        *done["group"][done["pareto"].fillna(False)]
    }


def _in_columns(rows: list[Row]) -> tuple[list[Row], list[float], int]:
    """Returns rows whose images all stand at a column's budget, these budgets, and how many budgets
    there are: columns are spread over all, and every row has one. Rows without a budget stand at
    the nearest one.
    """
    fixed = sorted({budget for row in rows if row.has_budgets for budget in row.images})
    fixed = fixed or sorted({budget for row in rows for budget in row.images})
    spread = np.linspace(0, len(fixed) - 1, min(len(fixed), MOST_BUDGETS)).round().astype(int)
    shown = {fixed[place] for place in spread}
    placed = [row if row.has_budgets else _at_nearest(row, fixed) for row in rows]
    shown |= {max(row.images) for row in placed if not shown & set(row.images)}
    return placed, sorted(shown), len(fixed)


def _at_nearest(row: Row, budgets: list[float]) -> Row:
    nearest = {at: min(budgets, key=lambda budget: abs(np.log(budget / at))) for at in row.images}
    images = {nearest[at]: found for at, found in sorted(row.images.items())}
    return row._replace(images=images, costs={nearest[at]: at for at in sorted(row.images)})


def _are_the_same(images: dict[float, np.ndarray]) -> bool | None:
    if len(images) < 2:
        return None
    count = min(map(len, images.values()))
    flat = [images[k][:count].reshape(count, -1).astype(float) for k in sorted(images)[-2:]]
    centred = [part - part.mean(1, keepdims=True) for part in flat]
    norms = np.prod([np.linalg.norm(part, axis=1) for part in centred], axis=0)
    products = (centred[0] * centred[1]).sum(1)
    return bool(np.mean(products / np.maximum(norms, 1e-12)) > ALIKE)


def _drawn(rows: list[Row], budgets: list[float], levels: int) -> MatplotlibFigure:
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
        kind = {True: "\nthe same images", False: "\nnew images", None: ""}[row.same]
        text = row.title.replace(", ", "\n").replace(" ", "\n") + kind
        place = {"transform": line[0].transAxes, "ha": "right", "va": "center", "fontsize": 9}
        line[0].text(-0.06, 0.5, text, **place)
    return figure
