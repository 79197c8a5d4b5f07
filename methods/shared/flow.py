r"""The probability flow and its solvers of fixed steps, Euler's method and Heun's, and EDM's
stochastic sampler, which puts noise back before each step of the latter.

The flow carries the same marginals as the diffusion, without noise:

.. math:: dx = \left(f x - \tfrac12 g^2 \nabla \log p_t\right) dt .

Solvers take the process, score_fn, the prior's draw x of shape (B, C, H, W) and decreasing times of
shape (steps + 1,), and return x at the last time. K steps cost K network evaluations by Euler's
method, and 2K - 1 by Heun's (2K with ``last="heun"``).

Source: Song et al., 2021, https://arxiv.org/abs/2011.13456 (appendix D.1); Karras et al., 2022,
https://arxiv.org/abs/2206.00364 (algorithms 1 and 2).
Departures: noise is never raised above that at t = 1, where no network has been trained
(:func:`edm_stochastic`).
"""

import math
from itertools import pairwise
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from bench.method import Noise
from methods.shared.process import Process, like, time_like
from methods.shared.samplers import ScoreFn

Variable = Literal["angle", "sigma", "t"]


def flow(process: Process, score: Tensor, x: Tensor, t: Tensor) -> Tensor:
    """Returns the probability flow's velocity dx/dt at x and t (B,), given the score there."""
    half = 0.5 * process.diffusion(t).square()
    return like(process.drift_coefficient(t), x) * x - like(half, x) * score


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
    here, there = (_straight(process, t, variable, data_std) for t in (times[:-1], times[1:]))
    for k, t in enumerate(times[:-1].tolist()):
        u = x / here.scale[k]
        u = u + (there.clock[k] - here.clock[k]) * here.direction(k, t, score_fn, u)
        x = there.scale[k] * u
    return x


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
    r"""Solves the probability flow by Heun's method (the trapezoid with an Euler predictor), of
    order 2.

    Args:
        variable: What the steps are linear in. "t": x against t. "sigma": y = x / m against the
            noise level s / m, EDM's :math:`dy/d\sigma = -\sigma \nabla_y \log p`, nearly straight
            where the noise is the smaller part. "angle": y over its expected size
            :math:`\sqrt{\sigma^2 + d^2}` against :math:`\arctan(\sigma / d)`, which stands still
            for data of standard deviation d: a few steps from far above the data's scale to far
            below it neither overshoot nor blow up.
        data_std: The d of "angle", in the range of the process's images. Their principal directions
            count, so it is rather above the standard deviation of a pixel.
        last: Whether the last step takes its second evaluation, at the last time ("heun"), or not
            ("euler", EDM).
    """
    here, there = (_straight(process, t, variable, data_std) for t in (times[:-1], times[1:]))
    end = len(times) - 2
    for k, (t, s) in enumerate(pairwise(times.tolist())):
        x = _heun_step(here, there, k, (t, s), score_fn, x, trapezoid=k < end or last == "heun")
    return x


def edm_stochastic(
    process: Process,
    score_fn: ScoreFn,
    x: Tensor,
    times: Tensor,
    noise: Noise,
    *,
    last: Literal["euler", "heun"] = "euler",
    churn: float = 0.0,
    churn_min: float = 0.0,
    churn_max: float | None = None,
    churn_noise: float = 1.0,
) -> Tensor:
    r"""Puts noise back before each step of Heun's method in the noise level s / m (algorithm 2).

    Args:
        noise: Drawn from once for each step that puts noise back.
        last: As for :func:`flow_heun`.
        churn: EDM's S_churn: before a step the noise level :math:`\sigma` is raised to :math:`(1 +
            \min(S / K, \sqrt2 - 1)) \sigma` by fresh noise, at most to that of t = 1. 0 adds none.
        churn_min, churn_max: Noise levels s / m between which this is done (EDM's S_tmin and
            S_tmax).
        churn_noise: Standard deviation of that noise (EDM's S_noise).
    """
    starts, lift, spread = _churn(process, times, churn, churn_min, churn_max)
    here, there = (_straight(process, t, "sigma", 1.0) for t in (starts, times[1:]))
    end = len(spread) - 1
    for k, (t, s) in enumerate(zip(starts.tolist(), times[1:].tolist(), strict=True)):
        if spread[k] > 0:
            x = lift[k] * x + (churn_noise * spread[k]) * noise.normal(x.shape)
        x = _heun_step(here, there, k, (t, s), score_fn, x, trapezoid=k < end or last == "heun")
    return x


class _Straight(NamedTuple):
    """Tables (c, h, p, q) at some times: with u = x / c the flow is du/dh = p u + q score(c u)."""

    scale: list[float]
    clock: list[float]
    linear: list[float]
    slope: list[float]

    def direction(self, k: int, t: float, score_fn: ScoreFn, u: Tensor) -> Tensor:
        """Returns du/dh at u and time t, the k-th of the tables; one network evaluation."""
        return self.slope[k] * score_fn(self.scale[k] * u, time_like(u, t)) + self.linear[k] * u


def _heun_step(
    here: _Straight,
    there: _Straight,
    k: int,
    span: tuple[float, float],
    score_fn: ScoreFn,
    x: Tensor,
    *,
    trapezoid: bool,
) -> Tensor:
    """Returns x after the k-th step of Heun's method, or of Euler's without ``trapezoid``."""
    u, length = x / here.scale[k], there.clock[k] - here.clock[k]
    direction = here.direction(k, span[0], score_fn, u)
    ahead = u + length * direction
    if trapezoid:
        ahead = u + 0.5 * length * (direction + there.direction(k, span[1], score_fn, ahead))
    return there.scale[k] * ahead


def _straight(process: Process, times: Tensor, variable: str, data_std: float) -> _Straight:
    mean, std, level = (
        process.mean_coefficient(times),
        process.std(times),
        process.noise_level(times),
    )
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
        raise ValueError(
            f"unknown variable {variable!r}; there are {', '.join(get_args(Variable))}"
        )
    return _Straight(*(table.tolist() for table in tables))


def _churn(
    process: Process, times: Tensor, churn: float, least: float, most: float | None
) -> tuple[Tensor, list[float], list[float]]:
    """Returns each step's start time, and (a, b) of x <- a x + b z that carries x there."""
    starts = times[:-1]
    level = process.noise_level(starts)
    raised = (1 + min(churn / len(starts), math.sqrt(2) - 1)) * level
    raised = raised.clamp(max=process.noise_level(torch.ones_like(starts)))
    moves = (raised > level) & (level >= least) & (level <= (math.inf if most is None else most))
    moved = torch.where(moves, process.time_of_log_snr(-2 * torch.log(raised)), starts)
    mean = process.mean_coefficient(moved)
    spread = mean * (raised.square() - level.square()).clamp(min=0).sqrt()
    lift = mean / process.mean_coefficient(starts)
    return moved, lift.tolist(), torch.where(moves, spread, torch.zeros_like(spread)).tolist()
