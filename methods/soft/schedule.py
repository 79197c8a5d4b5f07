"""Schedules of a corruption: scalar functions of time with their derivatives.

At a kink, a time at which a function is not differentiable, the derivative is the one from the
left, that of a step towards the data. Time: t = 0 is data, t = 1 is noise.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from methods.shared.process import Process


class Table:
    """Numbers in float64, kept on every device that they were asked for on."""

    def __init__(self, values: Tensor) -> None:
        values = values.double()
        self._copies = {values.device: values}

    def on(self, device: torch.device) -> Tensor:
        """Returns them on a device."""
        if device not in self._copies:
            self._copies[device] = next(iter(self._copies.values())).to(device)
        return self._copies[device]


class Schedule(ABC):
    """A function of time, of any shape, in its dtype and on its device.

    Attributes:
        kinks: Times inside (0, 1) at which it is not differentiable, rising.
    """

    kinks: tuple[float, ...] = ()

    @abstractmethod
    def __call__(self, t: Tensor) -> Tensor:
        """Returns the value at t."""

    @abstractmethod
    def derivative(self, t: Tensor) -> Tensor:
        """Returns the derivative at t, that from the left at a kink."""


class Linear(Schedule):
    """From ``first`` at t = 0 to ``last`` at t = 1 in a straight line."""

    def __init__(self, first: float, last: float) -> None:
        self.first = first
        self.last = last

    def __call__(self, t: Tensor) -> Tensor:
        return self.first + (self.last - self.first) * t

    def derivative(self, t: Tensor) -> Tensor:
        return torch.full_like(t, self.last - self.first)


class SineSquared(Schedule):
    r"""From 0 to ``last`` as :math:`\sin^2(\pi t / 2)`."""

    def __init__(self, last: float) -> None:
        self.last = last

    def __call__(self, t: Tensor) -> Tensor:
        return self.last * torch.sin(0.5 * math.pi * t).square()

    def derivative(self, t: Tensor) -> Tensor:
        return 0.5 * math.pi * self.last * torch.sin(math.pi * t)


class Geometric(Schedule):
    """From ``first`` to ``last`` in equal ratios until t = ``until``, and constant from there."""

    def __init__(self, first: float, last: float, until: float = 1.0) -> None:
        self.first = first
        self.log_ratio = math.log(last / first)
        self.until = until
        self.kinks = (until,) if until < 1 else ()

    def __call__(self, t: Tensor) -> Tensor:
        return self.first * torch.exp(self.log_ratio * (t / self.until).clamp(max=1))

    def derivative(self, t: Tensor) -> Tensor:
        slope = self.log_ratio / self.until * self(t)
        return torch.where(t <= self.until, slope, torch.zeros_like(slope))


class Tabulated(Schedule):
    """Linear between ``levels`` at equal distances in t, from t = 0 to t = 1."""

    def __init__(self, levels: Sequence[float]) -> None:
        nodes = torch.linspace(0, 1, len(levels), dtype=torch.float64)
        self.kinks = tuple(nodes[1:-1].tolist())
        self._levels = Table(torch.tensor(levels, dtype=torch.float64))
        self._inner = Table(nodes[1:-1])

    def __call__(self, t: Tensor) -> Tensor:
        levels, left = self._locate(t)
        return levels[left] + (t * (len(levels) - 1) - left) * (levels[left + 1] - levels[left])

    def derivative(self, t: Tensor) -> Tensor:
        levels, left = self._locate(t)
        return (len(levels) - 1) * (levels[left + 1] - levels[left])

    def _locate(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the levels, and the index of the last node to the left of t."""
        return self._levels.on(t.device).to(t.dtype), torch.bucketize(
            t, self._inner.on(t.device).to(t.dtype)
        )


class MeanCoefficient(Schedule):
    """That of a process, by which it scales the image."""

    def __init__(self, process: Process) -> None:
        self.process = process

    def __call__(self, t: Tensor) -> Tensor:
        return self.process.mean_coefficient(t)

    def derivative(self, t: Tensor) -> Tensor:
        return self.process.drift_coefficient(t) * self.process.mean_coefficient(t)


class StandardDeviation(Schedule):
    """That of a process's noise."""

    def __init__(self, process: Process) -> None:
        self.process = process

    def __call__(self, t: Tensor) -> Tensor:
        return self.process.std(t)

    def derivative(self, t: Tensor) -> Tensor:
        # From d(s^2)/dt = 2 f s^2 + g^2.
        std = self.process.std(t)
        return (
            self.process.drift_coefficient(t) * std + 0.5 * self.process.diffusion(t).square() / std
        )
