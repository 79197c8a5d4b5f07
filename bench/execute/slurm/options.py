"""Options of sbatch that an executor file may set by their own names, and why not the others.

Standard library only.
"""

from typing import Any

from bench.execute.slurm.gpus import OTHERS, written_instead

_SBATCH = """
acctg-freq bb bbf begin cluster-constraint clusters comment constraint container contiguous
core-spec cores-per-socket cpu-freq deadline delay-boot distribution exclude exclusive export
extra-node-info get-user-env gid gpu-bind gpu-freq gpus gpus-per-task gres gres-flags hint hold
licenses mail-type mail-user mcs-label mem mem-bind mem-per-cpu mem-per-gpu mincpus network nice
no-kill nodefile nodelist ntasks-per-core ntasks-per-socket oversubscribe overcommit power prefer
priority profile propagate reboot reservation sockets-per-node spread-job switches thread-spec
threads-per-core time-min tmp tres-bind uid use-min-nodes wckey
"""
SBATCH = tuple(_SBATCH.split())
"""Options of sbatch that an executor file may set by their own names, under ``sbatch``."""

FLAGS = (
    *("contiguous", "hold", "oversubscribe", "overcommit", "reboot"),
    *("spread-job", "use-min-nodes"),
)
"""Options that take no value: true writes one, false leaves it out."""

EITHER = ("exclusive", "get-user-env", "nice", "no-kill", "propagate")
"""Options that go with a value and without."""

OURS = {
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
"""Options that keys of an executor file set."""

_NEVER = """
array dependency job-name output error input open-mode wrap wait parsable chdir requeue no-requeue
test-only quiet verbose help usage version
"""
NEVER = frozenset(_NEVER.split())
"""Options that the harness sets."""

ALL = frozenset((*SBATCH, *OTHERS, *OURS))


def dashed(name: str) -> str:
    """Returns the name of an option as sbatch spells it: ``mem-per-gpu`` for ``mem_per_gpu``."""
    return name.replace("_", "-")


def refuse_option(name: str, value: Any, tasks: int) -> str:
    """Returns why an executor file cannot set an option of sbatch to a value; empty if it can.

    Args:
        tasks: Processes on each node.
    """
    if name in OTHERS:
        return f"is set by gpus, outside sbatch: write {written_instead(name, value, tasks)}"
    if name in OURS:
        return f"is set by {OURS[name]}, outside sbatch"
    if name in NEVER:
        return "is set by the harness itself"
    if name == "export-file" or (name == "export" and not _exports_all(value)):
        return (
            "would take from jobs what they need of the environment: "
            "write 'export NAME=value' under setup"
        )
    if name not in SBATCH:
        return "unknown key"
    if name in FLAGS and not isinstance(value, bool):
        return "takes no value: true sets it, false leaves it out"
    if value is True and name not in (*FLAGS, *EITHER):
        return "takes a value: true is for options without one"
    if value == "":
        return "is empty: false leaves an option out"
    if name.startswith("mem") and isinstance(value, float):
        return "should be whole megabytes, or a text like 512M: or write memory_gb, outside sbatch"
    return ""


def _exports_all(value: Any) -> bool:
    return value is False or str(value) in ("ALL", "False") or str(value).startswith("ALL,")
