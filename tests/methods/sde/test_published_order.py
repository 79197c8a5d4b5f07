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
from published_tensors import ACTIVATIONS, drawn, outputs
from torch.nn import functional as F

from bench.method import Noise
from methods.shared.architecture import Backbone
from methods.shared.backbone import make_network
from methods.shared.published import from_published, to_published, trained_names

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
