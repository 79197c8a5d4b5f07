r"""The flow that undoes a linear corruption, its solvers, and the SDEs that add noise to it and
keep its marginals.

The velocity (:mod:`methods.soft.denoiser`) carries the marginals without noise. With noise of rate
:math:`g^2 = \gamma\, d(s^2)/dt` they are kept by

.. math:: dx = \left(v - \tfrac12 g^2 \nabla \log p_t\right) dt + g\,d\bar{w} ,

run backwards: :math:`\gamma = 1` is the SDE whose discretisations are momentum and ancestral
sampling.

Solvers take what :mod:`methods.soft.samplers` take. K steps cost K network evaluations by Euler's
method, and 2K by Heun's (2K - 1 with ``last="euler"``), and the last denoising one more.

At a kink of the corruption velocities are those of the side on which a step lies, and steps end
there: one that reached across would cost Heun's method its second order.
"""

import itertools
from typing import Literal

import torch
from torch import Tensor

from bench.method import Noise
from methods.shared.adaptive import ErrorNorm, Solver, Velocity, solve
from methods.shared.process import time_like
from methods.soft.corruption import Corruption
from methods.soft.denoiser import Denoiser, velocity
from methods.soft.samplers import Final, finish

Kinks = Literal["meet", "cross"]
"""Whether times are moved onto the kinks between them (:func:`meet`), or steps reach across."""


def flow_euler(
    corruption: Corruption,
    denoiser: Denoiser,
    x: Tensor,
    times: Tensor,
    noise: Noise | None = None,
    *,
    kinks: Kinks = "meet",
    final: Final = "none",
) -> Tensor:
    """Solves the flow by Euler's method.

    Args:
        kinks: See :data:`Kinks`.
        final: See :data:`methods.soft.samplers.Final`.

    Raises:
        ValueError: There is no velocity, or no noise at a time before the last.
    """
    return churn(corruption, denoiser, x, times, noise, strength=0.0, kinks=kinks, final=final)


def churn(
    corruption: Corruption,
    denoiser: Denoiser,
    x: Tensor,
    times: Tensor,
    noise: Noise | None,
    *,
    strength: float = 1.0,
    kinks: Kinks = "meet",
    last_noise: bool = False,
    final: Final = "none",
) -> Tensor:
    r"""Solves the SDE that churns the flow by the Euler-Maruyama method.

    Args:
        noise: Drawn from once for each noisy step; None will do for the flow.
        strength: :math:`\gamma`: 0 is the flow.
        kinks: See :data:`Kinks`.
        last_noise: Whether the last step adds noise too.
        final: See :data:`methods.soft.samplers.Final`.

    Raises:
        ValueError: There is no velocity, no noise at a time before the last, or it grows towards
            the data and some would have to be taken away.
    """
    times = meet(times, corruption.kinks) if kinks == "meet" else times
    check_flow(corruption, times[:-1])
    clock = times.tolist()
    at = times[:-1].double()
    std, growth = corruption.std(at), corruption.std_derivative(at)
    if strength and (growth < 0).any():
        raise ValueError(
            "the noise grows towards the data, which churn cannot follow: take flow_euler"
        )
    pulls = (strength * growth / std).tolist()
    spreads = (2 * strength * std * growth * (at - times[1:])).sqrt().tolist()
    for k, (t, s) in enumerate(itertools.pairwise(clock)):
        clean = denoiser(x, time_like(x, t))
        now = _times(t, x)
        slope = velocity(corruption, clean, x, now)
        if strength:
            slope = slope + pulls[k] * (x - corruption.apply(clean, now))
        x = x - (t - s) * slope
        if spreads[k] > 0 and (last_noise or k < len(spreads) - 1):
            assert noise is not None  # None will do for the flow, which has no spread
            x = x + spreads[k] * noise.normal(x.shape)
    return finish(denoiser, x, clock[-1], final)


def flow_heun(
    corruption: Corruption,
    denoiser: Denoiser,
    x: Tensor,
    times: Tensor,
    noise: Noise | None = None,
    *,
    last: Literal["euler", "heun"] = "heun",
    kinks: Kinks = "meet",
    final: Final = "none",
) -> Tensor:
    """Solves the flow by Heun's method, of order 2.

    Args:
        last: Whether the last step takes its second evaluation, at the last time ("heun"), or not
            ("euler"), for corruptions without noise there.
        kinks: See :data:`Kinks`.
        final: See :data:`methods.soft.samplers.Final`.

    Raises:
        ValueError: There is no velocity, or no noise at a time at which it is asked for.
    """
    times = meet(times, corruption.kinks) if kinks == "meet" else times
    check_flow(corruption, times if last == "heun" else times[:-1])
    clock = times.tolist()
    for k, (t, s) in enumerate(itertools.pairwise(clock)):
        slope = velocity(corruption, denoiser(x, time_like(x, t)), x, _times(t, x))
        ahead = x - (t - s) * slope
        if k < len(clock) - 2 or last == "heun":
            there = _times(s + aside(torch.float64), x)
            slope = 0.5 * (
                slope + velocity(corruption, denoiser(ahead, time_like(x, s)), ahead, there)
            )
            ahead = x - (t - s) * slope
        x = ahead
    return finish(denoiser, x, clock[-1], final)


def flow_adaptive(
    corruption: Corruption,
    denoiser: Denoiser,
    x: Tensor,
    *,
    t_end: float = 0.0,
    tolerance: float = 1e-5,
    solver: Solver = "scipy",
    error_norm: ErrorNorm = "batch",
    final: Final = "none",
) -> Tensor:
    """Solves the flow from t = 1 to ``t_end`` by adaptive Runge-Kutta steps, which start anew at
    each kink.

    Args:
        tolerance, solver, error_norm: See :func:`methods.shared.adaptive.flow_adaptive`.
        final: See :data:`methods.soft.samplers.Final`.

    Raises:
        FloatingPointError: The solver gave up or the flow is not finite; the message says why.
        ValueError: There is no velocity, no noise at ``t_end``, or scipy cannot take steps of each
            image.
    """
    check_flow(corruption, torch.tensor([1.0, t_end], dtype=torch.float64))

    def change(t: Tensor, y: Tensor, rows: Tensor) -> Tensor:
        now = y.to(x.dtype).view(-1, *x.shape[1:])
        return velocity(corruption, denoiser(now, t.to(x.dtype)), now, t).double().flatten(1)

    y = x.double().flatten(1)
    nodes = [1.0, *(kink for kink in reversed(corruption.kinks) if t_end < kink < 1), t_end]
    for start, end in itertools.pairwise(nodes):
        inner = _within(change, end, start)
        y = solve(inner, y, start, end, tolerance=tolerance, solver=solver, error_norm=error_norm)
    return finish(denoiser, y.to(x.dtype).view_as(x), t_end, final)


def check_flow(corruption: Corruption, times: Tensor) -> None:
    """Raises a ValueError if the corruption has no velocity at one of the times."""
    if not corruption.differentiable:
        raise ValueError(
            "the corruption switches at once, so it has no flow: take momentum, ancestral, ddim or "
            "naive"
        )
    std = corruption.std(times.double())
    if not (std > 0).all():
        where = times[std <= 0][0].item()
        raise ValueError(
            f"there is no noise at t = {where:.6g}, where the velocity divides by it: end the "
            "times before"
        )


def aside(dtype: torch.dtype) -> float:
    """Returns a tiny difference of times that still tells the sides of a kink apart."""
    return 4 * torch.finfo(dtype).eps


def meet(times: Tensor, kinks: tuple[float, ...]) -> Tensor:
    """Returns decreasing times with the nearest inner one moved onto each kink that lies between
    the ends.

    Kinks that find no time of their own are left where they are.
    """
    times = times.clone()
    free = list(range(1, len(times) - 1))
    for kink in kinks:
        if not free or not times[-1] < kink < times[0]:
            continue
        distances = [abs(times[k].item() - kink) for k in free]
        nearest = free[distances.index(min(distances))]
        if times[nearest - 1] > kink > times[nearest + 1]:
            times[nearest] = kink
            free.remove(nearest)
    return times


def _times(t: float, x: Tensor) -> Tensor:
    """Returns the time t for each image of x in float64: shape (B,)."""
    return torch.full((len(x),), t, dtype=torch.float64, device=x.device)


def _within(change: Velocity, low: float, high: float) -> Velocity:
    """Returns a velocity that evaluates an interval's ends, perhaps kinks, from inside it."""
    inside = aside(torch.float64)
    return lambda t, y, rows: change(t.clamp(low + inside, high - inside), y, rows)
