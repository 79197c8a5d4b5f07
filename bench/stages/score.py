"""Every metric asked of one sample set, in one pass over its images."""

import functools
import io
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bench.card import cards
from bench.data.external import digest_images, read_external
from bench.data.images import Images
from bench.data.subset import ALL, describe_part, drawing
from bench.frozen import dataclass
from bench.metrics.floor import real_floor
from bench.metrics.references import References
from bench.metrics.registry import METRICS
from bench.metrics.scoring import score
from bench.plan import Job
from bench.schema import build
from bench.spec import ImagesSpec, SampleSpec, ScoreSpec, canonical, part_name, place
from bench.stages.context import Context
from bench.stages.model import cached_images
from bench.store import DamagedError, Store, UnitId


def scores(job: Job[ScoreSpec], unit: UnitId, context: Context) -> None:
    """Computes every metric asked of one sample set in one pass over its images.

    Raises:
        DamagedError: Images are not what was written, or no longer there.
        ValueError: A metric has no value, or the extractor's weights or the images are not those
            that were planned with.
    """
    source = job.specs[0].source
    if isinstance(source, SampleSpec):
        sample_set = _sampled(context, source, job.specs[0].count)
    else:
        sample_set = _elsewhere(job, source, job.specs[0].count)
    missing = [
        (part, spec, build(METRICS[spec.metric].params, spec.params))
        for part, spec in zip(job.parts, job.specs, strict=True)
        if context.store.record(unit.stage, unit.key, part) is None
    ]
    references, data = _stored_references(context.store.root.absolute()), sample_set.data
    measured = score(
        sample_set.images,
        [(spec.metric, params) for _, spec, params in missing],
        data,
        device=str(context.device),
        given=source.given if isinstance(source, SampleSpec) else None,
        count=job.specs[0].count,
        references=references,
    )
    for (part, spec, params), value in zip(missing, measured, strict=True):
        actual = value.identity.get("weights_sha256")
        if spec.weights is not None and spec.weights != actual:
            raise ValueError(
                f"{spec.metric}: the extractor's weights are not those that the suite was planned "
                f"with (sha256 {str(actual)[:12]}..., not {spec.weights[:12]}...); "
                "start the suite again"
            )
        record = {
            "value": value.value,
            "identity": {**value.identity, **sample_set.identity},
            "spec": canonical(spec),
        }
        record |= {"source": sample_set.drawing} if sample_set.drawing else {}
        record |= {"provenance": context.provenance()}
        if METRICS[spec.metric].reference(params) is not None and METRICS[spec.metric].floor:
            record["floor"] = _floor(context, spec.metric, params, data, value.identity, references)
        context.store.finish(UnitId(unit.stage, unit.key, part), record)


@dataclass(frozen=True)
class _SampleSet:
    """Images to score.

    Args:
        data: The data set that they imitate.
        images: The images in parts, shapes (n, C, H, W), to read once.
        identity: What the numbers depend on besides the metric: how pixels were quantised, ...
        drawing: How images were drawn from a larger set made elsewhere; empty for samples.
    """

    data: Images
    images: Iterator[np.ndarray]
    identity: dict[str, Any]
    drawing: dict[str, Any]


def _sampled(context: Context, source: SampleSpec, count: int) -> _SampleSet:
    """Returns the first images of a sample set of the store."""
    real = source.quantise == "none"
    identity: dict[str, Any] = {"quantise" if real else "uint8": source.quantise}
    sampler = cards()[source.train.method].samplers[source.sampler]
    if sampler.couples(build(sampler.params, source.params)):
        identity["batch"] = source.batch
    data = cached_images(source.train.dataset)
    return _SampleSet(data, _shards(context, source, count), identity, {})


def _elsewhere(job: Job[ScoreSpec], source: ImagesSpec, count: int) -> _SampleSet:
    """Returns images drawn from a set that was made elsewhere.

    Raises:
        ValueError: The set is not what it was, does not fit the data set, or has too few images.
    """
    path = Path(job.path or "")
    data = cached_images(source.dataset)
    if digest_images(path) != source.sha256:
        raise ValueError(
            f"{path}: the images are not those that the suite was read with; start it again"
        )
    whole = read_external(path, data.card, source.scale)
    if len(whole) < count:
        raise ValueError(f"{job.label}: {count} images are asked for, there are {len(whole)}")
    drawn = drawing(whole)
    identity: dict[str, Any] = {
        "quantise" if data.kind == "real" else "uint8": "as given",
        "source sha256": source.sha256,
        "drawn": describe_part(count, len(whole)) or ALL,
    }
    identity |= {"scale": list(source.scale)} if source.scale is not None else {}
    facts = {"drawn": count, "images": len(whole), "copies": drawn.copies(count)}
    return _SampleSet(data, iter([whole[drawn.order[:count]]]), identity, facts)


@functools.lru_cache(maxsize=1)
def _stored_references(root: Path) -> References:
    """Returns a store's references; a process keeps their statistics between sample sets."""
    return References(Store(root))


def _floor(
    context: Context,
    metric: str,
    params: Any,
    data: Images,
    identity: Mapping[str, Any],
    references: References,
) -> Mapping[str, Any] | None:
    """Returns what as many real images score, None if there are too few; measured once per store.

    Against held-out images also ``training_set``, what all training images score: no model should
    be asked for less.
    """
    card = METRICS[metric]
    options: dict[str, Any] = {"device": str(context.device), "references": references}

    def measure() -> dict[str, Any] | None:
        try:
            floor = real_floor(metric, params, data, identity["count"], **options)
        except ValueError:
            return None
        std = floor.std if math.isfinite(floor.std) else None
        facts: dict[str, Any] = {
            "mean": floor.mean,
            "std": std,
            "draws": floor.draws,
            "split": floor.split,
        }
        if card.reference(params) == "test":
            images = len(data.train)
            whole = real_floor(metric, params, data, images, split="train", draws=1, **options)
            facts["training_set"] = {"value": whole.mean, "images": images}
        return facts

    # The pool of real images follows from the data set and the reference, which the identity names.
    return references.floor({"floor": card.floor, **identity}, measure)


def _shards(context: Context, source: SampleSpec, count: int) -> Iterator[np.ndarray]:
    """Yields the first images of a sample set, batch by batch.

    Raises:
        DamagedError: Some are not what was written, or no longer there (another suite may have
            pruned them): their batch is to be made again.
    """
    key, left = UnitId(*place(source)).key, count
    for index in range(math.ceil(count / source.batch)):
        unit = UnitId("samples", key, part_name(index))
        try:
            content = context.store.read(unit, ".npz")
        except FileNotFoundError as error:
            path = context.store.path(unit, ".npz")
            raise DamagedError(unit, path, "is no longer there") from error
        yield np.load(io.BytesIO(content), allow_pickle=False)["images"][:left]
        left -= source.batch
