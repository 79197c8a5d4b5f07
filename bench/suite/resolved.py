"""A suite, checked, with every grid expanded and every default filled in."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.frozen import dataclass
from bench.metrics.card import MetricCard
from bench.schema import build, plain
from bench.spec import (
    ImagesSpec,
    InspectSpec,
    LikelihoodSpec,
    Point,
    SampleSpec,
    TrainSpec,
    Values,
)
from bench.suite.claims import Claim
from bench.suite.models import ModelOrImages, Models
from bench.suite.sections import Figures, Metric, Model, Sections, Source, Sweep


@dataclass(frozen=True, kw_only=True)
class Suite:
    """One suite, checked, with every grid expanded.

    Args:
        train: The models of each train label, one per training seed.
        snapshots: Training images after which weights are kept, of each train label that has some,
            rising.
        ema: Relative widths of the averages of the weights, of each train label that has some.
        sources: The files of what was made elsewhere, by label: images of ``samples_from``, or a
            ``checkpoint``.
        wanted: Where a checkpoint of a label would be taken from if it lay there; the label is
            trained since none does.
        origins: Where the authors' checkpoint of a label's preset comes from.
        sweep: Likelihoods of each train label at the values of ``likelihood.sweep``.
        inspections: Those of all models of each train label, snapshots and averages included.
        claims: What is compared with what, as stated before the run.
        keep: How many images of a point stay once they are scored; None for all.
        controlled: Whether the models have to agree in parameters and FLOPs.
        resolved: The suite as plain values with every default filled in.
        notes: What is allowed and yet unusual.
        options: What of the command line changed the file: ``("--profile", "smoke")``.
    """

    name: str
    path: Path
    dataset: str
    points: tuple[Point, ...]
    train: Mapping[str, tuple[ModelOrImages, ...]]
    snapshots: Mapping[str, tuple[int, ...]]
    ema: Mapping[str, tuple[float, ...]]
    sources: Mapping[str, Path]
    wanted: Mapping[str, Path]
    origins: Mapping[str, str]
    sweep: Mapping[str, tuple[LikelihoodSpec, ...]]
    inspections: Mapping[str, tuple[InspectSpec, ...]]
    metrics: tuple[Metric, ...]
    claims: tuple[Claim, ...]
    keep: int | None
    figures: Figures
    controlled: bool
    resolved: Values
    notes: tuple[str, ...]
    options: tuple[str, ...] = ()

    @property
    def reads_images(self) -> bool:
        """Whether anything in it reads the data set: samples of imported weights do not."""
        trains = any(
            isinstance(spec, TrainSpec) and spec.checkpoint is None
            for specs in self.train.values()
            for spec in specs
        )
        conditions = any(
            isinstance(point.sample, SampleSpec) and point.sample.given for point in self.points
        )
        scored = any(point.scores or point.likelihood is not None for point in self.points)
        return bool(trains or conditions or scored or self.sweep or self.inspections)


def resolve(
    sections: Sections, models: Models, metrics: Mapping[str, MetricCard], claims: Sequence[Claim]
) -> dict[str, Any]:
    """Returns a suite as plain values, with all defaults and the versions of all that it names."""
    dataset = {"name": sections.dataset, "version": sections.data.version}
    dataset |= {"sha256": models.content} if models.content else {}
    return {
        "name": sections.name,
        "dataset": dataset,
        "metrics": {m.column: _metric(m, metrics[m.name]) for m in sections.metrics},
        "samples": plain(sections.samples),
        "likelihood": _likelihood(sections),
        "inspect": None if sections.inspect is None else plain(sections.inspect),
        "train": {
            label: _entry(entry, models.specs[label]) for label, entry in sections.train.items()
        },
        "points": [_point(sweep, sections.train[sweep.label]) for sweep in sections.sweeps],
        "claims": [claim._asdict() for claim in claims],
        "keep": {"samples": "all" if sections.keep is None else sections.keep},
        "figures": plain(sections.figures),
        "controlled": sections.controlled,
        **({} if sections.most_nfe is None else {"most_nfe": sections.most_nfe}),
    }


def _metric(metric: Metric, card: MetricCard) -> dict[str, Any]:
    params = build(card.params, metric.params)
    return {"metric": metric.name, "version": metric.version, **plain(params)}


def _likelihood(sections: Sections) -> Any:
    section = sections.likelihood
    if section is None:
        return "none"
    return {
        **plain(section.held_out),
        "methods": {name: plain(params) for name, params in section.params.items()},
        "sweep": {axis: plain(values) for axis, values in section.axes.items()},
    }


def _entry(entry: Model | Source, specs: Sequence[ModelOrImages]) -> dict[str, Any]:
    if isinstance(entry, Source):
        scale = {} if entry.scale is None else {"scale": list(entry.scale)}
        digests = [spec.sha256 for spec in specs if isinstance(spec, ImagesSpec)]
        return {"samples_from": str(entry.path), **scale, "sha256": digests[0]}
    card = entry.card
    values: dict[str, Any] = {
        "method": card.name,
        "version": card.version,
        "likelihood_version": card.likelihood and card.likelihood.version,
        "inspection_version": card.inspection,
        "paper": card.paper,
        "preset": entry.preset,
        "params": plain(entry.params),
    }
    if entry.checkpoint is None:
        values["seeds"] = list(entry.seeds)
    values |= {"snapshots": list(entry.snapshots)} if entry.snapshots else {}
    values |= {"ema": list(entry.ema)} if entry.ema else {}
    if entry.checkpoint is not None:
        found = [spec.checkpoint for spec in specs if isinstance(spec, TrainSpec)]
        values |= {"checkpoint": str(entry.checkpoint), "sha256": found[0]}
        values["weights"] = entry.weights
    return values


def _point(sweep: Sweep, entry: Model | Source) -> dict[str, Any]:
    if isinstance(entry, Source):
        return {"train": sweep.label}
    card = entry.card.samplers[sweep.sampler]
    values = {name: plain(value) for name, value in sweep.values.items()}
    return {
        "train": sweep.label,
        "sampler": sweep.sampler,
        "version": card.version,
        "times": sweep.times or next(iter(card.times), ""),
        "params": {**plain(card.params()), **values},
        "grid": {axis: plain(values) for axis, values in sweep.axes.items()},
        **({"given": {"task": sweep.task, **plain(sweep.condition)}} if sweep.task else {}),
        **({"seeds": list(sweep.seeds)} if sweep.seeds is not None else {}),
    }
