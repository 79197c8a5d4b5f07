"""After Ctrl-C no worker lives on, and nothing is taken from, or done to, a process that cannot be
seen from here.
"""

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command_line import Bench

from bench import host
from bench.cli.parser import main
from bench.execute.cancellation import ask_to_cancel, is_cancelled, sweep_orders
from bench.execute.lease import HeldError, Lease, hold, holder, noted
from bench.execute.local.registry import living, signal_workers
from bench.execute.outcome import outcome
from bench.files import sweep, write
from bench.store import Store, UnitId

ELSEWHERE = {"host": "node7", "machine": "0", "boot": "0", "namespace": "1", "pid": 4242, "born": 1}
SUITE = """
name: small
dataset: digits
metrics: []
samples: {count: 4, batch: 4}
train:
  vp:
    method: sde
    seeds: [0, 1]
    params:
      network: {width: 8, multipliers: [1, 2], blocks: 1, attention: []}
      training: {steps: 1000000, batch: 8, warmup_steps: 2, heldout_images: 16}
points:
  - {train: vp, sampler: euler_maruyama, grid: {nfe: [3]}}
"""


def dead():
    """Returns what a process of this host noted that has ended."""
    code = "import json; from bench import host; print(json.dumps(host.myself()))"
    return json.loads(
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout
    )


@pytest.fixture(scope="module")
def ended():
    return dead()


# Which processes have provably ended


def test_process_has_ended_only_where_that_can_be_proven(ended):
    me = host.myself()
    assert host.lives(me)
    assert not host.has_ended(me)
    assert host.has_ended(ended)
    assert not host.lives(ended)
    assert host.has_ended({**me, "born": me["born"] + 1})  # the number was given out again
    for other in (
        {"host": "node7"},
        {"namespace": "17"},
        {"boot": "00000000", "namespace": "17"},
        {"machine": "0"},
    ):
        assert not host.has_ended({**ended, **other}), other
        assert not host.lives({**me, **other}), other
    assert not host.has_ended({})


def test_process_from_before_a_restart_has_ended(monkeypatch, ended):
    there = {**host.here(), "machine": "12ab", "namespace": host.WHOLE_MACHINE}
    monkeypatch.setattr(host, "here", lambda: there)
    before = {**ended, **there, "boot": "0badcafe"}
    assert host.has_ended(before)
    assert not host.has_ended({**before, "machine": "34cd"})
    monkeypatch.setattr(host, "here", lambda: {**there, "namespace": "17"})
    assert not host.has_ended({**before, "namespace": "17"})  # a container: its host may be another


# Leases


def test_free_lease_of_another_host_or_namespace_counts_as_held_and_one_of_a_dead_process_does_not(
    tmp_path, ended
):
    path = tmp_path / "a.lease"
    for facts in (ELSEWHERE, {**host.myself(), "namespace": "17"}):
        path.write_text(json.dumps(facts))
        assert Lease.take(path) is None
        assert holder(path) == facts
    path.write_text(json.dumps({**ELSEWHERE, "job": "12"}))  # of a cluster: the queue knows
    assert holder(path) is None
    path.write_text(json.dumps(ended))
    assert holder(path) is None
    lease = Lease.take(path)
    assert lease.before["pid"] == ended["pid"]
    lease.release()


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"null", b"\xff\x00", b'{"pid": "x", "beat": []}', b"[" * 9999, None]
)
def test_damaged_lease_is_free(tmp_path, content):
    path = tmp_path / "a.lease"
    path.mkdir() if content is None else path.write_bytes(content)
    assert holder(path) is None
    assert noted(path) == {}
    with Lease.take(path) as lease:
        assert lease.before == {}


def test_driver_of_another_host_is_named_with_what_to_delete(tmp_path):
    (tmp_path / "driver.lock").write_text(json.dumps({**ELSEWHERE, "run": "x"}))
    with pytest.raises(HeldError, match=r"process 4242 on node7, run x; .* delete .*driver\.lock"):
        hold(tmp_path)
    assert (tmp_path / "driver.lock").exists()


def test_worker_of_another_host_is_neither_forgotten_nor_signalled(tmp_path, ended, monkeypatch):
    (tmp_path / "far.lease").write_text(json.dumps(ELSEWHERE))
    (tmp_path / "dead.lease").write_text(json.dumps(ended))
    assert [facts["host"] for facts in living(tmp_path)] == ["node7"]
    assert os.listdir(tmp_path) == ["far.lease"]
    monkeypatch.setattr(os, "kill", lambda pid, number: pytest.fail(f"{pid} was sent {number}"))
    me = host.myself()
    signal_workers(
        [ELSEWHERE, ended, {**me, "born": 1}, {**me, "namespace": "17"}, {}, {**me, "pid": -1}],
        signal.SIGTERM,
    )


def test_half_written_file_of_another_namespace_is_left_alone(tmp_path, monkeypatch, ended):
    mine = host.here()
    monkeypatch.setattr(host, "myself", lambda: ended)
    monkeypatch.setattr(os, "replace", lambda one, other: None)
    write(tmp_path / "a", b"x")
    monkeypatch.setattr(host, "myself", lambda: {**ended, "namespace": "17"})
    write(tmp_path / "b", b"x")
    sweep(tmp_path)
    (left,) = os.listdir(tmp_path)
    assert left.startswith(f".b.{mine['host']}.")


# Cancelling, whatever the clocks say


def test_cancel_names_the_driver_and_asks_no_clock(tmp_path):
    with hold(tmp_path) as lease:
        assert not is_cancelled(tmp_path, lease)
        ask_to_cancel(tmp_path, {"token": "of a driver before this one"})
        os.utime(tmp_path / "cancel", (2**32, 2**32))
        assert not is_cancelled(tmp_path, lease)
        ask_to_cancel(tmp_path, holder(tmp_path / "driver.lock"))
        os.utime(tmp_path / "cancel", (1, 1))
        assert is_cancelled(tmp_path, lease)
        for content in (b"", b"[]", b"\xff"):
            (tmp_path / "cancel").write_bytes(content)
            assert not is_cancelled(tmp_path, lease)


def test_orders_that_killed_drivers_left_are_swept(tmp_path):
    for run in ("one", "two"):
        write(tmp_path / "jobs" / run / "orders.json", b"{}")
        write(tmp_path / "jobs" / run / "log.err", b"why")
    (tmp_path / "jobs" / "three" / "orders.json").mkdir(parents=True)
    sweep_orders(tmp_path)
    assert not list(tmp_path.glob("jobs/*/orders.json"))
    assert len(list(tmp_path.glob("jobs/*/log.err"))) == 2


# File systems without locks


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP])
def test_file_system_without_locks_is_one_line_and_can_be_looked_at(
    tmp_path, monkeypatch, capsys, number, ended
):
    def refuse(descriptor, kind):
        raise OSError(number, os.strerror(number))

    (tmp_path / "small.yaml").write_text(SUITE)
    arguments = [str(tmp_path / "small.yaml"), "--results", str(tmp_path / "results")]
    monkeypatch.setattr(fcntl, "flock", refuse)
    assert main(["run", *arguments]) == 1
    said = capsys.readouterr()
    assert said.err.count("\n") == 1
    assert "driver.lock: this file system knows no locks" in said.err
    assert main(["plan", *arguments]) == 0
    assert main(["status", *arguments]) == 0
    store = Store(tmp_path / "results" / "store")
    unit = UnitId("train", "abc", "weights")
    for facts, state in ((host.myself(), "running"), (ELSEWHERE, "running"), (ended, "waiting")):
        write(store.path(unit, ".lease"), json.dumps(facts).encode())
        assert outcome(store, unit).state == state


# Ctrl-C


def of_the_bench(folder):
    """Returns the command lines of processes that name a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in line:
            found.append(line)
    return found


@pytest.mark.skipif(
    not Path("/proc/self/cmdline").exists(), reason="processes are found in Linux's /proc"
)
@pytest.mark.parametrize(("moment", "signals"), [("starting", 1), ("training", 2), ("adopted", 1)])
def test_after_ctrl_c_no_worker_lives_on(tmp_path, moment, signals):
    bench = Bench(tmp_path).suite(SUITE)
    write(bench.results / "small" / "jobs" / "old" / "orders.json", b"{}")
    driver = bench.start("--jobs", "2", start_new_session=True)
    pattern = (
        "small/jobs/2*/*/controller.log" if moment == "starting" else "store/train/*/weights.lease"
    )
    limit = time.monotonic() + 120
    while len(list(bench.results.glob(pattern))) < 2 and time.monotonic() < limit:
        time.sleep(0.02)
        assert driver.poll() is None, driver.stderr.read()
    if moment == "adopted":
        driver.kill()
        driver.communicate()
        driver = bench.start("--jobs", "2", start_new_session=True)
        while holder(bench.results / "small" / "driver.lock") is None and driver.poll() is None:
            time.sleep(0.02)
        time.sleep(0.3)
    for _ in range(signals):
        driver.send_signal(signal.SIGINT)
        time.sleep(0.15)
    _, err = driver.communicate(timeout=120)
    assert driver.returncode == 128 + signal.SIGINT, err
    assert "Traceback" not in err
    assert "nothing is lost" in err
    assert of_the_bench(tmp_path) == []
    assert not list(bench.results.glob("small/jobs/*/orders.json"))
    assert living(bench.results / "small" / "workers") == []


def test_ctrl_c_outside_a_run_is_one_line(tmp_path, monkeypatch, capsys):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    (tmp_path / "small.yaml").write_text(SUITE)
    monkeypatch.setattr("bench.cli.plan.examine", interrupted)
    assert main(["plan", str(tmp_path / "small.yaml"), "--results", str(tmp_path)]) == 130
    assert capsys.readouterr().err.strip().count("\n") == 0
