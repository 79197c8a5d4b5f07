"""The executor file of a SLURM cluster: what the jobs of each stage ask for.

Standard library only.
"""

from collections.abc import Mapping
from dataclasses import field, fields, replace
from typing import Annotated, Any, Literal

from bench.execute.computing import Computing
from bench.execute.slurm.gpus import Gpus, gpus_of
from bench.execute.slurm.options import dashed
from bench.frozen import dataclass
from bench.schema import Above, AtLeast
from bench.store import STAGES

DEVICES = ("a100", "h100", "h200", "gpu", "cpu")
"""Names under which an executor file may say what a device computes a second."""

Scalar = str | int | float | bool


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What the jobs of one stage ask for, and how its work is cut into them.

    Args:
        partition, account, qos: Of sbatch; None is the cluster's default.
        gpus: On each node: a number, or a type and a number as the site has it, "a100:2" or MIG's
            "1g.10gb:1".
        cpus: For each process.
        memory_gb: On each node; None is the cluster's default.
        minutes: Time limit of a job.
        nodes: Nodes of one training.
        tasks: Processes of one training on each node; with ``nodes``, DistributedDataParallel.
        signal_seconds: How long before the time limit a job is signalled to write its checkpoint
            and to queue again.
        element_minutes: Small units are packed until a job takes about so long.
        units: Units of a job, instead of a number worked out from ``element_minutes``.
        array_size: Most tasks of one array; "auto" is the cluster's limit.
        at_once: Tasks of one array that run at once.
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


NAMES = frozenset(item.name for item in fields(Resources))


@dataclass(frozen=True, kw_only=True)
class Slurm(Computing):
    """An executor file with ``cluster: slurm``.

    Args:
        cluster: What makes this the file of a SLURM cluster.
        resources: What the jobs of every stage ask for, unless the stage says otherwise.
        train, samples, likelihood, inspect, scores: What the jobs of this stage ask for instead:
            keys of ``resources``.
        threads: CPU threads of a process; results are byte-equal for equal threads only, so it is
            not ``cpus``.
        poll_seconds: Time between two calls of squeue; longer as a run ages.
        grace_seconds: How long a result may take to be seen on the file system after its job has
            ended.
        submit_limit: Most jobs (array tasks) in the queue at once; "auto" asks the accounts of the
            cluster.
        tflops: TFLOP/s that plans assume of a GPU, or by name (a100, h100, h200; gpu
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
    checkpoint_seconds: Annotated[float, AtLeast(0)] = 300.0
    poll_seconds: Annotated[float, Above(0)] = 10.0
    grace_seconds: Annotated[float, AtLeast(0)] = 30.0
    submit_limit: Literal["auto"] | int = "auto"
    tflops: Literal["auto"] | float | Mapping[str, float] = "auto"

    def __post_init__(self) -> None:
        wrong = []
        if self.submit_limit != "auto" and self.submit_limit < 1:
            wrong.append("submit_limit should be auto or at least 1")
        by_name = self.tflops if isinstance(self.tflops, Mapping) else {}
        unknown = [name for name in by_name if name not in DEVICES]
        if unknown:
            wrong.append(f"tflops knows no {', '.join(unknown)}, but {', '.join(DEVICES)}")
        rates = [self.tflops] if isinstance(self.tflops, float) else by_name.values()
        if min(rates, default=1) <= 0:
            wrong.append("tflops should be more than 0")
        if wrong:
            raise ValueError("; ".join(wrong))

    def of(self, stage: str) -> Resources:
        """Returns what the jobs of a stage ask for."""
        return getattr(self, stage)

    def limited(self, jobs: int) -> "Slurm":
        """Returns the same with that many jobs of an array at once."""
        stages: dict[str, Any] = {stage: replace(self.of(stage), at_once=jobs) for stage in STAGES}
        return replace(self, **stages)

    @property
    def settings(self) -> dict[str, Any]:
        """What jobs have to know of this file."""
        return {**super().settings, "grace_seconds": self.grace_seconds}


def plain_resources(resources: Resources) -> dict[str, Any]:
    """Returns resources as plain values."""
    values = {item.name: getattr(resources, item.name) for item in fields(resources)}
    there = {"gpus_on_node": resources.gpus_on_node.count, "sbatch": resources.options}
    return {**values, "setup": list(resources.setup), **there}
