"""What a suite would be to a cluster: its job graph, its arrays, the sbatch text, and what it would cost.

Seconds are those of finished units, of units alike, of a measurement on this machine (``--measure``), or assumed; each
line says which.
"""

import json
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.card import build, cards
from bench.data import data_card
from bench.execute import cluster
from bench.execute.campaign import Campaign
from bench.execute.slurm import Slurm
from bench.execute.submission import Order, sbatch_text
from bench.plan import Job
from bench.spec import SampleSpec, place
from bench.store import Store, UnitId, write

START_SECONDS = 15.0
"""What a job takes before its first unit: the queue's own pace, Python, torch."""


def forecast(jobs: Sequence[Job], store: Store, results: Path, executor: Slurm, *, measure: bool = False) -> str:
    """Returns what would be submitted, in words."""
    if measure:
        _measure(jobs, results, executor.device)
    campaign = Campaign(jobs, store, results, executor, expected=measured(results))
    campaign.limits = cluster.limits()
    missing = campaign.missing()
    if not missing:
        return "\nnothing to submit: all of it is done"
    levels = [campaign.orders(level) for level in campaign.levels(missing)]
    lines = ["", f"{'stage':<10} {'units':>6} {'jobs':>5} {'arrays':>6}  {'a unit':<30} {'a job':<16} after"]
    warnings: list[str] = []
    wall = gpu = cpu = 0.0
    for orders in levels:
        stage, resources = orders[0].stage, orders[0].resources
        units = [unit for order in orders for units in order.elements for unit in units]
        took = [sum(map(campaign.sizes.of, units)) + START_SECONDS for order in orders for units in order.elements]
        needs = Counter(
            need.stage for unit in units for need in campaign.jobs[unit.stage, unit.key].needs if need in set(missing)
        )
        each = [campaign.sizes.of(unit) for unit in units]
        sources = "/".join(sorted({campaign.sizes.source(unit) for unit in units}))
        after = ", ".join(f"{count} of {name}" for name, count in needs.items()) or "nothing"
        lines.append(
            f"{stage:<10} {len(units):>6} {len(took):>5} {len(orders):>6}  "
            f"{f'{_span(min(each), max(each))} ({sources})':<30} {_span(min(took), max(took)):<16} {after}"
        )
        at_once = min(resources.at_once, len(took))
        wall += max(max(took), sum(took) / at_once)
        gpu += sum(took) * resources.gpus * resources.nodes
        cpu += sum(took) * resources.cpus * resources.tasks * resources.nodes
        warnings += _warn(stage, executor, each, took, orders, campaign)
    total = sum(len(order.elements) for orders in levels for order in orders)
    limit = campaign.submit_limit
    if limit is not None and total > limit:
        warnings.append(
            f"{total} jobs are more than the {limit} that the queue takes of one user: an attached run feeds it, a "
            "detached one has to be run again"
        )
    disk = sum(_disk(campaign.jobs[unit.stage, unit.key], unit, store, results) for unit in missing)
    cost = f"{gpu / 3600:.2f} GPU-hours, {cpu / 3600:.2f} CPU-hours"
    lines.append(f"\npredicted: {cost}, {_words(wall)} without waiting in the queue, {disk / 1e6:.1f} MB of disk")
    lines += [f"warning: {warning}" for warning in warnings]
    shown: set[str] = set()
    for orders in levels:
        order = orders[0]
        if order.stage not in shown:
            shown.add(order.stage)
            text = sbatch_text(order, results, executor.settings)
            lines += [f"\nsbatch of {order.stage}:", *("  " + line for line in text.strip().splitlines())]
    return "\n".join(lines)


def _warn(
    stage: str, executor: Slurm, each: Sequence[float], took: Sequence[float], orders: Sequence[Order], of: Campaign
) -> list[str]:
    resources = executor.of(stage)
    useful = 60 * resources.minutes - resources.signal_seconds
    found = []
    if stage == "train" and max(took) > useful:
        times = math.ceil(max(took) / useful)
        found.append(f"train: the longest takes {times} jobs of {resources.minutes} minutes: it queues again")
    if stage != "train" and max(each) > useful:
        found.append(f"{stage}: a unit takes longer than the {resources.minutes} minutes of a job: raise minutes")
    if len(orders) > 1:
        found.append(f"{stage}: split into {len(orders)} arrays of at most {of.most_elements(stage)} elements")
    found += [f"{stage}: {why}" for why in cluster.refusals(resources)]
    return found


def measured(results: Path) -> dict[str, float]:
    """Returns the seconds of a unit by key, as far as they were measured."""
    return {key: value["seconds"] for key, value in _measurements(results).items() if value.get("seconds")}


def _measurements(results: Path) -> dict[str, dict[str, float]]:
    try:
        return json.loads((results / "measured.json").read_bytes())
    except (OSError, ValueError):
        return {}


def _measure(jobs: Sequence[Job], results: Path, device: str) -> None:
    """Times a few steps of every training of another kind, and writes down what that makes of all units."""
    from bench import stages

    found: dict[str, dict[str, float]] = {}
    per_row: dict[str, float] = {}
    known: dict[str, Any] = {}
    for job in jobs:
        if job.stage == "train":
            spec = job.specs[0]
            kind = json.dumps([job.plain()["specs"][0][0], {**job.plain()["specs"][0][1], "seed": None}], default=str)
            if kind not in known:  # seeds take the same time
                known[kind] = stages.measure(job, device)
            if known[kind] is not None:
                found[job.key] = {name: known[kind][name] for name in ("seconds", "bytes")}
                per_row[place(spec)[1]] = known[kind].get("seconds_per_row", 0.0)
    for job in jobs:
        spec = job.specs[0]
        if job.stage == "samples" and isinstance(spec, SampleSpec):
            sampler = cards()[spec.train.method].samplers[spec.sampler]
            row = per_row.get(place(spec.model)[1]) or per_row.get(place(spec.train)[1])
            if sampler.cost is not None and row:
                nfe = sampler.cost(build(sampler.params, spec.params))
                found[job.key] = {"seconds": nfe * spec.batch * row}
    write(results / "measured.json", json.dumps(found, indent=1).encode())


def _disk(job: Job, unit: UnitId, store: Store, results: Path) -> float:
    """Returns the bytes that a unit leaves."""
    if job.stage == "samples" and isinstance(spec := job.specs[0], SampleSpec):
        card = data_card(spec.train.dataset)
        return spec.batch * math.prod(card.shape) * (4 if spec.quantise == "none" else 1)
    if job.stage == "train":
        return _measurements(results).get(job.key, {}).get("bytes") or _weights_alike(store)
    return 0.0


def _weights_alike(store: Store) -> float:
    """Returns the bytes of the largest weights that are stored, 0 without any."""
    sizes = [path.stat().st_size for path in (store.root / "train").glob("*/weights.safetensors")]
    return float(max(sizes, default=0))


def _span(low: float, high: float) -> str:
    return _words(low) if _words(low) == _words(high) else f"{_words(low)} to {_words(high)}"


def _words(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
