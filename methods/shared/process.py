r"""The linear diffusions of Score-SDE: variance exploding, variance preserving, sub-variance
preserving.

Each adds Gaussian noise to an image by :math:`dx = f(t)\,x\,dt + g(t)\,dw`, so that

.. math:: x_t \mid x_0 \sim \mathcal{N}(m_t x_0, s_t^2 I), \qquad
          dx = \left(f x - \tfrac12 g^2 \nabla \log p_t(x)\right) dt

with the mean coefficient m, the standard deviation s, and the probability-flow ODE on the right.

Shapes: t is a tensor of any shape, mostly (B,); x is (B, C, H, W). Time: t = 0 is data, t = 1 is
noise. All functions work in the dtype and on the device of their arguments.

Source: Song et al., 2021, https://arxiv.org/abs/2011.13456 (section 3.4, appendices B and C).
Departures: every 1 - exp(-x) is computed by expm1 (``rounded`` computes the marginals as the
authors do).
"""

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from bench.frozen import dataclass
from bench.method import Noise


def like(v: Tensor, x: Tensor) -> Tensor:
    """Returns v of shape (B,) as (B, 1, ..., 1), to broadcast over x of shape (B, ...)."""
    return v.reshape(-1, *[1] * (x.ndim - 1))


def time_like(x: Tensor, t: float) -> Tensor:
    """Returns the time t for each image of x: shape (B,), in x's dtype and on its device."""
    return torch.full((len(x),), t, dtype=x.dtype, device=x.device)


def time_of(function: Callable[[Tensor], Tensor], values: Tensor) -> Tensor:
    """Returns the times in [0, 1] at which a falling function of the time has values, to rounding.

    By bisection of log t, so that small times keep their digits.
    """
    low, high = torch.zeros_like(values), torch.ones_like(values)
    for _ in range(60):
        middle = torch.where(low > 0, (low * high).sqrt(), high / 1024)
        above = function(middle) > values
        low, high = torch.where(above, middle, low), torch.where(above, high, middle)
    return high


@dataclass(frozen=True)
class Chain:
    r"""A discrete diffusion :math:`x_k = a_k x_{k-1} + \sqrt{v_k} z` of levels k = 0, ..., N - 1,
    with x_{-1} the data.

    Args:
        factor: The a_k, float64, shape (N,).
        variance: The v_k, likewise.
    """

    factor: Tensor
    variance: Tensor

    @property
    def mean_coefficient(self) -> Tensor:
        """The factor of the data in x_k, shape (N,)."""
        return self.factor.cumprod(0)

    @property
    def std(self) -> Tensor:
        """The standard deviation of x_k given the data, shape (N,)."""
        return self._marginal_variance().sqrt()

    @property
    def posterior_variance(self) -> Tensor:
        """The variance of x_{k-1} given x_k and the data, shape (N,); 0 for k = 0."""
        after = self._marginal_variance()
        before = torch.cat([after.new_zeros(1), after[:-1]])
        return self.variance * before / after

    def _marginal_variance(self) -> Tensor:
        steps = zip(self.factor.square().tolist(), self.variance.tolist(), strict=True)
        sums = itertools.accumulate(
            steps, lambda total, step: step[0] * total + step[1], initial=0.0
        )
        return torch.tensor(list(sums)[1:], dtype=torch.float64)


class Process(ABC):
    """A linear diffusion with isotropic noise.

    Attributes:
        t_min: The time at which the authors stop sampling; nothing here uses it but as a default of
            grids.
        prior_std: Standard deviation of the prior, the distribution taken for that of x at t = 1.
    """

    t_min: float
    prior_std: float = 1.0

    @abstractmethod
    def mean_coefficient(self, t: Tensor) -> Tensor:
        """Returns m(t)."""

    @abstractmethod
    def std(self, t: Tensor) -> Tensor:
        """Returns s(t)."""

    @abstractmethod
    def log_snr(self, t: Tensor) -> Tensor:
        """Returns log(m(t)^2 / s(t)^2), decreasing in t."""

    @abstractmethod
    def time_of_log_snr(self, log_snr: Tensor) -> Tensor:
        """Returns the time t at which :meth:`log_snr` has this value."""

    @abstractmethod
    def drift_coefficient(self, t: Tensor) -> Tensor:
        """Returns f(t); the drift is f(t) x."""

    @abstractmethod
    def diffusion(self, t: Tensor) -> Tensor:
        """Returns g(t)."""

    @abstractmethod
    def transition(self, t: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        """Returns (a, v): given x at s < t, x at t has mean a x and variance v, exactly."""

    @abstractmethod
    def published_chain(self, steps: int) -> Chain:
        """Returns the discrete diffusion of ``steps`` levels of which the process is the limit, as
        the authors have it.

        Raises:
            ValueError: There is none, or ``steps`` is so small that a variance would exceed 1.
        """

    def published_transition(self, t: Tensor, steps: int) -> tuple[Tensor, Tensor]:
        """Returns what the authors use in place of :meth:`transition`: (a, v) of the step that ends
        at t.

        It stands for a step of length 1 / ``steps`` and is looked up in :meth:`published_chain` by
        :func:`published_index`, so it fits their uniform grid alone
        (:func:`methods.shared.grids.published_grid`).

        Raises:
            ValueError: As :meth:`published_chain`.
        """
        chain, index = self.published_chain(steps), published_index(t, steps).cpu()
        return chain.factor[index].to(t), chain.variance[index].to(t)

    def perturb(self, x0: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Returns mean, of x0's shape, and std, broadcastable over it, of x at times (B,)."""
        return like(self.mean_coefficient(t), x0) * x0, like(self.std(t), x0)

    def noise_level(self, t: Tensor) -> Tensor:
        """Returns s(t) / m(t), noise relative to the image: EDM's sigma (Karras et al., 2022)."""
        return torch.exp(-0.5 * self.log_snr(t))

    def prior(self, shape: Sequence[int], noise: Noise) -> Tensor:
        """Returns draws of the given shape from the prior."""
        return self.prior_std * noise.normal(shape)

    def prior_log_prob(self, z: Tensor) -> Tensor:
        """Returns the prior's log-density of z, shape (B,), in nats."""
        z = z.flatten(1)
        log_scale = math.log(self.prior_std) + 0.5 * math.log(2 * math.pi)
        return -0.5 * (z / self.prior_std).square().sum(1) - z.shape[1] * log_scale


class VE(Process):
    """Variance exploding: m = 1 and s grows geometrically from sigma_min to sigma_max.

    s(0) is sigma_min, not 0: the data at t = 0 carry that much noise already.
    """

    t_min = 1e-5

    def __init__(self, sigma_min: float = 0.01, sigma_max: float = 50.0) -> None:
        self.sigma_min = sigma_min
        self.sigma_max = sigma_max
        self.prior_std = sigma_max
        self.log_ratio = math.log(sigma_max / sigma_min)

    def mean_coefficient(self, t: Tensor) -> Tensor:
        return torch.ones_like(t)

    def std(self, t: Tensor) -> Tensor:
        return self.sigma_min * torch.exp(self.log_ratio * t)

    def log_snr(self, t: Tensor) -> Tensor:
        return -2 * (math.log(self.sigma_min) + self.log_ratio * t)

    def time_of_log_snr(self, log_snr: Tensor) -> Tensor:
        return (-0.5 * log_snr - math.log(self.sigma_min)) / self.log_ratio

    def drift_coefficient(self, t: Tensor) -> Tensor:
        return torch.zeros_like(t)

    def diffusion(self, t: Tensor) -> Tensor:
        return math.sqrt(2 * self.log_ratio) * self.std(t)

    def transition(self, t: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        return torch.ones_like(t), self.std(s).square() * torch.expm1(2 * self.log_ratio * (t - s))

    def published_chain(self, steps: int) -> Chain:
        log_sigmas = torch.linspace(
            math.log(self.sigma_min), math.log(self.sigma_max), steps, dtype=torch.float64
        )
        variances = torch.exp(2 * log_sigmas)
        return Chain(torch.ones_like(variances), variances.diff(prepend=variances.new_zeros(1)))


class _Preserving(Process):
    """What VP and sub-VP share: beta(t) linear in t, its integral B(t), and m = exp(-B / 2).

    Args:
        beta_min: The rate at t = 0.
        beta_max: The rate at t = 1.
        rounded: Whether m, s and g are computed in the authors' order of operations, in which 1 -
            exp(x) loses digits near t = 0: in float32 VP's s is wrong by 6 parts in 1,000 at t =
            1e-5. An adaptive solver at a tolerance of 1e-5 sees it.
    """

    t_min = 1e-3

    def __init__(
        self, beta_min: float = 0.1, beta_max: float = 20.0, *, rounded: bool = False
    ) -> None:
        self.beta_min = beta_min
        self.beta_max = beta_max
        self.rounded = rounded

    def beta(self, t: Tensor) -> Tensor:
        """Returns the rate beta at t."""
        return self.beta_min + (self.beta_max - self.beta_min) * t

    def beta_integral(self, t: Tensor) -> Tensor:
        """Returns B(t), the integral of beta from 0 to t."""
        return (self.beta_min + 0.5 * (self.beta_max - self.beta_min) * t) * t

    def beta_interval(self, t: Tensor, s: Tensor) -> Tensor:
        """Returns 1 - exp(-(B(t) - B(s))), DDPM's beta of the step from s to t, in [0, 1)."""
        # The difference B(t) - B(s) with its factor t - s taken out, so that close times lose no
        # digits.
        mean_beta = self.beta_min + 0.5 * (self.beta_max - self.beta_min) * (t + s)
        return -torch.expm1(-mean_beta * (t - s))

    def mean_coefficient(self, t: Tensor) -> Tensor:
        return torch.exp(
            self._published_log_mean(t) if self.rounded else -0.5 * self.beta_integral(t)
        )

    def drift_coefficient(self, t: Tensor) -> Tensor:
        return -0.5 * self.beta(t)

    def _marginal_variance(self, t: Tensor) -> Tensor:
        """Returns 1 - exp(-B(t)), VP's variance."""
        if self.rounded:
            return 1 - torch.exp(2 * self._published_log_mean(t))
        return -torch.expm1(-self.beta_integral(t))

    def _published_log_mean(self, t: Tensor) -> Tensor:
        return -0.25 * t**2 * (self.beta_max - self.beta_min) - 0.5 * t * self.beta_min

    def _time_of_beta_integral(self, integral: Tensor) -> Tensor:
        """Returns t with B(t) = integral, by the root of the quadratic that does not cancel."""
        slope = self.beta_max - self.beta_min
        return 2 * integral / (self.beta_min + torch.sqrt(self.beta_min**2 + 2 * slope * integral))


class VP(_Preserving):
    """Variance preserving, the continuous DDPM: m = exp(-B / 2), s^2 = 1 - exp(-B)."""

    def std(self, t: Tensor) -> Tensor:
        return torch.sqrt(self._marginal_variance(t))

    def log_snr(self, t: Tensor) -> Tensor:
        integral = self.beta_integral(t)
        return -integral - torch.log(-torch.expm1(-integral))

    def time_of_log_snr(self, log_snr: Tensor) -> Tensor:
        return self._time_of_beta_integral(torch.logaddexp(torch.zeros_like(log_snr), -log_snr))

    def diffusion(self, t: Tensor) -> Tensor:
        return torch.sqrt(self.beta(t))

    def transition(self, t: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        beta = self.beta_interval(t, s)
        return torch.sqrt(1 - beta), beta

    def published_chain(self, steps: int) -> Chain:
        if steps <= self.beta_max:
            raise ValueError(
                f"{steps} steps: the authors' betas, {self.beta_min}/N to {self.beta_max}/N, "
                f"need N > {self.beta_max} steps"
            )
        betas = torch.linspace(
            self.beta_min / steps, self.beta_max / steps, steps, dtype=torch.float64
        )
        return Chain(torch.sqrt(1 - betas), betas)


class SubVP(_Preserving):
    """Sub-variance preserving: m as VP, s = 1 - exp(-B), which is VP's variance."""

    def std(self, t: Tensor) -> Tensor:
        return self._marginal_variance(t)

    def log_snr(self, t: Tensor) -> Tensor:
        integral = self.beta_integral(t)
        return -integral - 2 * torch.log(-torch.expm1(-integral))

    def time_of_log_snr(self, log_snr: Tensor) -> Tensor:
        # With y = s the definition reads exp(log_snr) y^2 + y - 1 = 0, and 1 - y = exp(-B).
        y = 2 / (1 + torch.sqrt(1 + 4 * torch.exp(log_snr)))
        integral = torch.where(
            y < 0.5, -torch.log1p(-y.clamp(max=0.5)), -2 * torch.log(y) - log_snr
        )
        return self._time_of_beta_integral(integral)

    def diffusion(self, t: Tensor) -> Tensor:
        if self.rounded:
            kept = torch.exp(-2 * self.beta_min * t - (self.beta_max - self.beta_min) * t**2)
            return torch.sqrt(self.beta(t) * (1 - kept))
        return torch.sqrt(self.beta(t) * -torch.expm1(-2 * self.beta_integral(t)))

    def transition(self, t: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        # s(t)^2 - a^2 s(s)^2 with a^2 = exp(-(B(t) - B(s))) factorises, so nothing cancels.
        beta = self.beta_interval(t, s)
        return torch.sqrt(1 - beta), beta * -torch.expm1(
            -self.beta_integral(t) - self.beta_integral(s)
        )

    def published_chain(self, steps: int) -> Chain:
        raise ValueError("sub-VP is the limit of no discrete chain")

    def published_transition(self, t: Tensor, steps: int) -> tuple[Tensor, Tensor]:
        # Theirs is the Euler step here, at t itself rather than at an index.
        return 1 + self.drift_coefficient(t) / steps, self.diffusion(t).square() / steps


def published_index(t: Tensor, steps: int) -> Tensor:
    """Returns the authors' index of the level at t, floor(t (steps - 1)) in float32 as theirs."""
    return (t.float() * (steps - 1)).long()
