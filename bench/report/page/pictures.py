"""A few samples of each row as a small picture inside the page, and how many of them are noise."""

import base64
import io
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from PIL import Image

from bench.data.images import load_images
from bench.report.figures.canvas import tile
from bench.report.records import Records
from bench.report.results import Results

SHOWN = 16
COLUMNS = 8
JUDGED = 64
"""Samples of a row that are judged, and real images that they are held against times four."""
ROUGHER = 1.25
"""A noise tile is rougher than the roughest real image by this factor."""
FLAGGED = 0.05
"""Share of noise tiles above which a row is flagged."""
SMALL = 3000
"""Bytes up to which a picture stays without loss; larger ones are compressed."""


class Picture(NamedTuple):
    """Samples of one row.

    Args:
        uri: The picture itself, ``data:image/...``.
        warning: Empty unless many samples are noise.
    """

    uri: str
    caption: str
    warning: str


def pictures(results: Results, records: Records) -> dict[int, Picture]:
    """Returns samples of the rows whose images are still in the store, by place in the leaderboard.

    They are the first ones of the first seeds: equal noise in every row.
    """
    data = load_images(results.dataset)
    if data.kind == "real" or data.shape[0] not in (1, 3):
        return {}
    limit, found = _limit(data), {}
    for index in results.board.index:
        group = results.group_at(index)
        seeds = (group.column(name) for name in ("train_seed", "sample_seed", "key"))
        first = min(zip(*seeds, strict=True), key=_missing_last)
        images = records.images(first[-1], JUDGED)
        if len(images):
            found[int(index)] = _picture(images, data.levels, limit)
    return found


def _missing_last(seeds: tuple[Any, ...]) -> list[tuple[bool, Any]]:
    """Returns what sorts two seeds, those that are missing last."""
    return [(True, 0) if pd.isna(seed) else (False, seed) for seed in seeds[:2]]


def _limit(data: object) -> float | None:
    """Returns the roughness above which an image is noise, None without real images."""
    try:
        real = data.drawn("test", slice(4 * JUDGED))  # type: ignore[attr-defined]
    except FileNotFoundError:
        return None
    return ROUGHER * float(roughness(real).max()) if len(real) else None


def roughness(images: np.ndarray) -> np.ndarray:
    """Returns the mean difference between neighbouring pixels of each image, shape (N,).

    Args:
        images: Shape (N, C, H, W).
    """
    values = images.astype(np.float64)
    down, across = np.abs(np.diff(values, axis=2)), np.abs(np.diff(values, axis=3))
    return down.mean((1, 2, 3)) + across.mean((1, 2, 3))


def _picture(images: np.ndarray, levels: int, limit: float | None) -> Picture:
    shown = images[:SHOWN]
    caption = f"The first {len(shown)} samples of the first seeds, not selected."
    warning = ""
    if limit is not None:
        noisy = int((roughness(images) > limit).sum())
        if noisy > FLAGGED * len(images):
            warning = f"{noisy} of {len(images)} are noise: rougher than any real image."
    return Picture(data_uri(tile(shown, COLUMNS, levels)), caption, warning)


def data_uri(sheet: np.ndarray) -> str:
    """Returns an image of shape (height, width, 3) in [0, 1] as a URI that holds it."""
    image = Image.fromarray(np.rint(sheet * 255).astype(np.uint8))
    content, kind = io.BytesIO(), "png"
    image.save(content, "PNG", optimize=True)
    if content.tell() > SMALL:
        content, kind = io.BytesIO(), "webp"
        image.save(content, "WEBP", quality=88)
    return f"data:image/{kind};base64,{base64.b64encode(content.getvalue()).decode()}"
