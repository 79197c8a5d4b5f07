"""What most tests of metrics start from."""

import numpy as np
import pytest

from bench.data.images import load_images
from bench.metrics.extractors import Extractor


@pytest.fixture(scope="module")
def digits():
    return load_images("digits")


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(scope="module")
def photos():
    return load_images("photo_tiles")


@pytest.fixture
def extracted(monkeypatch):
    """Counts the images that go through an extractor."""
    seen = []
    extract = Extractor.__call__
    monkeypatch.setattr(
        Extractor,
        "__call__",
        lambda self, images: seen.append(len(images)) or extract(self, images),
    )
    return seen
