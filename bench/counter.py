"""NFE and FLOPs are counted where they are spent: at the calls of a method's networks."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn


class NetworkCounter:
    """Counts rows through a method's networks, forward and backward.

    >>> with NetworkCounter(method.networks) as counter:
    ...     images = method.sample(64, sampler, noise)
    >>> nfe = counter.rows / 64

    Args:
        watch: Called with the rows so far after each forward pass.

    Attributes:
        rows: Rows of all forward passes.
        calls: Forward passes.
        forward: Rows of the forward passes of each network.
        backward: Rows of each network's backward passes (vector-Jacobian products), those of one
            forward pass as often as there are.
        inputs: The first row of what each network was first called with; of those that were.
    """

    def __init__(
        self, networks: Sequence[nn.Module], watch: Callable[[int], None] = lambda rows: None
    ) -> None:
        self.networks = networks
        self.watch = watch
        self.rows = 0
        self.calls = 0
        self.forward = [0] * len(networks)
        self.backward = [0] * len(networks)
        self.inputs: dict[int, tuple[Any, ...]] = {}

    def __enter__(self) -> "NetworkCounter":
        self.handles = [
            network.register_forward_hook(partial(self._count, index))
            for index, network in enumerate(self.networks)
        ]
        return self

    def __exit__(self, *exception: object) -> None:
        for handle in self.handles:
            handle.remove()

    def _count(
        self, index: int, module: nn.Module, inputs: tuple[Any, ...], output: Tensor
    ) -> None:
        rows = inputs[0].shape[0]
        self.rows += rows
        self.calls += 1
        self.forward[index] += rows
        self.watch(self.rows)
        if index not in self.inputs:
            self.inputs[index] = tuple(_first_row(value, rows) for value in inputs)
        if output.requires_grad:
            output.register_hook(partial(self._count_backward, index, rows))

    def _count_backward(self, index: int, rows: int, gradient: Tensor) -> None:
        self.backward[index] += rows


def _first_row(value: Any, rows: int) -> Any:
    """Returns the first row of a tensor that has so many; what else a network was called with as it
    is.
    """
    if isinstance(value, Tensor) and value.ndim > 0 and len(value) == rows:
        return value[:1].detach().clone()
    return value
