import math

import pytest
import torch
from mpmath import exp, gammainc, mp, mpf, sqrt

from bench.method import Noise
from methods.cld.process import CLD

mp.dps = 50
PROCESSES = {
    "cifar10": CLD(),
    "celeba_post": CLD(beta0=0.1, beta1=6.9, numerical_eps=1e-6),
    "heavy": CLD(beta0=2.0, beta1=3.0, mass=1.7, gamma=0.3),
}
TIMES = torch.tensor([1e-8, 1e-5, 1e-3, 0.03, 0.2, 0.5, 1.0], dtype=torch.float64)


@pytest.fixture(params=PROCESSES)
def process(request):
    return PROCESSES[request.param]


def column(*values):
    return torch.tensor(values, dtype=torch.float64)


def state(*values):
    """Returns one state whose image and velocity are one number each."""
    return column(*values).view(1, 2, 1, 1)


def exact_moments(process, t, velocity_variance, image_variance):
    """Returns the paper's closed forms (appendix B.1) in 50 digits: xx, xv, vv and their
    determinant.
    """
    b = process.beta0 * mpf(t) + process.beta1 * mpf(t) ** 2 / 2
    mass, p, q = (mpf(value) for value in (process.mass, image_variance, velocity_variance))
    friction = 2 * sqrt(mass)
    g, e, eps = 1 / friction, exp(-4 * b / friction), mpf(process.numerical_eps)
    xx = p + 1 / e - 1 + 4 * g * b * (p - 1) + 4 * g**2 * b**2 * (p - 2) + 16 * g**4 * b**2 * q
    xv = -p * b + 4 * g**2 * b * q - 2 * g * b**2 * (p - 2) - 8 * g**3 * b**2 * q
    vv = (
        mass * (1 / e - 1) + friction * b - 4 * g * b * q + 4 * g**2 * b**2 * q + q + b**2 * (p - 2)
    )
    xx, xv, vv = e * xx + eps, e * xv, e * vv + eps
    return xx, xv, vv, xx * vv - xv**2


@pytest.mark.parametrize("image_variance", [0.0, 0.3])
@pytest.mark.parametrize("known_velocity", [False, True])
def test_covariances_have_ten_digits_of_the_closed_form_at_all_times(
    process, known_velocity, image_variance
):
    velocity_variance = 0.0 if known_velocity else process.velocity_variance
    for t in TIMES:
        ours = process.covariance(t, velocity_variance, image_variance)
        theirs = exact_moments(process, t.item(), velocity_variance, image_variance)
        for entry, expected in zip(ours, theirs, strict=True):
            assert abs(mpf(entry.item()) - expected) <= 1e-10 * abs(expected)


def test_score_scale_has_ten_digits_of_the_reciprocal_of_the_last_entry_of_the_root(process):
    for t in TIMES:
        for velocity_variance in (process.velocity_variance, 0.0):
            xx, _, _, det = exact_moments(process, t.item(), velocity_variance, 0)
            found = mpf(process.score_scale(t, velocity_variance).item())
            assert abs(found - sqrt(xx / det)) <= 1e-10 * found


def test_the_velocity_is_averaged_over_unless_it_is_known(process):
    free, known = process.covariance(TIMES), process.covariance(TIMES, 0.0)
    matrix, _ = process.transition(TIMES)
    gain = matrix[..., 1]
    spread = process.gamma * process.mass * gain[..., :, None] * gain[..., None, :]
    torch.testing.assert_close(free.matrix(), known.matrix() + spread, rtol=1e-12, atol=0)


def test_mean_and_covariance_solve_the_moment_equations_of_the_sde(process):
    # d mean = F mean, d S = F S + S F^T + G G^T, by central differences of half-width h: off by
    # h^2.
    h = 1e-5
    for t in TIMES[3:-1]:
        rate = process.beta(t).item()
        drift = (
            rate
            * torch.tensor([[0, 1 / process.mass], [-1, -process.friction / process.mass]]).double()
        )
        noise = torch.diag(column(0, 2 * process.friction * rate))
        (before, low), (after, high) = process.transition(t - h), process.transition(t + h)
        matrix, diffused = process.transition(t)
        torch.testing.assert_close((after - before) / (2 * h), drift @ matrix, rtol=1e-6, atol=1e-6)
        change = (high.matrix() - low.matrix()) / (2 * h)
        expected = drift @ diffused.matrix() + diffused.matrix() @ drift.T + noise
        torch.testing.assert_close(change, expected, rtol=1e-6, atol=1e-6)


def test_drift_and_diffusion_are_those_of_the_moment_equations(process):
    t, u = column(0.3), state(0.7, -0.4)
    rate = process.beta0 + 0.3 * process.beta1
    x, v = 0.7, -0.4
    friction = 2 * math.sqrt(process.mass)
    expected = state(rate * v / process.mass, -rate * x - friction * rate * v / process.mass)
    torch.testing.assert_close(process.drift(u, t), expected)
    torch.testing.assert_close(process.diffusion(t), column(math.sqrt(2 * friction * rate)))


def test_transitions_compose(process):
    s, r, t = column(0.1), column(0.35), column(0.9)
    (first, low), (second, high), (whole, all_of_it) = (
        process.transition(*pair) for pair in ((r, s), (t, r), (t, s))
    )
    torch.testing.assert_close(second @ first, whole, rtol=1e-12, atol=1e-15)
    joined = second @ low.matrix() @ second.mT + high.matrix()
    torch.testing.assert_close(joined, all_of_it.matrix(), rtol=1e-12, atol=1e-15)


def test_short_transitions_keep_their_digits(process):
    t, step = 0.5, 2.0**-30
    stretched = (process.beta0 + process.beta1 * (t + step / 2)) * step / sqrt(mpf(process.mass))
    _, diffused = process.transition(column(t + step), column(t))
    expected = gammainc(3, 0, 2 * stretched, regularized=True)
    assert abs(mpf(diffused.xx.item()) - expected) <= 1e-10 * expected


def test_perturbed_states_have_the_mean_and_covariance_of_the_kernel(process):
    t = torch.tensor([0.02, 0.6], dtype=torch.float64)
    x0, v0 = column(0.8, -0.3).view(2, 1, 1, 1), column(0.1, 0.4).view(2, 1, 1, 1)
    units = torch.eye(2, dtype=torch.float64).view(2, 1, 2, 1, 1)
    for velocity in (None, v0):
        covariance = process.covariance(t, None if velocity is None else 0.0)
        matrix, _ = process.transition(t)
        given = torch.stack([x0, torch.zeros_like(v0) if velocity is None else velocity], 1).view(
            2, 2, 1
        )
        mean = process.perturb(x0, t, torch.zeros(2, 2, 1, 1, dtype=torch.float64), velocity)
        torch.testing.assert_close(mean.view(2, 2, 1), matrix @ given)
        moved = [process.perturb(x0, t, unit.expand(2, 2, 1, 1), velocity) - mean for unit in units]
        root = torch.stack([column.view(2, 2) for column in moved], -1)
        torch.testing.assert_close(root @ root.mT, covariance.matrix(), rtol=1e-10, atol=1e-15)
        assert (root[:, 0, 1] == 0).all()  # the second draw is the velocity's own


def test_states_keep_their_dtype_while_coefficients_are_float64():
    process, t = CLD(), torch.tensor([1e-5])
    x0 = torch.full((1, 1, 2, 2), 0.5)
    assert process.perturb(x0, t, torch.zeros(1, 2, 2, 2)).dtype == torch.float32
    assert process.flow(x0, torch.zeros(1, 2, 2, 2), t).dtype == torch.float32
    assert process.covariance(t).det.dtype == process.beta(t).dtype == torch.float64


@pytest.mark.parametrize(
    "process", [CLD(), CLD(beta0=2.0, beta1=3.0, mass=1.7, gamma=0.3)], ids=["cifar10", "heavy"]
)
def test_the_flow_moves_gaussian_data_as_their_moments_move(process):
    # For u ~ N(0, P) the flow is linear, u' = K u, and P' = K P + P K^T; by differences of P, off
    # by h^2.
    h, t = 1e-5, column(0.4)
    moments = [
        process.covariance(time, image_variance=0.6).matrix()[0] for time in (t - h, t, t + h)
    ]
    inverse = torch.linalg.inv(moments[1])
    columns = []
    for unit in torch.eye(2, dtype=torch.float64):
        score = -(inverse @ unit)[1].view(1, 1, 1, 1)
        columns.append(process.flow(score, unit.view(1, 2, 1, 1), t).flatten())
    slope = torch.stack(columns, 1)
    expected = slope @ moments[1] + moments[1] @ slope.T
    torch.testing.assert_close((moments[2] - moments[0]) / (2 * h), expected, rtol=1e-5, atol=1e-6)


def test_log_snr_is_that_of_the_best_estimate_of_the_image_and_falls_with_time(process):
    t = TIMES[2:]
    gains = torch.stack(process.mean_coefficients(t), -1)
    told = torch.einsum(
        "bi,bij,bj->b", gains, torch.linalg.inv(process.covariance(t).matrix()), gains
    )
    torch.testing.assert_close(process.log_snr(t), told.log(), rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(process.noise_level(t), told.rsqrt(), rtol=1e-8, atol=0)
    assert (process.log_snr(torch.logspace(-5, 0, 200, dtype=torch.float64)).diff() < 0).all()


def test_times_come_back_from_their_log_snr(process):
    t = torch.logspace(-3, 0, 50, dtype=torch.float64)
    torch.testing.assert_close(process.time_of_log_snr(process.log_snr(t)), t, rtol=1e-7, atol=0)


def test_the_prior_is_stationary_and_has_the_density_it_is_drawn_from(process):
    u = process.prior((4096, 1, 2, 2), Noise(0)).double()
    x, v = u.chunk(2, 1)
    for half, variance in ((x, 1.0), (v, process.mass)):
        # Within four standard errors of the variance of 16,384 draws.
        assert abs(half.var().item() / variance - 1) < 4 * math.sqrt(2 / half.numel())
    matrix, diffused = process.transition(column(1.0))
    stationary = torch.diag(column(1.0, process.mass))
    kept = matrix @ stationary @ matrix.mT + diffused.matrix()
    torch.testing.assert_close(kept[0], stationary, rtol=1e-12, atol=1e-13)
    normal = torch.distributions.Normal
    expected = normal(0, 1).log_prob(x).flatten(1).sum(1)
    expected += normal(0, math.sqrt(process.mass)).log_prob(v).flatten(1).sum(1)
    torch.testing.assert_close(process.prior_log_prob(u), expected)
