r"""Where CLD's sampling starts: the distribution of states (x, v) at t = 1, fitted to the training
images.

Given an image a state is :math:`u_1 = A_1 (x_0, 0) + L w` with the Cholesky factor L of the
covariance of image and velocity, so that :math:`L^{-1} u_1` is an image of 2C channels, the same
image twice at two strengths, with noise of standard deviation 1, as :mod:`methods.shared.prior`
takes it. With the paper's rates both strengths are below 0.01, and it is next to N(0, I) and N(0, M
I); with smaller ones it is not.

Shapes: states u = (x, v) are (B, 2C, H, W), x first. Time: t = 1 is noise.

Source: none; Dockhorn et al., 2022, https://arxiv.org/abs/2112.07068 (section 3) take the limit for
long times.
Departures: all of it, for that reason.
"""

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from bench.frozen import dataclass
from bench.method import Noise
from methods.cld.process import CLD
from methods.shared.hyperparameters import Prior as PriorParams
from methods.shared.prior import Basis, Prior, fit_prior


@dataclass(frozen=True)
class StatePrior:
    """The distribution of states at t = 1.

    Args:
        whitened: That of the whitened states.
        factor: The entries (xx, vx, vv) of L.
    """

    whitened: Prior
    factor: tuple[float, float, float]

    def sample(self, count: int, noise: Noise) -> Tensor:
        """Returns draws of shape (count, 2C, H, W), in the noise's dtype."""
        (w_x, w_v), (xx, vx, vv) = self.whitened.sample(count, noise).chunk(2, 1), self.factor
        return torch.cat([xx * w_x, vx * w_x + vv * w_v], 1)

    def log_prob(self, u: Tensor) -> Tensor:
        """Returns the log-density of states in nats, float64, shape (B,)."""
        (x, v), (xx, vx, vv) = u.double().chunk(2, 1), self.factor
        w = torch.cat([x / xx, (v - vx * (x / xx)) / vv], 1)
        return self.whitened.log_prob(w) - x[0].numel() * (math.log(xx) + math.log(vv))

    def tensors(self) -> dict[str, Tensor]:
        """Returns what was fitted."""
        return self.whitened.tensors()


def last_factor(process: CLD) -> tuple[float, float, float]:
    """Returns the entries (xx, vx, vv) of L at t = 1."""
    xx, vx, vv = process.covariance(torch.ones((), dtype=torch.float64)).cholesky()
    return xx.item(), vx.item(), vv.item()


def whitened_means(process: CLD, x0: Tensor) -> Tensor:
    """Returns the means of images' whitened states at t = 1: (B, C, H, W) to (B, 2C, H, W)."""
    a, c = (gain.item() for gain in process.mean_coefficients(torch.ones((), dtype=torch.float64)))
    xx, vx, vv = last_factor(process)
    return torch.cat([a / xx * x0, (c - vx * a / xx) / vv * x0], 1)


def fit_state_prior(
    process: CLD, settings: PriorParams, images: Callable[[], Iterable[Tensor]], basis: Basis
) -> StatePrior:
    """Returns the distribution fitted to chunks (B, C, H, W) in the range of the diffusion."""
    assert settings.kind != "published"  # which nothing is fitted for
    fitted = fit_prior(
        settings.kind,
        lambda: (whitened_means(process, x0.double()) for x0 in images()),
        1.0,
        basis,
        modes=settings.modes,
        components=settings.components,
    )
    return StatePrior(fitted, last_factor(process))
