"""All that touches submitit: starting jobs, and what a job learns of itself.

submitit submits and carries signals; what became of a job stands in our own files. The names that
submitit does not document are used in this file and nowhere else: ``_make_submission_command``,
``_make_sbatch_string``, ``core._submit``, ``DelayedSubmission``, the temporary name of its result.

submitit is imported where it is needed, so that plans start quickly.
"""

import os
import shlex
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.files import whole
from bench.installation import checkout

CONTROLLER = "submitit"
"""A word in the command line of the processes that submitit puts above a local worker."""

MOST_RESTARTS = 10_000
"""How often submitit may queue a job again. Whether it gets on is for us to judge, and submitit
counts every signal of a job of ten minutes or less as a time-out.
"""

UNLIMITED_MINUTES = 60 * 24 * 365


class LaunchError(Exception):
    """A job could not be started; the message is the last line of the program that refused it."""


# Starting


def job_variables(threads: int) -> dict[str, str]:
    """Returns the environment variables of a job: its CPU threads, and where our modules are.

    Files of the folder that the job starts in are no modules: a user's ``profile.py`` there would
    take the place of Python's.
    """
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    path = filter(None, [str(checkout()), os.environ.get("PYTHONPATH")])
    modules = {"PYTHONPATH": os.pathsep.join(path), "PYTHONSAFEPATH": "1"}
    return dict.fromkeys(names, str(threads)) | modules


def start_local(function: Callable[[], None], folder: Path, setup: Sequence[str]) -> Any:
    """Starts a function in a process of this machine that outlives this one.

    Args:
        folder: For submitit's files, a subfolder per job.
        setup: Shell lines that run before.

    Returns:
        submitit's job, with ``job_id``, ``done()`` and ``paths.stderr``.
    """
    import submitit

    executor = submitit.LocalExecutor(folder=folder / "%j")
    executor.update_parameters(timeout_min=UNLIMITED_MINUTES, setup=list(setup))
    return executor.submit(function)


def start_array(
    functions: Sequence[Callable[[], None]],
    folder: Path,
    parameters: Mapping[str, Any],
    options: Sequence[str],
) -> str:
    """Hands functions to SLURM as one array and returns its id.

    Args:
        folder: For submitit's files, with ``%j`` for the id.
        parameters: Of submitit's SlurmExecutor.
        options: Options on sbatch's command line, which win over its environment and its script.

    Raises:
        LaunchError: sbatch did not take them.
    """
    import submitit
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    executor = submitit.SlurmExecutor(folder=folder, max_num_timeout=MOST_RESTARTS)
    executor.update_parameters(**parameters)
    command = ["sbatch", *options]
    setattr(executor, "_make_submission_command", lambda path: [*command, str(path)])  # noqa: B010
    try:
        with executor.batch():
            jobs = [executor.submit(function) for function in functions]
        return jobs[0].job_id.partition("_")[0]
    except (FailedJobError, FailedSubmissionError, OSError) as error:
        raise LaunchError(_last_words(str(error))) from None


def _last_words(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if "sbatch:" in line or "error" in line.lower()]
    return (errors or lines or ["sbatch failed without a word"])[-1]


def sbatch_script(folder: Path, parameters: Mapping[str, Any], count: int) -> str:
    """Returns the script that sbatch would be given for an array of ``count`` tasks."""
    from submitit.slurm.slurm import _make_sbatch_string

    python, place = shlex.quote(sys.executable), shlex.quote(str(folder))
    command = f"{python} -u -m submitit.core._submit {place}"
    return _make_sbatch_string(
        command, folder, map_count=count if count > 1 else None, **parameters
    )


def put_function(function: Callable[[], None], folder: Path, id_: str, minutes: int) -> None:
    """Writes the file from which a submitted job reads what to run, if it is not there.

    Args:
        folder: As for :func:`start_array`.
        id_: Of the job in the queue.
    """
    from submitit.core.utils import DelayedSubmission, JobPaths

    path = JobPaths(folder, job_id=id_).submitted_pickle
    if path.exists():
        return
    delayed = DelayedSubmission(function)
    delayed.set_timeout(minutes, MOST_RESTARTS)
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as file:
        delayed.dump(file.name)


def run_again(function: Callable[[], None]) -> Any:
    """Returns what a ``checkpoint`` method returns to have its job queued again."""
    from submitit.helpers import DelayedSubmission

    return DelayedSubmission(function)


# Inside a job


class JobProcess:
    """What a process of a job learns of itself from its environment.

    Attributes:
        rank: Among the ``world`` processes of the job.
        local_rank: Among those on the same node.
        log: Path of its error output.
        requeue_signal: The signal by which SLURM says that time is nearly over; submitit's handler
            of it calls ``checkpoint`` and queues the job again.
    """

    def __init__(self) -> None:
        from submitit import JobEnvironment

        environment = JobEnvironment()
        self.job: str = environment.job_id
        self.rank: int = environment.global_rank
        self.world: int = environment.num_tasks
        self.local_rank: int = environment.local_rank
        self.log = str(environment.paths.stderr)
        self.requeue_signal: int = getattr(signal, f"SIG{environment.USR_SIG}")
        self._result = Path(environment.paths.result_pickle)

    def forget_half_written_result(self) -> None:
        """Deletes what an earlier start left that was killed as it ended; submitit would fail over
        it.
        """
        self._result.with_name(f"{self._result.name}.save_tmp").unlink(missing_ok=True)


def join_processes() -> None:
    """Exports what torch.distributed needs to find the other processes of this job."""
    from submitit.helpers import TorchDistributedEnvironment

    place = TorchDistributedEnvironment()
    try:
        socket.gethostbyname(place.master_addr)
    except OSError:  # a node's name in SLURM need not be that of its host
        place.master_addr = os.environ.get("SLURM_LAUNCH_NODE_IPADDR") or "127.0.0.1"
    place.export(set_cuda_visible_devices=False, overwrite=True)
