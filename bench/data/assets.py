"""The files that a suite needs: what they are, where they are looked for, how to get them.

Data sets and weights of extractors lie under BENCH_DATA (:func:`bench.data.root.data_root`),
statistics of papers in the store, checkpoints and images made elsewhere where a suite says. A job
never fetches anything: what is missing stops a run before the first one, and ``run_bench.py assets
SUITE --download`` fetches what has a public address.

Standard library only.
"""

from __future__ import annotations

import hashlib
import http.client
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

from bench.data.card import DataCard, FileFacts
from bench.data.digest import digest_checkpoint
from bench.data.registry import data_card
from bench.data.root import data_root
from bench.files import hash_file, whole
from bench.metrics.extractor_cards import extractor_card
from bench.metrics.registry import METRICS
from bench.schema import build
from bench.spec import ImagesSpec
from bench.store import REFERENCES, Store
from bench.suite.resolved import Suite

CHUNK = 2**20
TIMEOUT_SECONDS = 60
FOLDER_FILES = 1000
"""Files of a folder up to which its digest is told: more take too long for a listing."""


@dataclass(frozen=True, kw_only=True)
class Asset:
    """Something that a suite needs, as one of several files or folders.

    Args:
        what: What it is, and for whom: ``weights of inception (metrics FID, IS)``.
        places: Where it is looked for, in order; one is enough.
        how: How to get it.
        facts: What is known of the files at some of these places.
        needed: Whether the suite reads it.
        lack: The message where it is missing.
    """

    what: str
    places: tuple[Path, ...]
    how: str
    facts: Mapping[Path, FileFacts] = field(default_factory=dict)
    needed: bool = True
    lack: str = ""

    @property
    def path(self) -> Path | None:
        """Where it lies, None where it does not."""
        return next((place for place in self.places if place.exists()), None)

    @property
    def missing(self) -> str:
        """What is missing and how to get it; empty where nothing is."""
        return "" if self.path is not None or not self.needed else self.lack

    @property
    def offer(self) -> tuple[Path, FileFacts] | None:
        """The place whose file has a public address, with what is known of it; None where none
        has.
        """
        offers = ((place, self.facts[place]) for place in self.places if place in self.facts)
        return next(((place, facts) for place, facts in offers if facts.url), None)


class FetchError(Exception):
    """A file could not be fetched, or is not the one that was promised."""


def of_data(name: str, card: DataCard, *, needed: bool = True) -> list[Asset]:
    """Returns what a data set is read from; nothing where it ships with a package."""
    root = data_root()
    assets = []
    for names, how in card.files.items():
        places = tuple(root / place for place in names)
        facts = {root / place: card.facts[place] for place in names if place in card.facts}
        lack = f"{' or '.join(map(str, places))} is missing (data set {name}): {how}"
        assets.append(
            Asset(
                what=f"data set {name}",
                places=places,
                how=how,
                facts=facts,
                needed=needed,
                lack=lack,
            )
        )
    return assets


def of_extractor(name: str) -> list[Asset]:
    """Returns the weights of an extractor; nothing where it has none."""
    card = extractor_card(name)
    places = tuple(card.places())
    if not places:
        return []
    facts = {place: FileFacts(sha256=card.sha256 or None) for place in places}
    if card.url:
        target = data_root() / "weights" / card.weights[0]
        facts[target] = replace(facts[target], url=card.url)
    how = card.how or "reinstall the project"
    return [
        Asset(what=f"weights of {name}", places=places, how=how, facts=facts, lack=card.missing())
    ]


def of_suite(suite: Suite, store: Store) -> list[Asset]:
    """Returns everything that a suite needs, each file once."""
    assets = of_data(suite.dataset, data_card(suite.dataset), needed=suite.reads_images)
    weights: dict[tuple[Path, ...], tuple[Asset, list[str]]] = {}
    for column, params in _metrics(suite):
        for asset in of_extractor(params.extractor) if hasattr(params, "extractor") else ():
            weights.setdefault(asset.places, (asset, []))[1].append(column)
    for asset, columns in weights.values():
        of = f"metric {columns[0]}" if len(columns) == 1 else f"metrics {', '.join(columns)}"
        lack = asset.lack and f"{of}: {asset.lack}"
        assets.append(replace(asset, what=f"{asset.what} ({of})", lack=lack))
    for column, params in _metrics(suite):
        if statistics := getattr(params, "statistics", ""):
            assets.append(_statistics(column, statistics, store))
    return assets + [_elsewhere(suite, label, path) for label, path in suite.sources.items()]


def missing(assets: Iterable[Asset]) -> list[str]:
    """Returns a message for everything that is missing."""
    return [asset.missing for asset in assets if asset.missing]


def _metrics(suite: Suite) -> list[tuple[str, Any]]:
    return [
        (metric.column, build(METRICS[metric.name].params, metric.params))
        for metric in suite.metrics
    ]


def _statistics(column: str, sha256: str, store: Store) -> Asset:
    how = "run_bench.py reference import FILE"
    lack = f"metric {column}: statistics {sha256[:12]}... are not in {store.root}: {how}"
    place = store.folder(REFERENCES, sha256) / "moments.json"
    return Asset(
        what=f"statistics {sha256[:12]}... (metric {column})", places=(place,), how=how, lack=lack
    )


def _elsewhere(suite: Suite, label: str, path: Path) -> Asset:
    """Returns the checkpoint or the images of a train entry, which the suite names below one of two
    folders.
    """
    places = [path]
    if path.is_relative_to(data_root()):
        places.append(Path.cwd() / path.relative_to(data_root()))
    how = f"put it there; the head of {suite.path} says where it comes from"
    what = f"{'images' if isinstance(suite.train[label][0], ImagesSpec) else 'checkpoint'} of train.{label}"
    lack = f"{' or '.join(map(str, places))} is missing ({what}): {how}"
    return Asset(what=what, places=tuple(dict.fromkeys(places)), how=how, lack=lack)


def describe(asset: Asset, cache: Path | None = None) -> tuple[list[str], bool]:
    """Returns lines that say of an asset what there is to know, and whether it is as it should be.

    Args:
        cache: Folder that remembers digests.
    """
    path = asset.path
    if path is not None:
        there, right = _content(path, asset.facts.get(path), cache)
        return [f"{asset.what}: {path}: there{there}"], right
    state = "MISSING" if asset.needed else "not there, and this suite does not read it"
    lines = [
        f"{asset.what}: {state}",
        "  looked for, any one is enough:" if len(asset.places) > 1 else "  looked for:",
    ]
    lines += [f"    {place}{_expected(asset.facts.get(place))}" for place in asset.places]
    lines.append(f"  how: {asset.how}")
    if asset.offer is not None:
        place, facts = asset.offer
        lines.append(f"  --download fetches {facts.url} to {place}")
    return lines, not asset.needed


def _expected(facts: FileFacts | None) -> str:
    if facts is None:
        return ""
    digest = (
        f"sha256 {facts.sha256}{'...' if len(facts.sha256) < 64 else ''}" if facts.sha256 else ""
    )
    told = [
        f"{facts.size:,} bytes" if facts.size else "",
        f"md5 {facts.md5}" if facts.md5 else "",
        digest,
    ]
    return f" ({', '.join(filter(None, told))})" if any(told) else ""


def _content(path: Path, facts: FileFacts | None, cache: Path | None) -> tuple[str, bool]:
    """Returns size and digest of what lies at a path, and whether they are those that are known."""
    if path.is_dir():
        return _folder(path, cache), True
    told = f", {path.stat().st_size:,} bytes, sha256 {digest_checkpoint(path, cache)}"
    if facts is None or not (facts.md5 or facts.sha256):
        return told, True
    digests = {"sha256": digest_checkpoint(path, cache)}
    if facts.md5:
        digests["md5"] = hash_file(path, "md5")
    if wrong := _wrong(facts, None, digests):
        return f"{told}, but {wrong}: damaged, or another file", False
    known = "md5" if facts.md5 else "sha256"
    return f"{told}, {known} as published", True


def _folder(path: Path, cache: Path | None) -> str:
    files = [file for file in path.rglob("*") if file.is_file()]
    told = (
        f", a folder of {len(files):,} files, {sum(file.stat().st_size for file in files):,} bytes"
    )
    own = [file for file in files if file.parent == path and not file.name.startswith(".")]
    return (
        f"{told}, sha256 {digest_checkpoint(path, cache)}"
        if own and len(files) <= FOLDER_FILES
        else told
    )


def _wrong(facts: FileFacts, size: int | None, digests: Mapping[str, str]) -> str:
    """Returns how a file differs from what is known of it; empty where it does not."""
    for name, found in digests.items():
        wanted = getattr(facts, name)
        if wanted and not found.startswith(wanted):
            return f"its {name} is {found}, not {wanted}{'...' if len(wanted) < len(found) else ''}"
    if size is not None and facts.size is not None and size != facts.size:
        return f"it has {size:,} bytes, not {facts.size:,}"
    return ""


def download(
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
    """Fetches a file: whole and with the digest that is known, or not at all.

    Args:
        facts: Its address and what is known of it.
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
        if wrong := _wrong(facts, size, digests):
            raise FetchError(
                f"{facts.url} is not the file that is wanted, so it was not kept ({wrong}): {instead}"
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
    request = urllib.request.Request(facts.url, headers={"User-Agent": "run_bench"})
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
        announced = answer.headers.get("Content-Length", "")
        total, size = int(announced) if announced.isdecimal() else facts.size, 0
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
