"""Score-SDE's exact score and its inspection, against closed forms and against its own training
loss.
"""

import math

import numpy as np
import pytest
import torch
from exact import Mixture

from bench.data.images import load_images
from bench.method import Noise, Run, Sampler, evaluated, load_method
from bench.schema import build
from methods.sde.card import CARD, Params
from methods.shared.checkpoint import CheckpointError

TIMES = (1e-3, 0.1, 0.5, 1.0)


def exact(data, **params):
    method = load_method("sde", {"exact": True, **params}, data)
    method.train(data, Run(seed=0))
    return method


def in_range(method, weights, means, variances):
    """Returns a mixture of [0, 1] in the range of the method's diffusion."""
    width = method.width
    means = width * torch.as_tensor(means, dtype=torch.float64) + 1 - width
    covariances = (
        width**2
        * torch.as_tensor(variances, dtype=torch.float64).view(-1, 1, 1)
        * torch.eye(means.shape[1])
    )
    return Mixture(
        torch.as_tensor(weights, dtype=torch.float64), means, covariances, method.image_shape
    )


@pytest.mark.parametrize("process", ["ve", "vp", "subvp"])
def test_exact_score_is_that_of_the_declared_mixture(process):
    data = load_images("two_modes")
    method = exact(data, process=process)
    truth = in_range(method, [0.2, 0.8], [[0.25, 0.25], [0.75, 0.75]], [0.05**2] * 2).score_fn(
        method.process
    )
    score_fn, (network,) = method.score_fn(method.average), method.networks
    for t in TIMES:
        times = torch.full((6,), t, dtype=torch.float64)
        x = torch.linspace(-1.5, 1.5, 12, dtype=torch.float64).view(6, 2, 1, 1)
        torch.testing.assert_close(score_fn(x, times), truth(x, times), rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(network(x, times), truth(x, times), rtol=1e-9, atol=1e-9)


def test_exact_score_without_a_declared_mixture_is_that_of_the_training_images():
    data = load_images("digits")
    method = exact(data, process="vp")
    images = 2 * torch.from_numpy(data.train).double().flatten(1) / 16 - 1
    times = torch.full((3,), 0.3, dtype=torch.float64)
    x, _ = method.process.perturb(torch.from_numpy(data.test[:3]).double() / 8 - 1, times)
    m, s = method.process.mean_coefficient(times)[0], method.process.std(times)[0]
    shares = torch.softmax(
        -0.5 * (x.flatten(1)[:, None] - m * images).square().sum(2) / s**2, dim=1
    )
    expected = (m * shares @ images - x.flatten(1)) / s**2
    torch.testing.assert_close(
        method.score_fn(method.average)(x, times).flatten(1), expected, rtol=1e-8, atol=1e-8
    )


def test_exact_score_of_real_values_without_a_mixture_is_of_the_training_points_in_their_range():
    data = load_images("swiss_rolls")
    method = exact(data, process="ve", sigma_max=2.0)
    index = torch.tensor([0, 9])
    points = (torch.from_numpy(data.train).double() + 1.25) / 2.5
    t = torch.full((2,), 0.0, dtype=torch.float64)
    x = points[index] + 1e-3
    shares = torch.softmax(-0.5 * (x[:, None] - points).square().flatten(2).sum(2) / 0.01**2, dim=1)
    expected = (torch.einsum("bk,kchw->bchw", shares, points) - x) / 0.01**2
    torch.testing.assert_close(
        method.score_fn(method.average)(x, t), expected, rtol=1e-8, atol=1e-8
    )


def test_exact_model_is_its_fitted_noise_alone_and_goes_round():
    data = load_images("two_modes")
    method = exact(data, process="ve", prior={"kind": "published"})
    flat = data.train.reshape(-1, 2).astype(float) / 20
    farthest = max(
        math.dist(a, b)
        for a in flat[flat.sum(1).argsort()[:50]]
        for b in flat[flat.sum(1).argsort()[-50:]]
    )
    assert list(method.state()) == ["fitted.sigma_max"]
    assert method.state()["fitted.sigma_max"].item() == pytest.approx(farthest, rel=1e-6)
    fresh = load_method(
        "sde", {"exact": True, "process": "ve", "prior": {"kind": "published"}}, data
    )
    fresh.load_state(method.state())
    sampler = Sampler("euler_maruyama", "uniform", CARD.samplers["euler_maruyama"].params(steps=5))
    assert torch.equal(fresh.sample(3, sampler, Noise(0)), method.sample(3, sampler, Noise(0)))


def test_samples_by_the_exact_score_are_the_data():
    data = load_images("two_modes")
    method = exact(data)
    sampler = Sampler("flow_heun", "quadratic", CARD.samplers["flow_heun"].params(steps=40))
    x = data.unscaled(method.sample(2000, sampler, Noise(0)).double().numpy()).reshape(-1, 2)
    low = x[:, 0] < 0
    # Four standard errors, beside 0.05 for the flow's own error in 40 steps.
    assert abs(low.mean() - 0.2) < 4 * math.sqrt(0.16 / 2000)
    for mode, share, mean in ((x[low], 0.2, -5), (x[~low], 0.8, 5)):
        error = 4 / math.sqrt(2000 * share) + 0.05
        np.testing.assert_allclose(mode.mean(0), mean, atol=error)
        np.testing.assert_allclose(mode.std(0), 1, atol=error)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"time": "discrete"}, "time should stay continuous"),
        ({"parametrisation": "edm", "process": "ve"}, "parametrisation should stay score"),
        ({"dequantise": True}, "leave dequantise false"),
        ({"classifier": {"kind": "resnet"}}, "classifier.kind should stay none"),
    ],
)
def test_exact_goes_with_nothing_that_is_trained_or_another_target(values, why):
    with pytest.raises(ValueError, match=why):
        build(Params, {"exact": True, **values})


def test_exact_trains_no_image_keeps_no_averages_and_needs_no_network(tmp_path):
    params = build(Params, {"exact": True, "network": {"width": 8}})
    assert CARD.training.images(params) == 0
    assert CARD.training.averages(params, 0) == ()
    assert CARD.training.prefix(params) is None
    assert CARD.refuse(params, (2, 1, 1)) == []
    with pytest.raises(CheckpointError, match="exact stands for a network's weights"):
        exact(load_images("two_modes")).import_checkpoint(tmp_path, "ema")


def test_exact_score_is_never_computed_in_bfloat16():
    method = exact(load_images("two_modes"))
    with (
        pytest.raises(ValueError, match="leave precision at float32"),
        evaluated(method.networks, precision="bfloat16"),
    ):
        pass


class Fixed(Noise):
    """A source whose normal draws of images are given, and whose one draw of levels is a number for
    all.
    """

    def __init__(self, z, level):
        super().__init__(0)
        self.z, self.level = z, level

    def child(self, name):
        return Noise(0, (name,))

    def normal(self, shape):
        return self.z if len(shape) > 1 else torch.full(shape, self.level)

    def uniform(self, shape):
        return torch.full(shape, self.level)

    def integers(self, shape, high):
        return torch.full(shape, self.level)


def draws_of(params, process, time):
    """Returns what the training loss has to draw for its level to be that of a time."""
    if params.parametrisation == "edm":
        return (
            (2 * process.std(torch.tensor(time)).log().exp())
            .log()
            .sub(params.edm.p_mean)
            .div(params.edm.p_std)
            .item()
        )
    if params.time == "discrete":
        return round(time * (params.scales - 1))
    return (time - params.t_min) / (1 - params.t_min)


@pytest.mark.parametrize(
    "values",
    [
        {"process": "vp"},
        {"process": "subvp", "weighting": "likelihood", "reduction": "sum"},
        {
            "process": "vp",
            "time": "discrete",
            "scales": 100,
            "network": {"embedding": "positional"},
        },
        {
            "process": "ve",
            "time": "discrete",
            "scales": 100,
            "network": {"embedding": "positional"},
        },
        {"process": "ve", "parametrisation": "edm"},
    ],
    ids=["vp", "likelihood weighting", "DDPM", "SMLD", "edm"],
)
def test_inspected_loss_is_the_training_loss_of_the_average_at_that_noise_level(values):
    data = load_images("digits")
    network = {**CARD.tiny["network"], **values.get("network", {}), "dropout": 0.0}
    method = load_method("sde", {**CARD.tiny, **values, "network": network}, data)
    noise = Noise(0, ("shake",))
    with torch.no_grad():
        for weight in method.average.parameters():
            weight.add_(0.2 * noise.normal(weight.shape))
    before = method.inspect(data.batch(0, 0, 4), Noise(0))
    method.network.load_state_dict(method.average.state_dict())
    z = Noise(0).normal((4, *data.shape))
    for time, level, losses in zip(
        before.times.tolist(), before.noise_levels.tolist(), before.losses, strict=True
    ):
        draw = draws_of(method.params, method.process, time)
        torch.testing.assert_close(
            losses, method.loss(data.batch(0, 0, 4), Fixed(z, draw)), rtol=2e-4, atol=1e-5
        )
        if method.params.time == "continuous":
            assert level == pytest.approx(
                method.process.noise_level(torch.tensor(time, dtype=torch.float64)).item(),
                rel=1e-12,
            )
    assert len(before.times) == 10
    assert (before.noise_levels.diff() > 0).all()


def test_inspected_loss_of_the_exact_score_is_what_no_network_can_beat():
    data = load_images("two_modes")
    method = exact(data, process="ve")
    seen = method.inspect(data.scaled(torch.from_numpy(data.test[:4000])), Noise(0))
    truth = in_range(method, [0.2, 0.8], [[0.25, 0.25], [0.75, 0.75]], [0.05**2] * 2)
    x0 = data.scaled(torch.from_numpy(data.test)).double()
    z = torch.randn(x0.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for time, losses in zip(seen.times, seen.losses, strict=True):
        m, s = torch.ones(len(x0)).double(), method.process.std(time) * torch.ones(len(x0)).double()
        score = truth.score(x0 + s[0] * z, m, s)
        least = 1 - (s[0] ** 2 * score.square()).mean()  # E|s score + z|^2 / d, by Stein's identity
        assert losses.mean().item() == pytest.approx(least.item(), abs=4 / math.sqrt(4000))
