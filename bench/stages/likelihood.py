"""Scoring held-out images by the model itself."""

import math
from typing import Any

import numpy as np
import torch

from bench.counter import NetworkCounter
from bench.data.subset import ALL, describe_part
from bench.method import Noise
from bench.plan import Job
from bench.schema import build, plain
from bench.spec import LikelihoodSpec, TrainSpec, part_name, place
from bench.stages.context import Context, DivergedError
from bench.stages.cost import clock, counted_flops
from bench.stages.model import cached_images, trained_model
from bench.store import UnitId

DRAW_VARIANCE = "bits_per_dim_draw_variance"
"""The variance of an image's bits/dim over dequantisations and probes, if several are drawn."""

AGAIN = 8
"""The most images of a likelihood that are scored by a second draw, if there is only one."""


def likelihood(job: Job[LikelihoodSpec], unit: UnitId, context: Context) -> None:
    """Scores one batch of held-out images by the model itself.

    Raises:
        DamagedError: The model's weights are not what was written.
        DivergedError: The score of an image is NaN or infinite.
    """
    (spec,) = job.specs
    method = trained_model(context, spec)
    card = method.card.likelihood
    if card is None:
        raise ValueError(f"{spec.train.method} has no likelihood: {method.card.no_likelihood}")
    params = build(card.params, spec.params)
    context.store.write_spec(unit.stage, unit.key, spec, {"params": plain(params)})
    data = cached_images(spec.train.dataset)
    first = int(unit.part) * spec.batch
    held_out = data.drawn(spec.split, slice(first, min(first + spec.batch, spec.images)))
    stored = torch.from_numpy(held_out)
    images = data.scaled(stored.double()) if data.kind == "real" else stored.long()
    images = images.to(method.device)
    noise = Noise(spec.seed, ("likelihood", int(unit.part)), device=method.device)
    expected = card.guess(params, math.prod(data.shape))[0] if card.guess else None
    with NetworkCounter(method.networks, context.passes(expected, len(images))) as counter:
        begin = clock(context.device)
        scored = method.score(images, noise, params)
        seconds = clock(context.device) - begin
    values = {name: _listed(value) for name, value in scored.values.items()}
    for name, numbers in values.items():
        if not all(map(math.isfinite, numbers)):
            raise DivergedError(f"diverged: {name} of some images is NaN or infinite")
    if data.mixture is not None:
        dims = math.prod(data.shape)
        points = data.scaled(held_out.astype(np.float64)).reshape(-1, dims)
        exact = -data.mixture.log_prob(points) / (dims * math.log(2))
        values["exact_bits_per_dim"] = exact.tolist()
    identity = {**scored.identity, "images": spec.images, "split": spec.split, "batch": spec.batch}
    identity |= {"drawn": describe_part(spec.images, data.card.splits[spec.split]) or ALL}
    record = {
        "values": values,
        "identity": {**identity, **dataset_facts(spec.train)},
        "nfe": counter.rows / len(images),
        "flops_per_image": counted_flops(counter, place(spec.model)[1]) / len(images),
        "seconds": seconds,
        "provenance": context.provenance(),
    }
    if unit.part == part_name(0) and DRAW_VARIANCE not in values:
        again = method.score(images[:AGAIN], noise.child("again"), params)
        record["again"] = _listed(again.values["bits_per_dim"])
    context.store.finish(unit, record)


def _listed(values: torch.Tensor) -> list[float]:
    return values.detach().double().cpu().tolist()


def dataset_facts(spec: TrainSpec) -> dict[str, Any]:
    """Returns which data set the images are of that a model scores."""
    other = {"dataset_sha256": spec.dataset_sha256} if spec.dataset_sha256 else {}
    return {"dataset": f"{spec.dataset}@{spec.dataset_version}", **other}
