"""All files of a suite's report."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.files import write as put
from bench.report.columns import as_text
from bench.report.curves import curve_table
from bench.report.markdown import markdown
from bench.report.page import html
from bench.report.records import Records
from bench.report.results import Results, read_results
from bench.store import Store

if TYPE_CHECKING:
    from bench.suite.resolved import Suite


def write(suite: "Suite", store: Store, folder: Path | str, **sources: Any) -> Results:
    """Writes the report of a suite and returns its results.

    ``results.csv``, ``leaderboard.csv``, ``uncertainty.csv``, ``claims.csv`` (if the suite states
    claims), ``curves.csv`` (if models show some), ``leaderboard.md``, ``identities.json``,
    ``report.html`` and ``figures/*.png|svg``. The
    tables are written before anything is drawn; a figure that cannot be drawn is named with its
    cause on the page and the error stream, and the others are drawn all the same. Each file appears
    whole or not at all, and equal results give equal bytes. The folder ``figures`` is the report's
    own: figures that it no longer makes are deleted from it.

    Args:
        suite: What to report.
        store: Where its results lie.
        folder: Where to write, usually ``results/<suite>``.
        sources: ``methods`` and ``metrics`` as :func:`bench.report.results.read_results` takes
            them.
    """
    folder, records = Path(folder), Records(store)
    results = read_results(suite, records, **sources)
    tables = {
        "results": as_text(results.rows),
        "leaderboard": as_text(results.board),
        "uncertainty": results.uncertainty,
        **({"claims": results.verdicts} if results.claims else {}),
        **({"curves": curves} if len(curves := curve_table(results.inspections, records)) else {}),
    }
    identities = json.dumps(results.identities, indent=1, sort_keys=True, default=str)
    texts = {
        f"{name}.csv": table.to_csv(index=False, lineterminator="\n")
        for name, table in tables.items()
    }
    texts |= {"leaderboard.md": markdown(results), "identities.json": f"{identities}\n"}
    if not results.claims:
        (folder / "claims.csv").unlink(missing_ok=True)  # of an earlier suite of this name
    for name, text in texts.items():
        put(folder / name, text.encode(errors="backslashreplace"))
    figures = []
    if suite.figures != "none":
        from bench.report.figures.families import draw  # what draws is slow to import

        figures = draw(suite, results, records, folder / "figures")
    drawn = {figure.name for figure in figures if not figure.fault}
    _clean(folder / "figures", {f"{name}.{kind}" for name in drawn for kind in ("png", "svg")})
    put(folder / "report.html", html(results, figures).encode())
    return results


def _clean(folder: Path, kept: set[str]) -> None:
    """Deletes figures of earlier reports: a stale one would contradict the table beside it."""
    for path in sorted(folder.glob("*")):
        if path.suffix in (".png", ".svg") and path.name not in kept:
            path.unlink()
