"""Hyper-parameters of NCSN's own network, as frozen plain values.

The defaults are those of the CIFAR-10 run of Song & Ermon, 2019 (https://arxiv.org/abs/1907.05600,
appendix A).

Standard library only.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

from bench.frozen import dataclass
from methods.shared.architecture import Activation

LEAST_DIMS = 5
"""Dimensions below which any two noise levels overlap by more than can be asked."""


class Stage(NamedTuple):
    """Two residual blocks of the encoder, the first of which changes what enters unless it is the
    first of all.

    Args:
        label: Its number in published names.
        multiplier: Channels, in multiples of the width.
        pooled: Whether it halves the image.
        dilation: Of its convolutions.
    """

    label: str
    multiplier: int
    pooled: bool = False
    dilation: int = 1


SHALLOW = (
    Stage("1", 1),
    Stage("2", 2, pooled=True),
    Stage("3", 2, dilation=2),
    Stage("4", 2, dilation=4),
)
DEEPER = (
    Stage("1", 1),
    Stage("2", 2, pooled=True),
    Stage("3", 2, pooled=True),
    Stage("4", 4, dilation=2),
    Stage("5", 4, dilation=4),
)
DEEPEST = (*DEEPER[:3], Stage("31", 2, pooled=True), *DEEPER[3:])
STAGES: Mapping[str, tuple[Stage, ...]] = MappingProxyType(
    {
        "ncsn": SHALLOW,
        "ncsn_deeper": DEEPER,
        "ncsnv2": SHALLOW,
        "ncsnv2_deeper": DEEPER,
        "ncsnv2_deepest": DEEPEST,
    }
)
"""The encoder of each variant, from full resolution down."""

REFINEMENTS: Mapping[int, tuple[str, ...]] = MappingProxyType(
    {4: ("1", "2", "3", "4"), 5: ("1", "2", "3", "4", "5"), 6: ("1", "2", "31", "3", "4", "5")}
)
"""Published numbers of the refinements on the way up, by how many there are, from the deepest.

With six the one of number 31 comes before number 3, although the authors define and store it after:
the two have equal shapes, so that nothing but their order tells them apart.
"""


@dataclass(frozen=True, kw_only=True)
class RefineNet:
    """NCSN's network (:class:`methods.ncsn.refinenet.RefineNetwork`).

    Args:
        variant: Of NCSN, whose normalisations know the noise level, or of NCSNv2, which does not
            see it; deeper ones are for larger images.
        width: Channels at full resolution.
        activation: Of NCSNv2; NCSN's is always ELU. "leaky_relu" has slope 0.2 below 0.
    """

    variant: Literal["ncsn", "ncsn_deeper", "ncsnv2", "ncsnv2_deeper", "ncsnv2_deepest"] = "ncsn"
    width: int = 128
    activation: Activation = "elu"

    def __post_init__(self) -> None:
        if self.width < 2:
            raise ValueError(
                "width should be at least 2: the normalisations take the variance over channels"
            )
        if self.conditional and self.activation != "elu":
            raise ValueError(
                f"activation {self.activation} is of NCSNv2's variants: {self.variant} has elu"
            )

    @property
    def conditional(self) -> bool:
        """Whether the network sees the noise level."""
        return not self.variant.startswith("ncsnv2")

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The encoder, from full resolution down."""
        return STAGES[self.variant]

    @property
    def refinements(self) -> tuple[str, ...]:
        """Published numbers of the decoder's refinements, in the order in which they are used."""
        return REFINEMENTS[len(self.stages)]

    def refuse(self, shape: tuple[int, int, int]) -> list[str]:
        """Returns the reasons why this network cannot take images of shape (C, H, W)."""
        halvings = sum(stage.pooled for stage in self.stages)
        size = f"{shape[1]}x{shape[2]}"
        if shape[1] % 2**halvings or shape[2] % 2**halvings:
            return [
                f"refinenet.variant {self.variant} halves the image {halvings} times, which {size} "
                "does not allow"
            ]
        if (shape[1] >> halvings) * (shape[2] >> halvings) < 2:
            return [
                f"refinenet.variant {self.variant} leaves one pixel of {size}, which has no "
                "variance to normalise"
            ]
        return []
