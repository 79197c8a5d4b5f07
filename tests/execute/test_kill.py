"""A suite whose driver and workers are killed at random points ends as one that nobody
disturbed.
"""

import hashlib
import json
import os
import random
import signal
import time

import pytest
from command_line import Bench

from bench.execute.local.registry import living

SUITE = """
name: small
dataset: digits
metrics: [{metric: fd, allow_few: true}]
samples: {count: 8, batch: 4, seeds: [0, 1]}
figures: none
likelihood: {images: 2, batch: 2, tolerance: 1.0e-1}
train:
  vp: &model
    method: sde
    seeds: [0, 1]
    params:
      network: {width: 8, multipliers: [1, 2], blocks: 1, attention: [4]}
      training: {steps: 150, batch: 8, warmup_steps: 2, heldout_images: 16}
points:
  - {train: vp, sampler: euler_maruyama, grid: {nfe: [3, 20]}}
"""
EXECUTOR = "cluster: local\nworkers: 2\ncheckpoint_seconds: 0.2\n"


def start(bench):
    return bench.start("--executor", str(bench.folder / "two.yaml"), start_new_session=True)


def prepare(folder):
    bench = Bench(folder)
    bench.suite(SUITE)
    (folder / "two.yaml").write_text(EXECUTOR)
    return bench


def hashes(bench):
    """Hashes of weights, training curves and images, by path in the store."""
    patterns = ("weights.safetensors", "*.npz", "log.jsonl")
    paths = [path for pattern in patterns for path in bench.store.root.rglob(pattern)]
    return {
        str(path.relative_to(bench.store.root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in paths
    }


def finished(bench):
    """Time of every record: it must never change again."""
    records = [path for path in bench.store.root.glob("*/*/*.json") if path.name != "spec.json"]
    return {path: path.stat().st_mtime_ns for path in records}


def workers(bench):
    return [facts["pid"] for facts in living(bench.results / "small" / "workers") if "pid" in facts]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    bench = prepare(tmp_path_factory.mktemp("undisturbed"))
    process = start(bench)
    _, err = process.communicate(timeout=1200)
    assert process.returncode == 0, err
    return hashes(bench)


def kill(bench, driver, what):
    """Ends the driver or a worker; returns whether the driver was meant to end."""
    if what == "worker SIGKILL":
        for pid in workers(bench)[:1]:
            os.kill(pid, signal.SIGKILL)
        return False
    driver.send_signal(
        {"driver SIGKILL": signal.SIGKILL, "SIGTERM": signal.SIGTERM, "Ctrl-C": signal.SIGINT}[what]
    )
    driver.communicate(timeout=60)
    if driver.returncode in (128 + signal.SIGTERM, 128 + signal.SIGINT):
        assert not workers(bench)
    else:  # it had just finished, or had hardly begun
        assert what == "driver SIGKILL" or driver.returncode <= 0
    return True


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_killed_at_random_points_it_finishes_byte_equal_and_redoes_no_finished_unit(
    tmp_path, undisturbed, seed
):
    bench = prepare(tmp_path)
    chance = random.Random(seed)
    kinds = ["driver SIGKILL", "worker SIGKILL", "SIGTERM", "Ctrl-C"]
    chance.shuffle(kinds)
    known = {}
    for what in kinds:
        driver = start(bench)
        # Let this round get somewhere, then strike at a random moment of it.
        before = len(finished(bench))
        limit = time.monotonic() + 60
        while time.monotonic() < limit and driver.poll() is None and not workers(bench):
            time.sleep(0.05)
        time.sleep(chance.uniform(1.5, 6.0))
        kill(bench, driver, what)
        if driver.poll() is None:
            driver.send_signal(signal.SIGKILL)
            driver.communicate()
        now = finished(bench)
        assert known.items() <= now.items(), "a finished unit was written again"
        assert len(now) >= before
        known = now
    driver = start(bench)
    _, err = driver.communicate(timeout=1200)
    assert driver.returncode == 0, err
    assert known.items() <= finished(bench).items()
    assert hashes(bench) == undisturbed
    for unit, attempts in bench.attempts().items():
        # A worker killed right after it wrote its result had no time to say so: none, never two.
        assert [attempt["state"] for attempt in attempts].count("done") <= 1, unit


def test_new_driver_adopts_the_workers_that_outlived_the_old_one(tmp_path, undisturbed):
    bench = prepare(tmp_path)
    driver = start(bench)
    while len(workers(bench)) < 2:
        time.sleep(0.05)
        assert driver.poll() is None
    driver.kill()
    driver.communicate()
    survivors = set(workers(bench))
    assert len(survivors) == 2
    driver = start(bench)
    most = 0
    while driver.poll() is None:
        most = max(most, len(workers(bench)))
        time.sleep(0.05)
    assert driver.returncode == 0, driver.stderr.read()
    assert most == 2
    runs = {attempt["run"] for attempts in bench.attempts().values() for attempt in attempts}
    assert len(runs) == 1, "the survivors did the work"
    assert hashes(bench) == undisturbed


def test_training_killed_in_the_middle_resumes_from_its_checkpoint(tmp_path, undisturbed):
    bench = prepare(tmp_path)
    driver = start(bench)
    while not list(bench.store.root.glob("train/*/resume.safetensors")):
        time.sleep(0.05)
        assert driver.poll() is None
    for pid in workers(bench):
        os.kill(pid, signal.SIGKILL)
    _, err = driver.communicate(timeout=1200)
    assert driver.returncode == 0, err
    assert hashes(bench) == undisturbed
    states = [
        [attempt["state"] for attempt in tries]
        for unit, tries in bench.attempts().items()
        if unit.stage == "train"
    ]
    assert ["died", "done"] in states
    steps = [
        json.loads(path.read_text())["steps"]
        for path in bench.store.root.glob("train/*/weights.json")
    ]
    assert steps == [150, 150]
