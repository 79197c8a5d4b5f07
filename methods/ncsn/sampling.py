"""NCSN's samplers as a suite asks for them: their parameters, what they cost, and what cannot be.

Standard library only.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

from bench.card import Effort, SamplerCard
from bench.frozen import dataclass
from methods.shared.sampling import SamplerParams, Steps


@dataclass(frozen=True, kw_only=True)
class Chain(SamplerParams):
    """What both samplers have.

    Where the chain starts hardly matters, unlike for a flow: steps at the largest noise level,
    which every mode of the data shares, let it forget. With the exact score of ``gaussian_mixture``
    and 200 evaluations (40 levels, 5 steps at each) exact_fd is 0.0583 from either start, and from
    the Gaussian that has the noisy images' moments; with 40 evaluations it is 0.551, 0.552 and
    0.553.

    Args:
        start: Where the chain starts: uniform in the data's range, as the authors', or normal
            around its middle with the standard deviation of the largest noise level.
        denoise: End with the mean of the clean image, one more evaluation (NCSNv2).
    """

    start: Literal["uniform", "normal"] = "uniform"
    denoise: bool = True


@dataclass(frozen=True, kw_only=True)
class Annealed(Chain):
    """Parameters of annealed Langevin dynamics (:func:`methods.ncsn.langevin.annealed_langevin`).

    The defaults are NCSNv2's way. A budget of evaluations buys levels, with ``steps_each`` at each;
    ``step_lr`` "technique" makes up for levels that lie further apart by larger steps. In NCSN's
    own way (``buys`` "steps") levels and step size stay, and a budget buys steps at each level: at
    a fixed step size fewer leave the chain unmixed.

    With few evaluations the technique leaves noise: it takes the score as linear in x, and a
    network that normalises its input does not take back what is left of the level before.
    ``step_lr`` "restoring" does (:func:`methods.ncsn.levels.restoring_step`). Of a small network
    trained on Fashion-MNIST at 14x14, the Frechet distance to held-out images after 100
    evaluations, one at each level, is 22.7 by the technique and 5.6 with a step of sigma_L^2 / 2,
    where "restoring" has 0.52; of one trained on 8x8 digits, after 50, 7.6 by the technique and 1.5
    with three quarters, where it has 0.75.

    Args:
        levels: Noise levels to go through, from the largest to the smallest of training. As many as
            in training are those; fewer, or more, are a geometric sequence between them where the
            network knows any noise level, else those of training nearest to one.
        steps_each: Steps at each level.
        step_lr: Step size at the last level; NCSNv2's rule ("technique",
            :func:`methods.ncsn.levels.step_size`); or one for few evaluations ("restoring",
            :func:`methods.ncsn.levels.restoring_step`).
        buys: What a budget of evaluations buys; the other one stays as it is given.
        convention: Whether the step size is the factor of the score ("code") or twice it ("paper").
        returned: The last image, or the one before it, clamped, as NCSN's code does ("published").
        conditioning: Whether known pixels are noised anew at each step (NCSNv2) or once a level
            (NCSN).
    """

    levels: int = 10
    steps_each: int = 5
    step_lr: Literal["technique", "restoring"] | float = "technique"
    buys: Literal["levels", "steps"] = "levels"
    convention: Literal["code", "paper"] = "code"
    returned: Literal["last", "published"] = "last"
    conditioning: Literal["step", "level"] = "step"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.levels < 2 or self.steps_each < 1:
            raise ValueError(
                "levels should be at least 2 (one is the sampler langevin), and steps_each at "
                "least 1"
            )
        if isinstance(self.step_lr, str):
            if self.convention == "paper":
                raise ValueError(
                    f"step_lr {self.step_lr} is a factor of the score: leave convention code"
                )
        elif self.step_lr <= 0:
            raise ValueError("step_lr should be positive, technique or restoring")
        if self.returned == "published" and self.denoise:
            raise ValueError(
                "the published sampler does not denoise: returned published goes with denoise false"
            )


@dataclass(frozen=True, kw_only=True)
class Langevin(Steps, Chain):
    """Parameters of Langevin dynamics at one noise level (:func:`methods.ncsn.langevin.langevin`).

    Args:
        step_lr: Size of a step, the factor of the score.
        sigma: The noise level; null is the smallest of training. A network that knows the levels of
            training alone takes the nearest.
    """

    steps: int = 200
    step_lr: float = 5e-5
    sigma: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.step_lr <= 0:
            raise ValueError("step_lr should be positive")
        if self.sigma is not None and self.sigma <= 0:
            raise ValueError("sigma should be positive, or null for the smallest noise level")


def refuse_levels(params: Any, chosen: Annealed) -> list[str]:
    """Returns why a network cannot be asked at so many levels, if so."""
    if params.any_level or params.levels == "overlap" or chosen.levels <= params.levels:
        return []
    return [
        f"the network knows its {params.levels} noise levels alone, and levels asks for "
        f"{chosen.levels}: give fewer, or let a budget buy steps at each (buys: steps)"
    ]


def annealed_evaluations(params: Annealed) -> int:
    """Returns the evaluations of all steps and of the end."""
    steps = params.levels * params.steps_each
    return steps + params.denoise - (params.returned == "published")


SAMPLERS: Mapping[str, SamplerCard] = MappingProxyType(
    {
        "annealed_langevin": SamplerCard(
            version=1,
            summary="Langevin steps at falling noise levels",
            params=Annealed,
            function="methods.ncsn.langevin:annealed_langevin",
            effort=Effort(
                evaluations=annealed_evaluations,
                parameter=lambda chosen: "levels" if chosen.buys == "levels" else "steps_each",
                least={"levels": 2},
            ),
            conditions={"inpainting": 1, "colourisation": 1},
            refuse=lambda params, chosen, times: refuse_levels(params, chosen),
        ),
        "langevin": SamplerCard(
            version=1,
            summary="Langevin steps at one noise level",
            params=Langevin,
            function="methods.ncsn.langevin:langevin",
            effort=Effort(evaluations=lambda chosen: chosen.steps + chosen.denoise),
        ),
    }
)
