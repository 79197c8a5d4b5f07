"""Empty figures and grids of panels, logarithmic axes, legends, and the files of a figure."""

import io
import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as MatplotlibFigure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

INCHES_PER_LETTER = 0.075
"""Width of a letter in a legend."""


def new_figure(width: float, height: float) -> MatplotlibFigure:
    """Returns an empty figure of that size in inches."""
    figure = MatplotlibFigure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def panel_grid(
    count: int,
    size: tuple[float, float],
    *,
    columns: int = 3,
    margin: tuple[float, float] = (0.4, 0.7),
    sharex: bool = False,
    sharey: bool = False,
) -> tuple[MatplotlibFigure, list[Axes]]:
    """Returns a figure with so many panels, row by row.

    Args:
        size: Width and height of a panel in inches.
        columns: The most panels in a row.
        margin: Inches added to the width and height of all panels.
        sharex, sharey: Whether panels share an axis.
    """
    columns = min(columns, count)
    lines = math.ceil(count / columns)
    figure = new_figure(size[0] * columns + margin[0], size[1] * lines + margin[1])
    panels = figure.subplots(lines, columns, squeeze=False, sharex=sharex, sharey=sharey)
    for axes in panels.flat[count:]:
        axes.remove()
    return figure, list(panels.flat[:count])


def label_panels(panels: list[Axes], x: str, y: str) -> None:
    """Labels the left column and the lowest panel of each column of a grid."""
    place = panels[0].get_subplotspec()
    assert place is not None  # they are of a grid
    columns = place.get_gridspec().ncols
    for index, axes in enumerate(panels):
        lowest = index + columns >= len(panels)
        axes.set_ylabel(y if index % columns == 0 else "", visible=True)
        axes.set_xlabel(x if lowest else "", visible=True)  # seaborn hides it if axes are shared
        if lowest:
            axes.tick_params(labelbottom=True)


def log_axis(axes: Axes, which: str, values: pd.Series) -> None:
    """Makes an axis logarithmic with plain numbers at a readable number of ticks, however little it
    spans.

    Without a positive value it stays as it is.
    """
    positive = values[values > 0]
    if positive.empty:
        return
    span = positive.max() / positive.min()
    subs = (1, 1.5, 2, 3, 4, 5, 6, 8) if span < 6 else (1, 2, 5) if span < 1000 else (1,)
    axes.set(**{f"{which}scale": "log"})
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def take_legend(*panels: Axes) -> dict[str, Any]:
    """Returns the handles by label of the legends that seaborn gave to panels, which lose them."""
    handles: dict[str, Any] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
        if (legend := axes.get_legend()) is not None:
            legend.remove()
    return handles


def legend_beside(figure: MatplotlibFigure, handles: dict[str, Any]) -> None:
    """Draws a legend to the right of a figure's panels."""
    entries = list(handles.values()), list(handles)
    figure.legend(*entries, loc="outside right center", frameon=False)


def legend_below(figure: MatplotlibFigure, handles: dict[str, Any]) -> None:
    """Draws a legend below a figure's panels, in as many columns as fit."""
    widest = 0.7 + INCHES_PER_LETTER * max(map(len, handles))
    columns = max(1, min(6, len(handles), int(figure.get_size_inches()[0] / widest)))
    place: dict[str, Any] = {"loc": "outside lower center", "ncols": columns, "frameon": False}
    figure.legend(list(handles.values()), list(handles), **place)


def rendered(figure: MatplotlibFigure) -> dict[str, bytes]:
    """Returns the files of a figure by kind."""
    files = {}
    for kind, metadata in (("png", {"Software": None}), ("svg", {"Date": None, "Creator": None})):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind, metadata=metadata)
        figure.set_layout_engine("none")  # the second format keeps the layout found for the first
        files[kind] = buffer.getvalue()
    return files


def tile(images: np.ndarray, columns: int, levels: int) -> np.ndarray:
    """Returns images side by side with a gap between them, in [0, 1], shape (height, width, 3).

    Args:
        images: Shape (N, C, H, W) with C of 1 or 3, values in 0, ..., levels - 1.
        columns: Images per row; missing ones stay white.
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


def show(axes: Axes, sheet: np.ndarray, title: str = "", size: float = 9) -> None:
    """Draws what :func:`tile` returned."""
    axes.imshow(sheet, interpolation="nearest", vmin=0, vmax=1)
    axes.set(xticks=[], yticks=[])  # hidden ones would be laid out all the same
    axes.set_axis_off()
    if title:
        axes.set_title(title, fontsize=size)
