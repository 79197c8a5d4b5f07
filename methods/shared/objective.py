r"""Denoising score matching: the training loss of a score along a linear diffusion.

The score of the Gaussian :math:`x_t \mid x_0` at :math:`m x_0 + s z` is :math:`-z / s`; the minimiser of the mean
squared distance to it is :math:`\nabla \log p_t`.

Source: Vincent, 2011; Song et al., 2021, https://arxiv.org/abs/2011.13456 (equation 7); the likelihood weighting is
Song et al., 2021b, https://arxiv.org/abs/2101.09258 (theorem 1).
"""

from typing import Literal

from torch import Tensor

from methods.shared.process import Process, like
from methods.shared.samplers import ScoreFn


def denoising_loss(
    process: Process,
    score_fn: ScoreFn,
    x0: Tensor,
    t: Tensor,
    z: Tensor,
    weighting: Literal["std", "likelihood"] = "std",
) -> Tensor:
    r"""Returns the denoising loss of each image, the mean over its dimensions, shape (B,).

    Args:
        x0: Images, shape (B, C, H, W), in the range that the process was given.
        t: Times, shape (B,).
        z: Standard normal draws of x0's shape.
        weighting: "std" weighs the squared distance by s^2, :math:`|s \cdot score + z|^2`, which keeps every noise
            level equally loud; "likelihood" by g^2, which bounds the likelihood.
    """
    mean, std = process.perturb(x0, t)
    residual = std * score_fn(mean + std * z, t) + z
    if weighting == "likelihood":
        residual = residual * like(process.diffusion(t), x0) / std
    return residual.square().flatten(1).mean(1)
