"""A small suite and the made-up cards that it names."""

from dataclasses import dataclass, field
from typing import Literal

from bench.card import Card, Effort, LikelihoodCard, Published, SamplerCard, adaptive
from bench.data.card import DataCard
from bench.metrics.card import MetricCard


@dataclass(frozen=True, kw_only=True)
class Net:
    width: int = 8
    multipliers: tuple[int, ...] = (1, 2)


@dataclass(frozen=True, kw_only=True)
class Params:
    process: Literal["vp", "ve"] = "vp"
    sigma_min: float = 0.01
    sigma_max: Literal["data"] | float = "data"
    steps: int = 100
    net: Net = field(default_factory=Net)

    def __post_init__(self):
        if self.sigma_min <= 0:
            raise ValueError("sigma_min should be positive")


@dataclass(frozen=True, kw_only=True)
class Heun:
    steps: int = 18
    snr: float = 0.16


@dataclass(frozen=True, kw_only=True)
class Adaptive:
    tolerance: float = 1e-5


@dataclass(frozen=True, kw_only=True)
class Likelihood:
    tolerance: float = 1e-5
    probes: int = 1

    def __post_init__(self):
        if self.tolerance <= 0:
            raise ValueError("tolerance should be positive")


@dataclass(frozen=True, kw_only=True)
class Distance:
    reference: Literal["train", "test"] = "train"


CARDS = {
    "sde": Card(
        name="sde",
        title="SDE",
        version=3,
        paper="https://example.org",
        adapter="methods.none:None",
        params=Params,
        samplers={
            "heun": SamplerCard(
                version=2,
                summary="",
                params=Heun,
                effort=Effort(evaluations=lambda p: 2 * p.steps - 1),
                times=("rho7", "uniform"),
                refuse=lambda m, p, times: (
                    ["snr 0.5 asks for VE"] if p.snr == 0.5 and m.process == "vp" else []
                ),
            ),
            "levels": SamplerCard(
                version=1, summary="", params=Heun, effort=Effort(evaluations=lambda p: 3 * p.steps)
            ),
            "adaptive": SamplerCard(version=1, summary="", params=Adaptive, effort=adaptive()),
        },
        presets={"wide": {"net": {"width": 32}}},
        shapes={"wide": (1, 8, 8)},
        published={
            "wide": Published(
                sampler="heun",
                params={"steps": 7, "snr": 0.2},
                times="uniform",
                weights="the shelf has it",
            )
        },
        checkpoints=True,
        variant=lambda p: p.process,
        likelihood=LikelihoodCard(version=4, params=Likelihood),
        refuse=lambda p, shape: (
            [f"width 7 does not fit {shape[-1]} pixels"] if p.net.width == 7 else []
        ),
        smoke={"steps": 2},
    ),
    "plain": Card(
        name="plain",
        title="Plain",
        version=1,
        paper="https://example.org",
        adapter="methods.none:None",
        params=Net,
        samplers={"jump": SamplerCard(version=1, summary="", params=Heun)},
        variant=lambda p: "",
        no_likelihood="its model is no density",
    ),
}


DATASETS = {
    name: DataCard(
        version=1,
        summary="",
        shape=shape,
        levels=17,
        splits={"train": 1437, "test": 360},
        split_rule="",
        load=lambda split: None,
    )
    for name, shape in {"digits": (1, 8, 8), "faces": (3, 8, 8)}.items()
}


class DistanceCard(MetricCard):
    def column(self, params):
        return f"fd({params.reference})"

    def reference(self, params):
        return params.reference

    def refuse(self, params, data):
        return ["reads grey images"] if data.shape[0] != 1 else []


METRICS = {
    "fd": DistanceCard(
        name="fd",
        version=5,
        summary="",
        params=Distance,
        higher_is_better=False,
        measure=None,
        least_count=lambda p, data: 240,
    )
}


GOOD = """\
name: study
dataset: digits
metrics: [fd]
samples: {count: 256, batch: 128}
likelihood: {images: 64}
train:
  vp: {method: sde}
points:
  - {train: vp, sampler: heun, grid: {nfe: [5, 10]}}
"""


def with_line(number, text):
    """Returns the good suite with one line replaced."""
    lines = GOOD.splitlines()
    lines[number - 1] = text
    return "\n".join(lines) + "\n"
