"""The flow of corrupted Gaussian data: kinks, adaptive steps, and where there is none."""

from functools import partial

import numpy as np
import pytest
import torch
from exact import Corrupted, Replay
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

from methods.shared import flow as shared_flow
from methods.shared import isotropic
from methods.shared.process import VP
from methods.soft.corruption import Corruption, make_corruption
from methods.soft.denoiser import velocity
from methods.soft.flow import flow_adaptive, flow_euler, flow_heun, meet
from methods.soft.samplers import ddim
from methods.soft.settings import CorruptionParams, Preserving


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (ddim, isotropic.ddim),
        (flow_euler, partial(shared_flow.flow_euler, variable="t")),
        (flow_heun, partial(shared_flow.flow_heun, variable="t", last="heun")),
    ],
    ids=["ddim", "flow_euler", "flow_heun"],
)
def test_with_a_fading_image_the_flow_is_that_of_variance_preserving(ours, theirs):
    process = VP(0.2, 8.0)
    params = CorruptionParams(kind="vp", preserving=Preserving(beta_min=0.2, beta_max=8.0))
    corruption = make_corruption(params, SHAPE)
    data, x, times = gaussian(), images(), uniform(6, 1e-2)
    found = ours(corruption, Corrupted(data, corruption).denoise, x, times, Replay())
    close(found, theirs(process, data.score_fn(process), x, times, Replay()), atol=1e-9)


def test_on_the_straight_path_the_velocity_is_noise_less_image():
    x, clean, t = images(), images() + 1, torch.full((3,), 0.4, dtype=torch.float64)
    believed = (x - 0.6 * clean) / 0.4
    close(velocity(STRAIGHT, clean, x, t), believed - clean)
    # It does not change along a step, so that Euler's step is the exponential one too.
    denoiser = Corrupted(gaussian(), STRAIGHT).denoise
    ends = [sampler(STRAIGHT, denoiser, x, uniform(5), Replay()) for sampler in (flow_euler, ddim)]
    close(*ends)


@pytest.mark.parametrize("solver", ["flow_euler", "flow_heun", "flow_adaptive"])
def test_a_corruption_that_switches_has_no_flow(solver):
    call = {
        "flow_euler": partial(flow_euler, times=uniform(4), noise=None),
        "flow_heun": partial(flow_heun, times=uniform(4)),
        "flow_adaptive": flow_adaptive,
    }[solver]
    with pytest.raises(ValueError, match="momentum"):
        call(SWITCH, lambda x, t: x, images())


def test_at_a_kink_the_velocity_is_that_of_the_step_towards_the_data():
    x, clean = images(), images() + 1

    def at(t: float) -> torch.Tensor:
        return velocity(PLATEAU, clean, x, torch.full((3,), t, dtype=torch.float64))

    close(at(0.3), at(0.3 - 1e-9), atol=1e-6)
    assert (at(0.3) - at(0.3 + 1e-9)).abs().max() > 1


def test_steps_across_a_kink_cost_heuns_method_its_order():
    exact = Corrupted(gaussian(), PLATEAU)
    x, target = images(), flow_adaptive(PLATEAU, exact.denoise, images(), tolerance=1e-9)

    def error(steps: int, kinks: str) -> float:
        return (
            (flow_heun(PLATEAU, exact.denoise, x, uniform(steps), kinks=kinks) - target)
            .abs()
            .max()
            .item()
        )

    # 0.3 lies 0.4 and 0.2 of a step from the times of these grids.
    meeting, crossing = ([error(steps, kinks) for steps in (32, 64)] for kinks in ("meet", "cross"))
    assert meeting[0] / meeting[1] > 3.5
    assert crossing[1] > 5 * meeting[1]


def test_times_meet_kinks_by_moving_the_nearest():
    times = uniform(5)
    close(meet(times, (0.25, 0.63)), [1, 0.8, 0.63, 0.4, 0.25, 0])
    close(times, uniform(5))
    close(meet(times, (0.55, 0.63)), [1, 0.63, 0.55, 0.4, 0.2, 0])
    close(meet(uniform(1), (0.3,)), [1, 0])
    assert (meet(uniform(10), tuple(np.linspace(0, 1, 32)[1:-1])).diff() < 0).all()


@pytest.mark.parametrize("solver", ["scipy", "device"])
@pytest.mark.parametrize("corruption", [BLUR, PLATEAU, COVERED], ids=["blur", "plateau", "covered"])
def test_the_flow_by_adaptive_steps_carries_the_distribution_to_that_of_the_data(
    corruption, solver
):
    data = gaussian()
    exact = Corrupted(data, corruption)
    basis = torch.cat([torch.zeros(1, 16, dtype=torch.float64), torch.eye(16, dtype=torch.float64)])
    x = flow_adaptive(
        corruption, exact.denoise, basis.view(-1, *SHAPE), tolerance=1e-8, solver=solver
    ).flatten(1)
    matrix, shift = (x[1:] - x[0]).T, x[0]
    mean, covariance = exact.moments(1.0)
    close(matrix @ mean + shift, exact.moments(0.0)[0], atol=1e-6)
    close(matrix @ covariance @ matrix.T, exact.moments(0.0)[1], atol=1e-6)


def test_starting_anew_at_a_kink_saves_evaluations():
    exact, calls = Corrupted(gaussian(), PLATEAU), []
    hidden = Corruption(PLATEAU.operator, PLATEAU.noise_scale)
    hidden.kinks = ()

    def denoiser(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        calls.append(t[0].item())
        return exact.denoise(x, t)

    counts = []
    for corruption in (PLATEAU, hidden):
        calls.clear()
        flow_adaptive(corruption, denoiser, images(), tolerance=1e-7)
        counts.append(len(calls))
    assert counts[0] < 0.8 * counts[1]
