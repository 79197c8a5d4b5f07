"""Handing submissions to SLURM: the options of sbatch, and an environment without the caller's own
job.
"""

import contextlib
import math
import os
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.data.root import data_root
from bench.execute.launcher import (
    LaunchError,
    job_variables,
    put_function,
    sbatch_script,
    start_array,
)
from bench.execute.slurm.queue import ClusterError
from bench.execute.slurm.submission import Order, Submission, submissions_folder
from bench.execute.slurm.task import ArrayTask


class RefusedError(Exception):
    """sbatch did not take a submission."""


def submit(submission: Submission, order: Order) -> None:
    """Hands a submission to SLURM and notes its id.

    Raises:
        RefusedError: sbatch did not take it.
    """
    tasks = [ArrayTask(str(submission.folder), index) for index in range(len(order.array_tasks))]
    folder, settings = submission.folder / "jobs" / "%j", submission.intent["settings"]
    try:
        job = submit_array(tasks, folder, submission.name, order, settings)
    except ClusterError as error:
        raise RefusedError(str(error)) from None
    submission.note_job(job)


def submit_array(
    functions: Sequence[Callable[[], None]],
    folder: Path,
    name: str,
    order: Order,
    settings: Mapping[str, Any],
) -> str:
    """Hands functions to SLURM as one array and returns its id.

    Args:
        folder: For submitit's files, with ``%j`` for the id.
        name: Of the jobs in the queue.
        order: Its resources are asked for.

    Raises:
        ClusterError: sbatch did not take them.
    """
    # The executor file goes before the site's environment, which goes before the script.
    written = {name: getattr(order.resources, name) for name in ("account", "partition", "qos")}
    options = [f"--{name}={value}" for name, value in written.items() if value is not None]
    try:
        with clean_environment():
            return start_array(functions, folder, parameters(name, order, settings), options)
    except LaunchError as error:
        raise ClusterError(str(error)) from None


def recover(submission: Submission, job: str) -> None:
    """Notes the id of a submission whose driver died before it could, and writes the files that its
    jobs wait for.
    """
    submission.note_job(job)
    minutes = submission.intent["resources"]["minutes"]
    for index in range(len(submission.array_tasks)):
        task = ArrayTask(str(submission.folder), index)
        put_function(task, submission.folder / "jobs" / "%j", submission.id(index) or job, minutes)


OF_THE_SITE = frozenset(
    {
        *("SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_JWT", "SLURM_CLUSTERS"),
        *("SBATCH_ACCOUNT", "SBATCH_CLUSTERS", "SBATCH_PARTITION", "SBATCH_QOS"),
    }
)
"""Variables of SLURM about the cluster and its accounts, not about the caller's job."""


def leaks(name: str) -> bool:
    """Tells whether a variable is about the job that the caller runs in."""
    ours = name.startswith(("SLURM_", "SLURMD_", "SBATCH_", "SRUN_", "SALLOC_"))
    return ours and name not in OF_THE_SITE


@contextlib.contextmanager
def clean_environment() -> Iterator[None]:
    """Hides the variables of the caller's job, which a submitted job would take for its own."""
    hidden = {name: value for name, value in os.environ.items() if leaks(name)}
    for name in hidden:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(hidden)


def parameters(name: str, order: Order, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the parameters of submitit's SlurmExecutor for an order."""
    resources = order.resources
    values: dict[str, Any] = {
        "job_name": name,
        "time": resources.minutes,
        "nodes": resources.nodes,
        "ntasks_per_node": resources.tasks,
        "cpus_per_task": resources.cpus,
        "signal_delay_s": resources.signal_seconds,
        "array_parallelism": resources.at_once,
        "srun_args": [f"--cpus-per-task={resources.cpus}", "--kill-on-bad-exit=1", "--export=ALL"],
        "setup": [*_exports(settings), *resources.setup],
        "additional_parameters": {"requeue": True, **resources.options},
    }
    optional = {
        "partition": resources.partition,
        "account": resources.account,
        "qos": resources.qos,
        "gpus_per_node": resources.gpus or None,
        "mem": None if order.memory_gb is None else f"{math.ceil(1024 * order.memory_gb)}MB",
        "dependency": f"afterany:{':'.join(order.after)}" if order.after else None,
    }
    if resources.sbatch.get("wckey") is False:
        values["wckey"] = None  # submitit sets one of its own otherwise
    return values | {name: value for name, value in optional.items() if value is not None}


def _exports(settings: Mapping[str, Any]) -> list[str]:
    values = job_variables(settings["threads"])
    if os.environ.get("BENCH_DATA", "").strip():
        values["BENCH_DATA"] = str(data_root())
    return [f"export {name}={shlex.quote(value)}" for name, value in values.items()]


def sbatch_text(order: Order, results: Path, settings: Mapping[str, Any]) -> str:
    """Returns the script that sbatch would be given; it needs no SLURM."""
    name = f"{results.name}-{order.stage}-..."
    folder = submissions_folder(results.absolute()) / name / "jobs" / "%j"
    return sbatch_script(folder, parameters(name, order, settings), len(order.array_tasks))
