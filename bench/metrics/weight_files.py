"""Weights of extractors: read as tensors only, whole, and checked against their digest.

A file that would run code is refused.
"""

import io
import pickle
from pathlib import Path

import torch
from torch import Tensor

from bench.data.fault import InputError, MissingError
from bench.files import sha256
from bench.metrics.extractor_card import ExtractorCard


def read_weights(name: str, card: ExtractorCard, path: Path | None = None) -> tuple[bytes, str]:
    """Returns the content of an extractor's weights file and its sha256.

    Raises:
        FileNotFoundError: It is missing.
        ValueError: It is not the one that the card names.
    """
    path = path or card.path()
    if path is None or not path.is_file():
        missing = f"extractor {name}: {card.missing()}"
        raise MissingError(f"{path}: extractor weights are missing" if path else missing)
    content = path.read_bytes()
    digest = sha256(content)
    if not digest.startswith(card.sha256):
        remedy = card.how or "restore the file from the repository"
        raise InputError(
            f"{path}: altered or truncated extractor weights, or those of another network: sha256 "
            f"{digest[:12]}... where {card.sha256[:12]}... was expected; {remedy}"
        )
    return content, digest


def read_tensors(content: bytes) -> dict[str, Tensor]:
    """Returns the tensors of a file that torch.save wrote; nothing in it is run.

    Raises:
        ValueError: It is no such file, or one that would run code.
    """
    try:
        found = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"the file would run code when it is read, or is damaged: {first_line(error)}"
        ) from error
    except Exception as error:  # torch.load raises whatever the bytes happen to lead to
        why = f"the file is damaged or no file of weights: {first_line(error)}"
        raise InputError(why) from error
    if not isinstance(found, dict) or not all(isinstance(v, Tensor) for v in found.values()):
        raise InputError("the file holds no mapping of names to tensors")
    return found


def first_line(error: Exception) -> str:
    """Returns the beginning of an error's message, for a message of our own."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2])[:400] or type(error).__name__
