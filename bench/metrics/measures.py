"""What the cards of the metrics measure, and about what it costs on the processor.

Each takes what is known of the samples and of the reference, and the parameters
(:class:`bench.metrics.card.MetricCard`). Numpy and torch are imported only when a number is asked
for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from bench.metrics.parameters import (
    BallParams,
    CopyParams,
    FrechetParams,
    InceptionParams,
    InfinityParams,
    KernelParams,
    ManifoldParams,
)

if TYPE_CHECKING:
    import numpy as np

    from bench.metrics.summary import Summary

EIGEN_FLOPS = 30.0
"""Of the eigenvalues of a product of covariances, in cubes of the dimension."""


def frechet(samples: Summary, reference: Summary, params: FrechetParams) -> float:
    from bench.metrics import libraries
    from bench.metrics.frechet import frechet_of_moments

    if params.backend == "own":
        return frechet_of_moments(samples.moments, reference.moments)
    fidelity = params.backend == "torch-fidelity"
    compute = libraries.fid_of_torch_fidelity if fidelity else libraries.fid_of_clean_fid
    return compute(*samples.moments.statistics(), *reference.moments.statistics())


def frechet_of_infinitely_many(
    samples: Summary, reference: Summary, params: InfinityParams
) -> float:
    from bench.metrics.frechet import frechet_at_infinity

    return frechet_at_infinity(samples.features, reference.moments, params.sizes)


def inception_score(samples: Summary, reference: None, params: InceptionParams) -> float:
    from bench.metrics.libraries import is_of_torch_fidelity

    if params.backend == "own":
        return samples.classes(params.splits).score()
    return is_of_torch_fidelity(samples.log_probs, params.splits)


def kernel(samples: Summary, reference: Summary, params: KernelParams) -> float:
    from bench.metrics import libraries

    fidelity = params.backend == "torch-fidelity"
    compute = libraries.kid_of_torch_fidelity if fidelity else libraries.kid_of_clean_fid
    return compute(samples.features, reference.features, params.subsets, params.subset_size)


def precision(samples: Summary, reference: Summary, params: ManifoldParams) -> float:
    return _precision_and_recall(samples, reference, params)[0]


def recall(samples: Summary, reference: Summary, params: ManifoldParams) -> float:
    return _precision_and_recall(samples, reference, params)[1]


def _precision_and_recall(
    samples: Summary, reference: Summary, params: ManifoldParams
) -> tuple[float, float]:
    from bench.metrics.libraries import precision_and_recall

    return _by_balls(samples, reference, params.neighbours, precision_and_recall)


def density(samples: Summary, reference: Summary, params: BallParams) -> float:
    return _density_and_coverage(samples, reference, params)[0]


def coverage(samples: Summary, reference: Summary, params: BallParams) -> float:
    return _density_and_coverage(samples, reference, params)[1]


def _density_and_coverage(
    samples: Summary, reference: Summary, params: BallParams
) -> tuple[float, float]:
    from bench.metrics.diversity import density_and_coverage

    return _by_balls(samples, reference, params.neighbours, density_and_coverage)


def _by_balls(
    samples: Summary,
    reference: Summary,
    k: int,
    measure: Callable[[np.ndarray, np.ndarray, int, np.ndarray], tuple[float, float]],
) -> tuple[float, float]:
    """Returns a pair of metrics of the balls to the k-th neighbours, computed once for each."""
    from bench.metrics.libraries import radii

    def compute() -> tuple[float, float]:
        real = reference.features
        real_radii = reference.once(("radii", k), lambda: radii(real, k))
        return measure(samples.features, real, k, real_radii)

    return samples.once((measure.__name__, id(reference), k), compute)


def vendi(samples: Summary, reference: None, params: Any) -> float:
    from bench.metrics.diversity import vendi_score

    return vendi_score(samples.features)


def _nearest_two(samples: Summary, reference: Summary) -> Any:
    from bench.metrics.neighbours import nearest

    return samples.once(
        ("nearest", id(reference)), lambda: nearest(samples.features, reference.features, 2)
    )


def nn_ratio(samples: Summary, reference: Summary, params: Any) -> float:
    from bench.metrics.neighbours import nearest, ratio, usual_ratio

    train, test = reference.features, reference.other.features
    to_train, to_test = _nearest_two(samples, reference), nearest(samples.features, test, 1)
    usual = reference.once("usual", lambda: usual_ratio(train, test))
    return ratio(to_train[:, 0], to_test[:, 0]) / usual


def near_copies(samples: Summary, reference: Summary, params: CopyParams) -> float:
    from bench.metrics import neighbours

    return neighbours.near_copies(_nearest_two(samples, reference), params.fraction)


def of_samples(name: str) -> Callable[[Any, Any, Any], float]:
    """Returns a function of :mod:`bench.metrics.conditional` as a measure."""

    def measure(samples: Any, reference: None, params: Any) -> float:
        from bench.metrics import conditional

        return getattr(conditional, name)(samples)

    return measure


def of_points(name: str) -> Callable[[Any, Any, Any], float]:
    """Returns a function of :mod:`bench.metrics.points` as a measure."""

    def measure(samples: Any, reference: Any, params: Any) -> float:
        from bench.metrics import points

        return getattr(points, name)(samples, reference)

    return measure


def frechet_flops(params: Any, count: int, real: int, length: int) -> float:
    """Subsets are of a little more than half of the images on average."""
    sizes = params.sizes if isinstance(params, InfinityParams) else 0
    return (2.0 + 1.1 * sizes) * count * length**2 + (1 + sizes) * EIGEN_FLOPS * length**3


def kernel_flops(params: KernelParams, count: int, real: int, length: int) -> float:
    return 6.0 * params.subsets * min(params.subset_size, count) ** 2 * length


def pair_flops(params: Any, count: int, real: int, length: int) -> float:
    """Distances among samples and to the real images; precision and recall share them, half each.

    Those among real images are not counted: a process computes them once for all sample sets.
    """
    return float(length) * (count**2 + 2 * count * real)


def nearest_flops(params: Any, count: int, real: int, length: int) -> float:
    return 2.0 * length * count * real


def vendi_flops(params: Any, count: int, real: int, length: int) -> float:
    smaller, larger = sorted((count, length))
    return 2.0 * larger * smaller**2 + EIGEN_FLOPS * smaller**3
