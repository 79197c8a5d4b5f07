"""The executor file of a SLURM cluster: what the jobs of each stage ask for.

Standard library only.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from bench.card import Problem, check, merge
from bench.store import STAGES

SIGNAL_EARLY_SECONDS = 60
"""SLURM's clock is coarse: the signal before the time limit comes up to so much earlier than it was asked for."""

_SBATCH = """
acctg-freq bb bbf begin cluster-constraint clusters comment constraint container contiguous core-spec cores-per-socket
cpu-freq cpus-per-gpu deadline delay-boot distribution exclude exclusive export export-file extra-node-info get-user-env
gid gpu-bind gpu-freq gpus gpus-per-socket gpus-per-task gres gres-flags hint hold licenses mail-type mail-user
mcs-label mem mem-bind mem-per-cpu mem-per-gpu mincpus network nice no-kill nodefile nodelist ntasks-per-core
ntasks-per-gpu ntasks-per-socket oversubscribe overcommit power prefer priority profile propagate reboot reservation
sockets-per-node spread-job switches thread-spec threads-per-core time-min tmp tres-bind tres-per-task uid
use-min-nodes wckey
"""
SBATCH = tuple(_SBATCH.split())
"""Options of sbatch that an executor file may set by their own names, under ``sbatch``."""

_OURS = {
    "account": "account",
    "partition": "partition",
    "qos": "qos",
    "gpus-per-node": "gpus",
    "cpus-per-task": "cpus",
    "nodes": "nodes",
    "ntasks-per-node": "tasks",
    "ntasks": "nodes and tasks",
    "time": "minutes",
    "signal": "signal_seconds",
}
_NEVER = {
    *("array", "dependency", "job-name", "output", "error", "input", "open-mode", "wrap", "wait", "parsable", "chdir"),
    *("requeue", "no-requeue", "test-only", "quiet", "verbose", "help", "usage", "version"),
}

Scalar = str | int | float | bool


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What the jobs of one stage ask for, and how its work is cut into them.

    Args:
        partition: The cluster's default where it is None; so are account and qos.
        gpus: On each node.
        cpus: For each process.
        memory_gb: On each node; the cluster's default where it is None.
        minutes: Time limit of a job.
        nodes: Nodes of one training.
        tasks: Processes of one training on each node; with ``nodes``, DistributedDataParallel.
        signal_seconds: How long before the time limit a job is told to write its checkpoint and to queue again.
        element_minutes: Small units are packed until a job takes about so long.
        units: Units of a job, instead of a number worked out from ``element_minutes``.
        array_size: Most elements of one array; "auto" is the cluster's limit.
        at_once: Elements of one array that run at once.
        setup: Shell lines run before each job.
        sbatch: Further options of sbatch by their own names: ``{constraint: a100, mem-per-gpu: 40G}``.
    """

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    gpus: int = 0
    cpus: int = 1
    memory_gb: float | None = None
    minutes: int = 60
    nodes: int = 1
    tasks: int = 1
    signal_seconds: int = 120
    element_minutes: float = 10.0
    units: Literal["auto"] | int = "auto"
    array_size: Literal["auto"] | int = "auto"
    at_once: int = 64
    setup: tuple[str, ...] = ()
    sbatch: Mapping[str, Scalar] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("cpus", "nodes", "tasks", "at_once", "signal_seconds", "minutes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} should be at least 1")
        for name in ("units", "array_size"):
            if getattr(self, name) != "auto" and getattr(self, name) < 1:
                raise ValueError(f"{name} should be auto or at least 1")
        if self.gpus < 0:
            raise ValueError("gpus should not be negative")
        if self.memory_gb is not None and self.memory_gb <= 0:
            raise ValueError("memory_gb should be more than 0")
        if self.element_minutes <= 0:
            raise ValueError("element_minutes should be more than 0")

    @property
    def world(self) -> int:
        """How many processes share one training."""
        return self.nodes * self.tasks


@dataclass(frozen=True, kw_only=True)
class Slurm:
    """An executor file with ``cluster: slurm``.

    Args:
        resources: What the jobs of every stage ask for, unless the stage says otherwise.
        threads: CPU threads of a process. Results are byte-equal for equal threads only, so it is not ``cpus``.
        poll_seconds: Time between two looks at the queue, one squeue each; longer as a run ages.
        grace_seconds: How long a result may take to be seen on the file system after its job has ended.
        submit_limit: Most jobs (elements of arrays) in the queue at once; "auto" asks the accounts of the cluster.
    """

    cluster: Literal["slurm"] = "slurm"
    resources: Resources = field(default_factory=Resources)
    train: Resources = field(default_factory=Resources)
    samples: Resources = field(default_factory=Resources)
    likelihood: Resources = field(default_factory=Resources)
    inspect: Resources = field(default_factory=Resources)
    scores: Resources = field(default_factory=Resources)
    threads: int = 1
    device: Literal["auto", "cpu", "cuda"] = "auto"
    tf32: bool = False
    compile: bool = False
    checkpoint_seconds: float = 300.0
    poll_seconds: float = 10.0
    grace_seconds: float = 30.0
    submit_limit: Literal["auto"] | int = "auto"

    def __post_init__(self) -> None:
        if self.threads < 1:
            raise ValueError("threads should be at least 1")
        if self.checkpoint_seconds < 0 or self.grace_seconds < 0:
            raise ValueError("checkpoint_seconds and grace_seconds should not be negative")
        if self.poll_seconds <= 0:
            raise ValueError("poll_seconds should be more than 0")
        if self.submit_limit != "auto" and self.submit_limit < 1:
            raise ValueError("submit_limit should be auto or at least 1")

    def of(self, stage: str) -> Resources:
        """Returns what the jobs of a stage ask for."""
        return getattr(self, stage)

    def limited(self, jobs: int) -> "Slurm":
        """Returns the same with that many jobs of an array at once."""
        return replace(self, **{stage: replace(self.of(stage), at_once=jobs) for stage in STAGES})

    @property
    def settings(self) -> dict[str, Any]:
        """What stages are told."""
        return {
            "threads": self.threads,
            "device": self.device,
            "tf32": self.tf32,
            "compile": self.compile,
            "checkpoint_seconds": self.checkpoint_seconds,
            "grace_seconds": self.grace_seconds,
        }


def check_slurm(tree: Mapping[str, Any], problems: list[Problem]) -> Slurm:
    """Returns the executor of a file with each stage's resources laid over those of all, noting every problem."""
    places = ("resources", *STAGES)
    written = check(Slurm, tree, problems)
    for place in places:
        given = tree.get(place)
        if isinstance(given, Mapping):
            _check_sbatch(given.get("sbatch"), (place, "sbatch"), problems)
    if problems:
        return written
    shared = tree.get("resources") or {}
    merged = {stage: merge(shared, tree.get(stage) or {}) for stage in STAGES}
    executor = check(Slurm, {**tree, **merged}, problems)
    if problems:
        return executor
    for stage in STAGES:
        _check_stage(stage, executor.of(stage), problems, "memory_gb" in merged[stage])
    return executor


def _check_stage(stage: str, resources: Resources, problems: list[Problem], memory: bool) -> None:
    least = resources.signal_seconds + SIGNAL_EARLY_SECONDS
    if resources.minutes * 60 <= least:
        why = f"is not more than signal_seconds ({resources.signal_seconds}) and the minute that SLURM may signal early"
        problems.append(Problem((stage, "minutes"), resources.minutes, f"{why}: no time is left to work"))
    if stage != "train" and resources.world > 1:
        why = "nodes and tasks share a training; other stages are spread over more jobs instead"
        problems.append(Problem((stage,), f"{resources.nodes} nodes, {resources.tasks} tasks", why))
    if memory and any(name.startswith("mem-per") or name == "mem" for name in resources.sbatch):
        problems.append(Problem((stage, "memory_gb"), resources.memory_gb, "stands beside a mem option under sbatch"))
    # Processes beyond one a GPU would share it, and those of one training would wait for each other.
    if stage == "train" and resources.world > 1 and resources.gpus not in (0, resources.tasks):
        problems.append(Problem((stage, "gpus"), resources.gpus, f"should be tasks ({resources.tasks}), a GPU each"))


def _check_sbatch(options: Any, path: tuple[str, ...], problems: list[Problem]) -> None:
    for name, value in options.items() if isinstance(options, Mapping) else ():
        plain = name.replace("_", "-")
        if plain in _OURS:
            problems.append(Problem((*path, name), value, f"is said by {_OURS[plain]}, outside sbatch"))
        elif plain in _NEVER:
            problems.append(Problem((*path, name), value, "is set by the harness itself"))
        elif plain not in SBATCH:
            problems.append(Problem((*path, name), value, "unknown key", SBATCH))


def plain_resources(resources: Resources) -> dict[str, Any]:
    """Returns resources as plain values."""
    values = {item.name: getattr(resources, item.name) for item in fields(resources)}
    return {**values, "setup": list(resources.setup), "sbatch": dict(resources.sbatch)}
