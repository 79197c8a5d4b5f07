"""What every test may ask for, and how ``make test`` shares the tests among processes.

One thread each: equal bytes are only promised for equal thread counts.
"""

import gc
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
"""Tests start a hundred interpreters: with byte code kept each costs half."""

MOST_PROCESSES = 8
"""Each imports torch (about 2 s, half a GB), which more of them would not earn."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds an option of tests/golden: here, where pytest finds it in time from the repository's
    root too.

    There it is written ``--golden-dir=DIR``: pytest takes a DIR that stands alone for the tests to
    run.
    """
    what = (
        "folder with sde/, cld/, oracle/, written with an equals sign; default: tests/golden/data"
    )
    parser.addoption("--golden-dir", type=Path, metavar="DIR", help=what)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Turns garbage collection off while tests are collected, and leaves them out of it afterwards.

    Modules and tests stay until the end; going through them cost nearly half of the CPU time.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Returns what ``-n auto`` means: a process more than there are cores that this one may use,
    since tests of jobs that are killed, queued or waited for leave a core idle.
    """
    return min(len(os.sched_getaffinity(0)) + 1, MOST_PROCESSES)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keeps the tests of a file in one process, where they share what its fixtures trained.

    All SLURM tests are one such unit, since they share a cluster; golden files and fingerprints
    share nothing, so each is one; the contract shares what it trained of each method.
    """
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            if nodeid.startswith("tests/slurm/"):
                return "slurm"
            if nodeid.startswith("tests/test_contract.py"):
                return "contract " + re.split(r"[\[\]-]", f"{nodeid}[")[1]
            alone = nodeid.startswith(("tests/golden/", "tests/test_fingerprint.py"))
            return nodeid if alone else super()._split_scope(nodeid)

    return Scheduling(config, log)
