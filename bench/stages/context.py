"""Where and how a unit is made, and by whom: what every stage is handed besides the unit itself."""

import contextlib
import functools
import importlib.metadata
import io
import math
import os
import platform
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from bench.installation import checkout
from bench.plugins import digests
from bench.store import Store

NOTE_SECONDS = 1.0
"""How often a unit notes its progress at most."""


class DivergedError(Exception):
    """A model gave NaN or infinity."""


class Lease(Protocol):
    """The claim of this process on the unit, which others can read."""

    def note(self, **values: Any) -> None:
        """Adds values to what others read of the unit's progress."""


class Unwatched:
    """The lease of a unit that nobody watches."""

    def note(self, **values: Any) -> None:
        """Drops the values."""


class Stop(Protocol):
    """A request to stop, or to save a checkpoint, that a signal may make at any time."""

    requested: bool
    saving: bool

    def check(self) -> None:
        """Raises an exception that ends the process if a stop was requested."""


@dataclass
class Context:
    """Where and how a unit is made.

    Args:
        store: Where inputs are read and results are written.
        settings: Plain values of the executor: device, checkpoint_seconds, tf32, compile, and rank,
            local_rank and world if several processes share a training.
        lease: Where the progress is noted.
        stop: What asks a training to stop.
        start: When the attempt began, ISO 8601 in UTC.
        attempts: How many attempts there were, this one included.
        earlier_seconds: What the earlier ones took.
        begun: When this one began, on the monotonic clock.
    """

    store: Store
    settings: dict[str, Any]
    lease: Lease
    stop: Stop
    start: str
    attempts: int
    earlier_seconds: float = 0.0
    begun: float = field(default_factory=time.monotonic)

    @property
    def device(self) -> torch.device:
        """The executor's choice; of several devices in sight, that of the process's local rank."""
        choice = self.settings["device"]
        if choice == "auto":
            choice = "cuda" if torch.cuda.is_available() else "cpu"
        device = torch.device(choice)
        if device.type == "cuda" and self.world > 1:
            return torch.device("cuda", self.settings["local_rank"] % torch.cuda.device_count())
        return device

    @property
    def rank(self) -> int:
        """Which of the processes of one training this is."""
        return self.settings.get("rank", 0)

    @property
    def world(self) -> int:
        """How many processes share one training."""
        return self.settings.get("world", 1)

    @property
    def tf32(self) -> bool:
        """Whether GPUs may compute float32 products in TF32."""
        return self.settings.get("tf32", False)

    @property
    def compiled(self) -> bool:
        """Whether networks go through torch.compile."""
        return self.settings.get("compile", False)

    def passes(self, each: float | None, images: int) -> Callable[[int], None]:
        """Returns what notes, at most once per second, how many passes forward a unit has made.

        Args:
            each: Passes per image that are expected; None if that is not known, then nothing is
                noted.
            images: How many images go through the network together.
        """
        if not each:
            return lambda rows: None
        lease, expected, noted = self.lease, math.ceil(each), [time.monotonic()]

        def note(rows: int) -> None:
            if time.monotonic() - noted[0] >= NOTE_SECONDS:
                noted[0] = time.monotonic()
                step = rows // images
                with contextlib.suppress(OSError):  # only whoever watches misses it
                    lease.note(step=step, steps=max(step, expected))

        return note

    def provenance(self) -> dict[str, Any]:
        """Returns who made a result, where, when, with what."""
        device, on_gpu = self.device, self.device.type == "cuda"
        return {
            **_environment(),
            "device": torch.cuda.get_device_name(device) if on_gpu else _processor(),
            "accelerator": device.type,
            "threads": torch.get_num_threads(),
            "tf32": on_gpu and self.tf32,
            "compiled": self.compiled,
            "start": self.start,
            "end": time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime()),
            "attempts": self.attempts,
            "attempt_seconds": round(self.earlier_seconds + time.monotonic() - self.begun, 3),
            **({"processes": self.world} if self.world > 1 else {}),
            **({"plugins": digests()} if digests() else {}),
        }


@functools.cache
def _environment() -> dict[str, Any]:
    folder = checkout()

    def git(*arguments: str) -> str | None:
        command = ["git", "--no-optional-locks", "-C", str(folder), *arguments]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()

    # Installed inside another project's checkout, it would name that project's commit.
    top = git("rev-parse", "--show-toplevel")
    ours = top is not None and os.path.samefile(top, folder)
    changes = git("status", "--porcelain", "--", ".", ":(exclude)results") if ours else None
    names = ("torch", "numpy", "scipy", "scikit-learn")
    packages = {name: importlib.metadata.version(name) for name in names}
    return {
        "commit": git("rev-parse", "HEAD") if ours else None,
        "dirty": None if changes is None else bool(changes),
        "host": platform.node(),
        "packages": {"python": platform.python_version(), **packages},
    }


@functools.cache
def _processor() -> str:
    with open("/proc/cpuinfo") if os.path.exists("/proc/cpuinfo") else io.StringIO() as file:
        for line in file:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
