"""Hyper-parameters that the methods' cards share: network, training and likelihood, as frozen plain
values.

The defaults are those of the CIFAR-10 runs of Song et al., 2021 (https://arxiv.org/abs/2011.13456,
appendix C and H): DDPM++ with 4 blocks a level, 1.3 million updates of 128 images.

Standard library only.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Any, Literal

from bench.card import TrainingCard
from bench.schema import differences

NCSNPP_ALONE = frozenset(
    {
        *("embedding", "fourier_scale", "fir", "block"),
        *("progressive", "progressive_input", "combine", "skip_rescale"),
    }
)
Activation = Literal["silu", "elu", "relu", "leaky_relu"]
"""Nonlinearities that the authors' networks come with
(:data:`methods.shared.layers.ACTIVATIONS`).
"""

PERCEPTRONS = ("mlp", "mlp_residual")
CONVOLUTIONAL = NCSNPP_ALONE | {
    *("multipliers", "attention", "resample_with_conv", "dropout", "init_scale", "conditional"),
    *("up_attention", "recompute", "activation"),
}
FOREIGN: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "ncsnpp": frozenset({"up_attention"}),
        "ddpm": NCSNPP_ALONE,
        **dict.fromkeys(PERCEPTRONS, CONVOLUTIONAL),
    }
)
"""Keywords of :class:`Backbone` that an architecture does not have."""


def norm_groups(channels: int) -> int:
    """Returns the groups that NCSN++ normalises channels in: at least four channels a group, at
    most 32 groups.
    """
    return max(1, min(channels // 4, 32))


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """The network: NCSN++ / DDPM++ (:class:`methods.shared.ncsnpp.NCSNpp`) or DDPM
    (:class:`methods.shared.ddpm.DDPM`).

    For points, data of one pixel, there is the multilayer perceptron
    (:class:`methods.shared.mlp.MLP`), plain or residual. The keywords are those of the class; what
    the class does not have keeps its default.

    Args:
        architecture: Which class.
        width: Channels at full resolution; hidden units of a perceptron.
        multipliers: Channels of each resolution, from full to lowest, in multiples of ``width``.
        blocks: Residual blocks a resolution on the way down (one more on the way up); layers of a
            perceptron.
        attention: Resolutions, in pixels of the training size, that have self-attention; those
            named should occur.
        embedding: How the noise level enters: random Fourier features or sinusoids.
        fourier_scale: Standard deviation of the Fourier frequencies.
        fir: Resample with the FIR filter [1, 3, 3, 1] rather than with 2x2 boxes.
        block: Residual block of BigGAN, which also resamples, or of DDPM, with resampling layers of
            its own.
        progressive: What the output gathers from lower resolutions.
        progressive_input: How the input enters lower resolutions.
        combine: How ``input_skip`` joins the features.
        skip_rescale: Divide every residual sum by sqrt(2).
        resample_with_conv: With DDPM's block, resample by a convolution.
        dropout: Probability of dropping an activation in training.
        init_scale: Scale of the initial weights of the last layer of each branch (0: a branch
            starts at 0).
        conditional: Whether the network sees the noise level.
        activation: The nonlinearity; "leaky_relu" has slope 0.2 below 0. A perceptron's is always
            SiLU.
        up_attention: Where DDPM's way up attends: after the last block of a resolution, or after
            every one.
        recompute: Keep no activations of inside a block for the backward pass, but compute them
            again there: less memory, more time, equal gradients.
    """

    architecture: Literal["ncsnpp", "ddpm", "mlp", "mlp_residual"] = "ncsnpp"
    width: int = 128
    multipliers: tuple[int, ...] = (1, 2, 2, 2)
    blocks: int = 4
    attention: tuple[int, ...] = (16,)
    embedding: Literal["fourier", "positional"] = "positional"
    fourier_scale: float = 16.0
    fir: bool = False
    block: Literal["biggan", "ddpm"] = "biggan"
    progressive: Literal["none", "output_skip", "residual"] = "none"
    progressive_input: Literal["none", "input_skip", "residual"] = "none"
    combine: Literal["sum", "cat"] = "sum"
    skip_rescale: bool = True
    resample_with_conv: bool = True
    dropout: float = 0.1
    init_scale: float = 0.0
    conditional: bool = True
    activation: Activation = "silu"
    up_attention: Literal["last", "every"] = "last"
    recompute: bool = False

    def __post_init__(self) -> None:
        if self.width < 4 or self.width % 2:
            raise ValueError("width should be even and at least 4")
        if not self.multipliers or min(self.multipliers) < 1:
            raise ValueError("multipliers should name at least one resolution, each at least 1")
        if self.blocks < 1:
            raise ValueError("blocks should be at least 1")
        if not 0 <= self.dropout < 1:
            raise ValueError("dropout should be in [0, 1)")
        if self.fourier_scale <= 0:
            raise ValueError("fourier_scale should be positive")
        if self.init_scale < 0:
            raise ValueError("init_scale should be at least 0")
        if self.architecture == "ddpm" and self.width % 32:
            raise ValueError(
                "width should be a multiple of 32 for ddpm, whose normalisations have 32 groups"
            )
        for channels in sorted(self._normalised()) if self.architecture == "ncsnpp" else ():
            if channels % norm_groups(channels):
                why = (
                    f"makes {channels} channels, which {norm_groups(channels)} groups do not divide"
                )
                raise ValueError(f"width {self.width} {why}: a multiple of 32 always goes")
        for item in fields(self):
            if item.name in FOREIGN[self.architecture] and getattr(self, item.name) != item.default:
                raise ValueError(f"{self.architecture} has no {item.name}")

    def _normalised(self) -> set[int]:
        """Returns the channels that NCSN++ normalises: those of each level, alone and joined with
        what skips to it.
        """
        sizes = [self.width * multiplier for multiplier in self.multipliers]
        doubled = 2 if self.progressive_input == "input_skip" and self.combine == "cat" else 1
        entering = [self.width, *(doubled * size for size in sizes[:-1])]
        below = [*sizes[1:], sizes[-1]]
        found = {*sizes, *entering}
        for size, enters, rises in zip(sizes, entering, below, strict=True):
            found |= {rises + size, size + enters} | ({2 * size} if self.blocks > 1 else set())
        return found

    @property
    def condition(self) -> Literal["log", "index"]:
        """What the network is nominally told of the noise level: its logarithm, or a time or index
        in [0, 1000).
        """
        return "log" if self.embedding == "fourier" or self.architecture in PERCEPTRONS else "index"

    def keywords(self) -> dict[str, Any]:
        """Returns the keywords of the network's class."""
        left_out = {"architecture", *FOREIGN[self.architecture]}
        return {
            item.name: getattr(self, item.name)
            for item in fields(self)
            if item.name not in left_out
        }

    def refuse(self, shape: tuple[int, int, int]) -> list[str]:
        """Returns the reasons why this network cannot take images of shape (C, H, W)."""
        if self.architecture in PERCEPTRONS:
            why = f"network.architecture {self.architecture} is for points, not for {shape[1]}x{shape[2]} images"
            return [] if shape[1] == shape[2] == 1 else [f"{why}: take ncsnpp"]
        factor = 2 ** (len(self.multipliers) - 1)
        if shape[1] % factor or shape[2] % factor:
            halvings = len(self.multipliers) - 1
            return [
                f"network.multipliers halve the image {halvings} times, which {shape[1]}x{shape[2]} does not allow"
            ]
        resolutions = [shape[1] // 2**i for i in range(len(self.multipliers))]
        absent = [str(size) for size in self.attention if size not in resolutions]
        if (
            absent and self.attention != Backbone.attention
        ):  # the default is the paper's, for 32 x 32 pixels or more
            there = ", ".join(map(str, resolutions))
            return [
                f"network.attention asks for a resolution of {', '.join(absent)}: there are {there} ([] for none)"
            ]
        return []


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
        batch: Images an update.
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
        """Returns after how many training images averages are kept, of a training of ``until``:
        also at its end.
        """
        every = self.averages_every_images
        if every is None or self.refuse():
            return ()
        whole = {
            math.ceil(images / self.batch) * self.batch
            for images in (*range(every, until, every), until)
        }
        return tuple(sorted(whole))


def _course(params: Any) -> Mapping[str, Any] | None:
    if params.exact or params.training.schedule != "constant":
        return None
    return differences(replace(params, training=replace(params.training, steps=Training().steps)))


FITTED = TrainingCard(
    images=lambda params: 0 if params.exact else params.training.images,
    course=_course,
    averages=lambda params, images: () if params.exact else params.training.averaged_at(images),
)
"""Training by :func:`methods.shared.training.fit`, of parameters that have ``training``, and
``exact`` for none.
"""


def adaptive_evaluations(tolerance: float) -> float:
    """Returns about how many evaluations an adaptive solver of order 5 spends along a whole flow,
    for plans.

    Its steps go as the fifth root of the tolerance; 150 at 1e-5 is what Song et al., 2021, have on
    CIFAR-10.
    """
    return 15.0 * tolerance**-0.2


def likelihood_evaluations(params: "LikelihoodParams", dims: int) -> tuple[float, float]:
    """Returns about how many evaluations an image a likelihood takes, and backward passes for each,
    for plans.
    """
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
class LikelihoodParams:
    """How the log-density along the probability-flow ODE is computed.

    Args:
        eps: Time at which the flow meets the data; it sets the least bits/dim there can be.
        tolerance: Relative and absolute tolerance of the adaptive solver.
        probes: Random probes of the divergence, averaged.
        probe: Their distribution; "exact" takes the trace along every dimension, without probes.
        repeats: Dequantisations of each image, averaged.
        probe_drift: Let the probes estimate the drift's known trace too, as the authors do.
        solver: "scipy" keeps the solver's state on the host, "device" beside the network's.
        error_norm: Over the batch, whose images share their steps, or of each image, which then has
            steps of its own.
    """

    eps: float = 1e-5
    tolerance: float = 1e-5
    probes: int = 1
    probe: Literal["rademacher", "gaussian", "exact"] = "rademacher"
    repeats: int = 1
    probe_drift: bool = False
    solver: Literal["scipy", "device"] = "scipy"
    error_norm: Literal["batch", "image"] = "batch"

    def __post_init__(self) -> None:
        if self.solver == "scipy" and self.error_norm == "image":
            raise ValueError(
                "scipy has one step size for the whole batch: error_norm image needs solver device"
            )
        if not 0 < self.eps < 1:
            raise ValueError("eps should be in (0, 1)")
        for name in ("tolerance", "probes", "repeats"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} should be positive")
