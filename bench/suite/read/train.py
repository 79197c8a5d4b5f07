"""The section ``train``: models, each trained once, and what was made elsewhere."""

from collections.abc import Mapping
from typing import Any

from bench.card import Card
from bench.schema import merge, names
from bench.suite.fault import KeyPath
from bench.suite.read.data import read_seeds
from bench.suite.read.elsewhere import read_checkpoint, read_source
from bench.suite.read.reading import Reading
from bench.suite.sections import Model, Source

TRAINED = ("method", "preset", "params", "seeds", "snapshots", "ema")
MODEL = (*TRAINED, "checkpoint", "weights", "if_missing")
WIDEST = 12**-0.5
"""Relative width of the mean of all weights of a training."""


def read_train(r: Reading) -> dict[str, Model | Source | None]:
    """Returns the entries by label; None for those that cannot be read."""
    section = r.tree.get("train", {})
    if not isinstance(section, Mapping) or ("train" in r.tree and not section):
        why = "should be a mapping of labels to models, with at least one"
        r.refuse(("train",), section, why)
        return {}
    entries = {}
    for label, entry in section.items():
        path = ("train", label)
        r.file_name(path, label)
        elsewhere = isinstance(entry, Mapping) and "samples_from" in entry
        entries[label] = (read_source if elsewhere else _read_model)(r, path, entry)
    return entries


def _read_model(r: Reading, path: KeyPath, entry: Any) -> Model | None:
    entry = r.mapping(path, entry, (*MODEL, "samples_from"))
    # A profile takes a key of an entry out by null.
    entry = {name: value for name, value in entry.items() if value is not None or name == "method"}
    if "method" not in entry:
        r.refuse((*path, "method"), None, "is missing", r.cards.methods)
        return None
    if not r.choice((*path, "method"), entry["method"], r.cards.methods, "method"):
        return None
    card = r.cards.methods[entry["method"]]
    seeds = read_seeds(r, (*path, "seeds"), entry.get("seeds", [0]))
    preset = _read_preset(r, path, entry, card)
    checkpoint = read_checkpoint(r, path, entry, card)
    params = _read_params(r, path, entry, card, preset, imported=checkpoint.taken)
    snapshots: tuple[int, ...] = ()
    ema: tuple[float, ...] = ()
    if "checkpoint" not in entry:
        if "snapshots" in entry:
            snapshots = _read_snapshots(r, (*path, "snapshots"), entry["snapshots"], card, params)
        if "ema" in entry:
            ema = _read_averages(r, (*path, "ema"), entry["ema"], card, params)
    return Model(
        card=card,
        preset=preset,
        params=params,
        seeds=seeds,
        snapshots=snapshots,
        checkpoint=checkpoint.path if checkpoint.taken else None,
        weights=checkpoint.weights,
        wanted=None if checkpoint.taken else checkpoint.path,
        ema=ema,
    )


def _read_preset(r: Reading, path: KeyPath, entry: Mapping[str, Any], card: Card) -> str | None:
    path, preset = (*path, "preset"), entry.get("preset")
    if preset is None or not r.choice(path, preset, card.presets, "preset"):
        return None
    if preset in card.shapes and r.data is not None and r.data.shape != card.shapes[preset]:
        made, has = (" x ".join(map(str, s)) for s in (card.shapes[preset], r.data.shape))
        why = f"is for images of {made} (channels x height x width), not {has}"
        r.refuse(path, preset, why)
    return preset


def _read_params(
    r: Reading,
    path: KeyPath,
    entry: Mapping[str, Any],
    card: Card,
    preset: str | None,
    *,
    imported: bool,
) -> Any:
    """Returns the method's parameters, checked against the data set; None if they are wrong.

    Args:
        imported: Whether its weights are those of a checkpoint.
    """
    here, values = (*path, "params"), entry.get("params", {})
    if not isinstance(values, Mapping):
        r.refuse(here, values, "should be a mapping", names(card.params))
        values = {}
    # Imported weights are not trained, so there is nothing that a trial run could cut short.
    smoke = card.smoke if r.smoke and not imported else {}
    layers = [card.presets[preset] if preset else {}, values, smoke]
    params = r.typed(card.params, here, merge(*layers))
    if params is None:
        return None
    if card.needs_classes(params) and imported:
        why = "a classifier is asked for, which a checkpoint does not hold"
        r.refuse((*path, "checkpoint"), entry["checkpoint"], why)
    if r.data is None:
        return params
    for reason in card.refuse(params, r.data.shape):
        r.refuse(here, None, reason)
    if card.needs_classes(params) and not r.data.classes:
        why = "a classifier is trained on classes, which the data set has not"
        r.refuse(here, None, why)
    if card.needs_levels(params) and r.data.kind == "real":
        why = "dequantisation is of discrete levels, and the values of the data set are real"
        r.refuse(here, None, why)
    return params


def _read_snapshots(
    r: Reading, path: KeyPath, value: Any, card: Card, params: Any
) -> tuple[int, ...]:
    """Returns the snapshots of a training; in a trial run one in its middle stands for all."""
    counts = r.typed_items(int, path, value)
    if card.training is None:
        r.refuse(path, value, f"{card.name} keeps no snapshots of its training")
    elif params is not None:
        end = card.training.images(params)
        if r.smoke:
            return (max(1, end // 2),)
        for index, count in enumerate(counts):
            if count is not None and not 0 < count < end:
                sees = f"sees {end} images (its end is a point anyway)"
                why = f"should lie inside the training, which {sees}"
                r.refuse((*path, str(index)), count, why)
    return tuple(sorted(count for count in counts if count is not None))


def _read_averages(
    r: Reading, path: KeyPath, value: Any, card: Card, params: Any
) -> tuple[float, ...]:
    """Returns the relative widths of averages; in a trial run the first stands for all."""
    widths = r.typed_items(float, path, value)
    for index, width in enumerate(widths):
        if width is not None and not 0 < width < WIDEST:
            why = (
                f"is a relative width: it should lie between 0 and 12^-1/2 = {WIDEST:.4f}, "
                "that of a mean of all weights"
            )
            r.refuse((*path, str(index)), width, why)
    training = card.training
    if training is None:
        r.refuse(path, value, f"{card.name} keeps no averages of its weights")
    elif params is not None and not training.averages(params, training.images(params)):
        why = "is made of averages that a training keeps, and this one keeps none"
        r.refuse(path, value, f"{why}: see `show {card.name}`")
    right = tuple(width for width in widths if width is not None)
    return right[:1] if r.smoke else right
