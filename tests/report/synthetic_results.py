"""Results that are written into a real store as jobs would write them."""

import hashlib
import io
import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from bench.card import Card, Effort, LikelihoodCard, SamplerCard, adaptive
from bench.data.images import load_images
from bench.metrics.registry import METRICS
from bench.report.results import Results, read_results
from bench.spec import ImagesSpec, key, part_name, place
from bench.store import Store, UnitId
from bench.suite.reader import read_suite
from bench.suite.resolved import Suite

FD, IS = "fd(digits-cnn@8)", "is(digits-cnn@8)"


BOUNDS = {FD: METRICS["fd"].bounds, IS: METRICS["is"].bounds}


PROVENANCE = {"commit": "c0ffee" * 6, "dirty": False, "device": "cpu", "host": "here", "threads": 1}


@dataclass(frozen=True, kw_only=True)
class SyntheticParams:
    quality: float = 1.0
    kind: str = "plain"


@dataclass(frozen=True, kw_only=True)
class Steps:
    steps: int = 10
    snr: float = 0.1


@dataclass(frozen=True, kw_only=True)
class Adaptive:
    tolerance: float = 1e-3


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    tolerance: float = 1e-3


SAMPLERS = {
    "euler": SamplerCard(
        version=1,
        summary="one call a step",
        params=Steps,
        times=("uniform",),
    ),
    "heun": SamplerCard(
        version=2,
        summary="two calls",
        params=Steps,
        effort=Effort(evaluations=lambda p: 2 * p.steps - 1),
        times=("rho7",),
    ),
    "adaptive": SamplerCard(version=1, summary="as it likes", params=Adaptive, effort=adaptive()),
}


def synthetic(name: str, likelihood: bool = True) -> Card:
    return Card(
        name=name,
        title=name.title(),
        version=3,
        paper="https://example.org",
        adapter="nowhere:Nothing",
        params=SyntheticParams,
        samplers=SAMPLERS,
        variant=lambda params: params.kind,
        likelihood=LikelihoodCard(version=1, params=Tolerance) if likelihood else None,
        no_likelihood="" if likelihood else "Langevin dynamics has none",
    )


CARDS = {"toy": synthetic("toy"), "mute": synthetic("mute", likelihood=False)}


SMALL = """
name: small
dataset: digits
metrics: [{metric: fd, allow_few: true}, is]
samples: {count: 20, batch: 8, seeds: [0, 1]}
likelihood: {images: 6, batch: 4, sweep: {tolerance: [1.0e-1, 1.0e-2]}}
train:
  good: {method: toy, params: {quality: 0.5, kind: a}, seeds: [0, 1]}
  mute: {method: mute, seeds: [0]}
points:
  - {train: [good, mute], sampler: heun, grid: {nfe: [5, 20]}}
  - {train: good, sampler: adaptive, grid: {tolerance: [1.0e-2]}}
"""


def suite_of(text: str, folder: Path) -> Suite:
    path = folder / "suite.yaml"
    path.write_text(text)
    return read_suite(path, cards=CARDS)


def draw(*what: object) -> np.random.Generator:
    """Returns a generator that is a function of its arguments."""
    return np.random.default_rng(list(hashlib.sha256(repr(what).encode()).digest()))


def quality_of(point) -> float:
    return dict(point.sample.train.params).get("quality", 1.0)


def cost_of(point) -> float:
    params = dict(point.sample.params)
    if point.sample.sampler == "adaptive":
        return 20 - 6 * math.log10(params["tolerance"])
    return CARDS["toy"].samplers[point.sample.sampler].effort.evaluations(Steps(**params))


def complete(store: Store, suite: Suite, points=None, *, images: bool = True) -> None:
    """Writes what the jobs of some points would write."""
    for specs in suite.train.values():
        for spec in specs:
            finish_training(store, spec)
    for spec in (spec for specs in suite.sweep.values() for spec in specs):
        finish_likelihood(store, spec)
    for spec in (spec for specs in suite.inspections.values() for spec in specs):
        finish_inspection(store, spec)
    for point in suite.points if points is None else points:
        finish_samples(store, point, images)
        if point.likelihood is not None:
            finish_likelihood(store, point.likelihood)
        finish_scores(store, point)


def finish_training(store: Store, spec) -> None:
    if isinstance(spec, ImagesSpec):
        return
    unit = UnitId(*place(spec))
    quality, noise = dict(spec.params).get("quality", 1.0), draw("curve", key(spec))
    lines = []
    for images in np.linspace(2000, 100_000, 40):
        clean = 0.1 * quality + 0.5 * math.exp(-images / 15_000)
        values = {"loss": clean * noise.uniform(0.8, 1.2), "heldout_loss": clean * 1.05}
        lines.append(json.dumps({"images": int(images), **values}))
    record = {
        "images": 100_000,
        "steps": 1000,
        "flops": 3.2e12,
        "parameters": 103_425,
        "seconds": 31.5,
    }
    store.finish(unit, {**record, "provenance": PROVENANCE})
    (store.folder("train", unit.key) / "log.jsonl").write_text("\n".join(lines) + '\n{"images": 1')


def finish_samples(store: Store, point, images: bool) -> None:
    if isinstance(point.sample, ImagesSpec):
        return
    stage, name, _ = place(point.sample)
    nfe, real = cost_of(point), load_images("digits").train
    for index in range(math.ceil(point.count / point.sample.batch)):
        chosen = real[(np.arange(point.sample.batch) + index * point.sample.batch) % len(real)]
        shake = (
            draw("pixels", point.sample.seed, index).normal(size=chosen.shape)
            * 20
            * quality_of(point)
            / nfe**0.5
        )
        content = io.BytesIO()
        np.savez(content, images=np.clip(np.round(chosen + shake), 0, 16).astype(np.uint8))
        record = {
            "images": point.sample.batch,
            "nfe": nfe + (index if point.sample.sampler == "adaptive" else 0),
            "seconds": (0.5 if index == 0 else 0.002) * point.sample.batch * nfe / 10,
            "warm": index > 0,
            "flops_per_row": 2e6,
            "clipped": 0.01,
            "provenance": PROVENANCE,
        }
        store.finish(
            UnitId(stage, name, part_name(index)),
            record,
            {".npz": content.getvalue()} if images else None,
        )


def finish_likelihood(store: Store, spec) -> None:
    stage, name, _ = place(spec)
    tolerance = dict(spec.params).get("tolerance", 1e-3)
    for index in range(math.ceil(spec.images / spec.batch)):
        count = min(spec.batch, spec.images - index * spec.batch)
        values = (
            2
            + dict(spec.train.params).get("quality", 1.0) * (1 + tolerance)
            + np.arange(count) * 0.01
        )
        record = {
            "values": {"bits_per_dim": values.tolist()},
            "identity": {"eps": 1e-5, "tolerance": tolerance},
        }
        record |= {"nfe": 14 - 20 * math.log10(tolerance), "seconds": 1.0, "provenance": PROVENANCE}
        store.finish(UnitId(stage, name, part_name(index)), record)


def finish_inspection(store: Store, spec, **changes) -> None:
    """Writes losses that grow with the level, by 1 for each training seed."""
    times, pixels = [0.25, 0.5, 1.0], np.linspace(0, 1, 2 * 3 * 64).reshape(2, 3, 1, 8, 8)
    record = {
        "times": times,
        "noise_levels": [0.1, 1.0, 10.0],
        "losses": [spec.train.seed + 2 * t for t in times],
    }
    record |= {"errors": [0.1] * 3, "identity": {"weighting": "std"}, "strips": ["path"]}
    record |= {
        "curves": [{"title": "levels", "x": "index", "y": "noise"}],
        "seconds": 1.0,
        "provenance": PROVENANCE,
    }
    content = io.BytesIO()
    curve = np.arange(4.0)
    np.savez(
        content, **{"strip/0": pixels.astype(np.float32), "curve/0/x": curve, "curve/0/y": curve}
    )
    store.finish(UnitId(*place(spec)), {**record, **changes}, {".npz": content.getvalue()})


def finish_scores(store: Store, point, *, weights: str = "aa" * 32) -> None:
    for score in point.scores:
        if isinstance(point.sample, ImagesSpec):
            value = 0.3
        else:
            shake = draw(score.metric, key(point.sample)).uniform(0.93, 1.07)
            floor = 0.05 * quality_of(point)
            value = (floor + 8 * quality_of(point) * cost_of(point) ** -1.5) * shake
            value = value if score.metric == "fd" else 9.5 - 2 * value
        identity = {
            "metric": score.metric,
            "count": score.count,
            "weights": weights,
            "reference": {"n": 1437},
        }
        record = {"value": value, "identity": identity, "provenance": PROVENANCE}
        if isinstance(point.sample, ImagesSpec):
            record["source"] = {"drawn": point.count, "images": point.count, "copies": 0}
        store.finish(UnitId(*place(score)), record)


def fail(store: Store, unit: UnitId, cause: str) -> None:
    values = {"run": "r", "host": "here", "pid": 1, "log": "/logs/1.out"}
    store.note_attempt(unit, attempt="a", state="failed", cause=cause, **values)


def row(rows: pd.DataFrame, label: str) -> pd.Series:
    return rows[rows["label"] == label].iloc[0]


def floor_of(store: Store, suite: Suite, mean: float, std: float) -> None:
    for point in suite.points:
        unit = UnitId(*place(point.scores[0]))
        floor = {"mean": mean, "std": std, "draws": 20, "split": "test"}
        store.finish(unit, {**store.record(*unit), "floor": floor})


def results_of(suite: Suite, store: Store, methods=CARDS) -> Results:
    return read_results(suite, store, methods=methods)
