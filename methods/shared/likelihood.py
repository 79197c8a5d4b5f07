r"""Exact likelihood along the probability flow, and bits per dimension of dequantised images.

The flow :math:`dx/dt = v(x, t)` carries the data to the prior, so that

.. math:: \log p_\epsilon(x) = \log p_1(z) + \int_\epsilon^1 \nabla \cdot v \, dt, \qquad
          \nabla \cdot v = f d - \tfrac12 g^2 \operatorname{tr} \nabla^2 \log p_t ,

with the trace estimated by probes, :math:`\mathbb{E}[e^\top J e]`, or taken exactly.

Shapes: B images, C channels, H x W pixels, d = C H W. Time: t = 0 is data, t = 1 is noise.

Source: Song et al., 2021, https://arxiv.org/abs/2011.13456 (section 4.3, appendix D.2); Theis et al., 2016,
https://arxiv.org/abs/1511.01844 (dequantisation).
Departures: the offset of bits per dimension is that of the data's own levels and range, not of 256 levels.
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from scipy.integrate import quad
from scipy.special import ndtr
from torch import Tensor

from bench.method import Noise
from methods.shared.adaptive import ErrorNorm, Solver, solve
from methods.shared.flow import flow
from methods.shared.process import Process
from methods.shared.samplers import ScoreFn

Probe = Literal["rademacher", "gaussian", "exact"]


@torch.inference_mode(False)
def log_likelihood(
    process: Process,
    score_fn: ScoreFn,
    x: Tensor,
    noise: Noise,
    *,
    eps: float = 1e-5,
    tolerance: float = 1e-5,
    probes: int = 1,
    probe: Probe = "rademacher",
    probe_drift: bool = False,
    solver: Solver = "scipy",
    error_norm: ErrorNorm = "batch",
) -> tuple[Tensor, Tensor]:
    """Returns log p_eps(x) in nats, float64 of shape (B,), and the latent z of x's shape.

    The score is evaluated in x's dtype, the state kept in float64. Gradients are taken with respect to x alone: the
    network's parameters receive none.

    Args:
        eps: Time at which x is taken to lie; p_eps is the data's density blurred by s(eps).
        tolerance: Relative and absolute.
        probes: Random vectors an image for the trace, drawn once and kept along the flow.
        probe: Their distribution, or "exact": all d unit vectors, for d backward passes an evaluation.
        probe_drift: Whether the trace of f x, known to be f d, is estimated by the probes as well. The authors do
            so; with Gaussian probes it only adds variance, with the others it changes nothing.
        solver, error_norm: See :func:`methods.shared.adaptive.flow_adaptive`. With the norm over the batch a value
            depends on its batch within the tolerance; with that of each image it does not.

    Raises:
        FloatingPointError: The solver gave up or the flow is not finite; the message says why.
        ValueError: scipy cannot take steps of each image.
    """
    x = x.clone()  # of inference mode no gradient can be taken
    vectors = _probe_vectors(x, noise, probes, probe)

    def velocity(t: Tensor, state: Tensor, rows: Tensor) -> Tensor:
        now = state[:, :-1].to(x.dtype).view(-1, *x.shape[1:])
        some = vectors if len(rows) == len(x) else [vector[rows] for vector in vectors]
        change, divergence = flow_and_divergence(process, score_fn, now, t.to(x.dtype), some, probe_drift=probe_drift)
        return torch.cat([change.flatten(1), divergence[:, None]], dim=1).double()

    start = torch.cat([x.double().flatten(1), x.new_zeros(len(x), 1, dtype=torch.float64)], dim=1)
    end = solve(velocity, start, eps, 1.0, tolerance=tolerance, solver=solver, error_norm=error_norm)
    z = end[:, :-1].reshape(x.shape)
    return process.prior_log_prob(z) + end[:, -1], z.to(x.dtype)


def bits_per_dim(log_prob: Tensor, dims: int, levels: int, width: float) -> Tensor:
    """Returns the bits per dimension of discrete images, from the log-density of the dequantised ones in nats.

    Args:
        log_prob: Shape (B,).
        dims: Dimensions an image.
        levels: Values a pixel takes.
        width: Width of the range in which the density lives: 1 for [0, 1], 2 for [-1, 1].
    """
    return -log_prob / (dims * math.log(2)) + math.log2(levels) - math.log2(width)


def dequantise(images: Tensor, levels: int, noise: Noise) -> Tensor:
    """Returns images in {0, ..., levels - 1} spread uniformly over their bins, in [0, 1), in the noise's dtype."""
    return (images + noise.uniform(images.shape)) / levels


def dequantisation_floor(std_over_bin: float) -> float:
    r"""Returns the bits that a pixel costs though it is fully known, because of the noise at t = eps.

    The density of the dequantised pixel, blurred by the noise, is lower than the bin's own:
    :math:`-\int_{-1/2}^{1/2} \log_2(\Phi((u + 1/2)/r) - \Phi((u - 1/2)/r))\,du`.

    Args:
        std_over_bin: r, the noise level s / m at eps in units of the width of one level's bin; at least 0.
    """
    if std_over_bin == 0:
        return 0.0

    def cost(depth: float) -> float:  # of a pixel that lies ``depth`` standard deviations inside an edge of its bin
        outside = ndtr(-depth) + ndtr(depth - 1 / std_over_bin)
        return -math.log1p(-outside) / math.log(2)

    # Deeper than 40 nothing is lost, and so long a stretch of zeros would hide the edge from the quadrature.
    return 2 * std_over_bin * quad(cost, 0, min(0.5 / std_over_bin, 40), epsabs=1e-12, limit=200)[0]


def flow_and_divergence(
    process: Process,
    score_fn: ScoreFn,
    x: Tensor,
    times: Tensor,
    vectors: Sequence[Tensor],
    *,
    probe_drift: bool = False,
) -> tuple[Tensor, Tensor]:
    """Returns the flow's velocity at x, of x's shape, and its divergence, shape (B,).

    One forward pass, and one backward pass for each of the vectors, which have x's shape; times have shape (B,).
    """
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        score = score_fn(x, times)
        velocity = flow(process, score, x, times)
        probed = velocity if probe_drift else score
        trace = torch.zeros_like(times)
        for k, vector in enumerate(vectors, start=1):
            (gradient,) = torch.autograd.grad(probed, x, vector, retain_graph=k < len(vectors))
            trace += (gradient * vector).flatten(1).sum(1)
    trace /= len(vectors)
    if not probe_drift:
        trace = process.drift_coefficient(times) * x[0].numel() - 0.5 * process.diffusion(times).square() * trace
    return velocity.detach(), trace


def unit_probes(x: Tensor) -> list[Tensor]:
    """Returns the d unit vectors times sqrt(d), each of x's shape: with them the mean is the trace itself."""
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
