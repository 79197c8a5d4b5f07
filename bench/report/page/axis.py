"""Axes of the page's figure: where values lie in pixels, and where ticks go."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.ticker import LogLocator, MaxNLocator

APART = 40
"""Pixels between two ticks at least, along the axis of costs."""


class Axis(NamedTuple):
    """One axis.

    Args:
        low: The value at pixel ``start``, ``high`` that at ``end``.
        logarithmic: Whether equal factors have equal lengths.
    """

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool

    def at(self, value: float) -> float:
        """Returns the pixel of a value, no further outside than the ends."""
        value = min(max(value, self.low), self.high)
        low, high = self.low, self.high
        if self.logarithmic:
            low, high, value = math.log(low), math.log(high), math.log(value)
        part = (value - low) / (high - low)
        return round(self.start + part * (self.end - self.start), 1)

    def ticks(self, apart: float = APART) -> list[float]:
        """Returns round values on the axis, no two nearer than so many pixels."""
        shown: list[float] = []
        for value in self._candidates():
            if not self.low <= value <= self.high:
                continue
            if not shown or abs(self.at(value) - self.at(shown[-1])) >= apart:
                shown.append(float(value))
        return shown

    def _candidates(self) -> Sequence[float]:
        if not self.logarithmic:
            return list(MaxNLocator(6).tick_values(self.low, self.high))
        span = self.high / self.low
        subs = (1, 1.5, 2, 3, 4, 5, 6, 8) if span < 6 else (1, 2, 5) if span < 1000 else (1,)
        return list(LogLocator(subs=subs, numticks=30).tick_values(self.low, self.high))


def axis_of(
    values: Sequence[float], pixels: tuple[float, float], *, logarithmic: bool, margin: float = 0.05
) -> Axis:
    """Returns an axis that holds some finite values, with a margin at both ends."""
    low, high = min(values), max(values)
    if logarithmic:
        room = max((high / low) ** margin, 1.03)
        return Axis(low / room, high * room, *pixels, True)
    room = margin * (high - low) or abs(high) * margin or 1.0
    return Axis(low - room, high + room, *pixels, False)


def tick_text(value: float) -> str:
    """Returns a tick as a short number: ``0.05``, ``200``, ``2k``, ``4e+11``."""
    if value and not 1e-3 <= abs(value) < 1e6:
        return f"{value:.3g}".replace("e+", "e").replace("e0", "e")
    return f"{value / 1000:g}k" if abs(value) >= 10_000 else f"{value:g}"
