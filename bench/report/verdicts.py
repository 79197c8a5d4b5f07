"""The claims that a suite states before its run, judged: better, worse, within noise, or undecided.

The unit of a claim is a training. Groups that share their trainings (one model, two samplers) are
compared training by training; groups of other trainings side by side. Holm's correction runs over
all claims of the page, one for differences and one for equivalence, and counts claims that could
not be tested as well: they were stated.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from bench.report.contrast import contrast
from bench.report.significance import VERDICTS, Comparison, compare, holm, verdicts
from bench.report.statistics import BOTH
from bench.report.table import bare, buckets, identities, tables_of
from bench.suite.claims import LEAST_PAIRS, LEAST_SEEDS, LEAST_TRAININGS, LEVEL, Claim, least_p

COLUMNS = (
    *(
        "metric",
        "first",
        "second",
        "verdict",
        "note",
        "first_mean",
        "second_mean",
        "difference",
        "low",
        "high",
    ),
    *("smallest_effect", "p", "p_holm", "p_equivalence", "p_equivalence_holm", "test"),
    *("first_trainings", "second_trainings", "sample_seeds", "first_nfe", "second_nfe"),
)
UNDECIDED = VERDICTS[0]


def judge(rows: pd.DataFrame) -> pd.DataFrame:
    """Returns a row a claim of the suite, in its order, with its verdict on the first group.

    ``difference`` is first minus second with its 95 % interval ``low`` to ``high``, that of the
    table's tie marks (:func:`bench.report.contrast.contrast`); ``note`` says why a claim is
    undecided, or what else to know of it.

    Args:
        rows: The tidy table of :func:`bench.report.results.read_results`.
    """
    claims, directions, floors = rows.attrs["claims"], rows.attrs["metrics"], rows.attrs["floors"]
    bounds = rows.attrs["bounds"]
    groups = dict(list(bare(rows).groupby("group", sort=False)))
    found = [
        _measure(claim, groups[claim.first], groups[claim.second], bounds[claim.metric])
        for claim in claims
    ]
    for name in ("p", "p_equivalence"):
        adjusted = holm([1.0 if record["refused"] else record[name] for record in found])
        for record, p in zip(found, adjusted, strict=True):
            record[f"{name}_holm"] = np.nan if record["refused"] else p
    for claim, record in zip(claims, found, strict=True):
        _decide(record, len(claims), directions[claim.metric], floors.get(claim.metric, {}))
    judged = pd.DataFrame(found, columns=[*COLUMNS])
    return judged.astype(
        {name: "Int64" for name in ("first_trainings", "second_trainings", "sample_seeds")}
    )


def _measure(
    claim: Claim, first: pd.DataFrame, second: pd.DataFrame, bounds: tuple[float, float]
) -> dict[str, Any]:
    """Returns what is measured of a claim; ``refused`` says why it cannot be tested, empty where it
    can.
    """
    record = {**claim._asdict(), "refused": "", "test": "", "identity": ""}
    for name, group in (("first", first), ("second", second)):
        record |= {f"{name}_mean": group[claim.metric].mean(), f"{name}_nfe": group["nfe"].mean()}
        record[f"{name}_trainings"] = group["train_key"].nunique()
    record["sample_seeds"] = max(first["sample_seed"].nunique(), 1)
    record["difference"] = record["first_mean"] - record["second_mean"]
    record["refused"] = _incomparable(claim.metric, first, second)
    if record["refused"]:
        return record | ({"difference": np.nan} if "identit" in record["refused"] else {})
    record["identity"] = identities(first["identity"].iloc[0])[claim.metric]
    if (tables := tables_of(first, second, claim.metric)) is None:
        return record | {"refused": "some trainings are on both sides and some are not"}
    *values, paired = tables
    record["least_p"] = least_p(*map(len, values), shared=paired)
    least, what = (
        (LEAST_PAIRS, "trainings that both share")
        if paired
        else (LEAST_TRAININGS, "trainings each")
    )
    if (found := contrast(*values, paired=paired, bounds=bounds)).scope == BOTH:
        record |= _tested(
            compare(*values, paired=paired, smallest_effect=claim.smallest_effect, bounds=bounds)
        )
    elif found.scope:
        record |= {"low": float(found.low), "high": float(found.high)}
    if min(map(len, values)) < least:
        counts = " and ".join(str(count) for count in dict.fromkeys(map(len, values)))
        record["refused"] = f"a claim needs {least} {what}, here are {counts}: a hint"
    elif record["sample_seeds"] < LEAST_SEEDS:
        record["refused"] = f"a claim needs {LEAST_SEEDS} sample seeds, here is one: a hint"
    return record


def _tested(found: Comparison) -> dict[str, Any]:
    names = ("difference", "low", "high", "p", "p_equivalence")
    return {name: float(getattr(found, name)) for name in names} | {"test": found.test}


def _incomparable(metric: str, first: pd.DataFrame, second: pd.DataFrame) -> str:
    """Returns why the values of two groups cannot be compared, empty where they can."""
    for group in (first, second):
        if (group["state"] != "done").any() or not np.isfinite(group[metric]).all():
            return f"{group['group'].iloc[0]} is not complete"
    kinds = {
        identities(text).get(metric) for group in (first, second) for text in group["identity"]
    }
    if len(kinds) > 1 or any(len(list(buckets(group))) > 1 for group in (first, second)):
        return "the numbers have unlike identities: not comparable"
    if set(first["sample_seed"].dropna()) != set(second["sample_seed"].dropna()):
        return "the groups have unlike sample seeds: images made elsewhere are one sample set"
    return ""


def _decide(record: dict[str, Any], claims: int, higher: bool, floors: Mapping[str, Any]) -> None:
    """Adds verdict and note to a claim whose p-values are adjusted."""
    notes = [record["refused"]] if record["refused"] else []
    record["verdict"] = UNDECIDED
    if not record["refused"]:
        values = (record["difference"], record["p_holm"], record["p_equivalence_holm"])
        record["verdict"] = str(verdicts(*values, higher_is_better=higher))
        if record["verdict"] == UNDECIDED and (least := record["least_p"] * claims) > LEVEL:
            notes.append(
                f"no difference could be shown: the least p of these trainings and {claims} claims is {least:.2g}"
            )
    floor = floors.get(record["identity"], {}).get("std")
    if record["verdict"] in ("better", "worse") and floor and abs(record["difference"]) < 2 * floor:
        notes.append(
            f"smaller than 2 standard deviations ({2 * floor:.3g}) of what one set of real images scores"
        )
    if record["verdict"] == "within noise" and record["p_holm"] <= LEVEL:
        notes.append("the difference is real and smaller than the smallest effect of interest")
    if record["verdict"] == UNDECIDED and not notes:
        notes.append("neither a difference nor its absence is shown")
    record["note"] = "; ".join(notes)
