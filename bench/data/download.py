"""Fetching files that have a public address: whole and with the digest that is published, or not at
all.

Standard library only.
"""

from __future__ import annotations

import hashlib
import http.client
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from bench.data.assets import Asset
from bench.data.card import FileFacts
from bench.files import whole

CHUNK = 2**20
TIMEOUT_SECONDS = 60


class FetchError(Exception):
    """A file could not be fetched, or is not the one that was promised."""


def fetch_missing(
    assets: Iterable[Asset], say: Callable[[str], None], line: Callable[[str], None]
) -> Iterator[str]:
    """Fetches what is missing and has a public address; yields a message for each file that could
    not be had.

    Args:
        assets: What is needed; what is there is left alone.
        say: Called with a line to keep.
        line: Called with a line that the next one takes the place of.
    """
    for asset in assets:
        if asset.needed and asset.path is None and asset.offer is not None:
            place, facts = asset.offer
            say(f"{asset.what}: fetching {facts.url}")
            try:
                fetch(facts, place, line)
            except FetchError as error:
                yield str(error)
            else:
                say(f"{asset.what}: {place}: {place.stat().st_size:,} bytes")


def fetch(facts: FileFacts, target: Path, line: Callable[[str], None] = lambda text: None) -> None:
    """Fetches a file: whole and with the published digest, or not at all.

    Args:
        facts: Its address and what is published of it.
        target: Where it is put.
        line: Called with how far it is.

    Raises:
        FetchError: It cannot be had from there, or is not the file that was promised.
    """
    instead = f"fetch it where there is a network and put it at {target}"
    if urllib.parse.urlsplit(facts.url).scheme not in ("http", "https"):
        raise FetchError(f"{facts.url} is no address of the web: {instead}")
    with whole(target) as file:
        try:
            size, digests = _receive(facts, file, lambda text: line(f"{target.name}: {text}"))
        except NETWORK as error:
            reason = getattr(error, "reason", None) or error
            raise FetchError(f"{facts.url} cannot be fetched ({reason}): {instead}") from error
        if difference := facts.difference(digests, size):
            raise FetchError(
                f"{facts.url} is not the file that is wanted, so it was not kept ({difference}): "
                f"{instead}"
            )


NETWORK = (
    urllib.error.URLError,
    http.client.HTTPException,
    TimeoutError,
    ConnectionError,
    ssl.SSLError,
)
"""What a network does, unlike a full disk."""


def _receive(
    facts: FileFacts, file: BinaryIO, line: Callable[[str], None]
) -> tuple[int, dict[str, str]]:
    """Writes what comes from an address to a file; returns how many bytes came and their digests.

    Raises:
        ConnectionError: Fewer bytes came than were announced.
    """
    digests = {"sha256": hashlib.sha256(), "md5": hashlib.md5(usedforsecurity=False)}
    request = urllib.request.Request(facts.url or "", headers={"User-Agent": "run_bench"})
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
        announced = answer.headers.get("Content-Length", "")
        total, size = (int(announced) if announced.isdecimal() else facts.size) or 0, 0
        while part := answer.read(CHUNK):
            file.write(part)
            size += len(part)
            for digest in digests.values():
                digest.update(part)
            of = f" of {total / 1e6:.1f} MB ({100 * size / total:.0f} %)" if total else " MB"
            line(f"{size / 1e6:.1f}{of}")
    if announced.isdecimal() and size < total:
        raise ConnectionError(f"cut off after {size:,} of {total:,} bytes")
    return size, {name: digest.hexdigest() for name, digest in digests.items()}
