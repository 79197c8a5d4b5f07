"""What to compute, as frozen plain values, and the key under which its result is stored.

A key is the hash of canonical JSON in which only values that differ from their defaults appear,
with the versions of method, sampler, data set and metric beside them: a new option with a neutral
default never orphans weights, and a corrected sampler never retrains. ``params`` therefore hold the
*differences* from the card's defaults (:func:`bench.schema.differences`), nested like the Params
dataclass.

Standard library only.
"""

import json
from collections.abc import Mapping
from dataclasses import MISSING, field, fields
from functools import cache, cached_property, lru_cache
from json.encoder import encode_basestring_ascii
from typing import Any, ClassVar, TypeVar, dataclass_transform

from bench.files import sha256
from bench.frozen import dataclass

Values = Mapping[str, Any]
"""Plain values: str, int, float, bool, None, lists and mappings of them."""

S = TypeVar("S", bound="Spec")

ALWAYS = "always in the key"
"""Metadata of a field that is part of the key whatever its value: the version of a rule of the
harness's own.
"""


DRAWING_RULE = 1
"""Version of the rule by which images are drawn from a set (:mod:`bench.data.subset`), raised by
hand when other images are drawn: it is part of every key that depends on them.
"""


def _drawn() -> int:
    return field(default=DRAWING_RULE, metadata={ALWAYS: True})


class Spec:
    """What all specs share: canonical values, a key and a place, each computed once per object.

    Specs hash by their key, so that functions of a spec can be cached.
    """

    stage: ClassVar[str] = ""
    part: ClassVar[str] = ""

    @cached_property
    def canonical(self) -> dict[str, Any]:
        """See :func:`canonical`."""
        return {name: canonical(value) for name, value in self._own().items()}

    @cached_property
    def text(self) -> str:
        """The canonical values as JSON; that of a spec within others is written once."""
        own = [f'"{name}":{json_text(value)}' for name, value in self._own().items()]
        return f"{{{','.join(own)}}}"

    @cached_property
    def key(self) -> str:
        """See :func:`key`."""
        return _hash(f"[{json_text(type(self).__name__)},{self.text}]")

    def _own(self) -> dict[str, Any]:
        """Returns the values of the fields that differ from their default, sorted by name."""
        defaults = _defaults(type(self))  # type: ignore[arg-type]  # mypy misreads __hash__
        values = ((name, getattr(self, name), default) for name, default in defaults)
        return {n: v for n, v, default in values if default is MISSING or v != default}

    @cached_property
    def place(self) -> tuple[str, str, str]:
        """See :func:`place`."""
        if not self.stage:
            raise TypeError(f"{type(self).__name__} has no result of its own")
        return self.stage, self.key, self.part

    def __hash__(self) -> int:
        return hash(self.key)


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
def _spec(kind: type[S]) -> type[S]:
    """Makes a frozen dataclass whose instances hash by their key."""
    kind.__hash__ = Spec.__hash__  # type: ignore[method-assign]
    return dataclass(frozen=True, kw_only=True)(kind)


@_spec
class TrainSpec(Spec):
    """One trained model: a method on a data set, with one training seed, or with weights trained
    elsewhere.

    ``checkpoint`` is the digest of the file or folder that holds such weights, ``weights`` which of
    them are taken. ``dataset_sha256`` is the digest of the data set's files if they are not those
    that name and version stand for (:func:`bench.data.content.content`).
    """

    stage, part = "train", "weights"
    method: str
    method_version: int
    dataset: str
    dataset_version: int
    dataset_sha256: str | None = None
    params: Values = field(default_factory=dict)
    seed: int = 0
    checkpoint: str | None = None
    weights: str = "ema"


@_spec
class SnapshotSpec(Spec):
    """A model as it was during its training, once it had seen so many training images."""

    stage, part = "train", "weights"
    train: TrainSpec
    images: int


@_spec
class AverageSpec(Spec):
    """A model whose weights are averaged over another length, once its training, or a snapshot of
    it, has ended.

    ``ema`` is the average's relative width: the standard deviation of the times that it averages
    over, weighed as it weighs them, over the length of the training.
    """

    stage, part = "train", "weights"
    train: TrainSpec
    ema: float
    snapshot: int | None = None

    @cached_property
    def source(self) -> TrainSpec | SnapshotSpec:
        """The training that keeps what the average is made from."""
        if self.snapshot is None:
            return self.train
        return SnapshotSpec(train=self.train, images=self.snapshot)


ModelSpec = TrainSpec | SnapshotSpec | AverageSpec
"""What has weights."""


@_spec
class OfModel(Spec):
    """What is made with the weights of a model.

    ``snapshot`` is after how many training images the model is taken, None at the end of its
    training; ``ema`` the relative width of the average of its weights, None for the training's own.
    """

    train: TrainSpec
    snapshot: int | None = None
    ema: float | None = None

    @cached_property
    def model(self) -> ModelSpec:
        """The model whose weights these are."""
        if self.ema is not None:
            return AverageSpec(train=self.train, ema=self.ema, snapshot=self.snapshot)
        if self.snapshot is not None:
            return SnapshotSpec(train=self.train, images=self.snapshot)
        return self.train


@_spec
class SampleSpec(OfModel):
    """Batches 0, 1, 2, ... of images from one model by one sampler.

    The count is not part of it: raising it adds batches. ``params`` always name the sampler's steps
    (or its tolerance) outright, never a budget.
    """

    stage = "samples"
    sampler: str
    sampler_version: int
    times: str
    params: Values
    batch: int
    given: Values | None = None
    quantise: str = "round"
    precision: str = "float32"
    seed: int = 0


@_spec
class LikelihoodSpec(OfModel):
    """The model's own score of held-out images (bits/dim); it depends on nothing but the model."""

    stage = "likelihood"
    version: int
    images: int
    batch: int
    params: Values = field(default_factory=dict)
    split: str = "test"
    drawn: int = _drawn()
    seed: int = 0


@_spec
class InspectSpec(OfModel):
    """What a model shows of itself on held-out images: its loss by noise level, and pictures of its
    own.
    """

    stage, part = "inspect", "inspection"
    version: int
    images: int
    split: str = "test"
    drawn: int = _drawn()
    seed: int = 0


@_spec
class ImagesSpec(Spec):
    """Images made elsewhere, known by the digest of their content; ``dataset_sha256`` like that of
    a TrainSpec.

    ``scale`` are the values of black and white in them, None if they are the usual ones
    (:mod:`bench.data.external`).
    """

    dataset: str
    dataset_version: int
    sha256: str
    scale: tuple[float, float] | None = None
    drawn: int = _drawn()
    dataset_sha256: str | None = None


@_spec
class ScoreSpec(Spec):
    """One metric of the first ``count`` images of a sample set, in the order drawn if the set was
    made elsewhere.

    ``weights`` is the digest of the extractor's weights if its card names none, else None;
    ``extractor_version`` the version of that card, 1 for a metric without an extractor.
    """

    source: SampleSpec | ImagesSpec
    count: int
    metric: str
    metric_version: int
    weights: str | None = None
    extractor_version: int = 1
    params: Values = field(default_factory=dict)

    @cached_property
    def place(self) -> tuple[str, str, str]:
        """The metrics of one sample set share a folder, named by the set and the count."""
        return "scores", score_set(self.source, self.count), f"{self.metric}-{self.key[:8]}"


@dataclass(frozen=True, kw_only=True)
class Point:
    """One row of results: what is sampled, scored and shown, for one pair of seeds.

    ``group`` names the leaderboard row (the label without its seeds); ``budget`` is the budget that
    the suite asked for, None if the point was given in steps or tolerance.
    """

    label: str
    group: str
    train: str
    sample: SampleSpec | ImagesSpec
    count: int
    likelihood: LikelihoodSpec | None
    scores: tuple[ScoreSpec, ...]
    budget: int | None = None

    @property
    def sampling(self) -> SampleSpec:
        """How a model is sampled; of images that were made elsewhere there is none."""
        assert isinstance(self.sample, SampleSpec)
        return self.sample


def canonical(value: Any) -> Any:
    """Returns a spec as plain values, without fields that equal their default, unless they are
    :data:`ALWAYS` in.

    What it returns is to be read, not changed: a spec keeps it, since one model lies within many
    points.
    """
    if type(value) in _SCALARS:
        return value
    if isinstance(value, Spec):
        return value.canonical
    if isinstance(value, Mapping):
        return {str(name): canonical(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [canonical(inner) for inner in value]
    return value


@cache
def _defaults(kind: type) -> tuple[tuple[str, Any], ...]:
    """Returns name and default of each field of a spec by name, MISSING if it has none or is always
    in the key.
    """
    items = sorted(fields(kind), key=lambda item: item.name)
    made = [(item, item.default_factory) for item in items]
    defaults = [(item, item.default if make is MISSING else make()) for item, make in made]
    return tuple(
        (item.name, MISSING if item.metadata.get(ALWAYS) else default) for item, default in defaults
    )


_SCALARS = (str, int, float, bool, type(None))
_JSON = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)


_MOST_TEXTS = 10_000
_texts: dict[int, tuple[Any, str]] = {}
"""Mappings with their JSON by identity, for many specs share one; each is kept, so that no other
one takes its place.
"""


def json_text(value: Any) -> str:
    """Returns the canonical JSON of plain values, which never change."""
    if type(value) is int:
        return str(value)
    if type(value) is str:
        return encode_basestring_ascii(value)
    if type(value) is not dict:
        return value.text if isinstance(value, Spec) else _JSON.encode(canonical(value))
    kept = _texts.get(id(value))
    if kept is None:
        if len(_texts) >= _MOST_TEXTS:
            _texts.clear()
        kept = _texts[id(value)] = value, _JSON.encode(canonical(value))
    return kept[1]


@lru_cache
def score_set(source: Spec, count: int) -> str:
    """Returns the key under which the metrics of ``count`` images lie."""
    return _hash(f'["ScoreSet",{source.text},{count}]')


def _hash(text: str) -> str:
    return sha256(text)[:20]


def key(spec: Spec) -> str:
    """Returns the key of a spec: 20 hexadecimal digits, the same on every machine."""
    return spec.key


def place(spec: Spec) -> tuple[str, str, str]:
    """Returns where the result of a spec is: stage, key and part (empty if a stage has many parts).

    The metrics of one sample set share a folder; each is a file of its own.
    """
    return spec.place


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
