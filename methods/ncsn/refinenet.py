r"""NCSN's networks: RefineNets whose normalisations keep the means of the channels.

An encoder of residual blocks halves the image once or a few times and dilates its convolutions from
there on. Each stage below, from the deepest up, refines what it gets from its encoder stage and
from the refinement below it: residual convolution units for each input, a sum at the finer size,
chained pooling, and more units.

InstanceNorm++ adds to instance normalisation what that takes away, how the channels' means lie
among each other,

.. math::

    \gamma \left( \frac{x - \mu}{\sigma} + \alpha \frac{\mu - m}{v} \right) + \beta,

where :math:`\mu, \sigma` are a channel's mean and standard deviation over pixels, and :math:`m, v`
those of the :math:`\mu` of an image over its channels. In NCSN :math:`\gamma, \alpha, \beta` depend
on the noise level; NCSNv2 has one set of them, in the residual blocks alone, and takes maxima where
NCSN averages.

Shapes: B images, C channels, H x W pixels. Weights are drawn by :func:`initialise` from a named
stream and are 0 until then, so that building a network draws nothing.

Source: Song & Ermon, 2019, https://arxiv.org/abs/1907.05600 (appendix A); Song & Ermon, 2020,
https://arxiv.org/abs/2006.09011 (appendix B); RefineNet is Lin et al., 2017,
https://arxiv.org/abs/1611.06612.
Departures: none in what is computed; a shortcut is pooled before its 1x1 convolution, which
commutes with it.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.method import Noise
from methods.ncsn.settings import RefineNet
from methods.shared.layers import ACTIVATIONS, Modules

EPS = 1e-5

MakeNorm = Callable[[int], nn.Module]
"""Returns a normalisation of so many channels, called with (x, level)."""

Pointwise = Callable[[Tensor], Tensor]


class Conv(nn.Conv2d):
    """A convolution of stride 1 that keeps the size."""

    def __init__(
        self, inputs: int, outputs: int, size: int = 3, *, dilation: int = 1, bias: bool = True
    ) -> None:
        super().__init__(
            inputs, outputs, size, padding=dilation * (size // 2), dilation=dilation, bias=bias
        )

    def reset_parameters(self) -> None:
        nn.init.zeros_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)


class Norm(nn.Module):
    """InstanceNorm++ that does not know the noise level."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.zeros(channels))
        self.gamma = nn.Parameter(torch.zeros(channels))
        self.beta = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, level: Tensor | None) -> Tensor:
        return instance_norm(x, self.gamma, self.alpha, self.beta)


class LevelNorm(nn.Module):
    """InstanceNorm++, or plain instance normalisation, with parameters of their own for each noise
    level.

    Args:
        channels: Of what is normalised.
        levels: How many noise levels there are.
        means: Whether the channels' means are kept (InstanceNorm++).
    """

    def __init__(self, channels: int, levels: int, *, means: bool) -> None:
        super().__init__()
        self.means = means
        self.table = nn.Parameter(torch.zeros(levels, (3 if means else 2) * channels))

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        gamma, *alpha, beta = self.table[level].chunk(3 if self.means else 2, dim=1)
        return instance_norm(x, gamma, alpha[0] if alpha else None, beta)


def instance_norm(x: Tensor, gamma: Tensor, alpha: Tensor | None, beta: Tensor) -> Tensor:
    """Returns InstanceNorm++ of x (B, C, H, W); parameters are (B, C) or (C,), alpha or None."""
    x = x.to(torch.promote_types(x.dtype, torch.float32))  # a rounded mean would leave a shift
    variance, mean = torch.var_mean(x, dim=(2, 3), correction=0)
    scale = gamma * torch.rsqrt(variance + EPS)
    shift = beta - mean * scale
    if alpha is not None:
        among, centre = torch.var_mean(mean, dim=1, correction=1, keepdim=True)
        shift = shift + gamma * alpha * (mean - centre) * torch.rsqrt(among + EPS)
    return torch.addcmul(shift[:, :, None, None], x, scale[:, :, None, None])


class Unnormalised(nn.Module):
    """Stands where NCSN normalises and NCSNv2 does not."""

    def forward(self, x: Tensor, level: Tensor | None) -> Tensor:
        return x


class ResidualBlock(nn.Module):
    """Two normalised convolutions beside a shortcut.

    Args:
        inputs: Channels that enter.
        outputs: Channels that leave.
        norm: Makes the normalisations.
        pooled: Whether the image is halved.
        dilation: Of the 3x3 convolutions.
        changes: Whether the shortcut is a convolution; else nothing may change.
        activation: The nonlinearity.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        norm: MakeNorm,
        *,
        pooled: bool,
        dilation: int,
        changes: bool,
        activation: Pointwise,
    ) -> None:
        super().__init__()
        self.activation = activation
        self.pooled = pooled
        self.conv1 = Conv(inputs, inputs, dilation=dilation)
        self.norm2 = norm(inputs)
        self.conv2 = Conv(inputs, outputs, dilation=dilation)
        self.shortcut = (
            Conv(inputs, outputs, 1 if pooled else 3, dilation=dilation) if changes else None
        )
        self.norm1 = norm(inputs)

    def forward(self, x: Tensor, level: Tensor | None) -> Tensor:
        h = self.conv1(self.activation(self.norm1(x, level)))
        h = self.conv2(self.activation(self.norm2(h, level)))
        if self.pooled:
            x, h = F.avg_pool2d(x, 2), F.avg_pool2d(h, 2)
        return h + (x if self.shortcut is None else self.shortcut(x))


class Unit(nn.Module):
    """One stage of a residual convolution unit: normalisation, nonlinearity, convolution."""

    def __init__(self, channels: int, norm: MakeNorm, activation: Pointwise) -> None:
        super().__init__()
        self.activation = activation
        self.norm = norm(channels)
        self.conv = Conv(channels, channels, bias=False)

    def forward(self, x: Tensor, level: Tensor | None) -> Tensor:
        return self.conv(self.activation(self.norm(x, level)))


class Units(Modules[Modules[Unit]]):
    """Residual convolution units of two stages each, one after the other."""

    def __init__(self, channels: int, count: int, norm: MakeNorm, activation: Pointwise) -> None:
        super().__init__(
            Modules(Unit(channels, norm, activation) for _ in range(2)) for _ in range(count)
        )

    def forward(self, x: Tensor, level: Tensor | None) -> Tensor:
        for first, second in self:
            x = x + second(first(x, level), level)
        return x


class Fusion(nn.Module):
    """The sum of inputs of several sizes, each through a convolution, at the size of the first."""

    def __init__(self, inputs: Sequence[int], outputs: int, norm: MakeNorm) -> None:
        super().__init__()
        self.convs = nn.ModuleList(Conv(channels, outputs) for channels in inputs)
        self.norms = nn.ModuleList(norm(channels) for channels in inputs)

    def forward(self, xs: Sequence[Tensor], level: Tensor | None) -> Tensor:
        size = xs[0].shape[2:]
        total: Tensor | None = None
        for x, conv, norm in zip(xs, self.convs, self.norms, strict=True):
            h = conv(norm(x, level))
            if h.shape[2:] != size:
                h = F.interpolate(h, size=size, mode="bilinear", align_corners=True)
            total = h if total is None else total + h
        assert total is not None
        return total


class Pooling(nn.Module):
    """Chained residual pooling: two rounds of 5x5 pooling and convolution, summed."""

    def __init__(
        self, channels: int, norm: MakeNorm, pool: Callable[..., Tensor], activation: Pointwise
    ) -> None:
        super().__init__()
        self.pool = pool
        self.activation = activation
        self.convs = nn.ModuleList(Conv(channels, channels, bias=False) for _ in range(2))
        self.norms = nn.ModuleList(norm(channels) for _ in range(2))

    def forward(self, x: Tensor, level: Tensor | None) -> Tensor:
        x = path = self.activation(x)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            path = conv(self.pool(norm(path, level), 5, stride=1, padding=2))
            x = x + path
        return x


class Refinement(nn.Module):
    """One stage of the decoder.

    Args:
        inputs: Channels of each input: of the encoder's stage, and of the refinement below where
            there is one.
        outputs: Channels that leave.
        norm: Makes the normalisations.
        pool: 5x5 pooling.
        activation: The nonlinearity.
        last: Whether it is the last, which has more units.
    """

    def __init__(
        self,
        inputs: Sequence[int],
        outputs: int,
        norm: MakeNorm,
        pool: Callable[..., Tensor],
        activation: Pointwise,
        *,
        last: bool,
    ) -> None:
        super().__init__()
        self.enter = nn.ModuleList(Units(channels, 2, norm, activation) for channels in inputs)
        self.leave = Units(outputs, 3 if last else 1, norm, activation)
        self.fusion = Fusion(inputs, outputs, norm) if len(inputs) > 1 else None
        self.pooling = Pooling(outputs, norm, pool, activation)

    def forward(self, xs: Sequence[Tensor], level: Tensor | None) -> Tensor:
        xs = [units(x, level) for x, units in zip(xs, self.enter, strict=True)]
        x = xs[0] if self.fusion is None else self.fusion(xs, level)
        return self.leave(self.pooling(x, level), level)


class RefineNetwork(nn.Module):
    """Maps images in [-1, 1], shape (B, C, H, W), and indices of noise levels to as many numbers.

    Args:
        settings: Which variant, and how wide.
        channels: Of the images.
        levels: How many noise levels a conditional variant knows.
    """

    def __init__(self, settings: RefineNet, channels: int, levels: int) -> None:
        super().__init__()
        self.stages = settings.stages
        self.refinements = settings.refinements
        self.activation = ACTIVATIONS[settings.activation]
        norm, inner, pool = _parts(settings, levels)
        widths = [settings.width * stage.multiplier for stage in self.stages]
        self.begin = Conv(channels, settings.width)
        self.norm = norm(settings.width)
        self.end = Conv(settings.width, channels)
        self.encoder: Modules[Modules[ResidualBlock]] = Modules()
        entering = settings.width
        for i, (stage, width) in enumerate(zip(self.stages, widths, strict=True)):
            rule: dict[str, Any] = {"dilation": stage.dilation, "activation": self.activation}
            first = ResidualBlock(
                entering, width, norm, pooled=stage.pooled, changes=bool(i), **rule
            )
            second = ResidualBlock(width, width, norm, pooled=False, changes=False, **rule)
            self.encoder.append(Modules([first, second]))
            entering = width
        self.decoder = nn.ModuleList()
        below: list[int] = []
        for i in reversed(range(len(widths))):
            leaving = widths[max(i - 1, 0)]
            inputs = [widths[i], *below]
            self.decoder.append(
                Refinement(inputs, leaving, inner, pool, self.activation, last=i == 0)
            )
            below = [leaving]

    def forward(self, x: Tensor, level: Tensor | None = None) -> Tensor:
        """Returns the output at levels, int64, shape (B,); NCSNv2's variants ignore them."""
        h = self.begin(x)
        found = []
        for blocks in self.encoder:
            for block in blocks:
                h = block(h, level)
            found.append(h)
        below: list[Tensor] = []
        for refinement in self.decoder:
            below = [refinement([found.pop(), *below], level)]
        return self.end(self.activation(self.norm(below[0], level)))


def _parts(settings: RefineNet, levels: int) -> tuple[MakeNorm, MakeNorm, Callable[..., Tensor]]:
    """Returns the normalisation of the residual blocks, that of the decoder, and its pooling."""
    if not settings.conditional:
        return Norm, lambda channels: Unnormalised(), F.max_pool2d
    means = settings.variant == "ncsn"

    def norm(channels: int) -> LevelNorm:
        return LevelNorm(channels, levels, means=means)

    return norm, norm, F.avg_pool2d


def make_refinenet(settings: RefineNet, channels: int, levels: int) -> RefineNetwork:
    """Returns the network with weights of 0; :func:`initialise` draws them.

    Args:
        channels: Of the images.
        levels: How many noise levels there are; a variant of NCSNv2 does not depend on it.
    """
    return RefineNetwork(settings, channels, levels)


def initialise(network: nn.Module, noise: Noise) -> None:
    """Draws every weight of ``network`` as the authors do: convolutions and biases uniform, of
    variance 1 / (3 fan in).

    Normalisations that keep means have gamma and alpha from N(1, 0.02^2), those that do not gamma
    from U[0, 1); beta is 0. The draw of a layer depends on the stream and the layer's name alone.
    """
    with torch.no_grad():
        for name, layer in network.named_modules():
            stream = noise.child(name)
            if isinstance(layer, Conv):
                limit = 1 / math.sqrt(layer.weight[0].numel())
                for weight in (
                    (layer.weight, layer.bias) if layer.bias is not None else (layer.weight,)
                ):
                    weight.copy_(stream.uniform(weight.shape) * (2 * limit) - limit)
            elif isinstance(layer, Norm):
                layer.gamma.copy_(1 + 0.02 * stream.normal(layer.gamma.shape))
                layer.alpha.copy_(1 + 0.02 * stream.normal(layer.alpha.shape))
                layer.beta.zero_()
            elif isinstance(layer, LevelNorm):
                *scales, beta = layer.table.chunk(3 if layer.means else 2, dim=1)
                for scale in scales:
                    draw = (
                        1 + 0.02 * stream.normal(scale.shape)
                        if layer.means
                        else stream.uniform(scale.shape)
                    )
                    scale.copy_(draw)
                beta.zero_()
