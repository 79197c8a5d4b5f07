"""The leaderboard as a LaTeX table of booktabs."""

from collections.abc import Mapping
from typing import Any

from bench.printable import one_line
from bench.report.columns import BITS, BITS_ERROR, BITS_NOTE
from bench.report.formats import (
    MARKS,
    TIED,
    compact,
    mark_bound,
    model_title,
    nfe_text,
    sampler_title,
    value_text,
    with_error,
)
from bench.report.headline import few_images
from bench.report.identity import used
from bench.report.results import Results

SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "≈": r"$\approx$",
    "†": r"$^\dagger$",
    "‡": r"$^\ddagger$",
    "·": r"$\cdot$",
    "–": "--",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "…": r"\dots{}",
}
"""What stands for a character in LaTeX."""
SCOPES = {
    "sample seeds": "interval for other sample seeds of one training",
    "trainings": "interval for other trainings with one sample seed",
}


def latex(results: Results) -> str:
    """Returns a table, which needs the package booktabs: the best of each budget in bold, ties
    marked, what intervals hold for below.
    """
    names = [name for name in (results.first_metric, results.second_metric) if name]
    bits = bool(results.board[BITS].notna().any())
    arrows = ["↑" if results.metrics[name].higher_is_better else "↓" for name in names]
    heads = ["budget", "NFE", "model", "sampler"]
    heads += [f"{name} {arrow}" for name, arrow in zip(names, arrows, strict=True)]
    heads += ["bits/dim ↓"] if bits else []
    lines = [
        "% needs \\usepackage{booktabs}",
        "\\begin{table}",
        "\\centering",
        f"\\begin{{tabular}}{{rrll{'r' * (len(heads) - 4)}}}",
        "\\toprule",
        _line(list(map(escaped, heads))),
    ]
    budget: object = None
    for group in results.lines:
        if group["budget"] != budget:
            lines.append("\\midrule")
        budget = group["budget"]
        lines.append(_line(_cells(group, names, bits=bits)))
    lines += ["\\bottomrule", "\\end{tabular}", *_notes(results)]
    lines += [f"\\caption{{{escaped(_caption(results))}}}", "\\end{table}"]
    return "\n".join(lines) + "\n"


def escaped(text: str) -> str:
    """Returns a text in which nothing is a command of LaTeX."""
    return "".join(SPECIAL.get(character, character) for character in one_line(text))


def _line(cells: list[str]) -> str:
    return " & ".join(cells) + r" \\"


def _cells(group: Mapping[str, Any], names: list[str], *, bits: bool) -> list[str]:
    model = model_title(group["train"], group["snapshot"], group["ema"])
    cells = [compact(group["budget"]), nfe_text(group), model, sampler_title(group)]
    cells = list(map(escaped, cells))
    for name in names:
        text = escaped(value_text(group, name))
        tied = escaped(f"{TIED} ") if group[f"{name} tied"] is True else ""
        cells.append(f"\\textbf{{{text}}}" if group[f"{name} behind"] == 0 else f"{tied}{text}")
    if bits:
        text = mark_bound(with_error(group[BITS], group[BITS_ERROR]), group[BITS_NOTE])
        cells.append(escaped(text))
    return cells


def _notes(results: Results) -> list[str]:
    """Returns the footnotes: what the marks mean, and which numbers are of too few images."""
    scopes = {scope for name in results.metrics for scope in results.board[f"{name} interval over"]}
    notes = [f"{mark}: {SCOPES[scope]}." for scope, mark in MARKS.items() if scope in scopes]
    notes.append(f"{TIED}: not told apart from the best of its budget. ±: half of the interval.")
    for name, short in used(results.rows):
        if name in results.metrics:
            count, least = few_images(results, name, short)
            if count < least:
                notes.append(f"{name} on {count} images is a smoke test; it needs {least}.")
    return ["", "\\smallskip", *(f"{{\\footnotesize {escaped(note)}}}\\par" for note in notes)]


def _caption(results: Results) -> str:
    return f"{results.name}: best of each budget in bold, on {results.dataset}."
