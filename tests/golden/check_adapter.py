"""Checks of golden/sde on the authors' samplers and likelihood of networks, through the adapter as
a suite runs it.
"""

from dataclasses import replace
from pathlib import Path

import torch
from check_networks import KEYWORDS, keywords_of, numbers
from check_sde import NAMES, RANGES, close, counted, recorded_noise, spent, tolerance
from exact import Replay
from torch import Tensor

from bench.counter import NetworkCounter
from bench.data.card import DataCard
from bench.data.images import Images
from bench.method import Noise, Sampler
from bench.schema import build
from methods.sde.adapter import ScoreSDE
from methods.sde.card import CARD
from methods.shared.architecture import FOREIGN
from methods.shared.likelihood import bits_per_dim, log_likelihood
from methods.shared.published import from_published
from methods.shared.training import under

NFE_SLACK = 12
"""Two Runge-Kutta steps, within which the manifest has the count of evaluations on networks."""


class Streams(Replay):
    """A noise source whose streams all replay one recording, in the order in which they are
    asked.
    """

    def child(self, name: str | int) -> "Streams":
        return self


def check_predictor_corrector(path: Path, entry: dict, manifest: dict) -> None:
    config, arrays = entry["config"], numbers(path)
    method = method_of(path, config, manifest)
    steps = config["sde"]["N"]
    values = {
        "steps": steps,
        "predictor": NAMES.get(config["predictor"], config["predictor"]),
        "corrector": config["corrector"],
        "snr": config["snr"],
        "corrector_steps": config["n_steps"],
        "norms": "batch",
        "variance": "posterior" if config["sde"]["kind"] == "ve" else "transition",
        "last_noise": not config["denoise"],
        "probability_flow": config.get("probability_flow", False),
        "published": True,
        "t_min": config["eps"],
    }
    card = CARD.samplers["predictor_corrector"]
    params = build(card.params, values)
    assert card.refuse(method.params, params, "uniform") == []
    prior, *draws = recorded_noise(arrays)
    noise = Streams(prior, *spent(draws, config))
    with NetworkCounter(method.networks) as counter:
        images = method.sample(
            config["shape"][0], Sampler("predictor_corrector", "uniform", params), noise
        )
    assert counter.calls == card.effort.evaluations(params)
    close(in_range(images, method, config), arrays["out/x"], tolerance(manifest))


def check_flow(path: Path, entry: dict, manifest: dict) -> None:
    config, arrays = entry["config"], numbers(path)
    assert config["rtol"] == config["atol"]
    method = method_of(path, config, manifest)
    values = {
        "tolerance": config["rtol"],
        "t_min": config["eps"],
        "last": "published" if config["denoise"] else "none",
    }
    params = build(CARD.samplers["flow_adaptive"].params, values)
    prior = recorded_noise(arrays)[0]

    def run(solver: str, prior: Tensor) -> tuple[int, dict[str, Tensor]]:
        sampler = Sampler("flow_adaptive", "", replace(params, solver=solver))
        with NetworkCounter(method.networks) as counter:
            images = method.sample(len(prior), sampler, Streams(prior))
        return counter.calls - config["denoise"], {"x": in_range(images, method, config)}

    runs = [run("scipy", prior), *(run("device", other) for other in (prior, *rounded(prior)))]
    assert runs[1][0] <= runs[0][0] + NFE_SLACK
    agree(runs, arrays, tolerance(manifest))


def check_likelihood(path: Path, entry: dict, manifest: dict) -> None:
    config, arrays, rtol = entry["config"], numbers(path), tolerance(manifest)
    method = method_of(path, config, manifest)
    score_fn, calls = counted(method.score_fn(method.average))
    (draw,) = recorded_noise(arrays)
    probe = config["hutchinson"].lower()
    knobs = {"eps": config["eps"], "tolerance": config["rtol"], "probe": probe}
    draw = 2 * draw - 1 if probe == "rademacher" else draw

    def run(x: Tensor) -> tuple[int, dict[str, Tensor]]:
        calls.clear()
        log_prob, z = log_likelihood(
            method.process, score_fn, x, Replay(draw), probe_drift=True, **knobs
        )
        return len(calls), {
            "bpd": bits_per_dim(log_prob, z[0].numel(), levels=256, width=method.width),
            "z": z,
        }

    agree([run(x) for x in (arrays["in/data"], *rounded(arrays["in/data"]))], arrays, rtol)


def in_range(images: Tensor, method: ScoreSDE, config: dict) -> Tensor:
    """Returns images in the range in which the authors' sampler left them."""
    back, width = RANGES[
        config.get("inverse_scaler", "identity" if method.width == 1 else "(x+1)/2")
    ]
    if width == method.width:
        return images
    return back(images if method.width == 1 else 2 * images - 1)


def rounded(x: Tensor) -> list[Tensor]:
    """Returns x with the last bit of its entries moved up or down, in two ways."""
    signs = [Noise(seed).rademacher(x.shape) for seed in range(2)]
    return [x * (1 + torch.finfo(x.dtype).eps * sign) for sign in signs]


def agree(runs: list[tuple[int, dict[str, Tensor]]], arrays: dict, rtol: float) -> None:
    """Compares the first run with what is recorded.

    Of these networks explicit steps are at the edge of stability, where a step is taken or rejected
    by rounding: the last bit of the input moves results by more than the manifest's tolerance, the
    authors' own as well. What it moves between our runs is therefore allowed on top of that
    tolerance, once for them and once for us.
    """
    calls = [count for count, _ in runs]
    assert abs(calls[0] - int(arrays["out/nfe"])) <= NFE_SLACK + 2 * (max(calls) - min(calls))
    for name, value in runs[0][1].items():
        spread = max(float((values[name] - value).abs().max()) for _, values in runs[1:])
        expected = arrays[f"out/{name}"]
        assert (
            float((value - expected).abs().max()) <= rtol * float(expected.abs().max()) + 2 * spread
        )


def method_of(path: Path, config: dict, manifest: dict) -> ScoreSDE:
    """Returns the adapter with the authors' network and process, as a preset would make it."""
    constants = dict(config["sde"])
    kind, steps = constants.pop("kind"), constants.pop("N")
    net = manifest["files"][config["net_file"]]["config"]["net"]
    values = {
        "process": kind,
        "published_rounding": True,
        "prior": {"kind": "published"},
        **constants,
    }
    if not config.get("continuous", True):
        values |= {"time": "discrete", "scales": steps}
    params = build(CARD.params, {**values, "network": network_of(net)})
    shape = (net["data"]["num_channels"], net["data"]["image_size"], net["data"]["image_size"])
    card = DataCard(
        version=1,
        summary="",
        shape=shape,
        levels=256,
        splits={},
        split_rule="",
        load=lambda split: None,
    )
    method = ScoreSDE(params, Images("golden", card))
    state = under("sd/", numbers(path.parent / config["net_file"]))
    method.average.load_state_dict(from_published(method.average, state))
    return method


def network_of(net: dict) -> dict:
    """Returns the parameters of the network of one of the authors' configurations."""
    kind = net["model"]["name"]
    return {"architecture": kind, **keywords_of(net["model"], KEYWORDS.keys() - FOREIGN[kind])}


CHECKS = {
    "sde/pc_net_": check_predictor_corrector,
    "sde/ode_net_": check_flow,
    "sde/lik_net_": check_likelihood,
}
