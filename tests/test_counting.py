"""What plans price networks by, counted from settings alone, against torch's own counter on the networks themselves."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from bench.card import build, cards
from methods.ncsn.counting import refinenet_cost
from methods.ncsn.refinenet import make_refinenet
from methods.ncsn.settings import RefineNet
from methods.sde.card import Classifier as ClassifierParams
from methods.sde.classifier import Classifier
from methods.shared.backbone import make_network
from methods.shared.counting import backbone_cost
from methods.shared.hyperparameters import Backbone


def counted(make, channels, size, told=torch.float32):
    """Returns FLOPs of a row and weights of a network, as torch counts them; nothing is computed."""
    with torch.device("meta"):
        network = make()
        x, condition = torch.zeros(1, channels, *size), torch.zeros(1, dtype=told)
        with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
            network(x, condition)
    return counter.get_total_flops(), sum(weight.numel() for weight in network.parameters())


def presets(method):
    """Returns the parameters of the bare method, its tiny ones and its presets, with the shape that each is for."""
    card = cards()[method]
    small = {"bare": ({}, (3, 32, 32)), "tiny": (card.tiny, (1, 8, 8))}
    named = {name: (values, card.shapes.get(name, (3, 32, 32))) for name, values in card.presets.items()}
    return {name: (build(card.params, values), shape) for name, (values, shape) in {**small, **named}.items()}


def unets():
    """Returns each U-Net or perceptron of the methods once, with channels that enter and leave, and the size."""
    found = {}
    for method in cards():
        for params, (channels, *size) in presets(method).values():
            if getattr(params, "backbone", "unet") == "unet":
                entering = 2 * channels if method == "cld" else channels
                key = (params.network, entering, channels, tuple(size))
                found.setdefault(repr(key), key)
    return list(found.values())


@pytest.mark.parametrize("what", range(len(unets())))
def test_unets_of_every_preset_cost_what_torch_counts(what):
    settings, entering, leaving, size = unets()[what]
    cost = backbone_cost(settings, entering, leaving, size)
    flops, parameters = counted(lambda: make_network(settings, entering, leaving, size[0]), entering, size)
    assert (cost.flops, cost.parameters) == (flops, parameters)


VARIANTS = [
    {"fir": True, "progressive": "residual", "progressive_input": "residual", "embedding": "fourier"},
    {"fir": True, "progressive": "output_skip", "progressive_input": "input_skip", "combine": "cat"},
    {"block": "ddpm", "progressive": "output_skip", "progressive_input": "input_skip"},
    {"block": "ddpm", "resample_with_conv": False, "fir": True},
    {"block": "ddpm", "fir": True, "conditional": False},
    {"block": "ddpm", "resample_with_conv": False, "progressive": "residual", "progressive_input": "residual"},
    {"architecture": "ddpm", "width": 32, "up_attention": "every"},
    {"architecture": "ddpm", "width": 32, "resample_with_conv": False, "conditional": False},
]


@pytest.mark.parametrize("options", VARIANTS)
def test_every_option_of_a_unet_is_counted(options):
    size = (16, 24)
    settings = Backbone(**{"width": 8, "multipliers": (1, 2, 3), "blocks": 2, "attention": (8, 4), **options})
    cost = backbone_cost(settings, 3, 5, size)
    flops, parameters = counted(lambda: make_network(settings, 3, 5, size[0]), 3, size)
    assert (cost.flops, cost.parameters) == (flops, parameters)


@pytest.mark.parametrize("architecture", ["mlp", "mlp_residual"])
def test_perceptrons_are_counted(architecture):
    settings = Backbone(architecture=architecture, width=16, blocks=3)
    cost = backbone_cost(settings, 4, 2, (1, 1))
    assert (cost.flops, cost.parameters) == counted(lambda: make_network(settings, 4, 2, 1), 4, (1, 1))
    assert cost.layers == (5 if architecture == "mlp_residual" else 4)


@pytest.mark.parametrize("variant", ["ncsn", "ncsn_deeper", "ncsnv2", "ncsnv2_deeper", "ncsnv2_deepest"])
@pytest.mark.parametrize(("width", "channels", "size"), [(4, 1, (16, 32)), (128, 3, (64, 64))])
def test_refinenets_are_counted(variant, width, channels, size):
    settings = RefineNet(variant=variant, width=width)
    cost = refinenet_cost(settings, channels, 10, size)
    assert (cost.flops, cost.parameters) == counted(
        lambda: make_refinenet(settings, channels, 10), channels, size, torch.int64
    )


def test_classifiers_are_counted():
    settings = ClassifierParams(kind="resnet", steps=10, batch=4)
    cost = settings.cost((1, 8, 8), 10)
    flops, parameters = counted(lambda: Classifier(1, 10, **settings.keywords()), 1, (8, 8))
    assert (cost.flops, cost.parameters, cost.images) == (flops, parameters, 40)


def test_cards_price_what_their_adapters_build():
    for method, card in cards().items():
        assert card.networks(build(card.params, {"exact": True}), (1, 8, 8), 10) == (), method
        for params, shape in (build(card.params, card.tiny), (1, 8, 8)), (card.params(), (3, 32, 32)):
            (cost,) = card.networks(params, shape, 10)
            assert cost.flops > 0, method
    guided = build(cards()["sde"].params, {"classifier": {"kind": "resnet"}})
    assert len(cards()["sde"].networks(guided, (3, 32, 32), 10)) == 2
