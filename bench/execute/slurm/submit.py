"""Submissions: what was handed to SLURM, as files, so that any driver on any login node can go on
from them.

    submissions/<name>/intent.json     what is to be submitted: written before sbatch, never changed
    submissions/<name>/job.json        the id that sbatch gave
    submissions/<name>/abandoned       its jobs, should there be any, must not work
    submissions/<name>/over            nothing of it lives any more, and what became of it has been judged
    submissions/<name>/elements/3.jsonl   how element 3 began and ended, a line each time
    submissions/<name>/jobs/12_3/      submitit's own: logs, and pickles that nobody reads results from

A driver that dies between intent and id leaves an intent without an id; the name, which is the
job's in the queue too, finds the job again. Every submission has a folder of its own, so that an id
that a cluster gives out twice meets nothing of the first time.
"""

import contextlib
import json
import math
import os
import re
import shlex
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from bench.data.root import data_root
from bench.execute.slurm import queue
from bench.execute.slurm.resources import Resources, plain_resources
from bench.files import append, read_json, read_lines, scan, whole, write
from bench.installation import checkout
from bench.plan import Job
from bench.store import STAGES, Store, UnitId

MOST_RESTARTS = 10_000
"""How often submitit may queue a job again. Whether it gets on is for us to judge, and submitit
counts every signal of a job of ten minutes or less as a time-out.
"""


MOST_HEADER = 2**27
"""Bytes of a checkpoint's header that are read at most: a damaged file may claim any number."""


class RefusedError(Exception):
    """sbatch did not take a submission."""


@dataclass
class Submission:
    """A submission, as its files tell of it.

    Args:
        folder: Where they lie.
        job: The id of the job or of the array, None where sbatch has not told it.
    """

    folder: Path
    job: str | None = None
    abandoned: bool = False
    over: bool = False

    @property
    def name(self) -> str:
        """Its name, which no other submission has, and that of its jobs in the queue."""
        return self.folder.name

    @cached_property
    def intent(self) -> dict[str, Any]:
        """What was to be submitted."""
        return json.loads((self.folder / "intent.json").read_bytes())

    @property
    def stage(self) -> str:
        """The stage that it works for."""
        return self.intent["stage"]

    @property
    def run(self) -> str:
        """The run that submitted it."""
        return self.intent["run"]

    @cached_property
    def elements(self) -> tuple[tuple[UnitId, ...], ...]:
        """The units of each element."""
        return tuple(tuple(UnitId(*unit) for unit in units) for units in self.intent["elements"])

    def id(self, element: int) -> str | None:
        """Returns the id of an element in the queue; an array of one is none."""
        return self.job if self.job is None or len(self.elements) == 1 else f"{self.job}_{element}"

    def logs(self, element: int) -> tuple[Path, ...]:
        """Returns the error logs of an element, one a process."""
        id_ = self.id(element)
        folder = self.folder / "jobs" / str(id_)
        return tuple(folder / f"{id_}_{rank}_log.err" for rank in range(self.intent["world"]))

    def look(self) -> None:
        """Looks again at the files that change."""
        if self.job is None:
            self.job = _job(self.folder)
        self.abandoned = self.abandoned or (self.folder / "abandoned").exists()
        self.over = self.over or (self.folder / "over").exists()

    def mark(self, word: str, why: str = "") -> None:
        """Marks it as abandoned or over."""
        write(self.folder / word, why.encode())
        setattr(self, word, True)

    def note_job(self, job: str) -> None:
        """Notes the id."""
        write(self.folder / "job.json", json.dumps({"job": job}).encode())
        self.job = job

    def told(self, element: int) -> list[dict[str, Any]]:
        """Returns what an element has noted of itself, oldest first."""
        lines = read_lines(self.folder / "elements" / f"{element}.jsonl")
        sound = [line for line in lines if isinstance(line.get("state"), str)]
        return [{**line, "cause": str(line.get("cause") or "")} for line in sound]


def _job(folder: Path) -> str | None:
    values = read_json(folder / "job.json")
    job = values.get("job") if isinstance(values, dict) else None
    return job if isinstance(job, str) and job else None


def add_line(path: Path, **values: Any) -> None:
    """Adds an object to a file with one a line."""
    append(path, values)


def folder_of(results: Path) -> Path:
    """Returns where the submissions of a suite lie; it stays when they are deleted."""
    return results / "submissions"


def submissions(results: Path) -> list[Submission]:
    """Returns the submissions of a suite, oldest first."""
    found = []
    for name in scan(folder_of(results)):
        folder = folder_of(results) / name
        if (folder / "intent.json").exists():
            submission = Submission(folder)
            if not _is_sound(read_json(folder / "intent.json")):
                _say_damaged(folder)
                continue
            submission.look()
            found.append(submission)
    return sorted(found, key=lambda submission: (submission.intent["created"], submission.name))


def _is_sound(intent: Any) -> bool:
    """Tells whether what was read is an intent, as far as others read it."""
    kinds = {
        "run": str,
        "stage": str,
        "store": str,
        "created": (int, float),
        "world": int,
        "memory": (int, float),
    }
    kinds |= {
        "elements": list,
        "jobs": list,
        "after": list,
        "settings": dict,
        "resources": dict,
        "steps": dict,
    }
    if not isinstance(intent, dict) or not all(
        isinstance(intent.get(name), kind) for name, kind in kinds.items()
    ):
        return False
    whole = {"minutes", "memory_gb", "signal_seconds", "gpus", "nodes", "cpus", "tasks"} <= intent[
        "resources"
    ].keys()
    return whole and intent["stage"] in STAGES and all(map(_is_element, intent["elements"]))


def _is_element(units: Any) -> bool:
    """Tells whether an entry of an intent's elements is a list of units."""
    parts = [part for unit in units for part in unit] if isinstance(units, list) else [None]
    return all(isinstance(part, str) for part in parts) and all(len(unit) == 3 for unit in units)


@cache
def _say_damaged(folder: Path) -> None:
    where = f"whether SLURM still has its jobs: squeue --name {folder.name}"
    print(
        f"{folder / 'intent.json'}: damaged, so this submission is not counted; {where}",
        file=sys.stderr,
    )


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is to be submitted: the elements of one array.

    Args:
        memory: Factor on the memory that is asked for, above 1 after it ran out.
        after: Ids of jobs that must have ended, in whatever way, before it starts.
        steps: How far trainings were, by key: those that get no further before their time limit are
            not tried again.
    """

    stage: str
    elements: tuple[tuple[UnitId, ...], ...]
    resources: Resources
    memory: float = 1.0
    after: tuple[str, ...] = ()
    steps: Mapping[str, int] = field(default_factory=dict)

    @property
    def memory_gb(self) -> float | None:
        """Memory on a node."""
        return None if self.resources.memory_gb is None else self.resources.memory_gb * self.memory


def intend(
    order: Order,
    results: Path,
    store: Store,
    run: str,
    jobs: Mapping[tuple[str, str], Job],
    settings: dict[str, Any],
) -> Submission:
    """Writes down what is to be submitted, before it is."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    suite = re.sub(r"[^A-Za-z0-9_.-]+", "_", results.name)
    folder = folder_of(results.absolute()) / f"{suite}-{order.stage}-{stamp}-{uuid.uuid4().hex[:8]}"
    needed = {
        (unit.stage, unit.key): jobs[unit.stage, unit.key]
        for units in order.elements
        for unit in units
    }
    intent = {
        "run": run,
        "created": time.time(),
        "stage": order.stage,
        "elements": [[list(unit) for unit in units] for units in order.elements],
        "jobs": [job.plain() for job in needed.values()],
        "store": str(store.root.absolute()),
        "settings": settings,
        "resources": plain_resources(order.resources),
        "world": order.resources.world,
        "memory": order.memory,
        "after": list(order.after),
        "steps": dict(order.steps),
    }
    write(folder / "intent.json", json.dumps(intent).encode())
    return Submission(folder)


def submit(submission: Submission, order: Order) -> None:
    """Hands a submission to SLURM and notes its id.

    Raises:
        RefusedError: sbatch did not take it.
    """
    from bench.execute.slurm.task import ArrayTask

    elements = [ArrayTask(str(submission.folder), index) for index in range(len(order.elements))]
    settings = submission.intent["settings"]
    try:
        jobs = array_of(
            elements, submission.folder / "jobs" / "%j", submission.name, order, settings
        )
    except queue.ClusterError as error:
        raise RefusedError(str(error)) from None
    submission.note_job(jobs[0].job_id.partition("_")[0])


def array_of(
    callables: Sequence[Callable[[], None]],
    folder: Path,
    name: str,
    order: Order,
    settings: Mapping[str, Any],
) -> list[Any]:
    """Hands callables to SLURM as one array and returns submitit's jobs.

    Args:
        folder: Where submitit's files go, with ``%j`` for the id.
        name: Of the jobs in the queue.
        order: Whose resources they get.

    Raises:
        ClusterError: sbatch did not take them.
    """
    import submitit
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    executor = submitit.SlurmExecutor(folder=folder, max_num_timeout=MOST_RESTARTS)
    executor.update_parameters(**parameters(name, order, settings))
    # What the file says goes before what the site says in the environment, which goes before the
    # script.
    said = {option: getattr(order.resources, option) for option in ("account", "partition", "qos")}
    words = [f"--{option}={value}" for option, value in said.items() if value is not None]
    executor._make_submission_command = lambda path: ["sbatch", *words, str(path)]
    try:
        with clean_environment(), executor.batch():
            jobs = [executor.submit(function) for function in callables]
        _ = jobs[0].job_id
    except (FailedJobError, FailedSubmissionError, OSError) as error:
        raise queue.ClusterError(_last_words(str(error))) from None
    return jobs


OF_THE_SITE = frozenset(
    {
        *("SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_JWT", "SLURM_CLUSTERS"),
        *("SBATCH_ACCOUNT", "SBATCH_CLUSTERS", "SBATCH_PARTITION", "SBATCH_QOS"),
    }
)
"""Variables of SLURM that say where the cluster is and whom it charges, not what job the caller is
in.
"""


def leaks(name: str) -> bool:
    """Tells whether a variable is of the job that the caller is in, or of what that was asked for
    with.
    """
    return (
        name.startswith(("SLURM_", "SLURMD_", "SBATCH_", "SRUN_", "SALLOC_"))
        and name not in OF_THE_SITE
    )


@contextlib.contextmanager
def clean_environment() -> Iterator[None]:
    """Hides the variables of the caller's own job from what is submitted, which would take them for
    its own.
    """
    hidden = {name: value for name, value in os.environ.items() if leaks(name)}
    for name in hidden:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(hidden)


def mend(submission: Submission, job: str) -> None:
    """Notes the id of a submission whose driver died before it could, and gives its jobs what they
    are waiting for.
    """
    from submitit.core.utils import DelayedSubmission, JobPaths

    from bench.execute.slurm.task import ArrayTask

    submission.note_job(job)
    for index in range(len(submission.elements)):
        path = JobPaths(
            submission.folder / "jobs" / "%j", job_id=submission.id(index)
        ).submitted_pickle
        if not path.exists():
            delayed = DelayedSubmission(ArrayTask(str(submission.folder), index))
            delayed.set_timeout(submission.intent["resources"]["minutes"], MOST_RESTARTS)
            with whole(path) as file:
                delayed.dump(file.name)


def parameters(name: str, order: Order, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what submitit is told of an order."""
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
        values["wckey"] = None  # submitit's own is left out too
    return values | {name: value for name, value in optional.items() if value is not None}


def _exports(settings: Mapping[str, Any]) -> list[str]:
    path = os.pathsep.join(filter(None, [str(checkout()), os.environ.get("PYTHONPATH")]))
    values = {
        name: str(settings["threads"])
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    }
    values["PYTHONPATH"] = path
    if os.environ.get("BENCH_DATA", "").strip():
        values["BENCH_DATA"] = str(data_root())
    return [f"export {name}={shlex.quote(value)}" for name, value in values.items()]


def sbatch_text(order: Order, results: Path, settings: Mapping[str, Any]) -> str:
    """Returns what sbatch would be given, wherever SLURM is."""
    from submitit.slurm.slurm import _make_sbatch_string

    folder = folder_of(results.absolute()) / f"{results.name}-{order.stage}-..." / "jobs" / "%j"
    values = parameters(f"{results.name}-{order.stage}-...", order, settings)
    count = len(order.elements)
    command = (
        f"{shlex.quote(sys.executable)} -u -m submitit.core._submit {shlex.quote(str(folder))}"
    )
    return _make_sbatch_string(command, folder, map_count=count if count > 1 else None, **values)


def _last_words(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    told = [line for line in lines if "sbatch:" in line or "error" in line.lower()]
    return (told or lines or ["sbatch failed without a word"])[-1]


def cut(
    units: Sequence[UnitId], most: int, sizes: Sequence[float], target: float
) -> list[tuple[UnitId, ...]]:
    """Cuts units, in their order, into the elements of arrays.

    Args:
        most: Most units of an element; 0 for as many as fit the target.
        sizes: Seconds that each is expected to take.
        target: Seconds that an element should take.
    """
    elements: list[tuple[UnitId, ...]] = []
    now: list[UnitId] = []
    filled = 0.0
    for unit, size in zip(units, sizes, strict=True):
        full = len(now) >= most if most else now and filled + size > target
        if now and full:
            elements.append(tuple(now))
            now, filled = [], 0.0
        now.append(unit)
        filled += size
    return [*elements, tuple(now)] if now else elements


def split(
    elements: Sequence[tuple[UnitId, ...]], size: int
) -> list[tuple[tuple[UnitId, ...], ...]]:
    """Splits elements into arrays of at most that many."""
    return [tuple(elements[start : start + size]) for start in range(0, len(elements), size)]


def trained_steps(store: Store, key: str) -> int:
    """Returns how far the checkpoint of a training is that has not ended; 0 without any."""
    try:
        with open(store.folder("train", key) / "resume.safetensors", "rb") as file:
            header = json.loads(file.read(min(int.from_bytes(file.read(8), "little"), MOST_HEADER)))
        return int(header["__metadata__"]["step"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError, OverflowError):
        return 0
