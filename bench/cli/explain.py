"""The command ``explain``: how two rows differ, and which of their numbers are comparable."""

import argparse
import sys

from bench.cli.exit_status import DONE, WRONG
from bench.cli.options import Command, add_suite
from bench.cli.study import Study
from bench.printable import say


def _options(parser: argparse.ArgumentParser) -> None:
    add_suite(parser)
    parser.add_argument(
        "rows", metavar="ROW", nargs=2, help="a label, a group or the beginning of a key, twice"
    )


def _explain(options: argparse.Namespace) -> int:
    study = Study(options)
    from bench.report import comparison
    from bench.report.results import read_results

    results = read_results(study.suite, study.store)
    try:
        first, second = (comparison.find(results.rows, text) for text in options.rows)
    except ValueError as error:
        say(error, file=sys.stderr)
        return WRONG
    say("\n".join(comparison.explain(results, first, second)))
    return DONE


COMMAND = Command(_explain, _options)
