r"""The training losses of CLD: denoising score matching of the velocity alone.

Noise enters v alone, so only :math:`\nabla_v \log p_t(x, v)` is learnt. Given an image, (x, v) is
Gaussian, and the score by v of that Gaussian at :math:`\mu + L z` is :math:`-\ell z_v` with
:math:`\ell = 1 / L_{vv}`. Hybrid score matching (HSM) averages over the velocity that the image
starts with; denoising score matching (DSM) draws one.

Shapes: images are (B, C, H, W), states u = (x, v) and draws z (B, 2C, H, W). Time: t = 0 is data, t
= 1 is noise.

Source: Dockhorn et al., 2022, https://arxiv.org/abs/2112.07068 (section 3.2, appendix B.3).
"""

from collections.abc import Callable
from typing import Literal

from torch import Tensor

from methods.cld.process import CLD
from methods.shared.process import like

VelocityScore = Callable[[Tensor, Tensor], Tensor]
"""The gradient by v of the log-density: (u of shape (B, 2C, H, W), t of shape (B,)) -> (B, C, H,
W).
"""

Weighting = Literal["std", "rate", "likelihood"]
Reduction = Literal["mean", "sum"]
"""Of the squared residual over an image's dimensions; the sum is the authors'."""


def velocity_loss(
    process: CLD,
    score_fn: VelocityScore,
    x0: Tensor,
    t: Tensor,
    z: Tensor,
    v0: Tensor | None = None,
    weighting: Weighting = "std",
    reduction: Reduction = "mean",
) -> Tensor:
    r"""Returns the loss of each image, shape (B,).

    Args:
        x0: Images in [-1, 1].
        t: Times, float64, shape (B,).
        z: Standard normal draws for both halves of the state.
        v0: Velocities at t = 0, of x0's shape, for DSM; None is HSM.
        weighting: Of the squared distance between the scores. "std" (the authors' ``reweightedv2``)
            weighs by :math:`1 / \ell^2`, so that :math:`|score / \ell + z_v|^2` is equally loud at
            all times; "rate" (``reweightedv1``) by :math:`\Gamma \beta / \ell^2`; "likelihood" by
            :math:`\Gamma \beta`, half of the squared diffusion, which bounds the likelihood.
    """
    u = process.perturb(x0, t, z, v0)
    scale = process.score_scale(t, None if v0 is None else 0.0)
    residual = score_fn(u, t) / like(scale.to(x0), x0) + z.chunk(2, 1)[1]
    squares = residual.square().flatten(1)
    loss = squares.mean(1) if reduction == "mean" else squares.sum(1)
    if weighting == "std":
        return loss
    rate = process.friction * process.beta(t)
    return (rate if weighting == "rate" else rate * scale.square()).to(x0) * loss
