r"""Adaptive Runge-Kutta steps for the probability flow, on the host by scipy or on the device of
the state.

Both take the pair of orders 5 and 4 of Dormand & Prince and control it alike: with an error
estimate e of the step from y to y', a step is taken where :math:`\operatorname{rms}(e / (\tau +
\tau \max(|y|, |y'|))) < 1` for the tolerance tau, and the next length is 0.9 of the one that would
just have been. State, time and control are float64; the network sees the dtype that it was given.

Shapes: B images, x is (B, C, H, W). Time: t = 0 is data, t = 1 is noise.

Source: Dormand & Prince, 1980, https://doi.org/10.1016/0771-050X(80)90013-3; Hairer, Norsett &
Wanner, Solving Ordinary Differential Equations I, section II.4 (control and first step).
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from bench.method import Noise
from methods.shared.flow import flow
from methods.shared.process import Process
from methods.shared.samplers import ScoreFn, denoise, reverse_diffusion_steps, walk

Solver = Literal["scipy", "device"]
ErrorNorm = Literal["batch", "image"]
LastStep = Literal["none", "mean", "published"]

Velocity = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(t (R,), y (R, n), the indices (R,) of these rows in the batch) -> dy/dt of y's shape; all
float64 but the last.
"""

# Row i holds the weights of slopes 0, ..., i in the state at which slope i + 1 is taken; the last
# row is the step.
NODES = (1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0)
WEIGHTS = (
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
# The step of order 5 less that of order 4.
ERROR = (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)


def flow_adaptive(
    process: Process,
    score_fn: ScoreFn,
    x: Tensor,
    *,
    tolerance: float = 1e-5,
    t_end: float | None = None,
    solver: Solver = "scipy",
    error_norm: ErrorNorm = "batch",
    last: LastStep = "none",
    published_steps: int = 1000,
) -> Tensor:
    """Solves the probability flow from t = 1 to ``t_end`` by adaptive Runge-Kutta steps.

    Args:
        tolerance: Relative and absolute.
        t_end: Where to stop, by default the process's ``t_min``.
        solver: "scipy" keeps the state on the host; "device" (:func:`dormand_prince`) where x lies.
        error_norm: Over the whole batch, one system with one step size, so that an image depends on
            its batch; or of each image, which then has steps of its own and leaves the batch when
            it is done ("device" only).
        last: One more evaluation at ``t_end``: "none", the "mean" of x0 given x there, or the
            "published" step of reverse diffusion without its noise, of length 1 / published_steps.

    Raises:
        FloatingPointError: The solver gave up or the flow is not finite; the message says why.
        ValueError: scipy cannot take steps of each image.
    """
    t_end = process.t_min if t_end is None else t_end

    def velocity(t: Tensor, y: Tensor, rows: Tensor) -> Tensor:
        now, times = y.to(x.dtype).view(-1, *x.shape[1:]), t.to(x.dtype)
        return flow(process, score_fn(now, times), now, times).double().flatten(1)

    y = x.double().flatten(1)
    y = solve(velocity, y, 1.0, t_end, tolerance=tolerance, solver=solver, error_norm=error_norm)
    x = y.to(x.dtype).view_as(x)
    if last == "mean":
        return denoise(process, score_fn, x, t_end)
    if last == "published":
        times, unused = torch.tensor([t_end, 0.0], dtype=torch.float64), Noise(0)
        steps = reverse_diffusion_steps(process, times, published_steps)
        return walk(score_fn, x, times, unused, steps, last_noise=False)
    return x


def solve(
    velocity: Velocity,
    y: Tensor,
    start: float,
    end: float,
    *,
    tolerance: float,
    solver: Solver = "scipy",
    error_norm: ErrorNorm = "batch",
) -> Tensor:
    """Returns the solution at ``end`` of dy/dt = velocity from y, float64 of shape (B, n), at
    ``start``.

    Args:
        tolerance: Relative and absolute.
        solver, error_norm: See :func:`flow_adaptive`.

    Raises:
        FloatingPointError: The solver gave up or the velocity is not finite.
        ValueError: scipy cannot take steps of each image.
    """
    if solver == "device":
        return dormand_prince(velocity, y, start, end, tolerance=tolerance, error_norm=error_norm)
    if error_norm == "image":
        raise ValueError(
            "scipy's solver has one step size for the whole batch; steps of each image need the "
            "device's"
        )
    rows = torch.arange(len(y), device=y.device)

    def change(t: float, state: np.ndarray) -> np.ndarray:
        now = torch.from_numpy(state).to(y).view_as(y)
        values = velocity(y.new_full((len(y),), t), now, rows)
        # With others scipy would look for a step size forever.
        if not values.isfinite().all():
            raise FloatingPointError(f"the probability flow is not finite at t = {t:.6g}")
        return values.flatten().cpu().numpy()

    flat = y.flatten().cpu().numpy()
    path = solve_ivp(
        change, (start, end), flat, rtol=tolerance, atol=tolerance, method="RK45", t_eval=[end]
    )
    if not path.success:
        raise FloatingPointError(
            f"the probability flow was not solved to {tolerance}: {path.message}"
        )
    return torch.from_numpy(path.y[:, -1]).to(y).view_as(y)


def dormand_prince(
    velocity: Velocity,
    y: Tensor,
    start: float,
    end: float,
    *,
    tolerance: float,
    error_norm: ErrorNorm = "batch",
) -> Tensor:
    """Returns the solution at ``end`` of dy/dt = velocity from y at ``start``; it never looks past
    either.

    Each attempt of a step costs 6 evaluations, and the first step 2 more, as scipy's RK45.

    Args:
        y: float64, shape (B, n).
        tolerance: Relative and absolute.
        error_norm: "batch": all rows share their steps. "image": each row has its own, and is not
            evaluated again once it has arrived.

    Raises:
        FloatingPointError: The velocity is not finite, or the steps become too small for the clock.
    """
    solution = torch.empty_like(y)
    rows = torch.arange(len(y), device=y.device)
    single = error_norm == "batch"
    t = y.new_full((1 if single else len(y),), start)
    slope = velocity(t.expand(len(y)), y, rows)
    length = _first_length(velocity, t, y, slope, rows, end, tolerance, single)
    rejected = torch.zeros_like(t, dtype=torch.bool)
    while len(rows):
        left = end - t
        lands = length >= left.abs()
        h = torch.where(lands, left, length * left.sign())
        ahead, slopes = _attempt(velocity, t, y, slope, h, rows)
        scale = tolerance + tolerance * torch.maximum(y.abs(), ahead.abs())
        error = _rms(h[:, None] * _combine(ERROR, slopes) / scale, single)
        _check(error, h, t)
        taken = error < 1
        factor = 0.9 * error.clamp(min=1e-10) ** -0.2
        most = torch.where(taken & ~rejected, 10.0, 1.0)
        length = h.abs() * torch.where(taken, factor.minimum(most), factor.clamp(min=0.2))
        rejected = ~taken
        t = torch.where(taken, torch.where(lands, end, t + h), t)
        y, slope = (
            torch.where(taken[:, None], new, old) for new, old in ((ahead, y), (slopes[-1], slope))
        )
        done = (taken & lands).expand(len(y))
        if done.any():
            solution[rows[done]] = y[done]
            stay = ~done
            rows, y, slope = rows[stay], y[stay], slope[stay]
            if not single:
                t, length, rejected = t[stay], length[stay], rejected[stay]
    return solution


def _attempt(
    velocity: Velocity, t: Tensor, y: Tensor, slope: Tensor, h: Tensor, rows: Tensor
) -> tuple[Tensor, list[Tensor]]:
    """Returns the state one step ahead, and the step's seven slopes, the last of them there."""
    slopes = [slope]
    for node, weights in zip(NODES, WEIGHTS, strict=True):
        ahead = y + h[:, None] * _combine(weights, slopes)
        slopes.append(velocity((t + node * h).expand(len(y)), ahead, rows))
    return ahead, slopes


def _first_length(
    velocity: Velocity,
    t: Tensor,
    y: Tensor,
    slope: Tensor,
    rows: Tensor,
    end: float,
    tolerance: float,
    single: bool,
) -> Tensor:
    """Returns the length of the first step, by the sizes of the first two derivatives."""
    span = (end - t).abs()
    scale = tolerance + tolerance * y.abs()
    size, speed = _rms(y / scale, single), _rms(slope / scale, single)
    small = (size < 1e-5) | (speed < 1e-5)
    trial = torch.where(small, 1e-6, 0.01 * size / speed).minimum(span)
    h = trial * (end - t).sign()
    bend = velocity((t + h).expand(len(y)), y + h[:, None] * slope, rows) - slope
    change = _rms(bend / scale, single) / trial
    fastest = speed.maximum(change)
    length = torch.where(fastest <= 1e-15, (1e-3 * trial).clamp(min=1e-6), (0.01 / fastest) ** 0.2)
    return (100 * trial).minimum(length).minimum(span)


def _rms(values: Tensor, single: bool) -> Tensor:
    """Returns the root mean square of all values, shape (1,), or of each row, shape (R,)."""
    return values.square().mean().sqrt().view(1) if single else values.square().mean(1).sqrt()


def _combine(weights: tuple[float, ...], slopes: list[Tensor]) -> Tensor:
    total = weights[0] * slopes[0]
    for weight, slope in zip(weights[1:], slopes[1:], strict=True):
        if weight:
            total.add_(slope, alpha=weight)
    return total


def _check(error: Tensor, h: Tensor, t: Tensor) -> None:
    if not error.isfinite().all():
        where = t[~error.isfinite()][0].item()
        raise FloatingPointError(f"the probability flow is not finite at t = {where:.6g}")
    stuck = (error >= 1) & (h.abs() < 1e-14)
    if stuck.any():
        raise FloatingPointError(
            f"the probability flow asks for steps below 1e-14 at t = {t[stuck][0].item():.6g}"
        )
