"""When a worker leaves because another driver has taken over its results."""

from bench.execute.lease import Lease
from bench.execute.local.worker import superseded

ORDERS = {"run": "first", "digest": "same jobs"}


def orders(path):
    return {**ORDERS, "lock": str(path)}


def test_worker_goes_on_while_its_own_driver_or_none_holds_the_results(tmp_path):
    lock = tmp_path / "driver.lock"
    assert superseded(orders(lock)) is None
    with Lease.take(lock) as lease:
        assert superseded(orders(lock)) is None, "a driver that has not yet said what it wants"
        lease.note(run="first", digest="same jobs")
        assert superseded(orders(lock)) is None


def test_worker_is_told_whether_a_new_driver_wants_the_same(tmp_path):
    lock = tmp_path / "driver.lock"
    with Lease.take(lock) as lease:
        lease.note(run="second", digest="same jobs")
        assert superseded(orders(lock)) == "by another run"
        lease.note(digest="other jobs")
        assert superseded(orders(lock)) == "by other jobs"
    assert superseded(orders(lock)) is None
