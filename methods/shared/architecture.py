"""The networks that a card can ask for, as frozen plain values.

The defaults are those of the CIFAR-10 runs of Song et al., 2021 (https://arxiv.org/abs/2011.13456,
appendix C): DDPM++ with 4 blocks per level.

Standard library only.
"""

from collections.abc import Mapping
from dataclasses import fields
from types import MappingProxyType
from typing import Any, Literal

from bench.frozen import dataclass

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
    """Returns NCSN++'s normalisation groups: at least 4 channels in each, at most 32 groups."""
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
        blocks: Residual blocks per resolution on the way down (one more on the way up); layers of a
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
        """Returns the channels that NCSN++ normalises: of each level, alone and with its skips."""
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
        """The network's embedding input: a noise level's logarithm, or an index in [0, 1000)."""
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
            if shape[1] == shape[2] == 1:
                return []
            return [
                f"network.architecture {self.architecture} is for points, not for "
                f"{shape[1]}x{shape[2]} images: take ncsnpp"
            ]
        factor = 2 ** (len(self.multipliers) - 1)
        if shape[1] % factor or shape[2] % factor:
            halvings = len(self.multipliers) - 1
            return [
                f"network.multipliers halve the image {halvings} times, which "
                f"{shape[1]}x{shape[2]} does not allow"
            ]
        resolutions = [shape[1] // 2**i for i in range(len(self.multipliers))]
        absent = [str(size) for size in self.attention if size not in resolutions]
        if (
            absent and self.attention != Backbone.attention
        ):  # the default is the paper's, for 32 x 32 pixels or more
            there = ", ".join(map(str, resolutions))
            return [
                f"network.attention asks for a resolution of {', '.join(absent)}: there are "
                f"{there} ([] for none)"
            ]
        return []
