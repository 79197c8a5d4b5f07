"""Training curves and metrics sent to trackers, which are stood in for: what arrives, and once."""

import json
import sys
import types
from pathlib import Path

import pytest

from bench.cli.parser import main
from bench.spec import place
from bench.store import Store
from bench.suite.reader import read_suite

SUITE = """
name: small
dataset: digits
metrics: [{metric: fd, allow_few: true}]
samples: {count: 6, batch: 3, seeds: [0, 1]}
train:
  vp: {method: sde, seeds: [0, 3]}
points:
  - {train: vp, sampler: euler_maruyama, grid: {nfe: [5]}}
"""


@pytest.fixture
def suite(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(SUITE)
    return "small.yaml"


@pytest.fixture
def arrived(monkeypatch):
    """Returns what arrives at stand-ins of both packages: (run, series, images, value)."""
    values = []

    class SummaryWriter:
        def __init__(self, folder):
            self.run = folder

        def add_scalar(self, series, value, images):
            values.append((self.run, series, images, value))

        def flush(self): ...

        def close(self): ...

    class Run:
        def __init__(self, project, group, name, id, resume, reinit):
            self.run = f"{project}/{group}/{name}"

        def define_metric(self, name, step_metric=None): ...

        def log(self, told):
            ((series, value),) = ((k, v) for k, v in told.items() if k != "images")
            values.append((self.run, series, told["images"], value))

        def finish(self): ...

    module = types.SimpleNamespace(SummaryWriter=SummaryWriter)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=Run))
    return values


def log(suite, *lines, seed=0):
    """Writes lines into the log of a training."""
    specs = read_suite(suite).train["vp"]
    (spec,) = (spec for spec in specs if spec.seed == seed)
    folder = Store("results/store").folder(*place(spec)[:2])
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log.jsonl").open("a") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)


@pytest.mark.parametrize(
    ("option", "run"),
    [("--tensorboard=events", "events/vp seed 0"), ("--wandb=mine", "mine/small/vp seed 0")],
)
def test_a_line_of_a_log_is_sent_once_however_often_it_is_asked_for(suite, arrived, option, run):
    log(suite, {"images": 64, "loss": 2.0, "heldout_loss": 3.0}, {"images": 128, "loss": 1.5})
    assert main(["track", suite, option]) == 0
    first = [(run, "loss", 64, 2.0), (run, "loss", 128, 1.5), (run, "heldout_loss", 64, 3.0)]
    assert arrived == first
    log(suite, {"images": 192, "loss": 1.0})
    log(suite, {"images": 64, "loss": 4.0}, seed=3)
    assert main(["track", suite, option]) == main(["track", suite, option]) == 0
    other = run.replace("seed 0", "seed 3")
    assert arrived == [*first, (run, "loss", 192, 1.0), (other, "loss", 64, 4.0)]


def test_each_target_has_all_of_it(suite, arrived):
    log(suite, {"images": 64, "loss": 2.0})
    for folder in "ab":
        assert main(["track", suite, "--tensorboard", folder]) == 0
    assert arrived == [(f"{folder}/vp seed 0", "loss", 64, 2.0) for folder in "ab"]


def test_a_missing_package_and_a_broken_note_are_one_line_each(suite, monkeypatch, arrived, capsys):
    monkeypatch.setitem(sys.modules, "wandb", None)
    assert main(["track", suite, "--wandb", "mine"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("--wandb: wandb cannot be imported (")
    assert line.endswith("): pip install wandb")
    log(suite, {"images": 64, "loss": 2.0})
    assert main(["track", suite, "--tensorboard", "a"]) == 0
    note = Path("results/small/tracked.json")
    note.write_text("{")
    assert main(["track", suite, "--tensorboard", "a"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{note}: ")
    assert line.endswith("delete it, and all is sent again")
