"""From the values of images made elsewhere to the levels of a data set: which value is black, which
is white.

A file does not say it. Usually white is 255 in the files of pictures (PNG), levels - 1 in an array
of whole numbers and 1 in one of floats, and black is 0. Values that contradict this, or that could
as well be on another scale, are refused with the line to write: ``scale: WHITE`` or ``scale:
[BLACK, WHITE]`` beside ``samples_from``. With a scale a value v becomes the level round((v - black)
/ (white - black) * (levels - 1)), whatever its type.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from bench.data.fault import InputError

if TYPE_CHECKING:
    import numpy as np

Scale = tuple[float, float]
"""The values of black and white."""

PICTURE_WHITE = 255
"""White in the files of pictures."""

CHUNK = 2**22
"""Values that are converted at once: they are float64 meanwhile."""


def to_levels(
    images: np.ndarray,
    levels: int,
    path: Path,
    scale: Scale | None = None,
    *,
    usual_white: int | None = None,
) -> np.ndarray:
    """Returns images as uint8 in 0, ..., ``levels`` - 1.

    Args:
        images: Values of any scale, shape (N, C, H, W).
        levels: How many values a pixel takes in the data set.
        path: Where they lie, for messages.
        scale: The values of black and white; None: as usual.
        usual_white: What white usually is in such a file; None: what it usually is in an array.

    Raises:
        ValueError: Values outside the scale, or on an ambiguous scale; the message names the
            file and a remedy.
    """
    import numpy as np

    if images.dtype.kind not in "buif" or (
        scale is None and images.dtype != np.uint8 and images.dtype.kind != "f"
    ):
        why = f"save uint8 in 0..{levels - 1}, or floats in [0, 1]"
        if images.dtype.kind in "bui":
            likely = _guess(int(images.min()), int(images.max()), levels - 1)
            why += f"; or give what white is beside samples_from: `scale: {likely}`"
        raise InputError(f"{path}: dtype {images.dtype}; {why}")
    if images.dtype.kind == "f":
        check_finite(images, path)
    least, most = images.min().item(), images.max().item()
    black: float
    white: float
    if scale is None:
        black, white = 0, usual_white or (1 if images.dtype.kind == "f" else levels - 1)
    else:
        black, white = scale
    # What lies within the margin rounds to black or white.
    margin = 0.5 * (white - black) / (levels - 1) if images.dtype.kind == "f" else 0
    if least < black - margin or most > white + margin:
        _refuse_outside(least, most, black, white, levels - 1, path)
    if scale is None:
        _refuse_dark(most, white, levels - 1, path)
    if images.dtype == np.uint8 and (black, white) == (0, levels - 1):
        return np.ascontiguousarray(images)
    result = np.empty(images.shape, np.uint8)
    step = max(1, CHUNK // math.prod(images.shape[1:]))
    for start in range(0, len(images), step):
        part = (images[start : start + step].astype(np.float64) - black) / (white - black)
        result[start : start + step] = np.rint(np.clip(part, 0, 1) * (levels - 1))
    return result


def check_finite(images: np.ndarray, path: Path) -> None:
    """Refuses images that hold NaN or infinity.

    Raises:
        ValueError: The message says how many do.
    """
    import numpy as np

    bad = int((~np.isfinite(images)).reshape(len(images), -1).any(1).sum())
    if bad:
        raise InputError(
            f"{path}: {bad} of {len(images)} images hold NaN or infinity; leave them out, or "
            "repair them"
        )


def _refuse_outside(
    least: float, most: float, black: float, white: float, top: int, path: Path
) -> None:
    """Refuses values outside their scale, and says which they could be on."""
    raise InputError(
        f"{path}: values lie in [{least:.6g}, {most:.6g}], outside {black:g} (black) to {white:g} "
        "(white); if they are on another scale, give it beside samples_from: `scale: "
        f"{_guess(least, most, top)}`; else clip them"
    )


def _guess(least: float, most: float, top: int) -> str:
    """Returns the scale that values are most likely on."""
    if least < 0:
        bound = next((bound for bound in (0.5, 1) if max(-least, most) <= bound), None)
        return "[BLACK, WHITE]" if bound is None else f"[-{bound:g}, {bound:g}]"
    return next((f"{white}" for white in (1, top, PICTURE_WHITE) if most <= white), "WHITE")


def _refuse_dark(most: float, white: float, top: int, path: Path) -> None:
    """Refuses images that never get brighter than the first level, or than white in levels."""
    in_levels = most <= top < white
    if most > 0 and (in_levels or round(most / white * top) <= 1 < top):
        own = (
            top if in_levels and most > 1 else f"{math.ceil(most)}" if white > 1 else f"{most:.3g}"
        )
        raise InputError(
            f"{path}: the brightest value is {most:.6g} where white is {white}: give what white is "
            f"beside samples_from, `scale: {own}` if that is it, `scale: {white}` if the images "
            "are so dark"
        )
