"""What torch counts of networks, for tests of what is counted from their settings."""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


def counted(
    make: Callable[[], nn.Module],
    channels: int,
    size: tuple[int, int],
    told: torch.dtype = torch.float32,
) -> tuple[int, int]:
    """Returns FLOPs of a row and weights of a network, as torch counts them; nothing is
    computed.
    """
    with torch.device("meta"):
        network = make()
        x, condition = torch.zeros(1, channels, *size), torch.zeros(1, dtype=told)
        with (
            FlopCounterMode(display=False) as counter,
            sdpa_kernel(SDPBackend.MATH),
            torch.no_grad(),
        ):
            network(x, condition)
    return counter.get_total_flops(), sum(weight.numel() for weight in network.parameters())
