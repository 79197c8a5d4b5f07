"""Sample sets that come in parts, and what cannot be scored."""

import numpy as np
import pytest

from bench.metrics.extractors import Extractor
from bench.metrics.inception import Classes, inception_score
from bench.metrics.parameters import FrechetParams, InceptionParams, KernelParams
from bench.metrics.references import References
from bench.metrics.registry import METRICS
from bench.metrics.scoring import score
from bench.metrics.summary import Features, Summary

FD = ("fd", FrechetParams())


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
        "density",
        "coverage",
        "vendi",
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
