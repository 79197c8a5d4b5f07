"""Which process this is among all that share a file system, and whether another one has provably
ended.

A number of a process says nothing without its host and its pid namespace (containers may share host
name, disk and kernel), nor after a restart, nor once the number was given out again: so all of
these are noted together. What cannot be proven from here, for it ran elsewhere, is taken to live.

Standard library only.
"""

import contextlib
import os
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

WHOLE_MACHINE = "4026531836"
"""The pid namespace of a machine, which no container has (PROC_PID_INIT_INO of Linux)."""


@cache
def here() -> dict[str, str]:
    """Returns host, machine, boot and pid namespace as plain texts, empty where the system does not
    say.
    """
    namespace = ""
    with contextlib.suppress(OSError):
        namespace = re.sub(r"\D", "", os.readlink("/proc/self/ns/pid"))
    boot, machine = (
        _first_digits(path) for path in ("/proc/sys/kernel/random/boot_id", "/etc/machine-id")
    )
    return {"host": os.uname().nodename, "machine": machine, "boot": boot, "namespace": namespace}


def _first_digits(path: str) -> str:
    try:
        return re.sub(r"[^0-9a-f]", "", Path(path).read_text(errors="replace").lower())[:8]
    except OSError:
        return ""


def myself() -> dict[str, Any]:
    """Returns what names this process: :func:`here`, its number, and when it was born."""
    return {**here(), "pid": os.getpid(), "born": _born(os.getpid()) or 0}


def controllers(pid: int, word: str) -> list[dict[str, Any]]:
    """Returns what names the processes above one, the nearest first, as far as their command lines
    hold a word.
    """
    found = []
    with contextlib.suppress(OSError, ValueError, IndexError):
        while True:
            stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
            pid = int(stat.rpartition(")")[2].split()[1])
            if pid < 2 or word.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes():
                break
            found.append({**here(), "pid": pid, "born": _born(pid) or 0})
    return found


def is_here(facts: Mapping[str, Any]) -> bool:
    """Tells whether what :func:`myself` noted is of this host, since it started, and of this pid
    namespace.
    """
    return (
        all(facts.get(name, there) == there for name, there in here().items()) and "host" in facts
    )


def lives(facts: Mapping[str, Any]) -> bool:
    """Tells whether a process lives here, the very one that noted the facts."""
    pid = facts.get("pid")
    if not is_here(facts) or not isinstance(pid, int) or pid < 1:
        return False
    born = _born(pid)
    return born is not None and facts.get("born", 0) in (0, born)


def has_ended(facts: Mapping[str, Any]) -> bool:
    """Tells whether the process that noted the facts has provably ended: it was here, or here
    before a restart.
    """
    if is_here(facts):
        return isinstance(facts.get("pid"), int) and not lives(facts)
    there = here()
    same = all(facts.get(name) == there[name] != "" for name in ("host", "machine"))
    restarted = facts.get("boot") not in (None, "", there["boot"])
    return same and restarted and facts.get("namespace") == there["namespace"] == WHOLE_MACHINE


def describe(facts: Mapping[str, Any]) -> str:
    """Returns a process as people name it: ``process 12 on node3``."""
    return f"process {facts.get('pid', '?')} on {facts.get('host', 'an unknown host')}"


def _born(pid: int) -> int | None:
    """Returns when a process of this namespace was started, in ticks since the boot; None where
    there is none.

    It is 0 where the system does not say. One that has ended and waits for its parent to notice
    counts as ended.
    """
    try:
        state, *_ = fields = (
            Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        )
        return None if state in "ZX" else int(fields[19])
    except (OSError, ValueError, IndexError):
        if Path("/proc/self/stat").exists():
            return None
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return None
    except PermissionError:
        pass
    return 0
