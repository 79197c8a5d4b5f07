"""Between images of levels a / (levels - 1) and the bins that their dequantised values fill.

Dequantised, level a fills the bin from a / levels to (a + 1) / levels (:func:`methods.shared.likelihood.dequantise`);
a model of such images samples in bins, and what it is given of an image has to stand there.
"""

from torch import Tensor


def to_bins(x: Tensor, levels: int) -> Tensor:
    """Returns images of levels a / (levels - 1) with each level at the middle of its bin."""
    return (x * (levels - 1) + 0.5) / levels


def from_bins(x: Tensor, levels: int) -> Tensor:
    """Returns images in bins on the scale of levels a / (levels - 1): the inverse of :func:`to_bins`."""
    return (x * levels - 0.5) / (levels - 1)
