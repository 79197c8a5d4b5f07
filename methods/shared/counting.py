"""FLOPs, weights and layers of the networks, counted from their settings alone: what a plan prices
models by.

Each function walks through a network as its class builds and calls it, and adds what torch's
counter counts of one row forward: two operations for each weight of a convolution or a linear map
at each place, the two products of attention, and the taps of FIR filters. Normalisations and
activations count nothing there, nor do they here.

Standard library only.
"""

from dataclasses import dataclass

from bench.card import NetworkCost
from methods.shared.architecture import PERCEPTRONS, Backbone

FIR = 4
"""Taps of the FIR filter along each axis."""


@dataclass
class Tally:
    """What has been counted so far; sizes are (H, W), those of outputs."""

    flops: int = 0
    parameters: int = 0
    layers: int = 0

    @property
    def cost(self) -> NetworkCost:
        """The whole of it."""
        return NetworkCost(flops=self.flops, parameters=self.parameters, layers=self.layers)

    def conv(
        self,
        inputs: int,
        outputs: int,
        size: tuple[int, int],
        *,
        kernel: int = 3,
        bias: bool = True,
    ) -> tuple[int, int]:
        """Counts a convolution; returns the size."""
        weights = inputs * outputs * kernel**2
        self.flops += 2 * weights * size[0] * size[1]
        self.parameters += weights + bias * outputs
        self.layers += 1
        return size

    def dense(self, inputs: int, outputs: int) -> None:
        """Counts a linear map with a bias."""
        self.flops += 2 * inputs * outputs
        self.parameters += (inputs + 1) * outputs
        self.layers += 1

    def norm(self, channels: int) -> None:
        """Counts a normalisation's scales and shifts."""
        self.parameters += 2 * channels

    def filter(self, channels: int, size: tuple[int, int]) -> None:
        """Counts the FIR filter of each channel."""
        self.flops += 2 * FIR**2 * channels * size[0] * size[1]

    def resample(
        self, channels: int, size: tuple[int, int], direction: str, *, fir: bool
    ) -> tuple[int, int]:
        """Counts a doubling or halving without weights; ``size`` is that of the input."""
        new = resized(size, direction)
        if fir:  # torch counts a transposed convolution by its input
            self.filter(channels, size if direction == "up" else new)
        return new

    def conv_resample(
        self, inputs: int, outputs: int, size: tuple[int, int], direction: str, *, fir: bool
    ) -> tuple[int, int]:
        """Counts a doubling or halving by a convolution; ``size`` is that of the input."""
        if fir:
            self.filter(inputs, size if direction == "up" else (size[0] + 1, size[1] + 1))
        return self.conv(inputs, outputs, resized(size, direction))

    def attention(self, channels: int, size: tuple[int, int]) -> None:
        """Counts self-attention over all pixels."""
        self.norm(channels)
        self.conv(channels, 3 * channels, size, kernel=1)
        self.flops += 4 * (size[0] * size[1]) ** 2 * channels
        self.conv(channels, channels, size, kernel=1)

    def residual(
        self,
        inputs: int,
        outputs: int,
        features: int | None,
        size: tuple[int, int],
        direction: str | None = None,
        *,
        fir: bool = False,
    ) -> tuple[int, int]:
        """Counts a residual block of NCSN++ or DDPM; returns the size that it leaves."""
        self.norm(inputs)
        if direction is not None:
            self.resample(inputs, size, direction, fir=fir)
            size = self.resample(inputs, size, direction, fir=fir)
        self.conv(inputs, outputs, size)
        if features is not None:
            self.dense(features, outputs)
        self.norm(outputs)
        self.conv(outputs, outputs, size)
        if direction is not None or inputs != outputs:
            self.conv(inputs, outputs, size, kernel=1)
        return size


def resized(size: tuple[int, int], direction: str) -> tuple[int, int]:
    """Returns a size doubled ("up") or halved ("down")."""
    return (2 * size[0], 2 * size[1]) if direction == "up" else (size[0] // 2, size[1] // 2)


def backbone_cost(
    settings: Backbone,
    in_channels: int,
    out_channels: int,
    size: tuple[int, int],
    classes: int = 0,
) -> NetworkCost:
    """Returns the cost of :func:`methods.shared.backbone.make_network` for H x W pixels."""
    tally = Tally()
    if settings.architecture in PERCEPTRONS:
        _count_perceptron(tally, settings, in_channels, out_channels)
    elif settings.architecture == "ddpm":
        _count_ddpm(tally, settings, in_channels, out_channels, size)
    else:
        _count_ncsnpp(tally, settings, in_channels, out_channels, size)
        if classes:
            tally.dense(classes + 1, 4 * settings.width)
    return tally.cost


def _count_perceptron(
    tally: Tally, settings: Backbone, in_channels: int, out_channels: int
) -> None:
    residual = settings.architecture == "mlp_residual"
    seen = settings.width + residual
    tally.dense(in_channels + 1, settings.width)
    for _ in range(settings.blocks if residual else settings.blocks - 1):
        tally.dense(seen, settings.width)
    tally.dense(seen, out_channels)


def _count_embedding(tally: Tally, inputs: int, features: int) -> None:
    tally.dense(inputs, features)
    tally.dense(features, features)


def _count_ncsnpp(
    tally: Tally, net: Backbone, in_channels: int, out_channels: int, size: tuple[int, int]
) -> None:
    features = 4 * net.width if net.conditional else None
    sizes = [net.width * multiplier for multiplier in net.multipliers]
    attended = [size[0] // 2**i in net.attention for i in range(len(sizes))]
    if features is not None:
        _count_embedding(tally, (2 if net.embedding == "fourier" else 1) * net.width, features)
    tally.conv(in_channels, net.width, size)

    def resample(channels: int, at: tuple[int, int], direction: str) -> tuple[int, int]:
        if net.block == "biggan":
            return tally.residual(channels, channels, features, at, direction, fir=net.fir)
        if net.resample_with_conv:
            return tally.conv_resample(channels, channels, at, direction, fir=net.fir)
        return tally.resample(channels, at, direction, fir=net.fir)

    channels, pyramid, skips, at = net.width, in_channels, [net.width], size
    for i, outputs in enumerate(sizes):
        for _ in range(net.blocks):
            tally.residual(channels, outputs, features, at)
            channels = outputs
            if attended[i]:
                tally.attention(channels, at)
            skips.append(channels)
        if i == len(sizes) - 1:
            continue
        above, at = at, resample(channels, at, "down")
        if net.progressive_input == "input_skip":
            tally.resample(in_channels, above, "down", fir=net.fir)
            tally.conv(in_channels, channels, at, kernel=1)
            channels *= 2 if net.combine == "cat" else 1
        elif net.progressive_input == "residual":
            tally.conv_resample(pyramid, channels, above, "down", fir=net.fir)
            pyramid = channels
        skips.append(channels)
    tally.residual(channels, channels, features, at)
    tally.attention(channels, at)
    tally.residual(channels, channels, features, at)
    for i in reversed(range(len(sizes))):
        for _ in range(net.blocks + 1):
            tally.residual(channels + skips.pop(), sizes[i], features, at)
            channels = sizes[i]
        if attended[i]:
            tally.attention(channels, at)
        lowest = i == len(sizes) - 1
        below = resized(at, "down")
        if net.progressive == "output_skip":
            tally.norm(channels)
            tally.conv(channels, out_channels, at)
            if not lowest:
                tally.resample(out_channels, below, "up", fir=net.fir)
        elif net.progressive == "residual":
            if lowest:
                tally.norm(channels)
                tally.conv(channels, channels, at)
            else:
                tally.conv_resample(pyramid, channels, below, "up", fir=net.fir)
            pyramid = channels
        at = resample(channels, at, "up") if i > 0 else at
    if net.progressive != "output_skip":
        tally.norm(channels)
        tally.conv(channels, out_channels, at)


def _count_ddpm(
    tally: Tally, net: Backbone, in_channels: int, out_channels: int, size: tuple[int, int]
) -> None:
    features = 4 * net.width if net.conditional else None
    sizes = [net.width * multiplier for multiplier in net.multipliers]
    attended = [size[0] // 2**i in net.attention for i in range(len(sizes))]
    if features is not None:
        _count_embedding(tally, net.width, features)
    tally.conv(in_channels, net.width, size)

    def resample(channels: int, at: tuple[int, int], direction: str) -> tuple[int, int]:
        if net.resample_with_conv:
            return tally.conv_resample(channels, channels, at, direction, fir=False)
        return resized(at, direction)

    channels, skips, at = net.width, [net.width], size
    for i, outputs in enumerate(sizes):
        for _ in range(net.blocks):
            tally.residual(channels, outputs, features, at)
            channels = outputs
            if attended[i]:
                tally.attention(channels, at)
            skips.append(channels)
        if i < len(sizes) - 1:
            at = resample(channels, at, "down")
            skips.append(channels)
    tally.residual(channels, channels, features, at)
    tally.attention(channels, at)
    tally.residual(channels, channels, features, at)
    for i in reversed(range(len(sizes))):
        for k in range(net.blocks + 1):
            tally.residual(channels + skips.pop(), sizes[i], features, at)
            channels = sizes[i]
            if attended[i] and (net.up_attention == "every" or k == net.blocks):
                tally.attention(channels, at)
        at = resample(channels, at, "up") if i > 0 else at
    tally.norm(channels)
    tally.conv(channels, out_channels, at)
