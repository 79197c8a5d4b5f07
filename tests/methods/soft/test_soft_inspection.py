"""What an inspection of Soft Diffusion measures and shows."""

import math

import pytest
import torch
from soft_methods import DIGITS, coefficients, corrupted, method

from bench.method import Noise
from methods.soft.samplers import momentum


def test_inspection_gives_the_loss_at_each_time_with_equal_draws():
    tiny = method(network={"init_scale": 1.0})
    images = DIGITS.batch(0, 0, 5)
    found = tiny.inspect(images, Noise(4))
    assert found.losses.shape == (10, 5)
    z = Noise(4).normal(images.shape)
    for row in (0, 6):
        t = found.times[row].float().expand(5)
        factors, std = coefficients("blur", t)
        clean = 2 * images.double() - 1
        x = (corrupted("blur", clean, factors) + std * z).float()
        error = (x + tiny.average(x, 999 * t)).detach().double() - clean
        expected = (corrupted("blur", error, factors) / std).square().flatten(1).mean(1)
        torch.testing.assert_close(found.losses[row].double(), expected, rtol=1e-3, atol=0)


def test_inspection_shows_the_way_into_the_corruption_and_a_run_of_momentum_out_of_it():
    tiny = method(network={"init_scale": 0.1})
    images = DIGITS.batch(0, 0, 5)
    found = tiny.inspect(images, Noise(4))
    path, z = found.strips["corruption path"], Noise(4).normal(images.shape)
    assert path.shape == found.strips["reverse path"].shape == (4, 10, 1, 8, 8)
    torch.testing.assert_close(path[:, 0], images[:4] + 0.5 * 0.05 * z[:4], rtol=0, atol=1e-6)
    factors, _ = coefficients("blur", torch.ones(1))
    last = corrupted("blur", 2 * images[:4] - 1, factors) + 0.4 * z[:4]
    torch.testing.assert_close(path[:, -1].double(), (last + 1) / 2, rtol=0, atol=1e-6)
    times = torch.linspace(1, 0, 51, dtype=torch.float64)
    noise = Noise(4)
    x = tiny.prior.sample(4, noise.child("prior"))
    with torch.no_grad():
        x = momentum(tiny.corruption, tiny.denoiser(tiny.average), x, times, noise.child("steps"))
    torch.testing.assert_close(found.strips["reverse path"][:, -1], (x + 1) / 2)


@pytest.mark.parametrize(("kind", "level"), [("straight", 1.0), ("ve", 0.5), ("blur", math.nan)])
def test_inspection_names_the_noise_level_where_there_is_one(kind, level):
    found = method(kind).inspect(DIGITS.batch(0, 0, 2), Noise(0))
    middle = found.noise_levels[4].item()
    assert middle == pytest.approx(level, nan_ok=True)


def test_inspection_draws_the_levels_that_training_chose():
    values = {"corruption": {"blur": {"schedule": "levels"}}}
    found = method(**values).inspect(DIGITS.batch(0, 0, 2), Noise(0))
    assert list(found.curves) == ["levels of blur", "change between levels of blur"]
    assert found.curves["levels of blur"].y[-1].item() == pytest.approx(23 / 8)
    assert method().inspect(DIGITS.batch(0, 0, 2), Noise(0)).curves == {}
