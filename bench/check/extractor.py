"""Checks of an extractor: shape, finiteness, and that an image's features are its own."""

from collections.abc import Iterator

import numpy as np

from bench.check.finding import Finding
from bench.data.images import Images
from bench.metrics.extractor_card import ExtractorCard
from bench.metrics.extractor_cards import refuse_extractor
from bench.metrics.extractors import Extractor

NEAR = 1e-4
"""How far features may differ, of the largest, if an image comes in another chunk."""


def check_extractor(card: ExtractorCard, data: Images) -> Iterator[Finding]:
    """Yields the findings of an extractor on images of a data set."""
    size = 4 if card.projection else max(card.least_size, data.shape[-1])
    name = f"{card.name}@{size}" if card.sized else card.name
    if reasons := refuse_extractor(name, data.card):
        yield Finding("features", None, f"not measured on {data.name}: {reasons[0]}")
        return
    extractor, images = Extractor(name, data=data), data.test[:16]
    seen = extractor(images)
    wanted = (len(images), extractor.dimension)
    right = seen.features.shape == wanted and bool(np.isfinite(seen.features).all())
    yield Finding("features", right, f"shape {seen.features.shape}, declared {wanted}, finite")
    if card.classes or seen.log_probs is not None:
        shape = None if seen.log_probs is None else seen.log_probs.shape
        wanted = (len(images), card.classes)
        yield Finding("classes", shape == wanted, f"shape {shape}, declared {wanted}")
    alone = np.concatenate([extractor(images[k : k + 1]).features for k in range(len(images))])
    off = float(np.abs(alone - seen.features).max() / max(np.abs(seen.features).max(), 1e-30))
    yield Finding("one image at a time", off < NEAR, f"features differ by {off:.1e}")
    again = Extractor(name, data=data)(images)
    same = np.array_equal(again.features, seen.features)
    yield Finding("made again", same, "gives equal features" if same else "gives other features")
