r"""Multilayer perceptrons for points, data of a few numbers each such as the two of the synthetic
distributions.

Both are pure maps ``(x, condition) -> tensor`` with SiLU between linear layers. With :math:`c` the
condition, the plain one sees it at its input alone,

.. math:: h_1 = \sigma(W_1 [x, c]), \quad h_{k+1} = \sigma(W_{k+1} h_k), \quad y = W h_n,

the residual one at every layer,

.. math:: h_0 = \sigma(W_0 [x, c]), \quad h_{k+1} = \sigma(h_k + W_{k+1} [h_k, c]), \quad y = W
[h_n, c].

Shapes: B points of C numbers, as vectors (B, C) or as images of one pixel (B, C, 1, 1).

Source: the toy experiments of Dockhorn et al., 2022, https://arxiv.org/abs/2112.07068 (appendix E):
4 layers of width 128; in their code also 20 residual layers of width 64.
Departures: weights start uniform of variance 1 / mean(fan in, fan out), biases at 0, as the other
networks' here.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from methods.shared.layers import Dense


class MLP(nn.Module):
    """Creates the network; weights are 0 until :func:`methods.shared.layers.initialise` draws them.

    Args:
        in_channels: Numbers of x.
        out_channels: Numbers of the output.
        width: Hidden units of a layer.
        blocks: Hidden layers; of a residual network those after the first.
        residual: Whether a layer adds to what it sees, and sees the condition.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        width: int,
        blocks: int,
        residual: bool = False,
    ) -> None:
        super().__init__()
        self.residual = residual
        seen = width + 1 if residual else width
        hidden = blocks if residual else blocks - 1
        first, last = Dense(in_channels + 1, width), Dense(seen, out_channels)
        self.layers = nn.ModuleList([first, *(Dense(seen, width) for _ in range(hidden)), last])

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Returns the output, shape (B, C') or (B, C', 1, 1) as x has it.

        Args:
            x: Points as the network sees them, shape (B, C) or (B, C, 1, 1).
            condition: A number of order 1 that tells the noise level, shape (B,): its logarithm, or
                a time in [0, 1].
        """
        column = condition[:, None]
        first, *hidden, last = self.layers
        h = F.silu(first(torch.cat([x.flatten(1), column], dim=1)))
        for layer in hidden:
            h = F.silu(h + layer(torch.cat([h, column], dim=1)) if self.residual else layer(h))
        y = last(torch.cat([h, column], dim=1) if self.residual else h)
        return y.reshape(len(x), -1, *x.shape[2:])
