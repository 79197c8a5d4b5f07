"""What the harness must know of Soft Diffusion before torch is imported.

The bare parameters are a blur as wide as the paper's with little noise, on the network and training
that Score-SDE has for CIFAR-10; a suite overrides any of them by name. Standard library only.
"""

from dataclasses import field
from typing import Literal

from bench.card import LikelihoodCard
from bench.frozen import dataclass
from methods.shared.declaration import TINY, network_card
from methods.shared.hyperparameters import (
    ExactParams,
    FittedPrior,
    LikelihoodParams,
    likelihood_evaluations,
)
from methods.shared.sampling import RESTORATIONS, restored_by
from methods.soft.presets import PRESETS, PUBLISHED, SHAPES
from methods.soft.sampling import DIAGONAL, SAMPLERS
from methods.soft.settings import CorruptionParams

MOST_DIMS = 256
"""Largest images (in numbers) whose blurs are compared by the whole covariance."""


@dataclass(frozen=True, kw_only=True)
class Prior(FittedPrior):
    """The distribution from which sampling starts, fitted to corrupted training images
    (:mod:`methods.shared.prior`).

    Args:
        kind: One Gaussian or a Gaussian mixture over what stands out of the noise; or "training",
            corrupted training images themselves, which gives away what was trained on and is named
            in tables.
        images: Most training images that "training" draws from.
    """

    kind: Literal["gaussian", "mixture", "training"] = "gaussian"
    images: int = 5000

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.images < 1:
            raise ValueError("images should be at least 1")


@dataclass(frozen=True, kw_only=True)
class Selection:
    """How training finds the levels of a blur of schedule "levels" that has none
    (:mod:`methods.soft.levels`).

    Args:
        candidates: Strengths to choose from.
        levels: How many are chosen, the first and the last included.
        covariance: Of the images: coefficients of cosines are independent, or have their whole
            covariance.
    """

    candidates: int = 256
    levels: int = 32
    covariance: Literal["diagonal", "full"] = "diagonal"

    def __post_init__(self) -> None:
        if not 2 <= self.levels <= self.candidates:
            raise ValueError("levels should be at least 2, and candidates no fewer")


@dataclass(frozen=True, kw_only=True)
class Params(ExactParams):
    """Soft Diffusion's corruption, network and training. Images are in [-1, 1], and noise is in
    these units.

    Args:
        corruption: What becomes of an image as t grows.
        parametrisation: What the network predicts: the clean image less the corrupted one
            ("residual", the paper's), or that in units of its root mean square over the training
            images at that time ("scaled_residual"), so that a network's output is of order 1 at all
            times.
        weighting: Of the loss over time: over the variance of the noise, or 1.
        null_reg: Weight of the error of the clean image itself beside what the corruption leaves of
            it.
        reduction: The loss of an image: the mean over dimensions, or half of the sum.
        t_min: Least time of the loss.
        mistakes: What is wrong with an exact mean on purpose: the network's output, the clean image
            less the corrupted one, is the score times the noise's variance if nothing but noise is
            added, and is scaled and biased as it is.
        prior: Where sampling starts.
        selection: How levels of blur are chosen, if the schedule is "levels" and none are given.
    """

    corruption: CorruptionParams = field(default_factory=CorruptionParams)
    parametrisation: Literal["residual", "scaled_residual"] = "residual"
    weighting: Literal["inverse_variance", "none"] = "inverse_variance"
    null_reg: float = 0.0
    reduction: Literal["mean", "sum"] = "mean"
    t_min: float = 1e-3
    prior: Prior = field(default_factory=Prior)
    selection: Selection = field(default_factory=Selection)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.null_reg < 0:
            raise ValueError("null_reg should be at least 0")
        if not 0 < self.t_min < 1:
            raise ValueError("t_min should be in (0, 1)")
        if self.exact and self.corruption.kind not in DIAGONAL:
            raise ValueError(
                f"exact needs a corruption diagonal in a known basis ({', '.join(DIAGONAL)})"
            )

    @property
    def selects(self) -> bool:
        """Whether training finds the levels of the blur."""
        blurs = self.corruption.kind in ("blur", "blur_mask")
        return (
            blurs and self.corruption.blur.schedule == "levels" and not self.corruption.blur.levels
        )

    def refuse(self, shape: tuple[int, int, int]) -> list[str]:
        """Returns the reasons why these cannot be for images of shape (C, H, W)."""
        reasons, (channels, height, width) = super().refuse(shape), shape
        if self.corruption.kind in ("blur", "blur_mask") and height == width == 1:
            reasons.append(
                "corruption.kind: one pixel has nothing to blur; take ve, vp or straight"
            )
        if self.corruption.recipe is not None:
            reasons += self.corruption.recipe.refuse(shape)
        large = channels * height * width > MOST_DIMS
        if self.selects and self.selection.covariance == "full" and large:
            reasons.append(
                f"selection.covariance full is for at most {MOST_DIMS} numbers per image, not "
                f"{channels}x{height}x{width}: diagonal"
            )
        return reasons


def _variant(params: Params) -> str:
    named = [f"exact{params.mistakes.label}"] if params.exact else []
    named += ["starts from training images"] if params.prior.kind == "training" else []
    return ", ".join([params.corruption.kind.replace("_", " + "), *named])


def _refuse_likelihood(params: Params) -> list[str]:
    """Noise is positive where a likelihood ends, at eps > 0, and every start has a density."""
    return (
        []
        if params.corruption.differentiable
        else ["the corruption switches at once, so there is no flow to follow"]
    )


def _refuse_condition(params: Params, task: str) -> list[str]:
    kind = params.corruption.kind
    if task in RESTORATIONS and params.corruption.recipe is not None:
        return [f"{kind} does not say whether it keeps what is known apart from the rest"]
    if task == "inpainting" and "blur" in kind:
        return [
            f"{kind} mixes known pixels with unknown ones, so no part of the corrupted image is "
            "known: take another corruption, or colourisation, whose grey is blurred by itself"
        ]
    return []


CARD = network_card(
    name="soft",
    title="Soft Diffusion",
    paper="https://arxiv.org/abs/2209.05442",
    adapter="methods.soft.adapter:SoftDiffusion",
    params=Params,
    samplers=SAMPLERS,
    no_condition=restored_by("momentum", "ancestral", "naive"),
    refuse_condition=_refuse_condition,
    variant=_variant,
    presets=PRESETS,
    shapes=SHAPES,
    published=PUBLISHED,
    likelihood=LikelihoodCard(
        version=1, params=LikelihoodParams, refuse=_refuse_likelihood, guess=likelihood_evaluations
    ),
    tiny={
        **TINY,
        "corruption": {"blur": {"schedule": "levels"}},
        "selection": {"candidates": 16, "levels": 4},
    },
)
