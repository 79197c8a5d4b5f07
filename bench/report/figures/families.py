"""Every figure of a report, in its order.

Colour tells the model, marker and dashes the sampler, in seaborn's colour-blind-safe palette, the
same in every figure. Nothing here is random or dated: equal results give equal files.
"""

import sys
import traceback
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from bench.data.images import load_images
from bench.report.figures.across import across
from bench.report.figures.canvas import rendered
from bench.report.figures.conditional import conditional_samples, is_conditional
from bench.report.figures.density import densities, densities_of_models
from bench.report.figures.drawings import Drawings
from bench.report.figures.figure import Figure, LazyFigure, slug
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
    for name, which in (("samples", _samples), ("conditional samples", _conditional)):
        for label in suite.train:
            mine = finished[finished["train"] == label]
            families[f"{name} of {label}"] = which(suite, label, mine, records, style)
    chosen = Chosen(suite.figures)
    drawings = Drawings(folder)
    with theme():
        drawn = [f for what, lazy in families.items() for f in _drawn(what, lazy, drawings, chosen)]
    drawings.write_notes()
    for pattern in chosen.unmatched:
        why = f"there is no such figure{did_you_mean(pattern, chosen.names)}"
        print(f"report: figures: {pattern}: {why}", file=sys.stderr)
    return drawn


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


def _drawn(
    what: str, family: Iterator[LazyFigure], drawings: Drawings, chosen: Chosen
) -> Iterator[Figure]:
    """Yields the figures of one kind; a fault costs only the figure that has it."""
    while True:
        try:
            lazy = next(family)
        except StopIteration:
            return
        except Exception as error:  # of any kind: the tables and the other figures are not lost
            yield _faulty(Figure(slug(what), what, ""), error)
            return
        if not chosen.asks_for(lazy.figure):
            continue
        if (image := drawings.kept(lazy)) is None:
            try:
                files = rendered(lazy.draw())
            except Exception as error:
                yield _faulty(lazy.figure, error)
                continue
            image = drawings.add(lazy, files)
        yield lazy.figure._replace(image=image)


def _faulty(figure: Figure, error: Exception) -> Figure:
    cause = f"{type(error).__name__}: {error}"
    traceback.print_exception(error, file=sys.stderr)
    print(f"report: {figure.name} could not be drawn: {cause}", file=sys.stderr)
    return figure._replace(fault=cause)
