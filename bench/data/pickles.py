"""Pickles of mappings, lists, numbers, texts and arrays, read so that a file cannot run anything.

A pickle may name functions to be called; here only stand-ins for numpy's arrays are called.

Standard library only.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
from typing import Any

from bench.data.fault import InputError

NO_CODES = ("BYTEARRAY8", "NEXT_BUFFER", "READONLY_BUFFER")
"""What no batch is pickled with, and what takes memory before it is there."""


def unpickle(where: str, content: bytes, what: str, how: str) -> dict[bytes, Any]:
    """Returns the mapping that a pickle holds, with bytes for its names.

    Args:
        where: Names the pickle in messages.
        content: The pickle.
        what: What it should be: ``batch of CIFAR-10``.
        how: How to get it, for messages.

    Raises:
        ValueError: It is damaged, holds no mapping or would call something.
    """
    try:
        for code, argument, _ in pickletools.genops(
            content
        ):  # before memory is taken for what it claims
            if code.name in NO_CODES or (
                "PUT" in code.name and argument is not None and argument > len(content)
            ):
                raise InputError(
                    f"{code.name} {argument if isinstance(argument, int) else ''}".strip()
                )
        batch = _Unpickler(io.BytesIO(content), encoding="bytes").load()
    except _RefusedError as error:
        raise InputError(
            f"{where}: refused, reading it would call {error}; do not trust this file: {how}"
        ) from None
    except Exception as error:  # whatever damaged bytes make a pickle do
        raise InputError(
            f"{where}: cut short or damaged ({type(error).__name__}: {error}); {how}"
        ) from error
    if not isinstance(batch, dict):
        raise InputError(f"{where}: holds no mapping, so this is no {what}; {how}")
    return {
        name.encode("utf-8", "replace") if isinstance(name, str) else name: value
        for name, value in batch.items()
    }


class _RefusedError(Exception):
    """A pickle names what is not allowed."""


class _Dtype:
    """Stands for ``numpy.dtype``: its code alone."""

    def __init__(self, code: bytes | str, *options: Any) -> None:
        self.code = code.decode() if isinstance(code, bytes) else code

    def __setstate__(self, state: Any) -> None:
        pass


class PickledArray:
    """Stands for ``numpy.ndarray``: shape, type and bytes."""

    shape: Any = None
    dtype: Any = None
    columns_first: Any = False
    content: Any = b""

    def __setstate__(self, state: Any) -> None:
        _, self.shape, self.dtype, self.columns_first, self.content = state

    def is_bytes(self, shape: tuple[int, ...]) -> bool:
        """Whether it is a whole array of bytes of that shape."""
        kind = (
            isinstance(self.dtype, _Dtype)
            and self.dtype.code == "u1"
            and isinstance(self.content, bytes)
        )
        return kind and self.shape == shape and len(self.content) == math.prod(shape)


def _reconstruct(*arguments: Any) -> PickledArray:
    return PickledArray()


def _encode(text: str, encoding: str = "latin1") -> bytes:
    """Stands for ``_codecs.encode``, by which Python 3 writes bytes for Python 2."""
    return text.encode("latin1")


STAND_INS = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): PickledArray,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encode,
}


class _Unpickler(pickle.Unpickler):
    """Reads mappings, lists, numbers, texts and arrays, and calls nothing but stand-ins."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in STAND_INS:
            raise _RefusedError(f"{module}.{name}")
        return STAND_INS[module, name]
