"""Distances between training images, from which methods take how much noise hides them."""

import math

from torch import Tensor

ROWS = 2048
BLOCK = 2**25
"""Values of images that are held in float64 at once, 256 MiB: training images may lie on disk,
memory-mapped.
"""


def largest_distance(images: Tensor) -> float:
    """Returns the largest Euclidean distance of two images as stored, shape (N, C, H, W)."""
    flat = images.flatten(1)
    step, largest = max(ROWS, BLOCK // flat.shape[1]), 0.0
    for start in range(0, len(flat), ROWS):
        rows = flat[
            start : start + ROWS
        ].double()  # squares and products of levels are exact in float64
        for first in range(start, len(flat), step):
            rest = flat[first : first + step].double()
            distances = (
                rows.square().sum(1)[:, None] + rest.square().sum(1)[None] - 2 * rows @ rest.T
            )
            largest = max(largest, distances.max().item())
    return math.sqrt(largest)
