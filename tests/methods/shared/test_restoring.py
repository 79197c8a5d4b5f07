"""Every sampler that restores images ends with what it was given; CLD and Soft Diffusion against
closed forms.
"""

import pytest
import torch

from bench.card import cards
from bench.data.images import load_images
from bench.method import Condition, Noise, Sampler, load_method
from bench.schema import build, merge
from bench.suite.fault import SuiteError

METHODS = {
    "ncsn": {"backbone": "unet"},
    "cld": {},
    "soft": {"corruption": {"kind": "vp"}},
    "soft mask": {"corruption": {"kind": "mask"}},
    "soft blur": {},
}
RESTORERS = [
    (kind, name, task)
    for kind in METHODS
    for name, card in cards()[kind.split()[0]].samplers.items()
    for task in card.conditions
    if (kind, task) != ("soft blur", "inpainting")
]


def method_of(kind, data, **more):
    name = kind.split()[0]
    return load_method(name, merge(dict(cards()[name].tiny), {**METHODS[kind], **more}), data)


@pytest.mark.parametrize(("kind", "name", "task"), RESTORERS)
def test_restored_images_end_with_what_is_known(kind, name, task):
    data = load_images("digits" if task == "inpainting" else "photo_patches")
    small = {"network": {"attention": []}}
    method, card = method_of(kind, data, **small), cards()[kind.split()[0]].samplers[name]
    truth = torch.from_numpy(data.test[:2]).float() / (data.levels - 1)
    known = torch.zeros(2, 1, *truth.shape[2:], dtype=torch.bool)
    known[..., 4:] = True
    part = truth * known if task == "inpainting" else truth.mean(1, keepdim=True).expand_as(truth)
    steps = {"levels": 3, "steps_each": 2} if kind == "ncsn" else {"steps": 3}
    sampler = Sampler(name, next(iter(card.times), ""), build(card.params, steps))
    given = Condition(task, images=part, known=known if task == "inpainting" else None)
    images = method.sample(2, sampler, Noise(0), given)
    assert images.isfinite().all()
    left = images * known if task == "inpainting" else images.mean(1, keepdim=True)
    torch.testing.assert_close(
        left, part if task == "inpainting" else part[:, :1], atol=1e-5, rtol=0
    )


@pytest.mark.parametrize(
    ("kind", "name", "times"),
    [("cld", "sscs", "quadratic"), ("soft", "ancestral", "log_snr")],
)
def test_pixels_that_do_not_depend_on_the_known_ones_keep_their_distribution(kind, name, times):
    """Of points (x, y) with equal and independent spreads: y is known, and x is drawn as ever."""
    data = load_images("digits")
    method = method_of(kind, data)
    mean, std, count = 0.4, 0.5, 4000

    def clean(x, m, s):
        return (s**2 * mean + m * std**2 * x) / (m**2 * std**2 + s**2)

    if kind == "cld":
        process = method.process

        def model(u, t):
            gains = torch.stack(process.mean_coefficients(t[:1]))[:, 0]
            covariance = process.covariance(t[:1], image_variance=std**2).matrix()[0]
            centred = torch.stack(u.double().chunk(2, 1), -1) - mean * gains
            return -(centred @ torch.linalg.inv(covariance))[..., 1].to(u)

    else:
        corruption = method.corruption

        def model(x, t):
            m, s = corruption.operator.eigenvalues(t[:1]).flatten(), corruption.std(t[:1])
            return clean(x.double(), m, s).to(x)

    method.model_fn = lambda params, given: model
    card = cards()[kind].samplers[name]
    more = {"denoise": "none"} if kind == "cld" else {"last_noise": True}
    params = build(card.params, {"steps": 100, "t_min": 1e-3, **more})
    images = torch.full((count, 1, 1, 2), 0.8)
    known = torch.tensor([True, False]).expand(count, 1, 1, 2)
    start = Noise(0).normal((count, 2 if kind == "cld" else 1, 1, 2))
    if kind == "cld":
        start[:, 1] *= method.process.mass**0.5
    given = Condition("inpainting", images=images * known, known=known)
    method.start = lambda count, noise: start
    x = 2 * method.sample(count, Sampler(name, times, params), Noise(1), given) - 1
    assert torch.allclose(x[..., 0], torch.tensor(2 * 0.8 - 1))
    assert x[..., 1].mean().item() == pytest.approx(mean, abs=0.03)
    assert x[..., 1].std().item() == pytest.approx(std, rel=0.05)


def test_clds_known_pixels_have_the_moments_of_their_time():
    data = load_images("digits")
    method, count = method_of("cld", data), 20_000
    images, known = torch.full((count, 1, 1, 2), 0.8), torch.tensor([True, False])
    known = known.expand(count, 1, 1, 2)
    hold = method.hold(Condition("inpainting", images=images * known, known=known))
    u = hold(torch.full((count, 2, 1, 2), 9.0), 0.3, Noise(0))
    assert (u[..., 1] == 9).all()
    t = torch.tensor(0.3)
    found, exact = torch.cov(u[:, :, 0, 0].T).double(), method.process.covariance(t).matrix()
    torch.testing.assert_close(found, exact, rtol=0.05, atol=2e-3)
    gains = torch.stack(method.process.mean_coefficients(t))
    torch.testing.assert_close(u[:, :, 0, 0].mean(0).double(), 0.6 * gains, rtol=0.05, atol=0.01)


@pytest.mark.parametrize(
    ("method", "sampler", "why"),
    [
        ("cld", "flow_heun", "fresh noise after each step"),
        ("soft", "momentum", "mixes known pixels"),
    ],
)
def test_inpainting_that_cannot_be_is_refused_with_the_reason(tmp_path, method, sampler, why):
    import yaml

    from bench.suite.reader import read_suite

    suite = {
        "name": "any",
        "dataset": "digits",
        "metrics": ["unknown_rmse"],
        "samples": {"count": 8, "batch": 8},
        "train": {
            "m": {"method": method, "params": {"network": {"attention": [], "multipliers": [1]}}}
        },
        "points": [
            {"train": "m", "sampler": sampler, "given": {"task": "inpainting", "images": 4}}
        ],
    }
    path = tmp_path / "any.yaml"
    path.write_text(yaml.safe_dump(suite))
    with pytest.raises(SuiteError, match=why):
        read_suite(path)
