"""Checkpoints of others, read without running anything that they hold.

A pickled file may name functions to be called when it is read. Here only what makes tensors and plain values is
allowed, with the few numpy scalars that optimisers leave in published files; anything else is refused by name.

The format of Score-SDE's authors, which others took over (:func:`read_published`), holds ``model`` (raw weights by
published names that begin with ``module.``), ``ema``, ``step`` and the optimiser. The ``shadow_params`` of ``ema`` are
the averaged weights in the order of the network's layers; Fourier frequencies, which are not trained, are in ``model``
alone.
"""

import pickle
import re
import zipfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from methods.shared.published import from_published, published_layout, to_published

SCALAR = np.float64(0).__reduce__()[0]
ALLOWED = (
    (SCALAR, "numpy.core.multiarray.scalar"),
    (SCALAR, "numpy._core.multiarray.scalar"),
    np.dtype,
    *(type(np.dtype(name)) for name in ("float32", "float64", "int32", "int64", "bool")),
)
"""What numpy's scalars are unpickled with, under the names of numpy 1 and 2."""


class CheckpointError(ValueError):
    """A checkpoint cannot be read, or is not of the network that it should fill; the message says what to do."""


def read(path: Path) -> Any:
    """Returns what ``torch.save`` wrote, on the CPU; tensors of a zipped file are only read when they are used.

    Raises:
        CheckpointError: Reading it would run code, or it is damaged.
    """
    try:
        with torch.serialization.safe_globals(list(ALLOWED)):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL (\S+)", str(error)) or re.search(r"(\S+) was not an allowed global", str(error))
        if named is None:
            raise _unreadable(path, error) from error
        raise CheckpointError(
            f"{path}: refused, reading it would call {named[1]}; weights need no code, so do not trust this file "
            "(if you made it yourself, save its tensors and plain numbers alone)"
        ) from error
    except Exception as error:  # bytes that are no pickle make the unpickler raise anything
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> CheckpointError:
    """Returns what to say of a file; torch's own words would advise to let it run code."""
    why = str(error) if isinstance(error, OSError) else f"damaged, or of another format: {type(error).__name__}"
    return CheckpointError(f"{path}: not a checkpoint that can be read ({why})")


def agree(where: str, expected: Mapping[str, Sequence[int]], found: Mapping[str, Any]) -> None:
    """Checks that ``found`` holds a tensor of the expected shape under each name, and nothing else.

    Args:
        where: What to call the place in the message.

    Raises:
        CheckpointError: It does not; every missing, unexpected and mis-shaped name is listed, the first one at once.
    """
    missing = [f"missing: {name} {_size(shape)}" for name, shape in expected.items() if name not in found]
    unexpected, misshaped = [], []
    for name, tensor in found.items():
        size = _size(tensor.shape) if isinstance(tensor, Tensor) else type(tensor).__name__
        if name not in expected:
            unexpected.append(f"unexpected: {name} {size}")
        elif size != _size(expected[name]):
            misshaped.append(f"mis-shaped: {name} is {size}, the network has {_size(expected[name])}")
    if lines := missing + unexpected + misshaped:
        counts = f"{len(missing)} missing, {len(unexpected)} unexpected, {len(misshaped)} mis-shaped"
        raise CheckpointError(f"{where} is not of this network, {counts}; {lines[0]}\n  " + "\n  ".join(lines[1:]))


def _size(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "a number"


class Imported(NamedTuple):
    """What a checkpoint holds.

    Args:
        raw: State of the network as the optimiser left it.
        chosen: State of the network to sample from: the average or, where that was asked for, the raw one.
        facts: What the checkpoint tells of itself, plain values.
        constants: Tensors of the model that are no weights, by name.
    """

    raw: Mapping[str, Tensor]
    chosen: Mapping[str, Tensor]
    facts: dict[str, Any]
    constants: Mapping[str, Tensor]


def read_published(
    path: Path, network: nn.Module, weights: Literal["ema", "raw"], origin: str, constants: Collection[str] = ()
) -> Imported:
    """Returns the weights at ``path``, a file in the format of Score-SDE's authors.

    Args:
        network: Of the checkpoint's size; its weights are left alone.
        weights: Which of the file's weights are chosen.
        origin: The authors' code that writes such files, for the facts.
        constants: Names of tensors that the model may hold beside its weights.

    Raises:
        CheckpointError: It cannot be read safely, or is not of this network.
    """
    content = read(path)
    if not isinstance(content, Mapping) or not isinstance(content.get("model"), Mapping):
        held = ", ".join(map(str, content)) if isinstance(content, Mapping) else type(content).__name__
        raise CheckpointError(f"{path}: an authors' checkpoint holds model, ema and step; this one holds {held}")
    model = {str(name).removeprefix("module."): tensor for name, tensor in content["model"].items()}
    apart = {name: model.pop(name) for name in constants if name in model}
    shapes = {name: tensor.shape for name, tensor in to_published(network, network.state_dict()).items()}
    agree(f"{path}: model", shapes, model)
    raw = from_published(network, model)
    facts = {"format": origin, "updates": _number(content.get("step"))}
    if weights == "raw":
        return Imported(raw, raw, facts, apart)
    average, told = _average(path, content.get("ema"), network)
    return Imported(raw, from_published(network, model | average), facts | told, apart)


def _average(path: Path, ema: Any, network: nn.Module) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Returns the averaged weights by published names, and how they were averaged."""
    shadow = ema.get("shadow_params") if isinstance(ema, Mapping) else None
    if not isinstance(shadow, Sequence):
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


def _number(value: Any) -> Any:
    """Returns a number as a plain one, None where it is none."""
    return getattr(value, "item", lambda: value)() if value is not None else None
