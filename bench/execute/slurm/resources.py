"""The executor file of a SLURM cluster: what the jobs of each stage ask for.

Standard library only.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from bench.execute.slurm.gpus import OTHERS, Gpus, gpus_of, read_gpus, written_instead
from bench.schema import Problem, check, merge
from bench.store import STAGES

SIGNAL_EARLY_SECONDS = 60
"""SLURM's clock is coarse: the signal before the time limit comes up to so much earlier than it was
asked for.
"""

_SBATCH = """
acctg-freq bb bbf begin cluster-constraint clusters comment constraint container contiguous core-spec cores-per-socket
cpu-freq deadline delay-boot distribution exclude exclusive export extra-node-info get-user-env gid gpu-bind gpu-freq
gpus gpus-per-task gres gres-flags hint hold licenses mail-type mail-user mcs-label mem mem-bind mem-per-cpu
mem-per-gpu mincpus network nice no-kill nodefile nodelist ntasks-per-core ntasks-per-socket oversubscribe overcommit
power prefer priority profile propagate reboot reservation sockets-per-node spread-job switches thread-spec
threads-per-core time-min tmp tres-bind uid use-min-nodes wckey
"""
SBATCH = tuple(_SBATCH.split())
"""Options of sbatch that an executor file may set by their own names, under ``sbatch``."""

FLAGS = (
    "contiguous",
    "hold",
    "oversubscribe",
    "overcommit",
    "reboot",
    "spread-job",
    "use-min-nodes",
)
"""Options that take no value: true writes one, false leaves it out."""

EITHER = ("exclusive", "get-user-env", "nice", "no-kill", "propagate")
"""Options that go with a value and without."""

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
    "cpus-per-gpu": "cpus",
    "ntasks-per-gpu": "tasks",
}
_NEVER = {
    *(
        "array",
        "dependency",
        "job-name",
        "output",
        "error",
        "input",
        "open-mode",
        "wrap",
        "wait",
        "parsable",
        "chdir",
    ),
    *("requeue", "no-requeue", "test-only", "quiet", "verbose", "help", "usage", "version"),
}

DEVICES = ("a100", "h100", "h200", "gpu", "cpu")
"""Names under which an executor file may say what a device computes a second."""

Scalar = str | int | float | bool


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What the jobs of one stage ask for, and how its work is cut into them.

    Args:
        partition: The cluster's default where it is None; so are account and qos.
        gpus: On each node: a number, or a type and a number as the site has it, "a100:2" or MIG's
            "1g.10gb:1".
        cpus: For each process.
        memory_gb: On each node; the cluster's default where it is None.
        minutes: Time limit of a job.
        nodes: Nodes of one training.
        tasks: Processes of one training on each node; with ``nodes``, DistributedDataParallel.
        signal_seconds: How long before the time limit a job is told to write its checkpoint and to
            queue again.
        element_minutes: Small units are packed until a job takes about so long.
        units: Units of a job, instead of a number worked out from ``element_minutes``.
        array_size: Most elements of one array; "auto" is the cluster's limit.
        at_once: Elements of one array that run at once.
        setup: Shell lines run before each job.
        sbatch: Further options of sbatch by their own names: ``{constraint: a100, mem-per-gpu:
            40G}``; true is a flag, false leaves an option out.
    """

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    gpus: int | str = 0
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
        whole = ("cpus", "nodes", "tasks", "at_once", "signal_seconds", "minutes")
        wrong = [f"{name} should be at least 1" for name in whole if getattr(self, name) < 1]
        wrong += [
            f"{name} should be auto or at least 1"
            for name in ("units", "array_size")
            if getattr(self, name) != "auto" and getattr(self, name) < 1
        ]
        if self.memory_gb is not None and self.memory_gb <= 0:
            wrong.append("memory_gb should be more than 0")
        if self.element_minutes <= 0:
            wrong.append("element_minutes should be more than 0")
        if wrong:
            raise ValueError("; ".join(wrong))
        _ = self.gpus_on_node  # which states rules of its own

    @property
    def options(self) -> dict[str, Scalar]:
        """The options of sbatch by their own names, without those that are switched off."""
        return {dashed(name): value for name, value in self.sbatch.items() if value is not False}

    @property
    def gpus_on_node(self) -> Gpus:
        """The GPUs of each node, whichever way they are asked for."""
        return gpus_of(self.gpus, self.options, self.nodes, self.tasks)

    @property
    def world(self) -> int:
        """How many processes share one training."""
        return self.nodes * self.tasks


_NAMES = frozenset(item.name for item in fields(Resources))


@dataclass(frozen=True, kw_only=True)
class Slurm:
    """An executor file with ``cluster: slurm``.

    Args:
        resources: What the jobs of every stage ask for, unless the stage says otherwise.
        threads: CPU threads of a process. Results are byte-equal for equal threads only, so it is
            not ``cpus``.
        poll_seconds: Time between two looks at the queue, one squeue each; longer as a run ages.
        grace_seconds: How long a result may take to be seen on the file system after its job has
            ended.
        submit_limit: Most jobs (elements of arrays) in the queue at once; "auto" asks the accounts
            of the cluster.
        tflops: TFLOP/s that plans are to reckon with, of a GPU, or by name (a100, h100, h200; gpu
            for any other; cpu for a thread of a processor); "auto" assumes what networks of this
            kind reach there.
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
    tflops: Literal["auto"] | float | Mapping[str, float] = "auto"

    def __post_init__(self) -> None:
        wrong = []
        if self.threads < 1:
            wrong.append("threads should be at least 1")
        if self.checkpoint_seconds < 0 or self.grace_seconds < 0:
            wrong.append("checkpoint_seconds and grace_seconds should not be negative")
        if self.poll_seconds <= 0:
            wrong.append("poll_seconds should be more than 0")
        if self.submit_limit != "auto" and self.submit_limit < 1:
            wrong.append("submit_limit should be auto or at least 1")
        given = self.tflops if isinstance(self.tflops, Mapping) else {}
        unknown = [name for name in given if name not in DEVICES]
        if unknown:
            wrong.append(f"tflops knows no {', '.join(unknown)}, but {', '.join(DEVICES)}")
        if min([self.tflops] if isinstance(self.tflops, float) else given.values(), default=1) <= 0:
            wrong.append("tflops should be more than 0")
        if wrong:
            raise ValueError("; ".join(wrong))

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
    """Returns the executor of a file with each stage's resources laid over those of all, noting
    every problem.
    """
    places = ("resources", *STAGES)
    tree = {
        name: value for name, value in tree.items() if not _stands_elsewhere(name, value, problems)
    }
    plain = {
        name: _checked_place(name, value, problems) if name in places else value
        for name, value in tree.items()
    }
    written = check(Slurm, plain, problems)
    if problems:
        return written
    shared = plain.get("resources") or {}
    merged = {stage: merge(shared, plain.get(stage) or {}) for stage in STAGES}
    for stage, values in merged.items():
        _check_merged(stage, values, plain.get(stage) or {}, problems)
    if problems:
        return written
    executor = check(Slurm, {**plain, **merged}, problems)
    for stage in STAGES if not problems else ():
        own = {**dict.fromkeys(shared, "resources"), **dict.fromkeys(plain.get(stage) or {}, stage)}
        _check_stage(stage, executor.of(stage), problems, own)
    return executor


def _stands_elsewhere(name: str, value: Any, problems: list[Problem]) -> bool:
    """Tells whether a key of a file belongs under resources, and notes it."""
    own = {item.name for item in fields(Slurm)}
    if name in own or (name not in _NAMES and dashed(name) not in (*SBATCH, *OTHERS, *_OURS)):
        return False
    inner = name if name in _NAMES else f"sbatch: {{{dashed(name)}"
    problems.append(
        Problem(
            (name,), value, f"stands under resources, or under a stage: resources: {{{inner}: ...}}"
        )
    )
    return True


def dashed(name: str) -> str:
    """Returns the name of an option as sbatch spells it: ``mem-per-gpu`` for ``mem_per_gpu``."""
    return name.replace("_", "-")


def _checked_place(place: str, given: Any, problems: list[Problem]) -> Any:
    """Returns the resources written at a place, options of sbatch as it spells them, without what
    is wrong of them.
    """
    if not isinstance(given, Mapping):
        return given
    values = {}
    for name, value in given.items():
        plain = dashed(name)
        if name in _NAMES or plain not in (*SBATCH, *OTHERS, *_OURS):
            values[name] = value
        elif plain in SBATCH:
            problems.append(
                Problem(
                    (place, name), value, f"stands under sbatch: write sbatch: {{{plain}: ...}}"
                )
            )
        else:
            problems.append(
                Problem(
                    (place, name),
                    value,
                    _refuse_option(plain, value, 1).replace(", outside sbatch", ""),
                )
            )
    gpus = values.get("gpus")
    if isinstance(gpus, int | str) and not isinstance(gpus, bool):
        try:
            read_gpus(gpus)
        except ValueError as error:
            problems.append(Problem((place, "gpus"), values.pop("gpus"), str(error)))
    for name in ("partition", "account", "qos"):
        if values.get(name) == "":
            problems.append(
                Problem((place, name), values.pop(name), "is empty: null is the cluster's default")
            )
    if isinstance(values.get("sbatch"), Mapping):
        tasks = values.get("tasks", 1)
        many = tasks if isinstance(tasks, int) else 1
        values["sbatch"] = _checked_options(values["sbatch"], (place, "sbatch"), many, problems)
    return values


def _checked_options(
    options: Mapping[str, Any], path: tuple[str, ...], tasks: int, problems: list[Problem]
) -> dict[str, Any]:
    right = {}
    for name, value in options.items():
        plain = dashed(name)
        if why := _refuse_option(plain, value, tasks):
            problems.append(
                Problem((*path, name), value, why, SBATCH if why == "unknown key" else ())
            )
        elif plain in right:
            problems.append(
                Problem((*path, name), value, f"is said twice: {plain} is the same option")
            )
        else:
            right[plain] = value
    return right


def _refuse_option(name: str, value: Any, tasks: int) -> str:
    """Returns why an executor file cannot set an option of sbatch to a value; empty where it
    can.
    """
    if name in OTHERS:
        return f"is said by gpus, outside sbatch: write {written_instead(name, value, tasks)}"
    if name in _OURS:
        return f"is said by {_OURS[name]}, outside sbatch"
    if name in _NEVER:
        return "is set by the harness itself"
    if name == "export-file" or (
        name == "export" and str(value) not in ("ALL", "False") and value is not False
    ):
        if name == "export" and str(value).startswith("ALL,"):
            return ""
        return "would take from jobs what they need of the environment: write 'export NAME=value' under setup"
    if name not in SBATCH:
        return "unknown key"
    if name in FLAGS and not isinstance(value, bool):
        return "takes no value: true sets it, false leaves it out"
    if value is True and name not in (*FLAGS, *EITHER):
        return "takes a value: true is for options without one"
    if value == "":
        return "is empty: false leaves an option out"
    if name.startswith("mem") and isinstance(value, float):
        return "should be whole megabytes, or a text as 512M: or write memory_gb, outside sbatch"
    return ""


def _check_merged(
    stage: str, values: Mapping[str, Any], own: Mapping[str, Any], problems: list[Problem]
) -> None:
    """Notes where the ways to ask for GPUs do not go together."""
    options = {
        name: value for name, value in (values.get("sbatch") or {}).items() if value is not False
    }
    try:
        gpus_of(
            values.get("gpus", 0),
            options,
            max(1, values.get("nodes", 1)),
            max(1, values.get("tasks", 1)),
        )
    except ValueError as error:
        place = stage if "gpus" in own or "sbatch" in own else "resources"
        problems.append(Problem((place, "gpus"), values.get("gpus", 0), str(error)))


def _check_stage(
    stage: str, resources: Resources, problems: list[Problem], own: Mapping[str, str]
) -> None:
    """Notes what a stage's resources cannot be; ``own`` says where each was written: for all
    stages, or for this.
    """
    least = resources.signal_seconds + SIGNAL_EARLY_SECONDS
    if resources.minutes * 60 <= least:
        why = f"is not more than signal_seconds ({resources.signal_seconds}) and the minute that SLURM may signal early"
        path = (own.get("minutes", stage), "minutes")
        problems.append(Problem(path, resources.minutes, f"{why}: no time is left to work"))
    if stage != "train" and resources.world > 1:
        why = "nodes and tasks share a training; other stages are spread over more jobs instead"
        problems.append(Problem((stage,), f"{resources.nodes} nodes, {resources.tasks} tasks", why))
    if "memory_gb" in own and any(
        name.startswith("mem-per") or name == "mem" for name in resources.options
    ):
        path = (own["memory_gb"], "memory_gb")
        problems.append(
            Problem(path, resources.memory_gb, "stands beside a mem option under sbatch")
        )
    # Processes beyond one a GPU would share it, and those of one training would wait for each
    # other.
    if (
        stage == "train"
        and resources.world > 1
        and resources.gpus_on_node.count not in (0, resources.tasks)
    ):
        problems.append(
            Problem(
                (stage, "gpus"), resources.gpus, f"should be tasks ({resources.tasks}), a GPU each"
            )
        )


def plain_resources(resources: Resources) -> dict[str, Any]:
    """Returns resources as plain values."""
    values = {item.name: getattr(resources, item.name) for item in fields(resources)}
    there = {"gpus_on_node": resources.gpus_on_node.count, "sbatch": resources.options}
    return {**values, "setup": list(resources.setup), **there}
