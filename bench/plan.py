"""Suite -> jobs: what each makes, what it needs, and, for what is not there yet, why not.

A job is everything under one key: a training, the batches of one sample set, the likelihood of one
model, its inspection, the metrics of one sample set. Its units (batches) are what workers claim. No
clock, no submission; standard library only.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.files import scan
from bench.prefix import training_prefix
from bench.spec import (
    AverageSpec,
    ImagesSpec,
    InspectSpec,
    LikelihoodSpec,
    ModelSpec,
    SampleSpec,
    ScoreSpec,
    SnapshotSpec,
    Spec,
    TrainSpec,
    canonical,
    flatten,
    from_plain,
    part_name,
    place,
)
from bench.store import REFERENCES, STAGES, DamagedError, Store, UnitId, pruned
from bench.suite.resolved import Suite

_KINDS = (TrainSpec, SnapshotSpec, AverageSpec, SampleSpec, LikelihoodSpec, InspectSpec, ScoreSpec)
KINDS = {kind.__name__: kind for kind in _KINDS}


METRICS_PART = "metrics"
"""The name under which the metrics of one sample set are claimed together: one pass over its
images.
"""


@dataclass(frozen=True, kw_only=True)
class Job:
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
    specs: tuple[Spec, ...]
    parts: tuple[str, ...]
    needs: tuple[UnitId, ...] = ()
    images: int = 0
    path: str | None = None

    @property
    def units(self) -> tuple[UnitId, ...]:
        """What a worker claims, one at a time."""
        parts = (METRICS_PART,) if self.stage == "scores" else self.parts
        return tuple(UnitId(self.stage, self.key, part) for part in parts)

    def made_by(self, unit: UnitId) -> tuple[UnitId, ...]:
        """Returns the records that one unit makes."""
        return self.results if self.stage == "scores" else (unit,)

    @property
    def results(self) -> tuple[UnitId, ...]:
        """Every record that the job makes."""
        return tuple(UnitId(self.stage, self.key, part) for part in self.parts)

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
    def from_plain(cls, values: Mapping[str, Any]) -> "Job":
        """Returns the job that :meth:`plain` wrote."""
        return cls(
            **{
                **values,
                "specs": tuple(from_plain(KINDS[kind], spec) for kind, spec in values["specs"]),
                "parts": tuple(values["parts"]),
                "needs": tuple(UnitId(*unit) for unit in values["needs"]),
            }
        )


@dataclass
class Progress:
    """How far a job is: finished results, damaged files, and why the rest is to do.

    Args:
        stale: Parts whose record is there and yet has to be made again: damaged, or pruned and
            needed.
    """

    job: Job
    done: set[str] = field(default_factory=set)
    stale: set[str] = field(default_factory=set)
    damaged: list[DamagedError] = field(default_factory=list)
    why: str = ""

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return len(self.done) == len(self.job.parts)


def expand(suite: Suite) -> list[Job]:
    """Returns the jobs of a suite, each once, in the order in which workers should take them.

    Trainings come first (everything waits for them), then, model by model, samples, likelihood,
    inspection and metrics.
    """
    jobs: dict[tuple[str, str], Job] = {job.units[0][:2]: job for job in _trainings(suite)}

    def model(spec: SampleSpec | LikelihoodSpec | InspectSpec) -> UnitId:
        return UnitId(*place(spec.model))

    for point in suite.points:
        _add_point(jobs, point, model, suite)
    for label, specs in suite.sweep.items():
        for spec in specs:
            _add_likelihood(jobs, spec, model(spec), f"{label} sweep")
    for label, specs in suite.inspections.items():
        for spec in specs:
            _add_inspection(jobs, spec, model(spec), label)
    rank = {key: index for index, (_, key) in enumerate(jobs)}
    owner = {
        key: rank[job.needs[0].key] if key[0] != "train" and job.needs else 0
        for key, job in jobs.items()
    }
    for key, job in jobs.items():
        if job.stage == "scores" and job.needs:
            owner[key] = owner.get(job.needs[0][:2], 0)
    order = {"train": 0, "samples": 1, "likelihood": 1, "inspect": 1, "scores": 1}
    return [jobs[key] for key in sorted(jobs, key=lambda key: (order[key[0]], owner[key]))]


def _trainings(suite: Suite) -> list[Job]:
    """Returns the trainings, each once; one whose course begins with another of them needs the
    longest such.

    Averages of other lengths follow the training that they need.
    """
    models: dict[UnitId, tuple[str, ModelSpec]] = {}
    paths: dict[UnitId, str] = {}
    for label, specs in suite.train.items():
        for spec in specs:
            if isinstance(spec, TrainSpec):
                name = f"{label} seed {spec.seed}" if len(specs) > 1 else label
                taken = {
                    f"{name} to {images} images": images
                    for images in suite.snapshots.get(label, ())
                }
                whole = {
                    named: SnapshotSpec(train=spec, images=images)
                    for named, images in taken.items()
                }
                for named, model in (whole | {name: spec}).items():
                    models.setdefault(UnitId(*place(model)), (named, model))
                    for ema in suite.ema.get(label, ()):
                        average = AverageSpec(train=spec, ema=ema, snapshot=taken.get(named))
                        models.setdefault(UnitId(*place(average)), (f"{named}, EMA {ema}", average))
                if spec.checkpoint is not None:
                    paths.setdefault(UnitId(*place(spec)), str(suite.sources[label]))
    averages = {unit: spec for unit, (_, spec) in models.items() if isinstance(spec, AverageSpec)}
    needs = {unit: (UnitId(*place(spec.source)),) for unit, spec in averages.items()}
    last: dict[str, UnitId] = {}
    trained = {unit: spec for unit, (_, spec) in models.items() if unit not in averages}
    legs = [
        (found, unit)
        for unit, spec in trained.items()
        if (found := training_prefix(spec)) is not None
    ]
    for found, unit in sorted(legs, key=lambda pair: pair[0].images):
        needs[unit] = (last[found.course],) if found.course in last else ()
        last[found.course] = unit
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


def _add_point(jobs: dict, point: Any, model: Any, suite: Suite) -> None:
    sample = point.sample
    if isinstance(sample, ImagesSpec):
        needs, path = (), str(suite.sources[point.train])
    else:
        _, key, _ = place(sample)
        parts = tuple(part_name(k) for k in range(-(-point.count // sample.batch)))
        known = jobs.get(("samples", key))
        if known is None or len(known.parts) < len(parts):
            jobs["samples", key] = Job(
                stage="samples",
                key=key,
                label=point.label,
                specs=(sample,),
                parts=parts,
                needs=(model(sample),),
                images=len(parts) * sample.batch,
            )
        needs, path = tuple(UnitId("samples", key, part) for part in parts), None
    if point.likelihood is not None:
        _add_likelihood(jobs, point.likelihood, model(point.likelihood), point.train)
    if point.scores:
        places = [place(spec) for spec in point.scores]
        key = places[0][1]
        known = jobs.get(("scores", key))
        specs = {part: spec for (_, _, part), spec in zip(places, point.scores, strict=True)}
        if known is not None:
            specs = {**dict(zip(known.parts, known.specs, strict=True)), **specs}
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


def _add_likelihood(jobs: dict, spec: LikelihoodSpec, needs: UnitId, label: str) -> None:
    _, key, _ = place(spec)
    parts = tuple(part_name(k) for k in range(-(-spec.images // spec.batch)))
    job = Job(
        stage="likelihood",
        key=key,
        label=f"{label} seed {spec.train.seed}",
        specs=(spec,),
        parts=parts,
        needs=(needs,),
        images=spec.images,
    )
    jobs.setdefault(("likelihood", key), job)


def _add_inspection(jobs: dict, spec: InspectSpec, needs: UnitId, label: str) -> None:
    stage, key, part = place(spec)
    named = f"{label} seed {spec.train.seed}"
    job = Job(
        stage=stage,
        key=key,
        label=named,
        specs=(spec,),
        parts=(part,),
        needs=(needs,),
        images=spec.images,
    )
    jobs.setdefault((stage, key), job)


def examine(
    jobs: Sequence[Job], store: Store, *, rehash: bool = False, reasons: bool = True
) -> dict[str, Progress]:
    """Returns how far each job is, by ``stage/key``.

    Args:
        rehash: Read every data file and compare its hash, whatever its modification time says.
        reasons: Say why what is missing is missing.
    """
    found: dict[str, Progress] = {}
    bare: dict[str, set[str]] = {}
    begun = {stage: set(scan(store.root / stage)) for stage in STAGES}
    for job in jobs:
        progress = found[f"{job.stage}/{job.key}"] = Progress(job)
        for unit in job.results if job.key in begun[job.stage] else ():
            try:
                record = store.check(unit, rehash=rehash)
            except DamagedError as error:
                progress.damaged.append(error)
                progress.stale.add(unit.part)
                continue
            if record is not None:
                progress.done.add(unit.part)
                if pruned(record):
                    bare.setdefault(f"{job.stage}/{job.key}", set()).add(unit.part)
    for job in jobs:
        if job.stage == "scores" and not found[f"scores/{job.key}"].finished:
            for need in job.needs:
                name = f"{need.stage}/{need.key}"
                if need.part in bare.get(name, ()):
                    found[name].done.discard(need.part)
                    found[name].stale.add(need.part)
                    found[name].why = f"images were pruned, and {job.label} has metrics to make"
    if reasons:
        neighbours: dict[str, Neighbours] = {}
        for progress in found.values():
            if not progress.finished and not progress.why:
                progress.why = _reason(progress, store, found, neighbours, begun)
    return found


def verify_references(store: Store) -> list[DamagedError]:
    """Returns what is damaged of the statistics of real images in a store, whose files are all read
    and hashed.

    Any suite may use them; which ones a suite does is known once its extractors are loaded.
    """
    damaged = []
    for name in scan(store.root / REFERENCES):
        for entry in scan(store.root / REFERENCES / name):
            if entry.endswith(".json") and not entry.startswith("."):
                try:
                    store.check(UnitId(REFERENCES, name, entry.removesuffix(".json")), rehash=True)
                except DamagedError as error:
                    damaged.append(error)
    return damaged


def _reason(
    progress: Progress,
    store: Store,
    found: Mapping[str, Progress],
    neighbours: dict[str, "Neighbours"],
    begun: Mapping[str, set[str]],
) -> str:
    job = progress.job
    if progress.damaged:
        return "; ".join(f"damaged: {error}" for error in progress.damaged)
    if progress.done:
        missing = [part for part in job.parts if part not in progress.done]
        return f"not there yet: {_span(missing)}"
    if job.stage == "scores":
        missing = ", ".join(spec.metric for spec in job.specs)
        new = any(not found[f"{need.stage}/{need.key}"].finished for need in job.needs)
        return f"{'new images' if new else 'not scored yet'}: {missing} of {job.images} images"
    if job.key in begun[job.stage]:
        return "begun, not finished"
    if job.stage not in neighbours:
        neighbours[job.stage] = Neighbours(spec for _, spec in store.specs(job.stage))
    return neighbours[job.stage].difference(canonical(job.specs[0]))


def _span(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{parts[0]} to {parts[-1]} ({len(parts)})"


class Neighbours:
    """Stored specs, to be asked which one differs from a new spec in a single field."""

    def __init__(self, specs: Iterable[Mapping[str, Any]]) -> None:
        self.whole: set[frozenset] = set()
        self.without: dict[frozenset, tuple[str, Any]] = {}
        for spec in specs:
            items = _items(spec)
            self.whole.add(items)
            for item in items:
                self.without[items - {item}] = item

    def difference(self, spec: Mapping[str, Any]) -> str:
        """Returns which field is new, against the stored spec that is closest."""
        if not self.whole:
            return "new: nothing is stored for this stage yet"
        items = _items(spec)
        for name, value in sorted(items):
            rest = items - {(name, value)}
            if rest in self.without and self.without[rest][0] == name:
                return f"new value: {name} = {value} (stored: {self.without[rest][1]})"
            if rest in self.whole:
                return f"new value: {name} = {value} (stored: the default)"
        if items in self.without:
            name, value = self.without[items]
            return f"new value: {name} is the default (stored: {value})"
        return "new: it differs from everything stored in more than one field"


def _items(spec: Mapping[str, Any]) -> frozenset:
    return frozenset((name, repr(value)) for name, value in flatten(spec).items())


def to_prune(jobs: Sequence[Job], found: Mapping[str, Progress], keep: int) -> list[UnitId]:
    """Returns the batches that a ``keep`` of that many images a point lets go: their metrics are
    all made.
    """
    busy = {
        need
        for job in jobs
        if job.stage == "scores" and not found[f"scores/{job.key}"].finished
        for need in job.needs
    }
    scored = {need for job in jobs if job.stage == "scores" for need in job.needs} - busy
    return [
        unit
        for job in jobs
        if job.stage == "samples"
        for unit in job.results[-(-keep // job.specs[0].batch) :]
        if unit in scored
    ]


def checkout() -> Path:
    """Returns the folder of the project, where suites/ lies."""
    return Path(__file__).resolve().parent.parent
