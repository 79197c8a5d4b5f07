"""Times the Frechet distance of 1000 images in 2048 dimensions against torch-fidelity's.

Both start from the features and run in one process on equal threads; the ratio is what counts, not
the seconds.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

from bench.metrics.frechet import frechet_distance, frechet_from_features
from bench.metrics.moments import statistics


def timed(compute: Callable[[], float]) -> tuple[float, float]:
    start = time.perf_counter()
    value = compute()
    return value, time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--dimension", type=int, default=2048)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    features = rng.normal(size=(2, options.images, options.dimension)) @ np.diag(
        rng.uniform(0.1, 2, options.dimension)
    )

    def theirs() -> float:
        moments = [fid_features_to_statistics(torch.from_numpy(part)) for part in features]
        return fid_statistics_to_metric(*moments, False)["frechet_inception_distance"]

    print(f"{options.images} images, {options.dimension} dimensions")
    reference, slow = timed(theirs)
    print(f"torch-fidelity      {slow:8.2f} s             distance {reference:.8g}")
    for name, compute in (
        ("from features", lambda: frechet_from_features(*features)),
        (
            "from covariances",
            lambda: frechet_distance(*statistics(features[0]), *statistics(features[1])),
        ),
    ):
        value, seconds = timed(compute)
        print(f"{name:<18} {seconds:8.2f} s  {slow / seconds:6.1f} x  distance {value:.8g}")


if __name__ == "__main__":
    main()
