"""CLD's samplers as a suite asks for them: their parameters, what they cost, and what cannot be.

Standard library only.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from bench.card import SamplerCard
from methods.shared.sampling import adaptive_evaluations

TIMES = ("quadratic", "uniform", "log_snr", "rho7")


@dataclass(frozen=True, kw_only=True)
class Ending:
    """What every sampler has.

    Args:
        t_min: Where sampling ends; null is the authors', 1e-3.
        denoise: What then takes the image to t = 0: its own velocity ("drift", which asks no
            network), nothing, or the authors' noise-free Euler step ("published"), whose evaluation
            moves the velocity alone.
    """

    t_min: float | None = None
    denoise: Literal["drift", "none", "published"] = "drift"

    def __post_init__(self) -> None:
        if self.t_min is not None and not 0 < self.t_min < 1:
            raise ValueError("t_min should be in (0, 1), or null for the authors'")

    @property
    def ending_cost(self) -> int:
        """Network evaluations an image after the last step."""
        return int(self.denoise == "published")


@dataclass(frozen=True, kw_only=True)
class Steps(Ending):
    """Parameters of Euler-Maruyama, of SSCS with the midpoint rule and of Euler's method on the
    flow.

    Args:
        steps: Solver steps.
    """

    steps: int = 500

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 1:
            raise ValueError("steps should be at least 1")


@dataclass(frozen=True, kw_only=True)
class Splitting(Steps):
    """Parameters of the symmetric splitting sampler.

    Args:
        half_step: Half steps over their own halves of a step, or ("published") both with the rates
            of the first half, as the authors' code takes them.
    """

    half_step: Literal["exact", "published"] = "exact"


@dataclass(frozen=True, kw_only=True)
class Heun(Steps):
    """Parameters of Heun's method on the probability flow.

    Args:
        last: Whether the last step takes its second evaluation ("heun") or not ("euler").
    """

    last: Literal["euler", "heun"] = "euler"


@dataclass(frozen=True, kw_only=True)
class Exponential(Steps):
    """Parameters of the exponential integrator.

    Args:
        order: Evaluations that a step uses, its own and those of the steps before.
        prediction: What polynomials through them extrapolate, above order 1: the noise, or the
            clean image.
        eta: Fresh noise of a step in units of that of the state given the image and the state
            before: 0 is the probability flow, 1 the reverse SDE. Goes with order 1.
    """

    order: Literal[1, 2, 3] = 2
    prediction: Literal["noise", "clean"] = "clean"
    eta: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.eta <= 1:
            raise ValueError("eta should be in [0, 1]")
        if self.eta > 0 and self.order > 1:
            raise ValueError("eta adds noise to steps of order 1 alone: set eta 0 or order 1")


@dataclass(frozen=True, kw_only=True)
class Adaptive(Ending):
    """Parameters of the adaptive solver of the probability flow.

    Args:
        tolerance: Relative and absolute.
        solver: "scipy" keeps the solver's state on the host, "device" beside the network's.
        error_norm: Over the batch, whose images share their steps, or of each image, which then has
            steps of its own.
    """

    tolerance: float = 1e-5
    solver: Literal["scipy", "device"] = "scipy"
    error_norm: Literal["batch", "image"] = "batch"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tolerance <= 0:
            raise ValueError("tolerance should be positive")
        if self.solver == "scipy" and self.error_norm == "image":
            raise ValueError(
                "scipy has one step size for the whole batch: error_norm image needs solver device"
            )


def _card(
    summary: str, params: type, evaluations: Callable[[Any], int] = lambda params: params.steps
) -> SamplerCard:
    return SamplerCard(
        version=1,
        summary=summary,
        params=params,
        cost=lambda chosen: evaluations(chosen) + chosen.ending_cost,
        times=TIMES,
    )


SAMPLERS: Mapping[str, SamplerCard] = MappingProxyType(
    {
        "sscs": _card(
            "the reverse SDE by symmetric splitting: all but the score exactly", Splitting
        ),
        "sscs_midpoint": _card(
            "the reverse SDE by symmetric splitting, of order 2: the score by the midpoint rule",
            Steps,
            lambda params: 2 * params.steps,
        ),
        "euler_maruyama": _card("the reverse SDE by Euler-Maruyama in t", Steps),
        "flow_euler": _card("the probability-flow ODE by Euler's method in t", Steps),
        "flow_heun": _card(
            "the probability-flow ODE by Heun's method in t",
            Heun,
            lambda params: 2 * params.steps - (params.last == "euler"),
        ),
        "gddim": _card(
            "the probability flow by an exponential integrator: all but the network exactly",
            Exponential,
        ),
        "flow_adaptive": SamplerCard(
            version=1,
            summary="the probability-flow ODE by an adaptive Runge-Kutta method (RK45)",
            params=Adaptive,
            cost=None,
            guess=lambda chosen: adaptive_evaluations(chosen.tolerance),
            batch_coupled=lambda params: params.error_norm == "batch",
        ),
    }
)
