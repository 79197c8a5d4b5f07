"""Checks of golden/cld on single operations: filters, embeddings, grids, distances, splittings."""

import re
from functools import partial
from pathlib import Path

import numpy as np
import torch
from cld_arrays import GRIDS, close, numbers, process_of, tolerance_of
from exact import Constant, Replay
from torch import Tensor
from torch.nn import functional as F

from bench.data.synthetic import diamond, swiss_rolls
from bench.metrics.frechet import frechet_from_features
from methods.cld.process import CLD
from methods.cld.samplers import sscs
from methods.shared.grids import grid
from methods.shared.layers import (
    Fourier,
    Positional,
    Resample,
    fir_down,
    fir_for_strided,
    fir_kernel,
    fir_up,
)
from methods.shared.likelihood import bits_per_dim
from methods.shared.process import like
from methods.shared.training import average_decay, under, update_average


def check_filters(path: Path, entry: dict, manifest: dict) -> None:
    arrays, tolerance = numbers(path, entry), tolerance_of(entry)
    x = arrays["in/x"]
    for name in under("out/down_", arrays):
        kernel = fir_kernel(tuple(map(float, name)) if len(name) > 1 else (1.0, 1.0))
        close(fir_up(x, kernel), arrays[f"out/up_{name}"], tolerance)
        close(fir_down(x, kernel), arrays[f"out/down_{name}"], tolerance)
        strided = F.conv2d(fir_for_strided(x, kernel), arrays["in/w"], stride=2)
        close(strided, arrays[f"out/convdown_{name}"], tolerance)
    close(Resample("up", fir=False)(x), arrays["out/naive_up"], tolerance)
    close(Resample("down", fir=False)(x), arrays["out/naive_down"], tolerance)


def check_embeddings(path: Path, entry: dict, manifest: dict) -> None:
    """Phases reach thousands of radians, so the features show the order in which float32 multiplies
    them.
    """
    arrays, tolerance = numbers(path, entry), tolerance_of(entry)
    for width, expected in under("out/positional_", arrays).items():
        close(Positional(int(width))(arrays["in/t"]), expected, tolerance)
    fourier = Fourier(len(arrays["in/fourier_W"]), 16.0)
    fourier.frequencies.copy_(arrays["in/fourier_W"])
    close(fourier(arrays["in/t"].log()), arrays["out/fourier"], tolerance)


def check_grids(path: Path, entry: dict, manifest: dict) -> None:
    for name, expected in under("out/", numbers(path, entry)).items():
        kind, steps, eps = name.split("_")
        times = grid(GRIDS[kind], CLD(), int(steps), float(eps))
        close(1 - times, expected, tolerance_of(entry))


def check_frechet(path: Path, entry: dict, manifest: dict) -> None:
    arrays = numbers(path, entry)
    distance = frechet_from_features(arrays["in/a"].numpy(), arrays["in/b"].numpy())
    close(torch.tensor(distance), arrays["out/fid"], tolerance_of(entry))


def check_bits(path: Path, entry: dict, manifest: dict) -> None:
    arrays, dims = (
        numbers(path, entry),
        int(re.search(r"D = (\d+)", " ".join(manifest["notes_for_tests"]))[1]),
    )
    for name, width in {"centred": 2, "noncentred": 1}.items():
        close(
            bits_per_dim(-arrays["in/nll"], dims, 256, width),
            arrays[f"out/{name}"],
            tolerance_of(entry),
        )


def check_average(path: Path, entry: dict, manifest: dict) -> None:
    for name, expected in under("out/ema_", numbers(path, entry)).items():
        average = [torch.zeros((), dtype=torch.float64)]
        for n, shadow in enumerate(expected, start=1):
            update_average(
                average,
                [torch.tensor(float(n), dtype=torch.float64)],
                average_decay(float(name), n, True),
            )
            close(average[0], shadow, tolerance_of(entry))


def check_splitting(path: Path, entry: dict, manifest: dict) -> None:
    """SSCS's exact part, of which two halves are a whole, and its score's part, from which the
    halves are undone.
    """
    config, arrays, tolerance = entry["config"], numbers(path, entry), tolerance_of(entry)
    a, b, c = map(float, re.search(r"LinNet \[(.*?)\]", entry["score_step"])[1].split(","))
    process = process_of(config)

    def score_fn(u: Tensor, t: Tensor) -> Tensor:
        x, v = u.chunk(2, 1)
        out = a * x + b * v + c * torch.sin(3 * t)[:, None]
        return -like(process.score_scale(t), v) * out - v / like(process.covariance(t).vv, v)

    u = arrays["in/u"].double()
    unit = torch.eye(4, dtype=torch.float64).view(4, 2, 2)
    draws = [
        unit[:, k] for k in range(2)
    ]  # each draw's two numbers at a time, and nothing of the other
    for k, (tau, step) in enumerate(
        zip(arrays["in/t"].tolist(), arrays["in/dt"].tolist(), strict=True)
    ):
        times = torch.tensor([1 - tau, 1 - tau - step], dtype=torch.float64)
        at_rest = partial(sscs, process, lambda u, t: -u.chunk(2, 1)[1] / process.mass)
        close(at_rest(u, times, Constant(0.0)), arrays["out/mean"][k], tolerance)
        spread = at_rest(torch.zeros(4, 2, dtype=torch.float64), times, Replay(*draws))
        entries = torch.stack(
            [spread[:, 0].square().sum(), spread.prod(1).sum(), spread[:, 1].square().sum()]
        )
        close(entries, arrays["out/cov"][k], tolerance)

        middle = times.mean()
        before, after = (
            backwards(process, *pair) for pair in ((times[0], middle), (middle, times[1]))
        )
        moved = sscs(process, score_fn, u @ torch.linalg.inv(before).T, times, Constant(0.0))
        close(moved @ torch.linalg.inv(after).T, arrays["out/score_step"][k], tolerance)


def backwards(process: CLD, t: Tensor, s: Tensor) -> Tensor:
    """Returns the matrix that takes (x, v) from t back to s < t where nothing but SSCS's exact part
    acts.
    """
    sign = torch.tensor([1.0, -1.0], dtype=torch.float64)
    return sign[:, None] * process.transition(t, s)[0] * sign


TOYS = {"multimodal_swissroll": swiss_rolls, "diamond": diamond}
"""The authors' names of toy distributions, and ours."""


def check_toy(path: Path, entry: dict, manifest: dict) -> None:
    """In float32, as they leave the authors' generator."""
    expected = numbers(path, entry)["out/x"]
    count, seed = map(
        int,
        re.search(r"\(dataset, (\d+)\) after numpy\.random\.seed\((\d+)\)", entry["what"]).groups(),
    )
    points = TOYS[entry["case"].removeprefix("toy_")](count, np.random.RandomState(seed))
    close(torch.from_numpy(points), expected, tolerance_of(entry))


OPERATIONS = {
    "fir": check_filters,
    "embeddings": check_embeddings,
    "grids": check_grids,
    "frechet": check_frechet,
    "bpd": check_bits,
    "ema": check_average,
    "sscs_A_": check_splitting,
    "toy_": check_toy,
}
"""Checks of the cases of ops.npz by how their names begin."""


def check_operation(path: Path, entry: dict, manifest: dict) -> None:
    (check,) = [check for name, check in OPERATIONS.items() if entry["case"].startswith(name)]
    check(path, entry, manifest)


CHECKS = {"cld/ops": check_operation}
