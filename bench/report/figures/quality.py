"""Quality versus compute, and versus training: a figure per metric and identity."""

from collections.abc import Iterator
from functools import partial

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
    draw_lines,
    floor_handle,
    front_handle,
    scale_quality,
)
from bench.report.figures.style import Style
from bench.report.figures.summary import (
    BAND,
    COSTS,
    better,
    comparable,
    ends,
    learning,
    lengths,
    summarise,
)
from bench.report.results import Results

CROWDED = 6
"""Lines above which a figure is also drawn as one small panel per model."""
LONG_LABEL = 40
"""Characters of a legend's longest entry above which it stands below the panels."""
OTHERS = "0.82"
LENGTHS = {
    "training_images": "training images seen",
    "ema": "relative width of the average of the weights",
}
"""Labels of the axes along trainings, by column."""


def versus_compute(results: Results, style: Style) -> Iterator[LazyFigure]:
    """Yields each metric against evaluations and seconds, and model by model if it is crowded."""
    groups = ends(results.groups)
    for metric, card in results.metrics.items():
        higher = card.higher_is_better
        for part in comparable(results, metric, summarise(groups, style, metric)):
            caption = (
                f"{metric} ({better(higher)}) against measured network evaluations and seconds "
                f"per image. Line: mean over the seeds of complete groups; {BAND}; horizontal bar: "
                "range of an adaptive sampler's evaluations. Ringed: on the Pareto front (nothing "
                "else is at least as good for as little)."
            )
            drawn = (part.summary, style, metric, higher, part.floor)
            yield LazyFigure(
                Figure(f"{part.name}-vs-compute", f"{metric} versus compute", caption + part.note),
                partial(_overview, *drawn),
            )
            if part.summary.groupby(["train", "sampler"]).ngroups > CROWDED:
                caption = (
                    f"{metric} ({better(higher)}), one panel per model; grey: the others; dashes: "
                    "the Pareto front of all."
                )
                title = f"{metric} versus NFE, model by model"
                yield LazyFigure(
                    Figure(f"{part.name}-by-model", title, caption + part.note),
                    partial(_by_model, *drawn),
                )


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
            Figure(f"{part.name}-{suffix}", title, caption + part.note),
            partial(_along, part.summary, axis, metric, higher, style, part.floor),
        )


def _scale_cost(axes: Axes, summary: pd.DataFrame, cost: str, higher: bool) -> None:
    log_axis(axes, "x", summary[cost])
    if cost != "nfe":
        axes.xaxis.set_major_formatter(EngFormatter("s", sep="\N{THIN SPACE}"))
    scale_quality(axes, summary["mean"], higher)


def _overview(
    summary: pd.DataFrame, style: Style, metric: str, higher: bool, floor: Floor
) -> MatplotlibFigure:
    figure, panels = panel_grid(2, (5.75, 4.8), margin=(0, 0), sharey=True)
    for axes, cost in zip(panels, COSTS, strict=True):
        if summary[cost].isna().all():
            axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", color="0.4")
            axes.set_xticks([])
        else:
            draw_lines(axes, summary, cost, style)
        draw_front(axes, summary, cost, higher, rings=True)
        _scale_cost(axes, summary, cost, higher)
        axes.set(xlabel=COSTS[cost], ylabel="")
    panels[0].set_ylabel(f"{metric}, {better(higher)}")
    draw_floor(panels, floor)
    handles = take_legend(*panels) | front_handle() | floor_handle(floor)
    if max(map(len, handles)) > LONG_LABEL:
        figure.set_figheight(figure.get_figheight() + 0.22 * len(handles) / 2)
        legend_below(figure, handles)
    else:
        legend_beside(figure, handles)
    return figure


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
        _scale_cost(axes, summary, "nfe", higher)
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
