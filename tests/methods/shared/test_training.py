import copy
import math

import pytest
import torch
from torch import nn

from bench.data.images import load_images
from bench.method import Noise, Run, evaluated
from methods.shared.hyperparameters import Training
from methods.shared.layers import Conv, initialise
from methods.shared.training import Trainer, average_decay, fit, learning_rate, update_average

SETTINGS = {
    "steps": 12,
    "batch": 16,
    "learning_rate": 1e-2,
    "warmup_steps": 3,
    "heldout_images": 40,
}


class Small(nn.Module):
    """A network with what can go wrong in resuming: several tensors, dropout, a buffer, another
    memory layout.
    """

    def __init__(self):
        super().__init__()
        self.first = Conv(1, 4)
        self.dropout = nn.Dropout(0.3)
        self.middle = Conv(4, 3)
        self.last = Conv(3, 1)
        self.register_buffer("constant", torch.ones(2))
        initialise(self, Noise(0))
        self.to(memory_format=torch.channels_last)

    def forward(self, x):
        return self.last(torch.relu(self.middle(self.dropout(torch.relu(self.first(x))))))


def denoising(network, x0, noise):
    z = noise.normal(x0.shape)
    return (network(x0 + z) - z).square().flatten(1).mean(1)


class Recorder:
    """A run that keeps every checkpoint and log line in memory, and stops at a step if asked to."""

    def __init__(self, stop_at=None, resume=None):
        self.stop_at, self.saved, self.lines = stop_at, resume, []
        self.run = Run(seed=3, restore=lambda: self.saved, checkpoint=self.checkpoint, log=self.log)

    def checkpoint(self, step, tensors):
        if step == self.stop_at:
            self.saved = (
                step,
                {
                    name: tensor.clone(memory_format=torch.contiguous_format)
                    for name, tensor in tensors().items()
                },
            )
            raise InterruptedError

    def log(self, images, **values):
        self.lines.append((images, values))


def train(recorder, **settings):
    network = Small()
    average = copy.deepcopy(network)
    fit(
        network,
        average,
        denoising,
        load_images("digits"),
        Training(**(SETTINGS | settings)),
        recorder.run,
    )
    return network, average


def same_bytes(a, b):
    pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return all(x.numpy().tobytes() == y.numpy().tobytes() for x, y in pairs)


@pytest.mark.parametrize("stops", [[1], [5], [12], [2, 3, 11]])
def test_a_resumed_training_ends_with_the_bytes_of_an_undisturbed_one(stops):
    whole = Recorder()
    network, average = train(whole)
    saved, lines = None, []
    for stop in stops:
        part = Recorder(stop, saved)
        with pytest.raises(InterruptedError):
            train(part)
        saved, lines = part.saved, lines + part.lines
    last = Recorder(resume=saved)
    resumed, resumed_average = train(last)
    assert same_bytes(network, resumed)
    assert same_bytes(average, resumed_average)
    assert not same_bytes(network, average)
    assert lines + last.lines == whole.lines


def test_a_checkpoint_holds_tensors_alone():
    part = Recorder(stop_at=2)
    with pytest.raises(InterruptedError):
        train(part)
    step, tensors = part.saved
    assert step == 2
    assert all(isinstance(tensor, torch.Tensor) for tensor in tensors.values())


def test_training_depends_on_its_seed_and_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    first, _ = train(Recorder())
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    again, _ = train(Recorder())
    torch.set_rng_state(before)
    assert same_bytes(first, again)
    other = Recorder()
    other.run.seed = 4
    assert not same_bytes(first, train(other)[0])


def test_the_log_has_about_fifty_lines_by_images_seen_and_the_last_is_at_the_end():
    recorder = Recorder()
    train(recorder, steps=130, batch=4)
    images = [line[0] for line in recorder.lines]
    assert images == [8 * k for k in range(1, 66)]
    assert all(set(line[1]) - {"heldout_loss"} == {"loss", "clipped"} for line in recorder.lines)
    compared = [images for images, values in recorder.lines if "heldout_loss" in values]
    assert compared == [40 * k for k in range(1, 14)]
    assert recorder.lines[-1][1]["loss"] < recorder.lines[0][1]["loss"]


def test_a_logged_loss_is_the_mean_since_the_line_before():
    network, images = Small(), load_images("digits").batch(0, 0, 8)
    trainer = Trainer(network, copy.deepcopy(network), denoising, Training(**SETTINGS))
    expected = []
    for step in range(3):
        reference = copy.deepcopy(network).eval()
        network.dropout.p = 0.0
        expected.append(denoising(reference, images, Noise(step)).mean().item())
        trainer.update(step, images, Noise(step))
    assert trainer.report()["loss"] == pytest.approx(sum(expected) / 3, rel=1e-6)


@pytest.mark.parametrize(("clip", "share"), [(1e-6, 1.0), (1e6, 0.0), (None, 0.0)])
def test_the_share_of_clipped_updates_is_logged(clip, share):
    recorder = Recorder()
    train(recorder, clip=clip)
    assert {line[1]["clipped"] for line in recorder.lines} == {share}


def test_the_held_out_loss_is_that_of_the_average_without_dropout_and_the_same_each_time():
    recorder = Recorder()
    _, average = train(recorder)
    data = load_images("digits")
    heldout = torch.from_numpy(data.drawn("test", slice(40))).float() / 16
    noise = recorder.run.noise("heldout").child(0)
    assert recorder.lines[-1][1]["heldout_loss"] == pytest.approx(
        denoising(average, heldout, noise).mean().item()
    )


def test_a_diverging_training_says_so():
    with pytest.raises(FloatingPointError, match="diverged"):
        train(Recorder(), learning_rate=1e30, warmup_steps=0)


def test_learning_rate_rises_from_zero_stays_or_falls_to_zero():
    settings = {"steps": 100, "learning_rate": 0.5, "warmup_steps": 10}
    constant, linear, cosine = (
        Training(schedule=name, **settings) for name in ("constant", "linear", "cosine")
    )
    assert [learning_rate(constant, k) for k in (0, 5, 10, 99)] == [0, 0.25, 0.5, 0.5]
    assert learning_rate(linear, 60) == pytest.approx(0.2)
    assert learning_rate(cosine, 50) == pytest.approx(0.25)
    assert learning_rate(cosine, 75) == pytest.approx(0.25 * (1 - math.sqrt(0.5)))
    assert learning_rate(Training(steps=5, warmup_steps=0), 0) == Training().learning_rate


class Linear(nn.Module):
    """A network whose gradients are written down at once."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, -2.0, 0.5, 0.0]))

    def forward(self, x):
        return x.flatten(1) @ self.weight


def squares(network, x0, noise):
    return network(x0).square()


def trainer_of(**settings):
    network = Linear()
    defaults = {"steps": 10, "batch": 3, "warmup_steps": 0, "clip": None, "ema_warmup": False}
    return Trainer(network, Linear(), squares, Training(**(defaults | settings)))


def batches(count):
    return [Noise(k).normal((3, 1, 2, 2)) for k in range(count)]


@pytest.mark.parametrize("optimiser", ["adam", "adamw", "adamax"])
@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_each_optimiser_makes_its_papers_updates(optimiser, decay):
    rate, eps = 0.1, 0.05
    trainer = trainer_of(optimiser=optimiser, learning_rate=rate, adam_eps=eps, weight_decay=decay)
    w = trainer.network.weight.detach().double().clone()
    m, v, u = torch.zeros_like(w), torch.zeros_like(w), torch.zeros_like(w)
    for n, x0 in enumerate(batches(3), start=1):
        x = x0.double().flatten(1)
        gradient = (2 * (x @ w)[:, None] * x).mean(0)
        if optimiser == "adamw":
            w = w - rate * decay * w
        else:
            gradient = gradient + decay * w
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient.square()
        u = torch.maximum(0.999 * u, gradient.abs() + eps)
        size = u if optimiser == "adamax" else (v / (1 - 0.999**n)).sqrt() + eps
        w = w - rate * m / (1 - 0.9**n) / size
        trainer.update(n - 1, x0, Noise(0))
        torch.testing.assert_close(
            trainer.network.weight.detach().double(), w, rtol=1e-5, atol=1e-6
        )


@pytest.mark.parametrize("warmup", [False, True])
def test_the_average_of_each_update_keeps_what_its_half_life_says(warmup):
    trainer = trainer_of(learning_rate=0.1, ema_half_life_images=6.0, ema_warmup=warmup)
    expected = trainer.network.weight.detach().clone()
    for n, x0 in enumerate(batches(4), start=1):
        trainer.update(n - 1, x0, Noise(0))
        kept = min(0.5**0.5, (1 + n) / (10 + n)) if warmup else 0.5**0.5
        expected = kept * expected + (1 - kept) * trainer.network.weight.detach()
        torch.testing.assert_close(trainer.average.weight, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("warmup", [False, True])
def test_a_half_life_of_zero_puts_the_last_weights_in_the_averages_place(warmup):
    trainer = trainer_of(learning_rate=0.1, ema_half_life_images=0, ema_warmup=warmup)
    for step, x0 in enumerate(batches(3)):
        before = trainer.network.weight.detach().clone()
        trainer.update(step, x0, Noise(0))
        assert torch.equal(trainer.average.weight, trainer.network.weight)
        assert not torch.equal(trainer.average.weight, before)


@pytest.mark.parametrize(
    ("optimiser", "half_life"), [("adamw", 887_000.0), ("adamax", 887_000.0), ("adam", 0)]
)
def test_a_resumed_training_ends_with_the_same_bytes_whatever_its_optimiser(optimiser, half_life):
    settings = {"optimiser": optimiser, "weight_decay": 0.1, "ema_half_life_images": half_life}
    network, average = train(Recorder(), **settings)
    part = Recorder(stop_at=5)
    with pytest.raises(InterruptedError):
        train(part, **settings)
    resumed, resumed_average = train(Recorder(resume=part.saved), **settings)
    assert same_bytes(network, resumed)
    assert same_bytes(average, resumed_average)
    assert same_bytes(network, average) == (half_life == 0)


@pytest.mark.parametrize("batch", [1, 16, 128])
def test_the_average_forgets_half_in_its_half_life_whatever_the_batch(batch):
    settings = Training(batch=batch, ema_half_life_images=512)
    network = Small()
    trainer = Trainer(network, copy.deepcopy(network), denoising, settings)
    average, zero = [torch.ones(3)], [torch.zeros(3)]
    for n in range(1, 512 // batch + 1):
        update_average(average, zero, average_decay(trainer.decay, n, warmup=False))
    torch.testing.assert_close(average[0], torch.full((3,), 0.5), rtol=1e-5, atol=0)


def test_a_training_until_some_images_is_the_beginning_of_the_whole_one():
    whole, part = Recorder(), Recorder()
    states = {}
    whole.run.checkpoint = lambda step, tensors: states.update(
        {step: {n: t.clone() for n, t in tensors().items()}}
    )
    train(whole)
    part.run.until = 70  # of 12 updates of 16 images
    announced = []
    part.run.announce = announced.append
    _, average = train(part)
    assert announced == [5]
    assert part.lines[-1][0] == 80
    for name, tensor in average.state_dict().items():
        assert torch.equal(tensor, states[5][f"average.{name}"])


@pytest.mark.parametrize("until", [192, 10_000])
def test_a_training_never_goes_on_beyond_its_end(until):
    recorder = Recorder()
    recorder.run.until = until
    train(recorder)
    assert recorder.lines[-1][0] == 12 * 16


def test_bfloat16_rounds_products_alone_and_keeps_weights_and_losses_in_float32():
    seen = []

    def loss(network, x0, noise):
        value = denoising(network, x0, noise)
        seen.append((network(x0).dtype, value.dtype))
        return value

    network, average = Small(), Small()
    settings = Training(**SETTINGS, precision="bfloat16")
    recorder = Recorder()
    fit(network, average, loss, load_images("digits"), settings, recorder.run)
    assert set(seen) == {(torch.float32, torch.float32)}
    assert {tensor.dtype for tensor in network.state_dict().values()} == {torch.float32}
    assert "forward" not in vars(network)
    exact = Recorder()
    train(exact)
    first, last = (lines[0][1]["loss"] for lines in (exact.lines, recorder.lines))
    assert first != last
    assert last == pytest.approx(first, rel=1e-2)


def test_networks_compute_as_asked_and_then_as_before():
    network, x = Small().eval(), Noise(0).normal((2, 1, 8, 8))
    with torch.no_grad():
        plain = network(x)
        with evaluated([network], precision="bfloat16"):
            rounded = network(x)
        assert rounded.dtype == torch.float32
        assert torch.equal(rounded, rounded.bfloat16().float())
        torch.testing.assert_close(rounded, plain, rtol=0.05, atol=0.05)
        with pytest.raises(ValueError, match="inside"), evaluated([network], precision="bfloat16"):
            raise ValueError("inside")
        assert torch.equal(network(x), plain)


@pytest.mark.slow
def test_a_compiled_training_is_the_eager_one_up_to_rounding():
    eager, compiled = Recorder(), Recorder()
    compiled.run.compiled = True
    network, _ = train(eager, steps=3)
    other, _ = train(compiled, steps=3)
    for a, b in zip(network.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)
