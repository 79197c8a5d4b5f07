"""Quality versus compute, and versus training: a figure per metric and identity."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.figure import Figure as MatplotlibFigure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter

from bench.report.figures.canvas import (
    label_panels,
    legend_below,
    legend_beside,
    log_axis,
    new_figure,
    panel_grid,
    take_legend,
)
from bench.report.figures.figure import Figure, LazyFigure
from bench.report.figures.lines import (
    Floor,
    draw_floor,
    draw_front,
    draw_intervals,
    draw_lines,
    floor_handle,
    front_handle,
    scale_quality,
)
from bench.report.figures.style import LINE, Style
from bench.report.figures.summary import (
    BAND,
    COSTS,
    Comparable,
    better,
    comparable,
    ends,
    learning,
    lengths,
    summarise,
)
from bench.report.results import Results

MOST_PANELS = 6
"""Panels of the figure of all metrics; the page has every metric."""
OTHERS = "0.82"
LENGTHS = {
    "training_images": "training images seen",
    "ema": "relative width of the average of the weights",
}
"""Labels of the axes along trainings, by column."""


class Panel(NamedTuple):
    """What one panel shows: a metric in one identity."""

    metric: str
    higher: bool
    part: Comparable


def versus_compute(results: Results, style: Style) -> Iterator[LazyFigure]:
    """Yields every metric against evaluations in one figure, and the first one model by model."""
    groups = ends(results.groups)
    parts = [
        Panel(metric, card.higher_is_better, part)
        for metric, card in results.metrics.items()
        for part in comparable(results, metric, summarise(groups, style, metric))
    ]
    if not parts:
        return
    notes = "".join(dict.fromkeys(one.part.note for one in parts))
    caption = (
        "Each metric against measured network evaluations per image. Line: a model, its best "
        f"sampler at each budget, mean over the seeds of complete groups; {BAND}. Open circles: "
        "adaptive samplers. Dashes: the Pareto front of all rows (nothing else is at least as good "
        "for as little)."
    )
    figure = Figure("quality-vs-compute", "Quality versus compute", caption + notes, "file")
    yield LazyFigure(figure, partial(_overview, parts[:MOST_PANELS], style))
    for metric, higher, part in parts:
        if metric != results.first_metric or part.summary["train"].nunique() < 2:
            continue
        caption = (
            f"{metric} ({better(higher)}), one panel per model, a line per sampler; grey: the "
            "others; dashes: the Pareto front of all."
        )
        title = f"{metric} versus NFE, model by model"
        figure = Figure(f"{part.name}-by-model", title, caption + part.note, "quality")
        drawn = partial(_by_model, part.summary, style, metric, higher, part.floor)
        yield LazyFigure(figure, drawn)


def versus_training(results: Results, style: Style) -> Iterator[LazyFigure]:
    """Yields each metric along the trainings that keep snapshots."""
    what = "along the trainings that keep snapshots"
    for metric in results.metrics:
        summary = learning(results.groups, style, metric)
        names = ("vs-training", f"{metric} versus training", what)
        yield from _versus(results, style, metric, summary, "training_images", names)


def versus_averages(results: Results, style: Style) -> Iterator[LazyFigure]:
    """Yields each metric against the length of the average of the weights."""
    what = "of averages of different lengths of the same trainings"
    for metric in results.metrics:
        summary = lengths(results.groups, style, metric)
        names = ("vs-ema", f"{metric} versus the average's length", what)
        yield from _versus(results, style, metric, summary, "ema", names)


def _versus(
    results: Results,
    style: Style,
    metric: str,
    summary: pd.DataFrame,
    axis: str,
    names: tuple[str, str, str],
) -> Iterator[LazyFigure]:
    """Yields figures of a metric against a column, by identity.

    Args:
        names: End of the file name, title, and what the caption says of the x axis.
    """
    suffix, title, what = names
    higher = results.metrics[metric].higher_is_better
    caption = (
        f"{metric} ({better(higher)}) {what}, each sampler at the largest budget that it has. "
        f"Line: mean over the seeds of complete groups; {BAND}."
    )
    for part in comparable(results, metric, summary):
        yield LazyFigure(
            Figure(f"{part.name}-{suffix}", title, caption + part.note, "quality"),
            partial(_along, part.summary, axis, metric, higher, style, part.floor),
        )


def _scale_cost(axes: Axes, summary: pd.DataFrame, higher: bool) -> None:
    log_axis(axes, "x", summary["nfe"])
    scale_quality(axes, summary["mean"], higher)


def _overview(parts: Sequence[Panel], style: Style) -> MatplotlibFigure:
    figure, panels = panel_grid(len(parts), (5.2, 3.7), columns=2, margin=(0.4, 0.5))
    handles: dict[str, Any] = {}
    for axes, (_, higher, part) in zip(panels, parts, strict=True):
        summary, best = part.summary, _best_of_each(part.summary, higher)
        models = [model for model in style.colour if model in set(best["train"])]
        seaborn.lineplot(
            best.rename(columns={"train": "model"}),
            x="nfe",
            y="mean",
            hue="model",
            hue_order=models,
            palette=style.colour,
            style="model",
            markers=style.model_marker,
            dashes=False,
            estimator=None,
            zorder=3,
            ax=axes,
            **LINE,
        )
        for model, line in best.groupby("train", sort=False):
            draw_intervals(axes, line, "nfe", style.colour[model])
        apart = summary[summary["budget"].isna()]
        edges = [style.colour[model] for model in apart["train"]]
        axes.scatter(apart["nfe"], apart["mean"], s=28, facecolors="none", edgecolors=edges)
        draw_front(axes, summary, "nfe", higher, rings=False)
        _scale_cost(axes, summary, higher)
        draw_floor([axes], part.floor)
        axes.set(title=part.title, xlabel=COSTS["nfe"], ylabel=better(higher))
        handles |= take_legend(axes)
    legend_below(figure, handles | front_handle())
    return figure


def _best_of_each(summary: pd.DataFrame, higher: bool) -> pd.DataFrame:
    """Returns the best row of each model at each budget, by rising cost; none of adaptive ones."""
    best = summary[summary["budget"].notna()]
    best = best.sort_values("mean", ascending=not higher, kind="stable")
    return best.drop_duplicates(["train", "budget"]).sort_values(["train", "nfe"])


def _by_model(
    summary: pd.DataFrame, style: Style, metric: str, higher: bool, floor: Floor
) -> MatplotlibFigure:
    models = list(dict.fromkeys(summary["train"]))
    figure, panels = panel_grid(
        len(models), (3.6, 2.7), margin=(0.4, 0.8), sharex=True, sharey=True
    )
    lines = summary.assign(line=summary["train"] + " " + summary["sampler"])
    for axes, model in zip(panels, models, strict=True):
        others = lines[lines["train"] != model]
        grey = {"color": OTHERS, "lw": 1, "zorder": 1, "units": "line", "estimator": None}
        seaborn.lineplot(others, x="nfe", y="mean", ax=axes, **grey)
        draw_lines(axes, summary[summary["train"] == model], "nfe", style)
        draw_front(axes, summary, "nfe", higher, rings=False)
        _scale_cost(axes, summary, higher)
        axes.set_title(model, color="0.15")
    handles = take_legend(*panels)
    shown = {name: handle for name, handle in handles.items() if name in style.marker}
    for handle in shown.values():
        handle.set_color("0.3")
    shown["the other models"] = Line2D([], [], color=OTHERS)
    label_panels(panels, "measured NFE", f"{metric}\n{better(higher)}")
    draw_floor(panels, floor)
    legend_below(figure, shown | front_handle() | floor_handle(floor))
    return figure


def _along(
    summary: pd.DataFrame, axis: str, metric: str, higher: bool, style: Style, floor: Floor
) -> MatplotlibFigure:
    """Draws a line per (model, sampler)."""
    figure = new_figure(8.5, 4.6)
    axes = figure.subplots()
    draw_lines(axes, summary, axis, style)
    if axis == "training_images":
        log_axis(axes, "x", summary[axis])
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    scale_quality(axes, summary["mean"], higher)
    axes.set(xlabel=LENGTHS[axis], ylabel=f"{metric}, {better(higher)}")
    draw_floor([axes], floor)
    legend_beside(figure, take_legend(axes) | floor_handle(floor))
    return figure
