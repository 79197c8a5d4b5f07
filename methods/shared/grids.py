r"""Time grids: the times at which a sampler of a given number of steps stands, from noise to data.

All are float64, strictly decreasing, from t = 1 to t_min, with steps + 1 entries; samplers take any
of them.

Source: "rho7" is Karras et al., 2022, https://arxiv.org/abs/2206.00364 (equation 5), in the noise
level s / m, so that it means the same for every process.
"""

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor


class NoiseLevels(Protocol):
    """What grids need of a process, be it one of :mod:`methods.shared.process` or not."""

    def log_snr(self, t: Tensor) -> Tensor:
        """Returns the log-SNR at times, falling in t."""

    def noise_level(self, t: Tensor) -> Tensor:
        """Returns exp(-log-SNR / 2)."""

    def time_of_log_snr(self, log_snr: Tensor) -> Tensor:
        """Returns the times of log-SNRs."""


def grid(name: str, process: NoiseLevels | None, steps: int, t_min: float | None = None) -> Tensor:
    """Returns the time grid of that name (:data:`bench.card.TIMES`), float64, shape (steps + 1,).

    Args:
        name: "uniform" or "quadratic" in t, "log_snr" (uniform in log-SNR) or "rho7".
        process: Whose noise levels the last two follow.
        steps: At least 1.
        t_min: Where the grid ends; by default the process's own.

    Raises:
        ValueError: Unknown name, no steps, or times that are not distinct.
    """
    if name not in GRIDS:
        raise ValueError(f"unknown time grid {name!r}; there are {', '.join(GRIDS)}")
    if steps < 1:
        raise ValueError(f"a grid needs at least 1 step, got {steps}")
    if t_min is None:
        assert process is not None
        assert hasattr(process, "t_min")
        t_min = process.t_min
    fractions = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    times = GRIDS[name](process, fractions, t_min)
    times[0], times[-1] = 1.0, t_min  # inverse functions meet the ends to rounding only
    if not (times.diff() < 0).all():
        raise ValueError(
            f"time grid {name!r} of {steps} steps from 1 to {t_min} is not strictly decreasing"
        )
    return times


def published_grid(steps: int, t_min: float) -> Tensor:
    """Returns Score-SDE's times: ``steps`` of them from 1 to t_min, in float32 as theirs, then 0.

    Their loop evaluates the score at t_min too, and leaves with a step that has no time of its own;
    0 stands for its end. Shape (steps + 1,), float64.
    """
    times = torch.linspace(1, t_min, steps, dtype=torch.float32).double()
    return torch.cat([times, times.new_zeros(1)])


def _uniform(process: NoiseLevels | None, fractions: Tensor, t_min: float) -> Tensor:
    return 1 + (t_min - 1) * fractions


def _quadratic(process: NoiseLevels | None, fractions: Tensor, t_min: float) -> Tensor:
    return t_min + (1 - t_min) * (1 - fractions).square()


def _log_snr(process: NoiseLevels, fractions: Tensor, t_min: float) -> Tensor:
    first, last = process.log_snr(torch.tensor([1.0, t_min], dtype=torch.float64))
    return process.time_of_log_snr(first + (last - first) * fractions)


def _rho7(process: NoiseLevels, fractions: Tensor, t_min: float) -> Tensor:
    first, last = process.noise_level(torch.tensor([1.0, t_min], dtype=torch.float64)) ** (1 / 7)
    return process.time_of_log_snr(-14 * torch.log(first + (last - first) * fractions))


GRIDS: dict[str, Callable[[Any, Tensor, float], Tensor]] = {
    "uniform": _uniform,
    "quadratic": _quadratic,
    "log_snr": _log_snr,
    "rho7": _rho7,
}
