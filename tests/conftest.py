"""What every test may ask for. One thread: equal bytes are only promised for equal thread counts."""

import os
from pathlib import Path

import pytest

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds an option of tests/golden: here, where pytest finds it in time from the repository's root too.

    There it is written ``--golden-dir=DIR``: pytest takes a DIR that stands alone for the tests to run.
    """
    what = "folder with sde/, cld/, oracle/, written with an equals sign; default: tests/golden/data"
    parser.addoption("--golden-dir", type=Path, metavar="DIR", help=what)
