"""What an installation holds: everything that a suite needs from any folder."""

import configparser
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = "import sys; from setuptools import build_meta; print(build_meta.build_wheel(sys.argv[1]))"
SUITE = """
name: mine
dataset: digits
metrics: [fd]
samples: {count: 240, batch: 240, seeds: [0]}
train: {vp: {method: sde, seeds: [0]}}
points: [{train: vp, sampler: euler_maruyama, grid: {nfe: [3]}}]
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder into which the wheel of this tree was unpacked."""
    pytest.importorskip("setuptools", "77")
    folder = tmp_path_factory.mktemp("package")
    source = folder / "source"
    source.mkdir()
    for name in ("bench", "methods"):
        skipped = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, source / name, ignore=skipped)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-c", BUILD, str(folder)]
    subprocess.run(command, cwd=source, check=True, capture_output=True, timeout=300)
    (wheel,) = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "installed")
    shutil.rmtree(source)
    return folder / "installed"


def test_data_files_and_the_command_are_installed(installed):
    for name in (
        "bench/py.typed",
        "methods/py.typed",
        "bench/execute/executors/local.yaml",
        "bench/execute/executors/inline.yaml",
        "bench/metrics/weights/digits-cnn.safetensors",
        "methods/sde/card.py",
    ):
        assert (installed / name).is_file()
    entries = configparser.ConfigParser()
    entries.read(next(installed.glob("*.dist-info/entry_points.txt")))
    assert entries["console_scripts"]["score-bench"] == "bench.cli.parser:main"


def test_command_works_from_any_folder(installed, tmp_path):
    (tmp_path / "mine.yaml").write_text(SUITE)
    script = tmp_path / "score-bench"
    script.write_text("import sys; from bench.cli.parser import main; sys.exit(main())")

    def call(*arguments):
        return subprocess.run(
            [sys.executable, str(script), *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(installed)},
            check=True,
            capture_output=True,
            text=True,
            timeout=300,
        ).stdout

    assert "usage: score-bench" in call("--help")
    assert "executor local" in call("list")
    assert str(installed) in call("show", "local")
    for executor in ("local", "inline"):
        assert "0 done, 4 to do" in call("plan", "mine.yaml", "--executor", executor)
    assert sorted(os.listdir(tmp_path)) == ["mine.yaml", "score-bench"]
