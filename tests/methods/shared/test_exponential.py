"""The exponential integrator against the published formulas, and on single images; orders are in
test_solver_order.
"""

import math
from functools import partial
from itertools import pairwise

import pytest
import torch
from scipy.fft import dctn, idctn

from bench.method import Noise
from methods.shared import isotropic, solvers
from methods.shared.exact import Mixture
from methods.shared.exponential import Interpolation, LinearProcess, integrate, step
from methods.shared.isotropic import Isotropic
from methods.shared.process import VE, VP, SubVP, time_like

SHAPE = (1, 2, 2)

PREDICTIONS = ("noise", "clean")
each_scalar = pytest.mark.parametrize(
    "process", [VE(0.01, 20.0), VP(), SubVP()], ids=lambda process: type(process).__name__
)


def uniform(steps: int, end: float = 1e-3) -> torch.Tensor:
    return torch.linspace(1, end, steps + 1, dtype=torch.float64)


def draws(*shape: int, seed: int = 0) -> torch.Tensor:
    return Noise(seed, dtype=torch.float64).normal(shape)


def mixture() -> Mixture:
    return Mixture(torch.tensor([0.3, 0.7]), draws(2, 4, seed=1), torch.tensor([0.01, 0.3]))


def exact(process, data):
    """Returns the exact score of a mixture under a process."""
    return lambda x, t: data.score(x, process.mean_coefficient(t), process.std(t))


@each_scalar
@pytest.mark.parametrize("eta", [0.0, 0.6, 1.0])
def test_scalar_processes_give_ddim(process, eta):
    """The formula of the paper, one step after another."""
    score, x, times = exact(process, mixture()), draws(3, *SHAPE), uniform(7)
    noises = [Noise(2, dtype=torch.float64) for _ in range(2)]
    actual = isotropic.ddim(process, score, x, times, noises[0], eta=eta)
    mean, std = process.mean_coefficient(times).tolist(), process.std(times).tolist()
    for k in range(7):
        noise = -std[k] * score(x, time_like(x, times[k].item()))
        image = (x - std[k] * noise) / mean[k]
        _, variance = process.transition(times[k], times[k + 1])
        fresh = eta * variance.sqrt().item() * std[k + 1] / std[k]
        x = mean[k + 1] * image + math.sqrt(std[k + 1] ** 2 - fresh**2) * noise
        if eta > 0 and k < 6:
            x = x + fresh * noises[1].normal(x.shape)
    torch.testing.assert_close(actual, x, rtol=1e-9, atol=1e-9)


@each_scalar
def test_dpm_solver_2m_is_the_algorithm_of_the_paper(process):
    """Algorithm 2 of Lu et al., 2022, in its own symbols."""
    score, x, times = exact(process, mixture()), draws(3, *SHAPE), uniform(7)
    actual = isotropic.dpm_solver_2m(process, score, x, times)
    alpha, sigma = process.mean_coefficient(times).tolist(), process.std(times).tolist()
    h, before = (0.5 * process.log_snr(times)).diff().tolist(), None
    for k in range(7):
        image = (x + sigma[k] ** 2 * score(x, time_like(x, times[k].item()))) / alpha[k]
        r = h[k - 1] / h[k]
        ahead = image if k == 0 else (1 + 1 / (2 * r)) * image - 1 / (2 * r) * before
        x = sigma[k + 1] / sigma[k] * x - alpha[k + 1] * math.expm1(-h[k]) * ahead
        before = image
    torch.testing.assert_close(actual, x, rtol=1e-9, atol=1e-9)


@each_scalar
def test_sde_dpm_solver_2m_is_the_formula_of_the_paper(process):
    """SDE-DPM-Solver++(2M) of Lu et al., 2022 (section 5), in its own symbols."""
    score, x, times = exact(process, mixture()), draws(3, *SHAPE), uniform(7)
    noises = [Noise(2, dtype=torch.float64) for _ in range(2)]
    actual = isotropic.sde_dpm_solver_2m(process, score, x, times, noises[0], last_noise=True)
    alpha, sigma = process.mean_coefficient(times).tolist(), process.std(times).tolist()
    h, before = (0.5 * process.log_snr(times)).diff().tolist(), None
    for k in range(7):
        image = (x + sigma[k] ** 2 * score(x, time_like(x, times[k].item()))) / alpha[k]
        slope = 0.0 if k == 0 else (image - before) * h[k] / h[k - 1]
        gone = -math.expm1(-2 * h[k])
        x = sigma[k + 1] / sigma[k] * math.exp(-h[k]) * x
        x = x + alpha[k + 1] * gone * (image if k == 0 else image + 0.5 * slope)
        x = x + sigma[k + 1] * math.sqrt(gone) * noises[1].normal(x.shape)
        before = image
    torch.testing.assert_close(actual, x, rtol=1e-9, atol=1e-9)


@each_scalar
def test_dpm_solver_3m_is_exact_for_images_that_are_parabolas_in_the_log_snr(process):
    """Such a flow is known: the integral of e^l (a + b l + c l^2), once three are known."""
    times = uniform(6, 0.3)
    values = 0.5 * process.log_snr(times)

    def image(value):
        return 0.3 + 0.2 * value - 0.1 * value**2

    def clean(u, t):
        time = torch.tensor(t, dtype=torch.float64)
        return torch.full_like(u, image(0.5 * process.log_snr(time).item()))

    def primitive(value):  # of e^l image(l)
        return math.exp(value) * (image(value) - (0.2 - 0.2 * value) - 0.2)

    # The first two steps have fewer predictions, so what is compared begins after them.
    kept = []

    def noted(u, t):
        kept.append(u)
        return clean(u, t)

    linear = Isotropic(process)
    end = solvers.dpm_solver_3m(linear, noted, draws(1, *SHAPE), times)
    sigma = process.std(times).tolist()
    gained = sigma[-1] * (primitive(values[-1].item()) - primitive(values[2].item()))
    torch.testing.assert_close(end, sigma[-1] / sigma[2] * kept[2] + gained, rtol=1e-9, atol=1e-9)


def test_unipc_corrects_each_state_but_the_last_with_what_it_costs_anyway():
    """Of order 2, by its formulas in terms of differences: the corrector's through three images."""
    process, times, states, images = VP(), uniform(3, 0.2), [], []

    def clean(u, t):
        states.append(u)
        images.append(torch.sin(3 * u) + t)
        return images[-1]

    end = solvers.unipc(Isotropic(process), clean, draws(2, *SHAPE), times, order=2)
    values = 0.5 * process.log_snr(times)
    alpha, sigma = process.mean_coefficient(times), process.std(times)

    def carried(k, u, nodes):
        """Returns the exact step from k to k + 1 for the polynomial through images at nodes."""
        nodes_at = values[nodes] - values[k]
        width = (values[k + 1] - values[k]).item()
        powers_at = nodes_at[:, None] ** torch.arange(len(nodes))  # columns: 1, l, l^2
        powers = [1 - math.exp(-width)]
        for n in range(1, len(nodes)):
            powers.append(width**n - n * powers[-1])
        weights = alpha[k + 1] * torch.tensor(powers, dtype=torch.float64) @ powers_at.inverse()
        total = sum(w * images[node] for w, node in zip(weights.tolist(), nodes, strict=True))
        return sigma[k + 1] / sigma[k] * u + total

    first = carried(0, states[0], [0])
    torch.testing.assert_close(states[1], first)
    corrected = carried(0, states[0], [0, 1])
    torch.testing.assert_close(states[2], carried(1, corrected, [0, 1]))
    corrected = carried(1, corrected, [0, 1, 2])
    torch.testing.assert_close(end, carried(2, corrected, [1, 2]))
    assert len(images) == 3


@pytest.mark.parametrize("name", ["deis", "dpm_solver_2m", "dpm_solver_3m", "unipc"])
def test_steps_from_where_the_log_snr_is_infinite_are_of_lower_order_and_finite(name):
    """On the straight path to t = 0, where the log-SNR is infinite at both ends."""

    class Straight(LinearProcess):
        def propagator(self, t, s):
            return ((1 - t) / (1 - s)).view(-1, 1, 1)

        def root(self, t):
            return t.view(-1, 1, 1)

        def log_ratio(self, t):
            return torch.log((1 - t) / t)

    point = draws(1, *SHAPE)
    times = torch.linspace(1, 0, 6, dtype=torch.float64)
    options = {"prediction": "clean"} if name == "deis" else {}
    solver = getattr(solvers, name)
    end = solver(Straight(), lambda u, t: point, draws(3, *SHAPE, seed=1), times, **options)
    torch.testing.assert_close(end, point.expand(3, -1, -1, -1))
    rising = solver(Straight(), lambda u, t: (1 - t) * u, draws(3, *SHAPE), times, **options)
    assert rising.isfinite().all()


@pytest.mark.parametrize("eta", [0.5, 1.0])
@pytest.mark.parametrize("kind", ["vp", "blur"])
def test_fresh_noise_is_its_share_of_the_posterior_and_keeps_the_marginal(kind, eta):
    fresh_noise_is_its_share({"vp": Isotropic(VP()), "blur": Cosines(2.0)}[kind], eta)


def fresh_noise_is_its_share(process, eta):
    """Of a point: fresh noise has eta^2 times the covariance given the state before, and the whole
    that at the end.
    """
    times = torch.tensor([1.0, 0.6, 0.5, 0.1, 0.01], dtype=torch.float64)
    root = process.root(times)
    steps = [step(process, t, s, [t], Interpolation(), eta) for t, s in pairwise(times.tolist())]
    sigma, forward = root @ root.mT, process.propagator(times[:-1], times[1:])
    before, after = sigma[:-1], sigma[1:]
    posterior = after - after @ forward.mT @ torch.linalg.inv(before) @ forward @ after
    spread = torch.stack([coefficients.spread for coefficients in steps])
    fresh = spread @ spread.mT
    torch.testing.assert_close(fresh, eta**2 * posterior, rtol=1e-9, atol=1e-12)
    kept = torch.stack([coefficients.kept for coefficients in steps])
    torch.testing.assert_close(kept @ before @ kept.mT + fresh, after, rtol=1e-9, atol=1e-12)


def test_noise_goes_with_steps_of_order_1_or_held_in_the_middle():
    with pytest.raises(ValueError, match="order 1"):
        integrate(
            Isotropic(VP()),
            lambda u, t: u,
            draws(1, *SHAPE),
            uniform(2),
            Noise(0),
            Interpolation(2),
            eta=0.5,
        )


class Cosines(LinearProcess):
    """Soft Diffusion's blur of 4x4 images in the basis of the cosine transform: rates differ from
    mode to mode.
    """

    def __init__(self, strongest: float) -> None:
        frequency = math.pi * torch.arange(4, dtype=torch.float64) / 4
        self.squares = frequency.square()[:, None] + frequency.square()
        self.strongest = strongest

    def propagator(self, t, s):
        spread = self.strongest**2 * (t.square() - s.square()).view(-1, 1, 1)
        return torch.exp(-0.5 * spread * self.squares)[..., None, None]

    def root(self, t):
        return (0.01 * 30 ** t.view(-1, 1, 1)).expand(len(t), 4, 4)[..., None, None]

    def log_ratio(self, t):
        return 0.5 * self.gain(t).square().flatten(1).mean(1).log() - torch.log(0.01 * 30**t)


POINTS = draws(5, 1, 4, 4, seed=4)


def modes(images):
    return torch.from_numpy(dctn(images.numpy(), axes=(-2, -1), norm="ortho"))


def pixels(coefficients):
    return torch.from_numpy(idctn(coefficients.numpy(), axes=(-2, -1), norm="ortho"))


CLEAN = {
    "ddim": solvers.ddim,
    "deis": partial(solvers.deis, prediction="clean", order=4),
    "dpm_solver_2m": solvers.dpm_solver_2m,
    "dpm_solver_3m": solvers.dpm_solver_3m,
    "unipc": solvers.unipc,
}


@pytest.mark.parametrize("solver", CLEAN.values(), ids=CLEAN)
def test_a_single_blurred_image_is_reached_however_little_is_left_of_it(solver):
    process, times, x = Cosines(60.0), uniform(6, 0.1), 0.3 * draws(3, 1, 4, 4)
    image = modes(POINTS[:1])
    reached = solver(process, lambda u, t: image, x, times)
    gain, root = (
        process.propagator(times, torch.zeros_like(times))[..., 0, 0],
        process.root(times)[..., 0, 0],
    )
    torch.testing.assert_close(
        reached, gain[-1] * image + root[-1] / root[0] * (x - gain[0] * image)
    )
