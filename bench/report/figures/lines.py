"""Lines through means, their intervals, the Pareto front, and the band of real images.

Seaborn draws the lines and names them in the legend; intervals are those of the table, drawn here.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from bench.report.figures.canvas import log_axis
from bench.report.figures.style import LINE, Style
from bench.report.formats import number
from bench.report.front import pareto

FRONT: Mapping[str, Any] = {"color": "0.25", "lw": 1, "ls": (0, (2, 2))}
ROOM = 5
"""Factor beyond the means at which a logarithmic axis of intervals ends."""

Floor = Mapping[str, Any] | None
"""What a metric says about real images: mean and std; None if it is not known."""


def draw_lines(axes: Axes, summary: pd.DataFrame, x: str, style: Style) -> None:
    """Draws a line per (model, sampler) with its intervals, and seaborn's legend.

    Args:
        summary: Columns ``train``, ``sampler``, ``x``, and the fields of
            :class:`bench.report.seeds.Measured`; ``nfe_min`` and ``nfe_max`` if x is ``nfe``.
    """
    seaborn.lineplot(
        summary.rename(columns={"train": "model"}),
        x=x,
        y="mean",
        hue="model",
        style="sampler",
        palette=style.colour,
        markers=style.marker,
        dashes=style.dash,
        estimator=None,
        legend="full",
        zorder=3,
        ax=axes,
        **LINE,
    )
    for (train, _), line in summary.groupby(["train", "sampler"], sort=False):
        draw_intervals(axes, line.sort_values(x), x, style.colour[train])
        if x == "nfe" and (line["nfe_min"] < line["nfe_max"]).any():
            reach = np.stack([line["nfe"] - line["nfe_min"], line["nfe_max"] - line["nfe"]])
            axes.errorbar(
                *(line["nfe"], line["mean"]),
                xerr=reach,
                fmt="none",
                ecolor=style.colour[train],
                elinewidth=1,
                capsize=2,
            )


def draw_intervals(
    axes: Axes, line: pd.DataFrame, x: str, colour: Any, *, bars: bool = True
) -> None:
    """Draws the intervals of a line as a band, with bars at its points, and single values as dots.

    Args:
        line: Sorted by column ``x``, with the fields of :class:`bench.report.seeds.Measured`.
        bars: Whether there are bars.
    """
    at, mean, low, high = (line[name].to_numpy(float) for name in (x, "mean", "low", "high"))
    axes.fill_between(at, low, high, color=colour, alpha=0.15, lw=0)
    known = np.isfinite(low) & np.isfinite(high) if bars else np.zeros(len(at), bool)
    reach = np.maximum([(mean - low)[known], (high - mean)[known]], 0)
    where = at[known], mean[known]
    axes.errorbar(*where, yerr=reach, fmt="none", ecolor=colour, elinewidth=0.8, alpha=0.5)
    dots = [
        (place, value) for place, values in zip(at, line["values"], strict=True) for value in values
    ]
    if dots:
        x_values, y_values = zip(*dots, strict=True)
        axes.scatter(x_values, y_values, s=7, color=colour, alpha=0.5, lw=0, zorder=2.5)


def limit_intervals(axes: Axes, means: pd.Series) -> None:
    """Cuts off what is drawn far beyond the means: a wide interval would leave no room for them."""
    bottom, top = axes.get_ylim()
    least, most = means.min(), means.max()
    if axes.get_yscale() == "log":
        axes.set_ylim(max(bottom, least / ROOM), min(top, most * ROOM))
    elif room := max(2 * (most - least), means.abs().max()):
        axes.set_ylim(max(bottom, least - room), min(top, most + room))


def scale_quality(axes: Axes, means: pd.Series, higher: bool) -> None:
    """Scales the axis of a metric: logarithmic if less is better, while a score that is better when
    higher spans less than a decade.
    """
    if not higher and (means > 0).all():
        log_axis(axes, "y", means)
    limit_intervals(axes, means)


def draw_front(axes: Axes, summary: pd.DataFrame, x: str, higher: bool, *, rings: bool) -> None:
    """Draws the Pareto front of all lines, with rings around its points."""
    known = summary[summary[x].notna()]
    if known.empty:
        return
    best = pareto(known[x].to_numpy(), known["mean"].to_numpy(), higher=higher)
    front = known[best].sort_values(x)
    axes.plot(front[x], front["mean"], drawstyle="steps-post", zorder=2, **FRONT)
    if rings:
        where = front[x], front["mean"]
        edge = {"edgecolors": FRONT["color"], "linewidths": 1.2}
        axes.scatter(*where, s=90, zorder=4, facecolors="none", **edge)


def front_handle() -> dict[str, Line2D]:
    """Returns the legend's entry for the front."""
    return {"Pareto front": Line2D([], [], **FRONT)}


def draw_floor(panels: Iterable[Axes], floor: Floor) -> None:
    """Draws what real images score across finished panels that share their y axis."""
    if floor is None:
        return
    mean, std = floor["mean"], _deviation(floor)
    for axes in panels:
        bottom, top = axes.get_ylim()
        low = mean - std
        if axes.get_yscale() == "log":
            if mean <= 0:
                continue
            low = 0.95 * low if low > 0 else min(bottom, 0.8 * mean)
        axes.set_ylim(min(bottom, low), max(top, mean + std))
        axes.axhspan(max(mean - std, low), mean + std, color="0.5", alpha=0.25, lw=0, zorder=0.5)
        axes.axhline(mean, color="0.5", lw=0.8, zorder=0.5)


def floor_handle(floor: Floor) -> dict[str, Patch]:
    """Returns the legend's entry for real images, none if their score is not known."""
    if floor is None:
        return {}
    std = _deviation(floor)
    label = f"real images: {number(floor['mean'], 2)}" + (f" ± {number(std, 1)}" if std else "")
    return {label: Patch(color="0.5", alpha=0.35, lw=0)}


def _deviation(floor: Mapping[str, Any]) -> float:
    """Returns the spread of a floor, 0 if it is not known: one set that is the whole split."""
    return floor["std"] if floor["std"] is not None and math.isfinite(floor["std"]) else 0.0
