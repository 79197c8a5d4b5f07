"""Arrays of the manifest of golden/cld, and the authors' names of what they are about."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from methods.cld.process import CLD
from methods.shared.training import under

CONSTANTS = ("beta0", "beta1", "gamma", "numerical_eps")
"""Of the diffusion, under the names that the authors give them too."""

GRIDS = {"linear": "uniform", "quadratic": "quadratic"}
"""The authors' names of time grids, and ours."""


def process_of(config: Mapping) -> CLD:
    """Returns the diffusion of an authors' configuration."""
    return CLD(mass=1 / config["m_inv"], **{name: config[name] for name in CONSTANTS})


def numbers(path: Path, entry: dict) -> dict[str, Tensor]:
    """Returns the arrays of one case by their names in it."""
    arrays = {name: torch.from_numpy(np.asarray(array)) for name, array in np.load(path).items()}
    return under(f"{entry['case']}/", arrays)


def tolerance_of(entry: dict) -> float:
    """Returns the case's tolerance relative to the largest value, as the manifest argues for it."""
    return max(1e-5, 10 * entry["noise_floor_worst_rel_to_max"])


def close(actual: Tensor, expected: Tensor, tolerance: float, what: str = "") -> None:
    actual, expected = actual.detach().double(), expected.double()
    assert actual.shape == expected.shape, what
    assert (actual - expected).abs().max() <= tolerance * expected.abs().max(), what
