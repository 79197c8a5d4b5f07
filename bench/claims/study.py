"""What suites claim, and what is stored of them."""

from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Any

import pandas as pd

from bench.claims.listing import Listing
from bench.frozen import dataclass
from bench.schema import did_you_mean
from bench.suite.claims import Claim
from bench.suite.document import Document
from bench.suite.fault import Fault, KeyPath, SuiteError
from bench.suite.reader import read_suite


@dataclass(frozen=True, kw_only=True)
class Study:
    """The claims of one suite and what is stored of it.

    Args:
        name: Its folder of results.
        models: Its train labels.
        judged: Rows of ``claims.csv`` by claim.
        rows: ``results.csv``, empty if there is none.
        curves: ``curves.csv``, empty if there is none.
    """

    name: str
    claims: tuple[Claim, ...] = ()
    models: tuple[str, ...] = ()
    judged: Mapping[Claim, Mapping[str, Any]] = field(default_factory=dict)
    rows: pd.DataFrame = field(default_factory=pd.DataFrame)
    curves: pd.DataFrame = field(default_factory=pd.DataFrame)


Studies = Mapping[tuple[str, str | None], Study]
"""By suite and profile, as trials name them."""


def read_studies(listing: Listing, document: Document, results: Path) -> Studies:
    """Returns the suites that a listing names.

    Args:
        document: Where the listing was written.
        results: The folder of the suites' results.

    Raises:
        SuiteError: A suite is not there, or cannot be read.
    """
    studies, faults = {}, []
    for (name, profile), place in _places(listing).items():
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
        stored = _stored(results / suite.name)
        studies[name, profile] = Study(
            name=suite.name, claims=suite.claims, models=tuple(suite.train), **stored
        )
    if faults:
        raise SuiteError(faults)
    return studies


def _places(listing: Listing) -> dict[tuple[str, str | None], KeyPath]:
    """Returns where each suite is named last."""
    places: dict[tuple[str, str | None], KeyPath] = {}
    for number, entry in enumerate(listing.claims):
        for index, trial in enumerate(entry.trials):
            path = ("claims", str(number), "trials", str(index), "suite")
            places[trial.suite, trial.profile] = path
        for index, curve in enumerate(entry.curves):
            path = ("claims", str(number), "curves", str(index), "suite")
            places[curve.suite, curve.profile] = path
    return places


def _stored(folder: Path) -> dict[str, Any]:
    judged, rows, curves = (
        _table(folder / f"{name}.csv") for name in ("claims", "results", "curves")
    )
    named = {
        Claim(row["metric"], float(row["smallest_effect"]), row["first"], row["second"]): row
        for row in judged.to_dict("records")
    }
    return {"judged": named, "rows": rows, "curves": curves}


def _table(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, low_memory=False) if path.is_file() else pd.DataFrame()
