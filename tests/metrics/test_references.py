"""Reference statistics: computed once a store, in bounded memory, and exchanged with the files that
papers ship.
"""

import hashlib
import io
import json
import multiprocessing
import os
import pickle

import numpy as np
import pytest

from bench.data.images import load_images
from bench.metrics.extractors import load_extractor
from bench.metrics.frechet import frechet_distance, frechet_of_moments
from bench.metrics.moments import BLOCK, Moments, statistics
from bench.metrics.parameters import FrechetParams, KernelParams, ManifoldParams
from bench.metrics.references import FEATURES, MOMENTS, References
from bench.metrics.scoring import score
from bench.metrics.statistics_file import export_statistics, import_statistics, read_statistics
from bench.store import REFERENCES, Store, UnitId


@pytest.fixture(scope="module")
def digits():
    return load_images("digits")


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture
def extractor():
    return load_extractor("digits-cnn")


# Moments


@pytest.mark.parametrize("cut", [1, 7, 1000, 5000])
def test_moments_do_not_depend_on_how_the_features_are_cut(cut):
    features = np.random.default_rng(0).normal(3, 2, (BLOCK * 2 + 100, 5))
    whole, parts = Moments(), Moments()
    whole.add(features)
    for start in range(0, len(features), cut if cut > 1 else 3001):
        parts.add(features[start : start + (cut if cut > 1 else 3001)])
    for found, expected in zip(parts.statistics(), whole.statistics(), strict=True):
        assert np.array_equal(found, expected)
    mean, covariance = statistics(features)
    np.testing.assert_allclose(whole.statistics()[0], mean, rtol=1e-13)
    np.testing.assert_allclose(whole.statistics()[1], covariance, rtol=1e-11, atol=1e-13)


def test_moments_keep_their_digits_far_from_zero():
    features = np.random.default_rng(0).normal(1e6, 1, (3 * BLOCK, 3))
    moments = Moments()
    moments.add(features)
    np.testing.assert_allclose(moments.statistics()[1], np.cov(features.T), rtol=1e-6, atol=1e-6)


def test_moments_of_few_images_keep_full_precision():
    features = np.random.default_rng(0).normal(size=(2, 20, 64))
    sides = [Moments(), Moments()]
    for moments, part in zip(sides, features, strict=True):
        moments.add(part)
    assert sides[0].features is not None
    expected = frechet_distance(*statistics(features[0]), *statistics(features[1]))
    spread = sum(np.trace(statistics(part)[1]) for part in features)
    assert frechet_of_moments(*sides) == pytest.approx(expected, abs=1e-6 * spread)


def test_moments_refuse_what_is_not_finite_and_one_image():
    moments = Moments()
    with pytest.raises(ValueError, match="features of 1 of 3 images are NaN"):
        moments.add(np.array([[1.0], [np.nan], [2.0]]))
    moments.add(np.ones((1, 3)))
    with pytest.raises(ValueError, match="at least 2 images, got 1"):
        moments.statistics()


# In the store


def test_a_reference_is_computed_once_a_store(digits, store, extractor, extracted):
    for _ in range(2):
        found = References(store).get(digits, "train", extractor, {MOMENTS})
    assert sum(extracted) == 1437
    mean, covariance = statistics(extractor(digits.train).features)
    np.testing.assert_allclose(found.moments.statistics()[0], mean, rtol=1e-12)
    np.testing.assert_allclose(found.moments.statistics()[1], covariance, rtol=1e-9, atol=1e-12)
    assert not list(
        store.root.rglob("*.npy")
    )  # features are written where images are compared alone


def test_features_of_a_reference_are_mapped_into_memory(digits, store, extractor, extracted):
    for _ in range(2):
        found = References(store).get(digits, "test", extractor, {FEATURES})
    assert sum(extracted) == 360
    assert isinstance(found.features, np.memmap)
    assert np.array_equal(found.features, extractor(digits.test).features)


def test_references_of_unlike_splits_extractors_and_data_lie_apart(digits, store, extractor):
    references = References(store)
    references.get(digits, "train", extractor, {MOMENTS})
    references.get(digits, "test", extractor, {MOMENTS})
    references.get(digits, "train", load_extractor("pixels", data=digits), {MOMENTS})
    references.get(digits, "train", load_extractor("pca@4", data=digits), {MOMENTS})
    keys = os.listdir(store.root / REFERENCES)
    assert len(keys) == 4
    facts = [store.record(REFERENCES, key, MOMENTS)["of"] for key in keys]
    assert {f["split"] for f in facts} == {"train", "test"}
    assert all(f["sha256"] == digits.digest(f["split"]) for f in facts)
    assert {f["extractor"]["extractor"] for f in facts} == {"digits-cnn@8", "pixels", "pca@4"}


@pytest.mark.parametrize("suffix", [".npz", ".json"])
def test_a_damaged_reference_is_made_again(digits, store, extractor, extracted, capsys, suffix):
    References(store).get(digits, "test", extractor, {MOMENTS})
    (key,) = os.listdir(store.root / REFERENCES)
    path = store.path(UnitId(REFERENCES, key, MOMENTS), suffix)
    path.write_bytes(path.read_bytes()[:-20])
    found = References(store).get(digits, "test", extractor, {MOMENTS})
    assert found.moments.count == 360
    assert sum(extracted) == 720
    assert "made again" in capsys.readouterr().err


def _make(root):
    References(Store(root)).get(
        load_images("digits"), "test", load_extractor("digits-cnn"), {MOMENTS, FEATURES}
    )


def test_jobs_that_want_one_reference_at_once_both_get_it(store, digits, extractor):
    context = multiprocessing.get_context("fork")
    jobs = [context.Process(target=_make, args=(store.root,)) for _ in range(3)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert [job.exitcode for job in jobs] == [0, 0, 0]
    (key,) = os.listdir(store.root / REFERENCES)
    left = [
        name
        for name in os.listdir(store.root / REFERENCES / key)
        if name.startswith(".") and name != ".lock"
    ]
    assert left == []
    assert References(store).get(digits, "test", extractor, {FEATURES}).features.shape == (360, 24)


def test_floor_is_measured_once_a_store(store):
    calls = []
    for _ in range(2):
        found = References(store).floor(
            {"metric": "fd", "count": 8}, lambda: calls.append(1) or {"mean": 1.5}
        )
    assert found == {"mean": 1.5}
    assert len(calls) == 1


# Files that papers ship


def npz(path, **arrays):
    np.savez(path, **arrays)
    return path


def test_exported_statistics_read_back_and_say_what_they_are_of(digits, store, extractor, tmp_path):
    content = export_statistics(References(store), digits, "train", extractor, features=False)
    assert content == export_statistics(
        References(store), digits, "train", extractor, features=False
    )
    (tmp_path / "stats.npz").write_bytes(content)
    with np.load(tmp_path / "stats.npz", allow_pickle=False) as arrays:
        assert set(arrays) == {"mu", "sigma", "count", "identity"}
        identity = json.loads(str(arrays["identity"]))
        np.testing.assert_allclose(
            arrays["mu"], extractor(digits.train).features.mean(0), rtol=1e-12
        )
    assert identity["sha256"] == digits.digest("train")
    moments, features = read_statistics(tmp_path / "stats.npz")
    assert (moments.count, features) == (1437, None)


def test_imported_statistics_stand_for_the_split_they_are_of(digits, store, extractor, tmp_path):
    path = tmp_path / "stats.npz"
    path.write_bytes(
        export_statistics(References(store), digits, "train", extractor, features=False)
    )
    sha256 = import_statistics(store, path)
    assert sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    requests = [("fd", FrechetParams()), ("fd", FrechetParams(statistics=sha256))]
    ours, theirs = score([digits.test], requests, digits, references=References(store))
    assert theirs.value == pytest.approx(ours.value, rel=1e-9)
    assert theirs.identity["column"] == f"fd(digits-cnn@8, to statistics {sha256[:8]})"
    assert theirs.identity["reference"] == {
        "statistics": "stats.npz",
        "images": 1437,
        "sha256": sha256,
    }


@pytest.mark.parametrize("name", ["pool_3", "feats"])
def test_files_of_features_serve_every_metric(digits, store, extractor, tmp_path, name):
    path = npz(tmp_path / "pool.npz", **{name: extractor(digits.train).features.astype(np.float32)})
    sha256 = import_statistics(store, path)
    names = [("fd", FrechetParams), ("kd", KernelParams), ("precision", ManifoldParams)]
    requests = [
        (metric, kind(**extra)) for metric, kind in names for extra in ({}, {"statistics": sha256})
    ]
    values = [
        found.value
        for found in score([digits.test], requests, digits, references=References(store))
    ]
    for ours, theirs in zip(values[::2], values[1::2], strict=True):
        assert theirs == pytest.approx(ours, rel=1e-4, abs=1e-4)


def test_float32_statistics_of_a_paper_are_taken(digits, store, extractor, tmp_path):
    mean, covariance = statistics(extractor(digits.train).features)
    path = npz(tmp_path / "paper.npz", mu=mean.astype(np.float32), sigma=covariance)
    request = ("fd", FrechetParams(statistics=import_statistics(store, path)))
    (found,) = score([digits.test], [request], digits, references=References(store))
    assert found.identity["reference"]["images"] is None
    expected = frechet_distance(*statistics(extractor(digits.test).features), mean, covariance)
    assert found.value == pytest.approx(expected, rel=1e-5)


def test_statistics_alone_serve_no_metric_that_compares_images(digits, store, extractor, tmp_path):
    sha256 = import_statistics(store, npz(tmp_path / "s.npz", mu=np.zeros(24), sigma=np.eye(24)))
    with pytest.raises(
        ValueError, match="holds mean and covariance only, and this metric compares images"
    ):
        score(
            [digits.test],
            [("kd", KernelParams(statistics=sha256))],
            digits,
            references=References(store),
        )


def test_statistics_that_were_not_imported_or_are_of_another_extractor_are_named(
    digits, store, tmp_path
):
    with pytest.raises(
        ValueError,
        match=r"statistics 00000000\.\.\. were not imported: run_bench.py reference import",
    ):
        score(
            [digits.test],
            [("fd", FrechetParams(statistics="0" * 64))],
            digits,
            references=References(store),
        )
    sha256 = import_statistics(store, npz(tmp_path / "s.npz", mu=np.zeros(3), sigma=np.eye(3)))
    with pytest.raises(ValueError, match="have 3 dimensions, the extractor has 24"):
        score(
            [digits.test],
            [("fd", FrechetParams(statistics=sha256))],
            digits,
            references=References(store),
        )
    with pytest.raises(ValueError, match="statistics should be the sha256"):
        FrechetParams(statistics="stats.npz")


class Runs:
    def __reduce__(self):
        return os.system, ("touch ran",)


@pytest.mark.parametrize(
    ("arrays", "why"),
    [
        ({"mu": np.zeros(3)}, "it holds mu, neither mu and sigma nor pool_3"),
        ({"mu": np.zeros(3), "sigma": np.eye(4)}, r"shapes \(3,\) and \(4, 4\)"),
        ({"mu": np.zeros(3), "sigma": np.full((3, 3), np.nan)}, "NaN or infinity"),
        ({"mu": np.zeros(2), "sigma": np.array([[1, 2], [0, 1.0]])}, "not symmetric"),
        ({"mu": np.zeros(2), "sigma": np.array([[1, 2], [2, 1.0]])}, "negative eigenvalue -1"),
        ({"pool_3": np.zeros((4, 2), np.uint8)}, "type uint8"),
        ({"pool_3": np.full((4, 2), np.inf)}, "NaN or infinite"),
    ],
)
def test_files_that_are_no_statistics_are_refused_with_the_cause(tmp_path, arrays, why):
    with pytest.raises(ValueError, match=rf"s\.npz: no reference statistics: .*{why}"):
        read_statistics(npz(tmp_path / "s.npz", **arrays))


def test_corrupt_files_and_those_that_would_run_code_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    good = npz(tmp_path / "good.npz", mu=np.zeros(3), sigma=np.eye(3)).read_bytes()
    (tmp_path / "cut.npz").write_bytes(good[:-30])
    (tmp_path / "text.npz").write_bytes(b"not a file of arrays")
    (tmp_path / "pickle.npz").write_bytes(pickle.dumps(Runs()))
    npz(tmp_path / "object.npz", mu=np.array([Runs()], dtype=object), sigma=np.eye(1))
    for name in ("cut", "text", "pickle", "object"):
        with pytest.raises(ValueError, match="no reference statistics"):
            read_statistics(tmp_path / f"{name}.npz")
    with pytest.raises(ValueError, match="would run code"):
        read_statistics(tmp_path / "object.npz")
    with pytest.raises(ValueError, match="there is no such file"):
        read_statistics(tmp_path / "none.npz")
    single = io.BytesIO()
    np.save(single, np.zeros(3))
    (tmp_path / "single.npz").write_bytes(single.getvalue())
    with pytest.raises(ValueError, match="single array"):
        read_statistics(tmp_path / "single.npz")
    assert not (tmp_path / "ran").exists()
