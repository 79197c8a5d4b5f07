"""The contract that an adapter meets: train, sample, score.

``train`` makes weights, ``sample`` makes images, ``score`` makes the per-image numbers that only
the model can give. Adapters never see a suite, the store or the executor; the harness never sees a
network, except through :attr:`Method.networks`, whose calls it counts.

Shapes: B images, C channels, H x W pixels. Time: t = 0 is data, t = 1 is noise.
"""

import dataclasses
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.card import Card, cards, load
from bench.data.images import Images
from bench.frozen import dataclass
from bench.schema import build


class Noise:
    """A stream of random draws, named by a seed and a path of names:
    ``Noise(0).child("batch").child(3)``.

    Every random draw of every loss, sampler and score comes from one, so equal names give equal
    draws whatever else has been drawn, and a test can pass one that replays recorded numbers. Draws
    are made on the CPU in float32 and contiguous, then moved, so that they do not depend on device,
    precision or memory layout.
    """

    def __init__(
        self,
        seed: int,
        path: tuple[str | int, ...] = (),
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.seed = seed
        self.path = path
        self.device = torch.device(device)
        self.dtype = dtype
        digest = hashlib.sha256(repr((int(seed), *path)).encode()).digest()
        self.generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)

    def child(self, name: str | int) -> "Noise":
        """Returns the stream of that name below this one, always from its beginning."""
        return type(self)(self.seed, (*self.path, name), device=self.device, dtype=self.dtype)

    def normal(self, shape: Sequence[int]) -> Tensor:
        """Returns standard normal draws of the given shape."""
        return self._move(torch.randn(tuple(shape), generator=self.generator))

    def uniform(self, shape: Sequence[int]) -> Tensor:
        """Returns draws from U[0, 1) of the given shape."""
        return self._move(torch.rand(tuple(shape), generator=self.generator))

    def integers(self, shape: Sequence[int], high: int) -> Tensor:
        """Returns int64 draws from 0, ..., high - 1 of the given shape."""
        return self._move(torch.randint(high, tuple(shape), generator=self.generator), torch.int64)

    def rademacher(self, shape: Sequence[int]) -> Tensor:
        """Returns draws of -1 and +1 of the given shape."""
        return self._move(torch.randint(2, tuple(shape), generator=self.generator).float() * 2 - 1)

    def _move(self, draws: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        if self.device.type == "cuda":  # from pinned memory the host does not wait for the copy
            draws = draws.pin_memory()
        return draws.to(device=self.device, dtype=dtype or self.dtype, non_blocking=True)


@dataclass(frozen=True)
class Sampler:
    """A sampler as a suite asks for it: its name, its time grid and its parameters, plain
    values.
    """

    name: str
    times: str
    params: Any


@dataclass(frozen=True)
class Condition:
    """What is known of the images to sample, and nothing else of them.

    Args:
        task: "inpainting", "colourisation" or "class" (:mod:`bench.data.conditioning`).
        images: Images in [0, 1], shape (B, C, H, W), with 0 in place of unknown pixels, or grey in
            all channels.
        known: Which pixels are known, bool, shape (B, 1, H, W); for inpainting.
        labels: The class of each image, int64, shape (B,); for "class".
    """

    task: str
    images: Tensor | None = None
    known: Tensor | None = None
    labels: Tensor | None = None


@dataclasses.dataclass
class Run:
    """What a training may ask of the harness.

    Args:
        seed: The training seed; :meth:`noise` is the stream of a step.
        device: Where to train.
        restore: Returns (finished steps, tensors) of the last checkpoint, or None at a fresh start.
        checkpoint: Call after every step with (finished steps, a function that returns the tensors
            to resume from); the harness decides when to write, and raises to stop a run that was
            asked to.
        announce: Call once with the number of steps that the training takes, for those who watch.
        log: Call with (images seen, named values) for the training curves.
        keep: Call with (images seen, a function that returns tensors) where the card says that
            averages of the weights are kept, before the checkpoint after that step;
            :meth:`Method.take_average` gets them back.
        until: Stop after the first update with which so many training images are seen; None trains
            to the end. All else is as in the whole training, so that the updates after it would be
            those of a longer one.
        compiled: Train through torch.compile.
        rank: Which of the processes that share the training this is. All draw the whole batch and
            what it needs of randomness, and take their part of it.
        world: How many processes share the training, through torch.distributed.
    """

    seed: int
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    restore: Callable[[], tuple[int, dict[str, Tensor]] | None] = lambda: None
    checkpoint: Callable[[int, Callable[[], dict[str, Tensor]]], None] = lambda step, tensors: None
    announce: Callable[[int], None] = lambda steps: None
    log: Callable[..., None] = lambda images, **values: None
    keep: Callable[[int, Callable[[], dict[str, Tensor]]], None] = lambda images, tensors: None
    until: int | None = None
    compiled: bool = False
    rank: int = 0
    world: int = 1

    def noise(self, *path: str | int) -> Noise:
        """Returns the stream of that name, a function of the training seed and the path alone."""
        return Noise(self.seed, ("train", *path), device=self.device)


@dataclasses.dataclass
class Scored:
    """Per-image numbers of :meth:`Method.score`, each of shape (B,), and what they cost.

    Args:
        values: Numbers by name, ``bits_per_dim`` first of all; ``bits_per_dim_draw_variance`` is
            the variance of an image's value over its random draws (dequantisations, probes), where
            there were several to tell it from.
        identity: What the numbers depend on, to be shown with them (eps, the floor it implies,
            tolerances).
    """

    values: dict[str, Tensor]
    identity: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Curve:
    """A line to draw: y over x, both of shape (N,), with the names of the axes, units included."""

    x: Tensor
    y: Tensor
    x_label: str
    y_label: str


@dataclass(frozen=True)
class Inspection:
    """What a trained model shows of itself on held-out images (:meth:`Method.inspect`).

    Args:
        times: Times t at which the loss was taken, rising, float64, shape (L,).
        noise_levels: The standard deviation of the noise over the factor of the image at these
            times, shape (L,); NaN if a corruption has no such number.
        losses: The denoising loss of each image at each time, in the method's own weighting, shape
            (L, B).
        weighting: What that weighting is, in words: losses of one method and equal words share a
            picture.
        strips: Images to show by title, shape (rows, columns, C, H, W), nominally in [0, 1].
        curves: What training fitted, by title.
    """

    times: Tensor
    noise_levels: Tensor
    losses: Tensor
    weighting: str = ""
    strips: Mapping[str, Tensor] = field(default_factory=dict)
    curves: Mapping[str, Curve] = field(default_factory=dict)


class Method(ABC):
    """One paper's method.

    Args:
        params: An instance of ``card.params``.
        data: The data set's shape, levels and splits; its images are read in :meth:`train` alone.
    """

    card: Card

    def __init__(self, params: Any, data: Images, device: torch.device | str = "cpu") -> None:
        self.params = params
        self.image_shape = data.shape
        self.levels = data.levels
        self.device = torch.device(device)

    @property
    @abstractmethod
    def networks(self) -> Sequence[nn.Module]:
        """The modules whose forward passes count as network evaluations, as used for sampling."""

    @abstractmethod
    def loss(self, x0: Tensor, noise: Noise) -> Tensor:
        """Returns the training loss of each image, shape (B,), for images in [0, 1] of shape (B, C,
        H, W).
        """

    def other_losses(
        self, data: Images, seed: int
    ) -> Sequence[tuple[Callable[[int], Tensor], int]]:
        """Returns what training minimises besides :meth:`loss`, so that its cost can be counted:
        none.

        Each is (the losses of so many training images, as a function of their number; the images
        that it sees in all).
        """
        return ()

    @abstractmethod
    def train(self, data: Images, run: Run) -> None:
        """Trains on ``data.train``, resuming exactly where ``run.restore()`` left off."""

    @abstractmethod
    def sample(
        self, count: int, sampler: Sampler, noise: Noise, given: Condition | None = None
    ) -> Tensor:
        """Returns ``count`` images, shape (B, C, H, W), nominally in [0, 1] and not yet clipped or
        rounded.

        Args:
            given: What is known of them; only of tasks among the sampler's conditions on the card.
        """

    def score(self, images: Tensor, noise: Noise, params: Any) -> Scored:
        """Returns per-image numbers for ``images`` in {0, ..., levels - 1} (int64, shape (B, C, H,
        W)).

        Of data sets of real values, which have no levels (0), they are in [0, 1], float64. Only
        called if the card has a likelihood; ``params`` is an instance of
        ``card.likelihood.params``.
        """
        raise NotImplementedError(
            f"{self.card.title} gives no likelihood: {self.card.no_likelihood}"
        )

    def inspect(self, images: Tensor, noise: Noise) -> Inspection:
        """Returns the loss of the averaged weights on held-out images at about ten noise levels,
        and what else to show.

        Only called if the card has an ``inspection``.

        Args:
            images: In [0, 1], shape (B, C, H, W).
            noise: Equal draws at every noise level.
        """
        raise NotImplementedError(f"{self.card.title} has no inspection")

    def fit_start(self, data: Images, run: Run) -> None:  # noqa: B027
        """Fits where sampling starts to ``data.train``, if that is fitted; called once
        weights are imported.
        """

    def import_checkpoint(self, path: Path, weights: str) -> dict[str, Any]:
        """Takes over weights that were trained elsewhere; returns what the checkpoint tells of
        itself, plain values.

        Among them "weights" says which were taken if not those that were asked for, "note" what
        rows should say.

        Only called if the card says ``checkpoints``.

        Args:
            path: A file or folder as its makers published it.
            weights: "ema" for the average of the weights, "raw" for the last ones.

        Raises:
            ValueError: It cannot be read safely, or is not of this network.
        """
        raise NotImplementedError(f"{self.card.title} imports no published checkpoints")

    def take_average(
        self, width: float, kept: Mapping[int, Callable[[], Mapping[str, Tensor]]]
    ) -> dict[str, Any]:
        """Samples and scores from another average of the weights from now on; returns facts for its
        record.

        Only called if the card says that averages are kept.

        Args:
            width: The average's relative width: the standard deviation of the times that it
                averages over, weighed as it weighs them, over the length of the training.
            kept: Reads what ``run.keep`` was given, by training images seen; the last is the time
                of the average.
        """
        raise NotImplementedError(f"{self.card.title} keeps no averages of its weights")

    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """Returns everything that training made: network, its average, fitted constants."""

    @abstractmethod
    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Puts back what :meth:`state` returned."""


def load_method(
    name: str, params: Mapping[str, Any], data: Images, device: torch.device | str = "cpu"
) -> Method:
    """Returns the adapter of method ``name`` built from the values that differ from its
    defaults.
    """
    card = cards()[name]
    adapter = load(card.adapter)
    adapter = adapter if isinstance(adapter, type) else adapter()
    method = adapter(build(card.params, params), data, device)
    method.card = card
    return method


@contextmanager
def evaluated(
    networks: Sequence[nn.Module], *, precision: str = "float32", compiled: bool = False
) -> Iterator[None]:
    """Lets networks compute in another way; their weights, inputs and outputs stay float32, and so
    does all else.

    Args:
        precision: "float32", or "bfloat16": torch's autocast of products and convolutions.
        compiled: Whether the forward pass goes through torch.compile.

    Raises:
        ValueError: bfloat16 is asked of what has no weights: an exact score, which is computed in
            float64.
    """
    if precision == "bfloat16" and not all(
        any(True for _ in network.parameters()) for network in networks
    ):
        raise ValueError("an exact score is computed in float64: leave precision at float32")
    for network in networks:
        forward = _compiled(network.forward) if compiled else network.forward
        network.forward = _in_bfloat16(forward, network) if precision == "bfloat16" else forward
    try:
        yield
    finally:
        for network in networks:
            del network.forward  # the class's own shows again


def _compiled(forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    # Dropout draws as it would without the compiler, since compiling is not in any key.
    return torch.compile(forward, options={"fallback_random": True})


def _in_bfloat16(forward: Callable[..., Tensor], network: nn.Module) -> Callable[..., Tensor]:
    device = next(network.parameters()).device.type

    def call(*inputs: Tensor) -> Tensor:
        with torch.autocast(device, torch.bfloat16):
            output = forward(*inputs)
        return output.float()

    return call
