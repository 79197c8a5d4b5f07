"""The presets against the authors' configurations and the names and shapes of their checkpoints.

``tests/published`` holds them: every value of the 28 configurations that a preset answers for, how
they sample, and the tensors of the 22 state dicts that are known, as a list of layers
(``all_modules.0``, ``all_modules.1``, ...) for each.
"""

import json
from pathlib import Path

import pytest
import torch

from bench.schema import build, differences
from methods.sde.card import CARD, Params
from methods.sde.presets import PRESETS, PUBLISHED, SHAPES
from methods.shared.backbone import make_network
from methods.shared.published import from_published, published_layout, to_published

FOLDER = Path(__file__).resolve().parents[2] / "published"
CONFIGURATIONS = json.loads((FOLDER / "sde_configurations.json").read_text())
SAMPLING = json.loads((FOLDER / "sde_sampling.json").read_text())
STATES = json.loads((FOLDER / "sde_shapes.json").read_text())
PARAMETERS = {
    # of the authors' networks, the Fourier frequencies taken out where there are any: they are not
    # trained
    "ve/cifar10_ncsnpp": 62_693_251,
    "ve/cifar10_ncsnpp_continuous": 62_758_915 - 128,
    "ve/cifar10_ncsnpp_deep_continuous": 107_587_075 - 128,
    "vp/cifar10_ddpmpp_continuous": 61_804_419,
    "vp/cifar10_ddpmpp_deep_continuous": 106_632_579,
    "vp/ddpm/cifar10": 35_218_947,
    "vp/ddpm/church": 111_569_923,
    "ve/church_ncsnpp_continuous": 65_574_549 - 128,
    "ve/ffhq_ncsnpp_continuous": 105_785_896 - 16,
}


def shapes_of(name):
    """Returns the shapes of a state dict by names, without ``module.`` and without the buffer of
    noise levels.
    """
    layers = STATES["models"][name]
    layers = STATES["models"][layers] if isinstance(layers, str) else layers
    return {
        f"all_modules.{i}.{tensor}": tuple(shape)
        for i, layer in enumerate(layers)
        for tensor, shape in STATES["layers"][layer].items()
    }


def network_of(name):
    channels, height, _ = SHAPES[name]
    with torch.device("meta"):
        return make_network(build(Params, PRESETS[name]).network, channels, channels, height)


def test_there_is_a_preset_for_every_configuration():
    assert set(PRESETS) == set(CONFIGURATIONS) == set(SHAPES)
    assert CARD.presets is PRESETS
    assert len(PRESETS) == 28


@pytest.mark.parametrize("name", PRESETS)
def test_preset_holds_nothing_but_differences_from_the_defaults(name):
    assert PRESETS[name] == differences(build(Params, PRESETS[name]))


@pytest.mark.parametrize("name", PRESETS)
def test_preset_says_what_the_authors_configuration_says(name):
    theirs, ours = CONFIGURATIONS[name], build(Params, PRESETS[name])
    network, training = ours.network, ours.training
    continuous = theirs["training.continuous"]
    said = {
        "training.sde": f"{ours.process}sde",
        "training.continuous": ours.time == "continuous",
        "training.reduce_mean": ours.reduction == "mean",
        "training.likelihood_weighting": ours.weighting == "likelihood",
        "training.batch_size": training.batch,
        "training.n_iters": training.steps - 1,
        "data.image_size": SHAPES[name][1],
        "data.num_channels": SHAPES[name][0],
        "data.centered": ours.process != "ve",
        "model.name": network.architecture,
        "model.nf": network.width,
        "model.ch_mult": list(network.multipliers),
        "model.num_res_blocks": network.blocks,
        "model.attn_resolutions": list(network.attention),
        "model.conditional": network.conditional,
        "model.dropout": network.dropout,
        "model.ema_rate": pytest.approx(
            0.5 ** (training.batch / training.ema_half_life_images), rel=1e-12
        ),
        "optim.lr": training.learning_rate,
        "optim.warmup": training.warmup_steps,
        "optim.grad_clip": training.clip,
    }
    if ours.process == "ve":
        said |= {"model.sigma_max": ours.sigma_max, "model.sigma_min": ours.sigma_min}
    else:
        said |= {"model.beta_min": ours.beta_min, "model.beta_max": ours.beta_max}
    said |= {} if continuous else {"model.num_scales": ours.scales}
    if network.architecture == "ncsnpp":
        said |= {
            "model.embedding_type": network.embedding,
            "model.resblock_type": network.block,
            "model.fir": network.fir,
            "model.progressive": network.progressive,
            "model.progressive_input": network.progressive_input,
            "model.progressive_combine": network.combine,
            "model.skip_rescale": network.skip_rescale,
            "model.init_scale": network.init_scale,
        }
        said |= (
            {"model.fourier_scale": network.fourier_scale} if network.embedding == "fourier" else {}
        )
    said |= {"model.resamp_with_conv": network.resample_with_conv}
    assert said == {key: theirs[key] for key in said}
    unsaid = theirs.keys() - said.keys()
    irrelevant = {
        "model.sigma_max",
        "model.sigma_min",
        "model.beta_min",
        "model.beta_max",
        "model.num_scales",
    }
    if network.architecture == "ddpm":
        irrelevant |= {key for key in theirs if key.startswith("model.")}
    assert unsaid <= irrelevant | {"model.fourier_scale"}


@pytest.mark.parametrize("name", STATES["models"])
def test_published_names_and_shapes_are_those_of_the_authors_checkpoint(name):
    network = network_of(name)
    ours = {
        published: tuple(t.shape)
        for published, t in to_published(network, network.state_dict()).items()
    }
    assert ours == shapes_of(name)
    assert list(ours) == list(shapes_of(name))
    state = from_published(
        network, {key: torch.empty(s, device="meta") for key, s in shapes_of(name).items()}
    )
    assert {key: t.shape for key, t in state.items()} == {
        key: t.shape for key, t in network.state_dict().items()
    }


@pytest.mark.parametrize(("name", "count"), PARAMETERS.items())
def test_network_has_the_authors_number_of_parameters(name, count):
    assert sum(weight.numel() for weight in network_of(name).parameters()) == count


def test_every_preset_has_a_network_of_one_of_the_published_sizes():
    sizes = {
        name: sum(weight.numel() for weight in network_of(name).parameters()) for name in PRESETS
    }
    # NCSN++ with FIR and sinusoids, 8 blocks a level, and DDPM without its embedding, have no
    # published count.
    unpublished = {"vp/cifar10_ncsnpp_deep_continuous", "subvp/cifar10_ncsnpp_deep_continuous"}
    unpublished |= {"vp/ddpm/cifar10_unconditional"}
    assert {name for name, size in sizes.items() if size not in PARAMETERS.values()} == unpublished


def test_published_layout_of_the_largest_preset_reaches_every_weight():
    network = network_of("ve/ffhq_ncsnpp_continuous")
    assert {entry.own for entry in published_layout(network)} == set(network.state_dict())


@pytest.mark.parametrize(
    "name", ["ve/ffhq_ncsnpp_continuous", "vp/ddpm/church", "ve/celeba_ncsnpp"]
)
def test_network_takes_images_of_the_presets_shape(name):
    network = network_of(name)
    with torch.device("meta"):
        y = network(torch.empty(1, *SHAPES[name]), torch.empty(1))
    assert y.shape == (1, *SHAPES[name])


@pytest.mark.parametrize("name", PRESETS)
def test_published_sampling_is_that_of_the_authors_configuration(name):
    theirs, published = SAMPLING[name], PUBLISHED[name]
    card = CARD.samplers[published.sampler]
    ours = build(card.params, published.params)
    predictors = {"ancestral_sampling": "ancestral"}
    predictor = theirs["predictor"]
    assert theirs["method"] == "pc"
    assert ours.predictor == predictors.get(predictor, predictor)
    assert (ours.corrector, ours.steps) == (
        theirs["corrector"],
        theirs["num_scales"],
    )
    assert (ours.corrector_steps, ours.snr) == (
        theirs["n_steps_each"],
        theirs["snr"] if ours.corrector != "none" else 0.16,
    )
    assert ours.last_noise != theirs["noise_removal"]
    assert ours.probability_flow == theirs["probability_flow"]
    assert ours.published
    assert card.refuse(build(Params, PRESETS[name]), ours, "uniform") == []
