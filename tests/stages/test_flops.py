"""FLOPs of a call are those of each network's passes, backward ones included, as torch counts them
over the call.
"""

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from torch import nn

from bench.card import cards
from bench.counter import NetworkCounter
from bench.data.images import load_images
from bench.method import Condition, Noise, Run, Sampler, load_method
from bench.schema import build
from bench.stages import cost
from methods.shared.controllable import guided
from methods.shared.likelihood import flow_log_likelihood, linear_flow
from methods.shared.process import VP


class Score(nn.Module):
    """Two layers, and attention, whose products torch counts by other formulas than those of
    layers.
    """

    def __init__(self, channels=16):
        super().__init__()
        self.first, self.second = (
            nn.Conv2d(1, channels, 3, padding=1),
            nn.Conv2d(channels, 1, 3, padding=1),
        )

    def forward(self, x, t):
        h = torch.tanh(self.first(x))
        rows = h.flatten(2).transpose(1, 2)[:, None]
        rows = nn.functional.scaled_dot_product_attention(rows, rows, rows)
        return self.second(h + rows[:, 0].transpose(1, 2).view_as(h))


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.head = nn.Conv2d(1, 7, 3), nn.Linear(7 * 36, 5)

    def forward(self, x, t):
        return self.head(torch.tanh(self.layer(x)).flatten(1))


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    monkeypatch.setattr(cost, "_FLOPS", {})


def frozen(*networks):
    for network in networks:
        network.eval().requires_grad_(False)
    return networks


def counted(networks, call):
    """Returns what the harness makes of a call, and what torch counts over the whole of it."""
    with NetworkCounter(networks) as counter, cost.flop_counter() as torch_counter:
        call()
    return cost.counted_flops(counter, "model"), torch_counter.get_total_flops(), counter


@pytest.mark.parametrize("chunk", [1, 3, 6])
def test_guided_evaluations_cost_both_networks_and_the_way_back_through_the_classifier(chunk):
    score, classifier = frozen(Score(), Classifier())

    def call():
        rows = torch.arange(chunk)
        function = guided(score, lambda x, t: classifier(x, t).log_softmax(1)[rows, 0], 2.0)
        with torch.no_grad():
            for x in torch.ones(6, 1, 8, 8).split(chunk):
                function(x, torch.ones(chunk))

    ours, whole, counter = counted((score, classifier), call)
    assert ours == whole
    assert (counter.forward, counter.backward, counter.rows) == ([6, 6], [0, 6], 12)
    assert ours != 12 * cost.row_flops(counter, 0, "model")[0]


@pytest.mark.parametrize(
    ("probe", "probes", "ways"), [("rademacher", 1, 1), ("gaussian", 3, 3), ("exact", 1, 64)]
)
def test_likelihood_costs_a_way_back_for_each_probe(probe, probes, ways):
    (score,), process = frozen(Score()), VP()

    def call():
        flow = linear_flow(process, score)
        x = 0.1 * torch.ones(2, 1, 8, 8)
        flow_log_likelihood(
            flow, process.prior_log_prob, x, Noise(0), tolerance=0.5, probes=probes, probe=probe
        )

    ours, whole, counter = counted((score,), call)
    assert ours == whole
    assert counter.backward == [ways * counter.forward[0]]


def test_network_that_is_never_asked_costs_nothing():
    score, classifier = frozen(Score(), Classifier())
    ours, whole, counter = counted(
        (score, classifier), lambda: score(torch.ones(2, 1, 8, 8), torch.ones(2))
    )
    assert ours == whole > 0
    assert sorted(counter.inputs) == [0]


def test_counting_keeps_no_batch_and_changes_no_gradient():
    (score,) = frozen(Score())
    x = torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    gradients = []
    for context in (nullcontext(), NetworkCounter((score,))):
        with context as counter:
            gradients.append(torch.autograd.grad(score(x, torch.ones(5)).square().sum(), x)[0])
    assert torch.equal(*gradients)
    assert [value.shape[0] for value in counter.inputs[0]] == [1, 1]
    assert not counter.inputs[0][0].requires_grad


@pytest.mark.parametrize(
    "name", [name for name, card in cards().items() if card.likelihood is not None]
)
def test_likelihood_of_each_method_costs_what_torch_counts(name):
    """But for the density of the start distribution, whose products are no network's: less than 1
    %.
    """
    card, data = cards()[name], load_images("digits")
    method = load_method(name, card.tiny, data)
    params = build(card.likelihood.params, {"tolerance": 1.0})
    images = torch.from_numpy(data.test[:2].astype(np.int64))
    ours, whole, _ = counted(method.networks, lambda: method.score(images, Noise(0), params))
    assert 0.99 * whole <= ours <= whole


@pytest.mark.skipif("sde" not in cards(), reason="the method is not there")
def test_guided_model_costs_what_torch_counts_in_sampling_and_in_training():
    card, data = cards()["sde"], load_images("digits")
    values = {
        **card.tiny,
        "prior": {"kind": "published"},
        "training": {**card.tiny["training"], "steps": 3},
    }
    values["classifier"] = {"kind": "resnet", "width": 8, "steps": 2, "batch": 8}
    method = load_method("sde", values, data)
    method.train(data, Run(seed=0))
    given = Condition("class", labels=torch.arange(4))
    for name, params in (("ddim", {"steps": 3}), ("predictor_corrector", {"steps": 2})):
        sampler = Sampler(name, "uniform", build(card.samplers[name].params, params))
        for known, networks in ((given, 2), (None, 1)):
            call = lambda sampler=sampler, known=known: method.sample(4, sampler, Noise(0), known)  # noqa: E731
            ours, whole, counter = counted(method.networks, call)
            assert ours == whole
            assert len(counter.inputs) == networks
    ((losses, images),) = method.other_losses(data, 0)
    assert images == 2 * 8
    with cost.flop_counter() as counter, torch.enable_grad():
        losses(4).mean().backward()
    assert counter.get_total_flops() > 0
