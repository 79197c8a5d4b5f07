r"""The exponential integrator of any linear diffusion (gDDIM): what is linear is solved exactly.

States follow :math:`du = F_t u\,dt + G_t\,dw`, every dimension by small matrices of its own or all
by the same. With the propagator :math:`\Psi(t, s)` and the covariance :math:`\Sigma_t` of
:math:`u_t` given the clean state, let :math:`R_t R_t^\top = \Sigma_t` be that root which follows

.. math:: \frac{dR}{dt} = \left(F + \tfrac12 G G^\top \Sigma^{-1}\right) R .

In :math:`u_t = \Psi(t, 0) u_0 + R_t \varepsilon` the noise :math:`\varepsilon` then stays what it
is along the probability flow of a single clean state, which for no other root it does (the Cholesky
factor of a coupled state turns against it). For any data the flow is, in terms of what is expected
of noise or clean state on the way,

.. math:: u_s &= \Psi(s, t) u_t + \int_t^s \hat\varepsilon_\tau \, d\left[\Psi(s, \tau)
R_\tau\right] ,
          \qquad \hat\varepsilon_t = R_t^{-1} \left(u_t - \Psi(t, 0) \hat u_{0,t}\right) , \\ u_s &=
          R_s R_t^{-1} u_t + \int_t^s R_s \, d\left[R_\tau^{-1} \Psi(\tau, 0)\right] \hat u_{0,\tau}
          , \qquad \hat u_{0,t} = \mathbb{E}[u_0 \mid u_t] .

With either held over the step both are :math:`u_s = \Psi(s, 0) \hat u_{0,t} + R_s
\hat\varepsilon_t`, for the scalar matrices of VP DDIM; with a polynomial through earlier ones they
are Adams-Bashforth methods. The second one never takes :math:`\Psi` back in time, which for what a
blur has wiped out grows without bound.

Shapes: a state holds n parts side by side in its channels, (B, n C, H, W). Matrices are (..., n,
n), or (..., C, H, W, n, n) where dimensions differ; C, H and W may be 1 or, from the left, left
out. Time: t = 0 is data, t = 1 is noise.

Source: Zhang et al., 2022, https://arxiv.org/abs/2206.05564 (sections 3 and 4); Song et al., 2021,
https://arxiv.org/abs/2010.02502 (equation 16), for ``eta``; Lu et al., 2022,
https://arxiv.org/abs/2211.01095, for polynomials through the clean image, in the log-SNR where here
they are in t.
Departures: ``eta`` scales the covariance of u_s given u_t and the clean state, as DDIM's does,
where gDDIM's lambda scales the noise of the reverse SDE; they agree at 0, at 1 and as steps become
short.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from bench.method import Noise
from methods.shared.process import Process

CleanFn = Callable[[Tensor, float], Tensor]
"""The mean of the clean state u_0 given the state: (u of shape (B, n C, H, W), t) -> u's shape."""

Prediction = Literal["noise", "clean"]
"""What polynomials go through: the noise, or the clean state."""

NODES, WEIGHTS = np.polynomial.legendre.leggauss(24)


class LinearProcess(Protocol):
    """A linear diffusion for the integrator; both functions take float64 times of shape (T,)."""

    parts: int
    """How many parts a state has, n."""

    def propagator(self, t: Tensor, s: Tensor) -> Tensor:
        """Returns Psi(t, s), float64 (T, ..., n, n), for s before t, 0 too; for "noise" any s."""

    def root(self, t: Tensor) -> Tensor:
        """Returns R(t), float64, (T, ..., n, n); a constant rotation from the right is free."""


class Isotropic:
    """A scalar diffusion (:mod:`methods.shared.process`) as the integrator takes it."""

    parts = 1

    def __init__(self, process: Process) -> None:
        self.process = process

    def propagator(self, t: Tensor, s: Tensor) -> Tensor:
        return (self.process.mean_coefficient(t) / self.process.mean_coefficient(s)).view(-1, 1, 1)

    def root(self, t: Tensor) -> Tensor:
        return self.process.std(t).view(-1, 1, 1)


class Steps(NamedTuple):
    """The coefficients of steps, each a table of matrices, float64 of shape (steps, ..., n, n).

    Args:
        gain: Of the clean state in the state before the step.
        whitening: Of the state without it, which gives the noise.
        clean: Of the clean states, the latest first; those that do not exist yet have none.
        noise: Of the noises, likewise.
        spread: Of fresh noise.
    """

    gain: Tensor
    whitening: Tensor
    clean: list[list[Tensor]]
    noise: list[list[Tensor]]
    spread: Tensor


def gddim(
    process: LinearProcess,
    clean_fn: CleanFn,
    u: Tensor,
    times: Tensor,
    noise: Noise | None = None,
    *,
    order: int = 1,
    prediction: Prediction = "noise",
    eta: float = 0.0,
    last_noise: bool = False,
) -> Tensor:
    """Returns the state at the last time, from u at the first; one network evaluation per step.

    Args:
        u: Shape (B, n C, H, W).
        times: Decreasing, float64 of shape (steps + 1,), all above 0.
        noise: What ``eta`` draws from, once a noisy step.
        order: Predictions that a step uses, its own included; the first steps have fewer.
        prediction: Of what; at order 1 it is all the same.
        eta: Standard deviation of the fresh noise in units of that of u_s given u_t and the clean
            state.
        last_noise: Whether the last step adds noise too, where eta does.

    Raises:
        ValueError: ``eta`` goes with order 1.
    """
    steps = exponential_steps(process, times, order=order, prediction=prediction, eta=eta)
    cleans: list[Tensor] = []
    noises: list[Tensor] = []
    for k, t in enumerate(times[:-1].tolist()):
        clean = clean_fn(u, t)
        cleans = [clean, *cleans][:order]
        noises = [_apply(steps.whitening[k], u - _apply(steps.gain[k], clean)), *noises][:order]
        u = _weighed(steps.clean[k], cleans) + _weighed(steps.noise[k], noises)
        if eta > 0 and (last_noise or k < len(times) - 2):
            u = u + _apply(steps.spread[k], noise.normal(u.shape))
    return u


def exponential_steps(
    process: LinearProcess,
    times: Tensor,
    *,
    order: int = 1,
    prediction: Prediction = "noise",
    eta: float = 0.0,
) -> Steps:
    """Returns the coefficients of :func:`gddim`."""
    if eta > 0 and order > 1:
        raise ValueError("eta adds noise to steps of order 1 alone: set eta 0 or order 1")
    gain, root = process.propagator(times, torch.zeros_like(times)), process.root(times)
    kept, fresh = root[1:], torch.zeros_like(root[1:])
    if eta > 0:
        old, new = _shares(process.propagator(times[:-1], times[1:]), root[:-1], root[1:], eta)
        kept, fresh = root[1:] @ old, root[1:] @ new
    weights = {"clean": [[held] for held in gain[1:]], "noise": [[held] for held in kept]}
    if order > 1:
        weights[prediction] = _adams_bashforth(
            process, times, gain[1:], root[1:], order, prediction
        )
    return Steps(gain[:-1], torch.linalg.inv(root[:-1]), weights["clean"], weights["noise"], fresh)


def _shares(forward: Tensor, start: Tensor, end: Tensor, eta: float) -> tuple[Tensor, Tensor]:
    """Returns the symmetric (K, Q) with K^2 + Q^2 = 1 that make the noise at the end of steps of
    old and fresh noise.

    Q^2 is eta^2 times the covariance of the noise at the end, in units of its root, given that at
    the start.
    """
    one = torch.eye(end.shape[-1], dtype=end.dtype, device=end.device).expand_as(end)
    regression = end.mT @ forward.mT @ torch.linalg.inv(start).mT
    values, basis = torch.linalg.eigh(one - regression @ regression.mT)
    fresh = eta**2 * values.clamp(0, 1)
    return tuple((basis * share.sqrt()[..., None, :]) @ basis.mT for share in (1 - fresh, fresh))


def _adams_bashforth(
    process: LinearProcess,
    times: Tensor,
    gain: Tensor,
    root: Tensor,
    order: int,
    prediction: Prediction,
) -> list[list[Tensor]]:
    r"""Returns for each step the weights of its own prediction and of at most ``order`` - 1 before
    it.

    With Lagrange's polynomials :math:`\ell` of their times, which are 1 or 0 at t, the weights of
    noises are :math:`\ell(s) R_s - \int_t^s \ell'(\tau) \Psi(s, \tau) R_\tau \, d\tau`, those of
    clean states :math:`\ell(s) \Psi(s, 0) - \int_t^s \ell'(\tau) R_s R_\tau^{-1} \Psi(\tau, 0) \,
    d\tau`, by quadrature in log tau: R is smooth in it down to t = 0.

    Args:
        gain: The Psi(s, 0) of the steps.
        root: The R_s of the steps.
    """
    nodes, lengths = (torch.from_numpy(table).to(times) for table in (NODES, WEIGHTS))
    t, s = times[:-1, None], times[1:, None]
    halves = 0.5 * torch.log(s / t)
    nodes = t * torch.exp(halves * (1 + nodes))
    lengths = halves * lengths * nodes
    flat = nodes.flatten()
    if prediction == "noise":
        end, between = (
            root,
            process.propagator(s.expand_as(nodes).flatten(), flat) @ process.root(flat),
        )
    else:
        end = gain
        between = torch.linalg.solve(
            process.root(flat), process.propagator(flat, torch.zeros_like(flat))
        )
        between = root.repeat_interleave(nodes.shape[1], 0) @ between
    between = between.view(*nodes.shape, *between.shape[1:])
    places, clock, table = (nodes - t).cpu().numpy(), times.tolist(), []
    for k in range(len(t)):
        known, row = [clock[i] for i in range(k, max(-1, k - order), -1)], []
        for j, own in enumerate(known):
            others = np.array(known[:j] + known[j + 1 :])
            polynomial = np.poly1d(np.poly(others - clock[k]) / np.prod(own - others))
            slopes = torch.from_numpy(polynomial.deriv()(places[k])).to(times)
            integral = torch.tensordot(slopes * lengths[k], between[k], dims=1)
            row.append(polynomial(clock[k + 1] - clock[k]) * end[k] - integral)
        table.append(row)
    return table


def _weighed(weights: list[Tensor], states: list[Tensor]) -> Tensor:
    """Returns the sum of the latest states, as many as there are weights, each times its matrix."""
    return sum(
        _apply(weight, state) for weight, state in zip(weights, states[: len(weights)], strict=True)
    )


def _apply(matrix: Tensor, u: Tensor) -> Tensor:
    """Returns the matrix, (..., n, n), times the n parts of states."""
    count, matrix = matrix.shape[-1], matrix.to(u)
    parts = u.chunk(count, 1)
    return torch.cat(
        [sum(matrix[..., i, j] * parts[j] for j in range(count)) for i in range(count)], 1
    )
