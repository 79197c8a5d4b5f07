"""Parameters of the metrics: frozen dataclasses of plain values, all with defaults.

What a class inherits says what the metric compares: features of an extractor
(:class:`ExtractorParams`), with a split of the data set (:class:`SplitParams`), or both, when
imported statistics may take the split's place (:class:`FeatureParams`).

Standard library only.
"""

from typing import Any, Literal

from bench.frozen import dataclass
from bench.metrics.extractor_cards import extractor_card

Split = Literal["train", "test"]


def _at_least(params: Any, **least: float) -> None:
    for name, value in least.items():
        if getattr(params, name) < value:
            raise ValueError(f"{name} should be at least {value}, got {getattr(params, name)}")


@dataclass(frozen=True, kw_only=True)
class NoParams:
    """Nothing to choose."""


@dataclass(frozen=True, kw_only=True)
class ExtractorParams:
    """Whose features or class probabilities.

    Args:
        extractor: Whose features (or class probabilities): the name of an extractor.
    """

    extractor: str = "digits-cnn"

    def __post_init__(self) -> None:
        extractor_card(self.extractor)


@dataclass(frozen=True, kw_only=True)
class SplitParams:
    """What the samples are compared with.

    Args:
        reference: The split of the data set that the samples are compared with.
    """

    reference: Split = "train"


@dataclass(frozen=True, kw_only=True)
class FeatureParams(SplitParams, ExtractorParams):
    """Whose features, and what they are compared with.

    Args:
        statistics: The sha256 of a file of statistics that ``reference import`` has read; it takes
            the place of the split.
    """

    statistics: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        name = self.statistics
        if name and not (len(name) == 64 and set(name) <= set("0123456789abcdef")):
            raise ValueError(
                "statistics should be the sha256 that `run_bench.py reference import` prints, "
                f"got {name!r}"
            )


@dataclass(frozen=True, kw_only=True)
class FrechetParams(FeatureParams):
    """As for any features, and who computes the distance.

    Args:
        backend: Whose code computes the distance from mean and covariance: an audit of the
            numerical core.
        allow_few: Take fewer images than the features have dimensions: the covariance is then
            singular and the value mostly bias.
    """

    backend: Literal["own", "torch-fidelity", "clean-fid"] = "own"
    allow_few: bool = False


@dataclass(frozen=True, kw_only=True)
class InfinityParams(FeatureParams):
    """A line is fitted to the distances of subsets.

    Args:
        sizes: Subsets, of a tenth to all of the images, through which the line is laid.
    """

    sizes: int = 15

    def __post_init__(self) -> None:
        super().__post_init__()
        _at_least(self, sizes=2)


@dataclass(frozen=True, kw_only=True)
class InceptionParams(ExtractorParams):
    """Whose class probabilities, and over how many contiguous splits the score is averaged.

    One split by default: the score of n images is biased low by about (classes - 1) / 2n in its
    logarithm, so ten splits, customary with 50,000 images, would cost a few hundred images dearly;
    the spread comes from seeds instead. With the reference Inception ten are the default, because
    the bare name IS means them.

    Args:
        splits: Contiguous parts that the images are cut into before averaging; 10 with the
            reference Inception.
        backend: Whose code computes the number from the features.
    """

    splits: int = 1
    backend: Literal["own", "torch-fidelity"] = "own"

    def __post_init__(self) -> None:
        super().__post_init__()
        _at_least(self, splits=1)


@dataclass(frozen=True, kw_only=True)
class KernelParams(FeatureParams):
    """Over how many random subsets of which size the estimate is averaged.

    Args:
        subsets: Random subsets over which the estimate is averaged.
        subset_size: Images of each; of fewer images, all.
        backend: Whose code computes the number from the features.
    """

    subsets: int = 100
    subset_size: int = 1000
    backend: Literal["torch-fidelity", "clean-fid"] = "torch-fidelity"

    def __post_init__(self) -> None:
        super().__post_init__()
        _at_least(self, subsets=1, subset_size=2)


@dataclass(frozen=True, kw_only=True)
class ManifoldParams(FeatureParams):
    """Balls around images, in feature space.

    Args:
        neighbours: The neighbour whose distance is the radius of an image's ball.
    """

    neighbours: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        _at_least(self, neighbours=1)


@dataclass(frozen=True, kw_only=True)
class BallParams(FeatureParams):
    """Balls around real images, in feature space.

    Args:
        neighbours: The neighbour whose distance is the radius of an image's ball.
    """

    neighbours: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        _at_least(self, neighbours=1)


@dataclass(frozen=True, kw_only=True)
class NeighbourParams(ExtractorParams):
    """In whose features distances are measured: the pixels themselves by default."""

    extractor: str = "pixels"


@dataclass(frozen=True, kw_only=True)
class CopyParams(NeighbourParams):
    """What a near copy is.

    Args:
        fraction: A near copy is nearer to one training image than this part of the distance to the
            second nearest.
    """

    fraction: float = 1 / 3

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.fraction < 1:
            raise ValueError(f"fraction should lie between 0 and 1, got {self.fraction}")
