"""A real SLURM for the tests: started once, on ports that are free, in a folder of its own."""

import pytest
from rig import SUITE, Cluster, OnCluster, local_run, missing


def pytest_collection_modifyitems(items):
    """Marks the tests of this folder that ask for a cluster, and skips those marked where there can
    be none.
    """
    for item in items:
        if {"cluster", "silent_cluster"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slurm)
        if item.get_closest_marker("slurm") and missing():
            why = f"SLURM is not installed ({', '.join(missing())}): tests/slurm/cluster.sh install"
            item.add_marker(pytest.mark.skip(reason=why))


@pytest.fixture(autouse=True)
def own_slurm(monkeypatch):
    """Leaves the environment as it was: other tests have no cluster."""
    monkeypatch.delenv("SLURM_CONF", raising=False)


@pytest.fixture(scope="session")
def running_cluster():
    found = Cluster()
    try:
        yield found.start()
    finally:
        found.stop()


@pytest.fixture
def cluster(running_cluster):
    running_cluster.use()
    yield running_cluster
    running_cluster.empty()


@pytest.fixture(scope="module")
def silent_cluster():
    """A cluster without accounting: sacct fails."""
    found = Cluster(accounting=False)
    try:
        yield found.start()
    finally:
        found.stop()


@pytest.fixture
def bench(tmp_path):
    return OnCluster(tmp_path)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory):
    """What the small suite gives on this machine: what every run on the cluster has to end with."""
    return local_run(tmp_path_factory.mktemp("local"), SUITE)
