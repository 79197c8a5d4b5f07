"""Published weights of RefineNets lie where the authors use them: each network against the papers'
formulas, name by name, as in tests/methods/sde/test_published_order.py.
"""

import pytest
import torch
from published_tensors import ACTIVATIONS, drawn, outputs
from torch.nn import functional as F

from bench.method import Noise
from methods.ncsn.published import from_published as refinenet_from
from methods.ncsn.published import published_names
from methods.ncsn.published import to_published as refinenet_to
from methods.ncsn.refinenet import make_refinenet
from methods.ncsn.settings import RefineNet

# NCSN and NCSNv2

UP = {
    "ncsn": ("1", "2", "3", "4"),
    "ncsn_deeper": ("1", "2", "3", "4", "5"),
    "ncsnv2": ("1", "2", "3", "4"),
    "ncsnv2_deeper": ("1", "2", "3", "4", "5"),
    "ncsnv2_deepest": ("1", "2", "31", "3", "4", "5"),
}
"""The refinements in the order in which the authors use them."""

DOWN = {
    # number, whether it halves the image, dilation
    "ncsn": (("1", False, 1), ("2", True, 1), ("3", False, 2), ("4", False, 4)),
    "ncsn_deeper": (
        ("1", False, 1),
        ("2", True, 1),
        ("3", True, 1),
        ("4", False, 2),
        ("5", False, 4),
    ),
}
DOWN |= {"ncsnv2": DOWN["ncsn"], "ncsnv2_deeper": DOWN["ncsn_deeper"]}
DOWN["ncsnv2_deepest"] = (*DOWN["ncsn_deeper"][:3], ("31", True, 1), *DOWN["ncsn_deeper"][3:])


class Refine:
    """The authors' RefineNets as functions of the published tensors ``p``."""

    def __init__(self, variant, p, activation="elu"):
        self.variant, self.p, self.act = variant, p, ACTIVATIONS[activation]
        self.conditional = not variant.startswith("ncsnv2")

    def __call__(self, x, level):
        h, found = self.conv("begin_conv", x), []
        for number, pooled, dilation in DOWN[self.variant]:
            for k in range(2):
                h = self.residual(f"res{number}.{k}", h, level, pooled and k == 0, dilation)
            found.append(h)
        below = None
        for k, number in enumerate(UP[self.variant]):
            inputs = [found[-1 - k]] + ([] if below is None else [below])
            below = self.refine(f"refine{number}", inputs, level, 3 if k == len(found) - 1 else 1)
        return self.conv("end_conv", self.act(self.norm("normalizer", below, level)))

    def conv(self, name, x, dilation=1):
        weight = self.p[f"{name}.weight"]
        padding = dilation * (weight.shape[-1] // 2)
        return F.conv2d(x, weight, self.p.get(f"{name}.bias"), padding=padding, dilation=dilation)

    def norm(self, name, x, level):
        plain = self.variant == "ncsn_deeper"
        if self.conditional:
            parts = self.p[f"{name}.embed.weight"][level].chunk(2 if plain else 3, dim=1)
            gamma, alpha, beta = (parts[0], None, parts[1]) if plain else parts
        else:
            gamma, alpha, beta = (
                self.p[f"{name}.{part}"].expand(len(x), -1) for part in ("gamma", "alpha", "beta")
            )
        h = F.instance_norm(x)
        if alpha is not None:
            means = x.mean((2, 3))
            centred = means - means.mean(1, keepdim=True)
            h = h + (alpha * centred / (means.var(1, keepdim=True) + 1e-5).sqrt())[:, :, None, None]
        return gamma[:, :, None, None] * h + beta[:, :, None, None]

    def norm_in_decoder(self, name, x, level):
        return self.norm(name, x, level) if self.conditional else x

    def residual(self, name, x, level, pooled, dilation):
        h = self.conv(
            f"{name}.conv1", self.act(self.norm(f"{name}.normalize1", x, level)), dilation
        )
        part = ".conv" if pooled else ""
        h = self.conv(
            f"{name}.conv2{part}", self.act(self.norm(f"{name}.normalize2", h, level)), dilation
        )
        if f"{name}.shortcut{part}.weight" in self.p:
            x = self.conv(f"{name}.shortcut{part}", x, dilation)
        return F.avg_pool2d(h, 2) + F.avg_pool2d(x, 2) if pooled else h + x

    def units(self, name, x, level, count):
        for block in range(1, count + 1):
            h = x
            for stage in (1, 2):
                h = self.act(self.norm_in_decoder(f"{name}.{block}_{stage}_norm", h, level))
                h = self.conv(f"{name}.{block}_{stage}_conv", h)
            x = x + h
        return x

    def refine(self, name, inputs, level, count):
        inputs = [self.units(f"{name}.adapt_convs.{i}", x, level, 2) for i, x in enumerate(inputs)]
        size = inputs[0].shape[2:]
        x = inputs[0]
        if len(inputs) > 1:
            parts = [
                self.conv(
                    f"{name}.msf.convs.{i}", self.norm_in_decoder(f"{name}.msf.norms.{i}", x, level)
                )
                for i, x in enumerate(inputs)
            ]
            x = sum(
                F.interpolate(part, size=size, mode="bilinear", align_corners=True)
                for part in parts
            )
        x = path = self.act(x)
        pool = F.avg_pool2d if self.conditional else F.max_pool2d
        for k in range(2):
            path = pool(
                self.norm_in_decoder(f"{name}.crp.norms.{k}", path, level), 5, stride=1, padding=2
            )
            path = self.conv(f"{name}.crp.convs.{k}", path)
            x = x + path
        return self.units(f"{name}.output_convs", x, level, count)


LEVELS = 3


def refinenet_of(variant, activation="elu", width=4):
    network = make_refinenet(
        RefineNet(variant=variant, width=width, activation=activation), 2, LEVELS
    ).double()
    shapes = {
        name: tensor.shape for name, tensor in refinenet_to(network, network.state_dict()).items()
    }
    return network, drawn(shapes)


@pytest.mark.parametrize(
    ("variant", "activation"),
    [
        *((variant, "elu") for variant in UP),
        ("ncsnv2", "relu"),
        ("ncsnv2_deepest", "leaky_relu"),
        ("ncsnv2", "silu"),
    ],
)
def test_refinenet_uses_each_published_tensor_where_the_authors_use_it(variant, activation):
    network, p = refinenet_of(variant, activation)
    x, level = Noise(3).normal((2, 2, 16, 16)).double(), torch.tensor([0, 2])
    found = outputs(network, refinenet_from(network, p), x, level)
    torch.testing.assert_close(
        found, Refine(variant, p, activation)(x, level), rtol=1e-9, atol=1e-9
    )


@pytest.mark.parametrize("variant", UP)
def test_no_two_tensors_of_these_tests_are_equal(variant):
    _, p = refinenet_of(variant)
    assert len({tuple(tensor.flatten().tolist()) for tensor in p.values()}) == len(p)


def test_exchanged_refinements_of_equal_shape_move_the_output():
    network, p = refinenet_of("ncsnv2_deepest")
    x, level = Noise(3).normal((1, 2, 16, 16)).double(), torch.tensor([0])
    names = {
        name: name.replace("refine31.", "refine3.") for name in p if name.startswith("refine31.")
    }
    names |= {other: name for name, other in names.items()}
    assert all(p[name].shape == p[other].shape for name, other in names.items())
    exchanged = {name: p[names.get(name, name)] for name in p}
    one, other = (
        outputs(network, refinenet_from(network, tensors), x, level) for tensors in (p, exchanged)
    )
    assert (one - other).abs().max() > 0.1 * one.abs().max()


def test_deepest_network_uses_refinement_31_before_refinement_3_and_stores_it_after():
    network, p = refinenet_of("ncsnv2_deepest")
    names = published_names(network)
    for index, number in enumerate(UP["ncsnv2_deepest"]):
        assert (
            names[f"decoder.{index}.pooling.convs.0.weight"] == f"refine{number}.crp.convs.0.weight"
        )
    stored = [name.split(".")[0] for name in p if name.startswith("refine")]
    assert list(dict.fromkeys(stored)) == [
        "refine1",
        "refine2",
        "refine3",
        "refine31",
        "refine4",
        "refine5",
    ]
    assert p["refine3.crp.convs.0.weight"].shape == p["refine31.crp.convs.0.weight"].shape


def test_first_networks_know_elu_alone():
    with pytest.raises(ValueError, match="activation relu is of NCSNv2's variants: ncsn has elu"):
        RefineNet(variant="ncsn", activation="relu")
