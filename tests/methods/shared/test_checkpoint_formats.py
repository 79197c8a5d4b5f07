"""Checkpoints as people have them: wrapped, renamed, in other formats, or no checkpoints at all."""

import argparse
import collections
import gzip
import io
import json
import os
import pathlib
import pickle
import random
import tarfile
import types
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from bench.data.images import Images
from bench.data.registry import DATASETS
from bench.method import Noise
from bench.report.description import imported_weights
from bench.schema import build
from methods.ncsn.adapter import NCSN
from methods.ncsn.card import Params as NCSNParams
from methods.ncsn.published import to_published as ncsn_published
from methods.sde.adapter import ScoreSDE
from methods.sde.card import Params
from methods.shared.checkpoint import CheckpointError, Opaque, read
from methods.shared.published import to_published, trained_names

DIGITS = DATASETS["digits"]
RGB = Images(
    "rgb", replace(DIGITS, shape=(3, 8, 8), load=lambda split: DIGITS.load(split).repeat(3, axis=1))
)
NETWORK = {"width": 8, "multipliers": [1, 1], "blocks": 1, "attention": [4], "embedding": "fourier"}
VE = {"process": "ve", "sigma_max": 50.0, "network": NETWORK}
SECOND = {"sigma_begin": 5.0, "levels": 4, "refinenet": {"variant": "ncsnv2", "width": 4}}
FREQUENCIES = "all_modules.0.W"


@pytest.fixture(scope="module")
def method():
    return ScoreSDE(build(Params, VE), RGB)


def drawn(tensors, seed):
    return {name: Noise(seed).child(name).normal(tensor.shape) for name, tensor in tensors.items()}


def weights_of(network, seed=1):
    """Returns weights by published names, which differ everywhere."""
    return drawn(to_published(network, network.state_dict()), seed)


def saved(path, content, **options):
    torch.save(content, path, **options)
    return path


def taken(method, path, weights="raw"):
    """Returns what the method says of a checkpoint, and the network and the average that it has
    then.
    """
    facts = method.import_checkpoint(path, weights)
    return facts, *(
        to_published(part, part.state_dict()) for part in (method.network, method.average)
    )


def equal(found, expected):
    return found.keys() == expected.keys() and all(
        torch.equal(found[name], expected[name]) for name in found
    )


PREFIXES = {
    "none": "",
    "data parallel": "module.",
    "compiled": "_orig_mod.",
    "compiled data parallel": "module._orig_mod.",
    "data parallel compiled": "_orig_mod.module.",
    "twice data parallel": "module.module.",
    "lightning": "model.",
    "lightning, compiled": "net._orig_mod.",
    "fully sharded": "_fsdp_wrapped_module.",
    "owners": "score_model.module.net.",
}


@pytest.mark.parametrize("prefix", PREFIXES.values(), ids=PREFIXES)
def test_words_that_wrappers_put_before_a_name_are_taken_away(tmp_path, method, prefix):
    raw = weights_of(method.network)
    content = {"model": {prefix + name: tensor for name, tensor in raw.items()}, "step": 3}
    facts, network, average = taken(method, saved(tmp_path / "c.pth", content))
    assert equal(network, raw)
    assert equal(average, raw)
    assert facts == {"format": "score_sde_pytorch", "updates": 3}


def test_word_of_a_compiled_layer_is_taken_out_of_the_middle_of_a_name(tmp_path, method):
    raw = weights_of(method.network)
    inside = {
        name.replace("all_modules.5.", "all_modules.5._orig_mod."): tensor
        for name, tensor in raw.items()
    }
    assert inside.keys() != raw.keys()
    assert equal(taken(method, saved(tmp_path / "c.pth", {"model": inside}))[1], raw)


def test_one_tensor_under_two_names_is_refused(tmp_path, method):
    raw = weights_of(method.network)
    twice = raw | {f"module.{FREQUENCIES}": raw[FREQUENCIES] + 1}
    why = f"holds {FREQUENCIES} twice, as {FREQUENCIES} and module.{FREQUENCIES}"
    with pytest.raises(CheckpointError, match=why):
        method.import_checkpoint(saved(tmp_path / "c.pth", {"model": twice}), "raw")


PLACES = (
    "model",
    "state_dict",
    "model_state_dict",
    "net",
    "network",
    "score_model",
    "params",
    "weights",
    None,
)


@pytest.mark.parametrize("place", PLACES)
def test_weights_are_found_alone_or_under_a_usual_name(tmp_path, method, place):
    raw = weights_of(method.network)
    content = raw if place is None else {place: raw, "epoch": 3, "global_step": torch.tensor(17)}
    facts, network, _ = taken(method, saved(tmp_path / "c.pth", content))
    assert equal(network, raw)
    assert facts["format"] == ("score_sde_pytorch" if place == "model" else "weights alone")
    assert facts["updates"] == (None if place is None else 17)


def test_weights_in_two_places_are_refused_and_so_is_a_file_without_any(tmp_path, method):
    raw = weights_of(method.network)
    with pytest.raises(
        CheckpointError, match=r"holds weights under model and state_dict: save those"
    ):
        method.import_checkpoint(
            saved(tmp_path / "a.pth", {"model": raw, "state_dict": raw}), "raw"
        )
    with pytest.raises(
        CheckpointError,
        match=r"holds no weights by name, alone or under model.*holds epoch, model$",
    ):
        method.import_checkpoint(saved(tmp_path / "b.pth", {"epoch": 1, "model": "unet"}), "raw")


def test_weights_alone_have_no_average_and_the_message_says_what_to_write(tmp_path, method):
    path = saved(tmp_path / "c.pth", weights_of(method.network))
    with pytest.raises(
        CheckpointError, match=r"holds no average of the weights \(ema\); ask for weights: raw$"
    ):
        method.import_checkpoint(path, "ema")


def averages(method):
    """Returns the forms in which files hold an average, with how many updates each tells of."""
    network, average = method.network, weights_of(method.network, seed=2)
    shadow = [average[name] for name in trained_names(network)]
    named = {name: average[name] for name in trained_names(network)}
    return {
        "list": (
            "ema",
            {"shadow_params": shadow, "num_updates": 5, "decay": 0.9, "collected_params": []},
            5,
        ),
        "parameters": (
            "ema",
            {"shadow_params": list(map(nn.Parameter, shadow)), "num_updates": 5},
            5,
        ),
        "bare list": ("ema", shadow, None),
        "named": (
            "ema_state_dict",
            {f"module.{name}": tensor for name, tensor in average.items()},
            None,
        ),
        "trained alone": ("model_ema", named, None),
        "shadow": ("ema", {"shadow": named, "num_updates": torch.tensor(5)}, 5),
        "torch's own": (
            "ema_model",
            {"n_averaged": torch.tensor(5), "module.sigmas": torch.ones(3)}
            | {f"module.{n}": t for n, t in named.items()},
            5,
        ),
    }


@pytest.mark.parametrize(
    "kind", ["list", "parameters", "bare list", "named", "trained alone", "shadow", "torch's own"]
)
def test_average_is_found_as_a_list_or_by_name(tmp_path, method, kind):
    place, ema, updates = averages(method)[kind]
    raw, expected = weights_of(method.network), weights_of(method.network, seed=2)
    if kind != "named":
        expected[FREQUENCIES] = raw[FREQUENCIES]  # not trained, so not averaged
    facts, network, average = taken(
        method, saved(tmp_path / "c.pth", {"model": raw, place: ema, "step": 9}), "ema"
    )
    assert equal(network, raw)
    assert equal(average, expected)
    assert (facts["updates"], facts["ema_updates"]) == (9, updates)
    assert "note" not in facts


def test_two_averages_are_refused(tmp_path, method):
    raw = weights_of(method.network)
    content = {"model": raw, "ema": raw, "model_ema": raw}
    with pytest.raises(CheckpointError, match="holds averages under ema and model_ema"):
        method.import_checkpoint(saved(tmp_path / "c.pth", content), "ema")


@pytest.mark.parametrize("kind", ["list", "shadow", "torch's own"])
def test_average_of_no_updates_is_said_on_the_row(tmp_path, method, kind):
    place, ema, _ = averages(method)[kind]
    ema = {
        **ema,
        **{name: 0 * torch.tensor(1) for name in ("num_updates", "n_averaged") if name in ema},
    }
    content = {"model": weights_of(method.network), place: ema, "step": 0}
    facts = method.import_checkpoint(saved(tmp_path / "c.pth", content), "ema")
    assert facts["ema_updates"] == 0
    said = "checkpoint, ema (an average of 0 updates, which is the weights before training)"
    assert imported_weights({"weights": "ema", **facts}) == said
    facts = method.import_checkpoint(tmp_path / "c.pth", "raw")
    assert imported_weights({"weights": "raw", **facts}) == "checkpoint, raw"


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


class Bunch(dict):
    """A dictionary of another library's."""


BESIDE = {
    "namespace": argparse.Namespace(
        lr=1e-3, path=pathlib.Path("/data"), nested=argparse.Namespace(a=[1])
    ),
    "simple namespace": types.SimpleNamespace(lr=1e-3),
    "path": pathlib.Path("/data/cifar10"),
    "windows path": pathlib.PureWindowsPath("C:/data"),
    "random state": random.getstate(),
    "numpy state": np.random.RandomState(0).get_state(),
    "numpy generator": np.random.default_rng(0),
    "numpy random state": np.random.RandomState(0),
    "torch state": torch.get_rng_state(),
    "scalars": {
        "lr": np.float64(1e-3),
        "step": np.int64(7),
        "flag": np.bool_(True),
        "small": np.float16(1),
    },
    "arrays": [np.arange(3), np.zeros((2, 2), np.float32), np.array(["a", "bc"])],
    "default dictionary": collections.defaultdict(list, {"a": [1]}),
    "counter": collections.Counter("abc"),
    "deque": collections.deque([1, 2], maxlen=3),
    "plain": {
        "set": {1, 2},
        "bytes": b"ab",
        "tuple": (1, None, True),
        "big": 2**80,
        "slice": slice(1, 2),
    },
    "dtype": [torch.float16, np.dtype("float32"), torch.device("cpu"), torch.Size([1, 2])],
}


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("beside", BESIDE.values(), ids=BESIDE)
def test_what_often_lies_beside_the_weights_is_read_and_left_alone(
    tmp_path, method, beside, zipped
):
    raw = weights_of(method.network)
    path = saved(
        tmp_path / "c.pth",
        {"args": beside, "model": raw, "z": 1},
        _use_new_zipfile_serialization=zipped,
    )
    assert equal(taken(method, path)[1], raw)
    assert read(path)["z"] == 1


def test_objects_beside_the_weights_are_not_made(tmp_path):
    found = read(
        saved(
            tmp_path / "c.pth",
            {"args": BESIDE["namespace"], "generator": BESIDE["numpy generator"]},
        )
    )
    assert [type(value) for value in found.values()] == [Opaque, Opaque]


class Crafted:
    """Calls something when it is unpickled."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    "function", [eval, exec, getattr, os.system, open, __import__, os.remove, pickle.loads]
)
def test_file_that_would_call_something_is_refused_by_name_and_calls_nothing(
    tmp_path, method, function
):
    marker = tmp_path / "ran"
    content = {"model": weights_of(method.network), "args": Crafted(function, f"touch {marker}")}
    with pytest.raises(
        CheckpointError, match=rf"refused, reading it would call (\w+\.)*{function.__name__};"
    ):
        method.import_checkpoint(saved(tmp_path / "c.pth", content), "raw")
    assert not marker.exists()


@pytest.mark.parametrize(
    "content", [nn.Linear(2, 2), {"model": nn.Linear(2, 2)}, Bunch(a=torch.zeros(2))]
)
def test_whole_modules_and_foreign_classes_are_refused_by_name(tmp_path, method, content):
    kind = "Bunch" if isinstance(content, Bunch) else r"torch\.nn\.modules\.linear\.Linear"
    with pytest.raises(
        CheckpointError, match=rf"reading it would call (\w+\.)*{kind};.* save its tensors"
    ):
        method.import_checkpoint(saved(tmp_path / "c.pth", content), "raw")


def archive_of(names):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    return buffer.getvalue()


def tar_of(name):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo(name))
    return buffer.getvalue()


def torch_file(**options):
    buffer = io.BytesIO()
    torch.save({"w": torch.arange(1000.0)}, buffer, **options)
    return buffer.getvalue()


LEGACY = torch_file(_use_new_zipfile_serialization=False)
TENSORS = safetensors.torch.save({"w": torch.zeros(9)})
FOREIGN = {
    "nothing": (b"", "empty"),
    "text": (b"not a\ncheckpoint", "text, no weights: it begins 'not a checkpoint'"),
    "page": (
        b"\n<!DOCTYPE html><html>Google Drive can't scan this file",
        "a web page in place of the file",
    ),
    "page in small letters": (b"<html><head>", "a web page"),
    "error of a store": (b'<?xml version="1.0"?><Error>', "a web page"),
    "pointer": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
        "a Git LFS pointer.* git lfs pull",
    ),
    "gzip": (gzip.compress(torch_file()), "compressed by gzip: unpack it"),
    "xz": (b"\xfd7zXZ\x00\x00", "compressed by xz"),
    "tar": (tar_of("weights.pth"), "a tar archive: unpack it"),
    "zip": (archive_of(["a/weights.pth", "a/readme"]), "a zip archive, a/weights.pth, a/readme"),
    "npz": (archive_of(["mu.npy", "sigma.npy"]), "arrays of numpy, mu.npy, sigma.npy"),
    "program": (archive_of(["m/data.pkl", "m/code/__torch__.py"]), "a TorchScript program"),
    "cut zip": (torch_file()[:2000], r"cut short: a zip archive without its end, 2,000 bytes"),
    "cut legacy": (LEGACY[:2000], "cut short"),
    "cut legacy early": (LEGACY[:9], "cut short"),
    "cut safetensors early": (TENSORS[:20], "a safetensors file that is damaged or cut short"),
    "cut safetensors": (TENSORS[:-4], "a safetensors file that is damaged or cut short"),
    "damaged zip": (
        torch_file().replace(np.float32(7).tobytes(), b"\0\0\0\1", 1),
        r"damaged: .*/data/0 in it is not",
    ),
    "pickle": (pickle.dumps({"w": 1}), "a pickle that torch.save did not write"),
    "flax": (b"\x85\xa9optimizer\x82", r"a msgpack file, as Flax \(JAX\) saves"),
    "keras": (b"\x89HDF\r\n\x1a\n\0\0", "an HDF5 file"),
    "json": (b'{"weight_map": {}}', "JSON text"),
    "bytes": (
        bytes(range(256)),
        "damaged, or of another format: it begins with the bytes 00 01 02 03",
    ),
    "protocol": (
        torch_file(pickle_protocol=4),
        "pickled in another way.*: save it with pickle_protocol=2",
    ),
}


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("name", ["c.pth", "c.safetensors"])
@pytest.mark.parametrize(("content", "why"), FOREIGN.values(), ids=FOREIGN)
def test_what_is_no_checkpoint_is_told_in_one_line_with_the_reason(tmp_path, content, why, name):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(
        CheckpointError, match=rf"{name}: not a checkpoint that can be read \({why}[^\n]*\)$"
    ):
        read(path)


@pytest.mark.parametrize(
    ("names", "why"),
    [
        ([".metadata", "__0_0.distcp"], "shards of torch.distributed.checkpoint: join them"),
        (["data.pkl", "version"], "to which a checkpoint was unpacked"),
        (["b.pth", "a.pth", "log"], "a folder: give a file of weights, a.pth or b.pth"),
        ([], "a folder: give a file of weights"),
    ],
)
def test_folder_is_told_as_what_it_is(tmp_path, names, why):
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(CheckpointError, match=rf"not a checkpoint that can be read \(.*{why}"):
        read(tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        "model-00001-of-00003.safetensors",
        "pytorch_model-00002-of-00002.bin",
        "mp_rank_00_model_states.pt",
    ],
)
def test_one_of_several_shards_is_told_as_such(tmp_path, name):
    with pytest.raises(CheckpointError, match="one of several shards of a checkpoint: join them"):
        read(saved(tmp_path / name, {"w": torch.zeros(2)}))


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


# NCSN's readers share all of this


@pytest.fixture(scope="module")
def ncsn():
    return NCSN(build(NCSNParams, SECOND), RGB)


@pytest.mark.parametrize("place", ["list", "state_dict", "alone", "safetensors"])
def test_ncsn_finds_wrapped_and_bare_weights_too(tmp_path, ncsn, place):
    raw = drawn(ncsn_published(ncsn.network, ncsn.network.state_dict()), seed=1)
    wrapped = {f"module._orig_mod.{name}": tensor for name, tensor in raw.items()}
    path = tmp_path / "c.pth"
    if place == "safetensors":
        safetensors.torch.save_file(wrapped, path)
    else:
        torch.save(
            {"list": [wrapped, {}], "state_dict": {"state_dict": wrapped}, "alone": wrapped}[place],
            path,
        )
    facts = ncsn.import_checkpoint(path, "ema")
    assert equal(ncsn_published(ncsn.average, ncsn.average.state_dict()), raw)
    assert facts == {"format": "ncsn" if place == "list" else "weights alone", "weights": "raw"}
    assert (
        imported_weights({"weights": "ema", **facts}) == "checkpoint, raw"
    )  # the file holds no average


def test_ncsn_says_an_average_of_no_updates_and_refuses_nan(tmp_path, ncsn):
    raw = drawn(ncsn_published(ncsn.network, ncsn.network.state_dict()), seed=1)
    facts = ncsn.import_checkpoint(saved(tmp_path / "a.pth", [raw, {}, 0, 0, raw]), "ema")
    assert facts["note"].startswith("an average of 0 updates")
    broken = raw | {"begin_conv.bias": raw["begin_conv.bias"] * float("nan")}
    with pytest.raises(
        CheckpointError, match=r"average holds NaN or infinity, 4 of 4 numbers of begin_conv.bias"
    ):
        ncsn.import_checkpoint(saved(tmp_path / "b.pth", [raw, {}, 0, 9, broken]), "ema")
    with pytest.raises(CheckpointError, match="model holds NaN or infinity"):
        ncsn.import_checkpoint(saved(tmp_path / "c.pth", [broken, {}, 0, 9, raw]), "raw")
