"""The metrics of torch-fidelity and clean-fid on computed features: nothing is fetched or resized.

torch-fidelity's functions take tensors and do not bound their memory: distances are computed in
blocks of :data:`BLOCK` rows. clean-fid's draw from numpy's global generator, which is seeded for
them and restored.
"""

import functools
import importlib.metadata
import warnings
from collections.abc import Iterator

import numpy as np
import torch
from scipy import linalg

BLOCK = 1000
"""Rows of a distance matrix that are in memory at once."""

SEED = 2020


@functools.cache
def version(package: str) -> str:
    """Returns name and version of an installed package: ``torch-fidelity 0.4.0``."""
    return f"{package} {importlib.metadata.version(package)}"


def fid_of_torch_fidelity(
    mean1: np.ndarray, cov1: np.ndarray, mean2: np.ndarray, cov2: np.ndarray
) -> float:
    """Returns torch-fidelity's Frechet distance of two Gaussians; may lie below 0 by rounding."""
    from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_statistics_to_metric

    sides = [
        {"mu": mean, "sigma": covariance} for mean, covariance in ((mean1, cov1), (mean2, cov2))
    ]
    return fid_statistics_to_metric(*sides, False)[KEY_METRIC_FID]


def fid_of_clean_fid(
    mean1: np.ndarray, cov1: np.ndarray, mean2: np.ndarray, cov2: np.ndarray
) -> float:
    """Returns clean-fid's Frechet distance of two Gaussians.

    Raises:
        ValueError: scipy no longer has ``sqrtm(disp=...)``, or its square root has no value.
    """
    from cleanfid.fid import frechet_distance

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", linalg.LinAlgWarning)
        try:
            return float(frechet_distance(mean1, cov1, mean2, cov2))
        except TypeError as error:
            why = "clean-fid's distance needs scipy < 1.18: pip install 'scipy<1.18'"
            raise ValueError(why) from error
        except np.linalg.LinAlgError as error:
            raise ValueError(f"clean-fid's matrix square root fails: {error}") from error


def is_of_torch_fidelity(log_probs: np.ndarray, splits: int) -> float:
    """Returns torch-fidelity's inception score over splits of (N, classes) log probabilities."""
    from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, isc_features_to_metric

    scores = isc_features_to_metric(torch.from_numpy(log_probs), splits, False, 0)
    return scores[KEY_METRIC_ISC_MEAN]


def kid_of_torch_fidelity(
    samples: np.ndarray, real: np.ndarray, subsets: int, subset_size: int
) -> float:
    """Returns torch-fidelity's kernel distance, the mean over random subsets of features (N, D).

    Raises:
        ValueError: Features that are not finite.
    """
    from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, kid_features_to_metric

    _check_finite(samples, real)
    size = min(subset_size, len(samples), len(real))
    options = {"kid_subsets": subsets, "kid_subset_size": size, "rng_seed": SEED, "verbose": False}
    scores = kid_features_to_metric(*_tensors(samples, real), **options)
    return scores[KEY_METRIC_KID_MEAN]


def kid_of_clean_fid(
    samples: np.ndarray, real: np.ndarray, subsets: int, subset_size: int
) -> float:
    """Returns clean-fid's kernel distance, by the same estimator over subsets of its own."""
    from cleanfid.fid import kernel_distance

    _check_finite(samples, real)
    before = np.random.get_state()  # noqa: NPY002
    try:
        np.random.seed(SEED)  # noqa: NPY002
        sizes = {"num_subsets": subsets, "max_subset_size": subset_size}
        return kernel_distance(samples, np.asarray(real), **sizes)
    finally:
        np.random.set_state(before)  # noqa: NPY002


def radii(features: np.ndarray, neighbours: int) -> np.ndarray:
    """Returns the distance of each feature to its k-th neighbour: of shape (N, D), shape (N,).

    Raises:
        ValueError: Too few images for so many neighbours, or features that are not finite.
    """
    from torch_fidelity.metric_prc import calc_cdist_part

    if len(features) <= neighbours:
        raise ValueError(f"{neighbours} neighbours need more images than {len(features)}")
    _check_finite(features)
    (whole,) = _tensors(features)
    nearest = [
        calc_cdist_part(part, whole, BLOCK).kthvalue(neighbours + 1).values
        for part in whole.split(BLOCK)
    ]
    return torch.cat(nearest).numpy()


def precision_and_recall(
    samples: np.ndarray, real: np.ndarray, neighbours: int, real_radii: np.ndarray | None = None
) -> tuple[float, float]:
    """Returns torch-fidelity's precision and recall of features (N, D), bit by bit.

    Args:
        samples: Features of the samples.
        real: Features of the real images.
        neighbours: k, for the radius of a ball.
        real_radii: The :func:`radii` of the real images, if already computed: they cost the square
            of their number.

    Raises:
        ValueError: Too few images for so many neighbours, or features that are not finite.
    """
    if (least := min(len(samples), len(real))) <= neighbours:
        raise ValueError(f"{neighbours} neighbours need more images than {least}")
    if real_radii is None:
        real_radii = radii(real, neighbours)
    return _covered(samples, real, real_radii), _covered(real, samples, radii(samples, neighbours))


def distances(features: np.ndarray, centres: np.ndarray) -> Iterator[np.ndarray]:
    """Yields the distances of some features at a time, (N, D), to all centres, (M, D), as
    :func:`radii` computes them.

    Raises:
        ValueError: Features that are not finite.
    """
    from torch_fidelity.metric_prc import calc_cdist_part

    _check_finite(features, centres)
    points, around = _tensors(features, centres)
    for part in points.split(BLOCK):
        yield calc_cdist_part(part, around, BLOCK).numpy()


def _covered(features: np.ndarray, centres: np.ndarray, reaches: np.ndarray) -> float:
    """Returns the share of features that lie in a ball of one of the centres."""
    from torch_fidelity.metric_prc import calc_cdist_part

    points, around = _tensors(features, centres)
    within = torch.from_numpy(reaches)
    inside = [
        (calc_cdist_part(part, around, BLOCK) <= within).any(dim=1).float()
        for part in points.split(BLOCK)
    ]
    return torch.cat(inside).mean().item()


def _check_finite(*sides: np.ndarray) -> None:
    for features in sides:
        for start in range(0, len(features), BLOCK):
            if not np.isfinite(features[start : start + BLOCK]).all():
                raise ValueError("features are NaN or infinite")


def _tensors(*sides: np.ndarray) -> list[torch.Tensor]:
    """Returns tensors that share the memory of arrays of one type, which may be mapped files."""
    kind = np.result_type(*sides)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return [torch.from_numpy(np.asarray(side, kind)) for side in sides]
