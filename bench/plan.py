"""Suite -> jobs: what each makes, and what it needs.

A job is everything under one key: a training, the batches of one sample set, the likelihood of one
model, its inspection, the metrics of one sample set. Its units (batches) are what workers claim. No
clock, no submission; standard library only.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache, cached_property
from itertools import repeat
from typing import Any, Generic, TypeVar, overload

from bench.frozen import dataclass
from bench.prefix import training_prefix
from bench.spec import (
    AverageSpec,
    ImagesSpec,
    InspectSpec,
    LikelihoodSpec,
    ModelSpec,
    Point,
    SampleSpec,
    ScoreSpec,
    SnapshotSpec,
    Spec,
    TrainSpec,
    canonical,
    from_plain,
    part_name,
    score_set,
)
from bench.store import UnitId
from bench.suite.resolved import Suite

S = TypeVar("S", bound=Spec)
T = TypeVar("T")

_KINDS = (TrainSpec, SnapshotSpec, AverageSpec, SampleSpec, LikelihoodSpec, InspectSpec, ScoreSpec)
KINDS = {kind.__name__: kind for kind in _KINDS}

METRICS_PART = "metrics"
"""The name under which the metrics of one sample set are claimed together: one pass over its
images.
"""


class _Later(Sequence[T]):
    """Items whose number is known, made when they are read."""

    @cached_property
    def items(self) -> tuple[T, ...]:
        """All of them."""
        raise NotImplementedError

    def __iter__(self) -> Iterator[T]:
        return iter(self.items)

    @overload
    def __getitem__(self, at: int) -> T: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[T]: ...
    def __getitem__(self, at: int | slice) -> T | Sequence[T]:
        return self.items[at]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and self.items == tuple(other)

    def __hash__(self) -> int:
        return hash(self.items)


class Units(_Later[UnitId]):
    """The units of a key: a large plan has a million, most of which are only counted.

    Args:
        parts: Their names.
    """

    def __init__(self, stage: str, key: str, parts: Sequence[str]) -> None:
        self.stage = stage
        self.key = key
        self.parts = parts

    @cached_property
    def items(self) -> tuple[UnitId, ...]:
        """All of them."""
        return tuple(map(UnitId, repeat(self.stage), repeat(self.key), self.parts))

    def __len__(self) -> int:
        return len(self.parts)

    @overload
    def __getitem__(self, at: int) -> UnitId: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[UnitId]: ...
    def __getitem__(self, at: int | slice) -> UnitId | Sequence[UnitId]:
        parts = self.parts[at]
        if isinstance(parts, str):
            return UnitId(self.stage, self.key, parts)
        return self if len(parts) == len(self) else Units(self.stage, self.key, parts)


class MetricNames(_Later[str]):
    """The names of the records of metrics, which hold their keys."""

    def __init__(self, specs: Sequence[ScoreSpec]) -> None:
        self.specs = specs

    @cached_property
    def items(self) -> tuple[str, ...]:
        """All of them."""
        return tuple(spec.place[2] for spec in self.specs)

    def __len__(self) -> int:
        return len(self.specs)


@dataclass(frozen=True, kw_only=True)
class Job(Generic[S]):
    """Everything that is made under one key.

    Args:
        specs: One spec; for metrics one for each part.
        parts: Names of the units. The metrics of one sample set are one unit: one pass over the
            images.
        needs: Units of other jobs that must be finished first.
        images: Images made or scored.
        path: Where images or weights made elsewhere lie.
    """

    stage: str
    key: str
    label: str
    specs: tuple[S, ...]
    parts: Sequence[str]
    needs: Sequence[UnitId] = ()
    images: int = 0
    path: str | None = None

    @property
    def folder(self) -> str:
        """Its folder in the store: ``train/<key>``."""
        return f"{self.stage}/{self.key}"

    @cached_property
    def units(self) -> Sequence[UnitId]:
        """What a worker claims, one at a time."""
        if self.stage == "scores":
            return (UnitId(self.stage, self.key, METRICS_PART),)
        return self.results

    def made_by(self, unit: UnitId) -> Sequence[UnitId]:
        """Returns the records that one unit makes."""
        return self.results if self.stage == "scores" else (unit,)

    @cached_property
    def results(self) -> Sequence[UnitId]:
        """Every record that the job makes."""
        return Units(self.stage, self.key, self.parts)

    def plain(self) -> dict[str, Any]:
        """Returns the job as plain values, for the file that workers read."""
        return {
            "stage": self.stage,
            "key": self.key,
            "label": self.label,
            "specs": [[type(spec).__name__, canonical(spec)] for spec in self.specs],
            "parts": list(self.parts),
            "needs": [list(unit) for unit in self.needs],
            "images": self.images,
            "path": self.path,
        }

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> "Job[Any]":
        """Returns the job that :meth:`plain` wrote."""
        return cls(
            **{
                **values,
                "specs": tuple(from_plain(KINDS[kind], spec) for kind, spec in values["specs"]),
                "parts": tuple(values["parts"]),
                "needs": tuple(UnitId(*unit) for unit in values["needs"]),
            }
        )


Jobs = dict[tuple[str, str], Job[Any]]
"""Jobs by stage and key."""


def expand(suite: Suite) -> list[Job]:
    """Returns the jobs of a suite, each once, in the order in which workers should take them.

    Trainings come first (everything waits for them), then, model by model, samples, likelihood,
    inspection and metrics.
    """
    jobs: Jobs = {(job.stage, job.key): job for job in _trainings(suite)}
    for point in suite.points:
        _add_point(jobs, point, suite)
    for label, likelihoods in suite.sweep.items():
        for likelihood in likelihoods:
            _add_of_model(jobs, likelihood, f"{label} sweep")
    for label, inspections in suite.inspections.items():
        for inspection in inspections:
            _add_of_model(jobs, inspection, label)
    rank = {key: index for index, (_, key) in enumerate(jobs)}
    owner = {
        place: rank[job.needs[0].key] if job.stage != "train" and job.needs else 0
        for place, job in jobs.items()
    }
    for place, job in jobs.items():
        if job.stage == "scores" and job.needs:  # of samples, which have the model's rank
            owner[place] = owner.get(job.needs[0][:2], 0)
    order = {"train": 0, "samples": 1, "likelihood": 1, "inspect": 1, "scores": 1}
    return [jobs[place] for place in sorted(jobs, key=lambda at: (order[at[0]], owner[at]))]


def _trainings(suite: Suite) -> list[Job]:
    """Returns the trainings, each once; one that begins like shorter ones of the suite needs the
    longest of these.

    Averages of other lengths follow the training that they need.
    """
    models: dict[UnitId, tuple[str, ModelSpec]] = {}
    paths: dict[UnitId, str] = {}
    for label, specs in suite.train.items():
        for spec in specs:
            if not isinstance(spec, TrainSpec):
                continue
            name = f"{label} seed {spec.seed}" if len(specs) > 1 else label
            for named, model in _models(suite, label, name, spec):
                models.setdefault(UnitId(*model.place), (named, model))
            if spec.checkpoint is not None:
                paths.setdefault(UnitId(*spec.place), str(suite.sources[label]))
    needs: dict[UnitId, tuple[UnitId, ...]] = {}
    prefixes = []
    for unit, (_, model) in models.items():
        if isinstance(model, AverageSpec):
            needs[unit] = (UnitId(*model.source.place),)
        elif (prefix := training_prefix(model)) is not None:
            prefixes.append((prefix, unit))
    longest: dict[str, UnitId] = {}
    for prefix, unit in sorted(prefixes, key=lambda pair: pair[0].images):
        needs[unit] = (longest[prefix.family],) if prefix.family in longest else ()
        longest[prefix.family] = unit
    return [
        Job(
            stage="train",
            key=unit.key,
            label=name,
            specs=(spec,),
            parts=(unit.part,),
            needs=needs.get(unit, ()),
            path=paths.get(unit),
        )
        for unit, (name, spec) in models.items()
    ]


def _models(
    suite: Suite, label: str, name: str, train: TrainSpec
) -> Iterator[tuple[str, ModelSpec]]:
    """Yields the models of one training with their labels: snapshots, its end, and of each the
    averages.
    """
    for images in (*suite.snapshots.get(label, ()), None):
        named = name if images is None else f"{name} to {images} images"
        yield named, train if images is None else SnapshotSpec(train=train, images=images)
        for ema in suite.ema.get(label, ()):
            yield f"{named}, EMA {ema}", AverageSpec(train=train, ema=ema, snapshot=images)


def _add_point(jobs: Jobs, point: Point, suite: Suite) -> None:
    sample, path = point.sample, None
    needs: Sequence[UnitId] = ()
    if isinstance(sample, ImagesSpec):
        path = str(suite.sources[point.train])
    else:
        parts, key = _batches(point.count, sample.batch), sample.key
        known = jobs.get(("samples", key))
        if known is None or len(known.parts) < len(parts):
            jobs["samples", key] = Job(
                stage="samples",
                key=key,
                label=point.label,
                specs=(sample,),
                parts=parts,
                needs=(UnitId(*sample.model.place),),
                images=len(parts) * sample.batch,
            )
        needs = jobs["samples", key].units[: len(parts)]
    if point.likelihood is not None:
        _add_of_model(jobs, point.likelihood, point.train)
    if not point.scores:
        return
    key = score_set(sample, point.count)
    specs = point.scores
    if known := jobs.get(("scores", key)):  # of points whose budgets buy the same steps
        by_name = dict(zip(known.parts, known.specs, strict=True))
        specs = tuple((by_name | {spec.place[2]: spec for spec in specs}).values())
    jobs["scores", key] = Job(
        stage="scores",
        key=key,
        label=point.label,
        specs=specs,
        parts=MetricNames(specs),
        needs=needs,
        images=point.count,
        path=path,
    )


def _add_of_model(jobs: Jobs, spec: LikelihoodSpec | InspectSpec, label: str) -> None:
    """Adds the likelihood or the inspection of a model."""
    stage, key, part = spec.place
    parts = _batches(spec.images, spec.batch) if isinstance(spec, LikelihoodSpec) else (part,)
    job = Job(
        stage=stage,
        key=key,
        label=f"{label} seed {spec.train.seed}",
        specs=(spec,),
        parts=parts,
        needs=(UnitId(*spec.model.place),),
        images=spec.images,
    )
    jobs.setdefault((stage, key), job)


@cache
def _batches(count: int, size: int) -> tuple[str, ...]:
    """Returns the names of the batches that hold so many images."""
    return tuple(part_name(index) for index in range(-(-count // size)))
