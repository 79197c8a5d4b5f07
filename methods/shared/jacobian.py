r"""How strongly a network's output turns with its input, along the noise levels.

.. math:: J(t) = \mathbb{E}_{x_t} \, \lVert \partial F_\theta(x_t, t) / \partial x_t \rVert_F

with the network :math:`F_\theta` and its input as it sees it, scaled as each method scales it, for
held-out :math:`x_t` at time t. A network whose J is small and even is the easier one to learn: the
argument for diffusing velocities.

Source: Dockhorn et al., 2022, https://arxiv.org/abs/2112.07068 (its experiments on points compare
networks of CLD and of the VP process by this norm, both with mixed scores).
Departures: the mean of the norm over points; the range of the input is each method's own.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


def jacobian_norms(network: nn.Module, evaluate: Callable[[Tensor], Any], levels: Tensor) -> Tensor:
    """Returns the mean Frobenius norm of a network's Jacobian at each noise level, float64, (L,).

    Exact: one backward pass per number of the output, so for points, not for pictures.

    Args:
        network: Takes x, (B, C, H, W), and a condition, (B,).
        evaluate: Calls the network, once or more, on what it sees at a level; the first call
            counts.
        levels: What ``evaluate`` takes, shape (L,).
    """
    return torch.stack([_norm(network, *_seen(network, evaluate, level)) for level in levels])


def _seen(
    network: nn.Module, evaluate: Callable[[Tensor], Any], level: Tensor
) -> tuple[Tensor, Tensor]:
    """Returns what the network was first called with."""
    calls: list[tuple[Tensor, Tensor]] = []
    handle = network.register_forward_pre_hook(lambda _, inputs: calls.append(inputs))
    try:
        evaluate(level)
    finally:
        handle.remove()
    return calls[0]


@torch.enable_grad()
def _norm(network: nn.Module, x: Tensor, condition: Tensor) -> Tensor:
    x = x.detach().requires_grad_()
    outputs = network(x, condition.detach()).flatten(1).sum(0)
    rows = [torch.autograd.grad(output, x, retain_graph=True)[0].flatten(1) for output in outputs]
    return torch.cat(rows, 1).double().norm(dim=1).mean().detach()
