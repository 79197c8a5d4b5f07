"""What a corruption is made of, as frozen plain values that the card and the code share.

Lengths are fractions of the image's width, noise is in units of the images' range, times go from 0
(data) to 1. Corruptions of a user's own are files of :mod:`methods.soft.corruptions`.

Standard library only.
"""

from dataclasses import field
from typing import TYPE_CHECKING, Literal

from bench.frozen import dataclass
from methods.soft.recipe import Recipe, recipes

KINDS = ("blur", "mask", "blur_mask", "ve", "vp", "straight", *recipes())
if TYPE_CHECKING:
    Kind = str
else:
    Kind = Literal[KINDS]
Shape = Literal["linear", "sin2", "geometric", "plateau", "levels"]


@dataclass(frozen=True, kw_only=True)
class Blur:
    """A Gaussian blur of growing width (:class:`methods.soft.operator.Blur`).

    The default ends as blurred as the paper's CelebA runs: 23 of 64 pixels.

    Args:
        schedule: How its standard deviation b grows from ``least`` to ``most``: "linear"; "sin2",
            with the squared sine of t pi / 2; "geometric"; "plateau", geometric until t =
            ``plateau`` and constant from there; or "levels", linear between levels that stand at
            equal distances in t.
        least: b at t = 0; only 0 leaves the image as it is, and geometric schedules cannot begin
            there.
        most: b at t = 1.
        plateau: Where the plateau begins.
        levels: Those of "levels", not falling; empty leaves them to the training.
        half_width: Pixels that the kernel reaches to each side, where it is cut off as in the
            paper, with the images mirrored at their edges; null is the whole Gaussian.
    """

    schedule: Shape = "linear"
    least: float = 0.0
    most: float = 23 / 64
    plateau: float = 0.25
    levels: tuple[float, ...] = ()
    half_width: int | None = None

    def __post_init__(self) -> None:
        _check_shape(self)
        if self.schedule == "sin2" and self.least != 0:
            raise ValueError("sin2 begins at 0: leave least at 0")
        if self.half_width is not None and self.half_width < 1:
            raise ValueError("half_width should be at least 1, or null for the whole Gaussian")
        if self.levels and self.schedule != "levels":
            raise ValueError(f"levels go with schedule levels, not {self.schedule}")
        if self.levels and (
            len(self.levels) < 2 or min(self.levels) < 0 or list(self.levels) != sorted(self.levels)
        ):
            raise ValueError("levels should be at least two, none negative, and should not fall")


@dataclass(frozen=True, kw_only=True)
class Mask:
    """A mask that covers pixel after pixel (:class:`methods.soft.operator.Mask`).

    Args:
        order: Which pixels go first: those at the centre ("outwards"), at the corners ("inwards"),
            or any ("random").
        width: Time that a pixel takes to fade, along a polynomial of two continuous derivatives; 0
            switches it off at once, which leaves no flow to follow and no likelihood.
        floor: What stays of a faded pixel. Above 0 the loss still sees what a faded pixel was,
            which the steps back need to know.
        seed: Of the random order.
    """

    order: Literal["outwards", "inwards", "random"] = "outwards"
    width: float = 0.4
    floor: float = 0.02
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.width <= 1:
            raise ValueError("width should be in [0, 1]")
        if not 0 <= self.floor < 1:
            raise ValueError("floor should be in [0, 1)")


@dataclass(frozen=True, kw_only=True)
class NoiseScale:
    """The standard deviation of the noise, of "blur", "mask", "blur_mask" and "ve".

    Args:
        schedule: As :class:`Blur`'s, but for "sin2" and "levels".
        least: At t = 0: what a perfect sampler leaves in its images before the last denoising.
        most: At t = 1.
        plateau: Where the plateau begins.
    """

    schedule: Literal["linear", "geometric", "plateau"] = "plateau"
    least: float = 0.01
    most: float = 0.1
    plateau: float = 0.25

    def __post_init__(self) -> None:
        _check_shape(self)
        if self.least <= 0:
            raise ValueError("least should be positive: the score divides by it")


@dataclass(frozen=True, kw_only=True)
class Preserving:
    """The rates of "vp", linear in t.

    Args:
        beta_min: At t = 0.
        beta_max: At t = 1.
    """

    beta_min: float = 0.1
    beta_max: float = 20.0

    def __post_init__(self) -> None:
        if not 0 <= self.beta_min < self.beta_max:
            raise ValueError("0 <= beta_min < beta_max should hold")


@dataclass(frozen=True, kw_only=True)
class Corruption:
    """What becomes of an image as t grows.

    Args:
        kind: Blur, mask, both (blurred first), noise alone (variance exploding, variance
            preserving, or along the straight path (1 - t) x0 + t z of flow matching), or one of
            :mod:`methods.soft.corruptions`.
        blur: Of "blur" and "blur_mask".
        mask: Of "mask" and "blur_mask".
        noise: Of all but "vp" and "straight".
        preserving: Of "vp".
    """

    kind: Kind = "blur"
    blur: Blur = field(default_factory=Blur)
    mask: Mask = field(default_factory=Mask)
    noise: NoiseScale = field(default_factory=NoiseScale)
    preserving: Preserving = field(default_factory=Preserving)

    @property
    def recipe(self) -> Recipe | None:
        """The parameters of one of :mod:`methods.soft.corruptions`, None for other kinds."""
        return getattr(self, self.kind) if self.kind in recipes() else None

    @property
    def differentiable(self) -> bool:
        """Whether the corruption has a velocity, so that there is a flow to follow."""
        if self.recipe is not None:
            return self.recipe.differentiable
        return self.kind not in ("mask", "blur_mask") or self.mask.width > 0

    @property
    def noisy_at_0(self) -> bool:
        """Whether there is noise at t = 0, so that times may end there."""
        return self.kind not in ("vp", "straight")


if TYPE_CHECKING:
    CorruptionParams = Corruption
else:
    CorruptionParams = dataclass(frozen=True, kw_only=True)(
        type(
            "CorruptionParams",
            (Corruption,),
            {
                "__module__": __name__,
                "__doc__": Corruption.__doc__,
                "__annotations__": dict(recipes()),
                **{name: field(default_factory=recipe) for name, recipe in recipes().items()},
            },
        )
    )
"""A :class:`Corruption` with the parameters of each of :mod:`methods.soft.corruptions` under its
name.
"""


def _check_shape(schedule: Blur | NoiseScale) -> None:
    if not 0 <= schedule.least < schedule.most:
        raise ValueError("0 <= least < most should hold")
    if schedule.schedule in ("geometric", "plateau") and schedule.least == 0:
        raise ValueError(f"schedule {schedule.schedule} cannot begin at 0: give a positive least")
    if not 0 < schedule.plateau < 1:
        raise ValueError("plateau should be in (0, 1)")
