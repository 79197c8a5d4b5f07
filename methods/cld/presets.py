"""The authors' published configurations of CLD, by the names of their configuration files.

Each preset holds the differences from :class:`methods.cld.card.Params`. Departures of the bare
parameters from the authors are taken back: sampling starts from the limit for long times, the loss
is the sum over dimensions, the network embeds t or its logarithm, and the variances are raised by
``numerical_eps``. ``celeba_post`` is the configuration that they added after the paper; its batch
is that of the command that they give with it, 4 images on each of 16 GPUs, as for ``celeba_paper``.

The synthetic models come with either of their networks. They were trained on points in the data's
own units, which is the scale here for data of the range [-1, 1].

Departures: the authors train the image models with float16 products where ``training.precision`` is
float32 here.

Source: Dockhorn et al., 2022, https://arxiv.org/abs/2112.07068 (its configurations).

Standard library only.
"""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from bench.card import Published

NCSNPP = {"blocks": 8, "embedding": "fourier", "fir": True, "progressive_input": "residual"}
DDPMPP_256 = {"multipliers": [1, 1, 2, 2, 2, 2, 2]}
SLOW_START = {"warmup_steps": 100_000}
CELEBA = {"numerical_eps": 1e-6, "condition": "time"}
TOY = {"numerical_eps": 1e-6, "parametrisation": "noise"}


def _preset(
    model: Mapping[str, Any], network: Mapping[str, Any], decay: float, training: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns a configuration whose average of the weights has that decay per update."""
    half_life = training.get("batch", 128) * math.log(0.5) / math.log(decay)
    return {
        "reduction": "sum",
        "prior": {"kind": "published"},
        **model,
        "network": network,
        "training": {"ema_half_life_images": half_life, **training},
    }


def _toy(network: Mapping[str, Any], condition: str) -> dict[str, Any]:
    training = {"steps": 800_000, "batch": 512, "learning_rate": 1e-3, "warmup_steps": 0}
    return _preset({**TOY, "condition": condition}, network, 0.999, training)


PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "cifar10": _preset(
            {"numerical_eps": 1e-9, "condition": "log_time"},
            NCSNPP,
            0.9999,
            {"steps": 800_000, **SLOW_START},
        ),
        "celeba_paper": _preset(
            CELEBA,
            {**DDPMPP_256, "blocks": 2},
            0.9999,
            {"steps": 320_000, "batch": 64, "learning_rate": 1e-4, **SLOW_START},
        ),
        "celeba_post": _preset(
            {**CELEBA, "beta0": 0.1, "beta1": 6.9, "t_min": 1e-3},
            DDPMPP_256,
            0.9999,
            {
                "steps": 600_000,
                "batch": 64,
                "optimiser": "adamw",
                "learning_rate": 1e-4,
                "weight_decay": 1e-2,
                **SLOW_START,
            },
        ),
        "toy_mlp": _toy({"architecture": "mlp"}, "time"),
        "toy_resnet": _toy({"architecture": "mlp_residual", "width": 64, "blocks": 20}, "log_time"),
    }
)

SHAPES: Mapping[str, tuple[int, int, int]] = MappingProxyType(
    {
        "cifar10": (3, 32, 32),
        "celeba_paper": (3, 256, 256),
        "celeba_post": (3, 256, 256),
        "toy_mlp": (2, 1, 1),
        "toy_resnet": (2, 1, 1),
    }
)
"""Shape (C, H, W) of the images that each preset is for."""

FLOW = Published(
    sampler="flow_adaptive",
    params=MappingProxyType({"tolerance": 1e-5, "solver": "scipy", "denoise": "published"}),
)
PUBLISHED: Mapping[str, Published] = MappingProxyType(
    {
        **dict.fromkeys(PRESETS, FLOW),
        "cifar10": Published(
            sampler="euler_maruyama",
            params=MappingProxyType({"steps": 1999, "denoise": "published"}),
            times="quadratic",
            weights="https://github.com/nv-tlabs/CLD-SGM links to checkpoint_800000.pth",
        ),
    }
)
"""How the authors sample from each preset: the flow, as their configurations say, but on CIFAR-10
the SDE in 2,000 evaluations, the last of which denoises: their least FID.
"""
