"""The files of a training: its log, the state to resume from, averages of its weights."""

import contextlib
import hashlib
import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from bench.files import FULL, hash_file, put_aside, sha256, write
from bench.stages.context import Context
from bench.stages.model import on_cpu

UNREADABLE = (KeyError, ValueError, TypeError, AttributeError)
"""What reading notes that are not those of a checkpoint raises."""


class TrainingLog:
    """The training curves: one JSON line per call, without times: equal trainings, equal files."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: list[dict[str, Any]] = []
        self.images = 0

    def log(self, images: int, **values: float) -> None:
        """Adds values after ``images`` training images."""
        self.images = images
        self.lines.append({"images": images, **values})

    def flush(self) -> None:
        """Writes the whole file, for whoever watches the training."""
        write(self.path, "".join(json.dumps(line) + "\n" for line in self.lines).encode())


class Checkpoints:
    """The state to resume a training from, with its log, in one file; averages lie beside it.

    Args:
        path: The file.
        training_log: What the training has logged.
        context: Where and how it trains.
        prefix: Returns the state at the end of a shorter training to go on from, or None.
        averages: File names of the averages that the training keeps, by training images.
    """

    def __init__(
        self,
        path: Path,
        training_log: TrainingLog,
        context: Context,
        prefix: Callable[[], Path | None],
        averages: Mapping[int, str],
    ) -> None:
        self.path = path
        self.training_log = training_log
        self.context = context
        self.prefix = prefix
        self.averages = averages
        self.kept: dict[str, str] = {}
        self.tensors: Callable[[], dict[str, torch.Tensor]] | None = None
        self.began_at: str | None = None
        self.step = 0
        self.before = 0.0
        self.begin = self.written = self.noted = time.monotonic()

    def seconds(self) -> float:
        """Returns the seconds of training, with earlier attempts up to their last checkpoint."""
        return self.before + time.monotonic() - self.begin

    def restore(self) -> tuple[int, dict[str, torch.Tensor]] | None:
        """Returns the last checkpoint, else the end of a shorter training, else None.

        A damaged one is put aside. All processes of a training get what the first one finds.
        """
        if self.context.world == 1:
            return self._restore()
        found: list[Any] = [self._restore() if self.context.rank == 0 else None]
        torch.distributed.broadcast_object_list(found, device=self.context.device)
        if found[0] is None:
            return None
        step, tensors = found[0]
        return step, {name: tensor.to(self.context.device) for name, tensor in tensors.items()}

    def _restore(self) -> tuple[int, dict[str, torch.Tensor]] | None:
        if self.path.exists() and (found := self._read(self.path)) is not None:
            return found
        start = self.prefix()
        if start is None:
            return None
        found = self._read(start)
        if found is not None:
            self.began_at = start.parent.name
            self.tensors = lambda: found[1]
            self._take_averages(start.parent)
        return found

    def _read(self, path: Path) -> tuple[int, dict[str, torch.Tensor]] | None:
        try:
            with safetensors.safe_open(path, "pt", device=str(self.context.device)) as file:
                notes = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if notes.pop("sha256") != _checksum(notes, tensors):
                raise ValueError("its content is not what was written (sha256)")
            kept = json.loads(notes.get("averages", "{}"))
            for name, sha256 in kept.items():
                if hash_file(path.with_name(name)) != sha256:
                    raise ValueError(f"{name} beside it is not what was kept")
            self.step = int(notes["step"])
            self.before = float(notes["seconds"])
            self.training_log.lines = json.loads(notes["log"])
            self.began_at = notes.get("went_on_from") or None
            self.kept = kept
        except (safetensors.SafetensorError, OSError, *UNREADABLE) as error:
            if isinstance(error, OSError) and error.errno in FULL:
                raise
            why = f"unreadable checkpoint put aside, training starts over: {error}"
            print(f"{path}: {why}", file=sys.stderr)
            put_aside(path, path.with_suffix(".damaged"))
            return None
        lines = self.training_log.lines
        self.training_log.images = lines[-1]["images"] if lines else 0
        return self.step, tensors

    def checkpoint(self, step: int, tensors: Callable[[], dict[str, torch.Tensor]]) -> None:
        """Writes a checkpoint if one is due or a stop was requested; a stop then raises."""
        self.step, self.tensors = step, tensors
        if self.context.rank > 0:
            return
        stop = self.context.stop
        due = time.monotonic() - self.written >= self.context.settings["checkpoint_seconds"]
        if due or stop.requested or stop.saving:
            stop.saving = False
            self._write(tensors)
            self.training_log.flush()
            self.written = time.monotonic()
        if time.monotonic() - self.noted >= 0.5:
            self.noted = time.monotonic()
            with contextlib.suppress(OSError):  # only whoever watches misses it
                self.context.lease.note(step=step)
        stop.check()

    def keep_average(self, images: int, tensors: Callable[[], dict[str, torch.Tensor]]) -> None:
        """Writes averages of the weights as they are after so many training images."""
        if self.context.rank > 0:
            return
        self.context.store.guard()
        state = on_cpu(tensors())
        content, name = safetensors.torch.save(state), self.averages[images]
        write(self.path.with_name(name), content)
        self.kept[name] = sha256(content)

    def _take_averages(self, folder: Path) -> None:
        """Takes over what a shorter training kept; not its end, if this one keeps nothing there."""
        names = set(self.averages.values())
        self.kept = {name: sha256 for name, sha256 in self.kept.items() if name in names}
        for name in self.kept:
            write(self.path.with_name(name), (folder / name).read_bytes())

    def keep(self) -> str:
        """Writes the state at the end, for a longer training to go on from; returns its sha256."""
        if self.tensors is not None:  # else the file is there already
            self._write(self.tensors)
        return hash_file(self.path)

    def _write(self, tensors: Callable[[], dict[str, torch.Tensor]]) -> None:
        notes = {
            "step": str(self.step),
            "seconds": repr(self.seconds()),
            "log": json.dumps(self.training_log.lines),
            "went_on_from": self.began_at or "",
        }
        notes |= {"averages": json.dumps(self.kept)} if self.kept else {}
        state = on_cpu(tensors())
        content = safetensors.torch.save(state, {**notes, "sha256": _checksum(notes, state)})
        self.context.store.guard()
        write(self.path, content)


def _checksum(notes: Mapping[str, str], tensors: Mapping[str, torch.Tensor]) -> str:
    digest = hashlib.sha256(json.dumps(notes, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
