import itertools
import math

import pytest
import torch

from bench.method import Noise
from methods.shared.likelihood import (
    bits_per_dim,
    dequantisation_floor,
    dequantise,
    flow_and_divergence,
    log_likelihood,
)
from methods.shared.process import VE, VP, SubVP, time_like

SHAPE = (1, 2, 2)
PROCESSES = [VE(0.01, 20.0), VP(), SubVP()]
EPS = 1e-3

each_process = pytest.mark.parametrize(
    "process", PROCESSES, ids=lambda process: type(process).__name__
)


class Correlated(torch.nn.Module):
    """The exact score of N(0, S) data with correlated pixels, as a network with parameters."""

    def __init__(self, process) -> None:
        super().__init__()
        self.process = process
        root = torch.tensor(
            [[0.5, 0.2, 0, 0], [0, 0.9, 0.3, 0], [0, 0, 0.3, 0.1], [0, 0, 0, 1.2]],
            dtype=torch.float64,
        )
        self.covariance = torch.nn.Parameter(root @ root.T)
        self.forwards = 0

    def precision(self, t: torch.Tensor) -> torch.Tensor:
        m, s = self.process.mean_coefficient(t), self.process.std(t)
        noisy = m.square().view(-1, 1, 1) * self.covariance
        return torch.linalg.inv(
            noisy + s.square().view(-1, 1, 1) * torch.eye(4, dtype=torch.float64)
        )

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        self.forwards += 1
        return -torch.einsum("bij,bj->bi", self.precision(t), x.flatten(1)).view_as(x)

    def log_prob(self, x: torch.Tensor, t: float) -> torch.Tensor:
        precision = self.precision(torch.tensor([t], dtype=torch.float64))[0].detach()
        x = x.flatten(1)
        quadratic = torch.einsum("bi,ij,bj->b", x, precision, x)
        return -0.5 * quadratic + 0.5 * torch.logdet(precision) - 2 * math.log(2 * math.pi)


def images(count: int = 3) -> torch.Tensor:
    return Noise(0, dtype=torch.float64).normal((count, *SHAPE))


@each_process
def test_the_flow_gives_the_exact_log_likelihood_up_to_the_prior(process):
    network, x = Correlated(process), images()
    log_prob, z = log_likelihood(
        process, network, x, Noise(1), eps=EPS, tolerance=1e-8, probe="exact"
    )
    # The data's own marginal at t = 1 in place of the prior makes the change of variables an
    # identity.
    exact = log_prob - process.prior_log_prob(z) + network.log_prob(z, 1.0)
    torch.testing.assert_close(exact, network.log_prob(x, EPS), rtol=0, atol=1e-4)


@each_process
def test_the_mean_over_all_sign_vectors_is_the_divergence(process):
    network, x = Correlated(process), images()
    signs = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=4)), dtype=torch.float64)
    vectors = [sign.view(1, *SHAPE).expand_as(x) for sign in signs]
    times = torch.tensor([0.3], dtype=torch.float64)
    trace = -network.precision(times)[0].trace().item()
    expected = (
        process.drift_coefficient(times).item() * 4
        - 0.5 * process.diffusion(times).item() ** 2 * trace
    )
    for probe_drift in (False, True):
        _, divergence = flow_and_divergence(
            process, network, x, time_like(x, 0.3), vectors, probe_drift=probe_drift
        )
        torch.testing.assert_close(
            divergence, torch.full((3,), expected, dtype=torch.float64), rtol=1e-9, atol=1e-12
        )


@pytest.mark.parametrize("probe", ["rademacher", "gaussian"])
def test_probes_estimate_the_log_likelihood_without_bias(probe):
    process = VP()
    network, copies = Correlated(process), 600
    x = images(1)
    exact, _ = log_likelihood(process, network, x, Noise(1), eps=EPS, tolerance=1e-6, probe="exact")
    noise = Noise(2, dtype=torch.float64)
    many, _ = log_likelihood(
        process,
        network,
        x.expand(copies, *SHAPE),
        noise,
        eps=EPS,
        tolerance=1e-6,
        probe=probe,
        probes=2,
    )
    standard_error = many.std() / math.sqrt(copies)
    assert standard_error > 0
    assert (many.mean() - exact).abs() < 4 * standard_error


def test_one_forward_pass_an_evaluation_and_no_gradient_in_the_parameters():
    process = VP()
    network, calls = Correlated(process), []

    def score_fn(x, t):
        calls.append(t[0].item())
        return network(x, t)

    with torch.no_grad():
        log_likelihood(
            process, score_fn, images(), Noise(1, dtype=torch.float64), tolerance=1e-3, probes=3
        )
    assert network.forwards == len(calls) > 0
    assert network.covariance.grad is None


@each_process
def test_bits_per_dim_of_gaussian_data_are_those_of_their_density(process):
    network, x = Correlated(process), 0.5 + 0.25 * images()  # in the range [0, 1], nearly
    log_prob, z = log_likelihood(
        process, network, x, Noise(1), eps=EPS, tolerance=1e-9, probe="exact"
    )
    # The marginal at t = 1 is not quite the prior, which is the whole of the difference.
    mismatch = process.prior_log_prob(z) - network.log_prob(z, 1.0)
    for levels, width in ((256, 1), (17, 2)):
        bits = bits_per_dim(log_prob - mismatch, 4, levels, width)
        expected = -network.log_prob(x, EPS) / (4 * math.log(2)) + math.log2(levels / width)
        torch.testing.assert_close(bits, expected, rtol=0, atol=1e-6)


@each_process
@pytest.mark.parametrize("probe", ["exact", "rademacher"])
def test_every_solver_gives_the_same_likelihood_within_its_tolerance(process, probe):
    network, x = Correlated(process), images()
    solvers = ({}, {"solver": "device"}, {"solver": "device", "error_norm": "image"})
    known = {"eps": EPS, "tolerance": 1e-8, "probe": probe}
    first, *others = (
        log_likelihood(process, network, x, Noise(1, dtype=torch.float64), **known, **solver)
        for solver in solvers
    )
    for other in others:
        torch.testing.assert_close(other[0], first[0], rtol=0, atol=1e-4)
        torch.testing.assert_close(other[1], first[1], rtol=0, atol=1e-4)


def test_with_steps_of_its_own_the_likelihood_of_an_image_does_not_depend_on_its_batch():
    network, x = (
        Correlated(VP()),
        images(4) * torch.tensor([0.1, 1.0, 3.0, 8.0], dtype=torch.float64).view(4, 1, 1, 1),
    )
    known = {"eps": EPS, "tolerance": 1e-4, "probe": "exact"}
    for solver, independent in (({}, False), ({"solver": "device", "error_norm": "image"}, True)):
        together, _ = log_likelihood(VP(), network, x, Noise(1), **known, **solver)
        alone = [
            log_likelihood(VP(), network, x[k : k + 1], Noise(1), **known, **solver)[0]
            for k in range(4)
        ]
        assert torch.allclose(torch.cat(alone), together, rtol=1e-10, atol=1e-10) == independent


def test_rows_that_go_on_keep_their_own_probes():
    network, x = (
        Correlated(VP()),
        images(3) * torch.tensor([0.1, 1.0, 8.0], dtype=torch.float64).view(3, 1, 1, 1),
    )
    draws = Noise(3, dtype=torch.float64).rademacher(x.shape)

    class Given:
        """Gives those of the draws that are asked for: all, or the k-th."""

        def __init__(self, rows):
            self.rows = rows

        def rademacher(self, shape):
            return draws[self.rows]

    known = {"eps": EPS, "tolerance": 1e-5, "solver": "device", "error_norm": "image"}
    together, _ = log_likelihood(VP(), network, x, Given(slice(None)), **known)
    for k in range(3):
        alone, _ = log_likelihood(VP(), network, x[k : k + 1], Given(slice(k, k + 1)), **known)
        torch.testing.assert_close(alone[0], together[k], rtol=1e-10, atol=1e-10)


def test_it_works_in_inference_mode_and_gives_the_same_value():
    process, x = VP(), images()
    network = Correlated(process)
    expected, _ = log_likelihood(process, network, x, Noise(1, dtype=torch.float64), tolerance=1e-3)
    with torch.inference_mode():
        got, _ = log_likelihood(process, network, x, Noise(1, dtype=torch.float64), tolerance=1e-3)
    assert torch.equal(got, expected)


def test_a_score_that_is_not_finite_is_an_error_and_no_endless_search():
    with pytest.raises(FloatingPointError, match="not finite"):
        log_likelihood(VP(), lambda x, t: x / 0, images(), Noise(1, dtype=torch.float64))


def test_an_unknown_probe_is_refused():
    with pytest.raises(ValueError, match="'sphere'"):
        log_likelihood(VP(), Correlated(VP()), images(), Noise(1), probe="sphere")


@pytest.mark.parametrize(
    ("levels", "width", "bits"), [(256, 2, 8.0), (256, 1, 8.0), (17, 2, math.log2(17))]
)
def test_a_uniform_density_costs_the_logarithm_of_the_levels(levels, width, bits):
    log_prob = torch.tensor([-64 * math.log(width)], dtype=torch.float64)
    assert math.isclose(bits_per_dim(log_prob, 64, levels, width).item(), bits, rel_tol=1e-12)


def test_dequantised_images_stay_in_their_bins():
    levels = 17
    values = torch.arange(levels).repeat(1000).view(-1, 1, 1, levels)
    x = dequantise(values, levels, Noise(0))
    assert x.min() >= 0
    assert x.max() < 1
    assert torch.equal((x.double() * levels).floor().long(), values)
    torch.testing.assert_close(
        x.mean(0).flatten(), (torch.arange(levels) + 0.5) / levels, rtol=0, atol=3e-3
    )


@pytest.mark.parametrize(
    ("process", "eps", "width", "bits"),
    [(VE(), 1e-5, 1, 2.70), (VP(), 1e-5, 2, 0.18), (VP(), 1e-3, 2, 1.82), (SubVP(), 1e-3, 2, 0.02)],
)
def test_the_floor_of_a_fully_known_pixel(process, eps, width, bits):
    level = process.noise_level(torch.tensor(eps, dtype=torch.float64)).item()
    assert abs(dequantisation_floor(level * 256 / width) - bits) < 0.005


def test_the_floor_is_zero_without_noise_and_a_gaussian_peak_where_noise_drowns_the_bin():
    assert dequantisation_floor(0.0) == 0
    assert dequantisation_floor(1e-4) < 1e-3
    assert math.isclose(
        dequantisation_floor(300.0), math.log2(300 * math.sqrt(2 * math.pi)), rel_tol=1e-5
    )


def test_the_floor_of_little_noise_is_that_of_two_edges():
    levels, std = 17, 1e-6  # sub-VP at eps 1e-5, images in [0, 1] with digits' levels
    assert math.isclose(dequantisation_floor(std * levels / 2), 1.17e-5, rel_tol=5e-3)
    assert dequantisation_floor(1e-12) > 0
