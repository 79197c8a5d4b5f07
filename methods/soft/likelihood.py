r"""Exact likelihood along the flow of a linear corruption.

.. math:: \log p_\epsilon(x) = \log p_1(x_1) + \int_\epsilon^1 \nabla \cdot v \, dt, \qquad
          \nabla \cdot v = \frac{\dot{s}}{s} d + \operatorname{tr}
          \left(\dot{C} - \frac{\dot{s}}{s} C\right) \frac{\partial \hat{x}_0}{\partial x}

for a start p_1 that has a density, with the trace by probes or exact. It holds where the corruption
takes dimensions away too, as long as there is noise: no inverse of C is asked for. At
:math:`\epsilon = 0` it is the density of the data with the corruption's least noise.

Shapes: B images, x is (B, C, H, W), d = C H W. Time: t = 0 is data, t = 1 is noise.

Source: the change of variables is Chen et al., 2018, https://arxiv.org/abs/1806.07366 (theorem 1),
along the velocity of :mod:`methods.soft.denoiser`.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from bench.method import Noise
from methods.shared.likelihood import FlowFn, Slope, flow_log_likelihood
from methods.shared.process import like
from methods.soft.corruption import Corruption
from methods.soft.denoiser import Denoiser, noise_rate, velocity_of_clean
from methods.soft.flow import aside, check_flow


def log_likelihood(
    corruption: Corruption,
    denoiser: Denoiser,
    prior_log_prob: Callable[[Tensor], Tensor],
    x: Tensor,
    noise: Noise,
    *,
    eps: float = 0.0,
    probe_drift: bool = False,
    **options: Any,
) -> tuple[Tensor, Tensor]:
    """Returns log p_eps(x) in nats, float64 of shape (B,), and the state at t = 1, of x's shape.

    Args:
        prior_log_prob: The log-density at t = 1 of float64 states, shape (B,).
        eps: Time at which x is taken to lie.
        probe_drift: See :func:`flow_of`.
        options: Those of :func:`methods.shared.likelihood.flow_log_likelihood`, but for ``breaks``,
            which are the kinks.

    Raises:
        FloatingPointError: The solver gave up or the flow is not finite; the message says why.
        ValueError: There is no velocity, no noise at ``eps``, or scipy cannot take steps of each
            image.
    """
    check_flow(corruption, x.new_tensor([eps, 1.0]))
    # A step of its own leads across each kink, so that the steps beside it see one side each.
    width = aside(x.dtype)
    breaks = [kink + offset for kink in corruption.kinks for offset in (-width, width)]
    flow_fn = flow_of(corruption, denoiser, probe_drift=probe_drift)
    return flow_log_likelihood(flow_fn, prior_log_prob, x, noise, eps=eps, breaks=breaks, **options)


def flow_of(corruption: Corruption, denoiser: Denoiser, *, probe_drift: bool = False) -> FlowFn:
    """Returns the flow with what its divergence is.

    Args:
        probe_drift: Whether the trace of the part that is linear in x, known exactly, is estimated
            by the probes too.
    """

    def flow_fn(x: Tensor, t: Tensor) -> Slope:
        rate = noise_rate(corruption, t)
        bent = velocity_of_clean(corruption, denoiser(x, t), t)
        change = bent + like(rate, x) * x
        return Slope(change, change) if probe_drift else Slope(change, bent, rate * x[0].numel())

    return flow_fn
