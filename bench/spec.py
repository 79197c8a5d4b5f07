"""What to compute, as frozen plain values, and the key under which its result is stored.

A key is the hash of canonical JSON in which only values that differ from their defaults appear, with the
versions of method, sampler, data set and metric beside them: a new option with a neutral default never
orphans weights, and a mended sampler never retrains. ``params`` therefore hold the *differences* from the
card's defaults (:func:`bench.card.differences`), nested as the Params dataclass is.

Standard library only.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from typing import Any

Values = Mapping[str, Any]
"""Plain values: str, int, float, bool, None, lists and mappings of them."""


@dataclass(frozen=True, kw_only=True)
class TrainSpec:
    """One trained model: a method on a data set, with one training seed."""

    method: str
    method_version: int
    dataset: str
    dataset_version: int
    params: Values = field(default_factory=dict)
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class ImagesSpec:
    """Images made elsewhere, known by the digest of their content."""

    dataset: str
    dataset_version: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class SampleSpec:
    """Batches 0, 1, 2, ... of images from one model by one sampler.

    The count is not part of it: raising it adds batches. ``params`` always name the sampler's steps (or its
    tolerance) outright, never a budget.
    """

    train: TrainSpec
    sampler: str
    sampler_version: int
    times: str
    params: Values
    batch: int
    given: Values | None = None
    quantise: str = "round"
    precision: str = "float32"
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class LikelihoodSpec:
    """The model's own score of held-out images (bits/dim); it depends on the model alone."""

    train: TrainSpec
    version: int
    images: int
    batch: int
    params: Values = field(default_factory=dict)
    split: str = "test"
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class ScoreSpec:
    """One metric of the first ``count`` images of a sample set."""

    source: SampleSpec | ImagesSpec
    count: int
    metric: str
    metric_version: int
    params: Values = field(default_factory=dict)


Spec = TrainSpec | SampleSpec | LikelihoodSpec | ScoreSpec | ImagesSpec


@dataclass(frozen=True, kw_only=True)
class Point:
    """One row of results: what is sampled, scored and shown, for one pair of seeds.

    ``group`` names the leaderboard row (the label without its seeds); ``budget`` is the budget that the suite
    asked for, None where the point was given in steps or tolerance.
    """

    label: str
    group: str
    train: str
    sample: SampleSpec | ImagesSpec
    count: int
    likelihood: LikelihoodSpec | None
    scores: tuple[ScoreSpec, ...]
    budget: int | None = None


def canonical(spec: Any) -> Any:
    """Returns ``spec`` as plain values, leaving out every dataclass field that equals its default."""
    if is_dataclass(spec):
        values = {}
        for item in fields(spec):
            value = getattr(spec, item.name)
            default = item.default_factory() if item.default_factory is not MISSING else item.default
            if item.default is MISSING and item.default_factory is MISSING or value != default:
                values[item.name] = canonical(value)
        return values
    if isinstance(spec, Mapping):
        return {str(name): canonical(value) for name, value in spec.items()}
    if isinstance(spec, list | tuple):
        return [canonical(value) for value in spec]
    return spec


def key(spec: Spec) -> str:
    """Returns the key of ``spec``: 20 hexadecimal digits, the same on every machine."""
    text = json.dumps([type(spec).__name__, canonical(spec)], sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def from_plain(kind: type, values: Values) -> Any:
    """Rebuilds a spec of type ``kind`` from what :func:`canonical` returned."""
    values = dict(values)
    if "train" in values:
        values["train"] = TrainSpec(**values["train"])
    if "source" in values:
        source = values["source"]
        values["source"] = ImagesSpec(**source) if "sha256" in source else from_plain(SampleSpec, source)
    return kind(**values)


def flatten(values: Any, prefix: str = "") -> dict[str, Any]:
    """Returns nested mappings as one, ``{"train.params.process": "vp"}``."""
    if isinstance(values, Mapping) and values:
        flat: dict[str, Any] = {}
        for name, value in values.items():
            flat.update(flatten(value, f"{prefix}.{name}" if prefix else str(name)))
        return flat
    return {prefix: values}
