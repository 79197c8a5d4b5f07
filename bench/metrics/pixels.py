"""``pixels`` and ``pca@K``: features without a network."""

import numpy as np
import torch
from torch import Tensor

from bench.metrics.extractor_card import ViewInputs
from bench.metrics.moments import Moments
from bench.metrics.view import View

CHUNK = 500
"""Images that are projected at once: bounds the memory."""


class Pixels(View):
    """``pixels``: an image's values in [0, 1], one after the other."""

    def __init__(self, inputs: ViewInputs) -> None:
        super().__init__()
        self.levels = inputs.levels
        self.preprocess = f"v / {self.levels - 1}"

    def forward(self, levels: Tensor) -> tuple[Tensor, None]:
        """Returns features (B, C H W)."""
        return levels.to(torch.float32).flatten(1) / (self.levels - 1), None


class Projection(View):
    """``pca@K``: coordinates along the axes of largest variance of the training images."""

    def __init__(self, inputs: ViewInputs) -> None:
        super().__init__()
        if inputs.data is None:
            raise ValueError("axes are fitted to training images, and no data set was given")
        data, axes = inputs.data, inputs.card.size
        self.pixels, moments = Pixels(inputs), Moments()
        for start in range(0, len(data.train), CHUNK):
            part = torch.from_numpy(np.ascontiguousarray(data.train[start : start + CHUNK]))
            moments.add(self.pixels(part)[0].numpy())
        mean, covariance = moments.statistics()
        _, vectors = np.linalg.eigh(covariance)
        self.preprocess = f"v / {data.levels - 1}, minus the mean of the training images"
        self.register_buffer("mean", torch.from_numpy(mean).float())
        self.register_buffer(
            "axes", torch.from_numpy(np.ascontiguousarray(vectors[:, : -axes - 1 : -1])).float()
        )

    def forward(self, levels: Tensor) -> tuple[Tensor, None]:
        """Returns features (B, K)."""
        return (self.pixels(levels)[0] - self.mean) @ self.axes, None
