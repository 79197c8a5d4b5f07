"""Checkpoints of others: read safely, key by key, and taken over as models that were not trained
here.
"""

import csv
import json
import os
import pickle
import subprocess
import sys
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoint_files import RGB, saved

from bench.data.digest import digest_checkpoint
from bench.data.images import load_images
from bench.execute.stop import Stop
from bench.method import Noise, Sampler
from bench.schema import build
from bench.spec import TrainSpec, place
from bench.stages.context import Context, Unwatched
from bench.stages.weights import take_over
from bench.store import Store, UnitId
from methods.sde.adapter import ScoreSDE
from methods.sde.card import CARD, Params
from methods.shared.checkpoint import CheckpointError, agree, read
from methods.shared.published import published_layout, to_published

ROOT = Path(__file__).resolve().parents[3]
NETWORK = {"width": 8, "multipliers": [1, 1], "blocks": 1, "attention": [4]}
FOURIER = {
    **NETWORK,
    "embedding": "fourier",
    "fir": True,
    "progressive_input": "residual",
    "init_scale": 1.0,
}
VE = {"process": "ve", "sigma_max": 50.0, "network": FOURIER}


def method_of(**params):
    return ScoreSDE(build(Params, VE | params), RGB)


def authors_file(network, seed=1, sigma_max=50.0):
    """Returns what the authors' training would have saved: prefixed names, levels, an average
    without frequencies.
    """
    noise = Noise(seed)
    raw = {
        name: noise.child(name).normal(t.shape)
        for name, t in to_published(network, network.state_dict()).items()
    }
    trained = dict(network.named_parameters())
    names = [entry.published for entry in published_layout(network) if entry.own in trained]
    levels = torch.tensor(np.geomspace(sigma_max, 0.01, 10))
    return {
        "model": OrderedDict(
            {"module.sigmas": levels} | {f"module.{name}": t for name, t in raw.items()}
        ),
        "ema": {
            "decay": 0.999,
            "num_updates": 7,
            "shadow_params": [2 * raw[name] for name in names],
        },
        "optimizer": {
            "state": {},
            "param_groups": [{"lr": np.float64(2e-4), "betas": (0.9, 0.999)}],
        },
        "step": 7,
    }


@pytest.mark.parametrize("zipped", [True, False])
def test_raw_weights_and_average_of_an_authors_file_come_over_by_name(tmp_path, zipped):
    method = method_of()
    content = authors_file(method.network)
    path = saved(tmp_path / "checkpoint_26.pth", content, _use_new_zipfile_serialization=zipped)
    facts = method.import_checkpoint(path, "ema")
    assert facts == {
        "format": "score_sde_pytorch",
        "updates": 7,
        "ema_updates": 7,
        "ema_decay": 0.999,
    }
    raw = {
        name.removeprefix("module."): t
        for name, t in content["model"].items()
        if "sigmas" not in name
    }
    network = to_published(method.network, method.network.state_dict())
    average = to_published(method.average, method.average.state_dict())
    assert all(torch.equal(network[name], raw[name]) for name in raw)
    assert torch.equal(average["all_modules.0.W"], raw["all_modules.0.W"])
    assert all(
        torch.equal(average[name], 2 * raw[name]) for name in raw if name != "all_modules.0.W"
    )
    method.import_checkpoint(path, "raw")
    assert all(
        map(torch.equal, method.average.state_dict().values(), method.network.state_dict().values())
    )


def test_imported_model_samples_with_the_weights_that_were_chosen(tmp_path):
    method = method_of()
    path = saved(tmp_path / "checkpoint.pth", authors_file(method.network))
    sampler = Sampler(
        "euler_maruyama", "uniform", replace(CARD.samplers["euler_maruyama"].params(), steps=2)
    )
    images = {}
    for weights in ("ema", "raw"):
        method.import_checkpoint(path, weights)
        images[weights] = method.sample(2, sampler, Noise(0))
    assert not torch.equal(images["ema"], images["raw"])


def test_every_missing_unexpected_and_misshaped_tensor_is_listed(tmp_path):
    method = method_of()
    content = authors_file(method.network)
    model = content["model"]
    model["module.all_modules.99.weight"] = torch.zeros(3)
    model["module.all_modules.1.weight"] = torch.zeros(32, 17)
    del model["module.all_modules.2.bias"], model["module.all_modules.0.W"]
    with pytest.raises(CheckpointError) as caught:
        method.import_checkpoint(saved(tmp_path / "c.pth", content), "ema")
    message = str(caught.value)
    assert (
        "model is not of this network, 2 missing, 1 unexpected, 1 mis-shaped; missing: "
        "all_modules.0.W 8\n" in message
    )
    assert "missing: all_modules.2.bias 32" in message
    assert "unexpected: all_modules.99.weight 3" in message
    assert "mis-shaped: all_modules.1.weight is 32x17, the network has 32x16" in message
    assert message.count("\n") == 3


def test_average_of_another_length_or_shape_is_refused(tmp_path):
    method = method_of()
    content = authors_file(method.network)
    shadow = content["ema"]["shadow_params"]
    shadow[3] = torch.zeros(5)
    with pytest.raises(
        CheckpointError,
        match=r"ema is not of this network(.|\n)*mis-shaped: all_modules.2.bias is 5",
    ):
        method.import_checkpoint(saved(tmp_path / "a.pth", content), "ema")
    shadow.pop()
    with pytest.raises(
        CheckpointError,
        match=f"a list of {len(shadow)} tensors.* {len(shadow) + 1} that are trained",
    ):
        method.import_checkpoint(saved(tmp_path / "b.pth", content), "ema")
    assert method.import_checkpoint(tmp_path / "b.pth", "raw")["updates"] == 7


def test_file_without_average_or_without_model_is_refused(tmp_path):
    method = method_of()
    content = authors_file(method.network)
    del content["ema"]
    with pytest.raises(CheckpointError, match="weights: raw"):
        method.import_checkpoint(saved(tmp_path / "a.pth", content), "ema")
    with pytest.raises(CheckpointError, match="this one holds step"):
        method.import_checkpoint(saved(tmp_path / "b.pth", {"step": 3}), "ema")
    with pytest.raises(CheckpointError, match="this one holds list"):
        method.import_checkpoint(saved(tmp_path / "c.pth", [1, 2]), "ema")


def test_noise_levels_of_ve_have_to_be_those_of_the_parameters(tmp_path):
    path = saved(tmp_path / "c.pth", authors_file(method_of().network, sigma_max=90.0))
    with pytest.raises(CheckpointError, match="trained with sigma_max 90; the parameters say 50"):
        method_of().import_checkpoint(path, "ema")
    assert method_of(sigma_max=90.0).import_checkpoint(path, "ema")
    with pytest.raises(CheckpointError, match=r"give params.sigma_max"):
        method_of(sigma_max="data").import_checkpoint(path, "ema")


class Crafted:
    """Runs a command when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("zipped", [True, False])
def test_file_that_would_run_code_is_refused_by_name_and_runs_nothing(tmp_path, zipped):
    method, marker = method_of(), tmp_path / "ran"
    content = authors_file(method.network)
    content["optimizer"] = Crafted(marker)
    path = saved(tmp_path / "c.pth", content, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match=r"refused, reading it would call (posix|nt)\.system"):
        method.import_checkpoint(path, "ema")
    assert not marker.exists()


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_plain_pickle_is_refused_too(tmp_path):
    path, marker = tmp_path / "c.pth", tmp_path / "ran"
    path.write_bytes(pickle.dumps(Crafted(marker)))
    with pytest.raises(CheckpointError, match=r"c.pth"):
        read(path)
    assert not marker.exists()


def test_missing_file_is_told_as_such(tmp_path):
    with pytest.raises(
        CheckpointError, match=r"not a checkpoint that can be read \(.*No such file"
    ):
        read(tmp_path / "c.pth")


@pytest.mark.parametrize("name", ["float32", "float64", "int32", "int64", "bool"])
def test_numpy_scalars_are_read(tmp_path, name):
    value = np.dtype(name).type(1)
    found = read(saved(tmp_path / "c.pth", {"lr": value}))["lr"]
    assert found == value
    assert found.dtype == value.dtype


def test_agreement_says_nothing_where_there_is_nothing_to_say():
    agree("here", {"a": (2,), "b": ()}, {"a": torch.zeros(2), "b": torch.tensor(1.0)})
    with pytest.raises(CheckpointError, match="mis-shaped: b is float, the network has a number"):
        agree("here", {"b": ()}, {"b": 1.0})


SUITE = """
name: taken
dataset: digits
metrics: [{metric: fd, allow_few: true}]
samples: {count: 4, batch: 4}
figures: none
train:
  ema: {method: sde, params: %s, checkpoint: weights.pth}
  raw: {method: sde, params: %s, checkpoint: weights.pth, weights: raw}
  other: {method: sde, params: {process: ve, sigma_max: 50, network: {width: 16}},
    checkpoint: weights.pth}
points:
  - {train: [ema, raw, other], sampler: euler_maruyama, grid: {nfe: [2]}}
"""


def test_suite_samples_from_a_checkpoint_and_its_rows_say_so(tmp_path):
    params = json.dumps(VE)
    (tmp_path / "taken.yaml").write_text(SUITE % (params, params))
    network = ScoreSDE(build(Params, VE), load_images("digits")).network
    saved(tmp_path / "weights.pth", authors_file(network))
    command = [sys.executable, str(ROOT / "run_bench.py"), "taken.yaml", "--results", "results"]
    command += ["--executor", "inline"]
    options = {
        "cwd": tmp_path,
        "env": {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    }
    done = subprocess.run(command, **options, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1, done.stderr  # one row failed
    with open(tmp_path / "results" / "taken" / "results.csv") as file:
        rows = {row["train"]: row for row in csv.DictReader(file)}
    assert [rows[label]["weights"] for label in ("ema", "raw")] == [
        "checkpoint, ema",
        "checkpoint, raw",
    ]
    assert [(rows[label]["state"], rows[label]["training_images"]) for label in ("ema", "raw")] == [
        ("done", "0")
    ] * 2
    assert rows["ema"]["fd(digits-cnn@8)"] != rows["raw"]["fd(digits-cnn@8)"]
    assert "mis-shaped" in rows["other"]["cause"]
    store = Store(tmp_path / "results" / "store")
    imported = store.record("train", rows["raw"]["train_key"], "weights")["imported"]
    assert imported["from"] == str(tmp_path / "weights.pth")
    assert imported["sha256"] == digest_checkpoint(tmp_path / "weights.pth")
    assert (imported["weights"], imported["updates"]) == ("raw", 7)


def test_checkpoint_that_changed_after_the_plan_is_not_taken_over(tmp_path):
    path = saved(
        tmp_path / "c.pth", authors_file(ScoreSDE(build(Params, VE), load_images("digits")).network)
    )
    versions = {"method_version": 1, "dataset_version": 1}
    spec = TrainSpec(
        method="sde", dataset="digits", params=VE, checkpoint=digest_checkpoint(path), **versions
    )
    unit = UnitId(*place(spec))
    store = Store(tmp_path / "store")
    context = Context(store, {"device": "cpu"}, Unwatched(), Stop(), start="", attempts=1)
    take_over(spec, path, unit, context)
    assert store.record(*unit)["images"] == 0
    store.remove(unit.stage, unit.key)
    with open(path, "ab") as file:
        file.write(b"more")
    with pytest.raises(ValueError, match="no longer the checkpoint that was planned with"):
        take_over(spec, path, unit, context)
    assert store.record(*unit) is None
