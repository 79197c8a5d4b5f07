"""Where jobs run and with what: the executor files of suites/executors."""

import os
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from bench.execute.computing import Computing
from bench.execute.slurm.checks import check_slurm
from bench.execute.slurm.resources import Slurm
from bench.files import scan
from bench.frozen import dataclass
from bench.installation import checkout
from bench.schema import Problem, check
from bench.suite.document import Document
from bench.suite.fault import Fault, Place, SuiteError

WORKERS_PER_CORE = 4
WORKERS_PER_GPU = 8
CLUSTERS = ("local", "inline", "slurm")


@dataclass(frozen=True, kw_only=True)
class Executor(Computing):
    """An executor file of this machine; that of a cluster is
    :class:`bench.execute.slurm.resources.Slurm`.

    Args:
        cluster: "local" (submitit's local executor behind our own bound) or "inline" (this
            process).
        workers: How many run at once; "auto" is one per GPU, else one for each ``threads`` cores.
        gpus: GPUs that workers are spread over; each worker sees exactly one. "auto" is those of
            CUDA_VISIBLE_DEVICES, else all that the driver lists.
        setup: Shell lines run before each worker.
    """

    cluster: Literal["local", "inline"] = "local"
    workers: Literal["auto"] | int = "auto"
    gpus: Literal["auto"] | tuple[int, ...] = "auto"
    setup: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.workers != "auto" and self.workers < 1:
            raise ValueError("workers should be at least 1")
        if self.gpus != "auto" and (
            len(set(self.gpus)) < len(self.gpus) or min(self.gpus, default=0) < 0
        ):
            raise ValueError("gpus should name each GPU once, by its number")

    @property
    def slots(self) -> int:
        """How many workers may run at once."""
        if self.cluster == "inline":
            return 1
        if self.workers != "auto":
            return self.workers
        return len(self._gpus()) or max(1, len(os.sched_getaffinity(0)) // self.threads)

    @property
    def most_workers(self) -> int:
        """How many workers this machine can hold: more would only wait and take its memory."""
        cores = len(os.sched_getaffinity(0))
        return max(WORKERS_PER_CORE * cores, WORKERS_PER_GPU * len(self._gpus()))

    def gpu(self, slot: int) -> str | None:
        """Returns the GPU of a slot by its name in CUDA_VISIBLE_DEVICES, None if there is none."""
        gpus = self._gpus()
        return gpus[slot % len(gpus)] if gpus else None

    def _gpus(self) -> tuple[str, ...]:
        if self.device == "cpu":
            return ()
        if self.gpus != "auto":
            return tuple(map(str, self.gpus))
        if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
            return tuple(
                name.strip() for name in visible.split(",") if name.strip() not in ("", "-1")
            )
        return tuple(map(str, range(len(scan(Path("/proc/driver/nvidia/gpus"))))))


def executor_files() -> dict[str, Path]:
    """Returns the files of the executors that have a name: built in, or in a checkout's
    suites/executors.
    """
    folders = (Path(__file__).parent / "executors", checkout() / "suites" / "executors")
    return {path.stem: path for folder in folders for path in sorted(folder.glob("*.yaml"))}


def read_executor(name: str, jobs: int | None = None) -> Executor | Slurm:
    """Returns the executor of that name (:func:`executor_files`) or of that file.

    Args:
        jobs: Overrides how many workers run at once (``--jobs``).

    Raises:
        SuiteError: All problems at once.
    """
    known = executor_files()
    path = known.get(name, Path(name))
    if not path.is_file():
        place, why = Place(0, f"--executor {name}"), "is neither an executor's name nor a file"
        raise SuiteError([Fault(place, (), name, why, tuple(sorted(known)))])
    document = Document(path)
    tree = document.tree if document.tree is not None else {}
    problems = list(_unusable(tree))
    executor: Executor | Slurm
    if isinstance(tree, dict) and tree.get("cluster") == "slurm":
        executor = check_slurm(tree, problems)
    else:
        executor = check(Executor, tree, problems)
        # What an unknown cluster's other keys should be is not known either.
        if unknown := next((p for p in problems if p.path == ("cluster",)), None):
            problems = [Problem(unknown.path, unknown.value, "is no cluster", CLUSTERS)]
    faults = document.faults(problems)
    if jobs is not None and jobs < 1:
        faults.append(Fault(Place(1, f"--jobs {jobs}"), (), None, "should be at least 1"))
    if faults:
        raise SuiteError(faults)
    if isinstance(executor, Slurm):
        return executor if jobs is None else executor.limited(jobs)
    executor = executor if jobs is None else replace(executor, workers=jobs)
    if executor.slots > executor.most_workers:
        key = ("workers",) if jobs is None else ()
        place = document.place(key) if jobs is None else Place(1, f"--jobs {jobs}")
        most = f"{executor.most_workers} at most ({WORKERS_PER_CORE} per core)"
        why = f"is more than this machine can hold: {most}"
        raise SuiteError([Fault(place, key, executor.slots, why)])
    return executor


LARGEST = 10**9
"""Numbers beyond this are mistakes, whatever their key."""


def _unusable(value: Any, path: tuple[str, ...] = ()) -> Iterator[Problem]:
    """Yields texts that would not stay on one line of a job's script, and impossible numbers."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _unusable(inner, (*path, name))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _unusable(inner, (*path, str(index)))
    elif isinstance(value, int | float) and abs(value) > LARGEST:
        yield Problem(path, None, f"is larger than {LARGEST:,}")
    elif isinstance(value, str):
        kinds = {char: unicodedata.category(char) for char in value if char != "\t"}
        if set(kinds) & set("\n\r\v\f\x85") or {"Zl", "Zp"} & set(kinds.values()):
            why = "holds a line end: what follows it would be a line of its own in a job's script"
            yield Problem(path, value, why)
        elif "Cc" in kinds.values():
            yield Problem(path, value, "holds a control character")
