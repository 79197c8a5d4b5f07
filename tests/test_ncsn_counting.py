"""What plans price NCSN's networks by, against torch's own counter on the networks themselves."""

import pytest
import torch
from flops import counted

from methods.ncsn.counting import refinenet_cost
from methods.ncsn.refinenet import make_refinenet
from methods.ncsn.settings import RefineNet


@pytest.mark.parametrize("variant", ["ncsn", "ncsn_deeper", "ncsnv2", "ncsnv2_deeper", "ncsnv2_deepest"])
@pytest.mark.parametrize(("width", "channels", "size"), [(4, 1, (16, 32)), (128, 3, (64, 64))])
def test_refinenets_are_counted(variant, width, channels, size):
    settings = RefineNet(variant=variant, width=width)
    cost = refinenet_cost(settings, channels, 10, size)
    assert (cost.flops, cost.parameters) == counted(
        lambda: make_refinenet(settings, channels, 10), channels, size, torch.int64
    )
