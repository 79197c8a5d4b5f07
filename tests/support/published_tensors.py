"""Published tensors with numbers of their own, and plain functions of them."""

import math

import torch
from torch.nn import functional as F

from bench.method import Noise

ACTIVATIONS = {
    "silu": F.silu,
    "elu": F.elu,
    "relu": F.relu,
    "leaky_relu": lambda x: torch.where(x > 0, x, 0.2 * x),
}


def drawn(shapes):
    """Returns weights that differ everywhere, about 1 for scales, of the size that keeps
    activations in order.
    """
    found = {}
    for name, shape in shapes.items():
        z = Noise(7).child(name).normal(shape).double()
        scale = name.endswith(
            ("GroupNorm_0.weight", "GroupNorm_1.weight", "gamma", "alpha", "embed.weight")
        )
        fan = shape[0] if name.endswith(".W") and len(shape) == 2 else math.prod(shape[1:]) or 1
        found[name] = (
            1 + 0.3 * z if scale else 1.5 * z / math.sqrt(fan) if len(shape) > 1 else 0.3 * z
        )
    return found


def outputs(network, state, *inputs):
    network.load_state_dict(state)
    with torch.no_grad():
        return network(*inputs)
