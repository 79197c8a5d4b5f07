"""How to read the report: conventions, and what the numbers of each column depend on."""

from collections.abc import Mapping
from typing import Any

from bench.report.columns import BITS_TITLE, COLD, SECONDS_NOTE, joined, versions_text
from bench.report.formats import MARKS, TIED, arrow
from bench.report.identity import is_digest, used
from bench.report.results import Results
from bench.report.section import Section
from bench.report.statistics import LEAST_VALUES


def reading(results: Results) -> Section:
    """Returns the list of conventions, identities, versions and commits."""
    bullets = [*_ranked_by(results), *_conventions(results), *_cold(results)]
    bullets += [*_identities(results), *_provenance(results)]
    bullets.append(
        "Every row with its keys and seeds, and where in the store the record of each number lies: "
        "results.csv, columns key, train_key and records."
    )
    return Section("How to read this", bullets=bullets)


def _ranked_by(results: Results) -> list[str]:
    if (first := results.first_metric) is None:
        return []
    direction = arrow(results.metrics[first].higher_is_better)
    return [
        f"Ranked by {first} ({direction}) among groups of one budget and one identity of the "
        "metric whose points are all done."
    ]


def _conventions(results: Results) -> list[str]:
    stated = len(results.claims) > 0
    return [
        "NFE: network evaluations per image, counted at the network call. A budget is what the "
        "suite asked for; a sampler spends the most whole steps that fit.",
        "[ ]: 95 % interval of the mean, for other trainings and other sample seeds; the unit is a "
        f"training. {MARKS['sample seeds']}: of one training, for other sample seeds of it alone. "
        f"{MARKS['trainings']}: of one sample seed, for other trainings alone: it says nothing of "
        f"other sample seeds. ( ): the values of fewer than {LEAST_VALUES} trainings and sample "
        "seeds, which have no interval. A metric with bounds has its interval in logarithms (one "
        "bound) or logits (two); a mean on a bound has none.",
        f"One rule: the figures show these intervals, {TIED} and verdicts rest on those of "
        "differences. How often they hold, and what skewed noise costs them: docs/calibration. "
        "What of the spread comes from retraining and what from resampling: uncertainty.csv.",
        "Claims were stated in the suite; any other difference between rows is a hint, unless it "
        "is called established: the tests of claims, corrected for choosing the best afterwards."
        if stated
        else "The suite states no claims: every difference between rows is a hint, unless it is "
        "called established: the tests of claims, corrected for choosing the best afterwards.",
        "Time: only of warm batches, on the device named; it depends on the machine; ±: sample "
        "standard deviation over the points. Compute: operations of one call of the network times "
        "the calls.",
        f"{BITS_TITLE}: processes have different floors, in the identities; a bound is not an "
        "exact value. Real values are not dequantised: of them it is that of their density in "
        "[0, 1], which may be below 0. ± (over images): standard error of the mean over the "
        "images scored, which every training shares: what other images might give. Over "
        "trainings: the interval for other trainings on the same images, or the values.",
    ]


def _cold(results: Results) -> list[str]:
    cold, count = int((results.rows[SECONDS_NOTE] == COLD).sum()), len(results.rows)
    return (
        [f"Time is blank for {cold} of {count} rows: none of their batches was warm."]
        if cold
        else []
    )


def _identities(results: Results) -> list[str]:
    """Returns a line for each identity in the table."""
    lines = []
    for name, short in used(results.rows):
        parts = ", ".join(f"{n} {_plain(value)}" for n, value in results.identities[short].items())
        lines.append(f"Identity of {name} ({short}): {parts}")
    return lines


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return "(" + ", ".join(f"{name} {_plain(inner)}" for name, inner in value.items()) + ")"
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value)
    return text[:12] if is_digest(text) else text


def _provenance(results: Results) -> list[str]:
    rows = results.rows
    pairs = dict.fromkeys(pair for versions in rows["versions"] for pair in versions.items())
    versions = ", ".join(versions_text({name: version}) for name, version in pairs)
    commits = joined(commit for commits in rows["commit"].dropna() for commit in commits)
    dirty = " (with uncommitted changes)" if rows["dirty"].fillna(False).any() else ""
    lines = [f"Versions: {versions}."] if versions else []
    return lines + ([f"Commit: {commits}{dirty}."] if commits else [])
