"""The one root of data and weights."""

import os
from pathlib import Path


def data_root() -> Path:
    """Returns the environment variable BENCH_DATA, or ``./data`` if it is unset or empty."""
    folder = os.environ.get("BENCH_DATA", "")
    return Path(os.path.expanduser(folder if folder.strip() else "data")).absolute()
