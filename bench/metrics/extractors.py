"""Feature extractors with their weights: from images to features and class probabilities.

Images come as uint8 in 0, ..., levels - 1, as the data set stores them.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.data.images import Images
from bench.metrics.extractor_card import ViewInputs
from bench.metrics.extractor_cards import extractor_card, extractor_label
from bench.metrics.libraries import version
from bench.metrics.summary import Features
from bench.metrics.weight_files import first_line, read_weights

CHUNK = 500
"""Images in one pass through a small network: bounds the memory."""

PIXELS_PER_CHUNK = 64 * 64 * 500
"""Pixels of the network's input in one pass, for networks that resize."""


class Extractor:
    """An extractor of :data:`bench.metrics.extractor_cards.EXTRACTORS` with its weights.

    Args:
        name: Of the extractor, with its size if there is one to choose.
        device: Where it runs.
        weights: The file; by default the first of the places that the card names.
        data: The data set whose images it will read; not needed if the card says all of them.

    Raises:
        FileNotFoundError: The weights file is missing; the message says where it was looked for and
            how to get it.
        ValueError: The weights file is not the one that the card names, or holds no weights of this
            network.
    """

    def __init__(
        self,
        name: str,
        device: torch.device | str = "cpu",
        weights: Path | None = None,
        data: Images | None = None,
    ) -> None:
        self.name = name
        self.card = extractor_card(name)
        self.device = torch.device(device)
        self.shape = self.card.shape or _asked(data, name).shape
        self.levels = self.card.levels or _asked(data, name).levels
        content, self.sha256 = b"", ""
        if self.card.weights:
            content, self.sha256 = read_weights(name, self.card, weights)
        elif self.card.projection:
            self.sha256 = f"fitted to {_asked(data, name).digest('train')}"
        inputs = ViewInputs(card=self.card, levels=self.levels, content=content, data=data)
        try:
            view = self.card.make(inputs)
        except (ValueError, RuntimeError) as error:  # load_state_dict raises RuntimeError
            if not self.card.weights:
                raise
            path, why = weights or self.card.path(), first_line(error)
            raise ValueError(f"{path}: these are no weights of {name}: {why}") from error
        self.view = view.to(self.device).eval().requires_grad_(False)
        self.dimension = self.card.dimension or int(np.prod(self.shape))
        pixels = self.card.size**2
        self.chunk = max(1, min(CHUNK, PIXELS_PER_CHUNK // pixels)) if pixels else CHUNK

    @property
    def identity(self) -> dict[str, Any]:
        """What the features depend on, as plain values."""
        side, backend = self.card.side, self.card.backend
        resized = side and self.shape[1:] != (side, side)
        return {
            "extractor": extractor_label(self.name),
            "weights_sha256": self.sha256,
            "dimension": self.dimension,
            "input_shape": list(self.shape),
            "input_size": [side, side] if side else list(self.shape[1:]),
            "levels": self.levels,
            "resize": self.view.resize if resized else "none",
            "preprocess": self.view.preprocess,
            "network": version(backend) if backend else f"bench {self.card.version}",
        }

    @torch.inference_mode()
    def __call__(self, images: np.ndarray) -> Features:
        """Returns the features of uint8 images in levels, shape (N, C, H, W).

        Raises:
            ValueError: Another dtype, shape or range of pixels.
        """
        self._check(images)
        starts = range(0, len(images), self.chunk)
        parts = [self._part(images[start : start + self.chunk]) for start in starts]
        features = torch.cat([features for features, _ in parts]).cpu().numpy()
        log_probs = [log_probs for _, log_probs in parts if log_probs is not None]
        return Features(features, torch.cat(log_probs).cpu().numpy() if log_probs else None)

    def _part(self, images: np.ndarray) -> tuple[Tensor, Tensor | None]:
        features, logits = self.view(torch.from_numpy(np.ascontiguousarray(images)).to(self.device))
        return features, None if logits is None else logits.double().log_softmax(1)

    def _check(self, images: np.ndarray) -> None:
        if images.dtype != np.uint8:
            raise ValueError(
                f"images to score should be uint8 levels, got {images.dtype}: quantise them first"
            )
        if images.ndim != 4 or images.shape[1:] != tuple(self.shape) or not len(images):
            shape = ("N", *self.shape)
            raise ValueError(
                f"images to score should have shape {shape} with N > 0, got {images.shape}"
            )
        if images.max() >= self.levels:
            raise ValueError(
                f"images to score should have pixels in 0..{self.levels - 1}, got {images.max()}"
            )


def _asked(data: Images | None, name: str) -> Images:
    if data is None:
        raise ValueError(f"{name} needs the data set whose images it will read")
    return data


_LOADED: dict[tuple[Any, ...], Extractor] = {}


def load_extractor(name: str, device: str = "cpu", data: Images | None = None) -> Extractor:
    """Returns the extractor of that name, read once per process, device and kind of images."""
    card = extractor_card(name)
    kind: tuple[Any, ...] = ()
    if not card.shape:
        kind += (_asked(data, name).shape, _asked(data, name).levels)
    if card.projection:
        kind += (_asked(data, name).digest("train"),)
    key = (name, str(device), str(card.path()), *kind)
    if key not in _LOADED:
        while len(_LOADED) > 3:
            _LOADED.pop(next(iter(_LOADED)))
        _LOADED[key] = Extractor(name, device, data=data)
    return _LOADED[key]
