"""The presets against every number of the authors' configurations, and the sizes of their
networks.
"""

import pytest
import torch

from bench.schema import build, differences
from methods.cld.card import CARD, Params
from methods.cld.presets import PRESETS, SHAPES
from methods.shared.backbone import make_network
from methods.shared.published import published_layout

IMAGES = {
    "name": "ncsnpp",
    "n_channels": 128,
    "attn_resolutions": "16",
    "resblock_type": "biggan",
    "progressive": "none",
    "skip_rescale": True,
    "init_scale": 0.0,
    "dropout": 0.1,
    "mixed_score": True,
    "image_channels": 3,
    "n_warmup_iters": 100_000,
    "ema_rate": 0.9999,
}
CELEBA = {
    "ch_mult": "1,1,2,2,2,2,2",
    "embedding_type": "positional",
    "use_fir": False,
    "progressive_input": "none",
    "numerical_eps": 1e-6,
    "learning_rate": 1e-4,
    "image_size": 256,
    "batch": 4 * 16,
}
ALL = {
    "m_inv": 4.0,
    "gamma": 0.04,
    "cld_objective": "hsm",
    "weighting": "reweightedv2",
    "grad_clip": 1.0,
}
ADAM = {"optimizer": "Adam", "weight_decay": 0.0}
STEADY = {"beta0": 4.0, "beta1": 0.0, "loss_eps": 1e-5}
CONFIGURATIONS = {
    "cifar10": ALL
    | IMAGES
    | ADAM
    | STEADY
    | {
        "ch_mult": "1,2,2,2",
        "n_resblocks": 8,
        "embedding_type": "fourier",
        "fourier_scale": 16.0,
        "use_fir": True,
        "progressive_input": "residual",
        "numerical_eps": 1e-9,
        "learning_rate": 2e-4,
        "n_train_iters": 800_000,
        "batch": 8 * 16,
        "image_size": 32,
    },
    "celeba_paper": ALL
    | IMAGES
    | ADAM
    | STEADY
    | CELEBA
    | {"n_resblocks": 2, "n_train_iters": 320_000},
    "celeba_post": ALL
    | IMAGES
    | CELEBA
    | {"n_resblocks": 4, "n_train_iters": 600_000, "beta0": 0.1, "beta1": 6.9, "loss_eps": 1e-3}
    | {"optimizer": "AdamW", "weight_decay": 1e-2},
}
TOY = {
    "mixed_score": False,
    "numerical_eps": 1e-6,
    "learning_rate": 1e-3,
    "n_train_iters": 800_000,
    "n_warmup_iters": 0,
    "ema_rate": 0.999,
    "batch": 512,
    "data_dim": 2,
}
CONFIGURATIONS |= {
    f"toy_{name}": ALL | ADAM | STEADY | TOY | {"name": name} for name in ("mlp", "resnet")
}

PARAMETERS = {
    "cifar10": 107_593_859,
    "celeba_paper": 65_466_371,
    "celeba_post": 103_073_795,
    "toy_mlp": 50_562,
    "toy_resnet": 84_996,
}
"""Of the authors' networks, Fourier frequencies taken out: they are not trained."""

NAMES = {"ncsnpp": "ncsnpp", "mlp": "mlp", "mlp_residual": "resnet"}
WEIGHTINGS = {"std": "reweightedv2", "rate": "reweightedv1", "likelihood": "likelihood"}


def said_by(name):
    """Returns a preset in the words of the authors' configurations."""
    ours, shape = build(Params, PRESETS[name]), SHAPES[name]
    network, training = ours.network, ours.training
    said = {
        "name": NAMES[network.architecture],
        "beta0": ours.beta0,
        "beta1": ours.beta1,
        "m_inv": 1 / ours.mass,
        "gamma": ours.gamma,
        "numerical_eps": ours.numerical_eps,
        "cld_objective": ours.objective,
        "mixed_score": ours.parametrisation == "mixed",
        "weighting": WEIGHTINGS[ours.weighting],
        "loss_eps": ours.t_min,
        "optimizer": {"adam": "Adam", "adamw": "AdamW"}[training.optimiser],
        "learning_rate": training.learning_rate,
        "weight_decay": training.weight_decay,
        "grad_clip": training.clip,
        "n_warmup_iters": training.warmup_steps,
        "n_train_iters": training.steps,
        "batch": training.batch,
        "ema_rate": pytest.approx(
            0.5 ** (training.batch / training.ema_half_life_images), rel=1e-12
        ),
    }
    if network.architecture != "ncsnpp":
        return said | {"data_dim": shape[0]}
    said |= {
        "n_channels": network.width,
        "ch_mult": ",".join(map(str, network.multipliers)),
        "n_resblocks": network.blocks,
        "attn_resolutions": ",".join(map(str, network.attention)),
        "embedding_type": network.embedding,
        "use_fir": network.fir,
        "resblock_type": network.block,
        "progressive": network.progressive,
        "progressive_input": network.progressive_input,
        "skip_rescale": network.skip_rescale,
        "init_scale": network.init_scale,
        "dropout": network.dropout,
        "image_channels": shape[0],
        "image_size": shape[1],
    }
    return said | (
        {"fourier_scale": network.fourier_scale} if network.embedding == "fourier" else {}
    )


def network_of(name):
    channels, height, _ = SHAPES[name]
    with torch.device("meta"):
        return make_network(build(Params, PRESETS[name]).network, 2 * channels, channels, height)


def test_there_is_a_preset_for_every_configuration():
    assert set(PRESETS) == set(CONFIGURATIONS) == set(SHAPES) == set(PARAMETERS)
    assert CARD.presets is PRESETS
    assert CARD.shapes is SHAPES


@pytest.mark.parametrize("name", PRESETS)
def test_preset_says_what_the_authors_configuration_says(name):
    assert said_by(name) == CONFIGURATIONS[name]


@pytest.mark.parametrize("name", PRESETS)
def test_preset_holds_nothing_but_differences_from_the_defaults(name):
    assert PRESETS[name] == differences(build(Params, PRESETS[name]))


@pytest.mark.parametrize("name", PRESETS)
def test_preset_sums_the_loss_and_starts_its_average_as_the_authors(name):
    params = build(Params, PRESETS[name])
    assert params.reduction == "sum"
    assert params.training.ema_warmup
    assert params.training.schedule == "constant"
    assert not params.dequantise


def test_networks_are_told_the_logarithm_of_the_time_where_the_authors_take_it():
    told = {name: build(Params, PRESETS[name]).condition for name in PRESETS}
    logarithm = {name for name, condition in told.items() if condition == "log_time"}
    assert logarithm == {"cifar10", "toy_resnet"}
    assert {condition for name, condition in told.items() if name not in logarithm} == {"time"}


@pytest.mark.parametrize("name", PRESETS)
def test_preset_goes_with_images_of_its_shape(name):
    assert CARD.refuse(build(Params, PRESETS[name]), SHAPES[name]) == []


@pytest.mark.parametrize(("name", "count"), PARAMETERS.items())
def test_network_has_the_authors_number_of_parameters(name, count):
    assert sum(weight.numel() for weight in network_of(name).parameters()) == count


@pytest.mark.parametrize("name", PRESETS)
def test_published_layout_reaches_every_weight(name):
    network = network_of(name)
    assert {entry.own for entry in published_layout(network)} == set(network.state_dict())


@pytest.mark.parametrize("name", PRESETS)
def test_network_takes_image_and_velocity_and_gives_a_score_of_the_velocity(name):
    channels, *size = SHAPES[name]
    with torch.device("meta"):
        y = network_of(name)(torch.empty(1, 2 * channels, *size), torch.empty(1))
    assert y.shape == (1, channels, *size)
