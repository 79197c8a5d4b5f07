"""How to read the report: its terms, and what the numbers of each column depend on."""

from collections.abc import Mapping
from typing import Any

from bench.report.columns import COLD, SECONDS_NOTE, joined, versions_text
from bench.report.identity import is_digest, used
from bench.report.results import Results
from bench.report.section import Section
from bench.report.terms import terms


def reading(results: Results) -> Section:
    """Returns the terms of the report."""
    bullets = [f"{term}: {text}" for term, text in terms(results).items()]
    return Section("How to read this", bullets=bullets)


def dependencies(results: Results) -> Section:
    """Returns the list of identities, versions and commits."""
    bullets = [*_cold(results), *_identities(results), *_provenance(results)]
    bullets.append(
        "Every row with its keys and seeds, and where in the store the record of each number lies: "
        "results.csv, columns key, train_key and records. What of the spread comes from retraining "
        "and what from resampling: uncertainty.csv."
    )
    return Section("What the numbers depend on", bullets=bullets)


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
