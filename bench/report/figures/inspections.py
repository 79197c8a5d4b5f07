"""What models show of themselves: held-out losses by noise level, strips of images, curves of what
training fitted.
"""

import io
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from bench.report.figures.canvas import new_figure
from bench.report.figures.style import (
    Picture,
    Sketch,
    Style,
    draw_spread,
    label_panels,
    limit_spread,
    log_axis,
    show,
    slug,
    tile,
)
from bench.report.seeds import Measured, measured
from bench.report.table import LOSS, Reader
from bench.store import DamagedError, Store

if TYPE_CHECKING:
    from bench.spec import InspectSpec
    from bench.suite.resolved import Suite


SPAN = 30
"""Curves of positive numbers that span more than this factor have a logarithmic axis."""


def losses(inspections: Sequence[Mapping[str, Any]], look: Style) -> Iterator[Sketch]:
    """Yields held-out losses against the noise level, of the trainings' ends and own averages."""
    points = loss_points(inspections)
    if points.empty:
        return
    caption = (
        "Held-out denoising loss against the standard deviation of the noise over the factor of the image (against t "
        "where a corruption has no such number), a panel for each method and weighting of the loss. Line: mean over "
        "training seeds; band and bars: its 95 % interval for other trainings; dots: the values, of too few for one."
    )
    yield (
        Picture("heldout-loss", "Held-out loss versus noise level", caption),
        partial(_losses, points, look),
    )


def loss_points(inspections: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Returns what the seeds of a model tell of its loss (:class:`Measured`), a row a (panel,
    model, level).

    Models that lack a seed are left out, as are snapshots and averages of other lengths.
    """
    records = []
    ends = [shown for shown in inspections if shown["snapshot"] is None and shown["ema"] is None]
    lacking = {shown["train"] for shown in ends if not shown["losses"]}
    for shown in (shown for shown in ends if shown["train"] not in lacking):
        known = None not in shown["noise_levels"]
        what = {
            "train": shown["train"],
            "panel": ", ".join(filter(None, (shown["method"], shown["weighting"]))),
        }
        what["axis"] = "noise level" if known else "t"
        levels = shown["noise_levels"] if known else shown["times"]
        records += [
            {**what, "index": index, "level": level, "loss": loss}
            for index, (level, loss) in enumerate(
                zip(levels, shown["losses"].values(), strict=True)
            )
        ]
    names = ["panel", "axis", "train", "index"]
    if not records:
        return pd.DataFrame(columns=[*names, "level", *Measured._fields])
    alike = pd.DataFrame(records).groupby(names, sort=False)
    return pd.DataFrame(
        dict(zip(names, which, strict=True))
        | {"level": part["level"].mean()}
        | measured(part[["loss"]].to_numpy(float), LOSS)._asdict()
        for which, part in alike
    )


def _losses(points: pd.DataFrame, look: Style) -> Figure:
    panels_of = list(points.groupby(["panel", "axis"], sort=False))
    columns = min(3, len(panels_of))
    lines = math.ceil(len(panels_of) / columns)
    figure = new_figure(3.8 * columns + 1.4, 3.0 * lines + 0.5)
    panels = figure.subplots(lines, columns, squeeze=False)
    for axes, entry in itertools.zip_longest(panels.flat, panels_of):
        if entry is None:
            axes.remove()
            continue
        (panel, axis), part = entry
        for model, line in part.groupby("train", sort=False):
            colour = look.colour[model]
            draw_spread(axes, line["level"].to_numpy(float), line, colour)
            axes.plot(
                line["level"],
                line["mean"],
                color=colour,
                marker="o",
                ms=4,
                lw=1.6,
                mec="white",
                label=model,
            )
        if axis == "noise level":
            log_axis(axes, "x", part["level"])
        if (part["mean"] > 0).all():
            log_axis(axes, "y", part["mean"])
        limit_spread(axes, part["mean"])
        axes.set_title(panel, fontsize=10)
    label_panels(panels, len(panels_of), "", "held-out loss")
    for axes, ((_, axis), _) in zip(figure.axes, panels_of, strict=True):
        axes.set_xlabel(axis)
    handles = {
        name: line
        for axes in figure.axes
        for line, name in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles.keys(), loc="outside right center", frameon=False)
    return figure


class Pictures(NamedTuple):
    """The strips and curves that one model shows, by title."""

    strips: dict[str, np.ndarray]
    curves: dict[str, tuple[np.ndarray, np.ndarray, str, str]]


def shown(suite: "Suite", store: Store, reader: Reader, look: Style) -> Iterator[Sketch]:
    """Yields a picture a strip, of each model's first training, and a picture a title of curves, of
    all trainings.
    """
    curves: dict[tuple[str, str, str], list[tuple[str, np.ndarray, np.ndarray]]] = {}
    for label, specs in suite.inspections.items():
        ends = [spec for spec in specs if spec.snapshot is None and spec.ema is None]
        for index, spec in enumerate(ends):
            pictures = _read(store, reader, spec)
            for title, strip in pictures.strips.items() if index == 0 else ():
                if strip.shape[2] in (1, 3):
                    picture = Picture(
                        f"strip-{slug(label)}-{slug(title)}",
                        f"{label}: {title}",
                        f"{label}: {title}.",
                    )
                    yield picture, partial(_strip, label, title, strip)
            for title, (x, y, x_label, y_label) in pictures.curves.items():
                curves.setdefault((title, x_label, y_label), []).append((label, x, y))
    names: set[str] = set()
    for (title, x_label, y_label), lines in curves.items():
        base = f"curve-{slug(title)}"
        name = next(
            n
            for n in itertools.chain([base], (f"{base}-{k}" for k in itertools.count(2)))
            if n not in names
        )
        names.add(name)
        caption = f"{title}, as each training fitted it; a line a training seed."
        yield Picture(name, title, caption), partial(_curves, title, lines, x_label, y_label, look)


def _read(store: Store, reader: Reader, spec: "InspectSpec") -> Pictures:
    """Returns what a model shows, nothing where it has not been inspected."""
    unit = reader.place(spec)
    record = reader.record(unit)
    if record is None:
        return Pictures({}, {})
    try:
        content = store.read(unit, ".npz")
    except (FileNotFoundError, DamagedError):
        return Pictures({}, {})
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        strips = {title: arrays[f"strip/{index}"] for index, title in enumerate(record["strips"])}
        curves = {
            curve["title"]: (
                arrays[f"curve/{index}/x"],
                arrays[f"curve/{index}/y"],
                curve["x"],
                curve["y"],
            )
            for index, curve in enumerate(record["curves"])
        }
    return Pictures(strips, curves)


def _strip(label: str, title: str, strip: np.ndarray) -> Figure:
    """Draws images of shape (rows, columns, C, H, W) in [0, 1] as they lie."""
    columns = strip.shape[1]
    sheet = tile(np.clip(strip.reshape(-1, *strip.shape[2:]), 0, 1), columns, 2)
    width = min(12.0, 0.7 * columns)
    figure = new_figure(width + 0.4, width * sheet.shape[0] / sheet.shape[1] + 0.6)
    show(figure.subplots(), sheet)
    figure.suptitle(f"{label}: {title}", fontsize=10)
    return figure


def _curves(
    title: str,
    lines: Sequence[tuple[str, np.ndarray, np.ndarray]],
    x_label: str,
    y_label: str,
    look: Style,
) -> Figure:
    figure = new_figure(7.0, 4.0)
    axes = figure.subplots()
    for label, x, y in lines:
        axes.plot(
            x,
            y,
            color=look.colour[label],
            lw=1.6,
            marker="o" if len(x) <= 64 else "",
            ms=3,
            label=label,
        )
    values = pd.Series(np.concatenate([y for _, _, y in lines]))
    if values.min() > 0 and values.max() > SPAN * values.min():
        log_axis(axes, "y", values)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.set_title(title)
    handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    figure.legend(handles.values(), handles.keys(), loc="outside right center", frameon=False)
    return figure
