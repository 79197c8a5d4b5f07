"""Bits/dim versus the likelihood's own cost."""

from collections.abc import Iterator, Sequence
from functools import partial

import pandas as pd
import seaborn
from matplotlib.figure import Figure as MatplotlibFigure

from bench.report.columns import BITS_TITLE
from bench.report.figures.canvas import legend_beside, log_axis, new_figure, take_legend
from bench.report.figures.figure import Figure, LazyFigure
from bench.report.figures.lines import draw_intervals
from bench.report.figures.style import DASHES, LINE, Style
from bench.report.likelihood import SweepPoint
from bench.report.seeds import Measured, measured
from bench.report.statistics import UNBOUNDED


def bits_versus_cost(sweep: Sequence[SweepPoint], style: Style) -> Iterator[LazyFigure]:
    """Yields bits/dim against network evaluations, nothing if no likelihood is finished."""
    points = pd.DataFrame(sweep, columns=SweepPoint._fields)
    if points.empty:
        return
    tightest = points.loc[points.groupby("train", sort=False)["nfe"].idxmax(), "tolerance"]
    down_to = f" down to {tightest.min():g}" if tightest.notna().any() else ""
    caption = (
        "Bits/dim of held-out images against what computing it cost: a sweep of the solver's "
        f"tolerance{down_to}. Line: mean over training seeds; band: its 95 % interval for other "
        "trainings, dots: the values, of too few for one; vertical bar: standard error over the "
        "images, which every model shares. A line that still moves at its right end is not "
        "converged; processes with different floors (see the identities) are not comparable."
    )
    title = "Bits/dim versus the likelihood's own NFE"
    figure = Figure("bits-per-dim-vs-nfe", title, caption, "training")
    yield LazyFigure(figure, partial(_bits, points, style))


def _over_seeds(points: pd.DataFrame) -> pd.DataFrame:
    """Returns a row per model, setting and identity, by rising cost."""
    names = ["train", "kind", "setting", "identity"]
    records = [
        dict(zip(names, which, strict=True))
        | {"nfe": alike["nfe"].mean(), "error": alike["error"].mean()}
        | measured(alike[["value"]].to_numpy(float), UNBOUNDED)._asdict()
        for which, alike in points.groupby(names, sort=False)
    ]
    table = pd.DataFrame(records, columns=[*names, "nfe", "error", *Measured._fields])
    return table.sort_values("nfe", kind="stable")


def _bits(points: pd.DataFrame, style: Style) -> MatplotlibFigure:
    figure = new_figure(7.5, 4.4)
    axes = figure.subplots()
    means = _over_seeds(points)
    seaborn.lineplot(
        means.rename(columns={"train": "model", "kind": "bits/dim"}),
        x="nfe",
        y="mean",
        hue="model",
        hue_order=list(dict.fromkeys(points["train"])),
        style="bits/dim",
        palette=style.colour,
        dashes={"exact": DASHES[0], "bound": DASHES[1]},
        markers={"exact": "o", "bound": "o"},
        estimator=None,
        ax=axes,
        **LINE,
    )
    for model, line in means.groupby("train", sort=False):
        colour = style.colour[model]
        draw_intervals(axes, line, "nfe", colour, bars=False)
        x, y, error = (line[name] for name in ("nfe", "mean", "error"))
        axes.errorbar(x, y, yerr=error, fmt="none", ecolor=colour, elinewidth=0.9, capsize=2.5)
    log_axis(axes, "x", points["nfe"])
    spent = "network evaluations per image spent on the likelihood"
    axes.set(xlabel=spent, ylabel=f"{BITS_TITLE}\nlower is better")
    legend_beside(figure, take_legend(axes))
    return figure
