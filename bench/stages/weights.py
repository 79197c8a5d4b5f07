"""Weights that need no training: checkpoints made elsewhere, averages of another length."""

import functools
import time
from pathlib import Path

import safetensors.torch

from bench.card import cards
from bench.data.digest import digest_checkpoint
from bench.method import Run, load_method
from bench.schema import build, plain
from bench.spec import AverageSpec, SnapshotSpec, TrainSpec, place
from bench.stages.context import Context
from bench.stages.model import cached_images, finite_state, parameter_count, stored_tensors
from bench.store import UnitId


def take_over(spec: TrainSpec, path: Path, unit: UnitId, context: Context) -> None:
    """Writes the weights of a checkpoint made elsewhere: a model that was trained on 0 images here.

    Raises:
        ValueError: The file is no longer the one that was planned with.
    """
    begin = time.monotonic()
    if digest_checkpoint(path) != spec.checkpoint:
        raise ValueError(
            f"{path}: is no longer the checkpoint that was planned with; start the suite again"
        )
    params = build(cards()[spec.method].params, spec.params)
    context.store.write_spec(unit.stage, unit.key, spec, {"params": plain(params)})
    data = cached_images(spec.dataset)
    method = load_method(spec.method, spec.params, data, context.device)
    facts = method.import_checkpoint(path, spec.weights)
    if "note" in facts:
        print(f"{path}: {facts['note']}", flush=True)
    method.fit_start(data, Run(seed=spec.seed, device=context.device))
    state = finite_state(method)
    origin = {"from": str(path), "sha256": spec.checkpoint, "weights": spec.weights, **facts}
    record = {
        "images": 0,
        "steps": 0,
        "flops": 0.0,
        "parameters": parameter_count(method),
        "seconds": time.monotonic() - begin,
        "imported": origin,
        "provenance": context.provenance(),
    }
    context.store.finish(unit, record, {".safetensors": safetensors.torch.save(state)})


def average(spec: AverageSpec, unit: UnitId, context: Context) -> None:
    """Writes weights averaged over another length, from the averages that a training kept.

    Raises:
        FileNotFoundError: The training is not finished.
    """
    store, source, train = context.store, UnitId(*place(spec.source)), spec.train
    trained = store.check(source)
    if trained is None:
        raise FileNotFoundError(f"{source} is not finished")
    params = build(cards()[train.method].params, train.params)
    store.write_spec(unit.stage, unit.key, spec, {"params": plain(params)})
    data = cached_images(train.dataset)
    method = load_method(train.method, train.params, data, context.device)
    method.load_state(stored_tensors(context, source, ".safetensors"))
    kept = {
        images: functools.partial(stored_tensors, context, source, average_suffix(images))
        for images in averaged_at(spec.source)
    }
    facts = method.take_average(spec.ema, kept)
    record = {
        **{name: trained[name] for name in ("images", "steps", "flops", "parameters", "seconds")},
        "average": {"of": source.key, "ema": spec.ema, "kept": len(kept), **facts},
        "provenance": context.provenance(),
    }
    store.finish(unit, record, {".safetensors": safetensors.torch.save(finite_state(method))})


def average_suffix(images: int) -> str:
    """Returns the suffix of the file with the averages kept after so many training images."""
    return f".{images:012d}.safetensors"


def averaged_at(model: TrainSpec | SnapshotSpec) -> tuple[int, ...]:
    """Returns after how many training images a training keeps averages of its weights."""
    spec = model.train if isinstance(model, SnapshotSpec) else model
    card = cards()[spec.method]
    if card.training is None:
        return ()
    params = build(card.params, spec.params)
    images = model.images if isinstance(model, SnapshotSpec) else card.training.images(params)
    return card.training.averages(params, images)
