"""Mixtures of isotropic Gaussians against full-covariance ones, automatic derivatives and sums over
points.
"""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from exact import Mixture as FullMixture

from bench.counter import NetworkCounter
from bench.data.card import DataCard
from bench.data.images import Images, load_images
from bench.method import Noise
from methods.shared import exact
from methods.shared.exact import ExactNetwork, Mixture

SHAPE = (1, 2, 2)
WEIGHTS = torch.tensor([0.2, 0.5, 0.1, 0.2], dtype=torch.float64)
# Unsorted, with one value twice, and a point: every group of variances is met.
VARIANCES = torch.tensor([0.3, 0.0, 1.2, 0.3], dtype=torch.float64)
MEANS = Noise(3, dtype=torch.float64).normal((4, 4))


def mixture() -> Mixture:
    return Mixture(WEIGHTS, MEANS.view(4, *SHAPE), VARIANCES)


def full(matrix: torch.Tensor | None = None) -> FullMixture:
    """The same data, or A x0, by full covariances."""
    matrix = torch.eye(4, dtype=torch.float64) if matrix is None else matrix
    covariances = VARIANCES.view(-1, 1, 1) * (matrix @ matrix.T)
    return FullMixture(WEIGHTS, MEANS @ matrix.T, covariances, SHAPE)


def rows(count: int = 6) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    noise = Noise(4, dtype=torch.float64)
    return (
        noise.normal((count, *SHAPE)),
        0.2 + noise.uniform((count,)),
        0.1 + noise.uniform((count,)),
    )


def same(actual: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-11)


def test_density_and_score_are_those_of_the_full_covariances():
    x, m, s = rows()
    same(mixture().log_prob(x, m, s), full().log_prob(x, m, s))
    same(mixture().score(x, m, s), full().score(x, m, s))


def test_the_score_is_the_gradient_of_the_density():
    x, m, s = rows()
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(mixture().log_prob(x, m, s).sum(), x)
    same(mixture().score(x.detach(), m, s), gradient)


def test_the_posterior_mean_is_tweedies():
    x, m, s = rows()
    m, s = m.view(-1, 1, 1, 1), s.view(-1, 1, 1, 1)
    same(
        mixture().denoise(x, m, s), (x + s.square() * full().score(x, m.flatten(), s.flatten())) / m
    )


def test_gains_of_each_dimension_are_those_of_a_diagonal_operator():
    x, _, s = rows()
    gains = torch.tensor([1.0, 0.4, 0.05, 0.0], dtype=torch.float64)
    data, one = full(gains.diag()), torch.ones(len(x), dtype=torch.float64)
    per_dimension = gains.view(1, *SHAPE)
    same(mixture().log_prob(x, per_dimension, s), data.log_prob(x, one, s))
    same(mixture().score(x, per_dimension, s), data.score(x, one, s))
    # Where the gain is not 0 its multiple of the mean of x0 is Tweedie's mean of C x0.
    clean = per_dimension * mixture().denoise(x, per_dimension, s)
    same(clean, x + s.square().view(-1, 1, 1, 1) * data.score(x, one, s))


def test_a_dimension_that_is_lost_is_filled_in_from_the_others():
    """Of two points that differ in all dimensions, the visible ones say which it was."""
    points = Mixture(torch.ones(2), torch.tensor([[1.0, 1.0], [-1.0, -3.0]]), torch.zeros(2))
    x, gain = torch.tensor([[0.99, 0.0]]), torch.tensor([[1.0, 0.0]])
    torch.testing.assert_close(
        points.denoise(x, gain, torch.tensor([0.1])), torch.tensor([[1.0, 1.0]])
    )


def test_density_integrates_to_one_in_one_dimension():
    data = Mixture(
        torch.tensor([3.0, 1.0]), torch.tensor([[-1.0], [2.0]]), torch.tensor([0.0, 0.5])
    )
    x = torch.linspace(-12, 12, 20_001, dtype=torch.float64).view(-1, 1)
    density = data.log_prob(
        x, torch.tensor([0.7]).expand(len(x)), torch.tensor([0.3]).expand(len(x))
    ).exp()
    assert torch.trapezoid(density, x[:, 0]).item() == pytest.approx(1, abs=1e-9)


def test_affine_and_rotated_data_have_the_transformed_density():
    x, m, s = rows()
    rotation, _ = torch.linalg.qr(Noise(5, dtype=torch.float64).normal((4, 4)))
    turned = mixture().rotated(lambda means: means @ rotation.T)
    same(turned.log_prob((x.flatten(1) @ rotation.T).view_as(x), m, s), mixture().log_prob(x, m, s))
    scaled = mixture().affine(2.0, -1.0)
    shift = -m.view(-1, 1, 1, 1)
    same(scaled.log_prob(2 * x + shift, m, 2 * s), mixture().log_prob(x, m, s) - 4 * np.log(2))


def test_chunks_change_nothing(monkeypatch):
    x, m, s = rows()
    whole = mixture().denoise(x, m, s), mixture().log_prob(x, m, s)
    monkeypatch.setattr(exact, "CHUNK", 9)  # two rows at a time of four components
    same(mixture().denoise(x, m, s), whole[0])
    same(mixture().log_prob(x, m, s), whole[1])


def test_points_far_below_the_noise_floor_of_a_difference_are_told_apart():
    """At 3,072 dimensions and s = 1e-4 the log-densities are right to 1e-3, though |x|^2 / s^2 is
    3e11.
    """
    noise = Noise(6, dtype=torch.float64)
    points, z = noise.normal((3, 3072)), noise.normal((2, 3072))
    s = torch.full((2,), 1e-4, dtype=torch.float64)
    x = points[:2] + 1e-4 * z
    log_prob = Mixture(torch.ones(3), points, torch.zeros(3)).log_prob(x, torch.ones_like(s), s)
    expected = -0.5 * z.square().sum(1) - 3072 * np.log(1e-4 * np.sqrt(2 * np.pi)) - np.log(3)
    torch.testing.assert_close(log_prob, expected, rtol=0, atol=1e-3)


def test_x_and_v_together_say_what_their_combination_says():
    """Against the 2d-dimensional mixture of (x, v) with its full covariances."""
    noise = Noise(7, dtype=torch.float64)
    x, v = noise.normal((5, *SHAPE)), noise.normal((5, *SHAPE))
    gains = 0.3 + noise.uniform((5,)), -0.2 - noise.uniform((5,))
    low = 0.2 + noise.uniform((3, 5))
    covariance = (
        low[0].square(),
        low[0] * low[1],
        low[1].square() + low[2].square(),
        (low[0] * low[2]).square(),
    )
    scores = mixture().joint_score(x, v, gains, covariance)
    eye = torch.eye(4, dtype=torch.float64)
    for i in range(5):
        lift = torch.cat([gains[0][i] * eye, gains[1][i] * eye])
        xx, xv, vv = (entry[i] * eye for entry in covariance[:3])
        spread = torch.cat([torch.cat([xx, xv], 1), torch.cat([xv, vv], 1)])
        joint = torch.cat([x[i].flatten(), v[i].flatten()]).requires_grad_()
        parts = [
            torch.distributions.MultivariateNormal(
                lift @ mean, spread + variance * lift @ lift.T
            ).log_prob(joint)
            for mean, variance in zip(MEANS, VARIANCES, strict=True)
        ]
        (gradient,) = torch.autograd.grad(
            torch.logsumexp(torch.stack(parts) + WEIGHTS.log(), 0), joint
        )
        same(torch.cat([score[i].flatten() for score in scores]), gradient)


def declared(**changes) -> Images:
    images = np.array([[[[0, 2]]], [[[1, 1]]]], dtype=np.uint8)
    fields = {
        "version": 1,
        "summary": "two images",
        "shape": (1, 1, 2),
        "levels": 3,
        "splits": {"train": 2, "test": 2},
        "split_rule": "none",
        "load": lambda split: images,
    }
    return Images("two", DataCard(**{**fields, **changes}))


def test_images_without_a_declared_mixture_are_their_own_distribution():
    data = Mixture.of(declared(), "cpu")
    assert data.means.tolist() == [[0.0, 1.0], [0.5, 0.5]]
    assert data.variances.tolist() == [0.0, 0.0]
    assert data.log_weights.exp().tolist() == pytest.approx([0.5, 0.5])


def test_mirrored_images_are_part_of_the_distribution_where_training_flips():
    assert Mixture.of(declared(flips=True), "cpu").means[2:].tolist() == [[1.0, 0.0], [0.5, 0.5]]


def test_a_declared_mixture_comes_before_the_images():
    data = declared()
    data.mixture = SimpleNamespace(
        weights=(0.25, 0.75), means=((0.0, 0.0), (1.0, 1.0)), stds=(0.5, 0.1)
    )
    found = Mixture.of(data, "cpu")
    order = found.variances.argsort()
    assert found.variances[order].tolist() == pytest.approx([0.01, 0.25])
    assert found.log_weights.exp()[order].tolist() == pytest.approx([0.75, 0.25])


def test_a_training_image_is_recovered_through_little_noise():
    data = load_images("digits")
    images = torch.from_numpy(data.train[:3]).float() / 16
    x, one = images + 0.02 * Noise(8).normal(images.shape), torch.ones(3)
    clean = Mixture.of(data, "cpu").affine(2.0, -1.0).denoise(2 * x - 1, one, 0.04 * one)
    torch.testing.assert_close(clean, 2 * images - 1)
    assert clean.dtype == torch.float32


def test_rows_through_an_exact_network_are_counted():
    network = ExactNetwork(lambda x, t: x * t.view(-1, 1))
    with NetworkCounter([network]) as counter:
        network(torch.ones(5, 2), torch.ones(5))
    assert counter.rows == 5
