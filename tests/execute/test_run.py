"""Runs of small suites through the command line, with a method that goes wrong.

What depends on processes goes through submitit's local executor. All else runs in this process,
where torch is loaded already (``Bench.here``), and suites that are to be finished beforehand are
run once and copied.
"""

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pytest

import methods
from bench.card import cards
from bench.cli.parser import main
from bench.data.images import load_images
from bench.execute.lease import Lease, holder
from bench.store import Store, UnitId

ROOT = Path(__file__).resolve().parents[2]
PLUGINS = ROOT / "tests" / "plugins"


class Bench:
    """The command line in a folder of its own."""

    def __init__(self, folder):
        self.folder = folder
        self.results = folder / "results"
        self.store = Store(self.results / "store")

    def suite(self, text, name="small"):
        (self.folder / f"{name}.yaml").write_text(text)
        return self

    def command(self, *arguments, name="small"):
        verb = arguments[0] if arguments and not arguments[0].startswith("-") else "run"
        rest = arguments[1:] if verb != "run" or arguments[:1] == ("run",) else arguments
        suite = [str(self.folder / f"{name}.yaml")]
        return [
            sys.executable,
            str(ROOT / "run_bench.py"),
            verb,
            *suite,
            *rest,
            "--results",
            str(self.results),
        ]

    def environment(self):
        path = os.pathsep.join([str(PLUGINS), str(ROOT)])
        return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}

    def start(self, *arguments, **options):
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(
            self.command(*arguments), env=self.environment(), cwd=self.folder, **pipes, **options
        )

    def __call__(self, *arguments, timeout=1200):
        process = self.start(*arguments)
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.terminate()  # its workers too
            raise
        return process.returncode, out, err

    def here(self, *arguments, name="small"):
        """Runs the same command in this process."""
        words = self.command(*arguments, name=name)[2:]
        words += ["--executor", "inline"] if words[0] == "run" else []
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            patch.chdir(self.folder)
            patch.setattr(methods, "__path__", [*methods.__path__, str(PLUGINS / "methods")])
            cards.cache_clear()
            try:
                code = main(words)
            finally:
                cards.cache_clear()
        return code, out.getvalue(), err.getvalue()

    def copy(self, folder):
        """Returns a copy of all of it in another folder."""
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)
        return Bench(folder)

    def rows(self, name="small"):
        with open(self.results / name / "results.csv") as file:
            return list(csv.DictReader(file))

    def attempts(self):
        found = {}
        for path in sorted(self.store.root.glob("*/*/*.attempts.jsonl")):
            unit = UnitId(path.parent.parent.name, path.parent.name, path.name.split(".")[0])
            found[unit] = self.store.attempts(*unit)
        return found


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


SMALL = """
name: small
dataset: digits
metrics: [{metric: fd, allow_few: true}]
samples: {count: 6, batch: 3}
figures: none
train:
  good: {method: faulty}
  bad: {method: faulty, params: {fault: %s}}
points:
  - {train: [good, bad], sampler: walk, grid: {nfe: [1, 2]}}
"""
GOOD = """
name: small
dataset: digits
metrics: [{metric: fd, allow_few: true}]
samples: {count: 6, batch: 3}
figures: none
train:
  good: {method: faulty}
points:
  - {train: good, sampler: walk, grid: {nfe: [1]}}
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The good suite, run by workers."""
    bench = Bench(tmp_path_factory.mktemp("finished"))
    code, _, err = bench.suite(GOOD)()
    assert code == 0, err
    return bench


@pytest.fixture
def done(finished, tmp_path):
    """A copy of it."""
    return finished.copy(tmp_path)


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
    status, told, _ = bench.here("status")
    assert status == 1
    for fault, cause in CAUSES.items():
        failed = [row for row in rows if row["train"] == fault]
        assert len(failed) == 2
        for row in failed:
            assert row["state"] == "failed"
            assert cause in row["cause"]
            assert (bench.folder / row["log"]).exists()
        assert f"failed: train {fault}: {cause}" in err
        assert cause in told
        log = (bench.folder / failed[0]["log"]).read_text()
        assert fault != "raise" or "Traceback" in log


def test_failed_unit_is_tried_again_by_the_next_run_and_finished_ones_are_not(bench, tmp_path):
    flag = tmp_path / "mended"
    code, _, _ = bench.suite(
        GOOD.replace("grid:", f"params: {{fault: raise, flag: '{flag}'}}, grid:")
    ).here()
    assert code == 1
    flag.touch()
    code, _, err = bench.here()
    assert code == 0, err
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


@pytest.mark.parametrize("damage", ["truncate", "alter", "delete", "alter the record"])
def test_damaged_file_is_named_and_made_again(done, damage):
    path = sorted(done.store.root.glob("samples/*/*.npz"))[0]
    content = path.read_bytes()
    if damage == "truncate":
        path.write_bytes(content[:-10])
    if damage == "alter":
        path.write_bytes(content[:-1] + b"x")
    if damage == "delete":
        path.unlink()
    if damage == "alter the record":
        path = path.with_suffix(".json")
        path.write_text(path.read_text().replace('"nfe": 1.0', '"nfe": 0.5'))
    _, out, _ = done.here("plan")
    assert f"damaged: {path}" in out
    code, _, err = done.here()
    assert code == 0
    assert str(path) in err
    assert path.with_suffix(".npz").read_bytes() == content


def test_score_that_meets_a_damaged_batch_has_it_made_again(done):
    path = sorted(done.store.root.glob("samples/*/*.npz"))[0]
    content, stat = path.read_bytes(), path.stat()
    path.write_bytes(content[:-1] + b"x")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    code, _, _ = done.suite(GOOD.replace("true}]", "true}, is]"))()
    assert code == 0
    assert path.read_bytes() == content


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


def test_damaged_batch_that_cannot_be_made_again_is_a_failed_row_and_the_run_ends(bench):
    flag = bench.folder / "works"
    suite = GOOD.replace("grid:", f"params: {{fault: raise, flag: '{flag}'}}, grid:")
    flag.touch()
    assert bench.suite(suite).here()[0] == 0
    flag.unlink()
    path = sorted(bench.store.root.glob("samples/*/*.npz"))[0]
    content, stat = path.read_bytes(), path.stat()
    path.write_bytes(content[:-1] + b"x")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    code, _, err = bench.suite(suite.replace("true}]", "true}, is]"))()
    assert code == 1
    assert "this went wrong on purpose" in err


SLOWLY = GOOD.replace(
    "good: {method: faulty}", "good: {method: faulty, params: {steps: 30, seconds_per_step: 0.1}}"
)


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    """A suite that was stopped while it trained, after a checkpoint."""
    bench = Bench(tmp_path_factory.mktemp("interrupted"))
    (bench.folder / "often.yaml").write_text("cluster: local\nworkers: 1\ncheckpoint_seconds: 0\n")
    process = bench.suite(SLOWLY).start("--executor", str(bench.folder / "often.yaml"))
    while not list(bench.store.root.glob("train/*/resume.safetensors")):
        time.sleep(0.02)
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    return bench


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The weights of that suite where nothing stops it, and no step waits."""
    bench = Bench(tmp_path_factory.mktemp("undisturbed"))
    assert (
        bench.suite(SLOWLY.replace("seconds_per_step: 0.1", "seconds_per_step: 0.0")).here()[0] == 0
    )
    (path,) = bench.store.root.glob("train/*/weights.safetensors")
    return path.read_bytes()


@pytest.mark.parametrize("damage", ["flip", "truncate"])
def test_damaged_checkpoint_is_put_aside_and_never_used(interrupted, undisturbed, tmp_path, damage):
    bench = interrupted.copy(tmp_path)
    (path,) = bench.store.root.glob("train/*/resume.safetensors")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content if damage == "flip" else content[:-3])
    code, _, err = bench.here()
    assert code == 0, err
    assert path.with_suffix(".damaged").exists()
    (record,) = bench.store.root.glob("train/*/weights.json")
    assert record.with_suffix(".safetensors").read_bytes() == undisturbed


def test_broken_environment_stops_the_driver_with_the_workers_own_words(bench):
    (bench.folder / "broken.yaml").write_text(
        "cluster: local\nsetup: ['export SUBMITIT_LOCAL_COMMAND=false']\n"
    )
    code, _, err = bench.suite(SMALL % "none")("--executor", str(bench.folder / "broken.yaml"))
    assert code == 1
    assert "workers cannot work" in err
    assert "Traceback" not in err


def test_images_made_elsewhere_are_a_row(bench):
    np.savez(bench.folder / "mine.npz", images=load_images("digits").test[:6])
    suite = "name: small\ndataset: digits\nmetrics: [{metric: fd, allow_few: true}]\nsamples: {count: 6}\nfigures: none\n"
    suite += f"train:\n  mine: {{samples_from: {bench.folder / 'mine.npz'}}}\npoints:\n  - {{train: mine}}\n"
    code, _, err = bench.suite(suite).here()
    assert code == 0, err
    (row,) = bench.rows()
    assert float(row["fd(digits-cnn@8)"]) > 0
    assert row["state"] == "done"
    np.savez(bench.folder / "mine.npz", images=load_images("digits").test[6:12])
    assert bench.here()[0] == 0
    assert bench.rows()[0]["fd(digits-cnn@8)"] != row["fd(digits-cnn@8)"]


def test_images_that_are_refused_are_a_row_with_one_line_and_no_traceback(bench):
    np.savez(bench.folder / "mine.npz", images=np.ones((6, 1, 8, 8), np.uint8))
    suite = (
        "name: small\ndataset: digits\nmetrics: [near_copies]\nsamples: {count: 6}\nfigures: none\n"
    )
    suite += f"train:\n  mine: {{samples_from: {bench.folder / 'mine.npz'}}}\npoints:\n  - {{train: mine}}\n"
    code, out, err = bench.suite(suite).here()
    assert code == 1
    assert "mine.npz: the brightest value is 1 where white is 16" in bench.rows()[0]["cause"]
    assert "Traceback" not in out + err


PLANE = """
name: small
dataset: two_modes
metrics: [mode_weight_error, energy_distance]
samples: {count: 200, batch: 100}
likelihood: {images: 20, batch: 20, probe: exact}
inspect: {images: 8}
train:
  exact: {method: sde, params: {exact: true}}
  elsewhere: {samples_from: %s}
points:
  - {train: exact, sampler: flow_heun, grid: {nfe: [39]}}
  - {train: elsewhere}
keep: {samples: 100}
controlled: false
"""


def test_points_in_the_plane_are_sampled_scored_drawn_and_kept_in_their_own_units(bench):
    data = load_images("two_modes")
    np.savez(bench.folder / "mine.npz", images=data.test[:200])
    code, _, err = bench.suite(PLANE % (bench.folder / "mine.npz")).here()
    assert code == 0, err
    model, mine = bench.rows()
    assert [
        model[name] for name in ("state", "clipped_fraction", "training_images", "parameters")
    ] == [*("done", "", "0", "0")]
    # The weights come out of the prior as they are in the data, up to four standard errors of 200
    # draws.
    assert float(model["mode_weight_error"]) < 4 * (0.2 * 0.8 / 200) ** 0.5
    assert float(mine["energy_distance"]) < 0.2
    assert float(model["heldout_loss@t=1"]) > 0
    # The likelihood by the flow of the exact score, and the true density of the same points.
    assert float(model["bits_per_dim"]) == pytest.approx(
        float(model["exact_bits_per_dim"]), abs=3e-3
    )
    assert (bench.results / "small" / "figures" / "density-exact.png").exists()
    page = (bench.results / "small" / "leaderboard.md").read_text()
    assert (
        f"{float(model['exact_bits_per_dim']):.3f}"
        in page.partition("the same by the true density")[2]
    )
    identity = json.loads((bench.results / "small" / "identities.json").read_text()).values()
    assert {entry["quantise"] for entry in identity if "metric" in entry} == {"none", "as given"}
    (kept,) = bench.store.root.glob("samples/*/*.npz")
    images = np.load(kept)["images"]
    assert (images.dtype, images.shape) == (np.float32, (100, 2, 1, 1))
    assert images.min() < -4 < 4 < images.max()
    code, out, _ = bench.here("plan")
    assert "0 to do" in out


def test_keep_prunes_scored_batches_and_a_new_metric_makes_them_again(bench):
    suite = GOOD + "keep: {samples: 2}\n"
    assert bench.suite(suite).here()[0] == 0
    assert [path.name for path in sorted(bench.store.root.glob("samples/*/*.npz"))] == ["00000.npz"]
    first = bench.rows()
    assert bench.here()[0] == 0
    _, out, _ = bench.suite(suite.replace("true}]", "true}, is]")).here("plan")
    assert "images were pruned" in out
    code, _, err = bench.here()
    assert code == 0, err
    assert bench.rows()[0]["fd(digits-cnn@8)"] == first[0]["fd(digits-cnn@8)"]
    assert float(bench.rows()[0]["is(digits-cnn@8)"]) >= 1


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
