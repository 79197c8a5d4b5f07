"""Warnings about an executor file: what it asks for in vain, and what the site refuses."""

import math
from collections.abc import Iterable

from bench.execute.slurm import queue
from bench.execute.slurm.arrays import ArrayPlanner
from bench.execute.slurm.bill import Load
from bench.execute.slurm.resources import Slurm
from bench.execute.slurm.throughput import on_gpu
from bench.store import STAGES


def unused(executor: Slurm, stages: Iterable[str]) -> list[str]:
    """Returns what stages ask for and would not use, and what they use and do not ask for."""
    return [
        f"{stage}: {why}" for stage in STAGES if stage in stages for why in _unused(executor, stage)
    ]


def _unused(executor: Slurm, stage: str) -> list[str]:
    found = []
    resources = executor.of(stage)
    gpus, cpus = resources.gpus_on_node, resources.cpus
    if executor.threads > cpus:
        found.append(f"threads ({executor.threads}) are more than the CPUs of a process ({cpus})")
    if gpus.count and executor.device == "cpu":
        found.append(f"asks for {gpus.count} GPUs and device is cpu: they would stand idle")
    elif gpus.count > resources.tasks:
        found.append(f"{gpus.count} GPUs for {resources.tasks} processes, which use one each")
    if executor.device == "cuda" and not gpus.count:
        found.append("device is cuda and no GPU is asked for")
    if gpus.share:
        found.append("a share of a GPU is counted as a whole one")
    if "," in gpus.type:
        found.append(f"GPUs of several types ({gpus.type}) are counted alike")
    if resources.options.get("exclusive") not in (None, "user", "mcs"):
        charged = "the site may charge all of their CPUs and GPUs"
        found.append(f"exclusive takes whole nodes, and {charged}")
    if not on_gpu(executor, stage) and gpus.part < 1:
        found.append("asks for MIG instances that it would not use")
    return found


def warnings(load: Load, planner: ArrayPlanner) -> list[str]:
    """Returns what will come unexpected of a stage's jobs, and why the site would refuse them."""
    stage = load.stage
    resources = planner.executor.of(stage)
    useful = 60 * resources.minutes - resources.signal_seconds
    found = []
    if stage == "train" and max(load.took) > useful:
        times = math.ceil(max(load.took) / useful)
        jobs = f"{times} jobs of {resources.minutes} minutes"
        found.append(f"the longest takes {jobs}: it queues again")
    if stage != "train" and max(load.each) > useful:
        limit = f"the {resources.minutes} minutes of a job"
        found.append(f"a unit takes longer than {limit}: raise minutes")
    if len(load.orders) > 1:
        most = planner.most_array_tasks(stage)
        found.append(f"split into {len(load.orders)} arrays of at most {most} array tasks")
    return [f"{stage}: {why}" for why in [*found, *queue.refusals(resources)]]
