"""Distances between training images, from which methods take how much noise hides them."""

import math

from torch import Tensor


def largest_distance(images: Tensor) -> float:
    """Returns the largest Euclidean distance between two images as stored, shape (N, C, H, W), in their units."""
    flat = images.flatten(1).double()  # squares and products of levels are exact in float64
    squares = flat.square().sum(1)
    largest = 0.0
    for start in range(0, len(flat), 2048):
        rows, rest = flat[start : start + 2048], flat[start:]
        distances = squares[start : start + 2048, None] + squares[None, start:] - 2 * rows @ rest.T
        largest = max(largest, distances.max().item())
    return math.sqrt(largest)
