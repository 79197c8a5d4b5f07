"""Checks of golden/cld on networks: NCSN++, its layers, its checkpoints, and short trainings."""

import copy
import json
import math
import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from check_networks import ACTIVATIONS, assert_equal
from exact import Constant, Replay
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from bench.data.images import Images
from bench.data.registry import DATASETS
from bench.data.synthetic import diamond, swiss_rolls
from bench.method import Noise
from bench.metrics.frechet import frechet_from_features
from bench.schema import build
from methods.cld.adapter import CriticallyDampedLangevin
from methods.cld.card import CARD, Params
from methods.cld.checkpoint import read_checkpoint
from methods.cld.process import CLD
from methods.cld.samplers import sscs
from methods.shared.architecture import Backbone
from methods.shared.backbone import make_network
from methods.shared.grids import grid
from methods.shared.hyperparameters import Training
from methods.shared.layers import (
    Fourier,
    Positional,
    Resample,
    fir_down,
    fir_for_strided,
    fir_kernel,
    fir_up,
)
from methods.shared.likelihood import bits_per_dim
from methods.shared.process import VP, like
from methods.shared.published import from_published, to_published, trained_names
from methods.shared.training import Trainer, average_decay, under, update_average

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

CONSTANTS = ("beta0", "beta1", "gamma", "numerical_eps")
"""Of the diffusion, under the names that the authors give them too."""

GRIDS = {"linear": "uniform", "quadratic": "quadratic"}
"""The authors' names of time grids, and ours."""

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


def check_filters(path: Path, entry: dict, manifest: dict) -> None:
    arrays, tolerance = numbers(path, entry), tolerance_of(entry)
    x = arrays["in/x"]
    for name in under("out/down_", arrays):
        kernel = fir_kernel(tuple(map(float, name)) if len(name) > 1 else (1.0, 1.0))
        close(fir_up(x, kernel), arrays[f"out/up_{name}"], tolerance)
        close(fir_down(x, kernel), arrays[f"out/down_{name}"], tolerance)
        strided = F.conv2d(fir_for_strided(x, kernel), arrays["in/w"], stride=2)
        close(strided, arrays[f"out/convdown_{name}"], tolerance)
    close(Resample("up", fir=False)(x), arrays["out/naive_up"], tolerance)
    close(Resample("down", fir=False)(x), arrays["out/naive_down"], tolerance)


def check_embeddings(path: Path, entry: dict, manifest: dict) -> None:
    """Phases reach thousands of radians, so the features show the order in which float32 multiplies
    them.
    """
    arrays, tolerance = numbers(path, entry), tolerance_of(entry)
    for width, expected in under("out/positional_", arrays).items():
        close(Positional(int(width))(arrays["in/t"]), expected, tolerance)
    fourier = Fourier(len(arrays["in/fourier_W"]), 16.0)
    fourier.frequencies.copy_(arrays["in/fourier_W"])
    close(fourier(arrays["in/t"].log()), arrays["out/fourier"], tolerance)


def check_grids(path: Path, entry: dict, manifest: dict) -> None:
    for name, expected in under("out/", numbers(path, entry)).items():
        kind, steps, eps = name.split("_")
        times = grid(GRIDS[kind], CLD(), int(steps), float(eps))
        close(1 - times, expected, tolerance_of(entry))


def check_frechet(path: Path, entry: dict, manifest: dict) -> None:
    arrays = numbers(path, entry)
    distance = frechet_from_features(arrays["in/a"].numpy(), arrays["in/b"].numpy())
    close(torch.tensor(distance), arrays["out/fid"], tolerance_of(entry))


def check_bits(path: Path, entry: dict, manifest: dict) -> None:
    arrays, dims = (
        numbers(path, entry),
        int(re.search(r"D = (\d+)", " ".join(manifest["notes_for_tests"]))[1]),
    )
    for name, width in {"centred": 2, "noncentred": 1}.items():
        close(
            bits_per_dim(-arrays["in/nll"], dims, 256, width),
            arrays[f"out/{name}"],
            tolerance_of(entry),
        )


def check_average(path: Path, entry: dict, manifest: dict) -> None:
    for name, expected in under("out/ema_", numbers(path, entry)).items():
        average = [torch.zeros((), dtype=torch.float64)]
        for n, shadow in enumerate(expected, start=1):
            update_average(
                average,
                [torch.tensor(float(n), dtype=torch.float64)],
                average_decay(float(name), n, True),
            )
            close(average[0], shadow, tolerance_of(entry))


def check_splitting(path: Path, entry: dict, manifest: dict) -> None:
    """SSCS's exact part, of which two halves are a whole, and its score's part, from which the
    halves are undone.
    """
    config, arrays, tolerance = entry["config"], numbers(path, entry), tolerance_of(entry)
    a, b, c = map(float, re.search(r"LinNet \[(.*?)\]", entry["score_step"])[1].split(","))
    process = process_of(config)

    def score_fn(u: Tensor, t: Tensor) -> Tensor:
        x, v = u.chunk(2, 1)
        out = a * x + b * v + c * torch.sin(3 * t)[:, None]
        return -like(process.score_scale(t), v) * out - v / like(process.covariance(t).vv, v)

    u = arrays["in/u"].double()
    unit = torch.eye(4, dtype=torch.float64).view(4, 2, 2)
    draws = [
        unit[:, k] for k in range(2)
    ]  # each draw's two numbers at a time, and nothing of the other
    for k, (tau, step) in enumerate(
        zip(arrays["in/t"].tolist(), arrays["in/dt"].tolist(), strict=True)
    ):
        times = torch.tensor([1 - tau, 1 - tau - step], dtype=torch.float64)
        at_rest = partial(sscs, process, lambda u, t: -u.chunk(2, 1)[1] / process.mass)
        close(at_rest(u, times, Constant(0.0)), arrays["out/mean"][k], tolerance)
        spread = at_rest(torch.zeros(4, 2, dtype=torch.float64), times, Replay(*draws))
        entries = torch.stack(
            [spread[:, 0].square().sum(), spread.prod(1).sum(), spread[:, 1].square().sum()]
        )
        close(entries, arrays["out/cov"][k], tolerance)

        middle = times.mean()
        before, after = (
            backwards(process, *pair) for pair in ((times[0], middle), (middle, times[1]))
        )
        moved = sscs(process, score_fn, u @ torch.linalg.inv(before).T, times, Constant(0.0))
        close(moved @ torch.linalg.inv(after).T, arrays["out/score_step"][k], tolerance)


def backwards(process: CLD, t: Tensor, s: Tensor) -> Tensor:
    """Returns the matrix that takes (x, v) from t back to s < t where nothing but SSCS's exact part
    acts.
    """
    sign = torch.tensor([1.0, -1.0], dtype=torch.float64)
    return sign[:, None] * process.transition(t, s)[0] * sign


TOYS = {"multimodal_swissroll": swiss_rolls, "diamond": diamond}
"""The authors' names of toy distributions, and ours."""


def check_toy(path: Path, entry: dict, manifest: dict) -> None:
    """In float32, as they leave the authors' generator."""
    expected = numbers(path, entry)["out/x"]
    count, seed = map(
        int,
        re.search(r"\(dataset, (\d+)\) after numpy\.random\.seed\((\d+)\)", entry["what"]).groups(),
    )
    points = TOYS[entry["case"].removeprefix("toy_")](count, np.random.RandomState(seed))
    close(torch.from_numpy(points), expected, tolerance_of(entry))


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


def process_of(config: Mapping) -> CLD:
    """Returns the diffusion of an authors' configuration."""
    return CLD(mass=1 / config["m_inv"], **{name: config[name] for name in CONSTANTS})


OPERATIONS = {
    "fir": check_filters,
    "embeddings": check_embeddings,
    "grids": check_grids,
    "frechet": check_frechet,
    "bpd": check_bits,
    "ema": check_average,
    "sscs_A_": check_splitting,
    "toy_": check_toy,
}
"""Checks of the cases of ops.npz by how their names begin."""


def check_operation(path: Path, entry: dict, manifest: dict) -> None:
    (check,) = [check for name, check in OPERATIONS.items() if entry["case"].startswith(name)]
    check(path, entry, manifest)


def shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def numbers(path: Path, entry: dict) -> dict[str, Tensor]:
    """Returns the arrays of one case by their names in it."""
    arrays = {name: torch.from_numpy(np.asarray(array)) for name, array in np.load(path).items()}
    return under(f"{entry['case']}/", arrays)


def tolerance_of(entry: dict) -> float:
    """Returns the case's tolerance relative to the largest value, as the manifest argues for it."""
    return max(1e-5, 10 * entry["noise_floor_worst_rel_to_max"])


def close(actual: Tensor, expected: Tensor, tolerance: float, what: str = "") -> None:
    actual, expected = actual.detach().double(), expected.double()
    assert actual.shape == expected.shape, what
    assert (actual - expected).abs().max() <= tolerance * expected.abs().max(), what


CHECKS = {
    "cld/net.npz": check_network,
    "cld/net_": check_weights,
    "cld/arch": check_architectures,
    "cld/checkpoint.npz": check_checkpoint,
    "cld/checkpoint_authors_format": check_checkpoint_file,
    "cld/ops": check_operation,
    "cld/train": check_training,
}
