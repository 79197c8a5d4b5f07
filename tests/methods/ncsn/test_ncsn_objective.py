"""NCSN's losses against what they are on average for linear scores, where a few symmetric draws
give it exactly.
"""

import math

import pytest
import torch

from bench.method import Noise
from methods.ncsn.objective import annealed_loss, sliced_loss
from methods.ncsn.refinenet import initialise, make_refinenet
from methods.ncsn.settings import RefineNet

SHAPE = (2, 2, 1)
DIMS = math.prod(SHAPE)
SIGMA = torch.tensor([0.3, 2.0, 5.0], dtype=torch.float64)
EYE = torch.eye(DIMS, dtype=torch.float64)


def draws(*path):
    return Noise(0, path, dtype=torch.float64)


def images():
    return draws("images").normal((len(SIGMA), *SHAPE))


def linear():
    """Returns a matrix, not symmetric, a vector, and the score A x + b."""
    a, b = draws("A").normal((DIMS, DIMS)), draws("b").normal((DIMS,))
    return a, b, lambda x: (x.flatten(1) @ a.T + b).view_as(x)


def axes(count):
    """Returns 2 D points, each for ``count`` images, of mean 0 and covariance 1: (2 D, count,
    *SHAPE).
    """
    ends = math.sqrt(DIMS) * torch.cat([EYE, -EYE])
    return ends.view(2 * DIMS, 1, *SHAPE).expand(-1, count, *SHAPE)


@pytest.mark.parametrize("power", [0.0, 1.0, 2.0])
def test_denoising_loss_is_half_the_squared_distance_to_the_noise_over_its_level_weighed(power):
    x0, z = images(), draws("z").normal((3, *SHAPE))
    _, _, score_fn = linear()
    found = annealed_loss(score_fn, x0, SIGMA, z, power, "sum")
    mean = annealed_loss(score_fn, x0, SIGMA, z, power, "mean")
    for i, sigma in enumerate(SIGMA):
        noisy = x0[i : i + 1] + sigma * z[i]
        target = -(noisy - x0[i : i + 1]) / sigma**2
        expected = 0.5 * (score_fn(noisy) - target).square().sum() * sigma**power
        torch.testing.assert_close(found[i], expected, rtol=1e-10, atol=0)
        torch.testing.assert_close(mean[i], 2 * expected / DIMS, rtol=1e-10, atol=0)


def test_denoising_loss_is_zero_for_the_score_of_one_image_with_noise():
    x0, z = images(), draws("z").normal((3, *SHAPE))
    exact = lambda x: (x0 - x) / SIGMA.view(-1, 1, 1, 1).square()  # noqa: E731
    assert annealed_loss(exact, x0, SIGMA, z).max() < 1e-25


def test_denoising_loss_is_on_average_that_of_a_linear_score():
    x0 = images()
    a, b, score_fn = linear()
    found = torch.stack(
        [annealed_loss(score_fn, x0, SIGMA, z, reduction="sum") for z in axes(3)]
    ).mean(0)
    for image, sigma, loss in zip(x0.flatten(1), SIGMA, found, strict=True):
        expected = (sigma * (a @ image + b)).square().sum() + (sigma**2 * a + EYE).square().sum()
        torch.testing.assert_close(loss, expected / 2, rtol=1e-12, atol=0)


def test_sliced_loss_of_a_linear_score_is_half_its_square_plus_its_trace_weighed():
    x, directions = images(), axes(3)
    a, b, score_fn = linear()
    found = sliced_loss(score_fn, x, SIGMA, directions, reduction="sum")
    for image, sigma, loss in zip(x.flatten(1), SIGMA, found, strict=True):
        expected = sigma**2 * ((a @ image + b).square().sum() / 2 + a.trace())
        torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    mean = sliced_loss(score_fn, x, SIGMA, directions, reduction="mean")
    torch.testing.assert_close(mean, 2 * found / DIMS, rtol=1e-12, atol=0)
    plain = sliced_loss(score_fn, x, SIGMA, directions, 0.0, reduction="sum")
    torch.testing.assert_close(plain * SIGMA**2, found, rtol=1e-12, atol=0)


def test_each_direction_gives_the_slope_along_it_and_several_their_mean():
    x, directions = images(), draws("v").normal((5, 3, *SHAPE))
    a, b, score_fn = linear()
    found = sliced_loss(score_fn, x, SIGMA, directions, reduction="sum")
    square = (x.flatten(1) @ a.T + b).square().sum(1) / 2
    slopes = torch.einsum("pbi,ij,pbj->pb", directions.flatten(2), a, directions.flatten(2))
    torch.testing.assert_close(found, SIGMA**2 * (square + slopes.mean(0)), rtol=1e-12, atol=1e-12)


def gaussian():
    """Returns mean and covariance of a Gaussian, and 2 D points whose moments up to the third are
    its own.
    """
    root = 0.3 * draws("root").normal((DIMS, DIMS)) + EYE
    mean = draws("mean").normal((DIMS,))
    points = mean + math.sqrt(DIMS) * torch.cat([root.T, -root.T])
    return mean, root @ root.T, points.view(-1, *SHAPE)


def test_sliced_loss_is_on_average_explicit_score_matching_up_to_a_constant():
    """Half the mean squared distance to a Gaussian's score, less half of the mean square of that
    score.
    """
    mean, covariance, points = gaussian()
    _, _, score_fn = linear()
    precision = covariance.inverse()
    ones = torch.ones(len(points), dtype=torch.float64)
    found = sliced_loss(score_fn, points, ones, axes(len(points)), reduction="sum").mean()
    exact = (mean - points.flatten(1)) @ precision
    explicit = 0.5 * (score_fn(points).flatten(1) - exact).square().sum(1).mean()
    torch.testing.assert_close(found, explicit - 0.5 * precision.trace(), rtol=1e-10, atol=0)


def test_the_exact_score_of_a_gaussian_is_where_both_losses_have_no_slope():
    mean, covariance, points = gaussian()
    sigma = torch.full((len(points),), 0.7, dtype=torch.float64)
    noisy = covariance + 0.49 * EYE
    a = (-noisy.inverse()).requires_grad_()
    b = (noisy.inverse() @ mean).requires_grad_()

    def score_fn(x):
        return (x.flatten(1) @ a.T + b).view_as(x)

    losses = [annealed_loss(score_fn, points, sigma, z).mean() for z in axes(len(points))]
    root = torch.linalg.cholesky(noisy)
    spread = (mean + math.sqrt(DIMS) * torch.cat([root.T, -root.T])).view(-1, *SHAPE)
    for loss in (sum(losses), sliced_loss(score_fn, spread, sigma, axes(len(points))).mean()):
        for gradient in torch.autograd.grad(loss, [a, b]):
            assert gradient.abs().max() < 1e-12


def test_sliced_losss_gradient_by_the_weights_is_that_of_its_expectation():
    x = images()
    a, b, _ = linear()
    a.requires_grad_()
    loss = sliced_loss(
        lambda x: (x.flatten(1) @ a.T + b).view_as(x), x, SIGMA, axes(3), reduction="sum"
    ).sum()
    (found,) = torch.autograd.grad(loss, a)
    flat = x.flatten(1)
    square = torch.einsum("b,bi,bj->ij", SIGMA**2, flat @ a.detach().T + b, flat)
    torch.testing.assert_close(found, square + SIGMA.square().sum() * EYE, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("variant", ["ncsn", "ncsn_deeper", "ncsnv2"])
def test_sliced_loss_trains_the_network_through_its_second_derivatives(variant):
    """The gradient along a random direction of all weights is the difference quotient there."""
    network = make_refinenet(RefineNet(variant=variant, width=4), 2, 3).double()
    initialise(network, Noise(0))
    x, level = draws("x").normal((2, 2, 16, 16)), torch.tensor([0, 2])
    directions, weights = draws("v").normal((2, *x.shape)), list(network.parameters())
    shifts = [draws(i).normal(weight.shape) for i, weight in enumerate(weights)]

    def loss():
        return sliced_loss(lambda x: network(x, level), x, SIGMA[:2], directions).sum()

    gradients = torch.autograd.grad(loss(), weights)
    slope = sum((gradient * shift).sum() for gradient, shift in zip(gradients, shifts, strict=True))
    ends = []
    for step in (1e-7, -1e-7):
        with torch.no_grad():
            for weight, shift in zip(weights, shifts, strict=True):
                weight.add_(shift, alpha=step)
            ends.append(loss())
            for weight, shift in zip(weights, shifts, strict=True):
                weight.sub_(shift, alpha=step)
    # ELU's slope has a bend and NCSNv2's maxima jump from pixel to pixel: the loss is only smooth
    # between those.
    torch.testing.assert_close(slope, (ends[0] - ends[1]) / 2e-7, rtol=1e-2, atol=0)


def test_sliced_loss_is_the_same_without_gradients_and_keeps_no_graph():
    x, directions = images(), draws("v").normal((2, 3, *SHAPE))
    layer = torch.nn.Linear(DIMS, DIMS).double()

    def score_fn(x):
        return layer(x.flatten(1)).tanh().view_as(x)

    learning = sliced_loss(score_fn, x, SIGMA, directions)
    with torch.no_grad():
        plain = sliced_loss(score_fn, x, SIGMA, directions)
    assert torch.equal(plain, learning)
    assert learning.requires_grad
    assert not plain.requires_grad
