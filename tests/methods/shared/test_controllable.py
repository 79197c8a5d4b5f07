"""Controllable generation against exact conditional distributions, and the classifier that guides
to a class.
"""

import pytest
import torch
from exact import Mixture

from bench.method import Noise
from methods.shared.controllable import Known, Replacement, grey_basis, guided, restore
from methods.shared.grids import grid
from methods.shared.process import VE, VP

PROCESSES = {"vp": VP(), "ve": VE(0.01, 5.0)}
SHAPE = (1, 2, 4)
DIMS = 8
KNOWN = [0, 1, 2, 3]
Y = torch.tensor([0.6, 0.5, -0.1, -0.3], dtype=torch.float64)


class Double(Noise):
    """Draws in float64."""

    def __init__(self, seed: int, path=(), **keywords) -> None:
        super().__init__(seed, path, **{**keywords, "dtype": torch.float64})


def mixture(name: str) -> Mixture:
    """Smooth lines of eight pixels: one Gaussian, or two with means and covariances of their
    own.
    """
    pixels = torch.arange(DIMS, dtype=torch.float64)
    smooth = torch.exp(-0.5 * ((pixels[:, None] - pixels) / 2).square())
    covariance = 0.25 * smooth + 0.01 * torch.eye(DIMS, dtype=torch.float64)
    if name == "gaussian":
        weights, means, covariances = [1.0], [0.2 * torch.ones(DIMS)], [covariance]
    else:
        weights, means = [0.3, 0.7], [0.5 * pixels.sin(), -0.3 * torch.ones(DIMS)]
        covariances = [0.3 * covariance, 0.5 * covariance]
    means = [mean.double() for mean in means]
    return Mixture(
        torch.tensor(weights, dtype=torch.float64),
        torch.stack(means),
        torch.stack(covariances),
        SHAPE,
    )


def conditional(data: Mixture) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns mean and covariance of the other pixels given that those of KNOWN are Y, exactly."""
    unknown = [i for i in range(DIMS) if i not in KNOWN]
    logs, means, covariances = [], [], []
    for weight, mean, covariance in zip(data.weights, data.means, data.covariances, strict=True):
        inner, cross = covariance[KNOWN][:, KNOWN], covariance[unknown][:, KNOWN]
        off = Y - mean[KNOWN]
        gain = torch.linalg.solve(inner, cross.T).T
        logs.append(weight.log() - 0.5 * (off @ torch.linalg.solve(inner, off) + inner.logdet()))
        means.append(mean[unknown] + gain @ off)
        covariances.append(covariance[unknown][:, unknown] - gain @ cross.T)
    posterior = Mixture(
        torch.softmax(torch.stack(logs), 0), torch.stack(means), torch.stack(covariances), SHAPE
    )
    return posterior.mean_and_covariance()


def bias(
    name: str, process, steps: int, corrector_steps: int = 0, *, count: int = 4000, **knobs
) -> tuple[float, float]:
    """Returns the errors of the unknown pixels' mean, in conditional standard deviations, and
    covariance, relative.
    """
    data = mixture(name)
    images = torch.zeros(count, DIMS, dtype=torch.float64)
    images[:, KNOWN] = Y
    mask = torch.zeros(DIMS, dtype=torch.float64)
    mask[KNOWN] = 1
    known = Known(images.view(count, *SHAPE), mask.view(1, *SHAPE))
    noise = Double(0)
    corrector = {
        "corrector": "ald" if corrector_steps else "none",
        "corrector_steps": max(corrector_steps, 1),
    }
    x = restore(
        process,
        data.score_fn(process),
        process.prior((count, *SHAPE), noise),
        grid("quadratic", process, steps, 1e-3),
        noise,
        known=known,
        predictor="ancestral",
        **corrector,
        **knobs,
    ).flatten(1)
    assert torch.equal(x[:, KNOWN], Y.expand(count, -1)), "what is known ends as it was given"
    mean, covariance = conditional(data)
    unknown = x[:, [i for i in range(DIMS) if i not in KNOWN]]
    off = (unknown.mean(0) - mean) / covariance.diagonal().sqrt()
    spread = torch.cov(unknown.T) - covariance
    return off.square().mean().sqrt().item(), (spread.norm() / covariance.norm()).item()


@pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES)
@pytest.mark.parametrize(("name", "off"), [("gaussian", 0.55), ("mixture", 0.26)])
def test_replacement_under_a_predictor_keeps_its_bias_at_any_number_of_steps(process, name, off):
    for steps in (30, 100, 300):
        mean, _ = bias(name, process, steps)
        assert mean == pytest.approx(off, abs=0.06)


@pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES)
@pytest.mark.parametrize("name", ["gaussian", "mixture"])
def test_langevin_steps_take_the_bias_of_replacement_away(process, name):
    alone, some, many = (bias(name, process, 100, n, count=1000)[0] for n in (0, 4, 16))
    assert many < 0.7 * some
    assert some < 0.9 * alone


def test_known_pixels_carry_the_noise_of_the_time_that_is_reached():
    process, noise = PROCESSES["vp"], Double(0)
    images = torch.ones(20_000, 1, 1, 2, dtype=torch.float64)
    mask = torch.tensor([1.0, 0.0]).view(1, 1, 1, 2)
    x = 9 * torch.ones_like(images)
    for published, carried in ((False, 0.1), (True, 0.5)):
        hook = Replacement(process, Known(images, mask), published=published)
        after = hook(x, 0.5, 0.1, noise)
        t = torch.tensor(carried, dtype=torch.float64)
        assert after[..., 0].mean().item() == pytest.approx(
            process.mean_coefficient(t).item(), abs=0.03
        )
        assert after[..., 0].std().item() == pytest.approx(process.std(t).item(), rel=0.03)
        assert (after[..., 1] == 9).all()


def test_known_part_starts_as_the_prior_does_and_the_authors_without_noise():
    process, noise = PROCESSES["vp"], Double(0)
    images = torch.full((20_000, 1, 1, 2), 0.7, dtype=torch.float64)
    known = Known(images, torch.tensor([1.0, 0.0]).view(1, 1, 1, 2))
    prior = process.prior(images.shape, noise)
    right, theirs = (
        Replacement(process, known, published=published).begin(prior, noise)
        for published in (False, True)
    )
    assert right[..., 0].std().item() == pytest.approx(1, rel=0.02)
    assert (theirs[..., 0] == 0.7).all()
    assert torch.equal(right[..., 1], prior[..., 1])
    assert torch.equal(theirs[..., 1], prior[..., 1])


def test_grey_basis_is_orthonormal_and_its_first_vector_grey():
    basis = grey_basis()
    torch.testing.assert_close(basis.T @ basis, torch.eye(3, dtype=torch.float64))
    torch.testing.assert_close(basis[:, 0], torch.full((3,), 3**-0.5, dtype=torch.float64))


def test_grey_replaced_leaves_the_colour():
    x, grey = (
        torch.rand(4, 3, 5, 5, dtype=torch.float64),
        torch.rand(4, 1, 5, 5, dtype=torch.float64),
    )
    known = Known.grey(grey.expand(4, 3, 5, 5))
    replaced = known.replace(x, known.value)
    torch.testing.assert_close(replaced.mean(1, keepdim=True), grey)
    torch.testing.assert_close(
        replaced - replaced.mean(1, keepdim=True), x - x.mean(1, keepdim=True)
    )


def test_guided_by_the_exact_class_probability_is_the_score_of_that_class():
    data, process = mixture("mixture"), PROCESSES["vp"]
    one = Mixture(torch.ones(1, dtype=torch.float64), data.means[:1], data.covariances[:1], SHAPE)

    def log_prob(x, t):
        m, s = process.mean_coefficient(t), process.std(t)
        return one.log_prob(x, m, s) + data.weights[0].log() - data.log_prob(x, m, s)

    x, t = (
        torch.randn(6, *SHAPE, dtype=torch.float64),
        torch.linspace(0.05, 1, 6, dtype=torch.float64),
    )
    torch.testing.assert_close(
        guided(data.score_fn(process), log_prob, 1.0)(x, t), one.score_fn(process)(x, t)
    )


# The classifier
