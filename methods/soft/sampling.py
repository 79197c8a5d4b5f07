"""Soft Diffusion's samplers as a suite asks for them: their parameters, what they cost, and what
cannot be.

Standard library only.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from bench.card import SamplerCard
from methods.shared.sampling import adaptive_evaluations

TIMES = ("uniform", "quadratic")


@dataclass(frozen=True, kw_only=True)
class Steps:
    """What every sampler of fixed steps has.

    Args:
        steps: Solver steps.
        final: What is returned: x at the last time, or the clean image expected behind it, for one
            more evaluation.
        t_min: Where the steps end.
    """

    steps: int = 100
    final: Literal["none", "denoise"] = "none"
    t_min: float = 0.0

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError("steps should be at least 1")
        _check_t_min(self.t_min)

    @property
    def cost(self) -> int:
        """Network evaluations an image."""
        return self.steps + (self.final == "denoise")


@dataclass(frozen=True, kw_only=True)
class Jumps(Steps):
    """Parameters of samplers that jump from a corruption to an earlier one.

    Args:
        last_noise: Whether the last step adds noise too.
    """

    last_noise: bool = False


@dataclass(frozen=True, kw_only=True)
class Ddim(Jumps):
    """Parameters of DDIM.

    Args:
        eta: Noise of a step in units of ancestral sampling's: 0 is the flow, 1 ancestral sampling.
    """

    eta: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.eta <= 1:
            raise ValueError("eta should be in [0, 1]")


@dataclass(frozen=True, kw_only=True)
class Euler(Steps):
    """Parameters of Euler's method.

    Args:
        kinks: Whether times are moved onto the kinks of the corruption between them, or steps reach
            across, as they do where there are more kinks than times.
    """

    kinks: Literal["meet", "cross"] = "meet"


@dataclass(frozen=True, kw_only=True)
class Churn(Euler):
    """Parameters of the SDEs with the flow's marginals.

    Args:
        strength: Noise put back, in units of the SDE's whose discretisations momentum and ancestral
            are; 0 is the flow.
        last_noise: Whether the last step adds noise too.
    """

    strength: float = 1.0
    last_noise: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.strength < 0:
            raise ValueError("strength should not be negative")


@dataclass(frozen=True, kw_only=True)
class Heun(Steps):
    """Parameters of Heun's method.

    Args:
        steps: Solver steps.
        last: Whether the last step takes its second evaluation ("heun") or not ("euler").
        kinks: As for Euler's.
    """

    steps: int = 50
    last: Literal["euler", "heun"] = "euler"
    kinks: Literal["meet", "cross"] = "meet"

    @property
    def cost(self) -> int:
        """Network evaluations an image."""
        return 2 * self.steps - (self.last == "euler") + (self.final == "denoise")


@dataclass(frozen=True, kw_only=True)
class Adaptive:
    """Parameters of the adaptive solver of the flow.

    Args:
        tolerance: Relative and absolute.
        t_min: Where it ends.
        solver: "scipy" keeps the solver's state on the host, "device" beside the network's.
        error_norm: Over the batch, whose images share their steps, or of each image, which then has
            steps of its own.
        final: As for the samplers of fixed steps.
    """

    tolerance: float = 1e-5
    t_min: float = 0.0
    solver: Literal["scipy", "device"] = "scipy"
    error_norm: Literal["batch", "image"] = "batch"
    final: Literal["none", "denoise"] = "none"

    def __post_init__(self) -> None:
        if self.tolerance <= 0:
            raise ValueError("tolerance should be positive")
        if self.solver == "scipy" and self.error_norm == "image":
            raise ValueError(
                "scipy has one step size for the whole batch: error_norm image needs solver device"
            )
        _check_t_min(self.t_min)


def refuse_flow(params: Any, chosen: Any, times: str) -> list[str]:
    """Returns why a model has no flow that a sampler can follow to its end, if so."""
    corruption, reasons = params.corruption, []
    if not corruption.differentiable:
        reasons.append(
            "the corruption switches at once, so there is no flow: take momentum, ancestral, ddim or naive"
        )
    looks_at_end = isinstance(chosen, Adaptive) or getattr(chosen, "last", None) == "heun"
    if looks_at_end and not corruption.noisy_at_0 and chosen.t_min == 0:
        reasons.append(
            f"{corruption.kind} has no noise at t = 0, where the flow divides by it: give t_min, 1e-3 say"
        )
    return reasons


def _check_t_min(t_min: float) -> None:
    if not 0 <= t_min < 1:
        raise ValueError("t_min should be in [0, 1)")


def _card(summary: str, params: type, **more: Any) -> SamplerCard:
    own = {"summary": summary, "params": params, "times": TIMES, "cost": lambda chosen: chosen.cost}
    return SamplerCard(**{"version": 1, **own, **more})


SAMPLERS: Mapping[str, SamplerCard] = MappingProxyType(
    {
        "momentum": _card(
            "what the step takes back of the corruption, and a denoising step (algorithm 2)", Jumps
        ),
        "naive": _card(
            "each clean prediction corrupted anew (algorithm 1); it does not converge", Jumps
        ),
        "ancestral": _card("momentum with as much noise as makes the variance right", Jumps),
        "ddim": _card("the flow by exponential Euler, or with noise put back", Ddim),
        "churn": _card(
            "the flow with noise put back, by Euler-Maruyama in t", Churn, refuse=refuse_flow
        ),
        "flow_euler": _card("the flow by Euler's method in t", Euler, refuse=refuse_flow),
        "flow_heun": _card("the flow by Heun's method in t", Heun, refuse=refuse_flow),
        "flow_adaptive": SamplerCard(
            version=1,
            summary="the flow by an adaptive Runge-Kutta method (RK45)",
            params=Adaptive,
            cost=None,
            guess=lambda chosen: adaptive_evaluations(chosen.tolerance),
            batch_coupled=lambda params: params.error_norm == "batch",
            refuse=refuse_flow,
        ),
    }
)
