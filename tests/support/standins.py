"""Weights in the true format where the true weights are not to be had: random, but with features
that are alive.

Default initialisation lets the features of a deep Inception collapse to nothing; He's keeps their
scale through the rectifiers, and normalisations that have seen some images give every channel unit
deviation.
"""

from pathlib import Path

import torch
from torch import nn


def inception_state(seed: int = 0, images: int = 4) -> dict[str, torch.Tensor]:
    """Returns a state_dict in the format of the reference Inception: 566 tensors, 95.7 MB."""
    draws = torch.Generator().manual_seed(seed)
    network = _untrained()
    for part in network.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(part.weight, nonlinearity="relu", generator=draws)
        elif isinstance(part, nn.BatchNorm2d):
            part.reset_running_stats()
            part.momentum = None  # the mean over the batches seen
    smooth = torch.rand(images, 3, 5, 5, generator=draws)
    noisy = nn.functional.interpolate(smooth, 32, mode="bicubic").clamp(0, 1) + 0.1 * torch.rand(
        images, 3, 32, 32, generator=draws
    )
    network.train()
    with torch.no_grad():
        network((noisy / 1.1 * 255).to(torch.uint8))
    return {name: value.clone() for name, value in network.state_dict().items()}


def write_inception(path: Path, **options: int) -> Path:
    """Writes such a file; returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(inception_state(**options), path)
    return path


def _untrained() -> nn.Module:
    """Builds the network without its weights: its constructor insists on some."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    load = FeatureExtractorInceptionV3.load_state_dict
    read, torch.load = torch.load, lambda *_, **__: None
    FeatureExtractorInceptionV3.load_state_dict = lambda self, state, **_: None
    try:
        return FeatureExtractorInceptionV3("inception-v3-compat", ["2048", "logits"], "unused")
    finally:
        FeatureExtractorInceptionV3.load_state_dict, torch.load = load, read
