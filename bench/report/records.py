"""What lies in the store, each record read once however many rows, tables and figures need it."""

import io
import math
from collections.abc import Sequence

import numpy as np

from bench.execute.outcome import Outcome, outcome
from bench.spec import ImagesSpec, LikelihoodSpec, SampleSpec, Spec, key, part_name, place
from bench.store import DamagedError, Store, UnitId

Record = dict
"""The record of a finished unit, plain values."""


def unit_of(spec: Spec) -> UnitId:
    """Returns the unit that holds a spec's result, its part empty if there are many."""
    if isinstance(spec, ImagesSpec):
        return UnitId("images", key(spec), "")
    return UnitId(*place(spec))


def batches_of(spec: SampleSpec | LikelihoodSpec, count: int) -> list[UnitId]:
    """Returns the units that hold the first ``count`` images."""
    unit = unit_of(spec)
    return [unit._replace(part=part_name(k)) for k in range(math.ceil(count / spec.batch))]


class Records:
    """Reads the records and files of finished units, and remembers the records."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._records: dict[UnitId, Record | None] = {}

    def record(self, unit: UnitId) -> Record | None:
        """Returns the record of a unit, None if it is not finished."""
        if unit not in self._records:
            self._records[unit] = self.store.record(*unit)
        return self._records[unit]

    def outcome(self, unit: UnitId, results: Sequence[UnitId] = ()) -> Outcome:
        """Returns state and cause of a unit that is not finished."""
        return outcome(self.store, unit, results=results)

    def file(self, unit: UnitId) -> str:
        """Returns the path of a record below the store."""
        return f"{unit.stage}/{unit.key}/{unit.part}.json"

    def images(self, name: str, count: int) -> np.ndarray:
        """Returns the first images of a sample set; none if pruned, damaged or never made."""
        try:
            return self.store.images(name, count)
        except (FileNotFoundError, DamagedError):
            return np.zeros((0, 1, 1, 1), dtype=np.uint8)

    def arrays(self, unit: UnitId) -> dict[str, np.ndarray]:
        """Returns the arrays that lie beside a record; none if they are missing or damaged."""
        try:
            content = self.store.read(unit, ".npz")
        except (FileNotFoundError, DamagedError):
            return {}
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return dict(arrays)

    def log(self, unit: UnitId) -> list[str]:
        """Returns the lines of a training's log, finished or not."""
        path = self.store.folder(unit.stage, unit.key) / "log.jsonl"
        try:
            return path.read_text(errors="replace").splitlines()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return []
