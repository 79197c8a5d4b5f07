"""What runs inside a job: train, samples, likelihood, inspect, scores. One function a stage, one
unit a call.

Data files hold what was computed and nothing else, so that two runs of equal inputs are byte-equal;
seconds, host and attempts go to the records beside them.
"""

import contextlib
import functools
import hashlib
import importlib.metadata
import io
import json
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors.torch
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from bench.card import BudgetError, cards
from bench.counter import NetworkCounter
from bench.data.conditioning import truth
from bench.data.content import check_content
from bench.data.digest import digest_checkpoint
from bench.data.external import digest_images, read_external
from bench.data.images import Images, load_images
from bench.data.root import data_root
from bench.data.subset import ALL, describe_part, drawing
from bench.files import FULL, hash_file, put_aside, write
from bench.installation import checkout
from bench.method import Condition, Inspection, Method, Noise, Run, Sampler, evaluated, load_method
from bench.metrics.floor import real_floor
from bench.metrics.references import References
from bench.metrics.registry import METRICS
from bench.metrics.scoring import score
from bench.plan import Job
from bench.prefix import training_prefix
from bench.schema import build, plain
from bench.spec import (
    AverageSpec,
    ImagesSpec,
    InspectSpec,
    LikelihoodSpec,
    SampleSpec,
    ScoreSpec,
    SnapshotSpec,
    TrainSpec,
    canonical,
    from_plain,
    part_name,
    place,
)
from bench.store import DamagedError, Store, UnitId

if TYPE_CHECKING:
    from bench.execute.lease import Lease
    from bench.execute.stop import Stop


DRAW_VARIANCE = "bits_per_dim_draw_variance"
"""The variance of an image's bits/dim over dequantisations and probes, where a method has several
draws of them.
"""

AGAIN = 8
"""The most images of a likelihood that are scored by a second draw, where there is one alone."""


class DivergedError(Exception):
    """A model gave NaN or infinity."""


@dataclass
class Context:
    """Where and how a unit is made."""

    store: Store
    settings: dict[str, Any]
    lease: "Lease"
    stop: "Stop"
    start: str
    attempts: int
    earlier_seconds: float = 0.0
    begun: float = field(default_factory=time.monotonic)

    @property
    def device(self) -> torch.device:
        """The device that the executor chose; of several that a process sees, the one of its rank
        on the node.
        """
        asked = self.settings["device"]
        device = torch.device(
            ("cuda" if torch.cuda.is_available() else "cpu") if asked == "auto" else asked
        )
        if device.type == "cuda" and self.world > 1:
            return torch.device("cuda", self.settings["local_rank"] % torch.cuda.device_count())
        return device

    @property
    def rank(self) -> int:
        """Which of the processes of one training this is."""
        return self.settings.get("rank", 0)

    @property
    def world(self) -> int:
        """How many processes share one training."""
        return self.settings.get("world", 1)

    @property
    def tf32(self) -> bool:
        """Whether GPUs may compute float32 products in TF32."""
        return self.settings.get("tf32", False)

    @property
    def compiled(self) -> bool:
        """Whether networks go through torch.compile."""
        return self.settings.get("compile", False)

    def provenance(self) -> dict[str, Any]:
        """Returns who made a result, where, when, with what."""
        return {
            **_environment(),
            "device": torch.cuda.get_device_name(self.device)
            if self.device.type == "cuda"
            else _processor(),
            "accelerator": self.device.type,
            "threads": torch.get_num_threads(),
            "tf32": self.device.type == "cuda" and self.tf32,
            "compiled": self.compiled,
            "start": self.start,
            "end": time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime()),
            "attempts": self.attempts,
            "attempt_seconds": round(self.earlier_seconds + time.monotonic() - self.begun, 3),
            **({"processes": self.world} if self.world > 1 else {}),
        }


def make(job: Job, unit: UnitId, context: Context) -> None:
    """Makes one unit of a job and writes it to the store.

    Where several processes share a training, each calls this, and the one of rank 0 writes.

    Raises:
        DamagedError: An input is not what was written.
        DivergedError: The model gave NaN or infinity.
    """
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = context.tf32
    _check_data(job, context)
    stage: Callable[[Job, UnitId, Context], None] = STAGES[job.stage]
    stage(job, unit, context)


def _check_data(job: Job, context: Context) -> None:
    """Makes sure that the data set's files, where they are there, are those that the job was
    planned with.
    """
    spec: Any = job.specs[0]
    spec = spec.source if isinstance(spec, ScoreSpec) else spec
    spec = spec if isinstance(spec, TrainSpec | ImagesSpec) else spec.train
    _checked(spec.dataset, spec.dataset_sha256, context.store.root / "external", data_root())


@functools.lru_cache(maxsize=8)
def _checked(dataset: str, sha256: str | None, cache: Path, root: Path) -> None:
    """Checks a data set once a process: what is read of it then is kept."""
    check_content(dataset, sha256, cache)


def train(job: Job, unit: UnitId, context: Context) -> None:
    """Trains a model, resuming from its last checkpoint, and writes its weights; or takes over
    those of elsewhere.

    A fresh start goes on from the longest stored training that is a part of this one. The state to
    go on from is kept where a longer training could be asked for.
    """
    (model,) = job.specs
    if isinstance(model, AverageSpec):
        average(job, unit, context) if context.rank == 0 else None
        return
    if isinstance(model, TrainSpec) and model.checkpoint is not None:
        take_over(job, unit, context) if context.rank == 0 else None
        return
    spec, until = (model.train, model.images) if isinstance(model, SnapshotSpec) else (model, None)
    store, folder = context.store, context.store.folder(unit.stage, unit.key)
    card = cards()[spec.method]
    params = build(card.params, spec.params)
    if context.rank == 0:
        store.write_spec(unit.stage, unit.key, model, {"params": plain(params)})
    averages = {images: average_suffix(images) for images in _averaged_at(model)}
    data = load_images(spec.dataset)
    method = load_method(spec.method, spec.params, data, context.device)
    diary = Diary(folder / "log.jsonl")
    shorter = functools.partial(_shorter, store, unit, model)
    names = {images: store.path(unit, suffix).name for images, suffix in averages.items()}
    keeper = Checkpoints(folder / "resume.safetensors", diary, context, shorter, names)
    run = Run(
        seed=spec.seed,
        device=context.device,
        restore=keeper.restore,
        checkpoint=keeper.checkpoint,
        announce=lambda steps: context.lease.note(steps=steps) if context.rank == 0 else None,
        log=diary.log,
        keep=keeper.keep_average,
        until=until,
        compiled=context.compiled,
        rank=context.rank,
        world=context.world,
    )
    method.train(data, run)
    if context.rank > 0:
        return
    _clock(context.device)
    seconds = keeper.seconds()
    state = _finite_state(method)
    context.store.guard()
    diary.flush()
    here = training_prefix(model)
    record = {
        "images": diary.images,
        "steps": keeper.step,
        "flops": _training_flops(method, data, spec, diary.images) if diary.images else 0.0,
        "parameters": sum(p.numel() for network in method.networks for p in network.parameters()),
        "seconds": seconds,
        "state": keeper.keep() if here is not None and here.open else None,
        "went_on_from": keeper.began_at,
        "provenance": context.provenance(),
    }
    store.finish(
        unit, record, {".safetensors": safetensors.torch.save(state)}, there=averages.values()
    )
    if record["state"] is None:
        keeper.path.unlink(missing_ok=True)


def take_over(job: Job, unit: UnitId, context: Context) -> None:
    """Writes the weights of a checkpoint that was made elsewhere, as those of a model that saw no
    image here.
    """
    (spec,) = job.specs
    path = Path(job.path or "")
    begin = time.monotonic()
    if digest_checkpoint(path) != spec.checkpoint:
        raise ValueError(
            f"{path}: is no longer the checkpoint that was planned with; start the suite again"
        )
    params = build(cards()[spec.method].params, spec.params)
    context.store.write_spec(unit.stage, unit.key, spec, {"params": plain(params)})
    method = load_method(spec.method, spec.params, load_images(spec.dataset), context.device)
    told = method.import_checkpoint(path, spec.weights)
    if "note" in told:
        print(f"{path}: {told['note']}", flush=True)
    method.fit_start(load_images(spec.dataset), Run(seed=spec.seed, device=context.device))
    state = _finite_state(method)
    record = {
        "images": 0,
        "steps": 0,
        "flops": 0.0,
        "parameters": sum(p.numel() for network in method.networks for p in network.parameters()),
        "seconds": time.monotonic() - begin,
        "imported": {"from": str(path), "sha256": spec.checkpoint, "weights": spec.weights, **told},
        "provenance": context.provenance(),
    }
    context.store.finish(unit, record, {".safetensors": safetensors.torch.save(state)})


def average(job: Job, unit: UnitId, context: Context) -> None:
    """Writes the weights of a training averaged over another length, made from the averages that it
    kept.
    """
    (spec,) = job.specs
    store, source = context.store, UnitId(*place(spec.source))
    trained = store.check(source)
    if trained is None:
        raise FileNotFoundError(f"{source} is not finished")
    params = build(cards()[spec.train.method].params, spec.train.params)
    store.write_spec(unit.stage, unit.key, spec, {"params": plain(params)})
    method = load_method(
        spec.train.method, spec.train.params, _data(spec.train.dataset), context.device
    )
    method.load_state(_tensors(context, source, ".safetensors"))
    kept = {
        images: functools.partial(_tensors, context, source, average_suffix(images))
        for images in _averaged_at(spec.source)
    }
    told = method.take_average(spec.ema, kept)
    record = {
        **{name: trained[name] for name in ("images", "steps", "flops", "parameters", "seconds")},
        "average": {"of": source.key, "ema": spec.ema, "kept": len(kept), **told},
        "provenance": context.provenance(),
    }
    store.finish(unit, record, {".safetensors": safetensors.torch.save(_finite_state(method))})


def average_suffix(images: int) -> str:
    """Returns the suffix of the file with the averages that a training kept after so many
    images.
    """
    return f".{images:012d}.safetensors"


def _averaged_at(model: TrainSpec | SnapshotSpec) -> tuple[int, ...]:
    """Returns after how many training images a training keeps averages of its weights."""
    spec = model.train if isinstance(model, SnapshotSpec) else model
    card = cards()[spec.method]
    if card.training is None:
        return ()
    params = build(card.params, spec.params)
    images = model.images if isinstance(model, SnapshotSpec) else card.training.images(params)
    return card.training.averages(params, images)


def _tensors(context: Context, unit: UnitId, suffix: str) -> dict[str, torch.Tensor]:
    """Returns the tensors of a file of a finished unit, on the context's device."""
    found = safetensors.torch.load(context.store.read(unit, suffix))
    return {name: tensor.to(context.device) for name, tensor in found.items()}


def _finite_state(method: Method) -> dict[str, torch.Tensor]:
    """Returns a method's state on the CPU.

    Raises:
        DivergedError: It holds NaN or infinity.
    """
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in method.state().items()}
    broken = [name for name, tensor in state.items() if not torch.isfinite(tensor).all()]
    if broken:
        raise DivergedError(
            f"diverged: {len(broken)} of {len(state)} weight tensors hold NaN or infinity ({broken[0]})"
        )
    return state


def _shorter(store: Store, unit: UnitId, model: TrainSpec | SnapshotSpec) -> Path | None:
    """Returns the state at the end of the longest stored training that is a part of this one; None
    without any.
    """
    here, found = training_prefix(model), []
    for name, values in store.specs(unit.stage) if here is not None else ():
        if "ema" in values:
            continue
        try:
            there = training_prefix(
                from_plain(SnapshotSpec if "train" in values else TrainSpec, values)
            )
        except (
            ValueError,
            TypeError,
            KeyError,
        ):  # of a version whose parameters are no longer known
            continue
        record = store.record(unit.stage, name, unit.part)
        usable = name != unit.key and record is not None and record.get("state")
        if (
            usable
            and there is not None
            and there.course == here.course
            and there.images <= here.images
        ):
            found.append(
                (
                    there.images,
                    store.folder(unit.stage, name) / "resume.safetensors",
                    record["state"],
                )
            )
    for _, path, sha256 in sorted(found, key=lambda item: item[:2], reverse=True):
        if path.exists() and hash_file(path) == sha256:
            return path
    return None


class _EnoughSteps(BaseException):
    """A measurement has seen enough of a training; not an Exception, so that no adapter swallows
    it.
    """


def measure(job: Job, context: Context, seconds: float) -> dict[str, float] | None:
    """Times the first steps of a training, and a batch of what it then samples; writes nothing.

    Args:
        seconds: How long to look at the steps.

    Returns:
        ``seconds`` of the whole training, which a checkpoint made elsewhere has none of, and
        ``seconds_per_row`` of the network in sampling; None where there is no model (an average).
    """
    (model,) = job.specs
    spec = model.train if isinstance(model, SnapshotSpec) else model
    if not isinstance(spec, TrainSpec):
        return None
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = context.tf32
    method = load_method(spec.method, spec.params, _data(spec.dataset), context.device)
    found = (
        {}
        if spec.checkpoint is not None
        else {"seconds": _time_steps(model, spec, method, context, seconds)}
    )
    short = _shortest(method)
    if short is not None:
        count = 128 if context.device.type == "cuda" else 16
        for _ in range(2):  # the first one warms up
            way = evaluated(method.networks, precision="float32", compiled=context.compiled)
            with NetworkCounter(method.networks) as counter, torch.no_grad(), way:
                begin = _clock(context.device)
                method.sample(count, short, Noise(0, ("measure",), device=method.device))
                found["seconds_per_row"] = (_clock(context.device) - begin) / max(1, counter.rows)
    return found


def _time_steps(
    model: TrainSpec | SnapshotSpec,
    spec: TrainSpec,
    method: Method,
    context: Context,
    seconds: float,
) -> float:
    """Returns the seconds of a whole training, from its first steps."""
    total, moments = [0], []

    def step(finished: int, tensors: Callable[[], dict[str, torch.Tensor]]) -> None:
        moments.append(_clock(context.device))
        if len(moments) > 2 and moments[-1] - moments[0] > seconds:
            raise _EnoughSteps

    until = model.images if isinstance(model, SnapshotSpec) else None
    run = Run(
        seed=spec.seed,
        device=context.device,
        until=until,
        checkpoint=step,
        announce=lambda n: total.append(n),
        compiled=context.compiled,
    )
    with contextlib.suppress(_EnoughSteps):
        method.train(_data(spec.dataset), run)
    each = (moments[-1] - moments[0]) / (len(moments) - 1) if len(moments) > 1 else 0.0
    return each * total[-1]


def samples(job: Job, unit: UnitId, context: Context) -> None:
    """Makes one batch of images and writes them as the data set stores its own, with what they
    cost.
    """
    (spec,) = job.specs
    method = _trained(context, spec)
    sampler_card = method.card.samplers[spec.sampler]
    params = build(sampler_card.params, spec.params)
    context.store.write_spec(unit.stage, unit.key, spec, {"params": plain(params)})
    sampler = Sampler(spec.sampler, spec.times, params)
    way = evaluated(method.networks, precision=spec.precision, compiled=context.compiled)
    warm = _warm_up(context, method, spec)
    with NetworkCounter(method.networks) as counter, torch.no_grad(), way:
        begin = _clock(context.device)
        noise = Noise(spec.seed, ("sample", int(unit.part)), device=method.device)
        images = method.sample(spec.batch, sampler, noise, _given(spec, int(unit.part), method))
        seconds = _clock(context.device) - begin
    images, data = images.detach().cpu(), _data(spec.train.dataset)
    bad = int((~torch.isfinite(images)).flatten(1).any(1).sum())
    if bad:
        raise DivergedError(f"diverged: {bad} of {spec.batch} images hold NaN or infinity")
    buffer = io.BytesIO()
    real = spec.quantise == "none"
    np.savez(
        buffer,
        images=as_stored(images, data) if real else quantise(images, method.levels, spec.quantise),
    )
    record = {
        "images": spec.batch,
        "nfe": counter.rows / spec.batch,
        "seconds": seconds,
        "warm": warm,
        "flops_per_row": _row_flops(counter, 0, place(spec.model)[1])[0]
        if counter.forward[0]
        else 0.0,
        "flops_per_image": _flops(counter, place(spec.model)[1]) / spec.batch,
        "clipped": None if real else clipped(images, method.levels, spec.quantise),
        "provenance": context.provenance(),
    }
    context.store.finish(unit, record, {".npz": buffer.getvalue()})


def _given(spec: SampleSpec, part: int, method: Method) -> Condition | None:
    """Returns what a method may know of the images of one batch."""
    if spec.given is None:
        return None
    data = _data(spec.train.dataset)
    wanted = truth(spec.given, data, part * spec.batch, spec.batch)
    if wanted.images is None:
        return Condition(wanted.task, labels=torch.from_numpy(wanted.image).to(method.device))
    images = torch.from_numpy(
        wanted.known_part(wanted.images.astype(np.float64)) / (data.levels - 1)
    )
    known = None if wanted.known is None else torch.from_numpy(wanted.known).to(method.device)
    return Condition(wanted.task, images=images.to(method.device, torch.float32), known=known)


def as_stored(images: torch.Tensor, data: Images) -> np.ndarray:
    """Returns real values in [0, 1] in the data set's own units, float32; none is clipped."""
    return data.unscaled(images.double()).float().numpy()


def quantise(images: torch.Tensor, levels: int, rule: str) -> np.ndarray:
    """Returns images in [0, 1] as uint8 in 0, ..., levels - 1; values outside are clipped.

    Args:
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


def likelihood(job: Job, unit: UnitId, context: Context) -> None:
    """Scores one batch of held-out images by the model itself."""
    (spec,) = job.specs
    method = _trained(context, spec)
    params = build(method.card.likelihood.params, spec.params)
    context.store.write_spec(unit.stage, unit.key, spec, {"params": plain(params)})
    data = _data(spec.train.dataset)
    first = int(unit.part) * spec.batch
    held_out = data.drawn(spec.split, slice(first, min(first + spec.batch, spec.images)))
    stored = torch.from_numpy(held_out)
    images = data.scaled(stored.double()) if data.kind == "real" else stored.long()
    images = images.to(method.device)
    noise = Noise(spec.seed, ("likelihood", int(unit.part)), device=method.device)
    with NetworkCounter(method.networks) as counter:
        begin = _clock(context.device)
        scored = method.score(images, noise, params)
        seconds = _clock(context.device) - begin
    values = {name: value.detach().double().cpu().tolist() for name, value in scored.values.items()}
    for name, numbers in values.items():
        if not all(map(math.isfinite, numbers)):
            raise DivergedError(f"diverged: {name} of some images is NaN or infinite")
    if data.mixture is not None:
        dims = math.prod(data.shape)
        points = data.scaled(held_out.astype(np.float64)).reshape(-1, dims)
        values["exact_bits_per_dim"] = (
            -data.mixture.log_prob(points) / (dims * math.log(2))
        ).tolist()
    identity = {**scored.identity, "images": spec.images, "split": spec.split, "batch": spec.batch}
    identity |= {"drawn": describe_part(spec.images, data.card.splits[spec.split]) or ALL}
    record = {
        "values": values,
        "identity": {**identity, **_data_facts(spec.train)},
        "nfe": counter.rows / len(images),
        "flops_per_image": _flops(counter, place(spec.model)[1]) / len(images),
        "seconds": seconds,
        "provenance": context.provenance(),
    }
    if unit.part == part_name(0) and DRAW_VARIANCE not in values:
        again = method.score(images[:AGAIN], noise.child("again"), params)
        record["again"] = again.values["bits_per_dim"].detach().double().cpu().tolist()
    context.store.finish(unit, record)


def _data_facts(spec: TrainSpec) -> dict[str, Any]:
    """Returns which images a model's own numbers are of."""
    other = {"dataset_sha256": spec.dataset_sha256} if spec.dataset_sha256 else {}
    return {"dataset": f"{spec.dataset}@{spec.dataset_version}", **other}


def inspect(job: Job, unit: UnitId, context: Context) -> None:
    """Writes the losses of a model on held-out images by noise level, and the pictures that it
    shows of itself.
    """
    (spec,) = job.specs
    method = _trained(context, spec)
    context.store.write_spec(unit.stage, unit.key, spec, {})
    data = _data(spec.train.dataset)
    held_out = data.scaled(torch.from_numpy(data.drawn(spec.split, slice(spec.images))).float()).to(
        method.device
    )
    noise = Noise(spec.seed, ("inspect",), device=method.device)
    begin = _clock(context.device)
    with torch.no_grad():
        seen = method.inspect(held_out, noise)
    seconds = _clock(context.device) - begin
    losses = _checked_losses(seen, len(held_out))
    facts = {**_data_facts(spec.train), "split": spec.split, "seed": spec.seed}
    facts |= {"drawn": describe_part(spec.images, data.card.splits[spec.split]) or ALL}
    record = {
        "times": seen.times.tolist(),
        "noise_levels": [
            level if math.isfinite(level) else None for level in seen.noise_levels.tolist()
        ],
        "losses": losses.mean(1).tolist(),
        "errors": (losses.std(1) / math.sqrt(len(held_out))).tolist()
        if len(held_out) > 1
        else [None] * len(losses),
        "identity": {
            **facts,
            "images": len(held_out),
            "weighting": seen.weighting,
            "version": spec.version,
        },
        "strips": list(seen.strips),
        "curves": [
            {"title": title, "x": c.x_label, "y": c.y_label} for title, c in seen.curves.items()
        ],
        "seconds": seconds,
        "provenance": context.provenance(),
    }
    arrays = {
        f"strip/{index}": _array(strip).astype(np.float32)
        for index, strip in enumerate(seen.strips.values())
    }
    for index, curve in enumerate(seen.curves.values()):
        arrays |= {f"curve/{index}/x": _array(curve.x), f"curve/{index}/y": _array(curve.y)}
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    context.store.finish(unit, record, {".npz": buffer.getvalue()})


def _checked_losses(seen: Inspection, count: int) -> torch.Tensor:
    """Returns the losses of an inspection of ``count`` images, float64 on the CPU.

    Raises:
        DivergedError: A loss is NaN or infinite.
        ValueError: Shapes are not those of :class:`bench.method.Inspection`.
    """
    levels = len(seen.times)
    if seen.losses.shape != (levels, count) or seen.noise_levels.shape != (levels,):
        shapes = (
            f"losses {tuple(seen.losses.shape)} and noise levels {tuple(seen.noise_levels.shape)}"
        )
        raise ValueError(f"inspect gave {shapes}, expected {(levels, count)} and {(levels,)}")
    for title, strip in seen.strips.items():
        if strip.ndim != 5:
            raise ValueError(
                f"inspect gave the strip {title!r} in shape {tuple(strip.shape)}, not (rows, columns, C, H, W)"
            )
    for title, curve in seen.curves.items():
        if curve.x.ndim != 1 or curve.x.shape != curve.y.shape:
            raise ValueError(
                f"inspect gave the curve {title!r} in shapes {tuple(curve.x.shape)}, {tuple(curve.y.shape)}"
            )
    losses = seen.losses.detach().double().cpu()
    bad = [
        f"{t:.3g}"
        for t, finite in zip(seen.times.tolist(), torch.isfinite(losses).all(1), strict=True)
        if not finite
    ]
    if bad:
        raise DivergedError(
            f"diverged: the held-out loss is NaN or infinite at t = {', '.join(bad)}"
        )
    return losses


def _array(values: torch.Tensor) -> np.ndarray:
    return values.detach().double().cpu().numpy()


def scores(job: Job, unit: UnitId, context: Context) -> None:
    """Computes every metric asked of one sample set in one pass over its images."""
    spec = job.specs[0]
    source, made_elsewhere = spec.source, {}
    if isinstance(source, SampleSpec):
        data = _data(source.train.dataset)
        images = _shards(context, source, spec.count)
        rule: dict[str, Any] = (
            {"quantise": "none"} if source.quantise == "none" else {"uint8": source.quantise}
        )
        sampler = cards()[source.train.method].samplers[source.sampler]
        if sampler.couples(build(sampler.params, source.params)):
            rule["batch"] = source.batch
    else:
        data = _data(source.dataset)
        images, made_elsewhere = _elsewhere(job, spec, data)
        rule = {
            "quantise" if data.kind == "real" else "uint8": "as given",
            "source sha256": source.sha256,
        }
        rule |= {"drawn": describe_part(spec.count, made_elsewhere["images"]) or ALL}
        rule |= {"scale": list(source.scale)} if source.scale is not None else {}
    missing = [
        (part, spec)
        for part, spec in zip(job.parts, job.specs, strict=True)
        if context.store.record(unit.stage, unit.key, part) is None
    ]
    requests = [
        (spec.metric, build(METRICS[spec.metric].params, spec.params)) for _, spec in missing
    ]
    given = source.given if isinstance(source, SampleSpec) else None
    kept = _references(context.store.root.absolute())
    measured = score(
        images,
        requests,
        data,
        device=context.device,
        given=given,
        count=spec.count,
        references=kept,
    )
    for (part, wanted), value in zip(missing, measured, strict=True):
        if wanted.weights not in (None, found := value.identity.get("weights_sha256")):
            raise ValueError(
                f"{wanted.metric}: the extractor's weights are not those that the suite was planned with (sha256 "
                f"{found[:12]}..., not {wanted.weights[:12]}...); start the suite again"
            )
        card, params = METRICS[wanted.metric], build(METRICS[wanted.metric].params, wanted.params)
        record = {
            "value": value.value,
            "identity": {**value.identity, **rule},
            "spec": canonical(wanted),
        }
        record |= {"source": made_elsewhere} if made_elsewhere else {}
        record |= {"provenance": context.provenance()}
        if card.reference(params) is not None and card.floor:
            record["floor"] = _floor(context, wanted.metric, params, data, value.identity, kept)
        context.store.finish(UnitId(unit.stage, unit.key, part), record)


def _elsewhere(
    job: Job, spec: ScoreSpec, data: Images
) -> tuple[Iterator[np.ndarray], dict[str, Any]]:
    """Returns the images to score of a set made elsewhere, drawn from it, and what they are of it.

    Raises:
        ValueError: The set is not what it was, does not fit the data set, or has too few images.
    """
    path, source = Path(job.path or ""), spec.source
    if digest_images(path) != source.sha256:
        raise ValueError(
            f"{path}: the images are not those that the suite was read with; start it again"
        )
    whole = read_external(path, data.card, source.scale)
    if len(whole) < spec.count:
        raise ValueError(f"{job.label}: {spec.count} images are asked for, there are {len(whole)}")
    found = drawing(whole)
    facts = {"drawn": spec.count, "images": len(whole), "copies": found.copies(spec.count)}
    return iter([whole[found.order[: spec.count]]]), facts


@functools.lru_cache(maxsize=1)
def _references(root: Path) -> References:
    """Returns the references of a store, whose statistics a worker keeps from one sample set to the
    next.
    """
    return References(Store(root))


def _floor(
    context: Context,
    metric: str,
    params: Any,
    data: Images,
    identity: Mapping[str, Any],
    references: References,
) -> dict[str, Any] | None:
    """Returns what as many real images score, None where there are too few of them; measured once a
    store.

    Against held-out images also ``training_set``, what all training images score: no model should
    be asked for less.
    """

    def measure() -> dict[str, Any] | None:
        try:
            floor = real_floor(
                metric,
                params,
                data,
                identity["count"],
                device=context.device,
                references=references,
            )
        except ValueError:
            return None
        std = floor.std if math.isfinite(floor.std) else None
        found = {"mean": floor.mean, "std": std, "draws": floor.draws, "split": floor.split}
        if METRICS[metric].reference(params) == "test":
            images, wide = len(data.train), {"device": context.device, "references": references}
            whole = real_floor(metric, params, data, images, split="train", draws=1, **wide)
            found["training_set"] = {"value": whole.mean, "images": images}
        return found

    # What the pool of real images is follows from the data set and the reference, which are in the
    # identity.
    return references.floor({"floor": METRICS[metric].floor, **identity}, measure)


def _shards(context: Context, source: SampleSpec, count: int) -> Iterator[np.ndarray]:
    """Yields the first images of a sample set, batch by batch.

    Raises:
        DamagedError: Some are no longer there (pruned by another suite, say): their batch is to be
            made again.
    """
    key, left = UnitId(*place(source)).key, count
    for index in range(math.ceil(count / source.batch)):
        unit = UnitId("samples", key, part_name(index))
        try:
            content = context.store.read(unit, ".npz")
        except FileNotFoundError as error:
            raise DamagedError(
                unit, context.store.path(unit, ".npz"), "is no longer there"
            ) from error
        yield np.load(io.BytesIO(content), allow_pickle=False)["images"][:left]
        left -= source.batch


STAGES = {
    "train": train,
    "samples": samples,
    "likelihood": likelihood,
    "inspect": inspect,
    "scores": scores,
}


class Diary:
    """The training curves: one JSON line a log call, without times, so that equal trainings write
    equal files.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: list[dict[str, Any]] = []
        self.images = 0

    def log(self, images: int, **values: float) -> None:
        """Notes values after ``images`` training images."""
        self.images = images
        self.lines.append({"images": images, **values})

    def content(self) -> bytes:
        """Returns the whole file."""
        return "".join(json.dumps(line) + "\n" for line in self.lines).encode()

    def flush(self) -> None:
        """Writes the file, for those who watch."""
        write(self.path, self.content())


class Checkpoints:
    """The state to resume a training from, with its diary, in one file; averages of weights lie
    beside it.

    Args:
        path: The file.
        diary: What the training has logged.
        context: Where and how it trains.
        shorter: Returns the state at the end of a shorter training to go on from, None without any.
        averages: File names of the averages that the training keeps, by training images.
    """

    def __init__(
        self,
        path: Path,
        diary: Diary,
        context: Context,
        shorter: Callable[[], Path | None],
        averages: Mapping[int, str],
    ) -> None:
        self.path = path
        self.diary = diary
        self.context = context
        self.shorter = shorter
        self.averages = averages
        self.kept: dict[str, str] = {}
        self.tensors: Callable[[], dict[str, torch.Tensor]] | None = None
        self.began_at: str | None = None
        self.step = 0
        self.before = 0.0
        self.begin = self.written = self.noted = time.monotonic()

    def seconds(self) -> float:
        """Returns the seconds of training, those of earlier attempts up to their last checkpoint
        included.
        """
        return self.before + time.monotonic() - self.begin

    def restore(self) -> tuple[int, dict[str, torch.Tensor]] | None:
        """Returns the last checkpoint, or else the end of a shorter training, or None; a damaged
        one is put aside.

        Where several processes share the training, all get what the first one finds.
        """
        if self.context.world == 1:
            return self._restore()
        found: list[Any] = [self._restore() if self.context.rank == 0 else None]
        torch.distributed.broadcast_object_list(found, device=self.context.device)
        if found[0] is None:
            return None
        step, tensors = found[0]
        return step, {name: tensor.to(self.context.device) for name, tensor in tensors.items()}

    def _restore(self) -> tuple[int, dict[str, torch.Tensor]] | None:
        if self.path.exists() and (found := self._read(self.path)) is not None:
            return found
        start = self.shorter()
        if start is None:
            return None
        found = self._read(start)
        if found is not None:
            self.began_at = start.parent.name
            self.tensors = lambda: found[1]
            self._take_averages(start.parent)
        return found

    def _read(self, path: Path) -> tuple[int, dict[str, torch.Tensor]] | None:
        try:
            with safetensors.safe_open(path, "pt", device=str(self.context.device)) as file:
                notes = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if notes.pop("sha256") != _checksum(notes, tensors):
                raise ValueError("its content is not what was written (sha256)")
            kept = json.loads(notes.get("averages", "{}"))
            for name, sha256 in kept.items():
                if hash_file(path.with_name(name)) != sha256:
                    raise ValueError(f"{name} beside it is not what was kept")
            self.step = int(notes["step"])
            self.before = float(notes["seconds"])
            self.diary.lines = json.loads(notes["log"])
            self.began_at = notes.get("went_on_from") or None
            self.kept = kept
        except (
            safetensors.SafetensorError,
            OSError,
            KeyError,
            ValueError,
            TypeError,
            AttributeError,
        ) as error:
            if isinstance(error, OSError) and error.errno in FULL:
                raise
            print(
                f"{path}: unreadable checkpoint put aside, training starts over: {error}",
                file=sys.stderr,
            )
            put_aside(path, path.with_suffix(".damaged"))
            return None
        self.diary.images = self.diary.lines[-1]["images"] if self.diary.lines else 0
        return self.step, tensors

    def checkpoint(self, step: int, tensors: Callable[[], dict[str, torch.Tensor]]) -> None:
        """Writes a checkpoint when one is due or a stop was asked for; then raises ``Stopped``."""
        self.step, self.tensors = step, tensors
        if self.context.rank > 0:
            return
        stop = self.context.stop
        due = time.monotonic() - self.written >= self.context.settings["checkpoint_seconds"]
        if due or stop.requested or stop.saving:
            stop.saving = False
            self._write(tensors)
            self.diary.flush()
            self.written = time.monotonic()
        if time.monotonic() - self.noted >= 0.5:
            self.noted = time.monotonic()
            with contextlib.suppress(OSError):  # for those who watch alone
                self.context.lease.note(step=step)
        stop.check()

    def keep_average(self, images: int, tensors: Callable[[], dict[str, torch.Tensor]]) -> None:
        """Writes averages of the weights as they are after so many training images."""
        if self.context.rank > 0:
            return
        self.context.store.guard()
        state = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors().items()}
        content, name = safetensors.torch.save(state), self.averages[images]
        write(self.path.with_name(name), content)
        self.kept[name] = hashlib.sha256(content).hexdigest()

    def _take_averages(self, folder: Path) -> None:
        """Takes over what a shorter training kept; not its end, where this one keeps nothing."""
        wanted = set(self.averages.values())
        self.kept = {name: sha256 for name, sha256 in self.kept.items() if name in wanted}
        for name in self.kept:
            write(self.path.with_name(name), (folder / name).read_bytes())

    def keep(self) -> str:
        """Writes the state at the end of the training, for a longer one to go on from; returns its
        sha256.
        """
        if self.tensors is not None:  # else the file lies there already
            self._write(self.tensors)
        return hash_file(self.path)

    def _write(self, tensors: Callable[[], dict[str, torch.Tensor]]) -> None:
        notes = {
            "step": str(self.step),
            "seconds": repr(self.seconds()),
            "log": json.dumps(self.diary.lines),
        }
        notes |= {"went_on_from": self.began_at or ""}
        notes |= {"averages": json.dumps(self.kept)} if self.kept else {}
        state = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors().items()}
        content = safetensors.torch.save(state, {**notes, "sha256": _checksum(notes, state)})
        self.context.store.guard()
        write(self.path, content)


def _checksum(notes: Mapping[str, str], tensors: Mapping[str, torch.Tensor]) -> str:
    digest = hashlib.sha256(json.dumps(notes, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(
            tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        )
    return digest.hexdigest()


@functools.lru_cache(maxsize=4)
def _data(name: str) -> Images:
    return load_images(name)


_MODELS: dict[tuple[str, str], Method] = {}


def _trained(context: Context, spec: SampleSpec | LikelihoodSpec | InspectSpec) -> Method:
    """Returns the trained model of a spec; the last two are kept, for units of one model follow
    each other.
    """
    unit, train = UnitId(*place(spec.model)), spec.train
    name = (str(context.store.root), unit.key)
    if name not in _MODELS:
        try:
            content = context.store.read(unit, ".safetensors")
        except FileNotFoundError as error:
            raise DamagedError(
                unit, context.store.path(unit, ".safetensors"), "is no longer there"
            ) from error
        method = load_method(train.method, train.params, _data(train.dataset), context.device)
        state = safetensors.torch.load(content)
        method.load_state({name: tensor.to(context.device) for name, tensor in state.items()})
        while len(_MODELS) > 1:
            _MODELS.pop(next(iter(_MODELS)))
        _MODELS[name] = method
    return _MODELS[name]


_WARM: set[tuple[str, ...]] = set()


def _warm_up(context: Context, method: Method, spec: SampleSpec) -> bool:
    """Makes this process ready to time batches of a model and a size, once, by a batch that is
    thrown away.

    It takes the fewest steps that a sampler of the method can; returns False where the method has
    none to count.
    """
    name = (str(context.store.root), place(spec.model)[1], str(spec.batch), spec.precision)
    if name not in _WARM:
        short = _shortest(method)
        if short is None:
            return False
        way = evaluated(method.networks, precision=spec.precision, compiled=context.compiled)
        with torch.no_grad(), way:
            method.sample(spec.batch, short, Noise(0, ("warm-up",), device=method.device))
        _WARM.add(name)
    return True


def _shortest(method: Method) -> Sampler | None:
    """Returns the first sampler that tells what it costs, with the fewest steps it can take; None
    without any.
    """
    for name, card in method.card.samplers.items():
        for budget in range(1, 65) if card.effort.exact else ():
            try:
                values = card.effort.fit(budget, card.params())
            except BudgetError:
                continue
            return Sampler(name, card.times[0] if card.times else "", card.params(**values))
    return None


_FLOPS: dict[tuple[Any, ...], tuple[float, float]] = {}


def _flops(counter: NetworkCounter, key: str) -> float:
    """Returns the FLOPs of the calls that were counted of the networks of a model, and of their
    backward passes.

    It is each network's rows times its own FLOPs. What lies between the calls (a solver's sums, the
    draw from the start distribution) is left out.
    """
    total = 0.0
    for index in counter.inputs:
        forward, backward = _row_flops(counter, index, key)
        total += counter.forward[index] * forward + counter.backward[index] * backward
    return total


def _row_flops(counter: NetworkCounter, index: int, key: str) -> tuple[float, float]:
    """Returns the FLOPs of one row through a network, forward and backward (0 where there was no
    backward pass).

    They are those of one untimed call under torch's counter; a backward pass is that to the
    network's first input.
    """
    network, inputs, backward = (
        counter.networks[index],
        counter.inputs[index],
        counter.backward[index] > 0,
    )
    name = (
        key,
        index,
        backward,
        *(tuple(value.shape) for value in inputs if isinstance(value, torch.Tensor)),
    )
    if name not in _FLOPS:
        first = inputs[0].detach().requires_grad_(backward)
        found = 0
        with torch.inference_mode(False), torch.set_grad_enabled(backward):
            with _counted() as forward:
                output = network(first, *inputs[1:])
            if backward:
                with _counted() as back:
                    torch.autograd.grad(output, first, torch.ones_like(output))
                found = back.get_total_flops()
        _FLOPS[name] = float(forward.get_total_flops()), float(found)
    return _FLOPS[name]


def _training_flops(method: Method, data: Images, spec: TrainSpec, images: int) -> float:
    """Returns FLOPs of a training on so many images, forward and backward.

    An image's are those of one untimed step under torch's counter; so are those of what else is
    trained, a classifier.
    """

    def main(count: int) -> torch.Tensor:
        x0 = data.batch(spec.seed, 0, count).to(method.device)
        return method.loss(x0, Noise(spec.seed, ("flops",), device=method.device))

    count, total = 4, 0.0
    for losses, seen in ((main, images), *method.other_losses(data, spec.seed)):
        with _counted() as counter, torch.enable_grad():
            losses(count).mean().backward()
        total += counter.get_total_flops() / count * seen
    return total


@contextlib.contextmanager
def _counted() -> Iterator[FlopCounterMode]:
    """Counts FLOPs; attention is made of products that torch's counter knows on every device."""
    counter = FlopCounterMode(display=False)
    counter.mod_tracker = _Whole()  # torch's own cannot follow a gradient by the input of a module
    with counter, sdpa_kernel(SDPBackend.MATH):
        yield counter


class _Whole(contextlib.nullcontext):
    """In place of the counter's record of which module runs: one sum for all."""

    parents = frozenset({"Global"})


def _clock(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


@functools.cache
def _environment() -> dict[str, Any]:
    folder = checkout()

    def git(*arguments: str) -> str | None:
        try:
            return subprocess.run(
                ["git", "--no-optional-locks", "-C", str(folder), *arguments],
                capture_output=True,
                text=True,
                check=True,
                timeout=30,
            ).stdout.strip()
        except (OSError, subprocess.SubprocessError):
            return None

    changes = git("status", "--porcelain", "--", ".", ":(exclude)results")
    packages = {
        name: importlib.metadata.version(name)
        for name in ("torch", "numpy", "scipy", "scikit-learn")
    }
    return {
        "commit": git("rev-parse", "HEAD"),
        "dirty": None if changes is None else bool(changes),
        "host": platform.node(),
        "packages": {"python": platform.python_version(), **packages},
    }


@functools.cache
def _processor() -> str:
    with open("/proc/cpuinfo") if os.path.exists("/proc/cpuinfo") else io.StringIO() as file:
        for line in file:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
