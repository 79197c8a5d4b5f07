r"""Layers of the NCSN++, DDPM++ and DDPM networks.

Shapes: B images, C channels, H x W pixels. Weights are drawn by :func:`initialise` from a named
stream and are 0 until then, so that building a network draws nothing.

Source: Song et al., 2021, https://arxiv.org/abs/2011.13456, appendix H; FIR resampling after Zhang,
2019, https://arxiv.org/abs/1904.11486; blocks after Brock et al., 2019,
https://arxiv.org/abs/1809.11096, and Ho et al., 2020, https://arxiv.org/abs/2006.11239.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Generic, Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from bench.method import Noise
from methods.shared.architecture import norm_groups

Layer = TypeVar("Layer", bound=nn.Module)

FIR_TAPS = (1.0, 3.0, 3.0, 1.0)

ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = MappingProxyType(
    {
        "silu": F.silu,
        "elu": F.elu,
        "relu": F.relu,
        "leaky_relu": partial(F.leaky_relu, negative_slope=0.2),
    }
)


class Modules(nn.ModuleList, Generic[Layer]):
    """A list of layers of one kind, which torch's own does not tell a type checker."""

    if TYPE_CHECKING:

        def __iter__(self) -> Iterator[Layer]: ...


class Conv(nn.Conv2d):
    """A convolution that keeps the size (at stride 1), with uniform variance-scaling weights.

    Args:
        size: Kernel size, odd.
        scale: Variance scale of the initial weights.
        parts: How many convolutions, drawn apart, are stacked in the output channels.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        size: int = 3,
        *,
        stride: int = 1,
        padding: int | None = None,
        scale: float = 1.0,
        parts: int = 1,
    ) -> None:
        self.bias: nn.Parameter
        super().__init__(
            in_channels, out_channels, size, stride, size // 2 if padding is None else padding
        )
        self.scale = scale
        self.parts = parts

    def reset_parameters(self) -> None:
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)


class Dense(nn.Linear):
    """A linear map with uniform variance-scaling weights."""

    scale = 1.0
    parts = 1

    def reset_parameters(self) -> None:
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)


class Fourier(nn.Module):
    """Random Fourier features of a condition of shape (B,): (B, 2 width)."""

    def __init__(self, width: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.features = 2 * width
        self.frequencies: Tensor
        self.register_buffer("frequencies", torch.zeros(width))

    def forward(self, condition: Tensor) -> Tensor:
        phase = condition[:, None] * self.frequencies * (2 * math.pi)
        return torch.cat([phase.sin(), phase.cos()], dim=1)


class Positional(nn.Module):
    """Sinusoids of a condition of shape (B,), nominally in [0, 1000): (B, width)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.features = width
        half = width // 2
        rates = torch.exp(-math.log(10000) / (half - 1) * torch.arange(half, dtype=torch.float32))
        self.rates: Tensor
        self.register_buffer("rates", rates, persistent=False)

    def forward(self, condition: Tensor) -> Tensor:
        phase = condition[:, None] * self.rates
        waves = torch.cat([phase.sin(), phase.cos()], dim=1)
        return F.pad(waves, (0, self.features - waves.shape[1]))


def initialise(network: nn.Module, noise: Noise) -> None:
    """Draws every weight of ``network``: uniform of variance scale / mean(fan in, fan out), biases
    0.

    The draw of a layer depends on the stream and the layer's name alone.
    """
    with torch.no_grad():
        for name, layer in network.named_modules():
            if isinstance(layer, Conv | Dense):
                out, inputs, *window = layer.weight.shape
                fan = (inputs + out // layer.parts) * math.prod(window) / 2
                limit = math.sqrt(3 * (layer.scale or 1e-10) / fan)
                layer.weight.copy_(
                    noise.child(name).uniform(layer.weight.shape) * (2 * limit) - limit
                )
                layer.bias.zero_()
            elif isinstance(layer, Fourier):
                layer.frequencies.copy_(
                    noise.child(name).normal(layer.frequencies.shape) * layer.scale
                )


def fir_kernel(taps: tuple[float, ...] = FIR_TAPS) -> Tensor:
    """Returns the separable kernel of unit sum, shape (1, 1, K, K)."""
    line = torch.tensor(taps)
    kernel = torch.outer(line, line)
    return (kernel / kernel.sum())[None, None]


def fir_up(x: Tensor, kernel: Tensor) -> Tensor:
    """Returns ``x`` at twice the size: zeros put between pixels, then filtered with gain 4."""
    size = kernel.shape[-1]
    shift = size - 1 - ((size - 1) // 2 + 1)
    weight = (4 * kernel).expand(x.shape[1], 1, size, size)
    full = F.conv_transpose2d(x, weight, stride=2, padding=shift, groups=x.shape[1])
    return full[..., : 2 * x.shape[2], : 2 * x.shape[3]]


def fir_down(x: Tensor, kernel: Tensor) -> Tensor:
    """Returns ``x`` filtered and at half the size."""
    size = kernel.shape[-1]
    weight = kernel.expand(x.shape[1], 1, size, size)
    half = F.conv2d(x, weight, stride=2, padding=(size - 1) // 2, groups=x.shape[1])
    return half[..., : x.shape[2] // 2, : x.shape[3] // 2]


def fir_for_strided(x: Tensor, kernel: Tensor) -> Tensor:
    """Returns x filtered and padded, (H + 1) x (W + 1), for an unpadded 3x3 conv of stride 2."""
    size = kernel.shape[-1]
    weight = kernel.expand(x.shape[1], 1, size, size)
    padded = F.conv2d(x, weight, padding=(size + 1) // 2, groups=x.shape[1])
    return padded[..., : x.shape[2] + 1, : x.shape[3] + 1]


class Resample(nn.Module):
    """Doubles or halves the size, by the FIR filter or by 2x2 boxes; it has no weights."""

    def __init__(self, direction: Literal["up", "down"], *, fir: bool) -> None:
        super().__init__()
        self.direction = direction
        self.kernel: Tensor | None
        self.register_buffer("kernel", fir_kernel() if fir else None, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.direction == "up":
            return (
                F.interpolate(x, scale_factor=2.0)
                if self.kernel is None
                else fir_up(x, self.kernel)
            )
        return F.avg_pool2d(x, 2) if self.kernel is None else fir_down(x, self.kernel)


class ConvResample(nn.Module):
    """Doubles or halves the size by a 3x3 convolution, with the FIR filter before it or without."""

    def __init__(
        self, in_channels: int, out_channels: int, direction: Literal["up", "down"], *, fir: bool
    ) -> None:
        super().__init__()
        self.fir = fir
        self.direction = direction
        up = direction == "up"
        self.conv = Conv(in_channels, out_channels, stride=1 if up else 2, padding=1 if up else 0)
        self.kernel: Tensor | None
        self.register_buffer("kernel", fir_kernel() if fir else None, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.direction == "up":
            return self.conv(
                F.interpolate(x, scale_factor=2.0)
                if self.kernel is None
                else fir_up(x, self.kernel)
            )
        return self.conv(
            F.pad(x, (0, 1, 0, 1)) if self.kernel is None else fir_for_strided(x, self.kernel)
        )


def run(layer: nn.Module, *inputs: Tensor | None, recompute: bool) -> Tensor:
    """Returns ``layer(*inputs)``; ``recompute`` keeps no activations for the backward pass."""
    if recompute and torch.is_grad_enabled():
        return checkpoint(layer, *inputs, use_reentrant=False)
    return layer(*inputs)


def group_norm(channels: int, groups: int | None = None) -> nn.GroupNorm:
    """Returns group normalisation; without ``groups``, as many as :func:`norm_groups` tells."""
    return nn.GroupNorm(groups or norm_groups(channels), channels, eps=1e-6)


class ResBlock(nn.Module):
    """A residual block with the noise level added after its first convolution.

    Args:
        features: Width of the embedding; None for a network without one.
        resample: Resample inside the block (BigGAN's block).
        skip_rescale: Divide the sum by sqrt(2).
        groups: Of the normalisations; see :func:`group_norm`.
        activation: The nonlinearity.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        features: int | None,
        *,
        resample: Literal["up", "down"] | None = None,
        fir: bool = False,
        skip_rescale: bool,
        dropout: float,
        init_scale: float,
        groups: int | None = None,
        activation: Callable[[Tensor], Tensor] = F.silu,
    ) -> None:
        super().__init__()
        self.activation = activation
        self.norm1 = group_norm(in_channels, groups)
        self.conv1 = Conv(in_channels, out_channels)
        self.dense = Dense(features, out_channels) if features else None
        self.norm2 = group_norm(out_channels, groups)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = Conv(out_channels, out_channels, scale=init_scale)
        self.resample = Resample(resample, fir=fir) if resample else None
        self.skip = (
            Conv(in_channels, out_channels, 1) if resample or in_channels != out_channels else None
        )
        self.gain = math.sqrt(0.5) if skip_rescale else 1.0

    def forward(self, x: Tensor, embedded: Tensor | None) -> Tensor:
        """Returns the block's output for the *activated* embedding, shape (B, features)."""
        h = self.activation(self.norm1(x))
        if self.resample is not None:
            h, x = self.resample(h), self.resample(x)
        h = self.conv1(h)
        if self.dense is not None:
            h = h + self.dense(embedded)[:, :, None, None]
        h = self.conv2(self.dropout(self.activation(self.norm2(h))))
        if self.skip is not None:
            x = self.skip(x)
        return (x + h) * self.gain if self.gain != 1 else x + h


class Attention(nn.Module):
    """Self-attention over all pixels, one head, as a residual."""

    def __init__(
        self, channels: int, *, skip_rescale: bool, init_scale: float, groups: int | None = None
    ) -> None:
        super().__init__()
        self.norm = group_norm(channels, groups)
        self.qkv = Conv(channels, 3 * channels, 1, scale=0.1, parts=3)
        self.out = Conv(channels, channels, 1, scale=init_scale)
        self.gain = math.sqrt(0.5) if skip_rescale else 1.0

    def forward(self, x: Tensor) -> Tensor:
        """Returns the same shape (B, C, H, W)."""
        batch, channels, height, width = x.shape
        pixels = (
            self.qkv(self.norm(x))
            .permute(0, 2, 3, 1)
            .reshape(batch, 1, height * width, 3 * channels)
        )
        h = F.scaled_dot_product_attention(*pixels.chunk(3, dim=-1))
        h = self.out(h.reshape(batch, height, width, channels).permute(0, 3, 1, 2))
        return (x + h) * self.gain if self.gain != 1 else x + h


class Combine(nn.Module):
    """Joins the input's pyramid, through a 1x1 conv, with features: their sum or side by side."""

    def __init__(
        self, pyramid_channels: int, channels: int, combine: Literal["sum", "cat"]
    ) -> None:
        super().__init__()
        self.conv = Conv(pyramid_channels, channels, 1)
        self.combine = combine

    def forward(self, pyramid: Tensor, h: Tensor) -> Tensor:
        pyramid = self.conv(pyramid)
        return pyramid + h if self.combine == "sum" else torch.cat([pyramid, h], dim=1)
