r"""Exact scores of data that are a mixture of isotropic Gaussians, or of points, under linear
Gaussian corruptions.

For :math:`x_0 \sim \sum_k w_k \mathcal{N}(\mu_k, v_k I)` and :math:`x = m x_0 + s z` the components
of x are :math:`\mathcal{N}(m \mu_k, c_k I)` with :math:`c_k = m^2 v_k + s^2`. With :math:`r_k` the
probability of component k given x,

.. math:: \nabla \log p(x) = \sum_k r_k \frac{m \mu_k - x}{c_k}, \qquad
          \mathbb{E}[x_0 \mid x] = \sum_k r_k \frac{s^2 \mu_k + m v_k x}{c_k} .

m and s may differ from dimension to dimension, as they do for blur in its own basis. Everything is
products of matrices of B, K and d rows and columns, so that nothing of size B K d is ever held.

Shapes: B images, C channels, H x W pixels, d = C H W dimensions, K components. m and s are (B,), or
broadcast over x.
"""

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from bench.data.images import Images
from methods.shared.process import like

CHUNK = 2**24
"""The most entries of a (rows, K) table that is held at once: 128 MiB."""


class Mixture:
    """A mixture of isotropic Gaussians, held and computed in float64; results have x's dtype,
    log-densities float64.

    Distances are taken as |x|^2 - 2 x mu + |mu|^2, which costs about 1e-16 |x|^2 / s^2 in a
    log-density: at d = 3,000 and s = 1e-4 that is 3e-5.

    Args:
        weights: Those of the components, shape (K,); they need not add up to 1.
        means: Shape (K, d), or (K, C, H, W).
        variances: In each dimension, shape (K,); 0 is a point.
    """

    def __init__(self, weights: Tensor, means: Tensor, variances: Tensor) -> None:
        self.log_weights = torch.log_softmax(weights.double().log(), dim=0)
        self.means = means.double().flatten(1)
        self.variances = variances.double()
        # Components of one variance share their products; sorted by it they are slices.
        order = torch.argsort(self.variances, stable=True)
        if not torch.equal(order, torch.arange(len(order), device=order.device)):
            self.log_weights, self.means, self.variances = (
                table[order] for table in (self.log_weights, self.means, self.variances)
            )
        values, counts = torch.unique_consecutive(self.variances, return_counts=True)
        ends = counts.cumsum(0)
        self.groups = list(
            zip(values.tolist(), (ends - counts).tolist(), ends.tolist(), strict=True)
        )
        self.norms = self.means.square().sum(1)

    @classmethod
    def of(cls, data: Images, device: torch.device | str, smoothing: float = 0.0) -> "Mixture":
        """Returns the distribution of images in [0, 1]: the one declared, or that of drawing a
        training image.

        Where training flips images, their mirror images are drawn as often.

        Args:
            smoothing: Standard deviation of a Gaussian that the distribution is smoothed by.
        """
        declared = getattr(data, "mixture", None)
        if declared is not None:
            tables = (declared.weights, declared.means, declared.stds)
            weights, means, stds = (
                torch.as_tensor(table, dtype=torch.float64, device=device) for table in tables
            )
            return cls(weights, means, stds.square() + smoothing**2)
        images = data.scaled(torch.from_numpy(data.train).to(device).double())
        if data.card.flips:
            images = torch.cat([images, images.flip(-1)])
        equal = images.new_ones(len(images))
        return cls(equal, images, torch.full_like(equal, smoothing**2))

    def affine(self, scale: float, shift: float) -> "Mixture":
        """Returns the distribution of scale x0 + shift."""
        return Mixture(
            self.log_weights.exp(), scale * self.means + shift, scale**2 * self.variances
        )

    def rotated(self, rotation: Callable[[Tensor], Tensor]) -> "Mixture":
        """Returns the distribution of ``rotation(x0)``, an orthonormal map of rows, (K, d)."""
        return Mixture(self.log_weights.exp(), rotation(self.means), self.variances)

    def log_prob(self, x: Tensor, m: Tensor, s: Tensor) -> Tensor:
        """Returns the log-density of x = m x0 + s z in nats, float64 of shape (B,)."""
        return torch.cat(
            [torch.logsumexp(self._log_joint(*rows), dim=1) for rows in self._chunks(x, m, s)]
        )

    def score(self, x: Tensor, m: Tensor, s: Tensor) -> Tensor:
        """Returns the gradient of :meth:`log_prob`, of x's shape."""
        return self._expect(
            x,
            m,
            s,
            lambda x, m, s, v, mean, share: (m * mean - share * x) / (m.square() * v + s**2),
        )

    def denoise(self, x: Tensor, m: Tensor, s: Tensor) -> Tensor:
        """Returns the mean of x0 given x, of x's shape."""
        return self._expect(
            x,
            m,
            s,
            lambda x, m, s, v, mean, share: (
                (s**2 * mean + m * v * share * x) / (m.square() * v + s**2)
            ),
        )

    def joint_score(
        self,
        x: Tensor,
        v: Tensor,
        gains: tuple[Tensor, Tensor],
        covariance: tuple[Tensor, Tensor, Tensor, Tensor],
    ) -> tuple[Tensor, Tensor]:
        r"""Returns the gradients with respect to x and v of their joint log-density, for arguments
        of :func:`combine`.

        By Tweedie's formula they are :math:`\Sigma^{-1} (h\,\mathbb{E}[x_0 \mid x, v] - (x, v))`.
        """
        y, std = combine(x.double(), v.double(), gains, covariance)
        clean = self.denoise(y, torch.ones_like(std), std)
        (h_x, h_v), (xx, xv, vv, determinant) = _columns(gains, x), _columns(covariance, x)
        left_x, left_v = h_x * clean - x, h_v * clean - v
        score_x, score_v = vv * left_x - xv * left_v, xx * left_v - xv * left_x
        return (score_x / determinant).to(x.dtype), (score_v / determinant).to(v.dtype)

    def _expect(self, x: Tensor, m: Tensor, s: Tensor, term: Callable[..., Tensor]) -> Tensor:
        """Returns the sum over variances v of term(x, m, s, v, sum r_k mu_k, sum r_k), k of v."""
        parts = []
        for rows in self._chunks(x, m, s):
            shares = torch.softmax(self._log_joint(*rows), dim=1)
            terms = (
                term(
                    *rows,
                    variance,
                    shares[:, a:b] @ self.means[a:b],
                    shares[:, a:b].sum(1, keepdim=True),
                )
                for variance, a, b in self.groups
            )
            parts.append(sum(terms, torch.zeros(())))
        return torch.cat(parts).to(x.dtype).view(x.shape)

    def _log_joint(self, x: Tensor, m: Tensor, s: Tensor) -> Tensor:
        """Returns log w_k + log p(x | k), shape (R, K), for R rows of :meth:`_chunks`."""
        tables = []
        for variance, a, b in self.groups:
            spread = m.square() * variance + s.square()
            distance = (x.square() / spread).sum(1, keepdim=True) - 2 * (
                m * x / spread
            ) @ self.means[a:b].T
            if m.shape[1] == 1:
                distance = distance + m.square() / spread * self.norms[a:b]
            else:
                distance = distance + (m.square() / spread) @ self.means[a:b].square().T
            log_volume = spread.log().sum(1, keepdim=True) * (x.shape[1] / spread.shape[1])
            tables.append(-0.5 * (distance + log_volume + x.shape[1] * math.log(2 * math.pi)))
        return torch.cat(tables, dim=1) + self.log_weights

    def _chunks(self, x: Tensor, m: Tensor, s: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yields x as (R, d), m and s as (R, 1) or both as (R, d), in parts that fit the memory."""
        m, s = _columns((m, s), x)
        if max(m[0].numel(), s[0].numel()) > 1:
            m, s = m.expand(x.shape), s.expand(x.shape)
        rows = max(1, CHUNK // len(self.variances))
        return zip(*(table.flatten(1).split(rows) for table in (x.double(), m, s)), strict=True)


class ExactNetwork(nn.Module):
    """A function of (x, t) in place of a network: it has no weights, but its evaluations are
    counted as a network's.

    Args:
        function: Of x, shape (B, C, H, W), and t, shape (B,).
    """

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.function(x, t)


def combine(
    x: Tensor,
    v: Tensor,
    gains: tuple[Tensor, Tensor],
    covariance: tuple[Tensor, Tensor, Tensor, Tensor],
) -> tuple[Tensor, Tensor]:
    r"""Returns (y, std): with y = x0 + std z, all that x and v together tell of x0.

    In each dimension :math:`(x, v) = h x_0 + \mathcal{N}(0, \Sigma)` with noise shared between x
    and v. The mean of x0 by least squares, :math:`y = h^\top \Sigma^{-1} (x, v) / \lambda` with
    :math:`\lambda = h^\top \Sigma^{-1} h`, is sufficient, and its variance is :math:`1 / \lambda`.

    Args:
        x, v: Shape (B, C, H, W).
        gains: h = (h_x, h_v), each of shape (B,).
        covariance: Sigma as (xx, xv, vv) and its determinant, each of shape (B,).

    Returns:
        y of x's shape, and std of shape (B,).
    """
    (h_x, h_v), (xx, xv, vv, determinant) = gains, covariance
    weight_x, weight_v = vv * h_x - xv * h_v, xx * h_v - xv * h_x
    total = weight_x * h_x + weight_v * h_v  # lambda times the determinant
    y = like(weight_x / total, x) * x + like(weight_v / total, v) * v
    return y, torch.sqrt(determinant / total)


def _columns(tables: tuple[Tensor, ...], x: Tensor) -> tuple[Tensor, ...]:
    """Returns tables of shape (B,) or of x's dimensions in float64, to broadcast over x."""
    return tuple(like(table.double(), x) if table.ndim == 1 else table.double() for table in tables)
