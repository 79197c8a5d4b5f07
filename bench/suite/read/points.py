"""The section ``points``: samplers, their parameters, time grids, budgets and conditions."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any

from bench.card import Published, SamplerCard
from bench.data import conditioning
from bench.schema import AtLeast, field_types
from bench.suite.fault import KeyPath
from bench.suite.read.data import read_seeds
from bench.suite.read.reading import (
    MOST_IMAGES,
    MOST_POINTS,
    MOST_UNITS,
    SMOKE_IMAGES,
    Reading,
)
from bench.suite.sections import Model, Samples, Source, Sweep

Train = Mapping[str, Model | Source | None]
POINT = ("train", "sampler", "params", "times", "grid", "given", "seeds")
BUDGET = Annotated[int, AtLeast(1)]
PUBLISHED = "published"
"""The name of a sampler that stands for the one of the model's preset."""


def read_points(r: Reading, train: Train) -> list[Sweep]:
    """Returns the point entries, one for each of their train labels; images made elsewhere are a
    point without being asked for.
    """
    sweeps: list[Sweep] = []
    if "points" in r.tree:
        for index, entry in enumerate(r.items(("points",), r.tree["points"])):
            sweeps += _read_point(r, ("points", str(index)), entry, train)
    elif all(isinstance(entry, Model) for entry in train.values()):
        r.refuse(("points",), None, "is missing")
    sampled = {sweep.label for sweep in sweeps}
    for label, entry in train.items():
        if isinstance(entry, Source) and label not in sampled:
            sweeps.append(Sweep(("train", label), label))
        elif isinstance(entry, Model) and label not in sampled:
            r.notes.append(f"train.{label}: no point samples from it")
    return sweeps


def check_size(r: Reading, samples: Samples, train: Train, sweeps: Sequence[Sweep]) -> None:
    """Refuses more points, or batches of images, than could ever be made, before listing them."""
    points = units = 0
    for sweep in sweeps:
        made = math.prod(map(len, sweep.axes.values()))
        if isinstance(model := train[sweep.label], Model):
            states = (1 + len(model.snapshots)) * (1 + len(model.ema))
            made *= len(model.seeds) * states * len(sweep.sample_seeds(samples))
        points, units = points + made, units + made * -(-sweep.count(samples) // samples.batch)
    if r.at_most(("points",), points, MOST_POINTS, "points"):
        r.at_most(("samples",), units, MOST_UNITS, "batches of images")


def read_most_nfe(r: Reading, sweeps: Sequence[Sweep]) -> int | None:
    """Returns the largest budget that is kept of the grids; no grid may lose all of its budgets."""
    path = ("most_nfe",)
    most = r.section(BUDGET | None, "most_nfe", None)
    for sweep in sweeps if most is not None else ():
        budgets = [budget for budget in sweep.axes.get("nfe", ()) if budget is not None]
        if budgets and min(budgets) > most:
            least = f"{'.'.join(sweep.path)}, whose smallest is {min(budgets)}"
            r.refuse(path, most, f"leaves no budget of {least}")
    return most


def _read_point(r: Reading, path: KeyPath, entry: Any, train: Train) -> list[Sweep]:
    entry = r.mapping(path, entry, POINT, ("train",))
    labels = entry.get("train", [])
    listed = isinstance(labels, list)
    if listed and "train" in entry:
        r.items((*path, "train"), labels)
    sweeps = []
    for index, label in enumerate(labels if listed else [labels]):
        here = (*path, "train", str(index)) if listed else (*path, "train")
        if not r.choice(here, label, train, "train label"):
            continue
        match train[label]:
            case Model() as model:
                sweeps.append(_read_sweep(r, path, label, entry, model))
            case Source():
                for name in entry.keys() - {"train"}:
                    why = f"{label} holds images made elsewhere, nothing to set"
                    r.refuse((*path, name), entry[name], why)
                sweeps.append(Sweep(path, label))
    return sweeps


def _read_sweep(
    r: Reading, path: KeyPath, label: str, entry: Mapping[str, Any], model: Model
) -> Sweep:
    published = _published(r, path, label, entry, model)
    if published is None:
        return Sweep(path, label)
    name, times = published.sampler, published.times or None
    card = model.card.samplers[name]
    kinds = field_types(card.params)
    own = {
        key: r.typed(kinds[key], (*path, "params", key), value)
        for key, value in r.mapping((*path, "params"), entry.get("params", {}), kinds).items()
        if key in kinds
    }
    if "times" in entry:
        _check_times(r, (*path, "times"), entry["times"], name, card.times)
        times = entry["times"]
    axes, task, condition = {}, None, None
    if "grid" in entry:
        outside = {*own, *({"times"} & entry.keys())}
        axes = _read_grid(r, (*path, "grid"), entry["grid"], outside, name, card)
    if "given" in entry:
        reasons = model.card.no_condition
        task, condition = _read_condition(r, (*path, "given"), entry["given"], name, card, reasons)
    seeds = None
    if "seeds" in entry:
        seeds = tuple(read_seeds(r, (*path, "seeds"), entry["seeds"]))
    values = _beneath(published, card, own, axes)
    times = None if "times" in axes else times
    return Sweep(path, label, name, times, values, axes, task, condition, seeds)


def _published(
    r: Reading, path: KeyPath, label: str, entry: Mapping[str, Any], model: Model
) -> Published | None:
    """Returns the sampler that a point names, with what its preset sets of it; None for none."""
    method = model.card
    name: Any = entry.get("sampler")
    if "sampler" not in entry:
        r.refuse((*path, "sampler"), None, "is missing", (*method.samplers, PUBLISHED))
        return None
    known = (*method.samplers, PUBLISHED)
    if not r.choice((*path, "sampler"), name, known, f"sampler of {method.name}"):
        return None
    if name != PUBLISHED:
        return Published(sampler=name)
    if model.preset is not None and model.preset in method.published:
        return method.published[model.preset]
    has = "has no preset" if model.preset is None else f"has preset {model.preset}"
    presets = ", ".join(method.published) or "none"
    why = (
        f"is the sampler that a preset brings, and train.{label} {has}; presets of {method.name} "
        f"that bring one: {presets}"
    )
    r.refuse((*path, "sampler"), name, why)
    return None


def _beneath(
    published: Published, card: SamplerCard, own: Mapping[str, Any], axes: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns a point's parameters over those of its preset, without what its grid decides."""
    decided = {*axes}
    if "nfe" in axes:
        decided.add(card.effort.name(card.params(**{**published.params, **own})))
    kept = {name: value for name, value in published.params.items() if name not in decided}
    return {**kept, **own}


def _read_condition(
    r: Reading,
    path: KeyPath,
    value: Any,
    sampler: str,
    card: SamplerCard,
    reasons: Mapping[str, str],
) -> tuple[str | None, Any]:
    """Returns the task that is sampled under and its parameters, None if they are wrong.

    Args:
        reasons: Why samplers of the method cannot, by task.
    """
    if not isinstance(value, Mapping) or "task" not in value:
        r.refuse(path, value, "should be a mapping with a task", conditioning.TASKS)
        return None, None
    task = value["task"]
    if not r.choice((*path, "task"), task, conditioning.TASKS, "task"):
        return None, None
    if task not in card.conditions:
        others = ", ".join(card.conditions) or "nothing"
        because = f": {reasons[task]}" if task in reasons else ""
        why = f"{sampler} cannot sample under it (what it can: {others}){because}"
        r.refuse((*path, "task"), task, why)
    values = {key: item for key, item in value.items() if key != "task"}
    params = r.typed(conditioning.TASKS[task], path, values)
    if params is None:
        return None, None
    for reason in conditioning.refuse(task, params, r.data) if r.data is not None else ():
        r.refuse(path, None, reason)
    if task in conditioning.RESTORATIONS:
        made = params.images * params.repeats
        r.at_most((*path, "repeats"), made, MOST_IMAGES, "images per point")
        if r.smoke:
            params = replace(params, images=SMOKE_IMAGES // 2, repeats=2)
    return task, params


def _check_times(
    r: Reading, path: KeyPath, value: Any, sampler: str, allowed: Sequence[str]
) -> None:
    if not allowed:
        r.refuse(path, value, f"{sampler} takes no time grid")
    else:
        r.choice(path, value, allowed, f"time grid of {sampler}")


def _read_grid(
    r: Reading, path: KeyPath, value: Any, outside: set[str], sampler: str, card: SamplerCard
) -> dict[str, tuple[Any, ...]]:
    """Returns the values of each axis.

    Args:
        outside: Parameters that the point names beside its grid.
    """
    budget = BUDGET if card.effort.exact else int
    kinds = {"nfe": budget, **field_types(card.params)}
    grid = r.mapping(path, value, (*kinds, "times"))
    if not grid:
        r.refuse(path, None, "should not be empty", (*kinds, "times"))
    axes = {}
    for axis, values in grid.items():
        here = (*path, axis)
        if axis == "times":
            axes[axis] = tuple(r.items(here, values))
            for index, times in enumerate(axes[axis]):
                _check_times(r, (*here, str(index)), times, sampler, card.times)
        elif axis in kinds:
            axes[axis] = r.typed_items(kinds[axis], here, values)
        if axis in outside:
            r.refuse(here, values, "is given outside the grid as well")
    if "nfe" in axes and not card.effort.exact:
        why = f"{sampler} is adaptive: it has no budget, sweep its tolerance instead"
        r.refuse((*path, "nfe"), list(axes["nfe"]), why)
    return axes
