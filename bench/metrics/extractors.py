r"""Networks whose features and class probabilities the metrics compare.

``digits-cnn`` is a small convolutional classifier of scikit-learn's digits, made by ``python -m
bench.metrics.train_digits_cnn`` from the 1437 training images alone, so that held-out images are as
new to it as generated ones. Its features are the 24 smooth (SiLU) activations before the last
layer, each in units of its standard deviation over the training images: a Frechet distance over 256
images then has ten images for each dimension, no feature outweighs another, and the real images'
covariance has trace 24. It runs in float64.

``effnet-lite0@SIZE`` is an ImageNet classifier (:mod:`bench.metrics.effnet`), the reference
Inception and what else torch-fidelity registers are in :mod:`bench.metrics.pretrained`; ``pixels``
and ``pca@K`` have no network.

Images come as uint8 in 0, ..., levels - 1, as the data set stores them. Weights are read as tensors
alone, whole and checked against their digest: a file that would run code is refused.
"""

import io
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from bench.data.images import Images
from bench.files import sha256
from bench.metrics.effnet import EfficientNetLite0
from bench.metrics.extractor_card import ExtractorCard
from bench.metrics.extractor_cards import extractor_card, extractor_label
from bench.metrics.summary import Features

CHUNK = 500
"""Images in one pass through a small network: bounds the memory."""

PIXELS_A_CHUNK = 64 * 64 * 500
"""Pixels of the network's input in one pass, for networks that resize."""


class View(nn.Module):
    """How an extractor sees images: a network with its preprocessing.

    Subclasses return features and logits (None without classes) of uint8 levels (B, C, H, W), and
    say in words how levels become the network's input.
    """

    preprocess = ""
    resize = "none"
    dtype = torch.float32


class DigitsCNN(nn.Module):
    """Classifies images of shape (B, 1, 8, 8) in [-1, 1] into ten digits.

    Args:
        dropout: Fraction of the features that training hides from the last layer.
    """

    def __init__(self, dropout: float = 0.3) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1, stride=2)
        self.conv3 = nn.Conv2d(32, 48, 3, padding=1)
        self.features = nn.Linear(48 * 2 * 2, 24)
        self.dropout = nn.Dropout(dropout)
        self.classes = nn.Linear(24, 10)
        self.register_buffer("deviations", torch.ones(24))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Returns features (B, 24) and logits (B, 10)."""
        x = functional.silu(self.conv1(x))
        x = functional.silu(self.conv2(x))
        x = functional.avg_pool2d(functional.silu(self.conv3(x)), 2)
        features = functional.silu(self.features(x.flatten(1)))
        return features / self.deviations, self.classes(self.dropout(features))


class Digits(View):
    """``digits-cnn``, in float64, so that devices agree far below any difference worth showing."""

    dtype = torch.float64

    def __init__(self, card: ExtractorCard, content: bytes, levels: int) -> None:
        super().__init__()
        self.levels = levels
        self.preprocess = f"v / {levels - 1} * 2 - 1"
        with torch.device("meta"):
            self.network = DigitsCNN()
        self.network.load_state_dict(load(content), assign=True)
        self.to(torch.float64)

    def forward(self, levels: Tensor) -> tuple[Tensor, Tensor]:
        """Returns features (B, 24) and logits (B, 10)."""
        return self.network(levels.to(torch.float64) / (self.levels - 1) * 2 - 1)


class EffNet(View):
    """``effnet-lite0@SIZE``, with its normalisations folded into the convolutions before them."""

    resize = "torch bicubic, antialiased, not rounded, clipped to 0..1"

    def __init__(self, card: ExtractorCard, content: bytes, levels: int) -> None:
        super().__init__()
        self.levels, self.size = levels, card.size
        self.preprocess = (
            f"v / {levels - 1}, grey repeated to 3 channels, ImageNet mean and deviation"
        )
        self.network = EfficientNetLite0()
        self.network.load_state_dict(read_tensors(content))
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


class Pixels(View):
    """``pixels``: an image's values in [0, 1], one after the other."""

    def __init__(self, levels: int) -> None:
        super().__init__()
        self.levels = levels
        self.preprocess = f"v / {levels - 1}"

    def forward(self, levels: Tensor) -> tuple[Tensor, None]:
        """Returns features (B, C H W)."""
        return levels.to(torch.float32).flatten(1) / (self.levels - 1), None


class Projection(View):
    """``pca@K``: coordinates of an image along the axes of largest variance of the training
    images.
    """

    def __init__(self, data: Images, axes: int) -> None:
        super().__init__()
        from bench.metrics.moments import Moments

        self.pixels, moments = Pixels(data.levels), Moments()
        for start in range(0, len(data.train), CHUNK):
            part = torch.from_numpy(np.ascontiguousarray(data.train[start : start + CHUNK]))
            moments.add(self.pixels(part)[0].numpy())
        mean, covariance = moments.statistics()
        _, vectors = np.linalg.eigh(covariance)
        self.preprocess = f"v / {data.levels - 1}, minus the mean of the training images"
        self.register_buffer("mean", torch.from_numpy(mean).float())
        self.register_buffer(
            "axes", torch.from_numpy(np.ascontiguousarray(vectors[:, : -axes - 1 : -1])).float()
        )

    def forward(self, levels: Tensor) -> tuple[Tensor, None]:
        """Returns features (B, K)."""
        return (self.pixels(levels)[0] - self.mean) @ self.axes, None


def _borrowed(name: str) -> Callable[[ExtractorCard, bytes, int], View]:
    def make(card: ExtractorCard, content: bytes, levels: int) -> View:
        from bench.metrics import pretrained

        return getattr(pretrained, name)(card, content, levels)

    return make


VIEWS: Mapping[str, Callable[[ExtractorCard, bytes, int], View]] = {
    "digits-cnn": Digits,
    "effnet-lite0": EffNet,
    "torch-fidelity": _borrowed("TorchFidelity"),
    "clean-inception": _borrowed("CleanInception"),
    "dinov2": _borrowed("DinoV2"),
}


class Extractor:
    """An extractor of :data:`bench.metrics.extractor_cards.EXTRACTORS` with its weights.

    Args:
        name: Of the extractor, with its size where it has one to choose.
        device: Where it runs.
        weights: The file; by default the first of the places that the card names.
        data: The data set whose images it will see; those that read one kind of images alone need
            none.

    Raises:
        FileNotFoundError: The weights file is missing; the message says where it was looked for and
            how to get it.
        ValueError: The weights file is not the one that the card names, or holds no weights of this
            network.
    """

    def __init__(
        self,
        name: str,
        device: torch.device | str = "cpu",
        weights: Path | None = None,
        data: Images | None = None,
    ) -> None:
        self.name = name
        self.card = extractor_card(name)
        self.device = torch.device(device)
        self.shape = self.card.shape or data.shape
        self.levels = self.card.levels or data.levels
        if self.card.weights:
            content, self.sha256 = read_weights(name, self.card, weights)
            view = _made(
                name,
                weights or self.card.path(),
                lambda: VIEWS[self.card.family](self.card, content, self.levels),
            )
        elif self.card.family == "pca":
            view, self.sha256 = (
                Projection(data, self.card.size),
                f"fitted to {data.digest('train')}",
            )
        else:
            view, self.sha256 = Pixels(self.levels), ""
        self.view = view.to(self.device).eval().requires_grad_(False)
        self.dimension = self.card.dimension or int(np.prod(self.shape))
        self.chunk = (
            CHUNK if not self.card.size else max(1, min(CHUNK, PIXELS_A_CHUNK // self.card.size**2))
        )

    @property
    def identity(self) -> dict[str, Any]:
        """What the features depend on, as plain values."""
        from bench.metrics.libraries import version

        side = self.card.size if self.card.family != "pca" else 0
        resized = side and self.shape[1:] != (side, side)
        return {
            "extractor": extractor_label(self.name),
            "weights_sha256": self.sha256,
            "dimension": self.dimension,
            "input_shape": list(self.shape),
            "input_size": [side, side] if side else list(self.shape[1:]),
            "levels": self.levels,
            "resize": self.view.resize if resized else "none",
            "preprocess": self.view.preprocess,
            "network": version(self.card.backend) if self.card.backend else "bench 1",
        }

    @torch.inference_mode()
    def __call__(self, images: np.ndarray) -> Features:
        """Returns the features of uint8 images in levels, shape (N, C, H, W).

        Raises:
            ValueError: Another dtype, shape or range of pixels.
        """
        self._check(images)
        parts = [
            self._part(images[start : start + self.chunk])
            for start in range(0, len(images), self.chunk)
        ]
        features = torch.cat([features for features, _ in parts]).cpu().numpy()
        if parts[0][1] is None:
            return Features(features, None)
        return Features(features, torch.cat([log_probs for _, log_probs in parts]).cpu().numpy())

    def _part(self, images: np.ndarray) -> tuple[Tensor, Tensor | None]:
        features, logits = self.view(torch.from_numpy(np.ascontiguousarray(images)).to(self.device))
        return features, None if logits is None else logits.double().log_softmax(1)

    def _check(self, images: np.ndarray) -> None:
        if images.dtype != np.uint8:
            raise ValueError(
                f"images to score should be uint8 levels, got {images.dtype}: quantise them first"
            )
        if images.ndim != 4 or images.shape[1:] != tuple(self.shape) or not len(images):
            raise ValueError(
                f"images to score should have shape {('N', *self.shape)} with N > 0, got {images.shape}"
            )
        if images.max() >= self.levels:
            raise ValueError(
                f"images to score should have pixels in 0..{self.levels - 1}, got {images.max()}"
            )


_LOADED: dict[tuple[Any, ...], Extractor] = {}


def load_extractor(name: str, device: str = "cpu", data: Images | None = None) -> Extractor:
    """Returns the extractor of that name, read once a process, device and kind of images."""
    card = extractor_card(name)
    kind = () if card.shape else (data.shape, data.levels)
    kind += (data.digest("train"),) if card.family == "pca" else ()
    known = (name, str(device), str(card.path()), *kind)
    if known not in _LOADED:
        while len(_LOADED) > 3:
            _LOADED.pop(next(iter(_LOADED)))
        _LOADED[known] = Extractor(name, device, data=data)
    return _LOADED[known]


def fold(network: nn.Module, pairs: list[tuple[nn.Module, str, str]]) -> None:
    """Replaces convolutions and the normalisations behind them by one convolution each; computed in
    float64.

    Args:
        network: In evaluation mode.
        pairs: The module that holds them, and the names of the convolution and the normalisation.
    """
    network.double()
    for holder, convolution, normalisation in pairs:
        fused = fuse_conv_bn_eval(getattr(holder, convolution), getattr(holder, normalisation))
        setattr(holder, convolution, fused)
        setattr(holder, normalisation, nn.Identity())
    network.float()


def read_weights(name: str, card: ExtractorCard, path: Path | None = None) -> tuple[bytes, str]:
    """Returns the content of an extractor's weights file and its sha256.

    Raises:
        FileNotFoundError: It is missing.
        ValueError: It is not the one that the card names.
    """
    path = path or card.path()
    if path is None or not path.is_file():
        why = (
            f"{path}: extractor weights are missing"
            if path
            else f"extractor {name}: {card.missing()}"
        )
        raise FileNotFoundError(why)
    content = path.read_bytes()
    found = sha256(content)
    if not found.startswith(card.sha256):
        raise ValueError(
            f"{path}: altered or truncated extractor weights, or those of another network: sha256 {found[:12]}... "
            f"where {card.sha256[:12]}... was expected; {card.how or 'restore the file from the repository'}"
        )
    return content, found


def read_tensors(content: bytes) -> dict[str, Tensor]:
    """Returns the tensors of a file that torch.save wrote; nothing in it is run.

    Raises:
        ValueError: It is no such file, or one that would run code.
    """
    try:
        found = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"the file would run code when it is read, or is damaged: {_first_line(error)}"
        ) from error
    except Exception as error:  # torch.load raises whatever the bytes happen to lead to
        raise ValueError(
            f"the file is damaged or no file of weights: {_first_line(error)}"
        ) from error
    if not isinstance(found, dict) or not all(
        isinstance(value, Tensor) for value in found.values()
    ):
        raise ValueError("the file holds no mapping of names to tensors")
    return found


def _made(name: str, path: Path | None, make: Callable[[], View]) -> View:
    try:
        return make()
    except (ValueError, RuntimeError) as error:  # load_state_dict raises RuntimeError
        raise ValueError(f"{path}: these are no weights of {name}: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2])[:400] or type(error).__name__
