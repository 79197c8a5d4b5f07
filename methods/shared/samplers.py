r"""Samplers of the reverse SDE: from noise at t = 1 to images, along a given grid of times.

They run a linear diffusion backwards in t,

.. math:: dx = \left(f x - g^2 \nabla \log p_t\right) dt + g\,d\bar{w} ,

with ``score_fn(x, t)`` for the gradient, t of shape (B,). Each takes the process, score_fn, the
prior's draw x of shape (B, C, H, W) and decreasing times of shape (steps + 1,), and returns x at
the last time. Noise is drawn in the order of the steps, one draw of x's shape a noisy step. All are
of one form,

.. math:: x \leftarrow \text{scale}\, x + \text{slope}\, \nabla \log p_t(x) + \text{std}\, z ,

whose coefficients are computed once, in float64, and meet x as Python floats. A step costs one
network evaluation.

Source: Song et al., 2021, https://arxiv.org/abs/2011.13456 (appendices D to F).
Departures: transitions between the grid's times are exact (``published_steps`` takes the authors'),
and the last step adds no noise (``last_noise``).
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from bench.method import Noise
from methods.shared.process import Process, published_index, time_like

ScoreFn = Callable[[Tensor, Tensor], Tensor]
"""The gradient of the log-density: (x of shape (B, C, H, W), t of shape (B,)) -> x's shape and
type. Steps change x in its place: who keeps it keeps a copy.
"""

Variance = Literal["posterior", "transition"]

Hook = Callable[[Tensor, float, float, Noise], Tensor]
"""What happens to x after an update from time t to time s: (x, t, s, noise) -> x, which the next
steps change in its place.
"""


class Steps(NamedTuple):
    """Coefficients of x <- scale x + slope score + std z, float64 tables of shape (steps,)."""

    scale: Tensor
    slope: Tensor
    std: Tensor


def euler_maruyama(
    process: Process,
    score_fn: ScoreFn,
    x: Tensor,
    times: Tensor,
    noise: Noise,
    *,
    probability_flow: bool = False,
    last_noise: bool = False,
    published_steps: int = 0,
) -> Tensor:
    """Solves the reverse SDE by Euler-Maruyama in t (appendix D).

    Args:
        probability_flow: Half the score and no noise: Euler's method on the probability flow.
        last_noise: Whether the last step adds noise too.
        published_steps: Above 0, every step has length 1 / published_steps whatever the times, as
            the authors' do.
    """
    steps = euler_maruyama_steps(process, times, published_steps, probability_flow=probability_flow)
    return walk(score_fn, x, times, noise, steps, last_noise=last_noise)


def reverse_diffusion(
    process: Process,
    score_fn: ScoreFn,
    x: Tensor,
    times: Tensor,
    noise: Noise,
    *,
    probability_flow: bool = False,
    last_noise: bool = False,
    published_steps: int = 0,
) -> Tensor:
    r"""Undoes each forward step :math:`x_t = a x_s + \sqrt{v} z` by the reverse-diffusion predictor
    (equation 46).

    .. math:: x_s = (2 - a) x_t + v \nabla \log p_t(x_t) + \sqrt{v} z

    (a, v) is the process's exact transition between neighbouring times, for sub-VP too, so any grid
    will do.

    Args:
        probability_flow: Half the score and no noise: a discretised probability flow.
        last_noise: Whether the last step adds noise too.
        published_steps: Above 0, the authors' (a, v) for that many steps
            (:meth:`Process.published_transition`): Euler steps for sub-VP, linearly spaced betas
            for VP.

    Raises:
        ValueError: ``published_steps`` is too small for VP.
    """
    steps = reverse_diffusion_steps(
        process, times, published_steps, probability_flow=probability_flow
    )
    return walk(score_fn, x, times, noise, steps, last_noise=last_noise)


def ancestral(
    process: Process,
    score_fn: ScoreFn,
    x: Tensor,
    times: Tensor,
    noise: Noise,
    *,
    variance: Variance = "posterior",
    last_noise: bool = False,
    published_steps: int = 0,
) -> Tensor:
    r"""Draws from DDPM's Gaussian for x_s given x_t (appendix F; Ho et al., 2020, section 3.2).

    Its mean is exact, :math:`(x_t + v \nabla \log p_t(x_t)) / a` with (a, v) as in
    :func:`reverse_diffusion`.

    Args:
        variance: That of x_s given x_t and x_0, or the transition's own v; the authors take the
            first for VE and the second for VP.
        last_noise: Whether the last step adds noise too.
        published_steps: As for :func:`reverse_diffusion`.

    Raises:
        ValueError: ``published_steps`` is too small for VP, or the process is sub-VP, which has no
            chain.
    """
    steps = ancestral_steps(process, times, published_steps, variance=variance)
    return walk(score_fn, x, times, noise, steps, last_noise=last_noise)


def denoise(process: Process, score_fn: ScoreFn, x: Tensor, t: float) -> Tensor:
    """Returns the mean of x0 given x at time t, by Tweedie's formula; one network evaluation."""
    at = torch.tensor(t, dtype=torch.float64)
    mean, std = process.mean_coefficient(at).item(), process.std(at).item()
    return (x + std**2 * score_fn(x, time_like(x, t))) / mean


def euler_maruyama_steps(
    process: Process, times: Tensor, published_steps: int = 0, *, probability_flow: bool = False
) -> Steps:
    """Returns the coefficients of :func:`euler_maruyama`."""
    t = times[:-1]
    dt = torch.full_like(t, 1 / published_steps) if published_steps else t - times[1:]
    variance = process.diffusion(t).square() * dt
    return _noisy(1 - process.drift_coefficient(t) * dt, variance, probability_flow)


def reverse_diffusion_steps(
    process: Process, times: Tensor, published_steps: int = 0, *, probability_flow: bool = False
) -> Steps:
    """Returns the coefficients of :func:`reverse_diffusion`."""
    a, variance = transitions(process, times, published_steps)
    return _noisy(2 - a, variance, probability_flow)


def ancestral_steps(
    process: Process, times: Tensor, published_steps: int = 0, *, variance: Variance = "posterior"
) -> Steps:
    """Returns the coefficients of :func:`ancestral`."""
    a, v = transitions(process, times, published_steps)
    spread = v.sqrt()
    if variance == "posterior" and published_steps:
        posterior = process.published_chain(published_steps).posterior_variance
        spread = posterior.sqrt()[published_index(times[:-1], published_steps)]
    elif variance == "posterior":
        std = process.std(times)
        spread = spread * std[1:] / std[:-1]
    return Steps(1 / a, v / a, spread)


def transitions(process: Process, times: Tensor, published_steps: int = 0) -> tuple[Tensor, Tensor]:
    """Returns (a, v) of forward steps between times; above 0 published steps, the authors'."""
    if published_steps:
        return process.published_transition(times[:-1], published_steps)
    return process.transition(times[:-1], times[1:])


def walk(
    score_fn: ScoreFn, x: Tensor, times: Tensor, noise: Noise, steps: Steps, *, last_noise: bool
) -> Tensor:
    """Takes the steps, the k-th with the score at times[k]; the last adds no noise by default."""
    count, x = len(steps.scale), x.clone()
    for k, (t, scale, slope, std) in enumerate(
        zip(times[:count].tolist(), *_floats(steps), strict=True), start=1
    ):
        step(score_fn, x, time_like(x, t), noise, (scale, slope, std), last_noise or k < count)
    return x


def step(
    score_fn: ScoreFn,
    x: Tensor,
    time: Tensor,
    noise: Noise,
    coefficients: tuple[float, float, float],
    noisy: bool,
) -> None:
    """Makes x, in its place, scale x + slope score(x, time) + std z; the last only if ``noisy``."""
    scale, slope, std = coefficients
    score = score_fn(x, time)
    if scale != 1:
        x.mul_(scale)
    x.add_(score, alpha=slope)
    if noisy and std > 0:
        x.add_(noise.normal(x.shape), alpha=std)


def _noisy(scale: Tensor, variance: Tensor, probability_flow: bool) -> Steps:
    if probability_flow:
        return Steps(scale, 0.5 * variance, torch.zeros_like(variance))
    return Steps(scale, variance, variance.sqrt())


def _floats(steps: Steps) -> tuple[list[float], ...]:
    return tuple(table.tolist() for table in steps)
