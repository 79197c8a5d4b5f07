"""Corrupted Gaussian data, whose exact denoiser is known."""

import math

import numpy as np
import torch
from exact import Mixture

from bench.method import Noise
from methods.soft.corruption import Corruption, make_corruption
from methods.soft.operator import Blur, Mask
from methods.soft.schedule import Geometric, Linear
from methods.soft.settings import CorruptionParams

SHAPE = (1, 4, 4)

BLUR = Corruption(Blur(SHAPE, Linear(0.0, 1.5)), Geometric(0.05, 0.3))
PLATEAU = Corruption(Blur(SHAPE, Linear(0.0, 1.5)), Geometric(0.05, 0.3, 0.3))
SWITCH = Corruption(Mask(torch.linspace(0, 0.9, 16).view(4, 4), 0.0), Geometric(0.05, 0.3))
COVERED = Corruption(Mask(torch.zeros(4, 4), 1.0), Geometric(0.1, 0.5))
STRAIGHT = make_corruption(CorruptionParams(kind="straight"), SHAPE)


def gaussian(shape: tuple[int, int, int] = SHAPE, variance: float = 1.0) -> Mixture:
    """Correlated Gaussian images, in no basis that a corruption is diagonal in."""
    dims = math.prod(shape)
    root = Noise(1, dtype=torch.float64).normal((dims, dims)) / math.sqrt(dims)
    covariance = variance * (root @ root.T + 0.05 * torch.eye(dims, dtype=torch.float64))
    mean = 0.5 * Noise(2, dtype=torch.float64).normal((1, dims))
    return Mixture(torch.ones(1, dtype=torch.float64), mean, covariance[None], shape)


def images(count: int = 3, shape: tuple[int, int, int] = SHAPE) -> torch.Tensor:
    return Noise(0, dtype=torch.float64).normal((count, *shape))


def uniform(steps: int, end: float = 0.0) -> torch.Tensor:
    return torch.linspace(1, end, steps + 1, dtype=torch.float64)


def close(actual, expected, rtol: float = 0.0, atol: float = 1e-12) -> None:
    np.testing.assert_allclose(np.asarray(actual), np.asarray(expected), rtol=rtol, atol=atol)
