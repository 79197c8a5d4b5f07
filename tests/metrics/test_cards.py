"""What the cards of metrics say: names of columns, directions, what they refuse."""

import json
import subprocess
import sys
from dataclasses import dataclass, replace

import numpy as np
import pytest

from bench.data.card import DataCard
from bench.data.images import Images, load_images
from bench.data.registry import DATASETS
from bench.metrics.card import MetricCard
from bench.metrics.extractor_card import ExtractorCard
from bench.metrics.extractor_cards import EXTRACTORS
from bench.metrics.extractors import load_extractor
from bench.metrics.frechet import frechet_from_features
from bench.metrics.libraries import version
from bench.metrics.parameters import (
    CopyParams,
    FeatureParams,
    FrechetParams,
    InceptionParams,
    InfinityParams,
    KernelParams,
    ManifoldParams,
    NeighbourParams,
)
from bench.metrics.registry import METRICS, SHORTHANDS
from bench.metrics.scoring import score
from bench.metrics.view import View

FD, IS = ("fd", FrechetParams()), ("is", InceptionParams())


def value(images, name, params, data):
    return score([images], [(name, params)], data)[0].value


def to_levels(images):
    return np.clip(np.rint(images), 0, 16).astype(np.uint8)


# What the cards say


def test_cards_need_neither_torch_nor_numpy():
    code = (
        "import sys, bench.metrics.registry; "
        "print(sorted({'torch', 'numpy', 'scipy', 'pandas'} & set(sys.modules)))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert found.strip() == "[]"


@pytest.mark.parametrize(
    ("name", "params", "column"),
    [
        ("fd", FrechetParams(), "fd(digits-cnn@8)"),
        ("fd", FrechetParams(reference="test"), "fd(digits-cnn@8, to test)"),
        ("is", InceptionParams(), "is(digits-cnn@8)"),
        ("is", InceptionParams(splits=10), "is(digits-cnn@8, 10 splits)"),
    ],
)
def test_columns_tell_unlike_numbers_apart(name, params, column):
    assert METRICS[name].column(params) == column


def test_directions_are_those_of_the_measures(digits, rng):
    points = load_images("two_modes")
    noisy = to_levels(digits.test + rng.normal(0, 4, digits.test.shape))
    sets = {
        "digits": (digits, digits.test, noisy),
        "points": (points, points.test[:500], points.test[:500] / 2 + 2),
    }
    for name, card in METRICS.items():
        # tests/data/test_conditioning.py; held-out images are copies of held-out images; noise is
        # diverse (tests/metrics/test_diversity.py)
        if card.tasks or name in ("nn_ratio", "vendi"):
            continue
        data, good, bad = sets[
            "digits" if not card.refuse(card.params(), digits.card) else "points"
        ]
        real, worse = (value(images, name, card.params(), data) for images in (good, bad))
        assert (real > worse) == card.higher_is_better


def test_digits_extractor_refuses_other_images():
    colour = DataCard(
        version=1,
        summary="",
        shape=(3, 32, 32),
        levels=256,
        splits={"train": 1},
        split_rule="",
        load=lambda split: np.zeros((1, 3, 32, 32), np.uint8),
    )
    for name, params in (FD, IS):
        assert METRICS[name].refuse(params, DATASETS["digits"]) == []
        shape, levels = METRICS[name].refuse(params, colour)[:2]
        assert "reads 1x8x8 images, not 3x32x32" in shape
        assert "reads 17 pixel levels, not 256" in levels
    assert "no split test" in METRICS["fd"].refuse(FrechetParams(reference="test"), colour)[2]
    with pytest.raises(
        ValueError, match=r"fd\(digits-cnn@8\) on colour: extractor digits-cnn reads 1x8x8"
    ):
        score([], [FD], Images("colour", colour))


def test_frechet_asks_for_ten_images_per_dimension_and_inception_score_for_ten_per_class():
    assert METRICS["fd"].least_count(FrechetParams(), DATASETS["digits"]) == 240
    assert METRICS["is"].least_count(InceptionParams(splits=2), DATASETS["digits"]) == 200
    reference = InceptionParams(extractor="inception", splits=10)
    assert METRICS["is"].least_count(reference, DATASETS["cifar10"]) == 50_000


def test_splits_and_neighbours_below_one_are_refused():
    with pytest.raises(ValueError, match="splits should be at least 1, got 0"):
        InceptionParams(splits=0)
    with pytest.raises(ValueError, match="neighbours should be at least 1, got 0"):
        ManifoldParams(neighbours=0)


# Cards of somebody else


@dataclass(frozen=True, kw_only=True)
class ShiftParams(FeatureParams):
    power: int = 2


class Rows(View):
    preprocess = "mean level of each row"

    def forward(self, levels):
        return levels.float().mean((1, 3)), None


@pytest.fixture
def plugged_in(monkeypatch):
    """Registers a metric and an extractor of the fewest lines."""
    shift = MetricCard(
        name="shift",
        version=1,
        summary="distance of the means",
        measure=lambda x, y, params: (
            np.linalg.norm(x.features.mean(0) - y.features.mean(0)) ** params.power
        ),
        higher_is_better=False,
        params=ShiftParams,
    )
    rows = ExtractorCard(
        name="rows",
        version=3,
        summary="rows",
        make=lambda inputs: Rows(),
        shape=(1, 8, 8),
        dimension=8,
    )
    monkeypatch.setitem(METRICS, "shift", shift)
    monkeypatch.setitem(EXTRACTORS, "rows", rows)
    return shift


def test_metric_is_a_function_of_two_sets_and_its_card_does_the_rest(plugged_in, digits):
    params = ShiftParams(extractor="rows", power=1, reference="test")
    (measured,) = score([digits.train], [("shift", params)], digits)
    means = [split.astype(np.float64).mean((0, 1, 3)) for split in (digits.train, digits.test)]
    assert measured.value == pytest.approx(np.linalg.norm(means[0] - means[1]), rel=1e-5)
    assert measured.identity["column"] == "shift(rows, power=1, to test)"
    assert measured.identity["preprocess"] == "mean level of each row"
    assert measured.identity["network"] == "bench 3"
    assert plugged_in.column(ShiftParams()) == "shift(digits-cnn@8)"
    assert plugged_in.refuse(params, DATASETS["cifar10"]) == [
        "extractor rows reads 1x8x8 images, not 3x32x32"
    ]
    assert len(plugged_in.refuse(params, DATASETS["two_modes"])) == 1


@pytest.mark.parametrize("returned", [np.float32(0.5), np.array([0.5]), np.int64(1), 2])
def test_value_of_a_metric_is_stored_whatever_kind_of_number_it_is(
    plugged_in, digits, monkeypatch, returned
):
    card = replace(plugged_in, measure=lambda x, y, params: returned)
    monkeypatch.setitem(METRICS, "shift", card)
    (measured,) = score([digits.train], [("shift", ShiftParams(extractor="rows"))], digits)
    assert json.loads(json.dumps(measured.value)) == float(np.squeeze(returned))


def test_metric_of_several_numbers_is_refused(plugged_in, digits, monkeypatch):
    card = replace(plugged_in, measure=lambda x, y, params: np.zeros(2))
    monkeypatch.setitem(METRICS, "shift", card)
    with pytest.raises(ValueError, match=r"should be one number, got shape \(2,\)"):
        score([digits.train], [("shift", ShiftParams(extractor="rows"))], digits)


def test_metric_that_belongs_asked_for_twice_needs_a_reference_to_choose():
    with pytest.raises(TypeError, match="FeatureParams"):
        replace(METRICS["nn_ratio"], both=True)


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
