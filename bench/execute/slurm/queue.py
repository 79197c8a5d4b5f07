"""What SLURM says: squeue for who lives, sacct for why somebody died, and the limits of the site.

One squeue call answers for all jobs. It needs no accounting; sacct is asked only where it works,
only once for a job that ended without a result, and its silence changes nothing.
"""

import os
import pwd
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.execute.slurm.gpus import Gpus
from bench.execute.slurm.resources import Resources

TIMEOUT_SECONDS = 60.0

ENDED = frozenset(
    {
        *(
            "BOOT_FAIL",
            "CANCELLED",
            "COMPLETED",
            "DEADLINE",
            "FAILED",
            "NODE_FAIL",
            "OUT_OF_MEMORY",
            "PREEMPTED",
        ),
        *("REVOKED", "TIMEOUT"),
    }
)
"""States of jobs that run no more; a job in any other state, known here or not, is alive."""


class ClusterError(Exception):
    """SLURM does not answer: nothing is known, which is not to say that anything failed."""


@dataclass(frozen=True)
class Entry:
    """A job, or an element of an array, as the queue shows it.

    Args:
        id: ``12``, or ``12_3`` for an element.
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
    """What the site allows: elements of an array, and jobs of this user in the queue at once; None:
    not known.
    """

    array: int | None = None
    submit: int | None = None


def queue(names: Iterable[str] | None = None) -> dict[str, Entry]:
    """Returns this user's jobs that the queue still knows, by id, those that ended a while ago
    included.

    Args:
        names: Only jobs of these names.

    Raises:
        ClusterError: squeue does not answer.
    """
    words = [
        "squeue",
        "--noheader",
        "--array",
        "--states=all",
        f"--user={_user()}",
        "--format=%F|%K|%T|%j|%r",
    ]
    if names is not None:
        words.append(f"--name={','.join(names)}")
    entries = {}
    for line in _call(words).splitlines():
        fields = line.strip().split("|", 4)
        if len(fields) == 5:
            master, index, state, name, reason = fields
            id_ = f"{master}_{index}" if index.isdigit() else master
            entries[id_] = Entry(id_, name, state, "" if reason == "None" else reason)
    return entries


def account(ids: Sequence[str]) -> dict[str, str]:
    """Returns the last states of jobs that have ended, where the accounting knows them: empty where
    there is none.
    """
    words = [
        "sacct",
        "--noheader",
        "--parsable2",
        "--allocations",
        f"--jobs={','.join(ids)}",
        "--format=JobID,State",
    ]
    try:
        lines = _call(words).splitlines() if ids else []
    except ClusterError:
        return {}
    pairs = (line.split("|") for line in lines if line.count("|") == 1)
    return {id_: state.split()[0] for id_, state in pairs if state}  # "CANCELLED by 0"


def cancel(ids: Iterable[str]) -> None:
    """Cancels jobs, arrays or elements; those that have ended already are left alone.

    Raises:
        ClusterError: scancel does not answer.
    """
    if words := sorted(set(ids)):
        _call(["scancel", "--quiet", *words])


def limits() -> Limits:
    """Returns the limits of the site, as far as it tells them."""
    array = submit = None
    try:
        for line in _call(["scontrol", "show", "config"]).splitlines():
            name, _, value = line.partition("=")
            if name.strip() == "MaxArraySize" and value.strip().isdigit():
                array = int(value)
    except ClusterError:
        return Limits()
    try:
        words = [
            "sacctmgr",
            "--noheader",
            "--parsable2",
            "show",
            "assoc",
            f"user={_user()}",
            "format=MaxSubmitJobs",
        ]
        found = [int(line) for line in _call(words).splitlines() if line.strip().isdigit()]
        submit = min(found, default=None)
    except ClusterError:  # a site without accounting
        pass
    return Limits(array, submit)


def refusals(resources: Resources) -> list[str]:
    """Returns why the site would not take a job that asks for this, as far as its partitions
    tell.
    """
    try:
        lines = _call(["sinfo", "--noheader", "--format=%R|%l|%c|%m|%G"]).splitlines()
    except ClusterError:
        return []
    rows = [line.strip().split("|") for line in lines]
    names = {row[0] for row in rows if len(row) == 5}
    if resources.partition is not None and not set(resources.partition.split(",")) <= names:
        return [
            f"there is no partition {resources.partition}; there are {', '.join(sorted(names))}"
        ]
    rows = [row for row in rows if len(row) == 5 and resources.partition in (None, row[0])]
    found = []
    longest = max((_minutes(row[1]) for row in rows), default=float("inf"))
    if resources.minutes > longest:
        found.append(
            f"the partition allows {longest:.0f} minutes, {resources.minutes} are asked for"
        )
    cpus = max((int(row[2].rstrip("+")) for row in rows), default=0)
    if rows and resources.cpus * resources.tasks > cpus:
        found.append(f"no node has {resources.cpus * resources.tasks} CPUs; the largest has {cpus}")
    memory = max((int(row[3].rstrip("+")) for row in rows), default=0)
    if rows and resources.memory_gb is not None and 1024 * resources.memory_gb > memory:
        found.append(f"no node has {resources.memory_gb:g} GB; the largest has {memory / 1024:.1f}")
    return found + _refuse_gpus(resources.gpus_on_node, [row[4] for row in rows])


def _refuse_gpus(asked: Gpus, nodes: Sequence[str]) -> list[str]:
    """Returns why no node has the GPUs that are asked for, given the generic resources of each kind
    of node.
    """
    if not asked.count or asked.share or not nodes:
        return []
    there = {
        part.partition("(")[0]
        for node in nodes
        for part in node.split(",")
        if part.startswith("gpu:")
    }
    known = {part.split(":")[1] for part in there if part.count(":") == 2}
    lacking = [name for name in asked.type.split(",") if name and name not in known]
    if lacking:
        return [
            f"no node has GPUs of type {', '.join(lacking)}; there are {', '.join(sorted(there)) or 'none'}"
        ]
    most = max(
        (int(part.rpartition(":")[2]) for part in there if part.rpartition(":")[2].isdigit()),
        default=0,
    )
    if not asked.type and asked.count > most:
        return [f"no node has {asked.count} GPUs; there are {', '.join(sorted(there)) or 'none'}"]
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


def _call(words: Sequence[str]) -> str:
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SQUEUE_", "SACCT_"))
    }
    try:
        done = subprocess.run(
            words,
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT_SECONDS,
            env=environment,
        )
    except FileNotFoundError:
        raise ClusterError(
            f"there is no {words[0]} here: is this a login node of the cluster?"
        ) from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ClusterError(f"{words[0]} does not answer: {error}") from None
    if done.returncode:
        told = (done.stderr.strip().splitlines() or ["no word"])[-1]
        raise ClusterError(f"{words[0]} failed with status {done.returncode}: {told}")
    return done.stdout
