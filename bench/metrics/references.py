"""Reference statistics: what an extractor says of a split of real images, computed once and kept in the store.

    references/<key>/  reference.json (what it is of)  moments.npz (mu, sigma, count)  features.npy  floor-<hash>.json

The key is the hash of what the numbers depend on: data set, version, split and the digest of its images, the extractor
with its weights and preprocessing. ``features.npy`` is written only where a metric compares image with image, and is
read by memory mapping; images stream through, so that no more than a chunk of them is in memory. Writers take a lock
beside the files and put each file in its place whole, so that jobs on one store compute a reference once and never see
half of one.

Files that papers ship are imported under the sha256 of the file: ``mu`` and ``sigma`` (TTUR, pytorch-fid, clean-fid,
guided-diffusion), or features under ``pool_3`` (score_sde) or ``feats`` (clean-fid). Exported files hold ``mu``,
``sigma``, ``count``, ``identity`` and, where asked, ``pool_3``.
"""

import contextlib
import fcntl
import functools
import hashlib
import io
import json
import os
import sys
import uuid
import zipfile
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bench.data import Images
from bench.metrics.extractors import Extractor
from bench.metrics.frechet import Moments
from bench.metrics.summary import Summary
from bench.store import REFERENCES, DamagedError, Store, UnitId

MOMENTS, FEATURES = "moments", "features"
POOLS = ("pool_3", "feats", "features")
"""Names under which files of features hold them."""


class References:
    """The references of a store, or of this process alone where there is no store."""

    def __init__(self, store: Store | None = None) -> None:
        self.store = store
        self._known: dict[tuple[str, frozenset[Any]], Summary] = {}

    def get(self, data: Images, split: str, extractor: Extractor, uses: Collection[Any]) -> Summary:
        """Returns what an extractor says of a split: ``moments`` and ``features`` as asked for."""
        facts = identify(data, split, extractor)
        return self._summary(_key(facts), uses, lambda wanted: self._compute(facts, data, split, extractor, wanted))

    def imported(self, sha256: str, uses: Collection[Any], dimension: int) -> Summary:
        """Returns the statistics of an imported file.

        Raises:
            ValueError: It was not imported, or has not what is asked for, or is of another extractor.
        """

        def absent(wanted: Collection[str]) -> Summary:
            known = self.store is not None and self.store.record(REFERENCES, sha256, MOMENTS) is not None
            why = "holds mean and covariance alone, and this metric compares images" if known else "were not imported"
            raise ValueError(
                f"statistics {sha256[:8]}... {why}: run_bench.py reference import FILE"
                + ("" if self.store is None else f" --store {self.store.root}")
            )

        found = self._summary(sha256, uses, absent)
        has = found.moments.dimension if found.moments is not None else found.features.shape[1]
        if has != dimension:
            raise ValueError(f"statistics {sha256[:8]}... have {has} dimensions, the extractor has {dimension}")
        return found

    def facts(self, sha256: str) -> dict[str, Any]:
        """Returns what is noted of an imported file."""
        record = self.store.record(REFERENCES, sha256, MOMENTS) if self.store is not None else None
        return {} if record is None else record["of"]

    def _summary(self, key: str, uses: Collection[Any], compute: Callable[[Collection[str]], Summary]) -> Summary:
        wanted = frozenset(use for use in uses if use in (MOMENTS, FEATURES))
        if (key, wanted) not in self._known:
            while len(self._known) > 7:
                self._known.pop(next(iter(self._known)))
            self._known[key, wanted] = self._stored(key, wanted, compute)
        return self._known[key, wanted]

    def _stored(self, key: str, wanted: Collection[str], compute: Callable[[Collection[str]], Summary]) -> Summary:
        if self.store is None:
            return compute(wanted)
        found = _read(self.store, key, wanted)
        if found is None:
            with _lock(self.store.folder(REFERENCES, key)):
                found = _read(self.store, key, wanted)  # somebody else may have made it meanwhile
                if found is None:
                    compute(wanted)
                    found = _read(self.store, key, wanted)
        if found is None:
            raise ValueError(f"{self.store.folder(REFERENCES, key)}: what was written cannot be read back")
        return found

    def _compute(
        self, facts: Mapping[str, Any], data: Images, split: str, extractor: Extractor, wanted: Collection[str]
    ) -> Summary:
        """Returns the summary, and writes it where there is a store."""
        images = data.train if split == "train" else data.test
        if self.store is None:
            summary = Summary(wanted)
            for part in _chunks(images, f"{data.name} {split} by {extractor.name}"):
                summary.add(extractor(part))
            return summary
        summary, key = Summary({MOMENTS}), _key(facts)
        with _FeatureFile(self.store, key, len(images), extractor, FEATURES in wanted) as file:
            for part in _chunks(images, f"{data.name} {split} by {extractor.name}"):
                found = extractor(part)
                summary.add(found)
                file.add(found.features)
        put_moments(self.store, key, summary.moments, facts)
        if FEATURES in wanted:
            file.finish(facts)
        return summary

    def floor(self, key: Mapping[str, Any], compute: Callable[[], Mapping[str, Any] | None]) -> dict[str, Any] | None:
        """Returns what real images score, measured once for each key."""
        if self.store is None:
            return compute()
        folder = hashlib.sha256(json.dumps(key, sort_keys=True, default=str).encode()).hexdigest()[:20]
        unit = UnitId(REFERENCES, folder, "floor")
        try:
            record = self.store.check(unit)
            if record is not None and "floor" in record:
                return record["floor"]
        except DamagedError as error:
            print(f"reference is damaged, it will be made again: {error}", file=sys.stderr)
        floor = compute()
        self.store.finish(unit, {"floor": floor, "of": dict(key)})
        return floor


def identify(data: Images, split: str, extractor: Extractor) -> dict[str, Any]:
    """Returns what a reference's numbers depend on, as plain values."""
    return {
        "dataset": f"{data.name}@{data.card.version}",
        "split": split,
        "split_rule": data.card.split_rule,
        "images": data.card.splits[split],
        "sha256": digest(data, split),
        "extractor": extractor.identity,
    }


@functools.lru_cache(maxsize=8)
def digest(data: Images, split: str) -> str:
    """Returns the sha256 of a split's images, hashed once."""
    return data.digest(split)


def _key(facts: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:20]


def _chunks(images: np.ndarray, title: str, size: int = 500) -> Iterator[np.ndarray]:
    """Yields parts of the images, with a progress bar where somebody watches."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task(f"reference {title}", total=len(images))
        for start in range(0, len(images), size):
            yield np.ascontiguousarray(images[start : start + size])
            progress.advance(task, min(size, len(images) - start))


class _FeatureFile:
    """Writes features of known number as an .npy file under another name, and then in its place."""

    def __init__(self, store: Store, key: str, count: int, extractor: Extractor, wanted: bool) -> None:
        self.store, self.unit = store, UnitId(REFERENCES, key, FEATURES)
        self.path = store.path(self.unit, ".npy")
        self.temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}")
        self.count, self.extractor, self.wanted = count, extractor, wanted
        self.file: Any = None

    def __enter__(self) -> "_FeatureFile":
        return self

    def add(self, features: np.ndarray) -> None:
        """Appends features of shape (n, D)."""
        if not self.wanted:
            return
        if self.file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.file = open(self.temporary, "wb")  # noqa: SIM115
            header = {"descr": np.lib.format.dtype_to_descr(features.dtype), "fortran_order": False}
            np.lib.format.write_array_header_1_0(self.file, {**header, "shape": (self.count, features.shape[1])})
        self.file.write(np.ascontiguousarray(features).tobytes())

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if self.file is None:
            return
        try:
            if kind is None:
                self.file.flush()
                os.fsync(self.file.fileno())
            else:
                self.temporary.unlink(missing_ok=True)
        except OSError:
            self.temporary.unlink(missing_ok=True)
            raise
        finally:
            with contextlib.suppress(OSError):  # a full disk fails once more
                self.file.close()

    def finish(self, facts: Mapping[str, Any]) -> None:
        """Puts the file in its place, and writes its record."""
        os.replace(self.temporary, self.path)
        self.store.finish(self.unit, {"of": dict(facts)}, there=[".npy"])


def put_moments(store: Store, key: str, moments: Moments, facts: Mapping[str, Any]) -> None:
    """Writes mean and covariance of a reference."""
    mean, covariance = moments.statistics()
    buffer = io.BytesIO()
    np.savez(buffer, mu=mean, sigma=covariance, count=moments.count)
    store.finish(UnitId(REFERENCES, key, MOMENTS), {"of": dict(facts)}, {".npz": buffer.getvalue()})


def _read(store: Store, key: str, wanted: Collection[str]) -> Summary | None:
    """Returns a stored reference; None where something of it is missing or damaged."""
    summary = Summary()
    try:
        if MOMENTS in wanted:
            if store.check(UnitId(REFERENCES, key, MOMENTS)) is None:
                return None
            with np.load(
                io.BytesIO(store.read(UnitId(REFERENCES, key, MOMENTS), ".npz")), allow_pickle=False
            ) as arrays:
                summary.moments = Moments(arrays["mu"], arrays["sigma"], int(arrays["count"]))
        if FEATURES in wanted:
            unit = UnitId(REFERENCES, key, FEATURES)
            if _checked(store, unit) is None:
                return None
            summary.hold("features", np.load(store.path(unit, ".npy"), mmap_mode="r", allow_pickle=False))
    except (DamagedError, FileNotFoundError) as error:
        remedy = "import its file again" if len(key) == 64 else "it will be made again"
        print(f"reference is damaged, {remedy}: {error}", file=sys.stderr)
        store.discard(error.unit if isinstance(error, DamagedError) else UnitId(REFERENCES, key, MOMENTS))
        return None
    return summary


_CHECKED: dict[Path, tuple[int, ...]] = {}
"""Features whose digest this process has compared, with inode, size and times of the file: they are mapped."""


def _checked(store: Store, unit: UnitId) -> dict[str, Any] | None:
    """Returns the record of mapped features, after their first comparison with it in this process.

    Raises:
        DamagedError: They are not what was written.
    """
    path = store.path(unit, ".npy").absolute()
    record = store.check(unit)
    if record is None:
        return None
    stat = path.stat()
    state = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
    if _CHECKED.get(path) != state:
        store.check(unit, rehash=True)
        _CHECKED[path] = state
    return record


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Holds the lock of a folder; where the file system knows no locks the work may be done twice, and is right."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "ab") as file:
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


# Files that papers ship


def read_statistics(path: Path) -> tuple[Moments, np.ndarray | None]:
    """Returns moments, and the features where the file holds them, of a file of reference statistics.

    Raises:
        ValueError: It is no such file, would run code, or holds what can be no mean and covariance.
    """
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            raise ValueError("it is a single array, not an .npz file")
        with loaded as arrays:
            names = list(arrays)
            pool = next((name for name in POOLS if name in names), None)
            if {"mu", "sigma"} <= set(names):
                mean, covariance = (np.asarray(arrays[name], np.float64) for name in ("mu", "sigma"))
                count = int(arrays["count"]) if "count" in names else 0
                features = arrays[pool] if pool else None
            elif pool:
                features = arrays[pool]
                mean = None
            else:
                raise ValueError(f"it holds {', '.join(names)}, neither mu and sigma nor {' or '.join(POOLS)}")
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        if isinstance(error, FileNotFoundError):
            raise ValueError(f"{path}: there is no such file") from error
        why = "it would run code when it is read" if "allow_pickle" in str(error) else str(error)
        raise ValueError(f"{path}: no reference statistics: {why}") from error
    try:
        if features is not None:
            if features.ndim != 2 or len(features) < 2 or features.dtype.kind != "f":
                raise ValueError(f"features have shape {features.shape} and type {features.dtype}, not (images, D)")
            moments = Moments()
            for start in range(0, len(features), 4096):
                moments.add(features[start : start + 4096])
            return moments, features
        _check_moments(mean, covariance)
    except ValueError as error:
        raise ValueError(f"{path}: no reference statistics: {error}") from error
    return Moments(mean, covariance, count or UNKNOWN), None


UNKNOWN = 2**31
"""Stands for the number of images of a file that does not say it: large, for statistics are of whole data sets."""


def _check_moments(mean: np.ndarray, covariance: np.ndarray) -> None:
    d = mean.size
    if mean.shape != (d,) or covariance.shape != (d, d):
        raise ValueError(f"mu and sigma have shapes {mean.shape} and {covariance.shape}, not (D,) and (D, D)")
    if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
        raise ValueError("mu or sigma holds NaN or infinity")
    scale = max(float(np.abs(covariance).max()), 1e-300)
    if np.abs(covariance - covariance.T).max() > 1e-6 * scale:
        raise ValueError("sigma is not symmetric")
    least = np.linalg.eigvalsh(covariance)[0]
    if least < -1e-6 * max(np.trace(covariance), 1e-300):
        raise ValueError(f"sigma has the negative eigenvalue {least:.3g}: it is no covariance")


def import_statistics(store: Store, path: Path) -> str:
    """Imports a file of statistics into the store; returns the sha256 that suites name it by.

    Raises:
        ValueError: See :func:`read_statistics`.
    """
    moments, features = read_statistics(path)
    with open(path, "rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    count = None if moments.count == UNKNOWN else moments.count
    facts = {"file": path.name, "sha256": sha256, "images": count, "dimension": moments.dimension}
    put_moments(store, sha256, moments, facts)
    if features is not None:
        unit, buffer = UnitId(REFERENCES, sha256, FEATURES), io.BytesIO()
        np.save(buffer, np.ascontiguousarray(features))
        store.finish(unit, {"of": facts}, {".npy": buffer.getvalue()})
    return sha256


def export_statistics(references: References, data: Images, split: str, extractor: Extractor, features: bool) -> bytes:
    """Returns the content of an .npz file with the statistics of a split: equal statistics, equal bytes."""
    found = references.get(data, split, extractor, {MOMENTS, FEATURES} if features else {MOMENTS})
    mean, covariance = found.moments.statistics()
    arrays = {"mu": mean, "sigma": covariance, "count": np.asarray(found.moments.count)}
    arrays["identity"] = np.asarray(json.dumps(identify(data, split, extractor), sort_keys=True))
    if features:
        arrays["pool_3"] = np.asarray(found.features)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()
