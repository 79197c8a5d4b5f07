"""Weights that differ everywhere, files that hold them, and what a method takes from a file."""

from dataclasses import replace

import torch

from bench.data.images import Images
from bench.data.registry import DATASETS
from bench.method import Noise
from methods.shared.published import to_published

DIGITS = DATASETS["digits"]
RGB = Images(
    "rgb", replace(DIGITS, shape=(3, 8, 8), load=lambda split: DIGITS.load(split).repeat(3, axis=1))
)
NETWORK = {"width": 8, "multipliers": [1, 1], "blocks": 1, "attention": [4], "embedding": "fourier"}
VE = {"process": "ve", "sigma_max": 50.0, "network": NETWORK}
FREQUENCIES = "all_modules.0.W"


def drawn(tensors, seed):
    return {name: Noise(seed).child(name).normal(tensor.shape) for name, tensor in tensors.items()}


def weights_of(network, seed=1):
    """Returns weights by published names, which differ everywhere."""
    return drawn(to_published(network, network.state_dict()), seed)


def saved(path, content, **options):
    torch.save(content, path, **options)
    return path


def taken(method, path, weights="raw"):
    """Returns what the method says of a checkpoint, and the network and the average that it has
    then.
    """
    facts = method.import_checkpoint(path, weights)
    return facts, *(
        to_published(part, part.state_dict()) for part in (method.network, method.average)
    )


def equal(found, expected):
    return found.keys() == expected.keys() and all(
        torch.equal(found[name], expected[name]) for name in found
    )
