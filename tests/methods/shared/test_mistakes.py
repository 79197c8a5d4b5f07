"""An exact score that is wrong on purpose, against closed forms: on a Gaussian everything stays
linear.
"""

import math

import numpy as np
import pytest
import torch

from bench.card import cards
from bench.data.card import DataCard
from bench.data.images import Images, load_images
from bench.data.registry import DATASETS
from bench.method import Noise, Run, Sampler, load_method
from bench.schema import build
from methods.shared.hyperparameters import LikelihoodParams
from methods.shared.mistakes import Mistakes

DATA = load_images("gaussian")
MEAN = torch.from_numpy(DATA.mixture.means[0]).view(1, 8, 1, 1)
VARIANCE = 1 / 16**2


def needs(name):
    """Leaves a test out where its method is not there."""
    return pytest.mark.skipif(name not in cards(), reason=f"there is no method {name}")


WRONG = {"scale": 1.1, "bias": 0.2, "smoothing": 0.03}


def exact(name, **params):
    method = load_method(name, {"exact": True, **params}, DATA)
    method.train(DATA, Run(seed=0))
    return method


def flow(mistakes, **params):
    """Returns what the flow of a VE process makes of its prior, and that prior, float64 of shape
    (N, 8, 1, 1).
    """
    method = exact("sde", process="ve", sigma_max=1.5, mistakes=mistakes, **params)
    sampler = Sampler("flow_heun", "rho7", cards()["sde"].samplers["flow_heun"].params(steps=200))
    samples = method.sample(50, sampler, Noise(0)).double()
    return samples, method.prior.sample(50, Noise(0).child("prior")).double(), method.process


def shrunk(x, process, variance, power=1.0):
    """Returns where the flow takes points x at t = 1 for data of that variance, and the last noise
    level squared.
    """
    first, last = (
        process.std(torch.tensor(process.t_min)).item() ** 2,
        process.std(torch.tensor(1.0)).item() ** 2,
    )
    return MEAN + (x - MEAN) * ((variance + first) / (variance + last)) ** (power / 2)


@needs("sde")
def test_scaled_score_gives_the_power_of_the_variance():
    """dx/dv = a (x - m) / (2 (c + v)) for noise of variance v: the spread is the right one's to the
    power a.
    """
    for scale in (0.8, 1.0, 1.2):
        samples, prior, process = flow({"scale": scale})
        expected = shrunk(prior, process, VARIANCE, scale)
        torch.testing.assert_close(samples, expected, rtol=0, atol=2e-4)


@needs("sde")
def test_biased_score_moves_the_mean():
    """With y = (x - m) / sqrt(c + s^2), dy/ds = b / sqrt(c + s^2): an area sinus, times the last
    spread.
    """
    samples, prior, process = flow({"bias": 0.1})
    low, high = (process.std(torch.tensor(t)).item() for t in (process.t_min, 1.0))
    width = math.sqrt(VARIANCE)
    moved = (
        -0.1 * math.sqrt(VARIANCE + low**2) * (math.asinh(high / width) - math.asinh(low / width))
    )
    torch.testing.assert_close(samples, shrunk(prior, process, VARIANCE) + moved, rtol=0, atol=2e-4)
    assert abs(moved) > 0.02


@needs("sde")
def test_smoothed_score_adds_its_variance():
    samples, prior, process = flow({"smoothing": 0.05})
    torch.testing.assert_close(
        samples, shrunk(prior, process, VARIANCE + 0.05**2), rtol=0, atol=2e-4
    )


def mistaken(right):
    """Returns what a model that is wrong predicts, in units of the noise: a times the right one
    plus b.
    """
    return WRONG["scale"] * right + WRONG["bias"]


WIDER = VARIANCE + WRONG["smoothing"] ** 2
"""The variance of the data that are smoothed."""


def noisy():
    """Returns images with noise of standard deviation 0.3, float64."""
    x = DATA.scaled(torch.from_numpy(DATA.test[:5]).double())
    return x + 0.3 * Noise(1).normal(x.shape).double()


@needs("ncsn")
def test_ncsn_is_wrong_as_every_method_is():
    ncsn, level, x = (
        exact("ncsn", mistakes=WRONG),
        torch.full((5,), 0.3, dtype=torch.float64),
        noisy(),
    )
    right = -0.3 * (MEAN - x) / (WIDER + 0.09)
    torch.testing.assert_close(-0.3 * ncsn.average(x, level), mistaken(right), rtol=1e-9, atol=1e-9)


@needs("sde")
@pytest.mark.parametrize("process", ["ve", "vp", "subvp"])
def test_sde_is_wrong_as_every_method_is(process):
    sde, t, x = (
        exact("sde", process=process, mistakes=WRONG),
        torch.full((5,), 0.4).double(),
        noisy(),
    )
    m, s, width = sde.process.mean_coefficient(t)[0].item(), sde.process.std(t)[0].item(), sde.width
    mean, spread = width * MEAN + 1 - width, m**2 * width**2 * WIDER + s**2
    right = -s * (m * mean - x) / spread
    torch.testing.assert_close(-s * sde.average(x, t), mistaken(right), rtol=1e-9, atol=1e-9)


@needs("soft")
def test_soft_is_wrong_as_every_method_is():
    corruption = {"kind": "ve", "noise": {"schedule": "linear", "least": 0.01, "most": 1.0}}
    soft, t, x = (
        exact("soft", corruption=corruption, mistakes=WRONG),
        torch.full((5,), 0.4).double(),
        noisy(),
    )
    s = soft.corruption.std(t)[0].item()
    right = -s * (2 * MEAN - 1 - x) / (4 * WIDER + s**2)
    torch.testing.assert_close(-soft.average(x, t) / s, mistaken(right), rtol=1e-6, atol=1e-6)


@needs("cld")
def test_cld_is_wrong_as_every_method_is():
    cld, t = exact("cld", mistakes=WRONG), torch.full((5,), 0.4).double()
    u = Noise(2).normal((5, 16, 1, 1)).double()
    a, c = (gain[0].item() for gain in cld.process.mean_coefficients(t))
    xx, xv, vv, _ = (entry[0].item() for entry in cld.process.covariance(t))
    whole = np.array([[xx, xv], [xv, vv]]) + 4 * WIDER * np.outer([a, c], [a, c])
    centred = u.chunk(2, 1)[0] - a * (2 * MEAN - 1), u.chunk(2, 1)[1] - c * (2 * MEAN - 1)
    inverse = np.linalg.inv(whole)
    score, unit = (
        -(inverse[1, 0] * centred[0] + inverse[1, 1] * centred[1]),
        math.sqrt(xx / (xx * vv - xv**2)),
    )
    torch.testing.assert_close(
        -cld.average(u, t) / unit, mistaken(-score / unit), rtol=1e-8, atol=1e-8
    )


@needs("sde")
def test_no_mistakes_leave_the_score_bit_for_bit():
    x, t = torch.from_numpy(DATA.test[:5]), torch.full((5,), 0.4)
    plain, told = exact("sde"), exact("sde", mistakes={"scale": 1.0, "bias": 0.0, "smoothing": 0.0})
    assert torch.equal(plain.average(x, t), told.average(x, t))
    assert torch.equal(
        plain.average(x, t),
        plain.mixture.score(
            x, plain.process.mean_coefficient(t.double()), plain.process.std(t.double())
        ),
    )


@needs("ncsn")
def test_smoothed_training_images_are_a_mixture_about_them():
    few = torch.tensor([[0.0, 8.0], [16.0, 4.0]]).view(2, 2, 1, 1).to(torch.uint8).numpy()
    facts = {"version": 1, "summary": "", "shape": (2, 1, 1), "levels": 17, "split_rule": ""}
    data = Images("two", DataCard(splits={"train": 2, "test": 2}, load=lambda split: few, **facts))
    method = load_method("ncsn", {"exact": True, "mistakes": {"smoothing": 0.4}}, data)
    x, sigma = torch.tensor([[0.3, 0.4]]).view(1, 2, 1, 1).double(), torch.tensor([0.3]).double()
    points = torch.tensor([[0.0, 0.5], [1.0, 0.25]]).double()
    shares = torch.softmax(-0.5 * (x.view(1, 2) - points).square().sum(1) / 0.25, dim=0)
    expected = (shares @ points - x.flatten()) / 0.25
    torch.testing.assert_close(method.average(x, sigma).flatten(), expected)


def test_mistakes_belong_to_an_exact_score_and_are_told_in_tables():
    for name, card in cards().items():
        if not hasattr(card.params(), "mistakes"):
            continue
        with pytest.raises(ValueError, match="mistakes are those of an exact score"):
            build(card.params, {"mistakes": {"scale": 1.1}})
        told = card.variant(build(card.params, {"exact": True, "mistakes": WRONG}))
        assert "exact (score x 1.1, bias 0.2, smoothed by 0.03)" in told, name
        assert "exact" in card.variant(build(card.params, {"exact": True}))
        assert "(" not in card.variant(build(card.params, {"exact": True})).partition("exact")[2]
    with pytest.raises(ValueError, match="smoothing should be at least 0"):
        Mistakes(smoothing=-0.1)


@pytest.mark.parametrize("smoothing", [0.0, 0.05])
@pytest.mark.parametrize(
    ("name", "params"),
    [
        pytest.param("sde", {"process": "vp"}, marks=needs("sde")),
        pytest.param("soft", {"corruption": {"kind": "vp"}}, marks=needs("soft")),
    ],
)
def test_likelihood_of_real_values_is_that_of_the_density_in_zero_to_one(name, params, smoothing):
    method = exact(name, mistakes={"smoothing": smoothing}, **params)
    x = DATA.scaled(torch.from_numpy(DATA.test[:8]).double())
    found = method.score(x, Noise(0), LikelihoodParams(probe="exact", tolerance=1e-6))
    variance = VARIANCE + smoothing**2
    log_prob = -0.5 * (
        (x - MEAN).square().flatten(1) / variance + math.log(2 * math.pi * variance)
    ).sum(1)
    torch.testing.assert_close(
        found.values["bits_per_dim"].double(), -log_prob / (8 * math.log(2)), rtol=0, atol=3e-3
    )
    assert found.identity["dequantisation"] == "none: real values, whose range is [0, 1]"
    assert (found.identity["offset"], found.identity["floor"]) == (-1, 0)
    if not smoothing:
        exact_bits = -DATA.mixture.log_prob(x.flatten(1).numpy()) / (8 * math.log(2))
        np.testing.assert_allclose(-log_prob / (8 * math.log(2)), exact_bits, rtol=1e-12)


@needs("cld")
def test_bound_of_real_values_lies_above_the_truth():
    from methods.cld.settings import CLDLikelihoodParams

    x = DATA.scaled(torch.from_numpy(DATA.test[:64]).double())
    found = exact("cld").score(
        x, Noise(0), CLDLikelihoodParams(probe="exact", tolerance=1e-5, velocities=4)
    )
    truth = -DATA.mixture.log_prob(x.flatten(1).numpy()).mean() / (8 * math.log(2))
    assert truth - 1e-3 < found.values["bits_per_dim"].double().mean().item() < truth + 0.3


def test_names_that_are_declared_are_those_of_the_toy_distributions():
    assert {name for name, card in DATASETS.items() if card.mixture is not None} == {
        "two_modes",
        "diamond",
        "gaussian",
        "gaussian_mixture",
    }
