"""The norm of a network's Jacobian, against Jacobians that are known."""

import torch
from torch import nn

from methods.shared.jacobian import jacobian_norms


class Known(nn.Module):
    """sin(W x) times the condition: its Jacobian is condition diag(cos(W x)) W."""

    def __init__(self, weight):
        super().__init__()
        self.weight = weight

    def forward(self, x, condition):
        y = torch.sin(x.flatten(1) @ self.weight.T) * condition[:, None]
        return y[:, :, None, None]


def test_the_norm_is_that_of_the_known_jacobian_at_what_the_network_sees_first():
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(3, 2, generator=generator, dtype=torch.float64)
    x = torch.randn(50, 2, 1, 1, generator=generator, dtype=torch.float64)
    network = Known(weight).requires_grad_(False)

    def evaluate(level):
        network(level * x, level.expand(50))
        network(0 * x, 0 * level.expand(50))  # a second call does not count

    levels = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
    with torch.no_grad():  # as an inspection is
        found = jacobian_norms(network, evaluate, levels)
    for level, norm in zip(levels, found, strict=True):
        inner = level * x.flatten(1) @ weight.T
        jacobians = level * inner.cos()[:, :, None] * weight
        torch.testing.assert_close(norm, jacobians.flatten(1).norm(dim=1).mean())
