"""The table of speeds that ``make bench`` measured, for the documentation."""

import csv
from pathlib import Path


def speeds(path: Path) -> str:
    """Returns the rows of results/perf/perf.csv with their figures, goals and verdicts."""
    with open(path, newline="") as file:
        measured = [row for row in csv.DictReader(file) if row["figure"]]
    lines = ["| work | beside | figure | goal | |", "| --- | --- | --- | --- | --- |"]
    for row in measured:
        cells = [row["work"], row["peer"], _figure(row), _goal(row)]
        verdict = {"True": "reached", "False": "not reached"}.get(row["reached"], "")
        lines.append(f"| {' | '.join([*cells, verdict])} |")
    return "\n".join(lines)


def _goal(row: dict[str, str]) -> str:
    if not row["goal"]:
        return ""
    return f"{'at least' if row['higher'] == 'True' else 'at most'} {float(row['goal']):g}"


def _figure(row: dict[str, str]) -> str:
    text = f"{float(row['figure']):.3g} {row['unit']}"
    if not row["low"]:
        return text
    return f"{text} [{float(row['low']):.3g}, {float(row['high']):.3g}]"
