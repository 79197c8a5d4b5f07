"""The command ``plan``: how much of each stage is done, what is missing; for each job, why."""

import argparse
import sys
from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING

from bench.cli.exit_status import DONE, FAILED
from bench.cli.garbage import end_uncollected, uncollected
from bench.cli.options import Command, add_suite, add_verify
from bench.cli.study import WORDS, Study, describe_counts
from bench.data import assets
from bench.printable import say
from bench.progress import Progress, examine, verify_references
from bench.suite import requirements

if TYPE_CHECKING:
    from bench.execute.slurm.resources import Slurm

PARTS = {"samples": "batches", "likelihood": "batches", "scores": "metrics"}
"""What jobs of several parts are made of."""


def _options(parser: argparse.ArgumentParser) -> None:
    add_suite(parser)
    add_verify(parser)
    parser.add_argument(
        "--verbose", action="store_true", help="a line for each job: done, or why it has to be made"
    )
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


@uncollected()
def _plan(options: argparse.Namespace) -> int:
    end_uncollected()
    study = Study(options, absent=not options.measure)
    found = examine(study.jobs, study.store, rehash=options.verify, reasons=options.verbose)
    jobs = found.values()
    for line in _jobs(jobs) if options.verbose else _stages(jobs):
        say(line)
    for error in verify_references(study.store) if options.verify else ():
        say(f"{'references':<10} damaged  {error}")
    done = sum(progress.finished for progress in jobs)
    counts = f"{describe_counts(study.jobs)}, {len(study.suite.points)} points"
    say(f"\n{study.suite.name}: {counts}; {done} done, {len(jobs) - done} to do")
    if not options.verbose and done < len(jobs):
        say("each job, and why it has to be made: the same command with --verbose")
    if options.executor is None:
        _estimate(study, jobs)
    for note in study.suite.notes:
        say(f"note: {note}")
    for line in assets.missing(requirements.of_suite(study.suite, study.store)):
        say(f"missing: {line}")
    return DONE if options.executor is None else _forecast(study, options)


def _jobs(jobs: Iterable[Progress]) -> Iterator[str]:
    """Yields a line for each job."""
    for progress in jobs:
        job = progress.job
        state = "done" if progress.finished else f"{len(progress.done)}/{len(job.parts)}"
        why = f"  [{progress.why}]" if progress.why else ""
        yield f"{job.stage:<10} {state:>5}  {job.key}  {job.label}{why}"


def _stages(jobs: Iterable[Progress]) -> Iterator[str]:
    """Yields a line for each stage with how much of it is done, and all that is damaged."""
    by_stage: dict[str, list[Progress]] = {}
    for progress in jobs:
        by_stage.setdefault(progress.job.stage, []).append(progress)
    for stage, of_stage in by_stage.items():
        done = sum(progress.finished for progress in of_stage)
        left = sum(len(progress.job.parts) - len(progress.done) for progress in of_stage)
        missing = f", {len(of_stage) - done} to do" if done < len(of_stage) else ""
        if missing and stage in PARTS:
            missing += f" ({left} {PARTS[stage]})"
        yield f"{WORDS[stage]:<12} {done:>5} of {len(of_stage)} done{missing}"
        for progress in of_stage:
            yield from (f"  damaged: {error} ({progress.job.label})" for error in progress.damaged)
        # Without reasons, these are the ones that nobody expects.
        unexpected = dict.fromkeys(p.why for p in of_stage if p.why and not p.damaged)
        yield from (f"  {why}" for why in unexpected)


def _estimate(study: Study, jobs: Collection[Progress]) -> None:
    """Says what the missing jobs would cost a cluster."""
    from bench.execute.slurm.estimate import estimate

    if line := estimate(jobs, study.store):
        say(f"{line}; what that rests on, and each point's cost: plan --executor NAME")


def _forecast(study: Study, options: argparse.Namespace) -> int:
    """Says what a run by the executor would submit, and its cost."""
    from bench.execute.executor import read_executor
    from bench.execute.slurm.forecast import forecast
    from bench.execute.slurm.resources import Slurm

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


def _measure(study: Study, executor: "Slurm") -> bool:
    """Times the suite's models on the cluster; returns whether that went well."""
    from bench.execute.slurm.measure import MeasureError, measure_there
    from bench.execute.slurm.queue import ClusterError

    try:
        measure_there(study.jobs, study.results, executor)
    except (ClusterError, MeasureError) as error:
        say(f"nothing was measured: {error}", file=sys.stderr)
        return False
    except KeyboardInterrupt:
        say("\nstopped: the job that measures was cancelled", file=sys.stderr)
        return False
    return True


COMMAND = Command(_plan, _options)
