"""What the harness must know of CLD before torch is imported.

The bare parameters are the paper's run on CIFAR-10 with the NCSN++ of every method here; a suite
overrides any of them by name. Standard library only.
"""

from dataclasses import field
from typing import Literal

from bench.card import LikelihoodCard, NetworkCost
from bench.frozen import dataclass
from methods.cld.presets import PRESETS, PUBLISHED, SHAPES
from methods.cld.sampling import SAMPLERS
from methods.cld.settings import CLDLikelihoodParams
from methods.shared.counting import backbone_cost
from methods.shared.declaration import network_card
from methods.shared.hyperparameters import ExactParams, Prior, likelihood_evaluations
from methods.shared.sampling import restored_by


@dataclass(frozen=True, kw_only=True)
class Params(ExactParams):
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
        condition: The network's time embedding input: the logarithm of the noise level, or 999 t
            if its embedding is positional, like every other method here; or the authors', log t or
            t.
        prior: Where sampling starts and the likelihood ends.
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
    prior: Prior = field(default_factory=Prior)

    def __post_init__(self) -> None:
        super().__post_init__()
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
                "hsm averages over the velocity at t = 0, which gamma 0 leaves none: take "
                "objective dsm"
            )


def _variant(params: Params) -> str:
    return ", ".join(
        [*([f"exact{params.mistakes.label}"] if params.exact else []), params.objective]
    )


def _networks(params: Params, shape: tuple[int, int, int], classes: int) -> tuple[NetworkCost, ...]:
    if params.exact:
        return ()
    return (backbone_cost(params.network, 2 * shape[0], shape[0], shape[1:]),)


CARD = network_card(
    name="cld",
    title="CLD",
    version=2,
    paper="https://arxiv.org/abs/2112.07068",
    adapter="methods.cld.adapter:CriticallyDampedLangevin",
    params=Params,
    samplers=SAMPLERS,
    no_condition=restored_by("sscs", "sscs_midpoint", "euler_maruyama"),
    variant=_variant,
    presets=PRESETS,
    shapes=SHAPES,
    published=PUBLISHED,
    checkpoints=True,
    networks=_networks,
    likelihood=LikelihoodCard(
        version=1, params=CLDLikelihoodParams, kind="bound", guess=likelihood_evaluations
    ),
)
