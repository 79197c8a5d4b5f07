import math

import pytest
import torch
from torch import nn

from bench.card import BudgetError
from bench.counter import NetworkCounter
from bench.data.images import load_images
from bench.method import Noise, Run, Sampler
from bench.schema import build, merge
from methods.sde.adapter import ScoreSDE, largest_distance
from methods.sde.card import CARD, SAMPLERS
from methods.shared.hyperparameters import LikelihoodParams
from methods.shared.process import like

DIGITS = load_images("digits")
PROCESSES = ("ve", "vp", "subvp")
FIXED = [name for name, card in SAMPLERS.items() if card.effort.exact]
NOISY = ({}, {"last_noise": True})
KNOBS = {
    "euler_maruyama": NOISY,
    "reverse_diffusion": NOISY,
    "ancestral": (*NOISY, {"variance": "transition"}),
    "ddim": (*NOISY, {"eta": 1.0}),
    "flow_heun": ({}, {"last": "heun"}),
    "edm_stochastic": ({}, {"last": "heun"}, {"churn": 0.0}),
    "sde_dpm_solver_2m": NOISY,
    "deis": ({"order": 2}, {"order": 4}),
    "unipc": ({"order": 2}, {"order": 3}),
    "predictor_corrector": (
        *NOISY,
        {"first": "predictor"},
        {"first": "predictor", "last_noise": True, "corrector_steps": 2},
        {"predictor": "ancestral", "corrector": "ald", "corrector_steps": 3},
        {"predictor": "none", "norms": "batch"},
        {"predictor": "none", "first": "predictor", "corrector_steps": 2},
        {"predictor": "euler_maruyama", "corrector": "none", "probability_flow": True},
    ),
}
"""Parameters of each sampler under which its cost is counted, the defaults where it is not here."""


def method(process, **values):
    return ScoreSDE(build(CARD.params, merge(CARD.tiny, {"process": process}, values)), DIGITS)


def sampler(name, times=None, **values):
    card = SAMPLERS[name]
    return Sampler(name, times or (card.times[0] if card.times else ""), build(card.params, values))


def coefficients(process, t, sigma_max, sigma_min=0.01, beta_min=0.1, beta_max=20.0):
    """Returns mean coefficient and std as the paper writes them (equation 29 ff.), in float64."""
    t = t.double()
    if process == "ve":
        return torch.ones_like(t), sigma_min * (sigma_max / sigma_min) ** t
    exponent = -0.25 * t**2 * (beta_max - beta_min) - 0.5 * t * beta_min
    variance = 1 - torch.exp(2 * exponent)
    return torch.exp(exponent), variance if process == "subvp" else variance.sqrt()


class Exact(nn.Module):
    """Stands for a network that learned N(centre, spread^2) in [0, 1] perfectly; the condition
    tells it the noise.
    """

    def __init__(self, method, centre, spread):
        super().__init__()
        self.kind, self.sigma_max = method.params.process, method.sigma_max
        self.centre, self.spread = centre, spread

    def forward(self, x, condition):
        mean, std = (like(v, x) for v in coefficients(self.kind, condition / 999, self.sigma_max))
        if self.kind == "ve":
            score = (self.centre - (x + 1) / 2) / (self.spread**2 + std**2)
            return (score * std).to(x)
        score = (mean * (2 * self.centre - 1) - x) / ((2 * self.spread * mean) ** 2 + std**2)
        return (-score * std).to(x)


@pytest.mark.parametrize("process", PROCESSES)
@pytest.mark.parametrize("weighting", ["std", "likelihood"])
def test_loss_is_the_mean_square_of_std_score_plus_noise(process, weighting):
    values = {
        "weighting": weighting,
        "sigma_max": 3.0,
        "network": {"init_scale": 1.0, "dropout": 0.0},
    }
    tiny = method(process, **values)
    x0 = DIGITS.batch(0, 0, 8)
    noise = Noise(5)
    u, z = noise.uniform((8,)), noise.normal(x0.shape)
    t = 1e-5 + (1 - 1e-5) * u
    mean, std = (like(v, x0) for v in coefficients(process, t, 3.0))
    x = mean * (x0 if process == "ve" else 2 * x0 - 1) + std * z
    output = tiny.network((2 * x - 1 if process == "ve" else x).float(), 999 * t).double()
    residual = output + z if process == "ve" else z - output
    if weighting == "likelihood":
        beta = 0.1 + 19.9 * t.double()
        integral = t.double() * (0.1 + 0.5 * 19.9 * t.double())
        rates = {
            "ve": coefficients("ve", t, 3.0)[1] ** 2 * 2 * math.log(3 / 0.01),
            "vp": beta,
            "subvp": beta * (1 - torch.exp(-2 * integral)),
        }
        residual = residual * like(rates[process].sqrt(), x) / std
    expected = residual.square().flatten(1).mean(1)
    torch.testing.assert_close(tiny.loss(x0, Noise(5)).double(), expected, rtol=2e-4, atol=0)


@pytest.mark.parametrize("process", PROCESSES)
@pytest.mark.parametrize("embedding", ["fourier", "positional"])
def test_score_is_the_output_over_the_std_with_the_input_and_condition_of_its_process(
    process, embedding
):
    tiny = method(process, sigma_max=3.0, network={"embedding": embedding, "init_scale": 1.0})
    x, t = Noise(0).normal((4, 1, 8, 8)), torch.tensor([1e-3, 0.2, 0.6, 1.0])
    mean, std = coefficients(process, t, 3.0)
    condition = (std / mean).log().float() if embedding == "fourier" else 999 * t
    output = tiny.average(2 * x - 1 if process == "ve" else x, condition)
    expected = (output if process == "ve" else -output) / like(std, x)
    score = tiny.score_fn(tiny.average)(x, t)
    torch.testing.assert_close(
        score.double(), expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item()
    )


@pytest.mark.parametrize("process", PROCESSES)
@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_returns_the_image_where_all_the_data_are(process, name):
    perfect = method(process, sigma_max=4.0)
    perfect.average = Exact(perfect, 0.75, 1e-3)
    values = {"tolerance": 1e-3} if name == "flow_adaptive" else {"steps": 400}
    images = perfect.sample(6, sampler(name, **values), Noise(0))
    assert images.shape == (6, 1, 8, 8)
    assert (images - 0.75).abs().max() < 0.05


@pytest.mark.parametrize("process", PROCESSES)
def test_dequantised_training_adds_one_level_of_noise_and_samples_come_back_to_the_levels(process):
    tiny = method(process, dequantise=True, sigma_max=4.0)
    x0 = DIGITS.batch(0, 0, 4)
    other = method(process, sigma_max=4.0)
    spread = (16 * x0 + Noise(7).child("dequantise").uniform(x0.shape)) / 17
    torch.testing.assert_close(
        tiny.loss(x0, Noise(7)), other.loss(spread, Noise(7)), rtol=1e-5, atol=1e-6
    )
    for level in (0, 5, 16):
        tiny.average = Exact(tiny, (level + 0.5) / 17, 1e-4)
        images = tiny.sample(4, sampler("flow_heun", steps=20), Noise(0))
        assert (16 * images).round().eq(level).all()


@pytest.mark.parametrize("process", PROCESSES)
@pytest.mark.parametrize("name", FIXED)
@pytest.mark.parametrize("budget", [1, 2, 5, 12])
def test_the_steps_a_budget_buys_spend_what_the_card_says(process, name, budget):
    tiny = method(process)
    card = SAMPLERS[name]
    if card.effort.evaluations(build(card.params, {"steps": 1})) > budget:
        pytest.skip("a budget that buys no step is refused")
    steps = card.effort.fit(budget, card.params())
    chosen = sampler(name, **steps)
    with NetworkCounter(tiny.networks) as counter:
        tiny.sample(3, chosen, Noise(0))
    assert counter.rows == 3 * card.effort.evaluations(chosen.params)
    assert (
        card.effort.evaluations(chosen.params)
        <= budget
        < card.effort.evaluations(build(card.params, {"steps": steps["steps"] + 1}))
    )


@pytest.mark.parametrize("times", ["uniform", "quadratic", "log_snr", "rho7"])
@pytest.mark.parametrize("name", FIXED)
def test_cost_holds_on_every_grid_and_with_every_knob(name, times):
    tiny = method("vp")
    for knobs in KNOBS.get(name, ({},)):
        chosen = sampler(name, times, steps=4, **knobs)
        with NetworkCounter(tiny.networks) as counter:
            tiny.sample(2, chosen, Noise(0))
        assert counter.rows == 2 * SAMPLERS[name].effort.evaluations(chosen.params)


def test_an_adaptive_sampler_has_no_steps_for_a_budget():
    with pytest.raises(BudgetError):
        SAMPLERS["flow_adaptive"].effort.fit(10, build(SAMPLERS["flow_adaptive"].params, {}))


@pytest.mark.parametrize("process", PROCESSES)
def test_bits_per_dim_of_a_perfect_network_are_the_entropy_that_the_model_assigns(process):
    centre, spread, eps = 0.4, 0.3, 1e-3
    perfect = method(process, sigma_max=2000.0)
    perfect.average = Exact(perfect, centre, spread)
    images = torch.from_numpy(DIGITS.test[:4]).long()
    params = LikelihoodParams(eps=eps, tolerance=1e-6)
    scored = perfect.score(images, Noise(0), params)
    x = (images + Noise(0).child("dequantise").child(0).uniform(images.shape)).double() / 17
    mean, std = coefficients(process, torch.tensor(eps), 2000.0)
    if process == "ve":
        density = torch.distributions.Normal(centre, (spread**2 + std**2).sqrt())
        log_prob = density.log_prob(x)
    else:
        density = torch.distributions.Normal(
            mean * (2 * centre - 1), ((2 * spread * mean) ** 2 + std**2).sqrt()
        )
        log_prob = density.log_prob(2 * x - 1) + math.log(2)
    expected = -log_prob.flatten(1).mean(1) / math.log(2) + math.log2(17)
    # What is left is the prior, which is not quite the process's marginal at t = 1.
    torch.testing.assert_close(scored.values["bits_per_dim"].double(), expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize(("process", "offset"), [("ve", 4.087), ("vp", 3.087), ("subvp", 3.087)])
def test_the_identity_of_a_likelihood_names_what_it_depends_on(process, offset):
    tiny = method(process)
    params = LikelihoodParams(eps=1e-2, tolerance=1e-1, repeats=2)
    scored = tiny.score(torch.from_numpy(DIGITS.test[:2]).long(), Noise(0), params)
    assert list(scored.values) == ["bits_per_dim", "bits_per_dim_draw_variance"]
    assert scored.identity["prior"] == "gaussian"
    assert scored.values["bits_per_dim"].shape == (2,)
    assert scored.identity["offset"] == pytest.approx(offset, abs=1e-3)
    given = {
        name: getattr(params, name) for name in ("eps", "tolerance", "probes", "probe", "repeats")
    }
    assert given.items() <= scored.identity.items()
    assert scored.identity["solver"] == "RK45"
    assert not {"probe_drift", "error_norm"} & scored.identity.keys()
    assert scored.identity["floor"] > 0
    assert "17" in scored.identity["dequantisation"]


def test_unusual_ways_of_the_likelihood_show_in_its_identity():
    params = LikelihoodParams(
        eps=1e-2, tolerance=1e-1, probe_drift=True, solver="device", error_norm="image"
    )
    identity = (
        method("vp").score(torch.from_numpy(DIGITS.test[:2]).long(), Noise(0), params).identity
    )
    assert identity["probe_drift"] is True
    assert identity["error_norm"] == "image"
    assert identity["solver"] == "RK45 on the device"


def test_the_likelihood_leaves_no_gradient_in_the_networks():
    tiny = method("vp")
    tiny.score(
        torch.from_numpy(DIGITS.test[:2]).long(),
        Noise(0),
        LikelihoodParams(eps=1e-2, tolerance=1e-1),
    )
    assert all(
        weight.grad is None for net in (tiny.network, tiny.average) for weight in net.parameters()
    )


@pytest.mark.parametrize("process", PROCESSES)
def test_state_of_a_trained_method_gives_the_same_samples_and_losses_elsewhere(process):
    trained = method(process)
    trained.train(DIGITS, Run(seed=1))
    copy = method(process)
    copy.load_state(trained.state())
    x0 = DIGITS.batch(0, 0, 4)
    chosen = sampler("reverse_diffusion", steps=3)
    images = trained.sample(4, chosen, Noise(2))
    assert torch.equal(images, copy.sample(4, chosen, Noise(2)))
    assert not torch.equal(images, method(process).sample(4, chosen, Noise(2)))
    copy.network.eval(), trained.network.eval()
    assert torch.equal(trained.loss(x0, Noise(3)), copy.loss(x0, Noise(3)))


def test_sigma_max_is_the_largest_distance_of_the_training_images_unless_given():
    trained = method("ve", training={"steps": 1})
    trained.train(DIGITS, Run(seed=0))
    flat = torch.from_numpy(DIGITS.train).flatten(1).double() / 16
    assert trained.sigma_max == pytest.approx(torch.cdist(flat, flat).max().item(), rel=1e-12)
    assert trained.process.sigma_max == trained.sigma_max
    given = method("ve", sigma_max=2.5, training={"steps": 1})
    given.train(DIGITS, Run(seed=0))
    assert given.sigma_max == 2.5


def test_largest_distance_looks_at_every_pair_of_more_images_than_one_block():
    images = torch.zeros(4200, 1, 2, 2, dtype=torch.uint8)
    images[2100, 0, 1, 1] = 200
    images[4199, 0, 0, 0] = 255
    assert largest_distance(images) == math.sqrt(200**2 + 255**2)


def test_samplers_share_the_prior_draw_of_a_seed():
    perfect = method("ve", sigma_max=4.0)
    perfect.average = Exact(perfect, 0.5, 0.2)
    fine = perfect.sample(4, sampler("flow_heun", steps=100), Noise(0))
    adaptive = perfect.sample(4, sampler("flow_adaptive", tolerance=1e-5), Noise(0))
    torch.testing.assert_close(fine, adaptive, rtol=0, atol=2e-3)


def test_the_card_refuses_sizes_that_the_network_cannot_halve():
    params = build(CARD.params, {"network": {"multipliers": [1, 2, 2, 2]}})
    assert CARD.refuse(params, (1, 8, 8)) == []
    assert "12x12" in CARD.refuse(params, (1, 12, 12))[0]
