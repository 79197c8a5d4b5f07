"""Checks of golden/sde and golden/oracle on annealed Langevin dynamics, of exact scores and of the
papers' networks.
"""

import math
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from check_adapter import Streams
from check_ncsn_networks import settings_of
from check_networks import numbers
from check_oracle import close as close_each
from check_oracle import data_of, frechet
from check_oracle import tolerance as tolerance_of
from check_sde import close, read, recorded_noise, tolerance
from exact import Mixture, Replay
from torch import Tensor

from bench.counter import NetworkCounter
from bench.data.card import DataCard
from bench.data.images import Images
from bench.method import Sampler
from bench.schema import build, plain
from methods.ncsn.adapter import NCSN
from methods.ncsn.card import CARD
from methods.ncsn.langevin import Arc, annealed_langevin
from methods.ncsn.levels import geometric
from methods.ncsn.published import from_published
from methods.shared.controllable import Known
from methods.shared.process import like
from methods.shared.training import under

PUBLISHED = {"denoise": False, "returned": "published"}
"""How NCSN's own sampler ends."""

NUMBER = r"([0-9]*\.?[0-9]+(?:e-?[0-9]+)?)"
STATED = re.compile(
    rf"mu={NUMBER} s0={NUMBER}"
    rf"(?:, sigmas geometric {NUMBER}\.\.{NUMBER} with (\d+) levels, (\d+) steps each)?.*step_lr "
    rf"{NUMBER}"
    r"(?:, steps (\d+)/(\d+)/(\d+))?"
)
"""What the descriptions of files without a configuration say."""


class Watched:
    """The score of isotropic Gaussian data, N(mu, s0^2), that remembers each x at which it was
    asked.
    """

    def __init__(self, mu: float, s0: float) -> None:
        self.mu, self.s0 = mu, s0
        self.states: list[Tensor] = []

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        self.states.append(x.clone())
        return -(x - self.mu) / like(self.s0**2 + sigma**2, x)


class Halves(Replay):
    """A noise source of an inpainting whose odd draws are of the left half alone, which is the
    known one.

    Args:
        width: Of the whole images.
    """

    def __init__(self, width: int, *draws: Tensor) -> None:
        super().__init__(*draws)
        self.width = width

    def normal(self, shape: Sequence[int]) -> Tensor:
        draw = self.draws.pop(0)
        return torch.cat(
            [draw, draw.new_zeros(*draw.shape[:-1], self.width - draw.shape[-1])], dim=-1
        )


def check_exact(path: Path, entry: dict, manifest: dict) -> None:
    config, arrays, rtol = entry["config"], read(path), tolerance(manifest)
    score_fn, noise = Watched(config["mu"], config["s0"]), Replay(*recorded_noise(arrays))
    x = run(score_fn, arrays["in/x0"], levels_of(config["model"]), noise, config, **PUBLISHED)
    close(
        torch.stack([*score_fn.states, x])[:-1], arrays["out/state_at_each_score_call"][:-1], rtol
    )
    close(x, arrays["out/state_at_each_score_call"][-1].clamp(0, 1), rtol)
    close(x, arrays["out/last_image"], rtol)
    assert len(noise.draws) == 1, "of the last update, which is left out"


def check_ncsn(path: Path, entry: dict, manifest: dict) -> None:
    """NCSN on its network through the adapter; images are kept every few steps, and the last."""
    method, values, images = sampled(path, entry, manifest, PUBLISHED)
    arrays, rtol = (
        numbers(path),
        float(re.search(rf"clamped ALD {NUMBER}", manifest["general"]["tolerance"])[1]),
    )
    kept_each = re.search(
        r"every (\d+)(?:st|nd|rd|th) image plus the last", entry["config"].get("kept", "")
    )
    every = int(kept_each[1]) if kept_each else 1
    states = [*method.states, images][: int(arrays["out/n_images"])]
    assert len(states) == values["levels"] * values["steps_each"] == int(arrays["out/n_images"])
    kept = states[::every] + ([states[-1]] if (len(states) - 1) % every else [])
    close(torch.stack(kept).clamp(0, 1), arrays["out/images_clamped"], rtol)


def check_ncsnv2(path: Path, entry: dict, manifest: dict) -> None:
    """NCSNv2 on its network through the adapter."""
    _, _, images = sampled(path, entry, manifest, {"denoise": entry["config"]["denoise"]})
    close(images, numbers(path)["out/final"], tolerance(manifest))


def sampled(path: Path, entry: dict, manifest: dict, ending: dict) -> tuple[NCSN, dict, Tensor]:
    """Returns the adapter, which remembers as ``states`` what its network saw, sampler parameters
    and samples.
    """
    config, arrays = entry["config"], numbers(path)
    other = manifest["files"][config["net_file"]]
    method = method_of(other, numbers(path.parent / config["net_file"]))
    method.states = []
    method.average.register_forward_pre_hook(
        lambda module, inputs: method.states.append((inputs[0] + 1) / 2)
    )
    steps = {"steps_each": config["n_steps_each"], "step_lr": config["step_lr"]}
    values = {"levels": len(method.sigmas), "start": "uniform", **steps, **ending}
    card = CARD.samplers["annealed_langevin"]
    params = build(card.params, values)
    assert card.refuse(method.params, params, "") == []
    noise = Streams(arrays["in/x0"], *recorded_noise(arrays))
    with NetworkCounter(method.networks) as counter:
        images = method.sample(
            len(arrays["in/x0"]), Sampler("annealed_langevin", "", params), noise
        )
    assert counter.calls == card.effort.evaluations(params)
    return method, values, images


def method_of(entry: dict, arrays: dict[str, Tensor]) -> NCSN:
    """Returns the adapter with the authors' network and noise levels, as a preset would make it."""
    config = entry["config"]
    model, data = config["net"]["model"], config["net"]["data"]
    levels = {
        "sigma_begin": model["sigma_begin"],
        "sigma_end": model["sigma_end"],
        "levels": model["num_classes"],
    }
    settings = plain(settings_of(config))
    assert model.get("sigma_dist", "geometric") == "geometric"
    shape = (data["channels"], data["image_size"], data["image_size"])
    card = DataCard(
        version=1,
        summary="",
        shape=shape,
        levels=256,
        splits={},
        split_rule="",
        load=lambda split: None,
    )
    method = NCSN(build(CARD.params, {**levels, "refinenet": settings}), Images("golden", card))
    state = under("sd/", arrays)
    method.average.load_state_dict(from_published(method.average, state))
    return method


def check_inpainting(path: Path, entry: dict, manifest: dict) -> None:
    arrays, rtol, stated = (
        read(path),
        tolerance(manifest),
        STATED.search(entry["description"]).groups(),
    )
    mu, s0, begin, end, count, steps, step_lr = map(float, stated[:7])
    score_fn = Watched(mu, s0)
    x0, known = left_half(arrays)
    noise = Halves(x0.shape[-1], *recorded_noise(arrays))
    config = {"n_steps_each": int(steps), "step_lr": step_lr}
    sigmas = geometric(begin, end, int(count))
    x = run(score_fn, x0, sigmas, noise, config, known=known, conditioning="level", **PUBLISHED)
    kept = arrays["out/state_at_score_call_sub"]
    down, across = (
        math.ceil(whole / part) for whole, part in zip(x.shape[-2:], kept.shape[-2:], strict=True)
    )
    states = torch.stack([*score_fn.states, x])[..., ::down, ::across]
    close(states[:-1], kept[:-1], rtol)
    close(x, arrays["out/last_image"], rtol)
    assert len(states) == int(arrays["out/n_images"])
    assert len(noise.draws) == 1, "of the last update, which is left out"


def check_ncsnv2_samplers(path: Path, entry: dict, manifest: dict) -> None:
    """Inpainting, interpolation and sampling, one after the other in one recording."""
    arrays, rtol, stated = (
        read(path),
        tolerance(manifest),
        STATED.search(entry["description"]).groups(),
    )
    mu, s0, step_lr, draws = (
        float(stated[0]),
        float(stated[1]),
        float(stated[6]),
        recorded_noise(arrays),
    )
    steps, sigmas = [int(number) for number in stated[7:]], arrays["out/sigmas"].double()
    count = int(re.search(r"\((\d+) interpolations\)", entry["description"])[1])
    configs = [{"n_steps_each": number, "step_lr": step_lr} for number in steps]
    used = [
        len(sigmas) * number * doubled for number, doubled in zip(steps, (2, 2, 1), strict=True)
    ]
    inpainting, interpolation, sampling = (
        draws[sum(used[:k]) : sum(used[: k + 1])] for k in range(len(used))
    )
    assert sum(used) == len(draws)

    score_fn = Watched(mu, s0)
    x0, known = left_half(arrays)
    noise = Halves(x0.shape[-1], *inpainting)
    run(score_fn, x0, sigmas, noise, configs[0], known=known, denoise=False)
    close(torch.stack(score_fn.states), arrays["out/inpaint_images"], rtol)

    score_fn = Watched(mu, s0)
    x0 = arrays["in/xi"].repeat_interleave(count, dim=0)
    x = run(score_fn, x0, sigmas, Arc(Replay(*interpolation), count), configs[1], denoise=False)
    close(torch.stack([*score_fn.states[1:], x]), arrays["out/interpolation_images"], rtol)

    score_fn = Watched(mu, s0)
    x = run(score_fn, arrays["in/xi"], sigmas, Replay(*sampling), configs[2])
    close(torch.stack([*score_fn.states[1:], x]), arrays["out/ald_images"], rtol)


def run(score_fn, x: Tensor, sigmas: Tensor, noise, config: dict, **options) -> Tensor:
    """Runs the sampler with the steps of a configuration."""
    steps = {"steps_each": config["n_steps_each"], "step_lr": config["step_lr"]}
    return annealed_langevin(score_fn, x, sigmas, noise, **steps, **options)


def left_half(arrays: dict[str, Tensor]) -> tuple[Tensor, Known]:
    """Returns where the chains of an inpainting start and what they know, each reference as often
    as it has chains.
    """
    starts = arrays["in/x0"]
    images = arrays["in/refer"].repeat_interleave(starts.shape[1], dim=0)
    mask = torch.zeros(images.shape[-1])
    mask[: images.shape[-1] // 2] = 1
    return starts.flatten(0, 1), Known(images, mask)


def levels_of(model: dict) -> Tensor:
    return geometric(model["sigma_begin"], model["sigma_end"], model["num_classes"])


class Impulses:
    """A noise source by which row (k, i) of a batch gets the unit vector i at draw k alone, and the
    last row nothing.

    Args:
        draws: How many there are.
    """

    def __init__(self, draws: int) -> None:
        self.draws = draws
        self.drawn = 0

    def normal(self, shape: Sequence[int]) -> Tensor:
        dims = (shape[0] - 1) // (self.draws + 1)
        z = torch.zeros(shape[0], dims, dtype=torch.float64)
        z[(self.drawn + 1) * dims : (self.drawn + 2) * dims] = torch.eye(dims, dtype=torch.float64)
        self.drawn += 1
        return z.view(tuple(shape))


def check_moments(path: Path, entry: dict, manifest: dict) -> None:
    """Exact moments, recorded trajectory and stationary covariances of annealed Langevin dynamics
    on Gaussian data.
    """
    arrays, data = read(path), data_of(path, path.stem.split("__")[1])
    rtol, atol = (
        tolerance_of(manifest, "sampler_cov", "rtol"),
        tolerance_of(manifest, "traj", "atol"),
    )
    sigmas, steps_each, eps = arrays["sigmas"], int(arrays["T"]), arrays["eps"].item()

    def score_fn(x: Tensor, sigma: Tensor) -> Tensor:
        return data.score(x, torch.ones_like(sigma), sigma)

    # The oracle's step is alpha / 2: the paper's convention with eps, the code's with half of it.
    paper = partial(
        annealed_langevin, score_fn, steps_each=steps_each, step_lr=eps, convention="paper"
    )
    code = partial(annealed_langevin, score_fn, steps_each=steps_each, step_lr=eps / 2)
    start = arrays["traj_init"].view(-1, *data.shape)
    for sampler in (paper, code):
        noise = Replay(*(draw.view_as(start) for draw in arrays["traj_noise"]))
        close_each(
            sampler(start, sigmas, noise, denoise=False).flatten(1), arrays["traj_final"], atol=atol
        )
        noise = Replay(*(draw.view_as(start) for draw in arrays["traj_noise"]))
        denoised = (
            tolerance_of(manifest, "traj", "lowrank traj_denoised")
            if "lowrank" in path.stem
            else atol
        )
        close_each(sampler(start, sigmas, noise).flatten(1), arrays["traj_denoised"], atol=denoised)

    mean0, covariance0 = data.mean_and_covariance()
    dims = len(mean0)
    identity = torch.eye(dims, dtype=torch.float64)
    starts = {
        "gauss": (torch.zeros_like(mean0), sigmas[0] ** 2 * identity),
        "unif": (torch.full_like(mean0, 0.5), identity / 12),
    }
    whole = moments(partial(paper, denoise=False), data, sigmas, steps_each)
    found = {name: whole(*start) for name, start in starts.items()}
    found["denoised"] = moments(paper, data, sigmas, steps_each)(*starts["gauss"])
    for name, (mean, covariance) in found.items():
        close_each(mean, arrays[f"mean_{name}"], rtol)
        close_each(covariance, arrays[f"cov_{name}"], rtol)
    for name, key in {"gauss": "fd_data", "denoised": "fd_data_denoised"}.items():
        scale = float((found[name][1] + covariance0).trace())
        close_each(frechet(*found[name], mean0, covariance0), arrays[key], rtol, atol=rtol * scale)
    for name, sigma, alpha in (
        ("first", sigmas[:1], arrays["alpha"][0]),
        ("last", sigmas[-1:], arrays["alpha"][-1]),
    ):
        one = partial(paper, steps_each=1, step_lr=alpha.item(), denoise=False)
        after = moments(one, data, sigma, 1)(mean0, arrays[f"stationary_cov_{name}"])
        close_each(after[0], mean0, rtol)
        close_each(after[1], arrays[f"stationary_cov_{name}"], rtol)


def moments(sampler, data: Mixture, sigmas: Tensor, steps_each: int):
    """Returns a function from the mean and covariance of the first x to those of the last, for
    Gaussian data.

    The sampler is then x -> A x + b + sum_k C_k z_k; it is run once on the unit vectors of x and of
    each z_k.
    """
    dims, draws = int(torch.tensor(data.shape).prod()), len(sigmas) * steps_each
    x = torch.zeros((draws + 1) * dims + 1, dims, dtype=torch.float64)
    x[:dims] = torch.eye(dims, dtype=torch.float64)
    ends = sampler(x.view(-1, *data.shape), sigmas, Impulses(draws)).flatten(1)
    shift = ends[-1]
    matrix, *answers = (ends[:-1] - shift).view(draws + 1, dims, dims).mT
    spread = sum(answer @ answer.T for answer in answers)
    return lambda mean, covariance: (matrix @ mean + shift, matrix @ covariance @ matrix.T + spread)


CHECKS = {
    "sde/ald_ncsn_analytic": check_exact,
    "sde/ald_ncsn_": check_ncsn,
    "sde/ald_ncsnv2": check_ncsnv2,
    "sde/inpaint_ncsn_analytic": check_inpainting,
    "sde/ncsnv2_samplers_analytic": check_ncsnv2_samplers,
    "oracle/sampler__*__ncsn__annealed_langevin": check_moments,
}
