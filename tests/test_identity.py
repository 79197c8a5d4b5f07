"""Another file under the same name is another identity: data sets, weights of extractors, converted
arrays.
"""

import gzip
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.cli.parser import main
from bench.data import digest, mapped
from bench.data.content import check_content, content
from bench.data.digest import digest_checkpoint, digest_files
from bench.data.idx import FASHION_MNIST, ROWS, file_name
from bench.data.images import load_images
from bench.data.mapped import converted
from bench.data.registry import DATASETS
from bench.data.root import data_root
from bench.spec import DRAWING_RULE, ImagesSpec, ScoreSpec, TrainSpec, canonical, from_plain, key
from bench.store import Store
from bench.suite.models import NOT_THERE
from bench.suite.reader import read_suite

ROOT = Path(__file__).resolve().parents[1]
SUITE = """
name: small
dataset: fashion_mnist14
metrics:
  - {metric: fd, extractor: inception-other, allow_few: true}
  - {metric: fd, extractor: pixels, allow_few: true}
samples: {count: 4, batch: 4, seeds: [0]}
train:
  vp:
    method: sde
    seeds: [0]
    params: {network: {width: 8, multipliers: [1, 2], blocks: 1, attention: []}}
points:
  - {train: vp, sampler: euler_maruyama, grid: {nfe: [3]}}
"""


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(digest, "RECENT_SECONDS", -60)
    return tmp_path / "data"


def put(root, *, seed=0, compress=False):
    """Writes four files in MNIST's places, tiny: a plan never looks into them."""
    rng = np.random.default_rng(seed)
    for split in ROWS:
        for what in ("images", "labels"):
            file = root / "fashion_mnist" / (file_name(split, what) + (".gz" if compress else ""))
            file.parent.mkdir(parents=True, exist_ok=True)
            content = rng.bytes(100)
            file.write_bytes(gzip.compress(content) if compress else content)


def spec_of(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(SUITE)
    return read_suite(path, cache=tmp_path / "external").points[0]


# Data sets


def test_other_files_under_the_name_of_a_data_set_are_another_training(root, tmp_path, monkeypatch):
    monkeypatch.setattr(
        FASHION_MNIST.__class__, "_places", lambda self, split, what: places(split, what)
    )
    absent = spec_of(tmp_path)
    assert absent.sample.train.dataset_sha256 is None  # as published, until there is something else
    put(root, seed=1)
    first = spec_of(tmp_path)
    assert first.sample.train.dataset_sha256 == content("fashion_mnist14")
    notes = read_suite(tmp_path / "small.yaml", cache=tmp_path / "external").notes
    assert any("its files are not known to be the published ones (sha256" in note for note in notes)
    assert spec_of(tmp_path) == first
    put(root, seed=2)
    second = spec_of(tmp_path)
    assert len({key(spec.sample.train) for spec in (absent, first, second)}) == 3
    assert len({key(spec.scores[1]) for spec in (absent, first, second)}) == 3


def places(split, what):
    name = f"fashion_mnist/{file_name(split, what)}"
    return (f"{name}.gz", name)


def test_published_files_have_the_key_of_the_name_alone_compressed_or_not(
    root, tmp_path, monkeypatch
):
    monkeypatch.setattr(
        FASHION_MNIST.__class__, "_places", lambda self, split, what: places(split, what)
    )
    put(root)
    known = {file.name: digest.digest_md5(file) for file in (root / "fashion_mnist").iterdir()}
    monkeypatch.setitem(
        DATASETS, "fashion_mnist", replace(DATASETS["fashion_mnist"], unpacked=known)
    )
    assert content("fashion_mnist") is None
    shutil.rmtree(root)
    put(root, compress=True)
    assert content("fashion_mnist", tmp_path / "cache") is None
    monkeypatch.setitem(DATASETS, "fashion_mnist", replace(DATASETS["fashion_mnist"], unpacked={}))
    compressed = content("fashion_mnist")
    shutil.rmtree(root)
    put(root)
    assert content("fashion_mnist") == compressed


@pytest.mark.skipif(
    not Path("/usr/share/datasets/fashion-mnist").is_dir(), reason="needs Debian's Fashion-MNIST"
)
def test_debians_fashion_mnist_is_the_published_one(root, tmp_path):
    assert content("fashion_mnist", tmp_path / "cache") is None


def test_job_refuses_other_files_than_it_was_planned_with(root, monkeypatch):
    monkeypatch.setattr(
        FASHION_MNIST.__class__, "_places", lambda self, split, what: places(split, what)
    )
    check_content("fashion_mnist", "0" * 64)  # nothing there: what reads them says so
    put(root)
    check_content("fashion_mnist", content("fashion_mnist"))
    with pytest.raises(
        ValueError, match=r"data set fashion_mnist: its files, .*start the suite again"
    ):
        check_content("fashion_mnist", None)
    check_content("digits", None)


def test_keys_of_published_data_and_of_fixed_weights_did_not_move():
    train = TrainSpec(method="sde", method_version=1, dataset="cifar10", dataset_version=1)
    assert "dataset_sha256" not in canonical(train)
    images = ImagesSpec(dataset="cifar10", dataset_version=1, sha256="0")
    scored = ScoreSpec(source=images, count=3, metric="fid", metric_version=1)
    assert canonical(scored) == {
        "count": 3,
        "metric": "fid",
        "metric_version": 1,
        "source": {
            "dataset": "cifar10",
            "dataset_version": 1,
            "sha256": "0",
            "drawn": DRAWING_RULE,
        },
    }
    assert from_plain(ScoreSpec, canonical(scored)) == scored


# Extractors


def test_scores_of_replaced_weights_have_another_key(root, tmp_path):
    weights = root / "weights" / "inception-other.pth"
    absent = spec_of(tmp_path).scores
    assert [score.weights for score in absent] == [NOT_THERE, None]
    weights.parent.mkdir(parents=True)
    keys = {key(absent[0])}
    for content_ in (b"one", b"two", b"one"):
        weights.write_bytes(content_)
        scores = spec_of(tmp_path).scores
        assert scores[0].weights == digest_checkpoint(weights)
        assert key(scores[1]) == key(absent[1])
        keys.add(key(scores[0]))
    assert len(keys) == 3


# The cache of digests


def test_file_replaced_with_size_and_time_kept_is_read_again(root, tmp_path):
    path, cache = tmp_path / "weights.pth", tmp_path / "cache"
    path.write_bytes(b"one")
    first, stat = digest_checkpoint(path, cache), path.stat()
    path.write_bytes(b"two")  # in place
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    second = digest_checkpoint(path, cache)
    other = tmp_path / "other"
    other.write_bytes(b"six")
    os.utime(other, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    os.replace(other, path)
    assert path.stat().st_mtime_ns == stat.st_mtime_ns
    assert len({first, second, digest_checkpoint(path, cache)}) == 3


def test_file_that_was_just_written_is_not_remembered(root, tmp_path, monkeypatch):
    path, cache = tmp_path / "weights.pth", tmp_path / "cache"
    path.write_bytes(b"one")
    monkeypatch.setattr(digest, "RECENT_SECONDS", 60)
    digest_checkpoint(path, cache)
    assert not cache.exists()
    monkeypatch.setattr(digest, "RECENT_SECONDS", -60)
    digest_checkpoint(path, cache)
    assert len(list(cache.iterdir())) == 1


@pytest.mark.parametrize(
    "content_", [b"", b"[]", b"null", b"{}", b"\xff\x00", b'{"stamp": 3, "digest": []}', None]
)
def test_damaged_cache_is_read_over_and_written_again(root, tmp_path, content_):
    path, cache = tmp_path / "weights.pth", tmp_path / "cache"
    path.write_bytes(b"one")
    first = digest_checkpoint(path, cache)
    (known,) = cache.iterdir()
    known.unlink()
    known.mkdir() if content_ is None else known.write_bytes(content_)
    assert digest_checkpoint(path, cache) == first


def test_digest_of_files_is_of_names_and_content_wherever_they_lie(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        for name in ("x", "y"):
            (tmp_path / folder / name).write_text(name)
    first = digest_files([tmp_path / "a" / "x", tmp_path / "a" / "y"])
    assert digest_files([tmp_path / "b" / "y", tmp_path / "a" / "x"]) == first
    (tmp_path / "b" / "y").write_text("x")
    assert digest_files([tmp_path / "a" / "x", tmp_path / "b" / "y"]) != first


# Converted arrays


def test_array_that_was_altered_or_replaced_is_made_again_and_said(tmp_path, capsys, monkeypatch):
    source, calls, rows = tmp_path / "source", [], np.arange(24, dtype=np.uint8).reshape(6, 4)
    source.write_bytes(b"rows")

    def make():
        monkeypatch.setattr(mapped, "_CHECKED", {})  # as a new process does
        chunks = lambda: calls.append(1) or [rows]  # noqa: E731
        return converted(tmp_path, "rows", "rule", [source], rows.shape, chunks)

    make()
    (path,) = (tmp_path / "converted").glob("*.npy")
    content_, stat = path.read_bytes(), path.stat()
    np.testing.assert_array_equal(make(), rows)
    assert len(calls) == 1
    path.write_bytes(content_[:-1] + b"\x00")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    np.testing.assert_array_equal(make(), rows)
    np.save(path, rows[::-1])
    np.testing.assert_array_equal(make(), rows)
    assert len(calls) == 3
    path.with_suffix(".sha256").write_text("[")
    np.testing.assert_array_equal(make(), rows)
    path.unlink()
    path.mkdir()
    np.testing.assert_array_equal(make(), rows)
    assert len(calls) == 5
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 4
    assert all(str(path) in line and "made again" in line for line in said)


def test_source_whose_content_changes_and_nothing_else_is_converted_again(tmp_path, monkeypatch):
    monkeypatch.setattr(digest, "RECENT_SECONDS", -60)
    source, calls, rows = tmp_path / "source", [], np.zeros((2, 2), np.uint8)
    source.write_bytes(b"one")
    stat = source.stat()

    def make():
        return converted(
            tmp_path, "rows", "rule", [source], (2, 2), lambda: calls.append(1) or [rows]
        )

    make()
    source.write_bytes(b"two")
    os.utime(source, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    make()
    make()
    assert len(calls) == 2


# Statistics of real images


def flip(path):
    """Alters a byte in place and keeps size and modification time."""
    content_, stat = bytearray(path.read_bytes()), path.stat()
    content_[-1] ^= 1
    path.write_bytes(content_)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_altered_features_are_found_when_a_process_first_reads_them(tmp_path, capsys, monkeypatch):
    from bench.metrics import references
    from bench.metrics.extractors import load_extractor

    store, digits, extractor = (
        Store(tmp_path / "store"),
        load_images("digits"),
        load_extractor("pixels", data=load_images("digits")),
    )

    def read():
        return np.array(
            references.References(store).get(digits, "test", extractor, {"features"}).features
        )

    first = read()
    (path,) = (store.root / "references").glob("*/features.npy")
    assert (
        main(
            [
                "plan",
                str(ROOT / "suites" / "quickstart.yaml"),
                "--store",
                str(store.root),
                "--verify",
            ]
        )
        == 0
    )
    assert "damaged" not in capsys.readouterr().out
    flip(path)
    assert main(["plan", str(ROOT / "suites" / "quickstart.yaml"), "--store", str(store.root)]) == 0
    assert "damaged" not in capsys.readouterr().out
    assert (
        main(
            [
                "plan",
                str(ROOT / "suites" / "quickstart.yaml"),
                "--store",
                str(store.root),
                "--verify",
            ]
        )
        == 0
    )
    assert f"references damaged  {path}" in capsys.readouterr().out
    monkeypatch.setattr(references, "_CHECKED", {})  # as a new process has it
    np.testing.assert_array_equal(read(), first)
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert str(path) in said[0]
    np.testing.assert_array_equal(read(), first)
    assert capsys.readouterr().err == ""


# Elsewhere


@pytest.mark.parametrize("given", ["", " "])
def test_empty_bench_data_is_unset(given, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCH_DATA", given)
    assert data_root() == tmp_path / "data"
    (tmp_path / "small.yaml").write_text(SUITE)
    main(["assets", "small.yaml"])
    assert "set BENCH_DATA to have it elsewhere" in capsys.readouterr().out.splitlines()[0]


def test_home_of_nobody_is_a_folder_like_any_other(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCH_DATA", "~nobody-of-that-name/data")
    assert data_root() == tmp_path / "~nobody-of-that-name" / "data"


def test_tracked_defaults_are_written_from_this_checkout_whatever_is_installed(tmp_path):
    for package in ("bench", "methods"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("raise ImportError('of another checkout')")
    path = str(ROOT / "tests" / "test_defaults.py")
    script = f"import runpy; runpy.run_path({path!r}, run_name='__main__')"
    script += "\nimport json, bench; print(json.dumps(bench.__file__))"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-c", script]
    told = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout
    assert json.loads(told) == str(ROOT / "bench" / "__init__.py")
