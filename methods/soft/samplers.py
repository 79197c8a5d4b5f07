r"""Samplers that undo a linear corruption in jumps from time t to an earlier time s.

Each predicts the clean image, corrupts it as at s, and keeps a part of the noise that it believes
to see:

.. math:: x \leftarrow C_s \hat{x}_0 + \text{kept}\,(x - C_t \hat{x}_0) + \text{std}\, z

============  ============================  =====================================
sampler       kept                          std
============  ============================  =====================================
naive         0                             :math:`\sigma_s`
momentum      :math:`(\sigma_s/\sigma_t)^2` :math:`\sqrt{\sigma_t^2-\sigma_s^2}`
ancestral     as momentum                   momentum's times :math:`\sigma_s/\sigma_t`
ddim          :math:`\sigma_s/\sigma_t`     0
============  ============================  =====================================

for the noise's standard deviation sigma. All but naive solve, to first order, an SDE or an ODE that
has the corruption's marginals. With C = I momentum is the reverse-diffusion predictor of VE, and
where the noise does not change it is Cold Diffusion's improved sampler, :math:`x + (C_s - C_t)
\hat{x}_0`. Naive does not converge: every step draws fresh noise around a prediction that has less
variance than the image.

Samplers take the corruption, the denoiser, the prior's draw x of shape (B, C, H, W) and decreasing
times of shape (steps + 1,), and return x at the last time. Noise is drawn in the order of the
steps, one draw of x's shape a noisy step. Coefficients are computed once, in float64. A step costs
one network evaluation, and so does the last denoising.

Source: Daras et al., 2022, https://arxiv.org/abs/2209.05442 (algorithms 1 and 2); Bansal et al.,
2022, https://arxiv.org/abs/2208.09392 (algorithm 2); Song et al., 2021,
https://arxiv.org/abs/2010.02502 (equation 12).
Departures: the last step adds no noise (``last_noise``).
"""

import itertools
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from bench.method import Noise
from methods.shared.process import time_like
from methods.soft.corruption import Corruption
from methods.soft.denoiser import Denoiser

Final = Literal["none", "denoise"]
"""What is returned: x at the last time, or the clean image expected behind it, for one more
evaluation.
"""


class Steps(NamedTuple):
    """Coefficients of x <- C_s x0hat + kept (x - C_t x0hat) + std z, float64, shape (steps,)."""

    kept: Tensor
    std: Tensor


def naive(
    corruption: Corruption,
    denoiser: Denoiser,
    x: Tensor,
    times: Tensor,
    noise: Noise,
    *,
    last_noise: bool = False,
    final: Final = "none",
) -> Tensor:
    """Corrupts each prediction anew, with fresh noise (algorithm 1).

    Where an image varies more than the noise hides, its variance comes out halved, however many the
    steps.

    Args:
        last_noise: Whether the last step adds noise too.
        final: See :data:`Final`.
    """
    std = corruption.std(times)
    steps = Steps(torch.zeros_like(std[1:]), std[1:])
    return walk(corruption, denoiser, x, times, noise, steps, last_noise=last_noise, final=final)


def momentum(
    corruption: Corruption,
    denoiser: Denoiser,
    x: Tensor,
    times: Tensor,
    noise: Noise,
    *,
    last_noise: bool = False,
    final: Final = "none",
) -> Tensor:
    """Moves by the change that the corruption makes to the prediction, and denoises by a step of VE
    (algorithm 2).

    Each noisy step leaves (sigma_t^2 - sigma_s^2)^2 / sigma_t^2 too much variance.

    Args:
        last_noise, final: As in :func:`naive`.

    Raises:
        ValueError: There is no noise at a time before the last, or it grows towards the data.
    """
    ratio, variance = _noise_step(corruption, times)
    steps = Steps(ratio.square(), variance.sqrt())
    return walk(corruption, denoiser, x, times, noise, steps, last_noise=last_noise, final=final)


def ancestral(
    corruption: Corruption,
    denoiser: Denoiser,
    x: Tensor,
    times: Tensor,
    noise: Noise,
    *,
    last_noise: bool = False,
    final: Final = "none",
) -> Tensor:
    """Takes momentum's step with as much noise as makes the variance right.

    Args:
        last_noise, final: As in :func:`naive`.

    Raises:
        ValueError: As :func:`momentum`.
    """
    return ddim(corruption, denoiser, x, times, noise, eta=1.0, last_noise=last_noise, final=final)


def ddim(
    corruption: Corruption,
    denoiser: Denoiser,
    x: Tensor,
    times: Tensor,
    noise: Noise,
    *,
    eta: float = 0.0,
    last_noise: bool = False,
    final: Final = "none",
) -> Tensor:
    """Keeps the noise that it sees, scaled to that at s; the flow by an exponential Euler step.

    Args:
        eta: Part of the kept noise that is fresh, in units of :func:`ancestral`'s.
        last_noise, final: As in :func:`naive`.

    Raises:
        ValueError: As :func:`momentum`; without fresh noise it may grow.
    """
    ratio, variance = _noise_step(corruption, times, falling=eta > 0)
    fresh = eta * ratio * variance.sqrt()
    std = corruption.std(times)
    kept = torch.where(
        fresh > 0, (std[1:].square() - fresh.square()).clamp(min=0).sqrt() / std[:-1], ratio
    )
    return walk(
        corruption,
        denoiser,
        x,
        times,
        noise,
        Steps(kept, fresh),
        last_noise=last_noise,
        final=final,
    )


def walk(
    corruption: Corruption,
    denoiser: Denoiser,
    x: Tensor,
    times: Tensor,
    noise: Noise,
    steps: Steps,
    *,
    last_noise: bool,
    final: Final,
) -> Tensor:
    """Takes the steps, the last noise-free unless ``last_noise``, and the last denoising."""
    clock, (kept, std) = times.tolist(), (table.tolist() for table in steps)
    for k, (t, s) in enumerate(itertools.pairwise(clock)):
        clean = denoiser(x, time_like(x, t))
        x = corruption.apply(clean, _at(s, x)) + kept[k] * (x - corruption.apply(clean, _at(t, x)))
        if std[k] > 0 and (last_noise or k < len(kept) - 1):
            x = x.add_(noise.normal(x.shape), alpha=std[k])
    return finish(denoiser, x, clock[-1], final)


def finish(denoiser: Denoiser, x: Tensor, t: float, final: Final) -> Tensor:
    """Returns what :data:`Final` says of x at time t."""
    return denoiser(x, time_like(x, t)) if final == "denoise" else x


def _at(t: float, x: Tensor) -> Tensor:
    """Returns one time for the whole batch, float64, on x's device."""
    return torch.full((), t, dtype=torch.float64, device=x.device)


def _noise_step(
    corruption: Corruption, times: Tensor, *, falling: bool = True
) -> tuple[Tensor, Tensor]:
    """Returns sigma_s / sigma_t and sigma_t^2 - sigma_s^2 of each step, the latter at least 0.

    Raises:
        ValueError: There is no noise at a time before the last, or, if it should be ``falling``,
            it grows.
    """
    std = corruption.std(times.double())
    before, after = std[:-1], std[1:]
    if not (before > 0).all():
        where = times[:-1][before <= 0][0].item()
        raise ValueError(
            f"there is no noise at t = {where:.6g}, where a step begins: end the times there, or "
            "later"
        )
    if falling and (after > before * (1 + 1e-9)).any():
        where = times[1:][after > before * (1 + 1e-9)][0].item()
        raise ValueError(
            f"the noise grows towards t = {where:.6g}, which leaves no variance to add: take ddim "
            "or naive"
        )
    # Along a plateau the two differ by rounding alone, which may be negative.
    return after / before, ((before - after) * (before + after)).clamp(min=0)
