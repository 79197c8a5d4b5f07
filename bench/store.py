"""Where each file lies, and how it gets there: write under another name, flush, rename.

    train/<key>/       spec.json  weights.json  weights.safetensors  log.jsonl  (resume.safetensors, to go on from)
    samples/<key>/     spec.json  00017.json  00017.npz
    likelihood/<key>/  spec.json  00000.json
    inspect/<key>/     spec.json  inspection.json  inspection.npz
    scores/<key>/      fd-1a2b3c4d.json

A unit of work (stage, key, part) is finished when its record ``<part>.json`` is there, its own
checksum holds and every data file that it lists has the recorded size. A data file whose
modification time differs from the recorded one is hashed again; readers always hash. What is
damaged is made again. Beside a record lie ``<part>.attempts.jsonl`` (who tried, when, how it ended)
and, while somebody works on it, ``<part>.lease``.

Standard library only; arrays and tensors are read in functions that import what they need.
"""

import contextlib
import errno
import hashlib
import io
import json
import os
import re
import shutil
import stat
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from bench import host
from bench.spec import Spec, canonical, part_name

if TYPE_CHECKING:
    import numpy as np

STAGES = ("train", "samples", "likelihood", "inspect", "scores")
REFERENCES = "references"
"""Statistics of real images, which any suite on the store may use; no stage of its own."""

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS})
"""Errors of a file system on which nothing more can be written."""

NOT_OURS = FULL | {
    errno.EACCES,
    errno.EPERM,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
    errno.ENAMETOOLONG,
    errno.ELOOP,
    errno.EIO,
    errno.ESTALE,
    errno.ENOLCK,
    errno.ENOTSUP,
    errno.EOPNOTSUPP,
    errno.ENOSYS,
}
"""Errors of the place where files lie, not of the program: full, not to be written, not a folder,
without locks.
"""

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
"""Types of what is noted of an attempt; other values are not read."""


class UnitId(NamedTuple):
    """A unit of work: ``train/<key>/model``."""

    stage: str
    key: str
    part: str

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
        guard: Called before anything is written; it raises where the writer has lost the right to.
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
        """Returns the record of a finished unit, None where there is none (or only a damaged
        one).
        """
        try:
            return self.check(UnitId(stage, key, part))
        except DamagedError:
            return None

    def check(self, unit: UnitId, *, rehash: bool = False) -> dict[str, Any] | None:
        """Returns the record of a finished unit, or None where it has not been made.

        Raises:
            DamagedError: The record or a file it lists was truncated or altered.
        """
        name = f"{self.root}/{unit.stage}/{unit.key}/{unit.part}.json"  # a Path costs more than the read
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
        for name, facts in record["files"].items():
            file = path.with_name(name)
            try:
                there = file.stat()
            except (FileNotFoundError, NotADirectoryError):
                if facts.get("pruned"):
                    continue
                raise DamagedError(unit, file, "is missing") from None
            if not stat.S_ISREG(there.st_mode):
                raise DamagedError(unit, file, "is no file")
            if there.st_size != facts["bytes"]:
                raise DamagedError(
                    unit, file, f"has {there.st_size} bytes, {facts['bytes']} were written"
                )
            if (rehash or there.st_mtime_ns != facts["mtime_ns"]) and hash_file(file) != facts[
                "sha256"
            ]:
                raise DamagedError(unit, file, "the content differs from what was written (sha256)")
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
            there: Suffixes of data files that were written before.
        """
        self.guard()
        facts = {}
        for path in (self.path(unit, suffix) for suffix in there):
            lies = path.stat()
            facts[path.name] = {
                "sha256": hash_file(path),
                "bytes": lies.st_size,
                "mtime_ns": lies.st_mtime_ns,
            }
        for suffix, content in (files or {}).items():
            path = self.path(unit, suffix)
            write(path, content)
            facts[path.name] = {
                "sha256": hashlib.sha256(content).hexdigest(),
                "bytes": len(content),
                "mtime_ns": path.stat().st_mtime_ns,
            }
        self._put(unit, {**record, "files": facts})

    def _put(self, unit: UnitId, record: Mapping[str, Any]) -> None:
        self.guard()
        write(self.path(unit, ".json"), _seal(record))

    def discard(self, unit: UnitId) -> None:
        """Forgets a damaged unit, so that it is made again; its record is kept as
        ``<part>.json.damaged``.
        """
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
        if hashlib.sha256(content).hexdigest() != record["files"].get(path.name, {}).get("sha256"):
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
        """Yields (key, canonical spec) of everything ever begun in a stage."""
        for entry in scan(self.root / stage):
            values = read_json(self.root / stage / entry / "spec.json")
            if isinstance(values, dict) and isinstance(values.get("spec"), dict):
                yield entry, values["spec"]

    # Attempts

    def note_attempt(self, unit: UnitId, **values: Any) -> None:
        """Appends one line to the unit's attempts."""
        self.guard()
        path = self.path(unit, ".attempts.jsonl")
        append(path, values)

    def attempts(self, stage: str, key: str, part: str) -> list[dict[str, Any]]:
        """Returns the attempts at a unit, oldest first.

        Each has run, host, pid, start, log, state ("running" until it ends: then "done", "failed"
        or "stopped"), and end and cause once known. A "running" one whose lease nobody holds has
        died.
        """
        merged: dict[str, dict[str, Any]] = {}
        for line in read_lines(self.path(UnitId(stage, key, part), ".attempts.jsonl")):
            kinds = {name: ATTEMPT_FIELDS.get(name, object) for name in line}
            values = {name: value for name, value in line.items() if isinstance(value, kinds[name])}
            if "attempt" in values:
                merged.setdefault(values["attempt"], {"state": "running"}).update(values)
        return [attempt for attempt in merged.values() if "run" in attempt]

    # Images

    def images(self, key: str, count: int) -> "np.ndarray":
        """Returns the first ``count`` images of a sample set (fewer where it was pruned), shape (N,
        C, H, W).

        They are uint8, or float32 where the data set's values are real.

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
        """Makes the folder of a key fit to be written to: puts aside what is no folder, and sweeps
        it.
        """
        for folder in (self.root / stage, self.folder(stage, key)):
            if not folder.is_dir():
                put_aside(folder)
        sweep(self.folder(stage, key))

    def remove(self, stage: str, key: str) -> int:
        """Deletes everything under a key; returns the bytes freed."""
        folder = self.folder(stage, key)
        freed = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        shutil.rmtree(folder)
        return freed


def pruned(record: Mapping[str, Any]) -> bool:
    """Tells whether a unit's data files were pruned."""
    return any(facts.get("pruned") for facts in record["files"].values())


def write(path: Path, content: bytes) -> None:
    """Writes a file so that it is there whole or not at all.

    Raises:
        OSError: It cannot be written, for the disk is full, say; the error names the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}{_mark()}")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if path.is_dir():
            put_aside(path)
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise named(error, path) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        raise named(error, path) from error
    finally:
        os.close(descriptor)


def named(error: OSError, path: Path) -> OSError:
    """Returns an error that names the file, which those of reading and writing do not."""
    return error if error.errno is None else OSError(error.errno, error.strerror, str(path))


def append(path: Path, values: Mapping[str, Any]) -> None:
    """Adds an object to a file with one a line.

    Raises:
        OSError: It cannot be written; the error names the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        put_aside(path)
    # It begins with a line end, for the last one may have been cut short.
    line = ("\n" + json.dumps(values) + "\n").encode()
    try:
        with open(path, "ab", buffering=0) as file:
            if file.write(line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as error:
        raise named(error, path) from error


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Returns the objects of a file with one a line, none where there is none; what was cut short
    is left out.
    """
    try:
        lines = path.read_bytes().decode(errors="replace").split("\n")
    except OSError:
        return []
    values = (parse(line) for line in lines if line.strip())
    return [value for value in values if isinstance(value, dict)]


def read_json(path: Path) -> Any:
    """Returns what a JSON file holds, None where there is none or it is damaged."""
    try:
        return parse(path.read_bytes())
    except OSError:
        return None


def parse(content: bytes | str) -> Any:
    """Returns what a JSON text says, None where it is none."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def put_aside(path: Path, target: Path | None = None) -> Path | None:
    """Renames a file or folder to ``<name>.damaged``, in the place of an earlier one; None where
    there is none.
    """
    if not os.path.lexists(path):
        return None
    target = target or path.with_name(f"{path.name}.damaged")
    try:
        if target.is_dir() or (target.exists() and path.is_dir()):
            target = target.with_name(f"{target.name}.{uuid.uuid4().hex[:8]}")
        os.replace(path, target)
    except FileNotFoundError:
        return None
    return target


def probe(folder: Path) -> None:
    """Makes sure that files can be written to a folder.

    Raises:
        OSError: They cannot, for the disk is full, say; the error names the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f".probe{_mark()}"
    try:
        with open(path, "wb") as file:
            file.write(bytes(2**16))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise named(error, folder) from error
    finally:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def _mark() -> str:
    """Returns the end of a temporary file's name, which no other has and which says which process
    is writing it.
    """
    me = host.myself()
    return ".{host}.{pid}.{machine}-{boot}-{namespace}-{born}-".format(**me) + uuid.uuid4().hex[:8]


def sweep(folder: Path) -> None:
    """Deletes what processes that have provably ended left half-written in ``folder``."""
    name = host.here()["host"]
    for entry in scan(folder):
        head, _, tail = entry.rpartition(f".{name}.")
        pid, _, mark = tail.partition(".")
        if head.startswith(".") and re.fullmatch("[0-9]{1,10}", pid):
            facts: dict[str, Any] = {"host": name, "pid": int(pid)}
            if found := re.fullmatch(
                "([0-9a-f]*)-([0-9a-f]*)-([0-9]*)-([0-9]{1,19})-[0-9a-f]+", mark
            ):
                facts |= dict(zip(("machine", "boot", "namespace"), found.groups(), strict=False))
                facts["born"] = int(found[4])
            if host.has_ended(facts):
                with contextlib.suppress(OSError):  # a store that is only read
                    (folder / entry).unlink(missing_ok=True)


def hash_file(path: Path) -> str:
    """Returns the sha256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def scan(folder: Path) -> list[str]:
    """Returns the names in a folder, sorted; none where it is not there."""
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _seal(record: Mapping[str, Any]) -> bytes:
    body = json.dumps(record, sort_keys=True)
    digest = hashlib.sha256(body.encode()).hexdigest()
    return json.dumps({**record, "sha256": digest}, indent=1, sort_keys=True).encode()


def _unseal(content: bytes) -> dict[str, Any] | None:
    record = parse(content)
    if not isinstance(record, dict):
        return None
    digest = record.pop("sha256", None)
    body = json.dumps(record, sort_keys=True)
    if hashlib.sha256(body.encode(errors="replace")).hexdigest() != digest:
        return None
    files = record.get("files")
    return record if isinstance(files, dict) and all(map(_is_file, files.items())) else None


def _is_file(item: tuple[str, Any]) -> bool:
    """Tells whether an entry of a record's files is one."""
    name, facts = item
    whole = isinstance(facts, dict) and isinstance(facts.get("sha256"), str)
    numbers = whole and all(isinstance(facts.get(what), int) for what in ("bytes", "mtime_ns"))
    return numbers and "/" not in name
