"""What inspections measured: held-out losses by noise level, strips of images, fitted curves."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
import seaborn
from matplotlib.figure import Figure as MatplotlibFigure

from bench.report.columns import LOSS
from bench.report.figures.canvas import (
    legend_beside,
    log_axis,
    new_figure,
    panel_grid,
    show,
    take_legend,
    tile,
)
from bench.report.figures.figure import Figure, LazyFigure, slug
from bench.report.figures.lines import draw_intervals, limit_intervals
from bench.report.figures.style import Style
from bench.report.inspection import Inspection
from bench.report.records import Records
from bench.report.seeds import Measured, measured

SPAN = 30
"""Axes of curves whose positive numbers span more than this factor are logarithmic."""
FEW = 64
"""Points of a curve up to which each has a marker."""


def losses(inspections: Sequence[Inspection], style: Style) -> Iterator[LazyFigure]:
    """Yields held-out losses against the noise level, of the trainings' ends and own averages."""
    points = loss_points(inspections)
    if points.empty:
        return
    caption = (
        "Held-out denoising loss against the standard deviation of the noise over the factor of "
        "the image (against t if a corruption has no such number), a panel for each method and "
        "weighting of the loss. Line: mean over training seeds; band and bars: its 95 % interval "
        "for other trainings; dots: the values, of too few for one."
    )
    figure = Figure("heldout-loss", "Held-out loss versus noise level", caption, "training")
    yield LazyFigure(figure, partial(_losses, points, style))


def loss_points(inspections: Sequence[Inspection]) -> pd.DataFrame:
    """Returns the loss of each model over its seeds (:class:`bench.report.seeds.Measured`), a row
    per (panel, model, level).

    Models that lack a seed are left out, as are snapshots and averages of other lengths.
    """
    finished = [one for one in inspections if one.is_end]
    lacking = {one.train for one in finished if not one.losses}
    records = []
    for one in finished:
        if one.train in lacking:
            continue
        known = None not in one.noise_levels
        panel = ", ".join(filter(None, (one.method, one.weighting)))
        levels = one.noise_levels if known else one.times
        for index, (level, loss) in enumerate(zip(levels, one.losses.values(), strict=True)):
            axis = "noise level" if known else "t"
            records.append((panel, axis, one.train, index, level, loss))
    names = ["panel", "axis", "train", "index"]
    table = pd.DataFrame(records, columns=[*names, "level", "loss"])
    means = [
        dict(zip(names, which, strict=True))
        | {"level": part["level"].mean()}
        | measured(part[["loss"]].to_numpy(float), LOSS)._asdict()
        for which, part in table.groupby(names, sort=False)
    ]
    return pd.DataFrame(means, columns=[*names, "level", *Measured._fields])


def _losses(points: pd.DataFrame, style: Style) -> MatplotlibFigure:
    parts = list(points.groupby(["panel", "axis"], sort=False))
    figure, panels = panel_grid(len(parts), (3.8, 3.0), margin=(1.4, 0.5))
    for index, (axes, ((panel, axis), part)) in enumerate(zip(panels, parts, strict=True)):
        seaborn.lineplot(
            part,
            x="level",
            y="mean",
            hue="train",
            palette=style.colour,
            marker="o",
            markersize=4,
            lw=1.6,
            estimator=None,
            ax=axes,
        )
        for model, line in part.groupby("train", sort=False):
            draw_intervals(axes, line, "level", style.colour[model])
        if axis == "noise level":
            log_axis(axes, "x", part["level"])
        if (part["mean"] > 0).all():
            log_axis(axes, "y", part["mean"])
        limit_intervals(axes, part["mean"])
        axes.set_title(panel, fontsize=10)
        axes.set(xlabel=axis, ylabel="held-out loss" if index % 3 == 0 else "")
    legend_beside(figure, take_legend(*panels))
    return figure


class Curve(NamedTuple):
    """A curve of one training: what it fitted, such as its noise levels."""

    model: str
    x: np.ndarray
    y: np.ndarray


def strips_and_curves(
    inspections: Sequence[Inspection], records: Records, style: Style
) -> Iterator[LazyFigure]:
    """Yields a figure per strip, of each model's first training, and a figure per title of curves,
    of all trainings.
    """
    curves: dict[tuple[str, str, str], list[Curve]] = {}
    striped: set[str] = set()
    for one in inspections:
        if not one.is_end:
            continue
        first = one.train not in striped
        striped.add(one.train)
        if not (arrays := records.arrays(one.unit) if one.losses else {}):
            continue
        for index, title in enumerate(one.strips if first else ()):
            strip = arrays[f"strip/{index}"]
            if strip.shape[2] in (1, 3):
                name, heading = f"strip-{slug(one.train)}-{slug(title)}", f"{one.train}: {title}"
                figure = Figure(name, heading, f"{heading}.")
                yield LazyFigure(figure, partial(_strip, heading, strip))
        for index, curve in enumerate(one.curves):
            x, y = (arrays[f"curve/{index}/{which}"] for which in "xy")
            titles = (curve["title"], curve["x"], curve["y"])
            curves.setdefault(titles, []).append(Curve(one.train, x, y))
    names: set[str] = set()
    for (title, x_label, y_label), lines in curves.items():
        base = f"curve-{slug(title)}"
        numbered = (f"{base}-{k}" for k in itertools.count(2))
        name = next(n for n in itertools.chain([base], numbered) if n not in names)
        names.add(name)
        caption = f"{title}, as each training fitted it; one line per training seed."
        labels = {"title": title, "xlabel": x_label, "ylabel": y_label}
        yield LazyFigure(Figure(name, title, caption), partial(_curves, lines, labels, style))


def _strip(heading: str, strip: np.ndarray) -> MatplotlibFigure:
    """Draws images of shape (rows, columns, C, H, W) in [0, 1] as they lie."""
    columns = strip.shape[1]
    sheet = tile(np.clip(strip.reshape(-1, *strip.shape[2:]), 0, 1), columns, 2)
    width = min(12.0, 0.7 * columns)
    figure = new_figure(width + 0.4, width * sheet.shape[0] / sheet.shape[1] + 0.6)
    show(figure.subplots(), sheet)
    figure.suptitle(heading, fontsize=10)
    return figure


def _curves(lines: Sequence[Curve], labels: Mapping[str, str], style: Style) -> MatplotlibFigure:
    figure = new_figure(7.0, 4.0)
    axes = figure.subplots()
    parts = [
        pd.DataFrame({"x": line.x, "y": line.y, "model": line.model, "line": index})
        for index, line in enumerate(lines)
    ]
    table = pd.concat(parts, ignore_index=True)
    seaborn.lineplot(
        table,
        x="x",
        y="y",
        hue="model",
        palette=style.colour,
        units="line",
        estimator=None,
        lw=1.6,
        marker="o" if max(len(line.x) for line in lines) <= FEW else None,
        markersize=3,
        ax=axes,
    )
    for which in "xy":
        if table[which].min() > 0 and table[which].max() > SPAN * table[which].min():
            log_axis(axes, which, table[which])
    axes.set(**labels)
    legend_beside(figure, take_legend(axes))
    return figure
