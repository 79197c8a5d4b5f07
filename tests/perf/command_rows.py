"""Commands: their start-up, large plans and stores, and what the driver costs per unit."""

import contextlib
import io
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import plan as plans
from measure import Row

from bench.cli.parser import main as run_bench
from bench.plan import expand
from bench.store import Store
from bench.suite.reader import read_suite

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = str(ROOT / "run_bench.py")
BYTE_CODE = str(Path(tempfile.gettempdir()) / "score-bench-byte-code")
QUICKSTART, OWNER = "suites/quickstart.yaml", "suites/cifar10_nfe_sweep.yaml"

SUITE = """
name: points
dataset: digits
metrics: [{{metric: fd, allow_few: true}}]
samples: {{count: 4, batch: 4, seeds: {seeds}}}
figures: none
train:
  vp:
    method: sde
    params:
      network: {{width: 4, multipliers: [1], blocks: 1, attention: []}}
      training: {{steps: 1, batch: 4, heldout_images: 4}}
points:
  - {{train: vp, sampler: euler_maruyama, grid: {{steps: {steps}}}}}
"""


def cpu_seconds(words: Sequence[str]) -> float:
    """Returns the CPU seconds of a command in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONPYCACHEPREFIX": BYTE_CODE}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(words, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime - before.ru_utime) + (after.ru_stime - before.ru_stime)


def start_up(repeats: int = 9) -> list[Row]:
    """Commands beside an empty program, byte code kept."""
    with tempfile.TemporaryDirectory() as folder:
        results = ["--results", folder]
        commands = {
            "--help": (["--help"], 3.0),
            "plan of the quickstart": (["plan", QUICKSTART, *results], 6.0),
            "plan of the owner's suite": (["plan", OWNER, *results], 9.0),
        }
        empty = [sys.executable, "-c", "pass"]
        times: dict[str, list[float]] = {name: [] for name in ["", *commands]}
        for k in range(repeats + 1):
            found = {"": cpu_seconds(empty)}
            for name, (words, _) in commands.items():
                found[name] = cpu_seconds([sys.executable, PROGRAM, *words])
            for name, seconds in found.items():
                times[name] += [seconds] if k else []  # the first one writes byte code
    return [
        _ratio(f"start-up: {n}", times[n], times[""], goal) for n, (_, goal) in commands.items()
    ]


def _ratio(work: str, ours: list[float], theirs: list[float], goal: float) -> Row:
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    low, figure, high = statistics.quantiles(ratios, n=4, method="inclusive")
    medians = statistics.median(ours), statistics.median(theirs)
    return Row(
        work=work, peer="python -c pass", figure=figure, goal=goal, higher=False,
        low=low, high=high, ours=medians[0], theirs=medians[1], repeats=len(ours),
    )  # fmt: skip


def large_plan() -> list[Row]:
    """The plan of 10,000 points, without a cluster and with one."""
    with tempfile.TemporaryDirectory() as folder:
        plain, priced = plans.plan_seconds(Path(folder), 10_000, repeats=1)
    return [
        _seconds("plan of 10,000 points, the whole command", plain, 12.0, ours=plain),
        Row(
            work="plan of 10,000 points with a cluster", peer="without one", figure=priced / plain,
            goal=3.0, higher=False, ours=priced, theirs=plain,
        ),
    ]  # fmt: skip


def _seconds(work: str, figure: float, goal: float, unit: str = "CPU s", **more) -> Row:
    return Row(work=work, peer="", figure=figure, goal=goal, higher=False, unit=unit, **more)


def finished_points() -> list[Row]:
    """Status and re-run of 2,000 finished points, beyond the imports."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, [1])
        run(folder, "run", "--executor", "inline")
        run(folder, "status")
        write(folder, list(range(1, 1001)))
        finish_like_the_first(folder)
        seconds = {verb: timed(folder, verb) for verb in ("status", "run")}
    assert seconds["run"][1].count("2000 done") == 1, seconds["run"][1][-500:]
    return [
        _seconds("status of 2,000 finished points", seconds["status"][0], 2.0),
        _seconds("re-run of 2,000 finished points", seconds["run"][0], 3.0),
    ]


def aggregation(results: int = 100_000) -> list[Row]:
    """The leaderboard of so many results, in groups of two trainings and four sample seeds."""
    sys.path.append(str(ROOT / "tests" / "report"))
    from made_results import FD, IS, group, made

    one = made(group("vp", "heun", 20, [range(4)] * 2))
    rows = pd.concat([one.rows] * (results // 8), ignore_index=True)
    at = np.arange(len(rows)) // 8
    rows["train"] = [f"m{index % 50}" for index in at]
    rows["budget"] = rows["nfe"] = (at // 50 % 100 + 1).astype(float)
    rows["group"] = [f"g{index}" for index in at]
    rows["train_key"] = rows["train"] + rows["train_seed"].astype(str)
    rows[FD] = 1 + 50 / rows["budget"] + np.random.default_rng(0).normal(size=len(rows)) / 10
    rows[IS] = 9 - rows[FD]
    many = replace(one, rows=rows)
    begin = time.process_time()
    assert len(many.board) == results // 8
    return [_seconds(f"leaderboard of {results:,} results", time.process_time() - begin, 10.0)]


def unit_overhead(sets: int = 40) -> list[Row]:
    """What a unit (a sample set, or its scoring) costs besides computing, by the growth of a run
    with their number: each is 4 images of one step of a tiny network.
    """
    seconds = {}
    for count in (1, sets // 5, sets):  # the first one imports
        with tempfile.TemporaryDirectory() as name:
            write(Path(name), [1], list(range(count)))
            seconds[count], _ = timed(Path(name), "run", "--executor", "inline")
    (_, _), (few, short), (many, long) = sorted(seconds.items())
    each = (long - short) / (2 * (many - few))
    return [_seconds("driver, records and reading of models per unit, inline", each, 0.02)]


def write(folder: Path, steps: list[int], seeds: Sequence[int] = (0, 1)) -> None:
    (folder / "points.yaml").write_text(SUITE.format(steps=steps, seeds=list(seeds)))


def run(folder: Path, verb: str, *more: str) -> str:
    """Runs a command in this process; returns what it said."""
    said = io.StringIO()
    words = [verb, str(folder / "points.yaml"), "--results", str(folder / "results"), *more]
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = run_bench(words)
    assert code == 0, said.getvalue()
    return said.getvalue()


def timed(folder: Path, verb: str, *more: str) -> tuple[float, str]:
    """Returns the CPU seconds of a command in this process, and what it said."""
    begin = time.process_time()
    said = run(folder, verb, *more)
    return time.process_time() - begin, said


def finish_like_the_first(folder: Path) -> None:
    """Gives every unit of the suite the record of the first one of its stage."""
    store = Store(folder / "results" / "store")
    first = {}
    jobs = expand(read_suite(folder / "points.yaml"))
    for job in jobs:
        for unit in job.results:
            if job.stage not in first and (record := store.record(*unit)) is not None:
                files = {Path(name).suffix: store.path(unit, Path(name).suffix).read_bytes()
                         for name in record.pop("files")}  # fmt: skip
                first[job.stage] = record, files
    for job in jobs:
        for unit in job.results:
            if store.record(*unit) is None:
                store.finish(unit, *first[job.stage])
