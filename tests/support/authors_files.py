"""Checkpoints in the formats of the papers' authors, of small networks with random weights."""

from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.card import cards
from bench.data.images import Images
from bench.method import Method, Noise, load_method
from bench.schema import merge
from methods.ncsn.published import to_published as ncsn_published
from methods.shared.published import published_layout, to_published

TINY = {"width": 8, "multipliers": [1, 1], "blocks": 1, "attention": [16]}
DDPM_TINY = TINY | {"width": 32}
LARGE_TINY = TINY | {"multipliers": [1] * 7}
"""Of 1024 pixels, whose lowest resolution is where attention is."""


def tiny(entry: dict[str, Any]) -> dict[str, Any]:
    """Returns the parameters that make the network of a train entry small."""
    preset = cards()[entry["method"]].presets.get(entry.get("preset"), {})
    if entry["method"] == "ncsn":
        return {"refinenet": {"width": 4}}
    shape = cards()[entry["method"]].shapes.get(entry.get("preset"))
    if shape is not None and shape[1] == 1024:
        return {"network": LARGE_TINY}
    ddpm = preset.get("network", {}).get("architecture") == "ddpm"
    return {"network": DDPM_TINY if ddpm else TINY}


def tiny_params(entry: dict[str, Any]) -> dict[str, Any]:
    """Returns all parameters of a train entry with a small network."""
    preset = cards()[entry["method"]].presets.get(entry.get("preset"), {})
    return merge(preset, entry.get("params", {}), tiny(entry))


def write_checkpoint(path: Path, entry: dict[str, Any], data: Images) -> None:
    """Writes what the authors' training would have saved of a small network of that entry."""
    path.parent.mkdir(parents=True, exist_ok=True)
    method = load_method(entry["method"], tiny_params(entry), data, "cpu")
    name = _ncsn if entry["method"] == "ncsn" else _score_sde
    torch.save(name(method, entry), path)


def _noisy(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    noise = Noise(1)
    return {name: t + 0.01 * noise.child(name).normal(t.shape) for name, t in state.items()}


def _score_sde(method: Method, entry: dict[str, Any]) -> dict[str, Any]:
    """Returns a file of Score-SDE or of CLD, whose files have no noise levels."""
    network = method.network
    raw = _noisy(to_published(network, network.state_dict()))
    trained = dict(network.named_parameters())
    names = [item.published for item in published_layout(network) if item.own in trained]
    model = {"module.sigmas": _sigmas(entry)} if entry["method"] == "sde" else {}
    return {
        "model": OrderedDict(model | {f"module.{name}": t for name, t in raw.items()}),
        "ema": {"decay": 0.9999, "num_updates": 7, "shadow_params": [raw[name] for name in names]},
        "optimizer": {"state": {}, "param_groups": [{"lr": np.float64(2e-4)}]},
        "step": 7,
    }


def _sigmas(entry: dict[str, Any]) -> torch.Tensor:
    """Returns the noise levels that files of Score-SDE hold, of VP models too: those of VE on
    CIFAR-10.
    """
    params = tiny_params(entry)
    most = params["sigma_max"] if params.get("process") == "ve" else 50.0
    scales = cards()["sde"].published[entry["preset"]].params["steps"]
    return torch.from_numpy(np.geomspace(most, 0.01, scales))


def _ncsn(method: Method, entry: dict[str, Any]) -> list[Any]:
    """Returns NCSN's file, or NCSNv2's with noise levels, epoch, step and average."""
    network = method.network
    raw = _noisy(ncsn_published(network, network.state_dict()))
    model = OrderedDict({f"module.{name}": t for name, t in raw.items()})
    if entry["preset"].startswith("ncsn/"):
        return [model, {"state": {}}]
    model["module.sigmas"] = method.sigmas.float()
    return [model, {"state": {}}, 1, 7, raw]
