"""Times a few steps of a suite's models in a job on the partition where the suite will run (``plan
--measure``).

    measured.json          the device, and seconds per image and per row for each kind of model
    measure/<name>/        the jobs to time, and the logs of the job that does

No torch before :meth:`Measurement.__call__`.
"""

import json
import shutil
import sys
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.execute.attempt import now, start
from bench.execute.slurm import queue
from bench.execute.slurm.ending import last_lines
from bench.execute.slurm.gpus import BY_OPTION
from bench.execute.slurm.packing import kind_of, measured
from bench.execute.slurm.resources import Resources, Slurm
from bench.execute.slurm.submission import Order
from bench.execute.slurm.submit import submit_array
from bench.execute.stop import Stop
from bench.execute.workload import trained_images
from bench.files import write
from bench.plan import Job
from bench.spec import SnapshotSpec, TrainSpec
from bench.store import Store, UnitId

MOST_MINUTES = 60
TIMED_SECONDS = 3.0
"""For how long the steps of a training are timed."""


class MeasureError(Exception):
    """The job that measures ended without having written what it found."""


@dataclass
class Measurement:
    """The callable of the job.

    Args:
        folder: Of ``jobs.json``.
        results: The suite's results folder.
    """

    folder: str
    results: str

    def __call__(self) -> None:
        """Measures, and writes down what was found."""
        order = json.loads((Path(self.folder) / "jobs.json").read_bytes())
        jobs = [Job.from_plain(job) for job in order["jobs"]]
        measure_here(jobs, Path(self.results), order["settings"], self.folder)


def measure_here(
    jobs: Sequence[Job], results: Path, settings: dict[str, Any], name: str = ""
) -> None:
    """Times models in this process and writes down what was found.

    Args:
        settings: Of the executor: threads, device, tf32, compile.
        name: Of the measurement.
    """
    start(settings)
    from bench.stages.context import Context, Unwatched
    from bench.stages.jobs import measure

    context = Context(Store(results / "none"), settings, Unwatched(), Stop(), now(), 1)
    models = {}
    for kind, job in _kinds(jobs).items():
        if (timed := measure(job, context, TIMED_SECONDS)) is not None:
            images, seconds = trained_images(job.specs[0]), timed.pop("seconds", None)
            models[kind] = timed
            if seconds and images:
                timed["seconds_per_image"] = seconds / images
    content = {"name": name, "provenance": context.provenance(), "models": models}
    write(results / "measured.json", json.dumps(content, indent=1).encode())


def _kinds(jobs: Sequence[Job]) -> dict[str, Job]:
    """Returns a training of each kind, the longest: seeds take the same time."""
    kinds: dict[str, Job] = {}
    for job in jobs:
        spec = job.specs[0] if job.stage == "train" else None
        train = spec.train if isinstance(spec, SnapshotSpec) else spec
        if isinstance(train, TrainSpec) and (kind_of(train) not in kinds or train is spec):
            kinds[kind_of(train)] = job
    return kinds


def measure_there(jobs: Sequence[Job], results: Path, executor: Slurm) -> None:
    """Times models in a job of the cluster with the resources of one process that trains, and waits
    for it.

    Raises:
        ClusterError: SLURM does not answer, or takes no jobs.
        MeasureError: The job ended and has found nothing.
    """
    if shutil.which("sbatch") is None or shutil.which("srun") is None:
        raise queue.ClusterError("there is no sbatch here: is this a login node of the cluster?")
    name = f"{results.name}-measure-{uuid.uuid4().hex[:8]}"
    folder = results.absolute() / "measure" / name
    kinds = [job.plain() for job in _kinds(jobs).values()]
    content = {"jobs": kinds, "settings": executor.settings}
    write(folder / "jobs.json", json.dumps(content).encode())
    resources, unit = of_one_process(executor.train), UnitId("train", "measure", "measure")
    order = Order(stage="train", array_tasks=((unit,),), resources=resources)
    measurement = Measurement(str(folder), str(results.absolute()))
    id_ = submit_array([measurement], folder / "jobs" / "%j", name, order, executor.settings)
    partition = resources.partition
    place = f"on partition {partition}" if partition else "on the default partition"
    print(f"measuring as job {id_} {place}; Ctrl-C cancels it", file=sys.stderr)
    try:
        _wait(id_, name, folder, results, executor)
    except KeyboardInterrupt:
        queue.cancel([id_])
        raise
    shutil.rmtree(folder, ignore_errors=True)


def _wait(id_: str, name: str, folder: Path, results: Path, executor: Slurm) -> None:
    ended = 0.0
    while measured(results).content.get("name") != str(folder):
        entry = queue.queue([name]).get(id_)
        if entry is None or not entry.alive:  # a file system may show late what another node wrote
            if ended and time.monotonic() - ended > executor.grace_seconds:
                tail = [line for log in folder.glob("jobs/*/*.err") for line in last_lines(log)]
                raise MeasureError(
                    f"the job {id_} that measures ended and has found nothing (logs: {folder})\n"
                    + "\n".join(f"  | {line}" for line in tail)
                )
            ended = ended or time.monotonic()
        time.sleep(executor.poll_seconds)


def of_one_process(resources: Resources) -> Resources:
    """Returns the share that one process of a training has, for long enough to measure."""
    gpus = resources.gpus_on_node
    kind = gpus.type.split(",")[0]
    one: int | str = (f"{kind}:1" if kind else 1) if gpus.count else 0
    options = {n: v for n, v in resources.options.items() if n not in BY_OPTION or not gpus.count}
    if gpus.share:
        one, options = 0, dict(resources.options)
    memory = None if resources.memory_gb is None else resources.memory_gb / resources.tasks
    alone: dict[str, Any] = {
        "nodes": 1,
        "tasks": 1,
        "at_once": 1,
        "minutes": min(resources.minutes, MOST_MINUTES),
    }
    return replace(resources, gpus=one, sbatch=options, memory_gb=memory, **alone)
