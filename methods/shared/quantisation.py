"""Between images of levels a / (levels - 1) and the bins that their dequantised values fill.

Dequantised, level a fills the bin from a / levels to (a + 1) / levels
(:func:`methods.shared.likelihood.dequantise`); a model of such images samples in bins, and what it
is given of an image has to stand there.
"""

from typing import NamedTuple

from torch import Tensor

from bench.method import Noise
from methods.shared.likelihood import dequantise


class Bins(NamedTuple):
    """How a model has images in [0, 1]: in the bins of their levels, or, unless these are filled,
    as they are.

    Args:
        levels: Levels of a pixel.
        filled: Whether the model is trained on dequantised images.
    """

    levels: int
    filled: bool

    def fill(self, x: Tensor, noise: Noise) -> Tensor:
        """Returns images of levels a / (levels - 1) spread uniformly over their bins."""
        return (
            dequantise(x * (self.levels - 1), self.levels, noise.child("dequantise"))
            if self.filled
            else x
        )

    def enter(self, x: Tensor) -> Tensor:
        """Returns images of levels a / (levels - 1) with each level at the middle of its bin."""
        return (x * (self.levels - 1) + 0.5) / self.levels if self.filled else x

    def leave(self, x: Tensor) -> Tensor:
        """Returns images in bins on the scale a / (levels - 1): the inverse of :meth:`enter`."""
        return (x * self.levels - 0.5) / (self.levels - 1) if self.filled else x
