"""The command ``check``: does what a plugin file declares keep to the contract?"""

import argparse
import sys
from pathlib import Path

from bench.cli.exit_status import DONE, FAILED
from bench.cli.options import Command, unusable
from bench.plugins import load
from bench.printable import say

VERDICTS = {True: "ok", False: "FAILED", None: "-"}


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file",
        metavar="FILE",
        help="your Python file with a sampler, metric, extractor, data set or method",
    )
    parser.add_argument(
        "--dataset",
        metavar="NAME",
        default="digits",
        help="data set to try it on (digits)",
    )


def _check(options: argparse.Namespace) -> int:
    path = Path(options.file).expanduser().absolute()
    (plugin,) = (plugin for plugin in load([path]) if plugin.path == path)
    status, reasons = unusable(options.dataset, None, "cpu")
    if reasons:
        say("\n".join(reasons), file=sys.stderr)
        return status
    from bench.check.plugin import check_plugin

    verdicts = []
    for what, found in check_plugin(plugin, options.dataset):
        say(what, flush=True)
        for finding in found:
            say(f"  {VERDICTS[finding.right]:<8}{finding.what}: {finding.found}", flush=True)
            verdicts.append(finding.right)
    failed = verdicts.count(False)
    say(f"{verdicts.count(True)} checks ok" + f"; {failed} FAILED" * bool(failed))
    return FAILED if failed else DONE


COMMAND = Command(_check, _options)
