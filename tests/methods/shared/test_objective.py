import math

import pytest
import torch

from bench.method import Noise
from methods.shared.objective import (
    Levels,
    denoising_loss,
    discrete_loss,
    edm_loss,
    importance_times,
)
from methods.shared.precondition import denoiser, log_normal, score_of
from methods.shared.process import VE, VP, SubVP, like

SHAPE = (4, 1, 2, 2)
T = torch.tensor([0.01, 0.2, 0.6, 1.0], dtype=torch.float64)

each_process = pytest.mark.parametrize(
    "process", [VE(), VP(), SubVP()], ids=lambda process: type(process).__name__
)


def draws() -> tuple[torch.Tensor, torch.Tensor]:
    noise = Noise(0, dtype=torch.float64)
    return noise.uniform(SHAPE), noise.normal(SHAPE)


@each_process
@pytest.mark.parametrize("weighting", ["std", "likelihood"])
def test_the_score_of_the_noise_itself_has_no_loss(process, weighting):
    x0, z = draws()
    loss = denoising_loss(
        process, lambda x, t: -z / process.std(t).view(-1, 1, 1, 1), x0, T, z, weighting
    )
    torch.testing.assert_close(loss, torch.zeros(4, dtype=torch.float64), rtol=0, atol=1e-20)


@each_process
def test_a_zero_score_loses_the_noise_under_std_weighting(process):
    x0, z = draws()
    loss = denoising_loss(process, lambda x, t: torch.zeros_like(x), x0, T, z)
    torch.testing.assert_close(loss, z.square().flatten(1).mean(1), rtol=1e-12, atol=0)


@each_process
def test_likelihood_weighting_is_g_squared_over_s_squared_times_std_weighting(process):
    x0, z = draws()
    plain, weighted = (
        denoising_loss(process, lambda x, t: -x, x0, T, z, name) for name in ("std", "likelihood")
    )
    factor = (process.diffusion(T) / process.std(T)).square()
    torch.testing.assert_close(weighted, factor * plain, rtol=1e-10, atol=0)


@each_process
@pytest.mark.parametrize("weighting", ["std", "likelihood"])
def test_the_sum_is_half_the_dimensions_times_the_mean(process, weighting):
    x0, z = draws()
    mean, half_sum = (
        denoising_loss(process, lambda x, t: -x, x0, T, z, weighting, reduction)
        for reduction in ("mean", "sum")
    )
    torch.testing.assert_close(half_sum, 0.5 * x0[0].numel() * mean, rtol=1e-12, atol=0)


# Times in proportion to the likelihood weighting


def score_of_gaussian(process, spread=0.5):
    """The exact score of N(0, spread^2) data."""
    return lambda x, t: (
        -x / like((spread * process.mean_coefficient(t)).square() + process.std(t).square(), x)
    )


def weight(process, t):
    return (process.diffusion(t) / process.std(t)).square()


def estimates(process, sampling, count=20_000, t_min=1e-3):
    """Returns losses of weighting "likelihood" of one pixel of N(0, 0.5^2) data under its exact
    score.
    """
    noise = Noise(1, dtype=torch.float64)
    u, z, x0 = (
        noise.uniform((count,)),
        noise.normal((count, 1, 1, 1)),
        0.5 * noise.normal((count, 1, 1, 1)),
    )
    score_fn = score_of_gaussian(process)
    if sampling == "importance":
        t, factor = importance_times(process, u, t_min)
        return factor * denoising_loss(process, score_fn, x0, t, z)
    return denoising_loss(process, score_fn, x0, t_min + (1 - t_min) * u, z, "likelihood")


def expected_loss(process, spread=0.5, t_min=1e-3):
    """Returns the mean over t of the likelihood weighting's loss of that data, by quadrature in log
    t.
    """
    t = torch.exp(torch.linspace(math.log(t_min), 0, 200_001, dtype=torch.float64))
    signal = (spread * process.mean_coefficient(t)).square()
    left = signal / (
        signal + process.std(t).square()
    )  # of the noise's unit variance, what the score leaves
    return torch.trapezoid(weight(process, t) * left, t).item() / (1 - t_min)


@each_process
def test_importance_sampled_times_leave_the_expectation_as_it_is_and_lower_the_variance(process):
    uniform, importance = estimates(process, "uniform"), estimates(process, "importance")
    expected = expected_loss(process)
    for values in (uniform, importance):
        assert abs(values.mean() - expected) < 4 * values.std() / len(values) ** 0.5
    # VE's weight is constant in time: there the two are one. The others gain by their weight's
    # variance.
    gain = (uniform.var() / importance.var()).item()
    assert gain == pytest.approx(1, abs=1e-6) if isinstance(process, VE) else gain > 2


@each_process
def test_importance_sampled_times_have_the_density_of_the_weight(process):
    t_min = 1e-3
    u = torch.linspace(0, 1, 1001, dtype=torch.float64)
    t, factor = importance_times(process, u, t_min)
    assert (t.diff() > 0).all()
    assert (t[0].item(), t[-1].item()) == (pytest.approx(t_min), pytest.approx(1))
    for low, high in ((0, 100), (400, 600), (900, 1000)):
        within = torch.linspace(t[low].item(), t[high].item(), 200_001, dtype=torch.float64)
        mass = torch.trapezoid(weight(process, within), within) / (factor * (1 - t_min))
        assert mass.item() == pytest.approx((high - low) / 1000, rel=1e-4)


def test_importance_sampled_times_stay_in_their_range_in_float32():
    t, _ = importance_times(VP(), Noise(0).uniform((10_000,)), 1e-5)
    assert t.dtype == torch.float32
    assert t.min() >= 1e-5
    assert t.max() <= 1


# Discrete time


def test_levels_are_smlds_sigmas_and_ddpms_cumulative_products():
    ve, vp = Levels.of(VE(0.01, 50.0).published_chain(10)), Levels.of(VP().published_chain(1000))
    sigmas = torch.tensor([0.01 * 5000 ** (k / 9) for k in range(10)], dtype=torch.float64)
    torch.testing.assert_close(ve.std, sigmas, rtol=1e-12, atol=0)
    assert ve.mean.eq(1).all()
    kept = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)
    torch.testing.assert_close(vp.mean.square(), kept, rtol=1e-12, atol=0)
    torch.testing.assert_close(vp.std.square(), 1 - kept, rtol=1e-9, atol=0)


@pytest.mark.parametrize("process", [VE(), VP()], ids=lambda process: type(process).__name__)
def test_the_discrete_loss_is_the_continuous_one_in_the_limit_of_many_levels(process):
    scales = 20_000
    x0, z = draws()
    level = torch.tensor([0, 4_000, 12_000, scales - 1])
    discrete = discrete_loss(
        Levels.of(process.published_chain(scales)), lambda x, k: x, x0, level, z
    )
    continuous = denoising_loss(process, lambda x, t: x, x0, level.double() / (scales - 1), z)
    torch.testing.assert_close(
        discrete[1:], continuous[1:], rtol=1e-3, atol=0
    )  # at k = 0 VP's std is one step's


# EDM


def test_edms_network_sees_and_aims_at_unit_variance_at_every_noise_level():
    sigma_data, seen = 0.7, []
    noise = Noise(2, dtype=torch.float64)
    x0, z = sigma_data * noise.normal((3, 1, 300, 300)), noise.normal((3, 1, 300, 300))
    sigma = torch.tensor([0.01, 1.0, 60.0], dtype=torch.float64)

    def network(x, condition):
        seen.append((x, condition))
        return torch.zeros_like(x)

    skipped = denoiser(network, sigma_data)(x0 + like(sigma, x0) * z, sigma)
    ((x, condition),) = seen
    torch.testing.assert_close(condition, sigma.log() / 4)
    torch.testing.assert_close(
        x.flatten(1).var(1), torch.ones(3, dtype=torch.float64), rtol=0.02, atol=0
    )
    out = sigma * sigma_data / (sigma**2 + sigma_data**2).sqrt()
    target = (x0 - skipped) / like(out, x0)
    torch.testing.assert_close(
        target.flatten(1).var(1), torch.ones(3, dtype=torch.float64), rtol=0.02, atol=0
    )
    # With the target's unit variance, lambda makes the loss of a silent network 1 at every level.
    silent = edm_loss(denoiser(network, sigma_data), x0, sigma, z, sigma_data)
    torch.testing.assert_close(silent, torch.ones(3, dtype=torch.float64), rtol=0.02, atol=0)


def test_the_best_denoiser_has_the_exact_score_and_the_least_loss():
    """Of N(0, sigma_data^2) the best denoiser is c_skip x: the network's best output is 0."""
    sigma_data, noise = 0.5, Noise(0, dtype=torch.float64)
    x, sigma = (
        noise.normal((5, 1, 4, 4)),
        torch.tensor([0.01, 0.3, 1.0, 7.0, 80.0], dtype=torch.float64),
    )
    best = denoiser(lambda x, condition: torch.zeros_like(x), sigma_data)
    exact = -x / like(sigma_data**2 + sigma**2, x)
    torch.testing.assert_close(score_of(best, x, sigma), exact, rtol=1e-9, atol=1e-12)


def test_log_normal_levels_have_the_mean_and_spread_of_their_logarithm():
    levels = log_normal(Noise(0, dtype=torch.float64).normal((100_000,)), -1.2, 1.2).log()
    assert levels.mean().item() == pytest.approx(-1.2, abs=0.02)
    assert levels.std().item() == pytest.approx(1.2, abs=0.02)
