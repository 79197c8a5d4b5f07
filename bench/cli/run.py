"""The command ``run``: make what is missing, then tables and figures. Started again, it resumes."""

import argparse
import sys
import time
from collections.abc import Mapping

from bench.cli.exit_status import DONE, FAILED, WRONG
from bench.cli.options import Command, add_suite, add_verify, command
from bench.cli.prune import prune_samples
from bench.cli.report import make_report
from bench.cli.study import Study, describe_counts
from bench.data import assets
from bench.describe import as_yaml
from bench.execute.cancellation import Interrupted, handling
from bench.execute.executor import Executor, read_executor
from bench.execute.lease import HeldError, Lease, hold
from bench.execute.local.driver import Driver, WorkersFailError
from bench.execute.local.registry import stop_workers
from bench.execute.slurm.driver import ClusterRefusesError, SlurmDriver
from bench.execute.slurm.overview import array_line
from bench.execute.slurm.packing import measured
from bench.execute.slurm.resources import Slurm
from bench.execute.slurm.submission import submissions
from bench.files import write
from bench.printable import say
from bench.progress import Progress, examine, verify_references
from bench.suite import requirements


def _options(parser: argparse.ArgumentParser) -> None:
    add_suite(parser)
    parser.add_argument(
        "--executor",
        metavar="NAME|FILE",
        default="local",
        help="where jobs run: local, inline, slurm, or a file (see: list, show local)",
    )
    parser.add_argument("--jobs", metavar="N", type=int, help="how many workers at once")
    add_verify(parser)
    parser.add_argument(
        "--detach",
        action="store_true",
        help="submit everything to the cluster, each stage after its inputs, and return; run again "
        "to continue",
    )


def _run(options: argparse.Namespace) -> int:
    try:
        with handling():
            return _prepare(options)
    except Interrupted as stop:
        say("\nstopped; nothing is lost: start the same command again to go on.", file=sys.stderr)
        return 128 + stop.number


def _prepare(options: argparse.Namespace) -> int:
    """Checks what can be checked, takes the results folder, and works."""
    executor = read_executor(options.executor, options.jobs)
    if options.detach and not isinstance(executor, Slurm):
        why = "--detach leaves jobs in the queue of a cluster; this executor has none"
        say(f"{why} (leave --detach out, or run the command under nohup)", file=sys.stderr)
        return WRONG
    study = Study(options)
    if missing := assets.missing(requirements.of_suite(study.suite, study.store)):
        say("\n".join(missing), file=sys.stderr)
        return FAILED
    try:
        with hold(study.results) as lease:
            try:
                return _work(study, options, executor, lease)
            except Interrupted:
                if isinstance(executor, Slurm):
                    _say_what_goes_on(study, options)
                # Those of an earlier driver too, if ours has not started any yet.
                stop_workers(study.results / "workers")
                raise
    except HeldError as error:
        say(error, file=sys.stderr)
    except (ClusterRefusesError, WorkersFailError) as error:
        refuses = isinstance(error, ClusterRefusesError)
        what = "the cluster takes no jobs" if refuses else "workers cannot work"
        say(f"{what}; nothing is lost: fix this and start again.\n{error}", file=sys.stderr)
    return FAILED


def _say_what_goes_on(study: Study, options: argparse.Namespace) -> None:
    """Names the jobs of a cluster that outlive this driver."""
    all_ = submissions(study.results)
    left = [str(one.job) for one in all_ if not one.over and not one.abandoned]
    if left:
        see, end = (command(options, verb) for verb in ("status", "cancel"))
        say(f"\njobs go on without this driver: {', '.join(left)}", file=sys.stderr)
        say(f"see: {see}; end them: {end}", file=sys.stderr)


def _work(
    study: Study, options: argparse.Namespace, executor: Executor | Slurm, lease: Lease
) -> int:
    """Makes what is missing, then tables and figures, while the results folder is ours."""
    begin = time.monotonic()
    jobs = examine(study.jobs, study.store, rehash=options.verify, reasons=False)
    _discard(study, jobs)
    for error in verify_references(study.store) if options.verify else ():
        say(f"reference is damaged: {error}", file=sys.stderr)
        study.store.discard(error.unit)
    done = sum(progress.finished for progress in jobs.values())
    counts = describe_counts(study.jobs)
    say(f"{study.suite.name}: {counts}; {done} of {len(study.jobs)} are done")
    for note in study.suite.notes:
        say(f"note: {note}")
    write(study.results / "suite.resolved.yaml", as_yaml(study.suite.resolved).encode())
    study.note_keys()
    if options.detach and isinstance(executor, Slurm):
        return _detach(study, options, executor, lease)
    from bench.cli.display import ProgressDisplay
    from bench.cli.early import EarlyRows

    with ProgressDisplay(EarlyRows(study.suite, study.store)) as display:
        where = (study.jobs, study.store, study.results)
        if isinstance(executor, Slurm):
            SlurmDriver(*where, executor, display.show, measured(study.results))(lease)
        else:
            Driver(*where, executor, display.show)(lease)
    status = _finish(study)
    say(f"{time.monotonic() - begin:.0f} s in all")
    return status


def _discard(study: Study, jobs: Mapping[str, Progress]) -> None:
    """Names and discards what is damaged, and what was pruned and is needed again."""
    for progress in jobs.values():
        for error in progress.damaged:
            say(f"damaged, will be made again: {error}", file=sys.stderr)
        for unit in progress.job.results if progress.stale else ():
            if unit.part in progress.stale:
                study.store.discard(unit)


def _finish(study: Study) -> int:
    """Makes tables and figures, then deletes the images that the suite does not keep."""
    say("drawing figures, writing tables", flush=True)
    status = make_report(study)
    prune_samples(study, study.suite.keep)
    return status


def _detach(study: Study, options: argparse.Namespace, executor: Slurm, lease: Lease) -> int:
    """Submits everything that is neither finished nor in the queue, and says what; ends the run if
    all of it is finished.
    """
    driver = SlurmDriver(
        study.jobs, study.store, study.results, executor, expected=measured(study.results)
    )
    made, left_out = driver.detach(lease)
    if not driver.progress.open:
        return _finish(study)
    for submission in made:
        say(array_line(submission))
    say("" if made else "nothing to submit: all that is missing is in the queue")
    status, tables = (command(options, verb) for verb in ("status", "report"))
    say(f"how far it is: {status}; tables of what is finished: {tables}")
    again = "once the queue is empty, run the same command again"
    say(f"{again}: it submits what failed by chance, and nothing twice, or else makes the tables")
    if left_out:
        why = "the cluster takes no more jobs now: run it again later"
        say(f"{left_out} units were not submitted, because {why}")
    return DONE


COMMAND = Command(_run, _options)
