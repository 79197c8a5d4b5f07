"""What the sections of a suite file say, each as a type of its own."""

from collections.abc import Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Literal

from bench.card import Card
from bench.data.card import DataCard
from bench.data.conditioning import RESTORATIONS, condition_values
from bench.frozen import dataclass
from bench.schema import AtLeast, NotEmpty
from bench.spec import Values
from bench.suite.fault import KeyPath

Figures = Literal["default", "none"] | Annotated[tuple[str, ...], NotEmpty()]
"""All figures but sheets of each of many models, none, or those whose names match a pattern."""


@dataclass(frozen=True, kw_only=True)
class Samples:
    """How many images a point has, their batches and seeds, and how pixels become levels.

    Args:
        count: Images per point.
        batch: Images that are made at a time; part of the key, since the noise depends on it.
        seeds: Sample seeds: every training is sampled with each of them.
        quantise: How pixels become levels: to the nearest one, or cut off as some published code
            does; ``none`` for data sets of real values, and for them only.
        precision: Of the network's products and convolutions in sampling.
    """

    count: Annotated[int, AtLeast(1)]
    batch: Annotated[int, AtLeast(1)] = 500
    seeds: tuple[int, ...] = (0,)
    quantise: Literal["round", "truncate", "none"] = "round"
    precision: Literal["float32", "bfloat16"] = "float32"


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """The held-out images whose likelihood is computed, beside the methods' parameters.

    Args:
        images: Held-out images whose bits/dim are computed, drawn at random by their content.
        batch: Images at a time.
        split: A split of the data set: ``test``, ``train`` or, where there is one, ``validation``.
        seed: Seed of the random draws.
    """

    images: Annotated[int, AtLeast(1)]
    batch: Annotated[int, AtLeast(1)] = 128
    split: str = "test"
    seed: Annotated[int, AtLeast(0)] = 0


@dataclass(frozen=True, kw_only=True)
class Inspect:
    """The held-out images that models are inspected on.

    Args:
        images: Held-out images on which every model is inspected, drawn at random.
        split: A split of the data set: ``test``, ``train`` or, where there is one, ``validation``.
        seed: Seed of the random draws.
    """

    images: Annotated[int, AtLeast(1)]
    split: str = "test"
    seed: Annotated[int, AtLeast(0)] = 0


@dataclass(frozen=True)
class Likelihood:
    """The likelihood section.

    Args:
        params: The parameters for each method that has a likelihood.
        axes: The values of each swept parameter.
        sweep: The parameters of each method at each point of the sweep.
    """

    held_out: HeldOut
    params: Mapping[str, Any]
    axes: Mapping[str, tuple[Any, ...]]
    sweep: Mapping[str, Sequence[Any]]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One metric that a suite asks for: ``params`` are its differences from the defaults."""

    name: str
    version: int
    params: Values
    column: str
    tasks: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Model:
    """A train entry that is trained, or whose weights are those of a checkpoint.

    Args:
        snapshots: Training images after which weights are kept, rising.
        ema: Relative widths of the averages of the weights that are made beside the training's own.
        weights: Which weights of the checkpoint: "ema" or "raw".
        wanted: Where a checkpoint would be taken from if it lay there; None otherwise.
    """

    card: Card
    preset: str | None
    params: Any
    seeds: tuple[int, ...]
    snapshots: tuple[int, ...] = ()
    checkpoint: Path | None = None
    weights: str = "ema"
    wanted: Path | None = None
    ema: tuple[float, ...] = ()

    @property
    def origin(self) -> str:
        """Where the authors' checkpoint of its preset comes from; empty if that is not known."""
        published = self.card.published.get(self.preset or "")
        return published.weights if published else ""

    def is_exact(self, data: DataCard) -> bool:
        """Whether an exact score takes the network's place, so that nothing is trained."""
        count = self.card.networks
        return count is not None and count(self.params, data.shape, data.classes or 1) == ()


@dataclass(frozen=True)
class Source:
    """A train entry whose images were made elsewhere.

    Args:
        path: The folder or file that holds them.
        count: How many there are; 0 if they are absent.
        scale: The values of black and white in them; None: as usual.
    """

    path: Path
    count: int = 0
    scale: tuple[float, float] | None = None


@dataclass(frozen=True)
class Sweep:
    """A point entry for one train label: a sampler, its parameters, and the axes of its grid.

    ``task`` names what it samples under, ``condition`` are the task's parameters
    (:data:`bench.data.conditioning.TASKS`). ``seeds`` are its sample seeds, None for the suite's.
    """

    path: KeyPath
    label: str
    sampler: str = ""
    times: str | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    axes: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    task: str | None = None
    condition: Any = None
    seeds: tuple[int, ...] | None = None

    @property
    def given(self) -> Values | None:
        """The condition as specs have it."""
        return None if self.task is None else condition_values(self.task, self.condition)

    def sample_seeds(self, samples: Samples) -> tuple[int, ...]:
        """Returns its own sample seeds, or else the suite's."""
        return samples.seeds if self.seeds is None else self.seeds

    def count(self, samples: Samples) -> int:
        """Returns how many images each point has: of restorations, all repeats of each image."""
        condition = self.condition
        restores = self.task in RESTORATIONS
        return condition.images * condition.repeats if restores else samples.count


@dataclass(frozen=True, kw_only=True)
class Claims:
    """Claims about one metric, stated before the run.

    Args:
        column: The metric's column.
        smallest_effect: The least difference that is of interest, in units of the metric.
        pairs: What is claimed to be better, and than what; each names groups as ``--only`` does.
        vs: What every other group of its budget is compared with, in place of ``pairs``.
    """

    path: KeyPath
    column: str
    smallest_effect: float
    pairs: tuple[tuple[str, str], ...] = ()
    vs: str | None = None


@dataclass(frozen=True, kw_only=True)
class Sections:
    """A suite file, section by section.

    Args:
        keep: How many images of a point stay once they are scored; None for all.
        most_nfe: The largest budget of network evaluations; points of larger ones are left out.
            None: no limit.
    """

    name: str
    dataset: str
    data: DataCard
    samples: Samples
    metrics: Sequence[Metric]
    train: Mapping[str, Model | Source]
    likelihood: Likelihood | None
    inspect: Inspect | None
    sweeps: Sequence[Sweep]
    claims: Sequence[Claims]
    keep: int | None
    figures: Figures
    controlled: bool
    most_nfe: int | None
