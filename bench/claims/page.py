"""The page of a listing: each claim with its trials and what came of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from bench.claims.evidence import DECIDED, Finding, Found, counts
from bench.printable import markdown as escaped
from bench.report.formats import compact, number, probability, with_interval

HEAD = """\
Written by `python run_bench.py claims {listing}` from the stored results: change the listing or \
run the suites, not this page. The listing, the suites with their budgets and the smallest effects \
of interest were committed before the runs; what was stated after a look is named in the suite.

**{decided} of {total} comparisons are decided**: {outcomes}. Of those that hold, {reversed} are \
the reverse of the paper's sign, as the closed forms made one expect.

- *holds*, *contradicted*: the first is shown to be better, or worse, than the second. *within \
noise*: an equivalence test says that the difference is below the smallest effect. *undecided*: no \
test speaks.
- Of curves that models show, the means over t of all trainings are compared, as ratios: a \
difference of -0.2 is 20 % less. They are a family of their own.
- The unit is a training, of exact scores, which are not trained, a sample seed. p is two-sided \
after Holm's correction over all claims of a suite ([numbers.md](numbers.md#verdicts)); the tests \
are named in each suite's `claims.csv`.
- Distances are better when small, so a negative difference speaks for the first.
- What would decide a comparison is a forecast from the variance measured, for a difference as \
large as the one measured.
"""

HEADERS = (
    *("suite", "about", "first", "second", "NFE", "metric", "expected", "smallest effect", "means"),
    *("difference [95 %]", "p", "p of equivalence", "outcome"),
)


def page(title: str, listing: str, found: Found, results: str) -> str:
    """Returns the page as Markdown.

    Args:
        listing: The listing's path, as a person would type it.
        found: What :func:`bench.claims.evidence.findings` returns.
        results: The folder of results, relative to the page.
    """
    number_of = counts(found)
    outcomes = ", ".join(f"{count} {name}" for name, count in number_of.items() if count)
    lines = [f"# {title}", ""]
    lines.append(
        HEAD.format(
            listing=listing,
            decided=sum(number_of[name] for name in DECIDED),
            total=sum(number_of.values()),
            outcomes=outcomes,
            reversed=sum(
                one.outcome == "holds" and bool(one.trial.reverses)
                for _, of_entry in found
                for one in of_entry
            ),
        )
    )
    for index, (entry, of_entry) in enumerate(found, start=1):
        lines += [
            f"## {index}. {escaped(entry.claim)}",
            "",
            f"Source: {escaped(entry.source)}.",
            "",
        ]
        if of_entry:
            lines += [*_table(of_entry, results), ""]
            lines += [*_remarks(of_entry)]
        if entry.missing:
            lines += [f"Not judged here: {escaped(entry.missing)}", ""]
    return "\n".join(lines).rstrip() + "\n"


def _table(of_entry: Sequence[Finding], results: str) -> list[str]:
    rows = [HEADERS, ["---"] * len(HEADERS), *(_cells(finding, results) for finding in of_entry)]
    return ["| " + " | ".join(row) + " |" for row in rows]


def _cells(finding: Finding, results: str) -> list[str]:
    row, claim, trial = finding.row, finding.claim, finding.trial
    means = [number(row.get(f"{side}_mean")) or "not run" for side in ("first", "second")]
    expected = "no difference" if trial.expected == "within noise" else "first better"
    study = finding.study
    return [
        f"[{study}]({results}/{study}/{finding.file})" if row else study,
        *map(escaped, (trial.about, claim.first, claim.second)),
        _budget(row),
        escaped(claim.metric),
        f"{expected} (the paper: the reverse)" if trial.reverses else expected,
        number(claim.smallest_effect),
        ", ".join(means),
        with_interval(row.get("difference"), row.get("low"), row.get("high")) if row else "",
        *(probability(row.get(name)) for name in ("p_holm", "p_equivalence_holm")),
        f"**{finding.outcome}**",
    ]


def _budget(row: Any) -> str:
    sides = [compact(row.get(f"{side}_nfe")) for side in ("first", "second")]
    return sides[0] if sides[0] == sides[1] else ", ".join(side or "not run" for side in sides)


def _remarks(of_entry: Sequence[Finding]) -> list[str]:
    """Returns why a sign is expected, where contradictions come from, what would decide others."""
    reasons = dict.fromkeys(one.trial.reverses for one in of_entry if one.trial.reverses)
    lines = [f"The reverse is expected: {escaped(reason)}" for reason in reasons]
    for one in of_entry:
        name = f"{escaped(one.claim.first)} against {escaped(one.claim.second)}"
        if one.outcome == "contradicted":
            lines.append(f"{name}: {escaped(one.trial.cause) or 'its cause was not examined.'}")
        elif one.outcome == "undecided":
            lines.append(f"{name}: {_need(one)}.")
    return [text for line in lines for text in (f"- {line}",)] + ([""] if lines else [])


def _need(finding: Finding) -> str:
    need = finding.need
    note = finding.row.get("note")
    why = "" if note is None or pd.isna(note) else f" ({escaped(str(note))})"
    if need is None:
        return f"more than 100 trainings or seeds would be needed{why}"
    units = f"{need.seeds} sample seeds" if need.seeds else ""
    if need.trainings:
        units = f"{need.trainings} trainings" + (f" with {units} each" if units else "")
    what = "the difference" if need.shows else "that it is below the smallest effect"
    return f"{units} would show {what}{why}"


def write_page(path: Path, text: str, *, check: bool) -> bool:
    """Writes a page unless ``check`` says only to compare; returns whether it was as it should."""
    same = path.is_file() and path.read_text(encoding="utf-8") == text
    if not same and not check:
        from bench.files import write

        write(path, text.encode())
    return same
