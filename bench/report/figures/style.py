"""What the pictures of a report are drawn with: colours, markers, panels, axes and sheets of
images.
"""

import io
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

MARKERS = "osD^vP*X<>"
DASHES = ("-", (0, (4, 1.5)), (0, (1, 1.2)), "-.", (0, (6, 1, 1, 1, 1, 1)))


ROOM = 5
"""Factor beyond the means at which a logarithmic axis of intervals ends."""


class Picture(NamedTuple):
    """A figure on disk, ``<name>.png`` and ``<name>.svg``, or why there is none."""

    name: str
    title: str
    caption: str
    fault: str = ""


Sketch = tuple[Picture, Callable[[], Figure]]
"""A picture and what draws it."""


class Line(NamedTuple):
    """What one line joins: a model under one sampler with one time grid and equal settings."""

    train: str
    sampler: str


class Look:
    """Colours of models, markers and dashes of samplers, and the names that lines go by."""

    def __init__(self, rows: pd.DataFrame, models: list[str]) -> None:
        palette = seaborn.color_palette("colorblind")
        order = [
            0,
            1,
            2,
            4,
            3,
            5,
            9,
            7,
            6,
            8,
        ]  # neighbours in the legend far apart in hue and lightness
        self.colour = {label: palette[order[i % len(order)]] for i, label in enumerate(models)}
        sampled = rows[rows["sampler"].notna()]
        several_times = sampled.groupby("sampler")["times"].nunique() > 1
        self.names = {
            index: " ".join(
                part
                for part in (
                    row["sampler"],
                    row["times"] if several_times[row["sampler"]] else "",
                    row["settings"],
                )
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
        for (train, sampler), part in sampled.groupby(
            ["train", sampled.index.map(self.names)], sort=False
        ):
            yield Line(train, sampler), part


def house_style() -> Any:
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


def rendered(figure: Figure) -> dict[str, bytes]:
    """Returns the files of a figure by kind."""
    files = {}
    for kind, metadata in (("png", {"Software": None}), ("svg", {"Date": None, "Creator": None})):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind, metadata=metadata)
        figure.set_layout_engine("none")  # the second format keeps the layout found for the first
        files[kind] = buffer.getvalue()
    return files


def new_figure(width: float, height: float) -> Figure:
    """Returns an empty figure of that size in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def label_panels(panels: np.ndarray, count: int, x: str, y: str) -> None:
    """Labels the left column and the lowest panel of each column, of which only the first ``count``
    are drawn.
    """
    columns = panels.shape[1]
    for index, axes in enumerate(panels.flat[:count]):
        if index % columns == 0:
            axes.set_ylabel(y)
        if index + columns >= count:
            axes.set_xlabel(x)
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


def draw_spread(
    axes: Axes, x: np.ndarray, part: pd.DataFrame, colour: Any, *, bars: bool = True
) -> None:
    """Draws the intervals of a line as a band, with bars at its points, and single values as dots.

    Args:
        axes: Where.
        x: Shape (N,): where the points of the line stand.
        part: N rows with the fields of :class:`bench.report.seeds.Measured`.
        colour: The line's.
        bars: Whether there are bars.
    """
    mean, low, high = (part[name].to_numpy(float) for name in ("mean", "low", "high"))
    axes.fill_between(x, low, high, color=colour, alpha=0.15, lw=0)
    known = np.isfinite(low) & np.isfinite(high) if bars else np.zeros(len(x), bool)
    reach = np.maximum([(mean - low)[known], (high - mean)[known]], 0)
    axes.errorbar(
        x[known], mean[known], yerr=reach, fmt="none", ecolor=colour, elinewidth=0.8, alpha=0.5
    )
    dots = [(at, value) for at, values in zip(x, part["values"], strict=True) for value in values]
    if dots:
        axes.scatter(*zip(*dots, strict=True), s=7, color=colour, alpha=0.5, lw=0, zorder=2.5)


def limit_spread(axes: Axes, means: pd.Series) -> None:
    """Cuts off what is drawn far beyond the means: a wide interval would leave no room for them."""
    bottom, top = axes.get_ylim()
    least, most = means.min(), means.max()
    if axes.get_yscale() == "log":
        axes.set_ylim(max(bottom, least / ROOM), min(top, most * ROOM))
    elif room := max(2 * (most - least), means.abs().max()):
        axes.set_ylim(max(bottom, least - room), min(top, most + room))


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


def show(axes: Axes, sheet: np.ndarray) -> None:
    """Draws what :func:`tile` returned."""
    axes.imshow(sheet, interpolation="nearest", vmin=0, vmax=1)
    axes.set_axis_off()


def slug(text: str) -> str:
    """Returns a file name that a text reads as: ``fd-digits-cnn-8``."""
    return "-".join("".join(c if c.isalnum() else " " for c in text.lower()).split())
