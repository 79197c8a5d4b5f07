"""Scores a sample set: one pass through each extractor, however many metrics ask for it.

Images stream through the extractors; of what these say no more is kept than the metrics need
(:mod:`.summary`), so that memory does not grow with the number of images unless a metric compares
image with image. Every value comes with its identity, the plain values on which it depends; rows
are comparable where identities are equal. References are computed once a store
(:mod:`bench.metrics.references`).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy as np

from bench.data.conditioning import SPLIT, truth
from bench.data.images import Images
from bench.metrics.card import MIXTURE, MetricCard
from bench.metrics.conditional import Restored
from bench.metrics.extractors import Extractor, load_extractor
from bench.metrics.points import Points
from bench.metrics.references import References, digest
from bench.metrics.registry import METRICS
from bench.metrics.summary import Features, Summary, all_uses
from bench.schema import plain

BACKEND = "bench 1"
"""Who computed the number; the figure rises when extraction or scoring changes a value."""

CHUNK = 1000
"""Images that go through the extractors at once."""

UNNAMED = ("allow_few",)
"""Parameters that change whether there is a number, not which."""


@dataclass(frozen=True)
class Measured:
    """A metric's value and what it depends on, as plain values."""

    value: float
    identity: dict[str, Any]


@dataclass(frozen=True)
class Floor:
    """What a metric says of real images that it has not seen: mean and standard deviation over
    ``draws`` sets.

    The sets are drawn without replacement from one finite split, so they overlap; the deviation is
    that between them divided by sqrt(1 - count / images of the split), to first order that of sets
    that share no image. It is NaN where a set is the whole split.
    """

    mean: float
    std: float
    draws: int
    split: str


IN_MEMORY = References()
"""Where references are where no store is named: in this process."""


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
        given: What the samples were given (:mod:`bench.data.conditioning`), from the first of them
            on.
        count: How many images there will be; without it they are gathered first where a metric
            splits them.
        references: Where statistics of real images are kept.

    Raises:
        ValueError: A metric that cannot be measured on this data set, images of the wrong kind, too
            few of them, or a value that is not finite.
        FileNotFoundError: Weights of an extractor are missing.
    """
    _refuse(requests, data)
    names = dict.fromkeys(
        name for _, params in requests if (name := _extractor(params)) is not None
    )
    extractors = {name: load_extractor(name, str(device), data) for name in names}
    uses = {
        name: all_uses(
            (METRICS[metric], params) for metric, params in requests if _extractor(params) == name
        )
        for name in names
    }
    conditional = any(METRICS[name].tasks for name, _ in requests)
    plain_values = any(
        not METRICS[name].tasks and _extractor(params) is None for name, params in requests
    )
    split = any(isinstance(use, tuple) and use[1] > 1 for wanted in uses.values() for use in wanted)
    if conditional or plain_values or (split and count is None):
        images = list(images)
        count = sum(map(len, images))
    samples: dict[str | None, Any] = _extract(images, extractors, uses, count) if extractors else {}
    if plain_values:
        samples[None] = _points(images)
    restored = _restored(np.concatenate(images), data, given) if conditional else None
    measured = []
    for name, params in requests:
        card, extractor = METRICS[name], extractors.get(_extractor(params))
        found = samples.get(_extractor(params))
        reference = _reference(card, params, data, extractor, references)
        if card.tasks:
            found = replace(restored, log_probs=None if extractor is None else found.log_probs)
        number = len(found.samples) if card.tasks else found.count
        _enough(card, params, number, data)
        value = _measure(card, found, reference, params)
        if not np.isfinite(value):
            raise ValueError(f"{card.column(params)} of {number} images is {value}")
        identity = _identity(name, params, extractor, number, data, references)
        if card.tasks:
            identity["given"] = {
                **given,
                "split": SPLIT,
                "split_rule": data.card.split_rule,
                "sha256": digest(data, SPLIT),
            }
        measured.append(Measured(value, identity))
    return measured


def _measure(card: MetricCard, samples: Any, reference: Any, params: Any) -> float:
    try:
        return card.measure(samples, reference, params)
    except (ValueError, ArithmeticError, np.linalg.LinAlgError) as error:
        raise ValueError(f"{card.column(params)}: {error}") from error


def _enough(card: MetricCard, params: Any, count: int, data: Images) -> None:
    needs, why = card.needs(params, data.card)
    if count < needs:
        raise ValueError(
            f"{card.column(params)} needs {needs} images, got {count}" + (f": {why}" if why else "")
        )


def _extractor(params: Any) -> str | None:
    """Returns the extractor that a metric's parameters name, None where it has none."""
    return getattr(params, "extractor", None)


def _restored(samples: np.ndarray, data: Images, given: Mapping[str, Any] | None) -> Restored:
    if given is None:
        raise ValueError("metrics of what was given ask for samples that were given something")
    images = samples.astype(np.float64) / (data.levels - 1)
    return Restored(images, truth(given, data, 0, len(samples)), data.levels)


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
    """Returns what ``count`` real images score: differences below 2 of its deviations are not worth
    discussing.

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
    _refuse([(name, params)], data)
    card = METRICS[name]
    draws = card.floor if draws is None else draws
    if draws < 1:
        raise ValueError(f"{name} of real images is not measured")
    name_of = _extractor(params)
    extractor = None if name_of is None else load_extractor(name_of, str(device), data)
    split = split or ("train" if card.reference(params) == "test" else "test")
    if count > data.card.splits[split]:
        raise ValueError(
            f"split {split} has {data.card.splits[split]} images, fewer than the {count} asked for"
        )
    uses = card.uses(params)
    real = _pool(data, split, extractor, uses, references)
    reference = _reference(card, params, data, extractor, references)
    generator = np.random.default_rng([seed, count])
    values = []
    for _ in range(draws):
        index = generator.permutation(len(real.features))[:count]
        values.append(_measure(card, _some(real, index, uses), reference, params))
    fresh = 1 - count / len(real.features)
    std = float(np.std(values, ddof=1) / np.sqrt(fresh)) if fresh else math.nan
    return Floor(float(np.mean(values)), std, draws, split)


def _pool(
    data: Images,
    split: str,
    extractor: Extractor | None,
    uses: Sequence[Any],
    references: References,
) -> Any:
    """Returns what is known of each real image of a split."""
    if extractor is None:
        return _values(_content(data, split))
    if all(use in ("moments", "features") for use in uses):
        return references.get(data, split, extractor, {"features"})
    return _said(_content(data, split), extractor)


def _some(known: Any, index: np.ndarray, uses: Sequence[Any]) -> Summary | Points:
    """Returns what is known of some images."""
    if isinstance(known, Points):
        return Points(known.features[index])
    if isinstance(known, Summary):
        return Summary.of(Features(known.features[index], None), uses)
    return Summary.of(Features(known.features[index], known.log_probs[index]), uses)


def _refuse(requests: Sequence[tuple[str, Any]], data: Images) -> None:
    reasons = [
        f"{METRICS[name].column(params)} on {data.name}: {reason}"
        for name, params in requests
        for reason in METRICS[name].refuse(params, data.card)
    ]
    if reasons:
        raise ValueError("; ".join(reasons))


def _extract(
    images: Iterable[np.ndarray],
    extractors: Mapping[str, Extractor],
    uses: Mapping[str, Any],
    count: int | None,
) -> dict[str | None, Summary]:
    found = {name: Summary(uses[name], count) for name in extractors}
    for shard in images:
        for start in range(0, max(len(shard), 1), CHUNK):
            for name, extractor in extractors.items():
                found[name].add(extractor(shard[start : start + CHUNK]))
    seen = next(iter(found.values())).count
    if not seen:
        raise ValueError("there are no images to score")
    if count is not None and seen != count:
        raise ValueError(f"{count} images were announced, {seen} have come")
    return found


def _points(parts: Sequence[np.ndarray]) -> Points:
    if not any(map(len, parts)):
        raise ValueError("there are no images to score")
    return Points(np.concatenate(parts))


@dataclass(frozen=True)
class _Content:
    """Images known by their digest, so that equal images share one cache entry."""

    sha256: str
    images: np.ndarray = field(compare=False, repr=False)


def _content(data: Images, split: str) -> _Content:
    return _Content(digest(data, split), data.train if split == "train" else data.test)


def _reference(
    card: MetricCard, params: Any, data: Images, extractor: Extractor | None, references: References
) -> Any:
    split = card.reference(params)
    if split is None:
        return None
    if split == MIXTURE:
        return data.card.mixture()
    if extractor is None:
        return _values(_content(data, split))
    if statistics := getattr(params, "statistics", ""):
        return references.imported(statistics, _of_reference(card, params), extractor.dimension)
    found = references.get(data, split, extractor, _of_reference(card, params))
    if card.also is not None:
        found.other = references.get(data, card.also, extractor, _of_reference(card, params))
    return found


def _of_reference(card: MetricCard, params: Any) -> list[str]:
    """What is needed of a reference: where a metric takes moments of it, features are the samples'
    alone.
    """
    uses = [use for use in card.uses(params) if use in ("moments", "features")]
    return ["moments"] if "moments" in uses else uses


@lru_cache(maxsize=8)
def _values(content: _Content) -> Points:
    return Points(content.images)


@lru_cache(maxsize=4)
def _said(content: _Content, extractor: Extractor) -> Features:
    starts = range(0, len(content.images), CHUNK)
    parts = [
        extractor(np.ascontiguousarray(content.images[start : start + CHUNK])) for start in starts
    ]
    return Features(*map(np.concatenate, zip(*parts, strict=True)))


def _identity(
    name: str,
    params: Any,
    extractor: Extractor | None,
    count: int,
    data: Images,
    references: References,
) -> dict[str, Any]:
    card = METRICS[name]
    split, statistics = card.reference(params), getattr(params, "statistics", "")
    reference: dict[str, Any] | None = None
    if split == MIXTURE:
        reference = {"dataset": f"{data.name}@{data.card.version}", "mixture": "as declared"}
    elif statistics:
        facts = references.facts(statistics)
        reference = {
            "statistics": facts.get("file"),
            "images": facts.get("images"),
            "sha256": statistics,
        }
    elif split is not None:
        reference = {
            "dataset": f"{data.name}@{data.card.version}",
            "split": split,
            "split_rule": data.card.split_rule,
            "images": data.card.splits[split],
            "sha256": digest(data, split),
        }
        if card.also is not None:
            reference |= {f"{card.also}_images": data.card.splits[card.also]}
            reference |= {f"{card.also}_sha256": digest(data, card.also)}
    return {
        "metric": name,
        "version": card.version,
        "column": card.column(params),
        "params": {key: value for key, value in plain(params).items() if key not in UNNAMED},
        **(extractor.identity if extractor is not None else {}),
        "count": count,
        "least_count": card.least_count(params, data.card),
        "reference": reference,
        "backend": _backend(name, params),
    }


def _backend(name: str, params: Any) -> str:
    """Returns who computed the number from the features, with the version."""
    from bench.metrics.libraries import version

    library = getattr(
        params, "backend", "torch-fidelity" if name in ("precision", "recall") else "own"
    )
    return BACKEND if library == "own" else version(library)
