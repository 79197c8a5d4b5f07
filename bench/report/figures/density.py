"""Densities of samples that are points, beside that of the data."""

import math
from collections.abc import Iterator
from functools import partial

import numpy as np
import pandas as pd
import seaborn
from matplotlib.figure import Figure as MatplotlibFigure

from bench.data.images import Images
from bench.report.figures.figure import Figure, LazyFigure, slug
from bench.report.figures.samples import Sheet, first_seeds, largest, sheet_grid, sheet_title
from bench.report.figures.style import Style
from bench.report.records import Records
from bench.report.results import Results

POINTS = 100_000
"""The most points of one density."""
MOST_BINS = 100
NEGLIGIBLE = 5e-4
"""Share of points outside the panel up to which it is not named."""


def densities(
    label: str, rows: pd.DataFrame, records: Records, data: Images, style: Style
) -> Iterator[LazyFigure]:
    """Yields the densities of samples beside that of the data: points, or their projection."""
    dims = math.prod(data.shape)
    if rows.empty or dims < 2:
        return
    best = largest(first_seeds(rows, style), records, POINTS)
    if best:
        caption = (
            f"{label}: density of the samples of each sampler at its largest budget, and of "
            "held-out points. One scale for all; what lies outside the panel is counted above it."
        )
        if dims > 2:
            caption += (
                f" Of {dims} dimensions, the two directions in which held-out points vary most."
            )
        sheets, span = onto_plane([*best, Sheet("held out", data.test)], data)
        figure = Figure(f"density-{slug(label)}", f"Density of {label}", caption)
        yield LazyFigure(figure, partial(_density, label, sheets, span))


def densities_of_models(
    results: Results, rows: pd.DataFrame, records: Records, data: Images, style: Style
) -> Iterator[LazyFigure]:
    """Yields one figure of all models: of each the density of its best group by the first metric,
    over all its trainings and sample seeds.
    """
    dims, name = math.prod(data.shape), results.first_metric
    if name is None or dims < 2:
        return
    higher = results.metrics[name].higher_is_better
    parts = (best_group(mine, name, higher) for _, mine in rows.groupby("train", sort=False))
    sheets = [sheet for part in parts if (sheet := _pooled(part, records, style))]
    if len(sheets) < 2:
        return
    caption = (
        f"Of each model the density of its best group by {name}, over all its trainings and sample "
        "seeds, and of held-out points. One scale for all; what lies outside is counted above."
    )
    flat, span = onto_plane([*sheets, Sheet("held out", data.test)], data)
    figure = Figure("densities", "Densities of all models", caption, "samples")
    yield LazyFigure(figure, partial(_density, "", flat, span))


def best_group(rows: pd.DataFrame, name: str, higher: bool) -> pd.DataFrame:
    """Returns the rows of the complete group that is best by the mean of a column, if one is."""
    complete = rows.groupby("group", sort=False).filter(
        lambda group: bool((group["state"] == "done").all() and group[name].notna().all())
    )
    if complete.empty:
        return complete
    means = complete.groupby("group", sort=False)[name].mean()
    return complete[complete["group"] == (means.idxmax() if higher else means.idxmin())]


def _pooled(part: pd.DataFrame, records: Records, style: Style) -> Sheet | None:
    """Returns the samples of all rows of a group, None if there are none."""
    images = [found for key in part["key"] if len(found := records.images(key, POINTS))]
    if not images:
        return None
    row = part.iloc[0]
    sampler = style.sampler(row) if isinstance(row["sampler"], str) else "made elsewhere"
    return Sheet(f"{row['train']}\n{sheet_title(sampler, row['nfe'])}", np.concatenate(images))


def onto_plane(sheets: list[Sheet], data: Images) -> tuple[list[Sheet], tuple[float, float]]:
    """Returns points of any dimensions in the plane, shape (N, 2, 1, 1), and the range of both
    coordinates there.

    Args:
        sheets: The last one holds the held-out points.
    """
    held_out = sheets[-1].images.reshape(len(sheets[-1].images), -1).astype(np.float64)
    if held_out.shape[1] == 2 and data.range is not None:
        return sheets, data.range
    centre = held_out.mean(0)
    _, _, directions = np.linalg.svd(held_out - centre, full_matrices=False)
    flat = [(s.images.reshape(len(s.images), -1) - centre) @ directions[:2].T for s in sheets]
    most = 1.1 * float(np.abs(flat[-1]).max())
    projected = [
        Sheet(sheet.title, x.reshape(-1, 2, 1, 1)) for sheet, x in zip(sheets, flat, strict=True)
    ]
    return projected, (-most, most)


def _density(label: str, sheets: list[Sheet], span: tuple[float, float]) -> MatplotlibFigure:
    figure, panels = sheet_grid(sheets, sharex=True, sharey=True)
    fewest = min(len(sheet.images) for sheet in sheets)
    bins = min(MOST_BINS, math.isqrt(4 * fewest) + 4)
    area = ((span[1] - span[0]) / bins) ** 2
    points = [sheet.images.reshape(-1, 2).astype(np.float64) for sheet in sheets]
    x, y = points[-1].T
    held_out, _, _ = np.histogram2d(x, y, bins=bins, range=np.array([span, span]))
    scale = {"vmin": 0, "vmax": held_out.max() / (len(points[-1]) * area)}
    for axes, sheet, xy in zip(panels, sheets, points, strict=True):
        # Weights that make a density of counts, with the points outside the panel in its total.
        seaborn.histplot(
            x=xy[:, 0],
            y=xy[:, 1],
            weights=np.full(len(xy), 1 / (len(xy) * area)),
            bins=bins,
            binrange=(span, span),
            cmap="magma",
            thresh=None,
            ax=axes,
            **scale,
        )
        outside = 1 - ((xy >= span[0]) & (xy <= span[1])).all(1).mean()
        more = f"\n{outside:.1%} outside" if outside > NEGLIGIBLE else ""
        axes.set_title(sheet.title + more, fontsize=9)
        axes.set(aspect="equal", xlim=span, ylim=span)
        axes.grid(False)
    if label:
        figure.suptitle(label, fontsize=12)
    return figure
