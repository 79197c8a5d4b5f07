"""How fast devices compute if nothing was measured: what plans assume, and in which words.

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
"""The GPU that is assumed if its type is not named."""


class Rate(NamedTuple):
    """TFLOP/s of one process, and the source of the figure in words."""

    tflops: float
    words: str


def accelerator(text: str) -> str:
    """Returns the GPU of :data:`ASSUMED` that a text names; empty for none or several."""
    found = {name for name in ASSUMED if re.search(rf"(?<![a-z0-9]){name}|g{name}", text.lower())}
    return found.pop() if len(found) == 1 else ""


def target(executor: Slurm, stage: str) -> str:
    """Returns the GPU that the jobs of a stage will have, by its type, constraint or partition;
    empty if none of them says.
    """
    resources = executor.of(stage)
    constraint = str(resources.options.get("constraint", ""))
    texts = (resources.gpus_on_node.type, constraint, resources.partition or "")
    return next(filter(None, map(accelerator, texts)), "")


def on_gpu(executor: Slurm, stage: str) -> bool:
    """Tells whether the jobs of a stage compute on GPUs."""
    return executor.device != "cpu" and executor.of(stage).gpus_on_node.count > 0


def rate(executor: Slurm, stage: str, precision: str) -> Rate:
    """Returns the rate of one process of a stage at a precision, "float32" or "bfloat16"."""
    if not on_gpu(executor, stage):
        return host_rate(executor)
    written, name = executor.tflops, target(executor, stage)
    part = executor.of(stage).gpus_on_node.part
    slice_ = "" if part == 1 else f", of which a MIG instance has {part:.2g}"
    if not isinstance(written, str):
        by_name = {"gpu": written} if isinstance(written, float) else written
        own = by_name.get(name or "gpu", by_name.get("gpu"))
        if own is not None:
            return Rate(own * part, f"{own:g} TFLOP/s of a GPU, as tflops says{slice_}")
    kind = "tf32" if precision == "float32" and executor.tf32 else precision
    assumed = ASSUMED[name or UNKNOWN][kind]
    taken = name.upper() if name else f"{UNKNOWN.upper()} (the file names no type of GPU)"
    shown = kind.upper() if kind == "tf32" else kind
    words = f"an assumed {assumed:g} TFLOP/s of an {taken} in {shown}{slice_}"
    return Rate(assumed * part, words)


def host_rate(executor: Slurm) -> Rate:
    """Returns the rate of one process on its processor."""
    own = executor.tflops.get("cpu") if isinstance(executor.tflops, Mapping) else None
    each = ASSUMED_CPU if own is None else own
    figure = f"an assumed {each:g} TFLOP/s" if own is None else f"{each:g} TFLOP/s, as tflops says,"
    threads = executor.threads
    return Rate(each * threads, f"{figure} of a CPU thread, {threads} of them")
