"""Checks of golden/sde on NCSN++, DDPM++ and DDPM: networks, losses and layers."""

import inspect
import re
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import torch
from check_sde import PROCESSES, close, process_of, tolerance
from torch import Tensor, nn
from torch.nn import functional as F

from methods.sde.adapter import discrete_levels
from methods.shared.ddpm import DDPM
from methods.shared.layers import (
    Fourier,
    Positional,
    Resample,
    fir_down,
    fir_for_strided,
    fir_kernel,
    fir_up,
)
from methods.shared.ncsnpp import NCSNpp
from methods.shared.objective import Levels, denoising_loss, discrete_loss
from methods.shared.process import Process, like
from methods.shared.published import from_published, published_layout, to_published, trained_names
from methods.shared.training import under

KEYWORDS = {
    "width": "nf",
    "multipliers": "ch_mult",
    "blocks": "num_res_blocks",
    "attention": "attn_resolutions",
    "embedding": "embedding_type",
    "fourier_scale": "fourier_scale",
    "fir": "fir",
    "block": "resblock_type",
    "progressive": "progressive",
    "progressive_input": "progressive_input",
    "combine": "progressive_combine",
    "skip_rescale": "skip_rescale",
    "resample_with_conv": "resamp_with_conv",
    "dropout": "dropout",
    "init_scale": "init_scale",
    "conditional": "conditional",
    "activation": "nonlinearity",
}
"""Our keywords, and the names of the same in the authors' configurations."""

ACTIVATIONS = {"swish": "silu", "elu": "elu", "relu": "relu", "lrelu": "leaky_relu"}
"""The authors' names of nonlinearities, and ours."""

FIXED = {
    "fir_kernel": [1, 3, 3, 1],
    "conv_size": 3,
    "normalization": "GroupNorm",
    "attention_type": "ddpm",
}
"""What the authors' configurations say and the networks here always have."""

BOUNDS = {
    "ve": ("sigma_min", "sigma_max"),
    **dict.fromkeys(("vp", "subvp"), ("beta_min", "beta_max")),
}
"""The constants of each process, under the names that the authors give them too."""

T_EPS = 1e-5
"""Where the authors' losses begin in t."""


def keywords_of(model: Mapping, known: Collection[str]) -> dict:
    """Returns our keywords of a network, those in ``known``, for an authors' configuration of
    it.
    """
    other = {name: model[name] for name, value in FIXED.items() if model.get(name, value) != value}
    assert not other, f"the networks here have no {other}"
    found = {
        own: model[theirs] for own, theirs in KEYWORDS.items() if own in known and theirs in model
    }
    return found | {"activation": ACTIVATIONS[model.get("nonlinearity", "swish")]}


def process_in(net: Mapping) -> tuple[str, Process]:
    """Returns name and process of an authors' configuration of a training."""
    kind = net["training"]["sde"].removesuffix("sde")
    return kind, PROCESSES[kind](*(net["model"][name] for name in BOUNDS[kind]))


class Published(nn.Module):
    """A network with what the authors' classes have around it: the scaling of input and output, and
    the labels.
    """

    def __init__(self, config: Mapping, state: Mapping[str, Tensor]) -> None:
        super().__init__()
        data, model = config["data"], config["model"]
        channels = data["num_channels"]
        kind = {"ncsnpp": NCSNpp, "ddpm": DDPM}[model["name"]]
        known = inspect.signature(
            kind
        ).parameters  # a DDPM's configuration names much that it does not have
        keywords = keywords_of(model, known)
        self.network = kind(channels, channels, image_size=data["image_size"], **keywords)
        self.network.load_state_dict(from_published(self.network, state))
        self.centered = data["centered"]
        self.fourier = model["name"] == "ncsnpp" and model["embedding_type"] == "fourier"
        self.scaled = model["scale_by_sigma"]
        self.sigmas = state.get("sigmas")

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        y = self.network(
            x if self.centered else 2 * x - 1, labels.log() if self.fourier else labels.float()
        )
        if not self.scaled:
            return y
        return y / like(labels if self.fourier else self.sigmas[labels], y)

    def score_fn(self, process, kind: str):
        """Returns the score as the authors' wrapper makes it of the output, for continuous time."""
        if kind == "ve":
            return lambda x, t: self(x, process.std(t))
        return lambda x, t: -self(x, 999 * t) / like(process.std(t), x)

    def level_score(self, levels: Levels, kind: str):
        """Returns the score at discrete levels, of which the authors count those of VE
        backwards.
        """
        if kind == "ve":
            return lambda x, level: self(x, len(levels.std) - 1 - level)
        return lambda x, level: -self(x, level) / like(levels.std.to(x)[level], x)

    def gradient_norms(self) -> Tensor:
        """Returns the norms of the parameters' gradients in the authors' order; 0 where there is
        none.
        """
        zeros = {
            name: torch.zeros_like(tensor) for name, tensor in self.network.state_dict().items()
        }
        gradients = {
            name: weight.grad
            for name, weight in self.network.named_parameters()
            if weight.grad is not None
        }
        return torch.stack(
            [tensor.norm() for tensor in to_published(self.network, zeros | gradients).values()]
        )


def check_network(path: Path, entry: dict, manifest: dict) -> None:
    arrays = numbers(path)
    network = Published(entry["config"]["net"], under("sd/", arrays)).eval()
    names = [item.published for item in published_layout(network.network)]
    assert names == strings(path, "out/param_names")
    if "out/param_requires_grad" in arrays:
        assert trained_names(network.network) == [
            name
            for name, trained in zip(names, arrays["out/param_requires_grad"].tolist(), strict=True)
            if trained
        ]

    x = arrays["in/x"].requires_grad_()
    y = network(x, arrays["in/labels"])
    (y * arrays["in/w"]).sum().backward()
    factor = float(
        re.search(r"Nets: ([0-9.e-]+) x out/rounding_maxabs", manifest["general"]["tolerance"])[1]
    )
    rounding = arrays["out/rounding_maxabs"].tolist()
    torch.testing.assert_close(y, arrays["out/y"], rtol=0, atol=factor * rounding[0])
    torch.testing.assert_close(x.grad, arrays["out/grad_x"], rtol=0, atol=factor * rounding[1])
    norms_agree(network.gradient_norms(), arrays["out/param_grad_norm"], manifest)


def check_loss(path: Path, entry: dict, manifest: dict) -> None:
    """The manifest's tolerance of a gradient's norm serves for the loss too."""
    arrays, config = numbers(path), entry["config"]
    process, _ = process_of(entry)
    kind = config["sde"]["kind"]
    other = path.parent / config["net_file"]
    network = Published(
        manifest["files"][other.name]["config"]["net"], under("sd/", numbers(other))
    )
    x0, sde = arrays["in/batch"], config["sde"]
    levels = (
        None
        if kind == "subvp"
        else discrete_levels(kind, *(sde[name] for name in BOUNDS[kind]), sde["N"])
    )
    for k, order in enumerate(strings(path, "out/order")):
        options = {
            name: value == "True" for name, value in (pair.split("=") for pair in order.split(","))
        }
        reduction = "mean" if options["reduce_mean"] else "sum"
        z = arrays[f"noise/{2 * k + 1:03d}_randn_like"]
        if f"noise/{2 * k:03d}_rand" in arrays:
            eps = config.get("t_eps", T_EPS)
            t = arrays[f"noise/{2 * k:03d}_rand"] * (1 - eps) + eps
            weighting = "likelihood" if options.get("likelihood_weighting") else "std"
            score_fn = network.score_fn(process, kind)
            loss = denoising_loss(process, score_fn, x0, t, z, weighting, reduction).mean()
        else:
            labels = arrays[f"noise/{2 * k:03d}_randint"]
            level = len(levels.std) - 1 - labels if kind == "ve" else labels
            loss = discrete_loss(
                levels, network.level_score(levels, kind), x0, level, z, reduction
            ).mean()
        network.zero_grad()
        loss.backward()
        expected = arrays[f"out/loss[{order}]"].to(loss)
        torch.testing.assert_close(
            loss.detach(), expected, rtol=gradient_tolerance(manifest)[0], atol=0
        )
        norms_agree(network.gradient_norms(), arrays[f"out/param_grad_norm[{order}]"], manifest)


def check_primitives(path: Path, entry: dict, manifest: dict) -> None:
    arrays = numbers(path)
    x, rtol = arrays["in/x"], tolerance(manifest)
    for name in under("out/upsample_2d", arrays):
        kernel = fir_kernel((1.0, 1.0) if name == "[none]" else tuple(map(float, name.strip("[]"))))
        close(fir_up(x, kernel), arrays[f"out/upsample_2d{name}"], rtol)
        close(fir_down(x, kernel), arrays[f"out/downsample_2d{name}"], rtol)
        strided = F.conv2d(fir_for_strided(x, kernel), arrays["in/w"], stride=2)
        close(strided, arrays[f"out/conv_downsample_2d{name}"], rtol)
    close(Resample("up", fir=False)(x), arrays["out/naive_upsample_2d"], rtol)
    close(Resample("down", fir=False)(x), arrays["out/naive_downsample_2d"], rtol)
    for width, expected in under("out/timestep_embedding", arrays).items():
        close(Positional(int(width.strip("[]")))(arrays["in/t"]), expected, rtol)
    fourier = Fourier(len(arrays["in/fw"]), 16.0)
    fourier.frequencies.copy_(arrays["in/fw"])
    close(fourier(arrays["in/sig"].log()), arrays["out/fourier(log sigma)"], rtol)


def assert_equal(actual: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    assert actual.keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in actual.items())


def numbers(path: Path) -> dict[str, Tensor]:
    """Returns the arrays of numbers in a file."""
    return {
        name: torch.from_numpy(np.asarray(v))
        for name, v in np.load(path).items()
        if v.dtype.kind != "U"
    }


def strings(path: Path, name: str) -> list[str]:
    """Returns an array of strings."""
    return np.load(path)[name].tolist()


def norms_agree(actual: Tensor, expected: Tensor, manifest: dict) -> None:
    """Compares the gradients' norms, absolutely where the true gradient is zero."""
    relative, absolute = gradient_tolerance(manifest)
    allowed = torch.maximum(relative * expected, absolute * expected.max())
    assert ((actual - expected).abs() <= allowed).all()


def gradient_tolerance(manifest: dict) -> tuple[float, float]:
    """Returns the manifest's tolerances of gradient norms: relative, and absolute as a share of the
    largest.
    """
    text = manifest["general"]["tolerance"]
    return tuple(
        map(
            float,
            re.search(r"param_grad_norm: (\S+) relative, or \|a-b\| <= (\S+) max", text).groups(),
        )
    )


CHECKS = {
    "sde/net_ncsnpp_": check_network,
    "sde/net_ddpmpp_": check_network,
    "sde/net_ddpm_": check_network,
    "sde/net_t_": check_network,
    "sde/loss_ncsnpp_": check_loss,
    "sde/loss_ddpmpp_": check_loss,
    "sde/loss_ddpm_": check_loss,
    "sde/primitives": check_primitives,
}
