"""What several commands share: options, exit statuses, and checks of names, data and devices."""

import argparse
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from bench.cli.exit_status import DONE, FAILED, WRONG
from bench.installation import program
from bench.store import Store

RESULTS = "results"
"""Where tables and figures go unless ``--results`` names another folder."""


class Command(NamedTuple):
    """A command: what runs it (it returns the exit status), and its options."""

    run: Callable[[argparse.Namespace], int]
    options: Callable[[argparse.ArgumentParser], None] = lambda parser: None


def add_folders(parser: argparse.ArgumentParser) -> None:
    """Adds the options that say where results are."""
    parser.add_argument(
        "--store", metavar="DIR", help="where weights, samples and scores are kept (results/store)"
    )
    parser.add_argument(
        "--results", metavar="DIR", default=RESULTS, help="where tables and figures go (results)"
    )


def add_suite(parser: argparse.ArgumentParser) -> None:
    """Adds a suite, what may be changed of it, and :func:`add_folders`."""
    add_folders(parser)
    parser.add_argument("suite", help="a suite, such as suites/quickstart.yaml")
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="override a value: train.vp.params.sigma_max=3",
    )
    add_plugin(parser)
    parser.add_argument(
        "--profile", metavar="NAME", help="lay the overrides of profiles.NAME over the suite"
    )
    parser.add_argument(
        "--smoke",
        action="store_true",
        help="one small batch of every point, from models trained for a few steps",
    )
    parser.add_argument(
        "--only", metavar="LABEL", action="append", default=[], help="only points with this label"
    )
    parser.add_argument(
        "--same-numbers",
        action="store_true",
        help="keep results of a plugin file that has changed since: it gives the same numbers",
    )


def add_plugin(parser: argparse.ArgumentParser) -> None:
    """Adds ``--plugin``."""
    parser.add_argument(
        "--plugin",
        metavar="FILE",
        action="append",
        default=[],
        help="your Python file with a sampler, metric, extractor, data set or method",
    )


def add_verify(parser: argparse.ArgumentParser) -> None:
    """Adds ``--verify``."""
    parser.add_argument(
        "--verify",
        action="store_true",
        help="read every stored file and compare its hash, not only size and modification time",
    )


def add_device(parser: argparse.ArgumentParser, which: str = "") -> None:
    """Adds ``--device``, of an extractor."""
    parser.add_argument(
        "--device", metavar="NAME", default="cpu", help=f"{which}where the extractor runs (cpu)"
    )


def overrides(options: argparse.Namespace) -> list[str]:
    """Returns the options by which a suite was changed on the command line."""
    values = {
        "--set": options.set,
        "--only": options.only,
        "--profile": options.profile,
        "--smoke": options.smoke,
    }
    return [name for name, value in values.items() if value]


def command(options: argparse.Namespace, verb: str) -> str:
    """Returns the command line of another command about the same suite and folders."""
    words = [verb, options.suite]
    for name in ("set", "only", "plugin"):
        words += [word for value in getattr(options, name) for word in (f"--{name}", value)]
    for name in ("profile", "store"):
        value = getattr(options, name)
        words += [f"--{name}", value] if value is not None else []
    words += ["--results", options.results] if options.results != RESULTS else []
    words += ["--smoke"] if options.smoke else []
    return f"{program()} {shlex.join(words)}"


def store_of(options: argparse.Namespace) -> Store:
    """Returns the store that the options name."""
    return Store(Path(options.store) if options.store else Path(options.results) / "store")


def unusable(dataset: str, extractor: str | None, device: str) -> tuple[int, list[str]]:
    """Returns why an extractor cannot be applied to a data set, with the exit status; no reasons if
    it can.

    Args:
        extractor: None for no extractor yet: then only the name of the data set is checked.
        device: As torch names it.
    """
    from bench.data import assets
    from bench.data.registry import DATASETS
    from bench.metrics.extractor_cards import refuse_extractor
    from bench.schema import did_you_mean
    from bench.suite import requirements

    if dataset not in DATASETS:
        near = did_you_mean(dataset, DATASETS) or f": {', '.join(DATASETS)}"
        return WRONG, [f"there is no data set {dataset!r}{near}"]
    if extractor is None:
        return DONE, []
    card = DATASETS[dataset]
    try:
        reasons = refuse_extractor(extractor, card)
    except ValueError as error:
        reasons = [str(error)]
    if reasons:
        return WRONG, reasons
    needed = [*assets.of_data(dataset, card), *requirements.of_extractor(extractor)]
    if missing := assets.missing(needed):
        return FAILED, missing
    return WRONG, _no_device(device)


def _no_device(name: str) -> list[str]:
    import torch

    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        why = f"cannot be used here: {str(error).splitlines()[0]}"
        return [f"--device {name}: {why}; a device reads as cpu, cuda or cuda:1"]
    return []
