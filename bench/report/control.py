"""Whether rows may be compared: what a table does not rank together, and controlled comparisons."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from bench.report.identity import differences

TOLERANCE = 0.01
"""Fraction by which models of a controlled comparison may differ in parameters and in FLOPs."""


def unranked(
    rows: pd.DataFrame, metrics: Mapping[str, Any], identities: Mapping[str, Any]
) -> list[str]:
    """Returns a line for each metric of a budget whose rows have unlike identities: which, and why
    they are not ranked together.

    Args:
        rows: The tidy table.
        metrics: By column.
        identities: What each hash stands for.
    """
    lines = []
    for budget, part in rows.groupby("budget", dropna=True, sort=True):
        for name in metrics:
            groups: dict[str, dict[str, None]] = {}  # names of groups by hash, in order
            for group, identity in zip(part["group"], part["identity"], strict=True):
                if name in identity:
                    groups.setdefault(identity[name], {})[group] = None
            first = next(iter(groups), "")
            for other in list(groups)[1:]:
                why = "; ".join(differences(identities[first], identities[other]))
                lines.append(
                    f"Budget {budget:g}, {name}: {', '.join(groups[other])} not ranked with "
                    f"{', '.join(groups[first])}: {why}."
                )
    return lines


def evaluation_costs(rows: pd.DataFrame) -> pd.Series:
    """Returns the GFLOPs of one evaluation of each model of which any were counted, by train
    label.
    """
    costs = rows.groupby("train", sort=False)["network_gflops_per_row"].max()
    return costs[costs > 0]


def costs_differ(rows: pd.DataFrame) -> bool:
    """Tells whether one evaluation costs more in some model than in another, by over 1 %."""
    costs = evaluation_costs(rows)
    return len(costs) > 1 and bool(costs.max() > (1 + TOLERANCE) * costs.min())


def uncontrolled(rows: pd.DataFrame) -> str:
    """Returns why a comparison is not controlled, empty if nothing speaks against it.

    Models may differ by no more than 1 % in parameters and in the forward FLOPs of one row
    through the network, of which only finished ones are known.

    Args:
        rows: The tidy table.
    """
    models = rows.groupby("train", sort=False)
    sizes = {
        "parameters": (models["parameters"].max().dropna().astype(float), ",.0f"),
        "forward GFLOPs of one evaluation": (evaluation_costs(rows), ".4g"),
    }
    unlike = []
    for what, (values, form) in sizes.items():
        if len(values) and values.max() > (1 + TOLERANCE) * values.min():
            excess = f" by {values.max() / values.min() - 1:.1%}" if values.min() else ""
            least = f"{values.idxmin()}: {values.min():{form}}"
            most = f"{values.idxmax()}: {values.max():{form}}"
            unlike.append(f"{what} differ{excess} ({least}, {most})")
    return f"not a controlled comparison: {'; '.join(unlike)}" if unlike else ""
