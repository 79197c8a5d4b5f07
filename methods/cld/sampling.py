"""CLD's samplers as a suite asks for them: their parameters and what they cost.

Standard library only.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from bench.card import Effort, SamplerCard
from methods.shared.sampling import (
    Adaptive,
    Ending,
    Eta,
    HeunEnd,
    Steps,
    adaptive_card,
    heun_evaluations,
)

TIMES = ("quadratic", "uniform", "log_snr", "rho7")


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
class Exponential(Eta, Grid):
    """Parameters of the exponential integrator, whose noise (eta) goes with order 1.

    Args:
        order: Evaluations that a step uses, its own and those of the steps before.
        prediction: What polynomials through them extrapolate, above order 1: the noise, or the
            clean image.
    """

    order: Literal[1, 2, 3] = 2
    prediction: Literal["noise", "clean"] = "clean"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.eta > 0 and self.order > 1:
            raise ValueError("eta adds noise to steps of order 1 alone: set eta 0 or order 1")


@dataclass(frozen=True, kw_only=True)
class AdaptiveFlow(Adaptive, StateEnding):
    """Parameters of the adaptive solver of the probability flow."""


def _card(
    function: str,
    summary: str,
    params: type,
    steps: Callable[[Any], int] = lambda chosen: chosen.steps,
) -> SamplerCard:
    return SamplerCard(
        version=1,
        summary=summary,
        params=params,
        function=f"methods.cld.{function}",
        effort=Effort(evaluations=lambda chosen: steps(chosen) + (chosen.denoise == "published")),
        times=TIMES,
    )


SAMPLERS: Mapping[str, SamplerCard] = MappingProxyType(
    {
        "sscs": _card(
            "samplers:sscs",
            "the reverse SDE by symmetric splitting: all but the score exactly",
            Splitting,
        ),
        "sscs_midpoint": _card(
            "samplers:sscs_midpoint",
            "the reverse SDE by symmetric splitting, of order 2: the score by the midpoint rule",
            Grid,
            lambda chosen: 2 * chosen.steps,
        ),
        "euler_maruyama": _card(
            "samplers:euler_maruyama", "the reverse SDE by Euler-Maruyama in t", Grid
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
        "gddim": _card(
            "exponential:gddim",
            "the probability flow by an exponential integrator: all but the network exactly",
            Exponential,
        ),
        "flow_adaptive": adaptive_card(
            AdaptiveFlow,
            "methods.cld.samplers:flow_adaptive",
            summary="the probability-flow ODE by an adaptive Runge-Kutta method (RK45)",
        ),
    }
)
