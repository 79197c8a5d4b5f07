"""How long units are expected to take: as finished ones did, as measured, or by their FLOPs at a
throughput.

A unit of a finished key takes as long as that did. Other finished units tell how far what is
assumed of units of their model, or else of their stage, was off; only those made on a device as the
executor's jobs will have it count.
"""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench.execute.slurm.resources import Slurm
from bench.execute.slurm.throughput import Rate, accelerator, host_rate, on_gpu, rate, target
from bench.execute.workload import Workload
from bench.files import scan
from bench.plan import Job
from bench.spec import TrainSpec, canonical
from bench.store import STAGES, Store, UnitId

SECONDS = {"train": 3600.0, "samples": 60.0, "likelihood": 60.0, "inspect": 30.0, "scores": 30.0}
"""What a unit is taken to need whose method does not say what it computes, and none has
finished.
"""

LEAST_SECONDS = 1.0
"""What a unit takes to read its inputs and to write its results."""

CALL_SECONDS = 1e-4
"""What a layer takes with what stands around it, however small it is."""

ENOUGH = 200
"""Finished units of a stage from which the time of the others is known well enough."""


class Told(NamedTuple):
    """Finished units, or measured ones, against what was assumed of them."""

    took: float = 0.0
    assumed: float = 0.0
    flops: float = 0.0
    units: int = 0

    def add(self, took: float, assumed: float, flops: float) -> "Told":
        """Returns what is known with one unit more."""
        return Told(self.took + took, self.assumed + assumed, self.flops + flops, self.units + 1)


class Measured:
    """What ``plan --measure`` has found, where the jobs of an executor are on such a device.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        try:
            self.content: dict[str, Any] = json.loads(path.read_bytes())
            self.provenance, self.models = (
                dict(self.content["provenance"]),
                dict(self.content["models"]),
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            self.content, self.provenance, self.models = {}, {}, {}


def measured(results: Path) -> Measured:
    """Returns what was measured for a suite."""
    return Measured(results / "measured.json")


def kind_of(spec: TrainSpec) -> str:
    """Returns a text that trainings share which differ in their seed alone: they take the same
    time.
    """
    known = vars(spec)
    if "_kind" not in known:
        plain = {
            name: value
            for name, value in canonical(spec).items()
            if name not in ("seed", "checkpoint", "weights")
        }
        known["_kind"] = json.dumps(plain, sort_keys=True)
    return known["_kind"]


class Sizes:
    """Seconds that units are expected to take.

    Args:
        jobs: All of a suite.
        executor: Whose jobs will make the units.
        measured: What was measured.
    """

    def __init__(
        self, store: Store, jobs: Sequence[Job], executor: Slurm, measured: Measured | None = None
    ) -> None:
        self.store = store
        self.executor = executor
        self.jobs = {(job.stage, job.key): job for job in jobs}
        self.work = Workload(self.jobs)
        self.measured = measured or Measured(Path())
        self.by_key: dict[str, float] = {}
        self.by_stage: dict[str, float] = {}
        self.told: dict[tuple[str, str], Told] = {}
        self.devices: dict[str, set[str]] = {}
        self._learned: Counter[str] = Counter()
        self._assumed: dict[tuple[str, str], float | None] = {}
        self._rates: dict[tuple[str, str], Rate] = {}
        self._host = host_rate(executor).tflops
        begun = {stage: set(scan(store.root / stage)) for stage in STAGES}
        for job in jobs:
            for unit in job.units[:20] if job.key in begun[job.stage] else ():
                self.learn(job, unit)

    def learn(self, job: Job, unit: UnitId) -> None:
        """Takes note of how long a unit took, if it is finished: the first of each key, and enough
        of each stage.
        """
        stage = job.stage
        if job.key in self.by_key or self._learned[stage] >= ENOUGH:
            return
        records = [
            record
            for result in job.made_by(unit)
            if (record := self.store.record(*result)) is not None
        ]
        records = [
            record for record in records if self._is_alike(stage, record.get("provenance", {}))
        ]
        if not records or (took := max(map(record_seconds, records))) <= 0:
            return
        self.by_key[job.key] = took
        self._learned[stage] += 1
        mean = self.by_stage.get(stage, 0.0)
        self.by_stage[stage] = mean + (took - mean) / self._learned[stage]
        self.devices.setdefault(stage, set()).add(
            str(records[0].get("provenance", {}).get("device", ""))
        )
        if (assumed := self.assumed(unit)) is not None:
            work = self.work.of(unit)
            for kind in {"", self._kind(job)}:
                self.told[stage, kind] = self.told.get((stage, kind), Told()).add(
                    took, assumed, work.flops
                )

    def _is_alike(self, stage: str, made: Mapping[str, Any]) -> bool:
        """Tells whether something was made on such a device, and in such a way, as the jobs of a
        stage will.
        """
        executor = self.executor
        processes = executor.train.world if stage == "train" else 1
        if made.get("processes", 1) != processes:
            return False
        if not on_gpu(executor, stage):
            return made.get("accelerator") == "cpu" and made.get("threads") == executor.threads
        wanted, part = target(executor, stage), executor.of(stage).gpus_on_node.part
        same = (made.get("tf32"), made.get("compiled")) == (executor.tf32, executor.compile)
        known = not wanted or accelerator(str(made.get("device", ""))) == wanted
        return made.get("accelerator") == "cuda" and same and known and part == 1

    def _kind(self, job: Job) -> str:
        spec = job.specs[0] if job.specs else None
        train = spec if isinstance(spec, TrainSpec) else getattr(spec, "train", None)
        return "" if train is None else kind_of(train)

    def assumed(self, unit: UnitId) -> float | None:
        """Returns the seconds of a unit by its FLOPs at an assumed throughput; None where they are
        not known.
        """
        place = (unit.stage, unit.key)
        if place not in self._assumed:
            work = self.work.of(unit)
            self._assumed[place] = None
            if work is not None:
                share = self.executor.train.world if unit.stage == "train" else 1
                device = 1e12 * self._rate(unit.stage, work.precision).tflops
                host = work.host_flops / (1e12 * self._host)
                busy = max(work.flops / share / device, CALL_SECONDS * work.calls)
                self._assumed[place] = LEAST_SECONDS + busy + host
        return self._assumed[place]

    def _as_measured(self, unit: UnitId) -> float | None:
        """Returns the seconds of a unit by a measurement of its model."""
        job, work = self.jobs.get((unit.stage, unit.key)), None
        found = (
            self.measured.models.get(self._kind(job))
            if job is not None and self.measured.models
            else None
        )
        if found is None or not self._is_alike(
            unit.stage, {"processes": self._processes(unit), **self.measured.provenance}
        ):
            return None
        work = self.work.of(unit)
        if unit.stage == "train" and work is not None:
            each = found.get("seconds_per_image")
            return (
                None
                if each is None
                else LEAST_SECONDS + each * work.rows / 3 / self.executor.train.world
            )
        each = found.get("seconds_per_row")
        if work is None or each is None or unit.stage == "scores":
            return None
        return LEAST_SECONDS + each * work.rows

    def _processes(self, unit: UnitId) -> int:
        return self.executor.train.world if unit.stage == "train" else 1

    def _told(self, unit: UnitId) -> Told | None:
        job = self.jobs.get((unit.stage, unit.key))
        kind = self._kind(job) if job is not None else ""
        return self.told.get((unit.stage, kind)) or self.told.get((unit.stage, ""))

    def of(self, unit: UnitId) -> float:
        """Returns the seconds of a unit."""
        if (known := self.by_key.get(unit.key)) is not None:
            return known
        if (known := self._as_measured(unit)) is not None:
            return known
        assumed = self.assumed(unit)
        if assumed is None:
            return self.by_stage.get(unit.stage, SECONDS[unit.stage])
        told = self._told(unit)
        return assumed if told is None else assumed * told.took / told.assumed

    def source(self, unit: UnitId) -> str:
        """Says where the number is from."""
        if unit.key in self.by_key:
            return "finished"
        if self._as_measured(unit) is not None:
            return "measured"
        if self._told(unit) is not None or (
            self.assumed(unit) is None and unit.stage in self.by_stage
        ):
            return "finished alike"
        return "assumed"

    def explain(self, unit: UnitId) -> str:
        """Says in words what the seconds of a unit rest on."""
        match self.source(unit):
            case "finished":
                return "the time that finished units of the same key took"
            case "measured":
                return f"a measurement on {self.measured.provenance.get('device', 'an unnamed device')}"
            case "finished alike":
                told, devices = (
                    self._told(unit),
                    ", ".join(sorted(filter(None, self.devices.get(unit.stage, ())))),
                )
                where = f" on {devices}" if devices else ""
                if told is None or not told.flops:
                    return f"the time that {self._learned[unit.stage]} finished units took{where}"
                return f"{told.flops / told.took / 1e12:.2g} TFLOP/s of {told.units} finished units{where}"
        work = self.work.of(unit)
        if work is None:
            return f"{SECONDS[unit.stage]:g} s a unit where nothing says what it computes (an exact score, say)"
        return self._rate(unit.stage, work.precision).words

    def _rate(self, stage: str, precision: str) -> Rate:
        if (stage, precision) not in self._rates:
            self._rates[stage, precision] = rate(self.executor, stage, precision)
        return self._rates[stage, precision]


def record_seconds(record: Mapping[str, Any]) -> float:
    """Returns how long the unit of a record took, 0 where it does not say."""
    for took in (record.get("seconds"), record.get("provenance", {}).get("attempt_seconds")):
        if isinstance(took, int | float) and math.isfinite(took):
            return float(took)
    return 0.0
