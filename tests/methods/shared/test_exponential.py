"""The exponential integrator against DDIM and exact flows of Gaussians, on scalar processes and on
blur.
"""

import math

import pytest
import torch
from scipy.fft import dctn, idctn

from bench.method import Noise
from methods.shared.exact import Mixture
from methods.shared.exponential import Isotropic, exponential_steps, gddim
from methods.shared.process import VE, VP, SubVP, time_like
from methods.shared.samplers import ddim

SHAPE = (1, 2, 2)

PREDICTIONS = ("noise", "clean")
each_prediction = pytest.mark.parametrize("prediction", PREDICTIONS)
each_scalar = pytest.mark.parametrize(
    "process", [VE(0.01, 20.0), VP(), SubVP()], ids=lambda process: type(process).__name__
)


def uniform(steps: int, end: float = 1e-3) -> torch.Tensor:
    return torch.linspace(1, end, steps + 1, dtype=torch.float64)


def draws(*shape: int, seed: int = 0) -> torch.Tensor:
    return Noise(seed, dtype=torch.float64).normal(shape)


def mixture() -> Mixture:
    return Mixture(torch.tensor([0.3, 0.7]), draws(2, 4, seed=1), torch.tensor([0.01, 0.3]))


@each_scalar
@pytest.mark.parametrize("eta", [0.0, 0.6, 1.0])
def test_scalar_processes_give_ddim(process, eta):
    data, x, times = mixture(), draws(3, *SHAPE), uniform(7)

    def score(x, t):
        return data.score(x, process.mean_coefficient(t), process.std(t))

    def clean(x, t):
        at = time_like(x, t)
        scale = process.mean_coefficient(at).view(-1, 1, 1, 1)
        return (x + process.std(at).square().view(-1, 1, 1, 1) * score(x, at)) / scale

    expected = ddim(process, score, x, times, Noise(2, dtype=torch.float64), eta=eta)
    actual = gddim(Isotropic(process), clean, x, times, Noise(2, dtype=torch.float64), eta=eta)
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-10)


@each_prediction
@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("kind", ["vp", "blur"])
def test_one_function_has_its_order_on_scalar_processes_and_on_blur_too(kind, order, prediction):
    """Of Gaussian data: the flow of an uncorrelated mode keeps its sign and ends with the standard
    deviation there.

    The first step holds its prediction: an error of order 2 where that changes from the start, as
    with blur.
    """
    process, variance = {"vp": Isotropic(VP(0.1, 10.0)), "blur": Cosines(1.0)}[kind], 0.3

    def marginal(t):
        """Returns gain and variance of every mode at one time."""
        at = torch.tensor([t], dtype=torch.float64)
        gain = process.propagator(at, torch.zeros_like(at))[0, ..., 0, 0]
        return gain, gain.square() * variance + process.root(at)[0, ..., 0, 0].square()

    def clean(u, t):
        gain, total = marginal(t)
        return gain * variance / total * u

    def error(steps):
        times, start = uniform(steps, 0.05), torch.ones(1, 1, 4, 4, dtype=torch.float64)
        end = gddim(process, clean, start, times, order=order, prediction=prediction)
        exact = (marginal(0.05)[1] / marginal(1.0)[1]).sqrt()
        return (end - exact).abs().max().item()

    expected = min(order, 2) if kind == "blur" else order
    assert math.log2(error(80) / error(160)) == pytest.approx(expected, abs=0.25)


@pytest.mark.parametrize("eta", [0.5, 1.0])
@pytest.mark.parametrize("kind", ["vp", "blur"])
def test_fresh_noise_is_its_share_of_the_posterior_and_keeps_the_marginal(kind, eta):
    fresh_noise_is_its_share({"vp": Isotropic(VP()), "blur": Cosines(2.0)}[kind], eta)


def fresh_noise_is_its_share(process, eta):
    """Of a point: fresh noise has eta^2 times the covariance given the state before, and the whole
    that at the end.
    """
    times = torch.tensor([1.0, 0.6, 0.5, 0.1, 0.01], dtype=torch.float64)
    steps, root = exponential_steps(process, times, eta=eta), process.root(times)
    sigma, forward = root @ root.mT, process.propagator(times[:-1], times[1:])
    before, after = sigma[:-1], sigma[1:]
    posterior = after - after @ forward.mT @ torch.linalg.inv(before) @ forward @ after
    fresh = steps.spread @ steps.spread.mT
    torch.testing.assert_close(fresh, eta**2 * posterior, rtol=1e-9, atol=1e-12)
    kept = torch.stack([weights[0] for weights in steps.noise]) @ steps.whitening
    torch.testing.assert_close(kept @ before @ kept.mT + fresh, after, rtol=1e-9, atol=1e-12)


def test_noise_goes_with_steps_of_order_1():
    with pytest.raises(ValueError, match="order 1"):
        gddim(
            Isotropic(VP()),
            lambda u, t: u,
            draws(1, *SHAPE),
            uniform(2),
            Noise(0),
            order=2,
            eta=0.5,
        )


class Cosines:
    """Soft Diffusion's blur of 4x4 images in the basis of the cosine transform: rates differ from
    mode to mode.
    """

    parts = 1

    def __init__(self, strongest: float) -> None:
        frequency = math.pi * torch.arange(4, dtype=torch.float64) / 4
        self.squares = frequency.square()[:, None] + frequency.square()
        self.strongest = strongest

    def propagator(self, t, s):
        spread = self.strongest**2 * (t.square() - s.square()).view(-1, 1, 1)
        return torch.exp(-0.5 * spread * self.squares)[..., None, None]

    def root(self, t):
        return (0.01 * 30 ** t.view(-1, 1, 1)).expand(len(t), 4, 4)[..., None, None]


POINTS = draws(5, 1, 4, 4, seed=4)


def modes(images):
    return torch.from_numpy(dctn(images.numpy(), axes=(-2, -1), norm="ortho"))


def pixels(coefficients):
    return torch.from_numpy(idctn(coefficients.numpy(), axes=(-2, -1), norm="ortho"))


@pytest.mark.parametrize("order", [1, 2, 3])
def test_a_single_blurred_image_is_reached_however_little_is_left_of_it(order):
    process, times, x = Cosines(60.0), uniform(6, 0.1), 0.3 * draws(3, 1, 4, 4)
    image = modes(POINTS[:1])
    reached = gddim(process, lambda u, t: image, x, times, order=order, prediction="clean")
    gain, root = (
        process.propagator(times, torch.zeros_like(times))[..., 0, 0],
        process.root(times)[..., 0, 0],
    )
    torch.testing.assert_close(
        reached, gain[-1] * image + root[-1] / root[0] * (x - gain[0] * image)
    )
