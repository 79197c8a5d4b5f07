"""Finished suites of synthetic results."""

import shutil
from pathlib import Path

import pytest
from synthetic_results import SMALL, complete, suite_of

from bench.store import Store
from bench.suite.resolved import Suite


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> tuple[Suite, Path]:
    folder = tmp_path_factory.mktemp("template")
    suite = suite_of(SMALL, folder)
    complete(Store(folder / "store"), suite)
    return suite, folder / "store"


@pytest.fixture
def small(template: tuple[Suite, Path], tmp_path: Path) -> tuple[Suite, Store]:
    """A finished suite and a store of its own to spoil."""
    suite, store = template
    shutil.copytree(store, tmp_path / "store")
    return suite, Store(tmp_path / "store")
