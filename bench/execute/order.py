"""The order in which workers take jobs: rows of the table appear early, the cheap ones first.

Trainings come first, since everything waits for them, the cheapest of all before the others. The
cheapest rows of each model follow its own training at once, as long as they take little beside it:
so there are rows to look at before the last model is trained, and no training waits for long.

Standard library only.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from bench.plan import Job
from bench.store import UnitId

EARLY_SHARE = 0.1
"""What the early rows of a model may take, in trainings of mean length."""

Chain = list[Job]
"""A sample set with its scoring, or a job that stands alone."""


def early_rows_first(jobs: Sequence[Job], work: Callable[[UnitId], float]) -> list[Job]:
    """Returns the jobs in the order in which workers should take them.

    Args:
        jobs: Each after those of its model that it needs, as :func:`bench.plan.expand` gives them.
        work: What a unit computes, in any measure.
    """
    costs = {job.folder: sum(map(work, job.units)) for job in jobs}
    trainings = [job for job in jobs if job.stage == "train"]
    total = sum(costs[job.folder] for job in trainings)
    if trainings:
        free = (job for job in trainings if not job.needs)
        cheapest = min(free, key=lambda job: costs[job.folder])
        trainings.sort(key=lambda job: job is not cheapest)
    chains = _chains(jobs)
    early, late = _split(chains[None], costs, EARLY_SHARE * total)
    for training in trainings:
        rows, rest = _split(chains[training.key], costs, EARLY_SHARE * total / len(trainings))
        early += [training, *rows]
        late += rest
    return early + late


def _split(
    chains: Sequence[Chain], costs: Mapping[str, float], allowed: float
) -> tuple[list[Job], list[Job]]:
    """Returns the cheapest rows that together cost what is allowed, those of equal cost (the seeds
    of one row) not parted, and all else; both by cost.
    """
    priced = [(sum(costs[job.folder] for job in chain), chain) for chain in chains]
    priced.sort(key=lambda pair: pair[0])
    early: list[Job] = []
    late: list[Job] = []
    spent, last = 0.0, -1.0
    for cost, chain in priced:
        spent += cost
        if chain[-1].stage == "scores" and (spent <= allowed or math.isclose(cost, last)):
            early += chain
            last = cost
        else:
            late += chain
    return early, late


def _chains(jobs: Sequence[Job]) -> dict[str | None, list[Chain]]:
    """Returns what is made of each model, by the key of its training (None: of no model)."""
    of_model: dict[str | None, list[Chain]] = defaultdict(list)
    of_samples: dict[str, Chain] = {}
    for job in jobs:
        need = job.needs[0] if job.needs else None
        if job.stage == "train":
            continue
        if job.stage == "scores" and need is not None:
            of_samples[need.key].append(job)
            continue
        chain = [job]
        of_model[None if need is None else need.key].append(chain)
        if job.stage == "samples":
            of_samples[job.key] = chain
    return of_model
