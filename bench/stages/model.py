"""Data sets and trained models that a process uses: units of one model follow each other."""

import functools
from collections.abc import Mapping

import safetensors.torch
import torch

from bench.data.images import Images, load_images
from bench.method import Method, load_method
from bench.spec import OfModel, place
from bench.stages.context import Context, DivergedError
from bench.store import DamagedError, UnitId


@functools.lru_cache(maxsize=4)
def cached_images(name: str) -> Images:
    """Returns a data set, read once per process."""
    return load_images(name)


_MODELS: dict[tuple[str, str], Method] = {}


def trained_model(context: Context, spec: OfModel) -> Method:
    """Returns the trained model of a spec; the last two are kept.

    Raises:
        DamagedError: Its weights are not what was written, or no longer there.
    """
    unit, train = UnitId(*place(spec.model)), spec.train
    name = (str(context.store.root), unit.key)
    if name not in _MODELS:
        try:
            state = stored_tensors(context, unit, ".safetensors")
        except FileNotFoundError as error:
            path = context.store.path(unit, ".safetensors")
            raise DamagedError(unit, path, "is no longer there") from error
        data = cached_images(train.dataset)
        method = load_method(train.method, train.params, data, context.device)
        method.load_state(state)
        while len(_MODELS) > 1:
            _MODELS.pop(next(iter(_MODELS)))
        _MODELS[name] = method
    return _MODELS[name]


def stored_tensors(context: Context, unit: UnitId, suffix: str) -> dict[str, torch.Tensor]:
    """Returns the tensors of a file of a finished unit, on the context's device."""
    found = safetensors.torch.load(context.store.read(unit, suffix))
    return {name: tensor.to(context.device) for name, tensor in found.items()}


def finite_state(method: Method) -> dict[str, torch.Tensor]:
    """Returns a method's state on the CPU.

    Raises:
        DivergedError: It holds NaN or infinity.
    """
    state = on_cpu(method.state())
    broken = [name for name, tensor in state.items() if not torch.isfinite(tensor).all()]
    if broken:
        tensors = f"{len(broken)} of {len(state)} weight tensors"
        raise DivergedError(f"diverged: {tensors} hold NaN or infinity ({broken[0]})")
    return state


def on_cpu(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Returns tensors like safetensors wants them: on the CPU, contiguous, without gradients."""
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def parameter_count(method: Method) -> int:
    """Returns how many parameters the networks of a method have."""
    return sum(p.numel() for network in method.networks for p in network.parameters())
