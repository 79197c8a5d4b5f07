import math

import pytest
import torch

from methods.cld.process import CLD
from methods.cld.samplers import (
    denoise,
    euler_maruyama,
    flow_adaptive,
    flow_euler,
    flow_heun,
    sscs,
    sscs_midpoint,
)

MEAN, VARIANCE = 0.4, 0.25
"""Of the data of these tests, one number."""

VARYING = CLD(beta0=0.5, beta1=5.0)
T_END = 0.1


class Draws:
    """A noise source whose draws are given, and 0 after these."""

    def __init__(self, *draws):
        self.draws = list(draws)

    def normal(self, shape):
        return self.draws.pop(0) if self.draws else torch.zeros(shape, dtype=torch.float64)


def marginal(process, t):
    """Returns mean (2,) and covariance (2, 2) of (x, v) at t for data from N(MEAN, VARIANCE)."""
    t = torch.tensor(t, dtype=torch.float64)
    gains = torch.stack(process.mean_coefficients(t))
    return MEAN * gains, process.covariance(t, image_variance=VARIANCE).matrix()


def score_fn(process):
    """Returns the exact score by v of that data."""

    def score(u, t):
        mean, covariance = marginal(process, t[0].item())
        precision = torch.linalg.inv(covariance)
        centred = u.flatten(1) - mean
        return -(centred @ precision)[:, 1].view(-1, 1, 1, 1)

    return score


def affine(sampler, process, score, times, draws=0, width=2):
    """Returns (A, b, S) of a run u -> A u + b + noise of covariance S, from draws of ``width``
    numbers.

    One batch of the origin and the unit vectors without noise, then of the origin with one unit
    draw each.
    """
    rows = 3 + draws * width
    starts = torch.zeros(rows, 2, dtype=torch.float64)
    starts[1:3] = torch.eye(2)
    tables = torch.zeros(draws, rows, width, dtype=torch.float64)
    for k in range(draws):
        first = 3 + k * width
        tables[k, first : first + width] = torch.eye(width)
    noise = Draws(*tables.view(draws, rows, width, 1, 1))
    ends = sampler(process, score, starts.view(rows, 2, 1, 1), times, noise).flatten(1)
    moved = ends[3:] - ends[0]
    return (ends[1:3] - ends[0]).T, ends[0], moved.T @ moved


def moments(sampler, process, steps, draws=0, width=2):
    """Returns mean and covariance after a run from the exact marginal at t = 1."""
    times = torch.linspace(1, T_END, steps + 1, dtype=torch.float64)
    mean, covariance = marginal(process, 1.0)
    for k in range(steps):
        matrix, shift, spread = affine(
            sampler, process, score_fn(process), times[k : k + 2], draws, width
        )
        mean, covariance = matrix @ mean + shift, matrix @ covariance @ matrix.T + spread
    return mean, covariance


def distance(sampler, process, steps, *noise):
    """Returns how far the moments of the output are from those of the diffusion at the end, at
    most.
    """
    found, exact = moments(sampler, process, steps, *noise), marginal(process, T_END)
    return max((a - b).abs().max().item() for a, b in zip(found, exact, strict=True))


def order(sampler, process, *noise):
    return math.log2(
        distance(sampler, process, 64, *noise) / distance(sampler, process, 128, *noise)
    )


@pytest.mark.parametrize("process", [CLD(), VARYING], ids=["constant", "varying"])
def test_sscs_is_of_order_one_and_with_the_midpoint_rule_of_order_two(process):
    assert 0.85 < order(sscs, process, 2) < 1.15
    assert 1.85 < order(sscs_midpoint, process, 2) < 2.15


def flow_order(sampler, least):
    """Returns the order by three runs of one start, since no closed form says where the flow takes
    it.
    """
    start = torch.tensor([[0.3, -0.2], [-1.0, 0.4]], dtype=torch.float64).view(2, 2, 1, 1)
    grids = [
        torch.linspace(1, T_END, steps + 1, dtype=torch.float64)
        for steps in (least, 2 * least, 4 * least)
    ]
    coarse, middle, fine = (sampler(VARYING, score_fn(VARYING), start, times) for times in grids)
    return math.log2((coarse - middle).abs().max() / (middle - fine).abs().max())


def test_the_flow_is_of_order_one_by_euler_and_two_by_heun():
    assert 0.85 < flow_order(flow_euler, 200) < 1.15
    assert 1.85 < flow_order(lambda *known: flow_heun(*known, last="heun"), 64) < 2.15


def test_euler_maruyama_is_of_order_one():
    assert 0.85 < order(euler_maruyama, CLD(), 1, 1) < 1.15  # it draws for v alone


def prior_score(u, t):
    """The score under which the part of the reverse SDE that is not solved exactly is 0."""
    return -u.chunk(2, 1)[1] / VARYING.mass


def backwards(t, s):
    """Returns the matrix that takes (x, v) from t to s < t where that part is 0: the velocity
    reversed, and back.
    """
    sign = torch.tensor([1.0, -1.0], dtype=torch.float64)
    return sign[:, None] * VARYING.transition(t, s)[0] * sign


@pytest.mark.parametrize("sampler", [sscs, sscs_midpoint])
def test_where_nothing_is_left_to_learn_one_step_is_exact_and_keeps_the_prior(sampler):
    stationary = torch.diag(torch.tensor([1.0, VARYING.mass], dtype=torch.float64))
    times = torch.tensor([1.0, 0.2], dtype=torch.float64)
    matrix, shift, spread = affine(sampler, VARYING, prior_score, times, 2)
    torch.testing.assert_close(matrix, backwards(*times), rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(
        matrix @ stationary @ matrix.T + spread, stationary, rtol=1e-12, atol=1e-14
    )
    assert (shift == 0).all()


def test_published_half_steps_take_the_rates_of_the_first_half_twice():
    def published(*known):
        return sscs(*known, half_step="published")

    times = torch.tensor([1.0, 0.2], dtype=torch.float64)
    first = backwards(times[0], times.mean())
    matrix, _, _ = affine(published, VARYING, prior_score, times)
    torch.testing.assert_close(matrix, first @ first, rtol=1e-12, atol=1e-14)
    for a, b in zip(moments(sscs, CLD(), 8, 2), moments(published, CLD(), 8, 2), strict=True):
        torch.testing.assert_close(
            a, b, rtol=1e-12, atol=1e-14
        )  # where the rate is constant it is all the same


def test_numerical_eps_raises_both_variances_of_each_half_step():
    times, eps = torch.tensor([1.0, 0.9], dtype=torch.float64), 1e-3

    def raised(*known):
        return sscs(*known, numerical_eps=eps)

    _, _, usual = affine(sscs, VARYING, prior_score, times, 2)
    _, _, spread = affine(raised, VARYING, prior_score, times, 2)
    last, identity = backwards(times.mean(), times[1]), torch.eye(2, dtype=torch.float64)
    torch.testing.assert_close(
        spread, usual + eps * (last @ last.T + identity), rtol=1e-9, atol=1e-14
    )


def test_the_adaptive_solver_meets_the_end_of_the_flow():
    start = torch.tensor([[0.3, -0.2], [-1.0, 0.4]], dtype=torch.float64).view(2, 2, 1, 1)
    times = torch.linspace(1, T_END, 1001, dtype=torch.float64)
    fine = flow_heun(VARYING, score_fn(VARYING), start, times, last="heun")
    found = flow_adaptive(VARYING, score_fn(VARYING), start, tolerance=1e-7, t_end=T_END)
    torch.testing.assert_close(found, fine, rtol=0, atol=1e-4)


def test_denoising_moves_x_along_its_velocity_alike_with_and_without_the_network():
    process, t = VARYING, 0.05
    u = torch.tensor([0.3, -0.2], dtype=torch.float64).view(1, 2, 1, 1)
    rate = 0.5 + 5.0 * t
    moved = denoise(process, None, u, t)
    published = denoise(process, score_fn(process), u, t, "published")
    assert moved[0, 0].item() == pytest.approx(0.3 - t * rate / process.mass * -0.2)
    torch.testing.assert_close(moved[:, :1], published[:, :1], rtol=1e-14, atol=0)
    assert torch.equal(denoise(process, None, u, t, "none"), u)
    assert torch.equal(moved[:, 1:], u[:, 1:])
    assert not torch.equal(published[:, 1:], u[:, 1:])
