"""What the harness must know of NCSN before torch is imported.

The bare parameters are NCSN's noise levels and its network for CIFAR-10; the papers' trainings are
presets. A suite overrides any of them by name. Standard library only.
"""

import math
from dataclasses import field
from typing import Literal

from bench.card import NetworkCost
from bench.frozen import dataclass
from methods.ncsn.counting import refinenet_cost
from methods.ncsn.presets import PRESETS, PUBLISHED, SHAPES
from methods.ncsn.sampling import SAMPLERS
from methods.ncsn.settings import LEAST_DIMS, RefineNet
from methods.shared.declaration import TINY, network_card, network_cost
from methods.shared.hyperparameters import ExactParams
from methods.shared.sampling import NO_CLASSES


@dataclass(frozen=True, kw_only=True)
class Params(ExactParams):
    """NCSN's noise levels, network and training.

    Args:
        sigma_begin: Largest noise level, in units of the data range [0, 1]; "data" is the largest
            distance between two training images (NCSNv2's technique 1).
        sigma_end: Smallest noise level.
        levels: Noise levels, falling geometrically; "overlap" is as many as ``overlap`` asks for
            (technique 2).
        overlap: Share of the noise of one level that is typical of the next larger one.
        objective: Denoising or sliced score matching of the noisy images.
        particles: Random directions per image of sliced score matching.
        anneal_power: The loss is weighed by the noise level to this power; 2 makes all levels
            equally loud.
        reduction: The loss of an image: the mean over dimensions, or the authors' half of the sum.
        backbone: The papers' own network, or the one that all methods share in controlled studies
            (``network``), which noise levels enter by their logarithm or, with positional
            embedding, by index.
        refinenet: The papers' own network.
    """

    sigma_begin: Literal["data"] | float = 1.0
    sigma_end: float = 0.01
    levels: Literal["overlap"] | int = 10
    overlap: float = 0.5
    objective: Literal["denoising", "sliced"] = "denoising"
    particles: int = 1
    anneal_power: float = 2.0
    reduction: Literal["mean", "sum"] = "mean"
    backbone: Literal["refinenet", "unet"] = "refinenet"
    refinenet: RefineNet = field(default_factory=RefineNet)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sigma_end <= 0 or (
            self.sigma_begin != "data" and self.sigma_begin <= self.sigma_end
        ):
            raise ValueError("0 < sigma_end < sigma_begin should hold")
        if self.levels != "overlap" and self.levels < 2:
            raise ValueError("levels should be at least 2, or overlap")
        if not 0 < self.overlap < 0.99:
            raise ValueError("overlap should be in (0, 0.99)")
        if self.particles < 1:
            raise ValueError("particles should be at least 1")
        if self.particles > 1 and self.objective == "denoising":
            raise ValueError("particles are of the objective sliced")
        if self.levels == "overlap" and self._by_level:
            raise ValueError("NCSN's network has parameters for each level: give levels a number")

    @property
    def any_level(self) -> bool:
        """Whether the score can be asked at any noise level, not only at those of training."""
        if self.exact:
            return True
        return (
            self.network.condition == "log"
            if self.backbone == "unet"
            else not self.refinenet.conditional
        )

    @property
    def _by_level(self) -> bool:
        return not self.exact and self.backbone == "refinenet" and self.refinenet.conditional

    def refuse(self, shape: tuple[int, int, int]) -> list[str]:
        """Returns the reasons why these cannot be for images of shape (C, H, W)."""
        if self.exact or self.backbone == "unet":
            return super().refuse(shape) + self._refuse_overlap(math.prod(shape))
        return self.refinenet.refuse(shape) + self.training.refuse()

    def _refuse_overlap(self, dims: int) -> list[str]:
        if self.levels != "overlap" or dims >= LEAST_DIMS or self.exact:
            return []
        return [
            f"levels overlap: in {dims} dimensions any two levels overlap, so that it asks for two "
            "and the network learns no others: give a number, 20 say"
        ]


def _variant(params: Params) -> str:
    if params.exact:
        return f"exact{params.mistakes.label}"
    named = [
        params.refinenet.variant if params.backbone == "refinenet" else params.network.architecture
    ]
    return ", ".join(named + ([params.objective] if params.objective == "sliced" else []))


def _networks(params: Params, shape: tuple[int, int, int], classes: int) -> tuple[NetworkCost, ...]:
    if params.exact or params.backbone == "unet":
        return network_cost(params, shape)
    # A variant that sees levels has a number of them.
    levels = params.levels if isinstance(params.levels, int) else 1
    return (refinenet_cost(params.refinenet, shape[0], levels, shape[1:]),)


CARD = network_card(
    name="ncsn",
    title="NCSN",
    version=2,
    paper="https://arxiv.org/abs/1907.05600",
    adapter="methods.ncsn.adapter:NCSN",
    params=Params,
    samplers=SAMPLERS,
    no_condition={"class": NO_CLASSES},
    variant=_variant,
    presets=PRESETS,
    shapes=SHAPES,
    published=PUBLISHED,
    checkpoints=True,
    networks=_networks,
    no_likelihood="the score is learned at separate noise levels, with no diffusion between them "
    "to follow",
    tiny={"refinenet": {"width": 4}, "training": TINY["training"]},
)
