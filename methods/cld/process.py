r"""The critically-damped Langevin diffusion: an image x and its velocity v, of which v alone meets
noise.

.. math:: dx = M^{-1} \beta v\,dt, \qquad
          dv = -\left(\beta x + \Gamma M^{-1} \beta v\right) dt + \sqrt{2 \Gamma \beta}\,dw

with mass M, friction :math:`\Gamma = 2 \sqrt M` (critical damping: the fastest return that does not
swing) and rate :math:`\beta(t) = \beta_0 + \beta_1 t`. The velocity starts as :math:`v_0 \sim
\mathcal{N}(0, \gamma M I)`, and both end as :math:`x \sim \mathcal{N}(0, I), v \sim \mathcal{N}(0,
M I)`.

Every pixel goes its own way, by 2x2 matrices. In the velocity's own unit, :math:`v / \sqrt M`, and
in the stretched time :math:`\tau = (B(t) - B(s)) / \sqrt M` with B the integral of :math:`\beta`,
the state at t given the one at s has

.. math:: \text{mean } e^{-\tau} \begin{pmatrix} 1 + \tau & \tau \\ -\tau & 1 - \tau \end{pmatrix}
u_s, \qquad
          \text{covariance } \begin{pmatrix} p & 2 \tau^2 e^{-2\tau} \\ \cdot & p + 4 \tau
          e^{-2\tau} \end{pmatrix}, \quad p = 1 - e^{-2\tau} (1 + 2\tau + 2\tau^2) = P(3, 2\tau),

the regularised incomplete gamma function, which does not cancel at small times where the closed
form does.

Shapes: states u = (x, v) are (B, 2C, H, W), x first; t is a tensor of any shape, mostly (B,). Time:
t = 0 is data, t = 1 is noise. Functions of t alone work in float64; those of a state keep its
dtype.

Source: Dockhorn et al., 2022, https://arxiv.org/abs/2112.07068 (section 3, appendix B).
Departures: covariances are sums of positive terms, where the authors' closed forms lose digits;
``numerical_eps``, which the authors add to both variances against that, is 0 unless it is asked
for.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from bench.method import Noise
from methods.shared.process import like, time_of


class Covariance(NamedTuple):
    """The covariance of (x, v), the same for every pixel: entries and determinant, float64 tensors
    of t's shape.

    The determinant is kept since it is smaller than the products of the entries by many digits at
    small times.
    """

    xx: Tensor
    xv: Tensor
    vv: Tensor
    det: Tensor

    def cholesky(self) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the entries (xx, vx, vv) of the lower triangular square root."""
        root = self.xx.sqrt()
        return root, self.xv / root, (self.det / self.xx).sqrt()

    def matrix(self) -> Tensor:
        """Returns it as matrices, shape (..., 2, 2)."""
        return torch.stack(
            [torch.stack([self.xx, self.xv], -1), torch.stack([self.xv, self.vv], -1)], -2
        )

    def raised(self, eps: float) -> "Covariance":
        """Returns it with eps added to both variances."""
        det = self.det + eps * (self.xx + self.vv) + eps**2
        return Covariance(self.xx + eps, self.xv, self.vv + eps, det)

    def sample(self, mean: Tensor, z: Tensor) -> Tensor:
        """Returns mean + L z of states and normal draws z (B, 2C, H, W); entries are (B,) or ()."""
        xx, vx, vv = (like(entry.to(mean), mean) for entry in self.cholesky())
        z_x, z_v = z.chunk(2, 1)
        return mean + torch.cat([xx * z_x, vx * z_x + vv * z_v], 1)


class CLD:
    r"""A critically-damped Langevin diffusion.

    Args:
        beta0: The rate :math:`\beta` at t = 0.
        beta1: Its slope: the rate at t = 1 is beta0 + beta1.
        mass: M, the variance of the velocity at t = 1; the authors' ``m_inv`` is 1 / M.
        gamma: Variance of the velocity at t = 0, in units of M.
        numerical_eps: Added to the variances of x and v given an image, as the authors do.

    Attributes:
        friction: :math:`\Gamma`.
        velocity_variance: Variance of the velocity at t = 0.
        t_min: Where sampling ends by default, as the authors'.
    """

    t_min = 1e-3

    def __init__(
        self,
        beta0: float = 4.0,
        beta1: float = 0.0,
        mass: float = 0.25,
        gamma: float = 0.04,
        numerical_eps: float = 0.0,
    ) -> None:
        self.beta0 = beta0
        self.beta1 = beta1
        self.mass = mass
        self.gamma = gamma
        self.numerical_eps = numerical_eps
        self.friction = 2 * math.sqrt(mass)
        self.velocity_variance = gamma * mass

    def beta(self, t: Tensor) -> Tensor:
        """Returns the rate at t."""
        return self.beta0 + self.beta1 * t.double()

    def beta_integral(self, t: Tensor, s: Tensor | float = 0.0) -> Tensor:
        """Returns the integral of beta from s to t."""
        s = s.double() if isinstance(s, Tensor) else s
        # With its factor t - s taken out, so that close times lose no digits.
        return (t.double() - s) * (self.beta0 + 0.5 * self.beta1 * (t.double() + s))

    def transition(self, t: Tensor, s: Tensor | float = 0.0) -> tuple[Tensor, Covariance]:
        """Returns (A, S): given u at time s <= t, u at time t has mean A u, A of shape (..., 2, 2),
        and covariance S.

        Both without ``numerical_eps``.
        """
        stretched = self.beta_integral(t, s) / math.sqrt(self.mass)
        return self._propagator(stretched), self._diffused(stretched)

    def mean_coefficients(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Returns what the image counts in the means of x and of v at t."""
        matrix, _ = self.transition(t)
        return matrix[..., 0, 0], matrix[..., 1, 0]

    def covariance(
        self,
        t: Tensor,
        velocity_variance: Tensor | float | None = None,
        image_variance: Tensor | float = 0.0,
    ) -> Covariance:
        """Returns the covariance of u at t given an image, or given the mean of images that spread
        around it.

        Args:
            velocity_variance: Of the velocity at t = 0; by default the diffusion's own, so that the
                velocity is averaged over (the kernel of HSM). 0 is for a velocity that is known
                (that of DSM).
            image_variance: Of the image at t = 0.
        """
        velocity_variance = (
            self.velocity_variance if velocity_variance is None else velocity_variance
        )
        stretched = self.beta_integral(t) / math.sqrt(self.mass)
        (a, b), (c, d) = (row.unbind(-1) for row in self._propagator(stretched).unbind(-2))
        xx, xv, vv, det = self._diffused(stretched)

        # det(S + A diag(p, q) A^T) by its rank-one terms, every one of them positive.
        det = (
            det
            + image_variance * (vv * a.square() - 2 * xv * a * c + xx * c.square())
            + velocity_variance * (vv * b.square() - 2 * xv * b * d + xx * d.square())
            + image_variance * velocity_variance * (a * d - b * c).square()
        )
        xx = xx + image_variance * a.square() + velocity_variance * b.square()
        xv = xv + image_variance * a * c + velocity_variance * b * d
        vv = vv + image_variance * c.square() + velocity_variance * d.square()
        return Covariance(xx, xv, vv, det).raised(self.numerical_eps)

    def mean(self, x0: Tensor, t: Tensor, v0: Tensor | None = None) -> Tensor:
        """Returns the mean of u at t (B,), given images and velocities (none: 0), (B, C, H, W)."""
        matrix, _ = self.transition(t)
        (a, b), (c, d) = (
            (like(entry.to(x0), x0) for entry in row.unbind(-1)) for row in matrix.unbind(-2)
        )
        if v0 is None:
            return torch.cat([a * x0, c * x0], 1)
        return torch.cat([a * x0 + b * v0, c * x0 + d * v0], 1)

    def perturb(self, x0: Tensor, t: Tensor, z: Tensor, v0: Tensor | None = None) -> Tensor:
        """Returns u at t of shape (B,), given images and velocities, or the images alone, and
        standard normal draws.

        Args:
            x0: Shape (B, C, H, W).
            z: Shape (B, 2C, H, W).
            v0: Of x0's shape; None averages over it.
        """
        covariance = self.covariance(t, None if v0 is None else 0.0)
        return covariance.sample(self.mean(x0, t, v0), z)

    def score_scale(self, t: Tensor, velocity_variance: float | None = None) -> Tensor:
        r"""Returns :math:`\ell = 1 / L_{vv}`; the score by v of u given x0 is :math:`-\ell z_v`."""
        covariance = self.covariance(t, velocity_variance)
        return (covariance.xx / covariance.det).sqrt()

    def log_snr(self, t: Tensor) -> Tensor:
        r"""Returns the logarithm of what x and v together tell of the image, decreasing in t.

        It is :math:`\log(a^\top \Sigma^{-1} a)` for the mean a x0 and the covariance of u: the best
        unbiased estimate of the image from u has the reciprocal as its variance.
        """
        a, c = self.mean_coefficients(t)
        xx, xv, vv, det = self.covariance(t)
        return torch.log(vv * a.square() - 2 * xv * a * c + xx * c.square()) - torch.log(det)

    def noise_level(self, t: Tensor) -> Tensor:
        """Returns the standard deviation of that estimate: EDM's sigma (Karras et al., 2022)."""
        return torch.exp(-0.5 * self.log_snr(t))

    def time_of_log_snr(self, log_snr: Tensor) -> Tensor:
        """Returns the time t in [0, 1] at which :meth:`log_snr` has this value, to rounding."""
        return time_of(self.log_snr, log_snr)

    def drift(self, u: Tensor, t: Tensor) -> Tensor:
        """Returns the drift of the diffusion at u and t of shape (B,), of u's shape."""
        beta = like(self.beta(t).to(u), u)
        x, v = u.chunk(2, 1)
        return torch.cat([beta / self.mass * v, -beta * (x + self.friction / self.mass * v)], 1)

    def diffusion(self, t: Tensor) -> Tensor:
        """Returns the factor of the noise that v meets; x meets none."""
        return torch.sqrt(2 * self.friction * self.beta(t))

    def flow(self, score: Tensor, u: Tensor, t: Tensor) -> Tensor:
        """Returns the probability flow's velocity du/dt at u and t (B,), given the score by v."""
        x_change, v_change = self.drift(u, t).chunk(2, 1)
        return torch.cat(
            [x_change, v_change - like((self.friction * self.beta(t)).to(u), u) * score], 1
        )

    def prior(self, shape: Sequence[int], noise: Noise) -> Tensor:
        """Returns states at t = 1 for images of shape (B, C, H, W): x is drawn first, then v."""
        x, v = noise.normal(shape), noise.normal(shape)
        return torch.cat([x, math.sqrt(self.mass) * v], 1)

    def prior_log_prob(self, u: Tensor) -> Tensor:
        """Returns the log-density of states at t = 1, shape (B,), in nats."""
        x, v = (half.flatten(1) for half in u.chunk(2, 1))
        energy = 0.5 * (x.square() + v.square() / self.mass).sum(1)
        return -energy - x.shape[1] * (math.log(2 * math.pi) + 0.5 * math.log(self.mass))

    def _propagator(self, stretched: Tensor) -> Tensor:
        """Returns the matrix of the mean after a stretched time, shape (..., 2, 2)."""
        scale, decay = math.sqrt(self.mass), torch.exp(-stretched)
        rows = [[1 + stretched, stretched / scale], [-scale * stretched, 1 - stretched]]
        return torch.stack([torch.stack([decay * entry for entry in row], -1) for row in rows], -2)

    def _diffused(self, stretched: Tensor) -> Covariance:
        """Returns the covariance that noise alone makes in a stretched time."""
        scale, twice, decay = math.sqrt(self.mass), 2 * stretched, torch.exp(-2 * stretched)
        p = torch.special.gammainc(torch.full_like(twice, 3.0), twice)
        xv = 0.5 * twice.square() * decay
        vv = p + 2 * twice * decay
        # As twice goes to 0 the product is 4 / 3 of the square: the difference keeps its digits.
        return Covariance(p, scale * xv, self.mass * vv, self.mass * (p * vv - xv.square()))
