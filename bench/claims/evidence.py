"""What the stored results of suites say about the entries of a listing."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from bench.claims.listing import Entry, Listing, Trial
from bench.claims.power import Need, needed, spread
from bench.report.seeds import sides_of
from bench.schema import Problem, did_you_mean
from bench.suite.claims import Claim, words_of
from bench.suite.document import Document
from bench.suite.fault import Fault, SuiteError
from bench.suite.reader import read_suite

OUTCOMES = ("holds", "contradicted", "within noise", "undecided", "not run")
DECIDED = OUTCOMES[:3]
RESULTS = {"better": "holds", "worse": "contradicted", "within noise": "within noise"}
"""Outcomes by the report's verdict, of claims that the first group is better."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """The claims of one suite and what is stored of it.

    Args:
        name: Its folder of results.
        judged: Rows of ``claims.csv`` by (metric, first, second, smallest effect).
        rows: ``results.csv``, empty if there is none.
    """

    name: str
    claims: tuple[Claim, ...]
    judged: Mapping[tuple[str, str, str, float], Mapping[str, Any]]
    rows: pd.DataFrame


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One claim of a suite, as a trial of an entry.

    Args:
        row: Its row of ``claims.csv``; empty if there is none.
        need: What would decide it, if it is undecided and that can be told.
    """

    trial: Trial
    study: str
    claim: Claim
    outcome: str
    row: Mapping[str, Any]
    need: Need | None = None


def findings(
    listing: Listing, document: Document, results: Path
) -> list[tuple[Entry, list[Finding]]]:
    """Returns what is found of each entry.

    Args:
        document: Where the listing was written.
        results: The folder of the suites' results.

    Raises:
        SuiteError: A suite cannot be read, a pair is none of its claims, or a claim of a suite that
            is named is of no entry or of two.
    """
    studies = _studies(listing, document, results)
    problems: list[Problem] = []
    owners: dict[tuple[str, Claim], str] = {}
    found = []
    for number, entry in enumerate(listing.claims):
        of_entry: list[Finding] = []
        for index, trial in enumerate(entry.trials):
            study = studies[trial.suite, trial.profile]
            path = ("claims", str(number), "trials", str(index))
            for claim in _claims_of(trial, study, path, problems):
                mine = ".".join(path)
                if (other := owners.setdefault((study.name, claim), mine)) != mine:
                    why = f"{claim.first} against {claim.second} is a trial of {other} already"
                    problems.append(Problem(path, None, why))
                of_entry.append(_finding(trial, study, claim))
        found.append((entry, of_entry))
    for study in studies.values():
        for claim in study.claims:
            if (study.name, claim) not in owners:
                why = f"{claim.first} against {claim.second}, which {study.name} claims, is listed"
                problems.append(Problem(("claims",), None, f"{why} nowhere"))
    if problems:
        raise SuiteError(document.faults(problems))
    return found


def _studies(
    listing: Listing, document: Document, results: Path
) -> dict[tuple[str, str | None], Study]:
    """Returns the suites that a listing names, by file and profile."""
    places = {
        (trial.suite, trial.profile): ("claims", str(number), "trials", str(index), "suite")
        for number, entry in enumerate(listing.claims)
        for index, trial in enumerate(entry.trials)
    }
    studies, faults = {}, []
    for (name, profile), place in places.items():
        path = document.path.resolve().parent.parent / name
        if not path.is_file():
            near = did_you_mean(name, [f"suites/{one.name}" for one in path.parent.glob("*.yaml")])
            why = f"there is no such suite{near}"
            faults.append(Fault(document.place(place), place, name, why))
            continue
        try:
            suite = read_suite(path, profile=profile, absent=True)
        except SuiteError as error:
            faults += error.problems
            continue
        studies[name, profile] = _read_study(suite.name, suite.claims, results / suite.name)
    if faults:
        raise SuiteError(faults)
    return studies


def _read_study(name: str, claims: tuple[Claim, ...], folder: Path) -> Study:
    judged, rows = (_table(folder / file) for file in ("claims.csv", "results.csv"))
    named = {
        (row["metric"], row["first"], row["second"], float(row["smallest_effect"])): row
        for row in judged.to_dict("records")
    }
    return Study(name=name, claims=claims, judged=named, rows=rows)


def _table(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, low_memory=False) if path.is_file() else pd.DataFrame()


def _claims_of(
    trial: Trial, study: Study, path: tuple[str, ...], problems: list[Problem]
) -> list[Claim]:
    """Returns the suite's claims that a trial names."""
    chosen = []
    for index, names in enumerate(trial.pairs):
        matching = [
            claim
            for claim in study.claims
            if trial.metric in (None, claim.metric)
            and all(map(_has_words, (claim.first, claim.second), names))
        ]
        if not matching:
            known = tuple(
                f"{words_of(claim.first)} against {words_of(claim.second)}"
                for claim in study.claims
            )
            why = f"is no claim of {study.name}"
            place = (*path, "pairs", str(index))
            problems.append(Problem(place, " against ".join(names), why, known))
        chosen += matching
    return chosen


def _has_words(group: str, wanted: str) -> bool:
    return f" {words_of(wanted)} " in f" {words_of(group)} "


def _finding(trial: Trial, study: Study, claim: Claim) -> Finding:
    row = study.judged.get((claim.metric, claim.first, claim.second, claim.smallest_effect), {})
    outcome = _outcome(trial, row)
    need = _need(study, claim) if outcome == "undecided" else None
    return Finding(trial=trial, study=study.name, claim=claim, outcome=outcome, row=row, need=need)


def _outcome(trial: Trial, row: Mapping[str, Any]) -> str:
    if not row or "is not complete" in str(row["note"]):
        return "not run"
    if row["verdict"] not in RESULTS:
        return "undecided"
    if trial.expected == "within noise":
        return "holds" if row["verdict"] == "within noise" else "contradicted"
    return RESULTS[row["verdict"]]


def _need(study: Study, claim: Claim) -> Need | None:
    groups = [study.rows[study.rows["group"] == name] for name in (claim.first, claim.second)]
    sides = sides_of(*groups, claim.metric)
    if sides is None:
        return None
    exact = bool((pd.concat(groups)["training_images"] == 0).all())
    of = spread(sides.first, sides.second, paired=sides.paired)
    family = len(study.claims)
    return needed(of, claim.smallest_effect, family, shared=sides.paired, exact=exact)


def counts(found: Sequence[tuple[Entry, Sequence[Finding]]]) -> dict[str, int]:
    """Returns how many findings there are of each outcome."""
    number: dict[str, int] = defaultdict(int)
    for _, of_entry in found:
        for finding in of_entry:
            number[finding.outcome] += 1
    return {outcome: number[outcome] for outcome in OUTCOMES}
