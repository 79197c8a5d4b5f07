"""The command ``cancel``: stop the driver and the workers of a suite, and its jobs on a cluster."""

import argparse
import signal
import sys
import time

from bench.cli.exit_status import DONE, FAILED
from bench.cli.options import Command, add_suite, command
from bench.cli.study import Study
from bench.execute.cancellation import ask_to_cancel
from bench.execute.lease import running_driver
from bench.execute.local.registry import living, signal_workers, stop_workers
from bench.execute.slurm.cancel import cancel_submissions
from bench.execute.slurm.queue import ClusterError
from bench.execute.slurm.submission import submissions
from bench.printable import say

PATIENCE_SECONDS = 60


def _cancel(options: argparse.Namespace) -> int:
    study = Study(options)
    workers = study.results / "workers"
    on_cluster = submissions(study.results)
    if driver := running_driver(study.results):
        ask_to_cancel(study.results, driver)
        signal_workers([driver], signal.SIGTERM)
    else:
        stop_workers(workers)
    end = time.monotonic() + PATIENCE_SECONDS
    if on_cluster:
        # The driver may be about to submit: what it submits last is to be cancelled too.
        while running_driver(study.results) and time.monotonic() < end:
            time.sleep(0.2)
        try:
            say(f"{cancel_submissions(study.results)} jobs cancelled")
        except ClusterError as error:
            say(f"jobs could not be cancelled: {error}", file=sys.stderr)
            return FAILED
    while time.monotonic() < end:
        if not living(workers) and not running_driver(study.results):
            say(f"{study.suite.name}: nothing runs; start it again to go on")
            return DONE
        time.sleep(0.2)
    see = command(options, "status")
    say(f"{study.suite.name}: still stopping; see: {see}", file=sys.stderr)
    return FAILED


COMMAND = Command(_cancel, add_suite)
