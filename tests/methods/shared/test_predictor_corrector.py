"""Predictor-corrector sampling on Gaussian data with exact scores, and what the card says of it."""

import itertools
import math
from functools import partial

import pytest
import torch

from bench.method import Noise
from methods.shared.grids import grid
from methods.shared.predictor_corrector import predictor_corrector
from methods.shared.process import VE, VP, SubVP
from methods.shared.samplers import ancestral, euler_maruyama, reverse_diffusion

SHAPE = (1, 4, 4)
PROCESSES = {"ve": VE(0.01, 20.0), "vp": VP(), "subvp": SubVP()}
PREDICTORS = {
    "euler_maruyama": euler_maruyama,
    "reverse_diffusion": reverse_diffusion,
    "ancestral": ancestral,
}

each_process = pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES)


def gaussian_score(process, std=0.5, wrong=1.0):
    """The exact score of N(0, std^2) data, times ``wrong``."""

    def score_fn(x, t):
        m, s = process.mean_coefficient(t).view(-1, 1, 1, 1), process.std(t).view(-1, 1, 1, 1)
        return -wrong * x / (m**2 * std**2 + s**2)

    return score_fn


def marginal_std(process, t, std=0.5):
    at = torch.tensor(t, dtype=torch.float64)
    return math.sqrt((process.mean_coefficient(at) * std) ** 2 + process.std(at) ** 2)


def normal(count, seed=0):
    return Noise(seed, dtype=torch.float64).normal((count, *SHAPE))


@each_process
@pytest.mark.parametrize("name", PREDICTORS)
@pytest.mark.parametrize("last_noise", [False, True])
def test_without_corrector_it_is_its_predictor(process, name, last_noise):
    x, times = process.prior_std * normal(3), grid("rho7", process, 7)
    known = process, gaussian_score(process), x, times
    expected = PREDICTORS[name](*known, Noise(1, dtype=torch.float64), last_noise=last_noise)
    got = predictor_corrector(
        *known,
        Noise(1, dtype=torch.float64),
        predictor=name,
        corrector="none",
        last_noise=last_noise,
    )
    assert torch.equal(got, expected)


@each_process
@pytest.mark.parametrize("corrector", ["langevin", "ald"])
@pytest.mark.parametrize("start", [0.5, 1.0, 2.0])
def test_correctors_change_the_variance_as_their_recursion_says(process, corrector, start):
    snr, steps, t = 0.2, 40, 0.6
    right, times = marginal_std(process, t), torch.tensor([t + 1e-3, t], dtype=torch.float64)
    a, _ = process.transition(times[0], times[1])
    x = predictor_corrector(
        process,
        gaussian_score(process),
        start * right * Noise(0, dtype=torch.float64).normal((300, 1, 16, 16)),
        times,
        Noise(1, dtype=torch.float64),
        predictor="none",
        corrector=corrector,
        snr=snr,
        corrector_steps=steps,
    )
    variance = (start * right) ** 2
    for _ in range(steps):
        # The norm of an image's score is its own norm over right^2; of many pixels both norms are
        # nearly certain.
        ratio = (
            right**4 / variance if corrector == "langevin" else float(process.std(times[1])) ** 2
        )
        length = 2 * float(a) ** 2 * snr**2 * ratio
        variance = (1 - length / right**2) ** 2 * variance + 2 * length
    assert math.isclose(float(x.std()), math.sqrt(variance), rel_tol=0.01)
    assert corrector == "ald" or math.isclose(variance, right**2, rel_tol=0.2)


@each_process
def test_langevin_steps_have_the_signal_to_noise_ratio_of_each_image(process):
    t, s = 0.5, 0.4
    times = torch.tensor([t, s], dtype=torch.float64)
    x = normal(3) * torch.tensor([0.1, 1.0, 10.0], dtype=torch.float64).view(3, 1, 1, 1)
    score_fn, at = gaussian_score(process), torch.full((3,), s, dtype=torch.float64)
    score, z = score_fn(x, at), Noise(1, dtype=torch.float64).normal(x.shape)
    moved = predictor_corrector(
        process, score_fn, x, times, Noise(1, dtype=torch.float64), predictor="none", snr=0.16
    )
    alpha = (process.mean_coefficient(times[0]) / process.mean_coefficient(times[1])) ** 2
    norms = (z.flatten(1).norm(dim=1) / score.flatten(1).norm(dim=1)).view(3, 1, 1, 1)
    step = 2 * alpha * (0.16 * norms) ** 2
    torch.testing.assert_close(moved, x + step * score + (2 * step).sqrt() * z, rtol=1e-12, atol=0)


@each_process
def test_an_image_depends_on_its_batch_with_the_batchs_norms_alone(process):
    times, prior = grid("rho7", process, 4), process.prior_std * normal(4)

    class FirstRows(Noise):
        """Draws of four images, of which as many are given as are asked for."""

        def normal(self, shape):
            return super().normal((4, *shape[1:]))[: shape[0]]

    for norms in ("image", "batch"):
        run = partial(predictor_corrector, process, gaussian_score(process), norms=norms)
        alone = run(prior[:1], times, FirstRows(1, dtype=torch.float64))
        together = run(prior, times, FirstRows(1, dtype=torch.float64))[:1]
        assert torch.allclose(alone, together, rtol=1e-10) == (norms == "image")


@each_process
def test_correctors_mend_a_wrong_score_that_predictors_alone_do_not(process):
    # The predictor's score is 30 % too small, so it leaves too much noise; the corrector's is
    # right.
    exact, wrong = gaussian_score(process), gaussian_score(process, wrong=0.7)
    calls = itertools.count()

    def score_fn(x, t):
        return (exact if next(calls) % 21 < 20 else wrong)(x, t)

    times = grid("log_snr", process, 40, t_min=0.05)
    x = marginal_std(process, 1.0) * normal(2000)
    mended = predictor_corrector(
        process,
        score_fn,
        x,
        times,
        Noise(1, dtype=torch.float64),
        corrector="ald",
        snr=0.2,
        corrector_steps=20,
    )
    plain = predictor_corrector(
        process, wrong, x, times, Noise(1, dtype=torch.float64), corrector="none"
    )
    right = marginal_std(process, 0.05)
    assert abs(float(mended.std()) - right) < 0.3 * abs(float(plain.std()) - right)


@each_process
def test_it_ends_at_the_last_time_by_a_predictor_and_by_a_corrector_alone(process):
    x = marginal_std(process, 1.0) * normal(1500)
    both, alone = (
        {"corrector": "ald", "snr": 0.1},
        {"predictor": "none", "corrector": "ald", "snr": 0.2, "corrector_steps": 60},
    )
    for steps, knobs in ((300, both), (300, {**both, "first": "predictor"}), (60, alone)):
        times = grid("log_snr", process, steps, t_min=0.05)
        end = predictor_corrector(
            process,
            gaussian_score(process),
            x,
            times,
            Noise(1, dtype=torch.float64),
            last_noise=True,
            **knobs,
        )
        assert abs(float(end.std()) / marginal_std(process, 0.05) - 1) < 0.03


@pytest.mark.parametrize(("norms", "inflated"), [("image", 2), ("batch", 0)])
def test_norms_of_each_image_make_the_variance_too_large_in_few_dimensions(norms, inflated):
    """The step then depends on the image and on its own noise, and its chain keeps
    p^{d / (d + 2)} |score|^2 in place of p: of a Gaussian in d dimensions the variance is
    (1 + 2/d)^2 too large, however small the steps.
    """
    d, std, process = 8, 0.5, VE(0.01, 20.0)
    noise, times = Noise(0, dtype=torch.float64), torch.tensor([1.0, 0.1], dtype=torch.float64)
    truth = std**2 + process.std(times[1:]).item() ** 2
    x = predictor_corrector(
        process,
        gaussian_score(process, std),
        math.sqrt(truth) * noise.normal((4000, d, 1, 1)),
        times,
        noise,
        predictor="none",
        corrector_steps=800,
        snr=0.05,
        norms=norms,
    )
    assert x.var().item() / truth == pytest.approx((1 + 2 / d) ** inflated, rel=0.03)


@each_process
def test_it_leaves_the_start_as_it_was(process):
    start = normal(2)
    before = start.clone()
    times = grid("uniform", process, 3)
    predictor_corrector(process, gaussian_score(process), start, times, Noise(0))
    assert torch.equal(start, before)
