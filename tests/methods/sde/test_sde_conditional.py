"""Score-SDE's classifier, and its samples that keep to a class or to what is known."""

import pytest
import torch

from bench.card import cards
from bench.counter import NetworkCounter
from bench.data.images import load_images
from bench.method import Condition, Noise, Run, Sampler, load_method
from bench.schema import build
from methods.sde.classifier import Classifier
from methods.shared.layers import initialise

CARD = cards()["sde"]


CLASSIFIER = {
    **CARD.tiny,
    "dequantise": True,
    "classifier": {"kind": "resnet", "steps": 6, "width": 8, "batch": 16},
}

TOLD = {**CARD.tiny, "dequantise": True, "class_dropout": 0.5}
GUIDES = pytest.mark.parametrize("values", [CLASSIFIER, TOLD], ids=["classifier", "free"])


@pytest.fixture(scope="module")
def digits():
    return load_images("digits")


def trained(data, restore=lambda: None, values=CLASSIFIER):
    method, points = load_method("sde", values, data), {}

    def checkpoint(step, tensors):
        points[step] = {name: tensor.clone() for name, tensor in tensors().items()}

    method.train(data, Run(seed=0, checkpoint=checkpoint, restore=restore))
    return method, points


def test_training_resumes_exactly_in_the_classifier_and_after_it(digits):
    whole, points = trained(digits)
    assert len(points) == 6 + CARD.tiny["training"]["steps"]
    for step in (3, 6, 8):
        resumed, _ = trained(digits, lambda step=step: (step, points[step]))
        for name, tensor in whole.state().items():
            assert torch.equal(tensor, resumed.state()[name]), f"{name} after a stop at {step}"


def test_training_on_classes_resumes_exactly_and_on_none_of_them_too(digits):
    whole, points = trained(digits, values=TOLD)
    resumed, _ = trained(digits, lambda: (3, points[3]), values=TOLD)
    for name, tensor in whole.state().items():
        assert torch.equal(tensor, resumed.state()[name]), name
    moved = whole.state()["network.label.weight"] != points[1]["network.label.weight"]
    assert moved.any(0).sum() > 5
    assert moved[:, -1].any()  # of none


def test_some_images_are_told_to_be_of_no_class(digits):
    method = load_method("sde", {**TOLD, "class_dropout": 0.2}, digits)
    labels = torch.arange(10_000) % 10
    seen = method._seen_labels(0.2, labels, Noise(0))
    assert (seen == digits.classes).double().mean() == pytest.approx(0.2, abs=0.02)
    assert torch.equal(seen[seen < digits.classes], labels[seen < digits.classes])


class Gaussians(torch.nn.Module):
    """The exact noise of images of each class, and of none, each a Gaussian of its own."""

    def __init__(self, process, classes):
        super().__init__()
        self.process = process
        self.means = torch.linspace(-1, 1, classes + 1, dtype=torch.float64)
        self.variances = torch.linspace(0.1, 0.5, classes + 1, dtype=torch.float64)

    def moments(self, t, label):
        m, s = self.process.mean_coefficient(t), self.process.std(t)
        return m * self.means[label], m.square() * self.variances[label] + s.square()

    def forward(self, x, condition, labels=None):
        t = condition.double() / 999
        label = labels if labels is not None else torch.full(t.shape, len(self.means) - 1)
        mean, variance = (v.view(-1, 1, 1, 1) for v in self.moments(t, label))
        return (self.process.std(t).view(-1, 1, 1, 1) * (x - mean) / variance).to(x)


@pytest.mark.parametrize("weight", [0.0, 1.0, 1.5, 4.0])
def test_guided_score_of_gaussians_is_that_of_their_weighted_product(digits, weight):
    """p(x)^(1 - w) p(x | c)^w is a Gaussian again if its precision, the weighted sum, is positive;
    its score is linear in any case.
    """
    method = load_method("sde", TOLD, digits)
    method.average = exact = Gaussians(method.process, digits.classes)
    x, t = torch.randn(5, 1, 8, 8, dtype=torch.float64), torch.linspace(0.1, 1, 5)
    labels = torch.tensor([0, 3, 9, 9, 5])
    params = build(CARD.samplers["ddim"].params, {"guidance": weight})
    score = method.model_fn(params, Condition("class", labels=labels))(x, t)
    (mean, variance), (mean0, variance0) = (
        exact.moments(t.double(), label) for label in (labels, torch.full((5,), 10))
    )
    precision = (1 - weight) / variance0 + weight / variance
    centre = ((1 - weight) * mean0 / variance0 + weight * mean / variance) / precision
    expected = precision.view(-1, 1, 1, 1) * (centre.view(-1, 1, 1, 1) - x)
    torch.testing.assert_close(score, expected, rtol=1e-4, atol=1e-4)


def test_classifier_does_not_move_the_score_network(digits):
    whole, _ = trained(digits)
    plain = load_method("sde", {**CARD.tiny, "dequantise": True}, digits)
    plain.train(digits, Run(seed=0))
    for name, tensor in plain.state().items():
        assert torch.equal(tensor, whole.state()[name]), name


def test_state_holds_the_classifier(digits):
    whole, _ = trained(digits)
    fresh = load_method("sde", CLASSIFIER, digits)
    fresh.load_state(whole.state())
    for name, tensor in whole.state().items():
        assert torch.equal(tensor, fresh.state()[name]), name
    assert any(name.startswith("class_ema.") for name in whole.state())


@GUIDES
@pytest.mark.parametrize("name", CARD.samplers)
def test_every_sampler_takes_a_class_and_both_evaluations_count(digits, name, values):
    card = CARD.samplers[name]
    method, free = load_method("sde", values, digits), "class_dropout" in values
    params = build(card.params, {"steps": 4} if card.effort.exact else {"tolerance": 0.1})
    sampler = Sampler(name, next(iter(card.times), ""), params)
    given = Condition("class", labels=torch.tensor([0, 1, 2]))
    with NetworkCounter(method.networks[:1]) as network, NetworkCounter(method.networks) as both:
        images = method.sample(3, sampler, Noise(0), given)
    assert images.isfinite().all()
    each = network.rows / card.conditions["class"] if free else network.rows
    assert both.rows == card.conditions["class"] * each
    assert not card.effort.exact or each == 3 * card.effort.evaluations(params)


def test_without_a_class_the_classifier_is_not_asked(digits):
    method = load_method("sde", CLASSIFIER, digits)
    params = build(CARD.samplers["ancestral"].params, {"steps": 4})
    with NetworkCounter(method.networks) as counter:
        method.sample(3, Sampler("ancestral", "uniform", params), Noise(0))
    assert counter.rows == 12


@pytest.mark.parametrize("process", ["vp", "ve", "subvp"])
@pytest.mark.parametrize("conditioning", ["replace", "published"])
def test_restored_digits_keep_to_what_is_known(digits, process, conditioning):
    """The authors end with the mean at the last time but t_min, which of eight times is far from
    the image.
    """
    method = load_method("sde", {**CARD.tiny, "process": process, "dequantise": True}, digits)
    truth = torch.from_numpy(digits.test[:3]).float() / 16
    known = torch.zeros(3, 1, 8, 8, dtype=torch.bool)
    known[..., 4:] = True
    values = {"steps": 8, "conditioning": conditioning, "t_min": 1e-3}
    sampler = Sampler(
        "predictor_corrector", "log_snr", build(CARD.samplers["predictor_corrector"].params, values)
    )
    images = method.sample(
        3, sampler, Noise(0), Condition("inpainting", images=truth * known, known=known)
    )
    assert images.isfinite().all()
    away = (images - truth)[known].abs().max().item()
    assert away < (1e-5 if conditioning == "replace" else 0.5)


def test_classifier_learns_digits_without_noise(digits):
    """And it is not sure of what is all noise."""
    settings = {
        "steps": 250,
        "width": 16,
        "batch": 64,
        "learning_rate": 4e-3,
        "ema_half_life_images": 640.0,
    }
    values = {**CARD.tiny, "classifier": {"kind": "resnet", **settings}}
    method = load_method(
        "sde", {**values, "training": {**CARD.tiny["training"], "steps": 1}}, digits
    )
    method.train(digits, Run(seed=0))
    x = 2 * torch.from_numpy(digits.test).float() / 16 - 1
    labels = torch.from_numpy(digits.labels("test"))
    with torch.no_grad():
        clean = method._logits(method.class_average, x, torch.full((len(x),), 1e-3))
        noisy = method._logits(method.class_average, Noise(0).normal(x.shape), torch.ones(len(x)))
    assert (clean.argmax(1) == labels).float().mean() > 0.9
    assert noisy.softmax(1).max(1).values.mean() < 0.3


def test_classifier_has_a_logit_a_class_for_any_size_that_halves():
    network = Classifier(
        3, 5, width=8, multipliers=(1, 2, 2), blocks=1, fourier_scale=1.0, dropout=0.0
    )
    initialise(network, Noise(0))
    assert network(torch.zeros(2, 3, 16, 8), torch.zeros(2)).shape == (2, 5)
