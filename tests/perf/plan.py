"""Prints the core-seconds of reading, expanding and keying a suite of 10,000 points: ``python tests/perf/plan.py``."""

import sys
import tempfile
import time
from pathlib import Path

from bench.spec import key
from bench.suite import read_suite

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


def main(points: int = 10_000) -> None:
    """Prints core-seconds for a suite of about ``points`` points."""
    budgets = list(range(2, 2 + points // 20 * 2, 2))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.yaml"
        path.write_text(SUITE.format(budgets=budgets))
        start = time.process_time()
        suite = read_suite(path)
        read = time.process_time()
        keys = {key(spec) for point in suite.points for spec in (point.sample, point.likelihood, *point.scores)}
        keyed = time.process_time()
    print(f"{len(suite.points)} points, {len(keys)} keys: read {read - start:.2f} s, keys {keyed - read:.2f} s")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
