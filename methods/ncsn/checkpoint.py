"""The authors' PyTorch checkpoints of NCSN and NCSNv2.

NCSN's file is a list of the weights, by names that begin with ``module.``, and the optimiser.
NCSNv2's has the noise levels ``sigmas`` among the weights, and goes on with epoch, step and, where
one was kept, the average of the weights by names without ``module.``. Where a file holds no average
the authors sample from the weights themselves, so they are what is chosen, and the facts say so.
Weights saved in another way are found as Score-SDE's are (:mod:`methods.shared.weights`).

Source: Song & Ermon, 2019, https://arxiv.org/abs/1907.05600; 2020, https://arxiv.org/abs/2006.09011
(their PyTorch checkpoints).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from methods.ncsn.published import from_published, to_published
from methods.ncsn.refinenet import RefineNetwork
from methods.shared.checkpoint import CheckpointError, agree, read
from methods.shared.weights import (
    Imported,
    average_in,
    check_values,
    is_named,
    noted,
    number,
    plain_names,
    shadow_in,
    updates_in,
    weights_in,
)

SIGMA_TOLERANCE = 1e-4
FORMATS = {2: "ncsn", 4: "ncsnv2", 5: "ncsnv2"}
"""Whose file has so many parts; NCSNv2's average is the fifth, if one was kept."""


def read_checkpoint(path: Path, network: RefineNetwork, weights: str, sigmas: Tensor) -> Imported:
    """Returns the weights at ``path``.

    Args:
        network: Of the checkpoint's size; its weights are left alone.
        weights: Which of a file's weights are chosen, "ema" or "raw"; of a file without average the
            raw ones are.
        sigmas: Noise levels of the parameters, falling, which a file that holds its own has to
            agree with.

    Raises:
        CheckpointError: It cannot be read safely, or is not of this network.
    """
    content = read(path)
    shapes = {
        name: tensor.shape for name, tensor in to_published(network, network.state_dict()).items()
    }
    where, held, average, facts = _parts(path, content)
    model = plain_names(f"{path}: {where}", held, shapes)
    levels = model.pop("sigmas", None)
    agree(f"{path}: {where}", shapes, model)
    notes = check_values(f"{path}: {where}", model)
    if levels is not None:
        _check_levels(path, sigmas, levels)
    constants = {} if levels is None else {"sigmas": levels}
    raw = from_published(network, model)
    if weights == "raw" or average is None:
        return Imported(raw, raw, facts | {"weights": "raw"} | noted(notes), constants)
    shadow, record = shadow_in(average)
    if not is_named(shadow):
        raise CheckpointError(
            f"{path}: the average of the weights is {_kind(shadow)}, not tensors by name"
        )
    average = plain_names(f"{path}: average", shadow, shapes)
    average.pop("sigmas", None)
    agree(f"{path}: average", shapes, average)
    notes = check_values(f"{path}: average", average)
    updates = facts.get("updates") if record["ema_updates"] is None else record["ema_updates"]
    facts |= {"weights": "ema"} | noted(notes, updates)
    return Imported(raw, from_published(network, average), facts, constants)


def _parts(path: Path, content: Any) -> tuple[str, Mapping[str, Any], Any, dict[str, Any]]:
    """Returns where a file holds its weights, the weights, their average or None, and facts."""
    updates: dict[str, Any]
    if isinstance(content, Mapping):
        where, held = weights_in(path, content)
        updates = {} if (count := updates_in(content)) is None else {"updates": count}
        return where, held, average_in(path, content), {"format": "weights alone", **updates}
    if not isinstance(content, list) or len(content) not in FORMATS or not is_named(content[0]):
        raise CheckpointError(
            f"{path}: an authors' checkpoint is a list of the weights and the optimiser (NCSN), "
            "then epoch, step and "
            f"the average of the weights (NCSNv2); this one is {_kind(content)}"
        )
    updates = {"updates": number(content[3])} if len(content) > 2 else {}
    return (
        "model",
        content[0],
        content[4] if len(content) == 5 else None,
        {"format": FORMATS[len(content)], **updates},
    )


def _kind(content: Any) -> str:
    """Returns a description of what was found."""
    if isinstance(content, list | tuple):
        return f"a {type(content).__name__} of " + (
            ", ".join(type(part).__name__ for part in content) or "nothing"
        )
    return f"a {type(content).__name__}"


def _check_levels(path: Path, ours: Tensor, theirs: Any) -> None:
    if not isinstance(theirs, Tensor) or theirs.ndim != 1 or len(theirs) == 0:
        raise CheckpointError(f"{path}: the noise levels (sigmas) are not a list of numbers")
    said = [f"{len(levels)} from {levels[0]:.6g} to {levels[-1]:.6g}" for levels in (theirs, ours)]
    pair = theirs.double(), ours.double().cpu()
    if theirs.shape == ours.shape and torch.allclose(*pair, rtol=SIGMA_TOLERANCE, atol=0):
        return
    if said[0] == said[1]:
        raise CheckpointError(
            f"{path}: was trained with noise levels that differ between the same ends ({said[0]})"
        )
    raise CheckpointError(
        f"{path}: was trained with noise levels {said[0]}; the parameters say {said[1]}"
    )
