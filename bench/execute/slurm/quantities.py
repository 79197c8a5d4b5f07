"""Numbers as plans write them: two significant digits, and the unit that suits their size."""

import math
from collections.abc import Sequence


def two_digits(value: float) -> str:
    """Returns a number to two significant digits: 5,400 or 0.012."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    rounded = float(f"{value:.2g}")
    if abs(rounded) >= 10:
        return f"{rounded:,.0f}"
    return f"{rounded:.{1 - math.floor(math.log10(abs(rounded)))}f}"


def flops(value: float) -> str:
    """Returns a number of floating point operations: 1.2 PFLOP."""
    return _scaled(value, "GFLOP TFLOP PFLOP EFLOP", 1e9)


def disk_space(value: float) -> str:
    """Returns a number of bytes: 12 GB."""
    return _scaled(value, "MB GB TB", 1e6)


def _scaled(value: float, units: str, first: float) -> str:
    """Returns a number in the largest unit that it is at least one of; each unit is a thousand of
    the one before.
    """
    names = units.split()
    power = math.floor(math.log10(value / first) / 3 + 1e-9) if value > 0 else 0
    power = max(0, min(len(names) - 1, power))
    return f"{two_digits(value / first / 1000**power)} {names[power]}"


def duration(seconds: float) -> str:
    """Returns a time: 90 s, 12 min, 5.0 h or 3.2 days."""
    if seconds < 120:
        return f"{two_digits(seconds)} s"
    if seconds < 7200:
        return f"{two_digits(seconds / 60)} min"
    if seconds < 72 * 3600:
        return f"{two_digits(seconds / 3600)} h"
    return f"{two_digits(seconds / 86400)} days"


def durations(seconds: Sequence[float]) -> str:
    """Returns the range of some times."""
    low, high = duration(min(seconds)), duration(max(seconds))
    return low if low == high else f"{low} to {high}"
