"""Density, coverage and the Vendi score against their published formulas on small sets."""

import math

import numpy as np
import pytest

from bench.metrics.diversity import density_and_coverage, vendi_score
from bench.metrics.libraries import radii
from bench.metrics.parameters import BallParams, ExtractorParams
from bench.metrics.registry import METRICS
from bench.metrics.scoring import score


def value(images, name, params, data):
    return score([images], [(name, params)], data)[0].value


def by_hand(samples, real, k):
    """Equations 3 and 4 of the paper, pair by pair."""
    between = np.linalg.norm(real[:, None] - real[None], axis=2)
    reach = np.sort(between, axis=1)[:, k]  # the nearest is the image itself
    inside = np.linalg.norm(real[:, None] - samples[None], axis=2) < reach[:, None]
    return inside.sum() / (k * len(samples)), inside.any(1).mean()


@pytest.mark.parametrize("k", [1, 5])
def test_density_and_coverage_are_those_of_the_papers_sums(rng, k):
    real, samples = rng.normal(size=(300, 4)), rng.normal(0.3, 0.8, (170, 4))
    found = density_and_coverage(samples, real, k, radii(real, k))
    assert found == pytest.approx(by_hand(samples, real, k), abs=1e-12)


def test_an_outlier_of_the_real_images_makes_samples_near_it_hardly_denser():
    real = np.array([[0.0], [1], [2], [3], [100]])  # radii 1, 1, 1, 1 and 97
    samples = np.array([[50.0], [60]])
    density, coverage = density_and_coverage(samples, real, 1, radii(real, 1))
    assert (density, coverage) == (1.0, 0.2)  # in the outlier's ball alone
    density, coverage = density_and_coverage(real[:4], real, 1, radii(real, 1))
    assert density == 1.0  # open balls: each image in its own, on the rims of its neighbours'
    assert coverage == 0.8  # the outlier's own rim is at 3


def test_equal_distributions_have_density_1_and_the_coverage_of_the_papers_lemma(rng):
    k, count = 5, 2000
    real, samples = rng.normal(size=(2, count, 3))
    density, coverage = density_and_coverage(samples, real, k, radii(real, k))
    # E[coverage] = 1 - prod_i (N - i) / (2 N - i), i = 1..k, with as many samples as real images
    expected = 1 - math.prod((count - i) / (2 * count - i) for i in range(1, k + 1))
    assert coverage == pytest.approx(expected, abs=0.01)
    assert density == pytest.approx(1, abs=0.05)


def entropy_of(kernel):
    shares = np.linalg.eigvalsh(kernel / len(kernel))
    return float(np.exp(-sum(share * math.log(share) for share in shares if share > 1e-15)))


@pytest.mark.parametrize("shape", [(40, 7), (7, 40)])
def test_vendi_score_is_that_of_the_whole_kernel_of_cosines(rng, shape):
    features = rng.normal(1, 1, shape)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    assert vendi_score(features) == pytest.approx(entropy_of(unit @ unit.T), rel=1e-9)


@pytest.mark.parametrize("kinds", [1, 3, 8])
def test_vendi_score_counts_unlike_samples_however_often_and_long_they_are(kinds):
    features = np.eye(10)[np.arange(48) % kinds] * np.arange(1, 49)[:, None]
    assert vendi_score(features) == pytest.approx(kinds, rel=1e-9)


def test_vendi_score_of_unequal_shares_is_the_exponential_of_their_entropy():
    features = np.eye(3)[[0, 0, 0, 1]]
    expected = math.exp(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)))
    assert vendi_score(features) == pytest.approx(expected, rel=1e-12)


def test_features_without_finite_values_or_direction_are_refused():
    with pytest.raises(ValueError, match="NaN or infinite"):
        vendi_score(np.array([[1.0, np.nan], [1, 0]]))
    with pytest.raises(ValueError, match="have no direction"):
        vendi_score(np.array([[1.0, 0], [0, 0]]))
    with pytest.raises(ValueError, match="NaN or infinite"):
        density_and_coverage(np.full((8, 2), np.inf), np.eye(8)[:, :2], 1, np.ones(8))


def test_they_tell_collapsed_samples_from_real_ones(digits):
    collapsed = np.repeat(digits.test[:10], 36, axis=0)
    for name, params in (("coverage", BallParams()), ("vendi", ExtractorParams())):
        real, worse = (value(images, name, params, digits) for images in (digits.test, collapsed))
        assert METRICS[name].higher_is_better
        assert real > 1.3 * worse


def test_columns_name_the_neighbour_if_it_is_unusual():
    columns = [METRICS["density"].column(BallParams(neighbours=k)) for k in (5, 10)]
    assert columns == ["density(digits-cnn@8)", "density(digits-cnn@8, k=10)"]
    assert (
        METRICS["coverage"].column(BallParams(extractor="inception")) == "coverage(inception@299)"
    )
