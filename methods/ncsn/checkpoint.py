"""The authors' PyTorch checkpoints of NCSN and NCSNv2.

NCSN's file is a list of the weights, by names that begin with ``module.``, and the optimiser. NCSNv2's has the noise
levels ``sigmas`` among the weights, and goes on with epoch, step and, where one was kept, the average of the weights by
names without ``module.``. Where a file holds no average the authors sample from the weights themselves, so they are
what is chosen, and the facts say so.

Source: Song & Ermon, 2019, https://arxiv.org/abs/1907.05600; 2020, https://arxiv.org/abs/2006.09011 (their PyTorch
checkpoints).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from methods.ncsn.published import from_published, to_published
from methods.ncsn.refinenet import RefineNetwork
from methods.shared.checkpoint import CheckpointError, Imported, agree, read

SIGMA_TOLERANCE = 1e-4
FORMATS = {2: "ncsn", 4: "ncsnv2", 5: "ncsnv2"}
"""Whose file has so many parts; NCSNv2's average is the fifth, where one was kept."""


def read_checkpoint(path: Path, network: RefineNetwork, weights: Literal["ema", "raw"], sigmas: Tensor) -> Imported:
    """Returns the weights at ``path``.

    Args:
        network: Of the checkpoint's size; its weights are left alone.
        weights: Which of a file's weights are chosen; of a file without average the raw ones are.
        sigmas: Noise levels of the parameters, falling, which a file that holds its own has to agree with.

    Raises:
        CheckpointError: It cannot be read safely, or is not of this network.
    """
    content = read(path)
    if not isinstance(content, list) or len(content) not in FORMATS or not _is_named(content[0]):
        raise CheckpointError(
            f"{path}: an authors' checkpoint is a list of the weights and the optimiser (NCSN), then epoch, step and "
            f"the average of the weights (NCSNv2); this one is {_kind(content)}"
        )
    model = {name.removeprefix("module."): tensor for name, tensor in content[0].items()}
    levels = model.pop("sigmas", None)
    shapes = {name: tensor.shape for name, tensor in to_published(network, network.state_dict()).items()}
    agree(f"{path}: model", shapes, model)
    if levels is not None:
        _check_levels(path, sigmas, levels)
    constants = {} if levels is None else {"sigmas": levels}
    raw = from_published(network, model)
    facts: dict[str, Any] = {"format": FORMATS[len(content)]}
    if len(content) > 2:
        facts["updates"] = content[3] if isinstance(content[3], int) else None
    average = content[4] if len(content) == 5 else None
    if weights == "raw" or average is None:
        return Imported(raw, raw, facts | {"weights": "raw"}, constants)
    if not _is_named(average):
        raise CheckpointError(f"{path}: the average of the weights is {_kind(average)}, not tensors by name")
    agree(f"{path}: average", shapes, average)
    return Imported(raw, from_published(network, average), facts | {"weights": "ema"}, constants)


def _is_named(content: Any) -> bool:
    return isinstance(content, Mapping) and all(isinstance(name, str) for name in content)


def _kind(content: Any) -> str:
    """Returns a description of what was found."""
    if isinstance(content, list | tuple):
        return f"a {type(content).__name__} of " + (", ".join(type(part).__name__ for part in content) or "nothing")
    return f"a {type(content).__name__}"


def _check_levels(path: Path, ours: Tensor, theirs: Any) -> None:
    if not isinstance(theirs, Tensor) or theirs.ndim != 1 or len(theirs) == 0:
        raise CheckpointError(f"{path}: the noise levels (sigmas) are not a list of numbers")
    said = [f"{len(levels)} from {levels[0]:.6g} to {levels[-1]:.6g}" for levels in (theirs, ours)]
    pair = theirs.double(), ours.double().cpu()
    if theirs.shape == ours.shape and torch.allclose(*pair, rtol=SIGMA_TOLERANCE, atol=0):
        return
    if said[0] == said[1]:
        raise CheckpointError(f"{path}: was trained with noise levels that differ between the same ends ({said[0]})")
    raise CheckpointError(f"{path}: was trained with noise levels {said[0]}; the parameters say {said[1]}")
