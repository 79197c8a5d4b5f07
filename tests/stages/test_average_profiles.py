"""Averages of weights by themselves and in a training."""

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from test_training import Recorder, same_bytes
from test_training import train as train_small
from torch import nn

from bench.method import Noise
from methods.shared.average import (
    TRACKED,
    PowerAverages,
    average_of,
    combine,
    exponent,
    inner_product,
    power_decay,
    shares,
)
from methods.shared.hyperparameters import Training

# Profiles


def test_exponents_of_the_tracked_widths_are_those_of_the_paper():
    assert exponent(0.05) == pytest.approx(16.97, abs=0.005)
    assert exponent(0.10) == pytest.approx(6.94, abs=0.005)


@pytest.mark.parametrize("width", [0.01, 0.05, 0.1, 0.2, 0.28])
def test_relative_width_is_the_standard_deviation_of_the_profile(width):
    gamma = exponent(width)
    first, second = (
        quad(lambda x, k=k: (gamma + 1) * x ** (gamma + k), 0, 1, epsabs=1e-13)[0] for k in (1, 2)
    )
    assert (second - first**2) ** 0.5 == pytest.approx(width, rel=1e-6)


@pytest.mark.parametrize("width", [0.0, -0.1, 0.2887, 1.0])
def test_a_width_that_no_power_function_has_is_refused(width):
    with pytest.raises(ValueError, match="relative width"):
        exponent(width)


@pytest.mark.parametrize("width", [0.05, 0.1, 0.25])
def test_an_average_weighs_each_update_by_the_integral_of_its_profile(width):
    count, gamma = 40, exponent(width)
    seen = np.zeros(count)
    for n in range(1, count + 1):
        seen *= power_decay(gamma, n)
        seen[n - 1] += 1 - power_decay(gamma, n)
    edges = (np.arange(count + 1) / count) ** (gamma + 1)
    np.testing.assert_allclose(seen, np.diff(edges), rtol=1e-12)


@pytest.mark.parametrize(
    ("first", "t", "second", "s"),
    [(3.0, 1.0, 7.0, 0.4), (0.5, 0.2, 17.0, 0.9), (2.0, 1.0, 5.0, 1.0)],
)
def test_inner_products_are_those_of_quadrature(first, t, second, s):
    def product(x):
        return (
            (first + 1) * x**first / t ** (first + 1) * (second + 1) * x**second / s ** (second + 1)
        )

    exact = quad(product, 0, min(t, s), epsabs=1e-13)[0]
    assert inner_product(first, t, second, s) == pytest.approx(exact, rel=1e-8)
    assert inner_product(second, s, first, t) == pytest.approx(exact, rel=1e-8)


# Sums of kept averages


@pytest.mark.parametrize("width", TRACKED)
def test_a_tracked_average_is_made_of_itself_alone(width):
    parts, error = shares(range(100, 1100, 100), width)
    alone = np.zeros_like(parts)
    alone[-1, TRACKED.index(width)] = 1
    np.testing.assert_allclose(parts, alone, atol=1e-6)
    assert error < 1e-6


@pytest.mark.parametrize("width", [0.03, 0.075, 0.15, 0.25])
def test_the_profile_is_met_better_the_more_averages_are_kept(width):
    errors = [
        shares([1000 * k // count for k in range(1, count + 1)], width)[1] for count in (4, 16, 64)
    ]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.02


class Walk(nn.Module):
    """Weights that wander: a drift, an oscillation and a random walk, known at every update."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(200))

    def step(self, n):
        with torch.no_grad():
            self.weight += 0.1 * Noise(0, (n,)).normal((200,)) + 0.01 * np.sin(n / 50)


@pytest.fixture(scope="module")
def walk():
    """The weights of 2000 updates, float64 of shape (2000, 200), and the averages kept after every
    50.
    """
    network = Walk()
    tracked, path, kept = PowerAverages(network), [], {}
    for n in range(1, 2001):
        network.step(n)
        tracked.update(n)
        path.append(network.weight.detach().double().clone())
        if n % 50 == 0:
            kept[n] = {name: tensor.clone() for name, tensor in tracked.tensors().items()}
    return torch.stack(path), kept


def direct(path, width):
    edges = (torch.arange(len(path) + 1, dtype=torch.float64) / len(path)) ** (exponent(width) + 1)
    return edges.diff() @ path


@pytest.mark.parametrize("width", TRACKED)
def test_the_tracked_averages_of_a_recorded_training_are_those_of_its_closed_form(walk, width):
    path, kept = walk
    torch.testing.assert_close(
        kept[2000][f"{width}.weight"].double(), direct(path, width), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("width", [0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25])
@pytest.mark.parametrize("end", [1000, 2000])
def test_an_average_made_afterwards_is_the_one_that_would_have_been_tracked(walk, width, end):
    path, kept = walk
    network = Walk()
    earlier = {n: (lambda n=n: kept[n]) for n in kept if n <= end}
    facts = average_of(network, width, earlier)
    error = (network.weight.double() - direct(path[:end], width)).abs()
    # By Cauchy and Schwarz: the profiles' difference, over the time from 0 to 1, times the weights'
    # root mean square.
    bound = (
        facts["profile_error"] * inner_product(exponent(width), 1.0, exponent(width), 1.0) ** 0.5
    )
    size = path[:end].square().mean(0).sqrt()
    assert (error <= bound * size + 1e-4).all()
    assert error.square().mean().sqrt() < 0.01 * size.mean()


def test_kept_averages_are_read_one_at_a_time():
    reads = []

    def read(n):
        reads.append(n)
        return {f"{width}.weight": torch.ones(2) for width in TRACKED}

    found = combine([lambda n=n: read(n) for n in range(3)], np.full((3, 2), 0.5), ["weight"])
    assert reads == [0, 1, 2]
    assert found["weight"].tolist() == [3, 3]
    assert found["weight"].dtype == torch.float32


class Keeper(Recorder):
    """A run that holds what a training keeps."""

    def __init__(self, stop_at=None, resume=None):
        super().__init__(stop_at, resume)
        self.kept = {}
        self.run.keep = lambda images, tensors: self.kept.update(
            {images: {k: v.clone() for k, v in tensors().items()}}
        )


def train(recorder, **settings):
    """Returns the average of a small training."""
    return train_small(recorder, **settings)[1]


# In a training


def test_averages_are_kept_after_whole_updates_and_at_the_end():
    settings = Training(steps=12, batch=16, averages_every_images=40)
    assert settings.averaged_at(192) == (48, 80, 128, 160, 192)
    assert settings.averaged_at(100) == (48, 80, 112)
    assert Training(steps=12, batch=16).averaged_at(192) == ()
    recorder = Keeper()
    train(recorder, averages_every_images=40)
    assert sorted(recorder.kept) == [48, 80, 128, 160, 192]


def test_keeping_averages_changes_no_byte_of_the_training():
    assert same_bytes(train(Keeper(), averages_every_images=40), train(Keeper()))


@pytest.mark.parametrize("stop", [1, 5, 10, 12])
def test_a_resumed_training_keeps_the_bytes_that_an_undisturbed_one_keeps(stop):
    whole, part = Keeper(), Keeper(stop)
    train(whole, averages_every_images=40)
    with pytest.raises(InterruptedError):
        train(part, averages_every_images=40)
    rest = Keeper(resume=part.saved)
    train(rest, averages_every_images=40)
    kept = part.kept | rest.kept
    assert kept.keys() == whole.kept.keys()
    for images, tensors in whole.kept.items():
        for name, tensor in tensors.items():
            assert torch.equal(kept[images][name], tensor), (images, name)
