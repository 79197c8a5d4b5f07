import math

import pytest
import torch

from methods.shared.process import VE, VP, SubVP, like

PROCESSES = [VE(), VE(0.02, 4.8), VP(), VP(0.2, 8.0), SubVP(), SubVP(0.2, 8.0)]
FUNCTIONS = ("mean_coefficient", "std", "log_snr", "noise_level", "drift_coefficient", "diffusion")

each_process = pytest.mark.parametrize(
    "process", PROCESSES, ids=lambda process: type(process).__name__
)


def times(count: int = 101, first: float = 1e-5) -> torch.Tensor:
    return torch.linspace(first, 1, count, dtype=torch.float64)


@each_process
def test_log_snr_is_that_of_mean_and_std_and_decreases(process):
    t = times()
    expected = 2 * torch.log(process.mean_coefficient(t) / process.std(t))
    torch.testing.assert_close(process.log_snr(t), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(
        process.noise_level(t), process.std(t) / process.mean_coefficient(t), rtol=1e-12, atol=0
    )
    assert (process.log_snr(t).diff() < 0).all()


@each_process
def test_time_of_log_snr_inverts_log_snr(process):
    t = times()
    torch.testing.assert_close(
        process.time_of_log_snr(process.log_snr(t)), t, rtol=1e-10, atol=1e-15
    )


@each_process
def test_mean_and_variance_solve_the_moment_equations_of_the_sde(process):
    t = times().requires_grad_()
    m, variance = process.mean_coefficient(t), process.std(t).square()
    (dm,) = torch.autograd.grad(m.sum() + 0 * t.sum(), t)
    (dvariance,) = torch.autograd.grad(variance.sum(), t)
    f, g = process.drift_coefficient(t), process.diffusion(t)
    torch.testing.assert_close(dm, (f * m).detach(), rtol=1e-10, atol=0)
    torch.testing.assert_close(
        dvariance, (2 * f * variance + g.square()).detach(), rtol=1e-8, atol=1e-12
    )


@each_process
@pytest.mark.parametrize("gap", [1e-9, 1e-3, 0.2])
def test_a_transition_carries_the_marginal_at_s_to_the_marginal_at_t(process, gap):
    s = times(first=1e-4) * (1 - gap)
    t = s + gap
    a, variance = process.transition(t, s)
    torch.testing.assert_close(
        a * process.mean_coefficient(s), process.mean_coefficient(t), rtol=1e-12, atol=0
    )
    marginal = a.square() * process.std(s).square() + variance
    torch.testing.assert_close(marginal, process.std(t).square(), rtol=1e-12, atol=0)


@each_process
def test_the_variance_of_a_tiny_transition_keeps_its_digits(process):
    s = times(first=1e-3)[:-1]
    t = s + 2.0**-40
    middle = process.diffusion((s + t) / 2).square() * (t - s)
    torch.testing.assert_close(process.transition(t, s)[1], middle, rtol=1e-8, atol=0)


@each_process
def test_float32_keeps_its_digits_near_the_data(process):
    t = torch.tensor([1e-6, 1e-5, 1e-4, 1e-3], dtype=torch.float32)
    for name in FUNCTIONS:
        single, double = getattr(process, name)(t), getattr(process, name)(t.double())
        torch.testing.assert_close(single.double(), double, rtol=5e-6, atol=0)


@each_process
def test_functions_stay_in_the_dtype_and_on_the_device_of_their_arguments(process):
    for device, dtype in (("cpu", torch.float64), ("cpu", torch.float32), ("meta", torch.float32)):
        t = torch.rand(3, device=device, dtype=dtype)
        x = torch.zeros(3, 2, 4, 4, device=device, dtype=dtype)
        outputs = [getattr(process, name)(t) for name in FUNCTIONS]
        outputs += [
            *process.perturb(x, t),
            *process.transition(t, 0.5 * t),
            process.prior_log_prob(x),
        ]
        assert {(output.device.type, output.dtype) for output in outputs} == {(device, dtype)}


@each_process
def test_perturb_gives_each_image_its_own_time(process):
    x0 = torch.arange(1.0, 25.0, dtype=torch.float64).view(2, 3, 2, 2)
    t = torch.tensor([0.1, 0.9], dtype=torch.float64)
    mean, std = process.perturb(x0, t)
    for image in range(2):
        torch.testing.assert_close(
            mean[image], process.mean_coefficient(t[image]) * x0[image], rtol=0, atol=0
        )
        assert std[image].item() == process.std(t[image]).item()
    assert like(t, x0).shape == (2, 1, 1, 1)


@each_process
def test_prior_log_prob_is_the_gaussian_density_of_the_prior(process):
    z = torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = torch.distributions.Normal(0.0, process.prior_std).log_prob(z).flatten(1).sum(1)
    torch.testing.assert_close(process.prior_log_prob(z), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("process", [VP(), SubVP()])
def test_interval_betas_stay_below_one_in_a_single_step(process):
    one, zero = torch.ones((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    beta = process.beta_interval(one, zero)
    assert beta < 1
    assert math.isclose(beta, -math.expm1(-10.05), rel_tol=1e-12)


@pytest.mark.parametrize("process", [VP(), VE(), SubVP()])
def test_published_steps_approach_the_exact_transitions(process):
    steps = 20_000
    k = torch.arange(steps // 10, steps, steps // 10, dtype=torch.float64)
    a, variance = process.published_transition((k + 0.5) / (steps - 1), steps)
    exact_a, exact_variance = process.transition(k / (steps - 1), (k - 1) / (steps - 1))
    torch.testing.assert_close(1 - a, 1 - exact_a, rtol=2e-3, atol=1e-12)
    torch.testing.assert_close(variance, exact_variance, rtol=2e-3, atol=0)


@pytest.mark.parametrize(("process", "steps"), [(VE(), 12), (VP(), 30)])
def test_a_chain_has_the_marginals_and_posteriors_of_its_steps(process, steps):
    chain = process.published_chain(steps)
    mean = std2 = torch.zeros(())
    for k, (a, v) in enumerate(zip(chain.factor, chain.variance, strict=True)):
        before = std2
        mean, std2 = (mean if k else 1.0) * a, a.square() * before + v
        torch.testing.assert_close(chain.mean_coefficient[k], mean, rtol=1e-12, atol=0)
        torch.testing.assert_close(chain.std[k], std2.sqrt(), rtol=1e-12, atol=0)
        # Of a product of Gaussians: precisions add up.
        expected = 1 / (1 / before + a.square() / v) if k else torch.zeros((), dtype=torch.float64)
        torch.testing.assert_close(chain.posterior_variance[k], expected, rtol=1e-12, atol=0)


def test_chains_are_those_of_smld_and_ddpm():
    smld, ddpm = VE(0.01, 50.0).published_chain(10), VP().published_chain(1000)
    torch.testing.assert_close(
        smld.std, torch.logspace(-2, math.log10(50), 10, dtype=torch.float64)
    )
    torch.testing.assert_close(ddpm.variance, torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64))
    torch.testing.assert_close(
        ddpm.std.square(), 1 - ddpm.mean_coefficient.square(), rtol=1e-10, atol=0
    )
    with pytest.raises(ValueError, match="no discrete chain"):
        SubVP().published_chain(1000)


@pytest.mark.parametrize("kind", [VP, SubVP])
def test_published_rounding_is_the_same_mathematics_with_fewer_digits_near_the_data(kind):
    exact, rounded = kind(), kind(rounded=True)
    t = times(first=0.01)
    for name in ("mean_coefficient", "std", "diffusion"):
        torch.testing.assert_close(
            getattr(rounded, name)(t), getattr(exact, name)(t), rtol=1e-12, atol=0
        )
    early = torch.tensor([1e-5])
    assert abs(rounded.std(early) / exact.std(early) - 1) > 1e-3


def test_published_betas_are_refused_where_they_would_exceed_one():
    with pytest.raises(ValueError, match="N > 20"):
        VP().published_transition(torch.ones(1, dtype=torch.float64), 20)
