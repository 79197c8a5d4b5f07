"""The pictures of a report: quality versus compute and versus training, bits/dim versus its cost,
curves, samples.

Those of inspections are drawn in :mod:`bench.report.figures.inspections`.

Colour tells the model and marker the sampler, in seaborn's colour-blind-safe palette, the same in
every picture. Nothing here is random or dated: equal results give equal files.
"""

import itertools
import json
import math
import sys
import textwrap
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import EngFormatter

from bench.card import Card, cards
from bench.data.conditioning import Truth, describe, truth
from bench.data.images import Images, load_images
from bench.files import write as put
from bench.metrics.card import MetricCard
from bench.metrics.registry import METRICS
from bench.report.figures import inspections
from bench.report.figures.canvas import new_figure, rendered
from bench.report.figures.style import (
    DASHES,
    Picture,
    Sketch,
    Style,
    draw_spread,
    label_panels,
    limit_spread,
    log_axis,
    show,
    slug,
    theme,
    tile,
)
from bench.report.formats import number
from bench.report.front import pareto
from bench.report.seeds import Measured, measured
from bench.report.statistics import UNBOUNDED
from bench.report.table import BITS_TITLE, SECONDS, Reader, bare, buckets, identities, seeds_of
from bench.schema import build
from bench.spec import ImagesSpec, LikelihoodSpec, Point, SampleSpec, TrainSpec
from bench.store import DamagedError, Store

if TYPE_CHECKING:
    from bench.suite.resolved import Suite

FRONT = "0.25"
CROWDED = 6
"""Lines above which a picture is also drawn as one small panel a model."""
AXES = {
    "nfe": "network evaluations an image (NFE, measured)",
    "sampling_seconds_per_image": "sampling time an image (seconds)",
}


def write(
    suite: "Suite",
    store: Store,
    rows: pd.DataFrame,
    folder: Path,
    *,
    methods: Mapping[str, Card] | None = None,
    metrics: Mapping[str, MetricCard] = METRICS,
) -> list[Picture]:
    """Draws every picture that the finished results allow and returns them in the order of a
    report.

    What cannot be drawn is returned with its fault, and its traceback goes to the error stream;
    only a picture that cannot be written raises.

    Args:
        suite: What to draw.
        store: Where its results lie.
        rows: The tidy table of :func:`bench.report.results.read_results`.
        folder: Where the files go.
        methods: Cards by name; those found in ``methods/`` by default.
        metrics: Metric cards by name.
    """
    methods = cards() if methods is None else methods
    directions, floors, bounds = rows.attrs["metrics"], rows.attrs["floors"], rows.attrs["bounds"]
    everything = bare(rows)
    inspected = rows.attrs["inspections"]
    plain = everything[everything["ema"].isna()]  # the trainings' own averages
    rows = plain[plain["snapshot"].isna()]  # and their ends
    look = Style(everything, list(suite.train))
    reader = Reader(store, metrics)
    families = {
        "quality versus compute": _quality(rows, directions, bounds, floors, look),
        "quality versus training": _learning(plain, directions, bounds, floors, look),
        "quality versus averages": _lengths(everything, directions, bounds, floors, look),
        "bits/dim versus its cost": _likelihoods(suite, reader, methods, look),
        "training curves": _training(suite, store, reader, look),
        "held-out loss by noise level": inspections.losses(inspected, look),
        "what the models show": inspections.shown(suite, store, reader, look),
    }
    families |= {
        f"samples of {label}": _samples(label, suite, store, rows, look) for label in suite.train
    }
    families |= {
        f"conditional samples of {label}": _conditionals(label, suite, store, rows, look)
        for label in suite.train
    }
    with theme():
        return [
            picture
            for what, sketches in families.items()
            for picture in _drawn(what, sketches, folder)
        ]


def _drawn(what: str, sketches: Iterator[Sketch], folder: Path) -> Iterator[Picture]:
    """Draws and writes pictures of one kind: a fault costs the picture in which it is, no other."""
    while True:
        try:
            picture, draw = next(sketches)
        except StopIteration:
            return
        except (
            Exception
        ) as error:  # of whatever kind: the tables and the other pictures are not to be lost
            yield _faulty(Picture(slug(what), what, ""), error)
            return
        try:
            files = rendered(draw())
        except Exception as error:
            yield _faulty(picture, error)
            continue
        for kind, content in files.items():
            put(folder / f"{picture.name}.{kind}", content)
        yield picture


def _faulty(picture: Picture, error: Exception) -> Picture:
    cause = f"{type(error).__name__}: {error}"
    traceback.print_exception(error, file=sys.stderr)
    print(f"report: {picture.name} could not be drawn: {cause}", file=sys.stderr)
    return picture._replace(fault=cause)


# Quality versus compute


LEGEND_BESIDE = 40
"""Characters of a legend's longest entry that leave the panels beside it room enough."""

Floors = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""What a metric says of real images, by column and identity: mean and std."""
Bounds = Mapping[str, tuple[float, float]]
"""Of a metric's values, by column."""
BAND = (
    "band and bars: its 95 % interval as in the table (there with what it holds for: of one training or of one sample "
    "seed, for that alone); dots: the values, of too few for an interval. What leaves the panel is cut off"
)


def _quality(
    rows: pd.DataFrame, directions: Mapping[str, bool], bounds: Bounds, floors: Floors, look: Style
) -> Iterator[Sketch]:
    for metric, higher in directions.items():
        better = "higher is better" if higher else "lower is better"
        for name, note, floor, summary in _comparable(
            summarise(rows, look, metric, bounds[metric]), metric, floors
        ):
            caption = (
                f"{metric} ({better}) against measured network evaluations and seconds an image. Line: mean over the "
                f"seeds of complete groups; {BAND}; horizontal bar: range of an adaptive sampler's evaluations. "
                "Ringed: on the Pareto front (nothing else is at least as good for as little)."
            )
            yield (
                Picture(f"{name}-vs-compute", f"{metric} versus compute", caption + note),
                partial(_overview, summary, look, metric, higher, floor),
            )
            if summary.groupby(["train", "sampler"]).ngroups > CROWDED:
                caption = f"{metric} ({better}), one panel a model; grey: the others; dashes: the Pareto front of all."
                yield (
                    Picture(
                        f"{name}-by-model", f"{metric} versus NFE, model by model", caption + note
                    ),
                    partial(_by_model, summary, look, metric, higher, floor),
                )


def _comparable(
    summary: pd.DataFrame, metric: str, floors: Floors
) -> Iterator[tuple[str, str, Mapping[str, Any] | None, pd.DataFrame]]:
    """Yields the parts of a summary that may stand in one picture, those of one identity of the
    metric.

    With each: the beginning of the picture's name, what the caption has to add, and the floor of
    that identity.
    """
    known = summary["identity"].nunique()
    for identity, part in summary.groupby("identity", sort=False):
        note = (
            f" Identity {identity} alone, one of {known}, which are not comparable."
            if known > 1
            else ""
        )
        floor = floors.get(metric, {}).get(identity)
        note += (
            ""
            if floor is None
            else " Grey across: held-out real images, mean ± standard deviation over sets."
        )
        yield slug(f"{metric} {identity}" if known > 1 else metric), note, floor, part


def complete(rows: pd.DataFrame, metric: str) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yields the points of each group of which every point has a finite value, with their identity
    of the metric.

    A mean over the seeds that happened to survive is none; a group of several identities is split.
    """
    for _, group in rows.groupby("group", sort=False):
        if np.isfinite(group[metric].astype(float)).all() and group["nfe"].notna().all():
            for part in buckets(group):
                yield identities(part["identity"].iloc[0]).get(metric, ""), part


def summarise(
    rows: pd.DataFrame, look: Style, metric: str, bounds: tuple[float, float]
) -> pd.DataFrame:
    """Returns what the seeds tell of a metric (:class:`Measured`), a row a complete (model,
    sampler, setting) and identity.

    Seconds are blank where they are of unlike devices.
    """
    records = []
    for line, part in look.lines(rows):
        for identity, group in complete(part, metric):
            record = {
                "train": line.train,
                "sampler": line.sampler,
                "identity": identity,
                "seeds": len(group),
            }
            record |= {column: group[column].mean() for column in AXES}
            if group["device"].nunique() > 1:
                record[SECONDS] = math.nan
            record |= {"nfe_min": group["nfe_min"].min(), "nfe_max": group["nfe_max"].max()}
            records.append(record | seeds_of(group, metric, bounds)._asdict())
    columns = [
        "train",
        "sampler",
        "identity",
        "seeds",
        *AXES,
        "nfe_min",
        "nfe_max",
        *Measured._fields,
    ]
    return pd.DataFrame(records, columns=columns)


def _overview(
    summary: pd.DataFrame, look: Style, metric: str, higher: bool, floor: Mapping[str, Any] | None
) -> Figure:
    handles = [*_handles(summary, look), *_floor_handles(floor)]
    below = max(len(handle.get_label()) for handle in handles) > LEGEND_BESIDE
    if below:  # in two columns, models beside samplers
        cut = 1 + summary["train"].nunique()
        models, others = handles[:cut], handles[cut + 1 :]
        rows = max(len(models), len(others))
        handles = [*models, *[Line2D([], [], ls="none", label=" ")] * (rows - len(models)), *others]
    figure = new_figure(11.5, 4.8 + (0.22 * rows if below else 0))
    panels = figure.subplots(1, 2, sharey=True)
    for axes, column in zip(panels, AXES, strict=True):
        for (train, sampler), part in summary.groupby(["train", "sampler"], sort=False):
            _line(axes, part.sort_values(column), column, look, train, sampler)
        _front(axes, summary, column, higher, rings=True)
        _scale(axes, summary, column, higher)
        axes.set_xlabel(AXES[column])
        if summary[column].isna().all():
            axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", color="0.4")
            axes.set_xticks([])
    panels[0].set_ylabel(f"{metric}, {'higher' if higher else 'lower'} is better")
    _floor(panels, floor)
    where = {"loc": "outside lower left", "ncols": 2} if below else {"loc": "outside right center"}
    figure.legend(handles=handles, frameon=False, **where)
    return figure


def _by_model(
    summary: pd.DataFrame, look: Style, metric: str, higher: bool, floor: Mapping[str, Any] | None
) -> Figure:
    models = list(dict.fromkeys(summary["train"]))
    columns = min(3, len(models))
    lines = math.ceil(len(models) / columns)
    figure = new_figure(3.6 * columns + 0.4, 2.7 * lines + 0.8)
    panels = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
    for axes, model in itertools.zip_longest(panels.flat, models):
        if model is None:
            axes.remove()
            continue
        for (train, sampler), part in summary.groupby(["train", "sampler"], sort=False):
            if train == model:
                _line(axes, part.sort_values("nfe"), "nfe", look, train, sampler)
            else:
                axes.plot(
                    *part.sort_values("nfe")[["nfe", "mean"]].to_numpy().T,
                    color="0.82",
                    lw=1,
                    zorder=1,
                )
        _front(axes, summary, "nfe", higher, rings=False)
        _scale(axes, summary, "nfe", higher)
        axes.set_title(model, color="0.15")
    label_panels(
        panels,
        len(models),
        "measured NFE",
        f"{metric}\n{'higher' if higher else 'lower'} is better",
    )
    handles = [
        _sampler_handle(name, look) for name in look.samplers if name in set(summary["sampler"])
    ]
    handles += [
        Line2D([], [], color="0.82", label="the other models"),
        _front_handle(),
        *_floor_handles(floor),
    ]
    _floor(panels.flat[: len(models)], floor)
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=_legend_columns(handles, figure),
        frameon=False,
    )
    return figure


def _legend_columns(handles: Sequence[Line2D | Patch], figure: Figure) -> int:
    """Returns how many columns of a legend fit into a figure by its longest word, about 0.075
    inches a letter.
    """
    widest = 0.7 + 0.075 * max(len(str(handle.get_label())) for handle in handles)
    return max(1, min(6, len(handles), int(figure.get_size_inches()[0] / widest)))


def _line(
    axes: Axes, part: pd.DataFrame, column: str, look: Style, train: str, sampler: str
) -> None:
    colour = look.colour[train]
    x = part[column].to_numpy()
    draw_spread(axes, x, part, colour)
    style = {"linestyle": look.dash[sampler], "marker": look.marker[sampler]}
    axes.plot(x, part["mean"], color=colour, ms=5, lw=1.6, mec="white", mew=0.6, zorder=3, **style)
    if column == "nfe" and (part["nfe_min"] < part["nfe_max"]).any():
        reach = np.stack([part["nfe"] - part["nfe_min"], part["nfe_max"] - part["nfe"]])
        axes.errorbar(
            x, part["mean"], xerr=reach, fmt="none", ecolor=colour, elinewidth=1, capsize=2
        )


def _front(axes: Axes, summary: pd.DataFrame, column: str, higher: bool, *, rings: bool) -> None:
    known = summary[summary[column].notna()]
    if known.empty:
        return
    front = known[
        pareto(known[column].to_numpy(), known["mean"].to_numpy(), higher=higher)
    ].sort_values(column)
    axes.plot(
        front[column],
        front["mean"],
        color=FRONT,
        lw=1,
        ls=(0, (2, 2)),
        drawstyle="steps-post",
        zorder=2,
    )
    if rings:
        axes.scatter(
            front[column],
            front["mean"],
            s=90,
            facecolors="none",
            edgecolors=FRONT,
            linewidths=1.2,
            zorder=4,
        )


def _scale(axes: Axes, summary: pd.DataFrame, column: str, higher: bool) -> None:
    """Sets log axes; a score that is better when higher keeps a linear one, as it spans less than a
    decade.
    """
    log_axis(axes, "x", summary[column])
    if column != "nfe":
        axes.xaxis.set_major_formatter(EngFormatter("s", sep="\N{THIN SPACE}"))
    if not higher and (summary["mean"] > 0).all():
        log_axis(axes, "y", summary["mean"])
    limit_spread(axes, summary["mean"])


def _handles(summary: pd.DataFrame, look: Style) -> list[Line2D]:
    """Returns a legend in two parts: colours of models, markers of samplers, and the front."""
    blank = Line2D([], [], ls="none")
    models = [
        Line2D([], [], color=look.colour[name], lw=3, label=name)
        for name in dict.fromkeys(summary["train"])
    ]
    samplers = [
        _sampler_handle(name, look) for name in look.samplers if name in set(summary["sampler"])
    ]
    title = {"ls": "none", "marker": "none"}
    return [
        Line2D([], [], label="model", **title),
        *models,
        blank,
        Line2D([], [], label="sampler", **title),
        *samplers,
        blank,
        _front_handle(),
    ]


def _sampler_handle(name: str, look: Style) -> Line2D:
    return Line2D(
        [], [], color="0.3", ls=look.dash[name], marker=look.marker[name], ms=5, label=name
    )


def _front_handle() -> Line2D:
    return Line2D([], [], color=FRONT, ls=(0, (2, 2)), lw=1, label="Pareto front")


def _floor(panels: Iterable[Axes], floor: Mapping[str, Any] | None) -> None:
    """Draws what real images score across panels that share their y axis and are otherwise
    finished.
    """
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


def _floor_handles(floor: Mapping[str, Any] | None) -> list[Patch]:
    if floor is None:
        return []
    std = _deviation(floor)
    label = f"real images: {number(floor['mean'], 2)}" + (f" ± {number(std, 1)}" if std else "")
    return [Patch(color="0.5", alpha=0.35, lw=0, label=label)]


def _deviation(floor: Mapping[str, Any]) -> float:
    """Returns the spread of a floor, 0 where it is not known: one set that is the whole split."""
    return floor["std"] if floor["std"] is not None and math.isfinite(floor["std"]) else 0.0


# Quality versus training


def _learning(
    rows: pd.DataFrame, directions: Mapping[str, bool], bounds: Bounds, floors: Floors, look: Style
) -> Iterator[Sketch]:
    for metric, higher in directions.items():
        caption = (
            f"{metric} ({'higher' if higher else 'lower'} is better) along the trainings that keep snapshots, each "
            f"sampler at the largest budget that it has. Line: mean over the seeds of complete groups; {BAND}."
        )
        for name, note, floor, summary in _comparable(
            learning(rows, look, metric, bounds[metric]), metric, floors
        ):
            yield (
                Picture(f"{name}-vs-training", f"{metric} versus training", caption + note),
                partial(_along, summary, "training_images", metric, higher, look, floor),
            )


def learning(
    rows: pd.DataFrame, look: Style, metric: str, bounds: tuple[float, float]
) -> pd.DataFrame:
    """Returns what the seeds tell of a metric, a row a (model, sampler, snapshot or end), by images
    seen.

    Each sampler stands at its largest measured NFE. Models without a finished snapshot are left
    out.
    """
    summary = _summary(rows, look, metric, "training_images", bounds).astype(
        {"training_images": int}
    )
    known = rows.loc[rows["snapshot"].notna(), "train"]
    return summary[summary["train"].isin(known)]


def _lengths(
    rows: pd.DataFrame, directions: Mapping[str, bool], bounds: Bounds, floors: Floors, look: Style
) -> Iterator[Sketch]:
    for metric, higher in directions.items():
        caption = (
            f"{metric} ({'higher' if higher else 'lower'} is better) of averages of different lengths of the same "
            "trainings, each sampler at the largest budget that it has. Line: mean over the seeds of complete groups; "
            f"{BAND}."
        )
        for name, note, floor, summary in _comparable(
            lengths(rows, look, metric, bounds[metric]), metric, floors
        ):
            yield (
                Picture(f"{name}-vs-ema", f"{metric} versus the average's length", caption + note),
                partial(_along, summary, "ema", metric, higher, look, floor),
            )


def lengths(
    rows: pd.DataFrame, look: Style, metric: str, bounds: tuple[float, float]
) -> pd.DataFrame:
    """Returns what the seeds tell of a metric, a row a (model, sampler, relative width of the
    average).

    Each sampler stands at its largest measured NFE; snapshots are left out.
    """
    return _summary(
        rows[rows["ema"].notna() & rows["snapshot"].isna()], look, metric, "ema", bounds
    )


def _summary(
    rows: pd.DataFrame, look: Style, metric: str, axis: str, bounds: tuple[float, float]
) -> pd.DataFrame:
    """Returns what the seeds tell, a row a (model, sampler, identity, value of a column), at the
    largest NFE.
    """
    records = []
    for line, part in look.lines(rows[rows[axis].notna()]):
        best: dict[tuple[str, Any], pd.DataFrame] = {}
        for identity, group in complete(part, metric):
            where = identity, group[axis].iloc[0]
            if where not in best or group["nfe"].mean() > best[where]["nfe"].mean():
                best[where] = group
        for (identity, value), group in sorted(best.items(), key=lambda item: item[0]):
            record = {
                "train": line.train,
                "sampler": line.sampler,
                "identity": identity,
                axis: value,
            }
            records.append(record | seeds_of(group, metric, bounds)._asdict())
    return pd.DataFrame(records, columns=["train", "sampler", "identity", axis, *Measured._fields])


LENGTHS = {
    "training_images": "training images seen",
    "ema": "relative width of the average of the weights",
}


def _along(
    summary: pd.DataFrame,
    axis: str,
    metric: str,
    higher: bool,
    look: Style,
    floor: Mapping[str, Any] | None,
) -> Figure:
    """Draws a line a (model, sampler)."""
    figure = new_figure(8.5, 4.6)
    axes = figure.subplots()
    for (train, sampler), part in summary.groupby(["train", "sampler"], sort=False):
        _line(axes, part, axis, look, train, sampler)
    if axis == "training_images":
        log_axis(axes, "x", summary[axis])
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    if not higher and (summary["mean"] > 0).all():
        log_axis(axes, "y", summary["mean"])
    limit_spread(axes, summary["mean"])
    axes.set_xlabel(LENGTHS[axis])
    axes.set_ylabel(f"{metric}, {'higher' if higher else 'lower'} is better")
    _floor([axes], floor)
    handles = [*_handles(summary, look)[:-2], *_floor_handles(floor)]
    figure.legend(handles=handles, loc="outside right center", frameon=False)
    return figure


# Bits/dim versus the likelihood's own cost


def _likelihoods(
    suite: "Suite", reader: Reader, methods: Mapping[str, Card], look: Style
) -> Iterator[Sketch]:
    points = likelihood_points(suite, reader, methods)
    if points.empty:
        return
    tightest = points.loc[points.groupby("train", sort=False)["nfe"].idxmax(), "tolerance"]
    caption = (
        "Bits/dim of held-out images against what computing it cost: a sweep of the solver's tolerance"
        + (f" down to {tightest.min():g}" if tightest.notna().any() else "")
        + ". Line: mean over training seeds; band: its 95 % interval for other trainings, dots: the values, of too few "
        "for one; vertical bar: standard error over the images, which every model shares. A line that still moves at "
        "its right end is not converged; processes with different "
        "floors (see the identities) are not comparable."
    )
    picture = Picture("bits-per-dim-vs-nfe", "Bits/dim versus the likelihood's own NFE", caption)
    yield picture, partial(_bits, points, look)


def _bits(points: pd.DataFrame, look: Style) -> Figure:
    figure = new_figure(7.5, 4.4)
    axes = figure.subplots()
    for model, part in points.groupby("train", sort=False):
        bound = part["kind"].iloc[0] == "bound"
        records = [
            {column: alike[column].mean() for column in ("nfe", "value", "error")}
            | measured(alike[["value"]].to_numpy(float), UNBOUNDED)._asdict()
            for _, alike in part.groupby(["setting", "identity"], sort=False)
        ]
        part = pd.DataFrame(records).sort_values("nfe")
        colour = look.colour[model]
        draw_spread(axes, part["nfe"].to_numpy(), part, colour, bars=False)
        style = {
            "marker": "o",
            "ms": 5,
            "lw": 1.6,
            "mec": "white",
            "mew": 0.6,
            "ls": DASHES[1] if bound else "-",
        }
        label = f"{model} (bound)" if bound else model
        axes.plot(part["nfe"], part["value"], color=colour, label=label, **style)
        axes.errorbar(
            part["nfe"],
            part["value"],
            yerr=part["error"],
            fmt="none",
            ecolor=colour,
            elinewidth=0.9,
            capsize=2.5,
        )
    log_axis(axes, "x", points["nfe"])
    axes.set_xlabel("network evaluations an image spent on the likelihood")
    axes.set_ylabel(BITS_TITLE + "\nlower is better")
    figure.legend(loc="outside right center", frameon=False)
    return figure


def likelihood_points(suite: "Suite", reader: Reader, methods: Mapping[str, Card]) -> pd.DataFrame:
    """Returns bits/dim and its cost, a row a likelihood of the sweep or of the table itself.

    Settings that some training of a model lacks are left out. Rows of one ``setting`` and
    ``identity`` have a mean.
    """
    records, lacking = [], set()
    for label, spec in _likelihood_specs(suite):
        setting = repr(replace(spec, train=replace(spec.train, seed=0)))
        measured = reader.likelihood(spec)
        if measured is None or not math.isfinite(measured["mean"]):
            lacking.add((label, setting))
            continue
        card = methods[spec.train.method].likelihood
        params = build(card.params, spec.params)
        record = {
            "train": label,
            "nfe": measured["nfe"],
            "value": measured["mean"],
            "error": measured["error"],
        }
        record |= {"tolerance": getattr(params, "tolerance", math.nan), "kind": card.kind}
        records.append(
            record | {"setting": setting, "identity": reader.identify(measured["identity"])}
        )
    records = [record for record in records if (record["train"], record["setting"]) not in lacking]
    columns = ["train", "nfe", "value", "error", "tolerance", "kind", "setting", "identity"]
    return pd.DataFrame(records, columns=columns)


def _likelihood_specs(suite: "Suite") -> Iterator[tuple[str, LikelihoodSpec]]:
    """Yields the likelihoods of each model, those of the table left out where the sweep scores
    other images.
    """
    for label in suite.train:
        swept = list(suite.sweep.get(label, ()))
        own = [
            point.likelihood
            for point in suite.points
            if point.train == label and point.likelihood is not None
        ]
        own = [spec for spec in own if spec.snapshot is None and spec.ema is None]
        images = {(spec.images, spec.split, spec.seed) for spec in swept}
        found: dict[str, LikelihoodSpec] = {}
        for spec in (
            *swept,
            *(spec for spec in own if not swept or (spec.images, spec.split, spec.seed) in images),
        ):
            found.setdefault(repr(spec), spec)
        yield from ((label, spec) for spec in found.values())


# Training curves


def _training(suite: "Suite", store: Store, reader: Reader, look: Style) -> Iterator[Sketch]:
    curves = {
        label: [c for spec in specs if len(c := _curve(store, reader, spec))]
        for label, specs in suite.train.items()
    }
    curves = {label: found for label, found in curves.items() if found}
    if not curves:
        return
    caption = "Training and held-out loss; a line a training seed. Losses of different methods are not comparable."
    yield Picture("training", "Training curves", caption), partial(_curves, curves, look)


def _curves(curves: Mapping[str, list[pd.DataFrame]], look: Style) -> Figure:
    columns = min(3, len(curves))
    lines = math.ceil(len(curves) / columns)
    figure = new_figure(3.6 * columns + 0.4, 2.6 * lines + 0.7)
    panels = figure.subplots(lines, columns, sharex=True, squeeze=False)
    for axes, label in itertools.zip_longest(panels.flat, curves):
        if label is None:
            axes.remove()
            continue
        for curve in curves[label]:
            _draw_curve(axes, curve, look.colour[label])
        axes.set_title(label)
        heights = pd.concat(
            [curve[[c for c in LOSSES if c in curve]].stack() for curve in curves[label]]
        )
        if len(heights) and (heights > 0).all():
            log_axis(axes, "y", heights)
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    label_panels(panels, len(curves), "training images seen", "loss")
    handles = [
        Line2D([], [], color="0.3", lw=1, alpha=0.5, label="training loss"),
        Line2D([], [], color="0.3", lw=2, label="held-out loss"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False)
    return figure


def _curve(store: Store, reader: Reader, spec: TrainSpec | ImagesSpec) -> pd.DataFrame:
    """Returns the losses in the log of a training; what is no number, as in a line cut short by a
    kill, is left out.
    """
    if isinstance(spec, ImagesSpec):
        return pd.DataFrame()
    stage, name, _ = reader.place(spec)
    try:
        lines = (store.folder(stage, name) / "log.jsonl").read_text(errors="replace").splitlines()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return pd.DataFrame()
    records = [_numbers(line) for line in lines]
    curve = pd.DataFrame([record for record in records if "images" in record], dtype=float)
    if curve.empty:
        return curve
    return curve.drop_duplicates("images", keep="last").sort_values("images")


def _numbers(line: str) -> dict[str, float]:
    """Returns the finite numbers in one line of a log that a figure shows, none of a line that
    cannot be read.
    """
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(values, dict):
        return {}
    known = {name: values.get(name) for name in ("images", *LOSSES)}
    numeric = {
        name: value
        for name, value in known.items()
        if type(value) in (int, float) and abs(value) < 1e300
    }
    return {name: float(value) for name, value in numeric.items()}


LOSSES = {"loss": {"lw": 1, "alpha": 0.45}, "heldout_loss": {"lw": 2}}


def _draw_curve(axes: Axes, curve: pd.DataFrame, colour: Any) -> None:
    for column, style in LOSSES.items():
        if column in curve:
            known = curve[curve[column].notna()]
            axes.plot(known["images"], known[column], color=colour, **style)


# Samples


def _samples(
    label: str, suite: "Suite", store: Store, rows: pd.DataFrame, look: Style
) -> Iterator[Sketch]:
    free = rows[~rows["label"].isin([point.label for point in suite.points if _conditional(point)])]
    mine = free[free["train"] == label]
    shown = _chosen(mine, look) if len(mine) else []
    data = load_images(suite.dataset)
    if data.kind == "real":
        yield from _densities(label, shown, store, data)
        return
    best = [
        largest
        for name, part in shown
        if (largest := _largest(name, part, store, GRID * GRID)) is not None
    ]
    if not best:
        return
    real = _held_out(data)
    beside = ", and real held-out ones, drawn at random" if len(real) else ""
    caption = (
        f"{label}: the first images of each sampler at its largest budget, not selected{beside}."
    )
    yield (
        Picture(f"samples-{slug(label)}", f"Samples of {label}", caption),
        partial(_grid, label, best, real, data.levels),
    )
    strips = [(name, _strips(part, store)) for name, part in shown]
    strips = [(name, found) for name, found in strips if len(found) > 1]
    if strips:
        caption = f"{label}: a column is one noise draw, sampled with more and more network evaluations an image."
        yield (
            Picture(f"budgets-{slug(label)}", f"Samples of {label} across budgets", caption),
            partial(_budgets, label, strips, data.levels),
        )


def _held_out(data: Images) -> np.ndarray:
    """Returns held-out images, none where the data set is not there: samples of imported weights do
    not need it.
    """
    try:
        return data.drawn("test", slice(GRID * GRID))
    except FileNotFoundError:
        return np.zeros((0, *data.shape), dtype=np.uint8)


def _conditional(point: Point) -> bool:
    """Tells whether a point's samples are given something."""
    return isinstance(point.sample, SampleSpec) and point.sample.given is not None


def _chosen(rows: pd.DataFrame, look: Style) -> list[tuple[str, pd.DataFrame]]:
    """Returns for each sampler of a model the points of its first seeds, by rising NFE."""
    if rows["sampler"].isna().all():
        return [("made elsewhere", rows)]
    found = []
    for line, part in look.lines(rows[rows["nfe"].notna()]):
        first = part[
            (part["train_seed"] == part["train_seed"].min())
            & (part["sample_seed"] == part["sample_seed"].min())
        ]
        found.append((line.sampler, first.sort_values("nfe", kind="stable")))
    return found


class Shown(NamedTuple):
    """Images with what is written above or beside them."""

    title: str
    images: np.ndarray


GRID = 8
STRIP = 14


def _largest(name: str, part: pd.DataFrame, store: Store, count: int) -> Shown | None:
    """Returns the first images of the largest budget of the sampler ``name`` that has some."""
    for _, row in part[::-1].iterrows():
        images = _images(store, row["key"], count)
        if len(images):
            return Shown(_wrapped(name, row["nfe"]), images)
    return None


def _title_inches(blocks: Iterable[Shown]) -> float:
    """Returns the height of the tallest of the titles above images."""
    return 0.16 * max(len(block.title.splitlines()) for block in blocks)


def _strips(part: pd.DataFrame, store: Store) -> list[Shown]:
    """Returns the first images of every budget: common random numbers, so a column is one image
    made at all of them.
    """
    strips = [
        Shown(f"{row['nfe']:.4g}", _images(store, row["key"], STRIP)) for _, row in part.iterrows()
    ]
    return [strip for strip in strips if len(strip.images)]


def _images(store: Store, name: str, count: int) -> np.ndarray:
    """Returns stored images, none where they were pruned, damaged or never made."""
    try:
        return store.images(name, count)
    except (FileNotFoundError, DamagedError):
        return np.zeros((0, 1, 1, 1), dtype=np.uint8)


def _grid(label: str, best: Iterable[Shown], real: np.ndarray, levels: int) -> Figure:
    blocks = [*best, Shown("real, held out", real)] if len(real) else list(best)
    columns = min(4, len(blocks))
    lines = math.ceil(len(blocks) / columns)
    figure = new_figure(2.7 * columns + 0.2, (2.8 + _title_inches(blocks)) * lines + 0.4)
    figure.get_layout_engine().set(wspace=0.06)
    panels = figure.subplots(lines, columns, squeeze=False)
    for axes, block in itertools.zip_longest(panels.flat, blocks):
        if block is None:
            axes.remove()
            continue
        show(axes, tile(block.images, GRID, levels))
        axes.set_title(block.title, fontsize=9)
    figure.suptitle(label, fontsize=12)
    return figure


# Points in the plane

POINTS = 100_000
"""The most points of one density."""


def _densities(
    label: str, shown: list[tuple[str, pd.DataFrame]], store: Store, data: Images
) -> Iterator[Sketch]:
    """Yields the densities of samples beside that of the data: points, or what a plane shows of
    them.
    """
    dims = math.prod(data.shape)
    if dims < 2:
        return
    best = [
        largest
        for name, part in shown
        if (largest := _largest(name, part, store, POINTS)) is not None
    ]
    if best:
        caption = f"{label}: density of the samples of each sampler at its largest budget, and of held-out points."
        caption += " One scale for all; what lies outside the panel is counted above it."
        caption += (
            f" Of {dims} dimensions, the two directions in which held-out points vary most."
            if dims > 2
            else ""
        )
        picture = Picture(f"density-{slug(label)}", f"Density of {label}", caption)
        blocks, span = _onto_plane([*best, Shown("held out", data.test)], data)
        yield picture, partial(_density, label, blocks, span)


def _onto_plane(blocks: list[Shown], data: Images) -> tuple[list[Shown], tuple[float, float]]:
    """Returns points of any dimensions in the plane, shape (N, 2, 1, 1), and the range of both
    coordinates there.
    """
    held_out = blocks[-1].images.reshape(len(blocks[-1].images), -1).astype(np.float64)
    if held_out.shape[1] == 2:
        return blocks, data.range
    centre = held_out.mean(0)
    _, _, directions = np.linalg.svd(held_out - centre, full_matrices=False)
    flat = [
        (block.images.reshape(len(block.images), -1) - centre) @ directions[:2].T
        for block in blocks
    ]
    most = 1.1 * float(np.abs(flat[-1]).max())
    shown = [
        Shown(block.title, x.reshape(-1, 2, 1, 1)) for block, x in zip(blocks, flat, strict=True)
    ]
    return shown, (-most, most)


def _density(label: str, blocks: list[Shown], span: tuple[float, float]) -> Figure:
    low, high = span
    columns = min(4, len(blocks))
    lines = math.ceil(len(blocks) / columns)
    figure = new_figure(2.7 * columns + 0.2, (2.8 + _title_inches(blocks)) * lines + 0.4)
    panels = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
    bins = min(100, math.isqrt(4 * min(len(block.images) for block in blocks)) + 4)
    tables = [_histogram(block.images, (low, high), bins) for block in blocks]
    most = tables[-1].max()  # that of the data
    for axes, (block, table) in itertools.zip_longest(
        panels.flat, zip(blocks, tables, strict=True), fillvalue=(None, None)
    ):
        if block is None:
            axes.remove()
            continue
        axes.imshow(
            table.T, origin="lower", extent=(low, high, low, high), cmap="magma", vmin=0, vmax=most
        )
        outside = 1 - table.sum() * ((high - low) / bins) ** 2
        axes.set_title(
            block.title + (f"\n{outside:.1%} outside" if outside > 5e-4 else ""), fontsize=9
        )
        axes.grid(False)
    figure.suptitle(label, fontsize=12)
    return figure


def _histogram(points: np.ndarray, span: tuple[float, float], bins: int) -> np.ndarray:
    """Returns the density of points, shape (N, 2, 1, 1), on a grid of (bins, bins) cells; those
    outside count too.
    """
    x, y = points.reshape(-1, 2).astype(np.float64).T
    counts, _, _ = np.histogram2d(x, y, bins=bins, range=(span, span))
    return counts / (len(points) * ((span[1] - span[0]) / bins) ** 2)


# Images across budgets


def _budgets(label: str, strips: list[tuple[str, list[Shown]]], levels: int) -> Figure:
    columns = min(STRIP, max(len(strip.images) for _, found in strips for strip in found))
    height = sum(0.42 * len(found) + 0.32 for _, found in strips)
    figure = new_figure(6.6, height + 0.45)
    panels = figure.subplots(
        len(strips), 1, squeeze=False, height_ratios=[len(found) for _, found in strips]
    )
    for axes, (name, found) in zip(panels.flat, strips, strict=True):
        sheet = tile(
            np.concatenate([_padded(strip.images, columns) for strip in found]), columns, levels
        )
        axes.imshow(sheet, interpolation="nearest", vmin=0, vmax=1)
        pitch = (sheet.shape[0] + 1) / len(found)
        axes.set_yticks(
            [pitch * (i + 0.5) - 1 for i in range(len(found))], [strip.title for strip in found]
        )
        axes.set_xticks([])
        axes.set_ylabel("NFE")
        axes.grid(False)
        for spine in axes.spines.values():
            spine.set_visible(False)
        axes.set_title(name, fontsize=10, loc="left")
    figure.align_ylabels()
    figure.suptitle(f"{label}: equal noise, growing budget", fontsize=12)
    return figure


# What was given, and what samples make of it

RESTORED = 8
REPEATS = 4
VEIL = np.array([0.45, 0.62, 0.85])
"""The colour of what is hidden."""


def _conditionals(
    label: str, suite: "Suite", store: Store, rows: pd.DataFrame, look: Style
) -> Iterator[Sketch]:
    points = {point.label: point for point in suite.points if _conditional(point)}
    mine = rows[(rows["train"] == label) & rows["label"].isin(list(points))]
    if mine.empty:
        return
    data = load_images(suite.dataset)
    by_condition: dict[str, list[tuple[str, Restoration]]] = {}
    for name, part in _chosen(mine, look):
        for _, row in part[::-1].iterrows():
            spec, count = points[row["label"]].sample, points[row["label"]].count
            images = _images(store, row["key"], count)
            if len(images):
                what = describe(spec.given)
                shown = Restoration(images, truth(spec.given, data, 0, len(images)))
                by_condition.setdefault(what, []).append(
                    (_wrapped(name.removesuffix(what), row["nfe"]), shown)
                )
                break
    for what, found in by_condition.items():
        classes = found[0][1].truth.images is None
        beginning = f"{label}, {what}: "
        if classes:
            caption = "the first samples of each sampler at its largest budget, not selected"
            caption += "; a column a class." if what.endswith(" all") else "."
        else:
            caption = (
                "a row a held-out image, drawn at random; what was given of it (what was hidden is blue), samples of "
                "each sampler at its largest budget, not selected, and the truth."
            )
        yield (
            Picture(f"given-{slug(label)}-{slug(what)}", f"{label}: {what}", beginning + caption),
            partial(_classes if classes else _restoration, label, what, found, data),
        )


class Restoration(NamedTuple):
    """Samples of one point, and what they restore, or their classes."""

    samples: np.ndarray
    truth: Truth


def _restoration(
    label: str, what: str, found: list[tuple[str, Restoration]], data: Images
) -> Figure:
    """Draws a row an image: what is given, some samples of each sampler, the truth."""
    first = found[0][1].truth
    rows = [np.flatnonzero(first.image == image)[0] for image in np.unique(first.image)[:RESTORED]]
    blocks = [("given", _given_sheet(first, rows, data.levels))]
    for name, shown in found:
        blocks.append(
            (
                name,
                tile(np.concatenate([_repeats(shown, row) for row in rows]), REPEATS, data.levels),
            )
        )
    blocks.append(("truth", tile(first.images[rows], 1, data.levels)))
    widths = [sheet.shape[1] for _, sheet in blocks]
    inches = 0.42 * len(rows) / blocks[0][1].shape[0]
    figure = new_figure(inches * sum(widths) + 0.5 * len(blocks), 0.42 * len(rows) + 1.1)
    panels = figure.subplots(1, len(blocks), squeeze=False, width_ratios=widths)
    for axes, (name, sheet) in zip(panels.flat, blocks, strict=True):
        show(axes, sheet)
        axes.set_title(name, fontsize=8)
    figure.suptitle(f"{label}: {what}", fontsize=12)
    return figure


def _classes(label: str, what: str, found: list[tuple[str, Restoration]], data: Images) -> Figure:
    """Draws the first samples of each sampler as they come: a column a class where the classes take
    turns.
    """
    columns = min(3, len(found))
    lines = math.ceil(len(found) / columns)
    figure = new_figure(3.2 * columns + 0.2, 3.1 * lines + 0.4)
    panels = figure.subplots(lines, columns, squeeze=False)
    for axes, block in itertools.zip_longest(panels.flat, found):
        if block is None:
            axes.remove()
            continue
        name, shown = block
        show(axes, tile(shown.samples[: GRID * data.classes], data.classes, data.levels))
        axes.set_title(name, fontsize=8)
    figure.suptitle(f"{label}: {what}", fontsize=12)
    return figure


def _given_sheet(wanted: Truth, rows: list[int], levels: int) -> np.ndarray:
    """Returns what is known of images, one below the other, as :func:`tile` does; what is hidden is
    veiled.
    """
    known = wanted.known_part(wanted.images.astype(float))[rows]
    if wanted.known is None:
        return tile(known, 1, levels)
    hidden = ~wanted.known[rows]
    colours = np.broadcast_to(known, (len(rows), 3, *known.shape[2:])) / (levels - 1)
    return tile(np.where(hidden, VEIL[:, None, None], colours), 1, 2)


def _repeats(shown: Restoration, row: int) -> np.ndarray:
    """Returns the first samples of the image that sample ``row`` restores; missing ones are
    blank.
    """
    images = shown.samples[shown.truth.image == shown.truth.image[row]][:REPEATS]
    return np.concatenate(
        [images, np.zeros((REPEATS - len(images), *images.shape[1:]), dtype=images.dtype)]
    )


def _wrapped(name: str, nfe: float) -> str:
    lines = textwrap.wrap(name.replace(",", ""), 26, break_long_words=False)
    return "\n".join([*lines, f"NFE {nfe:.4g}"] if pd.notna(nfe) else lines)


def _padded(images: np.ndarray, columns: int) -> np.ndarray:
    """Returns a strip of exactly the asked length, repeating nothing: missing images stay blank."""
    blank = np.zeros((columns - len(images), *images.shape[1:]), dtype=images.dtype)
    return np.concatenate([images, blank])
