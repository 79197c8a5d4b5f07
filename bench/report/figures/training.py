"""Training curves, from the logs of the trainings."""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import pandas as pd
import seaborn
from matplotlib.figure import Figure as MatplotlibFigure
from matplotlib.ticker import EngFormatter

from bench.report.figures.canvas import (
    label_panels,
    legend_below,
    log_axis,
    panel_grid,
    take_legend,
)
from bench.report.figures.figure import Figure, LazyFigure
from bench.report.figures.style import Style
from bench.report.records import Records, unit_of
from bench.spec import ImagesSpec, TrainSpec

LOSSES = {
    "loss": {"label": "training loss", "lw": 1, "alpha": 0.45},
    "heldout_loss": {"label": "held-out loss", "lw": 2},
}
"""How the losses of a log are drawn, by name."""
LARGEST = 1e300
"""Losses beyond are no numbers that can be drawn."""


def training_curves(
    trainings: Mapping[str, Sequence[TrainSpec | ImagesSpec]], records: Records, style: Style
) -> Iterator[LazyFigure]:
    """Yields the losses of all trainings along them, a panel per model.

    Args:
        trainings: By label.
    """
    curves = {
        label: [read_log(spec, records) for spec in specs if isinstance(spec, TrainSpec)]
        for label, specs in trainings.items()
        if not isinstance(specs[0], ImagesSpec)
    }
    curves = {label: logs for label, logs in curves.items() if any(map(len, logs))}
    if curves:
        caption = (
            "Training and held-out loss; one line per training seed. Losses of different methods "
            "are not comparable."
        )
        figure = Figure("training", "Training curves", caption, "training")
        yield LazyFigure(figure, partial(_curves, curves, style))


def read_log(spec: TrainSpec, records: Records) -> pd.DataFrame:
    """Returns the log of a training: columns ``images``, ``loss`` and ``heldout_loss``.

    What is no number, as in a line cut short by a kill, is left out.
    """
    entries = [_numbers(line) for line in records.log(unit_of(spec))]
    entries = [entry for entry in entries if "images" in entry]
    log = pd.DataFrame(entries, columns=["images", *LOSSES], dtype=float)
    return log.drop_duplicates("images", keep="last").sort_values("images", ignore_index=True)


def _numbers(line: str) -> dict[str, float]:
    """Returns the finite numbers in a line of a log, none if it cannot be read."""
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(values, dict):
        return {}
    known = {name: values.get(name) for name in ("images", *LOSSES)}
    return {
        name: float(value)
        for name, value in known.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGEST
    }


def _curves(curves: Mapping[str, list[pd.DataFrame]], style: Style) -> MatplotlibFigure:
    figure, panels = panel_grid(len(curves), (3.6, 2.6), sharex=True)
    for axes, (label, logs) in zip(panels, curves.items(), strict=True):
        log = pd.concat([log.assign(run=run) for run, log in enumerate(logs)], ignore_index=True)
        for name, style_of_loss in LOSSES.items():
            lines = {"units": "run", "estimator": None, "color": style.colour[label]}
            seaborn.lineplot(log, x="images", y=name, ax=axes, **lines, **style_of_loss)
        axes.set_title(label)
        heights = log[list(LOSSES)].stack().dropna()
        if len(heights) and (heights > 0).all():
            log_axis(axes, "y", heights)
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    handles = take_legend(*panels)
    for handle in handles.values():
        handle.set_color("0.3")
    label_panels(panels, "training images seen", "loss")
    legend_below(figure, handles)
    return figure
