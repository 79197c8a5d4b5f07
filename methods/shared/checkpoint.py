"""Checkpoints of others, read without running anything that they hold.

A pickled file may name functions to be called when it is read. Here only what makes tensors, arrays
and plain values is allowed. Objects that often lie beside the weights (the command line's
Namespace, paths, the state of a random generator, a configuration) are read as an :class:`Opaque`
that does nothing; anything else is refused by name.

What is no checkpoint at all shows in its first bytes: a web page that a download left, a Git LFS
pointer, a compressed file, a checkpoint of another library. :mod:`methods.shared.weights` finds the
weights in what is read.
"""

import pickle
import re
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from bench.data.fault import InputError


class CheckpointError(InputError):
    """A checkpoint cannot be read or is of another network; the message says what to do."""


class Opaque:
    """Stands for an object that no weights depend on: takes any arguments and does nothing."""

    def __new__(cls, *args: Any) -> "Opaque":
        return super().__new__(cls)

    def __init__(self, *args: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


class OpaqueList(list):
    """Stands in place of an object that is filled as a list is."""

    def __init__(self, *args: Any) -> None:
        super().__init__()


def _dictionary(*args: Any) -> OrderedDict:
    """Stands in place of a class of dictionaries with something more, which is left out."""
    return OrderedDict()


OBJECTS: Mapping[str, Sequence[str]] = {
    "argparse": ("Namespace",),
    "types": ("SimpleNamespace",),
    **dict.fromkeys(
        ("pathlib", "pathlib._local"),
        ("Path", "PosixPath", "WindowsPath", "PurePath", "PurePosixPath", "PureWindowsPath"),
    ),
    "datetime": ("datetime", "date", "time", "timedelta", "timezone"),
    "random": ("Random",),
    "numpy.random._pickle": ("__randomstate_ctor", "__generator_ctor", "__bit_generator_ctor"),
    "numpy.random.mtrand": ("RandomState",),
    "numpy.random._generator": ("Generator",),
    "numpy.random._mt19937": ("MT19937",),
    "numpy.random._pcg64": ("PCG64", "PCG64DXSM"),
    "numpy.random._philox": ("Philox",),
    "numpy.random._sfc64": ("SFC64",),
    "numpy.random.bit_generator": ("SeedSequence", "__pyx_unpickle_SeedSequence"),
    "ml_collections.config_dict.config_dict": ("ConfigDict", "FrozenConfigDict", "FieldReference"),
    "omegaconf.dictconfig": ("DictConfig",),
    "omegaconf.listconfig": ("ListConfig",),
    "omegaconf.base": ("ContainerMetadata", "Metadata", "SCMode"),
    "omegaconf.nodes": (
        "AnyNode",
        "IntegerNode",
        "FloatNode",
        "StringNode",
        "BooleanNode",
        "BytesNode",
        "PathNode",
    ),
    "typing": ("Any",),
    "torch.torch_version": ("TorchVersion",),
}
"""Names of objects that are read as :class:`Opaque`, by module."""

DICTIONARIES = (
    *(
        "collections.defaultdict",
        "easydict.EasyDict",
        "addict.addict.Dict",
        "munch.Munch",
        "yacs.config.CfgNode",
    ),
    *("fvcore.common.config.CfgNode", "attrdict.dictionary.AttrDict", "dotmap.DotMap"),
    "pytorch_lightning.utilities.parsing.AttributeDict",
    "lightning.fabric.utilities.data.AttributeDict",
    "lightning.pytorch.utilities.parsing.AttributeDict",
)
PLAIN = (bool, dict, float, frozenset, int, list, slice, str, tuple)
DTYPES = (
    *(np.bool_, np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64),
    "U",
    "S",
)
FLOATS = (np.float16, np.float32, np.float64, np.complex64, np.complex128)

ALLOWED: tuple[Any, ...] = (
    *(
        (np.float64(0).__reduce__()[0], f"numpy.{core}.multiarray.scalar")
        for core in ("core", "_core")
    ),
    *(
        (np.zeros(1).__reduce__()[0], f"numpy.{core}.multiarray._reconstruct")
        for core in ("core", "_core")
    ),
    *(np.ndarray, np.dtype),
    *(type(np.dtype(name)) for name in (*DTYPES, *FLOATS)),
    *PLAIN,
    *((Opaque, f"{module}.{name}") for module, names in OBJECTS.items() for name in names),
    *((_dictionary, name) for name in DICTIONARIES),
    (OpaqueList, "collections.deque"),
)
"""What is unpickled beside torch's own: numpy's arrays and scalars, plain types, and what stands in
for objects.

A pair is what is called in place of the name beside it; numpy's are named as numpy 1 and 2 name
them.
"""

PAGES = (b"<!doctype", b"<html", b"<head", b"<?xml", b"<!--")
SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (
        b"version https://git-lfs",
        "a Git LFS pointer in place of the file: fetch it with git lfs pull",
    ),
    (b"\x1f\x8b", "compressed by gzip: unpack it with gunzip"),
    (b"BZh", "compressed by bzip2: unpack it with bunzip2"),
    (b"\xfd7zXZ\x00", "compressed by xz: unpack it with unxz"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd: unpack it with unzstd"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive: unpack it"),
    (b"Rar!", "a RAR archive: unpack it"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras saves: PyTorch weights are needed"),
    (b"\x93NUMPY", "an array of numpy: PyTorch weights are needed"),
    (b"GGUF", "a GGUF file: PyTorch weights are needed"),
)
"""How files begin that are often given in place of a checkpoint, and what to say of them."""

TORCH_PICKLE = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""How a file goes on, after two bytes of the protocol, that torch.save wrote without a zip
archive.
"""

SHARD = re.compile(r"-\d{5}-of-\d{5}|(?:mp|zero_pp)_rank_\d+|\.distcp$")


def read(path: Path) -> Any:
    """Returns what ``torch.save`` or the safetensors library wrote, on the CPU.

    Tensors of a zipped file are only read when they are used.

    Raises:
        CheckpointError: It is of another format, or damaged, or reading it would run code.
    """
    try:
        if (why := _refuse(path)) is not None:
            raise _unreadable(path, why)
        with path.open("rb") as file, torch.serialization.safe_globals(list(ALLOWED)):
            if _begins_as_safetensors(file.read(9)):
                return safetensors.torch.load_file(path)
            file.seek(0)
            named_otherwise = path.suffix == ".safetensors"  # by which torch would take it for one
            mapped = zipfile.is_zipfile(path) and not named_otherwise
            return torch.load(
                file if named_otherwise else path,
                map_location="cpu",
                weights_only=True,
                mmap=mapped,
            )
    except CheckpointError:
        raise
    except OSError as error:
        raise _unreadable(path, str(error)) from error
    except safetensors.SafetensorError as error:
        raise _unreadable(
            path, f"a safetensors file that is damaged or cut short: {error}"
        ) from error
    except pickle.UnpicklingError as error:
        raise _unpicklable(path, str(error)) from error
    except Exception as error:  # bytes that are no pickle make the unpickler raise anything
        raise _unreadable(path, _damage(error)) from error


def _unreadable(path: Path, why: str) -> CheckpointError:
    return CheckpointError(f"{path}: not a checkpoint that can be read ({why})")


def _unpicklable(path: Path, message: str) -> CheckpointError:
    """Returns what to say of a file; torch's own words would advise to let it run code."""
    named = re.search(r"GLOBAL (\S+)", message) or re.search(
        r"(\S+) was not an allowed global", message
    )
    if named is not None:
        return CheckpointError(
            f"{path}: refused, reading it would call {named[1]}; weights need no code, so do not "
            "trust this file "
            "(if you made it yourself, save its tensors and plain numbers alone)"
        )
    if found := re.search(r"but got (?:<class ')?([\w.]+)", message):
        return _unreadable(
            path,
            f"holds an object of the kind {found[1]}: save its tensors and plain numbers alone",
        )
    if "Unsupported operand" in message:
        return _unreadable(
            path, "pickled in another way than torch.save's own: save it with pickle_protocol=2"
        )
    return _unreadable(path, "damaged, or of another format: UnpicklingError")


def _damage(error: Exception) -> str:
    if isinstance(error, EOFError) or "unexpected EOF" in str(error):
        return "cut short: copy or download it again"
    if "legacy .tar format" in str(error):
        return "in the format of torch before 0.1.8: load it with an old torch and save it again"
    return f"damaged, or of another format: {type(error).__name__}"


def _refuse(path: Path) -> str | None:
    """Returns why the file at ``path`` is no checkpoint, by its kind; None if it may be one."""
    if path.is_dir():
        return _of_folder(path)
    with path.open("rb") as file:
        head = file.read(512)
    start = head.lstrip().lower()
    if not head:
        return "empty: copy or download it again"
    if SHARD.search(path.name):
        return "one of several shards of a checkpoint: join them into one file of weights"
    if _begins_as_safetensors(head):
        return None
    if start.startswith(PAGES):
        return (
            "a web page in place of the file, as a download that asks a question leaves it: "
            "download it again"
        )
    for signature, why in SIGNATURES:
        if head.startswith(signature):
            return why
    if head[257:262] == b"ustar":
        return "a tar archive: unpack it"
    if 0x81 <= head[0] <= 0x8F and 0xA0 <= head[1:2].ljust(1, b"\0")[0] <= 0xBF:
        return "a msgpack file, as Flax (JAX) saves: the PyTorch weights are needed"
    if head.startswith(b"PK"):
        return _of_archive(path)
    if head.startswith(b"\x80"):
        ours = head[2:].startswith(TORCH_PICKLE) or TORCH_PICKLE.startswith(head[2:])
        return (
            None
            if ours
            else "a pickle that torch.save did not write: save the weights with torch.save"
        )
    if start.startswith((b"{", b"[")):
        return "JSON text: give the file of the weights"
    if head.isascii() and (text := " ".join(head.decode("ascii").split())).isprintable():
        return f"text, no weights: it begins {text[:40]!r}"
    return f"damaged, or of another format: it begins with the bytes {head[:4].hex(' ')}"


def _of_folder(path: Path) -> str:
    names = sorted(file.name for file in path.iterdir())
    if ".metadata" in names or any(name.endswith(".distcp") for name in names):
        return (
            "a folder of shards of torch.distributed.checkpoint: join them, "
            "python -m torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER FILE"
        )
    if "data.pkl" in names:
        return "a folder to which a checkpoint was unpacked: give the file as it was downloaded"
    weights = [
        name for name in names if name.endswith((".pth", ".pt", ".ckpt", ".bin", ".safetensors"))
    ]
    return f"a folder: give a file of weights{', ' + ' or '.join(weights[:3]) if weights else ''}"


def _of_archive(path: Path) -> str | None:
    """Returns why a zip archive is no checkpoint; None if it is one."""
    if not zipfile.is_zipfile(path):
        return (
            f"cut short: a zip archive without its end, {path.stat().st_size:,} bytes; copy or "
            "download it again"
        )
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if not any(name.endswith("data.pkl") for name in names):
            kind = (
                "arrays of numpy"
                if all(name.endswith(".npy") for name in names)
                else "a zip archive"
            )
            return f"{kind}, {', '.join(names[:3]) or 'empty'}: PyTorch weights are needed"
        if any("/code/" in name for name in names):
            return "a TorchScript program: save the state_dict of the model"
        return _broken_part(archive)


def _broken_part(archive: zipfile.ZipFile) -> str | None:
    """Returns that a part does not have the checksum that the archive notes of it; None where all
    are whole.

    torch reads the tensors without comparing it.
    """
    for part in archive.infolist():
        if part.CRC == 0:  # torch.save can leave it out
            continue
        try:
            with archive.open(part) as file:
                while file.read(1 << 24):
                    pass
        except (zipfile.BadZipFile, EOFError):
            return (
                f"damaged: {part.filename} in it is not what was written; copy or download it again"
            )
    return None


def _begins_as_safetensors(head: bytes) -> bool:
    """Whether a file begins like safetensors: a header's length, at most 100 MB, and a brace."""
    return head[8:9] == b"{" and struct.unpack("<Q", head[:8])[0] <= 100_000_000


def agree(where: str, expected: Mapping[str, Sequence[int]], found: Mapping[str, Any]) -> None:
    """Checks that ``found`` holds a tensor of the expected shape under each name, and nothing else.

    Args:
        where: What to call the place in the message.

    Raises:
        CheckpointError: It does not; every missing, unexpected and mis-shaped name is listed, the
            first one at once.
    """
    missing = [
        f"missing: {name} {_size(shape)}" for name, shape in expected.items() if name not in found
    ]
    unexpected, misshaped = [], []
    for name, tensor in found.items():
        size = _size(tensor.shape) if isinstance(tensor, Tensor) else type(tensor).__name__
        if name not in expected:
            unexpected.append(f"unexpected: {name} {size}")
        elif size != _size(expected[name]):
            misshaped.append(
                f"mis-shaped: {name} is {size}, the network has {_size(expected[name])}"
            )
    if lines := missing + unexpected + misshaped:
        counts = (
            f"{len(missing)} missing, {len(unexpected)} unexpected, {len(misshaped)} mis-shaped"
        )
        raise CheckpointError(
            f"{where} is not of this network, {counts}; {lines[0]}\n  " + "\n  ".join(lines[1:])
        )


def _size(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "a number"
