"""The command ``prune``: delete what is no longer needed."""

import argparse
import sys

from bench.cli.exit_status import DONE, FAILED, WRONG
from bench.cli.options import Command, add_suite
from bench.cli.study import Study, noted_keys
from bench.execute.lease import clear_hint, driver_lock, holder, running_driver
from bench.files import scan
from bench.printable import say
from bench.progress import examine, to_prune
from bench.store import STAGES


def _options(parser: argparse.ArgumentParser) -> None:
    add_suite(parser)
    parser.add_argument(
        "--samples",
        metavar="N",
        type=int,
        help="images to keep per point (default: what the suite says)",
    )
    parser.add_argument(
        "--unused",
        action="store_true",
        help="delete results that neither this suite nor another one of this results folder uses "
        "(statistics of real images, in references/, stay: any suite may use them)",
    )
    parser.add_argument("--dry-run", action="store_true", help="only say what would be deleted")


def _prune(options: argparse.Namespace) -> int:
    study = Study(options)
    if (facts := running_driver(study.results)) is not None:
        remedy = clear_hint(driver_lock(study.results), facts) or "prune when it is done"
        say(f"{study.results} is held by process {facts.get('pid')}: {remedy}", file=sys.stderr)
        return FAILED
    wrong = ""
    if options.unused and study.overrides:
        wrong = f"--unused keeps what whole suites use: leave out {', '.join(study.overrides)}"
    elif options.samples is not None and options.samples < 0:
        wrong = f"--samples should be at least 0, got {options.samples}"
    if wrong:
        say(wrong, file=sys.stderr)
        return WRONG
    keep = study.suite.keep if options.samples is None else options.samples
    freed = prune_samples(study, keep, dry=options.dry_run)
    if options.unused:
        freed += _prune_unused(study, options.dry_run)
    say(f"{freed / 1e6:.1f} MB {'could be ' if options.dry_run else ''}freed")
    return DONE


def prune_samples(study: Study, keep: int | None, *, dry: bool = False) -> int:
    """Deletes scored images beyond the first ``keep`` per point (None keeps all); returns the bytes
    freed.

    Args:
        dry: Delete nothing.
    """
    if keep is None:
        return 0
    units = to_prune(study.jobs, examine(study.jobs, study.store, reasons=False), keep)
    if dry:
        paths = [study.store.path(unit, ".npz") for unit in units]
        return sum(path.stat().st_size for path in paths if path.exists())
    return sum(study.store.prune(unit) for unit in units)


def _prune_unused(study: Study, dry: bool) -> int:
    """Deletes keys that neither this suite nor any other run into the same results folder uses."""
    used, freed = study.keys, 0
    for suite in scan(study.results.parent):
        if suite != study.suite.name:
            try:
                used |= noted_keys(study.results.parent / suite / "keys.json")
            except ValueError as error:
                say(f"{error}; nothing unused was deleted", file=sys.stderr)
                return 0
    for stage in STAGES:
        for name in scan(study.store.root / stage):
            folder = study.store.folder(stage, name)
            if f"{stage}/{name}" in used:
                continue
            if any(holder(path) is not None for path in folder.glob("*.lease")):
                say(f"kept, somebody works on it: {folder}")
                continue
            size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
            say(f"{'would delete' if dry else 'deleting'} {folder} ({size / 1e6:.1f} MB)")
            freed += size if dry else study.store.remove(stage, name)
    return freed


COMMAND = Command(_prune, _options)
