"""What a point is, in the words of its method's card; no stored result is needed."""

from collections.abc import Mapping
from typing import Any

from bench.card import Card
from bench.data.conditioning import describe as describe_given
from bench.schema import build, built, differences, plain
from bench.spec import ImagesSpec, Point


def describe(point: Point, methods: Mapping[str, Card]) -> dict[str, Any]:
    """Returns the columns that say how a point was made."""
    spec = point.sampling
    card = methods[spec.train.method]
    sampler = card.samplers[spec.sampler]
    params = built(sampler.params, spec.params)
    swept = {sampler.effort.name(params)}
    values = plain(params)
    options = {name: v for name, v in differences(params).items() if name not in swept}
    settings = [f"{name}={value}" for name, value in options.items()]
    settings += [describe_given(spec.given)] if spec.given else []
    settings += [] if spec.precision == "float32" else [f"precision={spec.precision}"]
    steps = [values[name] for name in sorted(swept) if isinstance(values.get(name), int)]
    trained = spec.train.checkpoint is None
    return {
        "method": card.title,
        "method_name": spec.train.method,
        "variant": card.variant(built(card.params, spec.train.params)),
        "weights": "trained" if trained else f"checkpoint, {spec.train.weights}",
        "sampler": spec.sampler,
        "times": spec.times,
        "settings": ", ".join(settings),
        "options": options,
        "steps": steps[0] if steps else None,
        "tolerance": values.get("tolerance") if "tolerance" in swept else None,
        "snapshot": spec.snapshot,
        "ema": spec.ema,
        "adaptive": not sampler.effort.exact,
        "train_seed": spec.train.seed,
        "sample_seed": spec.seed,
        "batch": spec.batch,
    }


def preset_of(card: Card, params: Mapping[str, Any]) -> str:
    """Returns the preset of a method that parameters are, empty for none."""
    if not params or not card.presets:
        return ""
    wanted = build(card.params, params)
    same = (name for name, values in card.presets.items() if build(card.params, values) == wanted)
    return next(same, "")


def imported_weights(imported: Mapping[str, Any]) -> str:
    """Returns which weights of a checkpoint a model has, and what its reader noted about them."""
    note = f" ({imported['note']})" if "note" in imported else ""
    return f"checkpoint, {imported['weights']}{note}"


def versions(point: Point) -> dict[str, Any]:
    """Returns the versions that a row's numbers depend on, by name."""
    spec = point.sample
    data = spec if isinstance(spec, ImagesSpec) else spec.train
    other = f" (sha256 {data.dataset_sha256[:12]}...)" if data.dataset_sha256 else ""
    named: dict[str, Any] = {}
    if not isinstance(spec, ImagesSpec):
        named = {spec.train.method: spec.train.method_version, spec.sampler: spec.sampler_version}
    named[data.dataset] = f"{data.dataset_version}{other}"
    named |= {score.metric: score.metric_version for score in point.scores}
    if point.likelihood is not None:
        named["likelihood"] = point.likelihood.version
    return named
