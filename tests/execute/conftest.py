"""Fixtures of several files: the command line, a finished suite, a cluster that is not there."""

import priced_suite
import pytest
from command_line import GOOD, Bench
from fake_cluster import SUITE, FakeCluster

from bench.execute.slurm import measure, queue
from bench.plan import expand
from bench.store import Store
from bench.suite.reader import read_suite


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """The good suite, run in this process."""
    bench = Bench(tmp_path_factory.mktemp("finished"))
    code, _, err = bench.suite(GOOD).here()
    assert code == 0, err
    return bench


@pytest.fixture
def done(finished, tmp_path):
    """A copy of it."""
    return finished.copy(tmp_path)


@pytest.fixture
def fake(monkeypatch):
    return FakeCluster(monkeypatch)


@pytest.fixture
def study(tmp_path, fake):
    (tmp_path / "small.yaml").write_text(SUITE)
    suite = read_suite(tmp_path / "small.yaml")
    return expand(suite), Store(tmp_path / "store"), tmp_path / "small"


@pytest.fixture
def no_cluster(monkeypatch):
    """A cluster that limits and refuses nothing, and measurements that are short."""
    monkeypatch.setattr(measure, "TIMED_SECONDS", 0.1)
    monkeypatch.setattr(queue, "limits", queue.Limits)
    monkeypatch.setattr(queue, "refusals", lambda resources: [])


@pytest.fixture
def priced(tmp_path):
    """Jobs, store and results folder of the small suite whose cost is known."""
    (tmp_path / "small.yaml").write_text(priced_suite.SUITE)
    suite = read_suite(tmp_path / "small.yaml")
    return expand(suite), Store(tmp_path / "store"), tmp_path / "small"
