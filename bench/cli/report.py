"""The command ``report``: tables and figures of what is finished so far."""

import argparse
import sys

from bench.cli.exit_status import DONE, FAILED
from bench.cli.options import Command, add_suite
from bench.cli.study import Study
from bench.execute.lease import running_driver
from bench.execute.outcome import Outcome, outcome
from bench.printable import say


def make_report(study: Study) -> int:
    """Writes tables and figures, prints the leaderboard and what failed; returns the exit
    status.
    """
    from rich.console import Console

    from bench.report.console import print_leaderboard
    from bench.report.writer import write

    results = write(study.suite, study.store, study.results)
    print_leaderboard(results, Console(), study.results)
    failures = _failures(study)
    for label, failed in failures:
        say(f"failed: {label}: {failed.cause}" + evidence(failed), file=sys.stderr)
    states = results.rows["state"].value_counts().to_dict()
    say("rows: " + ", ".join(f"{count} {state}" for state, count in states.items()))
    return DONE if set(states) <= {"done"} and not failures else FAILED


def _failures(study: Study) -> list[tuple[str, Outcome]]:
    outcomes = (
        (job, outcome(study.store, unit, results=job.made_by(unit)))
        for job in study.jobs
        for unit in job.units
    )
    return [(f"{job.stage} {job.label}", out) for job, out in outcomes if out.state == "failed"]


def evidence(failed: Outcome) -> str:
    """Returns where the log of a failure is, and its last lines if they were kept."""
    tail = "".join(f"\n        | {line}" for line in failed.tail)
    return tail + (f"\n        log: {failed.log}" if failed.log else "")


def _options(parser: argparse.ArgumentParser) -> None:
    add_suite(parser)
    parser.add_argument(
        "--serve",
        metavar="PORT",
        nargs="?",
        type=int,
        choices=range(2**16),
        const=8000,
        help="serve the page on http://127.0.0.1:PORT/ (8000), refreshed while a run continues",
    )


def _report(options: argparse.Namespace) -> int:
    study = Study(options)
    if options.serve is None:
        return make_report(study)
    from bench.cli.serve import serve

    if running_driver(study.results) is None:
        make_report(study)
    return serve(study, options.serve)


COMMAND = Command(_report, _options)
