r"""Noise levels of annealed Langevin dynamics, and the step size that goes with them.

The levels fall geometrically, :math:`\sigma_1 > \dots > \sigma_L` with :math:`\sigma_{i-1} /
\sigma_i = \gamma`, and a step at level i has the size :math:`\alpha_i = \epsilon\, \sigma_i^2 /
\sigma_L^2`. NCSNv2 derives all of it from the data: :math:`\sigma_1` is the largest distance
between two training images (technique 1, :func:`methods.shared.distance.largest_distance`),
:math:`\gamma` lets neighbouring levels overlap (technique 2), :math:`\epsilon` follows from
:math:`\gamma` and the steps T at each level (technique 4).

Index 0 is the largest level, as in the paper. Time: t = 1 is the largest level and t = 0 the
smallest, so index i of L stands for t = 1 - i / (L - 1).

Source: Song & Ermon, 2019, https://arxiv.org/abs/1907.05600 (section 4); Song & Ermon, 2020,
https://arxiv.org/abs/2006.09011 (section 3, propositions 2 and 3).
Departures: an overlap of 0.5, as the paper says, gives 5 % fewer levels than the published ones,
which all have 0.566; :func:`restoring_step` is of neither paper.
"""

import math

import torch
from scipy.optimize import brentq, minimize_scalar
from scipy.special import ndtr
from torch import Tensor

from methods.ncsn.settings import LEAST_DIMS

OVERLAP = 0.5
"""The share of a level's radii within three standard deviations of the next larger level's
(technique 2).
"""


def geometric(sigma_begin: float, sigma_end: float, count: int) -> Tensor:
    """Returns ``count`` levels in a geometric sequence from first to last, float64, (count,)."""
    return torch.exp(
        torch.linspace(math.log(sigma_begin), math.log(sigma_end), count, dtype=torch.float64)
    )


def overlap(gamma: float, dims: int) -> float:
    r"""Returns how far neighbouring levels of ratio gamma overlap (proposition 2).

    Noise of level :math:`\sigma` in D dimensions has a radius of about :math:`N(\sqrt{D} \sigma,
    \sigma^2 / 2)`. This is the probability that a radius of one level is within three standard
    deviations of those of the next larger:

    .. math:: \Phi(\sqrt{2 D} (\gamma - 1) + 3 \gamma) - \Phi(\sqrt{2 D} (\gamma - 1) - 3 \gamma)
    """
    apart = math.sqrt(2 * dims) * (gamma - 1)
    return float(ndtr(apart + 3 * gamma) - ndtr(apart - 3 * gamma))


def count_levels(sigma_begin: float, sigma_end: float, dims: int, share: float = OVERLAP) -> int:
    """Returns the fewest levels, at least 2, of which neighbours overlap by at least ``share``
    (technique 2).

    Args:
        sigma_begin: Largest level.
        sigma_end: Smallest level.
        dims: Dimensions of an image. Of fewer than ``LEAST_DIMS`` any two levels overlap by 0.99:
            then it is 2, of little use.
        share: What the overlap should be, in (0, 0.99).
    """
    if dims < LEAST_DIMS:
        return 2
    # Where the lower end of the interval is 6 standard deviations above the mean nothing overlaps
    # any more.
    widest = (math.sqrt(2 * dims) + 6) / (math.sqrt(2 * dims) - 3)
    gamma = brentq(lambda gamma: overlap(gamma, dims) - share, 1.0, widest, xtol=1e-14)
    return max(2, math.ceil(math.log(sigma_begin / sigma_end) / math.log(gamma)) + 1)


def variance_ratio(step: float, gamma: float, steps_each: int) -> float:
    r"""Returns by what factor a level leaves the variance of x wrong, for data of one point
    (proposition 3).

    With :math:`e = \epsilon / \sigma_L^2` and x entering with the variance of the level before,
    :math:`\gamma^2 \sigma_i^2`, it leaves after T steps with :math:`\sigma_i^2` times

    .. math:: (1 - e)^{2T} \left(\gamma^2 - \frac{2}{2 - e}\right) + \frac{2}{2 - e} .

    Args:
        step: e, in (0, 2).
        gamma: Ratio of neighbouring levels.
        steps_each: T.
    """
    stationary = 2 / (2 - step)
    return (1 - step) ** (2 * steps_each) * (gamma**2 - stationary) + stationary


def step_size(sigmas: Tensor, steps_each: int) -> float:
    r"""Returns the step size :math:`\epsilon` whose :func:`variance_ratio` is closest to 1
    (technique 4).

    It is the factor of the score at the last level, the noise being :math:`\sqrt{2 \epsilon}\, z`.

    Args:
        sigmas: Levels from the largest to the smallest, shape (L,), L at least 2; their ratio is
            taken as constant.
        steps_each: Steps at each level.
    """
    gamma = _ratio(sigmas)
    found = minimize_scalar(
        lambda step: abs(variance_ratio(step, gamma, steps_each) - 1),
        bounds=(0.0, 1.0),  # a step beyond 1 overshoots the mean of a point
        method="bounded",
        options={"xatol": 1e-12},
    )
    return float(found.x) * sigmas[-1].item() ** 2


def restoring_step(sigmas: Tensor, steps_each: int) -> float:
    r"""Returns a step size that holds the noise of a level where the network's output does not grow
    with it.

    Technique 4 takes the score as linear in x. A network that normalises its input predicts noise
    of variance 1 however much there is. Let x have noise of standard deviation :math:`a \sigma_i`.
    With :math:`e = \epsilon / \sigma_L^2` a step makes it

    .. math:: \sqrt{(a - e)^2 + 2 e} \approx a - e \, (1 - 1 / a) ,

    and the next level multiplies it by :math:`\gamma`. T steps take that back only if :math:`T e (1
    - 1 / a) \ge (\gamma - 1) a` for some a, that is if :math:`T e \ge 4 (\gamma - 1)`; below, the
    noise grows from level to level. This is twice that, at most the step to the clean mean:

    .. math:: e = \min(1, 8 (\gamma - 1) / T) .

    For NCSNv2's own levels on CIFAR-10 (232, T = 5) it is 0.060, and the authors' 0.062.

    Args:
        sigmas: Levels from the largest to the smallest, shape (L,), L at least 2; their ratio is
            taken as constant.
        steps_each: Steps at each level, T.
    """
    return min(1.0, 8 * (_ratio(sigmas) - 1) / steps_each) * sigmas[-1].item() ** 2


def _ratio(sigmas: Tensor) -> float:
    """Returns the ratio of neighbouring levels, from the first and the last."""
    return float((sigmas[0].item() / sigmas[-1].item()) ** (1 / (len(sigmas) - 1)))
