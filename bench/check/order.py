"""The order at which a sampler converges, measured on a Gaussian without any randomness.

With the exact score of a Gaussian a sampler's images are an affine function of its draws, x = c + J
z with normal z, so that their mean c and covariance J J^T follow from one call in which each image
of the batch has one draw that is 1 and all others 0.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from bench.card import SamplerCard
from bench.check.finding import Finding
from bench.data.images import load_images
from bench.method import Method, Noise, Run, Sampler, load_method
from bench.schema import build

STEPS = (16, 32, 64, 128, 256)
NEAR = 0.05
"""How far from the data, in their standard deviations, the mean and the standard deviation of the
images may lie with the most steps.
"""


class NotAffineError(Exception):
    """A sampler's images are no affine function of its draws; the message says why."""


class Count(Noise):
    """Draws normal numbers, and notes how many for each image."""

    def __init__(self, *stream: Any, sizes: list[int] | None = None, **where: Any) -> None:
        super().__init__(*stream, **where)
        self.sizes: list[int] = [] if sizes is None else sizes

    def child(self, name: str | int) -> "Count":
        return type(self)(self.seed, (*self.path, name), dtype=self.dtype, sizes=self.sizes)

    def normal(self, shape: Sequence[int]) -> Tensor:
        self.sizes.append(math.prod(shape[1:]))
        return self.drawn(tuple(shape))

    def drawn(self, shape: tuple[int, ...]) -> Tensor:
        """Returns the numbers."""
        return super().normal(shape)

    def uniform(self, shape: Sequence[int]) -> Tensor:
        raise NotAffineError("it draws numbers that are not normal")

    def integers(self, shape: Sequence[int], high: int) -> Tensor:
        return self.uniform(shape)

    def rademacher(self, shape: Sequence[int]) -> Tensor:
        return self.uniform(shape)


class Units(Count):
    """Gives image j + 1 the j-th number of all as 1 and the others as 0; image 0 has zeros only.

    The last image has all numbers 1, so that it shows whether the images are affine.
    """

    def drawn(self, shape: tuple[int, ...]) -> Tensor:
        size = self.sizes[-1]
        first = 1 + sum(self.sizes) - size
        draws = torch.zeros(shape[0], size, dtype=self.dtype)
        draws[first : first + size] = torch.eye(size, dtype=self.dtype)
        draws[-1] = 1
        return draws.view(shape)


def convergence(method: str, name: str, card: SamplerCard) -> Iterator[Finding]:
    """Yields the measured order of a sampler, and how near its images come to the data."""
    try:
        mean, std, path = _path(method, name, card)
    except (NotAffineError, NotImplementedError, ValueError) as error:
        yield Finding("order", None, f"not measured: {str(error).splitlines()[0]}")
        return
    errors = [_distance(one, two, std) for one, two in pairwise(path)]
    orders = [math.log2(a / b) if min(a, b) > 1e-12 else math.inf for a, b in pairwise(errors)]
    listed = ", ".join(f"{order:.2f}" for order in orders)
    found = f"{orders[-1]:.2f} (from {STEPS[0]} to {STEPS[-1]} steps: {listed})"
    yield Finding("order", orders[-1] > 0.5, found)
    last_mean, last_covariance = path[-1]
    off = ((last_mean - mean).abs() / std).max().item()
    spread = (last_covariance.diagonal().sqrt() / std - 1).abs().max().item()
    found = f"mean off by {off:.4f} and standard deviation by {spread:.4f} of the data's"
    yield Finding(f"a Gaussian in {STEPS[-1]} steps", max(off, spread) < NEAR, found)


def _path(
    method: str, name: str, card: SamplerCard
) -> tuple[Tensor, Tensor, list[tuple[Tensor, Tensor]]]:
    """Returns mean and standard deviation of the data, and mean and covariance of the images for
    each number of steps.
    """
    if not card.effort.exact or not hasattr(card.params(), "steps"):
        raise NotAffineError("its steps are not a parameter")
    data = load_images("gaussian")
    model = load_method(method, {"exact": True}, data)
    if reasons := model.card.refuse(model.params, data.shape):
        raise NotAffineError(reasons[0])
    model.train(data, Run(seed=0))
    mixture = data.mixture
    if mixture is None:
        raise NotAffineError("the data set is no Gaussian")
    mean = torch.as_tensor(mixture.means[0], dtype=torch.float64).flatten()
    std = torch.full_like(mean, float(mixture.stds[0]))
    times = next(iter(card.times), "")
    path = []
    for steps in STEPS:
        params = replace(build(card.params, {}), steps=steps)
        if reasons := card.refuse(model.params, params, times):
            raise NotAffineError(reasons[0])
        path.append(_moments(model, Sampler(name, times, params)))
    return mean, std, path


def _moments(model: Method, sampler: Sampler) -> tuple[Tensor, Tensor]:
    """Returns the exact mean (D,) and covariance (D, D) of a sampler's images."""
    count = Count(0, dtype=torch.float64)
    model.sample(1, sampler, count)
    total = sum(count.sizes)
    images = model.sample(total + 2, sampler, Units(0, dtype=torch.float64)).double().flatten(1)
    mean, gains = images[0], images[1:-1] - images[0]
    if not torch.allclose(images[-1], mean + gains.sum(0), rtol=1e-3, atol=1e-3):
        raise NotAffineError("its images are no affine function of its draws")
    return mean, gains.T @ gains


def _distance(one: tuple[Tensor, Tensor], two: tuple[Tensor, Tensor], std: Tensor) -> float:
    """Returns how far two means and covariances lie apart, in the data's standard deviations."""
    means = ((one[0] - two[0]) / std).square().sum()
    covariances = ((one[1] - two[1]) / std.outer(std)).square().sum()
    return (means + covariances).sqrt().item()
