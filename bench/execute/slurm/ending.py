"""How units came out of a job that has ended: from their attempts, the events of the array task,
its log, and the state that SLURM reports.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.execute.slurm.submission import Submission
from bench.frozen import dataclass
from bench.store import Store, UnitId

MEMORY_WORDS = re.compile(
    r"exceeded memory limit|oom[-_ ]kill|out of memory|cannot allocate memory", re.IGNORECASE
)
PEER_WORDS = re.compile(r"by peer|broken pipe|nccl|gloo", re.IGNORECASE)
"""The error of a process that shares a training when another one has ended."""

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
ALIKE = "the first jobs all failed alike"
ENOUGH_ALIKE = 3
"""How many array tasks of a stage that fail alike, before any succeeds, stop the others."""


@dataclass(frozen=True)
class Ending:
    """How a unit came out of a job that has ended without making it.

    Args:
        kind: exception, memory, time, node, preempted, cancelled, died; start (its job began
            nothing), unreached (its turn did not come), missing (its inputs were not there),
            broken (its job did not begin, since the first jobs all failed alike).
        cause: In one line.
        tail: The last lines that its job wrote.
        attempt: The attempt, if there was one.
    """

    kind: str
    cause: str
    log: str
    tail: tuple[str, ...] = ()
    attempt: dict[str, Any] | None = None


class _EndedTask:
    """What an array task has left that SLURM runs no more."""

    def __init__(self, store: Store, submission: Submission, index: int, state: str | None) -> None:
        self.state = state
        self.first_log = submission.logs(index)[0]
        self.log = _telling_log(submission, index)
        self.tail = last_lines(self.log)
        events = submission.read_events(index)
        self.event = events[-1] if events else {"state": "", "cause": ""}
        self.kind = KINDS.get(state or "", "")
        if not self.kind and MEMORY_WORDS.search("\n".join(last_lines(self.log, 50))):
            self.kind = "memory"
        self.attempts = {
            unit: [a for a in store.attempts(*unit) if a.get("submission") == submission.name]
            for unit in submission.array_tasks[index]
        }

    def ending(self, unit: UnitId) -> Ending:
        """Returns how one of its units came out of it."""
        log, attempts = str(self.log), self.attempts[unit]
        if attempts:
            last = attempts[-1]
            if last["state"] == "failed":
                return self._failure(last)
            if last["state"] == "stopped" and last.get("cause"):  # an input was damaged
                return Ending("missing", last["cause"], log, (), last)
            return self._death("died", last)
        if self.event["state"] in ("ended", "broken"):
            kind = "broken" if self.event["state"] == "broken" else "missing"
            cause = self.event.get("cause") or "what it needs was not there"
            return Ending(kind, cause, log, self.tail)
        if any(self.attempts.values()):
            return Ending("unreached", "its job ended before its turn", log, self.tail)
        return self._death("start", None)

    def _failure(self, last: dict[str, Any]) -> Ending:
        """Returns the ending of a unit whose attempt says how it failed."""
        words = tuple(last.get("traceback", "").splitlines()[-6:]) or self.tail
        kind, cause = last.get("kind", "exception"), last.get("cause", "")
        if kind != "peer":
            return Ending(kind, cause, last.get("log") or str(self.log), words, last)
        # Another process of the training ended first: only its log knows why.
        raised = "" if self.log == self.first_log else _raised(self.log)
        if raised:
            return Ending("exception", raised, str(self.log), last_lines(self.log), last)
        return Ending("died", f"another process died: {cause}", str(self.log), words, last)

    def _death(self, otherwise: str, last: dict[str, Any] | None) -> Ending:
        """Returns the ending of a unit whose job died; of which kind, SLURM or the log may know."""
        kind = self.kind or otherwise
        cause = WORDS[kind] + (f" (SLURM: {self.state})" if self.state else "")
        if kind in ("died", "start", "memory"):
            crashed = self.event["state"] == "crashed"
            word = self.event["cause"] if crashed else next(_telling(self.tail), "")
            cause += f": {word}" if word else ""
        return Ending(kind, cause, str(self.log), self.tail, last)


def endings(
    store: Store, units: Sequence[UnitId], submission: Submission, index: int, state: str | None
) -> dict[UnitId, Ending]:
    """Returns how units came out of an array task that SLURM runs no more and that did not make
    them.

    Args:
        state: What SLURM says became of the job, None if it has forgotten.
    """
    ended = _EndedTask(store, submission, index, state)
    return {unit: ended.ending(unit) for unit in units}


def _telling(tail: Sequence[str]) -> Iterator[str]:
    """Yields lines, the last first, without those that only say that a job ended."""
    return (
        line
        for line in reversed(tail)
        if not re.match(r"srun: (launch|error: .*(Exited|task))|submitit ", line)
    )


def _raised(log: Path) -> str:
    """Returns the exception that ended a process, from the end of its log; empty if there is
    none.
    """
    lines = [re.sub(r"^\[rank\d+\]: ", "", line) for line in last_lines(log, 60)]
    if not any(line.startswith("Traceback") for line in lines):
        return ""
    return next(
        (line for line in reversed(lines) if RAISED.match(line) and not PEER_WORDS.search(line)), ""
    )


def _telling_log(submission: Submission, index: int) -> Path:
    """Returns the most useful log: of several processes, that of one with a traceback."""
    logs = submission.logs(index)
    for log in logs[1:]:
        if "Traceback" in "\n".join(last_lines(log, 50)):
            return log
    return logs[0]


def last_lines(path: Path, count: int = 6) -> tuple[str, ...]:
    """Returns the last lines of a log that are not blank."""
    try:
        with open(path, "rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - 16384))
            text = file.read().decode(errors="replace")
    except OSError:
        return ()
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    return tuple(lines[-count:])


def shared_cause(causes: Sequence[str]) -> str:
    """Returns the common cause if enough jobs have failed, and all alike up to their numbers; empty
    otherwise.
    """
    plain = {re.sub(r"[0-9a-f]{8,}|\d+", "#", cause) for cause in causes}
    if len(causes) < ENOUGH_ALIKE or len(plain) > 1:
        return ""
    return f"{ALIKE} ({len(causes)}): {causes[0]}"
