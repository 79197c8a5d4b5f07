"""Checks of golden/cld and golden/oracle on likelihoods: CLD's bound, and the VP baseline's beside
it.

Networks are the authors' as the manifest has them: given float32, in a float64 state.
"""

import math
from collections.abc import Mapping
from pathlib import Path

import check_cld
import check_cld_baseline
import numpy as np
import torch
from check_cld_baseline import fixed_steps
from check_oracle import close as close_to
from check_oracle import data_of, read, tolerance
from check_sde import counted
from cld_arrays import close, numbers, tolerance_of
from exact import Mixture, Replay
from torch import Tensor

from methods.cld.likelihood import bound, joint_flow, joint_log_likelihood, velocity_entropy
from methods.cld.process import CLD, Covariance
from methods.shared.likelihood import (
    bits_per_dim,
    dequantise,
    linear_flow,
    log_likelihood,
    slope_and_divergence,
    state_velocity,
)
from methods.shared.process import Process, time_like
from methods.shared.samplers import ScoreFn


def authors(path: Path, entry: dict, manifest: dict) -> tuple[CLD | Process, ScoreFn, list[float]]:
    """Returns the process and the score of a case, and a list that grows by one with each
    evaluation.
    """
    config, arrays = entry["config"], numbers(path, entry)
    if config["sde"] == "vpsde":
        method = check_cld_baseline.method_for(config)
        network = check_cld_baseline.network_for(path, entry, manifest, arrays, method.process)
        return method.process, *counted(check_cld_baseline.score_of(method, network))
    named = entry | {"case": entry["case"].replace("bpd_", "net_")}
    method, network = check_cld.method_of(path, named, arrays)
    return method.process, *counted(method.score_fn(lambda u, t: network(u.float(), t.float())))


def probes_of(config: Mapping, draws: list[Tensor]) -> list[Tensor]:
    """Returns what the recorded draws are as probes, in float64."""
    signs = config["likelihood_hutchinson_type"] == "rademacher"
    return [2 * draw.double() - 1 if signs else draw.double() for draw in draws]


def check_joint(path: Path, entry: dict, manifest: dict) -> None:
    """The log-density of (x, v), or of x under VP, and the flow with its divergence on the way."""
    arrays = numbers(path, entry)
    if "out/bpd" in arrays:
        check_bits(path, entry, manifest)
        return
    (process, score_fn, calls), rtol, config = (
        authors(path, entry, manifest),
        tolerance_of(entry),
        entry["config"],
    )
    coupled = config["sde"] == "cld"
    flow_fn = (joint_flow if coupled else linear_flow)(process, score_fn, probe_drift=True)
    x, probes = arrays["in/data"].double(), probes_of(config, [arrays["draw/000"]])
    for k, t in enumerate(arrays["in/rhs_t"].tolist()):
        u = arrays["in/rhs_u"][k]
        velocity, divergence = slope_and_divergence(flow_fn, u, time_like(u, t), probes)
        close(velocity, arrays[f"out/rhs_dudt_{k}"], rtol)
        close(divergence, arrays[f"out/rhs_dlogp_{k}"], rtol)

    calls.clear()
    start = float(np.float32(config["likelihood_eps"]))
    if config["likelihood_solver"] == "scipy_solver":
        likelihood = joint_log_likelihood if coupled else log_likelihood
        knobs = {
            "eps": start,
            "tolerance": config["likelihood_rtol"],
            "probe": config["likelihood_hutchinson_type"],
        }
        log_prob, z = likelihood(process, score_fn, x, Replay(*probes), probe_drift=True, **knobs)
    else:
        state = torch.cat([x.flatten(1), x.new_zeros(len(x), 1)], 1)
        velocity, rows = state_velocity(flow_fn, x, probes), torch.arange(len(x))
        times = fixed_grid(config["likelihood_solver_options"]["step_size"], start)
        end = fixed_steps(
            lambda t, state: velocity(time_like(state, t), state, rows),
            state,
            times,
            config["likelihood_solver"],
        )
        z, gained = end[:, :-1].view_as(x), end[:, -1]
        log_prob = process.prior_log_prob(z) + gained
    assert len(calls) == int(arrays["out/nfe"])
    close(z, arrays["out/u_T"], rtol)
    close(process.prior_log_prob(z), arrays["out/prior_logp"], rtol)
    close(-log_prob, arrays["out/nll"], rtol)


def fixed_grid(step: float, eps: float) -> Tensor:
    """Returns the times of the authors' fixed steps from eps to 1, made in float32 as theirs
    are.
    """
    count = math.ceil((1 - eps) / step + 1)
    times = torch.arange(count, dtype=torch.float32) * step + eps
    times[-1] = 1
    return times.double()


def check_bits(path: Path, entry: dict, manifest: dict) -> None:
    """Bits/dim of images, from pixels on: batches in their order, each of dequantisation,
    velocities and probes.
    """
    arrays, config = numbers(path, entry), entry["config"]
    process, score_fn, _ = authors(path, entry, manifest)
    coupled = config["sde"] == "cld"
    draws = [arrays[name] for name in sorted(arrays) if name.startswith("draw/")]
    images, bits, each = arrays["in/images_uint8"], [], 3 if coupled else 2
    knobs = {
        "eps": float(np.float32(config["likelihood_eps"])),
        "tolerance": config["likelihood_rtol"],
        "probe": config["likelihood_hutchinson_type"],
        "probe_drift": True,
    }
    for first in range(0, len(draws), each):
        uniform, *velocity, probe = draws[first : first + each]
        batch, images = images[: len(uniform)], images[len(uniform) :]
        x = 2 * dequantise(batch.float(), 256, Replay(uniform)) - 1
        known = process, score_fn, x.double()
        noise = Replay(*(v.double() for v in velocity), *probes_of(config, [probe]))
        if coupled:
            log_prob = bound(*known, noise, entropy="expected", **knobs)
        else:
            log_prob, _ = log_likelihood(*known, noise, **knobs)
        bits.append(bits_per_dim(log_prob, x[0].numel(), 256, 2))
    close(torch.cat(bits), arrays["out/bpd"], tolerance_of(entry))
    assert not len(images)


def check_exact(path: Path, entry: dict, manifest: dict) -> None:
    """The joint log-density by the flow under the prior and, for Gaussian data, the bound over all
    velocities.
    """
    arrays, name = read(path), path.stem.split("__")[1]
    data, process = data_of(path, name), exact_process(manifest)
    solver, nats = (
        tolerance(manifest, "lik_ode", "rtol = atol ="),
        tolerance(manifest, "lik_ode", "judge at"),
    )
    knobs = {"eps": arrays["eps"].item(), "tolerance": solver}
    x, v, expected_z = (
        arrays[part].view(len(arrays["x"]), -1, *data.shape) for part in ("x", "v0", "z_T")
    )
    probe, noise, dims = "exact", Replay(), x[0].numel()
    if len(data.weights) == 1:
        # In the basis of the covariance the derivatives of the score are diagonal: one probe of
        # signs gives the trace.
        (basis,) = data.bases
        x, v, expected_z = (part.flatten(2) @ basis for part in (x, v, expected_z))
        data = Mixture(data.weights, data.means @ basis, data.variances[0].diag()[None], data.shape)
        probe, noise = "rademacher", Replay(torch.ones(len(x), *data.shape, dtype=torch.float64))
    x, v = x.view(-1, *data.shape), v.view(-1, *data.shape)
    score_fn = joint_score(data, process)
    log_prob, z = joint_log_likelihood(
        process, score_fn, torch.cat([x, v], 1), noise, probe=probe, **knobs
    )
    close_to(log_prob, arrays["logp_model"], atol=nats)
    close_to(process.prior_log_prob(z), arrays["logprior_T"], atol=nats)
    close_to(z.flatten(), expected_z.flatten(), atol=nats)
    close_to(log_prob - process.prior_log_prob(z), arrays["int_div"], atol=nats)
    close_to(
        bits_per_dim(log_prob, dims, levels=1, width=1),
        arrays["bpd_model"],
        atol=nats / (dims * math.log(2)),
    )
    close_to(velocity_entropy(process, v), arrays["entropy_v0"], rtol=1e-12)
    if "cld_bound" not in arrays:
        return

    # The log-density is quadratic, so that its average over velocities is that over 2d of them.
    unit = math.sqrt(dims) * torch.eye(dims, dtype=torch.float64)
    velocities = torch.cat([unit, -unit]).repeat(len(x), 1).view(-1, *data.shape)
    noise = Replay(velocities, torch.ones_like(velocities))
    marginal = exact_process(manifest)
    marginal.prior_log_prob = lambda u: joint_log_prob(data, process, u, time_like(u, 1.0))
    bounds = bound(
        marginal, score_fn, x.repeat_interleave(2 * dims, 0), noise, entropy="expected", **knobs
    )
    close_to(bounds.view(len(x), -1).mean(1), arrays["cld_bound"], atol=nats)


def exact_process(manifest: dict) -> CLD:
    constants = manifest["processes"]["cld"]
    process = CLD(constants["beta0"], constants["beta1"], 1 / constants["minv"], constants["gamma"])
    assert math.isclose(process.friction, constants["Gamma"])
    return process


def joint_score(data: Mixture, process: CLD) -> ScoreFn:
    """Returns the score by v of (x, v) from ``data``."""

    def score(u: Tensor, t: Tensor) -> Tensor:
        x, v, (xx, xv, vv, det) = coordinates(data, process, u, t)
        energy = (vv * x.square() - 2 * xv * x * v + xx * v.square()) / det
        share = torch.softmax(data.weights.log() - 0.5 * (energy + det.log()).sum(-1), dim=1)
        gradients = torch.einsum("kdi,bki->bkd", data.bases, (xv * x - xx * v) / det)
        return torch.einsum("bk,bkd->bd", share, gradients).view(len(u), *data.shape)

    return score


def joint_log_prob(data: Mixture, process: CLD, u: Tensor, t: Tensor) -> Tensor:
    x, v, (xx, xv, vv, det) = coordinates(data, process, u, t)
    energy = (vv * x.square() - 2 * xv * x * v + xx * v.square()) / det
    log_normal = -0.5 * (energy + det.log()).sum(-1) - x.shape[-1] * math.log(2 * math.pi)
    return torch.logsumexp(data.weights.log() + log_normal, dim=1)


def coordinates(
    data: Mixture, process: CLD, u: Tensor, t: Tensor
) -> tuple[Tensor, Tensor, Covariance]:
    """Returns x and v about each component's means, in its eigenbasis, (B, K, D), and their
    covariances there.
    """
    t = t.double().view(-1, 1, 1)
    halves = (half.flatten(1)[:, None] for half in u.chunk(2, 1))
    means = (gain * data.means for gain in process.mean_coefficients(t))
    x, v = (
        torch.einsum("kdi,bkd->bki", data.bases, half - mean)
        for half, mean in zip(halves, means, strict=True)
    )
    return x, v, process.covariance(t, image_variance=data.variances)


CHECKS = {
    "cld/nll": check_joint,
    "oracle/lik__*__cld.": check_exact,
}
