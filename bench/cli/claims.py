"""The command ``claims``: what papers claim, judged by the stored results of suites."""

import argparse
import os
import sys
from pathlib import Path

from bench.cli.exit_status import DONE, FAILED
from bench.cli.options import Command
from bench.printable import say


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("listing", help="a listing of claims, such as docs/claims.yaml")
    parser.add_argument(
        "--results",
        metavar="DIR",
        default="results",
        help="where the tables of suites are (results)",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="write nothing; end with status 1 if the page is out of date",
    )


def _claims(options: argparse.Namespace) -> int:
    from bench.claims.evidence import counts, findings
    from bench.claims.listing import read_listing
    from bench.claims.page import page, write_page

    listing = Path(options.listing)
    entries, document = read_listing(listing)
    found = findings(entries, document, Path(options.results))
    target = listing.with_suffix(".md")
    results = Path(os.path.relpath(options.results, target.parent)).as_posix()
    text = page(entries.title, listing.as_posix(), found, results)
    same = write_page(target, text, check=options.check)
    number = ", ".join(f"{count} {name}" for name, count in counts(found).items())
    say(f"{target}: {number}")
    if options.check and not same:
        say(f"{target} is out of date", file=sys.stderr)
        return FAILED
    return DONE


COMMAND = Command(_claims, _options)
