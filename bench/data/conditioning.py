"""What a suite may condition samples on: parts of held-out images, their grey, or a class.

Sample i of a point restores image i modulo ``images``, so all images come round once a repeat, or
has class i modulo the number of classes. Neither depends on how many samples there are: more
repeats add batches. A method only receives the condition, never the rest of the image.

Standard library only: a suite is checked without numpy.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from bench.data.card import DataCard
from bench.frozen import dataclass
from bench.schema import build, differences
from bench.spec import DRAWING_RULE

if TYPE_CHECKING:
    import numpy as np

    from bench.data.images import Images

SPLIT = "test"


@dataclass(frozen=True, kw_only=True)
class Inpainting:
    """Pixels of held-out images are known, the others are to be filled in.

    Args:
        mask: What is hidden: a half, the central quarter (half of the height and width), or each
            pixel with probability 1/2, drawn anew for each image.
        images: How many images, drawn from the split (:mod:`bench.data.subset`).
        repeats: Samples of each.
    """

    mask: Literal["left", "right", "top", "bottom", "centre", "random"] = "centre"
    images: int = 16
    repeats: int = 4

    def __post_init__(self) -> None:
        _check_counts(self.images, self.repeats)


@dataclass(frozen=True, kw_only=True)
class Colourisation:
    """The mean over the colours of held-out images is known, the colours are to be found.

    Args:
        images: How many images, drawn from the split (:mod:`bench.data.subset`).
        repeats: Samples of each.
    """

    images: int = 16
    repeats: int = 4

    def __post_init__(self) -> None:
        _check_counts(self.images, self.repeats)


@dataclass(frozen=True, kw_only=True)
class Class:
    """The class of the images is known.

    Args:
        label: The class, or all in turn.
    """

    label: Literal["all"] | int = "all"


def _check_counts(images: int, repeats: int) -> None:
    if images < 1 or repeats < 1:
        raise ValueError("images and repeats should be at least 1")


TASKS: Mapping[str, type] = MappingProxyType(
    {"inpainting": Inpainting, "colourisation": Colourisation, "class": Class}
)
RESTORATIONS = ("inpainting", "colourisation")
"""Tasks that have a true image to compare with."""


def refuse(task: str, params: Any, data: DataCard) -> list[str]:
    """Returns why a data set cannot be conditioned on so (nothing: an empty list)."""
    if data.kind == "real":
        return ["images are conditioned on, and the values of the data set are real"]
    reasons = []
    if task == "colourisation" and data.shape[0] != 3:
        reasons.append(f"colourisation asks for images of 3 channels, not {data.shape[0]}")
    if task in RESTORATIONS and params.images > data.splits.get(SPLIT, 0):
        reasons.append(
            f"the split {SPLIT} has {data.splits.get(SPLIT, 0)} images, not {params.images}"
        )
    if task == "class" and not data.classes:
        reasons.append("the data set has no classes")
    elif task == "class" and params.label != "all" and not 0 <= params.label < data.classes:
        reasons.append(
            f"label should be all, or a class from 0 to {data.classes - 1}, got {params.label}"
        )
    return reasons


def describe(values: Mapping[str, Any]) -> str:
    """Returns the condition for a person: ``inpainting left``."""
    params = condition(values)
    match params:
        case Inpainting():
            return f"inpainting {params.mask}"
        case Class():
            return f"class {params.label}"
    return values["task"]


def condition(values: Mapping[str, Any]) -> Any:
    """Returns the parameters of :data:`TASKS` for the ``given`` of a sample spec."""
    return build(
        TASKS[values["task"]],
        {name: value for name, value in values.items() if name not in ("task", "drawn")},
    )


def condition_values(task: str, params: Any) -> dict[str, Any]:
    """Returns the ``given`` of a spec: all that a batch depends on, so not how many repeats there
    are.

    If images are restored, ``drawn`` is the version of the rule that says which
    (:mod:`bench.data.subset`).
    """
    values = {name: value for name, value in differences(params).items() if name != "repeats"}
    return {"task": task, **values, **({"drawn": DRAWING_RULE} if task in RESTORATIONS else {})}


@dataclass(frozen=True)
class Truth:
    """What samples are to be, for N of them.

    Args:
        task: A name of :data:`TASKS`.
        image: Which image each sample restores, or its class; int64, shape (N,).
        images: These images in levels, uint8, shape (N, C, H, W); None for classes.
        known: Which pixels are known, bool, shape (N, 1, H, W); None but for inpainting.
    """

    task: str
    image: np.ndarray
    images: np.ndarray | None = None
    known: np.ndarray | None = None

    @property
    def restored(self) -> np.ndarray:
        """The images.

        Raises:
            ValueError: Samples of a class restore none.
        """
        if self.images is None:
            raise ValueError("samples of a class restore no image")
        return self.images

    def known_part(self, images: np.ndarray) -> np.ndarray:
        """Returns what is known of N images, floats of shape (N, C, H, W): a projection."""
        import numpy as np

        if self.known is not None:
            return np.where(self.known, images, 0)
        return np.broadcast_to(images.mean(1, keepdims=True), images.shape)

    def known_dimensions(self) -> np.ndarray:
        """Returns the dimensions of the known part of each image, shape (N,)."""
        import numpy as np

        channels, height, width = self.restored.shape[1:]
        if self.known is not None:
            return channels * self.known.sum((1, 2, 3))
        return np.full(len(self.restored), height * width)


def truth(values: Mapping[str, Any], data: Images, first: int, count: int) -> Truth:
    """Returns what samples ``first``, ..., ``first + count - 1`` are to be."""
    import numpy as np

    params, task = condition(values), values["task"]
    number = np.arange(first, first + count)
    if task == "class":
        return Truth(
            task, number % data.classes if params.label == "all" else np.full(count, params.label)
        )
    index = number % params.images
    known = None
    if task == "inpainting":
        known = np.stack(
            [~_hidden(params.mask, data.shape, image) for image in range(params.images)]
        )[index]
    return Truth(task, index, data.drawn(SPLIT, index), known)


def _hidden(mask: str, shape: tuple[int, int, int], image: int) -> np.ndarray:
    """Returns which pixels of an image are hidden, bool, shape (1, H, W)."""
    import numpy as np

    _, height, width = shape
    if mask == "random":
        return np.random.default_rng([image, height, width]).random((1, height, width)) < 0.5
    hidden = np.zeros((1, height, width), dtype=bool)
    across, down = (
        slice(width // 4, width // 4 + width // 2),
        slice(height // 4, height // 4 + height // 2),
    )
    where = {
        "left": (slice(None), slice(width // 2)),
        "right": (slice(None), slice(width - width // 2, None)),
        "top": (slice(height // 2), slice(None)),
        "bottom": (slice(height - height // 2, None), slice(None)),
        "centre": (down, across),
    }
    hidden[:, *where[mask]] = True
    return hidden
