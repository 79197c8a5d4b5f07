"""Soft Diffusion as an adapter: losses, exact denoisers, samplers, likelihoods, where it starts."""

import math

import pytest
import torch
from soft_methods import DIGITS, KINDS, Known, coefficients, corrupted, cosines, method, sampler
from torch import nn

from bench.counter import NetworkCounter
from bench.data.images import load_images
from bench.method import Noise, Run
from bench.schema import merge
from methods.shared.exact import Mixture
from methods.shared.grids import grid
from methods.shared.hyperparameters import LikelihoodParams
from methods.shared.prior import Fitted, Points
from methods.shared.process import like
from methods.soft.card import SAMPLERS

FIXED = [name for name, card in SAMPLERS.items() if card.effort.exact]
KNOBS = {
    "ddim": ({"eta": 1.0}, {"last_noise": True}),
    "sde_dpm_solver_2m": ({"last_noise": True},),
    "deis": ({"order": 2}, {"order": 4}),
    "unipc": ({"order": 2},),
    "churn": ({"strength": 0.5}, {"last_noise": True}),
    "flow_euler": ({"kinks": "cross"},),
    "flow_heun": ({"last": "heun"}, {"last": "heun", "final": "denoise"}),
}
"""Parameters of each sampler under which its cost is counted, beside the defaults and the last
denoising.
"""


@pytest.mark.parametrize("kind", ["blur", "ve", "vp", "straight"])
@pytest.mark.parametrize("weighting", ["inverse_variance", "none"])
def test_loss_weighs_what_the_corruption_leaves_of_the_error_by_the_noise(kind, weighting):
    tiny = method(
        kind, weighting=weighting, null_reg=0.5, network={"init_scale": 1.0, "dropout": 0.0}
    )
    x0 = DIGITS.batch(0, 0, 6)
    noise = Noise(5)
    t = 1e-3 + (1 - 1e-3) * noise.uniform((6,))
    z = noise.normal(x0.shape)
    clean = 2 * x0.double() - 1
    factors, std = coefficients(kind, t)
    x = (corrupted(kind, clean, factors) + std * z).float()
    error = (x + tiny.network(x, 999 * t)).detach().double() - clean
    seen = corrupted(kind, error, factors) / (std if weighting == "inverse_variance" else 1)
    expected = (seen.square() + 0.5 * error.square()).flatten(1).mean(1)
    torch.testing.assert_close(tiny.loss(x0, Noise(5)).double(), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("embedding", ["fourier", "positional"])
def test_the_network_predicts_clean_less_corrupted_and_is_told_the_time(embedding):
    tiny = method(network={"embedding": embedding, "init_scale": 1.0})
    x, t = Noise(0).normal((4, 1, 8, 8)), torch.tensor([1e-3, 0.3, 0.6, 1.0])
    output = tiny.average(x, 8 * t - 4 if embedding == "fourier" else 999 * t)
    assert torch.equal(tiny.denoiser(tiny.average)(x, t), x + output)
    assert torch.equal(tiny.denoiser(tiny.average)(x, t.double()), x + output)


def test_scaled_residuals_are_in_units_of_what_the_corruption_changes():
    tiny = method(
        parametrisation="scaled_residual", training={"steps": 1}, network={"init_scale": 1.0}
    )
    tiny.train(DIGITS, Run(seed=0))
    x0 = 2 * torch.from_numpy(DIGITS.train).double() / 16 - 1
    for t in (0.0, 0.003, 0.25, 0.7, 1.0):
        factors, std = coefficients("blur", torch.tensor([t]))
        lost = (x0 - corrupted("blur", x0, factors)).square().mean() + std.square().squeeze()
        # Linear between 129 times, which the geometric growth of the noise sees.
        assert tiny._residual_size(torch.tensor([t])).item() == pytest.approx(
            lost.sqrt().item(), rel=2e-3
        )
    x, t = Noise(0).normal((2, 1, 8, 8)), torch.tensor([0.1, 0.9])
    output = tiny.average(x, 999 * t)
    expected = x + like(tiny._residual_size(t), x) * output
    torch.testing.assert_close(tiny.denoiser(tiny.average)(x, t), expected)


@pytest.mark.parametrize("kind", ["blur", "ve", "vp", "straight"])
def test_the_exact_denoiser_is_the_mean_of_the_training_images_given_the_corrupted_one(kind):
    exact = method(kind, exact=True)
    points = 2 * torch.from_numpy(DIGITS.train).double() / 16 - 1
    t = torch.tensor([0.1, 0.4, 0.7])
    factors, std = coefficients(kind, t)
    chosen = points[[3, 500, 1400]]
    x = (corrupted(kind, chosen, factors) + std * Noise(1).normal(chosen.shape)).float()
    for row in range(3):
        offsets = x[row].double() - corrupted(
            kind, points, factors[row : row + 1] if len(factors) > 1 else factors
        )
        logits = -0.5 * (offsets / std[row]).square().flatten(1).sum(1)
        expected = torch.einsum("k,kchw->chw", logits.softmax(0), points)
        clean = exact.denoiser(exact.average)(x[row : row + 1], t[row : row + 1])[0]
        torch.testing.assert_close(clean.double(), expected, rtol=0, atol=2e-4)


def test_the_exact_denoiser_of_declared_gaussians_is_that_of_the_mixture():
    modes = load_images("two_modes")
    exact = method("straight", data=modes, exact=True)
    x, t = Noise(0).normal((5, 2, 1, 1)), torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9])
    mixture = Mixture.of(modes, "cpu").affine(2.0, -1.0)
    expected = mixture.denoise(x, 1 - t.double(), t.double())
    torch.testing.assert_close(exact.denoiser(exact.average)(x, t), expected, rtol=1e-5, atol=1e-6)


def test_exact_trains_nothing_and_samples_what_it_was_given():
    exact = method("blur", exact=True, prior={"kind": "mixture"})
    exact.train(DIGITS, Run(seed=0))
    assert not any(name.startswith(("network.", "ema.")) for name in exact.state())
    with NetworkCounter(exact.networks) as counter:
        images = exact.sample(16, sampler("momentum", steps=150), Noise(0))
    assert counter.rows == 16 * 150
    copy = method("blur", exact=True, prior={"kind": "mixture"})
    copy.load_state(exact.state())
    assert torch.equal(copy.sample(16, sampler("momentum", steps=150), Noise(0)), images)
    train = torch.from_numpy(DIGITS.train).flatten(1).double() / 16
    nearest = torch.cdist(images.flatten(1).double(), train).min(1)
    # What is left is the noise of t = 0, 0.05 in [-1, 1], of which the last, noise-free step leaves
    # little.
    assert nearest.values.max() < 0.3
    assert len(set(nearest.indices.tolist())) > 12


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_returns_the_image_where_all_the_data_are(kind, name):
    perfect = method(kind)
    reasons = SAMPLERS[name].refuse(perfect.params, SAMPLERS[name].params(), "")
    if any("diagonal in one basis" in reason for reason in reasons):
        with pytest.raises(ValueError, match="basis"):
            perfect.sample(4, sampler(name), Noise(0))
        return
    image = 2 * DIGITS.batch(0, 0, 1) - 1
    perfect.average = Constant(image)
    last = torch.ones((), dtype=torch.float64)
    perfect.prior = Points(
        perfect.corruption.apply(image, last), perfect.corruption.std(last).item()
    )
    end = {"t_min": 1e-3} if name == "flow_adaptive" else {}
    # Euler-Maruyama's last steps leave more of their noise than the others'.
    steps = 200 if name == "churn" else 50
    values = {"tolerance": 1e-3} if name == "flow_adaptive" else {"steps": steps, "final": "none"}
    images = perfect.sample(4, sampler(name, **values, **end), Noise(0))
    # Noise of 0.05 in [-1, 1] stays where it is not taken away; four standard deviations of it, in
    # [0, 1].
    assert (images - (image + 1) / 2).abs().max() < 0.1


class Constant(nn.Module):
    """Stands for a network that knows the only image there is."""

    def __init__(self, image):
        super().__init__()
        self.image = image

    def forward(self, x, condition):
        return self.image.to(x) - x


@pytest.mark.parametrize("level", [0, 5, 16])
def test_dequantised_samples_come_back_to_the_levels(level):
    tiny = method("blur", dequantise=True)
    tiny.average = Constant(torch.full((1, 1, 8, 8), 2 * (level + 0.5) / 17 - 1))
    images = tiny.sample(4, sampler("momentum", steps=50, final="denoise"), Noise(0))
    torch.testing.assert_close(16 * images, torch.full_like(images, level), rtol=0, atol=1e-4)


def test_dequantised_training_adds_one_level_of_noise():
    x0 = DIGITS.batch(0, 0, 4)
    spread = (16 * x0 + Noise(7).child("dequantise").uniform(x0.shape)) / 17
    first, second = method(dequantise=True), method()
    torch.testing.assert_close(first.loss(x0, Noise(7)), second.loss(spread, Noise(7)))


@pytest.mark.parametrize("times", ["uniform", "quadratic"])
@pytest.mark.parametrize("name", FIXED)
def test_cost_holds_on_every_grid_and_with_every_knob(name, times):
    tiny = method()
    for knobs in ({}, {"final": "denoise"}, *KNOBS.get(name, ())):
        chosen = sampler(name, times, steps=4, **knobs)
        with NetworkCounter(tiny.networks) as counter:
            tiny.sample(2, chosen, Noise(0))
        assert counter.rows == 2 * SAMPLERS[name].effort.evaluations(chosen.params)


@pytest.mark.parametrize("kind", ["blur", "ve", "vp", "straight"])
def test_bits_per_dim_of_a_perfect_network_are_the_entropy_that_the_model_assigns(kind):
    centre, spread, eps = -0.3, 0.5, 1e-2
    perfect = method(kind)
    perfect.average = Known(kind, centre, spread)
    basis, mean = perfect.basis, torch.full((1, 1, 8, 8), centre, dtype=torch.float64)

    def density(t):
        """Returns mean and deviation of the coefficients at t, shape (d,)."""
        factors, std = coefficients(kind, torch.tensor([t]))
        at = basis.coefficients(corrupted(kind, mean, factors))[0]
        return at, ((factors * spread).square() + std**2).sqrt().expand(1, 1, 8, 8).flatten()

    first, deviation = density(1.0)
    alone = Fitted.noise(1.0, basis, DIGITS.shape)
    perfect.prior = Fitted(
        basis, DIGITS.shape, alone.modes, alone.weights, alone.means, alone.scales, first, deviation
    )
    images = torch.from_numpy(DIGITS.test[:3]).long()
    scored = perfect.score(
        images, Noise(0), LikelihoodParams(eps=eps, tolerance=1e-5, probe="exact")
    )
    x = 2 * (images + Noise(0).child("dequantise").child(0).uniform(images.shape)).double() / 17 - 1
    log_prob = torch.distributions.Normal(*density(eps)).log_prob(basis.coefficients(x))
    expected = -log_prob.mean(1) / math.log(2) + math.log2(17) - 1
    # The network works in float32.
    torch.testing.assert_close(scored.values["bits_per_dim"], expected, rtol=0, atol=2e-3)
    assert scored.identity["offset"] == pytest.approx(math.log2(17 / 2))
    assert scored.identity["prior"] == "gaussian"


def test_the_start_is_fitted_to_the_corrupted_training_images():
    trained = method("blur", training={"steps": 1})
    trained.train(DIGITS, Run(seed=0))
    x0 = 2 * torch.from_numpy(DIGITS.train).double() / 16 - 1
    factors, _ = coefficients("blur", torch.ones(1))
    a = (factors * cosines(x0)).flatten(1)
    assert (
        trained.prior.modes.tolist()
        == torch.nonzero(a.var(0, correction=0) > 0.01 * 0.4**2).flatten().tolist()
    )
    assert 2 <= len(trained.prior.modes) < 10
    low = a[:, trained.prior.modes]
    torch.testing.assert_close(trained.prior.means[0], low.mean(0), rtol=1e-6, atol=1e-8)
    covariance = low.T.cov(correction=0) + 0.16 * torch.eye(low.shape[1])
    torch.testing.assert_close(
        trained.prior.scales[0] @ trained.prior.scales[0].T, covariance, rtol=1e-6, atol=1e-8
    )


def test_the_straight_path_starts_from_standard_normal_noise():
    trained = method("straight", training={"steps": 1})
    trained.train(DIGITS, Run(seed=0))
    z = Noise(3).child("prior").normal((2, 1, 8, 8))
    drawn = trained.basis.coefficients(trained.prior.sample(2, Noise(3).child("prior")))
    torch.testing.assert_close(drawn, z.double().flatten(1), rtol=0, atol=1e-6)


def test_levels_are_chosen_from_the_training_images_and_kept_with_the_weights():
    values = {
        "corruption": {"blur": {"schedule": "levels"}},
        "selection": {"candidates": 256, "levels": 8},
    }
    trained = method(**values, training={"steps": 1})
    trained.train(DIGITS, Run(seed=0))
    levels = trained.blur_levels
    assert levels[0] == 0
    assert levels[-1].item() == pytest.approx(23 / 64)
    assert (levels.diff() > 0).all()
    # As equal as the candidates allow: neighbouring ones differ by 2 %.
    assert trained.hops.max() / trained.hops.min() < 1.2
    omega = math.pi * torch.arange(8, dtype=torch.float64) / 8
    expected = torch.exp(-0.5 * (8 * levels[3]) ** 2 * (omega[:, None] ** 2 + omega**2))
    there = torch.tensor([3 / 7], dtype=torch.float64)
    torch.testing.assert_close(trained.corruption.operator.eigenvalues(there)[0, 0], expected)
    copy = method(**values)
    copy.load_state(trained.state())
    torch.testing.assert_close(copy.corruption.operator.eigenvalues(there)[0, 0], expected)
    full = method(**merge(values, {"selection": {"covariance": "full"}}), training={"steps": 1})
    full.train(DIGITS, Run(seed=0))
    # Wasserstein distance sees correlations between coefficients too, but natural ones matter
    # little.
    assert (full.blur_levels - levels).abs().max() < 0.05


@pytest.mark.parametrize("kind", ["blur", "mask", "ve"])
def test_log_snr_times_are_even_in_the_log_snr(kind):
    corruption = method(kind).corruption
    times = grid("log_snr", corruption, 7, 0.0)
    steps = corruption.log_snr(times).diff()
    torch.testing.assert_close(steps, steps.mean().expand_as(steps), rtol=1e-6, atol=1e-9)
