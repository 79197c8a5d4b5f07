"""Scores a sample set: one pass through each extractor, however many metrics ask for it.

Every value comes with its identity, the plain values on which it depends; rows are comparable where identities are
equal. Features of the reference are computed once a process.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy as np

from bench.card import plain
from bench.data import Images
from bench.given import SPLIT, truth
from bench.metrics import METRICS, MIXTURE, extractor_label
from bench.metrics.conditional import Restored
from bench.metrics.extractors import Extractor, Features, load_extractor
from bench.metrics.points import Points

BACKEND = "bench 1"
"""Who computed the number; the figure rises when extraction or scoring changes a value."""


@dataclass(frozen=True)
class Measured:
    """A metric's value and what it depends on, as plain values."""

    value: float
    identity: dict[str, Any]


@dataclass(frozen=True)
class Floor:
    """What a metric says of real images that it has not seen: mean and standard deviation over ``draws`` sets.

    The sets are drawn without replacement from one finite split, so they overlap; the deviation is that between them
    divided by sqrt(1 - count / images of the split), to first order that of sets that share no image. It is NaN where
    a set is the whole split.
    """

    mean: float
    std: float
    draws: int
    split: str


def score(
    images: Iterable[np.ndarray],
    requests: Sequence[tuple[str, Any]],
    data: Images,
    *,
    device: str = "cpu",
    given: Mapping[str, Any] | None = None,
) -> list[Measured]:
    """Returns the value of each request, in order.

    Args:
        images: Parts of the sample set as the data set stores images, shapes (n, C, H, W); read once.
        requests: Names of :data:`bench.metrics.METRICS`, each with an instance of its ``params``.
        data: The data set that the samples imitate.
        device: Where the extractors run.
        given: What the samples were given (:mod:`bench.given`), from the first of them on.

    Raises:
        ValueError: A metric that cannot be measured on this data set, images of the wrong kind, too few of them,
            or a value that is not finite.
    """
    _refuse(requests, data)
    extractors = {
        name: load_extractor(name, str(device)) for name in {_extractor(params) for _, params in requests} - {None}
    }
    conditional = any(METRICS[name].tasks for name, _ in requests)
    plain_values = any(not METRICS[name].tasks and _extractor(params) is None for name, params in requests)
    parts = list(images) if conditional or plain_values else images
    samples: dict[str | None, Any] = _extract(parts, extractors) if extractors else {}
    if plain_values:
        samples[None] = _points(parts)
    restored = _restored(np.concatenate(parts), data, given) if conditional else None
    measured = []
    for name, params in requests:
        card, extractor = METRICS[name], extractors.get(_extractor(params))
        features = samples.get(_extractor(params))
        split = card.reference(params)
        reference = None if split is None else _reference(data, split, extractor)
        if card.tasks:
            features = replace(restored, log_probs=None if extractor is None else features.log_probs)
        count = len(features.samples if card.tasks else features.features)
        value = card.measure(features, reference, params)
        if not np.isfinite(value):
            raise ValueError(f"{card.column(params)} of {count} images is {value}")
        identity = _identity(name, params, extractor, count, data, split)
        if card.tasks:
            identity["given"] = {
                **given,
                "split": SPLIT,
                "split_rule": data.card.split_rule,
                "sha256": data.digest(SPLIT),
            }
        measured.append(Measured(value, identity))
    return measured


def _extractor(params: Any) -> str | None:
    """Returns the extractor that a metric's parameters name, None where it has none."""
    return getattr(params, "extractor", None)


def _restored(samples: np.ndarray, data: Images, given: Mapping[str, Any] | None) -> Restored:
    if given is None:
        raise ValueError("metrics of what was given ask for samples that were given something")
    images = samples.astype(np.float64) / (data.levels - 1)
    return Restored(images, truth(given, data, 0, len(samples)), data.levels)


def real_floor(
    name: str, params: Any, data: Images, count: int, *, split: str | None = None, draws: int = 20, seed: int = 0
) -> Floor:
    """Returns what ``count`` real images score: differences below 2 of its deviations are not worth discussing.

    Args:
        name: A metric of :data:`bench.metrics.METRICS`.
        params: An instance of its ``params``.
        data: The data set.
        count: Images in each drawn set.
        split: Where they are drawn from; by default the split that is not the metric's reference.
        draws: How many sets.
        seed: Of the choice of sets.

    Raises:
        ValueError: A split of fewer than ``count`` images.
    """
    _refuse([(name, params)], data)
    card = METRICS[name]
    extractor = None if _extractor(params) is None else load_extractor(params.extractor, "cpu")
    reference_split = card.reference(params)
    split = split or ("train" if reference_split == "test" else "test")
    real = _reference(data, split, extractor)
    if count > len(real.features):
        raise ValueError(f"split {split} has {len(real.features)} images, fewer than the {count} asked for")
    reference = None if reference_split is None else _reference(data, reference_split, extractor)
    generator = np.random.default_rng([seed, count])
    values = []
    for _ in range(draws):
        index = generator.permutation(len(real.features))[:count]
        values.append(card.measure(_some(real, index), reference, params))
    fresh = 1 - count / len(real.features)
    std = float(np.std(values, ddof=1) / np.sqrt(fresh)) if fresh else math.nan
    return Floor(float(np.mean(values)), std, draws, split)


def _some(known: Features | Points, index: np.ndarray) -> Features | Points:
    """Returns what is known of some images."""
    if isinstance(known, Points):
        return Points(known.features[index])
    return Features(known.features[index], known.log_probs[index])


def _refuse(requests: Sequence[tuple[str, Any]], data: Images) -> None:
    reasons = [
        f"{METRICS[name].column(params)} on {data.name}: {reason}"
        for name, params in requests
        for reason in METRICS[name].refuse(params, data.card)
    ]
    if reasons:
        raise ValueError("; ".join(reasons))


def _extract(images: Iterable[np.ndarray], extractors: dict[str, Extractor]) -> dict[str, Features]:
    parts: dict[str, list[Features]] = {name: [] for name in extractors}
    for shard in images:
        for name, extractor in extractors.items():
            parts[name].append(extractor(shard))
    if not all(parts.values()):
        raise ValueError("there are no images to score")
    return {name: Features(*map(np.concatenate, zip(*found, strict=True))) for name, found in parts.items()}


def _points(parts: Sequence[np.ndarray]) -> Points:
    if not any(map(len, parts)):
        raise ValueError("there are no images to score")
    return Points(np.concatenate(parts))


@dataclass(frozen=True)
class _Content:
    """Images known by their digest, so that equal images share one cache entry."""

    sha256: str
    images: np.ndarray = field(compare=False, repr=False)


def _reference(data: Images, split: str, extractor: Extractor | None) -> Any:
    if split == MIXTURE:
        return data.card.mixture()
    images = data.train if split == "train" else data.test
    content = _Content(data.digest(split), images)
    return _values(content) if extractor is None else _features(content, extractor.name, str(extractor.device))


@lru_cache(maxsize=8)
def _values(content: _Content) -> Points:
    return Points(content.images)


@lru_cache(maxsize=8)
def _features(content: _Content, extractor: str, device: str) -> Features:
    return load_extractor(extractor, device)(content.images)


def _identity(
    name: str, params: Any, extractor: Extractor | None, count: int, data: Images, split: str | None
) -> dict[str, Any]:
    card = METRICS[name]
    reference = None
    if split == MIXTURE:
        reference = {"dataset": f"{data.name}@{data.card.version}", "mixture": "as declared"}
    elif split is not None:
        reference = {
            "dataset": f"{data.name}@{data.card.version}",
            "split": split,
            "split_rule": data.card.split_rule,
            "images": data.card.splits[split],
            "sha256": data.digest(split),
        }
    seen_by = (
        {
            "extractor": extractor_label(extractor.name),
            "weights_sha256": extractor.card.sha256,
            "dimension": extractor.card.dimension,
            "input_shape": list(extractor.card.shape),
            "levels": extractor.card.levels,
            "preprocess": extractor.preprocess,
        }
        if extractor is not None
        else {}
    )
    return {
        "metric": name,
        "version": card.version,
        "column": card.column(params),
        "params": plain(params),
        **seen_by,
        "count": count,
        "least_count": card.least_count(params),
        "reference": reference,
        "backend": BACKEND,
    }
