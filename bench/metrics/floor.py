"""What a metric gives for real images: a difference within its noise says nothing of a model."""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from bench.data.images import Images
from bench.frozen import dataclass
from bench.metrics.card import extractor_of
from bench.metrics.extractors import Extractor, load_extractor
from bench.metrics.points import Points
from bench.metrics.references import References
from bench.metrics.registry import METRICS
from bench.metrics.scoring import (
    CHUNK,
    IN_MEMORY,
    Content,
    check_requests,
    measure,
    points_of,
    reference_of,
)
from bench.metrics.summary import Features, Summary


@dataclass(frozen=True)
class Floor:
    """A metric's mean and standard deviation over ``draws`` sets of real images new to it.

    The sets are drawn without replacement from one finite split, so they overlap; the deviation is
    that between them divided by sqrt(1 - count / images of the split), to first order that of sets
    that share no image. It is NaN if a set is the whole split.
    """

    mean: float
    std: float
    draws: int
    split: str


def real_floor(
    name: str,
    params: Any,
    data: Images,
    count: int,
    *,
    split: str | None = None,
    draws: int | None = None,
    seed: int = 0,
    device: str = "cpu",
    references: References = IN_MEMORY,
) -> Floor:
    """Returns what ``count`` real images score: differences below 2 SD are treated as ties.

    Args:
        name: A metric of :data:`bench.metrics.registry.METRICS`.
        params: An instance of its ``params``.
        data: The data set.
        count: Images in each drawn set.
        split: Where they are drawn from; by default the split that is not the metric's reference.
        draws: How many sets; by default as many as its card says.
        seed: Of the choice of sets.
        device: Where the extractor runs.
        references: Where statistics of real images are kept.

    Raises:
        ValueError: A split of fewer than ``count`` images, or a metric that compares with both.
    """
    check_requests([(name, params)], data)
    card = METRICS[name]
    draws = card.floor if draws is None else draws
    if draws < 1:
        raise ValueError(f"{name} of real images is not measured")
    split = split or ("train" if card.reference(params) == "test" else "test")
    if count > (has := data.card.splits[split]):
        raise ValueError(f"split {split} has {has} images, fewer than the {count} asked for")
    extractor, uses = None, card.uses(params)
    if (asked := extractor_of(params)) is not None:
        extractor = load_extractor(asked, str(device), data)
    real = _pool(data, split, extractor, uses, references)
    reference = reference_of(card, params, data, extractor, references)
    generator = np.random.default_rng([seed, count])
    values = []
    for _ in range(draws):
        index = generator.permutation(len(real.features))[:count]
        values.append(measure(card, _subset(real, index, uses), reference, params))
    fresh = 1 - count / len(real.features)
    std = float(np.std(values, ddof=1) / np.sqrt(fresh)) if fresh else math.nan
    return Floor(float(np.mean(values)), std, draws, split)


def _pool(
    data: Images,
    split: str,
    extractor: Extractor | None,
    uses: Sequence[Any],
    references: References,
) -> Points | Summary | Features:
    """Returns what sets are drawn from: values or features of all real images of a split."""
    if extractor is None:
        return points_of(Content.of(data, split))
    if all(use in ("moments", "features") for use in uses):
        return references.get(data, split, extractor, {"features"})
    return _features_of(Content.of(data, split), extractor)


@lru_cache(maxsize=4)
def _features_of(content: Content, extractor: Extractor) -> Features:
    starts = range(0, len(content.images), CHUNK)
    parts = [
        extractor(np.ascontiguousarray(content.images[start : start + CHUNK])) for start in starts
    ]
    return Features(*map(np.concatenate, zip(*parts, strict=True)))


def _subset(
    pool: Points | Summary | Features, index: np.ndarray, uses: Sequence[Any]
) -> Points | Summary:
    """Returns what is known of some images of the pool."""
    if isinstance(pool, Points):
        return Points(pool.features[index])
    log_probs = None if isinstance(pool, Summary) else pool.classified()[index]
    return Summary.of(Features(pool.features[index], log_probs), uses)
