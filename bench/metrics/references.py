"""Reference statistics: what an extractor says of a split of real images, computed once and kept in
the store.

    references/<key>/  reference.json (what it is of)  moments.npz (mu, sigma, count)  features.npy  floor-<hash>.json

The key is the hash of what the numbers depend on: data set, version, split and the digest of its
images, the extractor with its weights and preprocessing. ``features.npy`` is written only where a
metric compares image with image, and is read by memory mapping; images stream through, so that no
more than a chunk of them is in memory. Writers take a lock beside the files and put each file in
its place whole, so that jobs on one store compute a reference once and never see half of one.

Files that papers ship are imported under the sha256 of the file: ``mu`` and ``sigma`` (TTUR,
pytorch-fid, clean-fid, guided-diffusion), or features under ``pool_3`` (score_sde) or ``feats``
(clean-fid). Exported files hold ``mu``, ``sigma``, ``count``, ``identity`` and, where asked,
``pool_3``.
"""

import contextlib
import functools
import io
import json
import math
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from bench.data.archive import ARCHIVE_ERRORS
from bench.data.filenames import printable
from bench.data.images import Images
from bench.data.npz import check_claims
from bench.files import Stamp, hash_file, locked, sha256, stamp, whole
from bench.metrics.extractors import Extractor
from bench.metrics.moments import Moments
from bench.metrics.summary import Summary
from bench.store import REFERENCES, DamagedError, Store, UnitId

MOMENTS, FEATURES = "moments", "features"
POOLS = ("pool_3", "pool3", "feats", "features", "activations", "acts", "act")
"""Names under which files of features hold them."""

WANTED = ("mu", "sigma", "count", *POOLS)
"""Arrays that a file of statistics is read for."""


class References:
    """The references of a store, or of this process alone where there is no store."""

    def __init__(self, store: Store | None = None) -> None:
        self.store = store
        self._known: dict[tuple[str, frozenset[Any]], Summary] = {}

    def get(self, data: Images, split: str, extractor: Extractor, uses: Collection[Any]) -> Summary:
        """Returns what an extractor says of a split: ``moments`` and ``features`` as asked for."""
        facts = identify(data, split, extractor)
        return self._summary(
            _key(facts), uses, lambda wanted: self._compute(facts, data, split, extractor, wanted)
        )

    def imported(self, sha256: str, uses: Collection[Any], dimension: int) -> Summary:
        """Returns the statistics of an imported file.

        Raises:
            ValueError: It was not imported, or has not what is asked for, or is of another
                extractor.
        """

        def absent(wanted: Collection[str]) -> Summary:
            known = (
                self.store is not None
                and self.store.record(REFERENCES, sha256, MOMENTS) is not None
            )
            file = self.facts(sha256).get("file")
            why = "were not imported"
            if known:
                why = f"({file}) holds mean and covariance alone, and this metric compares images"
            raise ValueError(
                f"statistics {sha256[:8]}... {why}: run_bench.py reference import FILE"
                + ("" if self.store is None else f" --store {self.store.root}")
            )

        found = self._summary(sha256, uses, absent)
        has = found.moments.dimension if found.moments is not None else found.features.shape[1]
        if has != dimension:
            name = self.facts(sha256).get("file", "")
            raise ValueError(
                f"statistics {sha256[:8]}... ({name}) have {has} dimensions, the extractor has {dimension}"
            )
        return found

    def facts(self, sha256: str) -> dict[str, Any]:
        """Returns what is noted of an imported file."""
        record = self.store.record(REFERENCES, sha256, MOMENTS) if self.store is not None else None
        return {} if record is None else record["of"]

    def _summary(
        self, key: str, uses: Collection[Any], compute: Callable[[Collection[str]], Summary]
    ) -> Summary:
        wanted = frozenset(use for use in uses if use in (MOMENTS, FEATURES))
        if (key, wanted) not in self._known:
            while len(self._known) > 7:
                self._known.pop(next(iter(self._known)))
            self._known[key, wanted] = self._stored(key, wanted, compute)
        return self._known[key, wanted]

    def _stored(
        self, key: str, wanted: Collection[str], compute: Callable[[Collection[str]], Summary]
    ) -> Summary:
        if self.store is None:
            return compute(wanted)
        found = _read(self.store, key, wanted)
        if found is None:
            with locked(self.store.folder(REFERENCES, key) / ".lock"):
                found = _read(self.store, key, wanted)  # somebody else may have made it meanwhile
                if found is None:
                    compute(wanted)
                    found = _read(self.store, key, wanted)
        if found is None:
            raise ValueError(
                f"{self.store.folder(REFERENCES, key)}: what was written cannot be read back"
            )
        return found

    def _compute(
        self,
        facts: Mapping[str, Any],
        data: Images,
        split: str,
        extractor: Extractor,
        wanted: Collection[str],
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

    def floor(
        self, key: Mapping[str, Any], compute: Callable[[], Mapping[str, Any] | None]
    ) -> dict[str, Any] | None:
        """Returns what real images score, measured once for each key."""
        if self.store is None:
            return compute()
        folder = sha256(json.dumps(key, sort_keys=True, default=str))[:20]
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
    return sha256(json.dumps(facts, sort_keys=True))[:20]


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

    def __init__(
        self, store: Store, key: str, count: int, extractor: Extractor, wanted: bool
    ) -> None:
        self.store, self.unit = store, UnitId(REFERENCES, key, FEATURES)
        self.path = store.path(self.unit, ".npy")
        self.count, self.extractor, self.wanted = count, extractor, wanted
        self.file: BinaryIO | None = None
        self.stack = contextlib.ExitStack()

    def __enter__(self) -> "_FeatureFile":
        return self

    def add(self, features: np.ndarray) -> None:
        """Appends features of shape (n, D)."""
        if not self.wanted:
            return
        if self.file is None:
            self.file = self.stack.enter_context(whole(self.path))
            header = {"descr": np.lib.format.dtype_to_descr(features.dtype), "fortran_order": False}
            np.lib.format.write_array_header_1_0(
                self.file, {**header, "shape": (self.count, features.shape[1])}
            )
        self.file.write(np.ascontiguousarray(features).tobytes())

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        self.stack.__exit__(kind, error, trace)

    def finish(self, facts: Mapping[str, Any]) -> None:
        """Writes the record of the file."""
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
            summary.hold(
                "features", np.load(store.path(unit, ".npy"), mmap_mode="r", allow_pickle=False)
            )
    except (DamagedError, FileNotFoundError) as error:
        remedy = "import its file again" if len(key) == 64 else "it will be made again"
        print(f"reference is damaged, {remedy}: {error}", file=sys.stderr)
        store.discard(
            error.unit if isinstance(error, DamagedError) else UnitId(REFERENCES, key, MOMENTS)
        )
        return None
    return summary


_CHECKED: dict[Path, Stamp] = {}
"""Stamps of mapped features whose digest this process has compared."""


def _checked(store: Store, unit: UnitId) -> dict[str, Any] | None:
    """Returns the record of mapped features, after their first comparison with it in this process.

    Raises:
        DamagedError: They are not what was written.
    """
    path = store.path(unit, ".npy").absolute()
    record = store.check(unit)
    if record is None:
        return None
    now = stamp(path)
    if _CHECKED.get(path) != now:
        store.check(unit, rehash=True)
        _CHECKED[path] = now
    return record


# Files that papers ship


AGREEMENT = 1e-3
"""Largest difference between mean or covariance and what the features beside them have, in units of
their spread.
"""

ROUNDING = 1e-6
"""What of a covariance is rounding (imaginary, asymmetric, below 0), in units of its largest
value.
"""

RANK = 1e-5
"""Eigenvalues above this part of the largest count towards a covariance's rank."""

UNKNOWN = 2**31
"""Stands for the number of images of a file that does not say it: large, for statistics are of
whole data sets.
"""


def read_statistics(path: Path) -> tuple[Moments, np.ndarray | None]:
    """Returns moments, and the features where the file holds them, of a file of reference
    statistics.

    Raises:
        ValueError: It is no such file, would run code, holds what can be no mean and covariance, or
            what disagrees with itself; the message names the file.
    """
    arrays = _arrays_of(path)
    try:
        return _statistics_of(arrays)
    except ValueError as error:
        raise ValueError(f"{path}: no reference statistics: {error}") from error


def _arrays_of(path: Path) -> dict[str, np.ndarray]:
    """Returns those arrays of an .npz file that say something of statistics; nothing in it is run.

    Raises:
        ValueError: It cannot be read, or holds none; the message names the file.
    """
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            raise ValueError("it is a single array, not an .npz file")
        with loaded:
            names = list(loaded)
            check_claims(path, WANTED, "get it again", "it would run code when it is read")
            arrays = {name: loaded[name] for name in WANTED if name in names}
    except FileNotFoundError as error:
        raise ValueError(f"{path}: there is no such file") from error
    except (*ARCHIVE_ERRORS, ValueError, SyntaxError) as error:
        why = (
            str(error).removeprefix(f"{printable(path)}: ").removeprefix(f"{printable(path)} ")
            or "it is cut short"
        )
        if "allow_pickle" in why:  # what numpy says of any file that is no array
            why = "it would run code when it is read" if _is_pickle(path) else "it is no .npz file"
        raise ValueError(f"{path}: no reference statistics: {why}") from error
    if not {"mu", "sigma"} <= set(arrays) and not set(POOLS) & set(arrays):
        held = ", ".join(names) or "nothing"
        raise ValueError(
            f"{path}: no reference statistics: it holds {held}, neither mu and sigma nor {' or '.join(POOLS)}"
        )
    return arrays


def _is_pickle(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(1) == b"\x80"


def _statistics_of(arrays: Mapping[str, np.ndarray]) -> tuple[Moments, np.ndarray | None]:
    """Returns moments, and the features where they are there.

    Raises:
        ValueError: See :func:`read_statistics`.
    """
    mean, covariance = (
        _real(arrays[name], name) if name in arrays else None for name in ("mu", "sigma")
    )
    count = _count(arrays["count"]) if "count" in arrays else None
    pools = [name for name in POOLS if name in arrays]
    if mean is not None and covariance is not None:
        _check_moments(mean, covariance)
    if not pools:
        if count is not None:
            _check_rank(covariance, count)
        return Moments(mean, covariance, UNKNOWN if count is None else count), None
    features = arrays[pools[0]]
    if features.ndim != 2 or len(features) < 2 or features.dtype.kind != "f":
        raise ValueError(
            f"{pools[0]} has shape {features.shape} and type {features.dtype}, not (images, D) of floats"
        )
    for name in pools[1:]:
        if not np.array_equal(features, arrays[name]):
            raise ValueError(
                f"it holds {pools[0]} and {name}, and they differ: leave one of them out"
            )
    moments = Moments()
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, len(features), 4096):
            moments.add(features[start : start + 4096])
        theirs = moments.statistics()[1]
    if not np.isfinite(theirs).all():
        raise ValueError(f"the covariance of {pools[0]} is beyond the largest number")
    if not theirs.any():
        raise ValueError(
            f"{pools[0]} holds the same features {len(features)} times: they are of equal images"
        )
    if count is not None and count != len(features):
        raise ValueError(
            f"count is {count}, and {pools[0]} holds the features of {len(features)} images"
        )
    _check_agreement(mean, covariance, moments, pools[0])
    return moments, features


def _real(values: np.ndarray, name: str) -> np.ndarray:
    """Returns numbers as float64; what is imaginary in them may be rounding alone."""
    if values.dtype.kind not in "fiuc":
        raise ValueError(f"{name} is of type {values.dtype}, not of numbers")
    if not np.isfinite(values).all():
        raise ValueError(f"{name} holds NaN or infinity")
    if values.dtype.kind == "c" and values.size:
        imaginary, real = float(np.abs(values.imag).max()), float(np.abs(values.real).max())
        if imaginary > ROUNDING * real:
            raise ValueError(
                f"{name} has an imaginary part of up to {imaginary:.3g} beside real values of up to {real:.3g}: more "
                "than rounding leaves; compute it again from the features"
            )
        values = values.real
    return values.astype(np.float64)


def _count(value: np.ndarray) -> int:
    """Returns a file's number of images."""
    if value.size != 1 or value.dtype.kind not in "fiu":
        raise ValueError(
            f"count should be one whole number, and is of shape {value.shape} and type {value.dtype}"
        )
    number = value.reshape(()).item()
    if not math.isfinite(number) or number != math.floor(number):
        raise ValueError(f"count is {number}, and should be a whole number of images")
    if not 2 <= number < UNKNOWN:
        raise ValueError(
            f"count is {int(number)}: a covariance is of at least 2 images (and of fewer than {UNKNOWN:,})"
        )
    return int(number)


def _check_moments(mean: np.ndarray, covariance: np.ndarray) -> None:
    d = mean.size
    if not d or mean.shape != (d,) or covariance.shape != (d, d):
        raise ValueError(
            f"mu and sigma have shapes {mean.shape} and {covariance.shape}, not (D,) and (D, D)"
        )
    scale = float(np.abs(covariance).max())
    if not scale:
        raise ValueError("sigma is 0 everywhere: it would be of equal images")
    apart = np.abs(covariance - covariance.T)
    if apart.max() > ROUNDING * scale:
        i, j = np.unravel_index(apart.argmax(), apart.shape)
        values = (
            f"sigma[{i}, {j}] is {covariance[i, j]:.6g}, sigma[{j}, {i}] is {covariance[j, i]:.6g}"
        )
        raise ValueError(f"sigma is not symmetric: {values}")
    least = np.linalg.eigvalsh(covariance)[0]
    if least < -ROUNDING * max(np.trace(covariance), scale):
        raise ValueError(f"sigma has the negative eigenvalue {least:.3g}: it is no covariance")


def _check_rank(covariance: np.ndarray, count: int) -> None:
    """Refuses a covariance that so few images cannot have."""
    if count > len(covariance):
        return
    values = np.linalg.eigvalsh(covariance)
    rank = int((values > RANK * values[-1]).sum())
    if rank > count - 1:
        raise ValueError(
            f"count is {count}, and sigma has rank {rank}: of so many images it is at most {count - 1}"
        )


def _check_agreement(
    mean: np.ndarray | None, covariance: np.ndarray | None, moments: Moments, pool: str
) -> None:
    """Refuses a mean or covariance that is not that of the features beside it, saying both
    numbers.
    """
    their_mean, theirs = moments.statistics()
    spread = float(np.trace(theirs) / len(theirs))
    for name, found, expected, unit in (
        ("mu", mean, their_mean, math.sqrt(spread)),
        ("sigma", covariance, theirs, spread),
    ):
        if found is None:
            continue
        if found.shape != expected.shape:
            raise ValueError(
                f"{name} has shape {found.shape}, and that of {pool} has {expected.shape}"
            )
        apart = np.abs(found - expected)
        biased = np.abs(
            found - expected * ((moments.count - 1) / moments.count)
        )  # a covariance may be divided by n
        apart = np.minimum(apart, biased) if name == "sigma" else apart
        if apart.max() > AGREEMENT * unit + ROUNDING * float(np.abs(expected).max()):
            where = np.unravel_index(apart.argmax(), apart.shape)
            place = ", ".join(map(str, where))
            raise ValueError(
                f"{name}[{place}] is {found[where]:.6g}, and that of the features {pool} beside it is "
                f"{expected[where]:.6g}: they are of unlike images; leave one of them out"
            )


def import_statistics(store: Store, path: Path) -> str:
    """Imports a file of statistics into the store; returns the sha256 that suites name it by.

    Raises:
        ValueError: See :func:`read_statistics`.
    """
    moments, features = read_statistics(path)
    sha256 = hash_file(path)
    count = None if moments.count == UNKNOWN else moments.count
    facts = {"file": path.name, "sha256": sha256, "images": count, "dimension": moments.dimension}
    put_moments(store, sha256, moments, facts)
    if features is not None:
        unit, buffer = UnitId(REFERENCES, sha256, FEATURES), io.BytesIO()
        np.save(buffer, np.ascontiguousarray(features))
        store.finish(unit, {"of": facts}, {".npy": buffer.getvalue()})
    return sha256


def describe_statistics(facts: Mapping[str, Any]) -> str:
    """Returns what an imported file holds, for a person, and what speaks against it."""
    images, dimension = facts["images"], facts["dimension"]
    if images is None:
        return f"{facts['file']}: of an unknown number of images, {dimension} dimensions"
    few = (
        "; fewer images than dimensions: the covariance is singular" if images <= dimension else ""
    )
    return f"{facts['file']}: of {images:,} images, {dimension} dimensions{few}"


def export_statistics(
    references: References, data: Images, split: str, extractor: Extractor, features: bool
) -> bytes:
    """Returns the content of an .npz file with the statistics of a split: equal statistics, equal
    bytes.
    """
    found = references.get(data, split, extractor, {MOMENTS, FEATURES} if features else {MOMENTS})
    mean, covariance = found.moments.statistics()
    arrays = {"mu": mean, "sigma": covariance, "count": np.asarray(found.moments.count)}
    arrays["identity"] = np.asarray(json.dumps(identify(data, split, extractor), sort_keys=True))
    if features:
        arrays["pool_3"] = np.asarray(found.features)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()
