import math

import pytest
import torch

from bench.method import Noise
from methods.ncsn.langevin import Arc, annealed_langevin, langevin
from methods.ncsn.levels import geometric, restoring_step, step_size
from methods.shared.controllable import Known
from methods.shared.exact import Mixture
from methods.shared.process import like

SHAPE = (1, 2, 2)
LEVELS = geometric(2.0, 0.1, 4)


class Gaussian:
    """The exact score of N(0.4, 0.3^2) in every pixel; it notes every x and sigma at which it was
    asked.
    """

    centre, spread = 0.4, 0.3

    def __init__(self):
        self.states, self.sigmas = [], []

    def __call__(self, x, sigma):
        self.states.append(x.clone())
        self.sigmas.append(sigma.clone())
        return (self.centre - x) / like(self.spread**2 + sigma**2, x)


class Recorded(Noise):
    """A stream that notes its draws."""

    def normal(self, shape):
        self.__dict__.setdefault("draws", []).append(super().normal(shape))
        return self.draws[-1]


def double(seed=0):
    return Noise(seed, dtype=torch.float64)


def start(count=3, shape=SHAPE):
    return double(9).uniform((count, *shape))


def run(score_fn=None, x=None, noise=None, **options):
    knobs = {"steps_each": 3, "step_lr": 2e-3, "denoise": False, **options}
    return annealed_langevin(
        score_fn or Gaussian(), start() if x is None else x, LEVELS, noise or double(), **knobs
    )


def test_a_step_adds_alpha_scores_and_root_of_two_alpha_of_noise_at_its_level():
    score_fn, noise = Gaussian(), Recorded(0, dtype=torch.float64)
    x = run(score_fn, noise=noise)
    after = [*score_fn.states[1:], x]
    assert len(after) == len(noise.draws) == 4 * 3
    for k, (before, z, result) in enumerate(zip(score_fn.states, noise.draws, after, strict=True)):
        sigma = LEVELS[k // 3].item()
        assert score_fn.sigmas[k].tolist() == [sigma] * 3
        alpha = 2e-3 * sigma**2 / 0.1**2
        expected = before + alpha * (0.4 - before) / (0.3**2 + sigma**2) + math.sqrt(2 * alpha) * z
        torch.testing.assert_close(result, expected, rtol=1e-12, atol=0)


def test_the_papers_step_size_is_twice_the_factor_of_the_score():
    paper, code = run(convention="paper", step_lr=4e-3), run(convention="code", step_lr=2e-3)
    torch.testing.assert_close(paper, code, rtol=1e-12, atol=0)


def test_published_sampler_returns_the_image_before_the_last_update_clamped():
    whole, published = Gaussian(), Gaussian()
    run(whole)
    x = run(published, returned="published")
    torch.testing.assert_close(x, whole.states[-1].clamp(0, 1), rtol=0, atol=0)
    assert len(published.states) == len(whole.states) - 1
    assert whole.states[-1].min() < 0, "nothing is clamped here"


def test_published_sampler_has_no_denoising_step():
    with pytest.raises(ValueError, match="denoise"):
        run(returned="published", denoise=True)


def test_denoising_ends_with_the_mean_of_the_clean_image():
    x, clean = run(), run(denoise=True)
    weight = 0.1**2 / (0.1**2 + 0.3**2)
    torch.testing.assert_close(clean, weight * 0.4 + (1 - weight) * x, rtol=1e-12, atol=0)


def test_langevin_at_one_level_is_stationary_at_the_variance_of_its_step_size():
    # x -> (1 - a / V) x + sqrt(2 a) z leaves V / (1 - a / 2 V) unchanged; a = V / 2 makes it 4/3 V.
    level, variance = 0.4, 0.3**2 + 0.4**2
    x = 0.4 + math.sqrt(4 / 3 * variance) * double(1).normal((20_000, 1, 1, 1))
    x = langevin(Gaussian(), x, level, double(2), steps=5, step_lr=variance / 2, denoise=False)
    # Five standard errors, sqrt(2 / n) of a variance.
    assert x.var().item() == pytest.approx(4 / 3 * variance, rel=0.05)
    assert x.mean().item() == pytest.approx(0.4, abs=0.02)


def two_modes(count, sampler, **options):
    """Returns the share of samples of 0.2 N(0.25, 0.05^2 I) + 0.8 N(0.75, 0.05^2 I) in the plane
    near the first.
    """
    means = torch.tensor([[0.25, 0.25], [0.75, 0.75]])
    data = Mixture(torch.tensor([0.2, 0.8]), means, torch.tensor([0.05**2, 0.05**2]))

    def score_fn(x, sigma):
        return data.score(x, torch.ones_like(sigma), sigma)

    x = sampler(score_fn, start(count, (2, 1, 1)), noise=double(3), **options).flatten(1)
    near = [(x - mean).norm(dim=1) < 0.25 for mean in means]
    assert torch.stack(near).sum().item() > 0.99 * count, "samples are far from both modes"
    return near[0].double().mean().item()


def test_annealing_finds_the_weights_of_two_modes_and_langevin_dynamics_do_not():
    # From a uniform start half of the box leads to either mode. 400 chains: a standard error of
    # 0.02.
    sigmas = geometric(1.0, 0.01, 10)
    annealed = two_modes(400, annealed_langevin, sigmas=sigmas, steps_each=100, step_lr=2e-5)
    assert annealed == pytest.approx(0.2, abs=0.06)
    single = two_modes(400, langevin, sigma=0.01, steps=1000, step_lr=5e-4)
    assert single == pytest.approx(0.5, abs=0.08)


def half_known(count=3, shape=SHAPE):
    mask = torch.zeros(shape[-1])
    mask[: shape[-1] // 2] = 1
    return Known(double(5).uniform((1, *shape)).expand(count, *shape), mask)


@pytest.mark.parametrize(("conditioning", "draws"), [("step", 3), ("level", 1)])
def test_known_pixels_carry_the_noise_of_the_level_at_every_evaluation(conditioning, draws):
    score_fn, known, noise = Gaussian(), half_known(), Recorded(0, dtype=torch.float64)
    x = run(score_fn, noise=noise, known=known, conditioning=conditioning, denoise=True)
    left = (..., slice(None, 1))
    corruptions = []
    for i in range(4):
        # A level's draws: one for the corruption before each step, or before the first, and one for
        # each step.
        first = i * (3 + draws)
        corruptions += [noise.draws[first + (2 * k if draws == 3 else 0)] for k in range(3)]
    for k, z in enumerate(corruptions):
        expected = known.value + LEVELS[k // 3] * z
        torch.testing.assert_close(score_fn.states[k][left], expected[left], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(x[left], known.value[left], rtol=0, atol=0)
    assert len(noise.draws) == 4 * (3 + draws)


def test_published_inpainting_keeps_the_noise_of_the_last_level_on_known_pixels():
    score_fn, known = Gaussian(), half_known()
    x = run(score_fn, known=known, conditioning="level", returned="published")
    error = (x - known.value)[..., :1].abs()
    assert 0 < error.max() < 5 * 0.1


@pytest.mark.parametrize("conditioning", ["step", "level"])
def test_inpainting_of_correlated_pixels_nears_their_conditional_distribution(conditioning):
    place = torch.arange(8, dtype=torch.float64)
    covariance = 0.3**2 * torch.exp(-(place[:, None] - place).abs() / 2)
    values, basis = torch.linalg.eigh(covariance)
    seen = torch.tensor([0.9, 0.2, 0.7, 0.4], dtype=torch.float64)
    gain = covariance[4:, :4] @ torch.linalg.inv(covariance[:4, :4])
    mean, left = 0.5 + gain @ (seen - 0.5), covariance[4:, 4:] - gain @ covariance[:4, 4:]

    def score_fn(x, sigma):
        inside = (0.5 - x.flatten(1)) @ basis / (values + sigma.square()[:, None])
        return (inside @ basis.T).view_as(x)

    count, images = 1000, torch.zeros(1, 1, 1, 8, dtype=torch.float64)
    images[..., :4] = seen
    known = Known(images.expand(count, 1, 1, 8), images[0] > 0)
    knobs = {"steps_each": 100, "step_lr": 2e-5, "known": known, "conditioning": conditioning}
    x = annealed_langevin(
        score_fn, start(count, (1, 1, 8)), geometric(2.0, 0.01, 10), double(), **knobs
    )
    unknown = x.flatten(1)[:, 4:]
    # Without the known pixels the mean would be 0.5, up to 1.5 conditional standard deviations off,
    # and the variances 1.4 times as large. Standard errors: 0.03 of a standard deviation, 2 % of
    # the trace.
    errors = (unknown.mean(0) - mean) / left.diagonal().sqrt()
    assert errors.abs().max().item() < 0.15
    assert (torch.cov(unknown.T).trace() / left.trace()).item() == pytest.approx(1, abs=0.1)


def test_an_arc_goes_over_from_one_draw_to_another_with_unit_variance_everywhere():
    draws = Arc(double(), 5).normal((2 * 5, 1000, 1, 1)).view(2, 5, 1000)
    source = double()
    p, q = (source.normal((2, 1000, 1, 1)).view(2, 1000) for _ in range(2))
    for k, angle in enumerate([0, math.pi / 8, math.pi / 4, 3 * math.pi / 8, math.pi / 2]):
        torch.testing.assert_close(
            draws[:, k], math.cos(angle) * p + math.sin(angle) * q, rtol=1e-12, atol=1e-12
        )
    assert draws.var(dim=-1).sub(1).abs().max() < 5 * math.sqrt(2 / 1000)


def test_rows_of_an_arc_end_as_the_samples_of_its_two_noises():
    class End(Arc):
        def __init__(self, noise, angle):
            super().__init__(noise, 1)
            self.angles = torch.tensor([angle], dtype=torch.float64)

    rows = run(x=start(2).repeat_interleave(4, dim=0), noise=Arc(double(), 4)).view(2, 4, *SHAPE)
    first, last = (run(x=start(2), noise=End(double(), angle)) for angle in (0, math.pi / 2))
    torch.testing.assert_close(rows[:, 0], first, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(rows[:, -1], last, rtol=1e-12, atol=1e-12)
    between = (rows[:, 1:] - rows[:, :-1]).flatten(2).norm(dim=2)
    whole = (rows[:, -1] - rows[:, 0]).flatten(1).norm(dim=1)
    assert (between < whole[:, None]).all()


def test_budgeted_levels_mix_better_with_the_steps_that_the_technique_asks_for():
    """The variance that is left of one point: with the technique's step size, and with that of more
    steps.
    """
    point = Gaussian()
    point.centre, point.spread = 0.5, 0.0
    sigmas = geometric(5.0, 0.01, 40)
    x = 0.5 + 5.0 * double(1).normal((4000, 1, 1, 1))

    def error(step_lr):
        after = annealed_langevin(
            point, x, sigmas, double(2), steps_each=5, step_lr=step_lr, denoise=False
        )
        return abs(after.var().item() / 0.01**2 - 1)

    chosen = step_size(sigmas, 5)
    assert error(chosen) < error(step_size(sigmas, 100))
    assert error(chosen) < 0.3


@pytest.mark.parametrize(("levels", "steps_each"), [(50, 1), (100, 1), (49, 2), (232, 5)])
def test_restoring_steps_hold_the_noise_where_the_predicted_noise_has_variance_1(
    levels, steps_each
):
    """Images of one point, and of each the noise predicted in units of its root mean square: 196
    dimensions with as many samples.
    """
    sigmas = geometric(10.0, 0.02, levels)
    x = 0.5 + 10.0 * double(1).normal((200, 1, 14, 14))

    def normalised(x, sigma):
        centred = x - 0.5
        size = centred.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
        return -centred / size / sigma.view(-1, 1, 1, 1)

    def left(step_lr):
        after = annealed_langevin(
            normalised, x, sigmas, double(2), steps_each=steps_each, step_lr=step_lr, denoise=False
        )
        return (after - 0.5).square().mean().sqrt().item() / 0.02

    assert left(restoring_step(sigmas, steps_each)) < 2
    if levels * steps_each <= 100:  # with many steps the technique holds it too
        assert left(step_size(sigmas, steps_each)) > 10


def test_restoring_step_of_the_authors_levels_is_theirs():
    """NCSNv2 on CIFAR-10: 232 levels from 50 to 0.01, five steps at each of 6.2e-6."""
    assert restoring_step(geometric(50.0, 0.01, 232), 5) == pytest.approx(6.2e-6, rel=0.05)
    assert restoring_step(geometric(50.0, 0.01, 4), 1) == pytest.approx(0.01**2)
