r"""Exact likelihood along the probability flow, and bits per dimension of dequantised images.

The flow :math:`dx/dt = v(x, t)` carries the data to the prior, so that

.. math:: \log p_\epsilon(x) = \log p_1(z) + \int_\epsilon^1 \nabla \cdot v \, dt, \qquad
          \nabla \cdot v = f d - \tfrac12 g^2 \operatorname{tr} \nabla^2 \log p_t ,

with the trace estimated by probes, :math:`\mathbb{E}[e^\top J e]`, or taken exactly. The formula on
the right is that of a linear diffusion; :func:`flow_log_likelihood` takes any flow.

Shapes: B images, C channels, H x W pixels, d = C H W. Time: t = 0 is data, t = 1 is noise.

Source: Song et al., 2021, https://arxiv.org/abs/2011.13456 (section 4.3, appendix D.2); Theis et
al., 2016, https://arxiv.org/abs/1511.01844 (dequantisation).
Departures: the offset of bits per dimension is that of the data's own levels and range, not of 256
levels.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, Protocol

import torch
from scipy.integrate import quad
from scipy.special import ndtr
from torch import Tensor

from bench.method import Noise
from methods.shared.adaptive import ErrorNorm, Solver, Velocity, solve
from methods.shared.flow import flow
from methods.shared.process import Process
from methods.shared.samplers import ScoreFn

Probe = Literal["rademacher", "gaussian", "exact"]


class Prior(Protocol):
    """The distribution at t = 1."""

    def log_prob(self, x: Tensor) -> Tensor:
        """Returns the log-density of states in nats, float64, shape (B,)."""


class Slope(NamedTuple):
    r"""A flow dx/dt = v at some x and t, and what its divergence is by the derivative of one part
    of it.

    .. math:: \nabla \cdot v = \text{known} + \text{weight} \operatorname{tr} \partial_y \,
    \text{probed}

    for y the state, or the part of it by which :func:`flow_log_likelihood` differentiates.

    Args:
        velocity: v, of x's shape.
        probed: What is differentiated, of y's shape.
        known, weight: Shape (B,).
    """

    velocity: Tensor
    probed: Tensor
    known: Tensor | float = 0.0
    weight: Tensor | float = 1.0


FlowFn = Callable[[Tensor, Tensor], Slope]
"""A flow at (x, (B, ...); t, float64, (B,)), by operations that can be differentiated by x."""


def whole(x: Tensor) -> Tensor:
    """Returns x: the part of a state that is all of it."""
    return x


def log_likelihood(
    process: Process,
    score_fn: ScoreFn,
    x: Tensor,
    noise: Noise,
    *,
    prior: Prior | None = None,
    probe_drift: bool = False,
    **options: Any,
) -> tuple[Tensor, Tensor]:
    """Returns log p_eps(x) in nats, float64 of shape (B,), and the latent z of x's shape, for a
    linear diffusion.

    Args:
        prior: The distribution at t = 1; None for the process's own, a centred normal one.
        probe_drift: Whether the trace of f x, known to be f d, is estimated by the probes as well.
            The authors do so; with Gaussian probes it only adds variance, with the others it
            changes nothing.
        options: Those of :func:`flow_log_likelihood`.
    """
    known = linear_flow(process, score_fn, probe_drift=probe_drift)
    log_prob = process.prior_log_prob if prior is None else prior.log_prob
    return flow_log_likelihood(known, log_prob, x, noise, **options)


@torch.inference_mode(False)
def flow_log_likelihood(
    flow_fn: FlowFn,
    prior_log_prob: Callable[[Tensor], Tensor],
    x: Tensor,
    noise: Noise,
    *,
    part: Callable[[Tensor], Tensor] = whole,
    eps: float = 1e-5,
    breaks: Sequence[float] = (),
    tolerance: float = 1e-5,
    probes: int = 1,
    probe: Probe = "rademacher",
    solver: Solver = "scipy",
    error_norm: ErrorNorm = "batch",
) -> tuple[Tensor, Tensor]:
    """Returns log p_eps(x) in nats, float64 of shape (B,), and the latent z of x's shape, along any
    flow.

    The flow is evaluated at states of x's dtype, the state is kept in float64. Gradients are taken
    with respect to x alone: the network's parameters receive none.

    Args:
        flow_fn: The flow, from the data at t = 0 to the prior at t = 1.
        prior_log_prob: The log-density there of float64 states, shape (B,).
        part: The part of a state by which ``flow_fn``'s ``probed`` is differentiated; all of it.
        eps: Time at which x is taken to lie; p_eps is the data's density blurred by the noise
            there.
        breaks: Times, rising, at which the flow is not smooth: the solver starts anew there.
        tolerance: Relative and absolute.
        probes: Random vectors per image for the trace, drawn once and kept along the flow.
        probe: Their distribution, or "exact": all unit vectors, for as many backward passes an
        evaluation. solver, error_norm: See :func:`methods.shared.adaptive.flow_adaptive`. With the
        norm over the batch a value
            depends on its batch within the tolerance; with that of each image it does not.

    Raises:
        FloatingPointError: The solver gave up or the flow is not finite; the message says why.
        ValueError: scipy cannot take steps of each image.
    """
    x = x.clone()  # of inference mode no gradient can be taken
    velocity = state_velocity(flow_fn, x, _probe_vectors(part(x), noise, probes, probe), part)
    state = torch.cat([x.double().flatten(1), x.new_zeros(len(x), 1, dtype=torch.float64)], dim=1)
    for start, end in itertools.pairwise((eps, *(t for t in breaks if eps < t < 1), 1.0)):
        state = solve(
            velocity, state, start, end, tolerance=tolerance, solver=solver, error_norm=error_norm
        )
    z = state[:, :-1].reshape(x.shape)
    return prior_log_prob(z) + state[:, -1], z.to(x.dtype)


def state_velocity(
    flow_fn: FlowFn, x: Tensor, vectors: Sequence[Tensor], part: Callable[[Tensor], Tensor] = whole
) -> Velocity:
    """Returns d/dt of a solver's states: x flattened and the divergence's integral, (R, n + 1)."""

    def velocity(t: Tensor, state: Tensor, rows: Tensor) -> Tensor:
        now = state[:, :-1].to(x.dtype).view(-1, *x.shape[1:])
        some = vectors if len(rows) == len(x) else [vector[rows] for vector in vectors]
        change, divergence = slope_and_divergence(flow_fn, now, t, some, part)
        return torch.cat([change.flatten(1), divergence[:, None]], dim=1).double()

    return velocity


def bits_per_dim(log_prob: Tensor, dims: int, levels: int, width: float) -> Tensor:
    """Returns the bits per dimension of discrete images, from the log-density of the dequantised
    ones in nats.

    Args:
        log_prob: Shape (B,).
        dims: Dimensions an image.
        levels: Values a pixel takes; 0 for real values, whose density in [0, 1] counts.
        width: Width of the range in which the density lives: 1 for [0, 1], 2 for [-1, 1].
    """
    return -log_prob / (dims * math.log(2)) + math.log2(levels or 1) - math.log2(width)


def over_draws(bits: Sequence[Tensor]) -> dict[str, Tensor]:
    """Returns what a method scores images by, given bits/dim of equal images by independent draws,
    each of shape (B,).

    Their mean, and if there is more than one draw the variance of that mean over draws
    (dequantisations, probes, velocities): the unbiased estimate of an image's variance over the
    number of draws.
    """
    stacked = torch.stack(list(bits))
    found = {"bits_per_dim": stacked.mean(0)}
    if len(stacked) > 1:
        found["bits_per_dim_draw_variance"] = stacked.var(0) / len(stacked)
    return found


def dequantise(images: Tensor, levels: int, noise: Noise) -> Tensor:
    """Returns integer images spread uniformly over their bins, in [0, 1), in the noise's dtype."""
    return (images + noise.uniform(images.shape)) / levels


def continuous(images: Tensor, levels: int, noise: Noise) -> Tensor:
    """Returns integer images dequantised, or real values in [0, 1] (levels 0) unchanged."""
    return dequantise(images, levels, noise) if levels else images.to(noise.dtype)


def measure(levels: int, width: float) -> dict[str, Any]:
    """Returns how bits/dim are counted, for their identity; see :func:`bits_per_dim`."""
    how = (
        f"(a + u) / {levels}, u uniform in [0, 1)"
        if levels
        else "none: real values, whose range is [0, 1]"
    )
    return {"dequantisation": how, "offset": math.log2(levels or 1) - math.log2(width)}


def dequantisation_floor(std_over_bin: float) -> float:
    r"""Returns the bits that a pixel costs though it is fully known, because of the noise at t =
    eps.

    The density of the dequantised pixel, blurred by the noise, is lower than the bin's own:
    :math:`-\int_{-1/2}^{1/2} \log_2(\Phi((u + 1/2)/r) - \Phi((u - 1/2)/r))\,du`.

    Args:
        std_over_bin: r, the noise level s / m at eps in units of the width of one level's bin; at
            least 0.
    """
    if std_over_bin == 0:
        return 0.0

    def cost(
        depth: float,
    ) -> float:  # of a pixel that lies ``depth`` standard deviations inside an edge of its bin
        outside = ndtr(-depth) + ndtr(depth - 1 / std_over_bin)
        return -math.log1p(-outside) / math.log(2)

    # Deeper than 40 nothing is lost, and so long a stretch of zeros would hide the edge from the
    # quadrature.
    return 2 * std_over_bin * quad(cost, 0, min(0.5 / std_over_bin, 40), epsabs=1e-12, limit=200)[0]


def linear_flow(process: Process, score_fn: ScoreFn, *, probe_drift: bool = False) -> FlowFn:
    """Returns a linear diffusion's flow, with its drift's exact trace unless probed."""

    def flow_fn(x: Tensor, t: Tensor) -> Slope:
        t = t.to(x.dtype)
        score = score_fn(x, t)
        velocity = flow(process, score, x, t)
        if probe_drift:
            return Slope(velocity, velocity)
        drift = process.drift_coefficient(t) * x[0].numel()
        return Slope(velocity, score, drift, -0.5 * process.diffusion(t).square())

    return flow_fn


def flow_and_divergence(
    process: Process,
    score_fn: ScoreFn,
    x: Tensor,
    times: Tensor,
    vectors: Sequence[Tensor],
    *,
    probe_drift: bool = False,
) -> tuple[Tensor, Tensor]:
    """Returns :func:`slope_and_divergence` of a linear diffusion's flow."""
    return slope_and_divergence(
        linear_flow(process, score_fn, probe_drift=probe_drift), x, times, vectors
    )


def slope_and_divergence(
    flow_fn: FlowFn,
    x: Tensor,
    times: Tensor,
    vectors: Sequence[Tensor],
    part: Callable[[Tensor], Tensor] = whole,
) -> tuple[Tensor, Tensor]:
    """Returns the flow's velocity at x, of x's shape, and its divergence, shape (B,).

    One forward pass, and one backward pass for each of the vectors, which have the shape of
    ``part`` of x; times have shape (B,).
    """
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        slope = flow_fn(x, times)
        trace = x.new_zeros(len(x))
        for k, vector in enumerate(vectors, start=1):
            (gradient,) = torch.autograd.grad(
                slope.probed, x, vector, retain_graph=k < len(vectors)
            )
            trace = trace + (part(gradient) * vector).flatten(1).sum(1)
    return slope.velocity.detach(), slope.known + slope.weight * (trace / len(vectors))


def unit_probes(x: Tensor) -> list[Tensor]:
    """Returns the d unit vectors times sqrt(d), of x's shape: their mean is the exact trace."""
    dims = x[0].numel()
    units = math.sqrt(dims) * torch.eye(dims, dtype=x.dtype, device=x.device)
    return [unit.view(1, *x.shape[1:]).expand_as(x) for unit in units]


def _probe_vectors(x: Tensor, noise: Noise, probes: int, probe: Probe) -> list[Tensor]:
    if probe == "rademacher":
        return [noise.rademacher(x.shape) for _ in range(probes)]
    if probe == "gaussian":
        return [noise.normal(x.shape) for _ in range(probes)]
    if probe == "exact":
        return unit_probes(x)
    raise ValueError(f"unknown probe {probe!r}; there are 'rademacher', 'gaussian' and 'exact'")
