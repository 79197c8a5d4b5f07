r"""Training losses of a score at many noise levels: denoising and sliced score matching.

An image :math:`x_0` is noised to :math:`x = x_0 + \sigma z`. Both losses are least where the
network's output is the score of the noisy images' density at their level; they are weighed by
:math:`\sigma^a`, with a = 2 so that every level is equally loud, since a score is about as large as
:math:`1 / \sigma`.

Shapes: B images, C channels, H x W pixels, P projections.

Source: Song & Ermon, 2019, https://arxiv.org/abs/1907.05600 (equations 2, 5 and 6, section 4.2);
denoising is Vincent, 2011, sliced score matching Song et al., 2019,
https://arxiv.org/abs/1905.07088 (equation 8).
Departures: the denoising target is the noise itself, as in NCSNv2's code; NCSN's subtracts images
that it rounded.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from methods.shared.objective import Reduction
from methods.shared.process import like

ScoreAt = Callable[[Tensor], Tensor]
"""The score of noisy images, of their shape, each at its own noise level."""


def annealed_loss(
    score_fn: ScoreAt,
    x0: Tensor,
    sigma: Tensor,
    z: Tensor,
    anneal_power: float = 2.0,
    reduction: Reduction = "mean",
) -> Tensor:
    r"""Returns the denoising loss of each image, :math:`\sigma^a |s(x_0 + \sigma z) + z /
    \sigma|^2`, shape (B,).

    Args:
        score_fn: The network's score, at the levels ``sigma``.
        x0: Images, shape (B, C, H, W).
        sigma: Noise levels, shape (B,).
        z: Standard normal draws of x0's shape.
        anneal_power: The exponent a.
        reduction: The mean over dimensions, or half of the sum as the authors have it.
    """
    level = like(sigma, x0)
    half = anneal_power / 2
    residual = level**half * score_fn(x0 + level * z) + level ** (half - 1) * z
    squares = residual.square().flatten(1)
    return squares.mean(1) if reduction == "mean" else 0.5 * squares.sum(1)


def sliced_loss(
    score_fn: ScoreAt,
    x: Tensor,
    sigma: Tensor,
    v: Tensor,
    anneal_power: float = 2.0,
    reduction: Reduction = "mean",
) -> Tensor:
    r"""Returns the sliced score-matching loss of each image, shape (B,), which may be negative.

    With projections v of unit covariance, as the mean over them of :math:`\sigma^a (|s(x)|^2 / 2 +
    v^\top \nabla_x s(x)\, v)`. It needs no target, so it would also match the score of images to
    which no noise was added.

    Args:
        score_fn: The network's score, at the levels ``sigma``; one image should not change
            another's.
        x: Noisy images, shape (B, C, H, W).
        sigma: Noise levels, shape (B,).
        v: Projections, shape (P, B, C, H, W).
        anneal_power: The exponent a.
        reduction: Twice the above over the number of dimensions, which is on the scale of the
            denoising loss, or the above itself, as the authors have it.
    """
    learning = (
        torch.is_grad_enabled()
    )  # else only the derivative by x is asked for, and its graph is dropped
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        score = score_fn(x)
        slopes = [
            torch.autograd.grad(
                (score * direction).sum(), x, create_graph=learning, retain_graph=True
            )[0]
            for direction in v
        ]
    traces = [
        (slope * direction).flatten(1).sum(1) for slope, direction in zip(slopes, v, strict=True)
    ]
    loss = 0.5 * score.square().flatten(1).sum(1) + torch.stack(traces).mean(0)
    loss = sigma**anneal_power * loss
    return loss * (2 / x[0].numel()) if reduction == "mean" else loss
