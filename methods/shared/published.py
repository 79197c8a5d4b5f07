"""The names under which the authors' checkpoints hold the weights of NCSN++, DDPM++, DDPM and the
toy perceptrons.

Published names are ``all_modules.i.<layer>.<tensor>``, i counting the layers as the forward pass
meets them (layers without weights too); a 1x1 convolution named NIN holds its weight as ``W`` of
shape (in, out). A perceptron's are ``layers.i.<tensor>`` if it is residual, else
``main.i.<tensor>``, i counting the activations too.

A published network that does not see the noise level holds what it would see it by all the same:
Fourier frequencies, if it was made for them, and each block's ``Dense_0``. Nothing uses them, and
the networks here do not have them.

Source: Song et al., 2021, https://arxiv.org/abs/2011.13456, and Dockhorn et al., 2022,
https://arxiv.org/abs/2112.07068 (their PyTorch checkpoints).
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from methods.shared.layers import Attention, Combine, ConvResample, Fourier, Resample, ResBlock
from methods.shared.mlp import MLP


class Published(Protocol):
    """A network that tells its layers in the order of published checkpoints."""

    unused_frequencies: int

    @property
    def input(self) -> nn.Conv2d:
        """The first convolution."""

    def units(self) -> Iterator[nn.Module]:
        """Yields the layers that a published checkpoint numbers, in its order."""

    def named_modules(self) -> Iterator[tuple[str, nn.Module]]:
        """As torch's modules do."""

    def state_dict(self) -> dict[str, Tensor]:
        """As torch's modules do."""


class Entry(NamedTuple):
    """Where one published tensor lies here: the parameter ``own``, or the ``part``-th third of it.

    A tensor of shape ``unused`` lies nowhere. The authors do not train Fourier frequencies.
    """

    published: str
    own: str
    part: int | None = None
    unused: tuple[int, ...] | None = None
    trained: bool = True


def published_layout(network: Published | MLP) -> list[Entry]:
    """Returns where each tensor of a published checkpoint lies in ``network``, in its order."""
    if isinstance(network, MLP):
        names = [
            f"layers.{i}." if network.residual else f"main.{2 * i}."
            for i in range(len(network.layers))
        ]
        return [entry for i, name in enumerate(names) for entry in _pair(name, f"layers.{i}.")]
    paths = {module: name for name, module in network.named_modules()}
    entries = []
    if network.unused_frequencies:
        entries.append(
            Entry("all_modules.0.W", "", unused=(network.unused_frequencies,), trained=False)
        )
    for i, unit in enumerate(network.units(), start=len(entries)):
        path = f"{paths[unit]}."
        if isinstance(unit, Fourier):
            entries.append(Entry(f"all_modules.{i}.W", path + "frequencies", trained=False))
        elif isinstance(unit, ResBlock):
            skip = "Conv_2" if unit.resample is not None or _biggan(network) else "NIN_0"
            layers = {
                "norm1": "GroupNorm_0",
                "conv1": "Conv_0",
                "dense": "Dense_0",
                "norm2": "GroupNorm_1",
            }
            layers |= {"conv2": "Conv_1", "skip": skip}
            for own, published in layers.items():
                if getattr(unit, own) is not None:
                    entries += _pair(f"all_modules.{i}.{published}.", path + own + ".")
                elif own == "dense":
                    entries += _unused(
                        f"all_modules.{i}.{published}.", unit.conv1.out_channels, network
                    )
        elif isinstance(unit, Attention):
            entries += _pair(f"all_modules.{i}.GroupNorm_0.", path + "norm.")
            for part in range(3):
                entries += _pair(f"all_modules.{i}.NIN_{part}.", path + "qkv.", part)
            entries += _pair(f"all_modules.{i}.NIN_3.", path + "out.")
        elif isinstance(unit, Combine):
            entries += _pair(f"all_modules.{i}.Conv_0.", path + "conv.")
        elif isinstance(unit, ConvResample):
            layer = "Conv_0" if unit.kernel is None else "Conv2d_0"
            entries += _pair(f"all_modules.{i}.{layer}.", path + "conv.")
        elif not isinstance(unit, Resample):
            entries += _pair(f"all_modules.{i}.", path)
    return entries


def trained_names(network: Published | MLP) -> list[str]:
    """Returns the tensors that the authors train and average, in their checkpoints' order."""
    return [entry.published for entry in published_layout(network) if entry.trained]


def to_published(network: Published | MLP, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns tensors by published names; ``tensors`` are weights (or gradients) by the names of
    ``network``.

    What the network does not have is 0.
    """
    found = {}
    for entry in published_layout(network):
        if entry.unused is not None:
            found[entry.published] = torch.zeros(entry.unused)
            continue
        tensor = tensors[entry.own]
        if entry.part is not None:
            tensor = tensor.chunk(3)[entry.part]
        found[entry.published] = tensor[:, :, 0, 0].T if _is_matrix(entry) else tensor
    return found


def from_published(network: Published | MLP, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns ``network``'s state with the published ``tensors``; others are left alone."""
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    for entry in published_layout(network):
        if entry.unused is not None:
            continue
        tensor = tensors[entry.published]
        target = state[entry.own] if entry.part is None else state[entry.own].chunk(3)[entry.part]
        target.copy_(tensor.T[:, :, None, None] if _is_matrix(entry) else tensor)
    return state


def _biggan(network: Published) -> bool:
    return any(isinstance(unit, ResBlock) and unit.resample is not None for unit in network.units())


def _pair(published: str, own: str, part: int | None = None) -> list[Entry]:
    weight, bias = ("W", "b") if ".NIN_" in published else ("weight", "bias")
    return [
        Entry(published + weight, own + "weight", part),
        Entry(published + bias, own + "bias", part),
    ]


def _unused(published: str, channels: int, network: Published) -> list[Entry]:
    """Returns the layer by which a block of so many channels would see the noise level."""
    features = 4 * network.input.out_channels
    return [
        Entry(published + "weight", "", unused=(channels, features)),
        Entry(published + "bias", "", unused=(channels,)),
    ]


def _is_matrix(entry: Entry) -> bool:
    return ".NIN_" in entry.published and entry.published.endswith(".W")
