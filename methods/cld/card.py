"""What the harness must know of CLD before torch is imported.

The bare parameters are the paper's run on CIFAR-10 with the NCSN++ of every method here; a suite
overrides any of them by name. Standard library only.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from bench.card import Card, LikelihoodCard, NetworkCost
from methods.cld.presets import PRESETS, SHAPES
from methods.cld.sampling import SAMPLERS
from methods.cld.settings import CLDLikelihoodParams
from methods.shared.architecture import Backbone
from methods.shared.counting import backbone_cost
from methods.shared.hyperparameters import FITTED, Prior, Training, likelihood_evaluations
from methods.shared.mistakes import Mistakes, check_mistakes


@dataclass(frozen=True, kw_only=True)
class Params:
    """CLD's process, objective, network and training.

    Args:
        beta0: Rate of the diffusion at t = 0.
        beta1: Its slope: the rate at t = 1 is beta0 + beta1.
        mass: Variance of the velocity at t = 1; the friction follows from it, for critical damping.
        gamma: Variance of the velocity at t = 0, in units of the mass.
        numerical_eps: Added to the variances of image and velocity given the clean image, as the
            authors do for the sake of their closed forms; the ones here do not need it.
        objective: Hybrid score matching, which averages over the velocity at t = 0, or denoising
            score matching, which draws it.
        parametrisation: What the network stands for: the noise of the velocity ("noise"), or what
            is left of it beside the score of a velocity that forgot its image ("mixed").
        weighting: Of the loss over time: "std" (equally loud noise levels), "rate" (times the rate
            and the friction) or "likelihood".
        reduction: The loss of an image: the mean over dimensions, or the authors' sum.
        t_min: Least time of the loss.
        condition: What the network is told of the time: the logarithm of the noise level, or 999 t
            where its embedding is positional, as with every other method here; or what the authors
            tell theirs, log t or t.
        dequantise: Train on images with uniform noise of one level, as the likelihood sees them;
            samples are then taken back to the levels' own scale.
        prior: Where sampling starts and the likelihood ends.
        network: The score network; it sees image and velocity.
        training: Its training.
        exact: Train nothing: in place of the network stands the exact score of the mixture that the
            data set declares, or else of its training images taken as the distribution itself.
        mistakes: What is wrong with the exact score of the velocity on purpose.
    """

    beta0: float = 4.0
    beta1: float = 0.0
    mass: float = 0.25
    gamma: float = 0.04
    numerical_eps: float = 0.0
    objective: Literal["hsm", "dsm"] = "hsm"
    parametrisation: Literal["mixed", "noise"] = "mixed"
    weighting: Literal["std", "rate", "likelihood"] = "std"
    reduction: Literal["mean", "sum"] = "mean"
    t_min: float = 1e-5
    condition: Literal["noise_level", "log_time", "time"] = "noise_level"
    dequantise: bool = False
    prior: Prior = field(default_factory=Prior)
    network: Backbone = field(default_factory=Backbone)
    training: Training = field(default_factory=Training)
    exact: bool = False
    mistakes: Mistakes = field(default_factory=Mistakes)

    def __post_init__(self) -> None:
        if min(self.beta0, self.beta0 + self.beta1) < 0 or self.beta0 + self.beta1 / 2 <= 0:
            raise ValueError(
                "the rate should not fall below 0: beta0 and beta0 + beta1 at least 0, not both 0"
            )
        if self.mass <= 0:
            raise ValueError("mass should be positive")
        if self.gamma < 0 or self.numerical_eps < 0:
            raise ValueError("gamma and numerical_eps should not be negative")
        if not 0 < self.t_min < 1:
            raise ValueError("t_min should be in (0, 1)")
        if self.gamma == 0 and self.objective == "hsm":
            raise ValueError(
                "hsm averages over the velocity at t = 0, which gamma 0 leaves none: take objective dsm"
            )
        check_mistakes(self.exact, self.mistakes)
        if self.exact and self.dequantise:
            raise ValueError("exact is the score of the images as they are: leave dequantise false")


def _variant(params: Params) -> str:
    return ", ".join(
        [*([f"exact{params.mistakes.label}"] if params.exact else []), params.objective]
    )


def _refuse(params: Params, shape: tuple[int, int, int]) -> list[str]:
    return [] if params.exact else params.network.refuse(shape) + params.training.refuse()


def _networks(params: Params, shape: tuple[int, int, int], classes: int) -> tuple[NetworkCost, ...]:
    return (
        () if params.exact else (backbone_cost(params.network, 2 * shape[0], shape[0], shape[1:]),)
    )


TINY: Mapping[str, Any] = MappingProxyType(
    {
        "network": {"width": 8, "multipliers": [1, 2], "blocks": 1, "attention": [4]},
        "training": {
            "steps": 6,
            "batch": 8,
            "learning_rate": 1e-3,
            "warmup_steps": 2,
            "heldout_images": 16,
        },
    }
)

CARD = Card(
    name="cld",
    title="CLD",
    version=2,
    paper="https://arxiv.org/abs/2112.07068",
    adapter="methods.cld.adapter:CriticallyDampedLangevin",
    params=Params,
    samplers=SAMPLERS,
    variant=_variant,
    presets=PRESETS,
    shapes=SHAPES,
    checkpoints=True,
    networks=_networks,
    training=FITTED,
    likelihood=LikelihoodCard(
        version=1, params=CLDLikelihoodParams, kind="bound", guess=likelihood_evaluations
    ),
    refuse=_refuse,
    needs_levels=lambda params: params.dequantise,
    tiny=TINY,
    smoke={"training": {"steps": 3}},
)
