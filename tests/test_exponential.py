"""The exponential integrator against DDIM, exact flows of points and Gaussians, and the operators of blur."""

import math
from itertools import product

import pytest
import torch
from scipy.fft import dctn, idctn

from bench.method import Noise
from methods.cld.exponential import Damped, clean_state
from methods.cld.exponential import gddim as cld_gddim
from methods.cld.process import CLD
from methods.shared.adaptive import dormand_prince
from methods.shared.exact import Mixture, combine
from methods.shared.exponential import Isotropic, exponential_steps, gddim
from methods.shared.process import VE, VP, SubVP, time_like
from methods.shared.samplers import ddim
from methods.soft.samplers import ddim as soft_ddim

SHAPE = (1, 2, 2)
CLDS = [CLD(), CLD(beta0=0.1, beta1=6.9), CLD(mass=0.7, gamma=0.2)]

PREDICTIONS = ("noise", "clean")
each_prediction = pytest.mark.parametrize("prediction", PREDICTIONS)
each_scalar = pytest.mark.parametrize(
    "process", [VE(0.01, 20.0), VP(), SubVP()], ids=lambda process: type(process).__name__
)
each_cld = pytest.mark.parametrize("process", CLDS, ids=("published", "rising", "heavy"))


def uniform(steps: int, end: float = 1e-3) -> torch.Tensor:
    return torch.linspace(1, end, steps + 1, dtype=torch.float64)


def draws(*shape: int, seed: int = 0) -> torch.Tensor:
    return Noise(seed, dtype=torch.float64).normal(shape)


def mixture() -> Mixture:
    return Mixture(torch.tensor([0.3, 0.7]), draws(2, 4, seed=1), torch.tensor([0.01, 0.3]))


def cld_score(process: CLD, data: Mixture):
    def score(u, t):
        return data.joint_score(*u.chunk(2, 1), process.mean_coefficients(t), process.covariance(t))[1]

    return score


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


@each_cld
def test_the_root_squares_to_the_covariance_and_follows_its_equation(process):
    """Its derivative, by differences, is (F + G G^T / (2 Sigma)) R; the Cholesky factor's is not."""
    t, h = torch.tensor([0.003, 0.1, 0.4, 0.97], dtype=torch.float64), 1e-5
    root, sigma = Damped(process).root(t), process.covariance(t).matrix()
    torch.testing.assert_close(root @ root.mT, sigma, rtol=1e-12, atol=1e-15)
    beta = process.beta(t)
    zero = torch.zeros_like(beta)
    rows = [[zero, beta / process.mass], [-beta, -beta * process.friction / process.mass]]
    drift = torch.stack([torch.stack(row, -1) for row in rows], -2)
    noise = torch.diag_embed(torch.stack([zero, process.diffusion(t).square()], -1))
    expected = (drift + 0.5 * noise @ torch.linalg.inv(sigma)) @ root

    def slope(root_of):
        return (root_of(t * (1 + h)) - root_of(t * (1 - h))) / (2 * h * t)[:, None, None]

    torch.testing.assert_close(slope(Damped(process).root), expected, rtol=1e-6, atol=1e-6)
    cholesky = torch.linalg.cholesky(sigma)
    off = slope(lambda t: torch.linalg.cholesky(process.covariance(t).matrix())) - expected @ root.inverse() @ cholesky
    assert off.abs().amax((1, 2)).min() > 0.01


@each_cld
def test_a_single_image_is_reached_in_any_number_of_steps(process):
    """The noise stays what it is along the flow of a point, so steps of any length are exact."""
    data = Mixture(torch.ones(1), draws(1, 4), torch.zeros(1))
    score, u = cld_score(process, data), process.prior((3, *SHAPE), Noise(3, dtype=torch.float64))

    def velocity(t, y, rows):
        now = y.view_as(u)
        return process.flow(score(now, t), now, t).flatten(1)

    flow = dormand_prince(velocity, u.flatten(1), 1.0, 0.05, tolerance=1e-9).view_as(u)
    for steps, order, prediction in ((1, 1, "noise"), (4, 1, "clean"), *product([4], [2, 3], PREDICTIONS)):
        reached = cld_gddim(process, score, u, uniform(steps, 0.05), order=order, prediction=prediction)
        torch.testing.assert_close(reached, flow, rtol=0, atol=1e-6)


@each_prediction
@pytest.mark.parametrize("order", [1, 2, 3])
def test_errors_of_gaussian_data_fall_with_the_order(order, prediction):
    coarse, fine = (gaussian_error(CLDS[1], steps, order, prediction) for steps in (160, 320))
    assert math.log2(coarse / fine) == pytest.approx(order, abs=0.25)


def gaussian_error(process: CLD, steps: int, order: int, prediction: str) -> float:
    """How far the covariance of the output is from that of the state, for data of variance 0.3 and exact starts."""
    variance, end, one = 0.3, 1e-2, torch.tensor([1.0], dtype=torch.float64)

    def score(u, t):
        xx, xv, _, det = process.covariance(t[0], image_variance=variance)
        x, v = u.chunk(2, 1)
        return (xv * x - xx * v) / det

    units = torch.eye(2, dtype=torch.float64).view(2, 2, 1, 1)
    matrix = cld_gddim(process, score, units, uniform(steps, end), order=order, prediction=prediction).view(2, 2).T
    covariance = matrix @ process.covariance(one, image_variance=variance).matrix()[0] @ matrix.T
    exact = process.covariance(end * one, image_variance=variance).matrix()[0]
    return (covariance - exact).abs().max().item()


@each_prediction
@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("kind", ["vp", "blur"])
def test_one_function_has_its_order_on_scalar_processes_and_on_blur_too(kind, order, prediction):
    """Of Gaussian data: the flow of an uncorrelated mode keeps its sign and ends with the standard deviation there.

    The first step holds its prediction: an error of order 2 where that changes from the start, as with blur.
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
@pytest.mark.parametrize("kind", ["published", "rising", "heavy", "vp", "blur"])
def test_fresh_noise_is_its_share_of_the_posterior_and_keeps_the_marginal(kind, eta):
    """Of a point: fresh noise has eta^2 times the covariance given the state before, and the whole that at the end."""
    named = dict(zip(("published", "rising", "heavy"), map(Damped, CLDS), strict=True))
    process = {**named, "vp": Isotropic(VP()), "blur": Cosines(2.0)}[kind]
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
        gddim(Isotropic(VP()), lambda u, t: u, draws(1, *SHAPE), uniform(2), Noise(0), order=2, eta=0.5)


def test_the_score_by_v_tells_the_mean_of_the_image():
    process, data, t = CLD(numerical_eps=1e-3), mixture(), torch.tensor([0.2] * 3, dtype=torch.float64)
    u = draws(3, 2, 2, 2)
    x, v = u.chunk(2, 1)
    gains, covariance = process.mean_coefficients(t), process.covariance(t)
    y, std = combine(x, v, gains, covariance)
    image = data.denoise(y, torch.ones_like(std), std)
    expected = torch.cat([image, torch.zeros_like(image)], 1)
    torch.testing.assert_close(clean_state(process, cld_score(process, data), u, 0.2), expected)


class Cosines:
    """Soft Diffusion's blur of 4x4 images in the basis of the cosine transform: rates differ from mode to mode."""

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


class Blurred:
    """The same blur as the corruption of Soft Diffusion's samplers: of pixels, by the cosine transform."""

    def __init__(self, process: Cosines) -> None:
        self.process = process

    def apply(self, x, t):
        return pixels(self.gain(t) * modes(x))

    def std(self, t):
        return self.process.root(t.view(-1))[:, 0, 0, 0, 0].view(t.shape)

    def gain(self, t):
        t = t.double().view(-1)
        return self.process.propagator(t, torch.zeros_like(t))[:, None, ..., 0, 0]

    def denoise(self, x, t):
        """Returns the mean of the clean image for data of five points."""
        data = Mixture(torch.ones(5), modes(POINTS), torch.zeros(5))
        return pixels(data.denoise(modes(x), self.gain(t[:1]), self.std(t[:1]).view(1, 1, 1, 1)))


def modes(images):
    return torch.from_numpy(dctn(images.numpy(), axes=(-2, -1), norm="ortho"))


def pixels(coefficients):
    return torch.from_numpy(idctn(coefficients.numpy(), axes=(-2, -1), norm="ortho"))


@pytest.mark.parametrize("strongest", [2.0, 60.0])
def test_blur_gives_the_step_of_soft_diffusion_however_little_it_leaves(strongest):
    """At 60 pixels nothing but the mean survives, and going back in time would divide by 0."""
    process = Cosines(strongest)
    blur, times, x = Blurred(process), uniform(6, 0.1), 0.3 * draws(3, 1, 4, 4)

    def clean(u, t):
        return modes(blur.denoise(pixels(u), torch.full((len(u),), t, dtype=torch.float64)))

    found = pixels(gddim(process, clean, modes(x), times))
    torch.testing.assert_close(found, soft_ddim(blur, blur.denoise, x, times, None), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_a_single_blurred_image_is_reached_however_little_is_left_of_it(order):
    process, times, x = Cosines(60.0), uniform(6, 0.1), 0.3 * draws(3, 1, 4, 4)
    image = modes(POINTS[:1])
    reached = gddim(process, lambda u, t: image, x, times, order=order, prediction="clean")
    gain, root = process.propagator(times, torch.zeros_like(times))[..., 0, 0], process.root(times)[..., 0, 0]
    torch.testing.assert_close(reached, gain[-1] * image + root[-1] / root[0] * (x - gain[0] * image))
