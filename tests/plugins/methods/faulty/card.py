"""A method that goes wrong on request, to see what the harness makes of it."""

from dataclasses import dataclass
from typing import Literal

from bench.card import Card, SamplerCard

Fault = Literal["none", "raise", "nan", "kill", "exit"]


@dataclass(frozen=True, kw_only=True)
class Params:
    """What goes wrong in training, after which step; ``diary`` gets a line a training step."""

    fault: Fault = "none"
    steps: int = 5
    seconds_per_step: float = 0.0
    diary: str = ""


@dataclass(frozen=True, kw_only=True)
class SamplerParams:
    """What goes wrong in sampling, from which batch on (by its first draw it cannot know; so
    all).
    """

    steps: int = 2
    fault: Fault = "none"
    flag: str = ""


CARD = Card(
    name="faulty",
    title="Faulty",
    version=1,
    paper="https://example.org/faulty",
    adapter="methods.faulty.adapter:Faulty",
    params=Params,
    samplers={"walk": SamplerCard(version=1, summary="adds noise", params=SamplerParams)},
    variant=lambda params: params.fault,
    no_likelihood="it is a test",
    smoke={"steps": 1},
)
