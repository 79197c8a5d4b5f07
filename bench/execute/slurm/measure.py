"""Times a few steps of a suite's models: as a job on the partition where the suite will run (``plan
--measure``).

    measured.json          what was found: on which device, and for each kind of model seconds an image and a row
    measure/<name>/        what the job was told, and its logs

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

from bench.execute.slurm import queue
from bench.execute.slurm.ending import last_lines
from bench.execute.slurm.gpus import BY_OPTION
from bench.execute.slurm.packing import kind_of, measured
from bench.execute.slurm.resources import Resources, Slurm
from bench.execute.slurm.submission import Order
from bench.execute.slurm.submit import submit_array
from bench.execute.workload import trained_images
from bench.files import write
from bench.plan import Job
from bench.spec import SnapshotSpec, TrainSpec
from bench.store import Store, UnitId

MOST_MINUTES = 60
LOOK_SECONDS = 3.0
"""How long the steps of a training are looked at."""


class MeasureError(Exception):
    """The job that measures ended without a word of what it found."""


@dataclass
class Measurement:
    """The callable of the job.

    Args:
        folder: Where ``jobs.json`` lies.
        results: The suite's results folder.
    """

    folder: str
    results: str

    def __call__(self) -> None:
        """Measures, and writes down what was found."""
        told = json.loads((Path(self.folder) / "jobs.json").read_bytes())
        measure_here(
            [Job.from_plain(job) for job in told["jobs"]],
            Path(self.results),
            told["settings"],
            self.folder,
        )


def measure_here(
    jobs: Sequence[Job], results: Path, settings: dict[str, Any], name: str = ""
) -> None:
    """Times models in this process and writes down what was found.

    Args:
        settings: Of the executor: threads, device, tf32, compile.
        name: Of the measurement.
    """
    from bench.execute.attempt import now, start
    from bench.execute.stop import Stop

    stages = start(settings)
    context = stages.Context(Store(results / "none"), settings, None, Stop(), now(), 1)
    models = {}
    for kind, job in _kinds(jobs).items():
        spec = job.specs[0]
        if (found := stages.measure(job, context, LOOK_SECONDS)) is not None:
            images = trained_images(spec)
            seconds = found.pop("seconds", None)
            models[kind] = {
                **found,
                **({"seconds_per_image": seconds / images} if seconds and images else {}),
            }
    content = {"name": name, "provenance": context.provenance(), "models": models}
    write(results / "measured.json", json.dumps(content, indent=1).encode())


def _kinds(jobs: Sequence[Job]) -> dict[str, Job]:
    """Returns a training of each kind, the longest: seeds take the same time."""
    found: dict[str, Job] = {}
    for job in jobs:
        spec = job.specs[0] if job.stage == "train" else None
        train = spec.train if isinstance(spec, SnapshotSpec) else spec
        if isinstance(train, TrainSpec) and (kind_of(train) not in found or train is spec):
            found[kind_of(train)] = job
    return found


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
    told = {"jobs": [job.plain() for job in _kinds(jobs).values()], "settings": executor.settings}
    write(folder / "jobs.json", json.dumps(told).encode())
    order = Order(
        stage="train",
        elements=((UnitId("train", "measure", "measure"),),),
        resources=of_one_process(executor.train),
    )
    callables = [Measurement(str(folder), str(results.absolute()))]
    (job,) = submit_array(callables, folder / "jobs" / "%j", name, order, executor.settings)
    where = (
        f"on partition {order.resources.partition}"
        if order.resources.partition
        else "on the default partition"
    )
    print(f"measuring as job {job.job_id} {where}; Ctrl-C cancels it", file=sys.stderr)
    try:
        _wait(job.job_id, name, folder, results, executor)
    except KeyboardInterrupt:
        queue.cancel([job.job_id])
        raise
    shutil.rmtree(folder, ignore_errors=True)


def _wait(id_: str, name: str, folder: Path, results: Path, executor: Slurm) -> None:
    ended = 0.0
    while measured(results).content.get("name") != str(folder):
        entry = queue.queue([name]).get(id_)
        if entry is None or not entry.alive:  # a file system may show late what another node wrote
            if ended and time.monotonic() - ended > executor.grace_seconds:
                tail = [line for log in folder.glob("jobs/*/*.err") for line in last_lines(log)]
                why = "\n".join(f"  | {line}" for line in tail)
                raise MeasureError(
                    f"the job {id_} that measures ended and has found nothing (logs: {folder})\n{why}"
                )
            ended = ended or time.monotonic()
        time.sleep(executor.poll_seconds)


def of_one_process(resources: Resources) -> Resources:
    """Returns what one process of a training has of its resources, for long enough to measure."""
    gpus = resources.gpus_on_node
    kind = gpus.type.split(",")[0]
    one = (f"{kind}:1" if kind else 1) if gpus.count else 0
    options = {
        name: value
        for name, value in resources.options.items()
        if name not in BY_OPTION or not gpus.count
    }
    if gpus.share:
        one, options = 0, dict(resources.options)
    memory = None if resources.memory_gb is None else resources.memory_gb / resources.tasks
    minutes = min(resources.minutes, MOST_MINUTES)
    return replace(
        resources,
        nodes=1,
        tasks=1,
        gpus=one,
        sbatch=options,
        memory_gb=memory,
        minutes=minutes,
        at_once=1,
    )
