r"""What seeds tell: a mean with its interval, where its variance comes from, and whether two groups differ.

The value of training i sampled with seed j is taken to be

.. math:: y_{ij} = \mu + a_i + b_j + e_{ij}

with independent effects of mean 0: a of retraining, b of what a sample seed does to every training alike (the noise is
a function of the sample seed, so all trainings of a suite share it), e of what it does to each training apart. The
interval is one for :math:`\mu`, so for other trainings *and* other sample seeds. Two hazards are avoided: counting
sample sets of one training as if they were trainings, and taking sample seeds that all trainings share for all there
are. The second matters however many trainings there are: with two sample seeds, b is as good as unknown.

Shapes: I trainings, J sample seeds; any leading axes are independent tables of one design. All in float64.

Source: Henderson, 1953, https://doi.org/10.2307/3001853 (method III: moments of unbalanced tables; balanced ones give
the analysis of variance); Satterthwaite, 1946, https://doi.org/10.2307/3002019 (degrees of freedom); Schuirmann, 1987,
https://doi.org/10.1007/BF01068419 (two one-sided tests of equivalence); Holm, 1979.
"""

from functools import lru_cache
from typing import Any, Literal, NamedTuple

import numpy as np
from scipy import stats

from bench.claims import LEVEL

EXACT = 20_000
"""Permutations up to which all are tried; of more, as many are drawn."""

Unit = Literal["trainings", "sample sets of one training", "one sample set"]
"""What an interval is over."""


class Estimate(NamedTuple):
    """A mean with its interval and the parts of a value's variance; arrays of the leading axes.

    Args:
        mean: Each training counts once, however many of its sample sets there are.
        error: Standard error of the mean, NaN for one sample set.
        df: Degrees of freedom of the error.
        retraining: Variance between trainings, NaN where the design cannot tell it.
        resampling: Variance between sample sets of one training, NaN where the design cannot tell it.
        shared: The part of ``resampling`` that all trainings share, NaN where the design cannot tell it.
    """

    unit: Unit
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


def estimate(values: Any) -> Estimate:
    """Returns the mean over trainings and sample seeds, its interval and the components of variance.

    One training: a t interval over its sample sets, which says nothing of other trainings. Several: the variance of
    the mean is that of the trainings' means, plus what they share by their sample seeds where that is seen, with
    degrees of freedom after Satterthwaite; without it this is the t interval over trainings. Components are moment
    estimates, cut off at 0.

    Args:
        values: Shape (..., I, J); NaN where a value is missing, in every table alike.

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
    unknown = np.full(y.shape[:-1], np.nan)
    if len(mask) > 1:
        return _over_trainings(y, _design(mask.tobytes(), mask.shape))
    count = y.shape[-1]
    if count == 1:
        return Estimate("one sample set", y[..., 0], *[unknown] * 7)
    variance = y.var(-1, ddof=1)
    interval = _interval(y.mean(-1), np.sqrt(variance / count), np.full_like(unknown, count - 1))
    return Estimate("sample sets of one training", *interval, unknown, variance, unknown)


class _Design(NamedTuple):
    """Quadratic forms of the N values of a table of that design; kinds of effects are a, b, e.

    Args:
        weights: Shape (N,): the mean of the trainings' means.
        means: Shape (N, N): the variance of the trainings' means over their number.
        parts: Shape (K, N, N): unbiased estimates of the variances of the effects ``kinds``.
        seeds: Variance of the mean by b beyond what ``means`` holds of it, as a multiple of the variance of b.
        expected: Shape (K,): what the variance of the mean, b included, is expected to be, by kind.
        spread: Shape (K, K): half the variance of that estimate, by pairs of kinds.
    """

    trainings: int
    kinds: str
    weights: np.ndarray
    means: np.ndarray
    parts: np.ndarray
    seeds: float
    expected: np.ndarray
    spread: np.ndarray


@lru_cache(maxsize=256)
def _design(mask: bytes, shape: tuple[int, int]) -> _Design:
    train, seed = np.nonzero(np.frombuffer(mask, bool).reshape(shape))
    count, trainings = len(train), shape[0]
    same = {"a": train[:, None] == train, "b": seed[:, None] == seed, "e": np.eye(count, dtype=bool)}
    same = {kind: matrix.astype(float) for kind, matrix in same.items()}
    to_means = same["a"] / same["a"].sum(1)  # projects on effects of trainings,
    to_seeds = same["b"] / same["b"].sum(1)  # of seeds,
    effects = np.concatenate([same["a"], same["b"]], axis=1)
    to_both = effects @ np.linalg.pinv(effects)  # of either
    averaging = (np.arange(trainings)[:, None] == train) / np.bincount(train)[:, None]
    centred = averaging - averaging.mean(0)
    weights, means = averaging.mean(0), centred.T @ centred / (trainings * (trainings - 1))
    sums = {
        "abe": [to_both - to_seeds, to_both - to_means, np.eye(count) - to_both],
        "ae": [to_means - 1 / count, np.eye(count) - to_means],
    }
    for kinds, forms in sums.items():
        moments = np.array([[np.sum(form * same[kind]) for kind in kinds] for form in forms])
        if np.linalg.matrix_rank(moments, tol=1e-9) == len(kinds):
            break
    else:  # one sample set a training: the two kinds cannot be told apart
        none = np.zeros(0)
        return _Design(trainings, "", weights, means, np.zeros((0, count, count)), 0.0, none, np.zeros((0, 0)))
    parts = np.einsum("kl,lij->kij", np.linalg.inv(moments), np.stack(forms))
    seeds, form = 0.0, means
    if "b" in kinds:
        seeds = max(float(weights @ same["b"] @ weights - np.sum(means * same["b"])), 0.0)
        form = means + seeds * parts[kinds.index("b")]
    products = [form @ same[kind] for kind in kinds]
    expected = np.array([np.trace(product) for product in products])
    spread = np.array([[np.sum(one * other.T) for other in products] for one in products])
    return _Design(trainings, kinds, weights, means, parts, seeds, expected, spread)


def _over_trainings(y: np.ndarray, design: _Design) -> Estimate:
    """Returns the estimate from the values of shape (..., N) of several trainings."""
    mean = y @ design.weights
    variance = np.einsum("...i,ij,...j", y, design.means, y)
    df = np.full(mean.shape, design.trainings - 1.0)
    parts = dict(zip(design.kinds, np.maximum(np.einsum("...i,kij,...j->k...", y, design.parts, y), 0), strict=True))
    retraining, shared, apart = (parts.get(kind, np.full(mean.shape, np.nan)) for kind in "abe")
    if design.seeds:
        effects = np.stack([parts[kind] for kind in design.kinds], -1)
        with np.errstate(invalid="ignore", divide="ignore"):
            spread = np.einsum("...k,kl,...l", effects, design.spread, effects)
            found = np.square(effects @ design.expected) / spread
        seen = shared > 0
        variance = variance + design.seeds * shared
        df = np.where(seen, np.maximum(np.nan_to_num(found, nan=1.0), 1.0), df)
    interval = _interval(mean, np.sqrt(np.maximum(variance, 0)), df)
    return Estimate("trainings", *interval, retraining, apart + np.nan_to_num(shared), shared)


def _interval(mean: Any, error: Any, df: Any) -> tuple[Any, Any, Any, Any, Any]:
    """Returns mean, low, high, error and degrees of freedom."""
    half = stats.t.isf(LEVEL / 2, df) * error
    return mean, mean - half, mean + half, error, df


def compare(first: Any, second: Any, *, paired: bool, smallest_effect: Any) -> Comparison:
    """Returns how two groups differ that were sampled with the same seeds.

    A difference should hold for other trainings and for other sample seeds, so the p-value is the largest of three: of
    a permutation of the trainings (all signs of the pairs, or all ways to divide the trainings), which assumes no
    distribution and takes the sample seeds for all there are; of a t test over the sample seeds, which takes the
    trainings for all there are; and of a t test over both, whose interval is given. Equivalence: two one-sided t tests,
    of the latter two errors.

    Args:
        first: Shape (..., I, J), without missing values.
        second: Shape (..., K, J); with ``paired`` K = I, and row i of both is one training.
        paired: Whether the trainings are the same ones.
        smallest_effect: The least difference that is of interest, positive; a number, or an array that broadcasts.

    Raises:
        ValueError: Fewer than two trainings or sample seeds, unlike numbers of them, or missing values.
    """
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    units = (first.shape[-2], second.shape[-2])
    if first.shape[-1] != second.shape[-1] or min(*units, first.shape[-1]) < 2 or (paired and units[0] != units[1]):
        raise ValueError(f"tables of shapes {first.shape} and {second.shape} cannot be compared")
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise ValueError("tables to compare should lack no value")
    if paired:
        found = estimate(first - second)
        error, df = found.error, found.df
        permuted = _permuted((first - second).mean(-1))
    else:
        error, df = _welch(first, second)
        permuted = _permuted(first.mean(-1), second.mean(-1))
    by_seed = first.mean(-2) - second.mean(-2)
    difference = by_seed.mean(-1)
    over_both = _tested(difference, error, df, smallest_effect)
    seeds = by_seed.shape[-1]
    over_seeds = _tested(difference, by_seed.std(-1, ddof=1) / np.sqrt(seeds), seeds - 1, smallest_effect)
    p, equivalence = (np.maximum(*both) for both in zip(over_both, over_seeds, strict=True))
    _, low, high, _, _ = _interval(difference, error, df)
    name = "sign flips of the pairs, paired t" if paired else "permutation of the trainings, Welch's t"
    return Comparison(
        difference, low, high, np.maximum(p, permuted), equivalence, units, f"{name}, t over sample seeds"
    )


def _tested(difference: Any, error: Any, df: Any, smallest_effect: Any) -> tuple[np.ndarray, np.ndarray]:
    """Returns the p-values of no difference and of one that is not small; without any error they are 0 or 1."""
    with np.errstate(invalid="ignore", divide="ignore"):
        p = 2 * stats.t.sf(np.abs(difference) / error, df)
        above = stats.t.sf((difference + smallest_effect) / error, df)
        below = stats.t.cdf((difference - smallest_effect) / error, df)
    return np.nan_to_num(p, nan=1.0), np.nan_to_num(np.maximum(above, below), nan=1.0)  # nan: 0 / 0


def _welch(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the standard error of a difference of means, and its degrees of freedom.

    Beside the trainings of both sides, the sample seeds that they share are a source of error where both sides answer
    to them unlike: the variance of the seeds' differences beyond what the e of both sides gives them.
    """
    seeds = first.shape[-1]
    sides = [(_training_variance(side), side.shape[-2] - 1) for side in (first, second)]
    rests = [(_rest_variance(side), (side.shape[-2] - 1) * (seeds - 1)) for side in (first, second)]
    by_seed = (first.mean(-2) - second.mean(-2)).var(-1, ddof=1) / seeds
    extra = by_seed - rests[0][0] - rests[1][0]
    variance = sides[0][0] + sides[1][0] + np.maximum(extra, 0)
    spread = sum(np.square(value) / df for value, df in sides)
    spread_of_extra = sum(np.square(value) / df for value, df in [(by_seed, seeds - 1), *rests])
    with np.errstate(invalid="ignore", divide="ignore"):
        df = np.square(variance) / (spread + np.where(extra > 0, spread_of_extra, 0))
    return np.sqrt(variance), np.maximum(np.nan_to_num(df, nan=1.0), 1.0)


def _training_variance(side: np.ndarray) -> np.ndarray:
    """Returns the squared standard error of a side's mean over its trainings."""
    return side.mean(-1).var(-1, ddof=1) / side.shape[-2]


def _rest_variance(side: np.ndarray) -> np.ndarray:
    """Returns the variance that e gives to the mean of a side with I trainings and J seeds."""
    trainings, seeds = side.shape[-2:]
    rest = side - side.mean(-1, keepdims=True) - side.mean(-2, keepdims=True) + side.mean((-1, -2), keepdims=True)
    return np.square(rest).sum((-1, -2)) / ((trainings - 1) * (seeds - 1)) / (trainings * seeds)


def _permuted(*samples: np.ndarray) -> np.ndarray:
    """Returns two-sided p-values, over all signs of one sample or all divisions of two; shapes (..., I)."""
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
    """Returns p-values of one family, adjusted so that any error among them is as rare as one; shape (..., K)."""
    p = np.asarray(p, np.float64)
    order = np.argsort(p, -1, kind="stable")
    steps = np.take_along_axis(p, order, -1) * np.arange(p.shape[-1], 0, -1)
    adjusted = np.empty_like(p)
    np.put_along_axis(adjusted, order, np.minimum(np.maximum.accumulate(steps, -1), 1.0), -1)
    return adjusted


VERDICTS = ("undecided", "better", "worse", "within noise")


def verdicts(difference: Any, p: Any, p_equivalence: Any, *, higher_is_better: bool) -> np.ndarray:
    """Returns a verdict on each first side, one of :data:`VERDICTS`, from p-values already adjusted.

    "Within noise" says that an equivalence test passed, and so goes before a difference that is real and yet smaller
    than the smallest effect of interest. Where neither test speaks the verdict is "undecided", never "equal".
    """
    difference = np.asarray(difference, np.float64)
    better = difference > 0 if higher_is_better else difference < 0
    found = np.where(np.asarray(p) <= LEVEL, np.where(better, 1, 2), 0)
    return np.array(VERDICTS, object)[np.where(np.asarray(p_equivalence) <= LEVEL, 3, found)]
