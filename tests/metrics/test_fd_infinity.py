"""The Frechet distance of infinitely many images: right on Gaussians of known distance, and refused
below.
"""

import numpy as np
import pytest

from bench.data.images import load_images
from bench.data.registry import DATASETS
from bench.metrics.frechet import frechet_at_infinity
from bench.metrics.infinity import least_for_infinity
from bench.metrics.moments import Moments
from bench.metrics.parameters import InfinityParams
from bench.metrics.registry import METRICS
from bench.metrics.scoring import score
from bench.schema import build

DIMENSION = 24


def at_infinity(count, exact, draws=24):
    """Returns what the line says of Gaussians at that squared distance from the reference N(0, I),
    shape (draws,).
    """
    reference = Moments(np.zeros(DIMENSION), np.eye(DIMENSION), 10**6)
    scale = 1 + np.sqrt(exact / DIMENSION)
    normal = np.random.default_rng(5).normal(size=(draws, count, DIMENSION))
    return np.array([frechet_at_infinity(scale * draw, reference) for draw in normal])


# In simulations of 200 draws the line is off by -0.021, -0.011, -0.006 and -0.003 (exact 0) at
# these counts, by -0.02 and less (exact 1.2), with standard deviations of 0.09, 0.05, 0.04 and
# 0.02, and of 0.19, 0.14, 0.11 and 0.07.
@pytest.mark.parametrize(
    ("count", "deviations"), [(240, (0.09, 0.2)), (256, (0.09, 0.2)), (384, (0.06, 0.15))]
)
def test_the_line_is_right_on_gaussians_however_few_images_it_accepts(count, deviations):
    for exact, deviation in zip((0.0, 1.2), deviations, strict=True):
        found = at_infinity(count, exact)
        assert found.mean() == pytest.approx(exact, abs=0.03 + 3 * deviation / np.sqrt(len(found)))
        assert found.std() < 1.5 * deviation


def test_many_images_are_as_right_and_nearer():
    found = at_infinity(1200, 1.2, draws=8)
    assert found.mean() == pytest.approx(1.2, abs=0.1)


@pytest.mark.parametrize("dimension", [1, 2, 10])
def test_fewer_images_than_the_smallest_subsets_take_are_refused_with_the_number(dimension):
    reference = Moments(np.zeros(dimension), np.eye(dimension), 10**6)
    least = least_for_infinity(dimension)
    assert least == 10 * dimension
    features = np.random.default_rng(0).normal(size=(least, dimension))
    assert np.isfinite(frechet_at_infinity(features, reference))
    with pytest.raises(
        ValueError, match=f"in {dimension} dimensions needs {least} images, got {least - 1}"
    ):
        frechet_at_infinity(features[1:], reference)


def test_a_suite_learns_how_many_images_the_line_needs():
    needs, why = METRICS["fd_infinity"].needs(InfinityParams(), DATASETS["digits"])
    assert needs == 240
    assert "5 and more images for each of the 24 dimensions" in why
    digits = load_images("digits")
    with pytest.raises(
        ValueError, match=r"fd_infinity\(digits-cnn@8\) needs 240 images, got 239: its line"
    ):
        score([digits.test[:239]], [("fd_infinity", InfinityParams())], digits)


def test_few_images_cannot_be_allowed():
    with pytest.raises(ValueError, match="allow_few"):
        build(InfinityParams, {"allow_few": True})
