"""What the stored results of suites say about the entries of a listing."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.claims.curves import judge_curves, means_of
from bench.claims.listing import CurveTrial, Entry, Listing, Trial
from bench.claims.power import Need, needed, spread
from bench.claims.study import Studies, Study, read_studies
from bench.frozen import dataclass
from bench.report.seeds import seed_table, sides_of, untrained
from bench.schema import Problem
from bench.suite.claims import Claim, words_of
from bench.suite.document import Document
from bench.suite.fault import KeyPath, SuiteError

OUTCOMES = ("holds", "contradicted", "within noise", "undecided", "not run")
DECIDED = OUTCOMES[:3]
RESULTS = {"better": "holds", "worse": "contradicted", "within noise": "within noise"}
"""Outcomes by the report's verdict, of claims that the first group is better."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One comparison of a suite, as a trial of an entry.

    Args:
        study: Name of the suite's folder of results.
        claim: What is compared; of a curve the metric is its title and the groups are train labels.
        file: The table that holds its row.
        row: That row, or what it would be; empty if it was not run.
        need: What would decide it, if it is undecided and that can be told.
    """

    trial: Trial | CurveTrial
    study: str
    claim: Claim
    outcome: str
    file: str
    row: Mapping[str, Any]
    need: Need | None = None


Found = Sequence[tuple[Entry, Sequence[Finding]]]
"""Entries with their findings, in order."""


def findings(listing: Listing, document: Document, results: Path) -> Found:
    """Returns what is found of each entry.

    Args:
        document: Where the listing was written.
        results: The folder of the suites' results.

    Raises:
        SuiteError: A suite cannot be read, a pair is none of its claims or models, or a claim of a
            suite that is named is of no entry or of two.
    """
    studies = read_studies(listing, document, results)
    problems: list[Problem] = []
    owners: dict[tuple[str, Claim], KeyPath] = {}
    found = []
    for number, entry in enumerate(listing.claims):
        of_entry: list[Finding] = []
        for index, trial in enumerate(entry.trials):
            study = studies[trial.suite, trial.profile]
            path = ("claims", str(number), "trials", str(index))
            for claim in _claims_of(trial, study, path, problems):
                if (other := owners.setdefault((study.name, claim), path)) != path:
                    why = f"{claim.first} against {claim.second} is a trial of {'.'.join(other)}"
                    problems.append(Problem(path, None, f"{why} already"))
                of_entry.append(_finding(trial, study, claim))
        found.append((entry, of_entry))
    problems += _unlisted(studies, owners)
    for number, curves in _of_curves(listing, studies, problems):
        found[number][1].append(curves)
    if problems:
        raise SuiteError(document.faults(problems))
    return found


def counts(found: Found) -> dict[str, int]:
    """Returns how many findings there are of each outcome."""
    number = Counter(finding.outcome for _, of_entry in found for finding in of_entry)
    return {outcome: number[outcome] for outcome in OUTCOMES}


def _unlisted(studies: Studies, owners: Mapping[tuple[str, Claim], KeyPath]) -> list[Problem]:
    """Returns a problem for each claim of a suite that no entry lists."""
    return [
        Problem(
            ("claims",),
            None,
            f"{claim.first} against {claim.second}, which {study.name} claims, is listed nowhere",
        )
        for study in studies.values()
        for claim in study.claims
        if (study.name, claim) not in owners
    ]


def _claims_of(trial: Trial, study: Study, path: KeyPath, problems: list[Problem]) -> list[Claim]:
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
    row = study.judged.get(claim, {})
    outcome = _outcome(trial, row)
    return Finding(
        trial=trial,
        study=study.name,
        claim=claim,
        outcome=outcome,
        file="claims.csv",
        row=row,
        need=_need(study, claim) if outcome == "undecided" else None,
    )


def _outcome(trial: Trial | CurveTrial, row: Mapping[str, Any]) -> str:
    if not row or "is not complete" in str(row["note"]):
        return "not run"
    if row["verdict"] not in RESULTS:
        return "undecided"
    if trial.expected == "within noise":
        return "holds" if row["verdict"] == "within noise" else "contradicted"
    return RESULTS[row["verdict"]]


def _need(study: Study, claim: Claim) -> Need | None:
    first, second = (
        study.rows[study.rows["group"] == name] for name in (claim.first, claim.second)
    )
    if (sides := sides_of(*(seed_table(side, claim.metric) for side in (first, second)))) is None:
        return None
    exact = untrained(first, second)
    of = spread(sides.first, sides.second, paired=sides.paired)
    family = len(study.claims)
    return needed(of, claim.smallest_effect, family, shared=sides.paired, exact=exact)


def _of_curves(
    listing: Listing, studies: Studies, problems: list[Problem]
) -> Iterator[tuple[int, Finding]]:
    """Yields the findings about curves, each with the number of its entry; all of one suite are
    judged together.
    """
    asked: dict[tuple[str, str | None], list[tuple[int, CurveTrial, tuple[str, str]]]] = {}
    for number, entry in enumerate(listing.claims):
        for index, trial in enumerate(entry.curves):
            models = studies[trial.suite, trial.profile].models
            for which, pair in enumerate(trial.pairs):
                asked.setdefault((trial.suite, trial.profile), []).append((number, trial, pair))
                place = ("claims", str(number), "curves", str(index), "pairs", str(which))
                why = "is no model of the suite"
                problems += [
                    Problem(place, name, why, models) for name in pair if name not in models
                ]
    for named, trials in asked.items():
        study = studies[named]
        wanted = [(trial.curve, *pair, trial.smallest_effect) for _, trial, pair in trials]
        for (number, trial, pair), row in zip(
            trials, judge_curves(study.curves, wanted), strict=True
        ):
            yield number, _curve_finding(trial, study, pair, row, len(trials))


def _curve_finding(
    trial: CurveTrial, study: Study, pair: tuple[str, str], row: Mapping[str, Any], family: int
) -> Finding:
    outcome, need = _outcome(trial, row), None
    if outcome == "undecided":
        sides = [np.log(means_of(study.curves, trial.curve, name))[:, None] for name in pair]
        of = spread(*sides, paired=False)
        need = needed(of, np.log1p(trial.smallest_effect), family, shared=False, exact=False)
    return Finding(
        trial=trial,
        study=study.name,
        claim=Claim(f"mean over t: {trial.curve}", trial.smallest_effect, *pair),
        outcome=outcome,
        file="curves.csv",
        row=row,
        need=None if need is None else need._replace(seeds=0),
    )
