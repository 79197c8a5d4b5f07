"""What plans price NCSN's networks by, against torch's own counter on the networks themselves."""

import pytest
import torch
from flops import counted

from methods.ncsn.counting import refinenet_cost
from methods.ncsn.refinenet import make_refinenet
from methods.ncsn.settings import RefineNet


@pytest.mark.parametrize(
    "variant", ["ncsn", "ncsn_deeper", "ncsnv2", "ncsnv2_deeper", "ncsnv2_deepest"]
)
def test_refinenets_are_counted(variant):
    settings, size = RefineNet(variant=variant, width=4), (16, 32)
    cost = refinenet_cost(settings, 3, 10, size)
    assert (cost.flops, cost.parameters) == counted(
        lambda: make_refinenet(settings, 3, 10), 3, size, torch.int64
    )
