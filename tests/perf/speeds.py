"""Measures the table of speeds: ``make bench``, or ``python tests/perf/speeds.py [ROW ...]``.

Each row runs in a process of its own, on one thread unless it says otherwise, beside its peer by
turns. What it took is CPU time of the process, which other work on the machine disturbs least.
Writes ``perf.csv``, ``perf.md`` and ``perf.png`` to results/perf; rows that are named are measured
anew, and the others stay as they were.
"""

import argparse
import csv
import importlib
import json
import os
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "results" / "perf"
LIMIT_SECONDS = 900.0
"""CPU seconds of all rows together; rows that no time is left for are named as not measured."""

HANGS_SECONDS = 3600.0
"""After which a row is given up, however busy the machine is."""

ROWS = {
    "start-up": "command_rows:start_up",
    "network": "network_rows:forward",
    "network-2-threads": "network_rows:forward_two_threads",
    "training": "network_rows:training_step",
    "small": "network_rows:small_networks",
    "pc": "sampler_rows:predictor_corrector_loop",
    "likelihood": "sampler_rows:likelihood",
    "adaptive": "sampler_rows:adaptive",
    "inception": "metric_rows:inception",
    "frechet": "metric_rows:frechet_covariances",
    "frechet-few": "metric_rows:frechet_features",
    "finished": "command_rows:finished_points",
    "aggregate": "command_rows:aggregation",
    "unit": "command_rows:unit_overhead",
    "plan": "command_rows:large_plan",
}
COLUMNS = (
    *("name", "work", "peer", "figure", "unit", "low", "high", "goal", "reached", "ours"),
    *("theirs", "measure", "repeats", "threads", "share", "note"),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", nargs="*", metavar="ROW", help=", ".join(ROWS))
    parser.add_argument("--measure", choices=ROWS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        return measure(options.measure)
    if unknown := set(options.rows) - set(ROWS):
        parser.error(f"no row {', '.join(sorted(unknown))}; there are {', '.join(ROWS)}")
    asked = options.rows or list(ROWS)
    begin, load = time.monotonic(), os.getloadavg()[0]
    table = {name: rows for name, rows in earlier().items() if name in ROWS and name not in asked}
    for name in asked:
        table[name] = in_process(name)
        for row in table[name]:
            print(f"{name}: {row['work']}: {said(row)}", flush=True)
        facts = machine()
        facts["load"] = f"{load:.1f} at the start, {os.getloadavg()[0]:.1f} at the end"
        facts["seconds"] = f"{time.monotonic() - begin:.0f}"
        rows = [{"name": name, **row} for name in ROWS for row in table.get(name, [])]
        write(rows, facts)
    print(f"{FOLDER.relative_to(ROOT)}/perf.md, {facts['seconds']} s")
    return int(any(row["figure"] is None for row in rows))


def measure(name: str) -> int:
    """Measures a row in this process and prints it."""
    import torch

    torch.set_num_threads(1)
    module, function = ROWS[name].split(":")
    rows = getattr(importlib.import_module(module), function)()
    print(json.dumps([row.plain() for row in rows]))
    return 0


def in_process(name: str) -> list[dict[str, Any]]:
    """Returns what a process of its own measures."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    if used.ru_utime + used.ru_stime > LIMIT_SECONDS:
        return [_failed(name, "not measured: no time was left")]
    words = [sys.executable, __file__, "--measure", name]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    try:
        done = subprocess.run(
            words, env=environment, timeout=HANGS_SECONDS, capture_output=True, text=True
        )
    except subprocess.TimeoutExpired:
        return [_failed(name, f"not measured: it took more than {HANGS_SECONDS:.0f} s")]
    if done.returncode:
        return [_failed(name, f"failed: {(done.stderr.strip() or '?').splitlines()[-1]}")]
    return json.loads(done.stdout.splitlines()[-1])


def _failed(name: str, note: str) -> dict[str, Any]:
    return dict.fromkeys(COLUMNS[1:], None) | {"work": name, "peer": "", "note": note}


def earlier() -> dict[str, list[dict[str, Any]]]:
    """Returns the rows that were measured before, by name."""
    table: dict[str, list[dict[str, Any]]] = {}
    path = FOLDER / "perf.csv"
    if path.exists():
        with open(path) as file:
            for row in csv.DictReader(file):
                values = {key: _value(text) for key, text in row.items()}
                table.setdefault(values.pop("name"), []).append(values)
    return table


def _value(text: str) -> Any:
    if text in ("", "True", "False"):
        return {"": None, "True": True, "False": False}[text]
    try:
        return float(text)
    except ValueError:
        return text


def machine() -> dict[str, str]:
    """Returns what the seconds depend on."""
    import torch

    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((line.split(":")[1].strip() for line in lines if "model name" in line), "?")
    git = ["git", "rev-parse", "--short=12", "HEAD"]
    commit = subprocess.run(git, cwd=ROOT, capture_output=True, text=True, check=False).stdout
    return {
        "processor": f"{model}, {len(os.sched_getaffinity(0))} cores",
        "software": f"Python {platform.python_version()}, torch {torch.__version__}",
        "commit": commit.strip() or "?",
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def said(row: dict[str, Any]) -> str:
    """Returns a row's figure with its quartiles, its goal, and whether that is reached."""
    if row["figure"] is None:
        return str(row["note"])
    text = f"{row['figure']:.3g} {row['unit']}"
    if row["low"] is not None:
        text += f" [{row['low']:.3g}, {row['high']:.3g}]"
    return text + (f", goal {goal(row)}: {verdict(row)}" if row["goal"] is not None else "")


def goal(row: dict[str, Any]) -> str:
    if row["goal"] is None:
        return ""
    return f"{'at least' if row['higher'] else 'at most'} {row['goal']:g}"


def verdict(row: dict[str, Any]) -> str:
    return "" if row["reached"] is None else "reached" if row["reached"] else "not reached"


def write(rows: list[dict[str, Any]], facts: dict[str, str]) -> None:
    """Writes the table and its figure."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with open(FOLDER / "perf.csv", "w", newline="") as file:
        names = [*COLUMNS[:8], "higher", *COLUMNS[8:]]
        writer = csv.DictWriter(file, names, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    (FOLDER / "perf.md").write_text(markdown(rows, facts))
    draw([row for row in rows if row["figure"] is not None and row["goal"] is not None])


HEAD = """# How fast

Written by `make bench`. Each row is measured in a process of its own, beside its peer by turns (A B
B A ...); the figure is the median of the ratios of pairs, in brackets their quartiles.
Times are CPU time of the process, on one thread, unless the row says otherwise. The machine may
have been shared: ratios count, seconds do not. "Share" is the part of the rate of the fastest 3x3
convolution, measured in the same process, at which the row computes.
"""


def markdown(rows: list[dict[str, Any]], facts: dict[str, str]) -> str:
    """Returns the page."""
    lines = [HEAD, *(f"- {name}: {text}" for name, text in facts.items()), ""]
    lines += ["| work | peer | figure | goal | | this project | peer | share | note |"]
    lines += ["| --- | --- | --- | --- | --- | --- | --- | --- | --- |"]
    for row in rows:
        figure = "" if row["figure"] is None else said(row).split(", goal")[0]
        cells = [row["work"], row["peer"] or "", figure]
        cells += [goal(row), verdict(row), _seconds(row, "ours"), _seconds(row, "theirs")]
        cells += ["" if row["share"] is None else f"{row['share']:.0%}", row["note"] or ""]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", "![Figures over goals](perf.png)", ""])


def _seconds(row: dict[str, Any], who: str) -> str:
    return "" if row[who] is None else f"{row[who]:.3g} {row['measure']}"


def draw(rows: list[dict[str, Any]]) -> None:
    """Draws how far each row is from its goal."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 0.32 * len(rows) + 1.2), layout="constrained")
    for k, row in enumerate(rows):
        colour = "tab:green" if row["reached"] else "tab:red"
        axes.plot(towards(row, "figure"), k, "o", color=colour)
        if row["low"] is not None:
            axes.plot([towards(row, "low"), towards(row, "high")], [k, k], color=colour)
    axes.axvline(1, color="grey", linewidth=1)
    axes.set_xscale("log")
    axes.set_yticks(range(len(rows)), [row["work"] for row in rows], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("goal reached to the right of 1 (quartiles as lines)")
    figure.savefig(FOLDER / "perf.png", dpi=120)


def towards(row: dict[str, Any], what: str) -> float:
    """Returns a value over its goal, or the goal over it: at least 1 where it is reached."""
    return row[what] / row["goal"] if row["higher"] else row["goal"] / row[what]


if __name__ == "__main__":
    sys.exit(main())
