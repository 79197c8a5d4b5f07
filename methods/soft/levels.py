r"""Which strengths of blur a model passes through: a shortest path between the distributions of
corrupted images.

Candidates :math:`b_1 < \dots < b_N` of blur are nodes of a graph, and the length of an edge says
how much the distribution of corrupted images changes from one to the other, in 2-Wasserstein
distance between Gaussians,

.. math:: W_{ij}^2 = |\mu_i - \mu_j|^2
          + \operatorname{tr}\left(\Sigma_i + \Sigma_j
          - 2 (\Sigma_i^{1/2} \Sigma_j \Sigma_i^{1/2})^{1/2}\right).

The path from the first to the last of exactly K nodes that minimises the sum of :math:`W^2` has
hops of nearly equal length, so that equal steps in t change the distribution about equally. Between
its nodes blur is linear in t.

Shapes: N candidates, K nodes, d coefficients. All is float64.

Source: Daras et al., 2022, https://arxiv.org/abs/2209.05442 (section on choosing the corruption's
schedule).
Departures: the paper keeps edges below a length that is tuned until the shortest path has 32 nodes;
here the number of nodes is asked for, and met by dynamic programming. (On the paper's graph W has
to be a metric: a sum of W^2 falls with every node that is added, so that the shortest path would
visit them all. With the number of nodes fixed, it is the sum of W^2 that is least where hops are
equal.) The noise is taken to be that of t = 1 at every candidate.
"""

import math
from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from methods.shared.prior import moments

Covariance = Literal["diagonal", "full"]


class Chosen(NamedTuple):
    """Blur strengths, shape (K,), and distances between neighbours, (K - 1,); on the CPU."""

    levels: Tensor
    hops: Tensor


def choose(
    coefficients: Callable[[], Iterable[Tensor]],
    strengths: Tensor,
    factors: Tensor,
    std: float,
    nodes: int,
    covariance: Covariance,
) -> Chosen:
    """Returns the strengths along the shortest path.

    Args:
        coefficients: Goes once through the clean images' coefficients in the blur's basis, in
            chunks of shape (B, d).
        strengths: Candidates, rising, shape (N,).
        factors: By what each multiplies the coefficients, shape (N, d).
        std: Standard deviation of the noise.
        nodes: K.
        covariance: Whether coefficients are taken to be independent ("diagonal") or as they are
            ("full").
    """
    if covariance == "full":
        a = torch.cat(list(coefficients()))
        distances = full_distances(a.mean(0), a.T.cov(correction=0), factors, std)
    else:
        _, mean, variance = moments(coefficients())
        distances = diagonal_distances(mean, variance, factors, std)
    distances = distances.cpu()
    path = shortest_path(distances, nodes)
    return Chosen(strengths[path], distances[path[:-1], path[1:]])


def candidates(least: float, most: float, count: int) -> Tensor:
    """Returns blur strengths to choose from, in pixels, geometric from ``least`` to ``most``, shape
    (count,).

    They stand in equal ratios, since the first pixel of blur changes images as much as the next ten
    do. Where the least is 0 they follow it from a hundredth of a pixel, which no image shows.
    """
    first = least if least > 0 else min(0.01, most / 2)
    levels = torch.linspace(
        math.log(first), math.log(most), count - (least == 0), dtype=torch.float64
    ).exp()
    levels[0], levels[-1] = first, most  # to rounding
    return levels if least > 0 else torch.cat([levels.new_zeros(1), levels])


def wasserstein(mean1: Tensor, covariance1: Tensor, mean2: Tensor, covariance2: Tensor) -> Tensor:
    """Returns the 2-Wasserstein distance (not its square) of Gaussians, shape (...), batched over
    leading dimensions.

    Args:
        mean1, mean2: Shape (..., d).
        covariance1, covariance2: Shape (..., d, d), positive semi-definite.
    """
    values, vectors = torch.linalg.eigh(covariance1)
    root = (vectors * values.clamp(min=0).sqrt().unsqueeze(-2)) @ vectors.mT
    product = root @ covariance2 @ root
    cross = torch.linalg.eigvalsh((product + product.mT) / 2).clamp(min=0).sqrt().sum(-1)
    traces = (covariance1 + covariance2).diagonal(dim1=-2, dim2=-1).sum(-1)
    squares = (mean1 - mean2).square().sum(-1) + traces - 2 * cross
    return squares.clamp(min=0).sqrt()


def diagonal_distances(mean: Tensor, variance: Tensor, factors: Tensor, std: float) -> Tensor:
    """Returns the distances of all pairs of corruptions, where every coefficient is taken to be
    independent.

    Gaussians whose covariances commute are as far apart as their means and standard deviations are.

    Args:
        mean, variance: Of the clean images' coefficients, shape (d,).
        factors: By what each candidate multiplies them, shape (N, d).
        std: Standard deviation of the noise.
    """
    places = torch.cat([factors * mean, (factors.square() * variance + std**2).sqrt()], dim=1)
    # The product form of a distance would lose what close candidates differ by.
    return torch.cdist(places, places, compute_mode="donot_use_mm_for_euclid_dist")


def full_distances(mean: Tensor, covariance: Tensor, factors: Tensor, std: float) -> Tensor:
    """Returns the same with the coefficients' covariance (d, d): N^2 / 2 eigenvalue problems."""
    noise = std**2 * torch.eye(len(mean), dtype=mean.dtype, device=mean.device)
    covariances = factors[:, :, None] * covariance * factors[:, None, :] + noise
    means = factors * mean
    distances = mean.new_zeros(len(factors), len(factors))
    for i in range(len(factors) - 1):
        rest = slice(i + 1, None)
        distances[i, rest] = wasserstein(means[i], covariances[i], means[rest], covariances[rest])
    return distances + distances.T


def shortest_path(lengths: Tensor, nodes: int) -> Tensor:
    """Returns the path from the first to the last node, through ``nodes`` of them in rising order,
    int64, (nodes,).

    It minimises the sum of the squares of the lengths along it.

    Args:
        lengths: Shape (N, N); only those from a node to a later one are looked at.
        nodes: At least 2 and at most N.
    """
    count = len(lengths)
    if not 2 <= nodes <= count:
        raise ValueError(f"a path among {count} nodes has 2 to {count} of them, not {nodes}")
    inf = float("inf")
    costs = lengths.square().masked_fill(~torch.ones_like(lengths, dtype=torch.bool).triu(1), inf)
    best = torch.full_like(costs[0], inf)  # the least cost of reaching each node so far
    best[0] = 0
    came_from = []
    for _ in range(nodes - 1):
        best, previous = (best[:, None] + costs).min(0)
        came_from.append(previous)
    path = [count - 1]
    for previous in reversed(came_from):
        path.append(int(previous[path[-1]]))
    return torch.tensor(path[::-1])
