"""The points of a suite: every grid expanded to its product.

point x train label x grid x training seed x sample seed -> Point
"""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.card import BudgetError, SamplerCard
from bench.data.digest import digest_checkpoint
from bench.data.subset import describe_part
from bench.frozen import dataclass
from bench.metrics.card import MetricCard
from bench.metrics.extractor_card import ExtractorCard
from bench.metrics.extractor_cards import extractor_card
from bench.schema import Problem, build, differences
from bench.spec import ImagesSpec, Point, SampleSpec, ScoreSpec, Values
from bench.suite.fault import Findings, KeyPath
from bench.suite.labels import group_name
from bench.suite.models import NOT_THERE, Models, State
from bench.suite.sections import Metric, Model, Sections, Source, Sweep


@dataclass(frozen=True)
class GridPoint:
    """One point of a sweep's grid, before its seeds."""

    sweep: Sweep
    sampler: SamplerCard
    group: str
    times: str
    params: Values
    budget: int | None


class Expansion:
    """Expands the points of a suite whose sections are right.

    Args:
        metrics: The cards of all metrics.
        cache: Folder that remembers digests of files.
    """

    def __init__(
        self,
        sections: Sections,
        models: Models,
        metrics: Mapping[str, MetricCard],
        findings: Findings,
        cache: Path | None,
    ) -> None:
        self.sections = sections
        self.models = models
        self.findings = findings
        self.first: dict[Any, KeyPath] = {}  # of each point, the entry that names it
        self.budgets: dict[Any, int] = {}
        self.left_out = 0
        extractors = {
            metric.column: _extractor(metrics[metric.name], metric) for metric in sections.metrics
        }
        self.weights = {column: _weights(card, cache) for column, card in extractors.items()}
        self.extractor_versions = {
            column: card.version if card else 1 for column, card in extractors.items()
        }

    def points(self) -> list[Point]:
        """Returns the points in the order of the file, a grid's last axis running fastest."""
        points: list[Point] = []
        states: dict[str, list[State]] = {}  # what points of one label share is made once
        for sweep in self.sections.sweeps:
            entry = self.sections.train[sweep.label]
            if not isinstance(entry, Model):
                points += self._images(sweep, entry)
                continue
            if sweep.label not in states:
                states[sweep.label] = self.models.states(sweep.label)
            for point in self._grid(sweep, entry):
                for state in states[sweep.label]:
                    points += self._seeds(point, state)
        if self.left_out:
            left_out = f"{self.left_out} points of larger budgets are left out"
            self.findings.notes.append(f"most_nfe {self.sections.most_nfe}: {left_out}")
        return points

    def _images(self, sweep: Sweep, source: Source) -> Iterator[Point]:
        """Yields the point of images made elsewhere."""
        label = sweep.label
        if self._is_new(sweep, (label,), label):
            spec, count = self.models.images(label), self.sections.samples.count
            if part := describe_part(count, source.count):
                self.findings.notes.append(f"train.{label}.samples_from: {part}")
            scores = self._scores(spec, count, None)
            yield Point(
                label=label,
                group=label,
                train=label,
                sample=spec,
                count=count,
                likelihood=None,
                scores=scores,
            )

    def _grid(self, sweep: Sweep, model: Model) -> Iterator[GridPoint]:
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
                self._refuse(sweep.path, None, f"{sweep.label} with {sweep.sampler}: {reason}")
            group = group_name(sweep, sampler, params, bought, times, budget)
            what = (sweep.label, sweep.sampler, times, params, sweep.task, sweep.condition)
            if self._is_new(sweep, (*what, budget), group):
                self._note_budget(what, budget, f"{sweep.label} · {sweep.sampler}")
                values = {**differences(params), **sampler.effort.stated(params)}
                yield GridPoint(sweep, sampler, group, times, values, budget)

    def _refuse(self, path: KeyPath, value: Any, why: str) -> None:
        self.findings.problems.append(Problem(path, value, why))

    def _params(
        self, sweep: Sweep, sampler: SamplerCard, values: Values, budget: int | None
    ) -> tuple[Any, Values]:
        """Returns the sampler's parameters, or None, and those of them that the budget decides."""
        try:
            params = sampler.params(**values)
            if budget is None:
                return params, {}
            bought = sampler.effort.fit(
                budget // sampler.conditions.get(sweep.task or "", 1), params
            )
            for name in bought.keys() & values.keys():
                why = f"is what a budget buys for {sweep.sampler}: give nfe or {name}, not both"
                place = "grid" if name in sweep.axes else "params"
                self._refuse((*sweep.path, place, name), values[name], why)
            return replace(params, **bought), bought
        except BudgetError as error:
            path = (*sweep.path, "grid", "nfe", str(sweep.axes["nfe"].index(budget)))
            why = f"buys no step of {sweep.sampler} for {sweep.label}: {error}"
            self._refuse(path, budget, why)
        except ValueError as error:  # a rule that the parameters state themselves
            self._refuse(sweep.path, values, f"{sweep.sampler}: {error}")
        return None, {}

    def _is_new(self, sweep: Sweep, what: Any, group: str) -> bool:
        first = self.first.setdefault(what, sweep.path)
        if first is not sweep.path:
            self._refuse(sweep.path, None, f"repeats the point {group} of {'.'.join(first)}")
        return first is sweep.path

    def _note_budget(self, what: Any, budget: int | None, name: str) -> None:
        if budget is not None and (other := self.budgets.setdefault(what, budget)) != budget:
            self.findings.notes.append(f"{name}: nfe {other} and nfe {budget} buy the same steps")

    def _seeds(self, point: GridPoint, state: State) -> Iterator[Point]:
        """Yields a grid's point for each training seed and sample seed."""
        sweep, samples, group = point.sweep, self.sections.samples, point.group
        if state.snapshot is not None:
            group = f"{group} · after {state.snapshot} images"
        if state.ema is not None:
            group = f"{group} · EMA {state.ema}"
        given, count = sweep.given, sweep.count(samples)
        for train, likelihood in state.models:
            for seed in sweep.sample_seeds(samples):
                spec = SampleSpec(
                    train=train,
                    sampler=sweep.sampler,
                    sampler_version=point.sampler.version,
                    times=point.times,
                    params=point.params,
                    batch=samples.batch,
                    given=given,
                    quantise=samples.quantise,
                    precision=samples.precision,
                    seed=seed,
                    snapshot=state.snapshot,
                    ema=state.ema,
                )
                yield Point(
                    label=f"{group} · seeds {train.seed}, {seed}",
                    group=group,
                    train=sweep.label,
                    sample=spec,
                    count=count,
                    likelihood=likelihood,
                    scores=self._scores(spec, count, sweep.task),
                    budget=point.budget,
                )

    def _scores(
        self, source: SampleSpec | ImagesSpec, count: int, task: str | None
    ) -> tuple[ScoreSpec, ...]:
        """Returns the metrics of one sample set; those of a task go with its samples only."""
        return tuple(
            ScoreSpec(
                source=source,
                count=count,
                metric=metric.name,
                metric_version=metric.version,
                weights=self.weights[metric.column],
                extractor_version=self.extractor_versions[metric.column],
                params=metric.params,
            )
            for metric in self.sections.metrics
            if not metric.tasks or task in metric.tasks
        )


def _extractor(card: MetricCard, metric: Metric) -> ExtractorCard | None:
    """Returns the card of the extractor that a metric compares features of, if it does."""
    name = getattr(build(card.params, metric.params), "extractor", "")
    return extractor_card(name) if name else None


def _weights(extractor: ExtractorCard | None, cache: Path | None) -> str | None:
    """Returns the digest of an extractor's weights if its card does not fix them."""
    if extractor is None or not extractor.weights or extractor.sha256:
        return None
    path = extractor.path()
    return NOT_THERE if path is None else digest_checkpoint(path, cache)
