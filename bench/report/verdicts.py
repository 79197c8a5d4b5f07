"""The verdict on each claim that a suite states before its run: better, worse, within noise, or
undecided.

The unit of a claim is a training. Groups that share their trainings (one model, two samplers) are
compared training by training; groups of other trainings side by side. Exact scores are not trained,
so nothing but the sample seeds can vary: two groups of them are compared seed by seed. Holm's
correction runs over all claims of the page, once for differences and once for equivalence, and
counts claims that could not be tested as well: they were stated.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bench.metrics.card import MetricCard
from bench.report.contrast import contrast
from bench.report.group import groups_of
from bench.report.identity import Floors, hashes_of
from bench.report.seeds import Sides, seed_table, sides_of, untrained
from bench.report.significance import (
    VERDICTS,
    Comparison,
    compare,
    compare_seeds,
    holm,
    verdicts,
)
from bench.report.statistics import BOTH, LEAST_VALUES
from bench.suite.claims import LEAST_SEEDS, LEVEL, Claim, least_p, needed_units

COLUMNS = (
    *("metric", "first", "second", "verdict", "note", "first_mean", "second_mean", "difference"),
    *("low", "high", "smallest_effect", "p", "p_holm", "p_equivalence", "p_equivalence_holm"),
    *("test", "first_trainings", "second_trainings", "sample_seeds", "first_nfe", "second_nfe"),
)
COUNTS = ("first_trainings", "second_trainings", "sample_seeds")
UNDECIDED = VERDICTS[0]
FLOOR_DEVIATIONS = 2
"""Differences below so many standard deviations of one set of real images are pointed out."""


def judge(
    claims: Sequence[Claim],
    rows: pd.DataFrame,
    metrics: Mapping[str, MetricCard],
    floors: Floors,
) -> pd.DataFrame:
    """Returns a row per claim of the suite, in its order, with its verdict on the first group.

    ``difference`` is first minus second with its 95 % interval ``low`` to ``high``, that of the
    table's tie marks (:func:`bench.report.contrast.contrast`); ``note`` says why a claim is
    undecided, or what else to know about it.
    """
    wanted = {name for claim in claims for name in (claim.first, claim.second)}
    named = dict(list(rows[rows["group"].isin(wanted)].groupby("group", sort=False)))
    records = [
        _measure(claim, named[claim.first], named[claim.second], metrics) for claim in claims
    ]
    for name in ("p", "p_equivalence"):
        adjusted = holm([1.0 if record["refused"] else record[name] for record in records])
        for record, p in zip(records, adjusted, strict=True):
            record[f"{name}_holm"] = np.nan if record["refused"] else p
    for claim, record in zip(claims, records, strict=True):
        floor = floors.get(claim.metric, {}).get(record["identity"], {}).get("std")
        higher = metrics[claim.metric].higher_is_better
        record["verdict"], record["note"] = _decide(record, len(claims), higher, floor)
    judged = pd.DataFrame(records, columns=[*COLUMNS])
    return judged.astype(dict.fromkeys(COUNTS, "Int64"))


def _measure(
    claim: Claim,
    first: pd.DataFrame,
    second: pd.DataFrame,
    metrics: Mapping[str, MetricCard],
) -> dict[str, Any]:
    """Returns the numbers of a claim; ``refused`` says why it cannot be tested, empty if it can."""
    record = {**claim._asdict(), "refused": "", "test": "", "identity": ""}
    for name, group in (("first", first), ("second", second)):
        record |= {f"{name}_mean": group[claim.metric].mean(), f"{name}_nfe": group["nfe"].mean()}
        record[f"{name}_trainings"] = group["train_key"].nunique()
    record["sample_seeds"] = max(first["sample_seed"].nunique(), 1)
    record["difference"] = record["first_mean"] - record["second_mean"]
    record["refused"] = _incomparable(claim.metric, first, second, metrics)
    if record["refused"]:
        return record | ({"difference": np.nan} if "identit" in record["refused"] else {})
    record["identity"] = first["identity"].iloc[0][claim.metric]
    if (sides := sides_of(*(seed_table(side, claim.metric) for side in (first, second)))) is None:
        return record | {"refused": "some trainings are on both sides and some are not"}
    if untrained(first, second):
        return record | _test_untrained(sides, claim, metrics)
    return record | _test(sides, claim, metrics, record["sample_seeds"])


def _test_untrained(
    sides: Sides, claim: Claim, metrics: Mapping[str, MetricCard]
) -> dict[str, Any]:
    """Returns what :func:`_test` does of two exact scores, whose unit is a sample seed."""
    seeds = sides.first.shape[1]
    least, what = needed_units(untrained=True)
    record: dict[str, Any] = {"least_p": least_p(seeds, seeds, shared=True)}
    if seeds < least:
        record["refused"] = f"a claim needs {least} {what}, here are {seeds}: a hint"
    if seeds < LEAST_VALUES:
        return record
    first, second = (side.mean(0) for side in sides[:2])
    tested = compare_seeds(
        first, second, smallest_effect=claim.smallest_effect, bounds=metrics[claim.metric].bounds
    )
    return record | _numbers(tested)


def _numbers(tested: Comparison) -> dict[str, Any]:
    names = ("difference", "low", "high", "p", "p_equivalence")
    return {name: float(getattr(tested, name)) for name in names} | {"test": tested.test}


def _test(
    sides: Sides, claim: Claim, metrics: Mapping[str, MetricCard], seeds: int
) -> dict[str, Any]:
    """Returns interval, tests, and what there is too little of for a verdict."""
    values, paired, bounds = sides[:2], sides.paired, metrics[claim.metric].bounds
    record: dict[str, Any] = {"least_p": least_p(*map(len, values), shared=paired)}
    found = contrast(*values, paired=paired, bounds=bounds)
    if found.scope == BOTH:
        effect = claim.smallest_effect
        record |= _numbers(compare(*values, paired=paired, smallest_effect=effect, bounds=bounds))
    elif found.scope:
        record |= {"low": float(found.low), "high": float(found.high)}
    least, what = needed_units(shared=paired)
    if min(map(len, values)) < least:
        counts = " and ".join(str(count) for count in dict.fromkeys(map(len, values)))
        record["refused"] = f"a claim needs {least} {what}, here are {counts}: a hint"
    elif seeds < LEAST_SEEDS:
        record["refused"] = f"a claim needs {LEAST_SEEDS} sample seeds, here is one: a hint"
    return record


def _incomparable(
    metric: str,
    first: pd.DataFrame,
    second: pd.DataFrame,
    metrics: Mapping[str, MetricCard],
) -> str:
    """Returns why the values of two groups cannot be compared, empty if they can."""
    for group in (first, second):
        if (group["state"] != "done").any() or not np.isfinite(group[metric]).all():
            return f"{group['group'].iloc[0]} is not complete"
    unlike = len(hashes_of(pd.concat([first, second]), metric)) > 1
    if unlike or any(len(groups_of(group, metrics)) > 1 for group in (first, second)):
        return "the numbers have unlike identities: not comparable"
    if set(first["sample_seed"].dropna()) != set(second["sample_seed"].dropna()):
        return "the groups have unlike sample seeds: images made elsewhere are one sample set"
    return ""


def _decide(
    record: Mapping[str, Any], claims: int, higher: bool, floor: float | None
) -> tuple[str, str]:
    """Returns verdict and note of a claim whose p-values are adjusted.

    Args:
        floor: Standard deviation of what one set of real images scores, None if not known.
    """
    if record["refused"]:
        return UNDECIDED, record["refused"]
    notes = []
    tests = record["difference"], record["p_holm"], record["p_equivalence_holm"]
    verdict = str(verdicts(*tests, higher_is_better=higher))
    if verdict == UNDECIDED and (least := record["least_p"] * claims) > LEVEL:
        notes.append(
            f"no difference could be shown: the least p of these units and {claims} claims is "
            f"{least:.2g}"
        )
    limit = FLOOR_DEVIATIONS * floor if floor else 0.0
    if verdict in ("better", "worse") and floor and abs(record["difference"]) < limit:
        notes.append(
            f"smaller than {FLOOR_DEVIATIONS} standard deviations ({limit:.3g}) of what one set of "
            "real images scores"
        )
    if verdict == "within noise" and record["p_holm"] <= LEVEL:
        notes.append("the difference is real and smaller than the smallest effect of interest")
    if verdict == UNDECIDED and not notes:
        notes.append("neither a difference nor its absence is shown")
    return verdict, "; ".join(notes)
