"""Exact answers for Gaussian and Gaussian-mixture data under a linear diffusion, in float64.

Data are x0 ~ sum_k w_k N(mu_k, S_k), images flattened to D dimensions; x_t then has the components
N(m mu_k, m^2 S_k + s^2 I), all in the eigenbasis of S_k.
"""

import math
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bench.method import Noise


class Mixture:
    """A Gaussian mixture of images: weights (K,), means (K, D), covariances (K, D, D) and the
    images' shape.
    """

    def __init__(
        self, weights: Tensor, means: Tensor, covariances: Tensor, shape: tuple[int, ...]
    ) -> None:
        self.weights = weights
        self.means = means
        self.covariances = covariances
        self.shape = shape
        self.variances, self.bases = torch.linalg.eigh(covariances)

    @classmethod
    def load(cls, path: Path) -> "Mixture":
        """Reads one data_*.npz."""
        arrays = {name: torch.from_numpy(array) for name, array in np.load(path).items()}
        return cls(arrays["w"], arrays["mu"], arrays["S"], tuple(arrays["shape"].tolist()))

    def mean_and_covariance(self) -> tuple[Tensor, Tensor]:
        """Returns those of the whole mixture, (D,) and (D, D)."""
        mean = self.weights @ self.means
        centred = self.means - mean
        within = torch.einsum("k,kij->ij", self.weights, self.covariances)
        return mean, within + torch.einsum("k,ki,kj->ij", self.weights, centred, centred)

    def log_prob(self, x: Tensor, m: Tensor, s: Tensor) -> Tensor:
        """Returns log p of x, (B, ...), when image j has mean coefficient m_j and std s_j; (B,)."""
        coordinates, variances = self._coordinates(x, m, s)
        log_normal = -0.5 * (
            coordinates.square() / variances + variances.log() + math.log(2 * math.pi)
        ).sum(-1)
        return torch.logsumexp(log_normal + self.weights.log(), dim=1)

    def score(self, x: Tensor, m: Tensor, s: Tensor) -> Tensor:
        """Returns the gradient of :meth:`log_prob`, of x's shape."""
        coordinates, variances = self._coordinates(x, m, s)
        log_normal = -0.5 * (coordinates.square() / variances + variances.log()).sum(-1)
        share = torch.softmax(log_normal + self.weights.log(), dim=1)
        gradients = -torch.einsum("kdi,bki->bkd", self.bases, coordinates / variances)
        return torch.einsum("bk,bkd->bd", share, gradients).view_as(x)

    def _coordinates(self, x: Tensor, m: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        """Returns x in each component's eigenbasis and the variances there, both (B, K, D)."""
        centred = x.reshape(len(x), 1, -1) - m.view(-1, 1, 1) * self.means
        coordinates = torch.einsum("kdi,bkd->bki", self.bases, centred)
        return coordinates, m.square().view(-1, 1, 1) * self.variances + s.square().view(-1, 1, 1)

    def score_fn(self, process):
        """Returns the exact score of the data under ``process``, as samplers take it."""
        return lambda x, t: self.score(x, process.mean_coefficient(t), process.std(t))


class Corrupted:
    """The exact answers of a mixture under a linear corruption x_t = C_t x0 + s_t z, with any C.

    Args:
        data: The mixture.
        corruption: With ``apply`` and ``std``.
    """

    def __init__(self, data: Mixture, corruption) -> None:
        self.data = data
        self.corruption = corruption
        self.at = lru_cache(maxsize=16)(self._at)
        self.regression = lru_cache(maxsize=16)(self._regression)

    def moments(self, t: float) -> tuple[Tensor, Tensor]:
        """Returns mean (D,) and covariance (D, D) of x_t."""
        matrix, std = self._matrix(t)
        mean, covariance = self.data.mean_and_covariance()
        return matrix @ mean, matrix @ covariance @ matrix.T + std**2 * torch.eye(
            len(mean), dtype=torch.float64
        )

    def log_prob(self, x: Tensor, t: float) -> Tensor:
        """Returns log p_t of x, (B, ...); (B,)."""
        coordinates, variances, _ = self._whiten(x, t)
        log_normal = -0.5 * (
            coordinates.square() / variances + variances.log() + math.log(2 * math.pi)
        ).sum(-1)
        return torch.logsumexp(log_normal + self.data.weights.log(), dim=1)

    def denoise(self, x: Tensor, t: Tensor) -> Tensor:
        """Returns E[x0 | x_t = x] of x's shape, by operations that can be differentiated by x; t is
        (B,).
        """
        if (t != t[0]).any():
            return torch.cat(
                [self.denoise(image[None], time[None]) for image, time in zip(x, t, strict=True)]
            )
        if len(self.data.weights) == 1:  # linear in x, which likelihoods differentiate very often
            matrix, shift = self.regression(t[0].item())
            return torch.addmm(shift, x.flatten(1), matrix.T).view_as(x)
        coordinates, variances, gains = self._whiten(x, t[0].item())
        log_normal = -0.5 * (coordinates.square() / variances + variances.log()).sum(-1)
        share = torch.softmax(log_normal + self.data.weights.log(), dim=1)
        means = self.data.means + torch.einsum("kij,bkj->bki", gains, coordinates / variances)
        return torch.einsum("bk,bkd->bd", share, means).view_as(x)

    def _whiten(self, x: Tensor, t: float) -> tuple[Tensor, Tensor, Tensor]:
        """Returns x in the eigenbasis of each component of x_t, the variances there, and S C^T in
        that basis.
        """
        means, variances, bases, gains = self.at(t)
        centred = x.reshape(len(x), 1, -1) - means
        return torch.einsum("kdi,bkd->bki", bases, centred), variances, gains

    def _at(self, t: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        matrix, std = self._matrix(t)
        gains = self.data.covariances @ matrix.T
        values, bases = torch.linalg.eigh(matrix @ gains)
        return self.data.means @ matrix.T, values + std**2, bases, gains @ bases

    def _regression(self, t: float) -> tuple[Tensor, Tensor]:
        """Returns (A, b) of E[x0 | x_t = x] = A x + b, for data of one component."""
        means, variances, bases, gains = (part[0] for part in self.at(t))
        matrix = gains / variances @ bases.T
        return matrix, self.data.means[0] - matrix @ means

    def _matrix(self, t: float) -> tuple[Tensor, float]:
        """Returns C_t as a matrix, by what it makes of unit vectors, and s_t."""
        at, dims = torch.tensor(t, dtype=torch.float64), len(self.data.means[0])
        units = torch.eye(dims, dtype=torch.float64).view(dims, *self.data.shape)
        return self.corruption.apply(units, at).view(dims, dims).T, self.corruption.std(at).item()


class Replay:
    """A noise source that gives recorded draws in their order, and refuses to give more."""

    def __init__(self, *draws: Tensor) -> None:
        self.draws = list(draws)

    def normal(self, shape) -> Tensor:
        draw = self.draws.pop(0)
        assert draw.shape == torch.Size(shape), (
            f"asked for {tuple(shape)}, recorded {tuple(draw.shape)}"
        )
        return draw

    rademacher = uniform = normal

    def child(self, name: str) -> Noise:
        """Returns a source for what was not recorded: dropout, of which there is none."""
        return Noise(0, (name,))


class Constant:
    """A noise source whose every normal draw is the same number, however many are drawn."""

    def __init__(self, value: float) -> None:
        self.value = value

    def normal(self, shape) -> Tensor:
        return torch.full(tuple(shape), self.value, dtype=torch.float64)


def frechet(mean1: Tensor, covariance1: Tensor, mean2: Tensor, covariance2: Tensor) -> float:
    """Returns the squared 2-Wasserstein distance between two Gaussians."""
    values, basis = torch.linalg.eigh(covariance2)
    root = (basis * values.clamp(min=0).sqrt()) @ basis.T
    product = root @ covariance1 @ root
    cross = torch.linalg.eigvalsh((product + product.T) / 2).clamp(min=0).sqrt().sum()
    return float(
        (mean1 - mean2).square().sum() + covariance1.trace() + covariance2.trace() - 2 * cross
    )
