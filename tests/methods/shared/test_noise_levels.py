import math

import numpy as np
import pytest
import torch

from methods.ncsn.levels import count_levels, geometric, overlap, step_size, variance_ratio

PUBLISHED = {
    "cifar10": (50.0, 232, 32),
    "celeba": (90.0, 500, 64),
    "church_outdoor": (140.0, 788, 96),
    "bedroom": (190.0, 1086, 128),
    "ffhq": (348.0, 2311, 256),
}
"""Largest level, levels and image size of NCSNv2's table of experiments; the smallest level is 0.01
throughout.
"""

STEPS = {
    "cifar10": (5, "6.2e-06"),
    "celeba": (5, "3.3e-06"),
    "bedroom": (3, "1.8e-06"),
    "ffhq": (3, "8.9e-07"),
}
"""Its steps at each level and the size that follows, as published to two digits (FFHQ: 9e-7, to
one).
"""


def published(name):
    begin, count, size = PUBLISHED[name]
    return geometric(begin, 0.01, count), 3 * size**2


def test_levels_are_the_powers_of_one_ratio_from_the_first_to_the_last():
    levels = geometric(8.0, 0.5, 5)
    torch.testing.assert_close(
        levels, torch.tensor([8.0, 4.0, 2.0, 1.0, 0.5], dtype=torch.float64), rtol=1e-14, atol=0
    )


@pytest.mark.parametrize(("gamma", "dims"), [(1.03, 3072), (1.2, 64), (1.5, 64)])
def test_overlap_is_the_share_of_radii_within_three_deviations_of_the_next_level(gamma, dims):
    radii = torch.from_numpy(np.random.default_rng(0).chisquare(dims, 200_000)).sqrt()
    centre, spread = gamma * math.sqrt(dims), gamma / math.sqrt(2)
    share = ((radii - centre).abs() < 3 * spread).double().mean().item()
    # Sampling error is 0.001; the rest is that a radius is normal only up to 1 / sqrt(D).
    assert overlap(gamma, dims) == pytest.approx(share, abs=0.02)


def test_published_levels_all_overlap_alike():
    shares = [
        overlap((levels[0] / levels[1]).item(), dims) for levels, dims in map(published, PUBLISHED)
    ]
    assert min(shares) > 0.566
    assert max(shares) < 0.5671


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_numbers_of_levels_follow_from_the_data_at_their_overlap(name):
    levels, dims = published(name)
    count = count_levels(levels[0].item(), 0.01, dims, share=0.5665)
    assert count == pytest.approx(len(levels), abs=2)  # the share is known to three digits
    assert count_levels(levels[0].item(), 0.01, dims) == pytest.approx(
        len(levels) / 1.055, rel=0.006
    )


@pytest.mark.parametrize("dims", [5, 64, 3072])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_levels_are_the_fewest_that_overlap_enough(dims, share):
    count = count_levels(4.8, 0.01, dims, share)
    ratios = [(4.8 / 0.01) ** (1 / (number - 1)) for number in (count, count - 1)]
    assert overlap(ratios[0], dims) >= share
    assert overlap(ratios[1], dims) < share


@pytest.mark.parametrize("dims", [1, 2, 4])
def test_of_fewer_than_five_dimensions_any_two_levels_overlap(dims):
    assert min(overlap(gamma, dims) for gamma in np.geomspace(1.0, 1e4, 200)) > 0.99
    assert count_levels(50.0, 0.01, dims, share=0.9) == 2


@pytest.mark.parametrize("steps_each", [1, 3, 100])
@pytest.mark.parametrize("step", [0.01, 0.3, 1.5])
def test_variance_ratio_is_that_of_langevin_steps_on_one_point(step, steps_each):
    gamma = 1.3
    variance = gamma**2
    for _ in range(steps_each):
        variance = (
            1 - step
        ) ** 2 * variance + 2 * step  # x + e score + sqrt(2 e) z with the score -x
    assert variance_ratio(step, gamma, steps_each) == pytest.approx(variance, rel=1e-12)


@pytest.mark.parametrize("name", STEPS)
def test_published_step_sizes_follow_from_the_levels(name):
    steps_each, size = STEPS[name]
    assert f"{step_size(published(name)[0], steps_each):.1e}" == size


@pytest.mark.parametrize(
    ("begin", "count", "steps_each"), [(1.0, 10, 100), (4.8, 2, 1), (50.0, 232, 5), (4.8, 500, 1)]
)
def test_step_size_leaves_the_least_error_of_the_variance(begin, count, steps_each):
    levels = geometric(begin, 0.01, count)
    gamma, found = (begin / 0.01) ** (1 / (count - 1)), step_size(levels, steps_each) / 1e-4

    def error(step):
        return abs(variance_ratio(step, gamma, steps_each) - 1)

    everywhere = torch.logspace(-5, math.log10(1.999), 20_001, dtype=torch.float64)
    assert error(found) <= min(map(error, everywhere.tolist())) + 1e-9
