"""What a suite would cost a cluster, in one line, from the FLOPs of what is missing."""

from collections import defaultdict
from collections.abc import Collection

from bench.execute.executor import read_executor
from bench.execute.slurm.packing import Sizes
from bench.execute.slurm.quantities import two_digits
from bench.execute.slurm.resources import Slurm
from bench.progress import Progress
from bench.store import STAGES, Store

WORDS = {
    "train": "training",
    "samples": "sampling",
    "likelihood": "likelihoods",
    "inspect": "inspection",
    "scores": "scoring",
}
EXECUTOR = "slurm"
"""The executor file whose GPUs and rates are reckoned with."""
SMALL = 0.005
"""Share of the whole below which a stage is not named."""


def estimate(found: Collection[Progress], store: Store) -> str:
    """Returns the hours that missing units take, by stage; empty if nothing is missing.

    Args:
        found: How far each job is.
    """
    executor = read_executor(EXECUTOR)
    assert isinstance(executor, Slurm), f"{EXECUTOR}.yaml is no cluster's"
    sizes = Sizes(store, [progress.job for progress in found], executor)
    gpus = {stage: executor.of(stage).gpus_on_node.count for stage in STAGES}
    hours: defaultdict[str, float] = defaultdict(float)
    for progress in found:
        job = progress.job
        units = job.units
        # One unit makes all metrics of a sample set, so what is left of these counts as a whole.
        left = min(len(units), len(job.parts) - len(progress.done))
        if left:
            hours[job.stage] += left * gpus[job.stage] * sizes.of(units[0]) / 3600
    whole = sum(hours.values())
    if not whole:
        return ""
    parts = [
        f"{WORDS[stage]} {two_digits(hours[stage])}"
        for stage in STAGES
        if hours[stage] > SMALL * whole
    ]
    return f"predicted: {two_digits(whole)} GPU-hours ({', '.join(parts)})"
