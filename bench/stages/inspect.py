"""Held-out losses by noise level, and the images and curves that a model shows of itself."""

import io
import math
from typing import Any

import numpy as np
import torch

from bench.data.subset import ALL, describe_part
from bench.method import Inspection, Noise
from bench.plan import Job
from bench.spec import InspectSpec
from bench.stages.context import Context, DivergedError
from bench.stages.cost import clock
from bench.stages.likelihood import dataset_facts
from bench.stages.model import cached_images, trained_model
from bench.store import UnitId


def inspect(job: Job[InspectSpec], unit: UnitId, context: Context) -> None:
    """Writes a model's losses on held-out images by noise level, its strips and its curves.

    Raises:
        DamagedError: The model's weights are not what was written.
        DivergedError: A loss is NaN or infinite.
        ValueError: Shapes are not those of :class:`bench.method.Inspection`.
    """
    (spec,) = job.specs
    method = trained_model(context, spec)
    context.store.write_spec(unit.stage, unit.key, spec, {})
    data = cached_images(spec.train.dataset)
    stored = torch.from_numpy(data.drawn(spec.split, slice(spec.images)))
    held_out = data.scaled(stored.float()).to(method.device)
    noise = Noise(spec.seed, ("inspect",), device=method.device)
    begin = clock(context.device)
    with torch.no_grad():
        result = method.inspect(held_out, noise)
    seconds = clock(context.device) - begin
    count = len(held_out)
    losses = _checked_losses(result, count)
    errors = (losses.std(1) / math.sqrt(count)).tolist() if count > 1 else [None] * len(losses)
    levels = result.noise_levels.tolist()
    identity = {**dataset_facts(spec.train), "split": spec.split, "seed": spec.seed}
    identity |= {"drawn": describe_part(spec.images, data.card.splits[spec.split]) or ALL}
    identity |= {"images": count, "weighting": result.weighting, "version": spec.version}
    record = {
        "times": result.times.tolist(),
        "noise_levels": [level if math.isfinite(level) else None for level in levels],
        "losses": losses.mean(1).tolist(),
        "errors": errors,
        "identity": identity,
        "strips": list(result.strips),
        "curves": [
            {"title": title, "x": curve.x_label, "y": curve.y_label}
            for title, curve in result.curves.items()
        ],
        "seconds": seconds,
        "provenance": context.provenance(),
    }
    arrays: dict[str, Any] = {
        f"strip/{index}": _array(strip).astype(np.float32)
        for index, strip in enumerate(result.strips.values())
    }
    for index, curve in enumerate(result.curves.values()):
        arrays |= {f"curve/{index}/x": _array(curve.x), f"curve/{index}/y": _array(curve.y)}
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    context.store.finish(unit, record, {".npz": buffer.getvalue()})


def _checked_losses(result: Inspection, count: int) -> torch.Tensor:
    """Returns the losses of an inspection of ``count`` images, float64 on the CPU."""
    expected = (len(result.times), count)
    if result.losses.shape != expected or result.noise_levels.shape != expected[:1]:
        shapes = tuple(result.losses.shape), tuple(result.noise_levels.shape)
        raise ValueError(
            f"inspect gave losses {shapes[0]} and noise levels {shapes[1]}, "
            f"expected {expected} and {expected[:1]}"
        )
    for title, strip in result.strips.items():
        if strip.ndim != 5:
            shape = tuple(strip.shape)
            raise ValueError(
                f"inspect gave the strip {title!r} in shape {shape}, not (rows, columns, C, H, W)"
            )
    for title, curve in result.curves.items():
        if curve.x.ndim != 1 or curve.x.shape != curve.y.shape:
            shapes = tuple(curve.x.shape), tuple(curve.y.shape)
            raise ValueError(f"inspect gave the curve {title!r} in shapes {shapes[0]}, {shapes[1]}")
    losses = result.losses.detach().double().cpu()
    finite = torch.isfinite(losses).all(1)
    if not finite.all():
        times = ", ".join(
            f"{t:.3g}" for t in result.times[~finite.to(result.times.device)].tolist()
        )
        raise DivergedError(f"diverged: the held-out loss is NaN or infinite at t = {times}")
    return losses


def _array(values: torch.Tensor) -> np.ndarray:
    return values.detach().double().cpu().numpy()
