"""A suite: which models are trained, what is sampled from them and how it is scored, from strict
YAML.

    train label -> TrainSpec per training seed
    point x train label x grid x training seed x sample seed -> Point

:mod:`bench.suite.sections` checks the file section by section; here the grids are expanded to their
product. Both note every problem they meet, so all are shown at once, before any job.

What a suite says is laid in layers, later ones winning: defaults, the preset, the file,
``--profile``, ``--set``, ``--smoke``. A profile merges mappings and replaces anything else.

Standard library and YAML only.
"""

import difflib
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from bench.card import BudgetError, Card, SamplerCard
from bench.card import cards as all_cards
from bench.data.card import DataCard
from bench.data.conditioning import RESTORATIONS, condition_values, describe
from bench.data.content import content
from bench.data.digest import digest_checkpoint
from bench.data.external import digest_images
from bench.data.registry import DATASETS
from bench.data.subset import describe_part
from bench.metrics.card import MetricCard
from bench.metrics.extractor_cards import extractor_card
from bench.metrics.registry import METRICS
from bench.schema import Problem, build, differences, plain
from bench.spec import (
    ImagesSpec,
    InspectSpec,
    LikelihoodSpec,
    Point,
    SampleSpec,
    ScoreSpec,
    TrainSpec,
    Values,
)
from bench.suite.claims import Claim, note_power, paired, words_of
from bench.suite.document import Document
from bench.suite.fault import Fault, KeyPath, Place, SuiteError
from bench.suite.read.reading import Cards
from bench.suite.sections import Metric, Model, Reader, Sections, Source, Sweep

__all__ = ["Metric", "Suite", "SuiteError", "read_suite"]

NOT_THERE = "not there"
"""In place of a digest where a file is absent."""

OPTION_ORDER = 10**9  # the command line is shown after the lines of the file


@dataclass(frozen=True, kw_only=True)
class Suite:
    """One suite, checked, with every grid expanded.

    Args:
        train: The models of each train label, one per training seed.
        snapshots: Training images after which weights are kept, of each train label that has some,
            rising.
        ema: Relative widths of the averages of the weights, of each train label that has some
            beside its own.
        sources: Where what was made elsewhere lies, by label: images of ``samples_from``, or a
            ``checkpoint``.
        sweep: Likelihoods of each train label at the values of ``likelihood.sweep``, beside those
            of the points.
        inspections: What is asked of every model of each train label, its snapshots and averages
            included.
        claims: What is compared with what, as stated before the run.
        keep: How many images of a point stay once they are scored; None for all.
        controlled: Whether the models have to agree in parameters and FLOPs.
        resolved: The suite as plain values with every default filled in.
        notes: What is allowed and yet worth a look.
    """

    name: str
    path: Path
    dataset: str
    points: tuple[Point, ...]
    train: Mapping[str, tuple[TrainSpec | ImagesSpec, ...]]
    snapshots: Mapping[str, tuple[int, ...]]
    ema: Mapping[str, tuple[float, ...]]
    sources: Mapping[str, Path]
    sweep: Mapping[str, tuple[LikelihoodSpec, ...]]
    inspections: Mapping[str, tuple[InspectSpec, ...]]
    metrics: tuple[Metric, ...]
    claims: tuple[Claim, ...]
    keep: int | None
    figures: Literal["default", "none"]
    controlled: bool
    resolved: Values
    notes: tuple[str, ...]

    @property
    def reads_images(self) -> bool:
        """Whether anything in it reads the data set: samples of imported weights alone do not."""
        trains = any(
            isinstance(spec, TrainSpec) and spec.checkpoint is None
            for s in self.train.values()
            for spec in s
        )
        given = any(
            isinstance(point.sample, SampleSpec) and point.sample.given for point in self.points
        )
        scored = any(point.scores or point.likelihood is not None for point in self.points)
        return bool(trains or given or scored or self.sweep or self.inspections)


def read_suite(
    path: Path | str,
    *,
    sets: Sequence[str] = (),
    profile: str | None = None,
    smoke: bool = False,
    only: Sequence[str] = (),
    cache: Path | None = None,
    absent: bool = False,
    cards: Mapping[str, Card] | None = None,
    datasets: Mapping[str, DataCard] = DATASETS,
    metrics: Mapping[str, MetricCard] = METRICS,
) -> Suite:
    """Returns the suite of a YAML file.

    Args:
        path: The file.
        sets: ``--set`` options, ``train.vp.params.sigma_max=3``.
        profile: The key of ``profiles`` that is laid over the file.
        smoke: One small batch of every point, from models trained for a few steps.
        only: Train labels or parts of group names; points that match none are left out.
        cache: Folder that remembers the digests of images made elsewhere.
        absent: Read it also where checkpoints and images made elsewhere are not there, to say
            which.
        cards: The methods; by default those of :func:`bench.card.cards`.
        datasets: The data sets.
        metrics: The metrics.

    Raises:
        SuiteError: Every problem of the file and of the options, each with its place.
    """
    known = Cards(all_cards() if cards is None else cards, datasets, metrics)
    document = Document(path)
    faults = _check_profiles(document, known, cache, absent) + _lay_profile(document, profile)
    for number, option in enumerate(sets):
        document.set(option, number)
    reader = Reader(document.tree, known, smoke=smoke, only=only, cache=cache, absent=absent)
    sections = reader.read()
    if reader.problems or document.problems or faults:
        raise _error(faults + document.faults(reader.problems))
    expansion = _Expansion(sections, known, cache)
    points = list(expansion.points())
    if expansion.left_out:
        left_out = f"{expansion.left_out} points of larger budgets are left out"
        expansion.notes.append(f"most_nfe {sections.most_nfe}: {left_out}")
    claims = expansion.claims(points, smoke=smoke) if not expansion.problems else ()
    if expansion.problems:
        raise _error(document.faults(expansion.problems))
    points = _select(points, sections.train, only)
    return expansion.suite(Path(path), points, claims, (*reader.notes, *expansion.notes))


def _error(faults: Sequence[Fault]) -> SuiteError:
    unique = {str(fault): fault for fault in faults}
    return SuiteError(sorted(unique.values(), key=lambda fault: fault.place.order))


def _profiles(document: Document) -> Mapping[str, Any]:
    """Returns the profiles that can be laid over the file."""
    profiles = document.tree.get("profiles") if isinstance(document.tree, Mapping) else None
    given = profiles if isinstance(profiles, Mapping) else {}
    return {name: values for name, values in given.items() if isinstance(values, Mapping)}


def _lay_profile(document: Document, profile: str | None) -> list[Fault]:
    profiles = _profiles(document)
    if profile in profiles:
        document.overlay(("profiles", profile))
    elif profile is not None:
        place = Place(OPTION_ORDER, f"--profile {profile}")
        return [Fault(place, (), profile, "there is no such profile", tuple(profiles))]
    return []


def _check_profiles(
    document: Document, known: Cards, cache: Path | None, absent: bool
) -> list[Fault]:
    """Returns what is wrong in the lines of each profile, whether or not it is asked for."""
    faults = []
    for name in _profiles(document):
        trial = document.copy()
        own = {place for path, place in trial.places.items() if path[:2] == ("profiles", name)}
        trial.overlay(("profiles", name))
        reader = Reader(trial.tree, known, cache=cache, absent=absent)
        reader.read()
        faults += [fault for fault in trial.faults(reader.problems) if fault.place in own]
    return faults


def _select(points: Sequence[Point], train: Mapping[str, Any], only: Sequence[str]) -> list[Point]:
    """Returns the points that ``--only`` asks for: by train label, by whole words of the group, or
    by a part of it.
    """
    if not only:
        return list(points)
    groups = {point.group: words_of(point.group) for point in points}
    chosen: set[str] = set()
    faults = []
    for number, wanted in enumerate(map(words_of, only)):
        found = {point.group for point in points if point.train == wanted}
        found = found or {group for group, words in groups.items() if f" {wanted} " in f" {words} "}
        found = found or {group for group, words in groups.items() if wanted and wanted in words}
        chosen |= found
        if not found:
            near = difflib.get_close_matches(wanted, [*train, *groups.values()], 1)
            why = "matches no point" + (f"; did you mean {near[0]}?" if near else "")
            place = Place(OPTION_ORDER + number, f"--only {wanted}")
            faults.append(Fault(place, (), None, f"{why}; train labels: {', '.join(train)}"))
    if faults:
        raise SuiteError(faults)
    return [point for point in points if point.group in chosen]


def _show(value: Any) -> str:
    """Returns a parameter's value as it stands in a label."""
    if isinstance(value, tuple | list):
        return ",".join(map(_show, value))
    return json.dumps(value) if isinstance(value, bool | None) else str(value)


def _group(
    sweep: Sweep, card: SamplerCard, params: Any, bought: Values, times: str, budget: int | None
) -> str:
    """Returns ``vp · flow_heun · nfe 20``: the budget, or else the steps, then whatever is swept or
    unusual.

    Two points with equal groups are equal, since what is not named has its default.
    """
    swept = {name: getattr(params, name) for name in sweep.axes if name not in ("nfe", "times")}
    shown = differences(params) | swept
    if budget is None:
        shown = {**card.effort.stated(params), **shown}
    else:
        shown = {"nfe": budget} | {
            name: value for name, value in shown.items() if name not in bought
        }
    if "times" in sweep.axes or times != next(iter(card.times), ""):
        shown["times"] = times
    words = [f"{name} {_show(value)}" for name, value in shown.items()]
    words += [describe(_given(sweep))] if sweep.task else []
    return " · ".join([sweep.label, sweep.sampler, *words])


def _given(sweep: Sweep) -> dict[str, Any] | None:
    """Returns what a point samples under as plain values."""
    return None if sweep.task is None else condition_values(sweep.task, sweep.given)


def _elsewhere(entry: Model | Source) -> Path | None:
    """Returns where what an entry takes from elsewhere lies."""
    return entry.path if isinstance(entry, Source) else entry.checkpoint


class _Expansion:
    """The Points of a suite whose sections are right."""

    def __init__(self, sections: Sections, known: Cards, cache: Path | None) -> None:
        self.sections = sections
        self.known = known
        self.problems: list[Problem] = []
        self.notes: list[str] = []
        self.seen: dict[Any, KeyPath] = {}
        self.budgets: dict[Any, int] = {}
        self.left_out = 0
        self.of_models: dict[tuple[int, int | None, float | None], LikelihoodSpec] = {}
        self.version = sections.data.version
        ours = DATASETS.get(sections.dataset) is sections.data
        self.content = content(sections.dataset, cache) if ours else None
        if self.content:
            other = (
                f"its files are not known to be the published ones (sha256 {self.content[:12]}...)"
            )
            self.notes.append(
                f"dataset: {sections.dataset}: {other}, so what is made from them has keys of its own"
            )
        self.weights = {metric.column: self._weights(metric, cache) for metric in sections.metrics}
        self.train = {
            label: self._specs(label, entry, cache) for label, entry in sections.train.items()
        }
        self.likelihoods = {
            label: tuple(self._likelihood(spec, entry) for spec in self.train[label])
            for label, entry in sections.train.items()
        }

    def _weights(self, metric: Metric, cache: Path | None) -> str | None:
        """Returns the digest of an extractor's weights where its card does not fix them, and so
        they might be any.
        """
        params = build(self.known.metrics[metric.name].params, metric.params)
        name = getattr(params, "extractor", "")
        card = extractor_card(name) if name else None
        if card is None or not card.weights or card.sha256:
            return None
        path = card.path()
        return NOT_THERE if path is None else digest_checkpoint(path, cache)

    def _specs(
        self, label: str, entry: Model | Source, cache: Path | None
    ) -> tuple[TrainSpec | ImagesSpec, ...]:
        dataset = {
            "dataset": self.sections.dataset,
            "dataset_version": self.version,
            "dataset_sha256": self.content,
        }
        if isinstance(entry, Source):
            digest = self._digest(label, entry.path, cache) if entry.path.exists() else NOT_THERE
            return (ImagesSpec(sha256=digest, scale=entry.scale, **dataset),)
        params = differences(entry.params)
        method = {"method": entry.card.name, "method_version": entry.card.version}
        if entry.checkpoint is not None:
            there = (
                entry.checkpoint.exists()
            )  # it has to be to run, unless ``--only`` leaves this entry out
            digest = digest_checkpoint(entry.checkpoint, cache) if there else NOT_THERE
            return (
                TrainSpec(
                    params=params, checkpoint=digest, weights=entry.weights, **method, **dataset
                ),
            )
        return tuple(
            TrainSpec(params=params, seed=seed, **method, **dataset) for seed in entry.seeds
        )

    def _digest(self, label: str, path: Path, cache: Path | None) -> str:
        """Returns the digest of images made elsewhere; one that cannot be read is a problem."""
        try:
            return digest_images(path, cache)
        except ValueError as error:
            self.problems.append(Problem(("train", label, "samples_from"), None, str(error)))
            return NOT_THERE

    def _likelihood(
        self, spec: TrainSpec | ImagesSpec, entry: Model | Source, params: Any = None
    ) -> LikelihoodSpec | None:
        section = self.sections.likelihood
        if section is None or isinstance(entry, Source) or entry.card.likelihood is None:
            return None
        if entry.card.likelihood.refuse(entry.params):
            return None  # the tables say why
        params = section.params[entry.card.name] if params is None else params
        version = entry.card.likelihood.version
        return LikelihoodSpec(
            train=spec, version=version, params=differences(params), **asdict(section.held_out)
        )

    def _of_model(
        self, spec: LikelihoodSpec, snapshot: int | None, ema: float | None
    ) -> LikelihoodSpec:
        """Returns the likelihood of the model at a snapshot and average, one object for the points
        that share it.
        """
        if snapshot is None and ema is None:
            return spec
        return self.of_models.setdefault(
            (id(spec), snapshot, ema), replace(spec, snapshot=snapshot, ema=ema)
        )

    def sweep(self) -> dict[str, tuple[LikelihoodSpec, ...]]:
        """Returns the likelihoods of each train label at the swept values."""
        section = self.sections.likelihood
        sweep = {}
        for label, entry in self.sections.train.items():
            if isinstance(entry, Model) and section is not None:
                steps = section.sweep.get(entry.card.name, ())
                specs = [
                    self._likelihood(spec, entry, step)
                    for step in steps
                    for spec in self.train[label]
                ]
                specs = tuple(spec for spec in specs if spec is not None)
                sweep |= {label: specs} if specs else {}
        return sweep

    def inspections(self) -> dict[str, tuple[InspectSpec, ...]]:
        """Returns the inspections of every model of each train label."""
        section = self.sections.inspect
        return {
            label: tuple(
                InspectSpec(
                    train=spec,
                    version=entry.card.inspection,
                    snapshot=snapshot,
                    ema=ema,
                    **asdict(section),
                )
                for spec in self.train[label]
                for snapshot, ema in itertools.product((*entry.snapshots, None), (None, *entry.ema))
            )
            for label, entry in self.sections.train.items()
            if isinstance(entry, Model)
            and section is not None
            and entry.card.inspection is not None
        }

    def points(self) -> Iterator[Point]:
        """Yields the points in the order of the file, a grid's last axis running fastest."""
        for sweep in self.sections.sweeps:
            entry = self.sections.train[sweep.label]
            if isinstance(entry, Source):
                yield from self._images(sweep)
            else:
                yield from self._grid(sweep, entry)

    def _images(self, sweep: Sweep) -> Iterator[Point]:
        if self._is_new(sweep, (sweep.label,), sweep.label):
            (spec,) = self.train[sweep.label]
            source, count = self.sections.train[sweep.label], self.sections.samples.count
            if drawn := describe_part(count, source.count):
                self.notes.append(f"train.{sweep.label}.samples_from: {drawn}")
            yield self._point(sweep.label, sweep.label, sweep.label, spec, None, None, count)

    def _grid(self, sweep: Sweep, model: Model) -> Iterator[Point]:
        sampler, most = model.card.samplers[sweep.sampler], self.sections.most_nfe
        for step in itertools.product(*sweep.axes.values()):
            chosen = dict(zip(sweep.axes, step, strict=True))
            if most is not None and (chosen.get("nfe") or 0) > most:
                self.left_out += 1
                continue
            times = chosen.pop("times", sweep.times) or next(iter(sampler.times), "")
            budget = chosen.pop("nfe", None)
            params, bought = self._params(sweep, sampler, {**sweep.values, **chosen}, budget)
            if params is None:
                continue
            reasons = sampler.refuse(model.params, params, times)
            reasons += model.card.refuse_condition(model.params, sweep.task) if sweep.task else []
            for reason in reasons:
                self.problems.append(
                    Problem(sweep.path, None, f"{sweep.label} with {sweep.sampler}: {reason}")
                )
            group = _group(sweep, sampler, params, bought, times, budget)
            what = (sweep.label, sweep.sampler, times, params, sweep.task, sweep.given)
            if self._is_new(sweep, (*what, budget), group):
                self._note_budget(what, budget, f"{sweep.label} · {sweep.sampler}")
                values = {**differences(params), **sampler.effort.stated(params)}
                for snapshot, ema in itertools.product(
                    (*model.snapshots, None), (None, *model.ema)
                ):
                    yield from self._seeds(
                        sweep, sampler, group, times, values, budget, snapshot, ema
                    )

    def _params(
        self, sweep: Sweep, sampler: SamplerCard, values: Values, budget: int | None
    ) -> tuple[Any, Values]:
        """Returns the sampler's parameters and those of them that the budget bought; None where
        they cannot be.
        """
        try:
            params = sampler.params(**values)
            if budget is None:
                return params, {}
            bought = sampler.effort.fit(budget // sampler.conditions.get(sweep.task, 1), params)
            for name in bought.keys() & values.keys():
                why = f"is what a budget buys for {sweep.sampler}: give nfe or {name}, not both"
                self.problems.append(Problem(self._given(sweep, name), values[name], why))
            return replace(params, **bought), bought
        except BudgetError as error:
            path = (*sweep.path, "grid", "nfe", str(sweep.axes["nfe"].index(budget)))
            self.problems.append(
                Problem(path, budget, f"buys no step of {sweep.sampler} for {sweep.label}: {error}")
            )
        except ValueError as error:  # a rule that the parameters state themselves
            self.problems.append(Problem(sweep.path, values, f"{sweep.sampler}: {error}"))
        return None, {}

    @staticmethod
    def _given(sweep: Sweep, name: str) -> KeyPath:
        return (*sweep.path, "grid" if name in sweep.axes else "params", name)

    def _is_new(self, sweep: Sweep, what: Any, group: str) -> bool:
        first = self.seen.setdefault(what, sweep.path)
        if first is not sweep.path:
            self.problems.append(
                Problem(sweep.path, None, f"repeats the point {group} of {'.'.join(first)}")
            )
        return first is sweep.path

    def _note_budget(self, what: Any, budget: int | None, name: str) -> None:
        if budget is not None and (other := self.budgets.setdefault(what, budget)) != budget:
            self.notes.append(f"{name}: nfe {other} and nfe {budget} buy the same steps")

    def _seeds(
        self,
        sweep: Sweep,
        sampler: SamplerCard,
        group: str,
        times: str,
        params: Values,
        budget: int | None,
        snapshot: int | None,
        ema: float | None,
    ) -> Iterator[Point]:
        samples = self.sections.samples
        if snapshot is not None:
            group = f"{group} · after {snapshot} images"
        if ema is not None:
            group = f"{group} · EMA {ema}"
        for train, likelihood in zip(
            self.train[sweep.label], self.likelihoods[sweep.label], strict=True
        ):
            if likelihood is not None:
                likelihood = self._of_model(likelihood, snapshot, ema)
            for seed in samples.seeds:
                spec = SampleSpec(
                    train=train,
                    sampler=sweep.sampler,
                    sampler_version=sampler.version,
                    times=times,
                    params=params,
                    batch=samples.batch,
                    given=_given(sweep),
                    quantise=samples.quantise,
                    precision=samples.precision,
                    seed=seed,
                    snapshot=snapshot,
                    ema=ema,
                )
                label = f"{group} · seeds {train.seed}, {seed}"
                count = (
                    sweep.given.images * sweep.given.repeats
                    if sweep.task in RESTORATIONS
                    else samples.count
                )
                yield self._point(label, group, sweep.label, spec, likelihood, budget, count)

    def _point(
        self,
        label: str,
        group: str,
        train: str,
        spec: SampleSpec | ImagesSpec,
        likelihood: LikelihoodSpec | None,
        budget: int | None,
        count: int,
    ) -> Point:
        task = spec.given["task"] if isinstance(spec, SampleSpec) and spec.given else None
        scores = tuple(
            ScoreSpec(
                source=spec,
                count=count,
                metric=m.name,
                metric_version=m.version,
                weights=self.weights[m.column],
                params=m.params,
            )
            for m in self.sections.metrics
            if not m.tasks or task in m.tasks
        )
        return Point(
            label=label,
            group=group,
            train=train,
            sample=spec,
            count=count,
            likelihood=likelihood,
            scores=scores,
            budget=budget,
        )

    def claims(self, points: Sequence[Point], *, smoke: bool) -> tuple[Claim, ...]:
        """Returns the claims, each about two groups; those that a trial run has no groups for are
        noted.
        """
        groups = {point.group: point for point in points}
        claims: dict[Claim, KeyPath] = {}
        for section in self.sections.claims:
            pairs = section.pairs if section.vs is None else ((None, section.vs),)
            for index, names in enumerate(pairs):
                path = (
                    (*section.path, "vs")
                    if section.vs is not None
                    else (*section.path, "pairs", str(index))
                )
                found, problem = paired(names, groups)
                if problem and smoke:
                    self.notes.append(
                        f"{'.'.join(path)}: left out of the trial run ({problem.why})"
                    )
                elif problem:
                    self.problems.append(problem._replace(path=(*path, *problem.path)))
                for first, second in found:
                    claim = Claim(section.column, section.smallest_effect, first, second)
                    known = claims.setdefault(claim, path)
                    if known != path:
                        why = f"{first} against {second} is claimed already by {'.'.join(known)}"
                        self.problems.append(Problem(path, None, why))
        samples = self.sections.samples
        self.notes += (
            note_power(list(claims), self.train, groups, len(samples.seeds)) if not smoke else []
        )
        return tuple(claims)

    def suite(
        self, path: Path, points: Sequence[Point], claims: Sequence[Claim], notes: Sequence[str]
    ) -> Suite:
        """Returns the suite of the given points, with the models they need and the claims about
        them.
        """
        sections = self.sections
        groups = {point.group for point in points}
        used = {point.train for point in points}
        if used >= {sweep.label for sweep in sections.sweeps}:
            used = set(
                sections.train
            )  # nothing was left out: models that no point samples from stay too
        return Suite(
            name=sections.name,
            path=path,
            dataset=sections.dataset,
            points=tuple(points),
            train={label: specs for label, specs in self.train.items() if label in used},
            snapshots={
                label: entry.snapshots
                for label, entry in sections.train.items()
                if isinstance(entry, Model) and entry.snapshots and label in used
            },
            ema={
                label: entry.ema
                for label, entry in sections.train.items()
                if isinstance(entry, Model) and entry.ema and label in used
            },
            sources={
                label: path
                for label, entry in sections.train.items()
                if label in used and (path := _elsewhere(entry)) is not None
            },
            sweep={label: specs for label, specs in self.sweep().items() if label in used},
            inspections={
                label: specs for label, specs in self.inspections().items() if label in used
            },
            metrics=tuple(sections.metrics),
            claims=tuple(claim for claim in claims if {claim.first, claim.second} <= groups),
            keep=sections.keep,
            figures=sections.figures,
            controlled=sections.controlled,
            resolved=self.resolved(claims),
            notes=tuple(notes),
        )

    def resolved(self, claims: Sequence[Claim]) -> dict[str, Any]:
        """Returns the suite as plain values with every default filled in, and the versions of all
        it names.
        """
        sections = self.sections
        metrics = {m.column: self._resolved_metric(m) for m in sections.metrics}
        return {
            "name": sections.name,
            "dataset": {
                "name": sections.dataset,
                "version": self.version,
                **({"sha256": self.content} if self.content else {}),
            },
            "metrics": metrics,
            "samples": plain(sections.samples),
            "likelihood": self._resolved_likelihood(),
            "inspect": None if sections.inspect is None else plain(sections.inspect),
            "train": {
                label: self._resolved_entry(label, entry) for label, entry in sections.train.items()
            },
            "points": [self._resolved_point(sweep) for sweep in sections.sweeps],
            "claims": [claim._asdict() for claim in claims],
            "keep": {"samples": "all" if sections.keep is None else sections.keep},
            "figures": sections.figures,
            "controlled": sections.controlled,
            **({} if sections.most_nfe is None else {"most_nfe": sections.most_nfe}),
        }

    def _resolved_metric(self, metric: Metric) -> dict[str, Any]:
        params = build(self.known.metrics[metric.name].params, metric.params)
        return {"metric": metric.name, "version": metric.version, **plain(params)}

    def _resolved_likelihood(self) -> Any:
        section = self.sections.likelihood
        if section is None:
            return "none"
        params = {name: plain(values) for name, values in section.params.items()}
        return {
            **plain(section.held_out),
            "methods": params,
            "sweep": {axis: plain(v) for axis, v in section.axes.items()},
        }

    def _resolved_entry(self, label: str, entry: Model | Source) -> dict[str, Any]:
        if isinstance(entry, Source):
            (spec,) = self.train[label]
            scale = {} if entry.scale is None else {"scale": list(entry.scale)}
            return {"samples_from": str(entry.path), **scale, "sha256": spec.sha256}
        card = entry.card
        versions = {
            "version": card.version,
            "likelihood_version": card.likelihood and card.likelihood.version,
        }
        versions |= {"inspection_version": card.inspection}
        params = {"preset": entry.preset, "params": plain(entry.params), "seeds": list(entry.seeds)}
        params |= {"snapshots": list(entry.snapshots)} if entry.snapshots else {}
        params |= {"ema": list(entry.ema)} if entry.ema else {}
        if entry.checkpoint is not None:
            (spec,) = self.train[label]
            params |= {
                "checkpoint": str(entry.checkpoint),
                "sha256": spec.checkpoint,
                "weights": entry.weights,
            }
            del params["seeds"]
        return {"method": card.name, **versions, "paper": card.paper, **params}

    def _resolved_point(self, sweep: Sweep) -> dict[str, Any]:
        entry = self.sections.train[sweep.label]
        if isinstance(entry, Source):
            return {"train": sweep.label}
        card = entry.card.samplers[sweep.sampler]
        return {
            "train": sweep.label,
            "sampler": sweep.sampler,
            "version": card.version,
            "times": sweep.times or next(iter(card.times), ""),
            "params": {
                **plain(card.params()),
                **{name: plain(value) for name, value in sweep.values.items()},
            },
            "grid": {axis: plain(values) for axis, values in sweep.axes.items()},
            **({"given": {"task": sweep.task, **plain(sweep.given)}} if sweep.task else {}),
        }
