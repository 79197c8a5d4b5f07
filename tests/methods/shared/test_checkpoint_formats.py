"""Checkpoints as people have them: other formats and precisions, and values that are no numbers."""

import json

import numpy as np
import pytest
import safetensors.torch
import torch
from checkpoint_files import equal, saved, taken, weights_of

from methods.shared.checkpoint import CheckpointError, read


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth", "w"])
def test_safetensors_are_read_whatever_the_file_is_called(tmp_path, method, name):
    raw = weights_of(method.network)
    safetensors.torch.save_file(
        {f"module.{key}": t.contiguous() for key, t in raw.items()}, tmp_path / name
    )
    assert equal(taken(method, tmp_path / name)[1], raw)


@pytest.mark.parametrize("padding", range(0x4B50, 0x4B51))
def test_safetensors_whose_length_begins_as_a_zip_archive_are_read(tmp_path, padding):
    header = (
        json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}})
        .encode()
        .ljust(padding)
    )
    (tmp_path / "w").write_bytes(
        len(header).to_bytes(8, "little") + header + np.float32(3).tobytes()
    )
    assert (tmp_path / "w").read_bytes().startswith(b"PK")
    assert read(tmp_path / "w")["w"].item() == 3


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_read_and_half_ones_are_said_on_the_row(tmp_path, method, dtype):
    raw = {name: tensor.to(dtype) for name, tensor in weights_of(method.network).items()}
    facts, network, _ = taken(method, saved(tmp_path / "c.pth", {"model": raw}))
    assert equal(network, {name: tensor.float() for name, tensor in raw.items()})
    note = (
        {} if dtype == torch.float64 else {"note": f"stored in {str(dtype).removeprefix('torch.')}"}
    )
    assert {name: value for name, value in facts.items() if name == "note"} == note


def test_arrays_of_numpy_are_read_as_weights(tmp_path, method):
    raw = weights_of(method.network)
    arrays = {name: tensor.numpy() for name, tensor in raw.items()}
    assert equal(taken(method, saved(tmp_path / "c.pth", {"params": arrays}))[1], raw)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("where", ["model", "ema"])
def test_weights_with_nan_or_infinity_are_refused_by_name(tmp_path, method, where, value):
    raw = weights_of(method.network)
    average = {name: tensor.clone() for name, tensor in raw.items()}
    {"model": raw, "ema": average}[where]["all_modules.1.weight"][3, 2] = value
    path = saved(tmp_path / "c.pth", {"model": raw, "ema": average})
    numbers = "1 of 512 numbers of all_modules.1.weight"
    why = rf"{where} holds NaN or infinity, {numbers}: .* take an earlier checkpoint$"
    with pytest.raises(CheckpointError, match=why):
        method.import_checkpoint(path, "ema")


WRONG = {
    "whole numbers": (lambda tensor: tensor.long(), "int64"),
    "complex": (lambda tensor: tensor.to(torch.complex64), "complex64"),
    "meta": (lambda tensor: tensor.to("meta"), "a meta tensor without values"),
    "sparse": (lambda tensor: tensor.to_sparse(), "float32 in layout sparse_coo"),
    "quantised": (lambda tensor: torch.quantize_per_tensor(tensor, 0.1, 0, torch.qint8), "qint8"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("change", "kind"), WRONG.values(), ids=WRONG)
def test_weights_of_another_kind_of_number_are_refused(tmp_path, method, change, kind):
    raw = weights_of(method.network)
    raw["all_modules.1.weight"] = change(raw["all_modules.1.weight"])
    why = (
        f"model holds 1 tensors that are no floating-point numbers, all_modules.1.weight is {kind}$"
    )
    with pytest.raises(CheckpointError, match=why):
        method.import_checkpoint(saved(tmp_path / "c.pth", {"model": raw}), "raw")


def test_value_that_is_no_tensor_is_named(tmp_path, method):
    raw = weights_of(method.network) | {"all_modules.1.bias": 3.0}
    with pytest.raises(
        CheckpointError, match=r"mis-shaped: all_modules.1.bias is float, the network has 32"
    ):
        method.import_checkpoint(saved(tmp_path / "c.pth", {"model": raw}), "raw")


def test_file_of_the_diffusers_library_without_its_folder_is_refused(tmp_path, method):
    tensors = {
        "conv_in.weight": torch.zeros(2, 2),
        "time_embedding.linear_1.weight": torch.zeros(2, 2),
    }
    safetensors.torch.save_file(tensors, tmp_path / "diffusion_pytorch_model.safetensors")
    with pytest.raises(
        CheckpointError, match="as the diffusers library names them: give its folder"
    ):
        method.import_checkpoint(tmp_path / "diffusion_pytorch_model.safetensors", "raw")


@pytest.mark.parametrize("levels", [None, "levels", [50.0, 0.01], torch.tensor([])])
def test_noise_levels_that_are_no_numbers_are_refused(tmp_path, method, levels):
    content = {"model": weights_of(method.network) | {"sigmas": levels}}
    path = saved(tmp_path / "c.pth", content)
    if levels is None:
        assert method.import_checkpoint(path, "raw")
        return
    with pytest.raises(
        CheckpointError, match=r"the noise levels \(sigmas\) are not a list of numbers"
    ):
        method.import_checkpoint(path, "raw")


@pytest.mark.parametrize("count", [torch.zeros(2), "seven", None, True, [7]])
def test_counts_that_are_no_numbers_are_left_out_of_the_facts(tmp_path, method, count):
    content = {"model": weights_of(method.network), "step": count}
    assert method.import_checkpoint(saved(tmp_path / "c.pth", content), "raw")["updates"] is None
