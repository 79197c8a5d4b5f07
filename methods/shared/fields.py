r"""Fields of vectors over the plane as pictures: what a network of points says at each noise level.

A pixel is a point of the plane; its colour tells the direction of the vector there, and its
strength the length: white is no length, full colour the longest of 95 % of the pixels at that
level. With :math:`\varphi` the angle and :math:`\ell` in [0, 1] the length, channel k of three is

.. math:: 1 - \ell \left(\tfrac12 - \tfrac12 \cos(\varphi - 2 \pi k / 3)\right) .
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

SIDE = 48
"""Pixels of a picture's side."""
MARGIN = 0.1
"""Of the plane beyond the data's range, in widths of it."""

Field = Callable[[Tensor, Tensor], Tensor]
"""Vectors at points x, (B, 2, 1, 1), and levels (B,); shape (B, 2, 1, 1)."""


def paint(vectors: Tensor) -> Tensor:
    """Returns the picture of vectors (SIDE, SIDE, 2), rows from the top: shape (3, SIDE, SIDE)."""
    x, y = vectors.double().unbind(-1)
    length = torch.hypot(x, y)
    longest = torch.quantile(length, 0.95).clamp(min=torch.finfo(length.dtype).tiny)
    strength = (length / longest).clamp(max=1)
    phases = torch.arange(3, dtype=torch.float64, device=x.device) * (2 * math.pi / 3)
    waves = 0.5 - 0.5 * torch.cos(torch.atan2(y, x) - phases[:, None, None])
    return 1 - strength * waves


def field_strip(fields: Sequence[Field], levels: Tensor, low: float, high: float) -> Tensor:
    """Returns a row of pictures for each field, a column per level; (rows, L, 3, SIDE, SIDE).

    Args:
        fields: What is shown; lengths are relative to the longest of each picture.
        levels: Shape (L,).
        low: Least coordinate of the data, of both axes.
        high: The greatest.
    """
    reach = MARGIN * (high - low)
    axis = torch.linspace(low - reach, high + reach, SIDE, device=levels.device)
    x = torch.stack(torch.meshgrid(axis, axis.flip(0), indexing="xy"), dim=-1).view(-1, 2, 1, 1)
    rows = [
        torch.stack([paint(field(x, level.expand(len(x))).view(SIDE, SIDE, 2)) for level in levels])
        for field in fields
    ]
    return torch.stack(rows)
