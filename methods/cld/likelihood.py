r"""A bound on the likelihood of images under CLD, from the likelihood of images with velocities.

The probability flow gives the joint log-density of (x, v). With velocities drawn from their
distribution :math:`q = \mathcal{N}(0, \gamma M I)` at t = 0, whatever the model,

.. math:: \log p(x) \ge \mathbb{E}_{v \sim q}\left[\log p(x, v) - \log q(v)\right]

by Jensen's inequality, with equality if the model's velocities given x are q's. Averaging
densities in place of log-densities over K velocities gives the importance-weighted bound, which
rises to log p(x) with K.

Noise enters v alone, so the divergence of the flow is :math:`-\Gamma \beta (d / M + \nabla_v \cdot
s)` for the score s by v: the probes see v alone.

Shapes: images are (B, C, H, W), states u = (x, v) are (B, 2C, H, W), d = C H W. Time: t = 0 is
data, t = 1 is noise.

Source: Dockhorn et al., 2022, https://arxiv.org/abs/2112.07068 (section 3.2, appendix B.5); Burda
et al., 2016, https://arxiv.org/abs/1509.00519 (importance weights).
Departures: probes leave out the derivatives by x, whose contribution is 0 (``probe_drift`` has them
as the authors do), and the velocity's own log-density is subtracted, not its expectation
(``entropy``): both take out variance alone.
"""

import math
from typing import Any, Literal

import torch
from torch import Tensor

from bench.method import Noise
from methods.cld.objective import VelocityScore
from methods.cld.process import CLD
from methods.shared.likelihood import FlowFn, Prior, Slope, flow_log_likelihood, whole


def bound(
    process: CLD,
    score_fn: VelocityScore,
    x: Tensor,
    noise: Noise,
    *,
    velocities: int = 1,
    importance_weighted: bool = False,
    entropy: Literal["drawn", "expected"] = "drawn",
    **options: Any,
) -> Tensor:
    """Returns a lower bound of log p_eps(x) in nats, float64 of shape (B,), where random draws
    average to one.

    For each velocity the noise draws it, and then the probes.

    Args:
        velocities: How many an image.
        importance_weighted: Whether their densities are averaged, which needs the exact trace, or
            their log-densities.
        entropy: Whether the log-density of a drawn velocity is subtracted, or its expectation.
        options: Those of :func:`joint_log_likelihood`.
    """
    logs = []
    for _ in range(velocities):
        v = math.sqrt(process.velocity_variance) * noise.normal(x.shape)
        joint, _ = joint_log_likelihood(process, score_fn, torch.cat([x, v], 1), noise, **options)
        logs.append(
            joint
            - (
                _velocity_log_prob(process, v)
                if entropy == "drawn"
                else -velocity_entropy(process, v)
            )
        )
    stacked = torch.stack(logs)
    return (
        torch.logsumexp(stacked, 0) - math.log(velocities)
        if importance_weighted
        else stacked.mean(0)
    )


def joint_log_likelihood(
    process: CLD,
    score_fn: VelocityScore,
    u: Tensor,
    noise: Noise,
    *,
    prior: Prior | None = None,
    probe_drift: bool = False,
    **options: Any,
) -> tuple[Tensor, Tensor]:
    """Returns log p_eps(u) in nats, float64 of shape (B,), and the latent state of u's shape.

    Args:
        u: Images in [-1, 1] with velocities, shape (B, 2C, H, W).
        prior: The distribution of states at t = 1; None for the diffusion's limit.
        probe_drift: Whether the probes are of u's shape and estimate the trace of all derivatives,
            that of the drift too, as the authors' do. The derivatives of v's change by x then add
            much noise at small times.
        options: Those of :func:`methods.shared.likelihood.flow_log_likelihood`.
    """
    flow_fn = joint_flow(process, score_fn, probe_drift=probe_drift)
    part = whole if probe_drift else velocity_part
    log_prob = process.prior_log_prob if prior is None else prior.log_prob
    return flow_log_likelihood(flow_fn, log_prob, u, noise, part=part, **options)


def joint_flow(process: CLD, score_fn: VelocityScore, *, probe_drift: bool = False) -> FlowFn:
    """Returns the probability flow of (x, v), with its drift's exact trace unless probed."""

    def flow_fn(u: Tensor, t: Tensor) -> Slope:
        score = score_fn(u, t)
        velocity = process.flow(score, u, t)
        if probe_drift:
            return Slope(velocity, velocity)
        friction = process.friction * process.beta(t)
        return Slope(velocity, score, -friction / process.mass * score[0].numel(), -friction)

    return flow_fn


def velocity_part(u: Tensor) -> Tensor:
    """Returns the velocities of states."""
    return u.chunk(2, 1)[1]


def velocity_entropy(process: CLD, v: Tensor) -> float:
    """Returns the entropy in nats of an image's velocity at t = 0, for v of shape (B, C, H, W)."""
    return 0.5 * v[0].numel() * (1 + math.log(2 * math.pi * process.velocity_variance))


def _velocity_log_prob(process: CLD, v: Tensor) -> Tensor:
    variance, v = process.velocity_variance, v.double().flatten(1)
    return -0.5 * (v.square() / variance + math.log(2 * math.pi * variance)).sum(1)
