"""The authors' PyTorch checkpoints, of the format of :func:`methods.shared.weights.read_published`.

They hold no constant of the process. The parametrisation has ``numerical_eps`` in it, so a
checkpoint has to be sampled from with the parameters that it was trained with: those of its preset.

Source: Dockhorn et al., 2022, https://arxiv.org/abs/2112.07068 (its PyTorch checkpoints).
"""

from pathlib import Path

from methods.shared.backbone import Network
from methods.shared.weights import Imported, read_published


def read_checkpoint(path: Path, network: Network, weights: str) -> Imported:
    """Returns the weights at ``path``, an authors' file.

    Args:
        network: Of the checkpoint's size; its weights are left alone.
        weights: Which of the file's weights are chosen, "ema" or "raw".

    Raises:
        CheckpointError: It cannot be read safely, or is not of this network.
    """
    return read_published(path, network, weights, "CLD-SGM")
