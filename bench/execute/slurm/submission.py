"""Submissions: what was handed to SLURM, as files, so that any driver on any login node can go on
from them.

    submissions/<name>/intent.json     what is to be submitted: written before sbatch, never changed
    submissions/<name>/job.json        the id that sbatch gave
    submissions/<name>/abandoned       a flag: its jobs, should there be any, must not work
    submissions/<name>/over            a flag: nothing of it lives, and what became of it is settled
    submissions/<name>/elements/3.jsonl   how array task 3 began and ended, one line per event
    submissions/<name>/jobs/12_3/      submitit's own: logs, and pickles that hold no results

A driver that dies between intent and id leaves an intent without an id; the name, which is the
job's in the queue too, finds the job again. Every submission has a folder of its own, so that an id
that a cluster gives out twice meets no files of the first time.
"""

import dataclasses
import json
import re
import sys
import time
import uuid
from collections.abc import Mapping
from dataclasses import field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from bench.execute.board import Board
from bench.execute.slurm.resources import Resources, plain_resources
from bench.files import append, read_json, read_lines, scan, write
from bench.frozen import dataclass
from bench.store import STAGES, UnitId


@dataclasses.dataclass
class Submission:
    """A submission, read from its files.

    Args:
        folder: Of its files.
        job: The id of the job or of the array, None as long as sbatch has not returned it.
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

    @property
    def open(self) -> bool:
        """Whether jobs of it may live, or have yet to be settled."""
        return not self.over and not self.abandoned

    @cached_property
    def array_tasks(self) -> tuple[tuple[UnitId, ...], ...]:
        """The units of each array task."""
        return tuple(tuple(UnitId(*unit) for unit in units) for units in self.intent["elements"])

    def id(self, index: int) -> str | None:
        """Returns the id of an array task in the queue; SLURM knows an array of one as a job."""
        alone = len(self.array_tasks) == 1
        return self.job if self.job is None or alone else f"{self.job}_{index}"

    def logs(self, index: int) -> tuple[Path, ...]:
        """Returns the error logs of an array task, one per process."""
        id_ = self.id(index)
        folder = self.folder / "jobs" / str(id_)
        return tuple(folder / f"{id_}_{rank}_log.err" for rank in range(self.intent["world"]))

    def refresh(self) -> None:
        """Reads the files that change."""
        if self.job is None:
            values = read_json(self.folder / "job.json")
            job = values.get("job") if isinstance(values, dict) else None
            self.job = job if isinstance(job, str) and job else None
        self.abandoned = self.abandoned or (self.folder / "abandoned").exists()
        self.over = self.over or (self.folder / "over").exists()

    def set_flag(self, flag: str, why: str = "") -> None:
        """Sets "abandoned" or "over", for every process that reads the files."""
        write(self.folder / flag, why.encode())
        setattr(self, flag, True)

    def note_job(self, job: str) -> None:
        """Writes down the id."""
        write(self.folder / "job.json", json.dumps({"job": job}).encode())
        self.job = job

    def note_event(self, index: int, **values: Any) -> None:
        """Adds an event to those of an array task."""
        append(self._events(index), values)

    def read_events(self, index: int) -> list[dict[str, Any]]:
        """Returns the events of an array task, oldest first; each has a state and a cause."""
        lines = read_lines(self._events(index))
        sound = [line for line in lines if isinstance(line.get("state"), str)]
        return [{**line, "cause": str(line.get("cause") or "")} for line in sound]

    def _events(self, index: int) -> Path:
        return self.folder / "elements" / f"{index}.jsonl"


def submissions_folder(results: Path) -> Path:
    """Returns the folder of a suite's submissions; it stays when they are deleted."""
    return results / "submissions"


def submissions(results: Path) -> list[Submission]:
    """Returns the submissions of a suite, oldest first."""
    found = []
    for name in scan(submissions_folder(results)):
        folder = submissions_folder(results) / name
        if (folder / "intent.json").exists():
            if not _is_sound(read_json(folder / "intent.json")):
                _report_damaged(folder)
                continue
            submission = Submission(folder)
            submission.refresh()
            found.append(submission)
    return sorted(found, key=lambda submission: (submission.intent["created"], submission.name))


_KINDS: Mapping[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("run", "stage", "store"), str),
    **dict.fromkeys(("created", "memory"), (int, float)),
    **dict.fromkeys(("elements", "jobs", "after"), list),
    **dict.fromkeys(("settings", "resources", "steps"), dict),
    "world": int,
}
_RESOURCES = {"minutes", "memory_gb", "signal_seconds", "gpus", "nodes", "cpus", "tasks"}


def _is_sound(intent: Any) -> bool:
    """Tells whether a value is an intent, in all that is read of it."""
    if not isinstance(intent, dict) or not all(
        isinstance(intent.get(name), kind) for name, kind in _KINDS.items()
    ):
        return False
    whole = intent["resources"].keys() >= _RESOURCES
    return whole and intent["stage"] in STAGES and all(map(_is_array_task, intent["elements"]))


def _is_array_task(units: Any) -> bool:
    """Tells whether a value is a list of units."""
    parts = [part for unit in units for part in unit] if isinstance(units, list) else [None]
    return all(isinstance(part, str) for part in parts) and all(len(unit) == 3 for unit in units)


@cache
def _report_damaged(folder: Path) -> None:
    how = f"to see whether SLURM still has its jobs: squeue --name {folder.name}"
    path = folder / "intent.json"
    print(f"{path}: damaged, so this submission is not counted; {how}", file=sys.stderr)


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is to be submitted: one array.

    Args:
        array_tasks: The units of each array task.
        memory: Factor on the memory that is asked for, above 1 after it ran out.
        after: Ids of jobs that must have ended, in whatever way, before it starts.
        steps: The step of each training, by key: those that get no further before their time limit
            are not tried again.
    """

    stage: str
    array_tasks: tuple[tuple[UnitId, ...], ...]
    resources: Resources
    memory: float = 1.0
    after: tuple[str, ...] = ()
    steps: Mapping[str, int] = field(default_factory=dict)

    @property
    def memory_gb(self) -> float | None:
        """Memory on a node."""
        return None if self.resources.memory_gb is None else self.resources.memory_gb * self.memory

    @property
    def units(self) -> list[UnitId]:
        """The units of all array tasks."""
        return [unit for units in self.array_tasks for unit in units]


def prepare(order: Order, results: Path, board: Board, settings: dict[str, Any]) -> Submission:
    """Writes down what is to be submitted, before it is."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    suite = re.sub(r"[^A-Za-z0-9_.-]+", "_", results.name)
    name = f"{suite}-{order.stage}-{stamp}-{uuid.uuid4().hex[:8]}"
    folder = submissions_folder(results.absolute()) / name
    jobs = {(unit.stage, unit.key): board.units[unit] for unit in order.units}
    intent = {
        "run": board.run,
        "created": time.time(),
        "stage": order.stage,
        "elements": [[list(unit) for unit in units] for units in order.array_tasks],
        "jobs": [job.plain() for job in jobs.values()],
        "store": str(board.store.root.absolute()),
        "settings": settings,
        "resources": plain_resources(order.resources),
        "world": order.resources.world,
        "memory": order.memory,
        "after": list(order.after),
        "steps": dict(order.steps),
    }
    write(folder / "intent.json", json.dumps(intent).encode())
    return Submission(folder)
