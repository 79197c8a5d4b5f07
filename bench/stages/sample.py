"""Sampling one batch of images, stored like the data set's own, with what they cost."""

import io

import numpy as np
import torch

from bench.counter import NetworkCounter
from bench.data.conditioning import truth
from bench.data.images import Images
from bench.method import Condition, Method, Noise, Sampler, evaluated
from bench.plan import Job
from bench.schema import build, plain
from bench.spec import SampleSpec, place
from bench.stages.context import Context, DivergedError
from bench.stages.cost import clock, counted_flops, row_flops, warm_up
from bench.stages.model import cached_images, trained_model
from bench.store import UnitId


def samples(job: Job[SampleSpec], unit: UnitId, context: Context) -> None:
    """Makes one batch of images and writes them as the data set stores its own, with their cost.

    Raises:
        DamagedError: The model's weights are not what was written.
        DivergedError: An image holds NaN or infinity.
    """
    (spec,) = job.specs
    method, part = trained_model(context, spec), int(unit.part)
    params = build(method.card.samplers[spec.sampler].params, spec.params)
    context.store.write_spec(unit.stage, unit.key, spec, {"params": plain(params)})
    sampler = Sampler(spec.sampler, spec.times, params)
    way = evaluated(method.networks, precision=spec.precision, compiled=context.compiled)
    warm = warm_up(context, method, spec)
    expected = method.card.samplers[spec.sampler].effort.evaluations
    watch = context.passes(expected(params) if expected else None, spec.batch)
    with NetworkCounter(method.networks, watch) as counter, torch.no_grad(), way:
        begin = clock(context.device)
        noise = Noise(spec.seed, ("sample", part), device=method.device)
        images = method.sample(spec.batch, sampler, noise, _condition(spec, part, method))
        seconds = clock(context.device) - begin
    images = images.detach().cpu()
    bad = int((~torch.isfinite(images)).flatten(1).any(1).sum())
    if bad:
        raise DivergedError(f"diverged: {bad} of {spec.batch} images hold NaN or infinity")
    if spec.quantise == "none":
        stored, outside = as_stored(images, cached_images(spec.train.dataset)), None
    else:
        stored = quantise(images, method.levels, spec.quantise)
        outside = clipped(images, method.levels, spec.quantise)
    buffer, key = io.BytesIO(), place(spec.model)[1]
    np.savez(buffer, images=stored)
    record = {
        "images": spec.batch,
        "nfe": counter.rows / spec.batch,
        "seconds": seconds,
        "warm": warm,
        "flops_per_row": row_flops(counter, 0, key)[0] if counter.forward[0] else 0.0,
        "flops_per_image": counted_flops(counter, key) / spec.batch,
        "clipped": outside,
        "provenance": context.provenance(),
    }
    context.store.finish(unit, record, {".npz": buffer.getvalue()})


def _condition(spec: SampleSpec, part: int, method: Method) -> Condition | None:
    """Returns what one batch is conditioned on; None for unconditional samples."""
    if spec.given is None:
        return None
    data, device = cached_images(spec.train.dataset), method.device
    target = truth(spec.given, data, part * spec.batch, spec.batch)
    if target.images is None:
        return Condition(target.task, labels=torch.from_numpy(target.image).to(device))
    known_part = target.known_part(target.images.astype(np.float64)) / (data.levels - 1)
    images = torch.from_numpy(known_part).to(device, torch.float32)
    known = None if target.known is None else torch.from_numpy(target.known).to(device)
    return Condition(target.task, images=images, known=known)


def as_stored(images: torch.Tensor, data: Images) -> np.ndarray:
    """Returns real values in [0, 1] in the data set's own units, float32; none is clipped."""
    return data.unscaled(images.double()).float().numpy()


def quantise(images: torch.Tensor, levels: int, rule: str) -> np.ndarray:
    """Returns images in [0, 1] as uint8 in 0, ..., levels - 1; values outside are clipped.

    Args:
        images: Any shape.
        levels: Values that a pixel takes.
        rule: "round" to the nearest level, or "truncate" as some published code does.
    """
    scaled = images.double().clamp(0, 1) * (levels - 1)
    return (scaled.round() if rule == "round" else scaled.floor()).to(torch.uint8).numpy()


def clipped(images: torch.Tensor, levels: int, rule: str) -> float:
    """Returns the fraction of values that :func:`quantise` clips.

    What rounds to the first or the last level anyway is not clipped: under "round" a value lies
    outside [0, 1] by more than half a level, under "truncate" by anything.
    """
    margin = 0.5 / (levels - 1) if rule == "round" else 0.0
    images = images.double()
    return ((images < -margin) | (images > 1 + margin)).double().mean().item()
