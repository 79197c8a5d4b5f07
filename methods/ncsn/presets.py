"""The authors' published configurations of NCSN and NCSNv2, by paper and data set, and how they
sample from each.

Each preset holds the differences from :class:`methods.ncsn.card.Params`. The authors' loss is half
the sum over dimensions; they neither warm up nor clip; NCSN samples from the last weights, NCSNv2
from an average that forgets 0.001 an update from the first one on. Random flips belong to the data
sets.

Source: Song & Ermon, 2019, https://arxiv.org/abs/1907.05600 (section 5, appendix A); 2020,
https://arxiv.org/abs/2006.09011 (appendix B), and their PyTorch configurations.
Departures: left out is the later repository's configuration of NCSN, that of "ncsn/cifar10" trained
for longer.

Standard library only.
"""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from bench.card import Published

NCSNV2_DECAY = 0.999


def _ncsn(width: int = 128) -> dict[str, Any]:
    network = {} if width == 128 else {"refinenet": {"width": width}}
    training = {
        "steps": 200_001,
        "learning_rate": 1e-3,
        "warmup_steps": 0,
        "clip": None,
        "ema_half_life_images": 0.0,
    }
    return {"dequantise": True, "reduction": "sum", **network, "training": training}


def _ncsnv2(
    variant: str, sigma_begin: float, levels: int, steps: int, batch: int = 128, **more: Any
) -> dict[str, Any]:
    half_life = batch * math.log(0.5) / math.log(NCSNV2_DECAY)
    size = {} if batch == 128 else {"batch": batch}
    average = {"ema_half_life_images": half_life, "ema_warmup": False}
    training = {
        "steps": steps,
        **size,
        "learning_rate": 1e-4,
        "warmup_steps": 0,
        "clip": None,
        **average,
        **more,
    }
    model = {
        "sigma_begin": sigma_begin,
        "levels": levels,
        "reduction": "sum",
        "refinenet": {"variant": variant},
    }
    return {**model, "training": training}


PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "ncsn/mnist": _ncsn(width=64),
        "ncsn/cifar10": _ncsn(),
        "ncsn/celeba": _ncsn(),
        "ncsnv2/cifar10": _ncsnv2("ncsnv2", 50.0, 232, steps=300_001),
        "ncsnv2/celeba": _ncsnv2("ncsnv2", 90.0, 500, steps=210_001),
        "ncsnv2/church_outdoor": _ncsnv2("ncsnv2_deeper", 140.0, 788, steps=200_001),
        "ncsnv2/bedroom": _ncsnv2("ncsnv2_deeper", 190.0, 1086, steps=150_001),
        "ncsnv2/tower": _ncsnv2("ncsnv2_deeper", 190.0, 1086, steps=150_001),
        "ncsnv2/ffhq": _ncsnv2(
            "ncsnv2_deepest", 348.0, 2311, steps=80_001, batch=32, adam_eps=1e-3
        ),
    }
)

SHAPES: Mapping[str, tuple[int, int, int]] = MappingProxyType(
    {
        "ncsn/mnist": (1, 28, 28),
        "ncsn/cifar10": (3, 32, 32),
        "ncsn/celeba": (3, 32, 32),
        "ncsnv2/cifar10": (3, 32, 32),
        "ncsnv2/celeba": (3, 64, 64),
        "ncsnv2/church_outdoor": (3, 64, 64),
        "ncsnv2/bedroom": (3, 128, 128),
        "ncsnv2/tower": (3, 128, 128),
        "ncsnv2/ffhq": (3, 256, 256),
    }
)
"""Shape (C, H, W) of the images that each preset is for."""

STEPS = {
    "ncsnv2/cifar10": (5, 6.2e-6),
    "ncsnv2/celeba": (5, 3.3e-6),
    "ncsnv2/church_outdoor": (4, 4.9e-6),
    "ncsnv2/bedroom": (3, 1.8e-6),
    "ncsnv2/tower": (3, 1.8e-6),
    "ncsnv2/ffhq": (3, 9e-7),
}
"""NCSNv2's steps at each level and their size; NCSN's are 100 of 2e-5 whatever the data."""


def _published(name: str) -> Published:
    levels, paper = PRESETS[name].get("levels", 10), name.partition("/")[0]
    if name in STEPS:
        each, size = STEPS[name]
        own = {"denoise": True, "returned": "last", "conditioning": "step"}
    else:
        each, size = 100, 2e-5
        own = {"denoise": False, "returned": "published", "conditioning": "level"}
    values = {"levels": levels, "steps_each": each, "step_lr": size, "start": "uniform", **own}
    return Published(
        sampler="annealed_langevin",
        params=MappingProxyType(values),
        weights=f"the checkpoint of {name} that https://github.com/ermongroup/{paper} links to",
    )


PUBLISHED: Mapping[str, Published] = MappingProxyType({name: _published(name) for name in PRESETS})
"""How the authors sample from each preset."""
