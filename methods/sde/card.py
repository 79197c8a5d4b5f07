"""What the harness must know of Score-SDE before torch is imported.

The bare parameters are the paper's continuous DDPM++ run on CIFAR-10 with the VP process; a suite overrides any of
them by name. Standard library only.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from bench.card import Card, LikelihoodCard, SamplerCard
from methods.shared.hyperparameters import Backbone, LikelihoodParams, Training


@dataclass(frozen=True, kw_only=True)
class Params:
    """Score-SDE's process, network and training.

    Args:
        process: Variance exploding, variance preserving or sub-variance preserving.
        sigma_min: Least noise of VE, in units of the data range [0, 1].
        sigma_max: Largest noise of VE; "data" is the largest distance between two training images.
        beta_min: Rate of VP and sub-VP at t = 0.
        beta_max: Rate of VP and sub-VP at t = 1.
        weighting: Of the loss over time: "std" (equally loud noise levels) or "likelihood".
        t_min: Least time of the loss.
        dequantise: Train on images with uniform noise of one level, as the likelihood sees them; samples are then
            taken back to the levels' own scale.
        network: The score network.
        training: Its training.
    """

    process: Literal["ve", "vp", "subvp"] = "vp"
    sigma_min: float = 0.01
    sigma_max: Literal["data"] | float = "data"
    beta_min: float = 0.1
    beta_max: float = 20.0
    weighting: Literal["std", "likelihood"] = "std"
    t_min: float = 1e-5
    dequantise: bool = False
    network: Backbone = field(default_factory=Backbone)
    training: Training = field(default_factory=Training)

    def __post_init__(self) -> None:
        if self.sigma_min <= 0 or (self.sigma_max != "data" and self.sigma_max <= self.sigma_min):
            raise ValueError("0 < sigma_min < sigma_max should hold")
        if not 0 <= self.beta_min < self.beta_max:
            raise ValueError("0 <= beta_min < beta_max should hold")
        if not 0 < self.t_min < 1:
            raise ValueError("t_min should be in (0, 1)")


@dataclass(frozen=True, kw_only=True)
class Steps:
    """Parameters of the samplers of the reverse SDE.

    Args:
        steps: Solver steps.
        last_noise: Whether the last step adds noise too.
        t_min: Where sampling ends; null is the paper's: 1e-5 for VE, 1e-3 for VP and sub-VP.
    """

    steps: int = 1000
    last_noise: bool = False
    t_min: float | None = None

    def __post_init__(self) -> None:
        _check_steps(self.steps)
        _check_t_min(self.t_min)


@dataclass(frozen=True, kw_only=True)
class Heun:
    """Parameters of Heun's method on the probability flow.

    Args:
        steps: Solver steps.
        variable: What a step is linear in: the angle between image and noise, the noise level (EDM) or the time.
        data_std: Spread of the images that "angle" assumes, in units of the data range [0, 1].
        last: Whether the last step takes its second evaluation ("heun") or not ("euler", EDM).
        t_min: As for the SDE's samplers.
    """

    steps: int = 18
    variable: Literal["angle", "sigma", "t"] = "angle"
    data_std: float = 0.5
    last: Literal["euler", "heun"] = "euler"
    t_min: float | None = None

    def __post_init__(self) -> None:
        _check_steps(self.steps)
        _check_t_min(self.t_min)
        if self.data_std <= 0:
            raise ValueError("data_std should be positive")


@dataclass(frozen=True, kw_only=True)
class Adaptive:
    """Parameters of the adaptive solver of the probability flow.

    Args:
        tolerance: Relative and absolute.
        t_min: As for the SDE's samplers.
    """

    tolerance: float = 1e-5
    t_min: float | None = None

    def __post_init__(self) -> None:
        if self.tolerance <= 0:
            raise ValueError("tolerance should be positive")
        _check_t_min(self.t_min)


def _check_steps(steps: int) -> None:
    if steps < 1:
        raise ValueError("steps should be at least 1")


def _check_t_min(t_min: float | None) -> None:
    if t_min is not None and not 0 < t_min < 1:
        raise ValueError("t_min should be in (0, 1), or null for the paper's")


def _refuse(params: Params, shape: tuple[int, int, int]) -> list[str]:
    return params.network.refuse(shape)


SAMPLERS: Mapping[str, SamplerCard] = MappingProxyType(
    {
        "euler_maruyama": SamplerCard(
            version=1,
            summary="the reverse SDE by Euler-Maruyama in t",
            params=Steps,
            cost=lambda params: params.steps,
            times=("uniform", "quadratic", "log_snr", "rho7"),
        ),
        "reverse_diffusion": SamplerCard(
            version=1,
            summary="the reverse SDE by the discretisation that mirrors the forward one",
            params=Steps,
            cost=lambda params: params.steps,
            times=("uniform", "quadratic", "log_snr", "rho7"),
        ),
        "flow_heun": SamplerCard(
            version=1,
            summary="the probability-flow ODE by Heun's method",
            params=Heun,
            cost=lambda params: 2 * params.steps - (params.last == "euler"),
            times=("rho7", "log_snr", "uniform", "quadratic"),
        ),
        "flow_adaptive": SamplerCard(
            version=1,
            summary="the probability-flow ODE by an adaptive Runge-Kutta method (RK45)",
            params=Adaptive,
            cost=None,
            batch_coupled=True,
        ),
    }
)

TINY: Mapping[str, Any] = MappingProxyType(
    {
        "network": {"width": 8, "multipliers": [1, 2], "blocks": 1, "attention": [4]},
        "training": {"steps": 6, "batch": 8, "learning_rate": 1e-3, "warmup_steps": 2, "heldout_images": 16},
    }
)

CARD = Card(
    name="sde",
    title="Score-SDE",
    version=1,
    paper="https://arxiv.org/abs/2011.13456",
    adapter="methods.sde.adapter:ScoreSDE",
    params=Params,
    samplers=SAMPLERS,
    variant=lambda params: params.process,
    likelihood=LikelihoodCard(version=1, params=LikelihoodParams),
    refuse=_refuse,
    tiny=TINY,
    smoke={"training": {"steps": 3}},
)
