"""Prints what plans cost: ``python tests/perf/plan.py [POINTS]``.

Core-seconds of reading, expanding and keying a suite of so many points (10,000), then those of its
plan without an executor and with one, which should be at most three times as many, and of a tenth
of the points: a plan's time is proportional to them.
"""

import contextlib
import io
import sys
import tempfile
import time
from pathlib import Path

from bench.cli.parser import main as run_bench
from bench.spec import key
from bench.suite.reader import read_suite

SUITE = """
name: large
dataset: digits
metrics: [fd, is]
samples: {{count: 256, batch: 128, seeds: [0, 1]}}
likelihood: {{images: 64}}
train:
  vp: {{method: sde, params: {{process: vp}}, seeds: [0, 1]}}
  ve: {{method: sde, params: {{process: ve}}, seeds: [0, 1]}}
points:
  - {{train: [vp, ve], sampler: flow_heun, grid: {{nfe: {budgets}, times: [rho7, log_snr]}}}}
  - {{train: vp, sampler: euler_maruyama, grid: {{steps: {budgets}}}}}
"""
EXECUTOR = "cluster: slurm\nresources: {gpus: 1, cpus: 4, memory_gb: 16}\n"


def main(points: int = 10_000) -> None:
    """Prints core-seconds for a suite of about ``points`` points, and for a tenth of it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.yaml"
        path.write_text(suite_of(points))
        start = time.process_time()
        suite = read_suite(path)
        read = time.process_time()
        keys = {
            key(spec)
            for point in suite.points
            for spec in (point.sample, point.likelihood, *point.scores)
        }
        keyed = time.process_time()
        print(
            f"{len(suite.points)} points, {len(keys)} keys: read {read - start:.2f} s, "
            f"keys {keyed - read:.2f} s"
        )
        seconds = {}
        for count in (points // 10, points):
            plain, priced = plan_seconds(Path(folder), count)
            seconds[count] = priced
            print(
                f"{count} points: plan {plain:.2f} s, with an executor {priced:.2f} s, "
                f"{priced / plain:.2f} times"
            )
        growth = seconds[points] / seconds[points // 10]
        print(f"ten times the points take {growth:.1f} times as long")


def suite_of(points: int) -> str:
    """Returns a suite of about so many points."""
    return SUITE.format(budgets=list(range(2, 2 + max(1, points // 20) * 2, 2)))


def plan_seconds(folder: Path, points: int, repeats: int = 3) -> tuple[float, float]:
    """Returns core-seconds of the plan of a suite, without an executor and with one; the least of
    several.
    """
    suite, executor = folder / f"suite{points}.yaml", folder / "cluster.yaml"
    suite.write_text(suite_of(points))
    executor.write_text(EXECUTOR)
    words = ["plan", str(suite), "--results", str(folder / "results")]
    times: list[list[float]] = [[], []]
    for _ in range(repeats):
        for found, more in zip(times, ([], ["--executor", str(executor)]), strict=True):
            start = time.process_time()
            with contextlib.redirect_stdout(io.StringIO()):
                assert run_bench([*words, *more]) == 0
            found.append(time.process_time() - start)
    return min(times[0]), min(times[1])


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
