r"""NCSN++ and DDPM++: one U-Net of residual blocks that knows the noise level.

The network is a pure map ``(x, condition) -> tensor``: scaling its input to [-1, 1] and dividing its output by
the noise level are the caller's. With ``fir=True``, ``progressive_input="residual"`` and Fourier features it is
NCSN++; without any of them, with sinusoids, DDPM++.

Shapes: B images, C channels, H x W pixels. H and W should be divisible by 2^(resolutions - 1); other sizes than
the training size work, since attention stays at the depth where it was trained.

Source: Song et al., 2021, https://arxiv.org/abs/2011.13456, appendix H.
Departures: the attention's query, key and value are one convolution; :func:`published_layout` takes them apart.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from methods.shared.layers import (
    Attention,
    Combine,
    Conv,
    ConvResample,
    Dense,
    Fourier,
    Positional,
    Resample,
    ResBlock,
    group_norm,
)


class Level(nn.Module):
    """One resolution: its residual blocks, and what else it has; an absent part is None.

    Args:
        blocks: Residual blocks.
        attentions: Attention after each block (down) or after the last (up), or none at all.
        resample: To the next resolution: a residual block, or a layer.
        pyramid: What carries the input's (down) or output's (up) pyramid to the next resolution.
        combine: Joins pyramid and features on the way down.
        norm, head: What the output's pyramid gets from this resolution.
    """

    def __init__(
        self,
        blocks: list[nn.Module],
        attentions: list[nn.Module],
        *,
        resample: nn.Module | None = None,
        pyramid: nn.Module | None = None,
        combine: nn.Module | None = None,
        norm: nn.Module | None = None,
        head: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.attentions = nn.ModuleList(attentions)
        self.resample = resample
        self.pyramid = pyramid
        self.combine = combine
        self.norm = norm
        self.head = head


class NCSNpp(nn.Module):
    """Creates the network; weights are 0 until :func:`methods.shared.layers.initialise` draws them.

    Args:
        in_channels: Channels of x.
        out_channels: Channels of the output.
        image_size: Height of the training images; it only places the attention.
        conditional: Whether the network sees the condition at all.

    The other keywords are those of :class:`methods.shared.hyperparameters.Backbone`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        image_size: int,
        width: int,
        multipliers: tuple[int, ...],
        blocks: int,
        attention: tuple[int, ...],
        embedding: Literal["fourier", "positional"] = "positional",
        fourier_scale: float = 16.0,
        fir: bool = False,
        block: Literal["biggan", "ddpm"] = "biggan",
        progressive: Literal["none", "output_skip", "residual"] = "none",
        progressive_input: Literal["none", "input_skip", "residual"] = "none",
        combine: Literal["sum", "cat"] = "sum",
        skip_rescale: bool = True,
        resample_with_conv: bool = True,
        dropout: float = 0.0,
        init_scale: float = 0.0,
        conditional: bool = True,
    ) -> None:
        super().__init__()
        self.progressive = progressive
        self.progressive_input = progressive_input
        self.gain = math.sqrt(0.5) if skip_rescale else 1.0
        features = 4 * width if conditional else None
        rule = {"skip_rescale": skip_rescale, "init_scale": init_scale}

        def residual(inputs: int, outputs: int, resample: Literal["up", "down"] | None = None) -> ResBlock:
            return ResBlock(inputs, outputs, features, resample=resample, fir=fir, dropout=dropout, **rule)

        def resampling(channels: int, direction: Literal["up", "down"]) -> nn.Module:
            if block == "biggan":
                return residual(channels, channels, direction)
            if resample_with_conv:
                return ConvResample(channels, channels, direction, fir=fir)
            return Resample(direction, fir=fir)

        self.embedding = None
        if conditional:
            self.embedding = Fourier(width, fourier_scale) if embedding == "fourier" else Positional(width)
            self.dense1 = Dense(self.embedding.features, features)
            self.dense2 = Dense(features, features)
        self.input = Conv(in_channels, width)

        sizes = [width * multiplier for multiplier in multipliers]
        attended = [image_size // 2**i in attention for i in range(len(sizes))]
        channels, pyramid_channels, skips = width, in_channels, [width]
        down = []
        for i, size in enumerate(sizes):
            steps = [residual(channels if k == 0 else size, size) for k in range(blocks)]
            level = Level(steps, [Attention(size, **rule) for _ in steps if attended[i]])
            channels = size
            skips += [channels] * blocks
            if i < len(sizes) - 1:
                level.resample = resampling(channels, "down")
                if progressive_input == "input_skip":
                    level.pyramid = Resample("down", fir=fir)
                    level.combine = Combine(in_channels, channels, combine)
                    channels *= 2 if combine == "cat" else 1
                elif progressive_input == "residual":
                    level.pyramid = ConvResample(pyramid_channels, channels, "down", fir=fir)
                    pyramid_channels = channels
                skips.append(channels)
            down.append(level)
        self.down = nn.ModuleList(down)

        self.middle1 = residual(channels, channels)
        self.attention = Attention(channels, **rule)
        self.middle2 = residual(channels, channels)

        up = []
        for i, size in reversed(list(enumerate(sizes))):
            steps = []
            for _ in range(blocks + 1):
                steps.append(residual(channels + skips.pop(), size))
                channels = size
            level = Level(steps, [Attention(size, **rule)] if attended[i] else [])
            lowest = i == len(sizes) - 1
            if progressive == "output_skip":
                level.norm = group_norm(channels)
                level.head = Conv(channels, out_channels, scale=init_scale)
                level.pyramid = None if lowest else Resample("up", fir=fir)
            elif progressive == "residual":
                if lowest:
                    level.norm, level.head = group_norm(channels), Conv(channels, channels)
                else:
                    level.pyramid = ConvResample(pyramid_channels, channels, "up", fir=fir)
                pyramid_channels = channels
            if i > 0:
                level.resample = resampling(channels, "up")
            up.append(level)
        self.up = nn.ModuleList(up)

        self.norm = self.output = None
        if progressive != "output_skip":
            self.norm = group_norm(channels)
            self.output = Conv(channels, out_channels, scale=init_scale)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Returns the output, shape (B, C', H, W), contiguous.

        Args:
            x: Images as the network sees them, shape (B, C, H, W).
            condition: What the embedding takes, shape (B,): the logarithm of a noise level for Fourier features, a
                time or label in [0, 1000) for sinusoids.
        """
        embedded = self._embed(condition)
        x = x.contiguous(memory_format=torch.channels_last)
        h, skips = self._encode(x, embedded)
        h = self.middle2(self.attention(self.middle1(h, embedded)), embedded)
        return self._decode(h, skips, embedded).contiguous()

    def _embed(self, condition: Tensor) -> Tensor | None:
        if self.embedding is None:
            return None
        return F.silu(self.dense2(F.silu(self.dense1(self.embedding(condition)))))

    def _encode(self, x: Tensor, embedded: Tensor | None) -> tuple[Tensor, list[Tensor]]:
        pyramid = x
        h = self.input(x)
        skips = [h]
        for level in self.down:
            for k, block in enumerate(level.blocks):
                h = block(h, embedded)
                if level.attentions:
                    h = level.attentions[k](h)
                skips.append(h)
            if level.resample is None:
                continue
            h = _resampled(level.resample, h, embedded)
            if level.pyramid is not None:
                pyramid = level.pyramid(pyramid)
                h = level.combine(pyramid, h) if level.combine is not None else (pyramid + h) * self.gain
                pyramid = h if self.progressive_input == "residual" else pyramid
            skips.append(h)
        return h, skips

    def _decode(self, h: Tensor, skips: list[Tensor], embedded: Tensor | None) -> Tensor:
        pyramid = None
        for level in self.up:
            for block in level.blocks:
                h = block(torch.cat([h, skips.pop()], dim=1), embedded)
            for attention in level.attentions:
                h = attention(h)
            if self.progressive == "output_skip":
                out = level.head(F.silu(level.norm(h)))
                pyramid = out if pyramid is None else level.pyramid(pyramid) + out
            elif self.progressive == "residual":
                if pyramid is None:
                    pyramid = level.head(F.silu(level.norm(h)))
                else:
                    pyramid = h = (level.pyramid(pyramid) + h) * self.gain
            if level.resample is not None:
                h = _resampled(level.resample, h, embedded)
        return pyramid if self.output is None else self.output(F.silu(self.norm(h)))


def _resampled(layer: nn.Module, h: Tensor, embedded: Tensor | None) -> Tensor:
    return layer(h, embedded) if isinstance(layer, ResBlock) else layer(h)


class Entry(NamedTuple):
    """Where one published tensor lies here: the parameter ``own``, or the ``part``-th third of it."""

    published: str
    own: str
    part: int | None = None


def published_layout(network: NCSNpp) -> list[Entry]:
    """Returns where each tensor of a published checkpoint lies in ``network``, in the checkpoint's order.

    Published names are ``all_modules.i.<layer>.<tensor>``, i counting the layers as the forward pass meets them
    (layers without weights too); a 1x1 convolution named NIN holds its weight as ``W`` of shape (in, out).
    """
    paths = {module: name for name, module in network.named_modules()}
    entries = []
    for i, unit in enumerate(_units(network)):
        path = f"{paths[unit]}."
        if isinstance(unit, Fourier):
            entries.append(Entry(f"all_modules.{i}.W", path + "frequencies"))
        elif isinstance(unit, ResBlock):
            skip = "Conv_2" if unit.resample is not None or _biggan(network) else "NIN_0"
            layers = {"norm1": "GroupNorm_0", "conv1": "Conv_0", "dense": "Dense_0", "norm2": "GroupNorm_1"}
            layers |= {"conv2": "Conv_1", "skip": skip}
            for own, published in layers.items():
                if getattr(unit, own) is not None:
                    entries += _pair(f"all_modules.{i}.{published}.", path + own + ".")
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


def to_published(network: NCSNpp, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns tensors by published names; ``tensors`` are weights (or gradients) by the names of ``network``."""
    found = {}
    for entry in published_layout(network):
        tensor = tensors[entry.own]
        if entry.part is not None:
            tensor = tensor.chunk(3)[entry.part]
        found[entry.published] = tensor[:, :, 0, 0].T if _is_matrix(entry) else tensor
    return found


def from_published(network: NCSNpp, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the state of ``network`` that holds the published ``tensors``; other tensors are left alone."""
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    for entry in published_layout(network):
        tensor = tensors[entry.published]
        target = state[entry.own] if entry.part is None else state[entry.own].chunk(3)[entry.part]
        target.copy_(tensor.T[:, :, None, None] if _is_matrix(entry) else tensor)
    return state


def _units(network: NCSNpp) -> Iterator[nn.Module]:
    """Yields the layers that a published checkpoint numbers, in its order."""
    if network.embedding is not None:
        if isinstance(network.embedding, Fourier):
            yield network.embedding
        yield network.dense1
        yield network.dense2
    yield network.input
    for level in network.down:
        for k, block in enumerate(level.blocks):
            yield block
            if level.attentions:
                yield level.attentions[k]
        if level.resample is not None:
            yield level.resample
        if level.combine is not None:
            yield level.combine
        elif level.pyramid is not None:
            yield level.pyramid
    yield from (network.middle1, network.attention, network.middle2)
    for level in network.up:
        yield from level.blocks
        yield from level.attentions
        if network.progressive == "residual" and level.pyramid is not None:
            yield level.pyramid
        if level.head is not None:
            yield from (level.norm, level.head)
        if level.resample is not None:
            yield level.resample
    if network.output is not None:
        yield from (network.norm, network.output)


def _biggan(network: NCSNpp) -> bool:
    return any(isinstance(level.resample, ResBlock) for level in network.down)


def _pair(published: str, own: str, part: int | None = None) -> list[Entry]:
    weight, bias = ("W", "b") if ".NIN_" in published else ("weight", "bias")
    return [Entry(published + weight, own + "weight", part), Entry(published + bias, own + "bias", part)]


def _is_matrix(entry: Entry) -> bool:
    return ".NIN_" in entry.published and entry.published.endswith(".W")
