r"""NCSN++ and DDPM++: one U-Net of residual blocks that knows the noise level.

The network is a pure map ``(x, condition) -> tensor``: scaling its input to [-1, 1] and dividing
its output by the noise level are the caller's. With ``fir=True``, ``progressive_input="residual"``
and Fourier features it is NCSN++; without any of them, with sinusoids, DDPM++.

Shapes: B images, C channels, H x W pixels. H and W should be divisible by 2^(resolutions - 1);
other sizes than the training size work, since attention stays at the depth where it was trained.

Source: Song et al., 2021, https://arxiv.org/abs/2011.13456, appendix H.
Departures: the attention's query, key and value are one convolution;
:mod:`methods.shared.published` takes them apart.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from methods.shared.architecture import Activation
from methods.shared.layers import (
    ACTIVATIONS,
    Attention,
    Combine,
    Conv,
    ConvResample,
    Dense,
    Fourier,
    Modules,
    Positional,
    Resample,
    ResBlock,
    group_norm,
    run,
)

Resampling = Resample | ConvResample


class Level(nn.Module):
    """One resolution: its residual blocks, and what else it has; an absent part is None.

    Args:
        blocks: Residual blocks.
        attentions: Attention after each block, or after the last alone, or none at all.
        resample: To the next resolution: a residual block, or a layer.
        pyramid: What carries the input's (down) or output's (up) pyramid to the next resolution.
        combine: Joins pyramid and features on the way down.
        norm, head: What the output's pyramid gets from this resolution.
    """

    def __init__(
        self,
        blocks: Sequence[ResBlock],
        attentions: Sequence[Attention],
        *,
        resample: ResBlock | Resampling | None = None,
        pyramid: Resampling | None = None,
        combine: Combine | None = None,
        norm: nn.GroupNorm | None = None,
        head: Conv | None = None,
    ) -> None:
        super().__init__()
        self.blocks: Modules[ResBlock] = Modules(blocks)
        self.attentions: Modules[Attention] = Modules(attentions)
        self.resample = resample
        self.pyramid = pyramid
        self.combine = combine
        self.norm = norm
        self.head = head

    def steps(self) -> Iterator[tuple[ResBlock, Attention | None]]:
        """Returns an iterator of each block with the attention after it, if there is one."""
        without = len(self.blocks) - len(self.attentions)
        # No generator: torch.compile cannot trace one that delegates.
        return zip(self.blocks, [None] * without + list(self.attentions), strict=True)

    def layers(self) -> Iterator[ResBlock | Attention]:
        """Yields blocks and attentions in the order of the forward pass."""
        for block, attention in self.steps():
            yield block
            if attention is not None:
                yield attention


class NCSNpp(nn.Module):
    """Creates the network; weights are 0 until :func:`methods.shared.layers.initialise` draws them.

    Args:
        in_channels: Channels of x.
        out_channels: Channels of the output.
        image_size: Height of the training images; it only places the attention.
        conditional: Whether the network sees the condition at all.
        classes: How many classes of images the network can be told; with 0 it is told none.
        recompute: Keep no activations of inside a block or an attention for the backward pass, but
            compute them again there (Chen et al., 2016, https://arxiv.org/abs/1604.06174): less
            memory, more time, equal gradients.

    The other keywords are those of :class:`methods.shared.architecture.Backbone`.
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
        activation: Activation = "silu",
        recompute: bool = False,
        classes: int = 0,
    ) -> None:
        super().__init__()
        self.recompute = recompute
        self.classes = classes
        self.activation = ACTIVATIONS[activation]
        self.progressive = progressive
        self.progressive_input = progressive_input
        self.gain = math.sqrt(0.5) if skip_rescale else 1.0
        features = 4 * width
        rule: dict[str, Any] = {"skip_rescale": skip_rescale, "init_scale": init_scale}
        inner = rule | {"fir": fir, "dropout": dropout, "activation": self.activation}

        def residual(
            inputs: int, outputs: int, resample: Literal["up", "down"] | None = None
        ) -> ResBlock:
            seen = features if conditional else None
            return ResBlock(inputs, outputs, seen, resample=resample, **inner)

        def resampling(channels: int, direction: Literal["up", "down"]) -> ResBlock | Resampling:
            if block == "biggan":
                return residual(channels, channels, direction)
            if resample_with_conv:
                return ConvResample(channels, channels, direction, fir=fir)
            return Resample(direction, fir=fir)

        self.conditional = conditional
        self.embedding: Fourier | Positional | None = None
        self.unused_frequencies = width if embedding == "fourier" and not conditional else 0
        if conditional:
            self.embedding = (
                Fourier(width, fourier_scale) if embedding == "fourier" else Positional(width)
            )
            self.dense1 = Dense(self.embedding.features, features)
            self.dense2 = Dense(features, features)
        if classes:  # and one for none of them
            self.label = Dense(classes + 1, features)
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
        self.down: Modules[Level] = Modules(down)

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
        self.up: Modules[Level] = Modules(up)

        self.norm: nn.GroupNorm | None = None
        self.output: Conv | None = None
        if progressive != "output_skip":
            self.norm = group_norm(channels)
            self.output = Conv(channels, out_channels, scale=init_scale)

    def forward(self, x: Tensor, condition: Tensor, labels: Tensor | None = None) -> Tensor:
        """Returns the output, shape (B, C', H, W), contiguous.

        Args:
            x: Images as the network sees them, shape (B, C, H, W).
            condition: What the embedding takes, shape (B,): the logarithm of a noise level for
                Fourier features, a time or label in [0, 1000) for sinusoids.
            labels: The class of each image, int64, shape (B,), ``classes`` for none; None for none
                of all. Only of a network with classes.
        """
        embedded = self._embed(condition, labels)
        x = x.contiguous(memory_format=torch.channels_last)
        h, skips = self._encode(x, embedded)
        h = self._run(self.attention, self._run(self.middle1, h, embedded))
        h = self._run(self.middle2, h, embedded)
        return self._decode(h, skips, embedded).contiguous()

    def units(self) -> Iterator[nn.Module]:
        """Yields the layers in a published checkpoint's order (:mod:`methods.shared.published`)."""
        if isinstance(self.embedding, Fourier):
            yield self.embedding
        if self.conditional:
            yield from (self.dense1, self.dense2)
        yield self.input
        for level in self.down:
            yield from level.layers()
            if level.resample is not None:
                yield level.resample
            if level.combine is not None:
                yield level.combine
            elif level.pyramid is not None:
                yield level.pyramid
        yield from (self.middle1, self.attention, self.middle2)
        for level in self.up:
            yield from level.layers()
            if self.progressive == "residual" and level.pyramid is not None:
                yield level.pyramid
            if level.norm is not None and level.head is not None:
                yield from (level.norm, level.head)
            if level.resample is not None:
                yield level.resample
        if self.norm is not None and self.output is not None:
            yield from (self.norm, self.output)

    def _embed(self, condition: Tensor, labels: Tensor | None) -> Tensor | None:
        if self.embedding is None:
            return None
        embedded = self.dense2(self.activation(self.dense1(self.embedding(condition))))
        if self.classes:
            none = torch.full_like(condition, self.classes, dtype=torch.long)
            chosen = F.one_hot(none if labels is None else labels, self.classes + 1)
            embedded = embedded + self.label(chosen.to(embedded))
        return self.activation(embedded)

    def _encode(self, x: Tensor, embedded: Tensor | None) -> tuple[Tensor, list[Tensor]]:
        pyramid = x
        h = self.input(x)
        skips = [h]
        for level in self.down:
            for block, attention in level.steps():
                h = self._run(block, h, embedded)
                h = self._run(attention, h) if attention is not None else h
                skips.append(h)
            if level.resample is None:
                continue
            h = self._resample(level.resample, h, embedded)
            if level.pyramid is not None:
                pyramid = level.pyramid(pyramid)
                h = (
                    level.combine(pyramid, h)
                    if level.combine is not None
                    else (pyramid + h) * self.gain
                )
                pyramid = h if self.progressive_input == "residual" else pyramid
            skips.append(h)
        return h, skips

    def _decode(self, h: Tensor, skips: list[Tensor], embedded: Tensor | None) -> Tensor:
        pyramid: Tensor | None = None
        for level in self.up:
            for block, attention in level.steps():
                h = self._run(block, torch.cat([h, skips.pop()], dim=1), embedded)
                h = self._run(attention, h) if attention is not None else h
            if level.norm is not None and level.head is not None:
                out = level.head(self.activation(level.norm(h)))
                pyramid = out if level.pyramid is None else level.pyramid(pyramid) + out
            elif level.pyramid is not None:
                pyramid = h = (level.pyramid(pyramid) + h) * self.gain
            if level.resample is not None:
                h = self._resample(level.resample, h, embedded)
        if self.norm is not None and self.output is not None:
            return self.output(self.activation(self.norm(h)))
        assert pyramid is not None  # "output_skip" has no output of its own
        return pyramid

    def _resample(self, layer: nn.Module, h: Tensor, embedded: Tensor | None) -> Tensor:
        return self._run(layer, h, embedded) if isinstance(layer, ResBlock) else layer(h)

    def _run(self, layer: nn.Module, *inputs: Tensor | None) -> Tensor:
        return run(layer, *inputs, recompute=self.recompute)
