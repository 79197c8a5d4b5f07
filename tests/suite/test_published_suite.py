"""The suites of published checkpoints: the authors' settings, and from a file of theirs to images
and bits/dim.
"""

import csv
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from bench.card import cards
from bench.cli.parser import main
from bench.data import cifar
from bench.data.images import Images
from bench.data.registry import DATASETS
from bench.method import Noise
from bench.plan import expand
from bench.schema import build, merge
from bench.store import Store
from bench.suite.fault import SuiteError
from bench.suite.reader import read_suite
from methods.sde.adapter import ScoreSDE
from methods.sde.card import Params
from methods.sde.presets import PRESETS
from methods.shared.published import published_layout, to_published

SUITES = Path(__file__).resolve().parents[2] / "suites"
SAMPLED, FLOW = SUITES / "published_cifar10.yaml", SUITES / "published_cifar10_flow.yaml"
INLINE = "inline"

# Predictor, corrector and time of the end of sampling in the authors' configuration of each
# checkpoint that they published; all of them take 1000 steps, one corrector's step at each, and an
# snr of 0.16.
CONFIGURATIONS = {
    "ve/cifar10_ncsnpp": ("reverse_diffusion", "langevin", 1e-5),
    "ve/cifar10_ncsnpp_continuous": ("reverse_diffusion", "langevin", 1e-5),
    "ve/cifar10_ncsnpp_deep_continuous": ("reverse_diffusion", "langevin", 1e-5),
    "vp/ddpm/cifar10": ("ancestral", "none", 1e-3),
    "vp/ddpm/cifar10_continuous": ("euler_maruyama", "none", 1e-3),
    "vp/cifar10_ddpmpp": ("ancestral", "none", 1e-3),
    "vp/cifar10_ddpmpp_continuous": ("euler_maruyama", "none", 1e-3),
    "vp/cifar10_ddpmpp_deep_continuous": ("euler_maruyama", "none", 1e-3),
    "subvp/cifar10_ddpm_continuous": ("euler_maruyama", "none", 1e-3),
    "subvp/cifar10_ddpmpp_continuous": ("euler_maruyama", "none", 1e-3),
    "subvp/cifar10_ddpmpp_deep_continuous": ("euler_maruyama", "none", 1e-3),
}
TINY = {"width": 8, "multipliers": [1, 1], "blocks": 1, "attention": [16]}
DDPM_TINY = TINY | {"width": 32}
RGB = Images("cifar10", DATASETS["cifar10"])


def entries(path):
    return yaml.safe_load(path.read_text())["train"]


@pytest.fixture
def data(tmp_path, monkeypatch):
    """BENCH_DATA with something in place of each checkpoint."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    for path in (SAMPLED, FLOW):
        for label, entry in entries(path).items():
            file = tmp_path / "data" / entry["checkpoint"]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(label + file.name)
    return tmp_path / "data"


def test_every_published_checkpoint_is_sampled_with_the_authors_settings(data):
    suite = read_suite(SAMPLED)
    train = entries(SAMPLED)
    assert {entry["preset"] for entry in train.values()} == CONFIGURATIONS.keys()
    assert sorted(point.train for point in suite.points) == sorted(train)
    for point in suite.points:
        predictor, corrector, t_min = CONFIGURATIONS[train[point.train]["preset"]]
        spec = point.sample
        params = build(cards()["sde"].samplers["predictor_corrector"].params, spec.params)
        assert (params.predictor, params.corrector, params.steps) == (predictor, corrector, 1000)
        assert (params.snr, params.corrector_steps, params.norms) == (
            0.16,
            1,
            "batch" if corrector != "none" else "image",
        )
        assert (params.published, params.last_noise, spec.times) == (True, False, "uniform")
        assert params.variance == ("transition" if predictor == "ancestral" else "posterior")
        assert params.t_min is None
        assert ScoreSDE(build(Params, tiny_params(train[point.train])), RGB).process.t_min == t_min
        assert (point.count, spec.batch, spec.quantise, spec.train.weights) == (
            50_000,
            1024,
            "truncate",
            "ema",
        )
        assert spec.train.params == PRESETS[train[point.train]["preset"]]


def test_flow_and_likelihood_have_the_authors_settings(data):
    suite = read_suite(FLOW)
    assert {point.train for point in suite.points} == entries(FLOW).keys()
    card = cards()["sde"]
    for point in suite.points:
        params = build(card.samplers["flow_adaptive"].params, point.sample.params)
        assert (params.tolerance, params.solver, params.error_norm, params.last) == (
            1e-5,
            "scipy",
            "batch",
            "published",
        )
        assert (params.t_min, point.sample.batch, point.sample.quantise) == (None, 1024, "truncate")
        assert point.sample.train.params.get("time", "continuous") == "continuous"
        likelihood = build(card.likelihood.params, point.likelihood.params)
        assert (likelihood.eps, likelihood.tolerance, likelihood.repeats) == (1e-5, 1e-5, 5)
        assert (likelihood.probe, likelihood.probes, likelihood.probe_drift) == (
            "rademacher",
            1,
            True,
        )
        assert (likelihood.solver, likelihood.error_norm) == ("scipy", "batch")
        assert (point.likelihood.images, point.likelihood.batch, point.likelihood.split) == (
            9 * 1024,
            1024,
            "test",
        )


def test_plans_without_the_data_set(data):
    assert main(["plan", str(SAMPLED)]) == 0
    assert main(["plan", str(FLOW)]) == 0
    assert len(expand(read_suite(SAMPLED))) == 3 * len(CONFIGURATIONS)


def test_only_metrics_and_likelihoods_read_the_data_set(data, capsys):
    assert main(["assets", str(SAMPLED), "--set", "metrics=[]"]) == 0
    assert "not there, and this suite does not read it" in capsys.readouterr().out
    assert main(["assets", str(SAMPLED)]) == 1
    assert "weights of inception (metrics FID, IS): MISSING" in capsys.readouterr().out
    assert main(["assets", str(FLOW), "--set", "metrics=[]"]) == 1
    assert "cifar-10-binary.tar.gz (162 MB, md5" in capsys.readouterr().out


def test_one_checkpoint_is_enough_for_its_own_rows(data):
    train = entries(SAMPLED)
    for label, entry in train.items():
        if label != "vp_ddpmpp":
            (data / entry["checkpoint"]).unlink()
    suite = read_suite(SAMPLED, only=["vp_ddpmpp"])
    assert [point.train for point in suite.points] == ["vp_ddpmpp"]
    assert suite.train.keys() == suite.sources.keys() == {"vp_ddpmpp"}
    for only in ([], ["vp_ddpmpp", "vp_ddpm"], ["predictor_corrector"]):
        with pytest.raises(SuiteError, match=r"train.vp_ddpm.checkpoint: nothing lies at"):
            read_suite(SAMPLED, only=only)


def tiny_params(entry):
    preset = PRESETS[entry["preset"]]
    network = DDPM_TINY if preset.get("network", {}).get("architecture") == "ddpm" else TINY
    return merge(preset, entry.get("params", {}), {"network": network})


def authors_file(path, entry):
    """Writes what the authors' training would have saved of a small network of that preset."""
    method = ScoreSDE(build(Params, tiny_params(entry)), RGB)
    network, noise = method.network, Noise(1)
    state = to_published(network, network.state_dict())
    raw = {name: t + 0.01 * noise.child(name).normal(t.shape) for name, t in state.items()}
    trained = dict(network.named_parameters())
    names = [item.published for item in published_layout(network) if item.own in trained]
    levels = torch.from_numpy(np.geomspace(50, 0.01, 1000))
    content = {
        "model": OrderedDict(
            {"module.sigmas": levels} | {f"module.{name}": t for name, t in raw.items()}
        ),
        "ema": {"decay": 0.9999, "num_updates": 7, "shadow_params": [raw[name] for name in names]},
        "optimizer": {"state": {}, "param_groups": [{"lr": np.float64(2e-4)}]},
        "step": 7,
    }
    torch.save(content, path)


def tiny_suite(path, data, tmp_path, point, **sections):
    """Writes the suite with small networks, and for each of them a checkpoint in the authors'
    format.
    """
    suite = yaml.safe_load(path.read_text()) | {"metrics": []}
    for entry in suite["train"].values():
        authors_file(data / entry["checkpoint"], entry)
        network = tiny_params(entry)["network"]
        entry["params"] = merge(
            entry.get("params", {}), {"network": {name: network[name] for name in TINY}}
        )
    for entry in suite["points"]:
        entry["params"] |= point
    (tmp_path / path.name).write_text(yaml.safe_dump(merge(suite, sections)))
    return path.name


def rows_of(name):
    with open(Path("results", name, "results.csv")) as file:
        return {row["train"]: row for row in csv.DictReader(file)}


def images_of(row):
    return Store(Path("results", "store")).images(row["key"], 2)


def test_every_published_checkpoint_gives_images_without_the_data_set(data, tmp_path):
    suite = tiny_suite(SAMPLED, data, tmp_path, {"steps": 21}, samples={"count": 2, "batch": 2})
    assert main([suite, "--executor", INLINE]) == 0
    rows = rows_of("published_cifar10")
    assert rows.keys() == entries(SAMPLED).keys()
    for row in rows.values():
        assert (row["state"], row["weights"]) == ("done", "checkpoint, ema")
        assert float(row["nfe"]) == (42 if row["train"].startswith("ve") else 21)
        assert images_of(row).shape == (2, 3, 32, 32)
    assert Path("results", "published_cifar10", "figures", "samples-vp-ddpm.png").exists()


def test_every_continuous_checkpoint_gives_images_and_bits_per_dim(data, tmp_path):
    place = data / next(iter(cifar.CIFAR10.folders))
    place.mkdir()
    records = np.random.default_rng(0).integers(
        0, 10, 10_000 * cifar.CIFAR10.record, dtype=np.uint8
    )
    records.tofile(place / "test_batch.bin")
    likelihood = {"images": 2, "batch": 2, "repeats": 1, "tolerance": 0.1}
    sections = {"samples": {"count": 2, "batch": 2}, "likelihood": likelihood}
    suite = tiny_suite(FLOW, data, tmp_path, {"tolerance": 0.1}, **sections)
    assert main([suite, "--executor", INLINE]) == 0
    rows = rows_of("published_cifar10_flow")
    assert rows.keys() == entries(FLOW).keys()
    for row in rows.values():
        assert row["state"] == "done"
        assert np.isfinite(float(row["bits_per_dim"]))
        assert images_of(row).shape == (2, 3, 32, 32)
