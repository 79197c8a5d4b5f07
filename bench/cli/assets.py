"""The command ``assets``: the files that a suite needs, and whether they are there."""

import argparse
import os
import sys
import time

from bench.cli.exit_status import DONE, FAILED
from bench.cli.options import Command, add_suite, command
from bench.cli.study import Study
from bench.data import assets, download
from bench.data.registry import data_card
from bench.data.root import data_root
from bench.printable import one_line, say
from bench.suite import requirements

LINE_SECONDS = 10
"""How often progress is written if it is not shown on a terminal."""


def _options(parser: argparse.ArgumentParser) -> None:
    add_suite(parser)
    parser.add_argument(
        "--download", action="store_true", help="fetch what is missing and has a public address"
    )


def _assets(options: argparse.Namespace) -> int:
    study = Study(options, absent=True)
    suite, cache = study.suite, study.store.root / "external"
    is_set = bool(os.environ.get("BENCH_DATA", "").strip())
    how = "environment variable BENCH_DATA" if is_set else "set BENCH_DATA to have it elsewhere"
    say(f"data and weights lie below {data_root()} ({how})")
    failed = []
    if options.download:
        with _Line() as line:
            failed = list(
                download.fetch_missing(requirements.of_suite(suite, study.store), line.say, line)
            )
    needed = requirements.of_suite(suite, study.store)
    wrong = 0
    for asset in needed:
        lines, right = assets.describe(asset, cache)
        say("\n".join(lines))
        wrong += not right
    card = data_card(suite.dataset)
    if not card.files:
        say(f"data set {suite.dataset}: nothing to fetch ({card.summary})")
    for note in suite.notes:
        say(f"note: {note}")
    for problem in failed:
        say(problem, file=sys.stderr)
    lacking = assets.missing(needed)
    offered = any(
        asset.needed and asset.path is None and asset.offer is not None for asset in needed
    )
    if lacking and offered and not options.download:
        say(f"fetch what has an address: {command(options, 'assets')} --download")
    damaged = wrong - len(lacking)
    counts = [f"{len(lacking)} missing"] * bool(lacking)
    counts += [f"{damaged} not as published"] * bool(damaged)
    say(f"{len(needed)} needed: {', '.join(counts)}" if counts else "nothing is missing")
    return FAILED if counts or failed else DONE


class _Line:
    """A line that is written over on a terminal; elsewhere one is written every ten seconds. A
    context manager.
    """

    def __init__(self) -> None:
        self.terminal = sys.stdout.isatty()
        self.shown = time.monotonic()
        self.open = False

    def __enter__(self) -> "_Line":
        return self

    def __exit__(self, *exception: object) -> None:
        self._end()

    def __call__(self, text: str) -> None:
        """Shows a line for now."""
        now = time.monotonic()
        if self.terminal:
            print(f"\r\x1b[K{one_line(text)}", end="", flush=True)
            self.open = True
        elif now - self.shown >= LINE_SECONDS:
            say(text, flush=True)
            self.shown = now

    def say(self, text: str) -> None:
        """Writes a line to keep."""
        self._end()
        say(text, flush=True)

    def _end(self) -> None:
        if self.open:
            print()
            self.open = False


COMMAND = Command(_assets, _options)
