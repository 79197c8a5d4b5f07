"""A GPU computes what the CPU does, without waiting for the host, and with the options that it has.

Skipped where there is no GPU. Draws are made on the CPU for both, so all that differs is rounding;
where rounding decides (adaptive steps, TF32, bfloat16), the tolerance says so.
"""

import time

import pytest
import torch
from test_contract import CARDS, sampler_of
from test_fingerprint import shake

from bench.data.images import load_images
from bench.method import Noise, Run, evaluated, load_method
from methods.shared.architecture import Backbone
from methods.shared.backbone import make_network
from methods.shared.layers import initialise

DEVICE = torch.device("cuda")
pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here"),
]

ROUNDING = 1e-3
"""Of the root mean square, as of fingerprints: float32 products in another order."""
ADAPTIVE = 0.2
"""Where a tolerance of 0.1 decides which steps are taken."""
TF32 = 2e-2
BFLOAT16 = 0.05
"""Of a network's output: 10 and 8 bits of mantissa through some twenty layers."""

CIFAR = Backbone(dropout=0.0, init_scale=1.0)
"""That of the papers' CIFAR-10 runs, with an output that is not 0 before training."""

FIXED = [
    (card, name)
    for card in CARDS
    for name, sampler in card.samplers.items()
    if sampler.effort.exact
]
SAMPLERS = [(card, name) for card in CARDS for name in card.samplers]


def ids(pairs):
    return [f"{card.name}-{name}" for card, name in pairs]


@pytest.fixture(scope="module")
def data():
    return load_images("digits")


@pytest.fixture(scope="module")
def pair(data):
    """Returns a method on the CPU and on the GPU with equal weights, made once for each card."""
    known = {}

    def get(card):
        if card.name not in known:
            here = load_method(card.name, card.tiny, data)
            here.fit_start(data, Run(seed=0))
            shake(here.networks)
            there = load_method(card.name, card.tiny, data, DEVICE)
            there.load_state({name: tensor.to(DEVICE) for name, tensor in here.state().items()})
            known[card.name] = here, there
        return known[card.name]

    return get


def relative_error(found, expected):
    """Returns the root mean square of the difference over that of the expected values."""
    found, expected = found.cpu().double(), expected.cpu().double()
    return ((found - expected).square().mean() / expected.square().mean()).sqrt().item()


@pytest.mark.parametrize(("card", "name"), SAMPLERS, ids=ids(SAMPLERS))
def test_every_sampler_gives_what_the_cpu_gives(card, name, pair):
    here, there = pair(card)
    sampler = sampler_of(card, name)
    expected = here.sample(4, sampler, Noise(0))
    found = there.sample(4, sampler, Noise(0, device=DEVICE))
    assert found.device.type == DEVICE.type
    exact = card.samplers[name].effort.exact
    assert relative_error(found, expected) < (ROUNDING if exact else ADAPTIVE)


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
def test_every_loss_and_its_gradient_are_those_of_the_cpu(card, pair, data):
    losses, gradients = [], []
    for method in pair(card):
        x0 = data.batch(0, 0, 16).to(method.device)
        loss = method.loss(x0, Noise(0, device=method.device))
        weights = [weight for weight in method.network.parameters() if weight.requires_grad]
        found = torch.autograd.grad(loss.mean(), weights, allow_unused=True)
        losses.append(loss.detach())
        gradients.append(torch.cat([g.flatten().cpu() for g in found if g is not None]))
    assert relative_error(losses[1], losses[0]) < ROUNDING
    assert relative_error(gradients[1], gradients[0]) < 10 * ROUNDING


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
def test_a_training_follows_that_of_the_cpu(card, data):
    curves = []
    for device in (torch.device("cpu"), DEVICE):
        curve = []
        run = Run(seed=0, device=device, log=lambda images, **v: curve.append(v["loss"]))  # noqa: B023
        load_method(card.name, card.tiny, data, device).train(data, run)
        curves.append(torch.tensor(curve))
    assert relative_error(curves[1], curves[0]) < 10 * ROUNDING


@pytest.mark.parametrize(("card", "name"), FIXED, ids=ids(FIXED))
def test_no_step_of_a_fixed_sampler_waits_for_the_gpu(card, name, pair):
    """Ten times the steps wait no more often than a few: what a start or an end waits for is
    allowed.
    """
    _, there = pair(card)
    assert waits(there, sampler_of(card, name, 50)) <= waits(there, sampler_of(card, name, 5))


def waits(method, sampler):
    """Returns how often sampling makes the host wait for the device."""
    method.sample(2, sampler, Noise(0, device=DEVICE))  # tables that are made once
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with pytest.warns() as caught:
            # The last copy waits, so that there is a warning for sure.
            method.sample(2, sampler, Noise(0, device=DEVICE)).cpu()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return sum("synchronizing" in str(warning.message) for warning in caught)


@pytest.fixture(scope="module")
def network():
    """The CIFAR-10 network on the GPU, its input, and its output in float32."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    network = make_network(CIFAR, 3, 3, 32).eval()
    initialise(network, Noise(0))
    network.to(device=DEVICE, memory_format=torch.channels_last)
    inputs = Noise(1, device=DEVICE).normal((8, 3, 32, 32)), torch.full((8,), 100.0, device=DEVICE)
    with torch.no_grad():
        return network, inputs, network(*inputs)


def test_tf32_is_an_option_and_changes_numbers_by_its_rounding(network):
    network, inputs, expected = network
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    try:
        with torch.no_grad():
            found = network(*inputs)
    finally:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    assert 0 <= relative_error(found, expected) < TF32


@pytest.mark.parametrize(
    ("options", "tolerance"),
    [
        ({"precision": "bfloat16"}, BFLOAT16),
        ({"compiled": True}, ROUNDING),
        ({"precision": "bfloat16", "compiled": True}, BFLOAT16),
    ],
    ids=["bfloat16", "compiled", "both"],
)
def test_options_give_the_same_numbers_within_their_rounding(network, options, tolerance):
    network, inputs, expected = network
    with evaluated([network], **options), torch.no_grad():
        found = network(*inputs)
    assert found.dtype == torch.float32
    assert relative_error(found, expected) < tolerance


def test_recomputed_activations_take_less_memory(record_property):
    """Peak memory of a backward pass, 64 images; both are noted in the report of the tests."""
    peaks = {}
    for recompute in (False, True):
        settings = {**CIFAR.keywords(), "recompute": recompute}
        network = type(make_network(CIFAR, 3, 3, 32))(3, 3, image_size=32, **settings).to(DEVICE)
        x = Noise(1, device=DEVICE).normal((64, 3, 32, 32))
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        network(x, torch.full((64,), 100.0, device=DEVICE)).square().mean().backward()
        peaks[recompute] = torch.cuda.max_memory_allocated() - before
        record_property(f"peak bytes, recompute {recompute}", peaks[recompute])
        del network, x
    assert peaks[True] < 0.7 * peaks[False]


def test_larger_batches_are_faster_per_image(network, record_property):
    """Images per second forward, noted in the report of the tests: a GPU that is not filled by 256
    images is one on which something waits.
    """
    network, _, _ = network
    rates = {}
    for batch in (8, 256):
        x = Noise(1, device=DEVICE).normal((batch, 3, 32, 32))
        condition = torch.full((batch,), 100.0, device=DEVICE)
        with torch.no_grad():
            network(x, condition)
            torch.cuda.synchronize()
            begin = time.perf_counter()
            for _ in range(5):
                network(x, condition)
            torch.cuda.synchronize()
        rates[batch] = 5 * batch / (time.perf_counter() - begin)
        record_property(f"images per second, batch {batch}", rates[batch])
    assert rates[256] > rates[8]
