"""CLD's samplers as a suite asks for them: their parameters and what they cost.

Standard library only.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any, Literal

from bench.card import Effort, SamplerCard
from bench.frozen import dataclass
from methods.shared.sampling import (
    RESTORATIONS,
    Adaptive,
    DeisOfClean,
    Ending,
    Eta,
    FastSteps,
    HeunEnd,
    LastNoise,
    Steps,
    Unipc,
    adaptive_card,
    fast_cards,
    heun_evaluations,
)

TIMES = ("quadratic", "uniform", "log_snr", "rho7")
NOISE_TIMES = ("log_snr", "rho7", "quadratic", "uniform")
"""For polynomials in the log-SNR, which few steps quadratic in t extrapolate too far."""


@dataclass(frozen=True, kw_only=True)
class StateEnding(Ending):
    """How every sampler ends; the authors' t_min is 1e-3.

    Args:
        denoise: What then takes the image to t = 0: its own velocity ("drift", which costs no
            evaluation), nothing, or the authors' noise-free Euler step ("published"), whose
            evaluation moves the velocity alone.
    """

    denoise: Literal["drift", "none", "published"] = "drift"


@dataclass(frozen=True, kw_only=True)
class Grid(Steps, StateEnding):
    """Parameters of a sampler that has only a grid of times."""

    steps: int = 500


@dataclass(frozen=True, kw_only=True)
class Splitting(Grid):
    """Parameters of the symmetric splitting sampler.

    Args:
        half_step: Half steps over their own halves of a step, or ("published") both with the rates
            of the first half, as the authors' code takes them.
    """

    half_step: Literal["exact", "published"] = "exact"


@dataclass(frozen=True, kw_only=True)
class Heun(HeunEnd, Grid):
    """Parameters of Heun's method on the probability flow."""


@dataclass(frozen=True, kw_only=True)
class Ddim(Eta, LastNoise, Grid):
    """Parameters of DDIM."""

    steps: int = 50


@dataclass(frozen=True, kw_only=True)
class Fast(FastSteps, Grid):
    """Parameters of the fast solvers."""


@dataclass(frozen=True, kw_only=True)
class NoisyFast(LastNoise, Fast):
    """Parameters of the fast solvers that add noise."""


@dataclass(frozen=True, kw_only=True)
class FastDeis(DeisOfClean, Fast):
    """Parameters of DEIS."""

    order: Literal[2, 3, 4] = 2


@dataclass(frozen=True, kw_only=True)
class FastUnipc(Unipc, Fast):
    """Parameters of UniPC."""


@dataclass(frozen=True, kw_only=True)
class AdaptiveFlow(Adaptive, StateEnding):
    """Parameters of the adaptive solver of the probability flow."""


def _card(
    function: str,
    summary: str,
    params: type,
    steps: Callable[[Any], int] = lambda chosen: chosen.steps,
    times: tuple[str, ...] = TIMES,
    **more: Any,
) -> SamplerCard:
    return SamplerCard(
        version=1,
        summary=summary,
        params=params,
        function=f"methods.cld.{function}",
        effort=Effort(evaluations=lambda chosen: steps(chosen) + (chosen.denoise == "published")),
        times=times,
        **more,
    )


FAST = fast_cards(
    partial(_card, times=NOISE_TIMES),
    "exponential",
    steps=Fast,
    noisy=NoisyFast,
    deis=FastDeis,
    unipc=FastUnipc,
)

SAMPLERS: Mapping[str, SamplerCard] = MappingProxyType(
    {
        "sscs": _card(
            "samplers:sscs",
            "the reverse SDE by symmetric splitting: all but the score exactly",
            Splitting,
            conditions=RESTORATIONS,
        ),
        "sscs_midpoint": _card(
            "samplers:sscs_midpoint",
            "the reverse SDE by symmetric splitting, of order 2: the score by the midpoint rule",
            Grid,
            lambda chosen: 2 * chosen.steps,
            conditions=RESTORATIONS,
        ),
        "euler_maruyama": _card(
            "samplers:euler_maruyama",
            "the reverse SDE by Euler-Maruyama in t",
            Grid,
            conditions=RESTORATIONS,
        ),
        "flow_euler": _card(
            "samplers:flow_euler", "the probability-flow ODE by Euler's method in t", Grid
        ),
        "flow_heun": _card(
            "samplers:flow_heun",
            "the probability-flow ODE by Heun's method in t",
            Heun,
            heun_evaluations,
        ),
        "ddim": _card(
            "exponential:ddim",
            "gDDIM: the probability-flow ODE by exponential Euler, or with noise put back",
            Ddim,
        ),
        **FAST,
        "deis": replace(FAST["deis"], times=TIMES),
        "flow_adaptive": adaptive_card(
            AdaptiveFlow,
            "methods.cld.samplers:flow_adaptive",
            summary="the probability-flow ODE by an adaptive Runge-Kutta method (RK45)",
        ),
    }
)
