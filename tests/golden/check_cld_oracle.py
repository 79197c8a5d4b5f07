"""Checks of golden/oracle on CLD: kernels, marginals, samplers and loss against exact answers, in
float64.
"""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from check_cld_likelihood import exact_process, joint_log_prob, joint_score
from check_oracle import LOSSES, affine, close, data_of, oracle_grid, read, tolerance
from exact import Constant, Mixture, Replay, frechet
from torch import Tensor

from methods.cld.objective import velocity_loss
from methods.cld.process import CLD
from methods.cld.samplers import denoise, euler_maruyama, flow_euler, sscs
from methods.shared.exact import combine
from methods.shared.likelihood import unit_probes

SAMPLERS = {"em": euler_maruyama, "sscs": sscs, "pf_euler": flow_euler}
NOISES = {"em": 1, "sscs": 2, "pf_euler": 0}
"""Draws a step."""
SUBSTEPS = {"em": 1, "sscs": 3, "pf_euler": 1}
"""Recorded states a step."""


def check_kernels(path: Path, entry: dict, manifest: dict) -> None:
    arrays, process, rtol = (
        read(path),
        exact_process(manifest),
        tolerance(manifest, "point", "rtol"),
    )
    t = arrays["t"]
    matrix, diffused = process.transition(t)
    hybrid = process.covariance(t)
    close(matrix, arrays["E"], rtol)
    close(diffused.matrix(), arrays["Q"], rtol)
    close(hybrid.matrix(), arrays["hsm"], rtol)
    close(process.beta(t), arrays["beta"], rtol)
    close(process.beta_integral(t), arrays["B"], rtol)
    # The file's entries are rounded at 1, which at small times is many of their digits, and more of
    # what they make.
    lost = 2**-52 * (1 / hybrid.xx + hybrid.vv / hybrid.det)
    assert ((process.score_scale(t) / arrays["ell_hsm"] - 1).abs() <= rtol + lost).all()
    close(process.score_scale(arrays["ell_dsm_t"], 0.0), arrays["ell_dsm"], rtol)
    root = arrays["chol_hsm"]
    for ours, (i, j) in zip(hybrid.cholesky(), ((0, 0), (1, 0), (1, 1)), strict=True):
        assert ((ours / root[:, i, j] - 1).abs() <= rtol + lost).all()


def check_point(path: Path, entry: dict, manifest: dict) -> None:
    arrays, name = read(path), path.stem.split("__")[1]
    data, process = data_of(path, name), exact_process(manifest)
    score_fn = joint_score(data, process)
    for i, t in enumerate(arrays["t"]):
        lenient = name == "lowrank" and i == arrays["t"].argmin()
        rtol = tolerance(manifest, "point", "smallest t rtol" if lenient else "rtol")
        rtol_v, rtol_div = (
            max(rtol, tolerance(manifest, "point", f"{part} rtol")) for part in ("pf_v", "pf_div")
        )
        u = arrays["x"][i].view(-1, 2 * data.shape[0], *data.shape[1:])
        times = t.expand(len(u))
        close(joint_log_prob(data, process, u, times), arrays["logp"][i], rtol)
        score = score_fn(u, times)
        by_u = gradient(lambda u: joint_log_prob(data, process, u, times), u)  # noqa: B023
        close(by_u.flatten(1), arrays["score"][i], rtol)
        close(score.flatten(1), arrays["score"][i].chunk(2, 1)[1], rtol)
        close(clean(data, process, u, times).flatten(1), arrays["x0hat"][i], rtol)
        close(process.flow(score, u, times).flatten(1), arrays["pf_v"][i], rtol_v)
        close(flow_divergence(process, score_fn, u, times), arrays["pf_div"][i], rtol_div)
        mean, covariance = marginal(data, process, t)
        close(mean, arrays["mean_t"][i], rtol)
        close(covariance.diagonal(), arrays["var_t"][i], rtol)
        if f"cov_t{i}" in arrays:
            close(covariance, arrays[f"cov_t{i}"], rtol)


def check_sampler(path: Path, entry: dict, manifest: dict) -> None:
    arrays, (_, name, _, kind) = read(path), path.stem.split("__")
    data, process = data_of(path, name), exact_process(manifest)
    sampler = partial(SAMPLERS[kind], process, joint_score(data, process))
    check_trajectory(sampler, kind, data, process, arrays, manifest)
    for grid in ("lin", "quad"):
        if any(key.endswith(grid) for key in arrays):
            for position, steps in enumerate(arrays["K"].tolist()):
                times = oracle_grid(grid, steps, arrays["t_end"].item())
                check_moments(sampler, kind, data, process, arrays, manifest, grid, times, position)


def check_trajectory(
    sampler: Callable, kind: str, data: Mixture, process: CLD, arrays: dict, manifest: dict
) -> None:
    """The recorded state after every step, from the one before it and its noise, and the end from
    the beginning.
    """
    shape, atol = (-1, 2 * data.shape[0], *data.shape[1:]), tolerance(manifest, "traj", "atol")
    times, states = (
        arrays["traj_t"],
        [state.view(shape) for state in arrays["traj_states"][:: SUBSTEPS[kind]]],
    )
    draws = [draw.view(shape) for draw in arrays["traj_noise"]]
    if kind == "em":
        draws = [
            draw.chunk(2, 1)[1] for draw in draws
        ]  # of v alone, theirs multiplies that of x by 0
    each = NOISES[kind]
    for k in range(len(states) - 1):
        noise = Replay(*draws[each * k : each * (k + 1)])
        close(sampler(states[k], times[k : k + 2], noise), states[k + 1], atol=atol)
    noise = Replay(*draws)
    close(sampler(states[0], times, noise), states[-1], atol=atol)
    assert not noise.draws, "the sampler drew less noise than recorded"
    for how in ("drift", "published"):
        end = denoise(process, joint_score(data, process), states[-1], times[-1].item(), how)
        close(end.chunk(2, 1)[0].flatten(1), arrays["traj_denoised"], atol=atol)


def check_moments(
    sampler: Callable,
    kind: str,
    data: Mixture,
    process: CLD,
    arrays: dict,
    manifest: dict,
    grid,
    times,
    position: int,
) -> None:
    """The exact moments of the output: for Gaussian data each step is u -> A u + b + (N_1 z_1 + N_2
    z_2).
    """
    rtol, shape = tolerance(manifest, "sampler_cov", "rtol"), (2 * data.shape[0], *data.shape[1:])
    steps = [affine_step(sampler, kind, shape, times[k : k + 2]) for k in range(len(times) - 1)]
    last = affine(lambda u: denoise(process, None, u, times[-1].item()), shape)[0]
    mean0, covariance0 = data.mean_and_covariance()
    dims = len(mean0)
    spread = torch.tensor([1.0] * dims + [process.mass] * dims, dtype=torch.float64).diag()
    starts = {
        "exact": marginal(data, process, times[0]),
        "prior": (torch.zeros(2 * dims).double(), spread),
    }
    for init, (mean, covariance) in starts.items():
        if f"fd_data_{init}_{grid}" not in arrays:
            continue
        for matrix, shift, added in steps:
            mean, covariance = matrix @ mean + shift, matrix @ covariance @ matrix.T + added
        count = len(times) - 1
        if grid == "lin" and f"cov_{init}_K{count}" in arrays:
            close(mean, arrays[f"mean_{init}_K{count}"], rtol)
            close(covariance, arrays[f"cov_{init}_K{count}"], rtol)
        ends = {
            "data": (mean, covariance),
            "data_denoised": (last @ mean, last @ covariance @ last.T),
        }
        for what, (end_mean, end) in ends.items():
            distance = frechet(end_mean[:dims], end[:dims, :dims], mean0, covariance0)
            scale = float(end[:dims, :dims].trace() + covariance0.trace())
            close(distance, arrays[f"fd_{what}_{init}_{grid}"][position], rtol, atol=rtol * scale)


def affine_step(
    sampler: Callable, kind: str, shape: tuple[int, ...], times: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns (A, b, S) of one step u -> A u + b + noise of covariance S."""
    matrix, shift = affine(lambda u: sampler(u, times, Constant(0.0)), shape)
    drawn = (shape[0] // 2, *shape[1:]) if kind == "em" else shape
    added = torch.zeros_like(matrix)
    for j in range(NOISES[kind]):

        def moved(z: Tensor, j: int = j) -> Tensor:
            draws = [torch.zeros_like(z)] * NOISES[kind]
            draws[j] = z
            return sampler(z.new_zeros(len(z), *shape), times, Replay(*draws))

        dims = math.prod(drawn)
        unit = torch.cat([torch.zeros(1, dims), torch.eye(dims)]).double().view(-1, *drawn)
        ends = moved(unit).flatten(1)
        columns = (ends[1:] - ends[0]).T
        added += columns @ columns.T
    return matrix, shift, added


def check_loss(path: Path, entry: dict, manifest: dict) -> None:
    """The parts of CLD in the files that all methods share."""
    arrays, name = read(path), path.stem.split("__")[1]
    data, process, rtol = (
        data_of(path, name),
        exact_process(manifest),
        tolerance(manifest, "point", "rtol"),
    )
    x0, t = arrays["x0"].view(-1, *data.shape), arrays["t"]
    z = arrays["cld_z"].view(-1, 2 * data.shape[0], *data.shape[1:])
    close(process.perturb(x0, t, z).flatten(1), arrays["cld_ut"], rtol)
    close(process.score_scale(t), arrays["cld_ell"], rtol)
    loss = partial(velocity_loss, process, joint_score(data, process), x0, t, z)
    close(loss(reduction="sum"), arrays["cld_hsm_loss_sum"], rtol)
    close(loss() * x0[0].numel(), arrays["cld_hsm_loss_sum"], rtol)


def marginal(data: Mixture, process: CLD, t: Tensor) -> tuple[Tensor, Tensor]:
    """Returns mean (2D,) and covariance (2D, 2D) of (x, v) at t."""
    mean, covariance = data.mean_and_covariance()
    a, c = process.mean_coefficients(t)
    identity, gains = torch.eye(len(mean), dtype=torch.float64), torch.stack([a, c])
    added = torch.kron(process.covariance(t).matrix(), identity)
    return torch.cat([a * mean, c * mean]), torch.kron(
        torch.outer(gains, gains), covariance
    ) + added


def clean(data: Mixture, process: CLD, u: Tensor, t: Tensor) -> Tensor:
    """Returns E[x0 | x, v], by the one number that tells all that x and v do of each pixel."""
    y, std = combine(*u.chunk(2, 1), process.mean_coefficients(t), process.covariance(t))
    score = data.score(y, torch.ones_like(std), std)
    return y + std.square().view(-1, 1, 1, 1) * score


def gradient(function: Callable[[Tensor], Tensor], u: Tensor) -> Tensor:
    with torch.enable_grad():
        u = u.clone().requires_grad_()
        (found,) = torch.autograd.grad(function(u).sum(), u)
    return found


def flow_divergence(process: CLD, score_fn: Callable, u: Tensor, t: Tensor) -> Tensor:
    """Returns the exact divergence of the flow, by its derivative along every dimension."""
    found = torch.zeros_like(t)
    for probe in unit_probes(u):
        slope = gradient(lambda u: process.flow(score_fn(u, t), u, t) * probe, u)  # noqa: B023
        found += (slope * probe).flatten(1).sum(1)
    return found / u[0].numel()


LOSSES.append(check_loss)

CHECKS = {
    "oracle/cld_kernels": check_kernels,
    "oracle/point__*__cld.": check_point,
    **{f"oracle/sampler__*__cld__{kind}.": check_sampler for kind in SAMPLERS},
}
