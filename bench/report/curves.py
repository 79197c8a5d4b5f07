"""The curves that models show of themselves, as one table."""

from collections.abc import Sequence

import pandas as pd

from bench.report.inspection import Inspection
from bench.report.records import Records

COLUMNS = ("curve", "train", "train_seed", "x_label", "y_label", "x", "y")


def curve_table(inspections: Sequence[Inspection], records: Records) -> pd.DataFrame:
    """Returns a row per point of each curve of each training's end, in :data:`COLUMNS`."""
    rows = []
    for one in inspections:
        if not one.is_end or not one.curves:
            continue
        arrays = records.arrays(one.unit)
        for index, curve in enumerate(one.curves):
            x, y = (arrays.get(f"curve/{index}/{which}", ()) for which in "xy")
            facts = (curve["title"], one.train, one.seed, curve["x"], curve["y"])
            rows += [(*facts, *point) for point in zip(x, y, strict=True)]
    return pd.DataFrame(rows, columns=[*COLUMNS])
