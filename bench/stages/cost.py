"""What network calls cost: seconds on a clock, FLOPs counted once for each network and shape."""

import contextlib
import time
from collections.abc import Iterator
from typing import Any, cast

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from bench.card import BudgetError
from bench.counter import NetworkCounter
from bench.data.images import Images
from bench.method import Method, Noise, Sampler, evaluated
from bench.spec import SampleSpec, TrainSpec, place
from bench.stages.context import Context

_WARM: set[tuple[str, ...]] = set()
"""Store, model, batch size and precision that this process has made a batch of."""

_FLOPS: dict[tuple[Any, ...], tuple[float, float]] = {}
"""FLOPs forward and backward by model, network, whether it goes backward, shapes of the inputs."""


def clock(device: torch.device) -> float:
    """Returns seconds on a clock that waits for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def warm_up(context: Context, method: Method, spec: SampleSpec) -> bool:
    """Makes this process ready to time batches of a model and a size, by a batch thrown away.

    It takes the fewest steps that a sampler of the method can; returns False if the method has no
    sampler whose steps can be counted.
    """
    name = (str(context.store.root), place(spec.model)[1], str(spec.batch), spec.precision)
    if name not in _WARM:
        sampler = shortest_sampler(method)
        if sampler is None:
            return False
        way = evaluated(method.networks, precision=spec.precision, compiled=context.compiled)
        with torch.no_grad(), way:
            method.sample(spec.batch, sampler, Noise(0, ("warm-up",), device=method.device))
        _WARM.add(name)
    return True


def shortest_sampler(method: Method) -> Sampler | None:
    """Returns the first sampler of known cost, with the fewest steps it can take, or None."""
    for name, card in method.card.samplers.items():
        for budget in range(1, 65) if card.effort.exact else ():
            try:
                values = card.effort.fit(budget, card.params())
            except BudgetError:
                continue
            return Sampler(name, card.times[0] if card.times else "", card.params(**values))
    return None


def counted_flops(counter: NetworkCounter, key: str) -> float:
    """Returns the FLOPs of the counted calls of a model's networks and of their backward passes.

    It is each network's rows times its own FLOPs. What lies between the calls (a solver's sums, the
    draw from the start distribution) is left out.
    """
    total = 0.0
    for index in counter.inputs:
        forward, backward = row_flops(counter, index, key)
        total += counter.forward[index] * forward + counter.backward[index] * backward
    return total


def row_flops(counter: NetworkCounter, index: int, key: str) -> tuple[float, float]:
    """Returns the FLOPs of one row through a network, forward and backward (0 if it never went).

    They are those of one untimed call under torch's counter; a backward pass is that to the
    network's first input.
    """
    network, inputs = counter.networks[index], counter.inputs[index]
    goes_back = counter.backward[index] > 0
    shapes = (tuple(value.shape) for value in inputs if isinstance(value, torch.Tensor))
    name = (key, index, goes_back, *shapes)
    if name not in _FLOPS:
        first = inputs[0].detach().requires_grad_(goes_back)
        backward = 0
        with torch.inference_mode(False), torch.set_grad_enabled(goes_back):
            with flop_counter() as forward:
                output = network(first, *inputs[1:])
            if goes_back:
                with flop_counter() as counted:
                    torch.autograd.grad(output, first, torch.ones_like(output))
                backward = counted.get_total_flops()
        _FLOPS[name] = float(forward.get_total_flops()), float(backward)
    return _FLOPS[name]


def training_flops(method: Method, data: Images, spec: TrainSpec, images: int) -> float:
    """Returns the FLOPs of training on so many images, forward and backward.

    An image's are those of one untimed step under torch's counter; likewise of what else is
    trained, such as a classifier.
    """

    def main(count: int) -> torch.Tensor:
        x0 = data.batch(spec.seed, 0, count).to(method.device)
        return method.loss(x0, Noise(spec.seed, ("flops",), device=method.device))

    count, total = 4, 0.0
    for losses, trained_on in ((main, images), *method.other_losses(data, spec.seed)):
        with flop_counter() as counter, torch.enable_grad():
            losses(count).mean().backward()
        total += counter.get_total_flops() / count * trained_on
    return total


@contextlib.contextmanager
def flop_counter() -> Iterator[FlopCounterMode]:
    """Counts FLOPs; attention is made of products that torch's counter knows on every device."""
    counter = FlopCounterMode(display=False)
    # torch's own tracker cannot follow a gradient by the input of a module
    counter.mod_tracker = cast(Any, _Whole())
    with counter, sdpa_kernel(SDPBackend.MATH):
        yield counter


class _Whole(contextlib.nullcontext):
    """In place of the counter's record of which module runs: one sum for all."""

    parents = frozenset({"Global"})
