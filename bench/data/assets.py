"""Files that are read and not made here: what they are, where they are looked for, how to get them.

Data sets and weights of extractors lie under BENCH_DATA (:func:`bench.data.root.data_root`),
statistics of papers in the store, checkpoints and images made elsewhere in the places that a suite
names. A job never fetches anything: what is missing stops a run before the first one, and
``run_bench.py assets SUITE --download`` fetches what has a public address.

Standard library only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field
from pathlib import Path

from bench.data.card import DataCard, FileFacts
from bench.data.digest import digest_checkpoint
from bench.data.root import data_root
from bench.files import hash_file
from bench.frozen import dataclass

FOLDER_FILES = 1000
"""Files of a folder up to which its digest is listed: more would take too long."""


@dataclass(frozen=True, kw_only=True)
class Asset:
    """Something that a suite needs, as one of several files or folders.

    Args:
        what: What it is, and for whom: ``weights of inception (metrics FID, IS)``.
        places: Where it is looked for, in order; one is enough.
        how: How to get it.
        facts: What is published of the files at some of these places.
        needed: Whether the suite reads it.
        lack: The message if it is missing.
        otherwise: What happens without it if it is not needed.
    """

    what: str
    places: tuple[Path, ...]
    how: str
    facts: Mapping[Path, FileFacts] = field(default_factory=dict)
    needed: bool = True
    lack: str = ""
    otherwise: str = "this suite does not read it"

    @property
    def path(self) -> Path | None:
        """The first place that exists, None if none does."""
        return next((place for place in self.places if place.exists()), None)

    @property
    def missing(self) -> str:
        """What is missing and how to get it; empty if nothing is."""
        return "" if self.path is not None or not self.needed else self.lack

    @property
    def offer(self) -> tuple[Path, FileFacts] | None:
        """The first place whose file has a public address, with its facts; None if none has."""
        offers = ((place, self.facts[place]) for place in self.places if place in self.facts)
        return next(((place, facts) for place, facts in offers if facts.url), None)


def of_data(name: str, card: DataCard, *, needed: bool = True) -> list[Asset]:
    """Returns what a data set is read from; nothing if it ships with a package."""
    root = data_root()
    assets = []
    for names, how in card.files.items():
        what, places = f"data set {name}", tuple(root / place for place in names)
        facts = {root / place: card.facts[place] for place in names if place in card.facts}
        lack = f"{' or '.join(map(str, places))} is missing ({what}): {how}"
        assets.append(
            Asset(what=what, places=places, how=how, facts=facts, needed=needed, lack=lack)
        )
    return assets


def missing(assets: Iterable[Asset]) -> list[str]:
    """Returns a message for everything that is missing."""
    return [asset.missing for asset in assets if asset.missing]


def describe(asset: Asset, cache: Path | None = None) -> tuple[list[str], bool]:
    """Returns lines that describe an asset for a person, and whether it is as it should be.

    Args:
        cache: Folder that remembers digests.
    """
    path = asset.path
    if path is not None:
        content, right = _content(path, asset.facts.get(path), cache)
        return [f"{asset.what}: {path}: there{content}"], right
    state = "MISSING" if asset.needed else f"not there, and {asset.otherwise}"
    several = ", any one is enough" if len(asset.places) > 1 else ""
    lines = [f"{asset.what}: {state}", f"  looked for{several}:"]
    lines += [f"    {place}{_published(asset.facts.get(place))}" for place in asset.places]
    lines.append(f"  how: {asset.how}")
    if asset.offer is not None:
        place, facts = asset.offer
        lines.append(f"  --download fetches {facts.url} to {place}")
    return lines, not asset.needed


def _published(facts: FileFacts | None) -> str:
    parts = []
    if facts is not None and facts.size:
        parts.append(f"{facts.size:,} bytes")
    if facts is not None and facts.md5:
        parts.append(f"md5 {facts.md5}")
    if facts is not None and facts.sha256:
        parts.append(f"sha256 {facts.sha256}{'...' if len(facts.sha256) < 64 else ''}")
    return f" ({', '.join(parts)})" if parts else ""


def _content(path: Path, facts: FileFacts | None, cache: Path | None) -> tuple[str, bool]:
    """Returns size and digest of what lies at a path, and whether they are those published."""
    if path.is_dir():
        return _folder(path, cache), True
    digests = {"sha256": digest_checkpoint(path, cache)}
    text = f", {path.stat().st_size:,} bytes, sha256 {digests['sha256']}"
    if facts is None or not (facts.md5 or facts.sha256):
        return text, True
    if facts.md5:
        digests["md5"] = hash_file(path, "md5")
    if difference := facts.difference(digests):
        return f"{text}, but {difference}: damaged, or another file", False
    return f"{text}, {'md5' if facts.md5 else 'sha256'} as published", True


def _folder(path: Path, cache: Path | None) -> str:
    files = [file for file in path.rglob("*") if file.is_file()]
    size = sum(file.stat().st_size for file in files)
    text = f", a folder of {len(files):,} files, {size:,} bytes"
    own = any(file.parent == path and not file.name.startswith(".") for file in files)
    if own and len(files) <= FOLDER_FILES:
        text += f", sha256 {digest_checkpoint(path, cache)}"
    return text
