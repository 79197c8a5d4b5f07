"""The card of a method that trains one network, with what such methods have in common filled in.

Standard library only.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from bench.card import Card, NetworkCost
from methods.shared.counting import backbone_cost
from methods.shared.hyperparameters import FITTED, NetworkParams

TINY: Mapping[str, Any] = MappingProxyType(
    {
        "network": {"width": 8, "multipliers": [1, 2], "blocks": 1, "attention": [4]},
        "training": {
            "steps": 6,
            "batch": 8,
            "learning_rate": 1e-3,
            "warmup_steps": 2,
            "heldout_images": 16,
        },
    }
)
"""Parameters with which a method trains in seconds on the digits."""


def network_cost(
    params: NetworkParams, shape: tuple[int, int, int], classes: int = 0, told: int = 0
) -> tuple[NetworkCost, ...]:
    """Returns the cost of a network from images of shape (C, H, W) to such images.

    Args:
        classes: Of the images.
        told: How many of them the network is told.
    """
    if params.exact:
        return ()
    return (backbone_cost(params.network, shape[0], shape[0], shape[1:], told),)


def network_card(**own: Any) -> Card:
    """Returns a card whose parameters are :class:`NetworkParams`; ``own`` are its other fields.

    A method without a likelihood says why not (``no_likelihood``).
    """
    usual: dict[str, Any] = {
        "version": 1,
        "variant": lambda params: "",
        "networks": network_cost,
        "training": FITTED,
        "no_likelihood": "the method has none",
        "refuse": lambda params, shape: params.refuse(shape),
        "needs_levels": lambda params: params.dequantise,
        "tiny": TINY,
        "smoke": {"training": {"steps": 3}},
    }
    if "likelihood" in own:
        del usual["no_likelihood"]
    return Card(**usual | own)
