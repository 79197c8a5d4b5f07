"""Runs of small suites through the command line, with a method that goes wrong.

What depends on processes goes through submitit's local executor. All else runs in this process,
where torch is loaded already (``Bench.here``), and suites that are to be finished beforehand are
run once and copied.
"""

import json
import os
import time
from pathlib import Path

from command_line import GOOD, SMALL

from bench.execute.lease import Lease, holder

CAUSES = {
    "raise": "RuntimeError: this went wrong on purpose",
    "nan": "DivergedError: diverged: 1 of 2 weight tensors hold NaN or infinity",
    "kill": "died 3 times without a word",
    "exit": "died 3 times without a word",
}


def test_failed_trainings_are_rows_with_their_causes_and_their_siblings_go_on(bench):
    bad = "".join(
        f"  {fault}: {{method: faulty, params: {{fault: {fault}}}}}\n" for fault in CAUSES
    )
    suite = GOOD.replace("points:", f"{bad}points:").replace(
        "train: good,", f"train: [good, {', '.join(CAUSES)}],"
    )
    code, out, err = bench.suite(suite.replace("nfe: [1]", "nfe: [1, 2]"))("--jobs", "2")
    assert code == 1, err
    assert "2 done" in out
    assert "8 failed" in out
    rows = bench.rows()
    assert {row["state"] for row in rows if row["train"] == "good"} == {"done"}
    status, text, _ = bench.here("status")
    assert status == 1
    for fault, cause in CAUSES.items():
        failed = [row for row in rows if row["train"] == fault]
        assert len(failed) == 2
        for row in failed:
            assert row["state"] == "failed"
            assert cause in row["cause"]
            assert (bench.folder / row["log"]).exists()
        assert f"failed: train {fault}: {cause}" in err
        assert cause in text
        log = (bench.folder / failed[0]["log"]).read_text()
        assert fault != "raise" or "Traceback" in log


def test_failed_unit_is_tried_again_by_the_next_run_and_finished_ones_are_not(bench, tmp_path):
    flag = tmp_path / "works"
    code, _, _ = bench.suite(
        GOOD.replace("grid:", f"params: {{fault: raise, flag: '{flag}'}}, grid:")
    ).here()
    assert code == 1
    flag.touch()
    code, out, err = bench.here()
    assert code == 0, err
    assert out.index("so far 1 of 1 rows") < out.index("drawing figures, writing tables\n")
    states = {
        unit.stage: [attempt["state"] for attempt in tries]
        for unit, tries in bench.attempts().items()
    }
    assert states == {
        "train": ["done"],
        "samples": ["failed", "done"],
        "inspect": ["done"],
        "scores": ["done"],
    }


def test_nan_images_fail_before_they_become_uint8(bench):
    code, _, err = bench.suite(GOOD.replace("grid:", "params: {fault: nan}, grid:")).here()
    assert code == 1
    assert "diverged: 3 of 3 images hold NaN or infinity" in err
    assert not list(bench.store.root.glob("samples/*/*.npz"))


def test_finished_suite_does_nothing_and_a_new_metric_only_scores(done):
    bench = done
    before = {
        path: path.stat().st_mtime_ns for path in bench.store.root.rglob("*") if path.is_file()
    }
    assert bench()[0] == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert bench.suite(GOOD.replace("true}]", "true}, is]")).here()[0] == 0
    new = {
        path.relative_to(bench.store.root).parts[0]
        for path in bench.store.root.rglob("*.json")
        if path not in before
    }
    assert new == {"scores"}
    assert {path: path.stat().st_mtime_ns for path in before if path.suffix == ".npz"} == {
        path: time_ns for path, time_ns in before.items() if path.suffix == ".npz"
    }


def test_scores_against_held_out_images_know_what_the_training_set_itself_has(bench):
    suite = GOOD.replace("count: 6", "count: 30")
    suite = suite.replace("allow_few: true}]", "allow_few: true}, {metric: fd, reference: test}]")
    assert bench.suite(suite).here()[0] == 0
    records = [json.loads(path.read_text()) for path in bench.store.root.glob("scores/*/*.json")]
    floors = {
        record["identity"]["reference"]["split"]: record["floor"]
        for record in records
        if "floor" in record
    }
    assert "training_set" not in floors["train"]
    assert floors["test"]["training_set"]["images"] == 1437
    assert 0 < floors["test"]["training_set"]["value"] < floors["test"]["mean"]


def test_raised_count_adds_batches_and_keeps_the_old_ones(done):
    before = {path: path.stat().st_mtime_ns for path in done.store.root.glob("samples/*/*.npz")}
    assert done.suite(GOOD.replace("count: 6", "count: 8")).here()[0] == 0
    after = {path: path.stat().st_mtime_ns for path in done.store.root.glob("samples/*/*.npz")}
    assert len(before) == 2
    assert len(after) == 3
    assert before.items() <= after.items()


def test_workers_never_exceed_the_bound_and_each_sees_its_gpu(bench):
    (bench.folder / "gpus.yaml").write_text("cluster: local\ngpus: [3, 5]\ndevice: auto\n")
    labels = [
        f"  m{index}: {{method: faulty, params: {{seconds_per_step: 0.3, steps: {4 + index}}}}}"
        for index in range(5)
    ]
    names = ", ".join(f"m{index}" for index in range(5))
    suite = "name: small\ndataset: digits\nmetrics: [{metric: fd, allow_few: true}]\n"
    suite += "samples: {count: 3, batch: 3}\nfigures: none\ntrain:\n" + "\n".join(labels)
    suite += f"\npoints:\n  - {{train: [{names}], sampler: walk, grid: {{nfe: [1]}}}}\n"
    process = bench.suite(suite).start("--executor", str(bench.folder / "gpus.yaml"))
    seen, most = set(), 0
    while process.poll() is None:
        workers = [holder(path) for path in (bench.results / "small" / "workers").glob("*.lease")]
        pids = [facts["pid"] for facts in workers if facts and "pid" in facts]
        most = max(most, len(pids))
        for pid in pids:
            try:
                content = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            except OSError:
                continue
            seen |= {
                entry.decode() for entry in content if entry.startswith(b"CUDA_VISIBLE_DEVICES")
            }
        time.sleep(0.05)
    assert process.returncode == 0, process.stderr.read()
    assert most == 2
    assert seen == {"CUDA_VISIBLE_DEVICES=3", "CUDA_VISIBLE_DEVICES=5"}


def test_second_driver_says_who_holds_the_results_and_exits(bench):
    bench.suite(SMALL % "none")
    with Lease.take(bench.results / "small" / "driver.lock", run="other"):
        code, _, err = bench.here()
    assert code == 1
    assert f"is held by another driver: process {os.getpid()}" in err
    assert not list(bench.store.root.glob("train/*"))


def test_second_driver_leaves_no_trace(bench):
    bench.suite(SMALL % "none")
    with Lease.take(bench.results / "small" / "driver.lock", run="other"):
        code, _, _ = bench.here("--set", "samples.count=3")
    assert code == 1
    assert not (bench.results / "small" / "suite.resolved.yaml").exists()


def test_torch_that_does_not_import_stops_the_driver(bench):
    bad = bench.folder / "bad"
    bad.mkdir()
    (bad / "torch.py").write_text("raise ImportError('this torch is broken')\n")
    (bench.folder / "bad.yaml").write_text(
        f"cluster: local\nsetup: ['export PYTHONPATH={bad}:$PYTHONPATH']\n"
    )
    code, _, err = bench.suite(SMALL % "none")("--executor", str(bench.folder / "bad.yaml"))
    assert code == 1
    assert "workers cannot work" in err
    assert "this torch is broken" in err


def test_broken_environment_stops_the_driver_with_the_workers_own_words(bench):
    (bench.folder / "broken.yaml").write_text(
        "cluster: local\nsetup: ['export SUBMITIT_LOCAL_COMMAND=false']\n"
    )
    code, _, err = bench.suite(SMALL % "none")("--executor", str(bench.folder / "broken.yaml"))
    assert code == 1
    assert "workers cannot work" in err
    assert "Traceback" not in err


def test_provenance_is_in_every_record(finished):
    for stage in ("train", "samples", "inspect", "scores"):
        for path in finished.store.root.glob(f"{stage}/*/*.json"):
            if path.name == "spec.json":
                continue
            provenance = json.loads(path.read_text())["provenance"]
            assert {
                "commit",
                "dirty",
                "device",
                "host",
                "start",
                "end",
                "attempts",
                "packages",
                "threads",
            } <= set(provenance)
            assert provenance["packages"]["torch"]
            assert provenance["threads"] == 1
