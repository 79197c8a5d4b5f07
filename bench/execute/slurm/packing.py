"""How long units are expected to take: like finished ones, as measured, or by their FLOPs at a
throughput.

A unit whose key has finished units takes as long as those did. Finished units of other keys correct
what is assumed for units of their model, or else of their stage; only those count that were made on
a device like that of the executor's jobs.
"""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
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
"""What a unit takes, if its method does not say what it computes and none has finished."""

LEAST_SECONDS = 1.0
"""What a unit takes to read its inputs and to write its results."""

CALL_SECONDS = 1e-4
"""What the call of a layer takes, however small it is."""

ENOUGH = 200
"""Finished units of a stage that are read at most: the mean hardly changes after them."""


class Observed(NamedTuple):
    """Finished units, against what was assumed of them."""

    took: float = 0.0
    assumed: float = 0.0
    flops: float = 0.0
    units: int = 0

    def add(self, took: float, assumed: float, flops: float) -> "Observed":
        """Returns the sums with one unit more."""
        return Observed(
            self.took + took, self.assumed + assumed, self.flops + flops, self.units + 1
        )


class Measured:
    """What ``plan --measure`` has found; it counts for jobs on a device like the one measured.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.content: dict[str, Any] = {}
        self.provenance: dict[str, Any] = {}
        self.models: dict[str, Any] = {}
        try:
            content = json.loads(path.read_bytes())
            provenance, models = dict(content["provenance"]), dict(content["models"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return
        self.content, self.provenance, self.models = content, provenance, models


def measured(results: Path) -> Measured:
    """Returns what was measured for a suite."""
    return Measured(results / "measured.json")


@cache
def kind_of(spec: TrainSpec) -> str:
    """Returns a text that is equal for trainings that differ in their seed only: they take the same
    time.
    """
    ignored = ("seed", "checkpoint", "weights")
    plain = {name: value for name, value in canonical(spec).items() if name not in ignored}
    return json.dumps(plain, sort_keys=True)


class Sizes:
    """Seconds that units are expected to take.

    Args:
        jobs: All of a suite.
        executor: Of the jobs that will make the units.
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
        self.observed: dict[tuple[str, str], Observed] = {}
        self.devices: dict[str, set[str]] = {}
        self._learned: Counter[str] = Counter()
        self._assumed: dict[tuple[str, str], float | None] = {}
        self._seconds: dict[tuple[str, str], float] = {}
        self._rates: dict[tuple[str, str], Rate] = {}
        self._host = host_rate(executor).tflops
        begun = {stage: set(scan(store.root / stage)) for stage in STAGES}
        for job in jobs:
            for unit in job.units[:20] if job.key in begun[job.stage] else ():
                self.learn(job, unit)

    def learn(self, job: Job, unit: UnitId) -> None:
        """Learns from how long a unit took, if it is finished: from the first of each key, and from
        enough of each stage.
        """
        stage = job.stage
        if job.key in self.by_key or self._learned[stage] >= ENOUGH:
            return
        stored = (self.store.record(*result) for result in job.made_by(unit))
        records = [r for r in stored if r and self._is_alike(stage, r.get("provenance", {}))]
        if not records or (took := max(map(record_seconds, records))) <= 0:
            return
        self._seconds.clear()
        self.by_key[job.key] = took
        self._learned[stage] += 1
        mean = self.by_stage.get(stage, 0.0)
        self.by_stage[stage] = mean + (took - mean) / self._learned[stage]
        device = records[0].get("provenance", {}).get("device", "")
        self.devices.setdefault(stage, set()).add(str(device))
        assumed, work = self.assumed(unit), self.work.of(unit)
        if assumed is not None and work is not None:
            flops = work.flops
            for kind in {"", self._kind(job)}:
                earlier = self.observed.get((stage, kind), Observed())
                self.observed[stage, kind] = earlier.add(took, assumed, flops)

    def _is_alike(self, stage: str, provenance: Mapping[str, Any]) -> bool:
        """Tells whether something was made on a device, and in a way, like those of the jobs of a
        stage.
        """
        executor = self.executor
        if provenance.get("processes", 1) != self._processes(stage):
            return False
        if not on_gpu(executor, stage):
            on_cpu = provenance.get("accelerator") == "cpu"
            return on_cpu and provenance.get("threads") == executor.threads
        wanted, part = target(executor, stage), executor.of(stage).gpus_on_node.part
        options = (provenance.get("tf32"), provenance.get("compiled"))
        same = options == (executor.tf32, executor.compile)
        right = not wanted or accelerator(str(provenance.get("device", ""))) == wanted
        return provenance.get("accelerator") == "cuda" and same and right and part == 1

    def _kind(self, job: Job) -> str:
        spec = job.specs[0] if job.specs else None
        train = spec if isinstance(spec, TrainSpec) else getattr(spec, "train", None)
        return "" if train is None else kind_of(train)

    def assumed(self, unit: UnitId) -> float | None:
        """Returns the seconds of a unit by its FLOPs at an assumed throughput; None if its method
        does not say them.
        """
        place = (unit.stage, unit.key)
        if place not in self._assumed:
            work = self.work.of(unit)
            self._assumed[place] = None
            if work is not None:
                device = 1e12 * self._rate(unit.stage, work.precision).tflops
                host = work.host_flops / (1e12 * self._host)
                computing = work.flops / self._processes(unit.stage) / device
                busy = max(computing, CALL_SECONDS * work.calls)
                self._assumed[place] = LEAST_SECONDS + busy + host
        return self._assumed[place]

    def _as_measured(self, unit: UnitId) -> float | None:
        """Returns the seconds of a unit by a measurement of its model; None if there is none."""
        job, stage = self.jobs.get((unit.stage, unit.key)), unit.stage
        if job is None or not self.measured.models:
            return None
        found, processes = self.measured.models.get(self._kind(job)), self._processes(stage)
        made = {"processes": processes, **self.measured.provenance}
        if found is None or stage == "scores" or not self._is_alike(stage, made):
            return None
        work = self.work.of(unit)
        each = found.get("seconds_per_image" if stage == "train" else "seconds_per_row")
        if work is None or each is None:
            return None
        # An image that is trained on is three rows: forward, and backward of twice the length.
        return LEAST_SECONDS + each * (work.rows / 3 / processes if stage == "train" else work.rows)

    def _processes(self, stage: str) -> int:
        return self.executor.train.world if stage == "train" else 1

    def _observed(self, unit: UnitId) -> Observed | None:
        """Returns the finished units of the same model, or else of the same stage."""
        if not self.observed:
            return None
        job = self.jobs.get((unit.stage, unit.key))
        kind = self._kind(job) if job is not None else ""
        return self.observed.get((unit.stage, kind)) or self.observed.get((unit.stage, ""))

    def of(self, unit: UnitId) -> float:
        """Returns the seconds of a unit, equal for all of a key."""
        place = (unit.stage, unit.key)
        if place not in self._seconds:
            self._seconds[place] = self._of(unit)
        return self._seconds[place]

    def _of(self, unit: UnitId) -> float:
        if (seconds := self.by_key.get(unit.key)) is not None:
            return seconds
        if (seconds := self._as_measured(unit)) is not None:
            return seconds
        assumed = self.assumed(unit)
        if assumed is None:
            return self.by_stage.get(unit.stage, SECONDS[unit.stage])
        observed = self._observed(unit)
        return assumed if observed is None else assumed * observed.took / observed.assumed

    def source(self, unit: UnitId) -> str:
        """Returns in one word or two what the seconds of a unit rest on."""
        if unit.key in self.by_key:
            return "finished"
        if self._as_measured(unit) is not None:
            return "measured"
        by_stage = self.assumed(unit) is None and unit.stage in self.by_stage
        return "finished alike" if by_stage or self._observed(unit) is not None else "assumed"

    def explain(self, unit: UnitId) -> str:
        """Returns in words what the seconds of a unit rest on."""
        stage = unit.stage
        match self.source(unit):
            case "finished":
                return "the time that finished units of the same key took"
            case "measured":
                device = self.measured.provenance.get("device", "an unnamed device")
                return f"a measurement on {device}"
            case "finished alike":
                observed = self._observed(unit)
                devices = ", ".join(sorted(filter(None, self.devices.get(stage, ()))))
                place = f" on {devices}" if devices else ""
                if observed is None or not observed.flops:
                    return f"the time that {self._learned[stage]} finished units took{place}"
                tflops = f"{observed.flops / observed.took / 1e12:.2g} TFLOP/s"
                return f"{tflops} of {observed.units} finished units{place}"
        work = self.work.of(unit)
        if work is None:
            unknown = "if nothing says what it computes"
            return f"{SECONDS[stage]:g} s per unit {unknown}"
        return self._rate(stage, work.precision).words

    def _rate(self, stage: str, precision: str) -> Rate:
        if (stage, precision) not in self._rates:
            self._rates[stage, precision] = rate(self.executor, stage, precision)
        return self._rates[stage, precision]


def record_seconds(record: Mapping[str, Any]) -> float:
    """Returns how long the unit of a record took, 0 if it does not say."""
    for took in (record.get("seconds"), record.get("provenance", {}).get("attempt_seconds")):
        if isinstance(took, int | float) and math.isfinite(took):
            return float(took)
    return 0.0
