"""The sections ``dataset`` and ``samples``, and held-out images."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, TypeVar

from bench.data.gallery import KINDS as GALLERIES
from bench.data.gallery_files import settle
from bench.data.registry import data_card
from bench.schema import AtLeast, names
from bench.suite.fault import KeyPath
from bench.suite.read.reading import MOST_IMAGES, SMOKE_IMAGES, Reading
from bench.suite.sections import HeldOut, Inspect, Samples

Section = TypeVar("Section", HeldOut, Inspect)

SEED = Annotated[int, AtLeast(0)]
INSPECTED = 256
"""Held-out images that a model is inspected on by default, or all if there are fewer."""


def read_dataset(r: Reading) -> str | None:
    """Returns the name of the data set, one of ours or described pictures, and keeps its card."""
    if "dataset" not in r.tree:
        return None
    path, value = ("dataset",), r.tree["dataset"]
    if isinstance(value, Mapping):
        return _read_pictures(r, path, value)
    if isinstance(value, str) and value in GALLERIES:
        form = "{" + f"name: {value}, ..." + "}"
        keys = ", ".join(names(GALLERIES[value]))
        r.refuse(path, value, f"needs parameters: {form} with {keys}")
    elif r.choice(path, value, (*r.cards.datasets, *GALLERIES), "data set"):
        r.data = r.cards.datasets[value]
        return value
    return None


def _read_pictures(r: Reading, path: KeyPath, value: Mapping[str, Any]) -> str | None:
    """Returns the name of a data set of the user's own pictures, from their description."""
    name: Any = value.get("name")
    if "name" not in value:
        r.refuse(path, None, "has no name", (*GALLERIES, *r.cards.datasets))
    elif isinstance(name, str) and name in r.cards.datasets:
        r.refuse(path, None, f"takes no parameters: write dataset: {name}")
    elif r.choice((*path, "name"), name, GALLERIES, "data set with parameters"):
        values = {key: item for key, item in value.items() if key != "name"}
        params = r.typed(GALLERIES[name], path, values)
        if params is None:
            return None
        try:
            settled, line = settle(name, params, r.options.cache)
        except ValueError as error:
            r.refuse(path, None, str(error))
            return None
        r.data = data_card(settled)
        r.notes.append(line)
        return settled
    return None


def read_seeds(r: Reading, path: KeyPath, value: Any) -> tuple[int, ...]:
    """Returns seeds; in a trial run the first."""
    seeds = r.typed_items(SEED, path, value)
    return seeds[:1] if r.smoke else seeds


def read_samples(r: Reading) -> Samples | None:
    """Returns how many images of each point are made, and how."""
    path = ("samples",)
    if "samples" not in r.tree:
        return None
    values = r.mapping(path, r.tree["samples"], names(Samples), ("count",))
    if not isinstance(r.tree["samples"], Mapping):
        return None
    seeds = read_seeds(r, (*path, "seeds"), values.get("seeds", [0]))
    is_real = r.data is not None and r.data.kind == "real"
    values = {name: value for name, value in values.items() if name in names(Samples)}
    fallback = {"count": MOST_IMAGES, **({"quantise": "none"} if is_real else {})}
    samples = r.dataclass(Samples, path, {**fallback, **values, "seeds": [0]}, fallback)
    if r.data is not None and (samples.quantise == "none") != is_real:
        why: tuple[str, tuple[str, ...]] = "pixels have levels to take", ("round", "truncate")
        if is_real:
            why = "the values of the data set are real: they are stored as they are", ("none",)
        r.refuse((*path, "quantise"), samples.quantise, *why)
    r.at_most((*path, "count"), samples.count, MOST_IMAGES, "images per point")
    r.at_most((*path, "batch"), samples.batch, MOST_IMAGES, "images at a time")
    count, batch = samples.count, samples.batch
    if r.smoke:
        count = batch = min(SMOKE_IMAGES, count)
    elif batch > count:
        r.notes.append(
            f"samples.batch: {batch} images are made at a time and only {count} are used"
        )
    return replace(samples, count=count, batch=batch, seeds=seeds)


def read_inspect(r: Reading) -> Inspect | None:
    """Returns what models are inspected on: by default some held-out images, nothing for null."""
    value = r.tree.get("inspect", {})
    if value is None or r.data is None:
        return None
    values = r.mapping(("inspect",), value, names(Inspect))
    inspect = read_held_out(r, Inspect, ("inspect",), values, INSPECTED)
    return replace(inspect, images=min(SMOKE_IMAGES, inspect.images)) if r.smoke else inspect


def read_held_out(
    r: Reading, kind: type[Section], path: KeyPath, values: Mapping[str, Any], images: int
) -> Section:
    """Returns which held-out images are read, a ``kind``.

    Args:
        values: The section's keys of that ``kind``; others are left out.
        images: How many if the section does not say, or all if there are fewer.
    """
    values = {key: value for key, value in values.items() if key in names(kind)}
    has_split = r.data is None or r.choice(
        (*path, "split"), values.get("split", kind.split), r.data.splits, "split"
    )
    if r.data is None or not has_split:
        split = {"split": kind.split}
        return r.dataclass(kind, path, {"images": images, **values, **split}, {"images": images})
    split = values.get("split", kind.split)
    most = r.data.splits[split]
    fallback = {"images": min(images, most)}
    section = r.dataclass(kind, path, {**fallback, **values}, fallback)
    if section.images > most:
        r.refuse((*path, "images"), section.images, f"the split {split} has {most} images")
    return section
