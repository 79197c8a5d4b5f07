"""The losses of Score-SDE's adapter: discrete time and EDM's, against the papers."""

import pytest
import torch

from bench.data.images import load_images
from bench.method import Noise, Sampler
from bench.schema import build, merge
from methods.sde.adapter import ScoreSDE
from methods.sde.card import CARD
from methods.shared.process import like

DIGITS = load_images("digits")


def tiny(**values):
    return ScoreSDE(
        build(CARD.params, merge(CARD.tiny, {"network": {"init_scale": 1.0}}, values)), DIGITS
    )


@pytest.mark.parametrize("process", ["ve", "vp"])
def test_in_discrete_time_the_network_is_told_the_authors_labels(process):
    told = []
    method = tiny(process=process, sigma_max=50.0, time="discrete", scales=100)
    handle = method.network.register_forward_pre_hook(lambda module, inputs: told.append(inputs[1]))
    method.loss(DIGITS.batch(0, 0, 64), Noise(0))
    t = torch.tensor([1.0, 0.503, 0.0])
    method.score_fn(method.network)(torch.zeros(3, 1, 8, 8), t)
    handle.remove()
    assert told[0].eq(told[0].round()).all()
    assert 0 <= told[0].min() < told[0].max() <= 99
    expected = torch.tensor([0.0, 49.0, 99.0]) if process == "ve" else 99 * t
    torch.testing.assert_close(told[1], expected)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"process": "subvp", "time": "discrete"}, "sub-VP has no discrete time"),
        ({"time": "discrete", "scales": 20}, "scales should exceed 20"),
        ({"time": "discrete", "weighting": "likelihood"}, "weighting std alone"),
        ({"process": "ve", "time": "discrete", "network": {"embedding": "fourier"}}, "positional"),
        ({"t_sampling": "importance"}, "goes with weighting likelihood"),
        ({"parametrisation": "edm"}, "goes with process ve"),
        ({"process": "ve", "parametrisation": "edm", "weighting": "likelihood"}, "loss of its own"),
        ({"process": "ve", "parametrisation": "edm", "time": "discrete"}, "loss of its own"),
    ],
)
def test_objectives_that_cannot_be_are_refused(values, why):
    with pytest.raises(ValueError, match=why):
        build(CARD.params, values)


def test_edm_under_the_adapter_is_the_papers_table_in_the_range_of_the_paper():
    method = tiny(process="ve", sigma_max=5.0, parametrisation="edm", network={"dropout": 0.0})
    x0, noise = DIGITS.batch(0, 0, 8), Noise(3)
    sigma, z = torch.exp(-1.2 + 1.2 * noise.normal((8,))), noise.normal(x0.shape)
    y = 2 * x0 - 1 + like(sigma, x0) * z
    variance = like(sigma**2 + 0.25, x0)
    with torch.no_grad():
        output = method.network(y / variance.sqrt(), sigma.log() / 4)
        clean = 0.25 / variance * y + like(sigma, x0) * 0.5 / variance.sqrt() * output
        expected = (
            (variance / (like(sigma, x0) * 0.5) ** 2 * (clean - (2 * x0 - 1)) ** 2)
            .flatten(1)
            .mean(1)
        )
        torch.testing.assert_close(method.loss(x0, Noise(3)), expected, rtol=1e-4, atol=0)


def test_edms_score_is_that_of_the_images_in_the_units_of_ve():
    """With a silent network the images are N(1/2, (sigma_data / 2)^2) in [0, 1]."""
    method = tiny(process="ve", sigma_max=50.0, parametrisation="edm")
    for weights in method.average.parameters():
        weights.zero_()
    x, t = Noise(0).uniform((4, 1, 8, 8)), torch.tensor([0.1, 0.4, 0.7, 1.0])
    std = method.process.std(t)
    exact = (0.5 - x) / like(0.25**2 + std**2, x)
    torch.testing.assert_close(method.score_fn(method.average)(x, t), exact, rtol=1e-3, atol=1e-4)
    sampler = CARD.samplers["flow_heun"]
    images = method.sample(
        64, Sampler("flow_heun", "rho7", build(sampler.params, {"steps": 20})), Noise(1)
    )
    assert images.mean().item() == pytest.approx(0.5, abs=0.02)
    assert images.std().item() == pytest.approx(0.25, abs=0.02)
