"""The command line: which command was asked for, and what becomes of its errors.

Nothing heavy is imported before it is needed: plan, status and --help answer at once.
"""

import argparse
import importlib
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.cli.exit_status import DONE, FAILED, WRONG
from bench.installation import program
from bench.printable import let_any_text_through, say

COMMANDS: Mapping[str, str] = {
    "run": "make what is missing, then tables and figures",
    "plan": "say how much of each stage is done, and what is missing",
    "status": "say how far a suite is, what runs, what failed and why",
    "report": "make tables and figures of what is finished so far",
    "assets": "list the files that a suite needs, and whether they are there",
    "cancel": "stop the driver and the workers of a suite (start it again to go on)",
    "list": "list methods, samplers, data sets, metrics, suites and executors",
    "show": "show a method, sampler, data set or metric, or what is stored under a key",
    "explain": "say how two rows of a suite differ, and which of their numbers are comparable",
    "check": "check that a plugin file keeps to the contract",
    "check-metrics": "check that a metric's numbers rise with known damage, and agree across "
    "libraries",
    "reference": "exchange reference statistics with .npz files (mu, sigma; pool_3)",
    "claims": "judge what papers claim by the stored results of suites, on one page",
    "export": "pack a study into one archive with the hash of each file",
    "merge": "add the results of other folders, machines and archives to the store",
    "track": "send training curves and metrics to TensorBoard or Weights & Biases",
    "prune": "delete what is no longer needed",
}
"""Commands with their one-line help; each is a module of this package, imported when asked for."""

MODULES = {"list": "listing", "check-metrics": "check_metrics"}
"""The modules that have another name than their command."""

EPILOG = """\
examples (SUITE is a file such as suites/quickstart.yaml):
  {0} SUITE                     train, sample, score, rank (and resume: start it again)
  {0} SUITE --smoke             one small batch of every point, before GPU-days are spent
  {0} SUITE --set train.vp.params.training.steps=500 --only vp
  {0} SUITE --executor inline   in this process, for debugging
  {0} SUITE --executor slurm --detach     all of it into the queue of a cluster, and leave
  {0} plan SUITE                what is done, what is to do; --verbose: and why
  {0} plan SUITE --executor slurm         what that would submit, and what it would cost
  {0} status SUITE              from the files alone, while it runs or later
  {0} status SUITE --watch      as it goes on
  {0} report SUITE              tables and figures of what is finished so far
  {0} report SUITE --serve      the page in a browser, anew while a run goes on
  {0} assets SUITE              what it needs, where to put it; --download fetches what it can
  {0} explain SUITE ROW ROW     how two rows differ, and why they are not comparable
  {0} list                      methods, samplers, data sets, metrics, suites
  {0} show sde                  a method's parameters: meaning, allowed values, default
  {0} check-metrics --extractor effnet-lite0@32 --dataset photo_tiles
                                do the metrics say what they should?
  {0} check my_sampler.py       does a file of yours keep to the contract?
  {0} export SUITE -o FILE      a study as one archive; on another machine: merge FILE
  {0} reference import FILE     statistics that a paper ships; export writes such files

options of a command: {0} run --help
exit status: 0 all done; 1 some rows failed or something is missing; 2 the suite or the command line
is wrong.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    let_any_text_through()
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    first = arguments[0] if arguments else "--help"
    if first.startswith("-"):
        if first not in ("-h", "--help"):
            arguments.insert(0, "run")
    elif first not in COMMANDS:
        from bench.schema import closest

        near = closest(first, COMMANDS, cutoff=0.7)
        if near and not Path(first).suffix:
            say(f"{program()}: no command {first!r}; did you mean {near[0]}?", file=sys.stderr)
            return WRONG
        arguments.insert(0, "run")
    if not arguments:
        _parser().print_help()
        return WRONG
    if arguments[0] not in COMMANDS:  # --help
        _parser().parse_args(arguments)
    return _call(arguments[0], arguments[1:])


def _call(name: str, arguments: Sequence[str]) -> int:
    """Runs a command; an error that is not the program's own becomes a line and an exit status."""
    from bench.execute.place import PlaceError
    from bench.files import NOT_OURS
    from bench.plugins import PluginError, load
    from bench.suite.fault import SuiteError

    command = importlib.import_module(f"bench.cli.{MODULES.get(name, name)}").COMMAND
    purpose = f"{COMMANDS[name][0].upper()}{COMMANDS[name][1:]}."
    parser = argparse.ArgumentParser(prog=f"{program()} {name}", description=purpose)
    command.options(parser)
    options = parser.parse_args(arguments)
    try:
        load(getattr(options, "plugin", ()))
        return command.run(options)
    except PluginError as error:
        say(f"{error}\nnothing was run.", file=sys.stderr)
        return WRONG
    except SuiteError as error:
        for fault in error.problems:
            say(fault, file=sys.stderr)
        count = len(error.problems)
        say(f"{count} problem{'s' if count > 1 else ''}; nothing was run.", file=sys.stderr)
        return WRONG
    except BrokenPipeError:  # the reader of a pipe went away (head, less)
        sys.stderr.close()
        return DONE
    except KeyboardInterrupt:
        say("\nstopped; nothing that was finished is lost.", file=sys.stderr)
        return 128 + signal.SIGINT
    except PlaceError as error:
        problem = str(error)
    except OSError as error:
        if error.errno not in NOT_OURS:
            raise
        problem = f"{error.filename or 'files'}: {error.strerror}"
    say(f"{problem}; nothing that was finished is lost", file=sys.stderr)
    return FAILED


def _parser() -> argparse.ArgumentParser:
    """Returns the parser of ``--help``, which names the commands."""
    parser = argparse.ArgumentParser(
        prog=program(),
        description="Trains, samples, scores and ranks score-based generative models under equal, "
        "measured compute.",
        epilog=EPILOG.format(program()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(
        dest="command", metavar="command", title="commands (run is the default)"
    )
    for name, purpose in COMMANDS.items():
        commands.add_parser(name, help=purpose)
    return parser
