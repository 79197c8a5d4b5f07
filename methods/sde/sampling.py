"""Score-SDE's samplers as a suite asks for them: their parameters, what they cost, and what cannot
be.

Standard library only.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from bench.card import SamplerCard
from methods.shared.sampling import adaptive_evaluations

TIMES = ("uniform", "quadratic", "log_snr", "rho7")
CLASSES: Mapping[str, int] = MappingProxyType({"class": 2})
"""Every sampler takes the score given a class: one evaluation of the network, one of the
classifier.
"""


@dataclass(frozen=True, kw_only=True)
class Guided:
    """What every sampler has.

    Args:
        guidance: Weight of the classifier's gradient in the score where a class is given.
    """

    guidance: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Steps(Guided):
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
class Ancestral(Steps):
    """Parameters of ancestral sampling.

    Args:
        variance: Of an image given the next noisier one and the clean one ("posterior", the
            authors' for VE), or of the forward step ("transition", theirs for VP).
    """

    variance: Literal["posterior", "transition"] = "posterior"


@dataclass(frozen=True, kw_only=True)
class Ddim(Steps):
    """Parameters of DDIM.

    Args:
        eta: Noise of a step in units of ancestral sampling's: 0 is the probability flow, 1
            ancestral sampling.
    """

    steps: int = 50
    eta: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.eta <= 1:
            raise ValueError("eta should be in [0, 1]")


@dataclass(frozen=True, kw_only=True)
class PredictorCorrector(Steps):
    """Parameters of predictor-corrector sampling.

    Args:
        predictor: Step of the reverse SDE, or none: Langevin dynamics alone.
        corrector: Langevin steps whose length follows the score's norm ("langevin") or the noise
            ("ald"), or none.
        snr: Signal-to-noise ratio of a corrector's step.
        corrector_steps: Langevin steps at each time.
        norms: In "langevin", norms of each image or their mean over the batch, as the authors':
            then an image depends on its batch.
        first: Whether a time is corrected before it is left (the authors' code) or once it is
            reached (the paper's algorithm 1).
        variance: Of the ancestral predictor: see :class:`Ancestral`.
        probability_flow: Half the score and no noise in the predictor.
        published: The authors' coefficients and times: a step is looked up by its index among
            linearly spaced betas (VP) or log-spaced sigmas (VE), and the last stands at t_min.
        conditioning: How pixels or grey that are given enter: replaced after each step, or in the
            authors' way (:class:`methods.shared.controllable.Replacement`).
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
                "ancestral steps have no probability flow; the sampler ddim is their noise-free form"
            )
        if self.published and self.first == "predictor":
            raise ValueError(
                "the authors correct before they predict: published goes with first: corrector"
            )
        if self.snr <= 0 or self.corrector_steps < 1:
            raise ValueError("snr should be positive, and corrector_steps at least 1")

    @property
    def cost(self) -> int:
        """Network evaluations an image."""
        alone = self.predictor == "none"
        corrected = self.steps - (self.first == "predictor" and not alone and not self.last_noise)
        return self.steps * (not alone) + corrected * self.corrector_steps * (
            self.corrector != "none"
        )

    def refuse(self, params: Any, times: str) -> list[str]:
        """Returns why these cannot be with the parameters of a method and its times."""
        reasons = []
        if self.predictor == "ancestral":
            reasons += refuse_ancestral(params)
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
                "the authors' code has no corrector for sub-VP: leave published false, or corrector none"
            )
        return reasons


@dataclass(frozen=True, kw_only=True)
class Euler(Guided):
    """Parameters of Euler's method on the probability flow.

    Args:
        steps: Solver steps.
        variable: What a step is linear in: the angle between image and noise, the noise level
            (DDIM) or the time.
        data_std: Spread of the images that "angle" assumes, in units of the data range [0, 1].
        t_min: As for the SDE's samplers.
    """

    steps: int = 50
    variable: Literal["angle", "sigma", "t"] = "angle"
    data_std: float = 0.5
    t_min: float | None = None

    def __post_init__(self) -> None:
        _check_steps(self.steps)
        _check_t_min(self.t_min)
        if self.data_std <= 0:
            raise ValueError("data_std should be positive")


@dataclass(frozen=True, kw_only=True)
class Heun(Euler):
    """Parameters of Heun's method on the probability flow.

    Args:
        last: Whether the last step takes its second evaluation ("heun") or not ("euler", EDM).
        churn: EDM's S_churn: noise put back before each step; 0 solves the flow alone.
        churn_min: Least noise level s / m at which it is, in units of the data range [0, 1] (EDM's
            S_tmin).
        churn_max: The most (S_tmax), null for any.
        churn_noise: Its standard deviation (S_noise).
    """

    steps: int = 18
    last: Literal["euler", "heun"] = "euler"
    churn: float = 0.0
    churn_min: float = 0.0
    churn_max: float | None = None
    churn_noise: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.churn, self.churn_min, self.churn_noise) < 0:
            raise ValueError("churn, churn_min and churn_noise should not be negative")
        if self.churn_max is not None and self.churn_max <= self.churn_min:
            raise ValueError("churn_max should exceed churn_min")


@dataclass(frozen=True, kw_only=True)
class Multistep(Guided):
    """Parameters of DPM-Solver++(2M).

    Args:
        steps: Solver steps.
        t_min: As for the SDE's samplers.
    """

    steps: int = 20
    t_min: float | None = None

    def __post_init__(self) -> None:
        _check_steps(self.steps)
        _check_t_min(self.t_min)


@dataclass(frozen=True, kw_only=True)
class Adaptive(Guided):
    """Parameters of the adaptive solver of the probability flow.

    Args:
        tolerance: Relative and absolute.
        t_min: As for the SDE's samplers.
        solver: "scipy" keeps the solver's state on the host, "device" beside the network's.
        error_norm: Over the batch, whose images share their steps, or of each image, which then has
            steps of its own.
        last: One more evaluation at t_min, for the "mean" of the clean image given the last, or for
            the authors' "published" noise-free step of reverse diffusion.
    """

    tolerance: float = 1e-5
    t_min: float | None = None
    solver: Literal["scipy", "device"] = "scipy"
    error_norm: Literal["batch", "image"] = "batch"
    last: Literal["none", "mean", "published"] = "none"

    def __post_init__(self) -> None:
        if self.tolerance <= 0:
            raise ValueError("tolerance should be positive")
        if self.solver == "scipy" and self.error_norm == "image":
            raise ValueError(
                "scipy has one step size for the whole batch: error_norm image needs solver device"
            )
        _check_t_min(self.t_min)


def refuse_ancestral(params: Any) -> list[str]:
    """Returns why the process has no ancestral steps, if so."""
    if params.process == "subvp":
        chain = "sub-VP is the limit of no discrete chain, so it has no ancestral steps"
        return [f"{chain}: take reverse_diffusion or euler_maruyama"]
    return []


def _check_steps(steps: int) -> None:
    if steps < 1:
        raise ValueError("steps should be at least 1")


def _check_t_min(t_min: float | None) -> None:
    if t_min is not None and not 0 < t_min < 1:
        raise ValueError("t_min should be in (0, 1), or null for the paper's")


def _one_a_step(params: Any) -> int:
    return params.steps


def _card(
    summary: str,
    params: type,
    times: tuple[str, ...],
    cost: Callable[[Any], int] = _one_a_step,
    **more: Any,
) -> SamplerCard:
    own = {"summary": summary, "params": params, "times": times, "cost": cost}
    return SamplerCard(**{"version": 1, "conditions": CLASSES, **own, **more})


SAMPLERS: Mapping[str, SamplerCard] = MappingProxyType(
    {
        "euler_maruyama": _card("the reverse SDE by Euler-Maruyama in t", Steps, TIMES),
        "reverse_diffusion": _card(
            "the reverse SDE by the discretisation that mirrors the forward one", Steps, TIMES
        ),
        "ancestral": _card(
            "the reverse of each forward step as a Gaussian, as in DDPM",
            Ancestral,
            TIMES,
            refuse=lambda params, chosen, times: refuse_ancestral(params),
        ),
        "predictor_corrector": _card(
            "steps of the reverse SDE with Langevin steps between them",
            PredictorCorrector,
            TIMES,
            cost=lambda params: params.cost,
            conditions={"inpainting": 1, "colourisation": 1, **CLASSES},
            batch_coupled=lambda params: params.corrector == "langevin" and params.norms == "batch",
            refuse=lambda params, chosen, times: chosen.refuse(params, times),
        ),
        "ddim": _card(
            "DDIM: the probability-flow ODE by exponential Euler, or with noise put back",
            Ddim,
            TIMES,
        ),
        "flow_euler": _card("the probability-flow ODE by Euler's method", Euler, TIMES),
        "flow_heun": _card(
            "the probability-flow ODE by Heun's method",
            Heun,
            ("rho7", "log_snr", "uniform", "quadratic"),
            cost=lambda params: 2 * params.steps - (params.last == "euler"),
        ),
        "dpm_solver_2m": _card(
            "the probability-flow ODE by DPM-Solver++ of order 2, multistep",
            Multistep,
            ("log_snr", "rho7", "uniform", "quadratic"),
        ),
        "flow_adaptive": SamplerCard(
            version=1,
            summary="the probability-flow ODE by an adaptive Runge-Kutta method (RK45)",
            params=Adaptive,
            cost=None,
            guess=lambda chosen: adaptive_evaluations(chosen.tolerance),
            conditions=CLASSES,
            batch_coupled=lambda params: params.error_norm == "batch",
        ),
    }
)
