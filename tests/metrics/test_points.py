import json

import numpy as np
import pytest
from scipy.stats import energy_distance as energy_distance_in_one_dimension

from bench.data.images import load_images
from bench.data.mixture import GaussianMixture
from bench.data.registry import DATASETS
from bench.metrics.floor import real_floor
from bench.metrics.parameters import NoParams, SplitParams
from bench.metrics.points import Points, energy_distance, exact_frechet_distance, mode_weight_error
from bench.metrics.registry import METRICS
from bench.metrics.scoring import score


def value(images, request, data):
    return score([images], [request], data)[0].value


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
