"""Suites on a real SLURM: each ends with the leaderboard of a run on this machine, whatever happens
on the way.
"""

import itertools
import signal
import time

import pytest
from rig import board, hashes, none_twice, wait

from bench.execute.slurm import queue as slurm


def test_attached_run_gives_what_a_local_one_gives_by_one_array_per_stage_and_one_squeue_per_poll(
    bench, cluster, undisturbed
):
    calls = bench.folder / "calls"
    bench.shim("squeue", f'date +%s.%N >> {calls}\nexec $REAL "$@"')
    code, _, err = bench(*bench.executor)
    assert code == 0, err
    assert (board(bench), hashes(bench)) == undisturbed
    none_twice(bench)
    tries = [tried for found in bench.attempts().values() for tried in found]
    assert {tried["state"] for tried in tries} == {"done"}
    trained = {tried["job"] for tried in tries if "-train-" in tried["submission"]}
    assert {job.partition("_")[2] for job in trained} == {"0", "1"}, "two array tasks"
    assert len({job.partition("_")[0] for job in trained}) == 1, "of one array"
    times = [float(line) for line in calls.read_text().split()]
    assert min(after - before for before, after in itertools.pairwise(times)) >= 1.0, (
        "poll_seconds apart"
    )
    before = {
        path: path.stat().st_mtime_ns for path in bench.store.root.rglob("*") if path.is_file()
    }
    assert bench(*bench.executor)[0] == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before, (
        "a finished suite submits nothing"
    )


def test_detached_run_needs_no_driver(bench, cluster, undisturbed):
    code, out, err = bench(*bench.executor, "--detach")
    assert code == 0, err
    assert "train      2 units in 2 jobs" in out
    _, told, _ = bench("status")
    assert "queued" in told or "running" in told
    assert "Dependency" in told
    code, out, _ = bench(*bench.executor, "--detach")
    assert "nothing to submit" in out, "all of it is in the queue"
    assert bench("report")[0] == 1, "some rows are not there yet"
    assert {row["state"] for row in bench.rows()} & {"waiting", "running"}, (
        "a leaderboard of what is there"
    )
    wait(lambda: not any(entry.alive for entry in slurm.queue().values()), 180)
    assert bench("report")[0] == 0
    assert (board(bench), hashes(bench)) == undisturbed
    none_twice(bench)
    assert len(bench.everything()) == 3, "one array per stage"
    code, told, _ = bench("status")
    assert code == 0
    assert "no job of the suite is in the queue" in told


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "after"])
def test_driver_killed_around_sbatch_leaves_an_intent_that_the_next_one_recovers(
    bench, cluster, undisturbed, when
):
    # The shim kills the driver before sbatch, or after it did its work and before its answer was
    # read.
    act = {"before": "kill -9 $PPID; exit 1", "after": '$REAL "$@"; kill -9 $PPID; exit 0'}[when]
    if (
        when == "after"
    ):  # a job that starts at once would miss what the driver did not live to give it, and fail
        cluster.call("sbatch", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap=sleep 12")
    bench.shim("sbatch", act)
    process = bench.start(*bench.executor)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    (left,) = bench.submissions()
    assert left.job is None
    queued = [entry for entry in slurm.queue().values() if entry.name == left.name]
    assert bool(queued) == (when == "after")
    bench.path = []
    code, _, err = bench(*bench.executor)
    assert code == 0, err
    assert (board(bench), hashes(bench)) == undisturbed
    none_twice(bench)
    first = {
        tried["submission"]
        for unit, tries in bench.attempts().items()
        if unit.stage == "train"
        for tried in tries
    }
    assert (first == {left.name}) == (when == "after"), (
        "what sbatch had taken is adopted, not submitted again"
    )


FAULTS = """
name: small
dataset: digits
metrics: [{metric: fd, allow_few: true}]
samples: {count: 6, batch: 3}
inspect: null
figures: none
train:
  one: {method: faulty, params: {steps: 20, seconds_per_step: 0.3}}
  two: {method: faulty, params: {steps: 10}}
  kill: {method: faulty, params: {steps: 3, fault: kill}}
  exit: {method: faulty, params: {steps: 3, fault: exit}}
  raise: {method: faulty, params: {steps: 3, fault: raise}}
points:
  - {train: [one, two, kill, exit, raise], sampler: walk, grid: {nfe: [1, 2]}}
"""


@pytest.mark.slow
def test_failures_are_rows_by_kind_with_last_words_and_the_others_go_on(
    bench, cluster, undisturbed
):
    code, _, err = bench.suite(FAULTS)(*bench.executor)
    assert code == 1
    rows = {row["label"].split(" ")[0]: row for row in bench.rows()}
    assert {name: row["state"] for name, row in rows.items()} == {
        **{"one": "done", "two": "done", "kill": "failed", "exit": "failed", "raise": "failed"}
    }
    tries = {
        tried[0]["run"] and key.key: tried
        for key, tried in bench.attempts().items()
        if key.stage == "train"
    }
    states = sorted([tried["state"] for tried in found] for found in tries.values())
    assert states == sorted(
        [["done"], ["done"], ["failed"], ["died", "died", "failed"], ["died", "died", "failed"]]
    )
    assert "RuntimeError: this went wrong on purpose" in err
    assert "| RuntimeError: this went wrong on purpose" in err, "the last lines of what it wrote"
    assert err.count("it died without a word") >= 2
    assert "SLURM: COMPLETED" in err, "os._exit(0): afterok would have believed it"
    for name in ("kill", "exit", "raise"):
        assert (bench.folder / rows[name]["log"]).exists()
    numbers, files = undisturbed
    whole = [row for row in board(bench)[0] if row["state"] == "done"]
    assert [row["fd(digits-cnn@8)"] for row in whole] == [
        row["fd(digits-cnn@8)"] for row in numbers[0]
    ]
    assert files.items() <= hashes(bench).items()


@pytest.mark.slow
def test_cancelled_array_tasks_are_made_by_others(bench, cluster, undisturbed):
    driver = bench.start(*bench.executor)
    ids = wait(lambda: [entry.id for entry in slurm.queue().values() if entry.state == "RUNNING"])
    cluster.call("scancel", *ids)
    _, err = driver.communicate(timeout=240)
    assert driver.returncode == 0, err
    assert (board(bench), hashes(bench)) == undisturbed
    none_twice(bench)


@pytest.mark.slow
def test_cancel_ends_driver_and_jobs_and_the_suite_goes_on_later(bench, cluster, undisturbed):
    driver = bench.start(*bench.executor)
    wait(lambda: any(entry.state == "RUNNING" for entry in slurm.queue().values()))
    code, out, err = bench("cancel")
    assert code == 0, err
    assert "jobs cancelled" in out
    driver.communicate(timeout=60)
    assert driver.returncode == 128 + signal.SIGTERM
    wait(lambda: not any(entry.alive for entry in slurm.queue().values()), 30)
    code, _, err = bench(*bench.executor)
    assert code == 0, err
    assert (board(bench), hashes(bench)) == undisturbed


@pytest.mark.slow
def test_killed_driver_is_followed_by_one_that_adopts_its_jobs(bench, cluster, undisturbed):
    driver = bench.start(*bench.executor)
    wait(lambda: any(entry.state == "RUNNING" for entry in slurm.queue().values()))
    driver.kill()
    driver.communicate()
    time.sleep(2)
    code, _, err = bench(*bench.executor)
    assert code == 0, err
    assert (board(bench), hashes(bench)) == undisturbed
    trainings = [tries for unit, tries in bench.attempts().items() if unit.stage == "train"]
    assert [len(tries) for tries in trainings] == [1, 1], "nothing was submitted a second time"
