"""The authors' PyTorch checkpoints: raw weights by published names, and the average of them as a list.

A file holds ``model`` (names that begin with ``module.``, and the noise levels ``sigmas``), ``ema`` (its
``shadow_params`` are the trained weights in the order of the network's layers, so the Fourier frequencies, which are
not trained, are in ``model`` alone), ``step`` and the optimiser.

Source: Song et al., 2021, https://arxiv.org/abs/2011.13456 (its PyTorch checkpoints).
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from torch import Tensor, nn

from methods.shared.checkpoint import CheckpointError, agree, read
from methods.shared.diffusers import read_diffusers
from methods.shared.published import from_published, published_layout, to_published

SIGMA_TOLERANCE = 1e-4


class Imported(NamedTuple):
    """What a checkpoint holds.

    Args:
        raw: State of the network as the optimiser left it.
        chosen: State of the network to sample from: the average or, where that was asked for, the raw one.
        facts: What the checkpoint tells of itself, plain values.
    """

    raw: Mapping[str, Tensor]
    chosen: Mapping[str, Tensor]
    facts: dict[str, Any]


def read_checkpoint(
    path: Path, network: nn.Module, weights: Literal["ema", "raw"], sigmas: tuple[float, float] | None
) -> Imported:
    """Returns the weights at ``path``: an authors' file, or a folder as the diffusers library writes it.

    Args:
        network: Of the checkpoint's size; its weights are left alone.
        weights: Which of a file's weights are chosen; a folder holds one set, and its model card says which.
        sigmas: Least and largest noise of VE, which a file has to agree with; None for other processes.

    Raises:
        CheckpointError: It cannot be read safely, or is not of this network.
    """
    if path.is_dir():
        state = read_diffusers(path, network)
        return Imported(state, state, {"format": "diffusers"})
    content = read(path)
    if not isinstance(content, Mapping) or not isinstance(content.get("model"), Mapping):
        held = ", ".join(map(str, content)) if isinstance(content, Mapping) else type(content).__name__
        raise CheckpointError(f"{path}: an authors' checkpoint holds model, ema and step; this one holds {held}")
    model = {name.removeprefix("module."): tensor for name, tensor in content["model"].items()}
    levels = model.pop("sigmas", None)
    shapes = {name: tensor.shape for name, tensor in to_published(network, network.state_dict()).items()}
    agree(f"{path}: model", shapes, model)
    if sigmas is not None and levels is not None:
        _check_levels(path, sigmas, (levels.min().item(), levels.max().item()))
    raw = from_published(network, model)
    facts = {"format": "score_sde_pytorch", "updates": _number(content.get("step"))}
    if weights == "raw":
        return Imported(raw, raw, facts)
    average, told = _average(path, content.get("ema"), network)
    return Imported(raw, from_published(network, model | average), facts | told)


def _average(path: Path, ema: Any, network: nn.Module) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Returns the averaged weights by published names, and how they were averaged."""
    shadow = ema.get("shadow_params") if isinstance(ema, Mapping) else None
    if shadow is None:
        raise CheckpointError(f"{path}: holds no average of the weights (ema); ask for weights: raw")
    trained = dict(network.named_parameters())
    own = to_published(network, network.state_dict())
    names = [entry.published for entry in published_layout(network) if entry.own in trained]
    if len(shadow) != len(names):
        raise CheckpointError(
            f"{path}: the average (ema) is a list of {len(shadow)} tensors, this network has {len(names)} that are "
            f"trained, from {names[0]} to {names[-1]}"
        )
    average = dict(zip(names, shadow, strict=True))
    agree(f"{path}: ema", {name: own[name].shape for name in names}, average)
    return average, {"ema_updates": _number(ema.get("num_updates")), "ema_decay": _number(ema.get("decay"))}


def _check_levels(path: Path, params: tuple[float, float], levels: tuple[float, float]) -> None:
    names = ("sigma_min", "sigma_max")
    for name, ours, theirs in zip(names, params, levels, strict=True):
        if not math.isclose(ours, theirs, rel_tol=SIGMA_TOLERANCE):
            raise CheckpointError(f"{path}: was trained with {name} {theirs:.6g}; the parameters say {ours:.6g}")


def _number(value: Any) -> Any:
    """Returns a number as a plain one, None where it is none."""
    return getattr(value, "item", lambda: value)() if value is not None else None
