"""What the spread of each metric comes from: retraining, or resampling."""

import math
from collections.abc import Iterable

import numpy as np
import pandas as pd

from bench.report.group import Group

COLUMNS = (
    *("group", "metric", "identity", "trainings", "sample seeds", "sample sets"),
    *("interval over", "mean", "low", "high", "values", "error", "df"),
    *("sd retraining", "sd resampling", "sd shared by trainings", "share of retraining"),
)


def uncertainty(groups: Iterable[Group]) -> pd.DataFrame:
    """Returns a row per group and metric: the mean, its interval, what that holds for, and what the
    spread comes from.

    ``sd retraining`` and ``sd resampling`` are square roots of components of variance: what another
    training would change with one sample set, and what another sample set would change of one
    training; ``sd shared by trainings`` is the part of the latter that a sample seed does to all
    trainings alike, ``share of retraining`` that of retraining in the sum. Blank if the design
    cannot tell: one training, or one sample set of each. ``values`` stand if they are too few for
    an interval.
    """
    groups = list(groups)
    if not groups:
        return pd.DataFrame(columns=[*COLUMNS])
    seeds = groups[0].table.counts
    records = [
        _record(group, name) | seeds[group.index] for group in groups for name in group.estimates
    ]
    return pd.DataFrame(records, columns=[*COLUMNS])


def _record(group: Group, name: str) -> dict[str, object]:
    found, shown = group.estimates[name], group.measured[name]
    finite = np.isfinite(group.table.values[name][group.table.places[group.index]])
    total = found.retraining + found.resampling
    parts = {part: float(getattr(found, part)) for part in ("mean", "low", "high", "error", "df")}
    return parts | {
        "group": group.name,
        "metric": name,
        "identity": group.identity.get(name, ""),
        "sample sets": int(finite.sum()),
        "interval over": shown.scope,
        "values": shown.values or "",
        "sd retraining": float(found.retraining) ** 0.5,
        "sd resampling": float(found.resampling) ** 0.5,
        "sd shared by trainings": float(found.shared) ** 0.5,
        "share of retraining": float(found.retraining / total) if total > 0 else math.nan,
    }
