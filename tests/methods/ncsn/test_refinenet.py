"""NCSN's networks: normalisations against formulas, sizes and names against the authors', and the
first weights.
"""

import json
import math
from pathlib import Path

import pytest
import torch
from torch import nn

from bench.method import Noise
from methods.ncsn.published import from_published, published_names, to_published
from methods.ncsn.refinenet import Conv, LevelNorm, Norm, initialise, make_refinenet
from methods.ncsn.settings import STAGES, RefineNet

STATES = json.loads(
    (Path(__file__).resolve().parents[2] / "published" / "ncsn_shapes.json").read_text()
)
MODELS = {
    # variant, width, channels, noise levels and parameters of the authors' networks
    "ncsn/mnist": ("ncsn", 64, 1, 10, 7_638_657),
    "ncsn/cifar10": ("ncsn", 128, 3, 10, 30_117_635),
    "ncsnv2/cifar10": ("ncsnv2", 128, 3, 232, 29_694_083),
    "ncsnv2/bedroom": ("ncsnv2_deeper", 128, 3, 1086, 83_445_379),
    "ncsnv2/ffhq": ("ncsnv2_deepest", 128, 3, 2311, 94_132_611),
}
LEVELS = 3


def network_of(name):
    variant, width, channels, levels, _ = MODELS[name]
    with torch.device("meta"):
        return make_refinenet(RefineNet(variant=variant, width=width), channels, levels)


def small(variant, width=4, channels=2):
    network = make_refinenet(RefineNet(variant=variant, width=width), channels, LEVELS)
    initialise(network, Noise(0))
    return network


def plus(x, gamma, alpha, beta):
    """Returns InstanceNorm++ of one image, (C, H, W), channel by channel, as the papers write
    it.
    """
    means = [channel.mean() for channel in x]
    centre = sum(means) / len(means)
    spread = sum((mean - centre) ** 2 for mean in means) / (len(means) - 1)
    found = []
    for channel, mean, c, a, b in zip(x, means, gamma, alpha, beta, strict=True):
        variance = (channel - mean).square().mean()
        kept = (mean - centre) / (spread + 1e-5).sqrt()
        found.append(c * ((channel - mean) / (variance + 1e-5).sqrt() + a * kept) + b)
    return torch.stack(found)


def features():
    """Returns features whose channels have means of their own."""
    draws = Noise(1)
    return draws.normal((LEVELS, 5, 4, 6)).double() + 3 * draws.normal((LEVELS, 5, 1, 1)).double()


def filled(norm, seed=2):
    with torch.no_grad():
        for name, weight in norm.named_parameters():
            weight.copy_(Noise(seed).child(name).normal(weight.shape))
    return norm.double()


def test_instance_norm_plus_is_the_papers_formula():
    x, norm = features(), filled(Norm(5))
    expected = torch.stack([plus(image, norm.gamma, norm.alpha, norm.beta) for image in x])
    torch.testing.assert_close(norm(x, None), expected, rtol=1e-12, atol=1e-12)


def test_conditional_norm_takes_gamma_alpha_and_beta_of_each_images_level():
    x, norm, level = features(), filled(LevelNorm(5, LEVELS, means=True)), torch.tensor([2, 0, 2])
    expected = torch.stack(
        [plus(image, *norm.table[i].split(5)) for image, i in zip(x, level, strict=True)]
    )
    torch.testing.assert_close(norm(x, level), expected, rtol=1e-12, atol=1e-12)


def test_plain_conditional_norm_is_instance_normalisation_with_a_scale_and_shift_of_the_level():
    x, norm, level = features(), filled(LevelNorm(5, LEVELS, means=False)), torch.tensor([1, 0, 2])
    gamma, beta = norm.table[level].split(5, dim=1)
    expected = gamma[:, :, None, None] * nn.functional.instance_norm(x) + beta[:, :, None, None]
    torch.testing.assert_close(norm(x, level), expected, rtol=1e-12, atol=1e-12)


def test_norm_of_rounded_features_does_not_round_its_statistics():
    norm, x = filled(Norm(5)).float(), (100 + features()).bfloat16()
    assert torch.equal(norm(x, None), norm(x.float(), None))


@pytest.mark.parametrize("name", MODELS)
def test_network_has_the_authors_number_of_parameters(name):
    assert sum(weight.numel() for weight in network_of(name).parameters()) == MODELS[name][-1]


@pytest.mark.parametrize("name", MODELS)
def test_published_names_and_shapes_are_those_of_the_authors_checkpoint_in_its_order(name):
    network = network_of(name)
    theirs = {
        f"{part}.{tensor}": tuple(shape)
        for part, layer in STATES["models"][name].items()
        for tensor, shape in STATES["layers"][layer].items()
    }
    ours = {key: tuple(t.shape) for key, t in to_published(network, network.state_dict()).items()}
    assert ours == theirs
    assert list(ours) == list(theirs)


@pytest.mark.parametrize("variant", STAGES)
def test_published_tensors_come_back_under_their_own_names(variant):
    network = small(variant)
    names = published_names(network)
    assert len(set(names.values())) == len(names)
    state = from_published(network, to_published(network, network.state_dict()))
    assert state.keys() == network.state_dict().keys()
    assert all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize("variant", STAGES)
def test_an_image_and_its_level_alone_decide_its_output(variant):
    network, x = small(variant), Noise(3).normal((LEVELS, 2, 16, 16))
    level = torch.arange(LEVELS)
    conditional = RefineNet(variant=variant).conditional
    with torch.no_grad():
        together = network(x, level)
        assert together.shape == x.shape
        for i in range(LEVELS):
            alone = network(x[i : i + 1], level[i : i + 1])
            torch.testing.assert_close(alone, together[i : i + 1], rtol=1e-4, atol=1e-5)
        others = network(x, level.flip(0))
        assert torch.equal(others[1], together[1])
        assert torch.equal(others[0], together[0]) != conditional
        if not conditional:
            assert torch.equal(network(x), together)


@pytest.mark.parametrize("variant", STAGES)
def test_every_weight_counts_but_the_biases_that_plain_normalisations_take_away(variant):
    network, x = small(variant).double(), Noise(3).normal((2, 2, 16, 16)).double()
    (network(x, torch.tensor([0, 2])) * Noise(4).normal(x.shape)).sum().backward()
    norms = {name: weight.grad.norm().item() for name, weight in network.named_parameters()}
    idle = {name for name, norm in norms.items() if norm < 1e-9 * max(norms.values())}
    taken_away = (
        {name for name in norms if name.endswith("conv1.bias")}
        if variant == "ncsn_deeper"
        else set()
    )
    assert idle == taken_away


def test_network_computes_the_same_in_the_memory_layout_of_convolutions():
    network, x = small("ncsn", width=8), Noise(3).normal((2, 2, 16, 16))
    level = torch.tensor([0, 2])
    with torch.no_grad():
        expected = network(x, level)
        network.to(memory_format=torch.channels_last)
        found = network(x.contiguous(memory_format=torch.channels_last), level)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("variant", ["ncsn", "ncsnv2"])
def test_first_convolutions_are_uniform_within_one_over_the_root_of_the_fan_in_as_torchs_own(
    variant,
):
    network = small(variant, width=16)
    convs = [layer for layer in network.modules() if isinstance(layer, Conv)]
    for layer in convs:
        limit = 1 / math.sqrt(layer.weight[0].numel())
        for weight in filter(lambda weight: weight is not None, (layer.weight, layer.bias)):
            assert weight.abs().max() <= limit
            if weight.numel() > 1000:
                assert weight.abs().max() > 0.99 * limit
                # The mean of n squares has a standard deviation of 0.89 / sqrt(n) of itself, 0.028
                # at most.
                assert weight.square().mean().item() == pytest.approx(limit**2 / 3, rel=0.15)
    reference = nn.Conv2d(16, 16, 3)
    assert reference.weight.abs().max() <= 1 / 12
    assert reference.weight.square().mean().item() == pytest.approx(1 / (3 * 144), rel=0.15)


@pytest.mark.parametrize(("variant", "parts"), [("ncsn", 3), ("ncsn_deeper", 2), ("ncsnv2", 3)])
def test_first_scales_are_about_one_or_uniform_and_first_shifts_are_zero(variant, parts):
    scales, shifts = [], []
    for layer in small(variant, width=16).modules():
        if isinstance(layer, LevelNorm):
            *found, shift = layer.table.chunk(parts, dim=1)
        elif isinstance(layer, Norm):
            found, shift = [layer.gamma, layer.alpha], layer.beta
        else:
            continue
        scales += [scale.flatten() for scale in found]
        shifts.append(shift.flatten())
    scales = torch.cat(scales)
    mean, std = (0.5, 12**-0.5) if variant == "ncsn_deeper" else (1.0, 0.02)
    assert scales.mean().item() == pytest.approx(mean, abs=6 * std / math.sqrt(len(scales)))
    assert scales.std().item() == pytest.approx(std, rel=6 / math.sqrt(2 * len(scales)))
    assert not torch.cat(shifts).any()


def test_weights_are_zero_until_they_are_drawn_from_the_stream_alone():
    before = torch.get_rng_state()
    network = make_refinenet(RefineNet(width=4), 2, LEVELS)
    assert not any(weight.any() for weight in network.parameters())
    initialise(network, Noise(0))
    assert torch.equal(torch.get_rng_state(), before)
    again, other = small("ncsn"), small("ncsn")
    initialise(other, Noise(1))
    for name, weight in network.named_parameters():
        assert torch.equal(weight, again.state_dict()[name])
        assert not torch.equal(weight, other.state_dict()[name])


@pytest.mark.parametrize("variant", ["ncsn", "ncsnv2"])
def test_weights_that_were_there_before_leave_no_trace(variant):
    network = small(variant)
    fresh = {name: weight.clone() for name, weight in network.state_dict().items()}
    with torch.no_grad():
        for weight in network.parameters():
            weight.fill_(7.0)
    initialise(network, Noise(0))
    assert all(torch.equal(weight, fresh[name]) for name, weight in network.state_dict().items())


def test_layers_of_equal_shape_have_weights_of_their_own():
    weights = [weight for weight in small("ncsn").parameters() if weight.ndim == 4]
    sums = [round(weight.sum().item(), 6) for weight in weights]
    assert len(set(sums)) == len(sums)


@pytest.mark.parametrize(
    ("variant", "size", "why"),
    [
        ("ncsn", (28, 28), None),
        ("ncsn", (14, 10), None),
        ("ncsn", (7, 8), "halves the image 1 times, which 7x8 does not allow"),
        ("ncsn", (1, 1), "halves the image 1 times"),
        ("ncsn", (2, 2), "leaves one pixel of 2x2"),
        ("ncsnv2_deeper", (8, 8), None),
        ("ncsnv2_deeper", (14, 14), "halves the image 2 times"),
        ("ncsnv2_deepest", (16, 16), None),
        ("ncsnv2_deepest", (12, 16), "halves the image 3 times"),
        ("ncsnv2_deepest", (8, 8), "leaves one pixel"),
    ],
)
def test_images_that_do_not_halve_are_refused_and_others_pass(variant, size, why):
    reasons = RefineNet(variant=variant).refuse((2, *size))
    if why is not None:
        assert len(reasons) == 1
        assert why in reasons[0]
        return
    assert reasons == []
    x = Noise(0).normal((1, 2, *size))
    y = small(variant)(x, torch.tensor([1]))
    assert y.shape == x.shape
    assert y.isfinite().all()


def test_width_of_one_channel_is_refused_for_it_has_no_variance_over_channels():
    with pytest.raises(ValueError, match="width should be at least 2"):
        RefineNet(width=1)
    assert small("ncsn", width=2)(Noise(0).normal((1, 2, 8, 8)), torch.tensor([0])).isfinite().all()
