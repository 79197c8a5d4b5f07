"""Checks of golden/cld on networks: NCSN++, its layers, its checkpoints, and short trainings."""

import copy
import json
import math
import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from check_networks import ACTIVATIONS, assert_equal
from cld_arrays import CONSTANTS, close, numbers, tolerance_of
from exact import Replay
from safetensors.torch import load_file
from torch import Tensor, nn

from bench.data.images import Images
from bench.data.registry import DATASETS
from bench.method import Noise
from bench.schema import build
from methods.cld.adapter import CriticallyDampedLangevin
from methods.cld.card import CARD, Params
from methods.cld.checkpoint import read_checkpoint
from methods.shared.architecture import Backbone
from methods.shared.backbone import make_network
from methods.shared.hyperparameters import Training
from methods.shared.process import VP, like
from methods.shared.published import from_published, to_published, trained_names
from methods.shared.training import Trainer, under

KEYWORDS = {
    "width": "n_channels",
    "multipliers": "ch_mult",
    "blocks": "n_resblocks",
    "attention": "attn_resolutions",
    "embedding": "embedding_type",
    "fourier_scale": "fourier_scale",
    "fir": "use_fir",
    "block": "resblock_type",
    "progressive": "progressive",
    "progressive_input": "progressive_input",
    "combine": "progressive_combine",
    "skip_rescale": "skip_rescale",
    "resample_with_conv": "resamp_with_conv",
    "dropout": "dropout",
    "init_scale": "init_scale",
    "activation": "nonlinearity",
}
"""Our keywords, and the names of the same in the authors' configurations."""

WEIGHTINGS = {"reweightedv1": "rate", "reweightedv2": "std", "likelihood": "likelihood"}
"""The authors' names of the losses' weightings, and ours."""

TOY_NETWORKS = {
    "mlp": {"architecture": "mlp"},
    "resnet": {"architecture": "mlp_residual", "width": 64, "blocks": 20},
}
"""The authors' names of networks of points, and ours, of their sizes."""

KEY_BIAS = "NIN_1.b"
"""The bias of an attention's keys, whose gradient is 0 but for rounding."""


def params_of(config: Mapping) -> Params:
    """Returns our parameters for an authors' configuration."""
    process = {name: config[name] for name in CONSTANTS}
    network = network_settings(config)
    logarithm = network.embedding == "fourier" or network.architecture == "mlp_residual"
    return Params(
        mass=1 / config["m_inv"],
        objective=config["cld_objective"],
        parametrisation="mixed" if config["mixed_score"] else "noise",
        weighting=WEIGHTINGS[config["weighting"]],
        reduction="sum",
        t_min=config["loss_eps"],
        condition="log_time" if logarithm else "time",
        network=network,
        **process,
    )


def network_settings(config: Mapping) -> Backbone:
    if config["name"] in TOY_NETWORKS:
        return Backbone(**TOY_NETWORKS[config["name"]])
    assert config["fir_kernel"] == "1,3,3,1", "the networks here have no other filter"
    values = {own: config[theirs] for own, theirs in KEYWORDS.items()}
    values["activation"] = ACTIVATIONS[config["nonlinearity"]]
    for name in ("multipliers", "attention"):
        values[name] = tuple(map(int, values[name].split(",")))
    return Backbone(**values)


def network_of(config: Mapping) -> nn.Module:
    """Returns the network of an authors' configuration, with weights of 0."""
    channels, size, _ = shape_of(config)
    seen = 2 * channels if config["sde"] == "cld" else channels
    return make_network(network_settings(config), seen, channels, size).eval()


def shape_of(config: Mapping) -> tuple[int, int, int]:
    if config["name"] in TOY_NETWORKS:
        return (config["data_dim"], 1, 1)
    return (config["image_channels"], config["image_size"], config["image_size"])


def method_of(config: Mapping) -> CriticallyDampedLangevin:
    """Returns the method as a suite would have it for an authors' configuration."""
    data = Images("fixture", replace(DATASETS["digits"], shape=shape_of(config)))
    return CriticallyDampedLangevin(params_of(config), data)


def filled(network: nn.Module, manifest: dict) -> dict[str, Tensor]:
    """Returns the state of ``network`` with the generated weights that the manifest's "weight_fill"
    tells of.
    """
    scale, tensors = (
        float(re.search(r"Fourier embedding: ([0-9.]+)\*z", manifest["weight_fill"])[1]),
        {},
    )
    for name, tensor in to_published(network, network.state_dict()).items():
        z = (
            np.random.RandomState(zlib.crc32(name.encode()))
            .standard_normal(tensor.numel())
            .reshape(tensor.shape)
        )
        if name == "all_modules.0.W":
            z *= scale
        elif tensor.dim() >= 2:
            z /= math.sqrt(tensor.shape[0] if name.endswith(".W") else math.prod(tensor.shape[1:]))
        else:
            z = 1 + 0.1 * z if name.endswith("weight") else 0.1 * z
        tensors[name] = torch.from_numpy(z.astype(np.float32))
    return from_published(network, tensors)


def told(config: Mapping, t: Tensor) -> Tensor:
    """Returns what the network is told of times: in the authors' precision, themselves or their
    logarithms.
    """
    return t.float().log() if params_of(config).condition == "log_time" else t.float()


def check_network(path: Path, entry: dict, manifest: dict) -> None:
    config, arrays, tolerance = entry["config"], numbers(path, entry), tolerance_of(entry)
    network = network_of(config)
    if "seed_u" in entry:
        network.load_state_dict(filled(network, manifest))
        u = (
            np.random.RandomState(entry["seed_u"])
            .standard_normal(entry["shape_u"])
            .astype(np.float32)
        )
        with torch.no_grad():
            check_output(
                network(torch.from_numpy(u), told(config, arrays["in/t"])), arrays, tolerance
            )
        return
    network.load_state_dict(
        from_published(network, load_file(path.with_name(f"net_{entry['case']}.safetensors")))
    )
    layers = layer_outputs(network)
    u, t = arrays["in/u"].requires_grad_(), arrays["in/t"]
    out = network(u, told(config, t))
    (out * arrays["in/w"]).sum().backward()
    close(out, arrays["out/out"], tolerance)
    close(u.grad, arrays["out/grad_u"], tolerance)
    for name, expected in under("out/act/", arrays).items():
        close(layers[int(name)], expected, tolerance)
    gradients_agree(network, under("out/grad/", arrays), tolerance)

    u, out = u.detach(), out.detach()
    score, unmixed = (score_of(config | {"mixed_score": mixed}, out) for mixed in (True, False))
    for name, found in {
        "out/score_f32u": lambda: score(u, t),
        "out/score_f64u": lambda: score(u.double(), t),
        "out/score_unmixed": lambda: unmixed(u, t),
    }.items():
        if name in arrays:
            close(found(), arrays[name], tolerance)


def check_output(y: Tensor, arrays: Mapping[str, Tensor], tolerance: float) -> None:
    """Compares a whole output, or every k-th pixel of it along both axes, and the sum of its
    squares.
    """
    strided = {int(k): part for k, part in under("out/out_stride", arrays).items()}
    assert "out/out" in arrays or strided, "no output is recorded"
    if "out/out" in arrays:
        close(y, arrays["out/out"], tolerance)
    for k, part in strided.items():
        close(y[..., ::k, ::k], part, tolerance)
    if "out/out_sumsq" in arrays:
        y = y.double()
        # As far as every entry may be off by the tolerance.
        allowed = 2 * tolerance * y.abs().max() * y.abs().sum()
        assert (y.square().sum() - arrays["out/out_sumsq"]).abs() <= allowed


def score_of(config: Mapping, out: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """Returns the score, a function of u and t, that is made of the network's output there."""
    if config["sde"] == "cld":
        return method_of(config).score_fn(lambda u, condition: out)
    process = VP(config["beta0"], config["beta0"] + config["beta1"])
    return lambda u, t: -config["mixed_score"] * u - out / like(process.std(t), out)


def layer_outputs(network: nn.Module) -> dict[int, Tensor]:
    """Returns a table that fills, when the network is called, with its layers' outputs for the
    first example.
    """
    found: dict[int, Tensor] = {}
    for i, unit in enumerate(network.units()):
        unit.register_forward_hook(
            lambda unit, inputs, output, i=i: found.__setitem__(i, output[:1].detach())
        )
    return found


def gradients_agree(network: nn.Module, expected: Mapping[str, Tensor], tolerance: float) -> None:
    """Compares gradients by published names, those of the attentions' key biases with 0 within 1e-5
    of the largest.
    """
    zeros = {name: torch.zeros_like(tensor) for name, tensor in network.state_dict().items()}
    ours = to_published(
        network, zeros | {name: weight.grad for name, weight in network.named_parameters()}
    )
    largest = max(gradient.abs().max() for gradient in expected.values())
    for name, gradient in expected.items():
        if name.endswith(KEY_BIAS):
            assert (ours[name] - gradient).abs().max() <= 1e-5 * largest, name
        else:
            close(ours[name], gradient, tolerance, name)


def check_weights(path: Path, entry: dict, manifest: dict) -> None:
    """The file holds exactly the tensors of the network that its case of net.npz describes."""
    config = manifest["files"]["net.npz"]["cases"][path.stem.removeprefix("net_")]["config"]
    network = network_of(config)
    assert shapes(load_file(path)) == shapes(to_published(network, network.state_dict()))


ARCHITECTURES = {"celeba_post_paper": "celeba_post"}
"""Our presets of the authors' configurations, where their names differ."""


def check_architectures(path: Path, entry: dict, manifest: dict) -> None:
    """Names, shapes and order of the tensors of each configuration's checkpoints, on a device
    without memory.
    """
    for name, theirs in json.loads(path.read_text()).items():
        image_only = name.endswith("_vpsde_variant")
        preset = ARCHITECTURES.get(name, name.removesuffix("_vpsde_variant"))
        channels, height, _ = CARD.shapes[preset]
        settings = build(Params, CARD.presets[preset]).network
        with torch.device("meta"):
            network = make_network(
                settings, channels if image_only else 2 * channels, channels, height
            )
        ours = shapes(to_published(network, network.state_dict()))
        assert ours == {key: tuple(shape) for key, shape in theirs["state_dict"].items()}
        assert list(ours) == list(theirs["state_dict"])
        assert sum(weight.numel() for weight in network.parameters()) == theirs["n_trainable"]
        if "modules" in theirs:
            assert len(list(network.units())) == len(theirs["modules"])


def check_checkpoint(path: Path, entry: dict, manifest: dict) -> None:
    """Both of the network's outputs, from the file beside, which holds raw weights and their
    average.
    """
    config, arrays, tolerance = entry["config"], numbers(path, entry), tolerance_of(entry)
    network = network_of(config)
    file = path.with_name(re.search(r"[\w.-]+\.pth", entry["what"])[0])
    for weights in ("raw", "ema"):
        found = read_checkpoint(file, network, weights)
        network.load_state_dict(found.chosen)
        with torch.no_grad():
            out = network(arrays["in/u"], told(config, arrays["in/t"]))
        close(out, arrays[f"out/out_{weights}"], tolerance)
        assert found.facts["updates"] == arrays["out/step"]
    assert found.facts["ema_updates"] == arrays["out/ema_num_updates"]
    assert found.facts["ema_decay"] == config["ema_rate"]


def check_checkpoint_file(path: Path, entry: dict, manifest: dict) -> None:
    """The raw weights are those under ``model``, the average differs from them in every tensor but
    the frequencies.
    """
    files = manifest["files"].items()
    cases = [
        case
        for name, entry in files
        if name.startswith("checkpoint")
        for case in entry.get("cases", {}).values()
    ]
    (case,) = (case for case in cases if path.name in case["what"])
    network = network_of(case["config"])
    found = read_checkpoint(path, network, "ema")
    model = under("module.", torch.load(path, weights_only=True)["model"])
    raw, average = (to_published(network, state) for state in (found.raw, found.chosen))
    assert_equal(raw, model)
    same = [name for name in raw if torch.equal(raw[name], average[name])]
    assert same == [name for name in raw if name not in trained_names(network)]


def check_training(path: Path, entry: dict, manifest: dict) -> None:
    method = method_of(entry["config"])
    check_updates(path, entry, method.network, lambda x0, draws: method.loss((x0 + 1) / 2, draws))


def check_updates(
    path: Path, entry: dict, network: nn.Module, loss_of: Callable[[Tensor, Replay], Tensor]
) -> None:
    """Every update of the network's weights by a loss, a function of a batch in [-1, 1] and of the
    recorded draws.
    """
    config, arrays, tolerance = entry["config"], numbers(path, entry), tolerance_of(entry)
    state = under("in/p/", arrays) or load_file(path.with_name(f"{entry['case']}.safetensors"))
    network.load_state_dict(from_published(network, state))
    average = copy.deepcopy(network).requires_grad_(False)
    shape, losses = shape_of(config), []
    draws = Replay(*(as_images(draw, shape) for _, draw in sorted(under("draw/", arrays).items())))

    def loss(network: nn.Module, x0: Tensor, noise: Noise) -> Tensor:
        losses.append(loss_of(x0, draws))
        return losses[-1]

    batches = [arrays[f"in/x_{k}"] for k in range(len(arrays["out/loss"]))]
    count = len(batches[0])
    settings = Training(
        steps=len(batches),
        batch=count,
        optimiser=config["optimizer"].lower(),
        learning_rate=config["learning_rate"],
        weight_decay=config["weight_decay"],
        warmup_steps=config["n_warmup_iters"],
        clip=config["grad_clip"] if config["grad_clip"] >= 0 else None,
        ema_half_life_images=count * math.log(0.5) / math.log(config["ema_rate"]),
    )
    trainer = Trainer(network, average, loss, settings)
    for step, x0 in enumerate(batches):
        trainer.update(step, as_images(x0, shape), Noise(0))
        close(losses[step].mean(), arrays["out/loss"][step], tolerance)
        close(
            torch.tensor(trainer.optimizer.param_groups[0]["lr"]),
            arrays["out/lr_used"][step],
            tolerance,
        )
    assert not draws.draws
    assert not config["autocast_train"]
    for trained, where in ((network, "out/p/"), (average, "out/ema/")):
        weights = to_published(trained, trained.state_dict())
        for name, expected in under(where, arrays).items():
            if not name.endswith(KEY_BIAS):
                close(weights[name], expected, tolerance, name)


def as_images(x: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Returns points, (B, C) or with velocities (B, 2C), as images of one pixel; times and images
    as they are.
    """
    return x[:, :, None, None] if x.dim() == 2 and shape[1:] == (1, 1) else x


def shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


CHECKS = {
    "cld/net.npz": check_network,
    "cld/net_": check_weights,
    "cld/arch": check_architectures,
    "cld/checkpoint.npz": check_checkpoint,
    "cld/checkpoint_authors_format": check_checkpoint_file,
    "cld/train": check_training,
}
