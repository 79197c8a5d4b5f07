"""What a cluster does to a suite, on a real SLURM: preemption, time limits, dead nodes, rivals,
forgetfulness.
"""

import json
import random
import time
from pathlib import Path

import pytest
from rig import EXECUTOR, SUITE, Cluster, OnCluster, board, hashes, local_run, none_twice, wait

from bench.execute.slurm import queue as slurm

ROOT = Path(__file__).resolve().parents[2]

TRAINING = """
name: small
dataset: digits
metrics: [{metric: fd, allow_few: true}]
samples: {count: 8, batch: 4}
inspect: null
figures: none
train:
  vp:
    method: sde
    params:
      network: {width: 8, multipliers: [1, 2], blocks: 1, attention: [4], dropout: 0.1}
      training: {steps: 400, batch: 8, warmup_steps: 2, heldout_images: 16}
points:
  - {train: vp, sampler: euler_maruyama, grid: {nfe: [3]}}
"""


def running(name=""):
    return [
        entry for entry in slurm.queue().values() if entry.state == "RUNNING" and name in entry.name
    ]


def checkpoint(bench):
    return list(bench.store.root.glob("train/*/resume.safetensors"))


def trainings(bench):
    return [tries for unit, tries in bench.attempts().items() if unit.stage == "train"]


@pytest.mark.slow
def test_preempted_training_writes_a_checkpoint_and_goes_on_bit_by_bit(
    tmp_path, cluster, undisturbed
):
    # Checkpoints come every hour here: what is resumed was written on the signal.
    rare = EXECUTOR.replace("partition: debug", "partition: scavenge").replace(
        "checkpoint_seconds: 1", ""
    )
    bench = OnCluster(tmp_path, executor=rare + "checkpoint_seconds: 3600\n")
    driver = bench.start(*bench.executor)
    wait(lambda: any(tried["state"] == "running" for tries in trainings(bench) for tried in tries))
    time.sleep(2)
    cluster.call(
        "sbatch",
        "--partition=debug",
        "--nodes=2",
        "--exclusive",
        "--output=/dev/null",
        "--wrap=sleep 3",
    )
    _, err = driver.communicate(timeout=240)
    assert driver.returncode == 0, err
    assert (board(bench), hashes(bench)) == undisturbed
    none_twice(bench)
    stopped = [tries for tries in trainings(bench) if tries[0]["state"] == "stopped"]
    assert stopped, "no training was preempted"
    for tries in stopped:
        assert [tried["state"] for tried in tries] == ["stopped", "done"]
        assert len({tried["job"] for tried in tries}) == 1, "the same job, queued again"
        assert [tried["restart"] for tried in tries] == [0, 1]
        assert tries[1]["from_step"] > 0
        record = json.loads(next(bench.store.root.glob("train/*/weights.json")).read_text())
        assert record["provenance"]["attempt_seconds"] > 0


@pytest.mark.slow
def test_training_longer_than_the_time_limit_queues_again_and_ends_bit_by_bit(tmp_path, cluster):
    suite = SUITE.replace("seconds_per_step: 0.3", "seconds_per_step: 6")
    short = EXECUTOR.replace("minutes: 10", "minutes: 2").replace(
        "signal_seconds: 60", "signal_seconds: 30"
    )
    bench = OnCluster(tmp_path, suite, short)
    code, _, err = bench(*bench.executor)
    assert code == 0, err
    tries = max(trainings(bench), key=len)
    assert len(tries) >= 2
    assert {tried["state"] for tried in tries[:-1]} == {"stopped"}
    steps = [tried.get("from_step", 0) for tried in tries]
    assert steps == sorted(set(steps)), "every start got on"
    quick = local_run(tmp_path / "quick", SUITE)  # pauses are in the key, and in no number
    assert [row["fd(digits-cnn@8)"] for row in board(bench)[0]] == [
        row["fd(digits-cnn@8)"] for row in quick[0][0]
    ]


@pytest.mark.slow
def test_node_that_dies_loses_nothing_and_its_old_process_writes_no_more(tmp_path, cluster):
    suite = SUITE.replace("seconds_per_step: 0.3", "seconds_per_step: 3")
    bench = OnCluster(tmp_path, suite)
    driver = bench.start(*bench.executor)
    wait(lambda: len(checkpoint(bench)) >= 1 and running("train"))
    place = cluster.call("squeue", "--noheader", "--states=RUNNING", "--format=%N").split()[0]
    try:
        cluster.script("kill-node", place.removeprefix("n"))
        _, err = driver.communicate(timeout=400)
    finally:
        cluster.script("restart-node", place.removeprefix("n"))
    assert driver.returncode == 0, err
    none_twice(bench)
    assert any(len(tries) > 1 for tries in trainings(bench))
    quick = local_run(tmp_path / "quick", SUITE)
    assert [row["fd(digits-cnn@8)"] for row in board(bench)[0]] == [
        row["fd(digits-cnn@8)"] for row in quick[0][0]
    ]


@pytest.mark.slow
def test_two_drivers_never_submit_twice(bench, cluster, undisturbed):
    pair = [bench.start(*bench.executor) for _ in range(2)]
    ends = [process.communicate(timeout=300) for process in pair]
    assert sorted(process.returncode for process in pair) == [0, 1]
    assert any("is held by another driver" in err for _, err in ends)
    assert (board(bench), hashes(bench)) == undisturbed
    none_twice(bench)
    assert all(len(tries) == 1 for tries in bench.attempts().values())


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_drivers_killed_at_random_points_lose_nothing_and_do_nothing_twice(
    bench, cluster, undisturbed, seed
):
    chance = random.Random(seed)
    known = {}
    for _ in range(4):
        driver = bench.start(*bench.executor)
        time.sleep(chance.uniform(0.5, 12))
        driver.kill()
        driver.communicate()
        now = {
            p: p.stat().st_mtime_ns
            for p in bench.store.root.glob("*/*/*.json")
            if p.name != "spec.json"
        }
        assert known.items() <= now.items(), "a finished unit was written again"
        known = now
    code, _, err = bench(*bench.executor)
    assert code == 0, err
    assert (board(bench), hashes(bench)) == undisturbed
    none_twice(bench)


@pytest.mark.slow
def test_site_without_accounting_hears_of_deaths_too(tmp_path, silent_cluster, undisturbed):
    silent_cluster.use()
    bench = OnCluster(tmp_path)
    driver = bench.start(*bench.executor)
    wait(lambda: checkpoint(bench) and running("train"))
    cluster_ids = [entry.id for entry in running("train")]
    silent_cluster.call("scancel", "--signal=KILL", *cluster_ids)
    _, err = driver.communicate(timeout=240)
    assert driver.returncode == 0, err
    assert (board(bench), hashes(bench)) == undisturbed
    assert any(tried["state"] == "died" for tries in trainings(bench) for tried in tries)


@pytest.mark.slow
@pytest.mark.slurm
def test_stale_submissions_do_not_believe_in_ids_that_a_new_cluster_gives_out_again(
    tmp_path, undisturbed
):
    old = Cluster(accounting=False)
    bench = OnCluster(tmp_path)
    try:
        old.start().use()
        code, _, err = bench(*bench.executor, "--detach")
        assert code == 0, err
        wait(lambda: running("train"))
    finally:
        old.stop()
    (train, *_) = bench.submissions()
    assert train.job == "1"
    new = Cluster(accounting=False)
    try:
        new.start().use()
        for _ in range(2):  # another's jobs, with the same ids
            new.call("sbatch", "--output=/dev/null", "--wrap=sleep 600")
        assert {"1", "2"} <= set(slurm.queue())
        code, _, err = bench(*bench.executor)
        assert code == 0, err
        assert (board(bench), hashes(bench)) == undisturbed
        assert slurm.queue()["1"].alive, "another's job was left alone"
    finally:
        new.stop()


@pytest.mark.slow
def test_training_shared_by_two_nodes_has_the_losses_of_one_process(tmp_path, cluster):
    suite = (ROOT / "suites" / "shared_training.yaml").read_text()
    smoke = ("--profile", "smoke", "--set", "figures=none")
    bench = OnCluster(tmp_path, suite, EXECUTOR + "train: {nodes: 2, tasks: 1}\n")
    code, _, err = bench(*bench.executor, *smoke)
    assert code == 0, err
    (record,) = bench.store.root.glob("train/*/weights.json")
    assert json.loads(record.read_text())["provenance"]["processes"] == 2
    (tmp_path / "alone").mkdir()
    alone = OnCluster(tmp_path / "alone", suite)
    assert alone("--executor", "inline", *smoke)[0] == 0
    curves = [
        [
            json.loads(line)
            for line in next(root.glob("**/train/*/log.jsonl")).read_text().splitlines()
        ]
        for root in (bench.store.root, tmp_path / "alone")
    ]
    assert len(curves[0]) == 20
    for ours, alone in zip(*curves, strict=True):
        assert ours == pytest.approx(alone, rel=1e-4)
    assert any("heldout_loss" in line for line in curves[0])


@pytest.mark.slow
def test_training_shared_by_two_nodes_resumes_bit_by_bit_after_preemption(tmp_path, cluster):
    suite = TRAINING
    two = (
        EXECUTOR.replace("partition: debug", "partition: scavenge")
        + "train: {nodes: 2, tasks: 1}\n"
    )
    (tmp_path / "whole").mkdir()
    whole = OnCluster(tmp_path / "whole", suite, two)
    assert whole(*whole.executor)[0] == 0
    (tmp_path / "preempted").mkdir()
    bench = OnCluster(tmp_path / "preempted", suite, two)
    driver = bench.start(*bench.executor)
    wait(lambda: checkpoint(bench))
    cluster.call(
        "sbatch",
        "--partition=debug",
        "--nodes=2",
        "--exclusive",
        "--output=/dev/null",
        "--wrap=sleep 3",
    )
    _, err = driver.communicate(timeout=300)
    assert driver.returncode == 0, err
    assert [tried["state"] for tried in trainings(bench)[0]] == ["stopped", "done"]
    assert (board(bench), hashes(bench)) == (board(whole), hashes(whole))


MANY = """
name: small
dataset: digits
metrics: [{metric: fd, allow_few: true}]
samples: {count: 2, batch: 2}
inspect: null
figures: none
train:
  one: {method: faulty}
points:
  - {train: one, sampler: walk, grid: {nfe: [%s]}}
"""


@pytest.mark.slow
def test_thousand_tiny_points_cost_little_of_driver_and_cluster(tmp_path, cluster):
    suite = MANY % ", ".join(str(nfe) for nfe in range(1, 1001))
    packed = (
        EXECUTOR.replace("poll_seconds: 1", "poll_seconds: 5")
        + "samples: {units: 250}\nscores: {units: 250}\n"
    )
    bench = OnCluster(tmp_path, suite, packed)
    begin = time.monotonic()
    process = bench.start(*bench.executor)
    # The tables and figures of a thousand rows are another matter: what counts ends with the last
    # record.
    wait(
        lambda: (
            len(list(bench.store.root.glob("scores/*/*.json"))) == 1000
            or process.poll() is not None
        ),
        900,
        2,
    )
    wall = time.monotonic() - begin
    driver = sum(map(float, Path(f"/proc/{process.pid}/stat").read_text().split()[13:15])) / 100
    process.terminate()
    process.communicate(timeout=60)
    assert len(list(bench.store.root.glob("scores/*/*.json"))) == 1000
    told = [
        line
        for submission in bench.submissions()
        for e in range(len(submission.array_tasks))
        for line in submission.read_events(e)
    ]
    on_nodes = sum(line.get("cpu", 0.0) for line in told)
    print(f"{wall:.0f} s; driver {driver:.1f} s, nodes {on_nodes:.1f} s of CPU for 1000 points")
    assert len(bench.everything()) <= 7, "the scores of every 250 sample sets that are there"
    assert (driver + on_nodes) / 1000 < 0.2


SHIPPED = [
    ("quickstart", ("--smoke",)),
    ("detached", ()),
    ("cifar10_nfe_sweep", ("--profile", "smoke")),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), SHIPPED, ids=[name for name, _ in SHIPPED])
def test_shipped_suite_gives_on_the_cluster_attached_and_detached_what_it_gives_here(
    tmp_path, cluster, name, options
):
    text = (ROOT / "suites" / f"{name}.yaml").read_text()
    found = {}
    for way in ("here", "attached", "detached"):
        (tmp_path / way).mkdir()
        bench = OnCluster(
            tmp_path / way, text, EXECUTOR.replace("memory_gb: 1.4", "memory_gb: 1.9")
        )
        where = ("--executor", "inline") if way == "here" else bench.executor
        words = (*where, *options, "--set", "figures=none", "--set", "name=small")
        code, out, err = bench(*words, *(("--detach",) if way == "detached" else ()), timeout=7200)
        assert code == 0, out + err
        if way == "detached":
            wait(lambda: not any(entry.alive for entry in slurm.queue().values()), 7200, 2)
            code, out, err = bench(*words, "--detach")
            assert code == 0, out + err
            assert "rows: " in out, "nothing was left to submit"
        found[way] = board(bench), hashes(bench)
    assert found["attached"] == found["here"]
    assert found["detached"] == found["here"]
