"""Soft Diffusion in small on the digits, and its corruptions as the paper writes them."""

import math

import torch
from scipy.fft import dctn, idctn
from torch import nn

from bench.data.images import load_images
from bench.method import Sampler
from bench.schema import build, merge
from methods.soft.adapter import SoftDiffusion
from methods.soft.card import CARD, SAMPLERS

DIGITS = load_images("digits")
KINDS = ("blur", "mask", "blur_mask", "ve", "vp", "straight", "pixelate")


def method(kind="blur", data=DIGITS, **values):
    noise = {"ve": {"schedule": "geometric", "least": 0.05, "most": 5.0}}.get(
        kind, {"least": 0.05, "most": 0.4}
    )
    corruption = {"kind": kind, "noise": noise, "blur": {"schedule": "linear"}}
    return SoftDiffusion(
        build(CARD.params, merge(CARD.tiny, {"corruption": corruption}, values)), data
    )


def sampler(name, times=None, **values):
    card = SAMPLERS[name]
    return Sampler(name, times or (card.times[0] if card.times else ""), build(card.params, values))


def coefficients(kind, t, shape=(8, 8)):
    """Returns the factors of the image at times t (B,), in cosines for blur, and the noise, as the
    paper has them.
    """
    t = t.double().view(-1, 1, 1, 1)
    ramp = 0.05 * (0.4 / 0.05) ** (t / 0.25).clamp(max=1)
    one = torch.ones(1, 1, *shape, dtype=torch.float64)
    if kind == "blur":
        omega = math.pi * torch.arange(8, dtype=torch.float64) / 8
        return torch.exp(-0.5 * (23 / 8 * t) ** 2 * (omega[:, None] ** 2 + omega**2)), ramp
    if kind == "ve":
        return one, 0.05 * 100**t
    if kind == "vp":
        integral = 0.1 * t + 0.5 * 19.9 * t**2
        return torch.exp(-0.5 * integral) * one, (1 - torch.exp(-integral)).sqrt()
    return (1 - t) * one, t


def corrupted(kind, x, factors):
    """Returns images with their factors applied, by scipy's cosines for blur."""
    return cosines(factors * cosines(x.double()), inverse=True) if kind == "blur" else factors * x


def cosines(x, inverse=False):
    return torch.from_numpy((idctn if inverse else dctn)(x.numpy(), axes=(2, 3), norm="ortho"))


class Known(nn.Module):
    """Stands for a network that knows that pixels are independent, N(centre, spread^2) in [-1,
    1].
    """

    def __init__(self, kind, centre, spread):
        super().__init__()
        self.kind, self.centre, self.spread = kind, centre, spread

    def forward(self, x, condition):
        factors, std = coefficients(self.kind, condition / 999)
        seen, mean = x.double(), torch.full_like(x.double(), self.centre)
        if self.kind == "blur":
            seen, mean = turn(seen), turn(mean)
        gain = factors * self.spread**2 / (factors**2 * self.spread**2 + std**2)
        clean = mean + gain * (seen - factors * mean)
        return (turn(clean, back=True) if self.kind == "blur" else clean).to(x) - x


def turn(x, back=False):
    """Returns the coefficients of cosines, as products that can be differentiated."""
    k = torch.arange(8, dtype=torch.float64)
    matrix = 0.5 * torch.cos(math.pi / 8 * k[:, None] * (k + 0.5))
    matrix[0] /= math.sqrt(2)
    return matrix.T @ x @ matrix if back else matrix @ x @ matrix.T
