"""Hyper-parameters: what no network and no training can be is refused when it is written, and
nothing else.
"""

import itertools
import re

import pytest
import torch

from methods.shared.architecture import Backbone
from methods.shared.hyperparameters import LikelihoodParams, Training
from methods.shared.ncsnpp import NCSNpp

SMALL = {"width": 8, "multipliers": (1, 2), "blocks": 1}


@pytest.mark.parametrize(
    ("kind", "values", "why"),
    [
        (
            Backbone,
            {"width": 14},
            "width 14 makes 14 channels, which 3 groups do not divide: a multiple of 32 always "
            "goes",
        ),
        (Backbone, {"width": 7}, "width should be even and at least 4"),
        (Backbone, {"dropout": 1.0}, "dropout should be in [0, 1)"),
        (Backbone, {"dropout": -0.1}, "dropout should be in [0, 1)"),
        (Backbone, {"init_scale": -1.0}, "init_scale should be at least 0"),
        (Backbone, {"fourier_scale": 0.0}, "fourier_scale should be positive"),
        (Backbone, {"blocks": 0}, "blocks should be at least 1"),
        (Training, {"steps": 0}, "steps should be positive"),
        (Training, {"batch": -1}, "batch should be positive"),
        (Training, {"warmup_steps": -1}, "warmup_steps should be at least 0"),
        (Training, {"learning_rate": 0.0}, "learning_rate should be positive"),
        (Training, {"ema_half_life_images": -1.0}, "ema_half_life_images should be at least 0"),
        (Training, {"adam_eps": 0.0}, "adam_eps should be positive"),
        (Training, {"weight_decay": -0.1}, "weight_decay should be at least 0"),
        (LikelihoodParams, {"probes": 0}, "probes should be positive"),
        (LikelihoodParams, {"tolerance": -1e-5}, "tolerance should be positive"),
    ],
)
def test_value_that_cannot_be_is_refused(kind, values, why):
    with pytest.raises(ValueError, match=f"^{re.escape(why)}$"):
        kind(**values)


WIDTHS = (6, 10, 14, 36, 40, 68, 132)
SHAPES = ((1,), (1, 2), (2, 1), (3, 1, 2))
PYRAMIDS = (("none", "sum"), ("input_skip", "cat"), ("residual", "sum"))


def test_width_is_refused_exactly_where_the_network_could_not_be_made():
    made = 0
    for width, multipliers, blocks, (inputs, combine) in itertools.product(
        WIDTHS, SHAPES, (1, 2), PYRAMIDS
    ):
        values = {"width": width, "multipliers": multipliers, "blocks": blocks, "attention": ()}
        values |= {"progressive_input": inputs, "combine": combine}
        assert _goes(lambda values=values: Backbone(**values)) == _goes(
            lambda values=values: _network(values)
        ), values
        made += _goes(lambda values=values: Backbone(**values))
    assert 0 < made < len(WIDTHS) * len(SHAPES) * 2 * len(PYRAMIDS)


def _network(values):
    with torch.device("meta"):
        return NCSNpp(1, 1, image_size=8, **values)


def _goes(make):
    try:
        make()
    except ValueError:
        return False
    return True


def test_attention_at_a_resolution_that_never_occurs_is_refused_with_those_that_do():
    network = Backbone(**SMALL, attention=(4, 5, 16))
    assert network.refuse((1, 8, 8)) == [
        "network.attention asks for a resolution of 5, 16: there are 8, 4 ([] for none)"
    ]
    assert Backbone(**SMALL, attention=(4,)).refuse((1, 8, 8)) == []
    assert Backbone(**SMALL, attention=()).refuse((1, 8, 8)) == []


def test_attention_of_the_bare_network_is_where_the_images_have_it():
    assert Backbone().refuse((1, 8, 8)) == []
    assert Backbone().refuse((3, 32, 32)) == []
