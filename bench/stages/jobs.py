"""What runs inside a job: units of the stages train, samples, likelihood, inspect and scores.

Data files hold what was computed and nothing else, so that two runs of equal inputs are byte-equal;
seconds, host and attempts go to the records beside them.
"""

import contextlib
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from bench.counter import NetworkCounter
from bench.data.content import check_content
from bench.data.root import data_root
from bench.method import Method, Noise, Run, evaluated, load_method
from bench.plan import Job
from bench.spec import AverageSpec, ImagesSpec, ModelSpec, ScoreSpec, SnapshotSpec, TrainSpec
from bench.stages.context import Context
from bench.stages.cost import clock, shortest_sampler
from bench.stages.inspect import inspect
from bench.stages.likelihood import likelihood
from bench.stages.model import cached_images
from bench.stages.sample import samples
from bench.stages.score import scores
from bench.stages.train import train
from bench.store import UnitId

STAGES: Mapping[str, Callable[[Job[Any], UnitId, Context], None]] = {
    "train": train,
    "samples": samples,
    "likelihood": likelihood,
    "inspect": inspect,
    "scores": scores,
}


def make(job: Job[Any], unit: UnitId, context: Context) -> None:
    """Makes one unit of a job and writes it to the store.

    If several processes share a training, each calls this, and the one of rank 0 writes.

    Raises:
        DamagedError: An input is not what was written.
        DivergedError: The model gave NaN or infinity.
    """
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = context.tf32
    _check_data(job, context)
    STAGES[job.stage](job, unit, context)


def _check_data(job: Job[Any], context: Context) -> None:
    """Checks that the data set's files, if present, are those that the job was planned with."""
    spec = job.specs[0]
    spec = spec.source if isinstance(spec, ScoreSpec) else spec
    spec = spec if isinstance(spec, TrainSpec | ImagesSpec) else spec.train
    _check_content(spec.dataset, spec.dataset_sha256, context.store.root / "external", data_root())


@functools.lru_cache(maxsize=8)
def _check_content(dataset: str, sha256: str | None, cache: Path, root: Path) -> None:
    """Checks a data set once per process: what is then read of it is kept."""
    check_content(dataset, sha256, cache)


class _EnoughSteps(BaseException):
    """A measurement has timed enough steps; not an Exception, so that no adapter swallows it."""


def measure(job: Job[ModelSpec], context: Context, seconds: float) -> dict[str, float] | None:
    """Times the first steps of a training, and a batch sampled after them; writes nothing.

    Args:
        job: Of the stage train.
        context: Where to measure.
        seconds: For how long to time steps.

    Returns:
        ``seconds`` of the whole training (absent for a checkpoint made elsewhere) and
        ``seconds_per_row`` of the network in sampling; None for an average, which is no training.
    """
    (model,) = job.specs
    if isinstance(model, AverageSpec):
        return None
    spec = model.train if isinstance(model, SnapshotSpec) else model
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = context.tf32
    method = load_method(spec.method, spec.params, cached_images(spec.dataset), context.device)
    measured = {}
    if spec.checkpoint is None:
        measured["seconds"] = _training_seconds(model, spec, method, context, seconds)
    sampler = shortest_sampler(method)
    if sampler is not None:
        count = 128 if context.device.type == "cuda" else 16
        for _ in range(2):  # the first one warms up
            way = evaluated(method.networks, precision="float32", compiled=context.compiled)
            with NetworkCounter(method.networks) as counter, torch.no_grad(), way:
                begin = clock(context.device)
                method.sample(count, sampler, Noise(0, ("measure",), device=method.device))
                spent = clock(context.device) - begin
            measured["seconds_per_row"] = spent / max(1, counter.rows)
    return measured


def _training_seconds(
    model: TrainSpec | SnapshotSpec,
    spec: TrainSpec,
    method: Method,
    context: Context,
    seconds: float,
) -> float:
    """Returns the seconds of a whole training, from its first steps."""
    total, moments = [0], []

    def step(finished: int, tensors: Callable[[], dict[str, torch.Tensor]]) -> None:
        moments.append(clock(context.device))
        if len(moments) > 2 and moments[-1] - moments[0] > seconds:
            raise _EnoughSteps

    run = Run(
        seed=spec.seed,
        device=context.device,
        until=model.images if isinstance(model, SnapshotSpec) else None,
        checkpoint=step,
        announce=total.append,
        compiled=context.compiled,
    )
    with contextlib.suppress(_EnoughSteps):
        method.train(cached_images(spec.dataset), run)
    each = (moments[-1] - moments[0]) / (len(moments) - 1) if len(moments) > 1 else 0.0
    return each * total[-1]
