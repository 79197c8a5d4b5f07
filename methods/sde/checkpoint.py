"""The authors' PyTorch checkpoints (:func:`methods.shared.weights.read_published`), and those of
diffusers.

The authors' ``model`` holds the noise levels ``sigmas`` beside the weights.

Source: Song et al., 2021, https://arxiv.org/abs/2011.13456 (its PyTorch checkpoints).
"""

import math
from pathlib import Path

from torch import Tensor

from methods.shared.backbone import Network
from methods.shared.checkpoint import CheckpointError
from methods.shared.diffusers import read_diffusers
from methods.shared.weights import Imported, read_published

SIGMA_TOLERANCE = 1e-4


def read_checkpoint(
    path: Path,
    network: Network,
    weights: str,
    sigmas: tuple[float, float] | None,
) -> Imported:
    """Returns the weights at ``path``: an authors' file, or a folder as the diffusers library
    writes it.

    Args:
        network: Of the checkpoint's size; its weights are left alone.
        weights: Which of a file's weights are chosen, "ema" or "raw"; a folder holds one set, and
            its model card says which.
        sigmas: Least and largest noise of VE, which a file has to agree with; None for other
            processes.

    Raises:
        CheckpointError: It cannot be read safely, or is not of this network.
    """
    if path.is_dir():
        state, facts = read_diffusers(path, network)
        return Imported(state, state, {"format": "diffusers", **facts}, {})
    found = read_published(path, network, weights, "score_sde_pytorch", constants=("sigmas",))
    levels = found.constants.get("sigmas")
    if sigmas is not None and levels is not None:
        if not isinstance(levels, Tensor) or levels.numel() == 0:
            raise CheckpointError(f"{path}: the noise levels (sigmas) are not a list of numbers")
        _check_levels(path, sigmas, (levels.min().item(), levels.max().item()))
    return found


def _check_levels(path: Path, params: tuple[float, float], levels: tuple[float, float]) -> None:
    names = ("sigma_min", "sigma_max")
    for name, ours, theirs in zip(names, params, levels, strict=True):
        if not math.isclose(ours, theirs, rel_tol=SIGMA_TOLERANCE):
            raise CheckpointError(
                f"{path}: was trained with {name} {theirs:.6g}; the parameters say {ours:.6g}"
            )
