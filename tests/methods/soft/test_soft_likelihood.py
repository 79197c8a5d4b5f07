import itertools
import math
from functools import partial

import pytest
import torch
from exact import Corrupted, Mixture

from bench.method import Noise
from methods.shared.likelihood import log_likelihood as diffusion_log_likelihood
from methods.shared.likelihood import slope_and_divergence
from methods.shared.process import VP
from methods.soft.corruption import Corruption, make_corruption
from methods.soft.likelihood import flow_of, log_likelihood
from methods.soft.operator import Blur, Composite, Mask
from methods.soft.schedule import Geometric, Linear
from methods.soft.settings import CorruptionParams

SHAPE = (1, 2, 2)
ONSET = torch.tensor([[0.0, 0.2], [0.3, 0.5]])

CORRUPTIONS = {
    "blur": Corruption(Blur(SHAPE, Linear(0.0, 1.0)), Geometric(0.05, 0.3)),
    "plateau": Corruption(Blur(SHAPE, Linear(0.0, 1.0)), Geometric(0.05, 0.3, 0.3)),
    "covered": Corruption(Mask(ONSET, 0.5), Geometric(0.1, 0.5)),
    "both": Corruption(
        Composite(Blur(SHAPE, Linear(0.0, 1.0)), Mask(ONSET, 0.5)), Geometric(0.1, 0.5)
    ),
    "straight": make_corruption(CorruptionParams(kind="straight"), SHAPE),
}

each_corruption = pytest.mark.parametrize("corruption", CORRUPTIONS.values(), ids=CORRUPTIONS)


def mixture() -> Mixture:
    """Two correlated Gaussians."""
    root = torch.tensor(
        [[0.5, 0.2, 0, 0], [0, 0.9, 0.3, 0], [0, 0, 0.3, 0.1], [0, 0, 0, 1.2]], dtype=torch.float64
    )
    covariances = torch.stack(
        [root @ root.T, 0.3 * root.T @ root + 0.02 * torch.eye(4, dtype=torch.float64)]
    )
    means = torch.tensor([[0.5, 0, -0.5, 0], [-1, 1, 0, 0.5]], dtype=torch.float64)
    return Mixture(torch.tensor([0.4, 0.6], dtype=torch.float64), means, covariances, SHAPE)


def images(count: int = 3) -> torch.Tensor:
    return Noise(0, dtype=torch.float64).normal((count, *SHAPE))


@each_corruption
def test_the_flow_gives_the_exact_log_density_also_where_dimensions_are_lost(corruption):
    exact, x, eps = Corrupted(mixture(), corruption), images(), 0.05
    prior = partial(exact.log_prob, t=1.0)
    found, z = log_likelihood(
        corruption, exact.denoise, prior, x, Noise(1), eps=eps, tolerance=1e-7, probe="exact"
    )
    torch.testing.assert_close(found, exact.log_prob(x, eps), rtol=0, atol=1e-4)
    assert z.shape == x.shape


def test_at_eps_0_it_is_the_density_of_the_data_with_the_least_noise():
    corruption, data = CORRUPTIONS["blur"], mixture()
    exact, x = Corrupted(data, corruption), images()
    found, _ = log_likelihood(
        corruption,
        exact.denoise,
        partial(exact.log_prob, t=1.0),
        x,
        Noise(1),
        tolerance=1e-7,
        probe="exact",
    )
    one = torch.ones(3, dtype=torch.float64)
    torch.testing.assert_close(found, data.log_prob(x, one, 0.05 * one), rtol=0, atol=1e-4)


def test_without_a_corruption_it_is_that_of_the_diffusion():
    process, data, x = VP(), mixture(), images()
    corruption = make_corruption(CorruptionParams(kind="vp"), SHAPE)
    knobs = {"eps": 1e-2, "tolerance": 1e-8, "probe": "exact"}
    ours, z = log_likelihood(
        corruption,
        Corrupted(data, corruption).denoise,
        process.prior_log_prob,
        x,
        Noise(1),
        **knobs,
    )
    theirs, latent = diffusion_log_likelihood(process, data.score_fn(process), x, Noise(1), **knobs)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    torch.testing.assert_close(z, latent, rtol=0, atol=1e-6)


@each_corruption
@pytest.mark.parametrize("probe_drift", [False, True])
def test_the_mean_over_all_sign_vectors_is_the_divergence(corruption, probe_drift):
    exact, x, t = Corrupted(mixture(), corruption), images(), 0.6
    flow_fn, times = (
        flow_of(corruption, exact.denoise, probe_drift=probe_drift),
        torch.full((3,), t).double(),
    )
    signs = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=4)), dtype=torch.float64)
    vectors = [sign.view(1, *SHAPE).expand_as(x) for sign in signs]
    _, divergence = slope_and_divergence(flow_fn, x, times, vectors)

    def velocity(flat: torch.Tensor) -> torch.Tensor:
        return flow_fn(flat.view(1, *SHAPE), times[:1]).velocity.flatten()

    traces = [torch.autograd.functional.jacobian(velocity, image.flatten()).trace() for image in x]
    torch.testing.assert_close(divergence, torch.stack(traces), rtol=1e-9, atol=1e-9)


def test_starting_anew_at_a_kink_saves_evaluations_and_float32_sees_its_sides_too():
    corruption = CORRUPTIONS["plateau"]
    hidden = Corruption(corruption.operator, corruption.noise_scale)
    hidden.kinks = ()
    exact = Corrupted(mixture(), corruption)

    def count(corruption: Corruption, dtype: torch.dtype) -> int:
        calls = []

        def denoiser(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
            calls.append(t)
            return exact.denoise(x.double(), t.double()).to(dtype)

        x = images().to(dtype)
        log_likelihood(
            corruption,
            denoiser,
            partial(exact.log_prob, t=1.0),
            x,
            Noise(1),
            tolerance=1e-6,
            probe="exact",
        )
        return len(calls)

    assert count(corruption, torch.float64) < 0.85 * count(hidden, torch.float64)
    assert count(corruption, torch.float32) < 0.85 * count(hidden, torch.float32)


def test_corruptions_without_a_flow_or_without_noise_are_refused():
    switch = Corruption(Mask(ONSET, 0.0), Geometric(0.1, 0.5))
    zero = partial(torch.zeros_like)
    with pytest.raises(ValueError, match="no flow"):
        log_likelihood(switch, zero, zero, images(), Noise(1))
    with pytest.raises(ValueError, match="no noise at t = 0"):
        log_likelihood(CORRUPTIONS["straight"], zero, zero, images(), Noise(1))


def test_likelihood_is_in_nats_of_whole_images():
    # Data of variance 1 - s_0^2 in every pixel, which the noise at t = 0 makes standard normal.
    corruption, s = CORRUPTIONS["blur"], 0.05
    data = Mixture(
        torch.ones(1).double(),
        torch.zeros(1, 4).double(),
        (1 - s**2) * torch.eye(4).double()[None],
        SHAPE,
    )
    exact, x = Corrupted(data, corruption), images()
    found, _ = log_likelihood(
        corruption,
        exact.denoise,
        partial(exact.log_prob, t=1.0),
        x,
        Noise(1),
        tolerance=1e-7,
        probe="exact",
    )
    expected = -0.5 * x.square().sum((1, 2, 3)) - 2 * math.log(2 * math.pi)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
