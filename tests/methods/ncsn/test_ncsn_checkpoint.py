"""The authors' checkpoints of NCSN and NCSNv2: read safely, name by name, and taken over."""

import os
from collections import OrderedDict
from dataclasses import replace

import numpy as np
import pytest
import torch
from checkpoint_files import saved

from bench.data.images import Images
from bench.data.registry import DATASETS
from bench.method import Noise, Sampler
from bench.schema import build
from methods.ncsn.adapter import NCSN
from methods.ncsn.card import CARD, Params
from methods.ncsn.levels import geometric
from methods.ncsn.published import to_published
from methods.shared.checkpoint import CheckpointError

RGB = Images("rgb", replace(DATASETS["digits"], shape=(3, 8, 8)))
FIRST = {"sigma_begin": 1.0, "levels": 4, "refinenet": {"width": 4}}
SECOND = {"sigma_begin": 5.0, "levels": 12, "refinenet": {"variant": "ncsnv2", "width": 4}}
BLOCK = "res2.0.conv2.conv.weight"


def method_of(values, **params):
    return NCSN(build(Params, values | params), RGB)


def authors_file(values, *, average=True, seed=1):
    """Returns what the authors' training would have saved, with random weights; the average is
    twice these.
    """
    network, noise = method_of(values).network, Noise(seed)
    named = to_published(network, network.state_dict())
    weights = {name: noise.child(name).normal(tensor.shape) for name, tensor in named.items()}
    model = OrderedDict((f"module.{name}", tensor) for name, tensor in weights.items())
    optimizer = {
        "state": {0: {"step": 7, "exp_avg": torch.zeros(2)}},
        "param_groups": [{"lr": np.float64(1e-3)}],
    }
    if values is FIRST:
        return [model, optimizer]
    levels = geometric(values["sigma_begin"], 0.01, values["levels"]).float()
    model = OrderedDict({"module.sigmas": levels} | model)
    return [model, optimizer, 3, 7] + (
        [{name: 2 * tensor for name, tensor in weights.items()}] if average else []
    )


def weights_of(network):
    return to_published(network, network.state_dict())


def holds(network, tensors):
    named = weights_of(network)
    return all(
        torch.equal(named[name.removeprefix("module.")], tensor) for name, tensor in tensors.items()
    )


def trained(content):
    return {name: tensor for name, tensor in content[0].items() if name != "module.sigmas"}


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("weights", ["raw", "ema"])
def test_ncsns_weights_come_over_by_name_and_are_sampled_from_for_there_is_no_average(
    tmp_path, zipped, weights
):
    method, content = method_of(FIRST), authors_file(FIRST)
    path = saved(tmp_path / "checkpoint.pth", content, _use_new_zipfile_serialization=zipped)
    assert method.import_checkpoint(path, weights) == {"format": "ncsn", "weights": "raw"}
    assert holds(method.network, content[0])
    assert holds(method.average, content[0])


@pytest.mark.parametrize("zipped", [True, False])
def test_ncsnv2s_weights_and_average_come_over_by_name(tmp_path, zipped):
    method, content = method_of(SECOND), authors_file(SECOND)
    path = saved(tmp_path / "checkpoint_300000.pth", content, _use_new_zipfile_serialization=zipped)
    assert method.import_checkpoint(path, "ema") == {
        "format": "ncsnv2",
        "updates": 7,
        "weights": "ema",
    }
    assert holds(method.network, trained(content))
    assert holds(method.average, content[4])
    assert method.import_checkpoint(path, "raw") == {
        "format": "ncsnv2",
        "updates": 7,
        "weights": "raw",
    }
    assert holds(method.average, trained(content))


def test_ncsnv2s_file_without_average_gives_the_raw_weights_and_says_so(tmp_path):
    method, content = method_of(SECOND), authors_file(SECOND, average=False)
    facts = method.import_checkpoint(saved(tmp_path / "c.pth", content), "ema")
    assert facts == {"format": "ncsnv2", "updates": 7, "weights": "raw"}
    assert holds(method.average, trained(content))


def test_imported_model_samples_with_the_weights_that_were_chosen(tmp_path):
    method = method_of(SECOND)
    path = saved(tmp_path / "c.pth", authors_file(SECOND))
    params = replace(CARD.samplers["annealed_langevin"].params(), levels=2, steps_each=1)
    images = {}
    for weights in ("ema", "raw"):
        method.import_checkpoint(path, weights)
        images[weights] = method.sample(2, Sampler("annealed_langevin", "", params), Noise(0))
    assert not torch.equal(images["ema"], images["raw"])


@pytest.mark.parametrize("values", [FIRST, SECOND])
def test_file_without_the_prefix_of_a_parallel_training_is_read_too(tmp_path, values):
    method, content = method_of(values), authors_file(values)
    content[0] = OrderedDict(
        (name.removeprefix("module."), tensor) for name, tensor in content[0].items()
    )
    method.import_checkpoint(saved(tmp_path / "c.pth", content), "raw")
    assert holds(
        method.network, {name: tensor for name, tensor in content[0].items() if name != "sigmas"}
    )


def test_every_missing_unexpected_and_misshaped_tensor_is_listed(tmp_path):
    method, content = method_of(FIRST), authors_file(FIRST)
    model = content[0]
    model["module.res5.0.conv1.weight"] = torch.zeros(3)
    model[f"module.{BLOCK}"] = torch.zeros(8, 4, 1, 1)
    del model["module.begin_conv.bias"]
    with pytest.raises(CheckpointError) as caught:
        method.import_checkpoint(saved(tmp_path / "c.pth", content), "ema")
    message = str(caught.value)
    assert (
        "model is not of this network, 1 missing, 1 unexpected, 1 mis-shaped; missing: "
        "begin_conv.bias 4" in message
    )
    assert "unexpected: res5.0.conv1.weight 3" in message
    assert f"mis-shaped: {BLOCK} is 8x4x1x1, the network has 8x4x3x3" in message
    assert message.count("\n") == 2


def test_average_of_other_tensors_is_refused(tmp_path):
    method, content = method_of(SECOND), authors_file(SECOND)
    content[4]["other"] = content[0]["module.sigmas"]
    del content[4][BLOCK]
    path = saved(tmp_path / "c.pth", content)
    with pytest.raises(
        CheckpointError, match=rf"average is not of this network, 1 missing, 1 unexp.*{BLOCK}"
    ):
        method.import_checkpoint(path, "ema")
    assert method.import_checkpoint(path, "raw")["weights"] == "raw"
    content[4] = [torch.zeros(2)]
    with pytest.raises(
        CheckpointError, match="average of the weights is a list of Tensor, not tensors by name"
    ):
        method.import_checkpoint(saved(tmp_path / "d.pth", content), "ema")


@pytest.mark.parametrize(
    ("file", "network"),
    [
        (FIRST, SECOND),
        (SECOND, FIRST),
        (FIRST, {**FIRST, "levels": 5}),
        (FIRST, {**FIRST, "refinenet": {"width": 6}}),
        (FIRST, {**FIRST, "refinenet": {"variant": "ncsn_deeper", "width": 4}}),
        (SECOND, {**SECOND, "refinenet": {"variant": "ncsnv2_deeper", "width": 4}}),
    ],
)
def test_file_of_another_network_is_refused_and_leaves_the_weights_alone(tmp_path, file, network):
    method = method_of(network)
    before = {name: tensor.clone() for name, tensor in weights_of(method.network).items()}
    with pytest.raises(CheckpointError, match="model is not of this network"):
        method.import_checkpoint(saved(tmp_path / "c.pth", authors_file(file)), "raw")
    assert holds(method.network, before)


@pytest.mark.parametrize(
    ("params", "why"),
    [
        (
            {"sigma_begin": 9.0},
            "noise levels 12 from 5 to 0.01; the parameters say 12 from 9 to 0.01",
        ),
        (
            {"sigma_end": 0.02},
            "noise levels 12 from 5 to 0.01; the parameters say 12 from 5 to 0.02",
        ),
        ({"levels": 10}, "noise levels 12 from 5 to 0.01; the parameters say 10 from 5 to 0.01"),
    ],
)
def test_noise_levels_have_to_be_those_of_the_parameters(tmp_path, params, why):
    path = saved(tmp_path / "c.pth", authors_file(SECOND))
    with pytest.raises(CheckpointError, match=why):
        method_of(SECOND, **params).import_checkpoint(path, "ema")


def test_noise_levels_between_equal_ends_have_to_agree_too(tmp_path):
    content = authors_file(SECOND)
    content[0]["module.sigmas"] = torch.linspace(5.0, 0.01, 12)
    with pytest.raises(
        CheckpointError,
        match=r"noise levels that differ between the same ends \(12 from 5 to 0.01\)",
    ):
        method_of(SECOND).import_checkpoint(saved(tmp_path / "c.pth", content), "ema")
    content[0]["module.sigmas"] = "many"
    with pytest.raises(CheckpointError, match=r"noise levels \(sigmas\) are not a list of numbers"):
        method_of(SECOND).import_checkpoint(saved(tmp_path / "d.pth", content), "ema")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ([], "a list of nothing"),
        ([{}, {}, 1], "a list of dict, dict, int"),
        ([{1: torch.zeros(2)}, {}], "a list of dict, dict"),
        ([torch.zeros(2), {}], "a list of Tensor, dict"),
        (torch.zeros(2), "a Tensor"),
    ],
)
def test_file_of_another_form_is_refused_with_what_it_holds(tmp_path, content, told):
    with pytest.raises(
        CheckpointError, match=rf"list of the weights and the optimiser .*; this one is {told}$"
    ):
        method_of(FIRST).import_checkpoint(saved(tmp_path / "c.pth", content), "raw")


class Crafted:
    """Runs a command when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("zipped", [True, False])
def test_file_that_would_run_code_is_refused_by_name_and_runs_nothing(tmp_path, zipped):
    marker, content = tmp_path / "ran", authors_file(SECOND)
    content[1] = Crafted(marker)
    path = saved(tmp_path / "c.pth", content, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match=r"refused, reading it would call (posix|nt)\.system"):
        method_of(SECOND).import_checkpoint(path, "ema")
    assert not marker.exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_truncated_file_is_told_by_name(tmp_path, zipped):
    path = saved(tmp_path / "c.pth", authors_file(FIRST), _use_new_zipfile_serialization=zipped)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(CheckpointError, match=r"c\.pth: not a checkpoint that can be read"):
        method_of(FIRST).import_checkpoint(path, "raw")
