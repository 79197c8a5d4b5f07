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

from bench.card import TIMES, BudgetError, cards
from bench.counter import NetworkCounter
from bench.data.images import load_images
from bench.method import Method, Noise, Run, Sampler, load_method
from bench.schema import build

BUDGETS = (5, 10, 23)
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


def sampler_of(card, name, budget=5, times=None):
    """Returns a sampler within a budget; an adaptive one with a loose tolerance."""
    sampler = card.samplers[name]
    params = sampler.params()
    if sampler.effort.exact:
        params = replace(params, **sampler.effort.fit(max(budget, least_budget(sampler)), params))
    elif hasattr(params, "tolerance"):
        params = replace(params, tolerance=0.1)
    return Sampler(name, times or next(iter(sampler.times), ""), params)


def least_budget(sampler):
    for budget in range(1, 10_000):
        try:
            sampler.effort.fit(budget, sampler.params())
        except BudgetError:
            continue
        return budget
    raise AssertionError("no budget below 10,000 buys a step")


def assert_equal(first, second):
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert tensor.dtype == second[name].dtype, name
        assert tensor.numpy().tobytes() == second[name].numpy().tobytes(), name


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
def test_three_steps_leave_every_weight_finite(card, data):
    method = make(card, data)
    log = Log(stop_after=3)
    with pytest.raises(Stop):
        method.train(data, Run(seed=0, checkpoint=log.checkpoint))
    assert log.step == 3
    for name, tensor in {**log.tensors, **method.state()}.items():
        assert torch.isfinite(tensor.double()).all(), name


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
def test_state_goes_round(card, data, trained):
    fresh = make(card, data)
    fresh.load_state(trained(card).state())
    assert_equal(fresh.state(), trained(card).state())
    name = next(iter(card.samplers))
    images = [m.sample(3, sampler_of(card, name), Noise(0)) for m in (fresh, trained(card))]
    assert torch.equal(*images)


@each_method
def test_loss_is_a_number_an_image_that_its_noise_decides_dropout_included(card, data, trained):
    method = make(card, data)
    method.load_state(
        trained(card).state()
    )  # at first, last layers near 0 would hide what dropout does
    x0 = data.batch(0, 0, 5)
    loss = method.loss(x0, Noise(0))
    assert loss.shape == (5,)
    assert torch.isfinite(loss).all()
    assert loss.requires_grad
    assert torch.equal(loss, method.loss(x0, Noise(0)))
    assert not torch.equal(loss, method.loss(x0, Noise(1)))


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


@each_sampler
def test_sampler_gives_finite_images_that_its_noise_decides(card, name, data, trained):
    method = trained(card)
    images = method.sample(4, sampler_of(card, name, budget=20), Noise(0))
    assert images.shape == (4, *data.shape)
    assert images.dtype == torch.float32
    assert not images.requires_grad
    assert torch.isfinite(images).all()
    first, again, other = (
        method.sample(4, sampler_of(card, name, budget=10), Noise(seed)) for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@each_sampler
def test_five_evaluations_on_every_time_grid_are_defined(card, name, trained):
    grids = card.samplers[name].times
    images = [
        trained(card).sample(2, sampler_of(card, name, 5, times), Noise(0))
        for times in grids or ("",)
    ]
    assert all(torch.isfinite(batch).all() for batch in images)
    assert len({batch.numpy().tobytes() for batch in images}) == len(images), (
        "grids that give equal images"
    )


@each_sampler
def test_network_is_called_as_often_as_the_card_says(card, name, trained):
    sampler, method = card.samplers[name], trained(card)
    if not sampler.effort.exact:
        with NetworkCounter(method.networks) as counter:
            method.sample(3, sampler_of(card, name), Noise(0))
        assert counter.rows > 0
        return
    for budget in sorted({max(budget, least_budget(sampler)) for budget in BUDGETS}):
        params = sampler_of(card, name, budget).params
        with NetworkCounter(method.networks) as counter:
            method.sample(3, sampler_of(card, name, budget), Noise(0))
        assert counter.rows / 3 == sampler.effort.evaluations(params) <= budget
        if "steps" in [item.name for item in fields(params)]:
            assert sampler.effort.evaluations(replace(params, steps=params.steps + 1)) > budget, (
                "a larger step count would fit"
            )


@each_sampler
def test_budget_too_small_is_refused(card, name):
    sampler = card.samplers[name]
    with pytest.raises(BudgetError, match=r"\w"):
        sampler.effort.fit(0, sampler.params())


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
def test_score_gives_a_number_an_image_or_says_why_not(card, data, trained):
    images = torch.from_numpy(data.test[:3].astype(np.int64))
    if card.likelihood is None:
        with pytest.raises(NotImplementedError, match=card.title):
            trained(card).score(images, Noise(0), None)
        return
    scored = trained(card).score(images, Noise(0), likelihood_params(card))
    assert next(iter(scored.values)) == "bits_per_dim"
    for values in scored.values.values():
        assert values.shape == (3,)
        assert torch.isfinite(values).all()
    assert scored.identity
    again = trained(card).score(images, Noise(0), likelihood_params(card))
    assert torch.equal(scored.values["bits_per_dim"], again.values["bits_per_dim"])


@each_method
def test_inspection_has_a_finite_loss_an_image_at_each_of_at_most_twelve_rising_times(
    card, data, trained
):
    images = data.scaled(torch.from_numpy(data.test[:5]).float())
    seen, again = (trained(card).inspect(images, Noise(0)) for _ in range(2))
    assert seen.times.dtype == torch.float64
    assert 1 <= len(seen.times) <= 12
    assert (seen.times.diff() > 0).all()
    assert 0 <= seen.times.min() <= seen.times.max() <= 1
    assert seen.noise_levels.shape == seen.times.shape
    assert seen.losses.shape == (len(seen.times), 5)
    assert torch.isfinite(seen.losses).all()
    assert not seen.losses.requires_grad
    assert torch.equal(seen.losses, again.losses)
    assert not torch.equal(seen.losses, trained(card).inspect(images, Noise(1)).losses)
    for strip in seen.strips.values():
        assert strip.ndim == 5
        assert torch.isfinite(strip).all()
    for curve in seen.curves.values():
        assert curve.x.shape == curve.y.shape == (len(curve.x),)


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
