"""What scoring adds to the metrics: streams, identities, guards, neighbours, the line to infinity,
other libraries.
"""

import io
import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from bench.data.images import load_images
from bench.data.registry import DATASETS
from bench.metrics.extractors import Extractor, load_extractor
from bench.metrics.frechet import frechet_at_infinity, frechet_distance, frechet_from_features
from bench.metrics.inception import Classes, inception_score
from bench.metrics.libraries import (
    kid_of_clean_fid,
    kid_of_torch_fidelity,
    precision_and_recall,
    version,
)
from bench.metrics.moments import Moments
from bench.metrics.neighbours import near_copies, nearest, usual_ratio
from bench.metrics.parameters import (
    CopyParams,
    FrechetParams,
    InceptionParams,
    InfinityParams,
    KernelParams,
    ManifoldParams,
    NeighbourParams,
)
from bench.metrics.references import References
from bench.metrics.registry import METRICS, SHORTHANDS
from bench.metrics.scoring import score
from bench.metrics.summary import Features, Summary
from bench.plan import Job
from bench.spec import SampleSpec, ScoreSpec, TrainSpec, part_name, place
from bench.stages import jobs, score
from bench.store import DamagedError, Store, UnitId

FD = ("fd", FrechetParams())


@pytest.fixture(scope="module")
def digits():
    return load_images("digits")


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def value(images, name, params, data):
    return score([images], [(name, params)], data)[0].value


# Streams


def test_every_metric_of_a_sample_set_takes_one_pass_through_each_extractor(digits, monkeypatch):
    seen = []
    extract = Extractor.__call__
    monkeypatch.setattr(
        Extractor,
        "__call__",
        lambda self, images: seen.append((self.name, len(images))) or extract(self, images),
    )
    names = ("fd", "is", "kd", "precision", "recall", "fd_infinity", "nn_ratio", "near_copies")
    requests = [(name, METRICS[name].params()) for name in names]
    requests[2] = ("kd", KernelParams(subsets=2))
    requests += [("fd", FrechetParams(backend="torch-fidelity")), ("is", InceptionParams(splits=4))]
    images = 16 - digits.test
    references = References()
    score(
        [digits.test], requests[:1], digits, references=references
    )  # the reference of the moments
    seen.clear()
    score(iter([images[:100], images[100:]]), requests, digits, count=360, references=references)
    of_digits = [count for name, count in seen if name == "digits-cnn" and count in (100, 260)]
    assert of_digits == [100, 260]
    assert [count for name, count in seen if name == "pixels" and count in (100, 260)] == [100, 260]


def test_only_metrics_that_compare_images_have_features_kept():
    kept = {
        name
        for name, card in METRICS.items()
        if {"features", "log_probs"} & set(card.uses(card.params()))
    }
    assert kept == {
        "kd",
        "precision",
        "recall",
        "fd_infinity",
        "nn_ratio",
        "near_copies",
        "accuracy",
    }
    summary = Summary({"moments", ("classes", 1)}, 8)
    summary.add(Features(np.ones((8, 2)), np.log(np.full((8, 2), 0.5))))
    with pytest.raises(ValueError, match="features were not kept"):
        summary.features  # noqa: B018


@pytest.mark.parametrize("splits", [1, 3, 10])
@pytest.mark.parametrize("cut", [1, 50, 203])
def test_inception_score_of_parts_is_that_of_the_whole(rng, splits, cut):
    probabilities = rng.dirichlet(np.full(10, 0.3), 203)
    classes = Classes(splits, 203)
    for start in range(0, 203, cut):
        classes.add(np.log(probabilities[start : start + cut]))
    assert classes.score() == pytest.approx(inception_score(probabilities, splits)[0], rel=1e-12)


def test_inception_score_in_parts_needs_what_it_was_told():
    with pytest.raises(ValueError, match="3 splits need the number of images beforehand"):
        Classes(3)
    classes = Classes(2, 4)
    with pytest.raises(ValueError, match="4 images were announced, more have come"):
        classes.add(np.zeros((5, 2)))
    with pytest.raises(ValueError, match="NaN"):
        Classes(1).add(np.full((2, 2), np.nan))
    with pytest.raises(ValueError, match="2 splits need as many images, got 0"):
        classes.score()


def test_certain_and_impossible_classes_are_probabilities_too():
    classes = Classes(1)
    with np.errstate(divide="ignore"):
        classes.add(np.log(np.tile(np.eye(10), (5, 1))))
    assert classes.score() == pytest.approx(10)


def test_images_that_do_not_come_are_missed(digits):
    with pytest.raises(ValueError, match="100 images were announced, 60 have come"):
        score([digits.test[:60]], [FD], digits, count=100)


# Guards


def test_fewer_images_than_dimensions_are_refused_unless_asked_for(digits):
    with pytest.raises(
        ValueError, match=r"fd\(digits-cnn@8\) needs 24 images, got 20: .*allow_few: true"
    ):
        value(digits.test[:20], "fd", FrechetParams(), digits)
    found = value(digits.test[:20], "fd", FrechetParams(allow_few=True), digits)
    extractor = load_extractor("digits-cnn")
    expected = frechet_from_features(
        extractor(digits.test[:20]).features, extractor(digits.train).features
    )
    assert found == pytest.approx(expected, rel=1e-9)


def test_a_reference_of_fewer_images_than_dimensions_is_refused_too():
    params = FrechetParams(extractor="effnet-lite0@32", reference="test")
    (reason,) = METRICS["fd"].refuse(params, DATASETS["digits"])
    assert "split test has 360 images, fewer than the 1280 dimensions of effnet-lite0@32" in reason
    assert METRICS["fd"].refuse(replace(params, allow_few=True), DATASETS["digits"]) == []


@pytest.mark.parametrize(
    ("name", "params", "why"),
    [
        ("is", InceptionParams(extractor="pixels"), "extractor pixels names no classes"),
        ("fd", FrechetParams(extractor="inception"), "not real values"),
    ],
)
def test_what_an_extractor_has_not_is_refused(name, params, why):
    data = DATASETS["two_modes"] if "real" in why else DATASETS["digits"]
    assert any(why in reason for reason in METRICS[name].refuse(params, data))


# Names


@pytest.mark.parametrize(
    ("name", "params", "column"),
    [
        ("fd", FrechetParams(extractor="inception"), "FID"),
        ("fd", FrechetParams(extractor="inception", reference="test"), "FID(to test)"),
        ("fd", FrechetParams(extractor="inception", backend="clean-fid"), "FID(by clean-fid)"),
        ("fd", FrechetParams(extractor="inception-other"), "fd(inception-other@299)"),
        ("fd", FrechetParams(extractor="clean-inception"), "clean-FID"),
        ("fd", FrechetParams(extractor="effnet-lite0@64"), "fd(effnet-lite0@64)"),
        ("is", InceptionParams(extractor="inception", splits=10), "IS"),
        ("is", InceptionParams(extractor="inception"), "IS(1 split)"),
        ("is", InceptionParams(backend="torch-fidelity"), "is(digits-cnn@8, by torch-fidelity)"),
        ("kd", KernelParams(extractor="inception"), "KID"),
        ("kd", KernelParams(extractor="clean-inception", backend="clean-fid"), "clean-KID"),
        ("kd", KernelParams(), "kd(digits-cnn@8)"),
        ("kd", KernelParams(subset_size=100), "kd(digits-cnn@8, 100x100)"),
        ("precision", ManifoldParams(extractor="inception"), "precision"),
        ("precision", ManifoldParams(), "precision(digits-cnn@8)"),
        ("recall", ManifoldParams(neighbours=5), "recall(digits-cnn@8, k=5)"),
        ("fd_infinity", InfinityParams(extractor="inception"), "FID-infinity"),
        ("nn_ratio", NeighbourParams(), "nn_ratio(pixels)"),
        ("near_copies", CopyParams(), "near_copies(pixels)"),
        ("near_copies", CopyParams(fraction=0.5), "near_copies(pixels, below 0.5)"),
    ],
)
def test_bare_names_belong_to_the_reference_inception_alone(name, params, column):
    assert METRICS[name].column(params) == column


def test_shorthands_are_metrics_of_the_reference_inception_and_of_clean_fid():
    columns = {
        word: [METRICS[name].column(METRICS[name].params(**options)) for name, options in meant]
        for word, meant in SHORTHANDS.items()
    }
    assert columns["fid"] == ["FID"]
    assert columns["kid"] == ["KID"]
    assert columns["prc"] == ["precision", "recall"]
    assert columns["clean_fid"] == ["clean-FID"]
    assert SHORTHANDS.keys() & METRICS.keys() == set()


def test_identities_say_which_library_of_which_version_computed_the_number(digits):
    requests = [
        FD,
        ("fd", FrechetParams(backend="torch-fidelity")),
        ("kd", KernelParams()),
        ("recall", ManifoldParams()),
    ]
    found = score([digits.test], requests, digits)
    assert [one.identity["backend"] for one in found] == [
        "bench 1",
        *[version("torch-fidelity")] * 3,
    ]
    assert version("torch-fidelity").split()[1][0].isdigit()
    for one in found:
        assert json.loads(json.dumps(one.identity)) == one.identity
        assert {
            "weights_sha256",
            "input_size",
            "resize",
            "levels",
            "count",
            "reference",
            "network",
        } <= set(one.identity)


# Libraries


@pytest.mark.parametrize("backend", ["torch-fidelity", "clean-fid"])
def test_backends_give_the_distance_of_the_own_core(digits, backend):
    images = digits.test[:200]
    own = value(images, "fd", FrechetParams(), digits)
    theirs = value(images, "fd", FrechetParams(backend=backend), digits)
    assert theirs == pytest.approx(
        own, abs=1e-6 * 48
    )  # tr(S1 + S2): each feature of real images has variance 1


def test_kernel_distance_of_two_points_each_is_the_one_by_hand():
    x, y = np.array([[1.0, 0], [0, 1]]), np.array([[1.0, 1], [0, 0]])

    def kernel(a, b):
        return (a @ b / 2 + 1) ** 3

    within = kernel(x[0], x[1]) + kernel(y[0], y[1])
    between = np.mean([kernel(a, b) for a in x for b in y])
    expected = within - 2 * between
    assert kid_of_torch_fidelity(x, y, 5, 1000) == pytest.approx(expected)
    assert kid_of_clean_fid(x, y, 5, 1000) == pytest.approx(expected)


def test_kernel_distances_of_both_libraries_agree_within_their_sampling(digits):
    found = [
        value(16 - digits.test, "kd", KernelParams(backend=name, subset_size=300), digits)
        for name in ("torch-fidelity", "clean-fid")
    ]
    assert found[0] == pytest.approx(found[1], rel=0.01)


def test_clean_fid_draws_from_its_own_seed_and_leaves_numpys_alone(rng):
    x, y = rng.normal(size=(2, 50, 4))
    np.random.seed(7)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    first = kid_of_clean_fid(x, y, 5, 20)
    assert np.array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    assert kid_of_clean_fid(x, y, 5, 20) == first


def test_precision_and_recall_of_three_clusters_are_those_by_hand():
    near = np.array([[0.0], [1], [2], [3]])
    real, samples = np.concatenate([near, near + 100]), np.concatenate([near + 0.5, near + 1000])
    precision, recall = precision_and_recall(samples, real, 3)
    assert (precision, recall) == (0.5, 0.5)
    assert precision_and_recall(real, real, 3) == (1, 1)
    with pytest.raises(ValueError, match="3 neighbours need more images than 3"):
        precision_and_recall(samples[:3], real, 3)
    with pytest.raises(ValueError, match="NaN"):
        precision_and_recall(samples * np.nan, real, 3)


def test_precision_falls_where_samples_are_no_images_and_recall_where_few_are_repeated(digits, rng):
    noise = rng.integers(0, 17, digits.test.shape).astype(np.uint8)
    few = digits.test[np.arange(360) % 20]
    found = {
        kind: [value(images, name, ManifoldParams(), digits) for name in ("precision", "recall")]
        for kind, images in (("real", digits.test), ("noise", noise), ("few", few))
    }
    assert found["noise"][0] < 0.2 < 0.7 < found["real"][0]
    assert found["few"][1] < 0.2 < 0.7 < found["real"][1]


# Infinity


def test_the_line_to_infinity_takes_the_bias_of_few_images_away(rng):
    """Gaussians whose exact distance is known: the estimate at n is biased by about as much as the
    line removes.
    """
    d, n = 10, 600
    reference = Moments(np.zeros(d), np.eye(d), 10**6)
    exact = frechet_distance(np.full(d, 0.1), np.eye(d), np.zeros(d), np.eye(d))
    plain, line = [], []
    for seed in range(12):
        features = np.random.default_rng(seed).normal(0.1, 1, (n, d))
        moments = Moments()
        moments.add(features)
        plain.append(frechet_distance(*moments.statistics(), *reference.statistics()))
        line.append(frechet_at_infinity(features, reference, 15, seed))
    bias, left = np.mean(plain) - exact, np.mean(line) - exact
    assert bias > 0.03
    assert abs(left) < 0.4 * bias


def test_the_line_to_infinity_needs_subsets(digits):
    with pytest.raises(ValueError, match="needs 240 images, got 239"):
        value(digits.test[:239], "fd_infinity", InfinityParams(), digits)
    infinite = value(digits.test, "fd_infinity", InfinityParams(), digits)
    assert infinite < value(digits.test, "fd", FrechetParams(), digits)


# Neighbours


@pytest.mark.parametrize("same", [False, True])
def test_nearest_are_those_of_all_differences(rng, same):
    real = rng.normal(size=(700, 5)).astype(np.float32)
    samples = real if same else rng.normal(size=(600, 5)).astype(np.float32)
    distances = np.linalg.norm(samples[:, None].astype(float) - real[None], axis=2)
    if same:
        np.fill_diagonal(distances, np.inf)
    np.testing.assert_allclose(
        nearest(samples, real, 2, same=same), np.sort(distances, 1)[:, :2], rtol=1e-9
    )


def test_a_copy_is_at_distance_zero_exactly(rng):
    real = rng.normal(100, 1, (50, 300)).astype(np.float32)
    assert nearest(real[:5], real, 1).ravel().tolist() == [0.0] * 5


def test_new_images_have_the_ratio_of_one_and_copies_of_zero(digits):
    data = load_images("digits")
    held_out, new = digits.test[::2], digits.test[1::2]
    card = replace(
        data.card,
        splits={"train": 1437, "test": len(held_out)},
        load=lambda split: digits.train if split == "train" else np.ascontiguousarray(held_out),
    )
    from bench.data.images import Images

    halved = Images("digits", card)

    def ratio(images):
        return score([images], [("nn_ratio", NeighbourParams())], halved, references=References())[
            0
        ].value

    assert ratio(new) == pytest.approx(1, abs=0.05)
    assert ratio(digits.train[:180]) == 0
    mixed = np.concatenate([new[:90], digits.train[:90]])
    assert ratio(mixed) == pytest.approx(0.5, abs=0.1)


def test_memorised_images_are_counted_and_new_ones_are_not(digits, rng):
    spoilt = digits.train[:100].copy()
    spoilt[:, 0, 4, 4] = np.minimum(spoilt[:, 0, 4, 4] + 1, 16)
    assert value(spoilt, "near_copies", CopyParams(), digits) > 0.95
    assert value(digits.test, "near_copies", CopyParams(), digits) < 0.02
    half = np.concatenate([digits.train[:50], digits.test[:50]])
    assert value(half, "near_copies", CopyParams(), digits) == pytest.approx(0.5, abs=0.03)


def test_what_has_no_ratio_is_refused(digits):
    with pytest.raises(ValueError, match="every sample is a held-out image itself"):
        value(digits.test[:30], "nn_ratio", NeighbourParams(), digits)
    same = np.arange(12.0).reshape(6, 2)
    with pytest.raises(ValueError, match="the splits overlap"):
        usual_ratio(same, same)
    with pytest.raises(ValueError, match="2 nearest of 1 real images"):
        nearest(same, same[:1], 2)
    with pytest.raises(ValueError, match="NaN"):
        nearest(same * np.nan, same, 1)
    assert near_copies(np.array([[0.0, 1], [0.4, 1], [1, 1]]), 1 / 3) == pytest.approx(1 / 3)


# Bad input


@pytest.mark.parametrize(
    "name", ["fd", "is", "kd", "precision", "recall", "fd_infinity", "near_copies"]
)
def test_features_that_are_not_finite_are_a_cause_and_never_a_number(digits, monkeypatch, name):
    extract = Extractor.__call__

    def broken(self, images):
        found = extract(self, images)
        features = found.features.copy()
        features[0, 0] = np.nan
        log_probs = found.log_probs
        return Features(
            features,
            None if log_probs is None else log_probs * np.where(len(images) == 100, np.nan, 1),
        )

    references = References()
    requests = [(name, KernelParams(subsets=2) if name == "kd" else METRICS[name].params())]
    score([digits.test], requests, digits, references=references)  # the reference is sound
    monkeypatch.setattr(Extractor, "__call__", broken)
    with pytest.raises(ValueError, match="NaN"):
        score([digits.test[:100]], requests, digits, references=references)


def test_constant_images_have_numbers_and_the_worst_ones(digits):
    constant = np.full_like(digits.test, 8)
    found = {
        name: value(constant, name, METRICS[name].params(), digits)
        for name in ("fd", "is", "kd", "precision")
    }
    real = {name: value(digits.test, name, METRICS[name].params(), digits) for name in found}
    assert found["fd"] > 50 * real["fd"]
    assert found["is"] == pytest.approx(1, abs=1e-9)
    assert found["kd"] > 50 * abs(real["kd"])
    assert found["precision"] == 0


# The stage


@pytest.fixture
def stage(tmp_path, digits):
    """A store with samples of three batches, and what a job of scores is given."""
    store = Store(tmp_path / "store")
    train = TrainSpec(method="sde", method_version=1, dataset="digits", dataset_version=1)
    source = SampleSpec(
        train=train,
        sampler="euler_maruyama",
        sampler_version=1,
        times="quadratic",
        params={"steps": 3},
        batch=20,
    )
    for index in range(3):
        content = io.BytesIO()
        np.savez(content, images=16 - digits.test[20 * index : 20 * index + 20])
        unit = UnitId("samples", place(source)[1], part_name(index))
        store.finish(unit, {"images": 20}, {".npz": content.getvalue()})
    specs = tuple(
        ScoreSpec(
            source=source,
            count=50,
            metric=name,
            metric_version=METRICS[name].version,
            params=params,
        )
        for name, params in (("fd", {}), ("is", {"splits": 2}), ("kd", {"subsets": 2}))
    )
    parts = tuple(place(spec)[2] for spec in specs)
    job = Job(stage="scores", key=place(specs[0])[1], label="row", specs=specs, parts=parts)
    context = SimpleNamespace(store=store, device="cpu", provenance=lambda: {"commit": "c"})
    return job, context, source


def test_a_job_scores_the_first_images_of_the_shards_and_keeps_the_floor_but_no_features(
    stage, digits, monkeypatch
):
    job, context, _ = stage
    score.scores(job, UnitId("scores", job.key, "metrics"), context)
    records = [context.store.record("scores", job.key, part) for part in job.parts]
    requests = [(spec.metric, METRICS[spec.metric].params(**spec.params)) for spec in job.specs]
    expected = score([16 - digits.test[:50]], requests, digits)
    assert [record["value"] for record in records] == [
        pytest.approx(one.value, rel=1e-9) for one in expected
    ]
    assert all(record["identity"]["uint8"] == "round" for record in records)
    assert records[0]["floor"]["draws"] == METRICS["fd"].floor
    assert "floor" not in records[1]
    assert not list((context.store.root / "scores").rglob("*.np*"))
    # A second sample set of the same size draws no real images again.
    monkeypatch.setattr(jobs, "real_floor", None)
    for part in job.parts:
        context.store.discard(UnitId("scores", job.key, part))
    score.scores(job, UnitId("scores", job.key, "metrics"), context)
    assert context.store.record("scores", job.key, job.parts[0])["floor"] == records[0]["floor"]


def test_samples_that_were_pruned_are_named(stage):
    job, context, source = stage
    unit = UnitId("samples", place(source)[1], part_name(1))
    context.store.path(unit, ".npz").unlink()
    with pytest.raises(DamagedError, match=r"00001\.npz"):
        score.scores(job, UnitId("scores", job.key, "metrics"), context)
