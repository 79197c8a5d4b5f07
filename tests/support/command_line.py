"""The command line in a folder of its own, in this process or another, and small suites for it."""

import csv
import io
import os
import shutil
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

import methods
from bench.card import registry
from bench.cli.parser import main
from bench.plugins import loaded, unload
from bench.store import Store, UnitId

ROOT = Path(__file__).resolve().parents[2]


PLUGINS = ROOT / "tests" / "plugins"


class Bench:
    """The command line in a folder of its own."""

    def __init__(self, folder):
        self.folder = folder
        self.results = folder / "results"
        self.store = Store(self.results / "store")

    def suite(self, text, name="small"):
        (self.folder / f"{name}.yaml").write_text(text)
        return self

    def command(self, *arguments, name="small"):
        verb = arguments[0] if arguments and not arguments[0].startswith("-") else "run"
        rest = arguments[1:] if verb != "run" or arguments[:1] == ("run",) else arguments
        suite = [str(self.folder / f"{name}.yaml")]
        return [
            sys.executable,
            str(ROOT / "run_bench.py"),
            verb,
            *suite,
            *rest,
            "--results",
            str(self.results),
        ]

    def environment(self):
        path = os.pathsep.join([str(PLUGINS), str(ROOT)])
        return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}

    def start(self, *arguments, **options):
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(
            self.command(*arguments), env=self.environment(), cwd=self.folder, **pipes, **options
        )

    def __call__(self, *arguments, timeout=1200):
        process = self.start(*arguments)
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.terminate()  # its workers too
            raise
        return process.returncode, out, err

    def here(self, *arguments, name="small"):
        """Runs the same command in this process."""
        words = self.command(*arguments, name=name)[2:]
        return self._here(words + ["--executor", "inline"] * (words[0] == "run"))

    def here_without_suite(self, *words):
        """Runs a command that takes no suite in this process."""
        return self._here([*words, "--results", str(self.results)])

    def _here(self, words):
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            patch.chdir(self.folder)
            patch.setattr(methods, "__path__", [*methods.__path__, str(PLUGINS / "methods")])
            registry.cache_clear()
            try:
                code = main(words)
            finally:
                for plugin in loaded():
                    unload(plugin.path)
                registry.cache_clear()
        return code, out.getvalue(), err.getvalue()

    def copy(self, folder):
        """Returns a copy of all of it in another folder."""
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)
        return Bench(folder)

    def rows(self, name="small"):
        with open(self.results / name / "results.csv") as file:
            return list(csv.DictReader(file))

    def attempts(self):
        found = {}
        for path in sorted(self.store.root.glob("*/*/*.attempts.jsonl")):
            unit = UnitId(path.parent.parent.name, path.parent.name, path.name.split(".")[0])
            found[unit] = self.store.attempts(*unit)
        return found


SMALL = """
name: small
dataset: digits
metrics: [{metric: fd, allow_few: true}]
samples: {count: 6, batch: 3}
figures: none
train:
  good: {method: faulty}
  bad: {method: faulty, params: {fault: %s}}
points:
  - {train: [good, bad], sampler: walk, grid: {nfe: [1, 2]}}
"""


GOOD = """
name: small
dataset: digits
metrics: [{metric: fd, allow_few: true}]
samples: {count: 6, batch: 3}
figures: none
train:
  good: {method: faulty}
points:
  - {train: good, sampler: walk, grid: {nfe: [1]}}
"""
