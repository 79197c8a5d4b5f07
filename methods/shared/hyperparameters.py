"""Hyper-parameters that the cards share: training, start and likelihood, as frozen plain
values.

The defaults are those of the CIFAR-10 runs of Song et al., 2021 (https://arxiv.org/abs/2011.13456,
appendix C and H): DDPM++ with 4 blocks per level, 1.3 million updates of 128 images.

Standard library only.
"""

import math
from collections.abc import Mapping
from dataclasses import field, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from bench.card import TrainingCard
from bench.frozen import dataclass
from bench.schema import differences
from methods.shared.architecture import Backbone
from methods.shared.mistakes import Mistakes, check_mistakes
from methods.shared.sampling import adaptive_evaluations, check_adaptive

MOST_AVERAGES = 10_000
"""How many times a training may keep averages of its weights: each costs twice the weights on
disk.
"""


@dataclass(frozen=True, kw_only=True)
class Training:
    """Adam with warm-up, clipping and an average of the weights
    (:func:`methods.shared.training.fit`).

    Args:
        steps: Updates.
        batch: Images per update.
        optimiser: Adam, or AdamW or Adamax, as torch has them.
        learning_rate: The optimiser's, after the warm-up.
        adam_eps: What is added to its denominator, of all three.
        weight_decay: Of the weights: "adamw" shrinks them by this share of the learning rate an
            update, the others add so much of them to the gradient, after clipping.
        warmup_steps: The rate rises linearly from 0 over this many updates.
        schedule: What the rate does afterwards: stay, or fall to 0 at the last update.
        clip: Largest norm of the whole gradient; None does not clip.
        ema_half_life_images: Images after which an update's weight in the average has halved
            (0.9999 an update of 128 images is 887,000); with 0 the last weights stand in its place.
        ema_warmup: Let the average forget faster at first: its rate is at most (1 + n) / (10 + n)
            after n updates.
        heldout_images: Held-out images, drawn from the split, of the loss that is logged beside the
            training loss.
        precision: Of the network's products and convolutions in training; weights, loss and updates
            are float32.
        averages_every_images: Training images after which power-function averages of the weights
            are kept, and again after as many more, from which an average of any length can be made
            (:mod:`methods.shared.average`); None keeps none.
    """

    steps: int = 1_300_000
    batch: int = 128
    optimiser: Literal["adam", "adamw", "adamax"] = "adam"
    learning_rate: float = 2e-4
    adam_eps: float = 1e-8
    weight_decay: float = 0.0
    warmup_steps: int = 5000
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    clip: float | None = 1.0
    ema_half_life_images: float = 887_000.0
    ema_warmup: bool = True
    heldout_images: int = 256
    precision: Literal["float32", "bfloat16"] = "float32"
    averages_every_images: int | None = None

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "learning_rate", "adam_eps", "heldout_images"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} should be positive")
        for name in ("warmup_steps", "weight_decay", "ema_half_life_images"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} should be at least 0")
        if self.clip is not None and self.clip <= 0:
            raise ValueError("clip should be positive, or null for none")
        if self.averages_every_images is not None and self.averages_every_images <= 0:
            raise ValueError("averages_every_images should be positive, or null for none")

    @property
    def images(self) -> int:
        """Training images seen, counted with repetition."""
        return self.steps * self.batch

    def refuse(self) -> list[str]:
        """Returns the reasons why a training cannot be as long as this one with what it keeps."""
        every = self.averages_every_images
        if every is not None and self.images // every > MOST_AVERAGES:
            kept = f"{self.images // every:,} times"
            return [
                f"training.averages_every_images keeps averages {kept}: at most {MOST_AVERAGES:,}"
            ]
        return []

    def averaged_at(self, until: int) -> tuple[int, ...]:
        """Returns the training images after which averages are kept; ``until`` is the last."""
        every = self.averages_every_images
        if every is None or self.refuse():
            return ()
        whole = {
            math.ceil(images / self.batch) * self.batch
            for images in (*range(every, until, every), until)
        }
        return tuple(sorted(whole))


def _prefix(params: Any) -> Mapping[str, Any] | None:
    if params.exact or params.training.schedule != "constant":
        return None
    return differences(replace(params, training=replace(params.training, steps=Training().steps)))


FITTED = TrainingCard(
    images=lambda params: 0 if params.exact else params.training.images,
    prefix=_prefix,
    averages=lambda params, images: () if params.exact else params.training.averaged_at(images),
)
"""Training by :func:`methods.shared.training.fit`, of parameters that have ``training``, and
``exact`` for none.
"""


@dataclass(frozen=True, kw_only=True)
class NetworkParams:
    """What the parameters of a method have that trains a network.

    Args:
        dequantise: Train on images with uniform noise of one level, as the likelihood sees them;
            samples are then taken back to the levels' own scale.
        network: The network.
        training: Its training.
    """

    if TYPE_CHECKING:  # a field of some subclasses, whose place among theirs this holds
        exact: bool = False
    else:
        exact: ClassVar[bool] = False
    dequantise: bool = False
    network: Backbone = field(default_factory=Backbone)
    training: Training = field(default_factory=Training)

    def __post_init__(self) -> None:
        """Checks nothing; a subclass may."""

    def refuse(self, shape: tuple[int, int, int]) -> list[str]:
        """Returns the reasons why these cannot be for images of shape (C, H, W)."""
        return [] if self.exact else self.network.refuse(shape) + self.training.refuse()


@dataclass(frozen=True, kw_only=True)
class ExactParams(NetworkParams):
    """What the parameters of a method have that knows exact scores too.

    Args:
        exact: Train nothing: in place of the network stands the exact score of the mixture that the
            data set declares, or else of its training images taken as the distribution itself.
        mistakes: What is wrong with the exact score on purpose.
    """

    exact: bool = False
    mistakes: Mistakes = field(default_factory=Mistakes)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_mistakes(self.exact, self.mistakes)
        if self.exact and self.dequantise:
            raise ValueError("exact is the score of the data as they are: leave dequantise false")


def likelihood_evaluations(params: "FlowLikelihoodParams", dims: int) -> tuple[float, float]:
    """Returns about how many evaluations per image, and backward passes for each, for plans."""
    runs = params.repeats * getattr(params, "velocities", 1)
    return runs * adaptive_evaluations(
        params.tolerance
    ), dims if params.probe == "exact" else params.probes


@dataclass(frozen=True, kw_only=True)
class FittedPrior:
    """How the distribution from which sampling starts is fitted to training images
    (:mod:`methods.shared.prior`).

    Args:
        modes: Most coefficients that are taken together; the others are independent.
        components: Gaussians of a mixture.
    """

    modes: int = 256
    components: int = 10

    def __post_init__(self) -> None:
        for name in ("modes", "components"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} should be at least 1")


@dataclass(frozen=True, kw_only=True)
class Prior(FittedPrior):
    """The distribution from which a diffusion is sampled, and under which its likelihood ends.

    Args:
        kind: Fitted to the noisy training images at t = 1, one Gaussian or a Gaussian mixture over
            what stands out of the noise; or the authors', a centred normal distribution that knows
            nothing of the data.
    """

    kind: Literal["gaussian", "mixture", "published"] = "gaussian"


@dataclass(frozen=True, kw_only=True)
class FlowLikelihoodParams:
    """How the log-density along a flow is computed.

    Args:
        eps: Time at which the flow meets the data; it sets the least bits/dim there can be.
        tolerance: Relative and absolute tolerance of the adaptive solver.
        probes: Random probes of the divergence, averaged.
        probe: Their distribution; "exact" takes the trace along every dimension, without probes.
        repeats: Dequantisations of each image, averaged.
        solver: "scipy" keeps the solver's state on the host, "device" beside the network's.
        error_norm: Over the batch, whose images share their steps, or of each image, which then has
            steps of its own.
    """

    eps: float = 1e-5
    tolerance: float = 1e-5
    probes: int = 1
    probe: Literal["rademacher", "gaussian", "exact"] = "rademacher"
    repeats: int = 1
    solver: Literal["scipy", "device"] = "scipy"
    error_norm: Literal["batch", "image"] = "batch"

    quiet: ClassVar[Mapping[str, Any]] = {"error_norm": "batch"}
    """What the identity names only if it differs from these usual values."""

    def __post_init__(self) -> None:
        check_adaptive(self)
        if not 0 < self.eps < 1:
            raise ValueError("eps should be in (0, 1)")
        for name in ("probes", "repeats"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} should be positive")

    @property
    def identity(self) -> dict[str, Any]:
        """What a number depends on, by name, to be shown with it."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        values["solver"] = {"scipy": "RK45", "device": "RK45 on the device"}[self.solver]
        return {name: value for name, value in values.items() if self.quiet.get(name, ...) != value}


@dataclass(frozen=True, kw_only=True)
class LikelihoodParams(FlowLikelihoodParams):
    """How the log-density along the probability-flow ODE of a linear diffusion is computed.

    Args:
        probe_drift: Let the probes estimate the drift's known trace too, as the authors do.
    """

    quiet: ClassVar[Mapping[str, Any]] = {**FlowLikelihoodParams.quiet, "probe_drift": False}
    probe_drift: bool = False
