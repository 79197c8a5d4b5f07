r"""The U-Net of DDPM, with which Score-SDE's first VP models were trained.

The network is a pure map ``(x, condition) -> tensor``, as :class:`methods.shared.ncsnpp.NCSNpp` is.
What sets it apart: always 32 groups in a normalisation, sinusoids for the noise level, no rescaled
residual sums, sizes halved and doubled by layers of their own.

Shapes: B images, C channels, H x W pixels. H and W should be divisible by 2^(resolutions - 1).

Source: Ho et al., 2020, https://arxiv.org/abs/2006.11239, appendix B; as in Song et al., 2021,
https://arxiv.org/abs/2011.13456, whose way up attends once a resolution (``up_attention="last"``)
where Ho et al. attend after every block (``"every"``).
Departures: the attention's query, key and value are one convolution.
"""

from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor, nn

from methods.shared.architecture import Activation
from methods.shared.layers import (
    ACTIVATIONS,
    Attention,
    Conv,
    ConvResample,
    Dense,
    Modules,
    Positional,
    Resample,
    ResBlock,
    group_norm,
    run,
)
from methods.shared.ncsnpp import Level, Resampling

GROUPS = 32


class DDPM(nn.Module):
    """Creates the network; weights are 0 until :func:`methods.shared.layers.initialise` draws them.

    Args:
        in_channels: Channels of x.
        out_channels: Channels of the output.
        image_size: Height of the training images; it only places the attention.
        width: Channels at full resolution, a multiple of 32.
        up_attention: Where the way up attends: after the last block of a resolution, or after every
            one.

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
        up_attention: Literal["last", "every"] = "last",
        resample_with_conv: bool = True,
        dropout: float = 0.0,
        init_scale: float = 0.0,
        conditional: bool = True,
        activation: Activation = "silu",
        recompute: bool = False,
    ) -> None:
        super().__init__()
        self.recompute = recompute
        self.activation = ACTIVATIONS[activation]
        features = 4 * width
        rule: dict[str, Any] = {"skip_rescale": False, "init_scale": init_scale, "groups": GROUPS}

        def residual(inputs: int, outputs: int) -> ResBlock:
            seen = features if conditional else None
            return ResBlock(
                inputs, outputs, seen, dropout=dropout, activation=self.activation, **rule
            )

        def resampling(channels: int, direction: Literal["up", "down"]) -> Resampling:
            if resample_with_conv:
                return ConvResample(channels, channels, direction, fir=False)
            return Resample(direction, fir=False)

        self.conditional = conditional
        self.unused_frequencies = 0
        self.embedding: Positional | None = None
        if conditional:
            self.embedding = Positional(width)
            self.dense1 = Dense(width, features)
            self.dense2 = Dense(features, features)
        self.input = Conv(in_channels, width)

        sizes = [width * multiplier for multiplier in multipliers]
        attended = [image_size // 2**i in attention for i in range(len(sizes))]
        channels, skips = width, [width]
        self.down: Modules[Level] = Modules()
        for i, size in enumerate(sizes):
            steps = [residual(channels if k == 0 else size, size) for k in range(blocks)]
            last = i == len(sizes) - 1
            attentions = [Attention(size, **rule) for _ in steps if attended[i]]
            self.down.append(
                Level(steps, attentions, resample=None if last else resampling(size, "down"))
            )
            channels = size
            skips += [size] * (blocks + (not last))

        self.middle1 = residual(channels, channels)
        self.attention = Attention(channels, **rule)
        self.middle2 = residual(channels, channels)

        self.up: Modules[Level] = Modules()
        for i, size in reversed(list(enumerate(sizes))):
            steps = []
            for _ in range(blocks + 1):
                steps.append(residual(channels + skips.pop(), size))
                channels = size
            count = attended[i] * (1 if up_attention == "last" else len(steps))
            attentions = [Attention(size, **rule) for _ in range(count)]
            self.up.append(
                Level(steps, attentions, resample=resampling(size, "up") if i > 0 else None)
            )
        self.norm = group_norm(channels, GROUPS)
        self.output = Conv(channels, out_channels, scale=init_scale)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Returns the output, shape (B, C', H, W), contiguous.

        Args:
            x: Images as the network sees them, shape (B, C, H, W).
            condition: A time or label in [0, 1000), shape (B,).
        """
        embedded = None
        if self.embedding is not None:
            embedded = self.activation(
                self.dense2(self.activation(self.dense1(self.embedding(condition))))
            )
        h = self.input(x.contiguous(memory_format=torch.channels_last))
        skips = [h]
        for level in self.down:
            for block, attention in level.steps():
                h = self._run(block, h, embedded)
                h = self._run(attention, h) if attention is not None else h
                skips.append(h)
            if level.resample is not None:
                h = level.resample(h)
                skips.append(h)
        h = self._run(self.attention, self._run(self.middle1, h, embedded))
        h = self._run(self.middle2, h, embedded)
        for level in self.up:
            for block, attention in level.steps():
                h = self._run(block, torch.cat([h, skips.pop()], dim=1), embedded)
                h = self._run(attention, h) if attention is not None else h
            if level.resample is not None:
                h = level.resample(h)
        return self.output(self.activation(self.norm(h))).contiguous()

    def units(self) -> Iterator[nn.Module]:
        """Yields the layers in a published checkpoint's order (:mod:`methods.shared.published`)."""
        if self.embedding is not None:
            yield from (self.dense1, self.dense2)
        yield self.input
        for level in self.down:
            yield from level.layers()
            if level.resample is not None:
                yield level.resample
        yield from (self.middle1, self.attention, self.middle2)
        for level in self.up:
            yield from level.layers()
            if level.resample is not None:
                yield level.resample
        yield from (self.norm, self.output)

    def _run(self, layer: nn.Module, *inputs: Tensor | None) -> Tensor:
        return run(layer, *inputs, recompute=self.recompute)
