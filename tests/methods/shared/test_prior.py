import math

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from bench.method import Noise
from methods.shared.prior import (
    Basis,
    Fitted,
    Points,
    fit_prior,
    moments,
    restore_prior,
    standing_out,
)

SHAPE = (1, 2, 3)
STD = 0.5


def rotation(size, seed):
    """Returns an orthonormal matrix that is no permutation."""
    return torch.linalg.qr(Noise(seed, dtype=torch.float64).normal((size, size))).Q


BASIS = Basis(rotation(2, 1), rotation(3, 2))


def images_of(coefficients):
    return BASIS.images(coefficients, SHAPE)


def correlated(count=4000, seed=0):
    """Returns coefficients of which the first three stand out of noise of deviation 0.5, and are
    correlated.
    """
    mix = torch.tensor(
        [[1.0, 0.8, 0, 0, 0, 0], [0, 0.6, -0.7, 0, 0, 0], [0, 0, 0.4, 0, 0, 0]], dtype=torch.float64
    )
    z = Noise(seed, dtype=torch.float64).normal((count, 6))
    a = z[:, :3] @ mix + torch.tensor([0.3, -1.0, 0.2, 0.4, 0.0, -0.6])
    return a + 0.02 * torch.cat([torch.zeros(count, 3), z[:, 3:]], dim=1)


def fit(a, kind="gaussian", std=STD, **knobs):
    images = images_of(a)
    return fit_prior(kind, lambda: images.split(700), std, BASIS, **knobs)


def coefficients(prior, count, seed=3):
    return BASIS.coefficients(prior.sample(count, Noise(seed, dtype=torch.float64)))


def test_a_basis_turns_images_round_and_back_and_keeps_lengths():
    x = Noise(0, dtype=torch.float64).normal((4, *SHAPE))
    a = BASIS.coefficients(x)
    expected = torch.einsum("ih,jw,bchw->bcij", BASIS.rows, BASIS.columns, x).flatten(1)
    torch.testing.assert_close(a, expected)
    torch.testing.assert_close(BASIS.images(a, SHAPE), x)
    torch.testing.assert_close(a.square().sum(1), x.flatten(1).square().sum(1))
    assert torch.equal(Basis.pixels(2, 3).coefficients(x), x.flatten(1))


def test_moments_of_chunks_are_those_of_the_whole_however_far_from_zero():
    a = 1e6 + Noise(0, dtype=torch.float64).normal((1000, 3))
    count, mean, variance = moments(a.split(300))
    assert count == 1000
    torch.testing.assert_close(mean, a.mean(0), rtol=1e-14, atol=0)
    torch.testing.assert_close(variance, a.var(0, correction=0), rtol=1e-9, atol=0)


def test_coefficients_stand_out_above_a_hundredth_of_the_noise_and_the_largest_come_first():
    variance = torch.tensor([0.9, 1.1, 5.0, 1.0, 0.0, 2.0], dtype=torch.float64) * 0.01 * STD**2
    assert standing_out(variance, STD, 10).tolist() == [1, 2, 5]
    assert standing_out(variance, STD, 2).tolist() == [2, 5]


def test_the_gaussian_has_the_moments_of_the_images_and_the_noise():
    a = correlated()
    prior = fit(a)
    assert prior.modes.tolist() == [0, 1, 2]
    centre = a.mean(0)
    covariance = (a - centre).T @ (a - centre) / len(a)
    covariance[3:, :] = torch.diag(covariance.diagonal())[3:, :]
    covariance[:, 3:] = torch.diag(covariance.diagonal())[:, 3:]
    expected = covariance + STD**2 * torch.eye(6, dtype=torch.float64)
    # Exactly: a draw is affine in its noise, so unit draws give the columns of a square root of the
    # covariance.
    root = torch.stack([BASIS.coefficients(prior.sample(1, Unit(k)))[0] for k in range(6)]) - centre
    torch.testing.assert_close(root.T @ root, expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(BASIS.coefficients(prior.sample(1, Unit(None)))[0], centre)


class Unit:
    """A source of noise whose k-th number is 1 and whose others are 0."""

    def __init__(self, k):
        self.k = k

    def normal(self, shape):
        z = torch.zeros(math.prod(shape), dtype=torch.float64)
        if self.k is not None:
            z[self.k] = 1
        return z.view(shape)


def test_the_gaussians_density_is_scipys():
    a = correlated()
    prior = fit(a)
    covariance = torch.diag(prior.deviation.square())
    together = a[:, :3] - a[:, :3].mean(0)
    covariance[:3, :3] = together.T @ together / len(a) + STD**2 * torch.eye(3)
    at = correlated(50, seed=9) + STD * Noise(4, dtype=torch.float64).normal((50, 6))
    expected = multivariate_normal(a.mean(0).numpy(), covariance.numpy()).logpdf(at.numpy())
    np.testing.assert_allclose(prior.log_prob(images_of(at)).numpy(), expected, rtol=1e-11)


def bimodal(count=3000):
    """Returns coefficients in two clusters of unequal weight, which one Gaussian does not
    describe.
    """
    z = Noise(5, dtype=torch.float64).normal((count, 6))
    a = 0.05 * z
    right = torch.arange(count) % 4 == 0
    a[:, 0] += torch.where(right, 4.0, -2.0)
    a[:, 1] += torch.where(right, z[:, 0], -1.0)
    return a, right


def test_a_mixture_finds_clusters_with_their_weights_and_a_gaussian_does_not():
    a, right = bimodal()
    mixture = fit(a, "mixture", components=2)
    order = mixture.means[:, 0].argsort()
    torch.testing.assert_close(
        mixture.weights[order], torch.tensor([0.75, 0.25], dtype=torch.float64), rtol=1e-6, atol=0
    )
    for k, rows in zip(order, (~right, right), strict=True):
        torch.testing.assert_close(
            mixture.means[k], a[rows][:, mixture.modes].mean(0), rtol=1e-5, atol=1e-6
        )
    drawn = coefficients(mixture, 4000)[:, 0]
    # Three standard errors of a share of 0.25 among 4000.
    assert abs((drawn > 1).double().mean().item() - 0.25) < 3 * math.sqrt(0.25 * 0.75 / 4000)
    at = images_of(a + STD * Noise(6, dtype=torch.float64).normal(a.shape))
    assert mixture.log_prob(at).mean() > fit(a).log_prob(at).mean() + 0.5


def test_the_mixtures_density_is_the_sum_of_scipys():
    a, _ = bimodal()
    mixture = fit(a, "mixture", components=3)
    at = a[:40] + 0.3
    rest = multivariate_normal(
        mixture.mean[mixture.rest].numpy(), np.diag(mixture.deviation[mixture.rest].numpy() ** 2)
    )
    density = sum(
        w.item()
        * multivariate_normal(m.numpy(), (scale @ scale.T).numpy()).pdf(
            at[:, mixture.modes].numpy()
        )
        for w, m, scale in zip(mixture.weights, mixture.means, mixture.scales, strict=True)
    )
    expected = np.log(density) + rest.logpdf(at[:, mixture.rest].numpy())
    np.testing.assert_allclose(mixture.log_prob(images_of(at)).numpy(), expected, rtol=1e-9)


@pytest.mark.parametrize("kind", ["gaussian", "mixture", "training"])
def test_a_density_integrates_to_one(kind):
    basis = Basis.pixels(1, 2)
    a = torch.tensor([[0.5, 0.0], [-0.5, 0.2], [0.1, 0.3]], dtype=torch.float64).repeat(20, 1)
    prior = fit_prior(kind, lambda: [a.view(-1, 1, 1, 2)], 0.3, basis, components=2)
    axis = torch.linspace(-4, 4, 321, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis).view(-1, 1, 1, 2)
    total = prior.log_prob(grid).exp().sum().item() * (8 / 320) ** 2
    assert total == pytest.approx(
        1, abs=1e-9
    )  # sums of smooth functions over a lattice are exact to rounding


def test_wholly_masked_pixels_are_pure_noise():
    a = correlated()
    a[:, 4:] = 0
    prior = fit_prior("gaussian", lambda: [a.view(-1, *SHAPE)], STD, Basis.pixels(2, 3))
    assert not {4, 5} & set(prior.modes.tolist())
    assert prior.mean[4:].eq(0).all()
    assert prior.deviation[4:].eq(STD).all()


def test_a_corruption_that_leaves_nothing_ends_in_noise_alone():
    prior = fit(torch.zeros(50, 6, dtype=torch.float64))
    alone = Fitted.noise(STD, BASIS, SHAPE)
    x = Noise(0, dtype=torch.float64).normal((5, *SHAPE))
    expected = torch.distributions.Normal(0, STD).log_prob(x).flatten(1).sum(1)
    for each in (prior, alone):
        torch.testing.assert_close(each.log_prob(x), expected)
        drawn = each.sample(5, Noise(3, dtype=torch.float64))
        assert BASIS.coefficients(drawn).allclose(
            STD * Noise(3, dtype=torch.float64).normal((5, 6))
        )


def test_correlations_of_coefficients_beyond_the_most_are_left_out():
    a = correlated()
    prior = fit(a, modes=2)
    assert prior.modes.tolist() == [0, 1]
    assert prior.deviation[2] == pytest.approx((a[:, 2].var(correction=0) + STD**2).sqrt().item())


def test_training_images_are_drawn_as_they_are_and_their_density_is_a_kernel_estimate():
    images = images_of(correlated(7))
    prior = fit_prior("training", lambda: images.split(3), 1e-3, BASIS)
    drawn = prior.sample(200, Noise(0, dtype=torch.float64))
    distances = torch.cdist(drawn.flatten(1), images.flatten(1))
    assert distances.min(1).values.max() < 6e-3
    assert set(distances.argmin(1).tolist()) == set(range(7))
    wide = Points(prior.points, STD)
    normal = torch.distributions.Normal(prior.points.double().flatten(1), STD)
    expected = normal.log_prob(drawn.flatten(1)[:, None]).sum(2).logsumexp(1) - math.log(7)
    torch.testing.assert_close(wide.log_prob(drawn), expected, rtol=1e-9, atol=0)


def test_no_more_training_images_are_kept_than_asked_for():
    images = images_of(correlated(100))
    assert len(fit_prior("training", lambda: images.split(30), STD, BASIS, points=40).points) <= 40


@pytest.mark.parametrize("kind", ["gaussian", "mixture", "training"])
def test_what_was_fitted_goes_round_through_its_tensors(kind):
    a, _ = bimodal(300)
    prior = fit(a, kind, components=2)
    again = restore_prior(prior.tensors(), BASIS, SHAPE)
    x = images_of(a[:5])
    assert torch.equal(again.log_prob(x), prior.log_prob(x))
    assert torch.equal(again.sample(5, Noise(1)), prior.sample(5, Noise(1)))
    assert fit(a, kind, components=2).tensors().keys() == prior.tensors().keys()
    for name, tensor in fit(a, kind, components=2).tensors().items():
        assert torch.equal(tensor, prior.tensors()[name])


def test_draws_have_the_noises_type():
    assert fit(correlated()).sample(2, Noise(0)).dtype == torch.float32
