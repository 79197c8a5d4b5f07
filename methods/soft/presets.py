"""The paper's two models of Soft Diffusion, as far as what is known of them reaches.

Each preset holds the differences from :class:`methods.soft.card.Params`. Known: the images, a
Gaussian blur whose standard deviation grows from 0.01 to 23 of 64 pixels through 32 levels chosen
out of 256 by shortest path, little noise that stops growing after the first quarter of the time, a
residual network, its loss, and the momentum sampler (its FID on CelebA: 1.85).

Source: Daras et al., 2022, https://arxiv.org/abs/2209.05442.
Departures: no code was published, and what it does not say stands as for Score-SDE's runs on the
same images (Song et al., 2021, https://arxiv.org/abs/2011.13456): network, dropout, number of
updates, average of the weights. The noise, 0.01 to 0.1, is read off a figure; that it is in units
of images in [-1, 1], the handling of the edges, the start distribution and the widest blur of
CIFAR-10's 32 pixels, the same share of the image's width, are ours.

Standard library only.
"""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from bench.card import Published

HALF_LIFE = 128 * math.log(0.5) / math.log(0.9999)


def _preset(pixels: int) -> dict[str, Any]:
    return {
        "corruption": {"blur": {"schedule": "levels", "least": 0.01 / pixels}},
        "reduction": "sum",
        "training": {"ema_half_life_images": HALF_LIFE},
    }


PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {"celeba64": _preset(64), "cifar10": _preset(32)}
)

SHAPES: Mapping[str, tuple[int, int, int]] = MappingProxyType(
    {"celeba64": (3, 64, 64), "cifar10": (3, 32, 32)}
)
"""Shape (C, H, W) of the images that each preset is for."""

MOMENTUM = Published(sampler="momentum", params=MappingProxyType({"steps": 100}))
PUBLISHED: Mapping[str, Published] = MappingProxyType(dict.fromkeys(PRESETS, MOMENTUM))
"""The paper's sampler. It is said to need at most 100 steps on CIFAR-10; the number that belongs to
its FID on CelebA is not known to us.
"""
