import pytest
import torch

from bench.method import Noise
from methods.shared.architecture import Backbone
from methods.shared.backbone import make_network
from methods.shared.ddpm import DDPM
from methods.shared.layers import Attention, ResBlock, initialise
from methods.shared.ncsnpp import NCSNpp
from methods.shared.published import from_published, published_layout, to_published

TINY = {
    "image_size": 8,
    "width": 32,
    "multipliers": (1, 2),
    "blocks": 1,
    "attention": (4,),
    "init_scale": 0.5,
}

VARIANTS = {
    "plain": {},
    "without_convolutions": {"resample_with_conv": False},
    "attention_after_every_block": {"up_attention": "every", "attention": (8, 4), "blocks": 2},
    "unconditional": {"conditional": False},
    "dropout": {"dropout": 0.3},
    "three_levels": {"multipliers": (1, 1, 2)},
}


def build(**keywords):
    network = DDPM(1, 2, **(TINY | keywords))
    initialise(network, Noise(0))
    return network


def inputs(size=8):
    return Noise(1).normal((3, 1, size, size)), torch.tensor([0.1, 300.0, 999.0])


@pytest.mark.parametrize("keywords", VARIANTS.values(), ids=VARIANTS)
def test_every_variant_gives_the_output_shape_and_reaches_every_weight(keywords):
    network = build(**keywords)
    y = network(*inputs())
    assert y.shape == (3, 2, 8, 8)
    assert y.is_contiguous()
    y.square().sum().backward()
    assert [
        name
        for name, weight in network.named_parameters()
        if weight.grad is None or not weight.grad.any()
    ] == []


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
    "cifar10": ({"image_size": 32, "multipliers": (1, 2, 2, 2)}, 35_218_947),
    "256": ({"image_size": 256, "multipliers": (1, 1, 2, 2, 4, 4)}, 111_569_923),
}


@pytest.mark.parametrize(("settings", "count"), PUBLISHED.values(), ids=PUBLISHED)
def test_published_networks_have_the_authors_number_of_parameters(settings, count):
    with torch.device("meta"):
        network = DDPM(3, 3, width=128, blocks=2, attention=(16,), **settings)
    assert sum(weight.numel() for weight in network.parameters()) == count


def test_network_of_width_128_is_ncsnpp_with_ddpm_blocks_and_sums_that_are_not_rescaled():
    settings = TINY | {"width": 128}
    ours, other = DDPM(1, 2, **settings), NCSNpp(1, 2, block="ddpm", skip_rescale=False, **settings)
    initialise(ours, Noise(0))
    other.load_state_dict(ours.state_dict())
    assert torch.equal(ours(*inputs()), other(*inputs()))


def test_way_up_attends_once_a_resolution_or_after_every_block():
    counts = {}
    for rule in ("last", "every"):
        seen = []
        network = build(up_attention=rule, blocks=2)
        for layer in (layer for level in network.up for layer in level.modules()):
            if isinstance(layer, Attention | ResBlock):
                layer.register_forward_hook(
                    lambda module, given, y, to=seen: to.append(type(module).__name__[0])
                )
        network(*inputs())
        counts[rule] = "".join(seen)
    assert counts == {"last": "RRRARRR", "every": "RARARARRR"}


def test_output_depends_on_the_condition_unless_unconditional():
    x, condition = inputs()
    for conditional in (True, False):
        network = build(
            width=64, conditional=conditional
        )  # one channel a group cannot see what is added to it
        same = torch.equal(network(x, condition), network(x, condition + 50))
        assert same is not conditional


def test_network_starts_at_zero_output_with_init_scale_zero():
    assert build(init_scale=0.0)(*inputs()).abs().max() < 1e-3


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"fir": True}, "ddpm has no fir"),
        ({"embedding": "fourier"}, "ddpm has no embedding"),
        ({"skip_rescale": False}, "ddpm has no skip_rescale"),
        ({"width": 48}, "width should be a multiple of 32"),
        ({"architecture": "ncsnpp", "up_attention": "every"}, "ncsnpp has no up_attention"),
    ],
)
def test_option_that_an_architecture_does_not_have_is_refused(values, why):
    with pytest.raises(ValueError, match=why):
        Backbone(**({"architecture": "ddpm"} | values))


@pytest.mark.parametrize("architecture", ["ncsnpp", "ddpm"])
def test_settings_make_the_network_that_they_name(architecture):
    settings = Backbone(
        architecture=architecture,
        width=32,
        multipliers=(1, 2),
        blocks=1,
        attention=(4,),
        recompute=True,
    )
    network = make_network(settings, 1, 2, 8)
    assert type(network) is {"ncsnpp": NCSNpp, "ddpm": DDPM}[architecture]
    assert network.recompute
    assert network(*inputs()).shape == (3, 2, 8, 8)
    assert sum(len(level.attentions) for level in network.down) == 1
