"""How far the jobs of a suite are, and for what is missing, why.

No clock, no submission; standard library only.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.files import scan
from bench.plan import Job
from bench.spec import SampleSpec, ScoreSpec, canonical, flatten
from bench.store import REFERENCES, STAGES, DamagedError, Store, UnitId, pruned


@dataclass
class Progress:
    """How far a job is: finished results, damaged files, and why the rest is to do.

    Args:
        stale: Parts with a record that have to be made again: damaged, or pruned and needed.
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


def examine(
    jobs: Sequence[Job], store: Store, *, rehash: bool = False, reasons: bool = True
) -> dict[str, Progress]:
    """Returns how far each job is, by ``stage/key``.

    Args:
        rehash: Read every data file and compare its hash, whatever its modification time says.
        reasons: Say why what is missing is missing.
    """
    states: dict[str, Progress] = {}
    without_images: set[UnitId] = set()
    begun = {stage: set(scan(store.root / stage)) for stage in STAGES}
    for job in jobs:
        progress = states[job.folder] = Progress(job)
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
                    without_images.add(unit)
    for job in jobs if without_images else ():
        if job.stage == "scores" and not states[job.folder].finished:
            for need in without_images.intersection(job.needs):
                progress = states[need.folder]
                progress.done.discard(need.part)
                progress.stale.add(need.part)
                progress.why = f"images were pruned, and {job.label} has metrics to make"
    if reasons:
        neighbours: dict[str, Neighbours] = {}
        for progress in states.values():
            if not progress.finished and not progress.why:
                progress.why = _reason(progress, store, states, neighbours, begun)
    return states


def verify_references(store: Store) -> list[DamagedError]:
    """Reads and hashes the statistics of real images in a store; returns what is damaged.

    Any suite may use them: which ones this suite does is not known before its extractors are
    loaded.
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
    states: Mapping[str, Progress],
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
        metrics = ", ".join(spec.metric for spec in job.specs if isinstance(spec, ScoreSpec))
        new = any(not states[need.folder].finished for need in job.needs)
        return f"{'new images' if new else 'not scored yet'}: {metrics} of {job.images} images"
    if job.key in begun[job.stage]:
        return "begun, not finished"
    if job.stage not in neighbours:
        neighbours[job.stage] = Neighbours(spec for _, spec in store.specs(job.stage))
    return neighbours[job.stage].difference(canonical(job.specs[0]))


def _span(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{parts[0]} to {parts[-1]} ({len(parts)})"


class Neighbours:
    """Stored specs, for finding one that differs from a new spec in a single field."""

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


def to_prune(jobs: Sequence[Job], states: Mapping[str, Progress], keep: int) -> list[UnitId]:
    """Returns the scored batches beyond the first ``keep`` images per point."""
    busy = {
        need
        for job in jobs
        if job.stage == "scores" and not states[job.folder].finished
        for need in job.needs
    }
    scored = {need for job in jobs if job.stage == "scores" for need in job.needs} - busy
    return [
        unit
        for job in jobs
        for spec in job.specs
        if isinstance(spec, SampleSpec)
        for unit in job.results[-(-keep // spec.batch) :]
        if unit in scored
    ]
