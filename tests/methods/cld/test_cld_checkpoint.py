"""Checkpoints of CLD's authors: read safely, tensor by tensor, for the network that they are of and
no other.
"""

import os
from collections import OrderedDict

import pytest
import torch
from checkpoint_files import saved

from bench.method import Noise
from methods.cld.checkpoint import read_checkpoint
from methods.shared.architecture import Backbone
from methods.shared.backbone import make_network
from methods.shared.checkpoint import CheckpointError
from methods.shared.published import published_layout, to_published

SMALL = {"width": 8, "multipliers": (1, 1), "blocks": 1, "attention": (4,)}
NETWORKS = {
    "ncsnpp": (
        Backbone(**SMALL, embedding="fourier", fir=True, progressive_input="residual"),
        2,
        1,
        8,
    ),
    "mlp": (Backbone(architecture="mlp", width=8), 4, 2, 1),
    "mlp_residual": (Backbone(architecture="mlp_residual", width=8, blocks=3), 4, 2, 1),
}
"""Settings, channels in and out, and the size of the images."""


def network_of(kind="ncsnpp"):
    return make_network(*NETWORKS[kind])


def authors_file(network):
    """Returns what the authors' training would have saved: prefixed names, an average of trained
    weights alone.
    """
    noise = Noise(1)
    raw = {
        name: noise.child(name).normal(t.shape)
        for name, t in to_published(network, network.state_dict()).items()
    }
    trained = dict(network.named_parameters())
    names = [entry.published for entry in published_layout(network) if entry.own in trained]
    return {
        "optimizer": {
            "state": {},
            "param_groups": [{"lr": 2e-4, "betas": (0.9, 0.999), "eps": 1e-8}],
        },
        "model": OrderedDict((f"module.{name}", tensor) for name, tensor in raw.items()),
        "ema": {
            "decay": 0.9999,
            "num_updates": 11,
            "shadow_params": [-3 * raw[name] for name in names],
        },
        "step": 11,
    }


@pytest.mark.parametrize("kind", NETWORKS)
def test_raw_weights_and_average_come_over_by_name(tmp_path, kind):
    network = network_of(kind)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    content = authors_file(network)
    found = read_checkpoint(saved(tmp_path / "checkpoint_800000.pth", content), network, "ema")
    assert found.facts == {
        "format": "CLD-SGM",
        "updates": 11,
        "ema_updates": 11,
        "ema_decay": 0.9999,
    }
    raw, average = (to_published(network, state) for state in (found.raw, found.chosen))
    for name, tensor in content["model"].items():
        own = name.removeprefix("module.")
        assert torch.equal(raw[own], tensor)
        frequencies = own == "all_modules.0.W" and kind == "ncsnpp"
        assert torch.equal(average[own], tensor if frequencies else -3 * tensor)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_raw_weights_are_chosen_where_they_are_asked_for(tmp_path):
    network = network_of()
    content = authors_file(network)
    del content["ema"]
    path = saved(tmp_path / "c.pth", content)
    found = read_checkpoint(path, network, "raw")
    assert found.facts == {"format": "CLD-SGM", "updates": 11}
    assert all(torch.equal(found.chosen[name], tensor) for name, tensor in found.raw.items())
    with pytest.raises(
        CheckpointError, match=r"holds no average of the weights .* ask for weights: raw"
    ):
        read_checkpoint(path, network, "ema")


def test_checkpoint_of_a_network_without_velocities_is_refused(tmp_path):
    settings, _, channels, size = NETWORKS["ncsnpp"]
    path = saved(tmp_path / "c.pth", authors_file(make_network(settings, channels, channels, size)))
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path, network_of(), "ema")
    message = str(caught.value)
    assert (
        "0 missing, 0 unexpected, 2 mis-shaped" in message
    )  # the first convolution, and the input's pyramid
    assert "mis-shaped: all_modules.3.weight is 8x1x3x3, the network has 8x2x3x3" in message


def test_checkpoint_of_another_architecture_is_refused_with_every_tensor_that_differs(tmp_path):
    path = saved(tmp_path / "c.pth", authors_file(network_of("mlp")))
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path, network_of("mlp_residual"), "ema")
    assert "10 missing, 10 unexpected, 0 mis-shaped; missing: layers.0.weight 8x5\n" in str(
        caught.value
    )
    assert "unexpected: main.8.bias 2" in str(caught.value)


def test_noise_levels_of_another_codes_checkpoints_are_refused(tmp_path):
    content = authors_file(network_of())
    content["model"]["module.sigmas"] = torch.ones(10)
    with pytest.raises(CheckpointError, match="unexpected: sigmas 10"):
        read_checkpoint(saved(tmp_path / "c.pth", content), network_of(), "ema")


def test_average_of_another_length_or_kind_is_refused(tmp_path):
    content = authors_file(network_of())
    count = len(content["ema"]["shadow_params"])
    content["ema"]["shadow_params"].append(torch.zeros(2))
    with pytest.raises(
        CheckpointError, match=f"a list of {count + 1} tensors, this network has {count} that are"
    ):
        read_checkpoint(saved(tmp_path / "a.pth", content), network_of(), "ema")
    content["ema"]["shadow_params"] = 5
    with pytest.raises(CheckpointError, match="holds no average of the weights"):
        read_checkpoint(saved(tmp_path / "b.pth", content), network_of(), "ema")


class Crafted:
    """Runs a command when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("zipped", [True, False])
def test_file_that_would_run_code_is_refused_by_name_and_runs_nothing(tmp_path, zipped):
    marker = tmp_path / "ran"
    content = {**authors_file(network_of()), "optimizer": Crafted(marker)}
    path = saved(tmp_path / "c.pth", content, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match=r"refused, reading it would call (posix|nt)\.system"):
        read_checkpoint(path, network_of(), "ema")
    assert not marker.exists()


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_file_that_was_cut_short_is_told_by_name(tmp_path, zipped, share):
    path = saved(
        tmp_path / "c.pth", authors_file(network_of()), _use_new_zipfile_serialization=zipped
    )
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(CheckpointError, match=r"c\.pth: not a checkpoint that can be read"):
        read_checkpoint(path, network_of(), "ema")


def test_missing_file_and_folder_are_told_by_name(tmp_path):
    for path in (tmp_path, tmp_path / "absent.pth"):
        with pytest.raises(CheckpointError, match=f"{path}: not a checkpoint that can be read"):
            read_checkpoint(path, network_of(), "ema")
