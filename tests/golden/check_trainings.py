"""Checks of golden/sde on the average, a short training and the checkpoint that it saved."""

import math
import re
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from check_networks import BOUNDS, T_EPS, Published, assert_equal, keywords_of, numbers, process_in
from check_sde import close, place, tolerance
from exact import Replay
from torch import Tensor

from bench.data.images import Images
from bench.data.registry import DATASETS
from bench.method import Noise
from bench.schema import build
from methods.sde.adapter import ScoreSDE, discrete_levels
from methods.sde.card import Params
from methods.shared.architecture import FOREIGN, Backbone
from methods.shared.hyperparameters import Training
from methods.shared.objective import denoising_loss, discrete_loss
from methods.shared.published import to_published, trained_names
from methods.shared.training import Trainer, average_decay, under, update_average


def check_average(path: Path, entry: dict, manifest: dict) -> None:
    arrays = numbers(path)
    for name, shadow in under("out/shadow", arrays).items():
        decay, warmup = re.fullmatch(
            r"\[decay=([0-9.]+),use_num_updates=(True|False)\]", name
        ).groups()
        average = [arrays["in/p0"].clone()]
        for n, weights in enumerate(arrays["in/updates"], start=1):
            update_average(average, [weights], average_decay(float(decay), n, warmup == "True"))
            close(average[0], shadow[n - 1], tolerance(manifest))


def check_training(path: Path, entry: dict, manifest: dict) -> None:
    """Every update of the authors' loop, and at the end the loss of the average on the first
    batch.
    """
    arrays, config = numbers(path), entry["config"]["net"]
    draws = [arrays[name] for name in sorted(arrays, key=place) if name.startswith("noise/")]
    replay, losses = Replay(*draws), []

    def loss(network: Published, x0: Tensor, noise: Noise) -> Tensor:
        value = published_loss(network, x0, replay, entry["config"])
        losses.append(value.mean())
        return value

    batches, state = arrays["in/batches"], under("sd/", arrays)
    network, average = Published(config, state), Published(config, state)
    kept = kept_entries(network, batches[0], draws, entry["config"])
    trainer = Trainer(network, average, loss, training_of(config, batches))
    names = trained_names(network.network)
    (every,) = {
        int(found[1]) for name in arrays if (found := re.match(r"out/params_every(\d+)_", name))
    }
    for step, x0 in enumerate(batches):
        trainer.update(step, x0, Noise(0))
        assert trainer.optimizer.param_groups[0]["lr"] == pytest.approx(
            arrays["out/lrs"][step].item()
        )
        for trained, where in ((network, "params"), (average, "ema")):
            weights = to_published(trained.network, trained.network.state_dict())
            sparse = torch.cat([weights[name].flatten() for name in names])[::every]
            expected = arrays[f"out/{where}_every{every}_after_each_step"][step]
            close(sparse[kept[::every]], expected[kept[::every]], tolerance(manifest))
    final = trainer.heldout_loss(batches[0], Noise(0))
    close(torch.stack(losses[:-1]).detach(), arrays["out/losses"], tolerance(manifest))
    close(final, arrays["out/eval_loss_ema"], tolerance(manifest))
    assert not replay.draws


def training_of(config: Mapping, batches: Tensor) -> Training:
    """Returns the settings of an authors' training on these batches."""
    model, optim = config["model"], config["optim"]
    assert optim.get("beta1", 0.9) == 0.9
    return Training(
        steps=len(batches),
        batch=len(batches[0]),
        optimiser=optim["optimizer"].lower(),
        learning_rate=optim["lr"],
        adam_eps=optim["eps"],
        weight_decay=optim["weight_decay"],
        warmup_steps=optim["warmup"],
        clip=optim["grad_clip"] if optim["grad_clip"] >= 0 else None,
        ema_half_life_images=len(batches[0]) * math.log(0.5) / math.log(model["ema_rate"]),
    )


def published_loss(network: Published, x0: Tensor, draws: Replay, config: Mapping) -> Tensor:
    """Returns the loss that a configuration names, of each image: times or labels are drawn first,
    then the noise.
    """
    training, (kind, process) = config["net"]["training"], process_in(config["net"])
    reduction = "mean" if training.get("reduce_mean", False) else "sum"
    drawn = draws.uniform((len(x0),))
    if training["continuous"] or kind == "subvp":
        eps = config.get("t_eps", T_EPS)
        weighting = "likelihood" if training.get("likelihood_weighting", False) else "std"
        t, z = drawn.to(x0) * (1 - eps) + eps, draws.normal(x0.shape).to(x0)
        return denoising_loss(
            process, network.score_fn(process, kind), x0, t, z, weighting, reduction
        )
    model = config["net"]["model"]
    levels = discrete_levels(kind, *(model[name] for name in BOUNDS[kind]), model["num_scales"])
    level = len(levels.std) - 1 - drawn if kind == "ve" else drawn
    return discrete_loss(
        levels, network.level_score(levels, kind), x0, level, draws.normal(x0.shape), reduction
    )


def kept_entries(network: Published, x0: Tensor, draws: list[Tensor], config: Mapping) -> Tensor:
    """Returns which of all trained numbers have a gradient that is more than rounding, which Adam
    turns into steps.

    The bias of an attention's keys has none, nor has one that a normalisation of its own channel
    takes away: their gradients in float32 and in float64 have nothing in common.
    """
    found = []
    for dtype in (torch.float32, torch.float64):
        copy = deepcopy(network).to(dtype)
        published_loss(copy, x0.to(dtype), Replay(*draws[:2]), config).mean().backward()
        gradients = {
            name: weight.grad
            for name, weight in copy.network.named_parameters()
            if weight.grad is not None
        }
        zeros = {
            name: torch.zeros_like(tensor) for name, tensor in copy.network.state_dict().items()
        }
        found.append(to_published(copy.network, zeros | gradients))
    rounded, exact = found
    names = trained_names(network.network)
    sound = [
        float((rounded[name] - exact[name]).norm()) <= 0.01 * float(exact[name].norm())
        for name in names
    ]
    return torch.cat(
        [torch.full((exact[name].numel(),), good) for name, good in zip(names, sound, strict=True)]
    )


def check_checkpoint(path: Path, entry: dict, manifest: dict) -> None:
    """The file was saved after the training that its description names, whose file holds the same
    weights.
    """
    trace = path.parent / re.search(r"[\w.-]+\.npz", entry["description"])[0]
    arrays, config = numbers(trace), manifest["files"][trace.name]["config"]["net"]
    data, (kind, _) = config["data"], process_in(config)
    foreign = FOREIGN[config["model"]["name"]]
    keywords = keywords_of(config["model"], {item.name for item in fields(Backbone)} - foreign)
    constants = {name: config["model"][name] for name in BOUNDS[kind]}
    network = {"architecture": config["model"]["name"], **keywords}
    shape = (data["num_channels"], data["image_size"], data["image_size"])
    params = build(Params, {"process": kind, **constants, "network": network})
    method = ScoreSDE(params, Images("fixture", replace(DATASETS["digits"], shape=shape)))
    method.import_checkpoint(path, "raw")
    raw = to_published(method.network, method.average.state_dict())
    assert_equal(
        raw, {name: t for name, t in under("out/final_sd/", arrays).items() if name != "sigmas"}
    )
    facts = method.import_checkpoint(path, "ema")
    assert facts["updates"] == facts["ema_updates"] == int(arrays["out/num_updates"])
    average, names = (
        to_published(method.average, method.average.state_dict()),
        trained_names(method.network),
    )
    fixed = raw.keys() - set(names)  # Fourier frequencies, where there are any
    assert_equal({name: average[name] for name in fixed}, {name: raw[name] for name in fixed})
    shadow = [arrays[name] for name in sorted(arrays) if name.startswith("out/ema_shadow/")]
    assert_equal({name: average[name] for name in names}, dict(zip(names, shadow, strict=True)))


CHECKS = {
    "sde/checkpoint_authors_format": check_checkpoint,
    "sde/ema_trace": check_average,
    "sde/train_trace": check_training,
}
