"""The weights in a checkpoint of others: where they lie in it, by which names, and what they are
worth.

The format of Score-SDE's authors, which others took over, holds ``model`` (the last weights, by
published names that begin with ``module.``), ``ema``, ``step`` and the optimiser. The
``shadow_params`` of ``ema`` are the averaged weights in the order of the network's layers; Fourier
frequencies, which are not trained, are in ``model`` alone.

Whoever trained such a network may have saved it in another way: the weights alone, or under another
of the usual names; wrapped by torch.compile, DistributedDataParallel or FSDP, which all put a word
into every name; in half precision; as a safetensors file. All of these are found here. What could
be read in two ways is refused.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from methods.shared.checkpoint import CheckpointError, agree, read
from methods.shared.mlp import MLP
from methods.shared.published import Published, from_published, to_published, trained_names

WEIGHTS = (
    "model",
    "state_dict",
    "model_state_dict",
    "net",
    "network",
    "score_model",
    "module",
    "params",
    "weights",
)
"""Under which names files hold the last weights."""

AVERAGES = ("ema", "ema_state_dict", "state_dict_ema", "model_ema", "ema_model", "ema_params")
"""Under which names files hold the average of the weights."""

STEPS = ("step", "global_step", "iteration", "steps")
COUNTS = ("num_updates", "n_averaged", "updates")
"""Under which names averages hold how many updates went into them; the second is torch's own."""

WRAPPERS = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
"""What torch.compile, FSDP and activation checkpointing put into a name, wherever they wrap."""


class Imported(NamedTuple):
    """What a checkpoint holds.

    Args:
        raw: State of the network as the optimiser left it.
        chosen: State of the network to sample from: the average or, if that was asked for, the
            raw one.
        facts: What the checkpoint tells of itself, plain values; "note" is what its rows should
            say.
        constants: Tensors of the model that are no weights, by name.
    """

    raw: Mapping[str, Tensor]
    chosen: Mapping[str, Tensor]
    facts: dict[str, Any]
    constants: Mapping[str, Any]


def read_published(
    path: Path,
    network: Published | MLP,
    weights: str,
    origin: str,
    constants: Collection[str] = (),
) -> Imported:
    """Returns the weights at ``path``, a file in the format of Score-SDE's authors or of the
    weights alone.

    Args:
        network: Of the checkpoint's size; its weights are left alone.
        weights: Which of the file's weights are chosen, "ema" or "raw".
        origin: The authors' code that writes such files, for the facts.
        constants: Names of tensors that the model may hold beside its weights.

    Raises:
        CheckpointError: It cannot be read safely, or is not of this network.
    """
    content = read(path)
    shapes = {
        name: tensor.shape for name, tensor in to_published(network, network.state_dict()).items()
    }
    where, held = weights_in(path, content)
    model = plain_names(f"{path}: {where}", held, shapes)
    if "time_embedding.linear_1.weight" in model:
        why = "give its folder, whose config.json says of what network they are"
        raise CheckpointError(f"{path}: holds weights as the diffusers library names them: {why}")
    apart = {name: model.pop(name) for name in constants if name in model}
    agree(f"{path}: {where}", shapes, model)
    notes = check_values(f"{path}: {where}", model)
    raw = from_published(network, model)
    authors = isinstance(content, Mapping) and "model" in content
    facts = {"format": origin if authors else "weights alone", "updates": updates_in(content)}
    if weights == "raw":
        return Imported(raw, raw, facts | noted(notes), apart)
    average, record = _average(path, content, network, constants)
    notes = check_values(f"{path}: ema", average)
    facts |= record | noted(notes, record["ema_updates"])
    return Imported(raw, from_published(network, model | average), facts, apart)


def weights_in(path: Path, content: Any) -> tuple[str, Mapping[str, Any]]:
    """Returns where a file's content holds the last weights, and the weights by their names there.

    Raises:
        CheckpointError: Nowhere, or in more than one place.
    """
    if not isinstance(content, Mapping):
        raise CheckpointError(
            f"{path}: a checkpoint holds weights by name; this one holds {type(content).__name__}"
        )
    found = [name for name in WEIGHTS if is_named(content.get(name))]
    if len(found) > 1:
        raise CheckpointError(
            f"{path}: holds weights under {' and '.join(found)}: save those that are meant alone"
        )
    if found:
        return found[0], content[found[0]]
    if is_named(content):
        return "the file", content
    held = ", ".join(map(str, content)) or "nothing"
    raise CheckpointError(
        f"{path}: holds no weights by name, alone or under {', '.join(WEIGHTS)}; this one holds "
        f"{held}"
    )


def average_in(path: Path, content: Any) -> Any:
    """Returns what a file's content holds as the average of the weights; None if there is none.

    Raises:
        CheckpointError: There is more than one.
    """
    found = [
        name for name in AVERAGES if isinstance(content, Mapping) and content.get(name) is not None
    ]
    if len(found) > 1:
        raise CheckpointError(
            f"{path}: holds averages under {' and '.join(found)}: save the one that is meant alone"
        )
    return content[found[0]] if found else None


def shadow_in(ema: Any) -> tuple[Any, dict[str, Any]]:
    """Returns the weights that an average holds, by name or as a list, and how averaged."""
    if not isinstance(ema, Mapping):
        return ema, {"ema_updates": None, "ema_decay": None}
    counts = [number(ema.get(name)) for name in COUNTS]
    updates = next((count for count in counts if count is not None), None)
    shadow = next((ema[name] for name in ("shadow_params", "shadow") if name in ema), None)
    if shadow is None:
        shadow = {name: tensor for name, tensor in ema.items() if name not in (*COUNTS, "decay")}
    return shadow, {"ema_updates": updates, "ema_decay": number(ema.get("decay"))}


def updates_in(content: Any) -> int | float | None:
    """Returns the updates after which weights were saved; None if the content does not say."""
    for name in STEPS:
        if isinstance(content, Mapping) and (value := number(content.get(name))) is not None:
            return value
    return None


def is_named(content: Any) -> bool:
    """Whether something is tensors by name, like a state_dict; other values may be among them."""
    if not isinstance(content, Mapping) or not all(isinstance(name, str) for name in content):
        return False
    return any(
        isinstance(value, Tensor | np.ndarray) and value.ndim > 0 for value in content.values()
    )


def plain_names(
    where: str, tensors: Mapping[str, Any], expected: Collection[str]
) -> dict[str, Any]:
    """Returns tensors by their names in the network itself, without the words that wrappers put
    into them.

    Args:
        expected: Names of the network. Where none is found, words that all names begin with are
            taken away too.

    Raises:
        CheckpointError: Two names become the same.
    """
    plain = {name: _unwrapped(name) for name in tensors}
    names = _without_owner(plain, expected)
    found: dict[str, Any] = {}
    for name, short in names.items():
        if short in found:
            twins = " and ".join(other for other in names if names[other] == short)
            raise CheckpointError(
                f"{where} holds {short} twice, as {twins}: save one of them alone"
            )
        found[short] = _tensor(tensors[name])
    return found


def _tensor(value: Any) -> Any:
    """Returns numpy arrays as tensors, parameters as their values, and anything else unchanged."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
        return torch.from_numpy(value)
    return value.detach() if isinstance(value, Tensor) else value


def _without_owner(names: Mapping[str, str], expected: Collection[str]) -> Mapping[str, str]:
    """Returns names without their common prefix, as far as it makes them the network's names."""
    short = names
    while not any(name in expected for name in short.values()):
        first = {name.split(".")[0] for name in short.values()}
        if len(first) != 1 or not all("." in name for name in short.values()):
            return names
        short = {name: _unwrapped(rest.partition(".")[2]) for name, rest in short.items()}
    return short


def _unwrapped(name: str) -> str:
    parts = [part for part in name.split(".") if part not in WRAPPERS]
    while len(parts) > 1 and parts[0] == "module":
        parts = parts[1:]
    return ".".join(parts)


def check_values(where: str, tensors: Mapping[str, Tensor]) -> list[str]:
    """Returns what rows should say of the weights' values.

    Raises:
        CheckpointError: They are no floating-point numbers, or hold NaN or infinity.
    """
    wrong = {
        name: tensor
        for name, tensor in tensors.items()
        if not tensor.is_floating_point() or tensor.layout != torch.strided or tensor.is_meta
    }
    if wrong:
        name, tensor = next(iter(wrong.items()))
        what = (
            "a meta tensor without values"
            if tensor.is_meta
            else f"{tensor.dtype}".removeprefix("torch.")
        )
        what += (
            ""
            if tensor.layout == torch.strided
            else f" in layout {tensor.layout}".replace("torch.", "")
        )
        raise CheckpointError(
            f"{where} holds {len(wrong)} tensors that are no floating-point numbers, {name} is "
            f"{what}"
        )
    broken = {
        name: int((~torch.isfinite(tensor.float())).sum()) for name, tensor in tensors.items()
    }
    if broken := {name: count for name, count in broken.items() if count}:
        name = next(iter(broken))
        more = f" and {len(broken) - 1} tensors more" if len(broken) > 1 else ""
        raise CheckpointError(
            f"{where} holds NaN or infinity, {broken[name]:,} of {tensors[name].numel():,} numbers "
            f"of {name}{more}: "
            "the training diverged; take an earlier checkpoint"
        )
    half = {f"{t.dtype}".removeprefix("torch.") for t in tensors.values()} - {"float32", "float64"}
    return [f"stored in {' and '.join(sorted(half))}"] if half else []


def noted(notes: Iterable[str], ema_updates: Any = None) -> dict[str, str]:
    """Returns the note that a model's rows should show beside its weights, if there is any."""
    first = (
        ["an average of 0 updates, which is the weights before training"]
        if ema_updates == 0
        else []
    )
    found = "; ".join([*first, *notes])
    return {"note": found} if found else {}


def _average(
    path: Path, content: Any, network: Published | MLP, constants: Collection[str]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Returns the averaged weights by published names, and how they were averaged."""
    own = {
        name: tensor.shape for name, tensor in to_published(network, network.state_dict()).items()
    }
    names = trained_names(network)
    shadow, record = shadow_in(average_in(path, content))
    if is_named(shadow):
        average = plain_names(f"{path}: ema", shadow, own)
        average = {name: tensor for name, tensor in average.items() if name not in constants}
        agree(
            f"{path}: ema",
            {name: own[name] for name in own if name in names or name in average},
            average,
        )
        return average, record
    if not isinstance(shadow, Sequence) or isinstance(shadow, str):
        raise CheckpointError(
            f"{path}: holds no average of the weights (ema); ask for weights: raw"
        )
    if len(shadow) != len(names):
        raise CheckpointError(
            f"{path}: the average (ema) is a list of {len(shadow)} tensors, this network has "
            f"{len(names)} that are "
            f"trained, from {names[0]} to {names[-1]}"
        )
    average = dict(zip(names, map(_tensor, shadow), strict=True))
    agree(f"{path}: ema", {name: own[name] for name in names}, average)
    return average, record


def number(value: Any) -> int | float | None:
    """Returns a number, of torch or numpy too, as a plain one; None if it is none."""
    if isinstance(value, Tensor | np.ndarray | np.generic):
        value = value.item() if np.prod(value.shape) == 1 else None
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
