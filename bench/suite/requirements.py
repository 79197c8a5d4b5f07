"""The files that a suite needs: its data set, weights of extractors, statistics of papers, and what
was made elsewhere.

Standard library only.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.data.assets import Asset, of_data
from bench.data.card import FileFacts
from bench.data.registry import data_card
from bench.data.root import data_root
from bench.metrics.extractor_cards import extractor_card
from bench.metrics.registry import METRICS
from bench.schema import build
from bench.spec import ImagesSpec
from bench.store import REFERENCES, Store
from bench.suite.resolved import Suite

TRAINED = "the model is trained instead"


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
    assets += [_elsewhere(suite, label, path) for label, path in suite.sources.items()]
    wanted = (_elsewhere(suite, label, path) for label, path in suite.wanted.items())
    return assets + [replace(each, needed=False, otherwise=TRAINED) for each in wanted]


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
    """Returns the checkpoint or images of a train entry, below the data root or working folder."""
    places = [path]
    if path.is_relative_to(data_root()):
        places.append(Path.cwd() / path.relative_to(data_root()))
    origin = suite.origins.get(label) or f"the head of {suite.path} says where it comes from"
    how = f"put it there: {origin}"
    kind = "images" if isinstance(suite.train[label][0], ImagesSpec) else "checkpoint"
    what = f"{kind} of train.{label}"
    lack = f"{' or '.join(map(str, places))} is missing ({what}): {how}"
    return Asset(what=what, places=tuple(dict.fromkeys(places)), how=how, lack=lack)
