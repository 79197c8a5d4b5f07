"""What most tests of metrics start from."""

import numpy as np
import pytest

from bench.data.images import load_images


@pytest.fixture(scope="module")
def digits():
    return load_images("digits")


@pytest.fixture
def rng():
    return np.random.default_rng(0)
