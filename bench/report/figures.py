"""The pictures of a report: quality versus compute and versus training, bits/dim versus its cost, curves, samples.

Colour tells the model and marker the sampler, in seaborn's colour-blind-safe palette, the same in every picture.
Nothing here is random or dated: equal results give equal files.
"""

import io
import itertools
import json
import math
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import matplotlib
import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, FuncFormatter, LogLocator, NullLocator

from bench.card import Card, build, cards
from bench.data import Images, load_images
from bench.given import RESTORATIONS, Truth, describe, truth
from bench.metrics import METRICS, MetricCard
from bench.report.table import BITS_TITLE, Reader, bare
from bench.spec import ImagesSpec, LikelihoodSpec, Point, SampleSpec, TrainSpec
from bench.store import DamagedError, Store
from bench.store import write as put

if TYPE_CHECKING:
    from bench.suite import Suite

MARKERS = "osD^vP*X<>"
DASHES = ("-", (0, (4, 1.5)), (0, (1, 1.2)), "-.", (0, (6, 1, 1, 1, 1, 1)))
FRONT = "0.25"
CROWDED = 6
"""Lines above which a picture is also drawn as one small panel a model."""
AXES = {
    "nfe": "network evaluations an image (NFE, measured)",
    "sampling_seconds_per_image": "sampling time an image (seconds)",
}


class Picture(NamedTuple):
    """A figure on disk: ``<name>.png`` and ``<name>.svg``."""

    name: str
    title: str
    caption: str


class Line(NamedTuple):
    """What one line joins: a model under one sampler with one time grid and equal settings."""

    train: str
    sampler: str


def write(
    suite: "Suite",
    store: Store,
    rows: pd.DataFrame,
    folder: Path,
    *,
    methods: Mapping[str, Card] | None = None,
    metrics: Mapping[str, MetricCard] = METRICS,
) -> list[Picture]:
    """Draws every picture that the finished results allow and returns them in the order of a report.

    Args:
        suite: What to draw.
        store: Where its results lie.
        rows: The tidy table of :func:`bench.report.table.tabulate`.
        folder: Where the files go.
        methods: Cards by name; those found in ``methods/`` by default.
        metrics: Metric cards by name.
    """
    methods = cards() if methods is None else methods
    directions, everything = rows.attrs["metrics"], bare(rows)
    rows = everything[everything["snapshot"].isna()]  # the ends of trainings
    look = Look(everything, list(suite.train))
    reader = Reader(store, metrics)
    pictures = []
    with _style():
        for picture, figure in itertools.chain(
            _quality(rows, directions, look),
            _learning(everything, directions, look),
            _likelihoods(suite, reader, methods, look),
            _training(suite, store, reader, look),
            _samples(suite, store, rows, look),
            _restorations(suite, store, rows, look),
        ):
            _save(figure, folder, picture.name)
            pictures.append(picture)
    return pictures


class Look:
    """Colours of models, markers and dashes of samplers, and the names that lines go by."""

    def __init__(self, rows: pd.DataFrame, models: list[str]) -> None:
        palette = seaborn.color_palette("colorblind")
        order = [0, 1, 2, 4, 3, 5, 9, 7, 6, 8]  # neighbours in the legend far apart in hue and lightness
        self.colour = {label: palette[order[i % len(order)]] for i, label in enumerate(models)}
        sampled = rows[rows["sampler"].notna()]
        several_times = sampled.groupby("sampler")["times"].nunique() > 1
        self.names = {
            index: " ".join(
                part
                for part in (row["sampler"], row["times"] if several_times[row["sampler"]] else "", row["settings"])
                if part
            )
            for index, row in sampled.iterrows()
        }
        self.samplers = list(dict.fromkeys(self.names.values()))
        self.marker = {name: MARKERS[i % len(MARKERS)] for i, name in enumerate(self.samplers)}
        self.dash = {name: DASHES[i % len(DASHES)] for i, name in enumerate(self.samplers)}

    def lines(self, rows: pd.DataFrame) -> Iterator[tuple[Line, pd.DataFrame]]:
        """Yields the rows of each line, in the order of the suite."""
        sampled = rows[rows["sampler"].notna()]
        for (train, sampler), part in sampled.groupby(["train", sampled.index.map(self.names)], sort=False):
            yield Line(train, sampler), part


def _style() -> Any:
    """Returns a context in which every figure is drawn."""
    style = seaborn.axes_style("whitegrid") | {
        "font.size": 10,
        "axes.labelsize": 10,
        "axes.titlesize": 11,
        "xtick.labelsize": 9,
        "ytick.labelsize": 9,
        "legend.fontsize": 9,
        "grid.color": "0.9",
        "axes.edgecolor": "0.6",
        "svg.hashsalt": "bench",
        "svg.fonttype": "path",
        "savefig.dpi": 130,
    }
    return matplotlib.rc_context(style)


def _save(figure: Figure, folder: Path, name: str) -> None:
    for kind, metadata in (("png", {"Software": None}), ("svg", {"Date": None, "Creator": None})):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind, metadata=metadata)
        figure.set_layout_engine("none")  # the second format keeps the layout found for the first
        put(folder / f"{name}.{kind}", buffer.getvalue())


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


# Quality versus compute


def _quality(rows: pd.DataFrame, directions: Mapping[str, bool], look: Look) -> Iterator[tuple[Picture, Figure]]:
    for metric, higher in directions.items():
        summary = summarise(rows, look, metric)
        if summary.empty:
            continue
        name = slug(metric)
        better = "higher is better" if higher else "lower is better"
        caption = (
            f"{metric} ({better}) against measured network evaluations and seconds an image. Line: mean over seeds; "
            "band: their range; horizontal bar: range of an adaptive sampler's evaluations. Ringed: on the Pareto "
            "front (nothing else is at least as good for as little)."
        )
        yield (
            Picture(f"{name}-vs-compute", f"{metric} versus compute", caption),
            _overview(summary, look, metric, higher),
        )
        if summary.groupby(["train", "sampler"]).ngroups > CROWDED:
            caption = f"{metric} ({better}), one panel a model; grey: all the others; dashes: the Pareto front of all."
            yield (
                Picture(f"{name}-by-model", f"{metric} versus NFE, model by model", caption),
                _by_model(summary, look, metric, higher),
            )


def summarise(rows: pd.DataFrame, look: Look, metric: str) -> pd.DataFrame:
    """Returns mean and range of a metric over seeds, a row a (model, sampler, setting), sorted by NFE in each line."""
    records = []
    usable = rows[rows[metric].notna() & np.isfinite(rows[metric].astype(float)) & rows["nfe"].notna()]
    for line, part in look.lines(usable):
        for _, group in part.groupby("group", sort=False):
            record = {"train": line.train, "sampler": line.sampler, "seeds": len(group)}
            record |= {column: group[column].mean() for column in AXES}
            record |= {"nfe_min": group["nfe_min"].min(), "nfe_max": group["nfe_max"].max()}
            record |= {"mean": group[metric].mean(), "low": group[metric].min(), "high": group[metric].max()}
            records.append(record)
    columns = ["train", "sampler", "seeds", *AXES, "nfe_min", "nfe_max", "mean", "low", "high"]
    return pd.DataFrame(records, columns=columns)


def pareto(cost: np.ndarray, value: np.ndarray, *, higher: bool) -> np.ndarray:
    """Returns which points are on the Pareto front: no other is as cheap and as good, and better in one of both.

    Args:
        cost: Shape (N,), lower is better.
        value: Shape (N,).
        higher: Whether a higher value is better.

    Returns:
        Boolean array of shape (N,).
    """
    loss = -value if higher else value
    no_worse = (cost[:, None] <= cost) & (loss[:, None] <= loss)
    better = (cost[:, None] < cost) | (loss[:, None] < loss)
    return ~(no_worse & better).any(axis=0)


def _overview(summary: pd.DataFrame, look: Look, metric: str, higher: bool) -> Figure:
    figure = _figure(11.5, 4.8)
    panels = figure.subplots(1, 2, sharey=True)
    for axes, column in zip(panels, AXES, strict=True):
        for (train, sampler), part in summary.groupby(["train", "sampler"], sort=False):
            _line(axes, part.sort_values(column), column, look, train, sampler)
        _front(axes, summary, column, higher, rings=True)
        _scale(axes, summary, column, higher)
        axes.set_xlabel(AXES[column])
    panels[0].set_ylabel(f"{metric}, {'higher' if higher else 'lower'} is better")
    figure.legend(handles=_handles(summary, look), loc="outside right center", frameon=False)
    return figure


def _by_model(summary: pd.DataFrame, look: Look, metric: str, higher: bool) -> Figure:
    models = list(dict.fromkeys(summary["train"]))
    columns = min(3, len(models))
    lines = math.ceil(len(models) / columns)
    figure = _figure(3.6 * columns + 0.4, 2.7 * lines + 0.8)
    panels = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
    for axes, model in itertools.zip_longest(panels.flat, models):
        if model is None:
            axes.remove()
            continue
        for (train, sampler), part in summary.groupby(["train", "sampler"], sort=False):
            if train == model:
                _line(axes, part.sort_values("nfe"), "nfe", look, train, sampler)
            else:
                axes.plot(*part.sort_values("nfe")[["nfe", "mean"]].to_numpy().T, color="0.82", lw=1, zorder=1)
        _front(axes, summary, "nfe", higher, rings=False)
        _scale(axes, summary, "nfe", higher)
        axes.set_title(model, color="0.15")
    _label(panels, len(models), "measured NFE", f"{metric}\n{'higher' if higher else 'lower'} is better")
    handles = [_sampler_handle(name, look) for name in look.samplers if name in set(summary["sampler"])]
    handles += [Line2D([], [], color="0.82", label="the other models"), _front_handle()]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(6, len(handles)), frameon=False)
    return figure


def _label(panels: np.ndarray, count: int, x: str, y: str) -> None:
    """Labels the left column and the lowest panel of each column, of which only the first ``count`` are drawn."""
    columns = panels.shape[1]
    for index, axes in enumerate(panels.flat[:count]):
        if index % columns == 0:
            axes.set_ylabel(y)
        if index + columns >= count:
            axes.set_xlabel(x)
            axes.tick_params(labelbottom=True)


def _line(axes: Axes, part: pd.DataFrame, column: str, look: Look, train: str, sampler: str) -> None:
    colour = look.colour[train]
    x = part[column].to_numpy()
    axes.fill_between(x, part["low"].to_numpy(), part["high"].to_numpy(), color=colour, alpha=0.15, lw=0)
    style = {"linestyle": look.dash[sampler], "marker": look.marker[sampler]}
    axes.plot(x, part["mean"], color=colour, ms=5, lw=1.6, mec="white", mew=0.6, zorder=3, **style)
    if column == "nfe" and (part["nfe_min"] < part["nfe_max"]).any():
        reach = np.stack([part["nfe"] - part["nfe_min"], part["nfe_max"] - part["nfe"]])
        axes.errorbar(x, part["mean"], xerr=reach, fmt="none", ecolor=colour, elinewidth=1, capsize=2)


def _front(axes: Axes, summary: pd.DataFrame, column: str, higher: bool, *, rings: bool) -> None:
    known = summary[summary[column].notna()]
    if known.empty:
        return
    front = known[pareto(known[column].to_numpy(), known["mean"].to_numpy(), higher=higher)].sort_values(column)
    axes.plot(front[column], front["mean"], color=FRONT, lw=1, ls=(0, (2, 2)), drawstyle="steps-post", zorder=2)
    if rings:
        axes.scatter(front[column], front["mean"], s=90, facecolors="none", edgecolors=FRONT, linewidths=1.2, zorder=4)


def _scale(axes: Axes, summary: pd.DataFrame, column: str, higher: bool) -> None:
    """Sets log axes; a score that is better when higher keeps a linear one, as it spans less than a decade."""
    _log(axes, "x", summary[column])
    if column != "nfe":
        axes.xaxis.set_major_formatter(EngFormatter("s", sep="\N{THIN SPACE}"))
    if not higher and (summary["mean"] > 0).all():
        _log(axes, "y", summary["mean"])


def _log(axes: Axes, which: str, values: pd.Series) -> None:
    """Makes an axis logarithmic with plain numbers at a readable number of ticks, however little it spans."""
    positive = values[values > 0]
    span = positive.max() / positive.min() if len(positive) else 10.0
    subs = (1, 1.5, 2, 3, 4, 5, 6, 8) if span < 6 else (1, 2, 5) if span < 1000 else (1,)
    axes.set(**{f"{which}scale": "log"})
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def _handles(summary: pd.DataFrame, look: Look) -> list[Line2D]:
    """Returns a legend in two parts: colours of models, markers of samplers, and the front."""
    blank = Line2D([], [], ls="none")
    models = [Line2D([], [], color=look.colour[name], lw=3, label=name) for name in dict.fromkeys(summary["train"])]
    samplers = [_sampler_handle(name, look) for name in look.samplers if name in set(summary["sampler"])]
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


def _sampler_handle(name: str, look: Look) -> Line2D:
    return Line2D([], [], color="0.3", ls=look.dash[name], marker=look.marker[name], ms=5, label=name)


def _front_handle() -> Line2D:
    return Line2D([], [], color=FRONT, ls=(0, (2, 2)), lw=1, label="Pareto front")


# Quality versus training


def _learning(rows: pd.DataFrame, directions: Mapping[str, bool], look: Look) -> Iterator[tuple[Picture, Figure]]:
    for metric, higher in directions.items():
        summary = learning(rows, look, metric)
        if summary.empty:
            continue
        figure = _figure(8.5, 4.6)
        axes = figure.subplots()
        for (train, sampler), part in summary.groupby(["train", "sampler"], sort=False):
            _line(axes, part, "training_images", look, train, sampler)
        _log(axes, "x", summary["training_images"])
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        if not higher and (summary["mean"] > 0).all():
            _log(axes, "y", summary["mean"])
        axes.set_xlabel("training images seen")
        axes.set_ylabel(f"{metric}, {'higher' if higher else 'lower'} is better")
        figure.legend(handles=_handles(summary, look)[:-2], loc="outside right center", frameon=False)
        caption = (
            f"{metric} ({'higher' if higher else 'lower'} is better) along the trainings that keep snapshots, each "
            "sampler at the largest budget that it has. Line: mean over seeds; band: their range."
        )
        yield Picture(f"{slug(metric)}-vs-training", f"{metric} versus training", caption), figure


def learning(rows: pd.DataFrame, look: Look, metric: str) -> pd.DataFrame:
    """Returns mean and range of a metric over seeds, a row a (model, sampler, snapshot or end), by images seen.

    Each sampler stands at its largest measured NFE. Models without a finished snapshot are left out.
    """
    records = []
    usable = rows[rows[metric].notna() & np.isfinite(rows[metric].astype(float)) & rows["nfe"].notna()]
    for line, part in look.lines(usable):
        for images, seen in part.groupby("training_images"):
            best = seen[seen["group"] == seen.loc[seen["nfe"].astype(float).idxmax(), "group"]]
            record = {"train": line.train, "sampler": line.sampler, "training_images": int(images)}
            values = best[metric]
            records.append(record | {"mean": values.mean(), "low": values.min(), "high": values.max()})
    columns = ["train", "sampler", "training_images", "mean", "low", "high"]
    summary = pd.DataFrame(records, columns=columns)
    known = rows.loc[rows["snapshot"].notna(), "train"]
    return summary[summary["train"].isin(known)]


# Bits/dim versus the likelihood's own cost


def _likelihoods(
    suite: "Suite", reader: Reader, methods: Mapping[str, Card], look: Look
) -> Iterator[tuple[Picture, Figure]]:
    points = likelihood_points(suite, reader, methods)
    if points.empty:
        return
    figure = _figure(7.5, 4.4)
    axes = figure.subplots()
    for model, part in points.groupby("train", sort=False):
        by_cost = part.groupby("tolerance", dropna=False, sort=False)
        part = by_cost.agg(nfe=("nfe", "mean"), value=("value", "mean"), low=("value", "min"), high=("value", "max"))
        part = part.sort_values("nfe")
        bound = points.loc[points["train"] == model, "kind"].iloc[0] == "bound"
        axes.fill_between(
            part["nfe"],
            part["low"],
            part["high"],
            color=look.colour[model],
            alpha=0.15,
            lw=0,
        )
        axes.plot(
            part["nfe"],
            part["value"],
            color=look.colour[model],
            marker="o",
            ms=5,
            lw=1.6,
            mec="white",
            mew=0.6,
            ls=DASHES[1] if bound else "-",
            label=f"{model} (bound)" if bound else model,
        )
    tightest = points.loc[points.groupby("train", sort=False)["nfe"].idxmax(), "tolerance"]
    _log(axes, "x", points["nfe"])
    axes.set_xlabel("network evaluations an image spent on the likelihood")
    axes.set_ylabel(BITS_TITLE + "\nlower is better")
    figure.legend(loc="outside right center", frameon=False)
    caption = (
        "Bits/dim of held-out images against what computing it cost: a sweep of the solver's tolerance"
        + (f" down to {tightest.min():g}" if tightest.notna().any() else "")
        + ". Line: mean over training seeds; band: their range. A line that still moves at its right end is not "
        "converged; processes with different floors (see the identities) are not comparable."
    )
    yield Picture("bits-per-dim-vs-nfe", "Bits/dim versus the likelihood's own NFE", caption), figure


def likelihood_points(suite: "Suite", reader: Reader, methods: Mapping[str, Card]) -> pd.DataFrame:
    """Returns bits/dim and its cost, a row a finished likelihood of the sweep or of the table itself."""
    records = []
    for label, spec in _likelihood_specs(suite):
        measured = reader.likelihood(spec)
        if measured is not None and math.isfinite(measured["mean"]):
            card = methods[spec.train.method].likelihood
            params = build(card.params, spec.params)
            record = {"train": label, "nfe": measured["nfe"], "value": measured["mean"]}
            records.append(record | {"tolerance": getattr(params, "tolerance", math.nan), "kind": card.kind})
    return pd.DataFrame(records, columns=["train", "nfe", "value", "tolerance", "kind"])


def _likelihood_specs(suite: "Suite") -> Iterator[tuple[str, LikelihoodSpec]]:
    """Yields the likelihoods of each model, those of the table left out where the sweep scores other images."""
    for label in suite.train:
        swept = list(suite.sweep.get(label, ()))
        own = [point.likelihood for point in suite.points if point.train == label and point.likelihood is not None]
        own = [spec for spec in own if spec.snapshot is None]
        images = {(spec.images, spec.split, spec.seed) for spec in swept}
        found: dict[str, LikelihoodSpec] = {}
        for spec in (*swept, *(spec for spec in own if not swept or (spec.images, spec.split, spec.seed) in images)):
            found.setdefault(repr(spec), spec)
        yield from ((label, spec) for spec in found.values())


# Training curves


def _training(suite: "Suite", store: Store, reader: Reader, look: Look) -> Iterator[tuple[Picture, Figure]]:
    curves = {
        label: [c for spec in specs if len(c := _curve(store, reader, spec))] for label, specs in suite.train.items()
    }
    curves = {label: found for label, found in curves.items() if found}
    if not curves:
        return
    columns = min(3, len(curves))
    lines = math.ceil(len(curves) / columns)
    figure = _figure(3.6 * columns + 0.4, 2.6 * lines + 0.7)
    panels = figure.subplots(lines, columns, sharex=True, squeeze=False)
    for axes, label in itertools.zip_longest(panels.flat, curves):
        if label is None:
            axes.remove()
            continue
        for curve in curves[label]:
            _draw_curve(axes, curve, look.colour[label])
        axes.set_title(label)
        heights = pd.concat([curve[[c for c in LOSSES if c in curve]].stack() for curve in curves[label]])
        if len(heights) and (heights > 0).all():
            _log(axes, "y", heights)
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    _label(panels, len(curves), "training images seen", "loss")
    handles = [
        Line2D([], [], color="0.3", lw=1, alpha=0.5, label="training loss"),
        Line2D([], [], color="0.3", lw=2, label="held-out loss"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False)
    caption = "Training and held-out loss; a line a training seed. Losses of different methods are not comparable."
    yield Picture("training", "Training curves", caption), figure


def _curve(store: Store, reader: Reader, spec: TrainSpec | ImagesSpec) -> pd.DataFrame:
    """Returns the log of a training; a line cut short by a kill is left out."""
    if isinstance(spec, ImagesSpec):
        return pd.DataFrame()
    stage, name, _ = reader.place(spec)
    try:
        lines = (store.folder(stage, name) / "log.jsonl").read_text().splitlines()
    except FileNotFoundError:
        return pd.DataFrame()
    records = []
    for line in lines:
        try:
            records.append(json.loads(line))
        except ValueError:
            continue
    curve = pd.DataFrame(records)
    if "images" not in curve:
        return pd.DataFrame()
    return curve.drop_duplicates("images", keep="last").sort_values("images")


LOSSES = {"loss": {"lw": 1, "alpha": 0.45}, "heldout_loss": {"lw": 2}}


def _draw_curve(axes: Axes, curve: pd.DataFrame, colour: Any) -> None:
    for column, style in LOSSES.items():
        if column in curve:
            known = curve[curve[column].notna()]
            axes.plot(known["images"], known[column].astype(float), color=colour, **style)


# Samples


def _samples(suite: "Suite", store: Store, rows: pd.DataFrame, look: Look) -> Iterator[tuple[Picture, Figure]]:
    real = load_images(suite.dataset)
    free = rows[~rows["label"].isin([point.label for point in suite.points if _restored(point)])]
    for label in suite.train:
        shown = _chosen(free[free["train"] == label], look) if len(free) else []
        best = [largest for _, part in shown if (largest := _largest(part, store)) is not None]
        if not best:
            continue
        yield _grid(label, best, real.split("test"), real.levels)
        strips = [(name, _strips(part, store)) for name, part in shown]
        strips = [(name, found) for name, found in strips if len(found) > 1]
        if strips:
            yield _budgets(label, strips, real.levels)


def _restored(point: Point) -> bool:
    """Tells whether a point's samples restore images."""
    sample = point.sample
    return isinstance(sample, SampleSpec) and sample.given is not None and sample.given["task"] in RESTORATIONS


def _chosen(rows: pd.DataFrame, look: Look) -> list[tuple[str, pd.DataFrame]]:
    """Returns for each sampler of a model the points of its first seeds, by rising NFE."""
    if rows["sampler"].isna().all():
        return [("made elsewhere", rows)]
    found = []
    for line, part in look.lines(rows[rows["nfe"].notna()]):
        first = part[
            (part["train_seed"] == part["train_seed"].min()) & (part["sample_seed"] == part["sample_seed"].min())
        ]
        found.append((line.sampler, first.sort_values("nfe", kind="stable")))
    return found


class Shown(NamedTuple):
    """Images with what is written above or beside them."""

    title: str
    images: np.ndarray


GRID = 8
STRIP = 14


def _largest(part: pd.DataFrame, store: Store) -> Shown | None:
    """Returns the images of the largest budget that has some."""
    for _, row in part[::-1].iterrows():
        images = _images(store, row["key"], GRID * GRID)
        if len(images):
            sampler = row["sampler"] if isinstance(row["sampler"], str) else "made elsewhere"
            return Shown(f"{sampler}, NFE {row['nfe']:.4g}" if pd.notna(row["nfe"]) else sampler, images)
    return None


def _strips(part: pd.DataFrame, store: Store) -> list[Shown]:
    """Returns the first images of every budget: common random numbers, so a column is one image made at all of them."""
    strips = [Shown(f"{row['nfe']:.4g}", _images(store, row["key"], STRIP)) for _, row in part.iterrows()]
    return [strip for strip in strips if len(strip.images)]


def _images(store: Store, name: str, count: int) -> np.ndarray:
    """Returns stored images, none where they were pruned, damaged or never made."""
    try:
        return store.images(name, count)
    except (FileNotFoundError, DamagedError):
        return np.zeros((0, 1, 1, 1), dtype=np.uint8)


def tile(images: np.ndarray, columns: int, levels: int) -> np.ndarray:
    """Returns images side by side with a gap between them, in [0, 1], shape (height, width, 3).

    Args:
        images: Shape (N, C, H, W) with C of 1 or 3, values in 0, ..., levels - 1.
        columns: Images a row; missing ones stay white.
        levels: Number of values that a pixel takes.
    """
    count, _, height, width = images.shape
    gap = max(1, width // 8)
    lines = math.ceil(count / columns)
    sheet = np.ones((lines * (height + gap) - gap, columns * (width + gap) - gap, 3))
    for index, image in enumerate(images):
        top, left = (index // columns) * (height + gap), (index % columns) * (width + gap)
        sheet[top : top + height, left : left + width] = np.moveaxis(image, 0, -1) / (levels - 1)
    return sheet


def _show(axes: Axes, sheet: np.ndarray) -> None:
    axes.imshow(sheet, interpolation="nearest", vmin=0, vmax=1)
    axes.set_axis_off()


def _grid(label: str, best: Iterable[Shown], real: np.ndarray, levels: int) -> tuple[Picture, Figure]:
    blocks = [*best, Shown("real, held out", real[: GRID * GRID])]
    columns = min(4, len(blocks))
    lines = math.ceil(len(blocks) / columns)
    figure = _figure(2.7 * columns + 0.2, 2.9 * lines + 0.4)
    figure.get_layout_engine().set(wspace=0.06)
    panels = figure.subplots(lines, columns, squeeze=False)
    for axes, block in itertools.zip_longest(panels.flat, blocks):
        if block is None:
            axes.remove()
            continue
        _show(axes, tile(block.images, GRID, levels))
        axes.set_title(block.title, fontsize=10)
    figure.suptitle(label, fontsize=12)
    caption = f"{label}: the first images of each sampler at its largest budget, not selected, and real held-out ones."
    return Picture(f"samples-{slug(label)}", f"Samples of {label}", caption), figure


def _budgets(label: str, strips: list[tuple[str, list[Shown]]], levels: int) -> tuple[Picture, Figure]:
    height = sum(0.42 * len(found) + 0.32 for _, found in strips)
    figure = _figure(6.6, height + 0.45)
    panels = figure.subplots(len(strips), 1, squeeze=False, height_ratios=[len(found) for _, found in strips])
    for axes, (name, found) in zip(panels.flat, strips, strict=True):
        sheet = tile(np.concatenate([_padded(strip.images) for strip in found]), STRIP, levels)
        axes.imshow(sheet, interpolation="nearest", vmin=0, vmax=1)
        pitch = (sheet.shape[0] + 1) / len(found)
        axes.set_yticks([pitch * (i + 0.5) - 1 for i in range(len(found))], [strip.title for strip in found])
        axes.set_xticks([])
        axes.set_ylabel("NFE")
        axes.grid(False)
        for spine in axes.spines.values():
            spine.set_visible(False)
        axes.set_title(name, fontsize=10, loc="left")
    figure.align_ylabels()
    figure.suptitle(f"{label}: equal noise, growing budget", fontsize=12)
    caption = f"{label}: a column is one noise draw, sampled with more and more network evaluations an image."
    return Picture(f"budgets-{slug(label)}", f"Samples of {label} across budgets", caption), figure


# What was given, and what samples make of it

RESTORED = 8
REPEATS = 4
VEIL = np.array([0.45, 0.62, 0.85])
"""The colour of what is hidden."""


def _restorations(
    suite: "Suite", store: Store, rows: pd.DataFrame, look: Look
) -> Iterator[tuple[Picture, Figure]]:
    points = {point.label: point for point in suite.points if _restored(point)}
    data = load_images(suite.dataset)
    for label in suite.train:
        mine = rows[(rows["train"] == label) & rows["label"].isin(list(points))]
        by_condition: dict[str, list[tuple[str, Restoration]]] = {}
        for name, part in _chosen(mine, look) if len(mine) else []:
            for _, row in part[::-1].iterrows():
                spec, count = points[row["label"]].sample, points[row["label"]].count
                images = _images(store, row["key"], count)
                if len(images):
                    what = describe(spec.given)
                    shown = Restoration(images, truth(spec.given, data, 0, len(images)))
                    by_condition.setdefault(what, []).append((_wrapped(name.removesuffix(what), row["nfe"]), shown))
                    break
        for what, found in by_condition.items():
            yield _restoration(label, what, found, data)


class Restoration(NamedTuple):
    """Samples of one point, and what they restore."""

    samples: np.ndarray
    truth: Truth


def _restoration(
    label: str, what: str, found: list[tuple[str, Restoration]], data: Images
) -> tuple[Picture, Figure]:
    """Draws a row an image: what is given, some samples of each sampler, the truth."""
    first = found[0][1].truth
    rows = [np.flatnonzero(first.image == image)[0] for image in np.unique(first.image)[:RESTORED]]
    blocks = [("given", _given_sheet(first, rows, data.levels))]
    for name, shown in found:
        blocks.append((name, tile(np.concatenate([_repeats(shown, row) for row in rows]), REPEATS, data.levels)))
    blocks.append(("truth", tile(first.images[rows], 1, data.levels)))
    widths = [sheet.shape[1] for _, sheet in blocks]
    inches = 0.42 * len(rows) / blocks[0][1].shape[0]
    figure = _figure(inches * sum(widths) + 0.5 * len(blocks), 0.42 * len(rows) + 1.1)
    panels = figure.subplots(1, len(blocks), squeeze=False, width_ratios=widths)
    for axes, (name, sheet) in zip(panels.flat, blocks, strict=True):
        _show(axes, sheet)
        axes.set_title(name, fontsize=8)
    figure.suptitle(f"{label}: {what}", fontsize=12)
    caption = (
        f"{label}, {what}: a row a held-out image, the first ones; what was given of it (what was hidden is blue), "
        "samples of each sampler at its largest budget, not selected, and the truth."
    )
    return Picture(f"given-{slug(label)}-{slug(what)}", f"{label}: {what}", caption), figure


def _given_sheet(wanted: Truth, rows: list[int], levels: int) -> np.ndarray:
    """Returns what is known of images, one below the other, as :func:`tile` does; what is hidden is veiled."""
    known = wanted.known_part(wanted.images.astype(float))[rows]
    if wanted.known is None:
        return tile(known, 1, levels)
    hidden = ~wanted.known[rows]
    colours = np.broadcast_to(known, (len(rows), 3, *known.shape[2:])) / (levels - 1)
    return tile(np.where(hidden, VEIL[:, None, None], colours), 1, 2)


def _repeats(shown: Restoration, row: int) -> np.ndarray:
    """Returns the first samples of the image that sample ``row`` restores; missing ones are blank."""
    images = shown.samples[shown.truth.image == shown.truth.image[row]][:REPEATS]
    return np.concatenate([images, np.zeros((REPEATS - len(images), *images.shape[1:]), dtype=images.dtype)])


def _wrapped(name: str, nfe: float) -> str:
    lines = textwrap.wrap(name.replace(",", ""), 26, break_long_words=False)
    return "\n".join([*lines, f"NFE {nfe:.4g}"])


def _padded(images: np.ndarray) -> np.ndarray:
    """Returns a strip of exactly the asked length, repeating nothing: missing images stay blank."""
    blank = np.zeros((STRIP - len(images), *images.shape[1:]), dtype=images.dtype)
    return np.concatenate([images, blank])


def slug(text: str) -> str:
    """Returns a file name that a text reads as: ``fd-digits-cnn-8``."""
    return "-".join("".join(c if c.isalnum() else " " for c in text.lower()).split())
