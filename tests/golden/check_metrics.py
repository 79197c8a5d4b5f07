"""Checks of the Frechet distance and the inception score against exact answers, from golden/oracle.

The recorded kernel distances (``kid_*``) and inception scores of parts of equal size (``*_floor``)
are of metrics that are not here, so nothing reads them.
"""

import re
from pathlib import Path

import numpy as np

from bench.metrics.frechet import frechet_distance, frechet_from_features
from bench.metrics.inception import inception_score
from bench.metrics.moments import statistics


def check_frechet(path: Path, entry: dict, manifest: dict) -> None:
    relative, absolute, singular, by_factors = numbers(
        manifest["tolerances"]["frechet"],
        r"^rel (\S+) or abs (\S+?)\*.*near-singular.*: abs (\S+?)\*.*, (\S+) rel for the SVD form",
    )
    arrays = np.load(path)
    for case in sorted(name.removesuffix("_m1") for name in arrays if name.endswith("_m1")):
        mean1, cov1, mean2, cov2 = (arrays[f"{case}_{name}"] for name in ("m1", "S1", "m2", "S2"))
        exact, spread = float(arrays[f"{case}_fd"]), np.trace(cov1) + np.trace(cov2)
        allowed = (
            singular * spread
            if case.startswith("rankdef")
            else max(relative * exact, absolute * spread)
        )
        for value in (
            frechet_distance(mean1, cov1, mean2, cov2),
            frechet_distance(mean2, cov2, mean1, cov1),
        ):
            assert np.isfinite(value), case
            assert abs(value - exact) <= allowed, case

    features1, features2, exact = arrays["feat1"], arrays["feat2"], float(arrays["feat_fd_ddof1"])
    assert abs(frechet_from_features(features1, features2) - exact) <= by_factors * exact
    moments = (*statistics(features1), *statistics(features2))
    assert abs(frechet_distance(*moments) - exact) <= singular * (
        np.trace(moments[1]) + np.trace(moments[3])
    )

    data = [path.with_name(f"data_{name}.npz") for name in ("gauss", "lowrank")]
    if "self_gauss_vs_other" in arrays and all(file.exists() for file in data):
        moments = [np.load(file)[name] for file in data for name in ("mean", "cov")]
        exact = float(arrays["self_gauss_vs_other"])
        assert abs(frechet_distance(*moments) - exact) <= relative * exact


def check_inception_score(path: Path, entry: dict, manifest: dict) -> None:
    (allowed,) = numbers(manifest["tolerances"]["inception"], r"^(\S+)$")
    arrays = np.load(path)
    for case in sorted(name.removesuffix("_p") for name in arrays if name.endswith("_p")):
        probabilities = arrays[f"{case}_p"]
        names = [name for name in arrays if name.startswith(f"{case}_is_")]
        assert names, f"{case} has no scores"
        for name in names:
            kind = name.removeprefix(f"{case}_is_")
            if kind.endswith(
                "_floor"
            ):  # parts of equal size, the rest left out, as nothing here does
                continue
            splits = (
                1 if kind == "analytic" else int(re.fullmatch(r"(\d+)split(?:_contig)?", kind)[1])
            )
            exact = np.atleast_1d(arrays[name])
            found = np.array(inception_score(probabilities, splits)[: exact.size])
            np.testing.assert_allclose(found, exact, rtol=0, atol=allowed, err_msg=name)


def numbers(text: str, pattern: str) -> list[float]:
    """Returns the numbers that ``pattern`` picks from the manifest's text on a tolerance."""
    found = re.search(pattern, text)
    assert found, f"the manifest states its tolerance otherwise: {text!r}"
    return [float(number) for number in found.groups()]


CHECKS = {"oracle/frechet": check_frechet, "oracle/inception_score": check_inception_score}
