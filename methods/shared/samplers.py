r"""Samplers: from noise at t = 1 to images, along a given grid of times.

They run either the reverse SDE or the probability-flow ODE of a linear diffusion,

.. math:: dx = \left(f x - g^2 \nabla \log p_t\right) dt + g\,d\bar{w}, \qquad
          dx = \left(f x - \tfrac12 g^2 \nabla \log p_t\right) dt ,

backwards in t, with ``score_fn(x, t)`` for the gradient, t of shape (B,). Each takes the process, score_fn, the
prior's draw x of shape (B, C, H, W) and decreasing times of shape (steps + 1,), and returns x at the last time.
Noise is drawn in the order of the steps, one draw of x's shape a noisy step. Coefficients are computed once, in
float64, and meet x as Python floats.

Cost in network evaluations an image, for K steps: K, but 2K - 1 for :func:`flow_heun` (2K with ``last="heun"``),
and as many as the tolerance asks for in :func:`flow_adaptive`.

Source: Song et al., 2021, https://arxiv.org/abs/2011.13456 (appendices D and E); Karras et al., 2022,
https://arxiv.org/abs/2206.00364 (algorithm 1).
Departures: transitions between the grid's times are exact (``published_steps`` takes the authors'), and the last
step adds no noise (``last_noise``).
"""

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from bench.method import Noise
from methods.shared.process import Process, like

ScoreFn = Callable[[Tensor, Tensor], Tensor]
"""The gradient of the log-density: (x of shape (B, C, H, W), t of shape (B,)) -> x's shape."""

Variable = Literal["angle", "sigma", "t"]


def euler_maruyama(
    process: Process,
    score_fn: ScoreFn,
    x: Tensor,
    times: Tensor,
    noise: Noise,
    *,
    last_noise: bool = False,
    published_steps: int = 0,
) -> Tensor:
    """Solves the reverse SDE by Euler-Maruyama in t (appendix D).

    Args:
        last_noise: Whether the last step adds noise too.
        published_steps: Above 0, every step has length 1 / published_steps whatever the times, as the authors' do.
    """
    t = times[:-1]
    dt = torch.full_like(t, 1 / published_steps) if published_steps else t - times[1:]
    variance = process.diffusion(t).square() * dt
    scale = 1 - process.drift_coefficient(t) * dt
    return _walk(score_fn, x, t, noise, scale, variance, variance.sqrt(), last_noise)


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
    r"""Undoes each forward step :math:`x_t = a x_s + \sqrt{v} z` by the reverse-diffusion predictor (equation 46).

    .. math:: x_s = (2 - a) x_t + v \nabla \log p_t(x_t) + \sqrt{v} z

    (a, v) is the process's exact transition between neighbouring times, for sub-VP too, so any grid will do.

    Args:
        probability_flow: Half the score and no noise: a discretised probability flow.
        last_noise: Whether the last step adds noise too.
        published_steps: Above 0, the authors' (a, v) for that many steps
            (:meth:`Process.published_transition`): Euler steps for sub-VP, linearly spaced betas for VP.

    Raises:
        ValueError: ``published_steps`` is too small for VP.
    """
    t = times[:-1]
    if published_steps:
        a, variance = process.published_transition(t, published_steps)
    else:
        a, variance = process.transition(t, times[1:])
    if probability_flow:
        return _walk(score_fn, x, t, noise, 2 - a, 0.5 * variance, torch.zeros_like(t), last_noise)
    return _walk(score_fn, x, t, noise, 2 - a, variance, variance.sqrt(), last_noise)


def ancestral(
    process: Process,
    score_fn: ScoreFn,
    x: Tensor,
    times: Tensor,
    noise: Noise,
    *,
    variance: Literal["posterior", "transition"] = "posterior",
    last_noise: bool = False,
) -> Tensor:
    r"""Draws from DDPM's Gaussian for x_s given x_t (appendix F; Ho et al., 2020, section 3.2).

    Its mean is exact, :math:`(x_t + v \nabla \log p_t(x_t)) / a` with (a, v) as in :func:`reverse_diffusion`.

    Args:
        variance: That of x_s given x_t and x_0, or the transition's own v; the authors take the first for VE and
            the second for VP.
        last_noise: Whether the last step adds noise too.
    """
    a, v = process.transition(times[:-1], times[1:])
    std = process.std(times)
    spread = v.sqrt() * std[1:] / std[:-1] if variance == "posterior" else v.sqrt()
    return _walk(score_fn, x, times[:-1], noise, 1 / a, v / a, spread, last_noise)


def flow_euler(
    process: Process,
    score_fn: ScoreFn,
    x: Tensor,
    times: Tensor,
    noise: Noise | None = None,
    *,
    variable: Variable = "angle",
    data_std: float = 1.0,
) -> Tensor:
    """Solves the probability flow by Euler's method, of order 1; in "sigma" this is DDIM.

    Args:
        variable, data_std: What the steps are linear in: see :func:`flow_heun`.
    """
    scale, clock, linear, slope = _flow_tables(process, times, variable, data_std)
    u = x / scale[0]
    for k, t in enumerate(times[:-1].tolist()):
        direction = slope[k] * score_fn(scale[k] * u, _full(x, t)) + linear[k] * u
        u = u + (clock[k + 1] - clock[k]) * direction
    return scale[-1] * u


def flow_heun(
    process: Process,
    score_fn: ScoreFn,
    x: Tensor,
    times: Tensor,
    noise: Noise | None = None,
    *,
    variable: Variable = "angle",
    data_std: float = 1.0,
    last: Literal["euler", "heun"] = "euler",
) -> Tensor:
    r"""Solves the probability flow by Heun's method (the trapezoid with an Euler predictor), of order 2.

    Args:
        variable: What the steps are linear in. "t": x against t. "sigma": y = x / m against the noise level
            s / m, EDM's :math:`dy/d\sigma = -\sigma \nabla_y \log p`, nearly straight where the noise is
            the smaller part. "angle": y over its expected size :math:`\sqrt{\sigma^2 + d^2}` against
            :math:`\arctan(\sigma / d)`, which stands still for data of standard deviation d: a few steps from
            far above the data's scale to far below it neither overshoot nor blow up.
        data_std: The d of "angle", in the range of the process's images. Their principal directions count, so
            it is rather above the standard deviation of a pixel.
        last: Whether the last step takes its second evaluation, at the last time ("heun"), or not ("euler", EDM).
    """
    scale, clock, linear, slope = _flow_tables(process, times, variable, data_std)
    u = x / scale[0]
    steps = len(clock) - 1
    for k in range(steps):
        length = clock[k + 1] - clock[k]
        direction = slope[k] * score_fn(scale[k] * u, _full(x, times[k].item())) + linear[k] * u
        ahead = u + length * direction
        if k == steps - 1 and last == "euler":
            u = ahead
        else:
            second = score_fn(scale[k + 1] * ahead, _full(x, times[k + 1].item()))
            u = u + 0.5 * length * (direction + slope[k + 1] * second + linear[k + 1] * ahead)
    return scale[-1] * u


def flow_adaptive(
    process: Process,
    score_fn: ScoreFn,
    x: Tensor,
    *,
    tolerance: float = 1e-5,
    t_end: float | None = None,
) -> Tensor:
    """Solves the probability flow from t = 1 to ``t_end`` by adaptive Runge-Kutta steps (scipy's RK45).

    The whole batch is one system with one step size, so an image depends on its batch.

    Args:
        tolerance: Relative and absolute.
        t_end: Where to stop, by default the process's ``t_min``.

    Raises:
        FloatingPointError: The solver gave up or the flow is not finite; the message says why.
    """

    def velocity(t: float, state: np.ndarray) -> np.ndarray:
        now, times = torch.from_numpy(state).to(x).view_as(x), _full(x, t)
        return finite(flow(process, score_fn(now, times), now, times).double().flatten().cpu().numpy(), t)

    start = x.double().flatten().cpu().numpy()
    end = process.t_min if t_end is None else t_end
    path = solve_ivp(velocity, (1.0, end), start, rtol=tolerance, atol=tolerance, method="RK45", t_eval=[end])
    if not path.success:
        raise FloatingPointError(f"the probability flow was not solved to {tolerance}: {path.message}")
    return torch.from_numpy(path.y[:, -1]).to(x).view_as(x)


def denoise(process: Process, score_fn: ScoreFn, x: Tensor, t: float) -> Tensor:
    """Returns the mean of x0 given x at time t, by Tweedie's formula; one network evaluation."""
    mean, std = _floats(process, t, process.mean_coefficient, process.std)
    return (x + std**2 * score_fn(x, _full(x, t))) / mean


def flow(process: Process, score: Tensor, x: Tensor, t: Tensor) -> Tensor:
    """Returns the velocity dx/dt of the probability flow at x, given the score there, for t of shape (B,)."""
    half = 0.5 * process.diffusion(t).square()
    return like(process.drift_coefficient(t), x) * x - like(half, x) * score


def finite(values: np.ndarray, t: float) -> np.ndarray:
    """Returns the values, all finite: with others the adaptive solver would look for a step size forever.

    Raises:
        FloatingPointError: One is not.
    """
    if not np.isfinite(values).all():
        raise FloatingPointError(f"the probability flow is not finite at t = {t:.6g}")
    return values


def _walk(
    score_fn: ScoreFn,
    x: Tensor,
    t: Tensor,
    noise: Noise,
    scale: Tensor,
    slope: Tensor,
    std: Tensor,
    last_noise: bool,
) -> Tensor:
    """Steps x <- scale x + slope score + std z, one step for each entry of the float64 tables."""
    coefficients = zip(t.tolist(), scale.tolist(), slope.tolist(), std.tolist(), strict=True)
    for k, (now, a, b, c) in enumerate(coefficients, start=1):
        x = (a * x).add_(score_fn(x, _full(x, now)), alpha=b)
        if c > 0 and (k < len(t) or last_noise):
            x.add_(noise.normal(x.shape), alpha=c)
    return x


def _flow_tables(process: Process, times: Tensor, variable: str, data_std: float) -> tuple[list[float], ...]:
    """Returns (c, h, p, q) at the times: with u = x / c the flow is du/dh = p u + q score(c u)."""
    mean, std, level = process.mean_coefficient(times), process.std(times), process.noise_level(times)
    if variable == "sigma":
        tables = mean, level, torch.zeros_like(times), -std
    elif variable == "angle":
        tangent = level / data_std
        secant = torch.sqrt(1 + tangent.square())
        tables = mean * data_std * secant, torch.atan(tangent), -tangent, -std * secant
    elif variable == "t":
        drift, diffusion = process.drift_coefficient(times), process.diffusion(times)
        tables = torch.ones_like(times), times, drift, -0.5 * diffusion.square()
    else:
        raise ValueError(f"unknown variable {variable!r}; there are {', '.join(get_args(Variable))}")
    return tuple(table.tolist() for table in tables)


def _full(x: Tensor, t: float) -> Tensor:
    return torch.full((len(x),), t, dtype=x.dtype, device=x.device)


def _floats(process: Process, t: float, *functions: Callable[[Tensor], Tensor]) -> tuple[float, ...]:
    at = torch.tensor(t, dtype=torch.float64)
    return tuple(function(at).item() for function in functions)
