"""Reference statistics: features of a split of real images, computed once and kept in the store.

    references/<key>/  moments.npz (mu, sigma, count)  features.npy  floor.json, with their records

The key is the hash of what the numbers depend on: data set, version, split and the digest of its
images, the extractor with its weights and preprocessing. ``features.npy`` is written only if a
metric compares image with image, and is read by memory mapping; images stream through, so that no
more than a chunk of them is in memory. Writers take a lock beside the files and put each file in
its place whole, so that jobs on one store compute a reference once and never see half of one.
"""

import contextlib
import functools
import io
import json
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from bench.data.fault import InputError
from bench.data.images import Images
from bench.files import Stamp, locked, sha256, stamp, whole
from bench.metrics.extractors import Extractor
from bench.metrics.moments import Moments
from bench.metrics.summary import Summary
from bench.store import REFERENCES, DamagedError, Store, UnitId

MOMENTS, FEATURES = "moments", "features"


class References:
    """The references of a store, or of this process only if there is no store."""

    def __init__(self, store: Store | None = None) -> None:
        self.store = store
        self._summaries: dict[tuple[str, frozenset[Any]], Summary] = {}

    def get(self, data: Images, split: str, extractor: Extractor, uses: Collection[Any]) -> Summary:
        """Returns ``moments`` or ``features`` of a split, whichever ``uses`` names."""
        facts = identify(data, split, extractor)
        return self._summary(
            _key(facts), uses, lambda kinds: self._compute(facts, data, split, extractor, kinds)
        )

    def imported(self, sha256: str, uses: Collection[Any], dimension: int) -> Summary:
        """Returns the statistics of an imported file.

        Raises:
            ValueError: It was not imported, lacks what is asked for, or is of another extractor.
        """

        def absent(kinds: Collection[str]) -> Summary:
            why, facts = "were not imported", self.facts(sha256)
            if facts:
                file = facts.get("file")
                why = f"({file}) holds mean and covariance only, and this metric compares images"
            where = "" if self.store is None else f" --store {self.store.root}"
            raise InputError(
                f"statistics {sha256[:8]}... {why}: run_bench.py reference import FILE{where}"
            )

        summary = self._summary(sha256, uses, absent)
        of_moments = "moments" in summary.uses
        has = summary.moments.dimension if of_moments else summary.features.shape[1]
        if has != dimension:
            name = self.facts(sha256).get("file", "")
            raise InputError(
                f"statistics {sha256[:8]}... ({name}) have {has} dimensions, the extractor has "
                f"{dimension}"
            )
        return summary

    def facts(self, sha256: str) -> dict[str, Any]:
        """Returns the record of an imported file; empty if it was not imported."""
        record = self.store.record(REFERENCES, sha256, MOMENTS) if self.store is not None else None
        return {} if record is None else record["of"]

    def _summary(
        self, key: str, uses: Collection[Any], compute: Callable[[Collection[str]], Summary]
    ) -> Summary:
        kinds = frozenset(use for use in uses if use in (MOMENTS, FEATURES))
        if (key, kinds) not in self._summaries:
            while len(self._summaries) > 7:
                self._summaries.pop(next(iter(self._summaries)))
            self._summaries[key, kinds] = self._stored(key, kinds, compute)
        return self._summaries[key, kinds]

    def _stored(
        self, key: str, kinds: Collection[str], compute: Callable[[Collection[str]], Summary]
    ) -> Summary:
        if self.store is None:
            return compute(kinds)
        summary = _read(self.store, key, kinds)
        if summary is None:
            with locked(self.store.folder(REFERENCES, key) / ".lock"):
                summary = _read(self.store, key, kinds)  # another process may have made it by now
                if summary is None:
                    compute(kinds)
                    summary = _read(self.store, key, kinds)
        if summary is None:
            folder = self.store.folder(REFERENCES, key)
            raise InputError(f"{folder}: what was written cannot be read back")
        return summary

    def _compute(
        self,
        facts: Mapping[str, Any],
        data: Images,
        split: str,
        extractor: Extractor,
        kinds: Collection[str],
    ) -> Summary:
        """Returns the summary, and writes it if there is a store."""
        images = data.train if split == "train" else data.test
        parts = _chunks(images, f"{data.name} {split} by {extractor.name}")
        if self.store is None:
            summary = Summary(kinds)
            for part in parts:
                summary.add(extractor(part))
            return summary
        summary, key = Summary({MOMENTS}), _key(facts)
        with _FeatureFile(self.store, key, len(images), FEATURES in kinds) as file:
            for part in parts:
                features = extractor(part)
                summary.add(features)
                file.add(features.features)
        put_moments(self.store, key, summary.moments, facts)
        if FEATURES in kinds:
            file.finish(facts)
        return summary

    def floor(
        self, key: Mapping[str, Any], compute: Callable[[], Mapping[str, Any] | None]
    ) -> Mapping[str, Any] | None:
        """Returns what real images score, measured once for each key."""
        if self.store is None:
            return compute()
        unit = UnitId(REFERENCES, _key(key), "floor")
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
    return sha256(json.dumps(facts, sort_keys=True, default=str))[:20]


def _chunks(images: np.ndarray, title: str, size: int = 500) -> Iterator[np.ndarray]:
    """Yields parts of the images, with a progress bar on a terminal."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task(f"reference {title}", total=len(images))
        for start in range(0, len(images), size):
            yield np.ascontiguousarray(images[start : start + size])
            progress.advance(task, min(size, len(images) - start))


class _FeatureFile:
    """Writes a known number of features as an .npy file, which is in its place when the block ends.

    Written by hand because the array is never in memory as a whole.
    """

    def __init__(self, store: Store, key: str, count: int, needed: bool) -> None:
        self.store, self.unit = store, UnitId(REFERENCES, key, FEATURES)
        self.path = store.path(self.unit, ".npy")
        self.count, self.needed = count, needed
        self.file: BinaryIO | None = None
        self.stack = contextlib.ExitStack()

    def __enter__(self) -> "_FeatureFile":
        return self

    def add(self, features: np.ndarray) -> None:
        """Appends features of shape (n, D), if the file is needed."""
        if not self.needed:
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


def _read(store: Store, key: str, kinds: Collection[str]) -> Summary | None:
    """Returns a stored reference; None if something of it is missing or damaged."""
    summary = Summary()
    moments, features = (UnitId(REFERENCES, key, part) for part in (MOMENTS, FEATURES))
    try:
        if MOMENTS in kinds:
            if store.check(moments) is None:
                return None
            file = io.BytesIO(store.read(moments, ".npz"))
            with np.load(file, allow_pickle=False) as arrays:
                summary.moments = Moments(arrays["mu"], arrays["sigma"], int(arrays["count"]))
        if FEATURES in kinds:
            if _checked(store, features) is None:
                return None
            path = store.path(features, ".npy")
            summary.put("features", np.load(path, mmap_mode="r", allow_pickle=False))
    except (DamagedError, FileNotFoundError) as error:
        remedy = "import its file again" if len(key) == 64 else "it will be made again"
        print(f"reference is damaged, {remedy}: {error}", file=sys.stderr)
        store.discard(error.unit if isinstance(error, DamagedError) else moments)
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
