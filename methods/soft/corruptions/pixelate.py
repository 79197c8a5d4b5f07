r"""Pixelation: images fade into blocks of one value, their mean.

.. math:: C_t = (1 - t) I + t A,

where A puts the mean of every block of ``size`` x ``size`` pixels in place of each of them. Of the
last image only the block means are left; sampling restores what is finer, as super-resolution does.

Source: Bansal et al., 2022, https://arxiv.org/abs/2208.09392 (section 5.3 of Cold Diffusion,
super-resolution).
Departures: they halve the resolution step by step; here there is one block size, and a straight
line to it.
"""

from typing import TYPE_CHECKING

from bench.frozen import dataclass
from methods.soft.recipe import Recipe

if TYPE_CHECKING:
    from torch import Tensor

    from methods.soft.operator import Operator


@dataclass(frozen=True, kw_only=True)
class Params(Recipe):
    """The blocks.

    Args:
        size: Pixels along each side of a block.
    """

    size: int = 2

    def __post_init__(self) -> None:
        if self.size < 2:
            raise ValueError("size should be at least 2")

    def operator(self, shape: tuple[int, int, int]) -> "Operator":
        """Returns the operator on images of shape (C, H, W)."""
        from torch.nn.functional import avg_pool2d, interpolate

        from methods.soft.operator import Interpolated

        def blocks(x: "Tensor") -> "Tensor":
            return interpolate(avg_pool2d(x, self.size), scale_factor=self.size)

        return Interpolated(blocks, self_adjoint=True)

    def refuse(self, shape: tuple[int, int, int]) -> list[str]:
        """Returns why images of shape (C, H, W) have no whole number of blocks, if so."""
        _, height, width = shape
        if height % self.size or width % self.size:
            return [
                f"corruption.pixelate.size: blocks of {self.size} do not fill images of "
                f"{height}x{width} pixels"
            ]
        return []
