"""Inception features and Frechet distances beside torch-fidelity."""

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from measure import Row, by_turns, convolution_rate, flops_of
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

from bench.metrics.extractors import Extractor
from bench.metrics.frechet import frechet_distance, frechet_from_features
from bench.metrics.moments import statistics

sys.path.append(str(Path(__file__).resolve().parents[1] / "support"))
from standins import write_inception

DIMENSION = 2048


class Pictures:
    """What an extractor asks of a data set."""

    shape, levels = (3, 32, 32), 256


def inception() -> list[Row]:
    """Features of 8 images by the reference Inception, with stand-in weights."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    images = np.random.default_rng(0).integers(0, 256, (8, 3, 32, 32), dtype=np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        path = write_inception(Path(folder) / "inception-other.pth")
        ours = Extractor("inception-other", weights=path, data=Pictures())
        layers = ["2048", "logits_unbiased"]
        theirs = FeatureExtractorInceptionV3("inception-v3-compat", layers, str(path))
    pixels = torch.from_numpy(images)
    with torch.inference_mode():
        error = np.abs(ours(images).features - theirs(pixels)[0].numpy()).max()
        turns = by_turns(lambda: ours(images), lambda: theirs(pixels), pairs=5, warm=False)
        peak = convolution_rate()
        share = flops_of(lambda: ours(images)) / turns.medians[0] / peak
    note = f"stand-in weights; features differ by {error:.0e} at most"
    return [
        turns.row("Inception features, 8 images", "torch-fidelity", 1.7, share=share, note=note)
    ]


def their_distance(*moments) -> float:
    return fid_statistics_to_metric(*moments, False)["frechet_inception_distance"]


def features(images: int) -> np.ndarray:
    """Returns two sets of features of unlike scales, shape (2, N, D)."""
    draws = np.random.default_rng(0)
    return draws.normal(size=(2, images, DIMENSION)) * draws.uniform(0.1, 2, DIMENSION)


def frechet_covariances() -> list[Row]:
    """The distance from means and covariances of full rank in 2048 dimensions."""
    ours = [statistics(part) for part in features(3 * DIMENSION)]
    theirs = [{"mu": mean, "sigma": covariance} for mean, covariance in ours]
    return [_distances(
        lambda: frechet_distance(*ours[0], *ours[1]), lambda: their_distance(*theirs),
        "Frechet distance from covariances, 2048", 2.5,
    )]  # fmt: skip


def frechet_features() -> list[Row]:
    """The distance from the features of 1,000 images."""
    few = features(1000)

    def theirs() -> float:
        return their_distance(*(fid_features_to_statistics(torch.from_numpy(part)) for part in few))

    return [_distances(
        lambda: frechet_from_features(*few), theirs,
        "Frechet distance from 1,000 images, 2048", 11.8,
    )]  # fmt: skip


def _distances(ours, theirs, what: str, goal: float) -> Row:
    values = ours(), theirs()
    error = abs(values[0] - values[1]) / values[1]
    turns = by_turns(ours, theirs, pairs=3, least=2, warm=False)
    return turns.row(what, "torch-fidelity", goal, note=f"values differ by {error:.0e}")
