import pytest
import torch

from bench.method import Noise
from methods.shared.ddpm import DDPM
from methods.shared.layers import Attention, Conv, Dense, fir_down, fir_kernel, fir_up, initialise
from methods.shared.ncsnpp import NCSNpp
from methods.shared.published import from_published, published_layout, to_published

TINY = {
    "image_size": 8,
    "width": 8,
    "multipliers": (1, 2),
    "blocks": 1,
    "attention": (4,),
    "init_scale": 0.5,
}

VARIANTS = {
    "ddpmpp": {},
    "ncsnpp": {"fir": True, "progressive_input": "residual", "embedding": "fourier"},
    "ncsnpp_256": {
        "fir": True,
        "progressive": "output_skip",
        "progressive_input": "input_skip",
        "multipliers": (1, 2, 2),
    },
    "combine_cat": {"fir": True, "progressive_input": "input_skip", "combine": "cat"},
    "progressive_residual": {"fir": True, "progressive": "residual", "multipliers": (1, 1, 2)},
    "boxes_all_through": {"progressive": "residual", "progressive_input": "residual"},
    "ddpm_block_fir_conv": {"block": "ddpm", "fir": True},
    "ddpm_block_fir": {"block": "ddpm", "fir": True, "resample_with_conv": False},
    "ddpm_block_conv": {"block": "ddpm", "skip_rescale": False},
    "ddpm_block": {"block": "ddpm", "resample_with_conv": False, "attention": ()},
    "attention_everywhere": {"attention": (8, 4), "blocks": 2},
    "dropout": {"dropout": 0.3},
    "unconditional": {"conditional": False},
}


def build(**keywords):
    network = NCSNpp(1, 2, **(TINY | keywords))
    initialise(network, Noise(0))
    return network


def inputs(size=8, batch=3):
    return Noise(1).normal((batch, 1, size, size)), torch.tensor([0.1, 300.0, 999.0])[:batch]


@pytest.mark.parametrize("keywords", VARIANTS.values(), ids=VARIANTS)
def test_every_variant_gives_the_output_shape_and_reaches_every_weight(keywords):
    network = build(**keywords)
    y = network(*inputs())
    assert y.shape == (3, 2, 8, 8)
    assert y.is_contiguous()
    y.square().sum().backward()
    without = [
        name
        for name, weight in network.named_parameters()
        if weight.grad is None or not weight.grad.any()
    ]
    assert without == []


@pytest.mark.parametrize("keywords", VARIANTS.values(), ids=VARIANTS)
def test_published_layout_names_every_weight_once_and_goes_there_and_back(keywords):
    network = build(**keywords)
    state = network.state_dict()
    layout = published_layout(network)
    assert len({entry.published for entry in layout}) == len(layout)
    assert {entry.own for entry in layout if entry.own} == set(state)
    back = from_published(network, to_published(network, state))
    assert all(torch.equal(back[name], state[name]) for name in state)


PUBLISHED = {
    # (settings, trainable parameters of the authors' network; Fourier frequencies are not trained)
    "ncsnpp_continuous": (
        {"fir": True, "progressive_input": "residual", "embedding": "fourier"},
        62_758_915 - 128,
    ),
    "ncsnpp": ({"fir": True, "progressive_input": "residual"}, 62_693_251),
    "ncsnpp_deep": (
        {"fir": True, "progressive_input": "residual", "embedding": "fourier", "blocks": 8},
        107_587_075 - 128,
    ),
    "ddpmpp": ({}, 61_804_419),
    "ddpmpp_deep": ({"blocks": 8}, 106_632_579),
    "ncsnpp_256": (
        {
            "image_size": 256,
            "multipliers": (1, 1, 2, 2, 2, 2, 2),
            "blocks": 2,
            "fir": True,
            "progressive": "output_skip",
            "progressive_input": "input_skip",
            "embedding": "fourier",
        },
        65_574_549 - 128,
    ),
    "ncsnpp_1024": (
        {
            "image_size": 1024,
            "width": 16,
            "multipliers": (1, 2, 4, 8, 16, 32, 32, 32),
            "blocks": 1,
            "fir": True,
            "progressive": "output_skip",
            "progressive_input": "input_skip",
            "embedding": "fourier",
        },
        105_785_896 - 16,
    ),
}


@pytest.mark.parametrize(("settings", "count"), PUBLISHED.values(), ids=PUBLISHED)
def test_published_networks_have_the_authors_number_of_parameters(settings, count):
    defaults = {
        "image_size": 32,
        "width": 128,
        "multipliers": (1, 2, 2, 2),
        "blocks": 4,
        "attention": (16,),
    }
    with torch.device("meta"):
        network = NCSNpp(3, 3, **(defaults | settings))
    assert sum(weight.numel() for weight in network.parameters()) == count


def test_building_and_initialising_consume_no_global_randomness():
    before = torch.get_rng_state()
    build()
    assert torch.equal(torch.get_rng_state(), before)


def test_initial_weights_are_uniform_of_the_stated_variance():
    wide = torch.nn.ModuleDict({"conv": Conv(24, 40, 3, scale=0.5), "dense": Dense(300, 200)})
    stacked = torch.nn.ModuleDict({"conv": Conv(32, 96, 1, parts=3)})
    for network, name, limit in (
        (wide, "conv", (3 * 0.5 / (9 * 32)) ** 0.5),
        (wide, "dense", (3 / 250) ** 0.5),
        (stacked, "conv", (3 / 32) ** 0.5),
    ):
        initialise(network, Noise(0))
        weight = network[name].weight
        assert weight.abs().max() <= limit
        assert weight.abs().max() > 0.99 * limit
        assert weight.var().item() == pytest.approx(limit**2 / 3, rel=0.05)
        assert not network[name].bias.any()


def test_initial_weights_of_a_layer_depend_on_its_name_alone():
    plain, deeper = build(), build(blocks=2)
    assert torch.equal(plain.input.weight, deeper.input.weight)
    assert torch.equal(plain.down[1].blocks[0].conv2.weight, deeper.down[1].blocks[0].conv2.weight)


def test_network_starts_at_zero_output_with_init_scale_zero():
    assert build(init_scale=0.0)(*inputs()).abs().max() < 1e-3


def test_output_depends_on_the_condition_unless_unconditional():
    x, condition = inputs()
    for conditional in (True, False):
        network = build(conditional=conditional)
        same = torch.equal(network(x, condition), network(x, condition + 50))
        assert same is not conditional


def test_a_network_trained_at_one_size_takes_another_with_attention_at_the_same_depth():
    network = build()
    x, condition = inputs(size=16)
    assert network(x, condition).shape == (3, 2, 16, 16)
    calls = []
    network.up[0].attentions[0].register_forward_hook(
        lambda layer, given, y: calls.append(tuple(y.shape[2:]))
    )
    network(x[..., :12], condition)
    assert calls == [(8, 6)]


def test_memory_layout_of_the_input_does_not_matter():
    network = build(fir=True).to(memory_format=torch.channels_last)
    x, condition = Noise(1).normal((3, 1, 8, 8)), torch.zeros(3)
    rgb = NCSNpp(3, 3, **TINY)
    initialise(rgb, Noise(0))
    assert torch.equal(
        network(x, condition), network(x.contiguous(memory_format=torch.channels_last), condition)
    )
    x = x.expand(3, 3, 8, 8).contiguous()
    assert torch.equal(
        rgb(x, condition), rgb(x.contiguous(memory_format=torch.channels_last), condition)
    )


def test_an_image_does_not_depend_on_its_batch():
    network = build().double()
    x, condition = inputs()
    x, condition = x.double(), condition.double()
    torch.testing.assert_close(
        network(x, condition)[1:2], network(x[1:2], condition[1:2]), rtol=1e-12, atol=1e-13
    )


def test_attention_commutes_with_a_permutation_of_the_pixels():
    attention = Attention(8, skip_rescale=True, init_scale=1.0).double()
    initialise(attention, Noise(0))
    x = Noise(1).normal((2, 8, 3, 5)).double()
    order = torch.randperm(15, generator=torch.Generator().manual_seed(0))

    def permuted(image):
        return image.flatten(2)[..., order].view_as(image)

    torch.testing.assert_close(
        attention(permuted(x)), permuted(attention(x)), rtol=1e-12, atol=1e-13
    )


@pytest.mark.parametrize("taps", [(1.0, 3.0, 3.0, 1.0), (1.0, 1.0)])
def test_fir_upsampling_is_four_times_the_adjoint_of_downsampling(taps):
    kernel = fir_kernel(taps).double()
    x, y = Noise(0).normal((2, 3, 4, 5)).double(), Noise(1).normal((2, 3, 8, 10)).double()
    torch.testing.assert_close(
        (fir_up(x, kernel) * y).sum(), 4 * (x * fir_down(y, kernel)).sum(), rtol=1e-12, atol=0
    )


def test_fir_resampling_keeps_a_constant_away_from_the_border():
    flat = torch.ones(1, 2, 8, 8)
    torch.testing.assert_close(
        fir_up(flat, fir_kernel())[..., 1:-1, 1:-1], torch.ones(1, 2, 14, 14)
    )
    torch.testing.assert_close(
        fir_down(flat, fir_kernel())[..., 1:-1, 1:-1], torch.ones(1, 2, 2, 2)
    )


def counted(network, x, condition):
    """Returns the output and how many numbers autograd keeps for the backward pass."""
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: kept.append(t.numel()) or t, lambda t: t
    ):
        y = network(x, condition)
    return y, sum(kept)


RECOMPUTED = {
    "ddpmpp": (NCSNpp, {"dropout": 0.3}),
    "ncsnpp_256": (NCSNpp, VARIANTS["ncsnpp_256"] | {"dropout": 0.3}),
    "ddpm": (DDPM, {"width": 32, "dropout": 0.3, "up_attention": "every"}),
}


@pytest.mark.parametrize(("kind", "keywords"), RECOMPUTED.values(), ids=RECOMPUTED)
def test_recomputing_activations_keeps_fewer_of_them_and_every_gradient(kind, keywords):
    x, condition = inputs()
    found = []
    for recompute in (False, True):
        network = kind(1, 2, **(TINY | keywords), recompute=recompute)
        initialise(network, Noise(0))
        torch.manual_seed(0)  # dropout
        y, kept = counted(network, x, condition)
        torch.manual_seed(1)  # whatever is drawn between the two passes
        y.square().sum().backward()
        found.append((y, [weight.grad for weight in network.parameters()], kept))
    (y, gradients, kept), (y_again, gradients_again, kept_again) = found
    assert torch.equal(y, y_again)
    assert all(map(torch.equal, gradients, gradients_again))
    assert kept_again < 0.5 * kept
