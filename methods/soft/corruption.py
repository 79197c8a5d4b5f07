r"""Linear corruptions: what becomes of an image as t grows.

.. math:: x_t = C_t x_0 + s_t z, \qquad z \sim \mathcal{N}(0, I),

with a linear operator C that fades, blurs or masks, and a standard deviation s of the noise. Both
are functions of time (:class:`Operator`, :class:`Schedule`) with their derivatives, from which
velocities are made. At a kink, a time at which a function is not differentiable, the derivative is
the one from the left, that of a step towards the data. Most operators are diagonal in a fixed
orthonormal basis, :math:`C_t = U^\top \operatorname{diag}(\lambda_t) U` (:class:`Diagonal`).

Shapes: x is (B, C, H, W) and t (B,), or a scalar for the whole batch. Time: t = 0 is data, t = 1 is
noise.

Source: Daras et al., 2022, https://arxiv.org/abs/2209.05442 (section 3); the blur as a product in
the basis of cosines is Rissanen et al., 2022, https://arxiv.org/abs/2206.13397.
Departures: the paper does not say what happens at the edges of an image; here they are mirrored, so
that a blur is symmetric, keeps the mean and is diagonal in the basis of cosines, also where its
kernel is cut off. The masks' shapes are ours.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from bench.method import Noise
from methods.shared.prior import cosines
from methods.shared.process import VP, Process, like
from methods.soft.settings import Blur as BlurParams
from methods.soft.settings import CorruptionParams, NoiseScale
from methods.soft.settings import Mask as MaskParams


class Table:
    """Numbers in float64, kept on every device that they were asked for on."""

    def __init__(self, values: Tensor) -> None:
        values = values.double()
        self._copies = {values.device: values}

    def on(self, device: torch.device) -> Tensor:
        """Returns them on a device."""
        if device not in self._copies:
            self._copies[device] = next(iter(self._copies.values())).to(device)
        return self._copies[device]


class Schedule(ABC):
    """A function of time, of any shape, in its dtype and on its device.

    Attributes:
        kinks: Times inside (0, 1) at which it is not differentiable, rising.
    """

    kinks: tuple[float, ...] = ()

    @abstractmethod
    def __call__(self, t: Tensor) -> Tensor:
        """Returns the value at t."""

    @abstractmethod
    def derivative(self, t: Tensor) -> Tensor:
        """Returns the derivative at t, that from the left at a kink."""


class Linear(Schedule):
    """From ``first`` at t = 0 to ``last`` at t = 1 in a straight line."""

    def __init__(self, first: float, last: float) -> None:
        self.first = first
        self.last = last

    def __call__(self, t: Tensor) -> Tensor:
        return self.first + (self.last - self.first) * t

    def derivative(self, t: Tensor) -> Tensor:
        return torch.full_like(t, self.last - self.first)


class SineSquared(Schedule):
    r"""From 0 to ``last`` as :math:`\sin^2(\pi t / 2)`."""

    def __init__(self, last: float) -> None:
        self.last = last

    def __call__(self, t: Tensor) -> Tensor:
        return self.last * torch.sin(0.5 * math.pi * t).square()

    def derivative(self, t: Tensor) -> Tensor:
        return 0.5 * math.pi * self.last * torch.sin(math.pi * t)


class Geometric(Schedule):
    """From ``first`` to ``last`` in equal ratios until t = ``until``, and constant from there."""

    def __init__(self, first: float, last: float, until: float = 1.0) -> None:
        self.first = first
        self.log_ratio = math.log(last / first)
        self.until = until
        self.kinks = (until,) if until < 1 else ()

    def __call__(self, t: Tensor) -> Tensor:
        return self.first * torch.exp(self.log_ratio * (t / self.until).clamp(max=1))

    def derivative(self, t: Tensor) -> Tensor:
        slope = self.log_ratio / self.until * self(t)
        return torch.where(t <= self.until, slope, torch.zeros_like(slope))


class Tabulated(Schedule):
    """Linear between ``levels`` at equal distances in t, the first at t = 0 and the last at t =
    1.
    """

    def __init__(self, levels: Sequence[float]) -> None:
        nodes = torch.linspace(0, 1, len(levels), dtype=torch.float64)
        self.kinks = tuple(nodes[1:-1].tolist())
        self._levels = Table(torch.tensor(levels, dtype=torch.float64))
        self._inner = Table(nodes[1:-1])

    def __call__(self, t: Tensor) -> Tensor:
        levels, left = self._locate(t)
        return levels[left] + (t * (len(levels) - 1) - left) * (levels[left + 1] - levels[left])

    def derivative(self, t: Tensor) -> Tensor:
        levels, left = self._locate(t)
        return (len(levels) - 1) * (levels[left + 1] - levels[left])

    def _locate(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the levels, and the index of the last node to the left of t."""
        return self._levels.on(t.device).to(t.dtype), torch.bucketize(
            t, self._inner.on(t.device).to(t.dtype)
        )


class MeanCoefficient(Schedule):
    """That of a process, by which it scales the image."""

    def __init__(self, process: Process) -> None:
        self.process = process

    def __call__(self, t: Tensor) -> Tensor:
        return self.process.mean_coefficient(t)

    def derivative(self, t: Tensor) -> Tensor:
        return self.process.drift_coefficient(t) * self.process.mean_coefficient(t)


class StandardDeviation(Schedule):
    """That of a process's noise."""

    def __init__(self, process: Process) -> None:
        self.process = process

    def __call__(self, t: Tensor) -> Tensor:
        return self.process.std(t)

    def derivative(self, t: Tensor) -> Tensor:
        # From d(s^2)/dt = 2 f s^2 + g^2.
        std = self.process.std(t)
        return (
            self.process.drift_coefficient(t) * std + 0.5 * self.process.diffusion(t).square() / std
        )


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
        """Returns the factors of the eigenvalues along H and W, (B, 1, n), and their derivatives by
        b.
        """
        std = self.std(t.double()).reshape(-1, 1, 1)
        transfer = _gaussian if self.half_width is None else self._cut_off
        return [transfer(table.on(std.device), std) for table in self._frequencies]

    def _cut_off(self, frequencies: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
        std = std.clamp(min=0.01)  # where all that is not 0 has long been lost to rounding
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


class Corruption:
    """An operator and the noise that comes on top.

    Args:
        operator: C.
        noise_scale: s.
    """

    def __init__(self, operator: Operator, noise_scale: Schedule) -> None:
        self.operator = operator
        self.noise_scale = noise_scale
        self.kinks = tuple(sorted({*operator.kinks, *noise_scale.kinks}))

    @property
    def differentiable(self) -> bool:
        """Whether there is a velocity, but for the kinks."""
        return self.operator.differentiable

    def apply(self, x: Tensor, t: Tensor) -> Tensor:
        """Returns C_t x, of x's shape."""
        return self.operator.apply(x, t)

    def derivative(self, x: Tensor, t: Tensor) -> Tensor:
        """Returns (dC/dt) x, of x's shape."""
        return self.operator.derivative(x, t)

    def std(self, t: Tensor) -> Tensor:
        """Returns s(t), of t's shape."""
        return self.noise_scale(t)

    def std_derivative(self, t: Tensor) -> Tensor:
        """Returns ds/dt, of t's shape."""
        return self.noise_scale.derivative(t)

    def perturb(self, x0: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Returns mean, of x0's shape, and std, broadcastable over it, of x at times t of shape
        (B,).
        """
        return self.apply(x0, t), like(self.std(t), x0)


def make_corruption(
    params: CorruptionParams, shape: tuple[int, int, int], levels: Sequence[float] | None = None
) -> Corruption:
    """Returns the corruption of images of shape (C, H, W).

    Args:
        levels: Those of the blur's schedule "levels" that training has found, in fractions of the
            image's width; by default those of ``params``.

    Raises:
        ValueError: The schedule "levels" has none.
    """
    if params.kind == "straight":
        return Corruption(Scaling(Linear(1.0, 0.0)), Linear(0.0, 1.0))
    if params.kind == "vp":
        process = VP(params.preserving.beta_min, params.preserving.beta_max)
        return Corruption(Scaling(MeanCoefficient(process)), StandardDeviation(process))
    return Corruption(_operator(params, shape, levels), make_schedule(params.noise))


def make_schedule(
    params: BlurParams | NoiseScale, scale: float = 1.0, levels: Sequence[float] = ()
) -> Schedule:
    """Returns a schedule times ``scale``; one of levels takes ``levels``.

    Raises:
        ValueError: There are no levels.
    """
    least, most = scale * params.least, scale * params.most
    if params.schedule == "linear":
        return Linear(least, most)
    if params.schedule == "sin2":
        return SineSquared(most)
    if params.schedule == "geometric":
        return Geometric(least, most)
    if params.schedule == "plateau":
        return Geometric(least, most, params.plateau)
    if len(levels) < 2:
        raise ValueError("schedule levels needs at least two levels, given or found in training")
    return Tabulated([scale * level for level in levels])


def onsets(params: MaskParams, shape: tuple[int, int, int]) -> Tensor:
    """Returns the times at which pixels begin to fade, float64, shape (H, W), from 0 to 1 -
    width.
    """
    height, width = shape[1:]
    if params.order == "random":
        rank = Noise(params.seed, ("onsets",)).uniform((height, width)).double()
    else:
        rows, columns = (
            torch.arange(n, dtype=torch.float64) - (n - 1) / 2 for n in (height, width)
        )
        rank = torch.hypot(rows[:, None], columns)
        rank = rank if params.order == "outwards" else rank.max() - rank
    rank = rank - rank.min()
    # The last pixel has faded at t = 1; one that has no width to fade in is switched off before.
    last = 1 - params.width if params.width else 1 - 1e-3
    return last * rank / rank.max().clamp(min=1e-12)


def _operator(
    params: CorruptionParams, shape: tuple[int, int, int], levels: Sequence[float] | None
) -> Operator:
    if params.recipe is not None:
        return params.recipe.operator(shape)
    if params.kind == "ve":
        return Scaling()
    operators: list[Operator] = []
    if params.kind in ("blur", "blur_mask"):
        blur = params.blur
        std = make_schedule(blur, shape[2], blur.levels if levels is None else levels)
        operators.append(Blur(shape, std, blur.half_width))
    if params.kind in ("mask", "blur_mask"):
        operators.append(Mask(onsets(params.mask, shape), params.mask.width, params.mask.floor))
    return operators[0] if len(operators) == 1 else Composite(*operators)


def _column(t: Tensor) -> Tensor:
    """Returns times in float64 as (B, 1, 1, 1), or (1, 1, 1, 1) for a scalar."""
    return t.double().reshape(-1, 1, 1, 1)


def _gaussian(frequencies: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the whole Gaussian's factors along an axis, and their derivatives by its standard
    deviation.
    """
    factors = torch.exp(-0.5 * (std * frequencies).square())
    return factors, -std * frequencies.square() * factors
