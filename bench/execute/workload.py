"""What units compute, in FLOPs, counted from the cards only: before anything runs, without torch.

Sampling is network evaluations x images x the network forward. A training step is three times the
network forward (the backward pass has two products for each of the forward one). A likelihood is
one pass forward and, for each probe, one back to the image, which costs as much. Scoring is the
extractor on each image, and then the metrics on the processor. What only a run can tell is guessed
by the card, and :attr:`Work.guessed` marks it.

Standard library only.
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import field
from functools import cache
from typing import Any

from bench.card import NetworkCost, cards
from bench.data.card import DataCard
from bench.data.registry import data_card
from bench.frozen import dataclass
from bench.metrics.extractor_cards import extractor_card
from bench.metrics.registry import METRICS
from bench.plan import Job
from bench.schema import build
from bench.spec import (
    AverageSpec,
    ImagesSpec,
    InspectSpec,
    LikelihoodSpec,
    ModelSpec,
    SampleSpec,
    ScoreSpec,
    SnapshotSpec,
    TrainSpec,
    json_text,
)
from bench.store import UnitId

FORWARD_AND_BACKWARD = 3.0
"""Training, in passes forward."""

TO_THE_INPUT = 2.0
"""One pass forward and one back to the image, in passes forward."""

INSPECTED_TIMES = 10

EXACT_CALLS = 30.0
"""Calls of layers that take as long as a score in closed form, which has no network."""


@dataclass(frozen=True)
class Work:
    """What one unit computes.

    Args:
        flops: On the device.
        host_flops: On the processor, whatever the device: the metrics on the features.
        calls: Layers called one after the other, which bounds the speed of small networks.
        rows: Rows through the score's network, in passes forward.
        precision: Of the products.
        nfe: Network evaluations per image, of samples: of the score network and of its guide.
        guessed: Whether the number of evaluations is a guess.
    """

    flops: float = 0.0
    host_flops: float = 0.0
    calls: float = 0.0
    rows: float = 0.0
    precision: str = "float32"
    nfe: float | None = None
    guessed: bool = False


@cache
def networks(spec: TrainSpec) -> tuple[NetworkCost, ...] | None:
    """Returns what the networks of a model cost, None if its method does not say."""
    card, data = cards()[spec.method], data_card(spec.dataset)
    if card.networks is None:
        return None
    return card.networks(_params(spec), data.shape, data.classes or 1)


@cache
def _params(spec: TrainSpec) -> Any:
    return build(cards()[spec.method].params, spec.params)


@dataclasses.dataclass
class Workload:
    """What the units of a suite's jobs compute.

    Args:
        jobs: By stage and key: a training that goes on from another one only does the rest.
    """

    jobs: Mapping[tuple[str, str], Job]
    _work: dict[tuple[str, str], Work | None] = field(default_factory=dict)

    def of(self, unit: UnitId) -> Work | None:
        """Returns the work of a unit, equal for all of a key; None if its method does not say."""
        place = (unit.stage, unit.key)
        if place not in self._work:
            job = self.jobs.get(place)
            self._work[place] = None if job is None or not job.specs else self._of_job(job)
        return self._work[place]

    def _of_job(self, job: Job) -> Work | None:
        match job.specs[0]:
            case TrainSpec() | SnapshotSpec() | AverageSpec() as spec:
                return self._training(spec, job)
            case SampleSpec() as spec:
                task = (spec.given or {}).get("task", "")
                params = json_text(spec.params)
                return _sampling(spec.train, spec.sampler, params, spec.batch, task, spec.precision)
            case LikelihoodSpec() as spec:
                return _likelihood(spec, spec.images / len(job.parts))
            case InspectSpec() as spec:
                return _passes(spec.train, INSPECTED_TIMES * spec.images, 1.0, INSPECTED_TIMES)
            case ScoreSpec() as spec:
                source = spec.source if isinstance(spec.source, ImagesSpec) else spec.source.train
                metrics = [(one.metric, json_text(one.params)) for one in job.specs]
                return _scoring(source.dataset, spec.count, tuple(metrics))
        return None

    def _training(self, spec: ModelSpec, job: Job) -> Work | None:
        if isinstance(spec, AverageSpec) or (
            isinstance(spec, TrainSpec) and spec.checkpoint is not None
        ):
            return Work()
        train = spec.train if isinstance(spec, SnapshotSpec) else spec
        found, images = networks(train), trained_images(spec)
        if found is None or images is None:
            return None
        if not found:
            return Work()
        before = [
            self.jobs.get((need.stage, need.key)) for need in job.needs if need.stage == "train"
        ]
        done = max(
            (trained_images(other.specs[0]) or 0 for other in before if other is not None),
            default=0,
        )
        settings = getattr(_params(train), "training", None)
        batch = getattr(settings, "batch", 128)
        work = _passes(train, images - done, FORWARD_AND_BACKWARD, (images - done) / batch)
        if work is None:
            return None
        guides = [net for net in found[1:] if not done]
        return Work(
            flops=work.flops
            + sum(FORWARD_AND_BACKWARD * net.flops * (net.images or 0) for net in guides),
            calls=work.calls
            + sum(FORWARD_AND_BACKWARD * net.layers * (net.images or 0) / batch for net in guides),
            rows=work.rows,
            precision=getattr(settings, "precision", "float32"),
        )


def trained_images(spec: Any) -> int | None:
    """Returns the training images after which a training ends; None if its method does not say."""
    if isinstance(spec, SnapshotSpec):
        return spec.images
    training = cards()[spec.method].training if isinstance(spec, TrainSpec) else None
    return None if training is None else training.images(_params(spec))


def _passes(spec: TrainSpec, rows: float, each: float, calls: float) -> Work | None:
    """Returns the work of ``rows`` in ``calls``, each as long as ``each`` passes forward."""
    found = networks(spec)
    if found is None:
        return None
    if not found:
        return Work(calls=each * calls * EXACT_CALLS, rows=each * rows)
    return Work(
        flops=each * rows * found[0].flops, calls=each * calls * found[0].layers, rows=each * rows
    )


def evaluations(spec: SampleSpec) -> tuple[float, bool] | None:
    """Returns evaluations of the score per image, and whether they are a guess; None if unknown."""
    return _evaluations(spec.train.method, spec.sampler, json_text(spec.params))


@cache
def _evaluations(method: str, sampler: str, params: str) -> tuple[float, bool] | None:
    card = cards()[method].samplers[sampler]
    effort = card.effort
    if effort.evaluations is None:
        return None
    return float(effort.evaluations(build(card.params, json.loads(params)))), not effort.exact


@cache
def _sampling(
    train: TrainSpec, sampler: str, params: str, batch: int, task: str, precision: str
) -> Work | None:
    found, counted = networks(train), _evaluations(train.method, sampler, params)
    if found is None or counted is None:
        return None
    nfe, guessed = counted
    if not found:
        return Work(calls=nfe * EXACT_CALLS, rows=nfe * batch, nfe=nfe, guessed=guessed)
    asks = cards()[train.method].samplers[sampler].conditions.get(task, 1)
    guides = found[1:] if asks > 1 else ()
    own = 1 if guides else asks  # without a guide, what is asked more than once is the score
    flops = own * found[0].flops + TO_THE_INPUT * sum(net.flops for net in guides)
    layers = own * found[0].layers + TO_THE_INPUT * sum(net.layers for net in guides)
    rows = nfe * batch
    return Work(rows * flops, 0.0, nfe * layers, own * rows, precision, asks * nfe, guessed)


def _likelihood(spec: LikelihoodSpec, images: float) -> Work | None:
    card = cards()[spec.train.method].likelihood
    if card is None or card.guess is None:
        return None
    nfe, backward = card.guess(
        build(card.params, spec.params), _numbers(data_card(spec.train.dataset))
    )
    work = _passes(spec.train, nfe * images, 1 + backward, nfe)
    return None if work is None else Work(work.flops, 0.0, work.calls, work.rows, guessed=True)


def _numbers(data: DataCard) -> int:
    channels, height, width = data.shape
    return channels * height * width


@cache
def _scoring(dataset: str, count: int, metrics: tuple[tuple[str, str], ...]) -> Work:
    counted = [_metric(name, count, params, dataset) for name, params in metrics]
    extractors = {name: flops for name, flops, _ in counted}
    return Work(count * sum(extractors.values()), sum(host for _, _, host in counted))


def _metric(name: str, count: int, params: str, dataset: str) -> tuple[str, float, float]:
    """Returns a metric's extractor, the extractor's FLOPs per image, and the metric's own FLOPs."""
    card, data = METRICS[name], data_card(dataset)
    built = build(card.params, json.loads(params))
    if (extractor := getattr(built, "extractor", None)) is None:
        return "", 0.0, 0.0
    reader = extractor_card(extractor)
    real = data.splits.get(card.reference(built) or "train", 0)
    return extractor, reader.flops, card.host_flops(built, count, real, reader.features(data))
