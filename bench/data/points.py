"""Data sets of points: draws of the distributions of :mod:`bench.data.synthetic`.

Standard library alone until points are drawn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.data.card import DataCard
from bench.data.mixture import GaussianMixture

if TYPE_CHECKING:
    import numpy as np

COUNTS = {"train": 10_000, "test": 10_000}
SEEDS = {"train": 1, "test": 2}


def _card(
    name: str, summary: str, high: float, *, known_density: bool = True, dimensions: int = 2
) -> DataCard:
    def load(split: str) -> np.ndarray:
        import numpy as np

        from bench.data import synthetic

        points = getattr(synthetic, name)(COUNTS[split], np.random.RandomState(SEEDS[split]))
        return points.astype(np.float32)[:, :, None, None]

    def mixture() -> GaussianMixture:
        from bench.data import synthetic

        return GaussianMixture(*synthetic.MIXTURES[name]())

    return DataCard(
        version=1,
        summary=summary,
        shape=(dimensions, 1, 1),
        levels=0,
        splits=COUNTS,
        split_rule="drawn by numpy's RandomState, "
        f"seeds {SEEDS['train']} (train) and {SEEDS['test']} (test)",
        load=load,
        kind="real",
        range=(-high, high),
        mixture=mixture if known_density else None,
    )


CARDS = {
    "gaussian": _card(
        "gaussian", "points of one Gaussian of unit width in eight dimensions", 8.0, dimensions=8
    ),
    "gaussian_mixture": _card(
        "gaussian_mixture",
        "points of four Gaussians of unlike weight and width in eight dimensions",
        8.0,
        dimensions=8,
    ),
    "two_modes": _card(
        "two_modes",
        "points of 0.2 N((-5, -5), I) + 0.8 N((5, 5), I) in the plane: does a sampler find the "
        "weights?",
        10.0,
    ),
    "swiss_rolls": _card(
        "swiss_rolls", "points of five small Swiss rolls in the plane", 1.25, known_density=False
    ),
    "diamond": _card("diamond", "points of nine narrow Gaussians in the plane, on a rhombus", 1.0),
}
