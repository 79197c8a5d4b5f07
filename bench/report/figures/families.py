"""Every figure of a report, in its order.

Colour tells the model, marker and dashes the sampler, in seaborn's colour-blind-safe palette, the
same in every figure. Nothing here is random or dated: equal results give equal files.
"""

import multiprocessing
import os
import sys
import traceback
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd

from bench.data.images import load_images
from bench.report.figures.across import across
from bench.report.figures.canvas import rendered
from bench.report.figures.conditional import conditional_samples, is_conditional
from bench.report.figures.density import densities, densities_of_models
from bench.report.figures.drawings import Drawings
from bench.report.figures.figure import FEW_MODELS, Figure, LazyFigure, slug
from bench.report.figures.inspections import losses, strips_and_curves
from bench.report.figures.likelihood import bits_versus_cost
from bench.report.figures.quality import versus_averages, versus_compute, versus_training
from bench.report.figures.samples import samples
from bench.report.figures.style import Style, theme
from bench.report.figures.training import training_curves
from bench.report.records import Records
from bench.report.results import Results
from bench.schema import did_you_mean
from bench.suite.sections import Figures

if TYPE_CHECKING:
    from bench.suite.resolved import Suite


def draw(suite: "Suite", results: Results, records: Records, folder: Path) -> list[Figure]:
    """Draws every figure that the finished results allow and returns them in the order of a report.

    What cannot be drawn is returned with its fault, and its traceback goes to the error stream;
    only a figure that cannot be written raises. One that is there from an earlier report, drawn
    from the same, is not drawn again (:mod:`bench.report.figures.drawings`).

    Args:
        suite: What to draw.
        results: Its results.
        records: Reads the images, logs and arrays beside them.
        folder: Where the files go.
    """
    style = Style(results.rows, list(suite.train))
    families = {
        "quality versus compute": versus_compute(results, style),
        "samples across budgets": _across(suite, results, records, style),
        "quality versus training": versus_training(results, style),
        "quality versus averages": versus_averages(results, style),
        "bits/dim versus its cost": bits_versus_cost(results.sweep, style),
        "training curves": training_curves(suite.train, records, style),
        "held-out loss by noise level": losses(results.inspections, style),
        "what the models show": strips_and_curves(results.inspections, records, style),
    }
    rows = results.rows
    finished = rows[rows["snapshot"].isna() & rows["ema"].isna()]
    families["densities of all models"] = _densities(suite, results, finished, records, style)
    kinds = {"samples": _samples, "conditional samples": _conditional}
    if suite.figures == "default" and len(suite.train) > FEW_MODELS:
        kinds = {}
    for name, which in kinds.items():
        for label in suite.train:
            mine = finished[finished["train"] == label]
            families[f"{name} of {label}"] = which(suite, label, mine, records, style)
    chosen = Chosen(suite.figures)
    drawings = Drawings(folder)
    with theme():
        found = [one for what, lazy in families.items() for one in _made(what, lazy, chosen)]
        drawn = _drawn(found, drawings)
    drawings.write_notes()
    for pattern in chosen.unmatched:
        why = f"there is no such figure{did_you_mean(pattern, chosen.names)}"
        print(f"report: figures: {pattern}: {why}", file=sys.stderr)
    return drawn


LEAST_PER_WORKER = 6
"""Figures for which another process is worth its start."""


class Chosen:
    """Which figures a suite asks for: all, or those whose names match a shell pattern."""

    def __init__(self, figures: Figures) -> None:
        self.patterns = ("*",) if isinstance(figures, str) else figures
        self.names: list[str] = []

    def asks_for(self, figure: Figure) -> bool:
        """Returns whether a figure is asked for; its name is remembered either way."""
        self.names.append(figure.name)
        return any(fnmatchcase(figure.name, pattern) for pattern in self.patterns)

    @property
    def unmatched(self) -> list[str]:
        """The patterns that no figure has matched so far."""
        return [
            pattern
            for pattern in self.patterns
            if self.names and not any(fnmatchcase(name, pattern) for name in self.names)
        ]


def _densities(
    suite: "Suite", results: Results, rows: pd.DataFrame, records: Records, style: Style
) -> Iterator[LazyFigure]:
    data = load_images(suite.dataset)
    if data.kind == "real":
        yield from densities_of_models(results, rows, records, data, style)


def _samples(
    suite: "Suite", label: str, rows: pd.DataFrame, records: Records, style: Style
) -> Iterator[LazyFigure]:
    conditional = [point.label for point in suite.points if is_conditional(point)]
    data, free = load_images(suite.dataset), rows[~rows["label"].isin(conditional)]
    family = densities if data.kind == "real" else samples
    yield from family(label, free, records, data, style)


def _across(
    suite: "Suite", results: Results, records: Records, style: Style
) -> Iterator[LazyFigure]:
    data = load_images(suite.dataset)
    conditional = [point.group for point in suite.points if is_conditional(point)]
    if data.kind != "real" and data.shape[0] in (1, 3):
        yield from across(results, records, data, style, set(conditional))


def _conditional(
    suite: "Suite", label: str, rows: pd.DataFrame, records: Records, style: Style
) -> Iterator[LazyFigure]:
    points = {point.label: point for point in suite.points if is_conditional(point)}
    mine = rows[rows["label"].isin(list(points))]
    data = load_images(suite.dataset)
    yield from conditional_samples(label, points, mine, records, data, style)


def _made(what: str, family: Iterator[LazyFigure], chosen: Chosen) -> Iterator[LazyFigure | Figure]:
    """Yields the figures of one kind that are asked for, and a faulty one if that fails."""
    try:
        for lazy in family:
            if chosen.asks_for(lazy.figure):
                yield lazy
    except Exception as error:  # of any kind: the tables and the other figures are not lost
        yield _faulty(Figure(slug(what), what, ""), _fault(error))


def _drawn(found: Sequence[LazyFigure | Figure], drawings: Drawings) -> list[Figure]:
    """Returns figures that are drawn; a fault costs only the figure that has it.

    What is not there from an earlier report is drawn in processes beside one another, if it is
    much.
    """
    kept = {
        one.figure.name: image
        for one in found
        if isinstance(one, LazyFigure) and (image := drawings.kept(one)) is not None
    }
    open_ = [one for one in found if isinstance(one, LazyFigure) and one.figure.name not in kept]
    files = dict(zip((one.figure.name for one in open_), _rendered(open_), strict=True))
    drawn = []
    for one in found:
        if isinstance(one, Figure):
            drawn.append(one)
            continue
        name = one.figure.name
        if isinstance(made := files.get(name, {}), Fault):
            drawn.append(_faulty(one.figure, made))
        else:
            image = kept[name] if name in kept else drawings.add(one, made)
            drawn.append(one.figure._replace(image=image))
    return drawn


class Fault(NamedTuple):
    """Why there is no figure: in one line, and all that Python says of it."""

    cause: str
    trace: str


def _rendered(figures: Sequence[LazyFigure]) -> Iterable[dict[str, bytes] | Fault]:
    """Returns the files of each figure, or why there are none."""
    workers = min(len(os.sched_getaffinity(0)), len(figures) // LEAST_PER_WORKER)
    if workers < 2:
        return map(_render, figures)
    # Forked: a process of its own would import for longer than it draws. It writes nothing, since a
    # thread of ours may hold the terminal at that moment.
    with ProcessPoolExecutor(workers, multiprocessing.get_context("fork")) as pool:
        return list(pool.map(_render, figures))


def _render(lazy: LazyFigure) -> dict[str, bytes] | Fault:
    try:
        return rendered(lazy.draw())
    except Exception as error:
        return _fault(error)


def _fault(error: Exception) -> Fault:
    return Fault(f"{type(error).__name__}: {error}", "".join(traceback.format_exception(error)))


def _faulty(figure: Figure, fault: Fault) -> Figure:
    print(f"{fault.trace}report: {figure.name} could not be drawn: {fault.cause}", file=sys.stderr)
    return figure._replace(fault=fault.cause)
