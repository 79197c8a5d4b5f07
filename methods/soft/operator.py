r"""Linear operators C on images that change in time: they fade, blur or mask.

Most are diagonal in a fixed orthonormal basis, :math:`C_t = U^\top \operatorname{diag}(\lambda_t)
U` (:class:`Diagonal`). At a kink, a time at which C is not differentiable, the derivative is that
from the left, of a step towards the data.

Shapes: x is (B, C, H, W) and t (B,), or a scalar for the whole batch. Time: t = 0 is data, t = 1 is
noise.

Source: the blur as a product in the basis of cosines is Rissanen et al., 2022,
https://arxiv.org/abs/2206.13397.
Departures: images are mirrored at their edges, about which Daras et al., 2022
(https://arxiv.org/abs/2209.05442) say nothing, so that a blur is symmetric, keeps the mean and is
diagonal in the basis of cosines, also with a truncated kernel. The masks' shapes are ours.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from methods.shared.prior import cosines
from methods.soft.schedule import Linear, Schedule, Table


class Operator(ABC):
    """A linear operator C on images that changes in time, the same for every channel.

    Attributes:
        kinks: Times inside (0, 1) at which it is not differentiable though continuous, rising.
        differentiable: Whether it is differentiable but for the kinks; otherwise it has no
            :meth:`derivative`.
        self_adjoint: Whether C equals its transpose.
    """

    kinks: tuple[float, ...] = ()
    differentiable: bool = True
    self_adjoint: bool = False

    @abstractmethod
    def apply(self, x: Tensor, t: Tensor) -> Tensor:
        """Returns C_t x, of x's shape and dtype."""

    @abstractmethod
    def derivative(self, x: Tensor, t: Tensor) -> Tensor:
        """Returns (dC/dt) x, of x's shape and dtype, from the left at a kink."""


class Diagonal(Operator):
    """An operator that is diagonal in a fixed orthonormal basis; here that of pixels.

    Attributes:
        basis: "pixel" or "dct", the basis of cosines.
    """

    basis: Literal["pixel", "dct"] = "pixel"
    self_adjoint = True

    @abstractmethod
    def eigenvalues(self, t: Tensor) -> Tensor:
        """Returns those of C at t, (B,) or a scalar, float64, broadcastable over (B, C, H, W)."""

    @abstractmethod
    def eigenvalue_derivatives(self, t: Tensor) -> Tensor:
        """Returns their derivatives by t, likewise."""

    def to_basis(self, x: Tensor) -> Tensor:
        """Returns the coordinates of images, of their shape."""
        return x

    def from_basis(self, coordinates: Tensor) -> Tensor:
        """Returns the images of coordinates, the inverse of :meth:`to_basis`."""
        return coordinates

    def apply(self, x: Tensor, t: Tensor) -> Tensor:
        return self._multiply(x, self.eigenvalues(t))

    def derivative(self, x: Tensor, t: Tensor) -> Tensor:
        return self._multiply(x, self.eigenvalue_derivatives(t))

    def _multiply(self, x: Tensor, factors: Tensor) -> Tensor:
        coordinates = self.to_basis(x)
        return self.from_basis(factors.to(coordinates) * coordinates).to(x.dtype)


class Scaling(Diagonal):
    """Multiplies the image by a number; by default it leaves it as it is."""

    def __init__(self, factor: Schedule | None = None) -> None:
        self.factor = Linear(1.0, 1.0) if factor is None else factor
        self.kinks = self.factor.kinks

    def eigenvalues(self, t: Tensor) -> Tensor:
        return self.factor(_column(t))

    def eigenvalue_derivatives(self, t: Tensor) -> Tensor:
        return self.factor.derivative(_column(t))


class Blur(Diagonal):
    r"""A Gaussian blur of standard deviation b(t) pixels, with the images mirrored at their edges.

    In the orthonormal basis of cosines (DCT-II) it is :math:`e^{-b^2 (\omega_i^2 + \omega_j^2) /
    2}` with :math:`\omega_k = \pi k / n`. A kernel cut off at ``half_width`` pixels, sampled at
    pixels and divided by its sum, has eigenvalues :math:`\sum_m w_m \cos(\omega_k m)` along each
    axis instead, a few of them slightly negative.

    Args:
        shape: That of the images, (C, H, W).
        std: b.
        half_width: Where the kernel is cut off; None for the whole Gaussian.
    """

    basis = "dct"

    def __init__(
        self, shape: tuple[int, int, int], std: Schedule, half_width: int | None = None
    ) -> None:
        self.std = std
        self.kinks = std.kinks
        self.half_width = half_width
        self._frequencies = [
            Table(math.pi * torch.arange(n, dtype=torch.float64) / n) for n in shape[1:]
        ]
        self._cosines = [Table(cosines(n)) for n in shape[1:]]

    def eigenvalues(self, t: Tensor) -> Tensor:
        (rows, _), (columns, _) = self._along_axes(t)
        return rows[..., :, None] * columns[..., None, :]

    def eigenvalue_derivatives(self, t: Tensor) -> Tensor:
        (rows, row_slopes), (columns, column_slopes) = self._along_axes(t)
        slopes = (
            row_slopes[..., :, None] * columns[..., None, :]
            + rows[..., :, None] * column_slopes[..., None, :]
        )
        return _column(self.std.derivative(t.double())) * slopes

    # Products are taken in float64, which costs next to nothing beside a network: a product in TF32
    # is wrong by more than the noise.
    def to_basis(self, x: Tensor) -> Tensor:
        rows, columns = (table.on(x.device) for table in self._cosines)
        return rows @ x.double() @ columns.T

    def from_basis(self, coordinates: Tensor) -> Tensor:
        rows, columns = (table.on(coordinates.device) for table in self._cosines)
        return rows.T @ coordinates @ columns

    def _along_axes(self, t: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Returns the eigenvalues' factors along H and W, (B, 1, n), and their derivatives by b."""
        std = self.std(t.double()).reshape(-1, 1, 1)
        transfer = _gaussian if self.half_width is None else self._cut_off
        return [transfer(table.on(std.device), std) for table in self._frequencies]

    def _cut_off(self, frequencies: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
        std = std.clamp(min=0.01)  # where all that is not 0 has long been lost to rounding
        assert self.half_width is not None
        offsets = torch.arange(
            -self.half_width, self.half_width + 1, dtype=std.dtype, device=std.device
        )
        weights = torch.softmax(-0.5 * (offsets / std).square(), dim=-1)
        spread = (weights * offsets.square()).sum(-1, keepdim=True)
        slopes = weights * (offsets.square() - spread) / std**3
        waves = torch.cos(offsets[:, None] * frequencies)
        return weights @ waves, slopes @ waves


class Mask(Diagonal):
    r"""Fades pixel i from 1 to a floor f between its onset a_i and :math:`a_i + w`.

    .. math:: m_i(t) = 1 - (1 - f)\, h\!\left(\frac{t - a_i}{w}\right), \qquad h(u) = 6u^5 - 15u^4 +
    10u^3,

    with u clipped to [0, 1], where two derivatives of h vanish.

    Args:
        onset: The a_i, shape (H, W).
        width: w; 0 switches a pixel off right after its onset, without a derivative.
        floor: f.
    """

    def __init__(self, onset: Tensor, width: float, floor: float = 0.0) -> None:
        self._onset = Table(onset)
        self.width = width
        self.floor = floor
        self.differentiable = width > 0

    def eigenvalues(self, t: Tensor) -> Tensor:
        if not self.differentiable:
            faded = (_column(t) > self._onset.on(t.device)).double()
        else:
            u = self._progress(t)
            faded = u**3 * (10 + u * (6 * u - 15))
        return 1 - (1 - self.floor) * faded

    def eigenvalue_derivatives(self, t: Tensor) -> Tensor:
        if not self.differentiable:
            raise ValueError("a mask of width 0 switches pixels off at once: it has no derivative")
        u = self._progress(t)
        return -(1 - self.floor) * 30 * (u * (1 - u)).square() / self.width

    def _progress(self, t: Tensor) -> Tensor:
        return ((_column(t) - self._onset.on(t.device)) / self.width).clamp(0, 1)


class Composite(Operator):
    """One operator after another: C_t = ``last`` ``first``."""

    def __init__(self, first: Operator, last: Operator) -> None:
        self.first = first
        self.last = last
        self.kinks = tuple(sorted({*first.kinks, *last.kinks}))
        self.differentiable = first.differentiable and last.differentiable

    def apply(self, x: Tensor, t: Tensor) -> Tensor:
        return self.last.apply(self.first.apply(x, t), t)

    def derivative(self, x: Tensor, t: Tensor) -> Tensor:
        kept = self.last.derivative(self.first.apply(x, t), t)
        return kept + self.last.apply(self.first.derivative(x, t), t)


class Interpolated(Operator):
    """C_t = (1 - g) I + g A: between the image and what a fixed linear map leaves of it.

    Args:
        linear: A, of images of shape (B, C, H, W) to that shape; no constant may be added.
        share: g, from 0 at t = 0; by default t.
        self_adjoint: Whether A equals its transpose.
    """

    def __init__(
        self,
        linear: Callable[[Tensor], Tensor],
        share: Schedule | None = None,
        *,
        self_adjoint: bool = False,
    ) -> None:
        self.linear = linear
        self.self_adjoint = self_adjoint
        self.share = Linear(0.0, 1.0) if share is None else share
        self.kinks = self.share.kinks

    def apply(self, x: Tensor, t: Tensor) -> Tensor:
        share = self.share(_column(t)).to(x.dtype)
        return (1 - share) * x + share * self.linear(x)

    def derivative(self, x: Tensor, t: Tensor) -> Tensor:
        return self.share.derivative(_column(t)).to(x.dtype) * (self.linear(x) - x)


def _column(t: Tensor) -> Tensor:
    """Returns times in float64 as (B, 1, 1, 1), or (1, 1, 1, 1) for a scalar."""
    return t.double().reshape(-1, 1, 1, 1)


def _gaussian(frequencies: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the whole Gaussian's factors along an axis, and their derivatives by its std."""
    factors = torch.exp(-0.5 * (std * frequencies).square())
    return factors, -std * frequencies.square() * factors
