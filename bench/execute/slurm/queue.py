"""What SLURM answers: squeue which jobs live, sacct why one died, and the limits of the site.

One squeue call answers for all jobs. It needs no accounting; sacct is asked only if it works, only
once per job that ended without a result, and nothing depends on its answer.
"""

import os
import pwd
import subprocess
from collections.abc import Iterable, Sequence

from bench.execute.slurm.gpus import Gpus
from bench.execute.slurm.resources import Resources
from bench.frozen import dataclass

TIMEOUT_SECONDS = 60.0

_ENDED = """
BOOT_FAIL CANCELLED COMPLETED DEADLINE FAILED NODE_FAIL OUT_OF_MEMORY PREEMPTED REVOKED TIMEOUT
"""
ENDED = frozenset(_ENDED.split())
"""States of jobs that run no more; a job in any other state, known here or not, is alive."""


class ClusterError(Exception):
    """SLURM does not answer: then nothing is known, which does not mean that anything failed."""


@dataclass(frozen=True)
class Entry:
    """A job, or a task of an array, as the queue shows it.

    Args:
        id: ``12``, or ``12_3`` for an array task.
        state: In SLURM's words: PENDING, RUNNING, FAILED, ...
        reason: Why it waits.
    """

    id: str
    name: str
    state: str
    reason: str = ""

    @property
    def alive(self) -> bool:
        """Whether it runs or will run."""
        return self.state not in ENDED

    @property
    def master(self) -> str:
        """The id of the job or of the whole array."""
        return self.id.partition("_")[0]


@dataclass(frozen=True)
class Limits:
    """What the site allows; None if it does not say.

    Args:
        array: Tasks of an array.
        submit: Jobs of this user in the queue at once.
    """

    array: int | None = None
    submit: int | None = None


def queue(names: Iterable[str] | None = None) -> dict[str, Entry]:
    """Returns this user's jobs that the queue still has, by id, those that ended a while ago
    included.

    Args:
        names: Only jobs of these names.

    Raises:
        ClusterError: squeue does not answer.
    """
    command = ["squeue", "--noheader", "--array", "--states=all", f"--user={_user()}"]
    command.append("--format=%F|%K|%T|%j|%r")
    if names is not None:
        command.append(f"--name={','.join(names)}")
    entries = {}
    for line in _call(command).splitlines():
        fields = line.strip().split("|", 4)
        if len(fields) == 5:
            master, index, state, name, reason = fields
            id_ = f"{master}_{index}" if index.isdigit() else master
            entries[id_] = Entry(id_, name, state, "" if reason == "None" else reason)
    return entries


def account(ids: Sequence[str]) -> dict[str, str]:
    """Returns the last states of jobs that have ended, as far as the accounting has them."""
    command = ["sacct", "--noheader", "--parsable2", "--allocations", f"--jobs={','.join(ids)}"]
    try:
        lines = _call([*command, "--format=JobID,State"]).splitlines() if ids else []
    except ClusterError:
        return {}
    pairs = (line.split("|") for line in lines if line.count("|") == 1)
    return {id_: state.split()[0] for id_, state in pairs if state}  # "CANCELLED by 0"


def cancel(ids: Iterable[str]) -> None:
    """Cancels jobs, arrays or array tasks; those that have ended already are left alone.

    Raises:
        ClusterError: scancel does not answer.
    """
    if words := sorted(set(ids)):
        _call(["scancel", "--quiet", *words])


def limits() -> Limits:
    """Returns the limits of the site, as far as it says."""
    array = submit = None
    try:
        for line in _call(["scontrol", "show", "config"]).splitlines():
            name, _, value = line.partition("=")
            if name.strip() == "MaxArraySize" and value.strip().isdigit():
                array = int(value)
    except ClusterError:
        return Limits()
    command = ["sacctmgr", "--noheader", "--parsable2", "show", "assoc", f"user={_user()}"]
    try:
        lines = _call([*command, "format=MaxSubmitJobs"]).splitlines()
        submit = min((int(line) for line in lines if line.strip().isdigit()), default=None)
    except ClusterError:  # a site without accounting
        pass
    return Limits(array, submit)


def refusals(resources: Resources) -> list[str]:
    """Returns why the site would not take a job that asks for this, by what sinfo says of its
    partitions.
    """
    try:
        lines = _call(["sinfo", "--noheader", "--format=%R|%l|%c|%m|%G"]).splitlines()
    except ClusterError:
        return []
    rows = [row for line in lines if len(row := line.strip().split("|")) == 5]
    names, partition = {row[0] for row in rows}, resources.partition
    if partition is not None and not set(partition.split(",")) <= names:
        return [f"there is no partition {partition}; there are {', '.join(sorted(names))}"]
    rows = [row for row in rows if partition in (None, row[0])]
    found = []
    minutes, cpus = resources.minutes, resources.cpus * resources.tasks
    longest = max((_minutes(row[1]) for row in rows), default=float("inf"))
    if minutes > longest:
        found.append(f"the partition allows {longest:.0f} minutes, {minutes} are asked for")
    most_cpus = max((int(row[2].rstrip("+")) for row in rows), default=0)
    if rows and cpus > most_cpus:
        found.append(f"no node has {cpus} CPUs; the largest has {most_cpus}")
    memory = max((int(row[3].rstrip("+")) for row in rows), default=0)
    if rows and resources.memory_gb is not None and 1024 * resources.memory_gb > memory:
        found.append(f"no node has {resources.memory_gb:g} GB; the largest has {memory / 1024:.1f}")
    return found + _refuse_gpus(resources.gpus_on_node, [row[4] for row in rows])


def _refuse_gpus(asked: Gpus, nodes: Sequence[str]) -> list[str]:
    """Returns why no node has the GPUs that are asked for.

    Args:
        nodes: The generic resources of each kind of node: ``gpu:a100:4(S:0-1)``.
    """
    if not asked.count or asked.share or not nodes:
        return []
    parts = (part.partition("(")[0] for node in nodes for part in node.split(","))
    gpus = {part for part in parts if part.startswith("gpu:")}
    there = f"there are {', '.join(sorted(gpus)) or 'none'}"
    types = {part.split(":")[1] for part in gpus if part.count(":") == 2}
    lacking = [name for name in asked.type.split(",") if name and name not in types]
    if lacking:
        return [f"no node has GPUs of type {', '.join(lacking)}; {there}"]
    counts = (part.rpartition(":")[2] for part in gpus)
    most = max((int(count) for count in counts if count.isdigit()), default=0)
    if not asked.type and asked.count > most:
        return [f"no node has {asked.count} GPUs; {there}"]
    return []


def _minutes(limit: str) -> float:
    """Returns a time limit as sinfo writes it, 2-12:00:00 or infinite, in minutes."""
    days, _, clock = limit.rpartition("-")
    try:
        parts = [int(part) for part in clock.split(":")]
    except ValueError:
        return float("inf")
    seconds = sum(part * 60**power for power, part in enumerate(reversed(parts)))
    return int(days or 0) * 1440 + seconds / 60


def _user() -> str:
    return pwd.getpwuid(os.getuid()).pw_name


def _call(command: Sequence[str]) -> str:
    """Returns what a command of SLURM prints, with its formats not changed by the environment."""
    program, ignored = command[0], ("SQUEUE_", "SACCT_")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(ignored)}
    try:
        done = subprocess.run(
            command,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT_SECONDS,
        )
    except FileNotFoundError:
        why = f"there is no {program} here: is this a login node of the cluster?"
        raise ClusterError(why) from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ClusterError(f"{program} does not answer: {error}") from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no word"])[-1]
        raise ClusterError(f"{program} failed with status {done.returncode}: {last}")
    return done.stdout
