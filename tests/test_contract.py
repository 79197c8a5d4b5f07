"""What every adapter keeps to, run over each method that is found: a new one is covered with no
edit here.

Methods are made with the tiny parameters of their cards, on the digits. Whether their numbers are
right is for each method's own tests; here it is whether the harness may rely on them.
"""

import random
from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from bench.card import TIMES, cards
from bench.check.method import check_method, same_tensors
from bench.check.sampler import check_sampler, within
from bench.data.images import load_images
from bench.method import Method, Noise, Run, load_method
from bench.schema import build

CARDS = list(cards().values())
DEQUANTISING = [
    card for card in CARDS if "dequantise" in {item.name for item in fields(card.params)}
]
SAMPLERS = [(card, name) for card in CARDS for name in card.samplers]
each_method = pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
each_sampler = pytest.mark.parametrize(
    ("card", "name"), SAMPLERS, ids=[f"{card.name}-{name}" for card, name in SAMPLERS]
)


class Stop(Exception):
    """The training was asked to stop."""


class Log:
    """What a training writes: its checkpoints and its curve."""

    def __init__(self, stop_after=None):
        self.stop_after = stop_after
        self.step = 0
        self.tensors = {}
        self.images = []

    def checkpoint(self, step, tensors):
        self.step = step
        if step == self.stop_after:
            self.tensors = {name: tensor.clone() for name, tensor in tensors().items()}
            raise Stop

    def log(self, images, **values):
        self.images.append(images)
        assert all(isinstance(value, float) for value in values.values())


@pytest.fixture(scope="module")
def data():
    return load_images("digits")


def make(card, data, **changes):
    return load_method(card.name, {**card.tiny, **changes}, data)


def train(card, data, seed=0, log=None, restore=lambda: None):
    method = make(card, data)
    log = log or Log()
    method.train(data, Run(seed=seed, checkpoint=log.checkpoint, log=log.log, restore=restore))
    return method


@pytest.fixture(scope="module")
def trained(data):
    """Returns the trained method of a card; it is trained once."""
    known = {}

    def get(card):
        if card.name not in known:
            known[card.name] = train(card, data)
        return known[card.name]

    return get


def sampler_of(card, name, budget=5):
    return within(card.samplers[name], name, budget)


def assert_equal(first, second):
    assert same_tensors(first, second) is None


def wrong(findings):
    return [finding for finding in findings if not finding.right]


@each_method
def test_card_is_whole(card):
    assert card.paper.startswith("https://")
    assert isinstance(card.version, int)
    assert card.samplers
    assert all(
        isinstance(sampler.version, int) and sampler.summary for sampler in card.samplers.values()
    )
    assert all(set(sampler.times) <= set(TIMES) for sampler in card.samplers.values())
    assert card.likelihood is not None or card.no_likelihood
    for values in ({}, card.tiny, card.smoke, *card.presets.values()):
        assert isinstance(card.variant(build(card.params, values)), str)


@each_method
def test_adapter_is_the_cards_and_has_its_samplers(card, data):
    method = make(card, data)
    assert isinstance(method, Method)
    assert method.card is cards()[card.name]
    assert all(callable(sampler.load()) for sampler in card.samplers.values() if sampler.function)
    assert all(isinstance(network, torch.nn.Module) for network in method.networks)
    assert not isinstance(method, torch.nn.Module)


@each_method
def test_bare_parameters_make_a_method_or_are_refused_with_a_reason(card, data):
    reasons = card.refuse(card.params(), data.shape)
    assert all(reasons)
    if not reasons:
        assert load_method(card.name, {}, data).state()


@each_method
def test_tiny_parameters_fit_the_digits(card, data):
    assert card.refuse(build(card.params, card.tiny), data.shape) == []


@pytest.mark.parametrize("card", DEQUANTISING, ids=lambda card: card.name)
def test_dequantisation_asks_for_images_of_levels(card):
    assert card.needs_levels(build(card.params, {"dequantise": True}))
    assert not card.needs_levels(build(card.params, {"dequantise": False}))


@each_method
def test_every_preset_fits_images_of_its_shape(card, data):
    assert card.shapes.keys() <= card.presets.keys()
    for name, values in card.presets.items():
        assert card.refuse(build(card.params, values), card.shapes.get(name, data.shape)) == [], (
            name
        )


@each_method
def test_checkpoint_of_nothing_is_refused_or_the_card_says_that_there_are_none(
    card, data, tmp_path
):
    path = tmp_path / "empty.pth"
    path.touch()
    with pytest.raises(ValueError if card.checkpoints else NotImplementedError, match="checkpoint"):
        make(card, data).import_checkpoint(path, "ema")


@each_method
def test_method_keeps_to_the_rules_of_plugins(card, data, trained):
    assert wrong(check_method(trained(card), data)) == []


@each_sampler
def test_sampler_keeps_to_the_rules_of_plugins(card, name, trained):
    assert wrong(check_sampler(trained(card), name)) == []


@each_method
def test_interrupted_training_ends_as_the_uninterrupted_one_bit_for_bit(card, data, trained):
    log = Log(stop_after=3)
    with pytest.raises(Stop):
        train(card, data, log=log)
    random.random(), torch.rand(1)  # whatever else drew meanwhile
    resumed = train(card, data, restore=lambda: (log.step, log.tensors))
    assert_equal(resumed.state(), trained(card).state())


@each_method
def test_training_seed_decides_the_weights(card, data, trained):
    other = train(card, data, seed=1).state()
    assert any(
        not torch.equal(tensor, other[name]) for name, tensor in trained(card).state().items()
    )


@each_method
def test_networks_are_traced_whole_by_torch_compile(card, data, trained):
    """With the option ``compile`` of executors; what a compiler makes of the graph is torch's."""
    seen = {}
    method = trained(card)
    hook = method.networks[0].register_forward_pre_hook(
        lambda module, given, named: seen.update(given=given, named=named), with_kwargs=True
    )
    method.sample(2, sampler_of(card, next(iter(card.samplers))), Noise(0))
    hook.remove()
    with torch.no_grad():
        plain, traced = (
            network(*seen["given"], **seen["named"])
            for network in (
                method.networks[0],
                torch.compile(method.networks[0], backend="eager", fullgraph=True),
            )
        )
    assert torch.equal(plain, traced)


class Recorder(Noise):
    """A stream that notes what is drawn, by the names of its path."""

    draws: list

    def normal(self, shape):
        return self._note(super().normal(shape))

    def uniform(self, shape):
        return self._note(super().uniform(shape))

    def _note(self, values):
        self.draws.append((self.path, values))
        return values


@each_method
def test_prior_is_a_stream_of_its_own_that_neither_sampler_nor_steps_change(
    card, trained, monkeypatch
):
    priors = []
    for name, sampler in card.samplers.items():
        for budget in (10, 20) if sampler.effort.exact else (None,):
            monkeypatch.setattr(Recorder, "draws", [], raising=False)
            trained(card).sample(2, sampler_of(card, name, budget or 5), Recorder(0, ("sample", 0)))
            priors.append([values for path, values in Recorder.draws if path[2:3] == ("prior",)])
    assert priors[0], "nothing is drawn from the stream named prior"
    for drawn in priors[1:]:
        assert all(torch.equal(a, b) for a, b in zip(priors[0], drawn, strict=True))


def likelihood_params(card):
    params = card.likelihood.params()
    return replace(params, tolerance=0.1) if hasattr(params, "tolerance") else params


@each_method
def test_method_without_a_likelihood_says_so(card, trained):
    if card.likelihood is None:
        with pytest.raises(NotImplementedError, match=card.title):
            trained(card).score(torch.zeros(3, 1, 8, 8).long(), Noise(0), None)


def global_streams():
    numpy_state = np.random.get_state()  # noqa: NPY002 - it is the global stream that is watched
    return random.getstate(), numpy_state[1].tobytes(), torch.get_rng_state().numpy().tobytes()


@each_method
def test_global_random_streams_are_left_alone(card, data):
    before = global_streams()
    method = train(card, data)
    assert global_streams() == before, "by training"
    method.loss(data.batch(0, 0, 2), Noise(0))
    assert global_streams() == before, "by the loss"
    for name in card.samplers:
        method.sample(2, sampler_of(card, name), Noise(0))
        assert global_streams() == before, f"by {name}"
    method.inspect(data.scaled(torch.from_numpy(data.test[:2]).float()), Noise(0))
    assert global_streams() == before, "by the inspection"
    if card.likelihood is not None:
        method.score(
            torch.from_numpy(data.test[:2].astype(np.int64)), Noise(0), likelihood_params(card)
        )
        assert global_streams() == before, "by the score"


@each_method
def test_global_random_streams_decide_nothing(card, data, trained):
    torch.manual_seed(123)
    random.seed(123)
    assert_equal(train(card, data).state(), trained(card).state())


@each_method
def test_training_curve_ends_with_all_images_seen(card, data):
    log = Log()
    train(card, data, log=log)
    assert log.images == sorted(log.images)
    assert log.images[-1] > 0
    assert log.step > 0
