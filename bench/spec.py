"""What to compute, as frozen plain values, and the key under which its result is stored.

A key is the hash of canonical JSON in which only values that differ from their defaults appear,
with the versions of method, sampler, data set and metric beside them: a new option with a neutral
default never orphans weights, and a mended sampler never retrains. ``params`` therefore hold the
*differences* from the card's defaults (:func:`bench.schema.differences`), nested as the Params
dataclass is.

Standard library only.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from functools import cache, cached_property
from typing import Any

from bench.data.subset import RULE

Values = Mapping[str, Any]
"""Plain values: str, int, float, bool, None, lists and mappings of them."""

ALWAYS = "always in the key"
"""Metadata of a field that is part of the key whatever its value: the version of a rule of the
harness's own.
"""


def _drawn() -> int:
    """A field for the version of the rule by which images are drawn from a set
    (:mod:`bench.data.subset`).
    """
    return field(default=RULE, metadata={ALWAYS: True})


class _Keyed:
    """A spec: it remembers its canonical form and its key, since one lies within many others."""

    @cached_property
    def canonical(self) -> dict[str, Any]:
        """The plain values that :func:`canonical` returns; to be read, not changed."""
        values = ((name, getattr(self, name), usual) for name, usual in _defaults(type(self)))
        return {
            name: canonical(value)
            for name, value, usual in values
            if usual is MISSING or value != usual
        }

    @cached_property
    def key(self) -> str:
        """The key under which the result is stored."""
        return _hash([type(self).__name__, self.canonical])


@dataclass(frozen=True, kw_only=True)
class TrainSpec(_Keyed):
    """One trained model: a method on a data set, with one training seed, or with weights trained
    elsewhere.

    ``checkpoint`` is the digest of the file or folder that holds such weights, ``weights`` which of
    them are taken. ``dataset_sha256`` is the digest of the data set's files where they are not
    those that name and version stand for (:func:`bench.data.content.content`).
    """

    method: str
    method_version: int
    dataset: str
    dataset_version: int
    dataset_sha256: str | None = None
    params: Values = field(default_factory=dict)
    seed: int = 0
    checkpoint: str | None = None
    weights: str = "ema"


@dataclass(frozen=True, kw_only=True)
class SnapshotSpec(_Keyed):
    """A model as it was during its training, once it had seen so many training images."""

    train: TrainSpec
    images: int


@dataclass(frozen=True, kw_only=True)
class AverageSpec(_Keyed):
    """A model whose weights are averaged over another length, once its training, or a snapshot of
    it, has ended.

    ``ema`` is the average's relative width: the standard deviation of the times that it averages
    over, weighed as it weighs them, over the length of the training.
    """

    train: TrainSpec
    ema: float
    snapshot: int | None = None

    @property
    def source(self) -> TrainSpec | SnapshotSpec:
        """The training that keeps what the average is made from."""
        snapshot = self.snapshot
        return self.train if snapshot is None else SnapshotSpec(train=self.train, images=snapshot)


@dataclass(frozen=True, kw_only=True)
class ImagesSpec(_Keyed):
    """Images made elsewhere, known by the digest of their content; ``dataset_sha256`` as that of a
    TrainSpec.

    ``scale`` are the values of black and white in them, None where they are as usual
    (:mod:`bench.data.external`).
    """

    dataset: str
    dataset_version: int
    sha256: str
    scale: tuple[float, float] | None = None
    drawn: int = _drawn()
    dataset_sha256: str | None = None


ModelSpec = TrainSpec | SnapshotSpec | AverageSpec
"""What has weights."""


class _OfModel(_Keyed):
    """A spec of what is made from a model: the end of ``train``, its ``snapshot`` or ``ema``."""

    train: TrainSpec
    snapshot: int | None
    ema: float | None

    @cached_property
    def model(self) -> ModelSpec:
        """What the weights are those of."""
        train, snapshot = self.train, self.snapshot
        if self.ema is not None:
            return AverageSpec(train=train, ema=self.ema, snapshot=snapshot)
        return train if snapshot is None else SnapshotSpec(train=train, images=snapshot)


@dataclass(frozen=True, kw_only=True)
class SampleSpec(_OfModel):
    """Batches 0, 1, 2, ... of images from one model by one sampler.

    The count is not part of it: raising it adds batches. ``params`` always name the sampler's steps
    (or its tolerance) outright, never a budget. ``snapshot`` is after how many training images the
    model is taken, None at the end of its training; ``ema`` the relative width of the average of
    its weights, None for the training's own.
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
    snapshot: int | None = None
    ema: float | None = None


@dataclass(frozen=True, kw_only=True)
class LikelihoodSpec(_OfModel):
    """The model's own score of held-out images (bits/dim); it depends on the model alone."""

    train: TrainSpec
    version: int
    images: int
    batch: int
    params: Values = field(default_factory=dict)
    split: str = "test"
    drawn: int = _drawn()
    seed: int = 0
    snapshot: int | None = None
    ema: float | None = None


@dataclass(frozen=True, kw_only=True)
class InspectSpec(_OfModel):
    """What a model shows of itself on held-out images: its loss by noise level, and pictures of its
    own.
    """

    train: TrainSpec
    version: int
    images: int
    split: str = "test"
    drawn: int = _drawn()
    seed: int = 0
    snapshot: int | None = None
    ema: float | None = None


@dataclass(frozen=True, kw_only=True)
class ScoreSpec(_Keyed):
    """One metric of the first ``count`` images of a sample set, in the order drawn where it was
    made elsewhere.

    ``weights`` is the digest of the extractor's weights where its card names none, None where it
    does.
    """

    source: SampleSpec | ImagesSpec
    count: int
    metric: str
    metric_version: int
    weights: str | None = None
    params: Values = field(default_factory=dict)


_JSON = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)

Spec = ModelSpec | SampleSpec | LikelihoodSpec | InspectSpec | ScoreSpec | ImagesSpec


@dataclass(frozen=True, kw_only=True)
class Point:
    """One row of results: what is sampled, scored and shown, for one pair of seeds.

    ``group`` names the leaderboard row (the label without its seeds); ``budget`` is the budget that
    the suite asked for, None where the point was given in steps or tolerance.
    """

    label: str
    group: str
    train: str
    sample: SampleSpec | ImagesSpec
    count: int
    likelihood: LikelihoodSpec | None
    scores: tuple[ScoreSpec, ...]
    budget: int | None = None


def canonical(value: Any) -> Any:
    """Returns a spec, or a value within one, as plain values; fields that equal their default are
    left out, unless they are :data:`ALWAYS` in.
    """
    if isinstance(value, str | int | float | None):
        return value
    if isinstance(value, _Keyed):
        return value.canonical
    if isinstance(value, Mapping):
        return {str(name): canonical(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [canonical(item) for item in value]
    return value


@cache
def _defaults(kind: type) -> tuple[tuple[str, Any], ...]:
    """Returns name and default of each field of a dataclass, MISSING where it has none or is always
    in the key.
    """
    made = [(item, item.default_factory) for item in fields(kind)]
    known = [(item, item.default if make is MISSING else make()) for item, make in made]
    return tuple(
        (item.name, MISSING if item.metadata.get(ALWAYS) else default) for item, default in known
    )


def key(spec: Spec) -> str:
    """Returns the key of ``spec``: 20 hexadecimal digits, the same on every machine."""
    return spec.key


def _hash(values: Any) -> str:
    return hashlib.sha256(_JSON.encode(values).encode()).hexdigest()[:20]


def place(spec: Spec) -> tuple[str, str, str]:
    """Returns where the result of ``spec`` lies: stage, key and part (empty where a stage has many
    parts).

    The metrics of one sample set share a folder, named by the set and the count; each is a file of
    its own.
    """
    match spec:
        case TrainSpec() | SnapshotSpec() | AverageSpec():
            return "train", key(spec), "weights"
        case SampleSpec():
            return "samples", key(spec), ""
        case LikelihoodSpec():
            return "likelihood", key(spec), ""
        case InspectSpec():
            return "inspect", key(spec), "inspection"
        case ScoreSpec():
            folder = _hash(["ScoreSet", canonical(spec.source), spec.count])
            return "scores", folder, f"{spec.metric}-{key(spec)[:8]}"
    raise TypeError(f"{type(spec).__name__} has no result of its own")


def part_name(index: int) -> str:
    """Returns the file name of batch ``index``: ``00017``."""
    return f"{index:05d}"


def from_plain(kind: type, values: Values) -> Any:
    """Rebuilds a spec of type ``kind`` from what :func:`canonical` returned."""
    values = dict(values)
    if "train" in values:
        values["train"] = TrainSpec(**values["train"])
    if "source" in values:
        source = values["source"]
        values["source"] = from_plain(ImagesSpec if "sha256" in source else SampleSpec, source)
    if values.get("scale") is not None:
        values["scale"] = tuple(values["scale"])
    return kind(**values)


def flatten(values: Any, prefix: str = "") -> dict[str, Any]:
    """Returns nested mappings as one, ``{"train.params.process": "vp"}``."""
    if isinstance(values, Mapping) and values:
        flat: dict[str, Any] = {}
        for name, value in values.items():
            flat.update(flatten(value, f"{prefix}.{name}" if prefix else str(name)))
        return flat
    return {prefix: values}
