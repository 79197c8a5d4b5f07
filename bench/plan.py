"""Suite -> jobs: what each makes, and what it needs.

A job is everything under one key: a training, the batches of one sample set, the likelihood of one
model, its inspection, the metrics of one sample set. Its units (batches) are what workers claim. No
clock, no submission; standard library only.
"""

from collections.abc import Iterator, Mapping
from functools import cache, cached_property
from itertools import repeat
from typing import Any, Generic, TypeVar

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
)
from bench.store import UnitId
from bench.suite.resolved import Suite

S = TypeVar("S", bound=Spec)

_KINDS = (TrainSpec, SnapshotSpec, AverageSpec, SampleSpec, LikelihoodSpec, InspectSpec, ScoreSpec)
KINDS = {kind.__name__: kind for kind in _KINDS}

METRICS_PART = "metrics"
"""The name under which the metrics of one sample set are claimed together: one pass over its
images.
"""


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
    parts: tuple[str, ...]
    needs: tuple[UnitId, ...] = ()
    images: int = 0
    path: str | None = None

    @property
    def folder(self) -> str:
        """Its folder in the store: ``train/<key>``."""
        return f"{self.stage}/{self.key}"

    @cached_property
    def units(self) -> tuple[UnitId, ...]:
        """What a worker claims, one at a time."""
        if self.stage == "scores":
            return (UnitId(self.stage, self.key, METRICS_PART),)
        return self.results

    def made_by(self, unit: UnitId) -> tuple[UnitId, ...]:
        """Returns the records that one unit makes."""
        return self.results if self.stage == "scores" else (unit,)

    @cached_property
    def results(self) -> tuple[UnitId, ...]:
        """Every record that the job makes."""
        return tuple(map(UnitId, repeat(self.stage), repeat(self.key), self.parts))

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
    needs: tuple[UnitId, ...] = ()
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
    _, key, _ = point.scores[0].place
    known = jobs.get(("scores", key))
    specs = dict(zip(known.parts, known.specs, strict=True)) if known is not None else {}
    specs |= {spec.place[2]: spec for spec in point.scores}
    jobs["scores", key] = Job(
        stage="scores",
        key=key,
        label=point.label,
        specs=tuple(specs.values()),
        parts=tuple(specs),
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
