"""How CLD's likelihood is bounded, plain values. Standard library only."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from bench.frozen import dataclass
from methods.shared.hyperparameters import LikelihoodParams


@dataclass(frozen=True, kw_only=True)
class CLDLikelihoodParams(LikelihoodParams):
    """How the bound on the log-density of images is computed
    (:func:`methods.cld.likelihood.bound`).

    Args:
        velocities: Velocities drawn for each dequantised image.
        importance_weighted: Whether they are averaged as probabilities, for a tighter bound, or as
            log-probabilities.
        entropy: What is subtracted for the velocities: their own log-density, which takes most of
            the variance out of the bound, or its expectation as the authors do.
    """

    velocities: int = 1
    importance_weighted: bool = False
    entropy: Literal["drawn", "expected"] = "drawn"

    quiet: ClassVar[Mapping[str, Any]] = {
        **LikelihoodParams.quiet,
        "importance_weighted": False,
        "entropy": "drawn",
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.velocities < 1:
            raise ValueError("velocities should be at least 1")
        if not self.importance_weighted:
            return
        if self.probe != "exact":
            raise ValueError(
                "importance_weighted averages densities, and a density from random probes is on "
                "average too large, "
                "so that nothing is bounded: take probe exact"
            )
        if self.entropy == "expected":
            raise ValueError(
                "importance_weighted weighs each velocity by its own density: entropy should stay "
                "drawn"
            )
