"""Checks of a data set: shapes, kinds and ranges of its splits, and that it is always the same."""

from collections.abc import Iterator

import numpy as np

from bench.check.finding import Finding
from bench.data.card import DataCard
from bench.data.images import Images


def check_dataset(name: str, card: DataCard) -> Iterator[Finding]:
    """Yields the findings of a data set."""
    missing = {"train", "test"} - set(card.splits)
    yield Finding("splits", not missing, ", ".join(f"{n} {k}" for n, k in card.splits.items()))
    data, again = Images(name, card), Images(name, card)
    dtype = np.dtype(np.float32 if card.kind == "real" else np.uint8)
    for split in card.splits:
        images = data.split(split)  # which compares shape and range with the card
        low, high = images.min(), images.max()
        right = images.dtype == dtype and low < high
        found = f"shape {images.shape}, {images.dtype}, from {low} to {high}"
        yield Finding(split, right, found if right else f"{found}; wanted {dtype}, not constant")
        same = data.digest(split) == again.digest(split)
        found = "equal images" if same else "other images"
        yield Finding(f"{split} read again", same, found)
        if card.classes:
            labels = data.labels(split)
            count = len(np.unique(labels))
            right = labels.shape == images.shape[:1] and labels.dtype == np.int64
            right = right and labels.min() >= 0 and labels.max() < card.classes
            yield Finding(f"{split} classes", bool(right), f"{count} of {card.classes} classes")
    if not missing:
        rows = [{image.tobytes() for image in data.split(split)} for split in ("train", "test")]
        found = f"{len(rows[0] & rows[1])} of {len(rows[1])} held-out images are training images"
        yield Finding("overlap", 2 * len(rows[0] & rows[1]) < len(rows[1]), found)
