"""The command ``status``: how far a suite is, from the files alone."""

import argparse
from collections import Counter

from bench.cli.exit_status import DONE, FAILED
from bench.cli.options import Command, add_suite
from bench.cli.report import evidence
from bench.cli.study import Study
from bench.execute.lease import clear_hint, running_driver
from bench.execute.local.registry import living
from bench.execute.outcome import outcome
from bench.execute.slurm.overview import overview
from bench.plan import Job
from bench.printable import say
from bench.store import UnitId


def _options(parser: argparse.ArgumentParser) -> None:
    add_suite(parser)
    parser.add_argument(
        "--watch",
        action="store_true",
        help="keep showing: stages, rates, time left, failures, the rows so far",
    )


def _status(options: argparse.Namespace) -> int:
    study = Study(options)
    if options.watch:
        from bench.cli.watch import watch

        if not watch(study):
            return DONE
    counts: dict[str, Counter[str]] = {}
    failures, running = [], []
    cluster = overview(study.jobs, study.store, study.results)
    for job in study.jobs:
        for unit in job.units:
            now = cluster.judge(unit, outcome(study.store, unit, results=job.made_by(unit)))
            counts.setdefault(job.stage, Counter())[now.state] += 1
            if now.state == "failed":
                cause = f"{now.cause} ({now.attempts} attempts)"
                failures.append(f"failed: {job.stage} {job.label}: {cause}{evidence(now)}")
            if now.live is not None:
                running.append(_running(study, job, unit, now.live))
    for stage, of_stage in counts.items():
        states = ", ".join(f"{count} {state}" for state, count in sorted(of_stage.items()))
        say(f"{stage:<10} {states}")
    for line in (*running, *failures, *cluster.lines):
        say(line)
    driver = running_driver(study.results)
    who = f"process {driver.get('pid')} on {driver.get('host')}" if driver else "none"
    say(f"driver: {who}; workers: {len(living(study.results / 'workers'))}")
    waiting = sum(of_stage["waiting"] for of_stage in counts.values())
    if waiting and not driver:
        say(f"{waiting} units wait that no job has: start the suite again to go on")
    return FAILED if failures else DONE


def _running(study: Study, job: Job, unit: UnitId, live: dict) -> str:
    step = f", step {live['step']}" if "step" in live else ""
    who = f"job {live['job']}" if "job" in live else f"process {live.get('pid')}"
    hint = clear_hint(study.store.path(unit, ".lease"), live)
    host = f" on {live.get('host')}; {hint}" if hint else ""
    return f"running: {job.stage} {job.label}, part {unit.part}{step} ({who}{host})"


COMMAND = Command(_status, _options)
