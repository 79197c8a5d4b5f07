r"""The distribution from which sampling starts: that of noisy images at t = 1, fitted to the
training images.

At t = 1 an image is :math:`x_1 = C_1 x_0 + s_1 z`, and little of what C leaves is small beside the
noise. A diffusion whose noise grows to the data's own spread (VE) leaves the images as they are,
with their mean; the widest blur of Soft Diffusion keeps half of the amplitude of the lowest
frequencies. Either is far from a centred normal one, and a flow carries what is wrong with its
start to the end. In an orthonormal basis in which few coefficients of :math:`C_1 x_0` stand out of
the noise (cosines for images and blurs, pixels for masks) the density is taken to be

.. math:: p_1(a) = \sum_k w_k\,\mathcal{N}(a_M; \mu_k, \Sigma_k + s_1^2 I)
          \prod_{i \notin M} \mathcal{N}(a_i; \mu_i, v_i + s_1^2)

with a mixture over the coefficients M that stand out, together, and every other one by itself. With
one component it has the mean of the training images and the variance of their coefficients added to
that of the noise. A pixel that is wholly masked has no variance, and so gets :math:`\mathcal{N}(0,
s_1^2)` exactly.

Shapes: B images, C channels, H x W pixels, d = C H W coefficients, m of them in M, K components.
Fits, states and densities are float64. Time: t = 1 is noise.

Source: Daras et al., 2022, https://arxiv.org/abs/2209.05442 (Soft Diffusion) needs such a
distribution and names none; Bansal et al., 2022, https://arxiv.org/abs/2208.09392 (Cold Diffusion)
starts from a Gaussian mixture of what their blur leaves; Song et al., 2021,
https://arxiv.org/abs/2011.13456 (Score-SDE) takes a centred normal distribution.
Departures: all of it, for that reason.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from bench.data.images import Images
from bench.frozen import dataclass
from bench.method import Noise, Run

Kind = Literal["gaussian", "mixture", "training"]

Chunks = Callable[[], Iterable[Tensor]]
"""Goes once through the corrupted training images, without noise, in chunks of shape (B, C, H,
W).
"""

CHUNK = 1024
"""Training images that are corrupted at once."""

SHARE_OF_NOISE = 0.01
"""A coefficient stands out of the noise if its variance exceeds this share of the noise's."""


class Basis(NamedTuple):
    """An orthonormal basis of images that is separable: row k of ``rows`` is the k-th vector along
    the height.

    Shapes (H, H) and (W, W), float64.
    """

    rows: Tensor
    columns: Tensor

    @classmethod
    def pixels(cls, height: int, width: int, device: torch.device | str = "cpu") -> "Basis":
        """Returns the basis of single pixels."""
        options: dict[str, Any] = {"dtype": torch.float64, "device": device}
        return cls(torch.eye(height, **options), torch.eye(width, **options))

    @classmethod
    def cosines(cls, height: int, width: int, device: torch.device | str = "cpu") -> "Basis":
        """Returns the basis of products of cosines (DCT-II)."""
        return cls(cosines(height).to(device), cosines(width).to(device))

    def coefficients(self, x: Tensor) -> Tensor:
        """Returns the coefficients of images of shape (B, C, H, W), shape (B, d), float64."""
        return (self.rows @ x.double() @ self.columns.T).flatten(1)

    def images(self, a: Tensor, shape: tuple[int, int, int]) -> Tensor:
        """Returns the images of coefficients of shape (B, d), shape (B, C, H, W), float64."""
        return self.rows.T @ a.view(-1, *shape) @ self.columns


def cosines(n: int) -> Tensor:
    """Returns the orthonormal DCT-II, float64, shape (n, n): row k is the k-th cosine."""
    k = torch.arange(n, dtype=torch.float64)
    matrix = math.sqrt(2 / n) * torch.cos(math.pi / n * k[:, None] * (k + 0.5))
    matrix[0] /= math.sqrt(2)
    return matrix


class Prior(Protocol):
    """A distribution of images at t = 1."""

    def sample(self, count: int, noise: Noise) -> Tensor:
        """Returns draws of shape (count, C, H, W), in the noise's dtype."""

    def log_prob(self, x: Tensor) -> Tensor:
        """Returns the log-density of images in nats, float64, shape (B,)."""

    def tensors(self) -> dict[str, Tensor]:
        """Returns what was fitted."""


@dataclass(frozen=True)
class Fitted:
    """Gaussian or Gaussian mixture over the coefficients that stand out, and independent Gaussians
    for the others.

    Args:
        basis: Of the coefficients.
        shape: (C, H, W).
        modes: Which coefficients stand out, int64, shape (m,).
        weights: Of the components, shape (K,).
        means: Theirs over ``modes``, shape (K, m).
        scales: Lower Cholesky factors of their covariances, the noise included, shape (K, m, m).
        mean: Of every coefficient, shape (d,); those of ``modes`` are not looked at.
        deviation: Standard deviation of every coefficient, the noise included; likewise.
    """

    basis: Basis
    shape: tuple[int, int, int]
    modes: Tensor
    weights: Tensor
    means: Tensor
    scales: Tensor
    mean: Tensor
    deviation: Tensor

    fitted: ClassVar[tuple[str, ...]] = ("modes", "weights", "means", "scales", "mean", "deviation")

    @classmethod
    def noise(cls, std: float, basis: Basis, shape: tuple[int, int, int]) -> "Fitted":
        """Returns the noise alone, what there is before any fit."""
        d = math.prod(shape)
        empty = basis.rows.new_zeros
        none = torch.zeros(0, dtype=torch.int64, device=basis.rows.device)
        return cls(
            basis, shape, none, empty(1) + 1, empty(1, 0), empty(1, 0, 0), empty(d), empty(d) + std
        )

    @property
    def rest(self) -> Tensor:
        """Which coefficients do not stand out, bool, shape (d,)."""
        rest = torch.ones_like(self.mean, dtype=torch.bool)
        rest[self.modes] = False
        return rest

    def sample(self, count: int, noise: Noise) -> Tensor:
        """Returns draws of shape (count, C, H, W), in the noise's dtype.

        The components are drawn first, if there is a choice, then one normal number for every
        coefficient.
        """
        k = torch.zeros(count, dtype=torch.int64, device=self.mean.device)
        if len(self.weights) > 1:
            u = noise.uniform((count,)).double()
            k = torch.searchsorted(self.weights.cumsum(0), u, right=True).clamp(
                max=len(self.weights) - 1
            )
        draws = noise.normal((count, *self.shape))
        z = draws.double().flatten(1)
        a = self.mean + self.deviation * z
        a[:, self.modes] = self.means[k] + (self.scales[k] @ z[:, self.modes, None]).squeeze(-1)
        return self.basis.images(a, self.shape).to(draws.dtype)

    def log_prob(self, x: Tensor) -> Tensor:
        """Returns the log-density of images in nats, float64, shape (B,)."""
        a, rest = self.basis.coefficients(x), self.rest
        alone = (a[:, rest] - self.mean[rest]) / self.deviation[rest]
        log_scale = self.deviation[rest].log().sum() + 0.5 * a.shape[1] * math.log(2 * math.pi)
        offset = (a[:, None, self.modes] - self.means)[..., None]  # (B, K, m, 1)
        together = torch.linalg.solve_triangular(self.scales, offset, upper=False).squeeze(-1)
        volume = self.scales.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        components = self.weights.log() - volume - 0.5 * together.square().sum(-1)
        return components.logsumexp(1) - 0.5 * alone.square().sum(1) - log_scale

    def tensors(self) -> dict[str, Tensor]:
        """Returns what was fitted."""
        return {name: getattr(self, name) for name in self.fitted}


@dataclass(frozen=True)
class Points:
    """Corrupted training images themselves, with the noise: an ablation, since it hands out what
    was trained on.

    Args:
        points: Shape (K, C, H, W), float32.
        std: Standard deviation of the noise.
    """

    points: Tensor
    std: float

    def sample(self, count: int, noise: Noise) -> Tensor:
        """Returns corrupted training images, drawn first, with noise, shape (count, C, H, W)."""
        chosen = noise.integers((count,), len(self.points))
        z = noise.normal((count, *self.points.shape[1:]))
        return self.points[chosen].to(z) + self.std * z

    def log_prob(self, x: Tensor) -> Tensor:
        """Returns the log-density of images in nats, float64, shape (B,)."""
        flat, points = x.double().flatten(1), self.points.double().flatten(1)
        # Differences from the points' centre, so that the squares of cdist's product form lose few
        # digits.
        centre = points.mean(0)
        squares = torch.cdist(flat - centre, points - centre).square() / self.std**2
        log_scale = flat.shape[1] * (math.log(self.std) + 0.5 * math.log(2 * math.pi))
        return (-0.5 * squares).logsumexp(1) - math.log(len(points)) - log_scale

    def tensors(self) -> dict[str, Tensor]:
        """Returns what was taken from training."""
        return {"points": self.points, "std": torch.tensor(self.std, dtype=torch.float64)}


def fit_prior(
    kind: Kind,
    chunks: Chunks,
    std: float,
    basis: Basis,
    *,
    modes: int = 256,
    components: int = 10,
    points: int = 5000,
) -> Prior:
    """Returns the start distribution of that kind.

    Args:
        chunks: See :data:`Chunks`.
        std: s_1, above 0.
        basis: Where few coefficients stand out.
        modes: Most coefficients that are taken together, those that stand out the most.
        components: K of a mixture.
        points: Most training images of kind "training".
    """
    if kind == "training":
        taken = torch.cat([chunk.float() for chunk in chunks()])
        step = math.ceil(len(taken) / points)
        return Points(taken[::step].contiguous(), std)
    count, mean, variance = moments(basis.coefficients(chunk) for chunk in chunks())
    found = standing_out(variance, std, min(modes, count - 1))
    together = torch.cat([basis.coefficients(chunk)[:, found] for chunk in chunks()])
    if kind == "gaussian" or not len(found):
        weights, means, covariances = _gaussian(together)
    else:
        weights, means, covariances = _mixture(together, min(components, count))
    noise = std**2 * torch.eye(len(found), dtype=torch.float64, device=mean.device)
    scales = torch.linalg.cholesky(covariances + noise)
    channels, height, width = next(iter(chunks())).shape[1:]
    deviation = (variance + std**2).sqrt()
    return Fitted(basis, (channels, height, width), found, weights, means, scales, mean, deviation)


def restore_prior(
    tensors: Mapping[str, Tensor], basis: Basis, shape: tuple[int, int, int]
) -> Prior:
    """Returns the distribution whose ``tensors`` these are."""
    device = basis.rows.device
    if "points" in tensors:
        return Points(tensors["points"].to(device), tensors["std"].item())
    return Fitted(basis, shape, **{name: tensors[name].to(device) for name in Fitted.fitted})


def training_images(
    data: Images, enter: Callable[[Tensor, Noise], Tensor], run: Run
) -> Iterator[Tensor]:
    """Goes once through the training images as a loss sees them, mirrored too if training flips
    them, by chunks.

    Args:
        enter: Takes images in [0, 1], shape (B, C, H, W), to the range of the diffusion,
            dequantised if they are.
        run: Where, and whose noise.
    """
    for k, start in enumerate(range(0, len(data.train), CHUNK)):
        images = torch.from_numpy(data.train[start : start + CHUNK]).to(run.device)
        x0 = enter(data.scaled(images.float()), run.noise("fit").child(k))
        yield torch.cat([x0, x0.flip(-1)]) if data.card.flips else x0


def standing_out(variance: Tensor, std: float, most: int) -> Tensor:
    """Returns the coefficients whose variance stands out of noise of that deviation, int64, rising.

    Args:
        variance: Of every coefficient, shape (d,).
        most: How many at most, those of the largest variance.
    """
    found = torch.nonzero(variance > SHARE_OF_NOISE * std**2).squeeze(1)
    largest = torch.argsort(variance[found], descending=True, stable=True)[:most]
    return found[largest].sort().values


def moments(chunks: Iterable[Tensor]) -> tuple[int, Tensor, Tensor]:
    """Returns the number of rows of all chunks of shape (B, d), float64, their mean and variance,
    each of shape (d,).

    Chunks are merged by their means and squared deviations, so that nothing cancels.
    """
    count, mean, squares = 0, torch.zeros(()), torch.zeros(())
    for chunk in chunks:
        here = chunk.mean(0)
        offset, total = here - mean, count + len(chunk)
        squares = (
            squares
            + (chunk - here).square().sum(0)
            + offset.square() * (count * len(chunk) / total)
        )
        mean, count = mean + offset * (len(chunk) / total), total
    return count, mean, squares / count


def _gaussian(a: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns weight, mean and covariance of one Gaussian, in the shapes of a mixture."""
    mean = a.mean(0)
    offset = a - mean
    return a.new_ones(1), mean[None], (offset.T @ offset / len(a))[None]


def _mixture(a: Tensor, components: int) -> tuple[Tensor, Tensor, Tensor]:
    """Returns a mixture's weights, means and covariances by EM, always from the same start."""
    from sklearn.mixture import GaussianMixture  # takes a second to import

    values = a.cpu().numpy()
    floor = 1e-6 * float(values.var(0).max())
    mixture = GaussianMixture(
        components, reg_covar=floor, random_state=np.random.RandomState(0), max_iter=200
    )
    found = mixture.fit(values)
    weights, means, covariances = (
        torch.from_numpy(part).to(a) for part in (found.weights_, found.means_, found.covariances_)
    )
    return weights, means, covariances
