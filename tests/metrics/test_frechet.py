import warnings

import numpy as np
import pytest
import torch

from bench.metrics.frechet import frechet_at_infinity, frechet_distance, frechet_from_features
from bench.metrics.moments import Moments, statistics
from bench.metrics.parameters import FrechetParams, InfinityParams
from bench.metrics.scoring import score


def two_feature_sets(rng, n1, n2, d):
    mix1, mix2 = rng.normal(size=(2, d, d)) / np.sqrt(d)
    return rng.normal(size=(n1, d)) @ mix1 + rng.normal(size=d), rng.normal(size=(n2, d)) @ mix2


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
        frechet_distance(*moments), abs=2e-8 * spread
    )


def test_covariances_of_any_rank_give_the_closed_form(rng):
    """Of commuting covariances, singular on one side, on both, or nothing at all."""
    turn = np.linalg.qr(rng.normal(size=(30, 30)))[0]
    stds = rng.uniform(0.5, 3, (2, 30))
    for zeros1, zeros2 in ((5, 0), (0, 5), (12, 7), (30, 0), (30, 30)):
        std1, std2 = stds[0] * (np.arange(30) >= zeros1), stds[1] * (np.arange(30) >= zeros2)
        covariances = [turn * std**2 @ turn.T for std in (std1, std2)]
        expected, spread = np.square(std1 - std2).sum(), np.square(stds).sum()
        for order in (1, -1):
            one, other = covariances[::order]
            found = frechet_distance(np.zeros(30), one, np.zeros(30), other)
            assert found == pytest.approx(expected, abs=1e-8 * spread)


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


def value(images, name, params, data):
    return score([images], [(name, params)], data)[0].value


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
