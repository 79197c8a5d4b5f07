"""Checks of golden/cld on the VP diffusion that CLD is compared with: its functions, losses and
samplers.

The score is that of Score-SDE's method with the mixed parametrisation; networks are told what the
authors tell theirs. In the same files the cases of CLD itself are left to
:mod:`check_cld` and :mod:`check_cld_kernel`.
"""

import re
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path

import check_cld
import check_cld_kernel
import check_cld_networks
import torch
from check_cld_networks import gradients_agree, network_of, told
from cld_arrays import GRIDS, close, numbers, tolerance_of
from exact import Replay
from safetensors.torch import load_file
from torch import Tensor, nn

from bench.data.card import DataCard
from bench.data.images import Images
from bench.schema import build
from methods.sde.adapter import ScoreSDE
from methods.sde.card import Params
from methods.shared.adaptive import flow_adaptive
from methods.shared.flow import flow
from methods.shared.grids import grid
from methods.shared.objective import denoising_loss
from methods.shared.process import Process, like, time_like
from methods.shared.published import from_published
from methods.shared.samplers import ScoreFn, euler_maruyama
from methods.shared.training import under


class LinearNetwork(nn.Module):
    """The fixtures' linear network, which has a weight for CLD's velocity too."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.weights = nn.Parameter(weights.clone())

    def forward(self, u: Tensor, t: Tensor) -> Tensor:
        a, _, c = self.weights
        return a * u + c * torch.sin(3 * like(t, u))


class GaussianNetwork(nn.Module):
    """The network that has learnt data N(mean, std^2) perfectly."""

    def __init__(self, process: Process, mean: float, std: float) -> None:
        super().__init__()
        self.process, self.mean, self.variance = process, mean, std**2

    def forward(self, u: Tensor, t: Tensor) -> Tensor:
        m, s = (
            like(function(t.double()), u)
            for function in (self.process.mean_coefficient, self.process.std)
        )
        return (
            s * (u.double() - m * self.mean) / (m.square() * self.variance + s.square())
        ).float()


def network_for(
    path: Path, entry: dict, manifest: dict, arrays: Mapping[str, Tensor], process: Process
) -> nn.Module:
    """Returns the network of a case, a function of (u, t)."""
    if "in/gauss" in arrays:
        return GaussianNetwork(process, *arrays["in/gauss"].tolist())
    if "in/lin" in arrays:
        return LinearNetwork(arrays["in/lin"])
    if named := re.search(r"lin=\[([^]]*)\]", entry["what"]):
        return LinearNetwork(torch.tensor([float(number) for number in named[1].split(",")]))
    return trained_network(path, entry, manifest)


def trained_network(path: Path, entry: dict, manifest: dict) -> nn.Module:
    """Returns the authors' network whose file a case's name tells."""
    files = {
        file.removeprefix("net_").removesuffix(".safetensors"): file
        for file in manifest["files_other"]
    }
    (file,) = (
        file for name, file in files.items() if re.search(rf"_{name}(_|$)", f"_{entry['case']}")
    )
    network = network_of(entry["config"])
    network.load_state_dict(from_published(network, load_file(path.with_name(file))))
    return Told(network, entry["config"])


class Told(nn.Module):
    """A network that is told times as the authors tell theirs."""

    def __init__(self, network: nn.Module, config: Mapping) -> None:
        super().__init__()
        self.network = network
        self.config = config

    def forward(self, u: Tensor, t: Tensor) -> Tensor:
        return self.network(u, told(self.config, t))


def method_for(config: Mapping) -> ScoreSDE:
    """Returns Score-SDE's method with the authors' diffusion and parametrisation."""
    network = {
        "width": 8,
        "multipliers": [1],
        "blocks": 1,
        "attention": [],
        "embedding": "positional",
    }
    values = {
        "process": "vp",
        "beta_min": config["beta0"],
        "beta_max": config["beta0"] + config["beta1"],
        "parametrisation": "mixed" if config["mixed_score"] else "score",
        "network": network,
    }
    known = {
        "shape": (1, 8, 8),
        "levels": 256,
        "splits": {},
        "split_rule": "",
        "load": lambda split: None,
    }
    return ScoreSDE(
        build(Params, values), Images("fixture", DataCard(version=1, summary="", **known))
    )


def score_of(method: ScoreSDE, network: Callable[[Tensor, Tensor], Tensor]) -> ScoreFn:
    """Returns the method's score of a network of (u, t) in float32, where the method tells its own
    999 t.
    """
    return method.score_fn(lambda x, condition: network(x.float(), (condition / 999).float()))


def of_baseline(
    check: Callable[[Path, dict, dict], None], kind: str
) -> Callable[[Path, dict, dict], None]:
    """Returns a check of a file's cases that hands over to CLD's own those that are not the
    baseline's.
    """

    def either(path: Path, entry: dict, manifest: dict) -> None:
        own = entry["config"]["sde"] == "vpsde" if "config" in entry else entry["case"] == "vp"
        (check if own else OWN[kind])(path, entry, manifest)

    return either


def check_kernel(path: Path, entry: dict, manifest: dict) -> None:
    arrays = numbers(path, entry)
    rtol = float(re.search(r"Use rtol ([0-9.e-]+[0-9])", manifest["about"]["kernel_tolerance"])[1])
    process = method_for(entry["config"]).process
    t, u, (draw,) = arrays["in/t"], arrays["in/u"], under("draw/", arrays).values()
    score, back = arrays["in/score"], 1 - arrays["in/t"]  # they run backwards in time
    mean, std = process.perturb(u, t)
    ours = {
        "beta": process.beta(t),
        "beta_int": process.beta_integral(t),
        "mean": mean,
        "var": std.square(),
        "noise_multiplier": -1 / std,
        "loss_multiplier": 0.5 * process.diffusion(t).square(),
        "drift": like(process.drift_coefficient(t), u) * u,
        "diffusion": like(process.diffusion(t), u).expand_as(u),
        "reverse_drift_pf0": -flow(process, 2 * score, u, back),
        "reverse_diffusion_pf0": like(process.diffusion(back), u).expand_as(u),
        "reverse_drift_pf1": -flow(process, score, u, back),
        "reverse_diffusion_pf1": torch.zeros_like(u),
        "prior_logp": process.prior_log_prob(u),
        "perturbed": mean + std * draw,
    }
    expected = under("out/", arrays)
    assert ours.keys() == expected.keys()
    for name, values in ours.items():
        torch.testing.assert_close(values, expected[name], rtol=rtol, atol=1e-15)


def check_loss(path: Path, entry: dict, manifest: dict) -> None:
    """Theirs is the sum over dimensions, ours half of it; the rate beta is no weighting here and
    stands beside.
    """
    config, arrays, rtol = entry["config"], numbers(path, entry), tolerance_of(entry)
    method, draws = method_for(config), Replay(*under("draw/", arrays).values())
    network = network_for(path, entry, manifest, arrays, method.process)
    loss = loss_of(config, method, network, arrays["in/x"], draws)
    close(loss, arrays["out/loss"], rtol)
    loss.mean().backward()
    if "out/grad_lin" in arrays:
        close(network.weights.grad, arrays["out/grad_lin"], rtol)
    if "out/mean_loss" in arrays:
        close(loss.mean(), arrays["out/mean_loss"], rtol)
        norms = torch.stack([weight.grad.double().norm() for weight in network.parameters()])
        close(norms.norm(), arrays["out/grad_norm"], rtol)
    if gradients := under("out/grad/", arrays):
        gradients_agree(network.network, gradients, rtol)


def loss_of(
    config: Mapping, method: ScoreSDE, network: nn.Module, x0: Tensor, draws: Replay
) -> Tensor:
    """Returns the authors' loss of each image, at a recorded time with recorded noise."""
    t = config["loss_eps"] + (1 - config["loss_eps"]) * draws.uniform(x0.shape[:1])
    weighting = "likelihood" if config["weighting"] == "likelihood" else "std"
    score_fn, z = score_of(method, network), draws.normal(x0.shape)
    loss = denoising_loss(method.process, score_fn, x0, t, z, weighting, "sum")
    factors = {"reweightedv1": method.process.beta(t), "reweightedv2": 2, "likelihood": 1}
    return factors[config["weighting"]] * loss


def check_training(path: Path, entry: dict, manifest: dict) -> None:
    config = entry["config"]
    method, network = method_for(config), network_of(config)
    seen = Told(network, config)
    check_cld_networks.check_updates(
        path, entry, network, lambda x0, draws: loss_of(config, method, seen, x0, draws)
    )


@torch.no_grad()
def check_sampler(path: Path, entry: dict, manifest: dict) -> None:
    """A whole run from the prior, and what the network is asked at every step of fixed size."""
    config, arrays, rtol = entry["config"], numbers(path, entry), tolerance_of(entry)
    method, asked = method_for(config), []
    process = method.process
    network = network_for(path, entry, manifest, arrays, process)
    network.register_forward_pre_hook(lambda module, inputs: asked.append(inputs))
    score_fn = score_of(method, network)
    if "in/dt" in arrays:
        check_step(process, score_fn, arrays, forward="forward" in entry["case"], rtol=rtol)
        return
    prior, *draws = under("draw/", arrays).values()
    x, eps, solver = (
        process.prior(prior.shape, Replay(prior)),
        config["sampling_eps"],
        config["sampling_solver"],
    )
    if config["sampling_method"] == "em":
        times = grid(GRIDS[config["striding"]], process, check_cld.steps_of(config), eps)
        noise = Replay(*(draw.double() for draw in draws))
        x = euler_maruyama(process, score_fn, x.double(), times, noise, last_noise=True)
    elif solver == "scipy_solver":
        assert config["sampling_rtol"] == config["sampling_atol"]
        # Theirs rounds the state to float32 for the network alone; the steps it takes show the
        # rest.
        x = flow_adaptive(
            process, score_fn, x.double(), tolerance=config["sampling_rtol"], t_end=eps
        )
    else:
        times = check_cld.fixed_grid(config["sampling_solver_options"]["step_size"], eps)
        x = fixed_steps(lambda t, x: velocity(process, score_fn, x, t), x, times, solver)
    if config["denoising"]:
        last = torch.tensor([eps, 0.0], dtype=torch.float64)
        x = euler_maruyama(process, score_fn, x.double(), last, Replay())
    assert len(asked) == int(arrays["out/nfe"])
    if "out/model_in_u" in arrays:
        close(torch.stack([u for u, _ in asked]), arrays["out/model_in_u"], rtol)
        close(torch.stack([t for _, t in asked]), arrays["out/model_in_t"], rtol)
    close(x, arrays["out/x"], rtol)


def check_step(
    process: Process, score_fn: ScoreFn, arrays: Mapping, *, forward: bool, rtol: float
) -> None:
    """One Euler-Maruyama step, of the diffusion or backwards in time."""
    u, dt, (draw,) = (
        arrays["in/u"].double(),
        arrays["in/dt"].item(),
        under("draw/", arrays).values(),
    )
    if forward:
        t = time_like(u, arrays["in/t"].item())
        mean = u + dt * like(process.drift_coefficient(t), u) * u
        stepped = mean + like(process.diffusion(t), u) * dt**0.5 * draw.double()
    else:
        t = 1 - arrays["in/t"]
        times = torch.stack([t, t - dt])
        mean = euler_maruyama(process, score_fn, u, times, Replay())
        stepped = euler_maruyama(
            process, score_fn, u, times, Replay(draw.double()), last_noise=True
        )
    close(mean, arrays["out/u_mean"], rtol)
    close(stepped, arrays["out/u"], rtol)


def velocity(process: Process, score_fn: ScoreFn, x: Tensor, t: float) -> Tensor:
    times = time_like(x, t)
    return flow(process, score_fn(x, times), x, times)


def fixed_steps(
    slope: Callable[[float, Tensor], Tensor], x: Tensor, times: Tensor, method: str
) -> Tensor:
    """Returns x at the last time by the "euler" method or the "midpoint" rule, for dx/dt = slope(t,
    x).
    """
    for t, s in pairwise(times.tolist()):
        change = slope(t, x)
        if method == "midpoint":
            change = slope((t + s) / 2, x + (s - t) / 2 * change)
        x = x + (s - t) * change
    return x


OWN = check_cld.CHECKS | check_cld_kernel.CHECKS | check_cld_networks.CHECKS
"""The checks of CLD's own cases."""

KINDS = {
    "cld/kernel": check_kernel,
    "cld/loss": check_loss,
    "cld/sampler": check_sampler,
    "cld/train": check_training,
}

CHECKS = {f"{kind}*.npz": of_baseline(check, kind) for kind, check in KINDS.items()}
