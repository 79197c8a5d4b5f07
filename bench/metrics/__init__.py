"""Numbers from a sample set and a reference alone: what each metric declares.

A metric's value means nothing without its identity: extractor, weights, input size, pixel levels, count and
reference (:mod:`bench.metrics.scoring` writes it beside the value). So the columns of a table are named after
both, ``fd(digits-cnn@8)``, and never by a bare FID or IS, which would claim the Inception network's features.

Plugging in: a metric is a function of two sets of features and an entry in :data:`METRICS`; an extractor is an
entry in :data:`EXTRACTORS` and a network in :mod:`bench.metrics.extractors`.

Standard library only: a suite is checked without numpy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from bench.data import DataCard
from bench.given import RESTORATIONS

if TYPE_CHECKING:
    from bench.metrics.extractors import Features


@dataclass(frozen=True, kw_only=True)
class ExtractorCard:
    """What is known of a feature extractor before it is loaded.

    Args:
        shape: (C, H, W) of the images that it accepts, as they are: nothing is resized.
        levels: Values that a pixel takes in these images.
        dimension: Length of an image's feature vector.
        classes: Length of an image's class probabilities.
        weights: File name in ``bench/metrics/weights``.
        sha256: Digest of that file. Other weights give other numbers: raise the version of every metric with them.
    """

    shape: tuple[int, int, int]
    levels: int
    dimension: int
    classes: int
    weights: str
    sha256: str


EXTRACTORS: Mapping[str, ExtractorCard] = {
    "digits-cnn": ExtractorCard(
        shape=(1, 8, 8),
        levels=17,
        dimension=24,
        classes=10,
        weights="digits-cnn.safetensors",
        sha256="05f30e655749cad34c6391bab7f9f47715d32624eac5e7079d8d7dd6d33808b8",
    ),
}


@dataclass(frozen=True, kw_only=True)
class FrechetParams:
    """Whose features, and which split of the data set they are compared with."""

    extractor: Literal["digits-cnn"] = "digits-cnn"
    reference: Literal["train", "test"] = "train"


@dataclass(frozen=True, kw_only=True)
class InceptionParams:
    """Whose class probabilities, and into how many contiguous parts they are split before averaging.

    One split by default: the score of n images is biased low by about (classes - 1) / 2n in its logarithm, so
    ten splits, the custom with 50,000 images, would cost a few hundred images dearly; the spread comes from
    seeds instead.
    """

    extractor: Literal["digits-cnn"] = "digits-cnn"
    splits: int = 1

    def __post_init__(self) -> None:
        if self.splits < 1:
            raise ValueError(f"splits should be at least 1, got {self.splits}")


@dataclass(frozen=True, kw_only=True)
class NeighbourParams(FrechetParams):
    """Whose features, which split they are compared with, and which nearest neighbour a ball reaches to."""

    neighbours: int = 3

    def __post_init__(self) -> None:
        if self.neighbours < 1:
            raise ValueError(f"neighbours should be at least 1, got {self.neighbours}")


@dataclass(frozen=True, kw_only=True)
class PixelParams:
    """Nothing to choose: pixels are compared."""


@dataclass(frozen=True, kw_only=True)
class PointParams:
    """Which split of the data set points are compared with."""

    reference: Literal["train", "test"] = "train"


MIXTURE = "mixture"
"""The reference that is no split: the mixture that a data set declares."""


@dataclass(frozen=True, kw_only=True)
class AccuracyParams:
    """Whose class probabilities."""

    extractor: Literal["digits-cnn"] = "digits-cnn"


@dataclass(frozen=True, kw_only=True)
class MetricCard:
    """What the harness must know of a metric before torch is imported.

    Args:
        version: Raised by hand when equal images would give another number.
        params: Frozen dataclass of its parameters, all with defaults; ``extractor`` is one of them where features
            or classes are compared.
        column: The name of its column, which tells unlike numbers apart.
        measure: Returns the value from the features of the samples, those of the reference (None where the
            metric has none) and the parameters; with ``tasks``, from a :class:`bench.metrics.conditional.Restored`
            in place of the samples' features; without an extractor, from :class:`bench.metrics.points.Points`.
        reference: The split of the data set that the samples are compared with, or its :data:`MIXTURE`; None where
            there is none.
        refuse: Reasons why it cannot be measured on a data set (none: an empty list).
        least_count: Images below which the value is a smoke test and not evidence.
        needs: Images below which there is no value.
        tasks: What the samples should be given for the metric to be measured (:mod:`bench.given`); empty: any sample
            set.
    """

    version: int
    summary: str
    params: type
    higher_is_better: bool
    column: Callable[[Any], str]
    measure: Callable[[Any, Features | None, Any], float]
    reference: Callable[[Any], str | None]
    refuse: Callable[[Any, DataCard], list[str]]
    least_count: Callable[[Any], int]
    needs: Callable[[Any], int] = lambda params: 1
    tasks: tuple[str, ...] = ()


def extractor_label(name: str) -> str:
    """Returns an extractor's name with its input size, as columns show it: ``digits-cnn@8``."""
    return f"{name}@{EXTRACTORS[name].shape[-1]}"


def _column(name: str, params: Any, *notes: str) -> str:
    return f"{name}({', '.join([extractor_label(params.extractor), *notes])})"


def _frechet_column(params: FrechetParams) -> str:
    return _column("fd", params, *(["to test"] if params.reference == "test" else []))


def _inception_column(params: InceptionParams) -> str:
    return _column("is", params, *([f"{params.splits} splits"] if params.splits > 1 else []))


def _refuse_extractor(params: Any, data: DataCard) -> list[str]:
    """An extractor only reads images of the shape and levels that it was trained on."""
    card = EXTRACTORS[params.extractor]
    if data.kind == "real":
        return [f"extractor {params.extractor} reads images of {card.levels} pixel levels, not real values"]
    reasons = []
    if data.shape != card.shape:
        wanted, got = ("x".join(map(str, shape)) for shape in (card.shape, data.shape))
        reasons.append(f"extractor {params.extractor} reads {wanted} images, not {got}")
    if data.levels != card.levels:
        reasons.append(f"extractor {params.extractor} reads {card.levels} pixel levels, not {data.levels}")
    return reasons


def _refuse_frechet(params: FrechetParams, data: DataCard) -> list[str]:
    reasons = _refuse_extractor(params, data)
    if params.reference not in data.splits:
        reasons.append(f"the data set has no split {params.reference} (it has {', '.join(data.splits)})")
    return reasons


def _frechet(samples: Features, reference: Features | None, params: FrechetParams) -> float:
    from bench.metrics.frechet import frechet_from_features

    return frechet_from_features(samples.features, reference.features)


def _inception(samples: Features, reference: Features | None, params: InceptionParams) -> float:
    import numpy as np

    from bench.metrics.inception import inception_score

    return inception_score(np.exp(samples.log_probs), params.splits)[0]


def _neighbour_card(name: str, summary: str, measure: Callable[[Any, Any, NeighbourParams], float]) -> MetricCard:
    """Returns the card of a share of features that lie in balls (:mod:`bench.metrics.neighbours`)."""

    def column(params: NeighbourParams) -> str:
        notes = ["to test"] if params.reference == "test" else []
        return _column(name, params, *notes, *([f"k={params.neighbours}"] if params.neighbours != 3 else []))

    return MetricCard(
        version=1,
        summary=summary,
        params=NeighbourParams,
        higher_is_better=True,
        column=column,
        measure=measure,
        reference=lambda params: params.reference,
        refuse=_refuse_frechet,
        least_count=lambda params: 10 * EXTRACTORS[params.extractor].dimension,
        needs=lambda params: params.neighbours + 1,
    )


def _precision(samples: Features, reference: Features, params: NeighbourParams) -> float:
    from bench.metrics.neighbours import coverage

    return coverage(samples.features, reference.features, params.neighbours)


def _recall(samples: Features, reference: Features, params: NeighbourParams) -> float:
    from bench.metrics.neighbours import coverage

    return coverage(reference.features, samples.features, params.neighbours)


def _refuse_accuracy(params: AccuracyParams, data: DataCard) -> list[str]:
    reasons, classes = _refuse_extractor(params, data), EXTRACTORS[params.extractor].classes
    if data.classes != classes:
        reasons.append(f"extractor {params.extractor} knows {classes} classes, the data set has {data.classes}")
    return reasons


def _restoration(name: str, summary: str, *, higher_is_better: bool = False) -> MetricCard:
    """Returns the card of a function of :mod:`bench.metrics.conditional` on images that are known in part."""

    def measure(restored: Any, reference: Features | None, params: Any) -> float:
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
        refuse=lambda params, data: ["only images are restored, not real values"] if data.kind == "real" else [],
        least_count=lambda params: 32,
        tasks=RESTORATIONS,
    )


def _accuracy(restored: Any, reference: Features | None, params: AccuracyParams) -> float:
    from bench.metrics.conditional import accuracy

    return accuracy(restored)


def _refuse_points(params: Any, data: DataCard) -> list[str]:
    return [] if data.kind == "real" else ["it compares values themselves, which says little of images: use fd"]


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


METRICS: Mapping[str, MetricCard] = {
    "fd": MetricCard(
        version=1,
        summary="Frechet distance of Gaussians fitted to features of the samples and of real images",
        params=FrechetParams,
        higher_is_better=False,
        column=_frechet_column,
        measure=_frechet,
        reference=lambda params: params.reference,
        refuse=_refuse_frechet,
        least_count=lambda params: 10 * EXTRACTORS[params.extractor].dimension,
        needs=lambda params: 2,
    ),
    "is": MetricCard(
        version=1,
        summary="inception score: how sure a classifier is of each sample, and how evenly it names the classes",
        params=InceptionParams,
        higher_is_better=True,
        column=_inception_column,
        measure=_inception,
        reference=lambda params: None,
        refuse=_refuse_extractor,
        least_count=lambda params: 10 * EXTRACTORS[params.extractor].classes * params.splits,
        needs=lambda params: params.splits,
    ),
    "precision": _neighbour_card("precision", "share of the samples that lie among real images", _precision),
    "recall": _neighbour_card("recall", "share of real images that lie among the samples: their diversity", _recall),
    "unknown_rmse": _restoration("unknown_rmse", "error of what was not given, over all samples, in the range [0, 1]"),
    "unknown_best": _restoration("unknown_best", "the same of the best sample of each image"),
    "diversity": _restoration(
        "diversity", "standard deviation between the samples of an image where it was not given", higher_is_better=True
    ),
    "known_rmse": _restoration("known_rmse", "error of what was given"),
    "known_max": _restoration("known_max", "largest error of a pixel that was given"),
    "accuracy": MetricCard(
        version=1,
        summary="share of the samples in which a classifier of its own training finds the class that was given",
        params=AccuracyParams,
        higher_is_better=True,
        column=lambda params: _column("accuracy", params),
        measure=_accuracy,
        reference=lambda params: None,
        refuse=_refuse_accuracy,
        least_count=lambda params: 10 * EXTRACTORS[params.extractor].classes,
        tasks=("class",),
    ),
    "energy_distance": MetricCard(
        version=1,
        summary="energy distance between the samples' values and real ones, for data of a few dimensions",
        params=PointParams,
        higher_is_better=False,
        column=lambda params: "energy_distance" + ("(to test)" if params.reference == "test" else ""),
        measure=_energy,
        reference=lambda params: params.reference,
        refuse=_refuse_points,
        least_count=lambda params: 1000,
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
        least_count=lambda params: 1000,
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
        least_count=lambda params: 1000,
        needs=lambda params: 2,
    ),
}
