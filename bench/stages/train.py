"""Training a model, resumed from its last checkpoint or from the end of a shorter training."""

import functools
from pathlib import Path

import safetensors.torch

from bench.card import cards
from bench.data.images import load_images
from bench.files import hash_file
from bench.method import Run, load_method
from bench.plan import Job
from bench.prefix import training_prefix
from bench.schema import build, plain
from bench.spec import AverageSpec, ModelSpec, SnapshotSpec, TrainSpec, from_plain
from bench.stages.checkpoints import Checkpoints, TrainingLog
from bench.stages.context import Context
from bench.stages.cost import clock, training_flops
from bench.stages.model import finite_state, parameter_count
from bench.stages.weights import average, average_suffix, averaged_at, take_over
from bench.store import Store, UnitId


def train(job: Job[ModelSpec], unit: UnitId, context: Context) -> None:
    """Makes the weights of a model: by training, from a checkpoint of elsewhere, or as an average.

    All processes of a training call this together; what is no training, rank 0 makes alone.
    """
    (model,) = job.specs
    if isinstance(model, AverageSpec):
        if context.rank == 0:
            average(model, unit, context)
    elif isinstance(model, TrainSpec) and model.checkpoint is not None:
        if context.rank == 0:
            take_over(model, Path(job.path or ""), unit, context)
    else:
        _train(model, unit, context)


def _train(model: TrainSpec | SnapshotSpec, unit: UnitId, context: Context) -> None:
    """Trains a model, resuming from its last checkpoint, and writes its weights.

    A fresh start goes on from the longest stored training that is a part of this one. The state at
    the end is kept if a longer training could go on from it.
    """
    spec, until = (model.train, model.images) if isinstance(model, SnapshotSpec) else (model, None)
    store, folder = context.store, context.store.folder(unit.stage, unit.key)
    if context.rank == 0:
        params = build(cards()[spec.method].params, spec.params)
        store.write_spec(unit.stage, unit.key, model, {"params": plain(params)})
    data = load_images(spec.dataset)
    method = load_method(spec.method, spec.params, data, context.device)
    suffixes = {images: average_suffix(images) for images in averaged_at(model)}
    log = TrainingLog(folder / "log.jsonl")
    checkpoints = Checkpoints(
        folder / "resume.safetensors",
        log,
        context,
        functools.partial(_longest_shared_prefix, store, unit, model),
        {images: store.path(unit, suffix).name for images, suffix in suffixes.items()},
    )
    run = Run(
        seed=spec.seed,
        device=context.device,
        restore=checkpoints.restore,
        checkpoint=checkpoints.checkpoint,
        announce=lambda steps: context.lease.note(steps=steps) if context.rank == 0 else None,
        log=log.log,
        keep=checkpoints.keep_average,
        until=until,
        compiled=context.compiled,
        rank=context.rank,
        world=context.world,
    )
    method.train(data, run)
    if context.rank > 0:
        return
    clock(context.device)
    seconds = checkpoints.seconds()  # before FLOPs are counted
    state = finite_state(method)
    store.guard()
    log.flush()
    prefix = training_prefix(model)
    record = {
        "images": log.images,
        "steps": checkpoints.step,
        "flops": training_flops(method, data, spec, log.images) if log.images else 0.0,
        "parameters": parameter_count(method),
        "seconds": seconds,
        "state": checkpoints.keep() if prefix is not None and prefix.open else None,
        "went_on_from": checkpoints.began_at,
        "provenance": context.provenance(),
    }
    weights = {".safetensors": safetensors.torch.save(state)}
    store.finish(unit, record, weights, there=suffixes.values())
    if record["state"] is None:
        checkpoints.path.unlink(missing_ok=True)


def _longest_shared_prefix(
    store: Store, unit: UnitId, model: TrainSpec | SnapshotSpec
) -> Path | None:
    """Returns the state at the end of the longest stored training that begins this one, or None."""
    own = training_prefix(model)
    if own is None:
        return None
    states = []
    for name, values in store.specs(unit.stage):
        if "ema" in values or name == unit.key:
            continue
        try:
            other = training_prefix(
                from_plain(SnapshotSpec if "train" in values else TrainSpec, values)
            )
        except (ValueError, TypeError, KeyError):  # of a version that had other parameters
            continue
        record = store.record(unit.stage, name, unit.part)
        if other is None or record is None or not record.get("state"):
            continue
        if other.family == own.family and other.images <= own.images:
            path = store.folder(unit.stage, name) / "resume.safetensors"
            states.append((other.images, path, record["state"]))
    for _, path, sha256 in sorted(states, key=lambda item: item[:2], reverse=True):
        if path.exists() and hash_file(path) == sha256:
            return path
    return None
