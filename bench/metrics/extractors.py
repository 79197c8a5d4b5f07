r"""Networks whose features and class probabilities the metrics compare.

``digits-cnn`` is a small convolutional classifier of scikit-learn's digits, made by
``python -m bench.metrics.train_digits_cnn`` from the 1437 training images alone, so that held-out images are as
new to it as generated ones. Its features are the 24 smooth (SiLU) activations before the last layer, each in units
of its standard deviation over the training images: a Frechet distance over 256 images then has ten images for each
dimension, no feature outweighs another, and the real images' covariance has trace 24.

Images come as uint8 in 0, ..., levels - 1 and are mapped to :math:`2v / (\text{levels} - 1) - 1`; nothing is
resized. The network runs in float64, so that devices agree far below any difference worth showing.
"""

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors.torch import load
from torch import Tensor, nn
from torch.nn import functional

from bench.metrics import EXTRACTORS, ExtractorCard

WEIGHTS = Path(__file__).parent / "weights"

CHUNK = 500
"""Images in one pass through a network: bounds the memory."""


class Features(NamedTuple):
    """What an extractor says of N images: features (N, D) and log class probabilities (N, classes), float64."""

    features: np.ndarray
    log_probs: np.ndarray


class DigitsCNN(nn.Module):
    """Classifies images of shape (B, 1, 8, 8) in [-1, 1] into ten digits.

    Args:
        dropout: Fraction of the features that training hides from the last layer.
    """

    def __init__(self, dropout: float = 0.3) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1, stride=2)
        self.conv3 = nn.Conv2d(32, 48, 3, padding=1)
        self.features = nn.Linear(48 * 2 * 2, 24)
        self.dropout = nn.Dropout(dropout)
        self.classes = nn.Linear(24, 10)
        self.register_buffer("deviations", torch.ones(24))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Returns features (B, 24) and logits (B, 10)."""
        x = functional.silu(self.conv1(x))
        x = functional.silu(self.conv2(x))
        x = functional.avg_pool2d(functional.silu(self.conv3(x)), 2)
        features = functional.silu(self.features(x.flatten(1)))
        return features / self.deviations, self.classes(self.dropout(features))


NETWORKS: Mapping[str, type[nn.Module]] = {"digits-cnn": DigitsCNN}


class Extractor:
    """A network of :data:`NETWORKS` with its shipped weights.

    Raises:
        FileNotFoundError: The weights file is missing.
        ValueError: The weights file is not the one that the card names.
    """

    def __init__(self, name: str, device: torch.device | str = "cpu", weights: Path | None = None) -> None:
        self.name = name
        self.card = EXTRACTORS[name]
        self.device = torch.device(device)
        state = load(_read_weights(weights or WEIGHTS / self.card.weights, self.card))
        with torch.device("meta"):
            network = NETWORKS[name]()
        network.load_state_dict(state, assign=True)
        self.network = network.to(self.device, torch.float64).eval().requires_grad_(False)

    @property
    def preprocess(self) -> str:
        """How levels become the network's input, in words."""
        return f"v / {self.card.levels - 1} * 2 - 1, no resize"

    @torch.inference_mode()
    def __call__(self, images: np.ndarray) -> Features:
        """Returns the features of uint8 images in levels, shape (N, C, H, W).

        Raises:
            ValueError: Another dtype, shape or range of pixels.
        """
        _check_images(images, self.card)
        parts = [self._chunk(images[start : start + CHUNK]) for start in range(0, len(images), CHUNK)]
        features, log_probs = (torch.cat(column).cpu().numpy() for column in zip(*parts, strict=True))
        return Features(features, log_probs)

    def _chunk(self, images: np.ndarray) -> tuple[Tensor, Tensor]:
        x = torch.from_numpy(np.ascontiguousarray(images)).to(self.device, torch.float64)
        features, logits = self.network(x / (self.card.levels - 1) * 2 - 1)
        return features, logits.log_softmax(1)


@lru_cache(maxsize=4)
def load_extractor(name: str, device: str = "cpu") -> Extractor:
    """Returns the extractor of that name, read once a process and device."""
    return Extractor(name, device)


def _read_weights(path: Path, card: ExtractorCard) -> bytes:
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: extractor weights are missing; reinstall, or take the file from the repository"
        )
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != card.sha256:
        raise ValueError(
            f"{path}: altered or truncated extractor weights: sha256 {found[:12]}... where {card.sha256[:12]}... was "
            "expected; restore the file from the repository"
        )
    return content


def _check_images(images: np.ndarray, card: ExtractorCard) -> None:
    if images.dtype != np.uint8:
        raise ValueError(f"images to score should be uint8 levels, got {images.dtype}: quantise them first")
    if images.ndim != 4 or images.shape[1:] != card.shape or not len(images):
        raise ValueError(f"images to score should have shape {('N', *card.shape)} with N > 0, got {images.shape}")
    if images.max() >= card.levels:
        raise ValueError(f"images to score should have pixels in 0..{card.levels - 1}, got {images.max()}")
