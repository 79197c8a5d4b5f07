"""Published weights lie where the authors use them: each network against the papers' formulas, name
by name.

Many layers have equal shapes, so that two of them could be swapped on loading and nothing would
complain. Here every published tensor gets numbers of its own, and the network that is filled with
them is compared with plain functions of the published names, written down from the authors'
description: which layer is used where is stated once more here.
"""

import math

import pytest
import torch
from torch.nn import functional as F

from bench.method import Noise
from methods.ncsn.published import from_published as refinenet_from
from methods.ncsn.published import published_names
from methods.ncsn.published import to_published as refinenet_to
from methods.ncsn.refinenet import make_refinenet
from methods.ncsn.settings import RefineNet
from methods.shared.architecture import Backbone
from methods.shared.backbone import make_network
from methods.shared.published import from_published, to_published, trained_names

ACTIVATIONS = {
    "silu": F.silu,
    "elu": F.elu,
    "relu": F.relu,
    "leaky_relu": lambda x: torch.where(x > 0, x, 0.2 * x),
}


def drawn(shapes):
    """Returns weights that differ everywhere, about 1 for scales, of the size that keeps
    activations in order.
    """
    found = {}
    for name, shape in shapes.items():
        z = Noise(7).child(name).normal(shape).double()
        scale = name.endswith(
            ("GroupNorm_0.weight", "GroupNorm_1.weight", "gamma", "alpha", "embed.weight")
        )
        fan = shape[0] if name.endswith(".W") and len(shape) == 2 else math.prod(shape[1:]) or 1
        found[name] = (
            1 + 0.3 * z if scale else 1.5 * z / math.sqrt(fan) if len(shape) > 1 else 0.3 * z
        )
    return found


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


def outputs(network, state, *inputs):
    network.load_state_dict(state)
    with torch.no_grad():
        return network(*inputs)


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


# NCSN++, DDPM++ and DDPM


class UNet:
    """The authors' NCSN++, DDPM++ and DDPM as functions of the published tensors ``p``, numbered as
    they are used.
    """

    def __init__(self, settings, p, size):
        self.settings, self.p, self.size = settings, p, size
        self.act = ACTIVATIONS[settings.activation]
        self.ddpm = settings.architecture == "ddpm"
        self.rescale = math.sqrt(0.5) if settings.skip_rescale and not self.ddpm else 1.0
        self.fir = settings.fir and not self.ddpm
        self.biggan = settings.block == "biggan" and not self.ddpm
        self.number = -1

    def take(self):
        self.number += 1
        return f"all_modules.{self.number}"

    def __call__(self, x, condition):
        s, fourier = self.settings, self.settings.embedding == "fourier"
        if fourier:
            phase = condition[:, None] * self.p[f"{self.take()}.W"] * 2 * math.pi
            embedded = torch.cat([phase.sin(), phase.cos()], 1)
        else:
            half = s.width // 2
            phase = condition[:, None] * torch.exp(
                -math.log(10000) / (half - 1) * torch.arange(half).double()
            )
            embedded = torch.cat([phase.sin(), phase.cos()], 1)
        temb = None
        if s.conditional:
            temb = self.act(self.dense(self.take(), embedded))
            temb = self.dense(self.take(), temb)
        pyramid, h, size = x, self.conv(self.take(), x), self.size
        skips = [h]
        for i in range(len(s.multipliers)):
            for _ in range(s.blocks):
                h = self.block(h, temb)
                h = self.attention(h) if size in s.attention else h
                skips.append(h)
            if i == len(s.multipliers) - 1:
                continue
            h, size = self.resample(h, temb, "down"), size // 2
            if s.progressive_input == "input_skip":
                pyramid = self.down(pyramid)
                joined = self.conv(f"{self.take()}.Conv_0", pyramid)
                h = joined + h if s.combine == "sum" else torch.cat([joined, h], 1)
            elif s.progressive_input == "residual":
                pyramid = h = (self.conv_down(self.take(), pyramid) + h) * self.rescale
            skips.append(h)
        h = self.block(self.attention(self.block(h, temb)), temb)
        out = None
        for i in reversed(range(len(s.multipliers))):
            for _ in range(s.blocks + 1):
                h = self.block(torch.cat([h, skips.pop()], 1), temb)
            h = self.attention(h) if size in s.attention else h
            if s.progressive == "output_skip":
                rise = self.act(self.norm(self.take(), h))
                rise = self.conv(self.take(), rise)
                out = rise if out is None else self.up(out) + rise
            if i > 0:
                h, size = self.resample(h, temb, "up"), size * 2
        if s.progressive == "output_skip":
            return out
        h = self.act(self.norm(self.take(), h))
        return self.conv(self.take(), h)

    def conv(self, name, x, **options):
        weight = self.p[f"{name}.weight"]
        options = options or {"padding": weight.shape[-1] // 2}
        return F.conv2d(x, weight, self.p[f"{name}.bias"], **options)

    def dense(self, name, x):
        return F.linear(x, self.p[f"{name}.weight"], self.p[f"{name}.bias"])

    def nin(self, name, x):
        y = torch.einsum("bchw,cd->bdhw", x, self.p[f"{name}.W"])
        return y + self.p[f"{name}.b"][:, None, None]

    def norm(self, name, x):
        groups = 32 if self.ddpm else min(x.shape[1] // 4, 32)
        return F.group_norm(x, groups, self.p[f"{name}.weight"], self.p[f"{name}.bias"], eps=1e-6)

    def block(self, x, temb, resample=lambda x: x, *, resized=False):
        name = self.take()
        h = resample(self.act(self.norm(f"{name}.GroupNorm_0", x)))
        x = resample(x)
        h = self.conv(f"{name}.Conv_0", h)
        if temb is not None:
            h = h + self.dense(f"{name}.Dense_0", self.act(temb))[:, :, None, None]
        h = self.conv(f"{name}.Conv_1", self.act(self.norm(f"{name}.GroupNorm_1", h)))
        if x.shape[1] != h.shape[1] or resized:
            x = self.conv(f"{name}.Conv_2", x) if self.biggan else self.nin(f"{name}.NIN_0", x)
        return (x + h) * self.rescale

    def attention(self, x):
        name, (batch, channels, height, width) = self.take(), x.shape
        h = self.norm(f"{name}.GroupNorm_0", x)
        q, k, v = (self.nin(f"{name}.NIN_{i}", h).flatten(2) for i in range(3))
        share = torch.softmax(torch.einsum("bcq,bck->bqk", q, k) / math.sqrt(channels), -1)
        h = torch.einsum("bqk,bck->bcq", share, v).view(batch, channels, height, width)
        return (x + self.nin(f"{name}.NIN_3", h)) * self.rescale

    def resample(self, h, temb, direction):
        move = self.down if direction == "down" else self.up
        if self.biggan:
            return self.block(h, temb, move, resized=True)
        name = self.take()
        if not self.settings.resample_with_conv:
            return move(h)
        if direction == "down":
            return self.conv(f"{name}.Conv_0", F.pad(h, (0, 1, 0, 1)), stride=2)
        return self.conv(f"{name}.Conv_0", move(h))

    def filtered(self, x, gain, pad):
        line = torch.tensor([1.0, 3.0, 3.0, 1.0]).double() / 8
        kernel = gain * torch.outer(line, line).expand(x.shape[1], 1, 4, 4)
        return F.conv2d(F.pad(x, pad), kernel, groups=x.shape[1])

    def down(self, x):
        if not self.fir:
            return F.avg_pool2d(x, 2)
        return self.filtered(x, 1.0, (1, 1, 1, 1))[..., ::2, ::2]

    def up(self, x):
        if not self.fir:
            return x.repeat_interleave(2, 2).repeat_interleave(2, 3)
        spread = torch.zeros(*x.shape[:2], 2 * x.shape[2], 2 * x.shape[3]).double()
        spread[..., ::2, ::2] = x
        return self.filtered(spread, 4.0, (2, 1, 2, 1))

    def conv_down(self, name, x):
        if not self.fir:
            return self.conv(f"{name}.Conv_0", F.pad(x, (0, 1, 0, 1)), stride=2)
        return self.conv(f"{name}.Conv2d_0", self.filtered(x, 1.0, (2, 2, 2, 2)), stride=2)


SMALL = {"width": 8, "multipliers": (1, 2), "blocks": 1, "attention": (4,)}
NCSNPP = {**SMALL, "fir": True, "progressive_input": "residual"}
UNETS = {
    "ncsnpp": {**NCSNPP, "embedding": "fourier"},
    "ncsnpp, discrete": NCSNPP,
    "ncsnpp of 256 pixels": {
        **SMALL,
        **{
            "embedding": "fourier",
            "fir": True,
            "progressive": "output_skip",
            "progressive_input": "input_skip",
        },
    },
    "ncsnpp, side by side": {
        **SMALL,
        "fir": True,
        "progressive_input": "input_skip",
        "combine": "cat",
    },
    "ncsnpp, deeper": {**NCSNPP, "multipliers": (1, 1, 2), "blocks": 2, "attention": (4, 8)},
    "ncsnpp, not rescaled": {**NCSNPP, "skip_rescale": False},
    "ncsnpp, relu": {**NCSNPP, "embedding": "fourier", "activation": "relu"},
    "ncsnpp, elu": {**NCSNPP, "activation": "elu"},
    "ncsnpp, leaky": {**NCSNPP, "activation": "leaky_relu"},
    "ncsnpp, unconditional": {**NCSNPP, "embedding": "fourier", "conditional": False},
    "ddpmpp": SMALL,
    "ddpmpp, unconditional": {**SMALL, "conditional": False},
    "ddpmpp, layers of their own": {**SMALL, "block": "ddpm"},
    "ddpmpp, without convolutions": {**SMALL, "block": "ddpm", "resample_with_conv": False},
    "ddpm": {**SMALL, "architecture": "ddpm", "width": 32},
    "ddpm, without convolutions": {
        **SMALL,
        "architecture": "ddpm",
        "width": 32,
        "resample_with_conv": False,
    },
}


def unet_of(values, channels=(2, 1), size=8):
    """CLD's network is an NCSN++ of twice as many channels at its input."""
    settings = Backbone(**{"dropout": 0.0, **values})
    network = make_network(settings, *channels, size).double().eval()
    shapes = {
        name: tensor.shape for name, tensor in to_published(network, network.state_dict()).items()
    }
    return settings, network, drawn(shapes)


@pytest.mark.parametrize("values", UNETS.values(), ids=UNETS)
def test_unet_uses_each_published_tensor_where_the_authors_use_it(values):
    settings, network, p = unet_of(values)
    x, condition = Noise(3).normal((2, 2, 8, 8)).double(), torch.tensor([0.3, 1.7]).double()
    found = outputs(network, from_published(network, p), x, condition)
    # The sinusoids' rates are float32.
    torch.testing.assert_close(found, UNet(settings, p, 8)(x, condition), rtol=1e-6, atol=1e-6)


def test_unconditional_network_takes_what_it_does_not_use_and_the_average_of_it():
    _, network, p = unet_of(UNETS["ncsnpp, unconditional"])
    names = trained_names(network)
    assert list(p)[:2] == ["all_modules.0.W", "all_modules.1.weight"]
    assert "all_modules.0.W" not in names
    assert (
        {name for name in p if "Dense_0" in name}
        == {name for name in names if "Dense_0" in name}
        != set()
    )
    assert not any("dense" in name or "frequencies" in name for name in network.state_dict())
    x = Noise(3).normal((1, 2, 8, 8)).double()
    one, other = (
        outputs(network, from_published(network, p), x, torch.tensor([t]).double())
        for t in (0.1, 0.9)
    )
    assert torch.equal(one, other)
