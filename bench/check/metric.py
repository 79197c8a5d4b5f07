"""Checks of a metric: its direction, and its value on equal sets."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from bench.check.finding import Finding
from bench.data.images import Images, load_images
from bench.data.registry import DATASETS
from bench.metrics.card import MetricCard
from bench.metrics.extractor_cards import default_extractor
from bench.metrics.parameters import ExtractorParams
from bench.metrics.scoring import score
from bench.schema import build

NOISE = (0.1, 0.4)
"""Standard deviations of the noise that is added to held-out images, of the range of values."""


def check_metric(card: MetricCard, preferred: str) -> Iterator[Finding]:
    """Yields the findings of a metric, on the preferred data set or another that it takes."""
    if card.tasks:
        yield Finding("direction", None, "not measured: it is of samples that were given something")
        return
    reasons: list[str] = []
    for name in dict.fromkeys((preferred, "digits", "gaussian_mixture")):
        params = _params(card, name)
        reasons = card.refuse(params, DATASETS[name])
        if not reasons:
            yield from _values(card, params, load_images(name))
            return
    yield Finding("direction", None, f"not measured: {reasons[0]}")


def _params(card: MetricCard, dataset: str) -> Any:
    if issubclass(card.params, ExtractorParams):
        return build(card.params, {"extractor": default_extractor(DATASETS[dataset])})
    return build(card.params, {})


def _values(card: MetricCard, params: Any, data: Images) -> Iterator[Finding]:
    def value(images: np.ndarray) -> float:
        return score([images], [(card.name, params)], data, count=len(images))[0].value

    held_out = data.test[:1000]
    real, *noisy = value(held_out), *(value(_noised(held_out, data, size)) for size in NOISE)
    sign = 1 if card.higher_is_better else -1
    listed = ", ".join(f"{number:.4g}" for number in noisy)
    steps = f"{real:.4g} for held-out images of {data.name}, {listed} with more and more noise"
    side = "higher" if card.higher_is_better else "lower"
    right = all(sign * number < sign * real for number in noisy)
    yield Finding("direction", right, f"{side} is better: {steps}")
    low, high = card.bounds
    inside = all(low <= number <= high for number in (real, *noisy))
    yield Finding("bounds", inside, f"between {low:g} and {high:g}")
    split = card.reference(params)
    if split is not None and split in data.card.splits:
        equal = value(data.split(split))
        right = low <= equal <= high and all(sign * equal > sign * number for number in noisy)
        yield Finding("equal sets", right, f"{equal:.4g} of the images that it compares with")
    same = value(held_out) == real
    yield Finding("repeated", same, "gives an equal value" if same else "gives another value")


def _noised(images: np.ndarray, data: Images, size: float) -> np.ndarray:
    noise = np.random.default_rng(0).normal(size=images.shape) * size * data.span
    if data.kind == "real":
        return (images + noise).astype(np.float32)
    return np.clip(np.rint(images + noise), 0, data.levels - 1).astype(np.uint8)
