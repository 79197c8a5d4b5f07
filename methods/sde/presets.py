"""The authors' published configurations of Score-SDE, by the names of their configuration files.

Each preset holds the differences from :class:`methods.sde.card.Params`. Departures of the bare
parameters from the authors are taken back: sampling starts from a centred normal distribution, VP's
and sub-VP's noise is rounded as theirs, VE's loss is half the sum over dimensions, the average of
the weights has the authors' decay, and a training makes one update more than their configuration
says, as their loop does.

Source: Song et al., 2021, https://arxiv.org/abs/2011.13456 (its PyTorch configurations). The
authors' ``vp/ddpm/cifar10_unconditional`` stops with an error in their code; here it is the network
that ignores time.

Standard library only.
"""

import math
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from bench.card import Published
from bench.schema import merge

NCSNPP = {"fir": True, "progressive_input": "residual"}
FOURIER = {"embedding": "fourier"}
DDPM = {"architecture": "ddpm", "blocks": 2}
DDPM_256 = {**DDPM, "multipliers": [1, 1, 2, 2, 4, 4], "dropout": 0.0}
PYRAMID = {
    **FOURIER,
    "fir": True,
    "progressive": "output_skip",
    "progressive_input": "input_skip",
    "dropout": 0.0,
}
NCSNPP_256 = {**PYRAMID, "multipliers": [1, 1, 2, 2, 2, 2, 2], "blocks": 2}
NCSNPP_1024 = {**PYRAMID, "width": 16, "multipliers": [1, 2, 4, 8, 16, 32, 32, 32], "blocks": 1}
DEEP = {"blocks": 8}

DISCRETE: dict[str, Any] = {"time": "discrete"}
SUMMED = {"reduction": "sum"}
ROUNDED = {"published_rounding": True}
CENTRED = {"prior": {"kind": "published"}}


def _training(updates: int, decay: float, batch: int = 128, **more: Any) -> dict[str, Any]:
    """Returns the training of so many updates with an average of that decay per update."""
    half_life = batch * math.log(0.5) / math.log(decay)
    size = {} if batch == 128 else {"batch": batch}
    return {"steps": updates + 1, "ema_half_life_images": half_life, **size, **more}


def _vp(
    *network: Mapping[str, Any], process: str = "vp", updates: int = 1_300_001, **more: Any
) -> dict[str, Any]:
    model = {} if process == "vp" else {"process": process}
    return _preset(model | ROUNDED | more, network, _training(updates, 0.9999))


def _ve(
    sigma_max: float, *network: Mapping[str, Any], updates: int = 1_300_001, **more: Any
) -> dict[str, Any]:
    model = {"process": "ve", "sigma_max": sigma_max, **SUMMED}
    return _preset(model | more, network, _training(updates, 0.999))


def _ve_256(sigma_max: float) -> dict[str, Any]:
    model = {"process": "ve", "sigma_max": sigma_max, **SUMMED}
    return _preset(model, [NCSNPP_256], _training(2_400_001, 0.999, batch=64))


def _ve_1024(**more: Any) -> dict[str, Any]:
    model = {"process": "ve", "sigma_max": 1348.0}
    return _preset(model | more, [NCSNPP_1024], _training(2_400_001, 0.9999, batch=8))


def _preset(
    model: Mapping[str, Any], network: Iterable[Mapping[str, Any]], training: Mapping[str, Any]
) -> dict[str, Any]:
    layers = merge(*network)
    return {**model, **CENTRED, **({"network": layers} if layers else {}), "training": training}


DDPM_256_VP = _preset(
    {**ROUNDED, **DISCRETE}, [DDPM_256], _training(2_400_001, 0.9999, batch=64, learning_rate=2e-5)
)

PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "ve/cifar10_ncsnpp": _ve(50.0, NCSNPP, **DISCRETE),
        "ve/cifar10_ncsnpp_continuous": _ve(50.0, NCSNPP, FOURIER),
        "ve/cifar10_ncsnpp_deep_continuous": _ve(50.0, NCSNPP, FOURIER, DEEP, updates=950_001),
        "ve/cifar10_ddpm": _ve(50.0, DDPM, **DISCRETE),
        "ve/celeba_ncsnpp": _ve(90.0, NCSNPP, **DISCRETE),
        "ve/bedroom_ncsnpp_continuous": _ve_256(378.0),
        "ve/church_ncsnpp_continuous": _ve_256(380.0),
        "ve/celebahq_256_ncsnpp_continuous": _ve_256(348.0),
        "ve/ffhq_256_ncsnpp_continuous": _ve_256(348.0),
        "ve/celebahq_ncsnpp_continuous": _ve_1024(**SUMMED),
        "ve/ffhq_ncsnpp_continuous": _ve_1024(),
        "vp/cifar10_ddpmpp": _vp(**DISCRETE),
        "vp/cifar10_ddpmpp_continuous": _vp(),
        "vp/cifar10_ddpmpp_deep_continuous": _vp(DEEP, updates=950_001),
        "vp/cifar10_ncsnpp": _vp(NCSNPP, **DISCRETE),
        "vp/cifar10_ncsnpp_continuous": _vp(NCSNPP),
        "vp/cifar10_ncsnpp_deep_continuous": _vp(NCSNPP, DEEP, updates=950_001),
        "vp/ddpm/cifar10": _vp(DDPM, **DISCRETE),
        "vp/ddpm/cifar10_continuous": _vp(DDPM),
        "vp/ddpm/cifar10_unconditional": _vp(DDPM, {"conditional": False}, **DISCRETE),
        "vp/ddpm/bedroom": DDPM_256_VP,
        "vp/ddpm/church": DDPM_256_VP,
        "vp/ddpm/celebahq": DDPM_256_VP,
        "subvp/cifar10_ddpm_continuous": _vp(DDPM, process="subvp"),
        "subvp/cifar10_ddpmpp_continuous": _vp(process="subvp"),
        "subvp/cifar10_ddpmpp_deep_continuous": _vp(DEEP, process="subvp", updates=950_001),
        "subvp/cifar10_ncsnpp_continuous": _vp(NCSNPP, process="subvp"),
        "subvp/cifar10_ncsnpp_deep_continuous": _vp(NCSNPP, DEEP, process="subvp", updates=950_001),
    }
)

SIZES = {
    "ve/celeba_ncsnpp": 64,
    "ve/celebahq_ncsnpp_continuous": 1024,
    "ve/ffhq_ncsnpp_continuous": 1024,
}


def _shape(name: str) -> tuple[int, int, int]:
    size = SIZES.get(name, 32 if "cifar10" in name else 256)
    return (3, size, size)


SHAPES: Mapping[str, tuple[int, int, int]] = MappingProxyType(
    {name: _shape(name) for name in PRESETS}
)
"""Shape (C, H, W) of the images that each preset is for."""

SNR = {
    "ve/celeba_ncsnpp": 0.17,
    "ve/celebahq_ncsnpp_continuous": 0.15,
    "ve/ffhq_ncsnpp_continuous": 0.15,
    **{f"ve/{name}_ncsnpp_continuous": 0.075 for name in ("bedroom", "church")},
    **{f"ve/{name}_256_ncsnpp_continuous": 0.075 for name in ("celebahq", "ffhq")},
}
"""Signal-to-noise ratio of the corrector, where it is not CIFAR-10's 0.16."""


def _predictor(name: str) -> dict[str, Any]:
    """Returns the predictor and corrector of a preset."""
    if name.startswith("ve/"):
        corrector = {"corrector": "langevin", "snr": SNR.get(name, 0.16), "norms": "batch"}
        return {"predictor": "reverse_diffusion", **corrector}
    if name == "vp/cifar10_ncsnpp":
        return {"predictor": "reverse_diffusion", "corrector": "none"}
    if PRESETS[name].get("time") == "discrete":
        return {"predictor": "ancestral", "variance": "transition", "corrector": "none"}
    return {"predictor": "euler_maruyama", "corrector": "none"}


def _weights(name: str) -> str:
    """Returns where the authors' checkpoint comes from, by the name of its folder."""
    folder = name.replace("ddpm/cifar10", "cifar10_ddpm")
    return (
        f"the folder {folder} that https://github.com/yang-song/score_sde_pytorch links to; of two "
        "files in it the one with the smaller number is best_fid.pth here (least FID of the "
        "training), the other one, or the only one, last.pth"
    )


def _published(name: str) -> Published:
    large = name.startswith("ve/") and SHAPES[name][1] >= 256
    params = {"steps": 2000 if large else 1000, **_predictor(name), "published": True}
    return Published(
        sampler="predictor_corrector",
        params=MappingProxyType(params),
        weights=_weights(name),
    )


PUBLISHED: Mapping[str, Published] = MappingProxyType({name: _published(name) for name in PRESETS})
"""How the authors sample from each preset."""
