"""Checks of golden/sde on NCSN and NCSNv2: networks, losses and the average of the weights."""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from check_networks import ACTIVATIONS, gradient_tolerance, norms_agree, numbers, strings
from check_sde import close, recorded_noise, tolerance
from exact import Replay
from torch import Tensor, nn

from methods.ncsn.objective import annealed_loss, sliced_loss
from methods.ncsn.published import from_published, published_names, to_published
from methods.ncsn.refinenet import make_refinenet
from methods.ncsn.settings import RefineNet
from methods.shared.likelihood import dequantise
from methods.shared.process import like
from methods.shared.training import under, update_average

VARIANTS = {
    "CondRefineNetDilated": "ncsn",
    "CondRefineNetDeeperDilated": "ncsn_deeper",
    "NCSNv2": "ncsnv2",
    "NCSNv2Deeper": "ncsnv2_deeper",
    "NCSNv2Deepest": "ncsnv2_deepest",
}
"""The authors' classes and our names for them."""


def settings_of(config: Mapping) -> RefineNet:
    """Returns our settings of an authors' network; the first of their classes knows one
    nonlinearity alone.
    """
    model, variant = config["net"]["model"], VARIANTS[config["cls"]]
    assert model.get("normalization", "InstanceNorm++") == "InstanceNorm++"
    assert not model.get("spec_norm", False)
    if not variant.startswith("ncsnv2"):
        return RefineNet(variant=variant, width=model["ngf"])
    return RefineNet(
        variant=variant, width=model["ngf"], activation=ACTIVATIONS[model["nonlinearity"]]
    )


class Published(nn.Module):
    """A network with what the authors' classes have around it: the scaling of input and, in NCSNv2,
    of the output.
    """

    def __init__(self, config: Mapping, state: Mapping[str, Tensor]) -> None:
        super().__init__()
        model, data = config["net"]["model"], config["net"]["data"]
        settings = settings_of(config)
        self.network = make_refinenet(settings, data["channels"], model["num_classes"])
        self.network.load_state_dict(from_published(self.network, state))
        self.sigmas = state.get("sigmas")
        self.centred = data["rescaled"] or data["logit_transform"]

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        y = self.network(x if self.centred else 2 * x - 1, labels)
        return y if self.sigmas is None else y / like(self.sigmas[labels], y)

    def gradient_norms(self) -> Tensor:
        """Returns the norms of the parameters' gradients in the authors' order."""
        gradients = {name: weight.grad for name, weight in self.network.named_parameters()}
        return torch.stack(
            [gradient.norm() for gradient in to_published(self.network, gradients).values()]
        )


def check_network(path: Path, entry: dict, manifest: dict) -> None:
    arrays = numbers(path)
    network = Published(entry["config"], under("sd/", arrays)).eval()
    assert list(published_names(network.network).values()) == strings(path, "out/param_names")

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


def network_beside(path: Path, entry: dict, manifest: dict) -> Published:
    """Returns the network of another file, which a loss was taken of."""
    other = path.parent / entry["config"]["net_file"]
    return Published(manifest["files"][other.name]["config"], under("sd/", numbers(other)))


def check_ncsn_loss(path: Path, entry: dict, manifest: dict) -> None:
    arrays, network = numbers(path), network_beside(path, entry, manifest)
    uniform, labels, *drawn = recorded_noise(arrays)
    # As in a training, uint8 images are dequantised.
    x0 = dequantise(255 * arrays["in/batch_uint8_over_255"], 256, Replay(uniform))
    torch.testing.assert_close(
        x0, arrays["out/dequantized"], rtol=0, atol=1e-6
    )  # a few roundings of numbers near 1
    sigma = arrays["out/sigmas"][labels]

    def score_fn(x: Tensor) -> Tensor:
        return network(x, labels)

    for name, expected in under("out/dsm", arrays).items():
        power = float(re.fullmatch(r"\[anneal_power=(.+)\]", name)[1])
        loss = annealed_loss(score_fn, x0, sigma, drawn.pop(0), power, reduction="sum").mean()
        agrees(loss, expected, manifest)
        network.zero_grad()
        loss.backward()
        norms_agree(network.gradient_norms(), arrays[f"out/param_grad_norm{name}"], manifest)
    for name, expected in under("out/ssm_vr", arrays).items():
        particles = int(re.fullmatch(r"\[n_particles=(\d+)\]", name)[1])
        x = x0 + like(sigma, x0) * drawn.pop(0)
        directions = drawn.pop(0).view(
            particles, *x0.shape
        )  # theirs are one batch, one particle after the other
        agrees(
            sliced_loss(score_fn, x, sigma, directions, reduction="sum").mean(), expected, manifest
        )
    assert not drawn


def check_ncsnv2_loss(path: Path, entry: dict, manifest: dict) -> None:
    arrays, network = numbers(path), network_beside(path, entry, manifest)
    labels, z = recorded_noise(arrays)
    x0 = arrays["in/batch"]
    loss = annealed_loss(
        lambda x: network(x, labels), x0, network.sigmas[labels], z, reduction="sum"
    ).mean()
    agrees(loss, arrays["out/dsm"], manifest)
    loss.backward()
    norms_agree(network.gradient_norms(), arrays["out/param_grad_norm"], manifest)


def agrees(loss: Tensor, expected: Tensor, manifest: dict) -> None:
    """The manifest's tolerance of a gradient's norm serves for the loss too."""
    torch.testing.assert_close(
        loss.detach(), expected, rtol=gradient_tolerance(manifest)[0], atol=0
    )


def check_average(path: Path, entry: dict, manifest: dict) -> None:
    arrays, decay = numbers(path), entry["config"]["mu"]
    average = [arrays["in/p"][0].clone()]
    for weights, shadow in zip(arrays["in/p"][1:], arrays["out/shadow"], strict=True):
        update_average(average, [weights], decay)
        close(average[0], shadow, tolerance(manifest))


CHECKS = {
    "sde/net_ncsn_": check_network,
    "sde/net_ncsnv2": check_network,
    "sde/loss_ncsn_": check_ncsn_loss,
    "sde/loss_ncsnv2": check_ncsnv2_loss,
    "sde/ema_ncsnv2": check_average,
}
