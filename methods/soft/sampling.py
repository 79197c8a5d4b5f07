"""Soft Diffusion's samplers as a suite asks for them: their parameters, what they cost, and what
they refuse.

Standard library only.
"""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, Literal

from bench.card import Effort, SamplerCard
from bench.frozen import dataclass
from methods.shared.sampling import (
    RESTORATIONS,
    Adaptive,
    DeisOfClean,
    Eta,
    FastSteps,
    HeunEnd,
    LastNoise,
    SamplerParams,
    Steps,
    Unipc,
    adaptive_card,
    fast_cards,
    heun_evaluations,
)

TIMES = ("uniform", "quadratic", "log_snr", "rho7")
DIAGONAL = ("blur", "mask", "ve", "vp", "straight")
"""Corruptions that are diagonal in a known basis."""


@dataclass(frozen=True, kw_only=True)
class Until(SamplerParams):
    """Where the steps end.

    Args:
        t_min: The last time.
    """

    t_min: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.t_min < 1:
            raise ValueError("t_min should be in [0, 1)")


@dataclass(frozen=True, kw_only=True)
class Final(SamplerParams):
    """How every sampler ends.

    Args:
        final: What is returned: x at the last time, or the clean image expected behind it, for one
            more evaluation.
    """

    final: Literal["none", "denoise"] = "none"


@dataclass(frozen=True, kw_only=True)
class Jumps(LastNoise, Until, Final, Steps):
    """Parameters of samplers that jump from a corruption to an earlier one."""


@dataclass(frozen=True, kw_only=True)
class Ddim(Eta, Jumps):
    """Parameters of DDIM."""


@dataclass(frozen=True, kw_only=True)
class Euler(Until, Final, Steps):
    """Parameters of Euler's method.

    Args:
        kinks: Whether times are moved onto the kinks of the corruption between them, or steps reach
            across, as they do if there are more kinks than times.
    """

    kinks: Literal["meet", "cross"] = "meet"


@dataclass(frozen=True, kw_only=True)
class Churn(LastNoise, Euler):
    """Parameters of the SDEs with the flow's marginals.

    Args:
        strength: Noise put back, in units of the SDE's whose discretisations momentum and ancestral
            are; 0 is the flow.
    """

    strength: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.strength < 0:
            raise ValueError("strength should not be negative")


@dataclass(frozen=True, kw_only=True)
class Heun(HeunEnd, Euler):
    """Parameters of Heun's method."""

    steps: int = 50


@dataclass(frozen=True, kw_only=True)
class Fast(FastSteps, Until, Final):
    """Parameters of the fast solvers."""


@dataclass(frozen=True, kw_only=True)
class NoisyFast(LastNoise, Fast):
    """Parameters of the fast solvers that add noise."""


@dataclass(frozen=True, kw_only=True)
class FastDeis(DeisOfClean, Fast):
    """Parameters of DEIS."""


@dataclass(frozen=True, kw_only=True)
class FastUnipc(Unipc, Fast):
    """Parameters of UniPC."""


@dataclass(frozen=True, kw_only=True)
class AdaptiveFlow(Final, Until, Adaptive):
    """Parameters of the adaptive solver of the flow."""


def refuse_flow(params: Any, chosen: Any, times: str) -> list[str]:
    """Returns why a model has no flow that a sampler can follow to its end, if so."""
    corruption, reasons = params.corruption, []
    if not corruption.differentiable:
        reasons.append(
            "the corruption switches at once, so there is no flow: take momentum, ancestral, ddim "
            "or naive"
        )
    to_the_end = isinstance(chosen, AdaptiveFlow) or (
        isinstance(chosen, Heun) and chosen.last == "heun"
    )
    if to_the_end and not corruption.noisy_at_0 and chosen.t_min == 0:
        reasons.append(
            f"{corruption.kind} has no noise at t = 0, where the flow divides by it: give t_min, "
            "1e-3 say"
        )
    return reasons


def refuse_fast(params: Any, chosen: Any, times: str) -> list[str]:
    """Returns why the exponential integrator cannot undo a model's corruption, if so."""
    corruption = params.corruption
    if corruption.kind not in DIAGONAL:
        return [
            f"{corruption.kind} is not known to be diagonal in one basis, which exponential "
            f"integrators need ({', '.join(DIAGONAL)} are): take ddim or flow_heun"
        ]
    if not corruption.differentiable:
        return ["the corruption switches at once, where polynomials say nothing: take ddim"]
    if getattr(chosen, "prediction", "clean") == "noise" and corruption.kind in ("blur", "mask"):
        return [
            f"{corruption.kind} wipes out what polynomials through the noise take back: set "
            "prediction clean"
        ]
    return []


def refuse_times(params: Any, chosen: Any, times: str) -> list[str]:
    """Returns why a model's corruption has no finite log-SNR from t = 1 to a sampler's end, if
    so.
    """
    corruption = params.corruption
    if times not in ("log_snr", "rho7"):
        return []
    if corruption.kind not in DIAGONAL or not corruption.differentiable:
        return [f"{corruption.kind} has no log-SNR that {times} could follow: take uniform"]
    if corruption.kind == "straight" or (corruption.kind == "mask" and corruption.mask.floor == 0):
        return [
            f"{corruption.kind} leaves nothing of the image at t = 1, where the log-SNR that "
            f"{times} follows is infinite: take uniform"
        ]
    if not corruption.noisy_at_0 and chosen.t_min == 0:
        return [
            f"{corruption.kind} has no noise at t = 0, where the log-SNR that {times} follows is "
            "infinite: give t_min, 1e-3 say"
        ]
    return []


def _card(
    function: str,
    summary: str,
    params: type,
    steps: Any = lambda chosen: chosen.steps,
    refuse: Callable[[Any, Any, str], list[str]] = lambda params, chosen, times: [],
    **more: Any,
) -> SamplerCard:
    def reasons(params: Any, chosen: Any, times: str) -> list[str]:
        return [*refuse_times(params, chosen, times), *refuse(params, chosen, times)]

    return SamplerCard(
        version=1,
        summary=summary,
        params=params,
        function=f"methods.soft.{function}",
        effort=Effort(evaluations=lambda chosen: steps(chosen) + (chosen.final == "denoise")),
        times=TIMES,
        refuse=reasons,
        **more,
    )


SAMPLERS: Mapping[str, SamplerCard] = MappingProxyType(
    {
        "momentum": _card(
            "samplers:momentum",
            "what the step takes back of the corruption, and a denoising step (algorithm 2)",
            Jumps,
            conditions=RESTORATIONS,
        ),
        "naive": _card(
            "samplers:naive",
            "each clean prediction corrupted anew (algorithm 1); it does not converge",
            Jumps,
            conditions=RESTORATIONS,
        ),
        "ancestral": _card(
            "samplers:ancestral",
            "momentum with as much noise as makes the variance right",
            Jumps,
            conditions=RESTORATIONS,
        ),
        "ddim": _card(
            "samplers:ddim", "the flow by exponential Euler, or with noise put back", Ddim
        ),
        **fast_cards(
            partial(_card, refuse=refuse_fast),
            "exponential",
            steps=Fast,
            noisy=NoisyFast,
            deis=FastDeis,
            unipc=FastUnipc,
        ),
        "churn": _card(
            "flow:churn",
            "the flow with noise put back, by Euler-Maruyama in t",
            Churn,
            refuse=refuse_flow,
        ),
        "flow_euler": _card(
            "flow:flow_euler", "the flow by Euler's method in t", Euler, refuse=refuse_flow
        ),
        "flow_heun": _card(
            "flow:flow_heun",
            "the flow by Heun's method in t",
            Heun,
            heun_evaluations,
            refuse=refuse_flow,
        ),
        "flow_adaptive": adaptive_card(
            AdaptiveFlow,
            "methods.soft.flow:flow_adaptive",
            summary="the flow by an adaptive Runge-Kutta method (RK45)",
            refuse=refuse_flow,
        ),
    }
)
