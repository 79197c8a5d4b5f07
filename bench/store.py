"""Results under keys: where each file is, and the record that says that it is complete.

    train/<key>/       spec.json  weights.json  weights.safetensors  log.jsonl  (resume.safetensors)
    samples/<key>/     spec.json  00017.json  00017.npz
    likelihood/<key>/  spec.json  00000.json
    inspect/<key>/     spec.json  inspection.json  inspection.npz
    scores/<key>/      fd-1a2b3c4d.json

A unit of work (stage, key, part) is finished when its record ``<part>.json`` exists, its own
checksum holds and every data file that it lists has the recorded size. A data file whose
modification time differs from the recorded one is hashed again; readers always hash. What is
damaged is made again. Beside a record are ``<part>.attempts.jsonl`` (who tried, when, how it ended)
and, while a worker is on it, ``<part>.lease``.

Standard library only; arrays and tensors are read in functions that import what they need.
"""

import io
import json
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from bench.files import (
    append,
    hash_file,
    parse,
    put_aside,
    read_json,
    read_lines,
    scan,
    sha256,
    sweep,
    write,
)
from bench.spec import Spec, canonical, part_name

if TYPE_CHECKING:
    import numpy as np

STAGES = ("train", "samples", "likelihood", "inspect", "scores")
REFERENCES = "references"
"""Statistics of real images, which any suite on the store may use; not a stage."""


ATTEMPT_FIELDS: Mapping[str, type | tuple[type, ...]] = {
    **dict.fromkeys(
        ("attempt", "run", "state", "start", "end", "log", "cause", "kind", "traceback", "host"),
        str,
    ),
    **dict.fromkeys(("submission", "job"), str),
    **dict.fromkeys(("pid", "element", "restart", "from_step"), int),
    **dict.fromkeys(("gpus", "cpus"), (int, float)),
    "tail": list,
}
"""Types of the fields of an attempt; values of other types are not read."""


class UnitId(NamedTuple):
    """A unit of work: ``train/<key>/model``."""

    stage: str
    key: str
    part: str

    @property
    def folder(self) -> str:
        """Its folder in the store: ``train/<key>``."""
        return f"{self.stage}/{self.key}"

    def __str__(self) -> str:
        return "/".join(self)


class DamagedError(Exception):
    """A stored file is not what was written; its unit has to be made again."""

    def __init__(self, unit: UnitId, path: Path, why: str) -> None:
        super().__init__(f"{path}: {why}")
        self.unit = unit
        self.path = path
        self.why = why


class Store:
    """The store under one folder.

    Args:
        guard: Called before anything is written; it raises if the writer has lost the right to.
    """

    def __init__(self, root: Path | str, guard: Callable[[], None] = lambda: None) -> None:
        self.root = Path(root)
        self.guard = guard

    def folder(self, stage: str, key: str) -> Path:
        """Returns the folder of a key."""
        return self.root / stage / key

    def path(self, unit: UnitId, suffix: str) -> Path:
        """Returns a file of a unit, such as ``00017.npz``."""
        return self.root / unit.stage / unit.key / f"{unit.part}{suffix}"

    # Records

    def record(self, stage: str, key: str, part: str) -> dict[str, Any] | None:
        """Returns the record of a finished unit, None if it is unfinished or damaged."""
        try:
            return self.check(UnitId(stage, key, part))
        except DamagedError:
            return None

    def check(self, unit: UnitId, *, rehash: bool = False) -> dict[str, Any] | None:
        """Returns the record of a finished unit, None if it has not been made.

        Raises:
            DamagedError: The record or a file it lists was truncated or altered.
        """
        # As text: building a Path takes longer than reading the record.
        name = f"{self.root}/{unit.stage}/{unit.key}/{unit.part}.json"
        try:
            with open(name, "rb") as file:
                content = file.read()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except IsADirectoryError:
            raise DamagedError(unit, Path(name), "is a folder, not the record of a unit") from None
        path = Path(name)
        record = _unseal(content)
        if record is None:
            raise DamagedError(unit, path, "the record does not match its own checksum")
        for data, facts in record["files"].items():
            if why := _damage(path.with_name(data), facts, rehash):
                raise DamagedError(unit, path.with_name(data), why)
        return record

    def finish(
        self,
        unit: UnitId,
        record: Mapping[str, Any],
        files: Mapping[str, bytes] | None = None,
        there: Iterable[str] = (),
    ) -> None:
        """Writes a unit's data files, then its record: from then on it is finished.

        Args:
            files: Content by suffix: ``{".npz": b"..."}``.
            there: Suffixes of data files that are written already.
        """
        self.guard()
        digests = {self.path(unit, suffix): hash_file(self.path(unit, suffix)) for suffix in there}
        for suffix, content in (files or {}).items():
            path = self.path(unit, suffix)
            write(path, content)
            digests[path] = sha256(content)
        facts = {}
        for path, digest in digests.items():
            now = path.stat()
            facts[path.name] = {
                "sha256": digest,
                "bytes": now.st_size,
                "mtime_ns": now.st_mtime_ns,
            }
        self._put(unit, {**record, "files": facts})

    def _put(self, unit: UnitId, record: Mapping[str, Any]) -> None:
        self.guard()
        write(self.path(unit, ".json"), _seal(record))

    def discard(self, unit: UnitId) -> None:
        """Makes a damaged unit unfinished; its record is kept as ``<part>.json.damaged``."""
        put_aside(self.path(unit, ".json"))

    def read(self, unit: UnitId, suffix: str) -> bytes:
        """Returns the content of a data file of a finished unit, hashed as it is read.

        Raises:
            DamagedError: It is not what was written.
            FileNotFoundError: It was pruned or never made.
        """
        record = self.check(unit)
        path = self.path(unit, suffix)
        if record is None:
            raise FileNotFoundError(f"{path}: the unit {unit} is not finished")
        content = path.read_bytes()
        if sha256(content) != record["files"].get(path.name, {}).get("sha256"):
            raise DamagedError(unit, path, "the content differs from what was written (sha256)")
        return content

    # Specs

    def write_spec(self, stage: str, key: str, spec: Spec, resolved: Mapping[str, Any]) -> None:
        """Writes what a key stands for."""
        path = self.folder(stage, key) / "spec.json"
        values = {"type": type(spec).__name__, "spec": canonical(spec), "resolved": resolved}
        content = json.dumps(values, indent=1, sort_keys=True).encode()
        if not path.is_file() or path.read_bytes() != content:
            self.guard()
            write(path, content)

    def specs(self, stage: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yields (key, canonical spec) of everything that was ever begun in a stage."""
        for entry in scan(self.root / stage):
            values = read_json(self.root / stage / entry / "spec.json")
            if isinstance(values, dict) and isinstance(values.get("spec"), dict):
                yield entry, values["spec"]

    # Attempts

    def note_attempt(self, unit: UnitId, **values: Any) -> None:
        """Appends one line to the unit's attempts."""
        self.guard()
        append(self.path(unit, ".attempts.jsonl"), values)

    def attempts(self, stage: str, key: str, part: str) -> list[dict[str, Any]]:
        """Returns the attempts at a unit, oldest first.

        Each has run, host, pid, start, log, state ("running" until it ends: then "done", "failed"
        or "stopped"), and end and cause once known. A "running" one whose lease nobody holds has
        died.
        """
        merged: dict[str, dict[str, Any]] = {}
        for line in read_lines(self.path(UnitId(stage, key, part), ".attempts.jsonl")):
            values = {
                name: value
                for name, value in line.items()
                if isinstance(value, ATTEMPT_FIELDS.get(name, object))
            }
            if "attempt" in values:
                merged.setdefault(str(values["attempt"]), {"state": "running"}).update(values)
        return [attempt for attempt in merged.values() if "run" in attempt]

    # Images

    def images(self, key: str, count: int) -> "np.ndarray":
        """Returns the first ``count`` images of a sample set (fewer if it was pruned), shape (N, C,
        H, W): uint8, or float32 if the data set's values are real.

        Raises:
            DamagedError: A file is not what was written.
            FileNotFoundError: There is none.
        """
        import numpy as np

        batches: list[np.ndarray] = []
        while sum(map(len, batches)) < count:
            try:
                content = self.read(UnitId("samples", key, part_name(len(batches))), ".npz")
            except FileNotFoundError:
                if not batches:
                    raise
                break
            batches.append(np.load(io.BytesIO(content), allow_pickle=False)["images"])
        return np.concatenate(batches)[:count]

    # Pruning

    def prune(self, unit: UnitId) -> int:
        """Deletes the data files of a finished unit, noting it in the record; returns the bytes
        freed.
        """
        record = self.check(unit)
        if record is None:
            return 0
        freed = 0
        for name, facts in record["files"].items():
            path = self.folder(unit.stage, unit.key) / name
            facts["pruned"] = True
            freed += path.stat().st_size if path.exists() else 0
        self._put(unit, record)
        for name in record["files"]:
            (self.folder(unit.stage, unit.key) / name).unlink(missing_ok=True)
        return freed

    def tidy(self, stage: str, key: str) -> None:
        """Makes the folder of a key ready to be written to: puts aside what is not a folder, and
        sweeps it.
        """
        for folder in (self.root / stage, self.folder(stage, key)):
            if not folder.is_dir():
                put_aside(folder)
        sweep(self.folder(stage, key))

    def remove(self, stage: str, key: str) -> int:
        """Deletes everything under a key; returns the bytes freed."""
        import shutil

        folder = self.folder(stage, key)
        freed = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        shutil.rmtree(folder)
        return freed


def pruned(record: Mapping[str, Any]) -> bool:
    """Returns whether a unit's data files were pruned."""
    return any(facts.get("pruned") for facts in record["files"].values())


def _damage(path: Path, facts: Mapping[str, Any], rehash: bool) -> str:
    """Returns how a data file differs from what was recorded of it; empty if it does not, or was
    pruned.
    """
    try:
        now = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return "" if facts.get("pruned") else "is missing"
    if not stat.S_ISREG(now.st_mode):
        return "is no file"
    if now.st_size != facts["bytes"]:
        return f"has {now.st_size} bytes, {facts['bytes']} were written"
    unsure = rehash or now.st_mtime_ns != facts["mtime_ns"]
    altered = unsure and hash_file(path) != facts["sha256"]
    return "the content differs from what was written (sha256)" if altered else ""


def _seal(record: Mapping[str, Any]) -> bytes:
    body = json.dumps(record, sort_keys=True)
    digest = sha256(body)
    return json.dumps({**record, "sha256": digest}, indent=1, sort_keys=True).encode()


def _unseal(content: bytes) -> dict[str, Any] | None:
    record = parse(content)
    if not isinstance(record, dict):
        return None
    digest = record.pop("sha256", None)
    body = json.dumps(record, sort_keys=True)
    if sha256(body.encode(errors="replace")) != digest:
        return None
    files = record.get("files")
    return record if isinstance(files, dict) and all(map(_is_file, files.items())) else None


def _is_file(item: tuple[str, Any]) -> bool:
    """Returns whether an entry of a record's files has the fields that it should have."""
    name, facts = item
    whole = isinstance(facts, dict) and isinstance(facts.get("sha256"), str)
    numbers = whole and all(isinstance(facts.get(what), int) for what in ("bytes", "mtime_ns"))
    return numbers and "/" not in name
