r"""Linear corruptions: what becomes of an image as t grows.

.. math:: x_t = C_t x_0 + s_t z, \qquad z \sim \mathcal{N}(0, I),

with a linear operator C that fades, blurs or masks (:mod:`methods.soft.operator`), and a standard
deviation s of the noise, a function of time (:mod:`methods.soft.schedule`), both with the
derivatives that velocities are made of.

Shapes: x is (B, C, H, W) and t (B,), or a scalar for the whole batch. Time: t = 0 is data, t = 1 is
noise.

Source: Daras et al., 2022, https://arxiv.org/abs/2209.05442 (section 3).
Departures: those of :mod:`methods.soft.operator`.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from bench.method import Noise
from methods.shared.process import VP, like, time_of
from methods.soft.operator import Blur, Composite, Diagonal, Mask, Operator, Scaling
from methods.soft.schedule import (
    Geometric,
    Linear,
    MeanCoefficient,
    Schedule,
    SineSquared,
    StandardDeviation,
    Tabulated,
)
from methods.soft.settings import Blur as BlurParams
from methods.soft.settings import CorruptionParams, NoiseScale
from methods.soft.settings import Mask as MaskParams


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

    def log_snr(self, t: Tensor) -> Tensor:
        """Returns the logarithm of the mean square factor of all coordinates over the variance of
        the noise, falling in t, of shape (T,) as t.

        Raises:
            ValueError: The operator is diagonal in no basis, so there are no factors.
        """
        if not isinstance(self.operator, Diagonal):
            raise ValueError("a corruption that is diagonal in no basis has no log-SNR")
        square = self.operator.eigenvalues(t).square().flatten(1).mean(1)
        return square.log() - 2 * self.std(t).log()

    def noise_level(self, t: Tensor) -> Tensor:
        """Returns the noise over the root mean square factor, of shape (T,) as t."""
        return torch.exp(-0.5 * self.log_snr(t))

    def time_of_log_snr(self, log_snr: Tensor) -> Tensor:
        """Returns the times in [0, 1] at which :meth:`log_snr` has these values, to rounding."""
        return time_of(self.log_snr, log_snr)

    def perturb(self, x0: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Returns mean, of x0's shape, and std, broadcastable over it, of x at times (B,)."""
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
    """Returns when pixels begin to fade, float64, shape (H, W), from 0 to 1 - width."""
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
