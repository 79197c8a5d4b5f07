"""What became of everything that was submitted: from files and one look at the queue.

The one reading that attached and detached runs, status and cancel share. It changes nothing.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.execute.slurm.queue import Entry
from bench.execute.slurm.submission import Submission
from bench.store import Store, UnitId

MEMORY_WORDS = re.compile(
    r"exceeded memory limit|oom[-_ ]kill|out of memory|cannot allocate memory", re.IGNORECASE
)
PEER_WORDS = re.compile(r"by peer|broken pipe|nccl|gloo", re.IGNORECASE)
"""How a process that shares a training hears of the end of another one."""

RAISED = re.compile(r"[\w.]*(Error|Exception|Interrupt)\b")
KINDS = {
    "NODE_FAIL": "node",
    "BOOT_FAIL": "node",
    "PREEMPTED": "preempted",
    "CANCELLED": "cancelled",
    "TIMEOUT": "time",
    "DEADLINE": "time",
    "OUT_OF_MEMORY": "memory",
}
WORDS = {
    "node": "its node failed",
    "preempted": "it was preempted",
    "cancelled": "it was cancelled",
    "time": "the time limit came",
    "memory": "out of memory",
    "died": "it died without a word",
    "start": "its job ended before it began",
}


@dataclass(frozen=True)
class Where:
    """The last element that a unit was given to, and how the queue sees it."""

    submission: Submission
    element: int
    entry: Entry | None

    @property
    def id(self) -> str | None:
        """The id in the queue."""
        return self.submission.id(self.element)

    @property
    def alive(self) -> bool:
        """Whether SLURM has it, waiting or running: then nothing else may make its units."""
        return self.entry is not None and self.entry.alive


def find(submission: Submission, entries: Mapping[str, Entry]) -> list[Entry | None]:
    """Returns how the queue sees each element. An id alone proves nothing: a cluster may give it
    out again.
    """
    ids = (submission.id(element) for element in range(len(submission.elements)))
    found = [entries.get(id_) if id_ is not None else None for id_ in ids]
    return [
        entry if entry is not None and entry.name == submission.name else None for entry in found
    ]


def reconcile(submitted: Sequence[Submission], entries: Mapping[str, Entry]) -> dict[UnitId, Where]:
    """Returns where each unit was last given to, of those that are not done with.

    A submission whose id was never noted is found by its name.
    """
    found: dict[UnitId, Where] = {}
    for submission in submitted:
        if submission.abandoned or submission.over:
            continue
        if submission.job is None:
            named = lost_and_found(submission, entries)
            if named is None:
                continue
            submission = Submission(submission.folder, job=named)
        for element, entry in enumerate(find(submission, entries)):
            for unit in submission.elements[element]:
                if unit not in found or not found[unit].alive:
                    found[unit] = Where(submission, element, entry)
    return found


def lost_and_found(submission: Submission, entries: Mapping[str, Entry]) -> str | None:
    """Returns the id under which the queue knows a submission whose driver could not note it."""
    return next((entry.master for entry in entries.values() if entry.name == submission.name), None)


@dataclass(frozen=True)
class Ending:
    """How a unit came out of a job that has ended and did not make it.

    Args:
        kind: exception, memory, time, node, preempted, cancelled, died; start (its job began
            nothing), unreached (its turn did not come), missing (what it needs was not there),
            broken (its job saw no use in beginning).
        cause: In one line.
        tail: The last lines that its job wrote.
        attempt: The attempt, where there was one.
    """

    kind: str
    cause: str
    log: str
    tail: tuple[str, ...] = ()
    attempt: dict[str, Any] | None = None


def endings(
    store: Store, units: Sequence[UnitId], submission: Submission, element: int, state: str | None
) -> dict[UnitId, Ending]:
    """Returns how units came out of an element that SLURM runs no more and that did not make them.

    Args:
        state: What SLURM says became of the job, None where it has forgotten.
    """
    log, told = _log(submission, element), submission.told(element)
    tail = last_lines(log)
    kind = KINDS.get(state or "", "")
    if not kind and MEMORY_WORDS.search("\n".join(last_lines(log, 50))):
        kind = "memory"
    tries = {
        unit: [
            tried for tried in store.attempts(*unit) if tried.get("submission") == submission.name
        ]
        for unit in submission.elements[element]
    }
    last_state = told[-1]["state"] if told else ""
    word = told[-1]["cause"] if last_state == "crashed" else next(_words_of(tail), "")

    def of(unit: UnitId) -> Ending:
        last = tries[unit][-1] if tries[unit] else None
        if last is not None and last["state"] == "failed":
            words = tuple(last.get("traceback", "").splitlines()[-6:]) or tail
            of_kind, cause = last.get("kind", "exception"), last.get("cause", "")
            if of_kind == "peer":  # another process of the training was the first to end
                raised = "" if log == submission.logs(element)[0] else _raised(log)
                of_kind = "exception" if raised else "died"
                cause, words = (
                    (raised, last_lines(log))
                    if raised
                    else (f"another process died: {cause}", words)
                )
                return Ending(of_kind, cause, str(log), words, last)
            return Ending(of_kind, cause, last.get("log") or str(log), words, last)
        if last is not None and last["state"] == "stopped" and last.get("cause"):
            return Ending("missing", last["cause"], str(log), (), last)
        if last is None and last_state in ("ended", "broken"):
            kind_ = "broken" if last_state == "broken" else "missing"
            return Ending(
                kind_, told[-1].get("cause") or "what it needs was not there", str(log), tail
            )
        if last is None and any(tries.values()):
            return Ending("unreached", "its job ended before its turn", str(log), tail)
        here = kind or ("died" if last is not None else "start")
        cause = WORDS[here] + (f" (SLURM: {state})" if state else "")
        if here in ("died", "start", "memory"):
            cause += f": {word}" if word else ""
        return Ending(here, cause, str(log), tail, last)

    return {unit: of(unit) for unit in units}


def _words_of(tail: Sequence[str]) -> Iterator[str]:
    """Yields lines, the last first, those that say no more than that there was an end left out."""
    return (
        line
        for line in reversed(tail)
        if not re.match(r"srun: (launch|error: .*(Exited|task))|submitit ", line)
    )


def _raised(log: Path) -> str:
    """Returns the exception that ended a process, from the end of its log; empty where there was
    none.
    """
    lines = [re.sub(r"^\[rank\d+\]: ", "", line) for line in last_lines(log, 60)]
    if not any(line.startswith("Traceback") for line in lines):
        return ""
    return next(
        (line for line in reversed(lines) if RAISED.match(line) and not PEER_WORDS.search(line)), ""
    )


def _log(submission: Submission, element: int) -> Path:
    """Returns the log that says most: of several processes, that of one with a traceback."""
    logs = submission.logs(element)
    for log in logs[1:]:
        if "Traceback" in "\n".join(last_lines(log, 50)):
            return log
    return logs[0]


def last_lines(path: Path, count: int = 6) -> tuple[str, ...]:
    """Returns the last lines of a log that say anything."""
    try:
        with open(path, "rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - 16384))
            text = file.read().decode(errors="replace")
    except OSError:
        return ()
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    return tuple(lines[-count:])
