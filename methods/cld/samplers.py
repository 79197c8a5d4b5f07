r"""Samplers of CLD: from noise at t = 1 to images with their velocities, along a given grid of
times.

The reverse SDE falls into a part that is solved exactly and the part that holds the score,

.. math:: dx = M^{-1} \beta v\,dt, \qquad
          dv = \left[-\beta x + \Gamma M^{-1} \beta v\right] dt + \sqrt{2 \Gamma \beta}\,d\bar{w}
               - 2 \Gamma \beta \left[\nabla_v \log p_t(x, v) + M^{-1} v\right] dt ,

of which the symmetric splitting sampler (SSCS) takes one half step, one step and one half step. The
first part, run backwards in t, is the diffusion itself with the velocity reversed.

Samplers take the process, ``score_fn(u, t)`` for the score by v, the prior's draw u = (x, v) of
shape (B, 2C, H, W) and decreasing times of shape (steps + 1,), and return u at the last time.
``score_fn`` gets t in float64, shape (B,).

Source: Dockhorn et al., 2022, https://arxiv.org/abs/2112.07068 (section 3.3, appendices C and D).
Departures: each half step of SSCS goes over its own half of the interval (``half_step``), and x is
moved along v to t = 0 at the end without asking the network, whose answer would reach v alone
(``denoise``).
"""

from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from bench.method import Noise
from methods.cld.objective import VelocityScore
from methods.cld.process import CLD
from methods.shared.adaptive import ErrorNorm, Solver, solve

HalfStep = Literal["exact", "published"]
Denoise = Literal["drift", "none", "published"]


def euler_maruyama(
    process: CLD, score_fn: VelocityScore, u: Tensor, times: Tensor, noise: Noise
) -> Tensor:
    """Solves the reverse SDE by Euler-Maruyama in t; one draw of v's shape per step."""
    for t, s in pairwise(times.tolist()):
        x, v = reverse_drift_step(process, score_fn, u, t, s).chunk(2, 1)
        spread = (process.diffusion(_scalar(t)) * (t - s) ** 0.5).item()
        u = torch.cat([x, v + spread * noise.normal(v.shape)], 1)
    return u


def sscs(
    process: CLD,
    score_fn: VelocityScore,
    u: Tensor,
    times: Tensor,
    noise: Noise,
    *,
    half_step: HalfStep = "exact",
    numerical_eps: float = 0.0,
) -> Tensor:
    """Solves the reverse SDE by the symmetric splitting sampler, of order 1 as its score's part is
    Euler's.

    Two draws of u's shape and one evaluation per step.

    Args:
        half_step: Half steps over [t, m] and [m, s], m the middle of the step from t to s;
            "published" takes the rates of the first for both, as the authors' code does, which
            differs if the rate is not constant.
        numerical_eps: Added to both variances of a half step.
    """
    middles = (times[:-1] + times[1:]) / 2
    first = _free_steps(process, times[:-1], middles, numerical_eps)
    second = (
        first
        if half_step == "published"
        else _free_steps(process, middles, times[1:], numerical_eps)
    )
    for k, (t, s) in enumerate(pairwise(times.tolist())):
        u = _free_step(u, first[k], noise.normal(u.shape))
        push = 2 * process.friction * (process.beta(_scalar(t)) * (t - s)).item()
        u = _pushed(u, push * _excess(process, score_fn, u, t))
        u = _free_step(u, second[k], noise.normal(u.shape))
    return u


def sscs_midpoint(
    process: CLD, score_fn: VelocityScore, u: Tensor, times: Tensor, noise: Noise
) -> Tensor:
    """Solves the reverse SDE by the symmetric splitting sampler with the midpoint rule for its
    score's part: order 2.

    Two draws of u's shape and two evaluations per step, both at the middle of the step.
    """
    middles = (times[:-1] + times[1:]) / 2
    first, second = (
        _free_steps(process, times[:-1], middles),
        _free_steps(process, middles, times[1:]),
    )
    pushes = (2 * process.friction * process.beta_integral(times[:-1], times[1:])).tolist()
    for k, middle in enumerate(middles.tolist()):
        u = _free_step(u, first[k], noise.normal(u.shape))
        halfway = _pushed(u, 0.5 * pushes[k] * _excess(process, score_fn, u, middle))
        u = _pushed(u, pushes[k] * _excess(process, score_fn, halfway, middle))
        u = _free_step(u, second[k], noise.normal(u.shape))
    return u


def flow_euler(
    process: CLD, score_fn: VelocityScore, u: Tensor, times: Tensor, noise: Noise | None = None
) -> Tensor:
    """Solves the probability flow by Euler's method in t; one evaluation per step."""
    for t, s in pairwise(times.tolist()):
        u = u - (t - s) * _slope(process, score_fn, u, t)
    return u


def flow_heun(
    process: CLD,
    score_fn: VelocityScore,
    u: Tensor,
    times: Tensor,
    noise: Noise | None = None,
    *,
    last: Literal["euler", "heun"] = "euler",
) -> Tensor:
    """Solves the probability flow by Heun's method in t, of order 2.

    Args:
        last: Whether the last step takes its second evaluation, at the last time ("heun"), or not
            ("euler").
    """
    end = times[-1].item()
    for t, s in pairwise(times.tolist()):
        slope = _slope(process, score_fn, u, t)
        ahead = u - (t - s) * slope
        if s > end or last == "heun":
            ahead = u - 0.5 * (t - s) * (slope + _slope(process, score_fn, ahead, s))
        u = ahead
    return u


def flow_adaptive(
    process: CLD,
    score_fn: VelocityScore,
    u: Tensor,
    *,
    tolerance: float = 1e-5,
    t_end: float | None = None,
    solver: Solver = "scipy",
    error_norm: ErrorNorm = "batch",
) -> Tensor:
    """Solves the probability flow from t = 1 to ``t_end`` by adaptive Runge-Kutta steps.

    Args:
        tolerance: Relative and absolute.
        t_end: Where to stop, by default the process's ``t_min``.
        solver, error_norm: See :func:`methods.shared.adaptive.flow_adaptive`.

    Raises:
        FloatingPointError: The solver gave up or the flow is not finite; the message says why.
    """

    def velocity(t: Tensor, y: Tensor, rows: Tensor) -> Tensor:
        now = y.to(u.dtype).view(-1, *u.shape[1:])
        return process.flow(score_fn(now, t), now, t).double().flatten(1)

    t_end = process.t_min if t_end is None else t_end
    y = solve(
        velocity,
        u.double().flatten(1),
        1.0,
        t_end,
        tolerance=tolerance,
        solver=solver,
        error_norm=error_norm,
    )
    return y.to(u.dtype).view_as(u)


def denoise(
    process: CLD, score_fn: VelocityScore, u: Tensor, t: float, how: Denoise = "drift"
) -> Tensor:
    """Returns u taken from t to 0 by one Euler step without noise.

    Args:
        how: "drift" moves x alone, by its own velocity, without an evaluation; "published" is the
            authors' step, which evaluates the score to move v too, and leaves the same x; "none"
            returns u as it is.
    """
    if how == "none":
        return u
    if how == "published":
        return reverse_drift_step(process, score_fn, u, t, 0.0)
    x, v = u.chunk(2, 1)
    return torch.cat([x - t * process.beta(_scalar(t)).item() / process.mass * v, v], 1)


def reverse_drift_step(
    process: CLD, score_fn: VelocityScore, u: Tensor, t: float, s: float
) -> Tensor:
    """Returns u after an Euler step of the reverse SDE from t to s without its noise."""
    at = _times(u, t)
    # The SDE has twice the flow's score.
    return u - (t - s) * process.flow(2 * score_fn(u, at), u, at)


def _slope(process: CLD, score_fn: VelocityScore, u: Tensor, t: float) -> Tensor:
    at = _times(u, t)
    return process.flow(score_fn(u, at), u, at)


def _excess(process: CLD, score_fn: VelocityScore, u: Tensor, t: float) -> Tensor:
    """Returns the score's excess over that of the velocity at t = 1, which the exact part has."""
    return score_fn(u, _times(u, t)) + u.chunk(2, 1)[1] / process.mass


def _pushed(u: Tensor, push: Tensor) -> Tensor:
    x, v = u.chunk(2, 1)
    return torch.cat([x, v + push], 1)


def _free_steps(
    process: CLD, t: Tensor, s: Tensor, numerical_eps: float = 0.0
) -> list[list[float]]:
    """Returns for each step from t to s < t the entries of (A, L): u at s has mean A u and
    covariance L L^T.

    Each row holds A by rows, then L as (xx, vx, vv).
    """
    matrix, diffused = process.transition(t, s)
    (a, b), (c, d) = (row.unbind(-1) for row in matrix.unbind(-2))
    xx, vx, vv = diffused.raised(numerical_eps).cholesky()
    # The velocity is reversed, then reversed back: what couples x and v changes its sign.
    return torch.stack([a, -b, -c, d, xx, -vx, vv], -1).tolist()


def _free_step(u: Tensor, coefficients: list[float], z: Tensor) -> Tensor:
    (x, v), (z_x, z_v) = u.chunk(2, 1), z.chunk(2, 1)
    a, b, c, d, xx, vx, vv = coefficients
    return torch.cat([a * x + b * v + xx * z_x, c * x + d * v + vx * z_x + vv * z_v], 1)


def _scalar(t: float) -> Tensor:
    return torch.tensor(t, dtype=torch.float64)


def _times(u: Tensor, t: float) -> Tensor:
    return torch.full((len(u),), t, dtype=torch.float64, device=u.device)
