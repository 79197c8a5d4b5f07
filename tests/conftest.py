"""What every test may ask for, and how ``make test`` shares the tests among processes.

One thread each: equal bytes are only promised for equal thread counts.
"""

import os
from pathlib import Path

import pytest

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

MOST_PROCESSES = 8
"""Each imports torch (about 2 s, half a GB), which more of them would not earn."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds an option of tests/golden: here, where pytest finds it in time from the repository's root too.

    There it is written ``--golden-dir=DIR``: pytest takes a DIR that stands alone for the tests to run.
    """
    what = "folder with sde/, cld/, oracle/, written with an equals sign; default: tests/golden/data"
    parser.addoption("--golden-dir", type=Path, metavar="DIR", help=what)


def pytest_xdist_auto_num_workers() -> int:
    """Returns what ``-n auto`` means: a process for each core that this one may use."""
    return min(len(os.sched_getaffinity(0)), MOST_PROCESSES)


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keeps each file's tests in one process, where they share the fixtures of their module (``--dist loadgroup``)."""
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.path.stem))
