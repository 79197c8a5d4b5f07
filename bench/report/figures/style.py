"""Colours of models, markers and dashes of samplers, legible without colour as well."""

from collections.abc import Mapping
from typing import Any

import matplotlib
import pandas as pd
import seaborn
from matplotlib.colors import to_hex

MARKERS = "osD^vP*X<>"
DASHES = ("", (4, 1.5), (1, 1.2), (4, 1.2, 1, 1.2), (6, 1, 1, 1, 1, 1))
"""Lengths of strokes and gaps in line widths; empty: solid."""
ORDER = (0, 1, 2, 4, 3, 5, 9, 7, 6, 8)
"""Colours of the palette such that neighbours in a legend are far apart in hue and lightness."""
DARKER = 0.6
"""Factor of red, green and blue by which colours that would repeat are darker."""
LINE = {"lw": 1.6, "markersize": 5}
"""How every line through measured points is drawn."""


def colours(count: int) -> list[str]:
    """Returns so many colours as ``#rrggbb``, for models in the order of a suite; after each ten,
    the same ones darker (with other markers, :func:`lap_of`).
    """
    palette = seaborn.color_palette("colorblind")
    found = []
    for index in range(count):
        lap, place = divmod(index, len(ORDER))
        red, green, blue = (part * DARKER**lap for part in palette[ORDER[place]])
        found.append(to_hex((red, green, blue)))
    return found


def lap_of(index: int) -> int:
    """Returns which of three markers a model has where samplers have none: the next after each ten
    colours.
    """
    return index // len(ORDER) % 3


class Style:
    """Colours by model, markers and dashes by sampler, and the names that samplers go by.

    Args:
        rows: The tidy table.
        models: Train labels in the order of the suite.
    """

    def __init__(self, rows: pd.DataFrame, models: list[str]) -> None:
        self.colour = dict(zip(models, colours(len(models)), strict=True))
        self.model_marker = {model: MARKERS[lap_of(i)] for i, model in enumerate(models)}
        sampled = rows[rows["sampler"].notna()]
        times = sampled.groupby("sampler")["times"].nunique()
        self._several_times = set(times.index[times > 1])
        kinds = sampled[["sampler", "times", "settings"]].drop_duplicates().to_dict("records")
        names = dict.fromkeys(self.sampler(kind) for kind in kinds)
        self.marker = {name: MARKERS[i % len(MARKERS)] for i, name in enumerate(names)}
        self.dash = {name: DASHES[i % len(DASHES)] for i, name in enumerate(names)}

    def sampler(self, row: Mapping[str, Any]) -> str:
        """Returns the sampler of a row with its settings, and its time grid if it has several."""
        times = row["times"] if row["sampler"] in self._several_times else ""
        return " ".join(part for part in (row["sampler"], times, row["settings"]) if part)


def theme() -> Any:
    """Returns the context in which every figure is drawn."""
    return matplotlib.rc_context(
        seaborn.axes_style("whitegrid")
        | {
            "font.size": 10,
            "axes.labelsize": 10,
            "axes.titlesize": 11,
            "xtick.labelsize": 9,
            "ytick.labelsize": 9,
            "legend.fontsize": 9,
            "legend.title_fontsize": 9,
            "grid.color": "0.9",
            "axes.edgecolor": "0.6",
            "svg.hashsalt": "bench",
            "svg.fonttype": "path",
            "savefig.dpi": 130,
        }
    )
