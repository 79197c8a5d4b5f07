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

EXACT = 20_000
"""Permutations up to which all are tried; of more, as many are drawn."""
LEAST_VALUES = 3
"""Independent values below which there is no interval: trainings, or sample seeds."""
SUBTRACTED = 0.5
"""Share of the variance of e that is taken out of the sample seeds' part (see the module)."""
KEPT = 0.03
"""Share of the sample seeds' part that stays at least."""
UNBOUNDED = (-math.inf, math.inf)

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
        low: NaN where there is no interval.
        error: Standard error, NaN without an interval.
        df: Degrees of freedom of the error.
        retraining: Variance between trainings, NaN where the design cannot tell it.
        resampling: Variance between sample sets of one training, NaN where the design cannot tell
            it.
        shared: The part of ``resampling`` that all trainings share, NaN where the design cannot
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


class Comparison(NamedTuple):
    """First minus second, with tests; arrays of the leading axes.

    Args:
        p: Of no difference, two-sided.
        p_equivalence: Of a difference at least as large as the smallest effect of interest.
        units: Trainings of the first and of the second, or the pairs twice.
        test: The test's name.
    """

    difference: Any
    low: Any
    high: Any
    p: Any
    p_equivalence: Any
    units: tuple[int, int]
    test: str


def estimate(values: Any, bounds: tuple[float, float] = UNBOUNDED) -> Estimate:
    """Returns the mean over trainings and sample seeds, its interval and the components of
    variance.

    Components are moment estimates, cut off at 0. For the interval see the module.

    Args:
        values: Shape (..., I, J); NaN where a value is missing, in every table alike.
        bounds: Of a value, where it has some.

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
        *_interval("sample seeds", y.mean(-1), parts, bounds), unknown, variance, unknown
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
    same = {
        "a": train[:, None] == train,
        "b": seed[:, None] == seed,
        "e": np.eye(count, dtype=bool),
    }
    same = {kind: matrix.astype(float) for kind, matrix in same.items()}
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
    kinds, parts = (
        "",
        np.zeros((0, count, count)),
    )  # one sample set a training: a and e cannot be told apart
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


def _over_trainings(y: np.ndarray, design: _Design, bounds: tuple[float, float]) -> Estimate:
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
            (design.hidden * _of_seeds(between, design.rest * cut["e"]), design.seeds - 1)
        )
    elif design.hidden > 1e-9:
        scope = "trainings"
    interval = _interval(scope, mean, variances if most >= LEAST_VALUES else [], bounds)
    return Estimate(*interval, retraining, apart + np.nan_to_num(shared), shared)


def _of_seeds(between: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """Returns what sample seeds add to a variance: what they differ by, without some of what e
    makes of that.
    """
    return np.maximum(between - SUBTRACTED * rest, KEPT * between)


def _interval(
    scope: Scope, mean: Any, parts: list[tuple[Any, Any]], bounds: tuple[float, float]
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


def bracket(mean: Any, half: Any, bounds: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
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


def contrast(
    first: Any, second: Any, *, paired: bool, bounds: tuple[float, float] = UNBOUNDED
) -> Estimate:
    """Returns first minus second with its interval, of groups that were sampled with the same
    seeds.

    Pairs: the interval of the trainings' differences. Otherwise the trainings of each side give the
    first part of its variance (with Welch's degrees of freedom), and what the sides' answers to the
    sample seeds differ by the second; with one training on a side the latter alone, for these
    trainings. A difference of values within two bounds stays within their distance.

    Args:
        first: Shape (..., I, J), without missing values.
        second: Shape (..., K, J); with ``paired`` K = I, and row i of both is one training.
        paired: Whether the trainings are the same ones.
        bounds: Of a value.

    Raises:
        ValueError: Unlike numbers of sample seeds or of pairs, or missing values.
    """
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    units, seeds = (first.shape[-2], second.shape[-2]), first.shape[-1]
    if second.shape[-1] != seeds or (paired and units[0] != units[1]):
        raise ValueError(f"tables of shapes {first.shape} and {second.shape} cannot be compared")
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise ValueError("tables to compare should lack no value")
    found = estimate(first - second) if paired else _apart(first, second)
    width = bounds[1] - bounds[0]
    return found._replace(
        low=np.clip(found.low, -width, width), high=np.clip(found.high, -width, width)
    )


def _apart(first: np.ndarray, second: np.ndarray) -> Estimate:
    """Returns the difference of two groups of other trainings."""
    trainings, seeds = min(first.shape[-2], second.shape[-2]), first.shape[-1]
    by_seed = first.mean(-2) - second.mean(-2)
    parts: list[tuple[Any, Any]] = []
    scope: Scope = BOTH if seeds > 1 else "trainings"
    if trainings == 1:
        scope = "sample seeds"
    else:
        parts.append(_welch(first, second))
    if seeds > 1:
        between = by_seed.var(-1, ddof=1) / seeds
        rest = _rest_variance(first) + _rest_variance(second) if trainings > 1 else 0.0
        parts.append((_of_seeds(between, rest) if trainings > 1 else between, seeds - 1))
    if max(trainings, seeds) < LEAST_VALUES:
        parts = []
    unknown = np.full(by_seed.shape[:-1], np.nan)
    return Estimate(
        *_interval(scope, by_seed.mean(-1), parts, UNBOUNDED), unknown, unknown, unknown
    )


def _welch(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the variance that the trainings of both sides give to the difference, and its degrees
    of freedom.
    """
    sides = [
        (side.mean(-1).var(-1, ddof=1) / side.shape[-2], side.shape[-2] - 1)
        for side in (first, second)
    ]
    variance = sides[0][0] + sides[1][0]
    with np.errstate(invalid="ignore", divide="ignore"):
        df = np.square(variance) / sum(np.square(value) / df for value, df in sides)
    return variance, np.where(variance > 0, df, min(df for _, df in sides))


def _rest_variance(side: np.ndarray) -> np.ndarray:
    """Returns the variance that e gives to the mean of a side with I trainings and J seeds."""
    trainings, seeds = side.shape[-2:]
    rest = (
        side
        - side.mean(-1, keepdims=True)
        - side.mean(-2, keepdims=True)
        + side.mean((-1, -2), keepdims=True)
    )
    return np.square(rest).sum((-1, -2)) / ((trainings - 1) * (seeds - 1)) / (trainings * seeds)


def compare(
    first: Any,
    second: Any,
    *,
    paired: bool,
    smallest_effect: Any,
    bounds: tuple[float, float] = UNBOUNDED,
) -> Comparison:
    """Returns how two groups differ that were sampled with the same seeds, for other trainings and
    other sample seeds.

    The p-value is the largest of three, so that no level of a correction makes a verdict of what
    the interval holds: of a t test with the error and the degrees of freedom of the interval
    (:func:`contrast`); of a permutation of the trainings (all signs of the pairs, or all ways to
    divide the trainings), which assumes no distribution and takes the sample seeds for all there
    are; and of a t test over the sample seeds, which takes the trainings for all there are.
    Equivalence: two one-sided t tests, of the errors of the first and the last.

    Args:
        first: Shape (..., I, J), without missing values.
        second: Shape (..., K, J); with ``paired`` K = I, and row i of both is one training.
        paired: Whether the trainings are the same ones.
        smallest_effect: The least difference that is of interest, positive; a number, or an array
            that broadcasts.
        bounds: Of a value.

    Raises:
        ValueError: Too few trainings or sample seeds for an interval over both, unlike numbers of
            them, missing values.
    """
    found = contrast(first, second, paired=paired, bounds=bounds)
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if found.scope != BOTH:
        raise ValueError(
            f"tables of shapes {first.shape} and {second.shape} have no interval for both"
        )
    groups = [(first - second).mean(-1)] if paired else [first.mean(-1), second.mean(-1)]
    by_seed, seeds = first.mean(-2) - second.mean(-2), first.shape[-1]
    over_both = _tested(found.mean, found.error, found.df, smallest_effect)
    over_seeds = _tested(
        found.mean, by_seed.std(-1, ddof=1) / np.sqrt(seeds), seeds - 1, smallest_effect
    )
    p, equivalence = (np.maximum(*both) for both in zip(over_both, over_seeds, strict=True))
    name = "sign flips of the pairs" if paired else "permutation of the trainings"
    return Comparison(
        found.mean,
        found.low,
        found.high,
        np.maximum(p, _permuted(*groups)),
        equivalence,
        (first.shape[-2], second.shape[-2]),
        f"{name}, t of the interval, t over sample seeds",
    )


def _tested(
    difference: Any, error: Any, df: Any, smallest_effect: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the p-values of no difference and of one that is not small; without any error they
    are 0 or 1.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        p = 2 * stats.t.sf(np.abs(difference) / error, df)
        above = stats.t.sf((difference + smallest_effect) / error, df)
        below = stats.t.cdf((difference - smallest_effect) / error, df)
    return np.nan_to_num(p, nan=1.0), np.nan_to_num(np.maximum(above, below), nan=1.0)  # nan: 0 / 0


def _permuted(*samples: np.ndarray) -> np.ndarray:
    """Returns two-sided p-values, over all signs of one sample or all divisions of two; shapes
    (..., I).
    """
    one = len(samples) == 1

    def statistic(*parts: np.ndarray, axis: int) -> np.ndarray:
        return parts[0].mean(axis) if one else parts[0].mean(axis) - parts[1].mean(axis)

    found = stats.permutation_test(
        samples,
        statistic,
        permutation_type="samples" if one else "independent",
        vectorized=True,
        n_resamples=EXACT,
        batch=max(1, 10_000_000 // sum(sample.size for sample in samples)),
        axis=-1,
        random_state=0,
    )
    return np.minimum(found.pvalue, 1.0)


def holm(p: Any) -> np.ndarray:
    """Returns p-values of one family, adjusted so that any error among them is as rare as one;
    shape (..., K).
    """
    p = np.asarray(p, np.float64)
    order = np.argsort(p, -1, kind="stable")
    steps = np.take_along_axis(p, order, -1) * np.arange(p.shape[-1], 0, -1)
    adjusted = np.empty_like(p)
    np.put_along_axis(adjusted, order, np.minimum(np.maximum.accumulate(steps, -1), 1.0), -1)
    return adjusted


VERDICTS = ("undecided", "better", "worse", "within noise")


def verdicts(difference: Any, p: Any, p_equivalence: Any, *, higher_is_better: bool) -> np.ndarray:
    """Returns a verdict on each first side, one of :data:`VERDICTS`, from p-values already
    adjusted.

    "Within noise" says that an equivalence test passed, and so goes before a difference that is
    real and yet smaller than the smallest effect of interest. Where neither test speaks the verdict
    is "undecided", never "equal".
    """
    difference = np.asarray(difference, np.float64)
    better = difference > 0 if higher_is_better else difference < 0
    found = np.where(np.asarray(p) <= LEVEL, np.where(better, 1, 2), 0)
    return np.array(VERDICTS, object)[np.where(np.asarray(p_equivalence) <= LEVEL, 3, found)]
