"""Samplers on Gaussian data with independent pixels, where score, flow and every step are known
exactly.
"""

from functools import partial

import pytest
import torch

from bench.method import Noise
from methods.shared.flow import edm_stochastic, flow_euler, flow_heun
from methods.shared.grids import grid
from methods.shared.isotropic import (
    ddim,
    deis,
    dpm_solver_2m,
    dpm_solver_3m,
    sde_dpm_solver_2m,
    unipc,
)
from methods.shared.process import VE, VP, SubVP
from methods.shared.samplers import (
    ancestral,
    denoise,
    euler_maruyama,
    reverse_diffusion,
)

SHAPE = (1, 2, 2)
MEAN = torch.tensor([0.3, -0.2, 0.0, 0.5], dtype=torch.float64).view(1, *SHAPE)
STD = torch.tensor([0.1, 0.4, 0.9, 2.0], dtype=torch.float64).view(1, *SHAPE)
PROCESSES = [VE(0.01, 20.0), VP(), SubVP()]
SDE_SAMPLERS = {
    "euler_maruyama": euler_maruyama,
    "reverse_diffusion": reverse_diffusion,
    "ancestral": ancestral,
    "ancestral_transition": partial(ancestral, variance="transition"),
    "ddim_half": partial(ddim, eta=0.5),
    "sde_dpm_solver_2m": sde_dpm_solver_2m,
}
VARIABLES = ("angle", "sigma", "t")

each_process = pytest.mark.parametrize(
    "process", PROCESSES, ids=lambda process: type(process).__name__
)
each_sde_sampler = pytest.mark.parametrize("sampler", SDE_SAMPLERS.values(), ids=SDE_SAMPLERS)


class Impulse:
    """A noise source that is 1 at one draw, 0 at all others, and counts them."""

    def __init__(self, at: int = -1) -> None:
        self.at = at
        self.draws = 0

    def normal(self, shape):
        self.draws += 1
        return torch.full(tuple(shape), float(self.draws - 1 == self.at), dtype=torch.float64)


def gaussian_score(process, mean=MEAN, std=STD):
    """The exact score of N(mean, std^2) data."""

    def score_fn(x, t):
        m, s = process.mean_coefficient(t).view(-1, 1, 1, 1), process.std(t).view(-1, 1, 1, 1)
        return -(x - m * mean) / (m**2 * std**2 + s**2)

    return score_fn


def marginal(process, t: float, mean=MEAN, std=STD):
    """Mean and standard deviation of x_t."""
    at = torch.tensor(t, dtype=torch.float64)
    m, s = process.mean_coefficient(at), process.std(at)
    return m * mean, torch.sqrt(m**2 * std**2 + s**2)


def exact_flow(process, x, t: float, mean=MEAN, std=STD):
    """Carries x at t = 1 along the probability flow to t: of Gaussian data it keeps (x - mean) /
    std.
    """
    (mean1, std1), (mean_t, std_t) = (
        marginal(process, 1.0, mean, std),
        marginal(process, t, mean, std),
    )
    return mean_t + std_t * (x - mean1) / std1


def start(process, count: int = 3):
    return process.prior((count, *SHAPE), Noise(0, dtype=torch.float64))


def output_moments(sampler, process, score_fn, times, mean, std):
    """Exact moments of a sampler's output, started from N(mean, std^2): it is linear in x and in
    each draw.
    """
    at_zero, counter = torch.zeros(1, *SHAPE, dtype=torch.float64), Impulse()
    offset = sampler(process, score_fn, at_zero, times, counter)
    slope = sampler(process, score_fn, at_zero + 1, times, Impulse()) - offset
    variance = (slope * std).square()
    for draw in range(counter.draws):
        variance = (
            variance + (sampler(process, score_fn, at_zero, times, Impulse(draw)) - offset).square()
        )
    return slope * mean + offset, variance


@each_process
@pytest.mark.parametrize("variable", VARIABLES)
@pytest.mark.parametrize(
    ("sampler", "order"), [(flow_euler, 1), (flow_heun, 2)], ids=["euler", "heun"]
)
def test_the_flow_converges_at_the_order_of_its_method(process, variable, sampler, order):
    x = start(process)
    errors = []
    for steps in (200, 400, 800):
        times = grid("log_snr", process, steps, t_min=0.05)
        end = sampler(process, gaussian_score(process), x, times, variable=variable)
        errors.append((end - exact_flow(process, x, 0.05)).abs().max())
    measured = torch.log2(torch.stack(errors[:-1]) / torch.stack(errors[1:]))
    assert (measured - order).abs().max() < 0.1, measured


@each_process
@pytest.mark.parametrize("name", ["log_snr", "rho7", "uniform"])
@pytest.mark.parametrize(
    ("sampler", "order"), [(ddim, 1), (dpm_solver_2m, 2)], ids=["ddim", "dpm_solver_2m"]
)
def test_solvers_for_clean_images_converge_at_their_order_on_every_grid(
    process, name, sampler, order
):
    x, errors = start(process), []
    for steps in (200, 400):
        times = grid(name, process, steps, t_min=0.05)
        end = sampler(process, gaussian_score(process), x, times, None)
        errors.append((end - exact_flow(process, x, 0.05)).abs().max())
    assert abs(torch.log2(errors[0] / errors[1]) - order) < 0.1


@each_process
def test_ddim_is_euler_in_the_noise_level_without_noise_and_ancestral_sampling_with_all_of_it(
    process,
):
    score_fn, x, times = gaussian_score(process), start(process), grid("rho7", process, 9)
    flat = flow_euler(process, score_fn, x, times, variable="sigma")
    torch.testing.assert_close(
        ddim(process, score_fn, x, times, Impulse()), flat, rtol=1e-9, atol=1e-12
    )
    for last_noise in (False, True):
        noises = [Noise(1, dtype=torch.float64) for _ in range(2)]
        full = ddim(process, score_fn, x, times, noises[0], eta=1.0, last_noise=last_noise)
        expected = ancestral(process, score_fn, x, times, noises[1], last_noise=last_noise)
        torch.testing.assert_close(full, expected, rtol=1e-9, atol=1e-12)


@each_process
@pytest.mark.parametrize("sampler", [ddim, deis, dpm_solver_2m, dpm_solver_3m, unipc])
def test_solvers_for_clean_images_carry_a_single_image_exactly_however_few_the_steps(
    process, sampler
):
    score_fn = gaussian_score(process, std=0 * STD)
    x, times = start(process), grid("uniform", process, 4)
    end = sampler(process, score_fn, x, times, None)
    torch.testing.assert_close(
        end, exact_flow(process, x, times[-1].item(), std=0 * STD), rtol=1e-9, atol=1e-11
    )


@each_process
def test_churn_keeps_the_marginals_at_the_order_of_heun(process):
    errors = []
    for steps in (150, 300, 600):
        # Taken one by one, as :func:`short_moments` does, each of the steps has its share of the
        # churn.
        churned = partial(edm_stochastic, churn=8.0 / steps, last="heun")
        times = grid("log_snr", process, steps, t_min=0.05)
        variance = short_moments(churned, process, times, *marginal(process, 1.0))
        errors.append((variance.sqrt() - marginal(process, 0.05)[1]).abs().max())
    measured = torch.log2(torch.stack(errors[:-1]) / torch.stack(errors[1:]))
    assert (measured - 2).abs().max() < 0.15, measured


@each_process
def test_churn_raises_the_noise_level_as_edm_does_and_never_past_that_of_t_1(process):
    times, seen = grid("rho7", process, 10), []

    def score_fn(x, t):
        seen.append(t[0].item())
        return gaussian_score(process)(x, t)

    levels = process.noise_level(times)
    least, most = levels[8].item(), levels[2].item()
    noise = Impulse()
    knobs = {"churn": 3.0, "churn_min": least, "churn_max": most}
    edm_stochastic(process, score_fn, start(process), times, noise, **knobs)
    assert noise.draws == 7
    first = process.noise_level(torch.tensor(seen[::2], dtype=torch.float64))
    raised = torch.where(
        (levels[:-1] >= least) & (levels[:-1] <= most), 1.3 * levels[:-1], levels[:-1]
    )
    torch.testing.assert_close(first, raised, rtol=1e-6, atol=0)
    edm_stochastic(process, score_fn, start(process), times, noise, churn=100.0)
    assert max(seen) <= 1 + 1e-12


@each_process
def test_without_churn_edm_is_heun_in_the_noise_level(process):
    x, times = start(process), grid("rho7", process, 6)
    plain = flow_heun(process, gaussian_score(process), x, times, variable="sigma")
    quiet = edm_stochastic(process, gaussian_score(process), x, times, Impulse(), churn=0.0)
    assert torch.equal(plain, quiet)


@each_process
def test_euler_steps_in_sigma_are_ddim_and_carry_a_single_image_exactly_in_one_step(process):
    score_fn = gaussian_score(process, std=0 * STD)
    x, times = start(process), grid("uniform", process, 1)
    end = flow_euler(process, score_fn, x, times, variable="sigma")
    torch.testing.assert_close(
        end, exact_flow(process, x, times[-1].item(), std=0 * STD), rtol=1e-9, atol=1e-12
    )


@each_process
def test_steps_in_angle_are_exact_for_data_of_standard_deviation_data_std(process):
    flat = torch.full_like(STD, 0.7)
    score_fn = gaussian_score(process, mean=0 * MEAN, std=flat)
    x, times = start(process), grid("rho7", process, 3)
    for sampler in (flow_euler, flow_heun):
        end = sampler(process, score_fn, x, times, variable="angle", data_std=0.7)
        torch.testing.assert_close(
            end, exact_flow(process, x, times[-1].item(), 0 * MEAN, flat), rtol=1e-9, atol=1e-12
        )


@each_process
def test_five_evaluations_of_the_default_flow_keep_the_scale_of_pixels_near_data_std(process):
    times = grid("rho7", process, 3)
    mean, std = marginal(process, 1.0)

    def heun(process, score_fn, x, times, noise):
        return flow_heun(process, score_fn, x, times)

    _, variance = output_moments(heun, process, gaussian_score(process), times, mean, std)
    ratio = (variance.sqrt() / marginal(process, times[-1].item())[1])[STD > 0.3]
    assert ratio.min() > 1 / 2
    assert ratio.max() < 2


@each_process
def test_euler_maruyama_has_the_moments_of_its_recursion(process):
    times = grid("quadratic", process, 6)
    mean, std = marginal(process, 1.0)
    got_mean, got_variance = output_moments(
        partial(euler_maruyama, last_noise=True), process, gaussian_score(process), times, mean, std
    )
    variance = std.square()
    for t, s in zip(times[:-1].tolist(), times[1:].tolist(), strict=True):
        at = torch.tensor(t, dtype=torch.float64)
        f, g2, dt = process.drift_coefficient(at), process.diffusion(at).square(), t - s
        centre, spread = marginal(process, t)
        pull = g2 * dt / spread.square()
        mean = mean - f * dt * mean - pull * (mean - centre)
        variance = (1 - f * dt - pull).square() * variance + g2 * dt
    torch.testing.assert_close(got_mean, mean, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(got_variance, variance, rtol=1e-10, atol=0)


@each_process
@pytest.mark.parametrize(
    "name", ["reverse_diffusion", "ancestral", "ancestral_transition", "ddim_half"]
)
def test_predictors_reach_the_data_at_order_one(process, name):
    sampler, errors = SDE_SAMPLERS[name], []
    for steps in (125, 250, 500):
        times = grid("log_snr", process, steps, t_min=0.02)
        mean, std = marginal(process, 1.0)
        moments = short_moments(partial(sampler, last_noise=True), process, times, mean, std)
        errors.append((moments.sqrt() - marginal(process, 0.02)[1]).abs().max())
    measured = torch.log2(torch.stack(errors[:-1]) / torch.stack(errors[1:]))
    assert (measured - 1).abs().max() < 0.15, measured


def short_moments(sampler, process, times, mean, std):
    """The variance of :func:`output_moments`, step by step, in time linear in the steps."""
    variance = std.square()
    for k in range(len(times) - 1):
        _, variance = output_moments(
            sampler, process, gaussian_score(process), times[k : k + 2], mean, variance.sqrt()
        )
    return variance


@each_process
def test_ancestral_steps_are_exact_for_a_single_image_however_few(process):
    times = grid("log_snr", process, 3)
    mean, std = marginal(process, 1.0, std=0 * STD)
    got_mean, got_variance = output_moments(
        partial(ancestral, last_noise=True),
        process,
        gaussian_score(process, std=0 * STD),
        times,
        mean,
        std,
    )
    expected_mean, expected_std = marginal(process, times[-1].item(), std=0 * STD)
    torch.testing.assert_close(got_mean, expected_mean, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(
        got_variance, expected_std.square().expand_as(got_variance), rtol=1e-9, atol=0
    )


@each_process
@each_sde_sampler
@pytest.mark.parametrize("last_noise", [False, True])
def test_each_noisy_step_draws_once_and_the_last_is_noise_free_by_default(
    process, sampler, last_noise
):
    noise = Impulse()
    knobs = {"last_noise": True} if last_noise else {}
    sampler(
        process, gaussian_score(process), start(process), grid("rho7", process, 5), noise, **knobs
    )
    assert noise.draws == 4 + last_noise


@each_process
@pytest.mark.parametrize(
    ("sampler", "cost"),
    [
        *((sampler, 5) for sampler in SDE_SAMPLERS.values()),
        (partial(reverse_diffusion, probability_flow=True), 5),
        (ddim, 5),
        (dpm_solver_2m, 5),
        (flow_euler, 5),
        *((sampler, 5) for sampler in (deis, dpm_solver_3m, unipc)),
        (flow_heun, 9),
        (partial(edm_stochastic, churn=3.0), 9),
        (partial(flow_heun, last="heun"), 10),
    ],
)
def test_five_steps_cost_what_is_stated_and_leave_the_start_as_it_was(process, sampler, cost):
    calls, score_fn, x = [], gaussian_score(process), start(process)
    kept = x.clone()

    def counted(x, t):
        assert t.shape == (len(x),)
        assert t.dtype == x.dtype
        calls.append(t[0].item())
        return score_fn(x, t)

    end = sampler(process, counted, x, grid("rho7", process, 5), Noise(1, dtype=torch.float64))
    assert len(calls) == cost
    assert end.isfinite().all()
    assert torch.equal(x, kept)


@each_process
@pytest.mark.parametrize(
    "sampler",
    [
        *SDE_SAMPLERS.values(),
        *(ddim, deis, dpm_solver_2m, dpm_solver_3m, unipc),
        *(flow_euler, flow_heun, partial(edm_stochastic, churn=3.0)),
    ],
)
def test_float32_follows_float64(process, sampler):
    times, x = grid("log_snr", process, 20), start(process)
    ends = []
    for dtype in (torch.float32, torch.float64):
        score_fn = gaussian_score(process, MEAN.to(dtype), STD.to(dtype))
        end = sampler(process, score_fn, x.to(dtype), times, Noise(1, dtype=dtype))
        assert end.dtype == dtype
        ends.append(end.double())
    torch.testing.assert_close(ends[0], ends[1], rtol=1e-3, atol=1e-4)


@each_process
def test_denoise_gives_the_mean_of_the_data_given_the_noisy_image(process):
    x, t = start(process), 0.4
    at = torch.tensor(t, dtype=torch.float64)
    m, s = process.mean_coefficient(at), process.std(at)
    expected = MEAN + m * STD**2 / (m**2 * STD**2 + s**2) * (x - m * MEAN)
    torch.testing.assert_close(
        denoise(process, gaussian_score(process), x, t), expected, rtol=1e-10, atol=1e-10
    )


def test_an_unknown_variable_is_refused():
    with pytest.raises(ValueError, match=r"'time'.*angle, sigma, t"):
        flow_euler(
            VP(), gaussian_score(VP()), start(VP()), grid("uniform", VP(), 2), variable="time"
        )
