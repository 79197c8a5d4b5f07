"""Whatever happens to the files of store and results: no traceback, and in the end the same
numbers.
"""

import csv
import os
import random
import shutil

import pytest

from bench.cli.parser import main
from bench.data.digest import digest_checkpoint
from bench.execute.attempt import seconds
from bench.execute.compute import compute
from bench.execute.outcome import trained_steps
from bench.execute.slurm.submission import Submission, submissions
from bench.files import append, put_aside, write
from bench.metrics import references
from bench.plan import Job
from bench.spec import TrainSpec, key
from bench.stages import model, score
from bench.store import DamagedError, Store, UnitId

SUITE = """
name: small
dataset: digits
metrics: [{metric: fd, allow_few: true, extractor: pixels}]
samples: {count: 2, batch: 2, seeds: [0]}
likelihood: {images: 2, batch: 2, tolerance: 1.0e-1}
inspect: {images: 2}
train:
  vp:
    method: sde
    seeds: [0]
    params:
      network: {width: 8, multipliers: [1, 2], blocks: 1, attention: []}
      training: {steps: 4, batch: 8, warmup_steps: 2, heldout_images: 16}
points:
  - {train: vp, sampler: euler_maruyama, grid: {nfe: [3]}}
figures: none
"""
CONTENTS = {
    "empty": b"",
    "binary": bytes(range(256)),
    "mapping": b"{}",
    "list": b"[]",
    "null": b"null",
    "number": b"3",
    "deep": b"[" * 100_000,
    "types": b'{"spec": [], "attempt": [], "files": [], "driver": 3, "state": 5, "pid": "x"}',
}
MUTATIONS = (*CONTENTS, "folder", "cut short", "one bit")


def mutate(path, how):
    if how == "folder":
        path.unlink()
        (path / "inside").mkdir(parents=True)
    elif how == "cut short":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif how == "one bit":
        content, stat = bytearray(path.read_bytes() or b"x"), path.stat()
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    else:
        path.write_bytes(CONTENTS[how])


def call(verb, folder, *options):
    return main([verb, str(folder / "small.yaml"), "--results", str(folder / "results"), *options])


def values(folder):
    """Returns the numbers of the rows, without what they cost."""
    with open(folder / "results" / "small" / "results.csv") as file:
        rows = list(csv.DictReader(file))
    return [
        {name: row[name] for name in row if name.startswith(("fd", "bits_per_dim", "state", "nfe"))}
        for row in rows
    ]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    (folder / "small.yaml").write_text(SUITE)
    assert call("run", folder, "--executor", "inline") == 0
    return folder


@pytest.fixture
def copy(finished, tmp_path, monkeypatch):
    """A copy of a finished study, as a new process meets it."""
    folder = tmp_path / "copy"
    shutil.copytree(finished, folder)
    monkeypatch.setattr(references, "_CHECKED", {})
    monkeypatch.setattr(model, "_MODELS", {})
    score._stored_references.cache_clear()
    return folder


def files(folder):
    return sorted(path for path in (folder / "results").rglob("*") if path.is_file())


@pytest.mark.parametrize("how", MUTATIONS)
def test_looking_at_damaged_files_gives_no_traceback(copy, how, capsys):
    for path in files(copy):
        mutate(path, how)
    for verb, *options in (
        ("status",),
        ("plan",),
        ("plan", "--verify"),
        ("prune", "--samples", "0"),
    ):
        assert call(verb, copy, *options) in (0, 1)
    for folder in (copy / "results" / "store").glob("*/*"):
        assert main(["show", folder.name, "--results", str(copy / "results")]) in (0, 2)
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("seed", range(3))
def test_run_on_damaged_files_says_so_and_ends_with_the_same_numbers(copy, finished, seed, capsys):
    chance = random.Random(seed)
    damaged = [path for path in files(copy) if chance.random() < 0.4]
    for path in damaged:
        mutate(path, chance.choice(MUTATIONS))
    capsys.readouterr()
    assert call("run", copy, "--executor", "inline") == 0
    err = capsys.readouterr().err
    assert "Traceback" not in err
    assert "damaged" in err
    assert values(copy) == values(finished)


def test_run_in_place_of_a_folder_of_files_makes_them_again(copy, finished):
    (folder,) = (copy / "results" / "store" / "train").iterdir()
    shutil.rmtree(folder)
    folder.write_text("a file")
    stage = copy / "results" / "store" / "scores"
    shutil.rmtree(stage)
    stage.write_text("a file")
    assert call("run", copy, "--executor", "inline") == 0
    assert values(copy) == values(finished)


def test_prune_of_what_is_unused_deletes_nothing_where_keys_of_another_suite_are_damaged(
    copy, capsys
):
    other = copy / "results" / "store" / "train" / "abc"
    write(other / "weights.json", b"{}")
    write(copy / "results" / "other" / "keys.json", b'["train/abc"')
    assert call("prune", copy, "--unused") == 0
    assert other.exists()
    assert "keys.json: damaged" in capsys.readouterr().err
    write(copy / "results" / "other" / "keys.json", b"[]")
    assert call("prune", copy, "--unused") == 0
    assert not other.exists()


# Single files


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


UNIT = UnitId("train", "abc", "weights")


@pytest.mark.parametrize(
    "files_", [None, [], {"a": 3}, {"a": {"sha256": 1, "bytes": 1, "mtime_ns": 1}}]
)
def test_record_whose_files_are_none_is_damaged_though_its_checksum_holds(store, files_):
    store._put(UNIT, {"files": files_})
    with pytest.raises(DamagedError, match="record"):
        store.check(UNIT)
    store.discard(UNIT)
    assert store.check(UNIT) is None


def test_attempts_of_other_types_are_not_read(store):
    path = store.path(UNIT, ".attempts.jsonl")
    store.note_attempt(UNIT, attempt="a", run="r", start="2026-01-01T00:00:00+00:00")
    for values_ in (
        {"attempt": [], "run": 1},
        {"attempt": "a", "end": 5, "tail": 3, "state": [], "cause": {}},
        {"run": 1},
    ):
        append(path, values_)
    with open(path, "ab") as file:
        file.write(b"\xff\xfe\n[]\nnull\n3\n" + b"[" * 9999)
    (attempt,) = store.attempts(*UNIT)
    assert attempt == {
        "attempt": "a",
        "run": "r",
        "start": "2026-01-01T00:00:00+00:00",
        "state": "running",
    }
    assert (
        seconds({"start": "2026-01-01", "end": "2026-01-01T00:00:00+00:00"}) == 0
    )  # one with its zone, one without
    job = Job(stage="train", key="abc", label="x", specs=(), parts=("weights",))
    write(store.path(UNIT, ".lease"), b'{"attempt": "a", "beat": 1e9}')
    assert compute(store, [job]).wall == 0


def test_checkpoint_that_claims_a_header_of_any_size_has_no_steps(store):
    for content in (b"\xff" * 100, b"\x10", b"\x02\0\0\0\0\0\0\0[]", b"\x02\0\0\0\0\0\0\0{}"):
        write(store.path(UNIT, "").with_name("resume.safetensors"), content)
        assert trained_steps(store, UNIT.key) == 0


@pytest.mark.parametrize("how", MUTATIONS)
def test_damaged_submission_is_said_and_left_out(tmp_path, how, capsys):
    folder = tmp_path / "submissions" / "small-train-1"
    for name in ("intent.json", "job.json", "elements/0.jsonl"):
        write(folder / name, b'{"state": "ended", "job": "12"}')
        mutate(folder / name, how)
    assert submissions(tmp_path) == []
    assert "intent.json: damaged" in capsys.readouterr().err
    found = Submission(folder)
    found.refresh()
    assert found.job is None or how == "one bit"
    found.read_events(0)


def test_what_is_put_aside_takes_the_place_of_what_was_before(tmp_path):
    path = tmp_path / "a"
    assert put_aside(path) is None
    for make in (
        lambda: path.write_text("x"),
        path.mkdir,
        lambda: path.write_text("y"),
        path.mkdir,
    ):
        make()
        assert put_aside(path).exists()
        assert not path.exists()


def test_read_only_cache_of_digests_costs_nothing_but_time(tmp_path, monkeypatch):
    monkeypatch.setattr("bench.data.digest.RECENT_SECONDS", -60)
    path = tmp_path / "weights.pth"
    path.write_bytes(b"one")
    (tmp_path / "cache").write_text("no folder")
    assert digest_checkpoint(path, tmp_path / "cache") == digest_checkpoint(path)
    assert key(TrainSpec(method="m", method_version=1, dataset="d", dataset_version=1))
