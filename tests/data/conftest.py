"""Fixtures of several files."""

import pytest


@pytest.fixture
def root(tmp_path, monkeypatch):
    """BENCH_DATA, an empty folder beside the suite of the test."""
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    return tmp_path / "data"
