"""All files of a suite's report."""

import importlib.util
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import yaml

from bench.files import write as put
from bench.report.columns import as_text
from bench.report.curves import curve_table
from bench.report.figures.drawings import KINDS, NOTES
from bench.report.latex import latex
from bench.report.markdown import markdown
from bench.report.page.document import html
from bench.report.page.pictures import pictures
from bench.report.records import Records
from bench.report.results import Results, read_results
from bench.report.tidy import leaderboard_table, long_table
from bench.store import Store

if TYPE_CHECKING:
    from bench.suite.resolved import Suite

DOWNLOADS = ("leaderboard.csv", "long.csv", "results.csv", "leaderboard.tex", "results.parquet")
"""Files that the page holds for download, with the suite."""
OPTIONAL = {"claims.csv", "curves.csv", "results.parquet"}
"""Files that some suites have none of."""
LARGEST = 1_000_000
"""Bytes of a file beyond which the page does not hold it."""


def write(suite: "Suite", store: Store, folder: Path | str, **sources: Any) -> Results:
    """Writes the report of a suite and returns its results.

    ``results.csv`` (and ``results.parquet``, if pyarrow is installed), ``leaderboard.csv``,
    ``long.csv``, ``leaderboard.tex``, ``uncertainty.csv``, ``claims.csv`` (if the suite states
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
    files = _tables(results, records)
    for name in sorted(OPTIONAL - set(files)):
        (folder / name).unlink(missing_ok=True)  # of an earlier suite of this name
    for name, content in files.items():
        put(folder / name, content)
    figures, samples = [], {}
    if suite.figures != "none":
        from bench.report.figures.families import draw  # slow to import

        figures = draw(suite, results, records, folder / "figures")
        samples = pictures(results, records)
    drawn = {figure.name for figure in figures if not figure.fault}
    kept = {f"{name}.{kind}" for name in drawn for kind in KINDS} | ({NOTES} if drawn else set())
    _clean(folder / "figures", kept)
    held = {
        name: files[name] for name in DOWNLOADS if len(files.get(name, b"")) in range(1, LARGEST)
    }
    held["suite.yaml"] = yaml.safe_dump(suite.resolved, sort_keys=False).encode()
    put(folder / "report.html", html(results, figures, samples, held).encode())
    return results


def _tables(results: Results, records: Records) -> dict[str, bytes]:
    """Returns the files that are drawn from nothing but the results, by name."""
    rows = as_text(results.rows)
    tables = {
        "results": rows,
        "leaderboard": leaderboard_table(results),
        "long": long_table(results),
        "uncertainty": results.uncertainty,
        **({"claims": results.verdicts} if results.claims else {}),
        **({"curves": curves} if len(curves := curve_table(results.inspections, records)) else {}),
    }
    identities = json.dumps(results.identities, indent=1, sort_keys=True, default=str)
    texts = {
        f"{name}.csv": table.to_csv(index=False, lineterminator="\n")
        for name, table in tables.items()
    }
    texts |= {"leaderboard.md": markdown(results), "leaderboard.tex": latex(results)}
    texts["identities.json"] = f"{identities}\n"
    files = {name: text.encode(errors="backslashreplace") for name, text in texts.items()}
    return files | _parquet(rows)


def _parquet(rows: pd.DataFrame) -> dict[str, bytes]:
    """Returns the rows as a Parquet file, none without pyarrow."""
    if importlib.util.find_spec("pyarrow") is None:
        return {}
    content = io.BytesIO()
    rows.to_parquet(content, index=False)
    return {"results.parquet": content.getvalue()}


def _clean(folder: Path, kept: set[str]) -> None:
    """Deletes figures of earlier reports: a stale one would contradict the table beside it."""
    for path in sorted(folder.glob("*")):
        if path.suffix in (".png", ".svg", ".json") and path.name not in kept:
            path.unlink()
