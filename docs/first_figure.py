"""Draws the README's first figure from the stored results of ``suites/oracle_samplers.yaml``.

    python docs/first_figure.py        # writes docs/first_figure.png

One line per method's sampler, of the exact score: the error that is left after so many network
evaluations, and what as many true points have.
"""

import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]

from bench.data.images import load_images  # noqa: E402
from bench.data.registry import DATASETS  # noqa: E402
from bench.metrics.points import Points, exact_frechet_distance  # noqa: E402

RESULTS = ROOT / "results" / "oracle_samplers" / "results.csv"
TARGET = ROOT / "docs" / "first_figure.png"
METRIC = "exact_fd"
DATA = "gaussian_mixture"
COUNT = 2000
LINES: Mapping[str, tuple[str, str]] = {
    "DPM-Solver++ (VP)": ("vp", "dpm_solver_2m"),
    "Heun's method (VP)": ("vp", "flow_heun"),
    "ancestral (VP)": ("vp", "ancestral"),
    "SSCS (CLD)": ("cld", "sscs"),
    "momentum (Soft Diffusion)": ("soft", "momentum"),
    "annealed Langevin (NCSN)": ("ncsn", "annealed_langevin"),
}
"""Train label and sampler of each line."""
COLOURS = (0, 2, 4, 3, 1, 7)
"""Of the colour-blind-safe palette: neighbours at the lines' left ends are far apart."""


def series(rows: pd.DataFrame, train: str, sampler: str) -> pd.DataFrame:
    """Returns mean, least and greatest error of the complete groups of a sampler, by measured NFE.

    Groups with settings of their own are left out.
    """
    mine = rows[(rows["train"] == train) & (rows["sampler"] == sampler) & rows["settings"].isna()]
    complete = mine.groupby("group").filter(lambda group: (group["state"] == "done").all())
    return complete.groupby("nfe")[METRIC].agg(["mean", "min", "max"]).reset_index()


def floor() -> float:
    """Returns the mean error of true points: of disjoint parts of the held-out ones."""
    mixture = DATASETS[DATA].mixture
    assert mixture is not None
    points = load_images(DATA).test
    parts = np.split(points[: len(points) // COUNT * COUNT], len(points) // COUNT)
    return float(np.mean([exact_frechet_distance(Points(part), mixture()) for part in parts]))


def draw(rows: pd.DataFrame) -> Figure:
    """Returns the figure."""
    figure = Figure(figsize=(8.2, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    palette = seaborn.color_palette("colorblind")
    for (name, which), place in zip(LINES.items(), COLOURS, strict=True):
        line, colour = series(rows, *which), palette[place]
        axes.plot(line["nfe"], line["mean"], "o-", color=colour, lw=2, markersize=5, label=name)
        axes.fill_between(line["nfe"], line["min"], line["max"], color=colour, alpha=0.2, lw=0)
    axes.axhline(floor(), color="0.4", lw=1, ls=(0, (4, 2)))
    axes.text(4.7, 0.9 * floor(), "as many true points", va="top", color="0.3", fontsize=10)
    _label(axes)
    axes.legend(frameon=False, loc="upper right", fontsize=10)
    return figure


def _label(axes: Axes) -> None:
    axes.set(xscale="log", yscale="log", xlim=(4.5, 340))
    for axis, ticks in ((axes.xaxis, (5, 10, 20, 50, 200)), (axes.yaxis, (0.01, 0.1, 1, 10))):
        axis.set_major_locator(FixedLocator(ticks))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel("network evaluations per sample")
    axes.set_ylabel("error: Fréchet distance to the truth")
    axes.set_title("What is left of the error if the score is exact", loc="left", fontsize=12)
    axes.grid(color="0.92")
    axes.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    draw(pd.read_csv(RESULTS, low_memory=False)).savefig(
        TARGET, dpi=130, metadata={"Software": None}
    )
