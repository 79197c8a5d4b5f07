"""Samples of each model beside real images, at one budget and across budgets."""

import textwrap
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure as MatplotlibFigure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from bench.data.images import Images
from bench.report.figures.canvas import new_figure, panel_grid, show, tile
from bench.report.figures.figure import Figure, LazyFigure, slug
from bench.report.figures.style import Style
from bench.report.records import Records

GRID = 8
"""Rows and columns of a sheet of samples."""
STRIP = 14
"""Images in a row across budgets."""
MOST_BUDGETS = 12
"""Rows of a strip across budgets."""
TITLE_WIDTH = 26
"""Letters in a line above a sheet."""


class Sheet(NamedTuple):
    """Images with what is written above or beside them."""

    title: str
    images: np.ndarray


def first_seeds(rows: pd.DataFrame, style: Style) -> dict[str, pd.DataFrame]:
    """Returns for each sampler of a model the points of its first seeds, by rising NFE."""
    if rows["sampler"].isna().all():
        return {"made elsewhere": rows}
    sampled = rows[rows["sampler"].notna() & rows["nfe"].notna()]
    kinds = sampled[["sampler", "times", "settings"]].to_dict("records")
    names = pd.Series([style.sampler(kind) for kind in kinds], sampled.index, str)
    found = {}
    for name, part in sampled.groupby(names, sort=False):
        first = (part["train_seed"] == part["train_seed"].min()) & (
            part["sample_seed"] == part["sample_seed"].min()
        )
        found[name] = part[first].sort_values("nfe", kind="stable")
    return found


def largest(parts: Mapping[str, pd.DataFrame], records: Records, count: int) -> list[Sheet]:
    """Returns the first images of the largest budget of each sampler that has some."""
    sheets = []
    for name, part in parts.items():
        for _, row in part[::-1].iterrows():
            if len(images := records.images(row["key"], count)):
                sheets.append(Sheet(sheet_title(name, row["nfe"]), images))
                break
    return sheets


def sheet_title(name: str, nfe: float) -> str:
    """Returns a sampler and its NFE, on lines that fit above a sheet."""
    lines = textwrap.wrap(name.replace(",", ""), TITLE_WIDTH, break_long_words=False)
    return "\n".join([*lines, f"NFE {nfe:.4g}"] if pd.notna(nfe) else lines)


def sheet_grid(sheets: Iterable[Sheet], **share: bool) -> tuple[MatplotlibFigure, list]:
    """Returns a panel for each sheet, with room for the tallest title."""
    titles = [sheet.title.splitlines() for sheet in sheets]
    height = 2.8 + 0.16 * max(map(len, titles))
    return panel_grid(len(titles), (2.7, height), columns=4, margin=(0.2, 0.4), **share)


def samples(
    label: str, rows: pd.DataFrame, records: Records, data: Images, style: Style
) -> Iterator[LazyFigure]:
    """Yields the samples of a model at its largest budgets, and across budgets.

    Args:
        rows: Points of the model that are conditioned on nothing.
    """
    if rows.empty:
        return
    parts = first_seeds(rows, style)
    best = largest(parts, records, GRID * GRID)
    if not best:
        return
    real = _held_out(data)
    beside = ", and real held-out ones, drawn at random" if len(real) else ""
    caption = (
        f"{label}: the first images of each sampler at its largest budget, not selected{beside}."
    )
    best += [Sheet("real, held out", real)] if len(real) else []
    figure = Figure(f"samples-{slug(label)}", f"Samples of {label}", caption, "file")
    yield LazyFigure(figure, partial(_grid, label, best, data.levels))
    strips = {name: _across_budgets(part, records) for name, part in parts.items()}
    strips = {name: sheets for name, sheets in strips.items() if len(sheets) > 1}
    if strips:
        caption = (
            f"{label}: a column is one noise draw, sampled with more and more network evaluations "
            f"per image; of more than {MOST_BUDGETS} budgets, some that are spread over all."
        )
        title = f"Samples of {label} across budgets"
        figure = Figure(f"budgets-{slug(label)}", title, caption, "file")
        yield LazyFigure(figure, partial(_budgets, label, strips, data.levels))


def _held_out(data: Images) -> np.ndarray:
    """Returns held-out images, none if the data set is not there (imported weights need none)."""
    try:
        return data.drawn("test", slice(GRID * GRID))
    except FileNotFoundError:
        return np.zeros((0, *data.shape), dtype=np.uint8)


def _across_budgets(part: pd.DataFrame, records: Records) -> list[Sheet]:
    """Returns the first images of every budget, of many budgets those of some, spread over all:
    common random numbers, so a column is one image made at all of them.
    """
    spread = np.linspace(0, len(part) - 1, min(len(part), MOST_BUDGETS)).round().astype(int)
    chosen = part.iloc[spread]
    sheets = [
        Sheet(f"{nfe:.4g}", records.images(key, STRIP))
        for nfe, key in zip(chosen["nfe"], chosen["key"], strict=True)
    ]
    return [sheet for sheet in sheets if len(sheet.images)]


def _grid(label: str, sheets: list[Sheet], levels: int) -> MatplotlibFigure:
    figure, panels = sheet_grid(sheets)
    engine = figure.get_layout_engine()
    assert isinstance(engine, ConstrainedLayoutEngine)
    engine.set(wspace=0.06)
    for axes, sheet in zip(panels, sheets, strict=True):
        show(axes, tile(sheet.images, GRID, levels), sheet.title)
    figure.suptitle(label, fontsize=12)
    return figure


def _budgets(label: str, strips: Mapping[str, list[Sheet]], levels: int) -> MatplotlibFigure:
    columns = max(len(sheet.images) for sheets in strips.values() for sheet in sheets)
    counts = [len(sheets) for sheets in strips.values()]
    figure = new_figure(6.6, 0.42 * sum(counts) + 0.32 * len(counts) + 0.45)
    panels = figure.subplots(len(strips), 1, squeeze=False, height_ratios=counts)
    for axes, (name, sheets) in zip(panels.flat, strips.items(), strict=True):
        rows = np.concatenate([padded(sheet.images, columns) for sheet in sheets])
        sheet = tile(rows, columns, levels)
        axes.imshow(sheet, interpolation="nearest", vmin=0, vmax=1)
        pitch = (sheet.shape[0] + 1) / len(sheets)
        centres = [pitch * (index + 0.5) - 1 for index in range(len(sheets))]
        axes.set_yticks(centres, [sheet.title for sheet in sheets])
        axes.set_xticks([])
        axes.set_ylabel("NFE")
        axes.grid(False)
        axes.spines[:].set_visible(False)
        axes.set_title(name, fontsize=10, loc="left")
    figure.align_ylabels()
    figure.suptitle(f"{label}: equal noise, growing budget", fontsize=12)
    return figure


def padded(images: np.ndarray, count: int) -> np.ndarray:
    """Returns so many images, repeating nothing: missing ones are blank."""
    blank = np.zeros((count - len(images), *images.shape[1:]), dtype=images.dtype)
    return np.concatenate([images, blank])
