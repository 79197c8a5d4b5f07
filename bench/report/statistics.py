r"""What seeds tell: a mean with its interval, where its variance comes from, and whether two groups
differ.

The value of training i sampled with seed j is taken to be

.. math:: y_{ij} = \mu + a_i + b_j + e_{ij}

with independent effects of mean 0: a of retraining, b of what a sample seed does to every training
alike (the noise is a function of the sample seed, so all trainings of a suite share it), e of what
it does to each training apart. The interval is one for :math:`\mu`, so for other trainings *and*
other sample seeds, as far as the design can say that: with one sample seed it holds for that seed
alone, with one training for that training alone (:data:`Scope`), and fewer than
:data:`LEAST_VALUES` independent values have no interval at all.

**The rule**, which the table, the figures, the tie mark and the verdicts share. The variance of the
mean is estimated in two parts, :math:`V_A` from the trainings' means (I - 1 degrees of freedom) and
:math:`V_B` from the sample seeds' (J - 1). In a balanced table they are :math:`MS_A / IJ` and
:math:`MS_B / IJ`; e is in both, so of the second, :data:`SUBTRACTED` of :math:`MS_E / IJ` is taken
away, but it never falls below :data:`KEPT` of itself: with two sample seeds a small :math:`MS_B` is
chance as often as not, and dropping it leaves 95 % intervals that cover 87 %. The half width is

.. math:: h^2 = t_{I-1}^2 V_A + t_{J-1}^2 V_B,

which covers at least as often as it says for any ratio of the two (Banerjee), where Satterthwaite's
degrees of freedom let a part with one degree of freedom vanish. ``df`` are those whose t quantile
is :math:`h / \sqrt{V_A + V_B}`. How often such intervals cover is simulated in
:mod:`bench.report.calibration`, which the two constants were chosen with: a larger part to take
away would cover less where b is small and not 0, a smaller one more than 98 % where it is 0. The
least was found with two sample seeds where retraining changes nothing at all: 93 % of 10, 91 % of
50 trainings.

**Bounds.** The interval of a metric with one finite bound is symmetric in the logarithm of the
distance from it, with two in the logit; the error is carried over by the derivative at the mean, so
the mean stays the arithmetic one and single values may lie on a bound. Where the mean itself does,
all values do: they are shown without an interval.

Shapes: I trainings, J sample seeds; any leading axes are independent tables of one design. All in
float64.

Source: Henderson, 1953, https://doi.org/10.2307/3001853 (method III: moments of unbalanced tables;
balanced ones give the analysis of variance); Banerjee, Sankhya 22, 1960 (the half width); Welch,
1947 (two groups of trainings); Schuirmann, 1987, https://doi.org/10.1007/BF01068419 (two one-sided
tests of equivalence); Holm, 1979.
"""

import math
from functools import lru_cache, reduce
from typing import Any, Literal, NamedTuple

import numpy as np
from scipy import special, stats

from bench.suite.claims import LEVEL

LEAST_VALUES = 3
"""Independent values below which there is no interval: trainings, or sample seeds."""


SUBTRACTED = 0.5
"""Share of the variance of e that is taken out of the sample seeds' part (see the module)."""
KEPT = 0.03
"""Share of the sample seeds' part that stays at least."""

Bounds = tuple[float, float]
"""The least and the greatest value that there can be, infinite if there is none."""
UNBOUNDED: Bounds = (-math.inf, math.inf)

Scope = Literal["trainings and sample seeds", "trainings", "sample seeds", ""]
"""What an interval holds for: others of both; other trainings with these very sample seeds; other
sample seeds of these very trainings. Empty: there is none.
"""
BOTH: Scope = "trainings and sample seeds"


class Estimate(NamedTuple):
    """A mean, or a difference of two, with its interval and the parts of a value's variance; arrays
    of leading axes.

    Args:
        mean: Each training counts once, however many of its sample sets there are.
        low: NaN if there is no interval.
        error: Standard error, NaN without an interval.
        df: Degrees of freedom of the error.
        retraining: Variance between trainings, NaN if the design cannot tell it.
        resampling: Variance between sample sets of one training, NaN if the design cannot tell
            it.
        shared: The part of ``resampling`` that all trainings share, NaN if the design cannot
            tell it.
    """

    scope: Scope
    mean: Any
    low: Any
    high: Any
    error: Any
    df: Any
    retraining: Any
    resampling: Any
    shared: Any

    def at(self, index: int) -> "Estimate":
        """Returns that of one table among several."""
        return Estimate(self.scope, *(values[index] for values in self[1:]))


def estimate(values: Any, bounds: Bounds = UNBOUNDED) -> Estimate:
    """Returns the mean over trainings and sample seeds, its interval and the components of
    variance.

    Components are moment estimates, cut off at 0. For the interval see the module.

    Args:
        values: Shape (..., I, J); NaN for a missing value, in every table alike.
        bounds: Of a value, if it has some.

    Raises:
        ValueError: No value at all, or tables that lack unlike values.
    """
    values = np.asarray(values, np.float64)
    known = np.isfinite(values)
    mask = known.reshape(-1, *values.shape[-2:]).any(0)
    if not mask.any() or not (known == mask).all():
        raise ValueError("tables of one design should have the same values, at least one")
    mask = mask[mask.any(1)][:, mask.any(0)]
    y = values[..., *np.nonzero(known.reshape(-1, *values.shape[-2:])[0])]
    if len(mask) > 1:
        return _over_trainings(y, _design(mask.tobytes(), mask.shape), bounds)
    unknown, count = np.full(y.shape[:-1], np.nan), y.shape[-1]
    variance = y.var(-1, ddof=1) if count > 1 else unknown
    parts = [(variance / count, count - 1)] if count >= LEAST_VALUES else []
    return Estimate(
        *interval_of("sample seeds", y.mean(-1), parts, bounds), unknown, variance, unknown
    )


class _Design(NamedTuple):
    """Quadratic forms of the N values of a table of that design; kinds of effects are a, b, e.

    Args:
        seeds: Sample seeds.
        weights: Shape (N,): the mean of the trainings' means.
        means: Shape (N, N): the variance of the trainings' means over their number.
        parts: Shape (K, N, N): unbiased estimates of the variances of the effects ``kinds``.
        hidden: Variance of the mean by b beyond what ``means`` holds of it, as a multiple of the
            variance of b.
        between: Shape (N, N): what the values of sample seeds differ by beside trainings: the
            variance of b, and ``rest`` times that of e.
    """

    trainings: int
    seeds: int
    kinds: str
    weights: np.ndarray
    means: np.ndarray
    parts: np.ndarray
    hidden: float
    between: np.ndarray
    rest: float


@lru_cache(maxsize=256)
def _design(mask: bytes, shape: tuple[int, int]) -> _Design:
    train, seed = np.nonzero(np.frombuffer(mask, bool).reshape(shape))
    count, trainings = len(train), shape[0]
    alike = (train[:, None] == train, seed[:, None] == seed, np.eye(count))
    same = {kind: matrix.astype(float) for kind, matrix in zip("abe", alike, strict=True)}
    to_means = same["a"] / same["a"].sum(1)  # projects on effects of trainings,
    to_seeds = same["b"] / same["b"].sum(1)  # of seeds,
    effects = np.concatenate([same["a"], same["b"]], axis=1)
    to_both = effects @ np.linalg.pinv(effects)  # of either
    averaging = (np.arange(trainings)[:, None] == train) / np.bincount(train)[:, None]
    centred = averaging - averaging.mean(0)
    weights, means = averaging.mean(0), centred.T @ centred / (trainings * (trainings - 1))
    hidden = max(float(weights @ same["b"] @ weights - np.sum(means * same["b"])), 0.0)
    sums = {
        "abe": [to_both - to_seeds, to_both - to_means, np.eye(count) - to_both],
        "ae": [to_means - 1 / count, np.eye(count) - to_means],
    }
    kinds, parts = "", np.zeros((0, count, count))  # one sample set per training: a, e look alike
    for found, forms in sums.items():
        moments = np.array([[np.sum(form * same[kind]) for kind in found] for form in forms])
        if np.linalg.matrix_rank(moments, tol=1e-9) == len(found):
            kinds, parts = found, np.einsum("kl,lij->kij", np.linalg.inv(moments), np.stack(forms))
            break
    between, rest = np.zeros((count, count)), 0.0
    if "b" in kinds:
        form = to_both - to_means
        scale = np.sum(form * same["b"])
        between, rest = form / scale, np.trace(form) / scale
    return _Design(trainings, shape[1], kinds, weights, means, parts, hidden, between, rest)


def _over_trainings(y: np.ndarray, design: _Design, bounds: Bounds) -> Estimate:
    """Returns the estimate from the values of shape (..., N) of several trainings."""
    mean = y @ design.weights
    found = dict(
        zip(design.kinds, np.einsum("...i,kij,...j->k...", y, design.parts, y), strict=True)
    )
    cut = {kind: np.maximum(part, 0) for kind, part in found.items()}
    retraining, shared, apart = (cut.get(kind, np.full(mean.shape, np.nan)) for kind in "abe")
    variances = [(np.einsum("...i,ij,...j", y, design.means, y), design.trainings - 1)]
    most, scope = design.trainings, BOTH
    if design.hidden > 1e-9 and "b" in design.kinds:
        most = max(design.trainings, design.seeds)
        between = np.einsum("...i,ij,...j", y, design.between, y)
        variances.append(
            (design.hidden * of_seeds(between, design.rest * cut["e"]), design.seeds - 1)
        )
    elif design.hidden > 1e-9:
        scope = "trainings"
    interval = interval_of(scope, mean, variances if most >= LEAST_VALUES else [], bounds)
    return Estimate(*interval, retraining, apart + np.nan_to_num(shared), shared)


def of_seeds(between: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """Returns what sample seeds add to a variance, with part of what e does taken out."""
    return np.maximum(between - SUBTRACTED * rest, KEPT * between)


def interval_of(
    scope: Scope, mean: Any, parts: list[tuple[Any, Any]], bounds: Bounds
) -> tuple[Scope, Any, Any, Any, Any, Any]:
    """Returns scope, mean, low, high, error and degrees of freedom.

    Args:
        parts: Parts of the mean's variance, each with its degrees of freedom; without any there is
            no interval.
    """
    unknown = np.full(np.shape(mean), np.nan)
    if not parts:
        return "", mean, unknown, unknown, unknown, unknown
    variance = sum(np.maximum(part, 0) for part, _ in parts)
    half = np.sqrt(
        sum(np.square(stats.t.isf(LEVEL / 2, df)) * np.maximum(part, 0) for part, df in parts)
    )
    error = np.sqrt(variance)
    with np.errstate(invalid="ignore", divide="ignore"):
        df = special.stdtridf(1 - LEVEL / 2, half / error)
    df = np.where(error > 0, df, reduce(np.minimum, [df for _, df in parts]))
    return scope, mean, *bracket(mean, half, bounds), error, df


def bracket(mean: Any, half: Any, bounds: Bounds) -> tuple[np.ndarray, np.ndarray]:
    """Returns low and high of an interval that stays within bounds (see the module), NaN where the
    mean does not.

    Args:
        half: Half of its width, where there are no bounds.
    """
    mean, half = np.asarray(mean, np.float64), np.asarray(half, np.float64)
    least, most = bounds
    if math.isinf(least) and math.isinf(most):
        return mean - half, mean + half
    if math.isinf(least):
        low, high = bracket(-mean, half, (-most, math.inf))
        return -high, -low
    inside = (mean > least) & (mean < most)
    above, below = np.where(inside, mean - least, np.nan), np.where(inside, most - mean, np.nan)
    with np.errstate(over="ignore"):
        if math.isinf(most):
            return least + above * np.exp(-half / above), least + above * np.exp(half / above)
        centre, reach = np.log(above / below), half * (most - least) / (above * below)
        low, high = (special.expit(centre + sign * reach) for sign in (-1, 1))
    return least + (most - least) * low, least + (most - least) * high
