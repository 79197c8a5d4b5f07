"""The loss of Soft Diffusion: its least value, its weightings, and what it cannot see."""

import itertools
import math

import pytest
import torch
from exact import Corrupted
from soft_gaussian import BLUR, COVERED, SHAPE, close, gaussian, images

from bench.method import Noise
from methods.shared.objective import denoising_loss
from methods.shared.process import VE, VP
from methods.soft.corruption import make_corruption
from methods.soft.denoiser import residual, score
from methods.soft.objective import soft_loss
from methods.soft.settings import CorruptionParams, NoiseScale, Preserving


def test_the_score_is_the_gradient_of_the_log_density():
    exact, x = Corrupted(gaussian(), BLUR), images().requires_grad_()
    t = torch.full((3,), 0.6, dtype=torch.float64)
    (gradient,) = torch.autograd.grad(exact.log_prob(x, 0.6).sum(), x)
    close(score(BLUR, exact.denoise(x, t).detach(), x.detach(), t), gradient, atol=1e-10)


@pytest.mark.parametrize("kind", ["ve", "vp"])
def test_without_a_corruption_the_loss_is_that_of_denoising_score_matching(kind):
    process = VE(0.05, 3.0) if kind == "ve" else VP(0.2, 8.0)
    noise_scale = NoiseScale(schedule="geometric", least=0.05, most=3.0)
    params = CorruptionParams(
        kind=kind, noise=noise_scale, preserving=Preserving(beta_min=0.2, beta_max=8.0)
    )
    corruption, t = (
        make_corruption(params, SHAPE),
        torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64),
    )

    def denoiser(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return torch.tanh(x)

    def score_fn(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return score(corruption, denoiser(x, t), x, t)

    for reduction in ("mean", "sum"):
        ours = soft_loss(corruption, denoiser, images(), t, images() + 1, reduction=reduction)
        theirs = denoising_loss(process, score_fn, images(), t, images() + 1, reduction=reduction)
        close(ours, theirs, rtol=1e-9)


def test_the_least_loss_is_what_the_image_leaves_open():
    data, t, count = gaussian(), 0.6, 20_000
    exact = Corrupted(data, BLUR)
    root = torch.linalg.cholesky(data.covariances[0])
    noise = Noise(5, dtype=torch.float64)
    x0 = (data.means + noise.normal((count, 16)) @ root.T).view(-1, *SHAPE)
    z, times = noise.normal(x0.shape), torch.full((count,), t, dtype=torch.float64)
    # x0 given x has covariance S - S C^T (C S C^T + s^2)^-1 C S.
    matrix, s = (
        BLUR.apply(torch.eye(16, dtype=torch.float64).view(-1, *SHAPE), times[0]).view(16, 16),
        BLUR.std(times[0]),
    )
    seen = matrix @ data.covariances[0] @ matrix
    left = seen - seen @ torch.linalg.inv(seen + s**2 * torch.eye(16, dtype=torch.float64)) @ seen
    losses = soft_loss(BLUR, exact.denoise, x0, times, z)
    assert (losses.mean() - left.trace() / s**2 / 16).abs() < 4 * losses.std() / math.sqrt(count)
    worse = soft_loss(BLUR, lambda x, t: exact.denoise(x, t) + 0.1, x0, times, z)
    assert (worse - losses).mean() > 10 * (worse - losses).std() / math.sqrt(count)


def test_the_loss_does_not_see_what_the_corruption_takes_away_unless_null_reg_does():
    t, shift = torch.ones(3, dtype=torch.float64), torch.full((1, *SHAPE), 2.0, dtype=torch.float64)
    losses = [
        soft_loss(
            COVERED,
            lambda x, t, error=error: images() + error,
            images(),
            t,
            images(),
            null_reg=kappa,
        )
        for error, kappa in itertools.product((0, shift), (0.0, 0.3))
    ]
    close(
        torch.stack(losses),
        torch.tensor([0.0, 0.0, 0.0, 0.3 * 4.0], dtype=torch.float64)[:, None].expand(4, 3),
    )
    halved = soft_loss(
        COVERED, lambda x, t: images() + shift, images(), t, images(), null_reg=0.3, reduction="sum"
    )
    close(halved, torch.full((3,), 0.5 * 16 * 0.3 * 4.0, dtype=torch.float64))


def test_weighting_by_the_inverse_variance_is_that_over_none():
    t = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    losses = [
        soft_loss(BLUR, lambda x, t: 0 * x, images(), t, images(), weighting=w)
        for w in ("inverse_variance", "none")
    ]
    close(losses[0] * BLUR.std(t).square(), losses[1])


def test_a_residual_network_predicts_the_clean_image_less_the_corrupted_one():
    x, t = images(), torch.ones(3)
    assert torch.equal(residual(lambda x, t: 2 * x)(x, t), 3 * x)
