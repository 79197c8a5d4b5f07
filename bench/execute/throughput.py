"""How fast devices compute, as far as nothing was measured: what plans assume, and how they say so.

The figures are what networks of this kind reach with torch's own kernels at batches of some hundred
images, well below the peaks in data sheets; ``tflops`` of an executor file says better.

Standard library only.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from bench.execute.slurm.resources import Slurm

ASSUMED: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "a100": {"float32": 10.0, "tf32": 40.0, "bfloat16": 60.0},
        "h100": {"float32": 25.0, "tf32": 80.0, "bfloat16": 120.0},
        "h200": {"float32": 25.0, "tf32": 90.0, "bfloat16": 140.0},
    }
)
"""TFLOP/s of a whole GPU by precision; tf32 is float32 whose products may be rounded to TF32."""

ASSUMED_CPU = 0.03
"""TFLOP/s of a thread of a processor."""

UNKNOWN = "a100"
"""What a GPU of no named type is taken for."""


class Rate(NamedTuple):
    """TFLOP/s of one process, and in words where the figure is from."""

    tflops: float
    words: str


def accelerator(text: str) -> str:
    """Returns which GPU of :data:`ASSUMED` a name, type or constraint speaks of; empty for none or
    for several.
    """
    found = {name for name in ASSUMED if re.search(rf"(?<![a-z0-9]){name}|g{name}", text.lower())}
    return found.pop() if len(found) == 1 else ""


def target(executor: Slurm, stage: str) -> str:
    """Returns which GPU the jobs of a stage will have, as far as the file says: its type,
    constraint or partition.
    """
    resources = executor.of(stage)
    told = (
        resources.gpus_on_node.type,
        str(resources.options.get("constraint", "")),
        resources.partition or "",
    )
    return next(filter(None, map(accelerator, told)), "")


def on_gpu(executor: Slurm, stage: str) -> bool:
    """Tells whether the jobs of a stage compute on GPUs."""
    return executor.device != "cpu" and executor.of(stage).gpus_on_node.count > 0


def rate(executor: Slurm, stage: str, precision: str) -> Rate:
    """Returns what one process of a stage computes with at a precision ("float32" or
    "bfloat16").
    """
    if not on_gpu(executor, stage):
        return host_rate(executor)
    given, name = executor.tflops, target(executor, stage)
    part = executor.of(stage).gpus_on_node.part
    slice_ = "" if part == 1 else f", of which a MIG instance has {part:.2g}"
    if not isinstance(given, str):
        own = given if isinstance(given, float) else given.get(name or "gpu", given.get("gpu"))
        if own is not None:
            return Rate(own * part, f"{own:g} TFLOP/s of a GPU, as tflops says{slice_}")
    kind = "tf32" if precision == "float32" and executor.tf32 else precision
    assumed = ASSUMED[name or UNKNOWN][kind]
    taken = name.upper() if name else f"{UNKNOWN.upper()} (the file names no type of GPU)"
    words = f"an assumed {assumed:g} TFLOP/s of an {taken} in {kind.upper() if kind == 'tf32' else kind}{slice_}"
    return Rate(assumed * part, words)


def host_rate(executor: Slurm) -> Rate:
    """Returns what one process computes with on its processor."""
    given = executor.tflops
    own = given.get("cpu") if isinstance(given, Mapping) else None
    each, who = (
        (ASSUMED_CPU, "an assumed {} TFLOP/s")
        if own is None
        else (own, "{} TFLOP/s, as tflops says,")
    )
    return Rate(
        each * executor.threads,
        f"{who.format(f'{each:g}')} of a CPU thread, {executor.threads} of them",
    )
