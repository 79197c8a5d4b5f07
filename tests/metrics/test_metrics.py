import json
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from scipy.stats import energy_distance as energy_distance_in_one_dimension

from bench.data.card import DataCard
from bench.data.images import Images, load_images
from bench.data.mixture import GaussianMixture
from bench.data.registry import DATASETS
from bench.data.scikit import digits_labels
from bench.metrics import train_digits_cnn
from bench.metrics.digits_cnn import DigitsCNN
from bench.metrics.extractor_card import SHIPPED as WEIGHTS
from bench.metrics.extractor_cards import EXTRACTORS
from bench.metrics.extractors import CHUNK, Extractor, load_extractor
from bench.metrics.floor import real_floor
from bench.metrics.frechet import frechet_distance, frechet_from_features, frechet_of_moments
from bench.metrics.inception import inception_score
from bench.metrics.libraries import precision_and_recall, radii
from bench.metrics.moments import Moments, statistics
from bench.metrics.parameters import (
    FrechetParams,
    InceptionParams,
    ManifoldParams,
    NoParams,
    SplitParams,
)
from bench.metrics.points import Points, energy_distance, exact_frechet_distance, mode_weight_error
from bench.metrics.references import References
from bench.metrics.registry import METRICS
from bench.metrics.scoring import score

FD, FD_TEST, IS = (
    ("fd", FrechetParams()),
    ("fd", FrechetParams(reference="test")),
    ("is", InceptionParams()),
)


@pytest.fixture(scope="module")
def digits():
    return load_images("digits")


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def value(images, request, data):
    return score([images], [request], data)[0].value


def to_levels(images):
    return np.clip(np.rint(images), 0, 16).astype(np.uint8)


def two_feature_sets(rng, n1, n2, d):
    mix1, mix2 = rng.normal(size=(2, d, d)) / np.sqrt(d)
    return rng.normal(size=(n1, d)) @ mix1 + rng.normal(size=d), rng.normal(size=(n2, d)) @ mix2


# What the cards say


def test_cards_need_neither_torch_nor_numpy():
    code = "import sys, bench.metrics; print(sorted({'torch', 'numpy', 'scipy', 'pandas'} & set(sys.modules)))"
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
        if (
            card.tasks or name == "nn_ratio"
        ):  # tests/data/test_conditioning.py; held-out images are copies of held-out images
            continue
        data, good, bad = sets[
            "digits" if not card.refuse(card.params(), digits.card) else "points"
        ]
        real, worse = (value(images, (name, card.params()), data) for images in (good, bad))
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


def test_frechet_asks_for_ten_images_a_dimension_and_inception_score_for_ten_a_class_up_to_the_papers_50000():
    assert METRICS["fd"].least_count(FrechetParams(), DATASETS["digits"]) == 240
    assert METRICS["is"].least_count(InceptionParams(splits=2), DATASETS["digits"]) == 200
    reference = InceptionParams(extractor="inception", splits=10)
    assert METRICS["is"].least_count(reference, DATASETS["cifar10"]) == 50_000


def test_splits_and_neighbours_below_one_are_refused():
    with pytest.raises(ValueError, match="splits should be at least 1, got 0"):
        InceptionParams(splits=0)
    with pytest.raises(ValueError, match="neighbours should be at least 1, got 0"):
        ManifoldParams(neighbours=0)


# Frechet distance


def test_frechet_distance_of_commuting_gaussians_is_the_closed_form(rng):
    mean1, mean2 = rng.normal(size=(2, 12))
    std1, std2 = rng.uniform(0, 3, (2, 12))
    turn = np.linalg.qr(rng.normal(size=(12, 12)))[0]
    found = frechet_distance(mean1, turn * std1**2 @ turn.T, mean2, turn * std2**2 @ turn.T)
    assert found == pytest.approx(
        np.square(mean1 - mean2).sum() + np.square(std1 - std2).sum(), rel=1e-12
    )


@pytest.mark.parametrize(
    ("n1", "n2", "d"), [(60, 90, 20), (15, 12, 40), (15, 90, 40), (90, 15, 40)]
)
def test_frechet_distance_is_symmetric_and_ignores_rotation_and_common_shift(rng, n1, n2, d):
    features1, features2 = two_feature_sets(rng, n1, n2, d)
    turn, shift = np.linalg.qr(rng.normal(size=(d, d)))[0], rng.normal(size=d)
    found = frechet_from_features(features1, features2)
    assert frechet_from_features(features2, features1) == pytest.approx(found, rel=1e-9)
    assert frechet_from_features(
        features1 @ turn + shift, features2 @ turn + shift
    ) == pytest.approx(found, rel=1e-9)
    assert frechet_from_features(3 * features1, 3 * features2) == pytest.approx(9 * found, rel=1e-9)


@pytest.mark.parametrize(("n", "d"), [(60, 20), (15, 40)])
def test_frechet_distance_of_a_set_to_itself_moved_is_the_squared_shift(rng, n, d):
    features, _ = two_feature_sets(rng, n, 2, d)
    spread = np.trace(np.cov(features.T))
    assert 0 <= frechet_from_features(features, features[::-1]) <= 1e-9 * spread
    assert frechet_from_features(features, features + 0.5) == pytest.approx(
        0.25 * d, abs=1e-9 * spread
    )


@pytest.mark.parametrize(("n1", "n2"), [(15, 12), (15, 90), (90, 15), (40, 39), (41, 41)])
def test_thin_factors_and_covariances_agree(rng, n1, n2):
    features1, features2 = two_feature_sets(rng, n1, n2, 40)
    moments = (*statistics(features1), *statistics(features2))
    spread = np.trace(moments[1]) + np.trace(moments[3])
    assert frechet_from_features(features1, features2) == pytest.approx(
        frechet_distance(*moments), abs=1e-6 * spread
    )


def test_statistics_are_those_of_numpy(rng):
    features, _ = two_feature_sets(rng, 30, 2, 7)
    mean, covariance = statistics(features.astype(np.float32))
    np.testing.assert_allclose(mean, features.mean(0), rtol=1e-5)
    np.testing.assert_allclose(covariance, np.cov(features.T), rtol=1e-4, atol=1e-5)
    assert covariance.dtype == np.float64


def test_one_repeated_image_is_as_far_as_the_reference_is_wide(rng):
    features, _ = two_feature_sets(rng, 200, 2, 10)
    mean, covariance = statistics(features)
    found = frechet_from_features(np.repeat(mean[None], 50, 0), features)
    assert found == pytest.approx(np.trace(covariance), rel=1e-9)


@pytest.mark.parametrize(("n1", "n2", "d"), [(300, 200, 24), (40, 300, 64), (30, 20, 64)])
def test_frechet_distance_equals_torch_fidelity(rng, n1, n2, d):
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

    features1, features2 = two_feature_sets(rng, n1, n2, d)
    theirs = [
        fid_features_to_statistics(torch.from_numpy(features))
        for features in (features1, features2)
    ]
    expected = fid_statistics_to_metric(*theirs, False)["frechet_inception_distance"]
    spread = np.trace(np.cov(features1.T)) + np.trace(np.cov(features2.T))
    assert frechet_from_features(features1, features2) == pytest.approx(expected, abs=1e-6 * spread)


def test_frechet_distance_equals_clean_fid(rng):
    # Full rank only, where its matrix square root is sound.
    pytest.importorskip("cleanfid")
    from cleanfid.fid import fid_from_feats

    features1, features2 = two_feature_sets(rng, 300, 200, 24)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            expected = fid_from_feats(features1, features2)
        except TypeError:
            pytest.skip("this scipy has no sqrtm(disp=...) any more, which clean-fid calls")
    spread = np.trace(np.cov(features1.T)) + np.trace(np.cov(features2.T))
    assert frechet_from_features(features1, features2) == pytest.approx(expected, abs=1e-6 * spread)


def test_frechet_errors_name_their_cause(rng):
    features = rng.normal(size=(5, 3))
    with pytest.raises(ValueError, match="at least 2 images, got 1"):
        frechet_from_features(features[:1], features)
    broken = features.copy()
    broken[[1, 3], 0] = np.nan
    with pytest.raises(ValueError, match="features of 2 of 5 images are NaN or infinite"):
        frechet_from_features(features, broken)
    with pytest.raises(ValueError, match="3 and 2 dimensions"):
        frechet_from_features(features, features[:, :2])
    with pytest.raises(ValueError, match="shape"):
        statistics(features[0])
    with pytest.raises(ValueError, match="NaN or infinity"):
        frechet_distance(np.zeros(2), np.full((2, 2), np.inf), np.zeros(2), np.eye(2))
    with pytest.raises(ValueError, match="should have shapes"):
        frechet_distance(np.zeros(2), np.eye(3), np.zeros(2), np.eye(2))


# Inception score


def test_inception_score_of_sure_and_even_answers_is_the_number_of_classes():
    assert inception_score(np.tile(np.eye(10), (5, 1))) == (pytest.approx(10), pytest.approx(0))
    assert inception_score(np.full((20, 10), 0.1)) == (pytest.approx(1), pytest.approx(0))


def test_split_mean_and_deviation_are_those_of_contiguous_parts(rng):
    probabilities = rng.dirichlet(np.full(10, 0.3), 203)
    parts = [inception_score(probabilities[k * 203 // 4 : (k + 1) * 203 // 4])[0] for k in range(4)]
    assert inception_score(probabilities, 4) == (
        pytest.approx(np.mean(parts)),
        pytest.approx(np.std(parts)),
    )


@pytest.mark.parametrize("splits", [1, 10])
def test_inception_score_equals_torch_fidelity(rng, splits):
    from torch_fidelity.metric_isc import isc_features_to_metric

    logits = torch.from_numpy(rng.normal(0, 3, (203, 10)))
    expected = isc_features_to_metric(logits, splits, False, 0)
    mean, std = inception_score(logits.softmax(1).numpy(), splits)
    assert mean == pytest.approx(expected["inception_score_mean"], rel=1e-9)
    assert std == pytest.approx(expected["inception_score_std"], rel=1e-9, abs=1e-12)


def test_inception_score_errors_name_their_cause():
    even = np.full((4, 10), 0.1)
    with pytest.raises(ValueError, match="5 splits need as many rows"):
        inception_score(even, 5)
    with pytest.raises(ValueError, match="NaN"):
        inception_score(even * np.nan)
    with pytest.raises(ValueError, match="summing to 1"):
        inception_score(even * 2)
    with pytest.raises(ValueError, match="not negative"):
        inception_score(np.array([[1.5, -0.5]]))


# The digits extractor


def test_digits_extractor_names_98_percent_of_held_out_digits(digits):
    named = load_extractor("digits-cnn")(digits.test).log_probs.argmax(1)
    assert (named == digits_labels("test")).mean() >= 0.98


def test_labels_go_with_the_images_of_their_split(digits):
    from sklearn.datasets import load_digits

    whole = load_digits()
    images = {
        image.astype(np.uint8).tobytes(): label
        for image, label in zip(whole.images, whole.target, strict=True)
    }
    for split in ("train", "test"):
        found = [images[image.tobytes()] for image in digits.split(split)]
        assert digits_labels(split).tolist() == found


def test_training_reads_training_images_alone_and_repeats_itself(monkeypatch):
    from bench.data import scikit

    loaded = []
    card = DATASETS["digits"]
    monkeypatch.setattr(
        scikit,
        "_digits_index",
        lambda split, real=scikit._digits_index: loaded.append(split) or real(split),
    )
    assert card.load("train").shape == (1437, 1, 8, 8)
    states = [train_digits_cnn.train(seed=3, epochs=1).state_dict() for _ in range(2)]
    assert set(loaded) == {"train"}
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_training_leaves_the_global_random_state_alone():
    before = torch.get_rng_state()
    train_digits_cnn.train(seed=3, epochs=1)
    assert torch.equal(torch.get_rng_state(), before)


def test_features_of_training_images_have_unit_deviation_and_are_all_alive(digits):
    features, log_probs = load_extractor("digits-cnn")(digits.train)
    card = EXTRACTORS["digits-cnn"]
    assert features.shape == (1437, card.dimension)
    assert log_probs.shape == (1437, card.classes)
    np.testing.assert_allclose(features.std(0, ddof=1), 1, rtol=1e-5)
    np.testing.assert_allclose(np.exp(log_probs).sum(1), 1, rtol=1e-12)
    # No direction is a copy of others, so the distance weighs 24 things and not fewer.
    assert np.linalg.eigvalsh(np.cov(features.T))[0] > 0.01


def test_features_do_not_depend_on_the_company_of_an_image(digits):
    many = np.concatenate([digits.train[:200], digits.train[:200], digits.train[:200]])
    assert len(many) > CHUNK
    extractor = load_extractor("digits-cnn")
    np.testing.assert_allclose(
        extractor(many).features[:3], extractor(digits.train[:3]).features, rtol=0, atol=1e-12
    )


def test_weights_are_small_and_those_of_the_card():
    assert (WEIGHTS / EXTRACTORS["digits-cnn"].weights[0]).stat().st_size < 120_000
    network = DigitsCNN()
    assert sum(parameter.numel() for parameter in network.parameters()) < 25_000


def test_altered_truncated_or_missing_weights_are_named(tmp_path):
    content = (WEIGHTS / EXTRACTORS["digits-cnn"].weights[0]).read_bytes()
    path = tmp_path / "weights.safetensors"
    for broken in (content[:-1], content[:5000] + b"\x00\x01" + content[5002:], b""):
        path.write_bytes(broken)
        with pytest.raises(
            ValueError, match=r"weights\.safetensors: altered or truncated extractor weights"
        ):
            Extractor("digits-cnn", weights=path)
    with pytest.raises(
        FileNotFoundError, match=r"none\.safetensors: extractor weights are missing"
    ):
        Extractor("digits-cnn", weights=tmp_path / "none.safetensors")


def noisy(deviation):
    return lambda images, rng: to_levels(images + rng.normal(0, deviation, images.shape))


def blurred(deviation):
    return lambda images, rng: to_levels(
        gaussian_filter(images.astype(float), (0, 0, deviation, deviation))
    )


def collapsed(kept):
    return lambda images, rng: images[np.arange(len(images)) % kept]


@pytest.mark.parametrize("request_", [FD, FD_TEST], ids=["to train", "to test"])
@pytest.mark.parametrize(
    "ladder",
    [
        [noisy(1), noisy(2), noisy(4), noisy(8)],
        [blurred(0.5), blurred(0.7), blurred(1), blurred(2)],
        [collapsed(100), collapsed(20), collapsed(5), collapsed(1)],
    ],
    ids=["noise", "blur", "collapse"],
)
def test_frechet_distance_grows_with_every_kind_of_damage(digits, rng, ladder, request_):
    real = digits.test[:256]
    found = [
        value(images, request_, digits)
        for images in (real, *(damage(real, rng) for damage in ladder))
    ]
    assert found == sorted(found)
    assert found[-1] > 10 * found[0]


def test_noise_black_and_inverted_images_are_far_beyond_the_floor_of_real_ones(digits, rng):
    real = digits.test[:256]
    floor = real_floor(*FD, digits, 256)
    for images in (
        rng.integers(0, 17, real.shape).astype(np.uint8),
        np.zeros_like(real),
        16 - real,
    ):
        assert value(images, FD, digits) > floor.mean + 50 * floor.std


# Points


def test_energy_distance_of_three_points_is_the_one_by_hand():
    x, y = Points(np.array([[0.0, 0], [3, 4]])), Points(np.array([[0.0, 4]]))
    # E|X - Y| = (4 + 3) / 2, E|X - X'| = (0 + 5 + 5 + 0) / 4, E|Y - Y'| = 0
    assert energy_distance(x, y) == energy_distance(y, x) == pytest.approx(2 * 3.5 - 2.5, rel=1e-15)
    assert energy_distance(x, x) == 0


def test_energy_distance_in_one_dimension_is_the_square_of_scipys(rng):
    x, y = rng.normal(size=1500), rng.normal(0.3, 1.5, size=700)
    expected = energy_distance_in_one_dimension(x, y) ** 2
    assert energy_distance(Points(x[:, None]), Points(y[:, None])) == pytest.approx(
        expected, rel=1e-9
    )


def test_mode_weight_error_is_the_total_variation_of_the_shares_of_the_modes():
    mixture = load_images("two_modes").card.mixture()
    points = np.concatenate([np.full((5, 2), -5.0), np.full((5, 2), 5.0)])
    assert mode_weight_error(Points(points), mixture) == pytest.approx(
        0.3, abs=1e-15
    )  # half and half, for 0.2 and 0.8
    assert mode_weight_error(Points(points[[0, 5, 6, 7, 8]]), mixture) == pytest.approx(
        0, abs=1e-15
    )
    assert mode_weight_error(Points(points[:5]), mixture) == pytest.approx(0.8, abs=1e-15)


def test_point_belongs_to_the_component_that_is_most_probable_given_it():
    mixture = load_images("two_modes").card.mixture()
    # On the diagonal the two are as probable where -10 x = log(0.8 / 0.2) / 2 for both coordinates
    # x.
    border = -np.log(4) / 20
    points = np.array([[border - 1e-9] * 2, [border + 1e-9] * 2])
    assert mixture.component(points).tolist() == [0, 1]
    wide = GaussianMixture(np.array([0.5, 0.5]), np.zeros((2, 2)), np.array([1.0, 3.0]))
    # Equal means: log s^2 + r^2 / 2 s^2 is equal at r^2 = 2 log 9 / (1 - 1 / 9).
    radius = np.sqrt(2 * np.log(9) / (1 - 1 / 9))
    assert wide.component(np.array([[radius - 1e-9, 0], [radius + 1e-9, 0]])).tolist() == [0, 1]


def test_point_metrics_say_what_they_compare_with_and_have_a_floor():
    data = load_images("two_modes")
    requests = [
        ("energy_distance", SplitParams(reference="test")),
        ("mode_weight_error", NoParams()),
    ]
    distance, weights = score([data.test[:400], data.test[400:500]], requests, data)
    assert (distance.identity["column"], distance.identity["count"]) == (
        "energy_distance(to test)",
        500,
    )
    assert distance.identity["reference"]["sha256"] == data.digest("test")
    assert weights.identity["reference"] == {"dataset": "two_modes@1", "mixture": "as declared"}
    assert json.loads(json.dumps(weights.identity)) == weights.identity
    floor = real_floor("mode_weight_error", NoParams(), data, 500)
    # |share - 0.2| of n draws has the mean sqrt(2 / pi) sqrt(0.2 x 0.8 / n); 20 draws tell it to a
    # sixth.
    assert floor.mean == pytest.approx(np.sqrt(2 / np.pi * 0.16 / 500), rel=0.5)
    assert floor.split == "test"


def test_exact_frechet_distance_is_to_the_declared_moments_and_falls_as_one_over_n():
    data = load_images("gaussian")
    mixture = data.card.mixture()
    grid = np.sqrt(8) * np.concatenate(
        [np.eye(8), -np.eye(8)]
    )  # mean 0 and, over n - 1, covariance 16 / 15
    moved = mixture.means[0] + 0.25 + grid
    expected = 8 * 0.25**2 + 8 * (np.sqrt(16 / 15) - 1) ** 2
    assert exact_frechet_distance(Points(moved), mixture) == pytest.approx(expected, rel=1e-9)
    # tr S (d + 5) / (4 n) on average for a Gaussian of covariance I in d = 8 dimensions.
    draws = np.random.default_rng(0).normal(size=(50, 2000, 8)) + mixture.means[0]
    mean = np.mean([exact_frechet_distance(Points(points), mixture) for points in draws])
    assert mean == pytest.approx(8 * 13 / (4 * 2000), rel=0.05)
    (value,) = score([data.test], [("exact_fd", NoParams())], data)
    assert value.value == pytest.approx(
        exact_frechet_distance(Points(data.test), mixture), rel=1e-12
    )
    assert value.identity["reference"] == {"dataset": "gaussian@1", "mixture": "as declared"}


def test_metrics_of_images_refuse_real_values_and_those_of_points_refuse_images(digits):
    real = DATASETS["two_modes"]
    for name, card in METRICS.items():
        of_real, of_images = (
            card.refuse(card.params(), real),
            card.refuse(card.params(), digits.card),
        )
        assert bool(of_real) != bool(of_images), name
        assert "not real values" in "".join(of_real) or "compares values themselves" in "".join(
            of_images
        ), name
    assert METRICS["mode_weight_error"].refuse(NoParams(), DATASETS["swiss_rolls"]) == [
        "the data set declares no mixture"
    ]


# Scoring


def test_score_is_the_measure_of_the_extracted_features(digits):
    extractor = load_extractor("digits-cnn")
    samples = extractor(digits.test[:256])
    train, test, inception = score([digits.test[:256]], [FD, FD_TEST, IS], digits)
    assert train.value == frechet_from_features(samples.features, extractor(digits.train).features)
    assert test.value == frechet_from_features(samples.features, extractor(digits.test).features)
    assert inception.value == pytest.approx(
        inception_score(np.exp(samples.log_probs))[0], rel=1e-12
    )


def test_shards_are_read_once_and_their_sizes_do_not_matter(digits):
    shards = iter([digits.test[:100], digits.test[100:101], digits.test[101:256]])
    in_parts, whole = score(shards, [FD, IS], digits), score([digits.test[:256]], [FD, IS], digits)
    assert next(shards, None) is None
    assert [m.value for m in in_parts] == [pytest.approx(m.value, rel=1e-9) for m in whole]
    assert [m.identity for m in in_parts] == [m.identity for m in whole]


def test_reference_is_computed_once_a_process_however_many_metrics_ask(digits, monkeypatch):
    seen = []
    extract = Extractor.__call__
    monkeypatch.setattr(
        Extractor,
        "__call__",
        lambda self, images: seen.append(len(images)) or extract(self, images),
    )
    references = References()
    for _ in range(2):
        score(
            [digits.test],
            [FD, ("fd", FrechetParams(allow_few=True))],
            load_images("digits"),
            references=references,
        )
    assert sum(seen) == 1437 + 2 * 360


def test_training_images_are_at_distance_zero_from_themselves(digits):
    assert value(digits.train, FD, digits) == pytest.approx(0, abs=1e-9)


def test_identity_says_all_that_the_number_depends_on(digits):
    frechet, to_test, inception = (
        m.identity for m in score([digits.test[:256]], [FD, FD_TEST, IS], digits)
    )
    card = EXTRACTORS["digits-cnn"]
    assert json.loads(json.dumps(frechet)) == frechet
    assert frechet["metric"] == "fd"
    assert frechet["version"] == METRICS["fd"].version
    assert frechet["extractor"] == "digits-cnn@8"
    assert frechet["weights_sha256"] == card.sha256
    assert frechet["input_shape"] == [1, 8, 8]
    assert frechet["levels"] == 17
    assert frechet["dimension"] == 24
    assert frechet["count"] == 256
    assert frechet["resize"] == "none"
    assert frechet["input_size"] == [8, 8]
    assert frechet["reference"]["dataset"] == "digits@1"
    assert frechet["reference"]["images"] == 1437
    assert frechet["reference"]["sha256"] == digits.digest("train")
    assert to_test["reference"]["sha256"] == digits.digest("test")
    assert inception["reference"] is None
    assert not {"FID", "IS"} & {
        text for text in json.dumps([frechet, to_test, inception]).split('"')
    }


@pytest.mark.parametrize(
    ("images", "why"),
    [
        ([], "there are no images to score"),
        ([np.zeros((4, 1, 8, 8))], "should be uint8 levels, got float64"),
        ([np.zeros((4, 1, 9, 8), np.uint8)], r"should have shape \('N', 1, 8, 8\)"),
        ([np.zeros((0, 1, 8, 8), np.uint8)], "N > 0"),
        ([np.full((4, 1, 8, 8), 17, np.uint8)], r"pixels in 0\.\.16, got 17"),
        ([np.zeros((1, 1, 8, 8), np.uint8)], "needs 24 images, got 1"),
    ],
)
def test_images_that_cannot_be_scored_are_refused_with_the_cause(digits, images, why):
    with pytest.raises(ValueError, match=why):
        score(images, [FD], digits)


def test_deviation_of_the_floor_is_that_of_sets_without_common_images(digits):
    overlapping = real_floor(*IS, digits, 300, split="test", draws=200)
    disjoint = real_floor(*IS, digits, 300, split="train", draws=200)
    assert 0.5 < overlapping.std / disjoint.std < 2
    assert np.isnan(real_floor(*IS, digits, 360, split="test", draws=2).std)


def test_real_floor_falls_with_the_count_and_is_drawn_from_the_other_split(digits):
    small, large = (real_floor(*FD, digits, count, draws=10) for count in (64, 256))
    assert small.mean > 2 * large.mean > 0
    assert large.split == "test"
    assert real_floor(*FD_TEST, digits, 64, draws=2).split == "train"
    assert real_floor(*FD, digits, 64, draws=10) == small
    with pytest.raises(ValueError, match="split test has 360 images, fewer than the 500 asked for"):
        real_floor(*FD, digits, 500)


# Precision and recall


def test_precision_and_recall_are_whole_on_equal_sets_and_tell_missing_modes_from_bad_samples(
    digits, rng
):
    def both(images):
        return [
            m.value
            for m in score(
                [images], [(name, ManifoldParams()) for name in ("precision", "recall")], digits
            )
        ]

    assert both(digits.train) == [1, 1]
    labels = digits_labels("train")
    precision, recall = both(digits.train[labels < 3])
    assert precision == 1
    assert recall < 0.5
    noise = rng.integers(0, 17, (360, 1, 8, 8)).astype(np.uint8)
    assert both(noise)[0] < 0.2 < 0.8 < both(digits.test)[0]
    floor = real_floor("recall", ManifoldParams(), digits, 256, draws=5)
    assert 0.6 < floor.mean < 1


def test_all_training_images_against_held_out_ones_are_one_draw_without_a_deviation(digits):
    whole = real_floor(*FD_TEST, digits, len(digits.train), split="train", draws=1)
    assert whole.mean == pytest.approx(value(digits.train, FD_TEST, digits))
    assert np.isnan(whole.std)


def test_distance_of_few_images_to_moments_is_that_of_the_whole_covariance():
    draws = np.random.default_rng(3)
    few, many = (
        draws.normal(size=(5, 20)),
        1 + draws.normal(size=(3000, 20)) @ draws.normal(size=(20, 20)),
    )
    sides = [Moments(), Moments()]
    for moments, features in zip(sides, (few, many), strict=True):
        moments.add(features)
    exact = frechet_from_features(few, many)
    for found in (frechet_of_moments(*sides), frechet_of_moments(*reversed(sides))):
        assert found == pytest.approx(exact, rel=1e-11)
        # which takes roots of the rounding of eigenvalues that are 0
        assert found == pytest.approx(
            frechet_distance(*statistics(few), *statistics(many)), rel=1e-7
        )


@pytest.mark.parametrize("known", [False, True])
def test_precision_and_recall_are_torch_fidelitys_with_radii_known_or_not(known):
    from torch_fidelity.metric_prc import prc_features_to_metric

    draws = np.random.default_rng(4)
    real = draws.normal(size=(1100, 6)).astype(np.float32)
    samples = (0.8 * draws.normal(size=(1050, 6)) + 0.2).astype(np.float32)
    options = {"prc_neighborhood": 3, "prc_batch_size": 400, "save_cpu_ram": True, "verbose": False}
    theirs = prc_features_to_metric(torch.from_numpy(samples), torch.from_numpy(real), **options)
    ours = precision_and_recall(samples, real, 3, radii(real, 3) if known else None)
    assert ours == pytest.approx((theirs["precision"], theirs["recall"]), abs=1e-6)
    assert 0 < ours[1] < ours[0] < 1
