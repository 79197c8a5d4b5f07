"""Checks of golden/oracle for linear corruptions: operators, posteriors, flow, loss, samplers,
likelihood; float64.
"""

from functools import partial
from pathlib import Path

import numpy as np
import torch
from check_oracle import LOSSES, affine, close, data_of, oracle_grid, read, tolerance
from exact import Constant, Corrupted, Replay, frechet
from torch import Tensor

from methods.shared.likelihood import slope_and_divergence, unit_probes
from methods.shared.prior import cosines
from methods.shared.process import time_like
from methods.soft.corruption import Corruption
from methods.soft.denoiser import score, velocity
from methods.soft.flow import churn, flow_euler, flow_heun
from methods.soft.likelihood import flow_of, log_likelihood
from methods.soft.objective import soft_loss
from methods.soft.operator import Blur, Mask, Operator
from methods.soft.samplers import ancestral, ddim, finish, momentum, naive
from methods.soft.schedule import Geometric, Linear, SineSquared

SCHEDULES = {
    "linear": lambda values: Linear(values["min"], values["max"]),
    "sin2": lambda values: SineSquared(values["max"]),
    "geometric": lambda values: Geometric(values["min"], values["max"]),
    "geometric_plateau": lambda values: Geometric(values["min"], values["max"], values["tc"]),
}

SAMPLERS = {
    "naive": partial(naive, last_noise=True),
    "momentum": partial(momentum, last_noise=True),
    "ancestral": partial(ancestral, last_noise=True),
    "ddim": ddim,
    "pf_euler": partial(flow_euler, kinks="cross"),
    "pf_heun": partial(flow_heun, kinks="cross"),
}


class Reflected(Operator):
    """A Gaussian kernel cut off at ``half`` pixels over images reflected without their edge, which
    is not symmetric.
    """

    differentiable = False

    def __init__(self, shape: tuple[int, ...], std: Linear, half: int) -> None:
        self.size, self.std, self.half = shape[-1], std, half

    def matrix(self, t: Tensor) -> Tensor:
        """Returns the blur along one axis, shape (n, n)."""
        offsets = torch.arange(-self.half, self.half + 1, dtype=torch.float64)
        weights = torch.softmax(-0.5 * (offsets / self.std(t)).square(), dim=0)
        padded = np.pad(np.eye(self.size), ((self.half, self.half), (0, 0)), mode="reflect")
        rows = torch.from_numpy(
            np.lib.stride_tricks.sliding_window_view(padded, len(offsets), axis=0).copy()
        )
        return rows @ weights

    def apply(self, x: Tensor, t: Tensor) -> Tensor:
        matrices = [self.matrix(at) for at in t.reshape(-1)]
        matrices = torch.stack(matrices)[:, None]
        return matrices @ x @ matrices.mT

    def derivative(self, x: Tensor, t: Tensor) -> Tensor:
        raise AssertionError("discrete samplers ask for no derivative")


def check_operators(path: Path, entry: dict, manifest: dict) -> None:
    arrays, rtol = read(path), tolerance(manifest, "point", "rtol")
    x, times = arrays["x"], arrays["t"]
    close(cosines(x.shape[-1]), arrays["dct1d"], rtol)
    kinds = [name.removesuffix("_Cx") for name in arrays if name.endswith("_Cx")]
    assert kinds, "the file has no operators"
    for kind in kinds:
        corruption = corruption_of(path, kind, x.shape[1:], manifest)
        per_image = times.repeat_interleave(len(x))
        images = x.repeat(len(times), 1, 1, 1)
        close(
            corruption.apply(images, per_image).view_as(arrays[f"{kind}_Cx"]),
            arrays[f"{kind}_Cx"],
            rtol,
        )
        for i, t in enumerate(times):
            close(corruption.apply(x, t), arrays[f"{kind}_Cx"][i], rtol)
        close(corruption.std(times), arrays[f"{kind}_s"], rtol)
        if f"{kind}_dCx" in arrays:
            close(corruption.std_derivative(times), arrays[f"{kind}_ds"], rtol)
            change = corruption.derivative(images, per_image)
            close(change.view_as(arrays[f"{kind}_dCx"]), arrays[f"{kind}_dCx"], rtol)
    operators = {kind: corruption_of(path, kind, x.shape[1:], manifest).operator for kind in kinds}
    for kind, name, values in (
        ("soft_mask", "mask_m", lambda mask: mask.eigenvalues(times).flatten(1)),
        ("soft_mask", "mask_dm", lambda mask: mask.eigenvalue_derivatives(times).flatten(1)),
        ("soft_blur", "blur_eig", lambda blur: blur.eigenvalues(times).flatten(1)),
        (
            "soft_matrix",
            "matrix1d",
            lambda reflected: torch.stack([reflected.matrix(t) for t in times]),
        ),
    ):
        if kind in operators and name in arrays:
            close(values(operators[kind]), arrays[name], rtol)


def check_point(path: Path, entry: dict, manifest: dict) -> None:
    arrays, data, corruption = parts_of(path, manifest)
    exact = Corrupted(data, corruption)
    smallest = arrays["t"].argmin()
    rtol_v, rtol_div = (
        tolerance(manifest, "point", f"{quantity} rtol") for quantity in ("pf_v", "pf_div")
    )
    for i, t in enumerate(arrays["t"]):
        x = arrays["x"][i].view(-1, *data.shape)
        times = t.expand(len(x))
        clean = exact.denoise(x, times)
        lenient = path.stem.split("__")[1] == "lowrank" and i == smallest
        rtol = tolerance(manifest, "point", "smallest t rtol" if lenient else "rtol")
        close(exact.log_prob(x, t.item()), arrays["logp"][i], rtol)
        close(clean.flatten(1), arrays["x0hat"][i], rtol)
        # Of x and C x0hat, which nearly cancel, 1e-13 is rounding.
        std = corruption.std(t).item()
        rounding = 1e-13 * x.abs().max().item() / std
        close(
            score(corruption, clean, x, times).flatten(1), arrays["score"][i], rtol, rounding / std
        )
        mean, covariance = exact.moments(t.item())
        close(mean, arrays["mean_t"][i], rtol)
        close(covariance.diagonal(), arrays["var_t"][i], rtol)
        if f"cov_t{i}" in arrays:
            close(covariance, arrays[f"cov_t{i}"], rtol)
        if "pf_v" in arrays:
            rounding *= corruption.std_derivative(t).item()
            close(
                velocity(corruption, clean, x, times).flatten(1),
                arrays["pf_v"][i],
                max(rtol, rtol_v),
                rounding,
            )
            flow = flow_of(corruption, exact.denoise)
            change, divergence = slope_and_divergence(flow, x, times, unit_probes(x))
            close(change.flatten(1), arrays["pf_v"][i], max(rtol, rtol_v), rounding)
            close(divergence, arrays["pf_div"][i], max(rtol, rtol_div))


def check_likelihood(path: Path, entry: dict, manifest: dict) -> None:
    arrays, data, corruption = parts_of(path, manifest)
    exact = Corrupted(data, corruption)
    x, eps = arrays["x"].view(-1, *data.shape), arrays["eps"].item()
    solver, nats = (
        tolerance(manifest, "lik_ode", words) for words in ("rtol = atol =", "judge at")
    )
    if isinstance(corruption.operator, Mask):
        solver /= 10  # in place of a start at each onset, of which there are as many as pixels
    prior = partial(exact.log_prob, t=1.0)
    log_prob, z = log_likelihood(
        corruption, exact.denoise, prior, x, Replay(), eps=eps, tolerance=solver, probe="exact"
    )
    close(log_prob, arrays["logp_eps"], atol=nats)
    close(z.flatten(1), arrays["z_T"], atol=nats)
    close(log_prob - prior(z), arrays["int_div"], atol=nats)
    close(prior(z), arrays["logp_T"], atol=nats)


def check_loss(path: Path, entry: dict, manifest: dict) -> None:
    """The parts of linear corruptions; the others are other methods'."""
    arrays, data, rtol = (
        read(path),
        data_of(path, path.stem.split("__")[1]),
        tolerance(manifest, "point", "rtol"),
    )
    x0, t, z = arrays["x0"].view(-1, *data.shape), arrays["t"], arrays["z"].view(-1, *data.shape)
    kinds = [
        name.removesuffix("_xt")
        for name in arrays
        if name.startswith("soft_") and name.endswith("_xt")
    ]
    assert kinds, "the file has no losses of linear corruptions"
    for kind in kinds:
        corruption = corruption_of(path, kind, data.shape, manifest)
        exact, dims = Corrupted(data, corruption), z[0].numel()
        mean, std = corruption.perturb(x0, t)
        close((mean + std * z).flatten(1), arrays[f"{kind}_xt"], rtol)
        denoisers = {
            "": exact.denoise,
            "_wrong": lambda x, t, exact=exact: 0.9 * exact.denoise(x, t) + 0.05,
        }
        for suffix, denoiser in denoisers.items():
            loss = soft_loss(corruption, denoiser, x0, t, z)
            expected = arrays[f"{kind}_softloss{suffix}_sum"]
            # Where nothing is left of the image the loss is 0 up to the rounding of what it was
            # left from.
            close(loss * dims, expected, rtol, atol=rtol * expected.max().item() * 1e-6)
            close(
                2 * soft_loss(corruption, denoiser, x0, t, z, reduction="sum"),
                loss * dims,
                rtol,
                atol=1e-12,
            )
        error = arrays[f"{kind}_x0mse_sum"]
        whole = soft_loss(corruption, exact.denoise, x0, t, z, null_reg=1.0) - soft_loss(
            corruption, exact.denoise, x0, t, z
        )
        close(whole * dims, error, rtol, atol=1e-12 * float(arrays[f"{kind}_softloss_sum"].max()))


def check_sampler(path: Path, entry: dict, manifest: dict) -> None:
    arrays, data, corruption = parts_of(path, manifest)
    sampler, exact = sampler_of(path.stem.split("__")[3]), Corrupted(data, corruption)
    check_trajectory(sampler, exact, arrays, manifest, path.stem.split("__")[1])
    for grid in ("lin", "quad"):
        if f"fd_data_exact_{grid}" in arrays:
            for position, steps in enumerate(arrays["K"].tolist()):
                times = oracle_grid(grid, steps, arrays["t_end"].item())
                check_moments(sampler, exact, arrays, manifest, grid, times, position)


def check_trajectory(sampler, exact: Corrupted, arrays: dict, manifest: dict, name: str) -> None:
    """Every recorded state, from the state before it and its noise, and the end from the
    beginning.
    """
    shape, corruption = (-1, *exact.data.shape), exact.corruption
    times, noises = arrays["traj_t"], [draw.view(shape) for draw in arrays.get("traj_noise", ())]
    states = [state.view(shape) for state in arrays["traj_states"]]
    atol = tolerance(manifest, "traj", "atol")
    close(corruption.std(times), arrays["traj_s"], tolerance(manifest, "point", "rtol"))
    close(states[0], arrays["traj_init"].view(shape), atol=atol)
    drawn = []
    for k in range(len(states) - 1):
        noise = Replay(*noises[k : k + 1])
        update = sampler(corruption, exact.denoise, states[k], times[k : k + 2], noise)
        close(update, states[k + 1], atol=atol)
        # Noise is recorded for steps along a plateau too, which add none.
        drawn += noises[k : k + 1] if not noise.draws else []
    noise = Replay(*drawn)
    x = sampler(corruption, exact.denoise, states[0], times, noise)
    close(x, states[-1], atol=atol)
    assert not noise.draws, "the sampler drew less noise than recorded"
    if name == "lowrank":
        atol = tolerance(manifest, "traj", "lowrank traj_denoised")
    denoised = finish(exact.denoise, states[-1], times[-1].item(), "denoise")
    close(denoised.flatten(1), arrays["traj_denoised"], atol=atol)


def check_moments(
    sampler, exact: Corrupted, arrays: dict, manifest: dict, grid: str, times, position: int
) -> None:
    """The exact moments of the output: for Gaussian data each step is x -> A x + b + c z."""
    shape, rtol = exact.data.shape, tolerance(manifest, "sampler_cov", "rtol")
    mean, covariance = exact.moments(1.0)
    mean0, covariance0 = exact.data.mean_and_covariance()
    identity = torch.eye(len(mean), dtype=torch.float64)
    for k in range(len(times) - 1):
        step = partial(sampler, exact.corruption, exact.denoise, times=times[k : k + 2])
        matrix, shift = affine(lambda x, step=step: step(x=x, noise=Constant(0.0)), shape)
        noisy = step(x=torch.zeros(1, *shape, dtype=torch.float64), noise=Constant(1.0)).flatten()
        std = float((noisy - shift).median())
        mean, covariance = matrix @ mean + shift, matrix @ covariance @ matrix.T + std**2 * identity
    steps, scale = len(times) - 1, float(covariance.trace() + covariance0.trace())
    # The distance sums square roots of eigenvalues, which where data have no variance are those of
    # rounding errors.
    singular = float(torch.linalg.eigvalsh(covariance0)[0]) < 1e-5
    atol = (1e-7 if singular else rtol) * scale
    if grid == "lin" and f"cov_exact_K{steps}" in arrays:
        close(mean, arrays[f"mean_exact_K{steps}"], rtol)
        close(covariance, arrays[f"cov_exact_K{steps}"], rtol)
    distance = frechet(mean, covariance, mean0, covariance0)
    close(distance, arrays[f"fd_data_exact_{grid}"][position], rtol, atol=atol)
    last = times[-1].item()
    clean, offset = affine(lambda x: exact.denoise(x, time_like(x, last)), shape)
    distance = frechet(clean @ mean + offset, clean @ covariance @ clean.T, mean0, covariance0)
    close(distance, arrays[f"fd_data_denoised_exact_{grid}"][position], rtol, atol=atol)


def sampler_of(name: str):
    if name.startswith("churn"):
        return partial(
            churn, strength=float(name.removeprefix("churn")), kinks="cross", last_noise=True
        )
    return SAMPLERS[name]


def parts_of(path: Path, manifest: dict) -> tuple[dict, object, Corruption]:
    """Returns a file's arrays, its data and its corruption, by the file's name."""
    _, name, kind = path.stem.split("__")[:3]
    data = data_of(path, name)
    return read(path), data, corruption_of(path, kind, data.shape, manifest)


def corruption_of(path: Path, kind: str, shape: tuple[int, ...], manifest: dict) -> Corruption:
    values = manifest["processes"][kind]
    noise_scale = schedule_of(values["s"])
    if "onset_file" in values:
        file, key = values["onset_file"].split(":")
        onset = read(path.with_name(file))[key].view(*shape[1:])
        return Corruption(Mask(onset, values["width"], values["floor"]), noise_scale)
    std = schedule_of(values["b"])
    return Corruption(
        Reflected(shape, std, values["half"]) if "half" in values else Blur(shape, std), noise_scale
    )


def schedule_of(values: dict):
    return SCHEDULES[values["kind"]](values)


CHECKS = {
    "oracle/ops": check_operators,
    "oracle/point__*__soft_": check_point,
    "oracle/lik__*__soft_": check_likelihood,
    "oracle/sampler__*__soft_": check_sampler,
}

LOSSES.append(check_loss)
