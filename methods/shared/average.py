r"""Averages of a training's weights by power functions, and of any length afterwards.

After n updates such an average is :math:`\int_0^n p_{\gamma,n}(\tau)\,\theta(\tau)\,d\tau`, where
:math:`\theta` are the weights after the update under way and :math:`p_{\gamma,t}(\tau) = (\gamma +
1)\,\tau^\gamma / t^{\gamma+1}` is its profile over the training so far, which grows with it. Its
length is given by its relative width, the standard deviation of the profile over the time t. Two
such averages are tracked. The profile of any other is close to a sum of the profiles of those that
were kept along the training, and the average itself to the same sum of them.

Source: Karras et al., 2024, https://arxiv.org/abs/2312.02696 (section 3, appendix C).
Departures: the averages are kept in float32 rather than float16, and summed in float64.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

TRACKED = (0.05, 0.10)
"""Relative widths of the tracked averages (Karras et al., 2024, section 3.2)."""


def exponent(width: float) -> float:
    r"""Returns :math:`\gamma` of the profile of that relative width, in (0, 12^-1/2).

    Solves :math:`width^2 = (\gamma + 1) (\gamma + 2)^{-2} (\gamma + 3)^{-1}`.
    """
    if not 0 < width < 12**-0.5:
        raise ValueError(
            "a relative width should lie between 0 and 12^-1/2 = 0.2887, that of a mean, not be "
            f"{width}"
        )
    inverse = width**-2
    return float(np.roots([1, 7, 16 - inverse, 12 - inverse]).real.max())


def power_decay(gamma: float, n: int) -> float:
    """Returns the average's weight at its n-th update (from 1): (1 - 1/n)^(gamma + 1)."""
    return (1 - 1 / n) ** (gamma + 1)


class PowerAverages:
    """The tracked averages of a network's weights.

    Args:
        network: What is trained; its weights before the first update have no part in the averages.
    """

    def __init__(self, network: nn.Module) -> None:
        self.names = [name for name, _ in network.named_parameters()]
        self.weights: list[Tensor] = list(network.parameters())
        self.averages = {
            width: [weight.detach().clone() for weight in self.weights] for width in TRACKED
        }
        self.gammas = {width: exponent(width) for width in TRACKED}

    @torch.no_grad()
    def update(self, n: int) -> None:
        """Takes in the weights after update ``n`` = 1, 2, ..."""
        for width, averages in self.averages.items():
            torch._foreach_lerp_(averages, self.weights, 1 - power_decay(self.gammas[width], n))

    def tensors(self) -> dict[str, Tensor]:
        """Returns the averages by relative width and name of the weight: ``0.05.input.weight``."""
        pairs = (
            (width, zip(self.names, averages, strict=True))
            for width, averages in self.averages.items()
        )
        return {f"{width}.{name}": average for width, named in pairs for name, average in named}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Puts back what :meth:`tensors` returned."""
        for name, average in self.tensors().items():
            average.copy_(tensors[name])


def shares(times: Sequence[int], width: float) -> tuple[np.ndarray, float]:
    """Returns how much each kept average has of the average of that relative width at the last of
    the times.

    Args:
        times: When the tracked averages were kept, rising, in any unit that counts from the begin
            of the training.
        width: The relative width asked for.

    Returns:
        The shares, float64 of shape (times, tracked), whose profiles sum to the asked one by least
        squares; and what is left of the difference, over the norm of the profile (root mean
        square).
    """
    kept = np.repeat(np.asarray(times, dtype=np.float64), len(TRACKED)) / times[-1]
    gammas = np.tile([exponent(tracked) for tracked in TRACKED], len(times))
    gamma = exponent(width)
    among = inner_product(gammas[:, None], kept[:, None], gammas, kept)
    asked, norm = inner_product(gammas, kept, gamma, 1.0), inner_product(gamma, 1.0, gamma, 1.0)
    scale = np.sqrt(
        np.diag(among)
    )  # unit profiles: else those kept early would count for nothing beside rounding
    found = np.linalg.lstsq(among / np.outer(scale, scale), asked / scale, rcond=None)[0] / scale
    left = norm - 2 * asked @ found + found @ among @ found
    return found.reshape(len(times), len(TRACKED)), float(np.sqrt(max(left, 0.0) / norm))


def inner_product(
    first: np.ndarray | float,
    t: np.ndarray | float,
    second: np.ndarray | float,
    s: np.ndarray | float,
) -> np.ndarray:
    r"""Returns :math:`\int p_{\gamma,t}(\tau)\,p_{\delta,s}(\tau)\,d\tau` of two exponents."""
    # Where both are, the product is a power; it is integrated up to the earlier end.
    later = np.where(np.less(t, s), second, first)
    ratio = np.minimum(t, s) / np.maximum(t, s)
    return (first + 1) * (second + 1) * ratio**later / ((first + second + 1) * np.maximum(t, s))


def combine(
    kept: Iterable[Callable[[], Mapping[str, Tensor]]], parts: np.ndarray, names: Sequence[str]
) -> dict[str, Tensor]:
    """Returns the sum of kept averages by the names of the weights, float32.

    Args:
        kept: Reads what :meth:`PowerAverages.tensors` returned at each time, one after the other.
        parts: What :func:`shares` returned, shape (times, tracked).
        names: Names of the weights.
    """
    total: dict[str, Tensor] = {}
    for read, row in zip(kept, parts, strict=True):
        tensors = read()
        for width, part in zip(TRACKED, row.tolist(), strict=True):
            for name in names:
                term = part * tensors[f"{width}.{name}"].double()
                total[name] = total[name].add_(term) if name in total else term
    return {name: tensor.float() for name, tensor in total.items()}


def average_of(
    network: nn.Module, width: float, kept: Mapping[int, Callable[[], Mapping[str, Tensor]]]
) -> dict[str, float]:
    """Gives ``network`` the average of that relative width at the last of the times.

    Args:
        network: Its weights are replaced; it keeps its buffers.
        width: Relative width, in (0, 12^-1/2).
        kept: Reads the averages kept at each time, by training images seen.

    Returns:
        ``profile_error``, what the sum of the kept profiles lacks of the asked one, relative; it is
        small if averages were kept often enough.
    """
    times = sorted(kept)
    parts, error = shares(times, width)
    weights = dict(network.named_parameters())
    found = combine([kept[time] for time in times], parts, list(weights))
    with torch.no_grad():
        for name, weight in weights.items():
            weight.copy_(found[name])
    return {"profile_error": error}
