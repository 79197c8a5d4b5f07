"""Where sampling starts: exact flows reach the data from there, and the exact likelihood is that of
the data.
"""

import math

import numpy as np
import pytest
import torch

from bench.card import cards
from bench.data.images import load_images
from bench.data.registry import DATASETS
from bench.method import Noise, Run, Sampler, load_method
from bench.schema import build

MIXTURES = [name for name, card in DATASETS.items() if card.mixture is not None]
CORRUPTIONS = {
    "ve": {"kind": "ve", "noise": {"schedule": "geometric", "least": 0.01, "most": 2.0}},
    "vp": {"kind": "vp"},
    "straight": {"kind": "straight"},
    "mask": {"kind": "mask"},
}
FLOWS = [  # method, what is not as usual, sampler of 200 evaluations at most
    *(("sde", {"process": name}, "ddim", "log_snr", 200) for name in ("ve", "vp", "subvp")),
    ("sde", {"process": "ve"}, "flow_heun", "rho7", 100),
    ("sde", {"process": "vp", "beta_max": 4.0}, "ddim", "log_snr", 200),
    ("cld", {}, "deis", "quadratic", 200),
    ("cld", {"beta0": 1.0}, "deis", "quadratic", 200),
    *(
        ("soft", {"corruption": corruption}, "flow_heun", "quadratic", 100)
        for corruption in CORRUPTIONS.values()
    ),
]
PRESENT = [flow for flow in FLOWS if flow[0] in cards()]


@pytest.fixture(scope="module")
def exact():
    """Returns an exact model of a data set; each is made once."""
    known = {}

    def get(name, params, dataset):
        label = (name, repr(params), dataset)
        if label not in known:
            data = load_images(dataset)
            known[label] = load_method(name, {"exact": True, **params}, data)
            known[label].train(data, Run(seed=0))
        return known[label]

    return get


def sampled(method, name, times, dataset, **values):
    """Returns samples in the data set's own units, float64, shape (N, d); more where weights of far
    modes count.
    """
    count = 4000 if dataset == "two_modes" else 1500
    card = method.card.samplers[name]
    sampler = Sampler(name, times, build(card.params, values))
    assert card.effort.evaluations(sampler.params) <= 201
    images = method.sample(count, sampler, Noise(0)).double()
    return load_images(dataset).unscaled(images).flatten(1).numpy()


def distance(samples, dataset):
    """Returns the squared Frechet distance of samples to the mean and covariance of the declared
    mixture.
    """
    mixture = DATASETS[dataset].mixture()
    mean = mixture.weights @ mixture.means
    offset = mixture.means - mean
    covariance = (mixture.weights[:, None] * offset).T @ offset
    covariance += np.eye(len(mean)) * (mixture.weights @ mixture.stds**2)
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(values) @ vectors.T
    of_samples = np.cov(samples.T)
    cross = np.sqrt(np.linalg.eigvalsh(root @ of_samples @ root).clip(0)).sum()
    shift = np.square(samples.mean(0) - mean).sum()
    return shift + np.trace(covariance) + np.trace(of_samples) - 2 * cross


@pytest.mark.parametrize("dataset", MIXTURES)
@pytest.mark.parametrize(("name", "params", "sampler", "times", "steps"), PRESENT)
def test_exact_flows_reach_the_data_within_200_evaluations(
    exact, name, params, sampler, times, steps, dataset
):
    method = exact(name, params, dataset)
    assert distance(sampled(method, sampler, times, dataset, steps=steps), dataset) < 0.05


@pytest.mark.skipif("sde" not in cards(), reason="the method is not there")
def test_the_authors_start_of_ve_is_an_error_of_its_own(exact):
    """What the suite error_budget names: from N(0, sigma_max^2) the flow keeps 2 of exact_fd, the
    SDE forgets it.
    """
    method = exact("sde", {"process": "ve", "prior": {"kind": "published"}}, "gaussian_mixture")
    assert method.prior is None
    flow = distance(
        sampled(method, "ddim", "log_snr", "gaussian_mixture", steps=200), "gaussian_mixture"
    )
    assert 1.5 < flow < 2.5
    sde = distance(
        sampled(method, "euler_maruyama", "log_snr", "gaussian_mixture", steps=200),
        "gaussian_mixture",
    )
    assert sde < 0.1


@pytest.mark.skipif("ncsn" not in cards(), reason="the method is not there")
def test_langevin_steps_at_the_largest_level_forget_their_start(exact):
    method = exact("ncsn", {"sigma_begin": "data"}, "gaussian_mixture")
    found = [
        distance(
            sampled(method, "annealed_langevin", "", "gaussian_mixture", levels=40, start=start),
            "gaussian_mixture",
        )
        for start in ("uniform", "normal")
    ]
    assert max(found) < 0.1
    assert abs(found[0] - found[1]) < 1e-3


LIKELIHOODS = [
    ("sde", {"process": "ve"}),
    ("sde", {"process": "vp", "beta_max": 4.0}),
    ("soft", {"corruption": CORRUPTIONS["ve"]}),
]


@pytest.mark.parametrize(("name", "params"), [case for case in LIKELIHOODS if case[0] in cards()])
def test_exact_likelihood_ends_under_the_distribution_at_its_end(exact, name, params):
    """Of data of one Gaussian, blurred by the least noise: nothing of the start is left in
    bits/dim.
    """
    data, method = load_images("gaussian"), exact(name, params, "gaussian")
    x = data.scaled(torch.from_numpy(data.test[:32]).double())
    least = {"ve": 0.01, "vp": 0.0}[params["process"]] if name == "sde" else 0.01 / 2
    variance = 1 / 16**2 + least**2
    mean = torch.from_numpy(data.mixture.means[0]).view(1, 8, 1, 1)
    log_prob = -0.5 * (
        (x - mean).square().flatten(1) / variance + math.log(2 * math.pi * variance)
    ).sum(1)
    card = method.card.likelihood
    found = method.score(x, Noise(0), build(card.params, {"probe": "exact", "tolerance": 1e-6}))
    assert found.identity["prior"] == "gaussian"
    # The fit to 10,000 images has errors of 1 % in what is known of the start.
    errors = found.values["bits_per_dim"].double() + log_prob / (8 * math.log(2))
    assert abs(errors.mean().item()) < 2e-3


@pytest.mark.skipif("cld" not in cards(), reason="the method is not there")
def test_start_of_image_and_velocity_has_the_moments_of_the_diffusion(exact):
    data, method = load_images("gaussian"), exact("cld", {"beta0": 1.0}, "gaussian")
    process, prior = method.process, method.prior
    one = torch.ones((), dtype=torch.float64)
    images = 2 * data.scaled(torch.from_numpy(data.train).double()).flatten(1) - 1
    gains, (xx, xv, vv, _) = process.mean_coefficients(one), process.covariance(one)
    gain = torch.stack(gains)
    identity = torch.eye(8, dtype=torch.float64)
    own = torch.cat(
        [torch.cat([xx * identity, xv * identity], 1), torch.cat([xv * identity, vv * identity], 1)]
    )
    mean = torch.kron(gain, images.mean(0))
    covariance = own + torch.kron(gain[:, None] * gain, images.T.cov(correction=0))
    truth = torch.distributions.MultivariateNormal(mean, covariance)
    u = prior.sample(500, Noise(1, dtype=torch.float64))
    assert u.shape == (500, 16, 1, 1)
    # Coefficients that do not stand out of the noise are taken by themselves: at most a hundredth
    # of its variance.
    torch.testing.assert_close(prior.log_prob(u), truth.log_prob(u.flatten(1)), rtol=0, atol=0.5)
    assert abs((prior.log_prob(u) - truth.log_prob(u.flatten(1))).mean().item()) < 0.02


@pytest.mark.parametrize(
    "name", [name for name, card in cards().items() if hasattr(card.params(), "prior")]
)
def test_fitted_start_is_a_part_of_the_state_and_known_by_key(exact, name):
    card = cards()[name]
    data, method = load_images("gaussian"), exact(name, {}, "gaussian")
    state = method.state()
    assert {"fitted.prior.means", "fitted.prior.scales", "fitted.prior.modes"} <= state.keys()
    fresh = load_method(name, {"exact": True}, data)
    fresh.load_state(state)
    z = Noise(3)
    assert torch.equal(fresh.prior.sample(4, z.child("a")), method.prior.sample(4, z.child("a")))
    assert build(card.params, {}).prior.kind == "gaussian"


@pytest.mark.parametrize("name", [name for name in ("sde", "cld") if name in cards()])
def test_presets_of_published_checkpoints_start_as_their_authors_do(name):
    card = cards()[name]
    assert {build(card.params, values).prior.kind for values in card.presets.values()} == {
        "published"
    }
    data = load_images("gaussian")
    method = load_method(name, {"exact": True, "prior": {"kind": "published"}}, data)
    method.train(data, Run(seed=0))
    assert not [part for part in method.state() if "prior" in part]
    assert method.prior is None


@pytest.mark.parametrize("name", [name for name in ("sde", "cld") if name in cards()])
def test_start_of_images_is_fitted_as_the_loss_sees_them(name):
    """Dequantised, and in the range of the diffusion: the mean at t = 1 is that of (a + u) /
    levels.
    """
    data = load_images("digits")
    params = {
        **cards()[name].tiny,
        "dequantise": True,
        **({"process": "ve", "sigma_max": 5.0} if name == "sde" else {}),
    }
    params["training"] = {**params["training"], "steps": 1}
    method = load_method(name, params, data)
    method.train(data, Run(seed=0))
    mean = (torch.from_numpy(data.train).double().mean(0) + 0.5) / 17
    if name == "sde":
        found = method.prior.sample(20_000, Noise(0)).double().mean(0)
        torch.testing.assert_close(found, mean, rtol=0, atol=5 * 5 / math.sqrt(20_000))
        assert (
            method.prior.mean.view(8, 8)[0, 0] - 8 * mean.mean()
        ).abs() < 0.01  # the constant cosine
    else:
        gain = method.process.mean_coefficients(torch.ones((), dtype=torch.float64))[0]
        found = method.prior.sample(20_000, Noise(0)).double().mean(0)[:1]
        torch.testing.assert_close(found, gain * (2 * mean - 1), rtol=0, atol=5 / math.sqrt(20_000))
