"""What runs inside a job: train, samples, likelihood, scores. One function a stage, one unit a call.

Data files hold what was computed and nothing else, so that two runs of equal inputs are byte-equal; seconds,
host and attempts go to the records beside them.
"""

import functools
import importlib.metadata
import io
import json
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors.torch
import torch
from torch.utils.flop_counter import FlopCounterMode

from bench.card import build, cards, plain
from bench.data import Images, load_images
from bench.external import read_external
from bench.method import Method, NetworkCounter, Noise, Run, Sampler, load_method
from bench.metrics import METRICS
from bench.metrics.scoring import score
from bench.plan import Job, checkout
from bench.spec import SampleSpec, TrainSpec, place
from bench.store import Store, UnitId, write

if TYPE_CHECKING:
    from bench.execute.lease import Lease
    from bench.execute.work import Stop


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

    @property
    def device(self) -> torch.device:
        """The device that the executor chose."""
        asked = self.settings["device"]
        return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if asked == "auto" else asked)

    def provenance(self) -> dict[str, Any]:
        """Returns who made a result, where, when, with what."""
        return {
            **_environment(),
            "device": torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else _processor(),
            "threads": torch.get_num_threads(),
            "start": self.start,
            "end": time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime()),
            "attempts": self.attempts,
        }


def make(job: Job, unit: UnitId, context: Context) -> None:
    """Makes one unit of a job and writes it to the store.

    Raises:
        DamagedError: An input is not what was written.
        DivergedError: The model gave NaN or infinity.
    """
    stage: Callable[[Job, UnitId, Context], None] = STAGES[job.stage]
    stage(job, unit, context)


def train(job: Job, unit: UnitId, context: Context) -> None:
    """Trains a model, resuming from its last checkpoint, and writes its weights."""
    (spec,) = job.specs
    store, folder = context.store, context.store.folder(unit.stage, unit.key)
    card = cards()[spec.method]
    params = build(card.params, spec.params)
    store.write_spec(unit.stage, unit.key, spec, {"params": plain(params)})
    data = load_images(spec.dataset)
    method = load_method(spec.method, spec.params, data, context.device)
    diary = Diary(folder / "log.jsonl")
    keeper = Checkpoints(folder / "resume.safetensors", diary, context)
    run = Run(
        seed=spec.seed,
        device=context.device,
        restore=keeper.restore,
        checkpoint=keeper.checkpoint,
        announce=lambda steps: context.lease.note(steps=steps),
        log=diary.log,
    )
    method.train(data, run)
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in method.state().items()}
    broken = [name for name, tensor in state.items() if not torch.isfinite(tensor).all()]
    if broken:
        raise DivergedError(
            f"diverged: {len(broken)} of {len(state)} weight tensors hold NaN or infinity ({broken[0]})"
        )
    diary.flush()
    record = {
        "images": diary.images,
        "steps": keeper.step,
        "flops": _training_flops(method, data, spec) * diary.images,
        "parameters": sum(p.numel() for network in method.networks for p in network.parameters()),
        "seconds": keeper.seconds(),
        "provenance": context.provenance(),
    }
    store.finish(unit, record, {".safetensors": safetensors.torch.save(state)})
    keeper.path.unlink(missing_ok=True)


def samples(job: Job, unit: UnitId, context: Context) -> None:
    """Makes one batch of images and writes them as uint8, with what they cost."""
    (spec,) = job.specs
    method = _trained(context, spec.train)
    sampler_card = method.card.samplers[spec.sampler]
    params = build(sampler_card.params, spec.params)
    context.store.write_spec(unit.stage, unit.key, spec, {"params": plain(params)})
    sampler = Sampler(spec.sampler, spec.times, params)
    warm = _is_warm(context.store.root, place(spec)[1], spec.sampler)
    with NetworkCounter(method.networks) as counter, torch.no_grad():
        begin = _clock(context.device)
        images = method.sample(spec.batch, sampler, Noise(spec.seed, ("sample", int(unit.part)), device=method.device))
        seconds = _clock(context.device) - begin
    images = images.detach().cpu()
    bad = int((~torch.isfinite(images)).flatten(1).any(1).sum())
    if bad:
        raise DivergedError(f"diverged: {bad} of {spec.batch} images hold NaN or infinity")
    buffer = io.BytesIO()
    np.savez(buffer, images=quantise(images, method.levels, spec.quantise))
    record = {
        "images": spec.batch,
        "nfe": counter.rows / spec.batch,
        "seconds": seconds,
        "warm": warm,
        "flops_per_row": _network_flops(context, method, place(spec.train)[1]),
        "clipped": ((images < 0) | (images > 1)).float().mean().item(),
        "provenance": context.provenance(),
    }
    context.store.finish(unit, record, {".npz": buffer.getvalue()})


def quantise(images: torch.Tensor, levels: int, rule: str) -> np.ndarray:
    """Returns images in [0, 1] as uint8 in 0, ..., levels - 1; values outside are clipped.

    Args:
        rule: "round" to the nearest level, or "truncate" as some published code does.
    """
    scaled = images.double().clamp(0, 1) * (levels - 1)
    return (scaled.round() if rule == "round" else scaled.floor()).to(torch.uint8).numpy()


def likelihood(job: Job, unit: UnitId, context: Context) -> None:
    """Scores one batch of held-out images by the model itself."""
    (spec,) = job.specs
    method = _trained(context, spec.train)
    params = build(method.card.likelihood.params, spec.params)
    context.store.write_spec(unit.stage, unit.key, spec, {"params": plain(params)})
    data = _data(spec.train.dataset)
    first = int(unit.part) * spec.batch
    held_out = data.split(spec.split)[first : min(first + spec.batch, spec.images)]
    images = torch.from_numpy(held_out).to(method.device, torch.int64)
    noise = Noise(spec.seed, ("likelihood", int(unit.part)), device=method.device)
    with NetworkCounter(method.networks) as counter:
        begin = _clock(context.device)
        scored = method.score(images, noise, params)
        seconds = _clock(context.device) - begin
    values = {name: value.detach().double().cpu().tolist() for name, value in scored.values.items()}
    for name, numbers in values.items():
        if not all(map(math.isfinite, numbers)):
            raise DivergedError(f"diverged: {name} of some images is NaN or infinite")
    identity = {**scored.identity, "images": spec.images, "split": spec.split, "batch": spec.batch}
    record = {
        "values": values,
        "identity": {**identity, "dataset": f"{spec.train.dataset}@{spec.train.dataset_version}"},
        "nfe": counter.rows / len(images),
        "seconds": seconds,
        "provenance": context.provenance(),
    }
    context.store.finish(unit, record)


def scores(job: Job, unit: UnitId, context: Context) -> None:
    """Computes every metric asked of one sample set in one pass over its images."""
    spec = job.specs[0]
    source = spec.source
    if isinstance(source, SampleSpec):
        data = _data(source.train.dataset)
        images = context.store.images(place(source)[1], spec.count)
        rule: dict[str, Any] = {"uint8": source.quantise}
        if cards()[source.train.method].samplers[source.sampler].batch_coupled:
            rule["batch"] = source.batch
    else:
        data = _data(source.dataset)
        images = read_external(Path(job.path or ""), data.card)[: spec.count]
        rule = {"uint8": "as given", "source sha256": source.sha256}
    if len(images) < spec.count:
        raise ValueError(f"{job.label}: {spec.count} images are asked for, there are {len(images)}")
    missing = [
        (part, spec)
        for part, spec in zip(job.parts, job.specs, strict=True)
        if context.store.record(unit.stage, unit.key, part) is None
    ]
    requests = [(spec.metric, build(METRICS[spec.metric].params, spec.params)) for _, spec in missing]
    measured = score(iter([images]), requests, data, device=context.device)
    for (part, _), value in zip(missing, measured, strict=True):
        identity = {**value.identity, **rule}
        record = {"value": value.value, "identity": identity, "provenance": context.provenance()}
        context.store.finish(UnitId(unit.stage, unit.key, part), record)


STAGES = {"train": train, "samples": samples, "likelihood": likelihood, "scores": scores}


class Diary:
    """The training curves: one JSON line a log call, without times, so that equal trainings write equal files."""

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
    """The state to resume a training from, with its diary, in one file."""

    def __init__(self, path: Path, diary: Diary, context: Context) -> None:
        self.path = path
        self.diary = diary
        self.context = context
        self.step = 0
        self.before = 0.0
        self.begin = self.written = self.noted = time.monotonic()

    def seconds(self) -> float:
        """Returns the seconds of training, those of earlier attempts up to their last checkpoint included."""
        return self.before + time.monotonic() - self.begin

    def restore(self) -> tuple[int, dict[str, torch.Tensor]] | None:
        """Returns the last checkpoint, or None; one that cannot be read is put aside."""
        if not self.path.exists():
            return None
        try:
            with safetensors.safe_open(self.path, "pt", device=str(self.context.device)) as file:
                notes = file.metadata()
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            self.step = int(notes["step"])
            self.before = float(notes["seconds"])
            self.diary.lines = json.loads(notes["log"])
        except (safetensors.SafetensorError, KeyError, ValueError, TypeError) as error:
            print(f"{self.path}: unreadable checkpoint put aside, training starts over: {error}", file=sys.stderr)
            os.replace(self.path, self.path.with_suffix(".damaged"))
            return None
        self.diary.images = self.diary.lines[-1]["images"] if self.diary.lines else 0
        return self.step, tensors

    def checkpoint(self, step: int, tensors: Callable[[], dict[str, torch.Tensor]]) -> None:
        """Writes a checkpoint when one is due or a stop was asked for; then raises ``Stopped``."""
        self.step = step
        due = time.monotonic() - self.written >= self.context.settings["checkpoint_seconds"]
        if due or self.context.stop.requested:
            notes = {"step": str(step), "seconds": repr(self.seconds()), "log": json.dumps(self.diary.lines)}
            state = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors().items()}
            write(self.path, safetensors.torch.save(state, notes))
            self.diary.flush()
            self.written = time.monotonic()
        if time.monotonic() - self.noted >= 0.5:
            self.noted = time.monotonic()
            self.context.lease.note(step=step)
        self.context.stop.check()


@functools.lru_cache(maxsize=4)
def _data(name: str) -> Images:
    return load_images(name)


_MODELS: dict[tuple[str, str], Method] = {}


def _trained(context: Context, spec: TrainSpec) -> Method:
    """Returns a trained model; the last two are kept, for units of one model follow each other."""
    unit = UnitId(*place(spec))
    name = (str(context.store.root), unit.key)
    if name not in _MODELS:
        content = context.store.read(unit, ".safetensors")
        method = load_method(spec.method, spec.params, _data(spec.dataset), context.device)
        state = safetensors.torch.load(content)
        method.load_state({name: tensor.to(context.device) for name, tensor in state.items()})
        while len(_MODELS) > 1:
            _MODELS.pop(next(iter(_MODELS)))
        _MODELS[name] = method
    return _MODELS[name]


_WARM: set[tuple[str, ...]] = set()


def _is_warm(*what: object) -> bool:
    """Tells whether this process has done the like before; remembers it."""
    name = tuple(map(str, what))
    warm = name in _WARM
    _WARM.add(name)
    return warm


_FLOPS: dict[str, float] = {}


def _network_flops(context: Context, method: Method, key: str) -> float:
    """Returns FLOPs of one row through the network, from one untimed call under torch's counter."""
    if key not in _FLOPS:
        seen: list[tuple[Any, ...]] = []
        network = method.networks[0]
        handle = network.register_forward_pre_hook(lambda module, inputs: seen.append(inputs))
        name, card = next((n, c) for n, c in method.card.samplers.items() if c.cost is not None)
        sampler = Sampler(name, card.times[0] if card.times else "", card.params(**card.steps_for(12, card.params())))
        with torch.no_grad():
            method.sample(1, sampler, Noise(0, device=method.device))
            handle.remove()
            with FlopCounterMode(display=False) as counter:
                network(*seen[0])
        _FLOPS[key] = counter.get_total_flops() / seen[0][0].shape[0]
    return _FLOPS[key]


def _training_flops(method: Method, data: Images, spec: TrainSpec) -> float:
    """Returns FLOPs of one training image, forward and backward, from one untimed step under torch's counter."""
    count = 4
    x0 = data.batch(spec.seed, 0, count).to(method.device)
    with FlopCounterMode(display=False) as counter, torch.enable_grad():
        method.loss(x0, Noise(spec.seed, ("flops",), device=method.device)).mean().backward()
    return counter.get_total_flops() / count


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
                ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True, timeout=30
            ).stdout.strip()
        except (OSError, subprocess.SubprocessError):
            return None

    changes = git("status", "--porcelain", "--", ".", ":(exclude)results")
    packages = {name: importlib.metadata.version(name) for name in ("torch", "numpy", "scipy", "scikit-learn")}
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
