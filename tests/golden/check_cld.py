"""Checks of golden/cld on losses and samplers of the diffusion, through the adapter where a suite
would go.
"""

import re
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path

import torch
from check_cld_networks import WEIGHTINGS, gradients_agree, network_of
from cld_arrays import GRIDS, close, numbers, process_of, tolerance_of
from exact import Replay
from safetensors.torch import load_file
from torch import Tensor, nn

from bench.counter import NetworkCounter
from bench.data.card import DataCard
from bench.data.images import Images
from bench.method import Sampler
from bench.schema import build
from methods.cld.adapter import CriticallyDampedLangevin
from methods.cld.card import CARD, Params
from methods.cld.objective import velocity_loss
from methods.cld.process import CLD
from methods.cld.samplers import (
    denoise,
    euler_maruyama,
    flow_adaptive,
    flow_euler,
    reverse_drift_step,
    sscs,
)
from methods.shared.architecture import Backbone
from methods.shared.grids import grid
from methods.shared.process import like
from methods.shared.published import from_published
from methods.shared.training import under

SAMPLERS = {"em": "euler_maruyama", "sscs": "sscs", "ode": "flow_adaptive"}
"""The authors' names of samplers, and ours."""


class Streams(Replay):
    """A noise source whose streams all replay one recording, in the order in which they are
    asked.
    """

    def child(self, name: str | int) -> "Streams":
        return self


class LinearNetwork(nn.Module):
    """The fixtures' linear network; the condition is the time."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.weights = nn.Parameter(weights.clone())

    def forward(self, u: Tensor, t: Tensor) -> Tensor:
        (x, v), (a, b, c) = u.chunk(2, 1), self.weights
        return a * x + b * v + c * torch.sin(3 * like(t, x))


class GaussianNetwork(nn.Module):
    """The network that has learnt data N(mean, std^2) perfectly, told the time."""

    def __init__(self, process: CLD, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.process, self.mean, self.variance = process, mean.double(), std.double().item() ** 2

    def forward(self, u: Tensor, t: Tensor) -> Tensor:
        u, process = u.double(), self.process
        covariance = process.covariance(t, image_variance=self.variance)
        centre = process.mean(self.mean.expand(u.chunk(2, 1)[0].shape), t)
        (x, v), (xx, xv, _, det) = (
            (u - centre).chunk(2, 1),
            (like(entry, u) for entry in covariance),
        )
        score = (xv * x - xx * v) / det
        return (-score / like(process.score_scale(t), u)).float()


def check_loss(path: Path, entry: dict, manifest: dict) -> None:
    config, arrays, tolerance = entry["config"], numbers(path, entry), tolerance_of(entry)
    process, draws = process_of(config), Replay(*under("draw/", arrays).values())
    method, network = method_of(path, entry, arrays)
    x0, v0 = arrays["in/x"], None
    if config["cld_objective"] == "dsm":
        v0 = process.velocity_variance**0.5 * draws.normal(x0.shape)
    t = config["loss_eps"] + (1 - config["loss_eps"]) * draws.uniform(x0.shape[:1])
    z = draws.normal((len(x0), 2 * x0.shape[1], *x0.shape[2:]))
    score_fn, weighting = method.score_fn(network), WEIGHTINGS[config["weighting"]]
    loss = velocity_loss(process, score_fn, x0, t, z, v0, weighting, "sum")
    close(loss, arrays["out/loss"], tolerance)
    mean = velocity_loss(process, score_fn, x0, t, z, v0, weighting)
    close(mean * x0[0].numel(), arrays["out/loss"], tolerance)
    loss.mean().backward()
    if "out/grad_lin" in arrays:
        close(network.weights.grad, arrays["out/grad_lin"], tolerance)
    if "out/mean_loss" in arrays:
        close(loss.mean(), arrays["out/mean_loss"], tolerance)
        norm = (
            torch.stack([weight.grad.double().square().sum() for weight in network.parameters()])
            .sum()
            .sqrt()
        )
        close(norm, arrays["out/grad_norm"], tolerance)
    if gradients := under("out/grad/", arrays):
        gradients_agree(network, gradients, tolerance)


@torch.no_grad()
def check_sampler(path: Path, entry: dict, manifest: dict) -> None:
    """A whole run with an analytic network from the prior, and what the network is asked at every
    step.
    """
    config, arrays, tolerance = entry["config"], numbers(path, entry), tolerance_of(entry)
    if "in/dt" in arrays:
        check_step(path, entry, arrays)
        return
    if not {"in/lin", "in/gauss"} & arrays.keys() and known_to_suites(config):
        check_network_run(path, entry, arrays)
        return
    process, asked = process_of(config), []
    method, network = method_of(path, entry, arrays)
    network.register_forward_pre_hook(lambda module, inputs: asked.append(inputs[0]))
    score_fn = method.score_fn(lambda u, t: network(u.float(), t.float()))
    x, v, *draws = under("draw/", arrays).values()
    u = process.prior(x.shape, Replay(x, v))
    eps, kind = config["sampling_eps"], config["sampling_method"]
    if kind == "ode" and config["sampling_solver"] == "scipy_solver":
        u = flow_adaptive(process, score_fn, u, tolerance=config["sampling_rtol"], t_end=eps)
    elif kind == "ode":
        solver = {"euler": flow_euler, "midpoint": flow_midpoint}[config["sampling_solver"]]
        u = solver(
            process, score_fn, u, fixed_grid(config["sampling_solver_options"]["step_size"], eps)
        )
    else:
        times = grid(GRIDS[config["striding"]], process, steps_of(config), eps)
        u = {"em": euler_maruyama, "sscs": splitting(config)}[kind](
            process, score_fn, u, times, Replay(*used(draws, config))
        )
    if config["denoising"]:
        u = denoise(process, score_fn, u, eps, "published")
    assert len(asked) == int(arrays["out/nfe"])
    if "out/model_in_u" in arrays:
        close(torch.stack(asked), arrays["out/model_in_u"], tolerance)
    x, v = u.chunk(2, 1)
    close(x, arrays["out/x"], tolerance)
    if "out/v" in arrays:
        close(v, arrays["out/v"], tolerance)


def known_to_suites(config: Mapping) -> bool:
    """Returns whether a suite can ask for the sampler of a run, to which some of the authors'
    options are left out.
    """
    if config["sampling_method"] == "ode":
        return config["sampling_solver"] == "scipy_solver"
    return not (config["sampling_method"] == "sscs" and config["sscs_num_stab"])


def check_step(path: Path, entry: dict, arrays: Mapping) -> None:
    """One Euler-Maruyama step, of the diffusion or backwards in time."""
    config, tolerance = entry["config"], tolerance_of(entry)
    method, network = method_of(
        path, entry, {"in/lin": torch.tensor(linear_weights(entry["what"]))}
    )
    process, u, dt = process_of(config), arrays["in/u"].double(), arrays["in/dt"].item()
    (draw,) = under("draw/", arrays).values()
    forward = "forward" in entry["case"]
    t = arrays["in/t"].item() if forward else 1 - arrays["in/t"].item()
    at = torch.full((len(u),), t, dtype=torch.float64)
    if forward:
        mean = u + dt * process.drift(u, at)
        spread = like(process.diffusion(at) * dt**0.5, u) * draw.chunk(2, 1)[1]
        stepped = mean + torch.cat([torch.zeros_like(spread), spread], 1)
    else:
        score_fn, times = method.score_fn(network), torch.tensor([t, t - dt], dtype=torch.float64)
        mean = reverse_drift_step(process, score_fn, u, *times.tolist())
        stepped = euler_maruyama(process, score_fn, u, times, Replay(draw.chunk(2, 1)[1]))
    close(mean, arrays["out/u_mean"], tolerance)
    close(stepped, arrays["out/u"], tolerance)


def linear_weights(what: str) -> list[float]:
    """Returns the weights of the linear network that a case's description names."""
    return [float(number) for number in re.search(r"lin=\[([^]]*)\]", what)[1].split(",")]


def check_network_run(path: Path, entry: dict, arrays: Mapping) -> None:
    """A whole run of a network through the adapter, with the parameters that a suite would give the
    sampler.
    """
    config, tolerance = entry["config"], tolerance_of(entry)
    method, network = method_of(path, entry, arrays)
    asked = []
    network.register_forward_pre_hook(lambda module, inputs: asked.append(inputs[0]))
    kind = SAMPLERS[config["sampling_method"]]
    values = {
        "t_min": config["sampling_eps"],
        "denoise": "published" if config["denoising"] else "none",
    }
    if kind == "flow_adaptive":
        values |= {"tolerance": config["sampling_rtol"]}
    else:
        values |= {"steps": steps_of(config)}
    if kind == "sscs":
        values |= {"half_step": "published"}
    card = CARD.samplers[kind]
    params = build(card.params, values)
    x, v, *draws = under("draw/", arrays).values()
    noise = Streams(x, v, *used(draws, config))
    with NetworkCounter(method.networks) as counter:
        images = method.sample(len(x), Sampler(kind, GRIDS[config["striding"]], params), noise)
    assert counter.calls == int(arrays["out/nfe"])
    if card.effort.exact:
        assert counter.calls == card.effort.evaluations(params)
        if "out/model_in_u" in arrays:
            close(torch.stack(asked), arrays["out/model_in_u"], tolerance)
    close(2 * images - 1, arrays["out/x"], tolerance)


def method_of(
    path: Path, entry: dict, arrays: Mapping
) -> tuple[CriticallyDampedLangevin, nn.Module]:
    """Returns the adapter with the authors' process and parametrisation, and the network of a case,
    which it holds.
    """
    config = entry["config"]
    files = sorted(path.parent.glob("net_*.safetensors"), key=lambda file: len(file.stem))
    name = next(
        (file for file in reversed(files) if f"{entry['case']}_".startswith(f"{file.stem}_")), None
    )
    fourier = config.get("embedding_type") == "fourier"
    # Data of a Gaussian have a network for their whole score.
    mixed = config.get("mixed_score", False) and "in/gauss" not in arrays
    params = Params(
        **{key: config[key] for key in ("beta0", "beta1", "gamma", "numerical_eps")},
        mass=1 / config["m_inv"],
        objective=config["cld_objective"],
        parametrisation="mixed" if mixed else "noise",
        weighting=WEIGHTINGS[config["weighting"]],
        reduction="sum",
        t_min=config["loss_eps"],
        condition="log_time" if name and fourier else "time",
        network=Backbone(width=4, multipliers=(1,), blocks=1, attention=()),
    )
    channels, size = config["image_channels"], config.get("image_size", 1)
    shape = (channels, size, size)
    card = DataCard(
        version=1,
        summary="",
        shape=shape,
        levels=256,
        splits={},
        split_rule="",
        load=lambda split: None,
    )
    method = CriticallyDampedLangevin(params, Images("golden", card))
    if name:
        network = network_of(config)
        network.load_state_dict(from_published(network, load_file(name)))
    elif "in/lin" in arrays:
        network = LinearNetwork(arrays["in/lin"])
    else:
        network = GaussianNetwork(method.process, *arrays["in/gauss"])
    method.average = network
    return method, network


def splitting(config: Mapping) -> Callable:
    """Returns the authors' SSCS, with what they add to its variances."""

    def sampler(*arguments) -> Tensor:
        return sscs(*arguments, half_step="published", numerical_eps=config["sscs_num_stab"])

    return sampler


def steps_of(config: Mapping) -> int:
    """Returns the steps of a run; the authors count its end among them."""
    return config["n_discrete_steps"] - bool(config["denoising"])


def used(draws: list[Tensor], config: Mapping) -> list[Tensor]:
    """Returns the draws that reach a state: theirs also draws for the end, and in Euler-Maruyama
    for x.
    """
    if config["denoising"]:
        draws = draws[:-1]
    return [draw.chunk(2, 1)[1] for draw in draws] if config["sampling_method"] == "em" else draws


def flow_midpoint(process: CLD, score_fn: Callable, u: Tensor, times: Tensor) -> Tensor:
    """The midpoint rule on the probability flow, by two steps of Euler's method."""
    for t, s in pairwise(times.tolist()):
        middle = (t + s) / 2
        halfway = flow_euler(process, score_fn, u, torch.tensor([t, middle], dtype=torch.float64))
        ahead = flow_euler(
            process, score_fn, halfway, torch.tensor([middle, s], dtype=torch.float64)
        )
        u = u + 2 * (ahead - halfway)
    return u


def fixed_grid(step: float, eps: float) -> Tensor:
    """Returns the times of their fixed steps from 1, the last step as long as it takes to eps."""
    times = torch.arange(1, eps, -step, dtype=torch.float64)
    return torch.cat([times, times.new_tensor([eps])])


CHECKS = {"cld/loss": check_loss, "cld/sampler": check_sampler}
