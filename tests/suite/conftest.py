"""Suites read from text, with made-up cards."""

import textwrap

import pytest
from synthetic_suite import CARDS, DATASETS, GOOD, METRICS

from bench.suite.fault import SuiteError
from bench.suite.reader import read_suite


@pytest.fixture
def root(tmp_path, monkeypatch):
    """BENCH_DATA, empty."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "data"


@pytest.fixture
def read(tmp_path, monkeypatch):
    """Reads a suite from text, with the cards of this file."""
    monkeypatch.chdir(tmp_path)

    def read_text(text=GOOD, **options):
        (tmp_path / "suite.yaml").write_text(textwrap.dedent(text))
        known = {"cards": CARDS, "datasets": DATASETS, "metrics": METRICS}
        return read_suite("suite.yaml", **{**known, **options})

    return read_text


@pytest.fixture
def wrong(read):
    """Returns the lines that a wrong suite is answered with."""

    def messages(text=GOOD, **options):
        with pytest.raises(SuiteError) as error:
            read(text, **options)
        assert str(error.value).splitlines() == [str(problem) for problem in error.value.problems]
        return str(error.value).splitlines()

    return messages
