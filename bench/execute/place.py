"""The place where results are written, and what it says if it takes no more."""

from pathlib import Path

from bench.files import FULL, NOT_OURS
from bench.store import Store


class PlaceError(Exception):
    """The folder of the results takes no more: a full disk, a read-only store, no locks."""

    @classmethod
    def of(cls, error: OSError, store: Store) -> "PlaceError | None":
        """Returns what an error says of the place, None if it is one of the unit being made."""
        path = str(error.filename or "")
        inside = error.errno in NOT_OURS and Path(path).is_relative_to(store.root)
        if error.errno in FULL or inside:
            return cls(f"{path or 'files'}: {error.strerror}")
        return None
