"""The presets of NCSN and NCSNv2 against the authors' configurations."""

from pathlib import Path

import pytest
import torch

from bench.schema import build, differences, merge
from bench.suite.reader import read_suite
from methods.ncsn.card import CARD, Params
from methods.ncsn.presets import PRESETS, SHAPES
from methods.ncsn.presets import PUBLISHED as SAMPLING
from methods.ncsn.refinenet import make_refinenet

NCSN = {
    "sigmas": (1.0, 0.01, 10),
    "updates": 200_001,
    "batch": 128,
    "rate": 1e-3,
    "eps": 1e-8,
    "decay": 0.0,
}
NCSNV2 = {"batch": 128, "rate": 1e-4, "eps": 1e-8, "decay": 0.999}
PUBLISHED = {
    # and variant, ngf, image shape, parameters of the network, steps at each level and their size
    "ncsn/mnist": {
        **NCSN,
        "network": ("ncsn", 64, (1, 28, 28), 7_638_657),
        "sampling": (100, 2e-5),
    },
    "ncsn/cifar10": {
        **NCSN,
        "network": ("ncsn", 128, (3, 32, 32), 30_117_635),
        "sampling": (100, 2e-5),
    },
    "ncsn/celeba": {
        **NCSN,
        "network": ("ncsn", 128, (3, 32, 32), 30_117_635),
        "sampling": (100, 2e-5),
    },
    "ncsnv2/cifar10": {
        **NCSNV2,
        "sigmas": (50.0, 0.01, 232),
        "updates": 300_001,
        "network": ("ncsnv2", 128, (3, 32, 32), 29_694_083),
        "sampling": (5, 6.2e-6),
    },
    "ncsnv2/celeba": {
        **NCSNV2,
        "sigmas": (90.0, 0.01, 500),
        "updates": 210_001,
        "network": ("ncsnv2", 128, (3, 64, 64), 29_694_083),
        "sampling": (5, 3.3e-6),
    },
    "ncsnv2/church_outdoor": {
        **NCSNV2,
        "sigmas": (140.0, 0.01, 788),
        "updates": 200_001,
        "network": ("ncsnv2_deeper", 128, (3, 64, 64), 83_445_379),
        "sampling": (4, 4.9e-6),
    },
    "ncsnv2/bedroom": {
        **NCSNV2,
        "sigmas": (190.0, 0.01, 1086),
        "updates": 150_001,
        "network": ("ncsnv2_deeper", 128, (3, 128, 128), 83_445_379),
        "sampling": (3, 1.8e-6),
    },
    "ncsnv2/tower": {
        **NCSNV2,
        "sigmas": (190.0, 0.01, 1086),
        "updates": 150_001,
        "network": ("ncsnv2_deeper", 128, (3, 128, 128), 83_445_379),
        "sampling": (3, 1.8e-6),
    },
    "ncsnv2/ffhq": {
        **NCSNV2,
        "sigmas": (348.0, 0.01, 2311),
        "updates": 80_001,
        "batch": 32,
        "eps": 1e-3,
        "network": ("ncsnv2_deepest", 128, (3, 256, 256), 94_132_611),
        "sampling": (3, 9e-7),
    },
}


def decay(training):
    """Returns what the average keeps of itself at an update, 0 for none."""
    half_life = training.ema_half_life_images
    return 0.5 ** (training.batch / half_life) if half_life else 0.0


def test_there_is_a_preset_for_every_configuration():
    assert set(PRESETS) == set(SHAPES) == set(SAMPLING) == set(PUBLISHED)
    assert CARD.presets is PRESETS
    assert CARD.shapes is SHAPES


@pytest.mark.parametrize("name", PRESETS)
def test_preset_holds_nothing_but_differences_from_the_defaults(name):
    assert PRESETS[name] == differences(build(Params, PRESETS[name]))


@pytest.mark.parametrize("name", PRESETS)
def test_preset_says_what_the_authors_configuration_says(name):
    theirs, ours = PUBLISHED[name], build(Params, PRESETS[name])
    training = ours.training
    assert (ours.sigma_begin, ours.sigma_end, ours.levels) == theirs["sigmas"]
    assert (ours.objective, ours.anneal_power, ours.reduction) == ("denoising", 2.0, "sum")
    assert ours.dequantise == name.startswith("ncsn/")
    assert ours.backbone == "refinenet"
    assert (ours.refinenet.variant, ours.refinenet.width, SHAPES[name]) == theirs["network"][:3]
    assert (training.steps, training.batch) == (theirs["updates"], theirs["batch"])
    assert (training.optimiser, training.learning_rate, training.adam_eps) == (
        "adam",
        theirs["rate"],
        theirs["eps"],
    )
    assert (training.weight_decay, training.warmup_steps, training.schedule, training.clip) == (
        0,
        0,
        "constant",
        None,
    )
    assert decay(training) == pytest.approx(theirs["decay"], rel=1e-12)
    assert not (training.ema_warmup and decay(training))
    assert training.averages_every_images is None


@pytest.mark.parametrize("name", PRESETS)
def test_presets_network_has_the_authors_number_of_parameters_and_takes_images_of_its_shape(name):
    params, shape = build(Params, PRESETS[name]), SHAPES[name]
    assert CARD.refuse(params, shape) == []
    with torch.device("meta"):
        network = make_refinenet(params.refinenet, shape[0], params.levels)
        y = network(torch.empty(1, *shape), torch.zeros(1, dtype=torch.int64))
    assert y.shape == (1, *shape)
    assert sum(weight.numel() for weight in network.parameters()) == PUBLISHED[name]["network"][3]


@pytest.mark.parametrize("name", PRESETS)
def test_published_sampling_is_the_authors(name):
    card = CARD.samplers["annealed_langevin"]
    ours = build(card.params, SAMPLING[name].params)
    later = name.startswith("ncsnv2/")
    assert (ours.steps_each, ours.step_lr) == PUBLISHED[name]["sampling"]
    assert ours.levels == PUBLISHED[name]["sigmas"][2]
    assert (ours.start, ours.convention) == ("uniform", "code")
    assert (ours.denoise, ours.returned, ours.conditioning) == (
        (True, "last", "step") if later else (False, "published", "level")
    )
    assert card.refuse(build(Params, PRESETS[name]), ours, "") == []


def test_suite_of_published_checkpoints_samples_as_the_authors_do(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    for name in ("ncsn", "ncsnv2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "cifar10.pth").write_bytes(b"in place of a checkpoint")
    suite = read_suite(Path(__file__).resolve().parents[3] / "suites" / "reproduce_ncsn.yaml")
    assert [point.train for point in suite.points] == ["ncsn", "ncsnv2"]
    for point in suite.points:
        preset, spec = f"{point.train}/cifar10", point.sample
        card = CARD.samplers["annealed_langevin"]
        assert build(card.params, spec.params) == build(card.params, SAMPLING[preset].params)
        # What they save is not taken back from the scale of dequantised images.
        assert build(Params, spec.train.params) == build(
            Params, merge(PRESETS[preset], {"dequantise": False})
        )
        assert spec.train.weights == {"ncsn": "raw", "ncsnv2": "ema"}[point.train]
