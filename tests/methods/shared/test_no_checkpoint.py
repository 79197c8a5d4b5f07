"""What a checkpoint holds beside its weights is left alone, and what is none is refused."""

import argparse
import collections
import gzip
import io
import os
import pathlib
import pickle
import random
import tarfile
import types
import zipfile

import numpy as np
import pytest
import safetensors.torch
import torch
from checkpoint_files import equal, saved, taken, weights_of
from torch import nn

from methods.shared.checkpoint import CheckpointError, Opaque, read


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
