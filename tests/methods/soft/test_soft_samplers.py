import math
from functools import partial

import pytest
import torch
from exact import Constant, Corrupted, Mixture, Replay
from soft_gaussian import (
    BLUR,
    COVERED,
    PLATEAU,
    SHAPE,
    STRAIGHT,
    SWITCH,
    close,
    gaussian,
    images,
    uniform,
)

from bench.method import Noise
from methods.shared import flow as shared_flow
from methods.shared import isotropic
from methods.shared import samplers as shared
from methods.shared.process import VE, time_like
from methods.soft.corruption import Corruption, make_corruption
from methods.soft.flow import churn, flow_euler, flow_heun, meet
from methods.soft.operator import Scaling
from methods.soft.samplers import ancestral, ddim, momentum, naive
from methods.soft.schedule import Linear, Schedule
from methods.soft.settings import CorruptionParams, NoiseScale

DISCRETE = {"naive": naive, "momentum": momentum, "ancestral": ancestral, "ddim": ddim}

each_discrete = pytest.mark.parametrize("sampler", DISCRETE.values(), ids=DISCRETE)


def moments(sampler, exact: Corrupted, times: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The exact mean and covariance of what a sampler makes of p_1: each step is x -> A x + b + c
    z.
    """
    mean, covariance = exact.moments(1.0)
    dims, shape = len(mean), exact.data.shape
    basis = torch.cat(
        [torch.zeros(1, dims, dtype=torch.float64), torch.eye(dims, dtype=torch.float64)]
    )
    for pair in times.unfold(0, 2, 1):
        step = partial(sampler, exact.corruption, exact.denoise, times=pair)
        values = step(x=basis.view(-1, *shape), noise=Constant(0.0)).reshape(dims + 1, dims)
        matrix, shift = (values[1:] - values[0]).T, values[0]
        noisy = step(x=torch.zeros(1, *shape, dtype=torch.float64), noise=Constant(1.0)).flatten()
        std = (noisy - shift).mean().item()
        mean, covariance = matrix @ mean + shift, matrix @ covariance @ matrix.T
        covariance += std**2 * torch.eye(dims, dtype=torch.float64)
    return mean, covariance


def errors(sampler, corruption: Corruption, counts: tuple[int, ...]) -> list[float]:
    """The error of the covariance at t = 0 after so many steps."""
    exact = Corrupted(gaussian(), corruption)
    target = exact.moments(0.0)[1]
    found = [moments(sampler, exact, meet(uniform(count), corruption.kinks))[1] for count in counts]
    return [(covariance - target).norm().item() for covariance in found]


def order(sampler, corruption: Corruption) -> float:
    coarse, fine = errors(sampler, corruption, (64, 128))
    return math.log2(coarse / fine)


@pytest.mark.parametrize("corruption", [BLUR, PLATEAU, COVERED], ids=["blur", "plateau", "covered"])
@pytest.mark.parametrize(
    ("sampler", "expected"),
    [
        (partial(momentum, last_noise=True), 1),
        (partial(ancestral, last_noise=True), 1),
        (ddim, 1),
        (flow_euler, 1),
        (partial(churn, strength=0.5, last_noise=True), 1),
        (partial(churn, last_noise=True), 1),
        (flow_heun, 2),
    ],
    ids=["momentum", "ancestral", "ddim", "flow_euler", "half_churn", "churn", "flow_heun"],
)
def test_samplers_reach_the_data_with_their_order(sampler, expected, corruption):
    assert order(sampler, corruption) == pytest.approx(expected, abs=0.15)


def test_naive_sampling_does_not_converge_however_many_the_steps():
    coarse, fine = errors(partial(naive, last_noise=True), BLUR, (32, 128))
    assert fine > 0.5 * coarse
    assert fine > 10 * errors(partial(momentum, last_noise=True), BLUR, (128,))[0]


def test_naive_sampling_loses_half_the_variance():
    # Each step keeps k = v / (v + s^2) of x and adds s^2: the variance tends to s^2 / (1 - k^2).
    corruption = Corruption(Scaling(), Linear(0.1, 0.1))
    unit = Mixture(
        *(torch.ones(shape, dtype=torch.float64) for shape in ((1,), (1, 1), (1, 1, 1))),
        shape=(1, 1, 1),
    )
    _, covariance = moments(
        partial(naive, last_noise=True), Corrupted(unit, corruption), uniform(900)
    )
    close(covariance.item(), (1 + 0.01) ** 2 / (2 + 0.01), atol=1e-6)
    close(covariance.item(), 0.507512, atol=1e-6)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (momentum, shared.reverse_diffusion),
        (ancestral, shared.ancestral),
        (ddim, isotropic.ddim),
        (partial(ddim, eta=0.4), partial(isotropic.ddim, eta=0.4)),
        (flow_euler, partial(shared_flow.flow_euler, variable="t")),
        (churn, shared.euler_maruyama),
        (flow_heun, partial(shared_flow.flow_heun, variable="t", last="heun")),
        (partial(flow_heun, last="euler"), partial(shared_flow.flow_heun, variable="t")),
    ],
    ids=[
        "momentum",
        "ancestral",
        "ddim",
        "eta",
        "flow_euler",
        "churn",
        "flow_heun",
        "flow_heun_euler",
    ],
)
def test_without_a_corruption_samplers_are_those_of_variance_exploding(ours, theirs):
    process = VE(0.05, 3.0)
    noise_scale = NoiseScale(schedule="geometric", least=0.05, most=3.0)
    corruption = make_corruption(CorruptionParams(kind="ve", noise=noise_scale), SHAPE)
    data, x, times = gaussian(), 3 * images(), uniform(6)
    draws = [images() + k for k in range(5)]
    found = ours(corruption, Corrupted(data, corruption).denoise, x, times, Replay(*draws))
    close(found, theirs(process, data.score_fn(process), x, times, Replay(*draws)), atol=1e-10)


@each_discrete
def test_a_step_corrupts_the_prediction_as_at_its_end(sampler):
    # Where all is covered at t = 1 the corruption has no inverse, and the step still brings the
    # prediction in.
    clean, x, end = images(), images() + 2, torch.tensor([1.0, 0.5], dtype=torch.float64)
    found = sampler(COVERED, lambda x, t: clean, x, end, Replay())
    ratio = COVERED.std(end[1]) / COVERED.std(end[0])
    kept = {naive: 0.0, ddim: ratio}.get(sampler, ratio**2)
    close(found, 0.5 * clean + kept * x)


def test_momentum_and_ancestral_sampling_differ_by_their_noise_alone():
    x, times, denoiser = (
        images(),
        torch.tensor([1.0, 0.7], dtype=torch.float64),
        Corrupted(gaussian(), BLUR).denoise,
    )
    s, s_end = BLUR.std(times).tolist()

    def step(sampler, value: float) -> torch.Tensor:
        return sampler(BLUR, denoiser, x, times, Constant(value), last_noise=True)

    close(step(momentum, 0.0), step(ancestral, 0.0))
    spread = math.sqrt(s**2 - s_end**2)
    close(step(momentum, 1.0) - step(momentum, 0.0), torch.full_like(x, spread))
    close(step(ancestral, 1.0) - step(ancestral, 0.0), torch.full_like(x, spread * s_end / s))


@pytest.mark.parametrize(
    ("sampler", "excess"), [(momentum, True), (ancestral, False), (ddim, False), (naive, False)]
)
def test_for_a_known_image_a_step_keeps_the_noise_right_but_for_momentum(sampler, excess):
    times = torch.tensor([1.0, 0.7], dtype=torch.float64)
    s, s_end = BLUR.std(times).tolist()

    def step(z: float, value: float) -> torch.Tensor:
        zero, x = (
            torch.zeros(1, *SHAPE, dtype=torch.float64),
            torch.full((1, *SHAPE), s * z, dtype=torch.float64),
        )
        return (
            sampler(BLUR, lambda x, t: zero, x, times, Constant(value), last_noise=True)
            .flatten()[0]
            .item()
        )

    variance = step(1.0, 0.0) ** 2 + step(0.0, 1.0) ** 2
    close(variance, s_end**2 + excess * (s**2 - s_end**2) ** 2 / s**2)


class Trembling(Schedule):
    """A plateau with rounding errors."""

    def __call__(self, t):
        return 0.1 + 1e-17 * torch.round(7 * torch.sin(1e3 * t))

    def derivative(self, t):
        return torch.zeros_like(t)


@pytest.mark.parametrize("sampler", [momentum, ancestral])
def test_along_a_plateau_steps_add_no_noise_and_move_as_the_corruption_does(sampler):
    corruption = Corruption(BLUR.operator, Trembling())
    times, clean, x = uniform(40), images(), images() + 2
    assert (corruption.std(times).diff() > 0).any()
    found = sampler(corruption, lambda x, t: clean, x, times, Constant(1.0))
    # Where rounding lets the noise fall, it leaves a std of the square root of 1e-17 a step.
    close(
        found, x + corruption.apply(clean, times[-1]) - corruption.apply(clean, times[0]), atol=1e-6
    )


@pytest.mark.parametrize("sampler", [momentum, ancestral, churn])
def test_noise_that_grows_towards_the_data_is_refused_where_some_would_have_to_be_taken_away(
    sampler,
):
    corruption = Corruption(Scaling(), Linear(0.3, 0.1))
    with pytest.raises(ValueError, match="grows"):
        sampler(corruption, lambda x, t: x, images(), uniform(4), Replay())
    for allowed in (ddim, flow_euler, flow_heun):
        allowed(corruption, lambda x, t: x, images(), uniform(4), Replay())


@pytest.mark.parametrize("sampler", [momentum, ancestral, ddim, flow_euler, flow_heun])
def test_times_that_begin_a_step_without_noise_are_refused(sampler):
    times = torch.tensor([1.0, 0.0, -0.1], dtype=torch.float64)
    with pytest.raises(ValueError, match="no noise at t = 0"):
        sampler(STRAIGHT, lambda x, t: x, images(), times, Replay())


@each_discrete
def test_a_corruption_that_switches_can_be_undone_in_jumps(sampler):
    clean = images()
    found = sampler(
        SWITCH,
        lambda x, t: clean,
        images(),
        uniform(10),
        Noise(0, dtype=torch.float64),
        final="denoise",
    )
    assert torch.equal(found, clean)


@pytest.mark.parametrize(
    ("sampler", "evaluations"),
    [
        (naive, 5),
        (momentum, 5),
        (ancestral, 5),
        (ddim, 5),
        (flow_euler, 5),
        (flow_heun, 10),
        (partial(flow_heun, last="euler"), 9),
    ],
)
def test_steps_cost_what_they_say_and_the_last_denoising_one_more(sampler, evaluations):
    calls = []

    def denoiser(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        calls.append((x, t))
        return 0.9 * x

    noise = Noise(3, dtype=torch.float64)
    end = sampler(PLATEAU, denoiser, images(), uniform(5), noise)
    assert len(calls) == evaluations
    denoised = sampler(
        PLATEAU, denoiser, images(), uniform(5), Noise(3, dtype=torch.float64), final="denoise"
    )
    assert len(calls) == 2 * evaluations + 1
    x, t = calls[-1]
    assert torch.equal(x, end)
    assert torch.equal(t, time_like(x, 0.0))
    assert torch.equal(denoised, 0.9 * x)


@pytest.mark.parametrize("sampler", [naive, momentum, ancestral, churn])
def test_the_last_step_adds_noise_only_if_asked(sampler):
    draws = [images() for _ in range(4)]
    noise = Replay(*draws)
    sampler(BLUR, lambda x, t: x, images(), uniform(4), noise)
    assert len(noise.draws) == 1
    noise = Replay(*draws)
    sampler(BLUR, lambda x, t: x, images(), uniform(4), noise, last_noise=True)
    assert not noise.draws
