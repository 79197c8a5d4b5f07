"""Score-SDE's samplers as a suite asks for them: their parameters, what they cost, and what they
refuse.

Standard library only.
"""

from collections.abc import Mapping
from dataclasses import field
from functools import partial
from types import MappingProxyType
from typing import Any, Literal

from bench.card import Effort, SamplerCard
from bench.frozen import dataclass
from methods.shared.sampling import (
    IN_DATA_RANGE,
    Adaptive,
    Deis,
    Ending,
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
NOISE_TIMES = ("log_snr", "rho7", "uniform", "quadratic")
CLASSES: Mapping[str, int] = MappingProxyType({"class": 2})
"""Every sampler takes the score given a class: one evaluation of the network and one of the
classifier, or two of a network that is trained on classes.
"""


@dataclass(frozen=True, kw_only=True)
class Guided(SamplerParams):
    """What every sampler has.

    Args:
        guidance: Weight of the gradient of log p(class | image) in the score if a class is given:
            the classifier's, or what the network's score with the class has more than without; of a
            network that is trained on classes, 1 is its score given the class.
    """

    guidance: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Grid(Ending, Steps, Guided):
    """Parameters of a sampler that has only a grid of times, from 1 to t_min.

    The paper's t_min is 1e-5 for VE and 1e-3 for VP and sub-VP.
    """


@dataclass(frozen=True, kw_only=True)
class Reverse(LastNoise, Grid):
    """Parameters of the samplers of the reverse SDE."""

    steps: int = 1000


@dataclass(frozen=True, kw_only=True)
class Ancestral(Reverse):
    """Parameters of ancestral sampling.

    Args:
        variance: Of an image given the next noisier one and the clean one ("posterior", the
            authors' for VE), or of the forward step ("transition", theirs for VP).
    """

    variance: Literal["posterior", "transition"] = "posterior"


@dataclass(frozen=True, kw_only=True)
class Ddim(Eta, Reverse):
    """Parameters of DDIM."""

    steps: int = 50


@dataclass(frozen=True, kw_only=True)
class PredictorCorrector(Reverse):
    """Parameters of predictor-corrector sampling.

    Args:
        predictor: Step of the reverse SDE, or none: Langevin dynamics alone.
        corrector: Langevin steps whose length follows the score's norm ("langevin") or the noise
            ("ald"), or none.
        snr: Signal-to-noise ratio of a corrector's step.
        corrector_steps: Langevin steps at each time.
        norms: In "langevin", norms of each image, which make the variance (1 + 2 / d)^2 too large
            in d dimensions, or their mean over the batch, as the authors': then an image depends
            on its batch.
        first: Whether a time is corrected before it is left (the authors' code) or once it is
            reached (the paper's algorithm 1).
        variance: Of the ancestral predictor: see :class:`Ancestral`.
        probability_flow: Half the score and no noise in the predictor.
        published: The authors' coefficients and times: a step is looked up by its index among
            linearly spaced betas (VP) or log-spaced sigmas (VE), and the last stands at t_min.
        conditioning: How given pixels or grey enter: replaced after each step, or in the authors'
            way (:class:`methods.shared.controllable.Replacement`).
    """

    predictor: Literal["euler_maruyama", "reverse_diffusion", "ancestral", "none"] = (
        "reverse_diffusion"
    )
    corrector: Literal["langevin", "ald", "none"] = "langevin"
    snr: float = 0.16
    corrector_steps: int = 1
    norms: Literal["image", "batch"] = "image"
    first: Literal["corrector", "predictor"] = "corrector"
    variance: Literal["posterior", "transition"] = "posterior"
    probability_flow: bool = False
    published: bool = False
    conditioning: Literal["replace", "published"] = "replace"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.predictor == self.corrector == "none":
            raise ValueError("predictor and corrector are both none: nothing is left to do")
        if self.probability_flow and self.predictor == "ancestral":
            raise ValueError(
                "ancestral steps have no probability flow; the sampler ddim is their noise-free "
                "form"
            )
        if self.published and self.first == "predictor":
            raise ValueError(
                "the authors correct before they predict: published goes with first: corrector"
            )
        if self.snr <= 0 or self.corrector_steps < 1:
            raise ValueError("snr should be positive, and corrector_steps at least 1")

    def refuse(self, params: Any, times: str) -> list[str]:
        """Returns why these cannot go with the parameters of a method and its times."""
        reasons = refuse_ancestral(params) if self.predictor == "ancestral" else []
        if not self.published:
            return reasons
        if times != "uniform":
            reasons.append(
                f"the authors' coefficients (published) are those of uniform times, not of {times}"
            )
        chained = self.predictor in ("reverse_diffusion", "ancestral") or self.corrector != "none"
        if params.process == "vp" and chained and self.steps <= params.beta_max:
            betas = f"the authors' betas (published) reach {params.beta_max:g} / {self.steps}"
            reasons.append(
                f"{betas}, which should be below 1: take more than {params.beta_max:g} steps"
            )
        if params.process == "subvp" and self.corrector != "none":
            reasons.append(
                "the authors' code has no corrector for sub-VP: leave published false, or "
                "corrector none"
            )
        return reasons


@dataclass(frozen=True, kw_only=True)
class Euler(Grid):
    """Parameters of Euler's method on the probability flow.

    Args:
        variable: What a step is linear in: the angle between image and noise, the noise level
            (DDIM) or the time.
        data_std: Spread of the images that "angle" assumes, in units of the data range [0, 1].
    """

    steps: int = 50
    variable: Literal["angle", "sigma", "t"] = "angle"
    data_std: float = field(default=0.5, metadata=IN_DATA_RANGE)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.data_std <= 0:
            raise ValueError("data_std should be positive")


@dataclass(frozen=True, kw_only=True)
class Heun(HeunEnd, Euler):
    """Parameters of Heun's method on the probability flow."""

    steps: int = 18


@dataclass(frozen=True, kw_only=True)
class EdmStochastic(HeunEnd, Grid):
    """Parameters of EDM's stochastic sampler, by default the authors' for VP on CIFAR-10 (table 5).

    Args:
        churn: EDM's S_churn: noise put back before each step; 0 solves the flow alone.
        churn_min: Least noise level s / m at which it is, in units of the data range [0, 1] (EDM's
            S_tmin).
        churn_max: The most (S_tmax), null for any.
        churn_noise: Its standard deviation (S_noise).
    """

    steps: int = 128
    churn: float = 30.0
    churn_min: float = field(default=0.005, metadata=IN_DATA_RANGE)
    churn_max: float | None = field(default=0.5, metadata=IN_DATA_RANGE)
    churn_noise: float = 1.007

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.churn, self.churn_min, self.churn_noise) < 0:
            raise ValueError("churn, churn_min and churn_noise should not be negative")
        if self.churn_max is not None and self.churn_max <= self.churn_min:
            raise ValueError("churn_max should exceed churn_min")


@dataclass(frozen=True, kw_only=True)
class Fast(FastSteps, Grid):
    """Parameters of the fast solvers."""


@dataclass(frozen=True, kw_only=True)
class NoisyFast(LastNoise, Fast):
    """Parameters of the fast solvers that add noise."""


@dataclass(frozen=True, kw_only=True)
class FastDeis(Deis, Fast):
    """Parameters of DEIS."""


@dataclass(frozen=True, kw_only=True)
class FastUnipc(Unipc, Fast):
    """Parameters of UniPC."""


@dataclass(frozen=True, kw_only=True)
class AdaptiveFlow(Ending, Adaptive, Guided):
    """Parameters of the adaptive solver of the probability flow.

    Args:
        last: One more evaluation at t_min, for the "mean" of the clean image given the last, or for
            the authors' "published" noise-free step of reverse diffusion.
    """

    last: Literal["none", "mean", "published"] = "none"


def refuse_ancestral(params: Any) -> list[str]:
    """Returns why the process has no ancestral steps, if so."""
    if params.process == "subvp":
        chain = "sub-VP is the limit of no discrete chain, so it has no ancestral steps"
        return [f"{chain}: take reverse_diffusion or euler_maruyama"]
    return []


def corrected_evaluations(params: PredictorCorrector) -> int:
    """Returns the evaluations of predictor and corrector.

    A predictor that goes first and ends noise-free leaves its last time uncorrected.
    """
    alone = params.predictor == "none"
    corrected = params.steps - (params.first == "predictor" and not alone and not params.last_noise)
    corrections = 0 if params.corrector == "none" else params.corrector_steps
    return params.steps * (not alone) + corrected * corrections


def _card(
    function: str, summary: str, params: type, times: tuple[str, ...] = TIMES, **more: Any
) -> SamplerCard:
    own = {"summary": summary, "params": params, "function": f"methods.shared.{function}"}
    return SamplerCard(**{"version": 1, "times": times, "conditions": CLASSES, **own, **more})


SAMPLERS: Mapping[str, SamplerCard] = MappingProxyType(
    {
        "euler_maruyama": _card(
            "samplers:euler_maruyama", "the reverse SDE by Euler-Maruyama in t", Reverse
        ),
        "reverse_diffusion": _card(
            "samplers:reverse_diffusion",
            "the reverse SDE by the discretisation that mirrors the forward one",
            Reverse,
        ),
        "ancestral": _card(
            "samplers:ancestral",
            "the reverse of each forward step as a Gaussian, as in DDPM",
            Ancestral,
            refuse=lambda params, chosen, times: refuse_ancestral(params),
        ),
        "predictor_corrector": _card(
            "controllable:restore",
            "steps of the reverse SDE with Langevin steps between them",
            PredictorCorrector,
            effort=Effort(evaluations=corrected_evaluations),
            conditions={"inpainting": 1, "colourisation": 1, **CLASSES},
            batch_coupled=lambda params: params.corrector == "langevin" and params.norms == "batch",
            refuse=lambda params, chosen, times: chosen.refuse(params, times),
        ),
        "ddim": _card(
            "isotropic:ddim",
            "DDIM: the probability-flow ODE by exponential Euler, or with noise put back",
            Ddim,
        ),
        "flow_euler": _card("flow:flow_euler", "the probability-flow ODE by Euler's method", Euler),
        "flow_heun": _card(
            "flow:flow_heun",
            "the probability-flow ODE by Heun's method",
            Heun,
            ("rho7", "log_snr", "uniform", "quadratic"),
            effort=Effort(evaluations=heun_evaluations),
        ),
        "edm_stochastic": _card(
            "flow:edm_stochastic",
            "EDM's stochastic sampler: noise put back before each step of Heun's method",
            EdmStochastic,
            ("rho7", "log_snr", "uniform", "quadratic"),
            effort=Effort(evaluations=heun_evaluations),
        ),
        **fast_cards(
            partial(_card, times=NOISE_TIMES),
            "isotropic",
            steps=Fast,
            noisy=NoisyFast,
            deis=FastDeis,
            unipc=FastUnipc,
        ),
        "flow_adaptive": adaptive_card(
            AdaptiveFlow,
            "methods.shared.adaptive:flow_adaptive",
            summary="the probability-flow ODE by an adaptive Runge-Kutta method (RK45)",
            conditions=CLASSES,
        ),
    }
)
