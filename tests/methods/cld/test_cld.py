import math

import pytest
import torch
from torch import nn

from bench.counter import NetworkCounter
from bench.data.card import DataCard
from bench.data.images import Images, load_images
from bench.method import Noise, Run, Sampler
from bench.schema import build, merge
from methods.cld.adapter import CriticallyDampedLangevin
from methods.cld.card import CARD, Params
from methods.shared.checkpoint import CheckpointError
from methods.shared.exact import Mixture

DIGITS = load_images("digits")
FIXED = [name for name, card in CARD.samplers.items() if card.effort.exact]
MASS, GAMMA = 0.25, 0.04


def method(**values):
    return CriticallyDampedLangevin(build(CARD.params, merge(CARD.tiny, values)), DIGITS)


def sampler(name, times=None, **values):
    card = CARD.samplers[name]
    return Sampler(name, times or (card.times[0] if card.times else ""), build(card.params, values))


def columns(t):
    return t.double().view(-1, 1, 1, 1)


def kernel(t, *, known):
    """Returns the paper's covariance (xx, xv, vv) at beta = 4, M = 1/4, in float64, of a known
    velocity or not.
    """
    b, q = 4 * columns(t), 0.0 if known else GAMMA * MASS
    e = torch.exp(-4 * b)
    xx = 1 - e + e * (-4 * b - 8 * b**2 + 16 * b**2 * q)
    xv = e * (4 * b**2 + 4 * b * q - 8 * b**2 * q)
    vv = MASS * (1 - e) + e * (b - 2 * b**2 + q * (1 - 2 * b) ** 2)
    return xx, xv, vv


@pytest.mark.parametrize("objective", ["hsm", "dsm"])
@pytest.mark.parametrize("parametrisation", ["mixed", "noise"])
@pytest.mark.parametrize("weighting", ["std", "rate", "likelihood"])
def test_loss_is_the_weighted_square_of_what_the_network_lacks_of_the_velocity_noise(
    objective, parametrisation, weighting
):
    network = {"init_scale": 1.0, "dropout": 0.0}
    values = {
        "objective": objective,
        "parametrisation": parametrisation,
        "weighting": weighting,
        "network": network,
    }
    values |= {"t_min": 0.02}  # the closed forms of this test cancel below
    tiny, known = method(**values), objective == "dsm"
    x0, noise = DIGITS.batch(0, 0, 8), Noise(5)
    v0 = (
        math.sqrt(GAMMA * MASS) * noise.normal(x0.shape).double()
        if known
        else torch.zeros_like(x0).double()
    )
    t = 0.02 + 0.98 * noise.uniform((8,)).double()
    z_x, z_v = noise.normal((8, 2, 8, 8)).double().chunk(2, 1)

    b, data = 4 * columns(t), 2 * x0.double() - 1
    xx, xv, vv = kernel(t, known=known)
    root_xx, root_vv = xx.sqrt(), (vv - xv**2 / xx).sqrt()
    x = torch.exp(-2 * b) * ((1 + 2 * b) * data + 4 * b * v0) + root_xx * z_x
    v = torch.exp(-2 * b) * (-b * data + (1 - 2 * b) * v0) + xv / root_xx * z_x + root_vv * z_v
    told = tiny.process.noise_level(t).log() if tiny.params.network.condition == "log" else 999 * t
    output = tiny.network(torch.cat([x, v], 1).float(), told.float()).double()
    residual = z_v - output
    if parametrisation == "mixed":
        residual = residual - root_vv * v / kernel(t, known=False)[2]
    rate = 4 * 1.0  # beta times the friction, 2 sqrt(M) = 1
    weight = {"std": 1.0, "rate": rate, "likelihood": rate / root_vv.flatten() ** 2}[weighting]
    expected = weight * residual.square().flatten(1).mean(1)
    torch.testing.assert_close(tiny.loss(x0, Noise(5)).double(), expected, rtol=2e-4, atol=0)
    summed = method(**values, reduction="sum")
    torch.testing.assert_close(summed.loss(x0, Noise(5)).double(), 64 * expected, rtol=2e-4, atol=0)


class Told(nn.Module):
    """Returns what it is told, in every pixel of an image of one channel."""

    def forward(self, u, condition):
        return condition.view(-1, 1, 1, 1).expand(len(u), 1, *u.shape[2:])


@pytest.mark.parametrize(
    ("condition", "embedding", "expected"),
    [
        ("noise_level", "fourier", lambda process, t: process.noise_level(t).log()),
        ("noise_level", "positional", lambda process, t: 999 * t),
        ("log_time", "fourier", lambda process, t: t.log()),
        ("time", "positional", lambda process, t: t),
    ],
)
def test_the_network_is_told_the_noise_level_as_other_methods_or_the_time_as_the_authors(
    condition, embedding, expected
):
    tiny = method(condition=condition, network={"embedding": embedding}, parametrisation="noise")
    u, t = torch.zeros(3, 2, 8, 8), torch.tensor([1e-4, 0.3, 1.0], dtype=torch.float64)
    score = tiny.score_fn(Told())(u, t)[:, 0, 0, 0].double()
    told = -score / tiny.process.score_scale(t)
    torch.testing.assert_close(told, expected(tiny.process, t), rtol=1e-6, atol=1e-6)


def perfect(data=DIGITS, centre=0.75, std=1e-3, **values):
    """Returns the method with the exact score of one Gaussian, N(centre, std^2) in [0, 1]."""
    found = CriticallyDampedLangevin(build(CARD.params, {"exact": True, **values}), data)
    dims = math.prod(data.shape)
    one = Mixture(torch.ones(1), torch.full((1, dims), centre), torch.full((1,), std**2))
    found.mixture = one.affine(2, -1)
    return found


@pytest.mark.parametrize("denoise", ["drift", "none", "published"])
@pytest.mark.parametrize("name", CARD.samplers)
def test_every_sampler_returns_the_image_where_all_the_data_are(name, denoise):
    values = {"tolerance": 1e-3} if name == "flow_adaptive" else {"steps": 100}
    if name == "flow_euler":  # of order one
        values = {"steps": 200}
    images = perfect(std=1e-2).sample(2, sampler(name, denoise=denoise, **values), Noise(0))
    assert images.shape == (2, 1, 8, 8)
    assert (images - 0.75).abs().max() < 0.05


def test_dequantised_training_adds_one_level_of_noise_and_samples_come_back_to_the_levels():
    tiny, other = method(dequantise=True), method()
    x0 = DIGITS.batch(0, 0, 4)
    spread = (16 * x0 + Noise(7).child("dequantise").uniform(x0.shape)) / 17
    torch.testing.assert_close(
        tiny.loss(x0, Noise(7)), other.loss(spread, Noise(7)), rtol=1e-5, atol=1e-6
    )
    for level in (0, 5, 16):
        model = perfect(centre=(level + 0.5) / 17, std=1e-3)
        tiny.score_fn = lambda network, model=model: model.score_fn(model.average)
        images = tiny.sample(4, sampler("flow_heun", steps=100), Noise(0))
        assert (16 * images).round().eq(level).all()


@pytest.mark.parametrize("name", FIXED)
@pytest.mark.parametrize("values", [{}, {"denoise": "published"}], ids=["drift", "published"])
@pytest.mark.parametrize("budget", [2, 3, 10])
def test_the_steps_a_budget_buys_spend_what_the_card_says(name, values, budget):
    tiny, card = method(), CARD.samplers[name]
    params = build(card.params, values)
    least = card.effort.evaluations(build(card.params, {**values, "steps": 1}))
    if least > budget:
        pytest.skip("a budget that buys no step is refused")
    steps = card.effort.fit(budget, params)["steps"]
    chosen = sampler(name, steps=steps, **values)
    with NetworkCounter(tiny.networks) as counter:
        tiny.sample(3, chosen, Noise(0))
    assert counter.rows == 3 * card.effort.evaluations(chosen.params)
    assert (
        card.effort.evaluations(chosen.params)
        <= budget
        < card.effort.evaluations(build(card.params, {**values, "steps": steps + 1}))
    )


def test_heuns_last_step_costs_its_second_evaluation_where_it_is_taken():
    tiny, chosen = method(), sampler("flow_heun", steps=3, last="heun")
    with NetworkCounter(tiny.networks) as counter:
        tiny.sample(1, chosen, Noise(0))
    assert counter.rows == CARD.samplers["flow_heun"].effort.evaluations(chosen.params) == 6


def test_samples_end_at_the_time_asked_for():
    model, asked = perfect(), []
    model.average.register_forward_pre_hook(
        lambda module, inputs: asked.append(inputs[1][0].item())
    )
    model.sample(
        1, sampler("sscs", steps=4, t_min=0.2, times="uniform", denoise="published"), Noise(0)
    )
    assert asked == pytest.approx([1.0, 0.8, 0.6, 0.4, 0.2])


@pytest.mark.parametrize("t", [1e-3, 0.1, 0.8])
def test_exact_is_the_score_by_v_of_the_declared_mixture(t):
    data = load_images("diamond")
    exact = CriticallyDampedLangevin(Params(exact=True), data)
    process, mixture = exact.process, data.mixture
    u, times = (
        torch.randn(5, 4, 1, 1, generator=torch.Generator().manual_seed(0)).double(),
        torch.full((5,), t).double(),
    )
    u.requires_grad_()

    covariances = [
        process.covariance(times[:1], image_variance=(2 * std) ** 2).matrix()[0]
        for std in mixture.stds
    ]
    gain = torch.stack(process.mean_coefficients(times[:1]), -1)[0]
    pairs = u.view(5, 2, 2).mT  # for each coordinate its x and its v
    logs = []
    for weight, mean, covariance in zip(mixture.weights, mixture.means, covariances, strict=True):
        centre = gain * (2 * torch.from_numpy(mean)[:, None] - 1)
        normal = torch.distributions.MultivariateNormal(centre, covariance)
        logs.append(math.log(weight) + normal.log_prob(pairs).sum(1))
    (gradient,) = torch.autograd.grad(torch.logsumexp(torch.stack(logs), 0).sum(), u)
    score = exact.score_fn(exact.average)(u.detach(), times)
    torch.testing.assert_close(score, gradient[:, 2:], rtol=1e-6, atol=1e-6)


def test_exact_trains_nothing_and_takes_no_checkpoint(tmp_path):
    exact = CriticallyDampedLangevin(Params(exact=True), DIGITS)
    exact.train(DIGITS, Run(seed=0))
    assert CARD.training.images(exact.params) == 0
    with pytest.raises(CheckpointError, match="leave one of them out"):
        exact.import_checkpoint(tmp_path / "checkpoint.pth", "ema")


def test_bits_per_dim_bound_those_of_the_model_from_above():
    # Of Gaussian data the velocity at t_eps is nearly the one that was drawn, so the bound is
    # nearly met.
    card = DataCard(
        version=1,
        summary="",
        shape=(1, 2, 1),
        levels=17,
        splits={},
        split_rule="",
        load=lambda split: None,
    )
    model = perfect(Images("pixels", card), centre=0.6, std=0.2)
    images = torch.tensor([[4, 12], [9, 9]]).view(2, 1, 2, 1)
    params = build(CARD.likelihood.params, {"probe": "exact", "tolerance": 1e-6})
    scored = model.score(images, Noise(3), params)
    u = (images + Noise(3).child("dequantise").child(0).uniform(images.shape)) / 17
    normal = torch.distributions.Normal(0.6, 0.2)
    exact = -normal.log_prob(u.double()).flatten(1).sum(1) / (2 * math.log(2)) + math.log2(17)
    torch.testing.assert_close(scored.values["bits_per_dim"], exact, rtol=0, atol=1e-2)
    assert CARD.likelihood.kind == "bound"
    assert scored.identity["offset"] == pytest.approx(math.log2(17 / 2))


def test_inspection_takes_the_averages_loss_at_ten_times_with_the_same_draws():
    tiny = method(objective="dsm", network={"init_scale": 1.0})
    images = DIGITS.batch(0, 0, 5)
    found = tiny.inspect(images, Noise(2))
    times = torch.arange(1, 11, dtype=torch.float64) / 10
    noise, losses = Noise(2), []
    v0 = math.sqrt(GAMMA * MASS) * noise.normal(images.shape)
    z = noise.normal((5, 2, 8, 8))
    for t in times:
        losses.append(tiny.loss_at(tiny.average, 2 * images - 1, t.expand(5), (v0, z)))
    torch.testing.assert_close(found.losses, torch.stack(losses).detach())
    torch.testing.assert_close(found.noise_levels, tiny.process.noise_level(times))
    (strip,) = found.strips.values()
    assert strip.shape == (2, 10, 1, 8, 8)
    assert found.weighting == "dsm, std, mean"


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"beta0": 0.0}, "rate"),
        ({"beta0": 1.0, "beta1": -2.0}, "rate"),
        ({"mass": 0.0}, "mass"),
        ({"gamma": -0.1}, "gamma"),
        ({"gamma": 0.0}, "objective dsm"),
        ({"t_min": 1.0}, "t_min"),
        ({"exact": True, "dequantise": True}, "dequantise false"),
    ],
)
def test_parameters_that_cannot_be_are_refused_with_the_reason(values, reason):
    with pytest.raises(ValueError, match=reason):
        Params(**values)


@pytest.mark.parametrize(
    ("name", "values", "reason"),
    [
        ("sscs", {"steps": 0}, "steps"),
        ("sscs", {"t_min": 1.5}, "t_min"),
        ("ddim", {"eta": 1.5}, "eta"),
        ("flow_adaptive", {"tolerance": 0.0}, "tolerance"),
        ("flow_adaptive", {"error_norm": "image"}, "solver device"),
    ],
)
def test_sampler_parameters_that_cannot_be_are_refused_with_the_reason(name, values, reason):
    with pytest.raises(ValueError, match=reason):
        build(CARD.samplers[name].params, values)


def test_a_network_that_does_not_fit_the_images_is_refused_unless_the_score_is_exact():
    assert CARD.refuse(Params(), (1, 28, 28))
    assert CARD.refuse(Params(exact=True), (1, 28, 28)) == []
