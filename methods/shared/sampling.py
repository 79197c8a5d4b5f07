"""Parameters that samplers of several methods share, each declared once.

A sampler's parameters are a dataclass that joins those it has: ``class Mine(Ending, Steps)``. An
adapter reads the ones that it acts on itself (the grid of times from ``steps`` and ``t_min``) and
passes the others to the sampler's function by keyword (:func:`options_of`).

Standard library only.
"""

from collections.abc import Callable, Mapping
from dataclasses import fields
from types import MappingProxyType
from typing import Any, Literal

from bench.card import SamplerCard, adaptive
from bench.frozen import dataclass

IN_DATA_RANGE: Mapping[str, Any] = {"unit": "data range"}
"""Metadata of a parameter in units of the data range [0, 1], which an adapter scales to its own."""

RESTORATIONS: Mapping[str, int] = MappingProxyType({"inpainting": 1, "colourisation": 1})
"""What samplers of single noisy steps sample under: what is known is put back after each."""

NO_CLASSES = "its networks are trained without classes, and there is no classifier beside them"


def restored_by(*names: str) -> dict[str, str]:
    """Returns why other samplers than these, of a method without classes, take no condition."""
    *others, last = names
    takers = f"{', '.join(others)} and {last}"
    why = f"what is known is put back with fresh noise after each step, which {takers} take"
    return {"class": NO_CLASSES, **dict.fromkeys(RESTORATIONS, why)}


@dataclass(frozen=True, kw_only=True)
class SamplerParams:
    """What the parameters of every sampler are."""

    def __post_init__(self) -> None:
        """Ends the chain of checks."""


@dataclass(frozen=True, kw_only=True)
class Steps(SamplerParams):
    """The length of a sampler of fixed steps.

    Args:
        steps: Solver steps.
    """

    steps: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 1:
            raise ValueError("steps should be at least 1")


@dataclass(frozen=True, kw_only=True)
class Ending(SamplerParams):
    """Where a sampler ends.

    Args:
        t_min: Where sampling ends; null is the paper's.
    """

    t_min: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.t_min is not None and not 0 < self.t_min < 1:
            raise ValueError("t_min should be in (0, 1), or null for the paper's")


@dataclass(frozen=True, kw_only=True)
class LastNoise(SamplerParams):
    """How a sampler that adds noise ends.

    Args:
        last_noise: Whether the last step adds noise too.
    """

    last_noise: bool = False


@dataclass(frozen=True, kw_only=True)
class Eta(SamplerParams):
    """The noise of DDIM and its kin.

    Args:
        eta: Noise of a step in units of ancestral sampling's: 0 is the flow, 1 ancestral sampling.
    """

    eta: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.eta <= 1:
            raise ValueError("eta should be in [0, 1]")


@dataclass(frozen=True, kw_only=True)
class FastSteps(Steps):
    """The length of a fast solver."""

    steps: int = 20


@dataclass(frozen=True, kw_only=True)
class Deis(FastSteps):
    """How DEIS extrapolates.

    Args:
        order: Evaluations that a step uses, its own and those of the steps before.
    """

    order: Literal[2, 3, 4] = 3


@dataclass(frozen=True, kw_only=True)
class DeisOfClean(Deis):
    """How DEIS extrapolates where the clean image is the better choice.

    Args:
        prediction: What polynomials go through: the noise, as DEIS's, or the clean image.
    """

    prediction: Literal["noise", "clean"] = "clean"


@dataclass(frozen=True, kw_only=True)
class Unipc(FastSteps):
    """How UniPC extrapolates.

    Args:
        order: Evaluations that a step uses, its own and those of the steps before; with its
            corrector the method is of one order more.
    """

    order: Literal[2, 3] = 3


@dataclass(frozen=True, kw_only=True)
class HeunEnd(SamplerParams):
    """How Heun's method ends.

    Args:
        last: Whether the last step takes its second evaluation ("heun") or not ("euler", EDM).
    """

    last: Literal["euler", "heun"] = "euler"


@dataclass(frozen=True, kw_only=True)
class Adaptive(SamplerParams):
    """How an adaptive solver chooses its steps.

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
        check_adaptive(self)


def check_adaptive(params: Any) -> None:
    """Raises a ValueError unless tolerance, solver and error_norm go together."""
    if params.tolerance <= 0:
        raise ValueError("tolerance should be positive")
    if params.solver == "scipy" and params.error_norm == "image":
        raise ValueError(
            "scipy has one step size for the whole batch: error_norm image needs solver device"
        )


def heun_evaluations(params: Any) -> int:
    """Returns the evaluations of Heun's method, two for each step but perhaps the last."""
    return 2 * params.steps - (params.last == "euler")


def adaptive_evaluations(tolerance: float) -> float:
    """Returns about how many evaluations an adaptive solver of order 5 spends, for plans.

    Its steps go as the fifth root of the tolerance; 150 at 1e-5 is what Song et al., 2021, have on
    CIFAR-10.
    """
    return 15.0 * tolerance**-0.2


def adaptive_card(params: type, function: str, **more: Any) -> SamplerCard:
    """Returns the card of a probability flow by RK45, whose parameters are :class:`Adaptive`."""
    return SamplerCard(
        **{"version": 1, "params": params, "function": function, **more},
        effort=adaptive(lambda chosen: adaptive_evaluations(chosen.tolerance)),
        batch_coupled=lambda chosen: chosen.error_norm == "batch",
    )


def options_of(params: SamplerParams, *handled: type, width: float = 1) -> dict[str, Any]:
    """Returns the keywords of a sampler's function.

    Args:
        params: All of the sampler's parameters.
        handled: Dataclasses of those that the adapter acts on itself, which are left out.
        width: Of the range of the adapter's images, by which parameters in units of the data range
            (:data:`IN_DATA_RANGE`) are multiplied.
    """
    left_out = {item.name for kind in handled for item in fields(kind)}
    options = {}
    for item in fields(params):
        value = getattr(params, item.name)
        if item.metadata == IN_DATA_RANGE and value:
            value = width * value
        if item.name not in left_out:
            options[item.name] = value
    return options


FAST_SOLVERS: Mapping[str, str] = MappingProxyType(
    {
        "deis": "the probability-flow ODE by DEIS, multistep: polynomials in t",
        "dpm_solver_2m": "the probability-flow ODE by DPM-Solver++ of order 2, multistep",
        "dpm_solver_3m": "the probability-flow ODE by DPM-Solver++ of order 3, multistep",
        "sde_dpm_solver_2m": "the reverse SDE by DPM-Solver++ of (weak) order 2, multistep",
        "unipc": "the probability-flow ODE by UniPC: a predictor, corrected without evaluations",
    }
)
"""What each solver of :mod:`methods.shared.solvers` beside DDIM does, by name."""


def fast_cards(
    card: Callable[..., SamplerCard],
    module: str,
    *,
    steps: type,
    noisy: type,
    deis: type,
    unipc: type,
) -> dict[str, SamplerCard]:
    """Returns the cards of :data:`FAST_SOLVERS`, by name.

    Args:
        card: Makes a card of a function, a summary and parameters.
        module: Of the functions, which bear the solvers' names.
        steps: Parameters of the solvers that have nothing but steps.
        noisy: Those of the solvers that add noise.
        deis: DEIS's.
        unipc: UniPC's.
    """
    params = {"sde_dpm_solver_2m": noisy, "deis": deis, "unipc": unipc}
    return {
        name: card(f"{module}:{name}", summary, params.get(name, steps))
        for name, summary in FAST_SOLVERS.items()
    }
