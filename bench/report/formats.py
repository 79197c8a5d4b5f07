"""Numbers and facts of rows as text, the same in every output."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from bench.report.seeds import Measured

MARKS = {"sample seeds": "†", "trainings": "‡"}
"""Marks of intervals that hold only for other sample seeds, or only for other trainings."""
TIED = "≈"
"""Marks a value that cannot be told from the best one: the interval of the difference holds 0."""
FRONT = "◆"
"""Marks a row on the Pareto front."""
LISTED = 4
"""Values that a cell lists; of more, the least and the greatest."""


def number(value: Any, digits: int = 3) -> str:
    """Returns a number with so many significant digits; blank if there is none."""
    if value is None or pd.isna(value):
        return ""
    value = float(value)
    if math.isinf(value) or value == 0:
        return f"{value:g}"
    if _extreme(value):
        return f"{value:.{digits - 1}e}"
    return f"{value:,.{_decimals(value, digits)}f}"


def with_deviation(mean: Any, deviation: Any) -> str:
    """Returns ``0.123 ± 0.004``, both to the mean's three significant digits."""
    if not _finite(mean) or deviation is None or pd.isna(deviation):
        return number(mean)
    if _extreme(mean):
        return f"{number(mean)} ± {number(deviation, 1)}"
    return f"{number(mean)} ± {deviation:,.{_decimals(mean, 3)}f}"


def with_error(mean: Any, error: Any) -> str:
    """Returns ``2.158 ± 0.030``, both to the error's two significant digits."""
    if mean is None or pd.isna(mean) or error is None or pd.isna(error) or not error > 0:
        return number(mean)
    decimals = min(6, _decimals(error, 2))
    return f"{mean:,.{decimals}f} ± {error:,.{decimals}f}"


def with_interval(mean: Any, low: Any, high: Any) -> str:
    """Returns ``0.123 [0.119, 0.127]``, all to the mean's three significant digits; only the mean
    without an interval.

    The interval may be much wider than the mean: a zero of its own shows as such.
    """
    if not all(map(_finite, (mean, low, high))):
        return number(mean)
    if _extreme(mean):
        return f"{number(mean)} [{number(low)}, {number(high)}]"
    decimals = _decimals(mean, 3)
    return f"{number(mean)} [{low:,.{decimals}f}, {high:,.{decimals}f}]"


def measured_text(measured: Measured) -> str:
    """Returns a mean with its interval, marked if of narrower scope, or with the values."""
    text = with_interval(measured.mean, measured.low, measured.high)
    if measured.scope:
        return f"{text} {MARKS[measured.scope]}" if measured.scope in MARKS else text
    if not measured.values or not math.isfinite(measured.mean):
        return text
    if len(measured.values) > LISTED:
        return f"{text} ({number(min(measured.values))} to {number(max(measured.values))})"
    return f"{text} ({', '.join(map(number, measured.values))})"


def metric_text(group: Mapping[str, Any], name: str) -> str:
    """Returns a metric of a row of the leaderboard as :func:`measured_text` does."""
    if pd.isna(group[name]):
        return ""
    over, values = (group[f"{name} {what}"] for what in ("interval over", "values"))
    low, high = group[f"{name} low"], group[f"{name} high"]
    return measured_text(Measured(group[name], low, high, over, values))


def behind_text(group: Mapping[str, Any], name: str) -> str:
    """Returns by how much a group is behind the best of its budget, ``+0.36 [-0.40, 1.10]``;
    ``best`` for the best, blank if it is compared with none.
    """
    value = group[f"{name} behind"]
    if pd.isna(value):
        return ""
    if value == 0:
        return "best"
    ends = group[f"{name} behind low"], group[f"{name} behind high"]
    return f"+{with_interval(value, *ends)}"


def value_text(group: Mapping[str, Any], name: str) -> str:
    """Returns a metric of a row with half the width of its interval, ``3.38 ± 0.71 †``, marked if
    of narrower scope; or with its values, if they are too few for one.
    """
    value, low, high = group[name], group[f"{name} low"], group[f"{name} high"]
    if not all(map(_finite, (value, low, high))):
        return metric_text(group, name)
    text = with_deviation(value, (high - low) / 2)
    mark = MARKS.get(group[f"{name} interval over"], "")
    return f"{text} {mark}".strip()


def bits_text(mean: Any, error: Any, draws: tuple[Any, Any] | None = None) -> str:
    """Returns bits/dim with their standard error over the images, which says so.

    Args:
        draws: The spread that random draws (dequantisations, probes) give to the mean and to one
            image, named beside it.
    """
    text = with_error(mean, error)
    if "±" not in text:
        return text
    if draws is None or pd.isna(draws[1]):
        return f"{text} (over images)"
    of_mean, of_image = (number(draw, 2) for draw in draws)
    return f"{text} (over images; of it draws ± {of_mean}, of one image ± {of_image})"


def mark_bound(text: str, note: Any) -> str:
    """Returns bits/dim as written, with a mark if their note says that they are a bound."""
    return f"{text} (bound)" if text and "bound" in str(note).split(" + ") else text


def probability(p: Any) -> str:
    """Returns a p-value; blank if there is none."""
    return "" if pd.isna(p) else f"{p:.3f}" if p >= 0.001 else "< 0.001"


def compact(value: Any) -> str:
    """Returns a number of evaluations: ``19``, ``38.5``; blank if there is none."""
    return "" if value is None or pd.isna(value) else f"{value:.4g}"


def whole(value: Any) -> str:
    """Returns a whole number with its thousands separated; blank if there is none."""
    return "" if value is None or pd.isna(value) else f"{int(value):,}"


def arrow(higher: bool) -> str:
    """Returns the direction in which a metric is better."""
    return "↑" if higher else "↓"


def sampler_title(group: Mapping[str, Any]) -> str:
    """Returns a sampler with its time grid and settings: ``flow_heun (rho7, snr=0.16)``."""
    if not isinstance(group["sampler"], str):
        return "–"
    tolerance = "" if pd.isna(group["tolerance"]) else f"tolerance={group['tolerance']:g}"
    notes = [note for note in (group["times"], group["settings"], tolerance) if note]
    return f"{group['sampler']} ({', '.join(notes)})" if notes else group["sampler"]


def nfe_text(group: Mapping[str, Any]) -> str:
    """Returns measured NFE, with its range if it has one."""
    if pd.isna(group["nfe"]) or group["nfe_min"] == group["nfe_max"]:
        return compact(group["nfe"])
    return f"{compact(group['nfe'])} ({compact(group['nfe_min'])}–{compact(group['nfe_max'])})"


def budget_text(group: Mapping[str, Any]) -> str:
    """Returns the budget of a row, with the measured NFE if that is another: ``20 (19)``."""
    budget, nfe = compact(group["budget"]), nfe_text(group)
    return budget if budget == nfe or not nfe else f"{budget} ({nfe})".strip()


def model_title(train: str, snapshot: Any, ema: Any) -> str:
    """Returns a train label, with the snapshot and the average if the model is one of those."""
    name = train if pd.isna(snapshot) else f"{train} after {snapshot:,} images"
    return name if pd.isna(ema) else f"{name}, EMA {ema}"


def _finite(value: Any) -> bool:
    return value is not None and not pd.isna(value) and math.isfinite(value)


def _extreme(value: float) -> bool:
    return not 1e-4 <= abs(value) < 1e7


def _decimals(value: float, digits: int) -> int:
    return max(0, digits - 1 - math.floor(math.log10(abs(value))))
