r"""Soft score matching: a denoiser is judged by what the corruption leaves of its errors.

.. math:: \ell = w_t \left|C_t\,(\hat{x}_0(x_t, t) - x_0)\right|^2 , \qquad w_t = 1 / s_t^2 ,

which is denoising score matching of the score (C x0hat - x) / s^2 with weight s^2. What C takes
away altogether, the loss does not see, though the samplers, which move to a less corrupted image,
need it: ``null_reg`` adds :math:`\kappa |\hat{x}_0 - x_0|^2`.

Shapes: B images, C channels, H x W pixels. Time: t = 0 is data, t = 1 is noise.

Source: Daras et al., 2022, https://arxiv.org/abs/2209.05442 (section 3, theorem 3.1).
Departures: ``null_reg``, 0 in the paper; the mean over dimensions in place of half the sum
(``reduction``).
"""

from typing import Literal

from torch import Tensor

from methods.shared.objective import Reduction, squared
from methods.soft.corruption import Corruption
from methods.soft.denoiser import Denoiser

Weighting = Literal["inverse_variance", "none"]


def soft_loss(
    corruption: Corruption,
    denoiser: Denoiser,
    x0: Tensor,
    t: Tensor,
    z: Tensor,
    weighting: Weighting = "inverse_variance",
    null_reg: float = 0.0,
    reduction: Reduction = "mean",
) -> Tensor:
    r"""Returns the soft score matching loss of each image, shape (B,).

    Args:
        x0: Images, shape (B, C, H, W).
        t: Times, shape (B,).
        z: Standard normal draws of x0's shape.
        weighting: w: 1 / s^2, which keeps every noise level equally loud, or 1.
        null_reg: :math:`\kappa`, which is not weighed.
    """
    mean, std = corruption.perturb(x0, t)
    error = denoiser(mean + std * z, t) - x0
    seen = corruption.apply(error, t)
    if weighting == "inverse_variance":
        seen = seen / std
    loss = squared(seen, reduction)
    return loss + null_reg * squared(error, reduction) if null_reg else loss
