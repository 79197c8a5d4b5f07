"""Checks of golden/cld on the diffusion: its moments, and a step against it."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from cld_arrays import close, numbers, process_of
from exact import Replay
from torch import Tensor

from methods.cld.process import CLD
from methods.shared.process import like
from methods.shared.training import under

KERNEL_RTOL = re.compile(r"Use rtol ([0-9]+e-[0-9]+)")


def check_kernel(path: Path, entry: dict, manifest: dict) -> None:
    config, arrays = entry["config"], numbers(path, entry)
    process, rtol = (
        process_of(config),
        float(KERNEL_RTOL.search(manifest["about"]["kernel_tolerance"])[1]),
    )

    def agree(ours: Tensor, name: str) -> None:
        expected = arrays[f"out/{name}"]
        torch.testing.assert_close(
            ours.double().view(expected.shape), expected.double(), rtol=rtol, atol=1e-15
        )

    draws = list(under("draw/", arrays).values())
    if "out/x" in arrays:
        x, v = process.prior(draws[0].shape, Replay(*draws)).chunk(2, 1)
        agree(x, "x"), agree(v, "v")
        return
    t, u = arrays["in/t"], arrays["in/u"].double()
    (x0, v0), (draw,) = u.chunk(2, 1), (draw.double() for draw in draws)
    hybrid = config["cld_objective"] == "hsm"
    if config["is_image"]:
        # Theirs keeps the velocity of what it is given, for HSM too.
        mean = process.mean(x0, t, v0)
        moved = process.covariance(t, None if hybrid else 0.0).sample(mean, draw)
        agree(mean, "mean"), agree(moved, "perturbed"), agree(moved - mean, "noise")
        return
    check_marginals(process, arrays, agree, None if hybrid else 0.0)
    mean = process.mean(x0, t, v0)
    moved = process.covariance(t, None if hybrid else 0.0).sample(mean, draw)
    agree(mean, "mean"), agree(moved, "perturbed")
    close(
        moved - mean, arrays["out/perturb_noise"], rtol
    )  # of each entry only digits that did not cancel
    agree(process.drift(u, t), "drift")
    diffusion = torch.cat([torch.zeros_like(x0), like(process.diffusion(t), u).expand_as(v0)], 1)
    agree(diffusion, "diffusion")
    check_reverse(process, arrays, agree, diffusion)
    assert torch.allclose(
        process.prior_log_prob(u),
        arrays["out/prior_logp_x"] + arrays["out/prior_logp_v"],
        rtol=rtol,
        atol=0,
    )


def check_marginals(
    process: CLD, arrays: Mapping, agree: Callable, velocity_variance: float | None
) -> None:
    """The rate and the covariances as functions of t."""
    t = arrays["in/t"]
    agree(process.beta(t), "beta")
    agree(process.beta_integral(t), "beta_int")
    friction = torch.tensor([process.friction, 1 / process.friction])
    agree(friction, "f_g")
    agree(process.friction * process.beta(t), "loss_multiplier")
    covariance = process.covariance(t, velocity_variance)
    for ours, name in zip(covariance, ("xx", "xv", "vv"), strict=False):
        agree(ours, f"var_{name}")
    for ours, name in zip(covariance.cholesky(), ("11", "21", "22"), strict=True):
        agree(ours, f"chol{name}")
    agree(-process.score_scale(t, velocity_variance), "noise_multiplier")
    agree(process.covariance(t).vv, "mixed_var_vv")
    spread = process.covariance(t, arrays["in/var0v"][:, 0], arrays["in/var0x"][:, 0])
    for ours, name in zip(spread, ("xx", "xv", "vv"), strict=False):
        agree(ours, f"customvar_{name}")


def check_reverse(process: CLD, arrays: Mapping, agree: Callable, diffusion: Tensor) -> None:
    """The reverse drifts, which they take at 1 - t."""
    t, u, score = 1 - arrays["in/t"], arrays["in/u"], arrays["in/score_v"]
    agree(-process.flow(2 * score, u, t), "reverse_drift_pf0")
    agree(-process.flow(score, u, t), "reverse_drift_pf1")
    v = u.chunk(2, 1)[1]
    noisy = torch.cat([torch.zeros_like(v), like(process.diffusion(t), v).expand_as(v)], 1)
    agree(noisy, "reverse_diffusion_pf0")
    assert not arrays["out/reverse_diffusion_pf1"].any()


CHECKS = {"cld/kernel": check_kernel}
