"""The metrics, and what suites may write for them.

The bare names FID, IS, KID, precision and recall belong to the features of the reference Inception
only, clean-FID and clean-KID to the same weights behind clean-fid's resizing. A suite may write
``fid``, ``kid``, ``prc``, ``clean_fid`` and ``clean_kid`` (:data:`SHORTHANDS`) for the metrics with
these extractors. Without an ``extractor``, a metric takes digits-cnn if that reads the data set,
else ``inception``.

Plugging in: a metric is a function of two sets of features (:mod:`bench.metrics.measures`) and a
card in :data:`METRICS`.

Standard library only: a suite is checked without numpy.
"""

import math
from collections.abc import Mapping
from typing import Any

from bench.data.card import DataCard
from bench.data.conditioning import RESTORATIONS
from bench.metrics import measures
from bench.metrics.card import MIXTURE, MetricCard
from bench.metrics.extractor_cards import extractor_card, refuse_extractor
from bench.metrics.infinity import SUBSET_PER_DIMENSION, least_for_infinity
from bench.metrics.parameters import (
    BallParams,
    CopyParams,
    ExtractorParams,
    FrechetParams,
    InceptionParams,
    InfinityParams,
    KernelParams,
    ManifoldParams,
    NeighbourParams,
    NoParams,
    SplitParams,
)

REFERENCE_SPLITS = 10

SHORTHANDS: Mapping[str, tuple[tuple[str, Mapping[str, Any]], ...]] = {
    "fid": (("fd", {"extractor": "inception"}),),
    "kid": (("kd", {"extractor": "inception"}),),
    "prc": (("precision", {"extractor": "inception"}), ("recall", {"extractor": "inception"})),
    "clean_fid": (("fd", {"extractor": "clean-inception"}),),
    "clean_kid": (("kd", {"extractor": "clean-inception"}),),
}
"""Names that a suite may write for metrics with their parameters."""


def choose(card: MetricCard, options: Mapping[str, Any], data: DataCard) -> dict[str, Any]:
    """Returns the options of a metric in a suite, with those filled in that follow from others.

    The extractor follows from the data set, and some defaults from the extractor.
    """
    options = dict(options)
    if "extractor" not in options and issubclass(card.params, ExtractorParams):
        default = card.params().extractor
        reads_levels = default == "digits-cnn" and data.kind != "real"
        if reads_levels and refuse_extractor(default, data):
            fashion = not refuse_extractor("fashion14-cnn", data)
            options["extractor"] = "fashion14-cnn" if fashion else "inception"
    defaults = card.extractor_defaults.get(str(options.get("extractor")), {})
    return options | {name: value for name, value in defaults.items() if name not in options}


def _by(params: Any, usual: str = "own") -> list[str]:
    return [] if params.backend == usual else [f"by {params.backend}"]


def _inception_notes(params: InceptionParams) -> list[str]:
    usual = REFERENCE_SPLITS if params.extractor == "inception" else 1
    splits = f"{params.splits} split{'s' if params.splits > 1 else ''}"
    return [*([] if params.splits == usual else [splits]), *_by(params)]


def _kernel_notes(params: KernelParams) -> list[str]:
    clean = params.extractor == "clean-inception"
    subsets = (params.subsets, params.subset_size)
    notes = [] if subsets == (100, 1000) else [f"{params.subsets}x{params.subset_size}"]
    return [*_by(params, "clean-fid" if clean else "torch-fidelity"), *notes]


def _ball_notes(params: ManifoldParams | BallParams) -> list[str]:
    usual = type(params)().neighbours
    return [] if params.neighbours == usual else [f"k={params.neighbours}"]


def _copies_notes(params: CopyParams) -> list[str]:
    return [] if params.fraction == 1 / 3 else [f"below {params.fraction:g}"]


def _refuse_singular(params: FrechetParams | InfinityParams, data: DataCard) -> list[str]:
    """A covariance of fewer images than dimensions is singular, on the reference's side too."""
    may_allow = isinstance(params, FrechetParams)
    if isinstance(params, FrechetParams) and params.allow_few:
        return []
    if params.statistics or params.reference not in data.splits:
        return []
    if refuse_extractor(params.extractor, data):
        return []
    has, dimension = data.splits[params.reference], extractor_card(params.extractor).features(data)
    if has >= dimension:
        return []
    remedy = ", or allow_few: true" if may_allow else ""
    return [
        f"split {params.reference} has {has} images, fewer than the {dimension} dimensions of "
        f"{params.extractor}: choose another reference or extractor{remedy}"
    ]


def _refuse_other_classes(params: ExtractorParams, data: DataCard) -> list[str]:
    extractor, classes = params.extractor, extractor_card(params.extractor).classes
    if data.classes == classes:
        return []
    return [f"extractor {extractor} knows {classes} classes, the data set has {data.classes}"]


def _ten_per_dimension(params: ExtractorParams, data: DataCard) -> int:
    return 10 * extractor_card(params.extractor).features(data)


def _ten_per_class(params: ExtractorParams, data: DataCard) -> int:
    """Ten images per class and split; at most the 50,000 on which papers report the score."""
    splits = params.splits if isinstance(params, InceptionParams) else 1
    return min(10 * extractor_card(params.extractor).classes * splits, 50_000)


def _needs_dimensions(params: FrechetParams, data: DataCard) -> tuple[int, str]:
    dimension = extractor_card(params.extractor).features(data)
    if params.allow_few or dimension <= 2:
        return 2, ""
    return dimension, (
        f"its covariance has {dimension} dimensions, and fewer images leave it singular; ask for "
        "more, take an extractor of fewer dimensions (digits-cnn, pca@K), use kd, or say "
        "allow_few: true"
    )


def _needs_line(params: InfinityParams, data: DataCard) -> tuple[int, str]:
    dimension = extractor_card(params.extractor).features(data)
    return least_for_infinity(dimension), (
        f"its line is laid through subsets of {SUBSET_PER_DIMENSION} and more images for each of "
        f"the {dimension} dimensions; ask for more, or take an extractor of fewer dimensions "
        "(digits-cnn, pca@K)"
    )


def _manifold(name: str, measure: Any, summary: str) -> MetricCard:
    return MetricCard(
        name=name,
        version=1,
        summary=summary,
        measure=measure,
        higher_is_better=True,
        params=ManifoldParams,
        notes=_ball_notes,
        bare_names={"inception": name},
        needs=lambda params, data: (params.neighbours + 1, ""),
        floor=5,
        bounds=(0, 1),
        backend=lambda params: "torch-fidelity",
        host_flops=measures.pair_flops,
    )


def _balls(name: str, measure: Any, summary: str, most: float) -> MetricCard:
    return MetricCard(
        name=name,
        version=1,
        summary=summary,
        measure=measure,
        higher_is_better=True,
        params=BallParams,
        notes=_ball_notes,
        floor=5,
        bounds=(0, most),
        host_flops=measures.pair_flops,
    )


def _restoration(name: str, summary: str, *, higher_is_better: bool = False) -> MetricCard:
    return MetricCard(
        name=name,
        version=1,
        summary=summary,
        measure=measures.of_samples(name),
        higher_is_better=higher_is_better,
        params=NoParams,
        least_count=lambda params, data: 32,
        bounds=(0, 1),
        tasks=RESTORATIONS,
    )


_CARDS = (
    MetricCard(
        name="fd",
        version=2,
        summary="Frechet distance of Gaussians fitted to features of samples and of real images",
        measure=measures.frechet,
        higher_is_better=False,
        params=FrechetParams,
        notes=_by,
        bare_names={"inception": "FID", "clean-inception": "clean-FID"},
        refusals=_refuse_singular,
        least_count=_ten_per_dimension,
        needs=_needs_dimensions,
        uses=lambda params: ("moments",),
        both=True,
        bounds=(0, math.inf),
        backend=lambda params: params.backend,
        host_flops=measures.frechet_flops,
    ),
    MetricCard(
        name="is",
        version=2,
        summary="inception score: how sure a classifier is of each sample, and how evenly it names "
        "the classes",
        measure=measures.inception_score,
        higher_is_better=True,
        params=InceptionParams,
        notes=_inception_notes,
        bare_names={"inception": "IS"},
        extractor_defaults={"inception": {"splits": REFERENCE_SPLITS}},
        least_count=_ten_per_class,
        needs=lambda params, data: (params.splits, ""),
        uses=lambda params: (
            ("classes", params.splits) if params.backend == "own" else "log_probs",
        ),
        bounds=(1, math.inf),
        backend=lambda params: params.backend,
    ),
    MetricCard(
        name="kd",
        version=1,
        summary="kernel distance (KID): unbiased squared MMD of features under a cubic kernel; may "
        "be below 0",
        measure=measures.kernel,
        higher_is_better=False,
        params=KernelParams,
        notes=_kernel_notes,
        bare_names={"inception": "KID", "clean-inception": "clean-KID"},
        extractor_defaults={"clean-inception": {"backend": "clean-fid"}},
        least_count=lambda params, data: params.subset_size,
        needs=lambda params, data: (2, ""),
        floor=5,
        backend=lambda params: params.backend,
        host_flops=measures.kernel_flops,
    ),
    _manifold(
        "precision",
        measures.precision,
        "share of the samples that lie in the balls of real images, to the k-th neighbour: how "
        "real they look",
    ),
    _manifold(
        "recall",
        measures.recall,
        "share of the real images that lie in the balls of the samples: how much of the data they "
        "cover",
    ),
    _balls(
        "density",
        measures.density,
        "how many balls of real images a sample lies in, to the k-th neighbour, over k: how real "
        "samples look",
        math.inf,
    ),
    _balls(
        "coverage",
        measures.coverage,
        "share of the real images in whose balls, to the k-th neighbour, a sample lies: how much "
        "of the data samples cover",
        1,
    ),
    MetricCard(
        name="vendi",
        version=1,
        summary="Vendi score: how many distinct samples would be as diverse, by feature cosines",
        measure=measures.vendi,
        higher_is_better=True,
        params=ExtractorParams,
        floor=5,
        bounds=(1, math.inf),
        host_flops=measures.vendi_flops,
    ),
    MetricCard(
        name="fd_infinity",
        version=2,
        summary="Frechet distance of infinitely many samples: a line in 1/n through those of "
        "subsets, taken to 0",
        measure=measures.frechet_of_infinitely_many,
        higher_is_better=False,
        params=InfinityParams,
        notes=lambda params: [],
        bare_names={"inception": "FID-infinity"},
        refusals=_refuse_singular,
        least_count=_ten_per_dimension,
        needs=_needs_line,
        uses=lambda params: ("features", "moments"),
        floor=5,
        host_flops=measures.frechet_flops,
    ),
    MetricCard(
        name="nn_ratio",
        version=1,
        summary="distance to the nearest training image over that to a held-out one: 1 for new "
        "images, 0 for copies",
        measure=measures.nn_ratio,
        higher_is_better=True,
        params=NeighbourParams,
        fixed_reference="train",
        also="test",
        floor=0,
        bounds=(0, math.inf),
        host_flops=measures.nearest_flops,
    ),
    MetricCard(
        name="near_copies",
        version=1,
        summary="share of the samples that are far nearer to one training image than to any other: "
        "memorised",
        measure=measures.near_copies,
        higher_is_better=False,
        params=CopyParams,
        notes=_copies_notes,
        fixed_reference="train",
        floor=5,
        bounds=(0, 1),
        host_flops=measures.nearest_flops,
    ),
    _restoration(
        "unknown_rmse", "error of the unknown part, over all samples, in the range [0, 1]"
    ),
    _restoration("unknown_best", "the same of the best sample of each image"),
    _restoration(
        "diversity",
        "standard deviation between the samples of an image in its unknown part",
        higher_is_better=True,
    ),
    _restoration("known_rmse", "error of the known part"),
    _restoration("known_max", "largest error of a known pixel"),
    MetricCard(
        name="accuracy",
        version=2,
        summary="share of the samples in which a classifier of its own training finds the class "
        "that was given",
        measure=measures.of_samples("accuracy"),
        higher_is_better=True,
        params=ExtractorParams,
        refusals=_refuse_other_classes,
        least_count=_ten_per_class,
        uses=lambda params: ("log_probs",),
        tasks=("class",),
        bounds=(0, 1),
    ),
    MetricCard(
        name="energy_distance",
        version=1,
        summary="energy distance between the samples' values and real ones, for data of a few "
        "dimensions",
        measure=measures.of_points("energy_distance"),
        higher_is_better=False,
        params=SplitParams,
        least_count=lambda params, data: 1000,
        bounds=(0, math.inf),
    ),
    MetricCard(
        name="mode_weight_error",
        version=1,
        summary="total variation between the weights of a declared mixture and the shares of "
        "samples in its components",
        measure=measures.of_points("mode_weight_error"),
        higher_is_better=False,
        params=NoParams,
        fixed_reference=MIXTURE,
        least_count=lambda params, data: 1000,
        bounds=(0, 1),
    ),
    MetricCard(
        name="exact_fd",
        version=1,
        summary="Frechet distance of the samples' values to the mean and covariance of a declared "
        "mixture",
        measure=measures.of_points("exact_frechet_distance"),
        higher_is_better=False,
        params=NoParams,
        fixed_reference=MIXTURE,
        least_count=lambda params, data: 1000,
        needs=lambda params, data: (2, ""),
        bounds=(0, math.inf),
    ),
)
METRICS: Mapping[str, MetricCard] = {card.name: card for card in _CARDS}
