"""Scores a sample set: one pass through each extractor, however many metrics ask for it.

Images stream through the extractors; no more is kept of their features than the metrics need
(:mod:`.summary`), so that memory does not grow with the number of images unless a metric compares
image with image. Every value comes with its identity, the plain values on which it depends; rows
are comparable if identities are equal. References are computed once per store
(:mod:`bench.metrics.references`).
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import field, replace
from functools import lru_cache
from typing import Any

import numpy as np

from bench.data.conditioning import SPLIT, truth
from bench.data.images import Images
from bench.frozen import dataclass
from bench.metrics.card import MIXTURE, MetricCard, extractor_of, statistics_of
from bench.metrics.conditional import Restored
from bench.metrics.extractors import Extractor, load_extractor
from bench.metrics.libraries import version
from bench.metrics.points import Points
from bench.metrics.references import References, digest
from bench.metrics.registry import METRICS
from bench.metrics.summary import Summary, all_uses
from bench.schema import plain

BACKEND = "bench 1"
"""Who computed the number; the figure rises when extraction or scoring changes a value."""

CHUNK = 1000
"""Images that go through the extractors at once."""

UNNAMED = ("allow_few",)
"""Parameters that change whether there is a number, not which."""

IN_MEMORY = References()
"""Where references are if no store is named: in this process."""


@dataclass(frozen=True)
class Measured:
    """A metric's value and what it depends on, as plain values."""

    value: float
    identity: dict[str, Any]


def score(
    images: Iterable[np.ndarray],
    requests: Sequence[tuple[str, Any]],
    data: Images,
    *,
    device: str = "cpu",
    given: Mapping[str, Any] | None = None,
    count: int | None = None,
    references: References = IN_MEMORY,
) -> list[Measured]:
    """Returns the value of each request, in order.

    Args:
        images: Parts of the sample set as the data set stores images, shapes (n, C, H, W); read
            once.
        requests: Names of :data:`bench.metrics.registry.METRICS`, each with an instance of its
            ``params``.
        data: The data set that the samples imitate.
        device: Where the extractors run.
        given: What the samples were conditioned on (:mod:`bench.data.conditioning`), from the first
            of them on.
        count: How many images there will be; without it they are gathered first if a metric splits
            them.
        references: Where statistics of real images are kept.

    Raises:
        ValueError: A metric that cannot be measured on this data set, images of the wrong kind, too
            few of them, or a value that is not finite.
        FileNotFoundError: Weights of an extractor are missing.
    """
    check_requests(requests, data)
    asked = [(METRICS[name], params) for name, params in requests]
    names = dict.fromkeys(name for _, params in asked if (name := extractor_of(params)) is not None)
    extractors = {name: load_extractor(name, str(device), data) for name in names}
    uses = {
        name: all_uses((card, params) for card, params in asked if extractor_of(params) == name)
        for name in names
    }
    conditional = any(card.tasks for card, _ in asked)
    compares_values = any(not card.tasks and extractor_of(params) is None for card, params in asked)
    splits = any(isinstance(use, tuple) and use[1] > 1 for kept in uses.values() for use in kept)
    whole: list[np.ndarray] = []
    if conditional or compares_values or (splits and count is None):
        images = whole = list(images)
        count = sum(map(len, whole))
    samples: dict[str | None, Any] = _extract(images, extractors, uses, count) if extractors else {}
    if compares_values:
        if not count:
            raise ValueError("there are no images to score")
        samples[None] = Points(np.concatenate(whole))
    restored = _restored(np.concatenate(whole), data, given) if conditional else None
    measured = []
    for card, params in asked:
        asks = extractor_of(params)
        extractor = None if asks is None else extractors[asks]
        summary: Any = samples.get(asks)
        reference = reference_of(card, params, data, extractor, references)
        if restored is not None and card.tasks:
            log_probs = None if extractor is None else summary.log_probs
            summary = replace(restored, log_probs=log_probs)
        number = len(summary.samples) if card.tasks else summary.count
        needs, why = card.needs(params, data.card)
        if number < needs:
            text = f"{card.column(params)} needs {needs} images, got {number}"
            raise ValueError(text + (f": {why}" if why else ""))
        value = measure(card, summary, reference, params)
        if not np.isfinite(value):
            raise ValueError(f"{card.column(params)} of {number} images is {value}")
        identity = _identity(card, params, extractor, number, data, references)
        if card.tasks:
            rule, sha256 = data.card.split_rule, digest(data, SPLIT)
            facts = {"split": SPLIT, "split_rule": rule, "sha256": sha256}
            identity["given"] = {**(given or {}), **facts}
        measured.append(Measured(value, identity))
    return measured


def check_requests(requests: Sequence[tuple[str, Any]], data: Images) -> None:
    """Raises a ValueError that says why metrics cannot be measured on a data set."""
    reasons = [
        f"{METRICS[name].column(params)} on {data.name}: {reason}"
        for name, params in requests
        for reason in METRICS[name].refuse(params, data.card)
    ]
    if reasons:
        raise ValueError("; ".join(reasons))


def measure(card: MetricCard, samples: Any, reference: Any, params: Any) -> float:
    """Returns a metric's value; errors of arithmetic name its column."""
    try:
        value = card.measure(samples, reference, params)
    except (ValueError, ArithmeticError, np.linalg.LinAlgError) as error:
        raise ValueError(f"{card.column(params)}: {error}") from error
    if np.size(value) != 1:
        shape = np.shape(value)
        raise ValueError(f"{card.column(params)}: should be one number, got shape {shape}")
    return float(np.asarray(value).item())  # of numpy or torch, in any precision


def _restored(samples: np.ndarray, data: Images, given: Mapping[str, Any] | None) -> Restored:
    if given is None:
        raise ValueError("conditional metrics need samples that were given something")
    images = samples.astype(np.float64) / (data.levels - 1)
    return Restored(images, truth(given, data, 0, len(samples)), data.levels)


def _extract(
    images: Iterable[np.ndarray],
    extractors: Mapping[str, Extractor],
    uses: Mapping[str, Collection[Any]],
    count: int | None,
) -> dict[str | None, Summary]:
    summaries: dict[str | None, Summary] = {name: Summary(uses[name], count) for name in extractors}
    for shard in images:
        for start in range(0, max(len(shard), 1), CHUNK):
            for name, extractor in extractors.items():
                summaries[name].add(extractor(shard[start : start + CHUNK]))
    total = next(iter(summaries.values())).count
    if not total:
        raise ValueError("there are no images to score")
    if count is not None and total != count:
        raise ValueError(f"{count} images were announced, {total} have come")
    return summaries


@dataclass(frozen=True)
class Content:
    """Images that are equal if their digests are, so that equal images share one cache entry."""

    sha256: str
    images: np.ndarray = field(compare=False, repr=False)

    @classmethod
    def of(cls, data: Images, split: str) -> "Content":
        """Returns the images of a split."""
        return cls(digest(data, split), data.train if split == "train" else data.test)


@lru_cache(maxsize=8)
def points_of(content: Content) -> Points:
    """Returns the values of real images."""
    return Points(content.images)


def reference_of(
    card: MetricCard, params: Any, data: Images, extractor: Extractor | None, references: References
) -> Any:
    """Returns what a metric compares samples with; None if it compares them with nothing.

    Raises:
        ValueError: Imported statistics that are missing, or of another extractor.
    """
    split = card.reference(params)
    if split is None:
        return None
    if split == MIXTURE:
        return None if data.card.mixture is None else data.card.mixture()
    if extractor is None:
        return points_of(Content.of(data, split))
    uses = [use for use in card.uses(params) if use in ("moments", "features")]
    uses = ["moments"] if "moments" in uses else uses  # features are then of the samples only
    if statistics := statistics_of(params):
        return references.imported(statistics, uses, extractor.dimension)
    summary = references.get(data, split, extractor, uses)
    if card.also is not None:
        summary.other = references.get(data, card.also, extractor, uses)
    return summary


def _identity(
    card: MetricCard,
    params: Any,
    extractor: Extractor | None,
    count: int,
    data: Images,
    references: References,
) -> dict[str, Any]:
    backend = card.backend(params)
    return {
        "metric": card.name,
        "version": card.version,
        "column": card.column(params),
        "params": {key: value for key, value in plain(params).items() if key not in UNNAMED},
        **(extractor.identity if extractor is not None else {}),
        "count": count,
        "least_count": card.least_count(params, data.card),
        "reference": _reference_identity(card, params, data, references),
        "backend": BACKEND if backend == "own" else version(backend),
    }


def _reference_identity(
    card: MetricCard, params: Any, data: Images, references: References
) -> dict[str, Any] | None:
    split, dataset = card.reference(params), f"{data.name}@{data.card.version}"
    if split is None:
        return None
    if split == MIXTURE:
        return {"dataset": dataset, "mixture": "as declared"}
    if statistics := statistics_of(params):
        facts = references.facts(statistics)
        return {
            "statistics": facts.get("file"),
            "images": facts.get("images"),
            "sha256": statistics,
        }
    identity = {
        "dataset": dataset,
        "split": split,
        "split_rule": data.card.split_rule,
        "images": data.card.splits[split],
        "sha256": digest(data, split),
    }
    if card.also is not None:
        identity |= {f"{card.also}_images": data.card.splits[card.also]}
        identity |= {f"{card.also}_sha256": digest(data, card.also)}
    return identity
