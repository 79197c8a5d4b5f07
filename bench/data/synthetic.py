r"""Distributions of points of a few numbers, to see what a model or a sampler makes of several
modes.

``two_modes`` has two far Gaussians of unlike weight, between which Langevin dynamics hardly ever
crosses: started anywhere, it gets the weights wrong. ``swiss_rolls`` and ``diamond`` have five and
nine modes with fine structure. ``gaussian`` and ``gaussian_mixture`` are points of eight numbers,
of which everything is known in closed form.

Source: Song & Ermon, 2019, https://arxiv.org/abs/1907.05600 (section 3.2) for ``two_modes``;
Dockhorn et al., 2022, https://arxiv.org/abs/2112.07068 (appendix E) for the others, whose draws are
the authors' for equal generators.
"""

from collections.abc import Callable, Mapping

import numpy as np

Mixture = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Weights (K,), means (K, d) and standard deviations (K,) of isotropic Gaussians."""

CENTRES = np.array([(0.0, 0.0), (0.8, 0.8), (0.8, -0.8), (-0.8, -0.8), (-0.8, 0.8)])
"""Of the Swiss rolls."""


def two_modes(count: int, random: np.random.RandomState) -> np.ndarray:
    """Returns points of 0.2 N((-5, -5), I) + 0.8 N((5, 5), I), shape (count, 2)."""
    weights, means, _ = two_modes_mixture()
    return means[random.choice(2, count, p=weights)] + random.randn(count, 2)


def two_modes_mixture() -> Mixture:
    """Returns the distribution of :func:`two_modes`."""
    return np.array([0.2, 0.8]), np.array([(-5.0, -5.0), (5.0, 5.0)]), np.ones(2)


def swiss_rolls(count: int, random: np.random.RandomState) -> np.ndarray:
    """Returns points of five small Swiss rolls, one in the middle, shape (count, 2)."""
    counts = random.multinomial(count, [1 / 5] * 5)
    points = np.concatenate(
        [0.01 * _swiss_roll(k, random) + centre for k, centre in zip(counts, CENTRES, strict=True)]
    )
    random.shuffle(points)
    return points


def _swiss_roll(count: int, random: np.random.RandomState) -> np.ndarray:
    """Returns points (a cos a, a sin a) of a spiral, a from 1.5 pi to 4.5 pi, with noise of 0.2,
    shape (count, 2).

    The roll's length in the third dimension is drawn with them, as is its noise, and left out.
    """
    angle = 1.5 * np.pi * (1 + 2 * random.uniform(size=count))
    random.uniform(size=count)
    noise = 0.2 * random.standard_normal(size=(3, count))
    return np.stack([angle * np.cos(angle) + noise[0], angle * np.sin(angle) + noise[2]], axis=1)


def diamond(count: int, random: np.random.RandomState) -> np.ndarray:
    """Returns points of nine equal Gaussians on a rhombic lattice, shape (count, 2)."""
    _, means, stds = diamond_mixture()
    chosen = random.randint(0, len(means), count)
    return means[chosen] + stds[0] * random.randn(count, 2)


def diamond_mixture() -> Mixture:
    """Returns the distribution of :func:`diamond`."""
    grid, half = np.linspace(-0.5, 0.5, 3), np.sqrt(0.5)
    corners = np.array([(x, y) for x in grid for y in grid])
    return np.full(9, 1 / 9), corners @ np.array([[half, -half], [half, half]]), np.full(9, 0.04)


def gaussian(count: int, random: np.random.RandomState) -> np.ndarray:
    """Returns points of N(mu, I) in eight dimensions, shape (count, 8)."""
    return _draw(gaussian_distribution(), count, random)


def gaussian_distribution() -> Mixture:
    """Returns the distribution of :func:`gaussian`: its mean goes from -1.75 to 1.75."""
    return np.ones(1), np.linspace(-1.75, 1.75, 8)[None], np.ones(1)


def gaussian_mixture(count: int, random: np.random.RandomState) -> np.ndarray:
    """Returns points of four unlike Gaussians in eight dimensions, shape (count, 8)."""
    return _draw(gaussian_mixture_distribution(), count, random)


def gaussian_mixture_distribution() -> Mixture:
    """Returns that of :func:`gaussian_mixture`: corners of a cube, all 6 apart."""
    signs = np.array(
        [[1 - 2 * ((k & i).bit_count() % 2) for i in range(8)] for k in (1, 2, 4, 7)]
    )  # rows of Hadamard
    return np.array([0.4, 0.3, 0.2, 0.1]), 1.5 * signs, np.array([1.0, 0.75, 0.5, 0.5])


def _draw(mixture: Mixture, count: int, random: np.random.RandomState) -> np.ndarray:
    weights, means, stds = mixture
    chosen = random.choice(len(weights), count, p=weights)
    return means[chosen] + stds[chosen, None] * random.randn(count, means.shape[1])


MIXTURES: Mapping[str, Callable[[], Mixture]] = {
    "two_modes": two_modes_mixture,
    "diamond": diamond_mixture,
    "gaussian": gaussian_distribution,
    "gaussian_mixture": gaussian_mixture_distribution,
}
"""The distributions that are known in closed form, by the function that draws from them."""
