"""Checks of golden/oracle: processes, samplers, likelihood and loss against exact answers, in
float64.
"""

import math
import re
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from exact import Constant, Mixture, Replay, frechet

from methods.shared.flow import flow_euler, flow_heun
from methods.shared.isotropic import ddim
from methods.shared.likelihood import bits_per_dim, flow_and_divergence, log_likelihood, unit_probes
from methods.shared.objective import denoising_loss
from methods.shared.predictor_corrector import predictor_corrector
from methods.shared.process import VE, VP, SubVP
from methods.shared.samplers import (
    ancestral,
    denoise,
    euler_maruyama,
    reverse_diffusion,
)

PROCESSES = {"ve": VE, "vp": VP, "subvp": SubVP}

SAMPLERS = {
    "em": partial(euler_maruyama, last_noise=True),
    "ve_reverse_diffusion": partial(reverse_diffusion, last_noise=True),
    "vp_reverse_diffusion": partial(reverse_diffusion, last_noise=True),
    "ve_reverse_diffusion_pf": partial(reverse_diffusion, probability_flow=True),
    "ve_ancestral": partial(ancestral, last_noise=True),
    "vp_ancestral": partial(ancestral, variance="transition", last_noise=True),
    "ve_pc_ald": partial(predictor_corrector, corrector="ald", first="predictor", last_noise=True),
    "ddim": ddim,
    "pf_euler": partial(flow_euler, variable="t"),
    "pf_heun": partial(flow_heun, variable="t", last="heun"),
}

PARTS = {"ve_pc_ald": ({"corrector": "none"}, {"predictor": "none"})}
"""What to change of a sampler for each of the updates that make up its step, where there are
several.
"""


LOSSES: list = []
"""What other methods' modules check of the files of losses, each called as a check is."""


def tolerance(manifest: dict, kind: str, words: str) -> float:
    """Returns the number that follows ``words`` in the manifest's text on this kind's
    tolerances.
    """
    found = re.search(re.escape(words) + r"\s+([0-9.]+e-?[0-9]+)", manifest["tolerances"][kind])
    assert found, f"the manifest states no {words!r} for {kind}: {manifest['tolerances'][kind]}"
    return float(found[1])


def check_data(path: Path, entry: dict, manifest: dict) -> None:
    arrays = read(path)
    mean, covariance = data_of(path, path.stem.split("_", 1)[1]).mean_and_covariance()
    rtol = tolerance(manifest, "sampler_cov", "rtol")
    close(mean, arrays["mean"], rtol)
    close(covariance, arrays["cov"], rtol)


def check_point(path: Path, entry: dict, manifest: dict) -> None:
    arrays, (_, name, kind) = read(path), path.stem.split("__")
    data, process = data_of(path, name), process_of(kind, manifest)
    mean, covariance = data.mean_and_covariance()
    score_fn = data.score_fn(process)
    smallest = arrays["t"].argmin()
    for i, t in enumerate(arrays["t"]):
        x = arrays["x"][i].view(-1, *data.shape)
        times = t.expand(len(x))
        m, s = process.mean_coefficient(times), process.std(times)
        velocity, divergence = flow_and_divergence(process, score_fn, x, times, unit_probes(x))
        lenient = name == "lowrank" and i == smallest
        rtol = tolerance(manifest, "point", "smallest t rtol" if lenient else "rtol")
        close(data.log_prob(x, m, s), arrays["logp"][i], rtol)
        close(score_fn(x, times).flatten(1), arrays["score"][i], rtol)
        close(denoise(process, score_fn, x, t.item()).flatten(1), arrays["x0hat"][i], rtol)
        close(m[0] * mean, arrays["mean_t"][i], rtol)
        marginal = m[0] ** 2 * covariance + s[0] ** 2 * torch.eye(len(mean), dtype=torch.float64)
        close(marginal.diagonal(), arrays["var_t"][i], rtol)
        if f"cov_t{i}" in arrays:
            close(marginal, arrays[f"cov_t{i}"], rtol)
        rtol_v, rtol_div = (
            tolerance(manifest, "point", f"{quantity} rtol") for quantity in ("pf_v", "pf_div")
        )
        close(velocity.flatten(1), arrays["pf_v"][i], max(rtol, rtol_v))
        close(divergence, arrays["pf_div"][i], max(rtol, rtol_div))


def check_likelihood(path: Path, entry: dict, manifest: dict) -> None:
    arrays, (_, name, kind) = read(path), path.stem.split("__")
    data, process = data_of(path, name), process_of(kind, manifest)
    x, eps = arrays["x"].view(-1, *data.shape), arrays["eps"].item()
    solver = tolerance(manifest, "lik_ode", "rtol = atol =")
    nats = tolerance(manifest, "lik_ode", "judge at")
    log_prob, z = log_likelihood(
        process, data.score_fn(process), x, Replay(), eps=eps, tolerance=solver, probe="exact"
    )
    close(log_prob, arrays["logp_model"], atol=nats)
    close(process.prior_log_prob(z), arrays["logprior_T"], atol=nats)
    at_eps = (
        process.mean_coefficient(arrays["eps"]).expand(len(x)),
        process.std(arrays["eps"]).expand(len(x)),
    )
    close(data.log_prob(x, *at_eps), arrays["logp_eps"], atol=nats)
    dims = x[0].numel()
    close(
        bits_per_dim(log_prob, dims, levels=1, width=1),
        arrays["bpd_model"],
        atol=nats / (dims * np.log(2)),
    )


def check_loss(path: Path, entry: dict, manifest: dict) -> None:
    """The parts of VE, VP and sub-VP, then those of other methods."""
    for check in LOSSES:
        check(path, entry, manifest)
    arrays, name = read(path), path.stem.split("__")[1]
    data, rtol = data_of(path, name), tolerance(manifest, "point", "rtol")
    x0, t, z = arrays["x0"].view(-1, *data.shape), arrays["t"], arrays["z"].view(-1, *data.shape)
    for kind in PROCESSES:
        process = process_of(kind, manifest)
        mean, std = process.perturb(x0, t)
        close((mean + std * z).flatten(1), arrays[f"{kind}_xt"], rtol)
        loss = denoising_loss(process, data.score_fn(process), x0, t, z)
        close(loss, arrays[f"{kind}_loss_mean"], rtol)
        close(loss * z[0].numel(), arrays[f"{kind}_loss_sum"], rtol)
        weighted = denoising_loss(process, data.score_fn(process), x0, t, z, weighting="likelihood")
        close(weighted * z[0].numel(), arrays[f"{kind}_loss_lik_sum"], rtol)


def check_sampler(path: Path, entry: dict, manifest: dict) -> None:
    arrays, (_, name, kind, sampler) = read(path), path.stem.split("__")
    data, process = data_of(path, name), process_of(kind, manifest)
    whole = partial(SAMPLERS[sampler], **stated(sampler, manifest))
    parts = [partial(whole, **changes) for changes in PARTS.get(sampler, ({},))]
    check_trajectory(whole, parts, data, process, arrays, manifest, name)
    for grid in ("lin", "quad"):
        if any(key.endswith(grid) for key in arrays):
            for position, steps in enumerate(arrays["K"].tolist()):
                times = oracle_grid(grid, steps, arrays["t_end"].item())
                check_moments(parts, data, process, arrays, manifest, grid, times, position)


def stated(sampler: str, manifest: dict) -> dict:
    """Returns what the manifest says of a sampler in numbers: its corrector's step is (r s)^2, ours
    2 (snr s)^2.
    """
    if "corrector" not in getattr(SAMPLERS[sampler], "keywords", {}):
        return {}
    found = re.search(r"a=\(([0-9.]+) s_tn\)\^2", manifest["samplers"][sampler])
    return {"snr": float(found[1]) / math.sqrt(2)}


def check_trajectory(
    sampler, parts: list, data: Mixture, process, arrays: dict, manifest: dict, name: str
) -> None:
    """Every recorded state, from the state before it and its noise, and the end from the
    beginning.
    """
    shape = (-1, *data.shape)
    times, noises = arrays["traj_t"], [draw.view(shape) for draw in arrays["traj_noise"]]
    states = [state.view(shape) for state in arrays["traj_states"]]
    score_fn, atol = data.score_fn(process), tolerance(manifest, "traj", "atol")
    close(process.std(times), arrays["traj_s"], tolerance(manifest, "point", "rtol"))
    close(states[0], arrays["traj_init"].view(shape), atol=atol)
    for k in range(len(states) - 1):
        step, part = k // len(parts), parts[k % len(parts)]
        update = part(
            process, score_fn, states[k], times[step : step + 2], Replay(*noises[k : k + 1])
        )
        close(update, states[k + 1], atol=atol)
    noise = Replay(*noises)
    x = sampler(process, score_fn, states[0], times, noise)
    close(x, states[-1], atol=atol)
    assert not noise.draws, "the sampler drew less noise than recorded"
    if name == "lowrank":
        atol = tolerance(manifest, "traj", "lowrank traj_denoised")
    denoised = denoise(process, score_fn, states[-1], times[-1].item())
    close(denoised.flatten(1), arrays["traj_denoised"], atol=atol)


def check_moments(
    parts: list, data, process, arrays: dict, manifest: dict, grid: str, times, position: int
) -> None:
    """The exact moments of the output: for Gaussian data each step is x -> A x + b + c z."""
    score_fn, rtol = data.score_fn(process), tolerance(manifest, "sampler_cov", "rtol")
    pairs = [(part, times[k : k + 2]) for k in range(len(times) - 1) for part in parts]
    steps = [affine_step(part, process, score_fn, data.shape, pair) for part, pair in pairs]
    matrices, shifts, stds = zip(*steps, strict=True)
    clean, offset = affine(lambda x: denoise(process, score_fn, x, times[-1].item()), data.shape)
    mean0, covariance0 = data.mean_and_covariance()
    identity = torch.eye(len(mean0), dtype=torch.float64)
    m, s = process.mean_coefficient(times[:1]), process.std(times[:1])
    starts = {
        "exact": (m * mean0, m**2 * covariance0 + s**2 * identity),
        "prior": (torch.zeros_like(mean0), process.prior_std**2 * identity),
    }
    for init, (mean, covariance) in starts.items():
        if f"fd_data_{init}_{grid}" not in arrays:
            continue
        for matrix, shift, std in zip(matrices, shifts, stds, strict=True):
            mean, covariance = (
                matrix @ mean + shift,
                matrix @ covariance @ matrix.T + std**2 * identity,
            )
        count = len(times) - 1
        if grid == "lin" and f"cov_{init}_K{count}" in arrays:
            close(mean, arrays[f"mean_{init}_K{count}"], rtol)
            close(covariance, arrays[f"cov_{init}_K{count}"], rtol)
        scale = float(covariance.trace() + covariance0.trace())
        distance = frechet(mean, covariance, mean0, covariance0)
        close(distance, arrays[f"fd_data_{init}_{grid}"][position], rtol, atol=rtol * scale)
        distance = frechet(clean @ mean + offset, clean @ covariance @ clean.T, mean0, covariance0)
        close(
            distance, arrays[f"fd_data_denoised_{init}_{grid}"][position], rtol, atol=rtol * scale
        )


def affine(function, shape: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns (A, b) of a function x -> A x + b of images, by its values at 0 and at the unit
    vectors.
    """
    dims = int(np.prod(shape))
    basis = torch.cat(
        [torch.zeros(1, dims, dtype=torch.float64), torch.eye(dims, dtype=torch.float64)]
    )
    values = function(basis.view(-1, *shape)).reshape(dims + 1, dims)
    return (values[1:] - values[0]).T, values[0]


def affine_step(
    sampler, process, score_fn, shape, times
) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Returns (A, b, c) of one step of a sampler, x -> A x + b + c z."""
    matrix, shift = affine(lambda x: sampler(process, score_fn, x, times, Constant(0.0)), shape)
    zero = torch.zeros(1, *shape, dtype=torch.float64)
    noisy = sampler(process, score_fn, zero, times, Constant(1.0)).flatten()
    # Against the step without noise, so c loses as many digits as it is smaller than the shift.
    return matrix, shift, float((noisy - shift).median())


def oracle_grid(name: str, steps: int, t_end: float) -> torch.Tensor:
    """The grids as the manifest gives them."""
    if name == "lin":
        return torch.linspace(1, t_end, steps + 1, dtype=torch.float64)
    return t_end + (1 - t_end) * torch.linspace(1, 0, steps + 1, dtype=torch.float64).square()


def close(actual, expected, rtol: float = 0.0, atol: float = 0.0) -> None:
    """Compares arrays; rtol is relative to each entry, but not below the largest one's rounding
    error.
    """
    actual, expected = np.asarray(actual), np.asarray(expected)
    rounding = 1e-13 * np.abs(expected).max(initial=0.0)
    np.testing.assert_allclose(actual, expected, rtol=rtol, atol=max(atol, rounding))


def process_of(kind: str, manifest: dict):
    constants = {
        name: value for name, value in manifest["processes"][kind].items() if name != "note"
    }
    return PROCESSES[kind](**constants)


def data_of(path: Path, name: str) -> Mixture:
    return load_data(path.with_name(f"data_{name}.npz"))


@cache
def load_data(path: Path) -> Mixture:
    return Mixture.load(path)


def read(path: Path) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(np.asarray(array)) for name, array in np.load(path).items()}


CHECKS = {
    "oracle/data_": check_data,
    "oracle/loss__": check_loss,
    **{
        f"oracle/{part}__*__{kind}.": check
        for kind in PROCESSES
        for part, check in {"point": check_point, "lik": check_likelihood}.items()
    },
    **{
        f"oracle/sampler__*__{kind}__{sampler}.": check_sampler
        for kind in PROCESSES
        for sampler in SAMPLERS
    },
}
