r"""Training losses of a score along a linear diffusion.

The score of the Gaussian :math:`x_t \mid x_0` at :math:`m x_0 + s z` is :math:`-z / s`; the
minimiser of the mean squared distance to it is :math:`\nabla \log p_t`.

Shapes: B images, C channels, H x W pixels. Time: t = 0 is data, t = 1 is noise.

Source: Vincent, 2011; Song et al., 2021, https://arxiv.org/abs/2011.13456 (equation 7); in discrete
time Song & Ermon, 2019, https://arxiv.org/abs/1907.05600 (SMLD) and Ho et al., 2020,
https://arxiv.org/abs/2006.11239 (DDPM); the likelihood weighting is Song et al., 2021b,
https://arxiv.org/abs/2101.09258 (theorem 1, and section 5 for the sampling of times in proportion
to it); EDM is Karras et al., 2022, https://arxiv.org/abs/2206.00364 (table 1).
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from methods.shared.process import Chain, Process, like
from methods.shared.samplers import ScoreFn

Weighting = Literal["std", "likelihood"]
Reduction = Literal["mean", "sum"]
"""Of the squared residual over an image's dimensions: the mean, or half of the sum as in the
authors' VE runs.
"""


def denoising_loss(
    process: Process,
    score_fn: ScoreFn,
    x0: Tensor,
    t: Tensor,
    z: Tensor,
    weighting: Weighting = "std",
    reduction: Reduction = "mean",
) -> Tensor:
    r"""Returns the denoising loss of each image, shape (B,).

    Args:
        x0: Images, shape (B, C, H, W), in the range that the process was given.
        t: Times, shape (B,).
        z: Standard normal draws of x0's shape.
        weighting: "std" weighs the squared distance by s^2, :math:`|s \cdot score + z|^2`, which
            keeps every noise level equally loud; "likelihood" by g^2, which bounds the likelihood.
    """
    mean, std = process.perturb(x0, t)
    residual = std * score_fn(mean + std * z, t) + z
    if weighting == "likelihood":
        residual = residual * like(process.diffusion(t), x0) / std
    return squared(residual, reduction)


class Levels(NamedTuple):
    """SMLD's or DDPM's levels from the least noise up: mean coefficients and stds, (N,)."""

    mean: Tensor
    std: Tensor

    @classmethod
    def of(cls, chain: Chain) -> "Levels":
        """Returns the levels of :meth:`methods.shared.process.Process.published_chain`."""
        return cls(chain.mean_coefficient, chain.std)


def discrete_loss(
    levels: Levels,
    score_fn: ScoreFn,
    x0: Tensor,
    level: Tensor,
    z: Tensor,
    reduction: Reduction = "mean",
) -> Tensor:
    """Returns the denoising loss of each image at discrete noise levels, weighed by their variance,
    shape (B,).

    Args:
        score_fn: The score, a function of x and of levels, shape (B,).
        x0: Images, shape (B, C, H, W), in the range of the levels.
        level: Indices of levels, int64, shape (B,).
        z: Standard normal draws of x0's shape.
    """
    mean, std = (like(table.to(x0)[level], x0) for table in levels)
    return squared(std * score_fn(mean * x0 + std * z, level) + z, reduction)


def importance_times(process: Process, u: Tensor, t_min: float) -> tuple[Tensor, Tensor]:
    r"""Returns times whose density follows g^2 / s^2, and by what to multiply a loss of weighting
    "std" at them.

    The product has the expectation of the "likelihood" weighting at uniform times in [t_min, 1],
    without the variance that g^2 / s^2 adds there. For a linear diffusion that ratio is minus the
    derivative of the log-SNR, so these times are uniform in log-SNR, whatever the process.

    Args:
        u: Uniform draws in [0, 1), shape (B,).
        t_min: The least time.

    Returns:
        Times of u's shape, and the factor, a scalar.
    """
    least, most = process.log_snr(torch.tensor([1.0, t_min], dtype=torch.float64, device=u.device))
    t = process.time_of_log_snr(most + (least - most) * u.double())
    return t.clamp(t_min, 1).to(u), ((most - least) / (1 - t_min)).to(u)


def edm_loss(
    denoise: Callable[[Tensor, Tensor], Tensor],
    x0: Tensor,
    sigma: Tensor,
    z: Tensor,
    sigma_data: float,
) -> Tensor:
    r"""Returns EDM's loss of each image, :math:`\lambda |D(x_0 + \sigma z; \sigma) - x_0|^2`, shape
    (B,).

    The weight :math:`\lambda = (\sigma^2 + \sigma_d^2) / (\sigma \sigma_d)^2` makes the network's
    own target equally loud at every noise level.

    Args:
        denoise: The denoiser D of noisy images and noise levels.
        x0: Images, shape (B, C, H, W), in [-1, 1].
        sigma: Noise levels, shape (B,).
        z: Standard normal draws of x0's shape.
        sigma_data: Standard deviation of the images.
    """
    level = like(sigma, x0)
    weight = (level.square() + sigma_data**2) / (level * sigma_data).square()
    return (weight * (denoise(x0 + level * z, sigma) - x0).square()).flatten(1).mean(1)


def level_losses(loss_at: Callable[[Tensor], Tensor], times: Tensor) -> Tensor:
    """Returns the losses at each of some times or noise levels, shape (L, B), given a function of
    one, a scalar.

    The function should use equal draws at each, so that its losses differ by the noise level alone.
    """
    return torch.stack([loss_at(t) for t in times])


def squared(residual: Tensor, reduction: Reduction) -> Tensor:
    """Returns the squared residual of each image, shape (B,), as :data:`Reduction` says."""
    squares = residual.square().flatten(1)
    return squares.mean(1) if reduction == "mean" else 0.5 * squares.sum(1)
