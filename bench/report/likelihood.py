"""Bits/dim of models, of the table and of the sweep of tolerances, and what computing them cost."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bench.card import Card
from bench.report.columns import BITS, EXACT_BITS
from bench.report.identity import Identities
from bench.report.records import Records, batches_of
from bench.schema import build
from bench.spec import LikelihoodSpec
from bench.store import UnitId

if TYPE_CHECKING:
    from bench.suite.resolved import Suite


class Likelihood(NamedTuple):
    """Bits/dim of one model, mean over images.

    Args:
        error: Sample standard deviation over the images divided by the square root of their number,
            NaN for one image: how far the mean over other images of the same kind, with draws of
            their own, would lie.
        draw_error: The part of ``error`` that comes from random draws (dequantisations, probes);
            None if nothing tells.
        draw_sd: Standard deviation of one image over its draws; None if nothing tells.
        exact: Bits/dim of the same images under the data's own distribution, None if not known.
        nfe: Network evaluations per image.
        gflops: Per image, None if they were not counted.
    """

    mean: float
    error: float
    draw_error: float | None
    draw_sd: float | None
    exact: float | None
    nfe: float
    gflops: float | None
    identity: Mapping[str, Any]


def read_likelihood(records: Records, units: Sequence[UnitId]) -> Likelihood | None:
    """Returns bits/dim of the images that some batches hold, None until every batch is there."""
    batches = [batch for unit in units if (batch := records.record(unit)) is not None]
    if len(batches) < len(units):
        return None
    values = _values(batches, BITS)
    counted = all("flops_per_image" in batch for batch in batches)
    weighed = [{**batch, "images": len(batch["values"][BITS])} for batch in batches]
    draw_sd, root = draw_deviation(batches), math.sqrt(len(values))
    known = all(EXACT_BITS in batch["values"] for batch in batches)
    return Likelihood(
        mean=float(values.mean()),
        error=float(values.std(ddof=1) / root) if len(values) > 1 else math.nan,
        draw_error=None if draw_sd is None else draw_sd / root,
        draw_sd=draw_sd,
        exact=float(_values(batches, EXACT_BITS).mean()) if known else None,
        nfe=mean_over_images(weighed, "nfe"),
        gflops=mean_over_images(weighed, "flops_per_image") / 1e9 if counted else None,
        identity=batches[0]["identity"],
    )


def _values(batches: Iterable[Mapping[str, Any]], name: str) -> np.ndarray:
    return np.concatenate([np.asarray(batch["values"][name], np.float64) for batch in batches])


def mean_over_images(batches: Iterable[Mapping[str, Any]], name: str) -> float:
    """Returns the mean of a value over the images of some batches."""
    total = sum(batch["images"] for batch in batches)
    return sum(batch[name] * batch["images"] for batch in batches) / total


def draw_deviation(batches: Sequence[Mapping[str, Any]]) -> float | None:
    """Returns the standard deviation of one image's bits/dim over its random draws, None if nothing
    tells.

    It is that of images with several draws each, or, if there is one draw per image, that of the
    first images, which are scored by a second draw.
    """
    variances = [v for b in batches for v in b["values"].get(f"{BITS}_draw_variance", ())]
    if not variances:
        pairs = [
            pair
            for batch in batches
            for pair in zip(batch["values"][BITS], batch.get("again", ()), strict=False)
        ]
        variances = [(first - second) ** 2 / 2 for first, second in pairs]
    return math.sqrt(sum(variances) / len(variances)) if variances else None


class SweepPoint(NamedTuple):
    """Bits/dim of one training at one tolerance; equal ``setting`` and ``identity`` have a mean.

    Args:
        train: The label of the model.
        value: Bits/dim, ``error`` its standard error over the images.
        kind: ``exact`` or ``bound``.
    """

    train: str
    nfe: float
    value: float
    error: float
    tolerance: float
    kind: str
    setting: str
    identity: str


def read_sweep(suite: "Suite", records: Records, methods: Mapping[str, Card]) -> list[SweepPoint]:
    """Returns each likelihood of the sweep and of the table itself.

    Settings that some training of a model lacks are left out.
    """
    points, lacking, identities = [], set(), Identities()
    for label, spec in _likelihood_specs(suite):
        setting = repr(replace(spec, train=replace(spec.train, seed=0)))
        measured = read_likelihood(records, batches_of(spec, spec.images))
        if measured is None or not math.isfinite(measured.mean):
            lacking.add((label, setting))
            continue
        card = methods[spec.train.method].likelihood
        assert card is not None  # else the suite is refused
        tolerance = getattr(build(card.params, spec.params), "tolerance", math.nan)
        cost = (measured.nfe, measured.mean, measured.error, tolerance)
        short = identities.add(measured.identity)
        points.append(SweepPoint(label, *cost, card.kind, setting, short))
    return [point for point in points if (point.train, point.setting) not in lacking]


def _likelihood_specs(suite: "Suite") -> Iterator[tuple[str, LikelihoodSpec]]:
    """Yields each model's likelihoods; the table's only if the sweep scores the same images."""
    for label in suite.train:
        swept = list(suite.sweep.get(label, ()))
        images = {(spec.images, spec.split, spec.seed) for spec in swept}
        asked = [point.likelihood for point in suite.points if point.train == label]
        own = [
            spec
            for spec in asked
            if spec is not None
            and spec.snapshot is None
            and spec.ema is None
            and (not swept or (spec.images, spec.split, spec.seed) in images)
        ]
        unique: dict[str, LikelihoodSpec] = {}
        for spec in (*swept, *own):
            unique.setdefault(repr(spec), spec)
        yield from ((label, spec) for spec in unique.values())
