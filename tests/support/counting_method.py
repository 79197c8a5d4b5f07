"""A method whose every cost is known by hand, and a clock that passes only where a test says so."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from bench.card import Card, SamplerCard
from bench.method import Inspection, Method

WIDTH, PIXELS = 4, 64


FIRST = 2 * 9 * 1 * WIDTH * PIXELS  # 3x3 convolution of one channel


ATTENTION = (
    2 * 2 * PIXELS * PIXELS * WIDTH
)  # every pixel with every pixel, then weighted sums of pixels


LAST = 2 * WIDTH * 1 * PIXELS  # 1x1 convolution


FORWARD = FIRST + ATTENTION + LAST


BACKWARD = (
    FIRST + 2 * ATTENTION + 2 * LAST
)  # of each product's two factors; nobody asks for the images' gradient


TRAIN_SECONDS, SAMPLE_SECONDS, INSPECT_SECONDS, COUNT_SECONDS = 5.0, 3.0, 2.0, 1000.0


@dataclass(frozen=True, kw_only=True)
class Params:
    steps: int = 3


@dataclass(frozen=True, kw_only=True)
class Walk:
    steps: int = 2


CARD = Card(
    name="counting",
    title="Counting",
    version=1,
    paper="https://example.org",
    adapter="",
    params=Params,
    samplers={"walk": SamplerCard(version=1, summary="", params=Walk)},
    variant=lambda params: "",
)


class Network(nn.Module):
    """A convolution, self-attention over pixels and a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, WIDTH, 3, padding=1)
        self.last = nn.Conv2d(WIDTH, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pixels = (
            self.first(x).flatten(2).mT.contiguous()[:, None]
        )  # else no fused kernel, which nobody counts, is taken
        attended = F.scaled_dot_product_attention(pixels, pixels, pixels)
        return self.last(attended[:, 0].mT.reshape(len(x), WIDTH, *x.shape[2:]))


class Clock:
    """Time that only passes where a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def pass_(self, seconds: float) -> None:
        self.now += seconds

    def read(self) -> float:
        return self.now


class Counting(Method):
    """Calls its network three images at a time; every image is the same ramp from -0.25 to 1.25."""

    card = CARD
    chunk = 3

    def __init__(self, params: Params, data, clock: Clock) -> None:
        super().__init__(params, data)
        torch.manual_seed(0)
        self.network = Network()
        self.clock = clock

    @property
    def networks(self) -> Sequence[nn.Module]:
        return (self.network,)

    @property
    def samplers(self) -> Mapping:
        return {"walk": None}

    def loss(self, x0, noise):
        return torch.cat(
            [
                (self.network(chunk) - chunk).square().mean((1, 2, 3))
                for chunk in x0.split(self.chunk)
            ]
        )

    def train(self, data, run):
        for step in range(self.params.steps):
            self.clock.pass_(TRAIN_SECONDS)
            run.log(10 * (step + 1), loss=1.0)
            run.checkpoint(step + 1, self.network.state_dict)

    def sample(self, count, sampler, noise, given=None):
        self.clock.pass_(SAMPLE_SECONDS)
        x = noise.normal((count, 1, 8, 8))
        for _ in range(sampler.params.steps):
            x = torch.cat([self.network(chunk) for chunk in x.split(self.chunk)])
        return 0 * x + torch.linspace(-0.25, 1.25, PIXELS).view(1, 1, 8, 8)

    def inspect(self, images, noise):
        self.clock.pass_(INSPECT_SECONDS)
        return Inspection(
            torch.tensor([0.5, 1.0]).double(),
            torch.tensor([1.0, 9.0]).double(),
            images.new_ones(2, len(images)),
        )

    def state(self):
        return dict(self.network.state_dict())

    def load_state(self, state):
        self.network.load_state_dict(state)
