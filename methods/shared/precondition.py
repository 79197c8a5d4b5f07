r"""EDM's denoiser: a network whose input, output and target have unit variance at every noise
level.

.. math:: D(x; \sigma) = c_{skip} x + c_{out} F(c_{in} x; c_{noise}), \qquad
          \nabla \log p_\sigma(x) = (D(x; \sigma) - x) / \sigma^2 .

Shapes: x is (B, C, H, W) with the data in [-1, 1] and zero mean assumed; sigma, its noise, is (B,).

Source: Karras et al., 2022, https://arxiv.org/abs/2206.00364 (equations 3 and 7, table 1 column
"Ours").
"""

from collections.abc import Callable

import torch
from torch import Tensor

from methods.shared.process import like

Denoiser = Callable[[Tensor, Tensor], Tensor]
"""The expected clean image given noisy x, shape (B, C, H, W), and its noise level sigma, shape
(B,).
"""


def denoiser(network: Callable[[Tensor, Tensor], Tensor], sigma_data: float) -> Denoiser:
    """Returns the denoiser that a network F(x, condition) stands for.

    Args:
        network: Sees images of unit variance and log(sigma) / 4.
        sigma_data: Standard deviation of the data.
    """

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        variance = sigma.square() + sigma_data**2
        skip = sigma_data**2 / variance
        out = sigma * sigma_data / variance.sqrt()
        output = network(like(variance.rsqrt(), x) * x, sigma.log() / 4)
        return like(skip, x) * x + like(out, x) * output

    return denoise


def score_of(denoise: Denoiser, x: Tensor, sigma: Tensor) -> Tensor:
    """Returns the score of the noisy images at x, of x's shape (Tweedie's formula)."""
    return (denoise(x, sigma) - x) / like(sigma, x).square()


def log_normal(draws: Tensor, mean: float, std: float) -> Tensor:
    """Returns noise levels whose logarithm is normal, from standard normal draws of any shape."""
    return torch.exp(mean + std * draws)
