"""What plans price networks by, counted from settings alone, against torch's own counter on the
networks themselves.
"""

from dataclasses import replace

import pytest
import torch
from flops import counted
from torch.utils.flop_counter import FlopCounterMode

from bench.card import cards
from bench.data.images import load_images
from bench.method import load_method
from bench.metrics.extractor_cards import extractor_card
from bench.metrics.extractors import load_extractor
from bench.schema import build
from methods.shared.architecture import Backbone
from methods.shared.backbone import make_network
from methods.shared.counting import backbone_cost


def presets(method):
    """Returns the parameters of the bare method, its tiny ones and its presets, with the shape that
    each is for.
    """
    card = cards()[method]
    small = {"bare": ({}, (3, 32, 32)), "tiny": (card.tiny, (1, 8, 8))}
    named = {
        name: (values, card.shapes.get(name, (3, 32, 32))) for name, values in card.presets.items()
    }
    return {
        name: (build(card.params, values), shape)
        for name, (values, shape) in {**small, **named}.items()
    }


def unets():
    """Returns each U-Net or perceptron once, of two blocks at most: settings, channels in and out,
    size.
    """
    found = {}
    for method in cards():
        for params, (channels, *size) in presets(method).values():
            if getattr(params, "backbone", "unet") == "unet":
                entering = 2 * channels if method == "cld" else channels
                network = replace(params.network, blocks=min(params.network.blocks, 2))
                key = (network, entering, channels, tuple(size))
                found.setdefault(repr(key), key)
    return list(found.values())


@pytest.mark.parametrize("what", range(len(unets())))
def test_unets_of_every_preset_cost_what_torch_counts(what):
    settings, entering, leaving, size = unets()[what]
    cost = backbone_cost(settings, entering, leaving, size)
    flops, parameters = counted(
        lambda: make_network(settings, entering, leaving, size[0]), entering, size
    )
    assert (cost.flops, cost.parameters) == (flops, parameters)


VARIANTS = [
    {
        "fir": True,
        "progressive": "residual",
        "progressive_input": "residual",
        "embedding": "fourier",
    },
    {
        "fir": True,
        "progressive": "output_skip",
        "progressive_input": "input_skip",
        "combine": "cat",
    },
    {"block": "ddpm", "progressive": "output_skip", "progressive_input": "input_skip"},
    {"block": "ddpm", "resample_with_conv": False, "fir": True},
    {"block": "ddpm", "fir": True, "conditional": False},
    {
        "block": "ddpm",
        "resample_with_conv": False,
        "progressive": "residual",
        "progressive_input": "residual",
    },
    {"architecture": "ddpm", "width": 32, "up_attention": "every"},
    {"architecture": "ddpm", "width": 32, "resample_with_conv": False, "conditional": False},
]


@pytest.mark.parametrize("options", VARIANTS)
def test_every_option_of_a_unet_is_counted(options):
    size = (16, 24)
    settings = Backbone(
        **{"width": 8, "multipliers": (1, 2, 3), "blocks": 2, "attention": (8, 4), **options}
    )
    cost = backbone_cost(settings, 3, 5, size)
    flops, parameters = counted(lambda: make_network(settings, 3, 5, size[0]), 3, size)
    assert (cost.flops, cost.parameters) == (flops, parameters)


def test_an_input_of_classes_is_counted():
    settings = Backbone(width=8, multipliers=(1, 2), blocks=1, attention=())
    cost = backbone_cost(settings, 1, 1, (8, 8), 10)
    assert (cost.flops, cost.parameters) == counted(
        lambda: make_network(settings, 1, 1, 8, 10), 1, (8, 8)
    )


@pytest.mark.parametrize("architecture", ["mlp", "mlp_residual"])
def test_perceptrons_are_counted(architecture):
    settings = Backbone(architecture=architecture, width=16, blocks=3)
    cost = backbone_cost(settings, 4, 2, (1, 1))
    assert (cost.flops, cost.parameters) == counted(
        lambda: make_network(settings, 4, 2, 1), 4, (1, 1)
    )
    assert cost.layers == (5 if architecture == "mlp_residual" else 4)


@pytest.mark.parametrize("method", list(cards()))
def test_cards_price_what_their_adapters_build(method):
    card, data = cards()[method], load_images("digits")
    assert card.networks(build(card.params, {"exact": True}), (1, 8, 8), 10) == ()
    (cost,) = card.networks(build(card.params, card.tiny), data.shape, 10)
    (network, *_) = load_method(method, card.tiny, data, torch.device("cpu")).networks
    assert cost.parameters == sum(weight.numel() for weight in network.parameters())


def test_extractors_cost_about_what_their_cards_say():
    data = load_images("digits")
    with FlopCounterMode(display=False) as counter:
        load_extractor("digits-cnn", "cpu", data)(data.train[:2])
    assert extractor_card("digits-cnn").flops == pytest.approx(
        counter.get_total_flops() / 2, rel=0.1
    )
