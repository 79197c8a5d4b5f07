"""Numbers from a sample set and a reference alone: what each metric declares.

A metric's value means nothing without its identity: extractor, weights, input size, resize kernel,
pixel levels, count, reference and backend (:mod:`bench.metrics.scoring` writes it beside the
value). So the columns of a table are named after both, ``fd(digits-cnn@8)``. The bare names FID,
IS, KID, precision and recall belong to the features of the reference Inception alone
(:data:`BARE`), clean-FID and clean-KID to the same weights behind clean-fid's resizing.

A suite may write ``fid``, ``kid``, ``prc``, ``clean_fid`` and ``clean_kid`` (:data:`SHORTHANDS`)
for the metrics with these extractors. Without an ``extractor``, a metric takes digits-cnn where
that reads the data set, else ``inception``.

Plugging in: a metric is a function of two sets of features and an entry in :data:`METRICS`; an
extractor is an entry in :data:`bench.metrics.extractor_cards.EXTRACTORS` and a network in
:mod:`bench.metrics.extractors`.

Standard library only: a suite is checked without numpy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

from bench.data.card import DataCard
from bench.data.conditioning import RESTORATIONS
from bench.metrics.extractor_card import ExtractorCard
from bench.metrics.extractor_cards import (
    EXTRACTORS,
    extractor_card,
    extractor_label,
    refuse_extractor,
)

if TYPE_CHECKING:
    from bench.metrics.summary import Summary

__all__ = [
    "EXTRACTORS",
    "METRICS",
    "SHORTHANDS",
    "ExtractorCard",
    "MetricCard",
    "extractor_card",
    "extractor_label",
]

Split = Literal["train", "test"]


def _check_extractor(params: Any) -> None:
    extractor_card(params.extractor)


def _check_statistics(params: Any) -> None:
    name = params.statistics
    if name and not (len(name) == 64 and set(name) <= set("0123456789abcdef")):
        raise ValueError(
            f"statistics should be the sha256 that `run_bench.py reference import` prints, got {name!r}"
        )


def _at_least(params: Any, **least: float) -> None:
    for name, value in least.items():
        if getattr(params, name) < value:
            raise ValueError(f"{name} should be at least {value}, got {getattr(params, name)}")


@dataclass(frozen=True, kw_only=True)
class FrechetParams:
    """Whose features, what they are compared with, and who computes the distance.

    Args:
        extractor: A name of :mod:`bench.metrics.extractor_cards`.
        reference: The split of the data set.
        statistics: The sha256 of an imported file of statistics (``run_bench.py reference
            import``), which takes the split's place.
        backend: Whose code computes the distance from mean and covariance: an audit of the
            numerical core.
        allow_few: Take fewer images than the features have dimensions: the covariance is then
            singular and the value mostly bias.
    """

    extractor: str = "digits-cnn"
    reference: Split = "train"
    statistics: str = ""
    backend: Literal["own", "torch-fidelity", "clean-fid"] = "own"
    allow_few: bool = False

    def __post_init__(self) -> None:
        _check_extractor(self)
        _check_statistics(self)


@dataclass(frozen=True, kw_only=True)
class InfinityParams:
    """As for the distance; ``sizes`` subsets of 1/10 to all of the images are what the line is laid
    through.
    """

    extractor: str = "digits-cnn"
    reference: Split = "train"
    statistics: str = ""
    sizes: int = 15

    def __post_init__(self) -> None:
        _check_extractor(self)
        _check_statistics(self)
        _at_least(self, sizes=2)


@dataclass(frozen=True, kw_only=True)
class InceptionParams:
    """Whose class probabilities, and into how many contiguous parts they are split before
    averaging.

    One split by default: the score of n images is biased low by about (classes - 1) / 2n in its
    logarithm, so ten splits, the custom with 50,000 images, would cost a few hundred images dearly;
    the spread comes from seeds instead. With the reference Inception ten are the default, for the
    bare name IS means them.
    """

    extractor: str = "digits-cnn"
    splits: int = 1
    backend: Literal["own", "torch-fidelity"] = "own"

    def __post_init__(self) -> None:
        _check_extractor(self)
        _at_least(self, splits=1)


@dataclass(frozen=True, kw_only=True)
class KernelParams:
    """Whose features, and over how many random subsets of which size the estimate is averaged.

    A set of fewer images than ``subset_size`` is its own largest subset.
    """

    extractor: str = "digits-cnn"
    reference: Split = "train"
    statistics: str = ""
    subsets: int = 100
    subset_size: int = 1000
    backend: Literal["torch-fidelity", "clean-fid"] = "torch-fidelity"

    def __post_init__(self) -> None:
        _check_extractor(self)
        _check_statistics(self)
        _at_least(self, subsets=1, subset_size=2)


@dataclass(frozen=True, kw_only=True)
class ManifoldParams:
    """Whose features, and the neighbour whose distance is the radius of an image's ball."""

    extractor: str = "digits-cnn"
    reference: Split = "train"
    statistics: str = ""
    neighbours: int = 3

    def __post_init__(self) -> None:
        _check_extractor(self)
        _check_statistics(self)
        _at_least(self, neighbours=1)


@dataclass(frozen=True, kw_only=True)
class NeighbourParams:
    """In whose features distances are measured: the pixels themselves by default."""

    extractor: str = "pixels"

    def __post_init__(self) -> None:
        _check_extractor(self)


@dataclass(frozen=True, kw_only=True)
class CopyParams:
    """In whose features; a near-copy is nearer to one training image than ``fraction`` of the way
    to the second.
    """

    extractor: str = "pixels"
    fraction: float = 1 / 3

    def __post_init__(self) -> None:
        _check_extractor(self)
        if not 0 < self.fraction < 1:
            raise ValueError(f"fraction should lie between 0 and 1, got {self.fraction}")


@dataclass(frozen=True, kw_only=True)
class PixelParams:
    """Nothing to choose: pixels are compared."""


@dataclass(frozen=True, kw_only=True)
class PointParams:
    """Which split of the data set points are compared with."""

    reference: Split = "train"


SUBSET_PER_DIMENSION = 5
"""Images per dimension of the smallest subset of a line to infinitely many images: with fewer it is
none.
"""


def least_for_infinity(dimension: int) -> int:
    """Returns the fewest images of so many dimensions that have subsets of several sizes, all large
    enough.
    """
    return 2 * SUBSET_PER_DIMENSION * dimension


MIXTURE = "mixture"
"""The reference that is no split: the mixture that a data set declares."""


@dataclass(frozen=True, kw_only=True)
class AccuracyParams:
    """Whose class probabilities."""

    extractor: str = "digits-cnn"

    def __post_init__(self) -> None:
        _check_extractor(self)


@dataclass(frozen=True, kw_only=True)
class MetricCard:
    """What the harness must know of a metric before torch is imported.

    Args:
        version: Raised by hand when equal images would give another number.
        params: Frozen dataclass of its parameters, all with defaults; ``extractor`` is one of them
            where features or classes are compared.
        column: The name of its column, which tells unlike numbers apart.
        measure: Returns the value from the :class:`bench.metrics.summary.Summary` of the samples,
            that of the reference (None where the metric has none) and the parameters; with
            ``tasks``, from a :class:`bench.metrics.conditional.Restored` in place of the samples;
            without an extractor, from :class:`bench.metrics.points.Points`.
        reference: The split of the data set that the samples are compared with, or its
            :data:`MIXTURE`; None where there is none.
        refuse: Reasons why it cannot be measured on a data set (none: an empty list).
        least_count: Images below which the value is a smoke test and not evidence.
        needs: Images below which there is no value, and why.
        uses: What a summary must hold (:mod:`bench.metrics.summary`): only ``features`` and
            ``log_probs`` grow with the number of images.
        also: A second split that the reference's summary holds as ``other``.
        both: Whether its parameter ``reference`` belongs to be given twice, as training and as
            held-out images: near the ones alone, a model may have memorised them.
        floor: Sets of real images that are drawn to tell what such images score; 0: that is not
            measured.
        bounds: The least and the greatest value that there can be, infinite where there is none:
            intervals stay within.
        tasks: What the samples should be given for the metric to be measured
            (:mod:`bench.data.conditioning`); empty: any sample set.
        host_flops: About what it computes of features on the processor, for plans, given
            (parameters, samples, real images, length of a feature vector).
    """

    version: int
    summary: str
    params: type
    higher_is_better: bool
    column: Callable[[Any], str]
    measure: Callable[[Any, Summary | None, Any], float]
    reference: Callable[[Any], str | None]
    refuse: Callable[[Any, DataCard], list[str]]
    least_count: Callable[[Any, DataCard], int]
    needs: Callable[[Any, DataCard], tuple[int, str]] = lambda params, data: (1, "")
    uses: Callable[[Any], tuple[Any, ...]] = lambda params: ()
    also: str | None = None
    both: bool = False
    floor: int = 20
    bounds: tuple[float, float] = (-math.inf, math.inf)
    tasks: tuple[str, ...] = ()
    host_flops: Callable[[Any, int, int, int], float] = lambda params, count, real, length: 0.0


BARE = {
    ("fd", "inception"): "FID",
    ("is", "inception"): "IS",
    ("kd", "inception"): "KID",
    ("precision", "inception"): "precision",
    ("recall", "inception"): "recall",
    ("fd_infinity", "inception"): "FID-infinity",
    ("fd", "clean-inception"): "clean-FID",
    ("kd", "clean-inception"): "clean-KID",
}
"""Names that belong to one extractor."""

SHORTHANDS: Mapping[str, tuple[tuple[str, Mapping[str, Any]], ...]] = {
    "fid": (("fd", {"extractor": "inception"}),),
    "kid": (("kd", {"extractor": "inception"}),),
    "prc": (("precision", {"extractor": "inception"}), ("recall", {"extractor": "inception"})),
    "clean_fid": (("fd", {"extractor": "clean-inception"}),),
    "clean_kid": (("kd", {"extractor": "clean-inception"}),),
}
"""Names that a suite may write for metrics with their parameters."""


def choose(card: MetricCard, options: Mapping[str, Any], data: DataCard) -> dict[str, Any]:
    """Returns the options of a metric with what depends on the data set filled in where a suite
    leaves it open.
    """
    options = dict(options)
    known = {item.name: item.default for item in fields(card.params)}
    open_ = (
        known.get("extractor") == "digits-cnn"
        and "extractor" not in options
        and data.kind != "real"
    )
    if open_ and refuse_extractor("digits-cnn", data):
        options["extractor"] = "inception"
    if "splits" in known and options.get("extractor") == "inception":
        options.setdefault("splits", REFERENCE_SPLITS)
    if "subsets" in known and options.get("extractor") == "clean-inception":
        options.setdefault("backend", "clean-fid")
    return options


def default_extractor(data: DataCard) -> str:
    """Returns an extractor whose weights are there and that reads a data set: the first that
    fits.
    """
    names = ("digits-cnn", "inception", "effnet-lite0@32")
    fits = [
        name
        for name in names
        if not refuse_extractor(name, data) and not extractor_card(name).missing()
    ]
    return (fits or ["pixels"])[0]


REFERENCE_SPLITS = 10


def _column(name: str, params: Any, *notes: str) -> str:
    notes = (*notes, *_reference_notes(params))
    bare = BARE.get((name, params.extractor))
    if bare is not None:
        return f"{bare}({', '.join(notes)})" if notes else bare
    return f"{name}({', '.join([extractor_label(params.extractor), *notes])})"


def _reference_notes(params: Any) -> list[str]:
    if getattr(params, "statistics", ""):
        return [f"to statistics {params.statistics[:8]}"]
    return ["to test"] if getattr(params, "reference", "train") == "test" else []


def _frechet_column(params: FrechetParams) -> str:
    return _column("fd", params, *([] if params.backend == "own" else [f"by {params.backend}"]))


def _inception_column(params: InceptionParams) -> str:
    usual = REFERENCE_SPLITS if ("is", params.extractor) in BARE else 1
    notes = (
        []
        if params.splits == usual
        else [f"{params.splits} split{'s' if params.splits > 1 else ''}"]
    )
    return _column(
        "is", params, *notes, *([] if params.backend == "own" else [f"by {params.backend}"])
    )


def _kernel_column(params: KernelParams) -> str:
    usual = "clean-fid" if params.extractor == "clean-inception" else "torch-fidelity"
    notes = [] if params.backend == usual else [f"by {params.backend}"]
    notes += (
        []
        if (params.subsets, params.subset_size) == (100, 1000)
        else [f"{params.subsets}x{params.subset_size}"]
    )
    return _column("kd", params, *notes)


def _manifold_column(name: str) -> Callable[[ManifoldParams], str]:
    return lambda params: _column(
        name, params, *([] if params.neighbours == 3 else [f"k={params.neighbours}"])
    )


def _copies_column(params: CopyParams) -> str:
    return _column(
        "near_copies", params, *([] if params.fraction == 1 / 3 else [f"below {params.fraction:g}"])
    )


def _refuse_features(params: Any, data: DataCard) -> list[str]:
    reasons = refuse_extractor(params.extractor, data)
    if params.reference not in data.splits and not params.statistics:
        reasons.append(
            f"the data set has no split {params.reference} (it has {', '.join(data.splits)})"
        )
    return reasons


def _refuse_frechet(params: Any, data: DataCard) -> list[str]:
    """A covariance of fewer images than dimensions is singular, on the side of the reference
    too.
    """
    reasons = _refuse_features(params, data)
    if reasons or getattr(params, "allow_few", False) or params.statistics:
        return reasons
    has, dimension = data.splits[params.reference], extractor_card(params.extractor).features(data)
    if has < dimension:
        text = (
            f"split {params.reference} has {has} images, fewer than the {dimension} dimensions of"
        )
        remedy = ", or allow_few: true" if hasattr(params, "allow_few") else ""
        reasons.append(f"{text} {params.extractor}: choose another reference or extractor{remedy}")
    return reasons


def _refuse_classes(params: Any, data: DataCard) -> list[str]:
    reasons = refuse_extractor(params.extractor, data)
    if not extractor_card(params.extractor).classes:
        reasons.append(f"extractor {params.extractor} names no classes")
    return reasons


def _refuse_neighbours(params: Any, data: DataCard) -> list[str]:
    reasons = refuse_extractor(params.extractor, data)
    lacking = [split for split in ("train", "test") if split not in data.splits]
    return reasons + [f"the data set has no split {split}" for split in lacking]


def _ten_a_dimension(params: Any, data: DataCard) -> int:
    return 10 * extractor_card(params.extractor).features(data)


def _ten_a_class(params: Any, data: DataCard) -> int:
    """Ten images a class and split, and never more than the 50,000 on which papers report the
    inception score.
    """
    return min(10 * extractor_card(params.extractor).classes * getattr(params, "splits", 1), 50_000)


def _needs_dimensions(params: Any, data: DataCard) -> tuple[int, str]:
    dimension = extractor_card(params.extractor).features(data)
    if params.allow_few or dimension <= 2:
        return 2, ""
    return dimension, (
        f"its covariance has {dimension} dimensions, and fewer images leave it singular; ask for more, take an "
        "extractor of fewer dimensions (digits-cnn, pca@K), use kd, or say allow_few: true"
    )


def _needs_line(params: InfinityParams, data: DataCard) -> tuple[int, str]:
    dimension = extractor_card(params.extractor).features(data)
    return least_for_infinity(dimension), (
        f"its line is laid through subsets of {SUBSET_PER_DIMENSION} and more images for each of the {dimension} "
        "dimensions; ask for more, or take an extractor of fewer dimensions (digits-cnn, pca@K)"
    )


def _frechet(samples: Summary, reference: Summary | None, params: FrechetParams) -> float:
    from bench.metrics import frechet, libraries

    if params.backend == "own":
        return frechet.frechet_of_moments(samples.moments, reference.moments)
    compute = (
        libraries.fid_of_torch_fidelity
        if params.backend == "torch-fidelity"
        else libraries.fid_of_clean_fid
    )
    return compute(*samples.moments.statistics(), *reference.moments.statistics())


def _infinity(samples: Summary, reference: Summary | None, params: InfinityParams) -> float:
    from bench.metrics.frechet import frechet_at_infinity

    return frechet_at_infinity(samples.features, reference.moments, params.sizes)


def _inception(samples: Summary, reference: Summary | None, params: InceptionParams) -> float:
    if params.backend == "own":
        return samples.classes(params.splits).score()
    from bench.metrics.libraries import is_of_torch_fidelity

    return is_of_torch_fidelity(samples.log_probs, params.splits)


def _kernel(samples: Summary, reference: Summary | None, params: KernelParams) -> float:
    from bench.metrics import libraries

    compute = (
        libraries.kid_of_torch_fidelity
        if params.backend == "torch-fidelity"
        else libraries.kid_of_clean_fid
    )
    return compute(samples.features, reference.features, params.subsets, params.subset_size)


def _manifold(index: int) -> Callable[[Summary, Summary | None, ManifoldParams], float]:
    def measure(samples: Summary, reference: Summary | None, params: ManifoldParams) -> float:
        from bench.metrics.libraries import precision_and_recall, radii

        def compute() -> tuple[float, float]:
            k, real = params.neighbours, reference.features
            known = reference.once(("radii", k), lambda: radii(real, k))
            return precision_and_recall(samples.features, real, k, known)

        return samples.once(("manifold", id(reference), params.neighbours), compute)[index]

    return measure


def _nearest(samples: Summary, reference: Summary) -> Any:
    from bench.metrics.neighbours import nearest

    return samples.once(
        ("nearest", id(reference)), lambda: nearest(samples.features, reference.features, 2)
    )


def _nn_ratio(samples: Summary, reference: Summary | None, params: NeighbourParams) -> float:
    from bench.metrics.neighbours import nearest, ratio, usual_ratio

    to_train, to_test = (
        _nearest(samples, reference),
        nearest(samples.features, reference.other.features, 1),
    )
    usual = reference.once(
        "usual", lambda: usual_ratio(reference.features, reference.other.features)
    )
    return ratio(to_train[:, 0], to_test[:, 0]) / usual


def _near_copies(samples: Summary, reference: Summary | None, params: CopyParams) -> float:
    from bench.metrics.neighbours import near_copies

    return near_copies(_nearest(samples, reference), params.fraction)


def _refuse_accuracy(params: AccuracyParams, data: DataCard) -> list[str]:
    reasons, classes = _refuse_classes(params, data), extractor_card(params.extractor).classes
    if data.classes != classes:
        reasons.append(
            f"extractor {params.extractor} knows {classes} classes, the data set has {data.classes}"
        )
    return reasons


def _restoration(name: str, summary: str, *, higher_is_better: bool = False) -> MetricCard:
    """Returns the card of a function of :mod:`bench.metrics.conditional` on images that are known
    in part.
    """

    def measure(restored: Any, reference: Summary | None, params: Any) -> float:
        from bench.metrics import conditional

        return getattr(conditional, name)(restored)

    return MetricCard(
        version=1,
        summary=summary,
        params=PixelParams,
        higher_is_better=higher_is_better,
        column=lambda params: name,
        measure=measure,
        reference=lambda params: None,
        refuse=lambda params, data: (
            ["only images are restored, not real values"] if data.kind == "real" else []
        ),
        least_count=lambda params, data: 32,
        bounds=(0, 1),
        tasks=RESTORATIONS,
    )


def _accuracy(restored: Any, reference: Summary | None, params: AccuracyParams) -> float:
    from bench.metrics.conditional import accuracy

    return accuracy(restored)


def _refuse_points(params: Any, data: DataCard) -> list[str]:
    return (
        []
        if data.kind == "real"
        else ["it compares values themselves, which says little of images: use fd"]
    )


def _refuse_modes(params: Any, data: DataCard) -> list[str]:
    undeclared = data.kind == "real" and data.mixture is None
    return ["the data set declares no mixture"] if undeclared else _refuse_points(params, data)


def _energy(samples: Any, reference: Any, params: PointParams) -> float:
    from bench.metrics.points import energy_distance

    return energy_distance(samples, reference)


def _mode_weights(samples: Any, mixture: Any, params: PixelParams) -> float:
    from bench.metrics.points import mode_weight_error

    return mode_weight_error(samples, mixture)


def _exact_frechet(samples: Any, mixture: Any, params: PixelParams) -> float:
    from bench.metrics.points import exact_frechet_distance

    return exact_frechet_distance(samples, mixture)


EIGEN_FLOPS = 30.0
"""Of the eigenvalues of a product of covariances, in cubes of the dimension."""


def _frechet_flops(params: Any, count: int, real: int, length: int) -> float:
    sizes = getattr(
        params, "sizes", 0
    )  # subsets, of a little more than half of the images on average
    return (2.0 + 1.1 * sizes) * count * length**2 + (1 + sizes) * EIGEN_FLOPS * length**3


def _kernel_flops(params: KernelParams, count: int, real: int, length: int) -> float:
    return 6.0 * params.subsets * min(params.subset_size, count) ** 2 * length


def _pairs_flops(params: Any, count: int, real: int, length: int) -> float:
    """Distances within and between both sets; precision and recall share them, and have a half
    each.
    """
    return float(length) * (count**2 + real**2 + 2 * count * real)


def _nearest_flops(params: Any, count: int, real: int, length: int) -> float:
    return 2.0 * length * count * real


METRICS: Mapping[str, MetricCard] = {
    "fd": MetricCard(
        version=2,
        summary="Frechet distance of Gaussians fitted to features of the samples and of real images",
        params=FrechetParams,
        higher_is_better=False,
        column=_frechet_column,
        measure=_frechet,
        reference=lambda params: params.reference,
        refuse=_refuse_frechet,
        least_count=_ten_a_dimension,
        needs=_needs_dimensions,
        uses=lambda params: ("moments",),
        host_flops=_frechet_flops,
        both=True,
        bounds=(0, math.inf),
    ),
    "is": MetricCard(
        version=2,
        summary="inception score: how sure a classifier is of each sample, and how evenly it names the classes",
        params=InceptionParams,
        higher_is_better=True,
        column=_inception_column,
        measure=_inception,
        reference=lambda params: None,
        refuse=_refuse_classes,
        least_count=_ten_a_class,
        needs=lambda params, data: (params.splits, ""),
        uses=lambda params: (
            ("classes", params.splits) if params.backend == "own" else "log_probs",
        ),
        bounds=(1, math.inf),
    ),
    "kd": MetricCard(
        version=1,
        summary="kernel distance (KID): unbiased squared MMD of features under a cubic kernel; may be below 0",
        params=KernelParams,
        higher_is_better=False,
        column=_kernel_column,
        measure=_kernel,
        reference=lambda params: params.reference,
        refuse=_refuse_features,
        least_count=lambda params, data: params.subset_size,
        needs=lambda params, data: (2, ""),
        uses=lambda params: ("features",),
        host_flops=_kernel_flops,
        floor=5,
    ),
    "precision": MetricCard(
        version=1,
        summary="share of the samples that lie in the balls of real images, to the k-th neighbour: how real they look",
        params=ManifoldParams,
        higher_is_better=True,
        column=_manifold_column("precision"),
        measure=_manifold(0),
        reference=lambda params: params.reference,
        refuse=_refuse_features,
        least_count=lambda params, data: 256,
        needs=lambda params, data: (params.neighbours + 1, ""),
        uses=lambda params: ("features",),
        host_flops=_pairs_flops,
        floor=5,
        bounds=(0, 1),
    ),
    "recall": MetricCard(
        version=1,
        summary="share of the real images that lie in the balls of the samples: how much of the data they cover",
        params=ManifoldParams,
        higher_is_better=True,
        column=_manifold_column("recall"),
        measure=_manifold(1),
        reference=lambda params: params.reference,
        refuse=_refuse_features,
        least_count=lambda params, data: 256,
        needs=lambda params, data: (params.neighbours + 1, ""),
        uses=lambda params: ("features",),
        host_flops=_pairs_flops,
        floor=5,
        bounds=(0, 1),
    ),
    "fd_infinity": MetricCard(
        version=2,
        summary="Frechet distance of infinitely many samples: a line in 1/n through those of subsets, taken to 0",
        params=InfinityParams,
        higher_is_better=False,
        column=lambda params: _column("fd_infinity", params),
        measure=_infinity,
        reference=lambda params: params.reference,
        refuse=_refuse_frechet,
        least_count=_ten_a_dimension,
        needs=_needs_line,
        uses=lambda params: ("features", "moments"),
        host_flops=_frechet_flops,
        floor=5,
    ),
    "nn_ratio": MetricCard(
        version=1,
        summary="distance to the nearest training image over that to a held-out one: 1 for new images, 0 for copies",
        params=NeighbourParams,
        higher_is_better=True,
        column=lambda params: _column("nn_ratio", params),
        measure=_nn_ratio,
        reference=lambda params: "train",
        refuse=_refuse_neighbours,
        least_count=lambda params, data: 256,
        uses=lambda params: ("features",),
        host_flops=_nearest_flops,
        also="test",
        floor=0,
        bounds=(0, math.inf),
    ),
    "near_copies": MetricCard(
        version=1,
        summary="share of the samples that are far nearer to one training image than to any other: memorised",
        params=CopyParams,
        higher_is_better=False,
        column=_copies_column,
        measure=_near_copies,
        reference=lambda params: "train",
        refuse=_refuse_neighbours,
        least_count=lambda params, data: 256,
        uses=lambda params: ("features",),
        host_flops=_nearest_flops,
        floor=5,
        bounds=(0, 1),
    ),
    "unknown_rmse": _restoration(
        "unknown_rmse", "error of what was not given, over all samples, in the range [0, 1]"
    ),
    "unknown_best": _restoration("unknown_best", "the same of the best sample of each image"),
    "diversity": _restoration(
        "diversity",
        "standard deviation between the samples of an image where it was not given",
        higher_is_better=True,
    ),
    "known_rmse": _restoration("known_rmse", "error of what was given"),
    "known_max": _restoration("known_max", "largest error of a pixel that was given"),
    "accuracy": MetricCard(
        version=2,
        summary="share of the samples in which a classifier of its own training finds the class that was given",
        params=AccuracyParams,
        higher_is_better=True,
        column=lambda params: _column("accuracy", params),
        measure=_accuracy,
        reference=lambda params: None,
        refuse=_refuse_accuracy,
        least_count=_ten_a_class,
        uses=lambda params: ("log_probs",),
        tasks=("class",),
        bounds=(0, 1),
    ),
    "energy_distance": MetricCard(
        version=1,
        summary="energy distance between the samples' values and real ones, for data of a few dimensions",
        params=PointParams,
        higher_is_better=False,
        column=lambda params: (
            "energy_distance" + ("(to test)" if params.reference == "test" else "")
        ),
        measure=_energy,
        reference=lambda params: params.reference,
        refuse=_refuse_points,
        least_count=lambda params, data: 1000,
        bounds=(0, math.inf),
    ),
    "mode_weight_error": MetricCard(
        version=1,
        summary="total variation between the weights of a declared mixture and the shares of samples in its components",
        params=PixelParams,
        higher_is_better=False,
        column=lambda params: "mode_weight_error",
        measure=_mode_weights,
        reference=lambda params: MIXTURE,
        refuse=_refuse_modes,
        least_count=lambda params, data: 1000,
        bounds=(0, 1),
    ),
    "exact_fd": MetricCard(
        version=1,
        summary="Frechet distance of the samples' values to the mean and covariance of a declared mixture",
        params=PixelParams,
        higher_is_better=False,
        column=lambda params: "exact_fd",
        measure=_exact_frechet,
        reference=lambda params: MIXTURE,
        refuse=_refuse_modes,
        least_count=lambda params, data: 1000,
        needs=lambda params, data: (2, ""),
        bounds=(0, math.inf),
    ),
}
