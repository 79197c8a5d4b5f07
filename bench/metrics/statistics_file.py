"""Files of reference statistics that papers ship: read, checked, imported into the store, exported.

They are imported under the sha256 of the file: ``mu`` and ``sigma`` (TTUR, pytorch-fid, clean-fid,
guided-diffusion), or features under ``pool_3`` (score_sde) or ``feats`` (clean-fid). Exported files
hold ``mu``, ``sigma``, ``count``, ``identity`` and, if asked for, ``pool_3``.
"""

import io
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bench.data.archive import archive_errors
from bench.data.fault import InputError
from bench.data.filenames import printable
from bench.data.images import Images
from bench.data.npz import check_claims
from bench.files import hash_file
from bench.metrics.extractors import Extractor
from bench.metrics.moments import Moments
from bench.metrics.references import FEATURES, MOMENTS, References, identify, put_moments
from bench.store import REFERENCES, Store, UnitId

POOLS = ("pool_3", "pool3", "feats", "features", "activations", "acts", "act")
"""Names under which files of features hold them."""

WANTED = ("mu", "sigma", "count", *POOLS)
"""Arrays that a file of statistics is read for."""

AGREEMENT = 1e-3
"""Largest difference between moments and those of the features beside them, over their spread."""

ROUNDING = 1e-6
"""Imaginary, asymmetric or negative parts of a covariance, over its largest value, by rounding."""

RANK = 1e-5
"""Eigenvalues above this part of the largest count towards a covariance's rank."""

UNKNOWN = 2**31
"""The number of images of a file that does not name it: large, like those of whole data sets."""


def read_statistics(path: Path) -> tuple[Moments, np.ndarray | None]:
    """Returns the moments of a file of reference statistics, and the features if it holds them.

    Raises:
        ValueError: It is no such file, would run code, holds what can be no mean and covariance, or
            what disagrees with itself; the message names the file.
    """
    arrays = _arrays_of(path)
    try:
        return _statistics_of(arrays)
    except ValueError as error:
        raise InputError(f"{path}: no reference statistics: {error}") from error


def _arrays_of(path: Path) -> dict[str, np.ndarray]:
    """Returns the arrays of an .npz file that are named in :data:`WANTED`; nothing in it is run.

    Raises:
        ValueError: It cannot be read, or holds none; the message names the file.
    """
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            raise InputError("it is a single array, not an .npz file")
        with loaded:
            names = list(loaded)
            check_claims(path, WANTED, "get it again", "it would run code when it is read")
            arrays = {name: loaded[name] for name in WANTED if name in names}
    except FileNotFoundError as error:
        raise InputError(f"{path}: there is no such file") from error
    except archive_errors(ValueError, SyntaxError) as error:
        why = str(error).removeprefix(f"{printable(path)}: ").removeprefix(f"{printable(path)} ")
        why = why or "it is cut short"
        if "allow_pickle" in why:  # what numpy says of any file that is no array
            why = "it would run code when it is read" if _is_pickle(path) else "it is no .npz file"
        raise InputError(f"{path}: no reference statistics: {why}") from error
    if not {"mu", "sigma"} <= set(arrays) and not set(POOLS) & set(arrays):
        held, pools = ", ".join(names) or "nothing", " or ".join(POOLS)
        raise InputError(
            f"{path}: no reference statistics: it holds {held}, neither mu and sigma nor {pools}"
        )
    return arrays


def _is_pickle(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(1) == b"\x80"


def _statistics_of(arrays: Mapping[str, np.ndarray]) -> tuple[Moments, np.ndarray | None]:
    """Returns moments, and the features if they are among the arrays; checks all of them."""
    mean, covariance = (
        _real(arrays[name], name) if name in arrays else None for name in ("mu", "sigma")
    )
    count = _count(arrays["count"]) if "count" in arrays else None
    pools = [name for name in POOLS if name in arrays]
    if mean is not None and covariance is not None:
        _check_moments(mean, covariance)
    if not pools:
        if count is not None and covariance is not None:
            _check_rank(covariance, count)
        return Moments(mean, covariance, UNKNOWN if count is None else count), None
    features = arrays[pools[0]]
    pool, shape, dtype = pools[0], features.shape, features.dtype
    if features.ndim != 2 or len(features) < 2 or dtype.kind != "f":
        raise InputError(f"{pool} has shape {shape} and type {dtype}, not (images, D) of floats")
    for name in pools[1:]:
        if not np.array_equal(features, arrays[name]):
            raise InputError(f"it holds {pool} and {name}, and they differ: leave one of them out")
    moments = Moments()
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, len(features), 4096):
            moments.add(features[start : start + 4096])
        theirs = moments.statistics()[1]
    if not np.isfinite(theirs).all():
        raise InputError(f"the covariance of {pool} is beyond the largest number")
    if not theirs.any():
        raise InputError(
            f"{pool} holds the same features {len(features)} times: they are of equal images"
        )
    if count is not None and count != len(features):
        raise InputError(
            f"count is {count}, and {pool} holds the features of {len(features)} images"
        )
    _check_agreement(mean, covariance, moments, pool)
    return moments, features


def _real(values: np.ndarray, name: str) -> np.ndarray:
    """Returns numbers as float64; an imaginary part may only be rounding."""
    if values.dtype.kind not in "fiuc":
        raise InputError(f"{name} is of type {values.dtype}, not of numbers")
    if not np.isfinite(values).all():
        raise InputError(f"{name} holds NaN or infinity")
    if values.dtype.kind == "c" and values.size:
        imaginary, real = float(np.abs(values.imag).max()), float(np.abs(values.real).max())
        if imaginary > ROUNDING * real:
            raise InputError(
                f"{name} has an imaginary part of up to {imaginary:.3g} beside real values of up "
                f"to {real:.3g}: more than rounding leaves; compute it again from the features"
            )
        values = values.real
    return values.astype(np.float64)


def _count(value: np.ndarray) -> int:
    """Returns a file's number of images."""
    if value.size != 1 or value.dtype.kind not in "fiu":
        raise InputError(
            "count should be one whole number, and is of shape "
            f"{value.shape} and type {value.dtype}"
        )
    number = value.reshape(()).item()
    if not math.isfinite(number) or number != math.floor(number):
        raise InputError(f"count is {number}, and should be a whole number of images")
    if not 2 <= number < UNKNOWN:
        raise InputError(
            f"count is {int(number)}: a covariance is of at least 2 images (and of fewer than "
            f"{UNKNOWN:,})"
        )
    return int(number)


def _check_moments(mean: np.ndarray, covariance: np.ndarray) -> None:
    d = mean.size
    if not d or mean.shape != (d,) or covariance.shape != (d, d):
        raise InputError(
            f"mu and sigma have shapes {mean.shape} and {covariance.shape}, not (D,) and (D, D)"
        )
    scale = float(np.abs(covariance).max())
    if not scale:
        raise InputError("sigma is 0 everywhere: it would be of equal images")
    apart = np.abs(covariance - covariance.T)
    if apart.max() > ROUNDING * scale:
        i, j = np.unravel_index(apart.argmax(), apart.shape)
        values = (
            f"sigma[{i}, {j}] is {covariance[i, j]:.6g}, sigma[{j}, {i}] is {covariance[j, i]:.6g}"
        )
        raise InputError(f"sigma is not symmetric: {values}")
    least = np.linalg.eigvalsh(covariance)[0]
    if least < -ROUNDING * max(np.trace(covariance), scale):
        raise InputError(f"sigma has the negative eigenvalue {least:.3g}: it is no covariance")


def _check_rank(covariance: np.ndarray, count: int) -> None:
    """Refuses a covariance that so few images cannot have."""
    if count > len(covariance):
        return
    values = np.linalg.eigvalsh(covariance)
    rank = int((values > RANK * values[-1]).sum())
    if rank > count - 1:
        raise InputError(
            f"count is {count}, and sigma has rank {rank}: of so many images it is at most "
            f"{count - 1}"
        )


def _check_agreement(
    mean: np.ndarray | None, covariance: np.ndarray | None, moments: Moments, pool: str
) -> None:
    """Refuses a mean or covariance that is not that of the features beside it."""
    expected_mean, expected_covariance = moments.statistics()
    spread = float(np.trace(expected_covariance) / len(expected_covariance))
    for name, actual, expected, unit in (
        ("mu", mean, expected_mean, math.sqrt(spread)),
        ("sigma", covariance, expected_covariance, spread),
    ):
        if actual is None:
            continue
        if actual.shape != expected.shape:
            raise InputError(
                f"{name} has shape {actual.shape}, and that of {pool} has {expected.shape}"
            )
        apart = np.abs(actual - expected)
        if name == "sigma":  # it may be divided by n
            biased = expected * ((moments.count - 1) / moments.count)
            apart = np.minimum(apart, np.abs(actual - biased))
        if apart.max() > AGREEMENT * unit + ROUNDING * float(np.abs(expected).max()):
            where = np.unravel_index(apart.argmax(), apart.shape)
            place = ", ".join(map(str, where))
            raise InputError(
                f"{name}[{place}] is {actual[where]:.6g}, and that of the features {pool} beside "
                f"it is {expected[where]:.6g}: they are of unlike images; leave one of them out"
            )


def import_statistics(store: Store, path: Path) -> str:
    """Imports a file of statistics into the store; returns the sha256 that suites name it by.

    Raises:
        ValueError: See :func:`read_statistics`.
    """
    moments, features = read_statistics(path)
    sha256 = hash_file(path)
    count = None if moments.count == UNKNOWN else moments.count
    facts = {"file": path.name, "sha256": sha256, "images": count, "dimension": moments.dimension}
    put_moments(store, sha256, moments, facts)
    if features is not None:
        unit, buffer = UnitId(REFERENCES, sha256, FEATURES), io.BytesIO()
        np.save(buffer, np.ascontiguousarray(features))
        store.finish(unit, {"of": facts}, {".npy": buffer.getvalue()})
    return sha256


def describe_statistics(facts: Mapping[str, Any]) -> str:
    """Returns what an imported file holds, for a person, and what speaks against it."""
    images, dimension = facts["images"], facts["dimension"]
    if images is None:
        return f"{facts['file']}: of an unknown number of images, {dimension} dimensions"
    text = f"{facts['file']}: of {images:,} images, {dimension} dimensions"
    singular = "; fewer images than dimensions: the covariance is singular"
    return text + (singular if images <= dimension else "")


def export_statistics(
    references: References, data: Images, split: str, extractor: Extractor, features: bool
) -> bytes:
    """Returns the content of an .npz file with a split's statistics; equal ones, equal bytes."""
    uses = {MOMENTS, FEATURES} if features else {MOMENTS}
    summary = references.get(data, split, extractor, uses)
    mean, covariance = summary.moments.statistics()
    count = np.asarray(summary.moments.count)
    arrays: dict[str, Any] = {"mu": mean, "sigma": covariance, "count": count}
    arrays["identity"] = np.asarray(json.dumps(identify(data, split, extractor), sort_keys=True))
    if features:
        arrays["pool_3"] = np.asarray(summary.features)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()
