"""The command ``plan``: for each job whether it is done, and if not, why."""

import argparse
import sys

from bench.cli.options import DONE, FAILED, Command, add_suite, add_verify
from bench.cli.study import Study, describe_counts
from bench.execute.executor import read_executor
from bench.execute.slurm.forecast import forecast
from bench.execute.slurm.measure import MeasureError, measure_there
from bench.execute.slurm.queue import ClusterError
from bench.execute.slurm.resources import Slurm
from bench.printable import say
from bench.progress import examine, verify_references


def _options(parser: argparse.ArgumentParser) -> None:
    add_suite(parser)
    add_verify(parser)
    parser.add_argument(
        "--executor",
        metavar="NAME|FILE",
        help="show also what would be submitted to this cluster, and its cost",
    )
    parser.add_argument(
        "--measure",
        action="store_true",
        help="with --executor: first time a few steps of each model, as a job on the partition of "
        "the trainings",
    )


def _plan(options: argparse.Namespace) -> int:
    study = Study(options, absent=not options.measure)
    jobs = examine(study.jobs, study.store, rehash=options.verify).values()
    for progress in jobs:
        job = progress.job
        state = "done" if progress.finished else f"{len(progress.done)}/{len(job.parts)}"
        why = f"  [{progress.why}]" if progress.why else ""
        say(f"{job.stage:<10} {state:>5}  {job.key}  {job.label}{why}")
    for error in verify_references(study.store) if options.verify else ():
        say(f"{'references':<10} damaged  {error}")
    done = sum(progress.finished for progress in jobs)
    counts = f"{describe_counts(study.jobs)}, {len(study.suite.points)} points"
    say(f"\n{study.suite.name}: {counts}; {done} done, {len(jobs) - done} to do")
    for note in study.suite.notes:
        say(f"note: {note}")
    for label, path in study.suite.sources.items():
        if not path.exists():
            say(f"missing: train.{label}: {path}")
    return DONE if options.executor is None else _forecast(study, options)


def _forecast(study: Study, options: argparse.Namespace) -> int:
    """Says what a run by the executor would submit, and its cost."""
    executor = read_executor(options.executor)
    if not isinstance(executor, Slurm):
        say(f"executor {options.executor}: {executor.slots} workers at once on this machine")
        return DONE
    if options.measure and not _measure(study, executor):
        return FAILED
    points = study.suite.points
    budgets = {point.label: point.budget for point in points if point.budget is not None}
    say(forecast(study.jobs, study.store, study.results, executor, budgets))
    return DONE


def _measure(study: Study, executor: Slurm) -> bool:
    """Times the suite's models on the cluster; returns whether that went well."""
    try:
        measure_there(study.jobs, study.results, executor)
    except (ClusterError, MeasureError) as error:
        say(f"nothing was measured: {error}", file=sys.stderr)
        return False
    except KeyboardInterrupt:
        say("\nstopped: the job that measures was cancelled", file=sys.stderr)
        return False
    return True


COMMAND = Command("say for each job whether it is done, and if not, why", _plan, _options)
