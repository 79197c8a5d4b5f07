"""Checkpoints of others, read without running anything that they hold.

A pickled file may name functions to be called when it is read. Here only what makes tensors and plain values is
allowed, with the few numpy scalars that optimisers leave in published files; anything else is refused by name.
"""

import pickle
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

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
            raise CheckpointError(f"{path}: not a checkpoint that can be read ({_line(error)})") from error
        raise CheckpointError(
            f"{path}: refused, reading it would call {named[1]}; weights need no code, so do not trust this file "
            "(if you made it yourself, save its tensors and plain numbers alone)"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise CheckpointError(f"{path}: not a checkpoint that can be read ({_line(error)})") from error


def _line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


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
