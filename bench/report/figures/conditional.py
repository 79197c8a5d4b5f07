"""What samples were conditioned on, and what they make of it."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure as MatplotlibFigure

from bench.data.conditioning import Truth, describe, truth
from bench.data.images import Images
from bench.report.figures.canvas import new_figure, panel_grid, show, tile
from bench.report.figures.figure import Figure, LazyFigure, slug
from bench.report.figures.samples import GRID, first_seeds, padded, sheet_title
from bench.report.figures.style import Style
from bench.report.records import Records
from bench.spec import Point, SampleSpec

RESTORED = 8
"""Images restored."""
REPEATS = 4
"""Samples of each."""
VEIL = np.array([0.45, 0.62, 0.85])
"""The colour of what is hidden."""


class Restoration(NamedTuple):
    """Samples of one sampler, and what they restore, or their classes."""

    title: str
    samples: np.ndarray
    truth: Truth


def is_conditional(point: Point) -> bool:
    """Tells whether a point's samples are conditioned on something."""
    return isinstance(point.sample, SampleSpec) and point.sample.given is not None


def conditional_samples(
    label: str,
    points: Mapping[str, Point],
    rows: pd.DataFrame,
    records: Records,
    data: Images,
    style: Style,
) -> Iterator[LazyFigure]:
    """Yields a figure per condition that samples of a model were conditioned on.

    Args:
        points: By label.
        rows: Conditional points of the model.
    """
    by_condition: dict[str, list[Restoration]] = {}
    for name, part in first_seeds(rows, style).items() if len(rows) else ():
        for _, row in part[::-1].iterrows():
            point = points[row["label"]]
            if len(images := records.images(row["key"], point.count)):
                given = point.sampling.given
                assert given is not None  # by is_conditional
                what = describe(given)
                title = sheet_title(name.removesuffix(what), row["nfe"])
                restored = Restoration(title, images, truth(given, data, 0, len(images)))
                by_condition.setdefault(what, []).append(restored)
                break
    for what, found in by_condition.items():
        draw = _restoration
        caption = (
            "one row per held-out image, drawn at random; what was given of it (what was hidden is "
            "blue), samples of each sampler at its largest budget, not selected, and the truth."
        )
        if found[0].truth.images is None:
            draw = _classes
            caption = "the first samples of each sampler at its largest budget, not selected"
            caption += "; one column per class." if what.endswith(" all") else "."
        heading = f"{label}, {what}: {caption}"
        figure = Figure(f"given-{slug(label)}-{slug(what)}", f"{label}: {what}", heading, "samples")
        yield LazyFigure(figure, partial(draw, f"{label}: {what}", found, data))


def _restoration(heading: str, found: list[Restoration], data: Images) -> MatplotlibFigure:
    """Draws a row per image: what is given, some samples of each sampler, the truth."""
    first, pictures = found[0].truth, found[0].truth.restored
    rows = [np.flatnonzero(first.image == image)[0] for image in np.unique(first.image)[:RESTORED]]
    sheets = {"given": _given_sheet(first, rows, data.levels)}
    for one in found:
        images = np.concatenate([_repeats(one, row) for row in rows])
        sheets[one.title] = tile(images, REPEATS, data.levels)
    sheets["truth"] = tile(pictures[rows], 1, data.levels)
    widths = [sheet.shape[1] for sheet in sheets.values()]
    inches = 0.42 * len(rows) / sheets["given"].shape[0]
    figure = new_figure(inches * sum(widths) + 0.5 * len(sheets), 0.42 * len(rows) + 1.1)
    panels = figure.subplots(1, len(sheets), squeeze=False, width_ratios=widths)
    for axes, (title, sheet) in zip(panels.flat, sheets.items(), strict=True):
        show(axes, sheet, title, 8)
    figure.suptitle(heading, fontsize=12)
    return figure


def _classes(heading: str, found: list[Restoration], data: Images) -> MatplotlibFigure:
    """Draws the first samples of each sampler, a column per class if the classes take turns."""
    figure, panels = panel_grid(len(found), (3.2, 3.1), margin=(0.2, 0.4))
    for axes, one in zip(panels, found, strict=True):
        sheet = tile(one.samples[: GRID * data.classes], data.classes, data.levels)
        show(axes, sheet, one.title, 8)
    figure.suptitle(heading, fontsize=12)
    return figure


def _given_sheet(wanted: Truth, rows: list[int], levels: int) -> np.ndarray:
    """Returns what is known of images, one below the other, with a veil over what is hidden."""
    known = wanted.known_part(wanted.restored.astype(float))[rows]
    if wanted.known is None:
        return tile(known, 1, levels)
    hidden = ~wanted.known[rows]
    colours = np.broadcast_to(known, (len(rows), 3, *known.shape[2:])) / (levels - 1)
    return tile(np.where(hidden, VEIL[:, None, None], colours), 1, 2)


def _repeats(restored: Restoration, row: int) -> np.ndarray:
    """Returns the first samples of the image that sample ``row`` restores, padded with blanks."""
    image = restored.truth.image
    return padded(restored.samples[image == image[row]][:REPEATS], REPEATS)
