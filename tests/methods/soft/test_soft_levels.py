import itertools
import math

import pytest
import torch

from bench.method import Noise
from methods.soft.levels import (
    candidates,
    diagonal_distances,
    full_distances,
    shortest_path,
    wasserstein,
)


def normal(shape, seed=0):
    return Noise(seed, dtype=torch.float64).normal(shape)


def covariance(d, seed):
    root = normal((d, d), seed)
    return root @ root.T / d


def brute_force(lengths, nodes):
    """Returns the best of all rising paths from the first to the last node."""
    last = len(lengths) - 1
    paths = ((0, *inner, last) for inner in itertools.combinations(range(1, last), nodes - 2))
    return min(paths, key=lambda path: sum(lengths[i, j] ** 2 for i, j in itertools.pairwise(path)))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("nodes", [2, 3, 4, 5, 8])
def test_the_shortest_path_is_the_best_of_all_paths(seed, nodes):
    lengths = Noise(seed, dtype=torch.float64).uniform((8, 8))
    assert tuple(shortest_path(lengths, nodes).tolist()) == brute_force(
        lengths.tolist() and lengths, nodes
    )


def test_a_path_has_the_nodes_asked_for_and_no_other_number_is_possible():
    lengths = torch.ones(5, 5)
    assert shortest_path(lengths, 5).tolist() == [0, 1, 2, 3, 4]
    for nodes in (1, 6):
        with pytest.raises(ValueError, match="2 to 5"):
            shortest_path(lengths, nodes)


def test_on_a_line_the_hops_come_out_equal():
    places = torch.linspace(0, 1, 101, dtype=torch.float64) ** 3  # crowded near 0
    lengths = (places[:, None] - places).abs()
    hops = places[shortest_path(lengths, 6)].diff()
    # As equal as the candidates allow, which lie up to 0.03 apart.
    assert (hops - 0.2).abs().max() < 0.03


@pytest.mark.parametrize("d", [1, 5])
def test_the_distance_is_the_2_wasserstein_distance_and_not_its_square(d):
    mean1, mean2 = normal((d,), 1), normal((d,), 2)
    one = torch.eye(d, dtype=torch.float64)
    # Equal covariances: the distance of the means; equal means and c^2 I against I: |c - 1|
    # sqrt(d).
    expected = (mean1 - mean2).square().sum().sqrt()
    torch.testing.assert_close(
        wasserstein(mean1, covariance(d, 3), mean2, covariance(d, 3)), expected, atol=1e-6, rtol=0
    )
    apart = wasserstein(mean1, 9 * one, mean1, one)
    assert apart.item() == pytest.approx(2 * math.sqrt(d))


def test_the_distance_is_a_metric():
    means, covariances = normal((6, 4), 0), torch.stack([covariance(4, seed) for seed in range(6)])
    lengths = wasserstein(means[:, None], covariances[:, None], means, covariances)
    # Half the digits go where equal Gaussians are subtracted from one another under a root.
    assert lengths.diagonal().abs().max() < 1e-6
    torch.testing.assert_close(lengths, lengths.T, rtol=1e-8, atol=1e-6)
    for i, j, k in itertools.permutations(range(6), 3):
        assert lengths[i, k] <= lengths[i, j] + lengths[j, k] + 1e-9


def test_the_distance_of_gaussians_that_do_not_commute_is_the_closed_form_in_two_dimensions():
    first = torch.tensor([[2.0, 0.5], [0.5, 1.0]], dtype=torch.float64)
    second = torch.tensor([[1.0, -0.3], [-0.3, 3.0]], dtype=torch.float64)
    # For 2 x 2 matrices tr sqrt(M) = sqrt(tr M + 2 sqrt(det M)), and the product has the
    # determinants' product.
    product = first @ second
    cross = math.sqrt(product.trace() + 2 * math.sqrt(product.det()))
    expected = math.sqrt(first.trace() + second.trace() - 2 * cross)
    zero = torch.zeros(2, dtype=torch.float64)
    assert wasserstein(zero, first, zero, second).item() == pytest.approx(expected, rel=1e-12)


def blurs(levels, d=5):
    frequencies = torch.linspace(0, math.pi, d, dtype=torch.float64)
    return torch.exp(-0.5 * levels[:, None].square() * frequencies.square())


def test_independent_coefficients_are_as_far_apart_with_and_without_their_covariance():
    factors, mean, variance = (
        blurs(candidates(0.1, 4, 9)),
        normal((5,), 1),
        normal((5,), 2).square(),
    )
    diagonal = diagonal_distances(mean, variance, factors, 0.1)
    torch.testing.assert_close(
        diagonal, full_distances(mean, torch.diag(variance), factors, 0.1), rtol=1e-6, atol=1e-7
    )


def test_full_distances_are_those_of_the_corrupted_gaussians():
    factors, mean, full = blurs(candidates(0.1, 4, 5)), normal((5,), 1), covariance(5, 2)
    lengths = full_distances(mean, full, factors, 0.3)
    for i, j in itertools.product(range(5), repeat=2):
        gaussians = []
        for row in (factors[i], factors[j]):
            operator = torch.diag(row)
            gaussians += [
                operator @ mean,
                operator @ full @ operator + 0.09 * torch.eye(5, dtype=torch.float64),
            ]
        torch.testing.assert_close(lengths[i, j], wasserstein(*gaussians), rtol=1e-6, atol=1e-6)


def test_diagonal_distances_are_the_formula_of_the_paper_of_each_coefficient():
    levels = torch.tensor([0.0, 0.7, 2.0], dtype=torch.float64)
    factors, mean, variance, std = blurs(levels), normal((5,), 1), normal((5,), 2).square(), 0.2
    lengths = diagonal_distances(mean, variance, factors, std)
    for i, j in itertools.product(range(3), repeat=2):
        spread = (factors[i] ** 2 * variance + std**2).sqrt() - (
            factors[j] ** 2 * variance + std**2
        ).sqrt()
        shift = (factors[i] - factors[j]) * mean
        torch.testing.assert_close(lengths[i, j], (spread.square() + shift.square()).sum().sqrt())


def test_squared_distances_would_favour_every_node_and_distances_do_not():
    lengths = diagonal_distances(
        torch.zeros(5).double(), torch.ones(5).double(), blurs(candidates(0.1, 4, 40)), 0.1
    )

    def total(path, power):
        return sum(lengths[i, j].item() ** power for i, j in itertools.pairwise(path))

    every, few = range(40), (0, 20, 39)
    assert total(every, 2) < total(few, 2)
    assert total(every, 1) > total(few, 1)


def test_the_chosen_blurs_change_the_images_equally():
    levels = candidates(0.05, 4, 256)
    lengths = diagonal_distances(
        torch.zeros(5).double(), torch.ones(5).double(), blurs(levels), 0.1
    )
    path = shortest_path(lengths, 16)
    hops = lengths[path[:-1], path[1:]]
    assert hops.max() / hops.min() < 1.5
    evenly = torch.linspace(0, 255, 16).long()
    assert hops.square().sum() < 0.75 * lengths[evenly[:-1], evenly[1:]].square().sum()


def test_candidates_grow_by_equal_ratios_from_the_least_blur_or_a_hundredth_of_a_pixel():
    levels = candidates(0.01, 23, 256)
    assert (len(levels), levels[0], levels[-1]) == (256, 0.01, 23)
    ratios = levels[1:] / levels[:-1]
    torch.testing.assert_close(ratios, torch.full_like(ratios, 2300 ** (1 / 255)))
    unblurred = candidates(0.0, 23, 256)
    assert (len(unblurred), unblurred[0]) == (256, 0)
    torch.testing.assert_close(unblurred[1:], candidates(0.01, 23, 255))
