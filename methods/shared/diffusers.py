"""Checkpoints as the diffusers library writes them: a folder with config.json and the weights of a
``UNet2DModel``.

Two kinds of it are networks of this project: DDPM, which attends after every block of the way up
(``up_attention: every``), and NCSN++ with pyramids of input and output (``input_skip``,
``output_skip``).

``center_input_sample`` is not asked about: networks here are always fed images in [-1, 1], as those
of the papers were.

Source: the google/ddpm-* and google/ncsnpp-* models; https://arxiv.org/abs/2006.11239,
https://arxiv.org/abs/2011.13456.
"""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from methods.shared.checkpoint import CheckpointError, agree, read
from methods.shared.ddpm import DDPM, GROUPS
from methods.shared.layers import ACTIVATIONS, ConvResample, Fourier, ResBlock
from methods.shared.mlp import MLP
from methods.shared.ncsnpp import Level, NCSNpp
from methods.shared.weights import check_values, is_named, noted

FILES = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")
OLD_NAMES = {
    ".query.": ".to_q.",
    ".key.": ".to_k.",
    ".value.": ".to_v.",
    ".proj_attn.": ".to_out.0.",
}
"""How earlier versions of the library called the parts of an attention."""


DEFAULTS: Mapping[str, Any] = MappingProxyType(
    {
        "time_embedding_type": "positional",
        "freq_shift": 0,
        "flip_sin_to_cos": True,
        "mid_block_scale_factor": 1.0,
        "downsample_padding": 1,
        "downsample_type": "conv",
        "upsample_type": "conv",
        "act_fn": "silu",
        "norm_num_groups": 32,
        "norm_eps": 1e-5,
        "resnet_time_scale_shift": "default",
        "mid_block_type": "UNetMidBlock2D",
        "add_attention": True,
        "attention_head_dim": 8,
    }
)
"""What the library takes for a value that config.json does not name."""

SAME: Mapping[str, Any] = MappingProxyType(
    {
        "attention_head_dim": None,  # one head
        "act_fn": "silu",
        "norm_eps": 1e-6,
        "attn_norm_num_groups": None,
        "resnet_time_scale_shift": "default",
        "mid_block_type": "UNetMidBlock2D",
        "add_attention": True,
        "class_embed_type": None,
        "num_class_embeds": None,
    }
)
"""Values that every network here has."""


class Entry(NamedTuple):
    """Where one of the library's tensors lies here: parameter ``own``, or a third of it."""

    theirs: str
    own: str
    part: int | None = None


def read_diffusers(
    folder: Path, network: NCSNpp | DDPM | MLP
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Returns the state of ``network`` with the weights in ``folder``, and what a model's rows
    should say of them.

    Raises:
        CheckpointError: It cannot be read safely, or is not of this network.
    """
    if isinstance(network, MLP):
        raise CheckpointError(f"{folder}: a perceptron has no counterpart in the library")
    config = _read_config(folder)
    if problems := [*_unlike(config, network)]:
        raise CheckpointError(f"{folder}: is not of this network; " + "\n  ".join(problems))
    tensors = {_new_name(name): tensor for name, tensor in _read_tensors(folder).items()}
    if "time_proj.W" in tensors:  # how earlier versions called the weight
        frequencies = tensors.pop("time_proj.W")
        tensors.setdefault("time_proj.weight", frequencies)
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    entries = [*_layout(network)]
    targets = {
        e.theirs: state[e.own] if e.part is None else state[e.own].chunk(3)[e.part] for e in entries
    }
    shapes = {name: t.shape[:2] if _is_matrix(name) else t.shape for name, t in targets.items()}
    agree(str(folder), shapes, tensors)
    facts = noted(check_values(str(folder), tensors))
    for name, target in targets.items():
        target.copy_(tensors[name].view(target.shape))
    flipped = config.get("flip_sin_to_cos", DEFAULTS["flip_sin_to_cos"])
    if flipped and not isinstance(network.embedding, Fourier):
        cosines, sines = state["dense1.weight"].chunk(2, dim=1)
        state["dense1.weight"] = torch.cat([sines, cosines], dim=1)
    return state, facts


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if not path.is_file():
        raise CheckpointError(
            f"{folder}: holds no config.json; give the folder of the network itself (often unet/)"
        )
    try:
        config = json.loads(path.read_text())
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from error
    if not isinstance(config, dict) or config.get("_class_name") != "UNet2DModel":
        raise CheckpointError(f"{path}: should describe a UNet2DModel")
    return config


def _read_tensors(folder: Path) -> Mapping[str, Tensor]:
    path = next((folder / name for name in FILES if (folder / name).is_file()), None)
    if path is None:
        held = sorted(file.name for file in folder.iterdir())
        if shards := [name for name in held if name.endswith(".index.json")]:
            raise CheckpointError(
                f"{folder}: is in shards ({shards[0]}): save the network as one file "
                "(max_shard_size)"
            )
        raise CheckpointError(
            f"{folder}: holds neither {' nor '.join(FILES)}, but {', '.join(held)}"
        )
    tensors = read(path)
    if not is_named(tensors):
        raise CheckpointError(f"{path}: holds no tensors by name")
    return tensors


def _new_name(name: str) -> str:
    for old, new in OLD_NAMES.items():
        name = name.replace(old, new)
    return name


def _is_matrix(name: str) -> bool:
    """Whether the library holds as a matrix what is a 1x1 convolution here."""
    return name.endswith(".weight") and any(
        f".{part}." in name for part in ("to_q", "to_k", "to_v", "to_out.0")
    )


def _unlike(config: Mapping[str, Any], network: NCSNpp | DDPM) -> Iterator[str]:
    """Yields how the checkpoint's network differs if the shapes of its tensors do not tell."""
    ddpm = isinstance(network, DDPM)
    if not network.conditional:
        yield "conditional: a UNet2DModel always sees the noise level"
    if network.activation is not ACTIVATIONS["silu"]:
        yield (
            "activation: a UNet2DModel takes SiLU of the noise level's embedding "
            "(network.activation: silu)"
        )
    if isinstance(network, NCSNpp) and not _has_pyramids(network):
        yield (
            "this NCSN++ has no counterpart in the library: it should have fir, block biggan, "
            "progressive output_skip, "
            "progressive_input input_skip, combine sum and skip_rescale, and normalisations of 32 "
            "groups on the way up"
        )
    if any(0 < len(level.attentions) < len(level.blocks) for level in network.up) and ddpm:
        yield (
            "up_attention: the library attends after every block of the way up "
            "(network.up_attention: every)"
        )
    skip = "" if ddpm else "Skip"
    fourier = isinstance(network.embedding, Fourier)
    expected = {
        "down_block_types": [
            f"{'Attn' if level.attentions else ''}{skip}DownBlock2D" for level in network.down
        ],
        "up_block_types": [
            f"{'Attn' if level.attentions else ''}{skip}UpBlock2D" for level in network.up
        ],
        "time_embedding_type": "fourier" if fourier else "positional",
        "mid_block_scale_factor": 1.0 if ddpm else math.sqrt(2),
        "norm_num_groups": GROUPS if ddpm else None,
        **(
            {"downsample_padding": 0, "downsample_type": "conv", "upsample_type": "conv"}
            if ddpm
            else {}
        ),
        **({} if fourier else {"freq_shift": 1}),
        **SAME,
    }
    for name, ours in expected.items():
        theirs = config.get(name, DEFAULTS.get(name))
        theirs = "silu" if theirs == "swish" else theirs
        close = (
            isinstance(ours, float)
            and isinstance(theirs, int | float)
            and math.isclose(ours, theirs)
        )
        if theirs != ours and not close:
            yield f"{name}: the checkpoint has {theirs}, here it is {ours}"


def _has_pyramids(network: NCSNpp) -> bool:
    """Whether the library has this NCSN++, whose way up normalises in 32 groups at any width."""
    levels = list(network.down)[:-1]
    norms = [
        layer.norm1 if isinstance(layer, ResBlock) else layer.norm
        for level in network.up
        for layer in level.layers()
    ]
    return (
        (network.progressive, network.progressive_input) == ("output_skip", "input_skip")
        and network.gain != 1
        and all(level.combine is not None and level.combine.combine == "sum" for level in levels)
        and all(isinstance(level.resample, ResBlock) for level in levels)
        and all(level.pyramid is not None and level.pyramid.kernel is not None for level in levels)
        and all(norm.num_groups == GROUPS for norm in norms)
    )


def _layout(network: NCSNpp | DDPM) -> Iterator[Entry]:
    """Yields where each of the library's tensors lies in ``network``."""
    if isinstance(network.embedding, Fourier):
        yield Entry("time_proj.weight", "embedding.frequencies")
    top = len(network.up) - 1
    norm, output = (
        ("norm", "output") if network.output is not None else (f"up.{top}.norm", f"up.{top}.head")
    )
    for theirs, own in {
        "time_embedding.linear_1": "dense1",
        "time_embedding.linear_2": "dense2",
        "conv_in": "input",
        "conv_norm_out": norm,
        "conv_out": output,
    }.items():
        yield from _pair(theirs, own)
    for side, levels in (("down", network.down), ("up", network.up)):
        for i, level in enumerate(levels):
            yield from _level(
                f"{side}_blocks.{i}", f"{side}.{i}", level, side, last=level is network.up[-1]
            )
    yield from _block("mid_block.resnets.0", "middle1", network.middle1)
    yield from _attention("mid_block.attentions.0", "attention")
    yield from _block("mid_block.resnets.1", "middle2", network.middle2)


def _level(theirs: str, own: str, level: Level, side: str, *, last: bool) -> Iterator[Entry]:
    for k, block in enumerate(level.blocks):
        yield from _block(f"{theirs}.resnets.{k}", f"{own}.blocks.{k}", block)
    for k in range(len(level.attentions)):
        yield from _attention(f"{theirs}.attentions.{k}", f"{own}.attentions.{k}")
    if isinstance(level.resample, ResBlock):
        yield from _block(f"{theirs}.resnet_{side}", f"{own}.resample", level.resample)
    elif isinstance(level.resample, ConvResample):
        yield from _pair(f"{theirs}.{side}samplers.0.conv", f"{own}.resample.conv")
    if level.combine is not None:
        yield from _pair(f"{theirs}.skip_conv", f"{own}.combine.conv")
    if level.head is not None and not last:
        yield from _pair(f"{theirs}.skip_norm", f"{own}.norm")
        yield from _pair(f"{theirs}.skip_conv", f"{own}.head")


def _block(theirs: str, own: str, block: ResBlock) -> Iterator[Entry]:
    layers = {
        "norm1": "norm1",
        "conv1": "conv1",
        "time_emb_proj": "dense",
        "norm2": "norm2",
        "conv2": "conv2",
    }
    if block.skip is not None:
        layers["conv_shortcut"] = "skip"
    for name, layer in layers.items():
        yield from _pair(f"{theirs}.{name}", f"{own}.{layer}")


def _attention(theirs: str, own: str) -> Iterator[Entry]:
    yield from _pair(f"{theirs}.group_norm", f"{own}.norm")
    for part, name in enumerate(("to_q", "to_k", "to_v")):
        yield from _pair(f"{theirs}.{name}", f"{own}.qkv", part)
    yield from _pair(f"{theirs}.to_out.0", f"{own}.out")


def _pair(theirs: str, own: str, part: int | None = None) -> Iterator[Entry]:
    for tensor in ("weight", "bias"):
        yield Entry(f"{theirs}.{tensor}", f"{own}.{tensor}", part)
