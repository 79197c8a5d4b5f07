import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from bench.card import BudgetError, cards
from bench.counter import NetworkCounter
from bench.data.images import load_images
from bench.method import Condition, Noise, Run, Sampler
from bench.schema import build, merge
from methods.ncsn.adapter import NCSN
from methods.ncsn.card import CARD, SAMPLERS
from methods.ncsn.levels import count_levels, geometric, overlap, restoring_step, step_size
from methods.ncsn.presets import PRESETS, PUBLISHED
from methods.shared.likelihood import dequantise
from methods.shared.process import like

DIGITS = load_images("digits")
UNET = {
    "backbone": "unet",
    "network": {"width": 8, "multipliers": [1, 1], "blocks": 1, "attention": []},
}
FOURIER = merge(UNET, {"network": {"embedding": "fourier", "fourier_scale": 1.0}})
BACKBONES = {
    "ncsn": {},
    "ncsnv2": {"refinenet": {"variant": "ncsnv2"}},
    "unet-fourier": FOURIER,
    "unet-positional": UNET,
}
LEVELS = {"sigma_begin": 4.0, "sigma_end": 0.05, "levels": 7}


def method(data=DIGITS, **values):
    return NCSN(build(CARD.params, merge(CARD.tiny, values)), data)


def sampler(name="annealed_langevin", **values):
    return Sampler(name, "", build(SAMPLERS[name].params, values))


class Point(nn.Module):
    """Stands for a network that has learned images of one colour, of NCSN's, NCSNv2's or the shared
    kind.
    """

    def __init__(self, method, colour, kind):
        super().__init__()
        self.method, self.colour, self.kind = method, colour, kind
        self.seen = []

    def forward(self, x, condition=None):
        self.seen.append(condition)
        toward = self.colour - (x + 1) / 2
        sigmas = self.method.sigmas.to(x)
        if self.kind == "ncsn":
            return toward / like(sigmas[condition], x).square()
        if self.kind == "unet-positional":
            return toward / like(sigmas[condition.long()], x)
        return toward / like(condition.exp(), x)


@pytest.mark.parametrize("kind", BACKBONES)
@pytest.mark.parametrize("power", [2.0, 1.0])
def test_loss_is_the_weighed_square_of_score_plus_noise_over_sigma(kind, power):
    tiny = method(
        **merge(BACKBONES[kind], LEVELS, {"anneal_power": power, "network": {"init_scale": 1.0}})
    )
    tiny.network.eval()
    x0, noise = DIGITS.batch(0, 0, 6), Noise(3)
    index, z = noise.integers((6,), 7), noise.normal(x0.shape)
    sigma = like((4.0 * (0.05 / 4.0) ** (index.double() / 6)).float(), x0)
    x = 2 * (x0 + sigma * z) - 1
    output = {
        "ncsn": lambda: tiny.network(x, index),
        "ncsnv2": lambda: tiny.network(x) / sigma,
        "unet-fourier": lambda: tiny.network(x, sigma.flatten().log()) / sigma,
        "unet-positional": lambda: tiny.network(x, index.float()) / sigma,
    }[kind]()
    expected = ((output + z / sigma).square() * sigma**power).flatten(1).mean(1)
    torch.testing.assert_close(tiny.loss(x0, Noise(3)), expected, rtol=1e-4, atol=1e-6)


def test_sliced_loss_has_the_gradient_of_the_denoising_loss_on_average():
    # A score (c - x) / sigma^2 is drawn to c = E x0 by both; of 2048 images the sampling error is
    # 0.3 % of that.
    images = {"levels": 2, "sigma_begin": 0.6, "sigma_end": 0.5}
    x0 = DIGITS.batch(0, 0, 512).repeat(4, 1, 1, 1)
    colour = torch.tensor(0.9, requires_grad=True)
    gradients = {}
    for objective, particles in (("denoising", 1), ("sliced", 2)):
        tiny = method(**images, objective=objective, particles=particles)
        tiny.network = Point(tiny, colour, "ncsn")
        (gradients[objective],) = torch.autograd.grad(tiny.loss(x0, Noise(0)).mean(), colour)
    assert gradients["denoising"].item() == pytest.approx(gradients["sliced"].item(), rel=0.02)
    assert abs(gradients["denoising"].item()) > 0.1


@pytest.mark.parametrize("kind", ["ncsn", "unet-positional"])
def test_network_that_knows_its_levels_alone_is_told_their_index(kind):
    tiny = method(**merge(BACKBONES[kind], LEVELS))
    tiny.average = Point(tiny, 0.5, kind)
    tiny.sample(2, sampler(levels=7, steps_each=2, denoise=False), Noise(0))
    assert [told.tolist() for told in tiny.average.seen] == [
        [k, k] for k in range(7) for _ in range(2)
    ]
    tiny.average.seen.clear()
    tiny.sample(1, sampler(levels=4, steps_each=1), Noise(0))
    assert [told.item() for told in tiny.average.seen] == [0, 2, 4, 6, 6]
    chosen = build(SAMPLERS["annealed_langevin"].params, {"levels": 8})
    assert (
        "its 7 noise levels alone"
        in SAMPLERS["annealed_langevin"].refuse(tiny.params, chosen, "")[0]
    )
    with pytest.raises(ValueError, match="its 7 noise levels alone"):
        tiny.sample(1, sampler(levels=8), Noise(0))


def test_network_that_is_told_sigma_samples_at_any_number_of_levels():
    tiny = method(**merge(FOURIER, LEVELS))
    tiny.average = Point(tiny, 0.5, "unet-fourier")
    chosen = sampler(levels=12, steps_each=1, denoise=False)
    assert SAMPLERS["annealed_langevin"].refuse(tiny.params, chosen.params, "") == []
    tiny.sample(1, chosen, Noise(0))
    told = torch.cat(tiny.average.seen).exp().double()
    torch.testing.assert_close(told, geometric(4.0, 0.05, 12), rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    ("name", "rule"), [("technique", step_size), ("restoring", restoring_step)]
)
def test_step_size_by_a_rule_is_that_of_the_levels_gone_through(name, rule):
    tiny = method(**merge(FOURIER, LEVELS))
    tiny.average = Point(tiny, 0.5, "unet-fourier")
    size = rule(geometric(4.0, 0.05, 12), 3)
    images = [
        tiny.sample(2, sampler(levels=12, steps_each=3, step_lr=step), Noise(0))
        for step in (name, size)
    ]
    assert torch.equal(*images)


@pytest.mark.parametrize("kind", ["ncsn", "unet-fourier"])
def test_samples_of_an_exact_score_are_its_images_and_dequantised_levels_go_back(kind):
    level, dequantised = 5, (5 + 0.5) / 17
    for changes, colour in (({}, 5 / 16), ({"dequantise": True}, dequantised)):
        tiny = method(**merge(BACKBONES[kind], {"sigma_end": 0.001}, changes))
        tiny.average = Point(tiny, colour, kind)
        images = tiny.sample(3, sampler(levels=10, steps_each=20), Noise(0))
        torch.testing.assert_close(images, torch.full_like(images, level / 16), rtol=0, atol=1e-5)


def test_dequantised_loss_sees_images_that_fill_their_bins():
    tiny, plain = method(dequantise=True), method()
    tiny.network, plain.network = (Point(one, 0.2, "ncsn") for one in (tiny, plain))
    x0, noise = DIGITS.batch(0, 0, 4), Noise(1)
    filled = dequantise(x0 * 16, 17, noise.child("dequantise"))
    torch.testing.assert_close(tiny.loss(x0, Noise(1)), plain.loss(filled, Noise(1)))


@pytest.mark.parametrize(
    ("start", "mean", "spread"), [("uniform", 0.5, 12**-0.5), ("normal", 0.5, 4.0)]
)
def test_chains_start_in_the_data_range_or_with_the_largest_noise(start, mean, spread):
    tiny, starts = method(**merge(FOURIER, LEVELS)), []
    tiny.average = Point(tiny, 0.5, "unet-fourier")
    tiny.average.register_forward_pre_hook(
        lambda module, inputs: starts.append((inputs[0] + 1) / 2)
    )
    tiny.sample(300, sampler(start=start, levels=2, steps_each=1), Noise(0))
    # 300 images of 64 pixels: a standard error of 0.7 % of the spread.
    assert starts[0].mean().item() == pytest.approx(mean, abs=0.04 * spread)
    assert starts[0].std().item() == pytest.approx(spread, rel=0.02)


def test_langevin_stays_at_the_smallest_level_or_the_one_that_is_given():
    tiny = method(**merge(FOURIER, LEVELS))
    tiny.average = Point(tiny, 0.5, "unet-fourier")
    for given, sigma in ((None, 0.05), (0.3, 0.3)):
        tiny.average.seen.clear()
        tiny.sample(1, sampler("langevin", sigma=given, steps=3), Noise(0))
        assert [told.exp().item() for told in tiny.average.seen] == pytest.approx(
            [sigma] * 4, rel=1e-5
        )


def test_levels_follow_from_the_training_images_by_both_techniques():
    tiny = method(**merge(FOURIER, {"sigma_begin": "data", "levels": "overlap"}))
    before = len(tiny.sigmas)
    tiny.train(DIGITS, Run(seed=0))
    images = torch.from_numpy(DIGITS.train).double().flatten(1) / 16
    assert tiny.sigmas[0].item() == pytest.approx(
        torch.cdist(images, images).max().item(), rel=1e-9
    )
    assert tiny.sigmas[-1].item() == pytest.approx(0.01)
    assert overlap((tiny.sigmas[0] / tiny.sigmas[1]).item(), 64) >= 0.5
    assert len(tiny.sigmas) < before, "before training any two images may be apart"
    other = method(**merge(FOURIER, {"sigma_begin": "data", "levels": "overlap"}))
    other.load_state(tiny.state())
    assert torch.equal(other.sigmas, tiny.sigmas)


@pytest.mark.parametrize(
    ("shape", "refused"), [((1, 1, 2), True), ((1, 2, 2), True), ((1, 1, 5), False)]
)
def test_levels_that_overlap_are_refused_where_any_two_do(shape, refused):
    params = build(
        cards()["ncsn"].params,
        {"backbone": "unet", "levels": "overlap", "network": {"architecture": "mlp"}},
    )
    reasons = [reason for reason in params.refuse(shape) if reason.startswith("levels overlap: ")]
    assert len(reasons) == refused
    assert (count_levels(16.0, 0.01, math.prod(shape)) == 2) == refused


@pytest.mark.parametrize(
    ("values", "budget", "bought"),
    [
        ({}, 11, {"levels": 2}),
        ({}, 100, {"levels": 19}),
        ({"steps_each": 1}, 100, {"levels": 99}),
        ({"steps_each": 1, "denoise": False}, 100, {"levels": 100}),
        ({"levels": 10, "buys": "steps"}, 1001, {"steps_each": 100}),
        (
            {"levels": 10, "buys": "steps", "denoise": False, "returned": "published"},
            999,
            {"steps_each": 100},
        ),
    ],
)
def test_budget_buys_the_most_levels_or_steps_at_each(values, budget, bought):
    card = SAMPLERS["annealed_langevin"]
    params = build(card.params, values)
    assert card.effort.fit(budget, params) == bought
    (name,) = bought
    params = replace(params, **bought)
    assert (
        card.effort.evaluations(params)
        <= budget
        < card.effort.evaluations(replace(params, **{name: bought[name] + 1}))
    )


@pytest.mark.parametrize(
    ("values", "least"), [({}, 11), ({"buys": "steps"}, 11), ({"steps_each": 100}, 201)]
)
def test_budget_of_less_than_two_levels_or_one_step_is_refused(values, least):
    card = SAMPLERS["annealed_langevin"]
    card.effort.fit(least, build(card.params, values))
    with pytest.raises(BudgetError, match=f"costs {least} evaluations"):
        card.effort.fit(least - 1, build(card.params, values))


@pytest.mark.parametrize(
    "ending", [{}, {"denoise": False}, {"denoise": False, "returned": "published"}]
)
def test_cost_is_what_the_network_counts(ending):
    tiny, chosen = method(), sampler(levels=5, steps_each=3, **ending)
    with NetworkCounter(tiny.networks) as counter:
        tiny.sample(2, chosen, Noise(0))
    assert counter.rows / 2 == SAMPLERS["annealed_langevin"].effort.evaluations(chosen.params)


@pytest.mark.parametrize("preset", PRESETS)
def test_published_sampling_goes_through_the_trained_levels(preset):
    card, params = SAMPLERS["annealed_langevin"], build(CARD.params, PRESETS[preset])
    chosen = build(card.params, PUBLISHED[preset].params)
    assert card.refuse(params, chosen, "") == []
    assert chosen.levels == params.levels


@pytest.mark.parametrize("task", ["left", "random"])
def test_inpainting_keeps_what_is_known_on_the_scale_of_the_levels(task):
    tiny = method(**merge(FOURIER, LEVELS, {"dequantise": True}))
    tiny.average = Point(tiny, (3 + 0.5) / 17, "unet-fourier")
    images = DIGITS.batch(0, 1, 4)
    known = torch.zeros(4, 1, 8, 8, dtype=torch.bool)
    known[..., :4] = task == "left"
    if task == "random":
        known = Noise(5).uniform(known.shape) < 0.5
    given = Condition("inpainting", images=images * known, known=known)
    samples = tiny.sample(4, sampler(levels=8, steps_each=10), Noise(0), given)
    torch.testing.assert_close(samples[known], images[known], rtol=0, atol=1e-6)
    unknown = samples[~known]
    torch.testing.assert_close(unknown, torch.full_like(unknown, 3 / 16), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["two_modes", "digits"])
def test_exact_model_has_the_score_of_the_declared_distribution_or_of_the_training_images(name):
    data = load_images(name)
    exact = NCSN(
        build(CARD.params, {"exact": True, "sigma_begin": "data", "levels": "overlap"}), data
    )
    exact.train(data, Run(seed=0))
    assert list(exact.state()) == ["fitted.sigmas"]
    x, sigma = Noise(0).uniform((5, *data.shape)), torch.tensor([0.02, 0.1, 0.3, 1.0, 3.0])
    with NetworkCounter(exact.networks) as counter:
        found = exact.score_fn(exact.average)(x, sigma)
    assert counter.rows == 5
    if name == "two_modes":
        weights, means, deviation = (
            torch.tensor([0.2, 0.8]),
            torch.tensor([[0.25, 0.25], [0.75, 0.75]]),
            0.05,
        )
    else:
        means, deviation = torch.from_numpy(data.train).float().flatten(1) / 16, 0.0
        weights = torch.ones(len(means))
    x = x.double().requires_grad_()
    distances = (x.flatten(1)[:, None] - means.double()).square().sum(2)
    variances = sigma.double()[:, None].square() + deviation**2
    logs = weights.double().log() - distances / (2 * variances)
    (expected,) = torch.autograd.grad(torch.logsumexp(logs, dim=1).sum(), x)
    torch.testing.assert_close(
        found.double(), expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item()
    )


def test_inspected_losses_are_those_of_the_averaged_weights_at_each_level_with_equal_noise():
    tiny = method(**merge(FOURIER, {"levels": 23, "network": {"init_scale": 1.0}}))
    x0 = DIGITS.batch(0, 0, 5)
    seen = tiny.inspect(x0, Noise(2))
    index = torch.round((1 - seen.times) * 22).long()
    assert index.tolist() == [22, 20, 17, 15, 12, 10, 7, 5, 2, 0]
    torch.testing.assert_close(seen.noise_levels, tiny.sigmas[index])
    z = Noise(2).child("loss").normal(x0.shape)
    for sigma, losses in zip(seen.noise_levels.tolist(), seen.losses, strict=True):
        told = torch.full((5,), sigma).log()
        residual = tiny.average(2 * (x0 + sigma * z) - 1, told) + z
        torch.testing.assert_close(losses, residual.square().flatten(1).mean(1), rtol=1e-4, atol=0)


@pytest.mark.parametrize("kind", BACKBONES)
def test_inspection_shows_noisy_images_with_their_clean_means_and_rows_of_neighbours(kind):
    tiny = method(**merge(BACKBONES[kind], LEVELS))
    if kind != "ncsnv2":
        tiny.average = Point(tiny, 0.25, kind)
    x0 = DIGITS.batch(0, 0, 5)
    denoised, arcs = tiny.inspect(x0, Noise(2)).strips.values()
    assert denoised.shape == (8, 7, 1, 8, 8)
    noisy = denoised[0::2].sub(x0[:4, None]).flatten(2)
    torch.testing.assert_close(
        noisy.std(2), tiny.sigmas.flip(0).float().expand(4, 7), rtol=0.35, atol=0
    )
    if kind != "ncsnv2":
        torch.testing.assert_close(
            denoised[1::2], torch.full((4, 7, 1, 8, 8), 0.25), rtol=0, atol=1e-4
        )
    assert arcs.shape == (4, 8, 1, 8, 8)
    (curve,) = tiny.inspect(x0, Noise(2)).curves.values()
    assert torch.equal(curve.y, tiny.sigmas)


def test_points_have_no_pictures_to_show():
    data = load_images("two_modes")
    exact = NCSN(build(CARD.params, {"exact": True}), data)
    points = torch.tensor([[0.25, 0.25], [0.75, 0.75], [0.8, 0.7]]).view(3, 2, 1, 1)
    seen = exact.inspect(points, Noise(0))
    assert seen.strips == {}
    assert seen.losses.shape == (10, 3)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"sigma_begin": 0.01}, "sigma_end < sigma_begin"),
        ({"levels": 1}, "at least 2"),
        ({"levels": "overlap"}, "give levels a number"),
        ({"particles": 2}, "objective sliced"),
        ({"exact": True, "dequantise": True}, "leave dequantise false"),
        ({"overlap": 1.5}, "overlap"),
    ],
)
def test_parameters_that_cannot_be_are_refused_with_the_reason(values, why):
    with pytest.raises(ValueError, match=why):
        build(CARD.params, values)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"levels": 1}, "langevin"),
        ({"step_lr": 0.0}, "step_lr should be positive"),
        ({"convention": "paper"}, "leave convention code"),
        ({"returned": "published"}, "denoise false"),
    ],
)
def test_sampler_parameters_that_cannot_be_are_refused_with_the_reason(values, why):
    with pytest.raises(ValueError, match=why):
        build(SAMPLERS["annealed_langevin"].params, values)


@pytest.mark.parametrize(
    "values", [FOURIER, {"sigma_begin": "data"}, {"exact": True}], ids=["unet", "data", "exact"]
)
def test_checkpoint_of_another_kind_of_model_is_refused(values, tmp_path):
    with pytest.raises(ValueError, match=r"checkpoint|levels of its own|exact stands"):
        method(**values).import_checkpoint(tmp_path / "file.pth", "raw")
