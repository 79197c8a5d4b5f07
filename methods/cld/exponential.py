r"""The fast solvers (:mod:`methods.shared.solvers`) for image and velocity of CLD, DDIM as gDDIM.

Each takes the process, ``score_fn(u, t)`` for the score by v, the prior's draw u = (x, v) of shape
(B, 2C, H, W), decreasing times of shape (steps + 1,), noise, and the options of the solver of its
name; it returns u at the last time.

The root R that the integrator needs is the Cholesky factor L turned by an angle, :math:`R =
L\,\mathrm{Rot}(\theta)`: :math:`L^{-1} \dot R\,\mathrm{Rot}^{-1} - L^{-1} \dot L` has to be
antisymmetric, and as :math:`L^{-1} \dot L` is lower triangular and noise meets v alone, its upper
right entry is that of :math:`L^{-1} F L`, so that

.. math:: \dot\theta = -\frac{\beta}{M} \frac{L_{vv}}{L_{xx}} .

The network gives the score by v alone. That of a Gaussian with an unknown image is
:math:`\Sigma^{-1}(h x_0 - u)`, so the score by v tells the mean of the image, and with it the whole
noise.

Shapes: states u = (x, v) are (B, 2C, H, W), x first. Time: t = 0 is data, t = 1 is noise.

Source: Zhang et al., 2022, https://arxiv.org/abs/2206.05564 (section 4 and appendix C), for the
diffusion of Dockhorn et al., 2022, https://arxiv.org/abs/2112.07068.
Departures: theirs trains a network for both halves of the noise; here a network of CLD's own is
used, by the above. Where they take the polynomials of DEIS through the noise, those through the
clean image do better in few steps.
"""

from functools import partial

import torch
from torch import Tensor

from methods.cld.objective import VelocityScore
from methods.cld.process import CLD, Covariance
from methods.shared import exponential, solvers

PANELS = 3
"""Pieces of the integral for the angle, each of 24 nodes: to 1e-9 down to t = 1e-5."""


class Damped(exponential.LinearProcess):
    """CLD as the integrator takes it."""

    parts = 2

    def __init__(self, process: CLD) -> None:
        # The kernel itself; what the authors add to it against rounding would follow no diffusion.
        self.process = CLD(process.beta0, process.beta1, process.mass, process.gamma)

    def propagator(self, t: Tensor, s: Tensor) -> Tensor:
        matrix, _ = self.process.transition(t, s)
        return matrix

    def root(self, t: Tensor) -> Tensor:
        root, angle = _factor(self.process.covariance(t)), self._angle(t)
        cosine, sine = torch.cos(angle), torch.sin(angle)
        turn = torch.stack([torch.stack([cosine, -sine], -1), torch.stack([sine, cosine], -1)], -2)
        return root @ turn

    def _angle(self, t: Tensor) -> Tensor:
        """Returns theta(t), 0 at t = 1, by quadrature in log t, where it is smooth at small t."""
        nodes, weights = (
            torch.from_numpy(table).to(t) for table in (exponential.NODES, exponential.WEIGHTS)
        )
        starts = torch.arange(PANELS, dtype=t.dtype, device=t.device)[:, None]
        places = (starts + 0.5 * (1 + nodes)).flatten() / PANELS
        spans = -torch.log(t)[:, None]
        times = torch.exp(-spans * places)
        root_xx, _, root_vv = self.process.covariance(times).cholesky()
        rate = self.process.beta(times) / self.process.mass * root_vv / root_xx
        return (rate * times * spans * weights.repeat(PANELS) / (2 * PANELS)).sum(1)

    def log_ratio(self, t: Tensor) -> Tensor:
        return 0.5 * self.process.log_snr(t)


def linear(process: CLD, score_fn: VelocityScore) -> tuple[Damped, exponential.CleanFn]:
    """Returns the process as the integrator takes it, and the mean image that a score tells."""
    return Damped(process), partial(clean_state, process, score_fn)


def clean_state(process: CLD, score_fn: VelocityScore, u: Tensor, t: float) -> Tensor:
    """Returns the mean image that the score by v tells, with a velocity of 0: the mean at t = 0."""
    time = torch.tensor(t, dtype=torch.float64)
    gain_x, gain_v = (gain.item() for gain in process.mean_coefficients(time))
    xx, xv, _, det = (entry.item() for entry in process.covariance(time))
    at = torch.full((len(u),), t, dtype=torch.float64, device=u.device)
    x, v = u.chunk(2, 1)
    image = (det * score_fn(u, at) + xx * v - xv * x) / (xx * gain_v - xv * gain_x)
    return torch.cat([image, torch.zeros_like(image)], 1)


def _factor(covariance: Covariance) -> Tensor:
    """Returns the Cholesky factor as matrices, shape (..., 2, 2)."""
    xx, vx, vv = covariance.cholesky()
    return torch.stack([torch.stack([xx, torch.zeros_like(xx)], -1), torch.stack([vx, vv], -1)], -2)


ddim = solvers.bound(solvers.ddim, linear)
deis = solvers.bound(solvers.deis, linear)
dpm_solver_2m = solvers.bound(solvers.dpm_solver_2m, linear)
dpm_solver_3m = solvers.bound(solvers.dpm_solver_3m, linear)
sde_dpm_solver_2m = solvers.bound(solvers.sde_dpm_solver_2m, linear)
unipc = solvers.bound(solvers.unipc, linear)
