"""A suite with its jobs, its store and its results folder, as the options name them."""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from bench.cli.garbage import uncollected
from bench.cli.options import overrides, store_of
from bench.files import read_json, write
from bench.plan import Job, expand
from bench.plugin_results import refuse_changed
from bench.plugins import PluginError, loaded
from bench.printable import say
from bench.store import STAGES
from bench.suite.reader import read_suite
from bench.suite.resolved import Suite

WORDS = {
    "train": "trainings",
    "samples": "sample sets",
    "likelihood": "likelihoods",
    "inspect": "inspections",
    "scores": "scorings",
}


class Study:
    """A suite, ready to be planned, run and reported.

    Args:
        options: With those of :func:`bench.cli.options.add_suite`.
        absent: Whether a suite may be read whose checkpoints and images are not there.
    """

    @uncollected()
    def __init__(self, options: argparse.Namespace, *, absent: bool = False) -> None:
        self.store = store_of(options)
        self.suite: Suite = read_suite(
            options.suite,
            sets=options.set,
            profile=options.profile,
            smoke=options.smoke,
            only=options.only,
            cache=self.store.root / "external",
            absent=absent,
        )
        self.jobs: list[Job] = expand(self.suite)
        if why := refuse_changed(self.store, self.jobs, loaded(), options.same_numbers):
            raise PluginError("\n".join(why))
        self.results = Path(options.results) / self.suite.name
        self.overrides = overrides(options)

    @property
    def keys(self) -> set[str]:
        """``stage/key`` of every job."""
        return {job.folder for job in self.jobs}

    def note_keys(self) -> None:
        """Notes which keys the suite uses, for ``prune --unused``; a run with overrides adds to
        what was noted.
        """
        path, keys = self.results / "keys.json", self.keys
        if self.overrides:
            try:
                keys |= noted_keys(path)
            except ValueError as error:
                say(f"note: {error}", file=sys.stderr)
                return
        write(path, json.dumps(sorted(keys)).encode())


def noted_keys(path: Path) -> set[str]:
    """Returns the keys that :meth:`Study.note_keys` wrote, none if there is no such file.

    Raises:
        ValueError: There is one, and it is damaged.
    """
    keys = read_json(path)
    if isinstance(keys, list) and all(isinstance(key, str) for key in keys):
        return set(keys)
    if path.exists():
        why = "damaged, so nobody knows what that suite uses; run it once, which writes it again"
        raise ValueError(f"{path}: {why}")
    return set()


def describe_counts(jobs: Iterable[Job]) -> str:
    """Returns ``3 trainings, 9 sample sets``."""
    counts = Counter(job.stage for job in jobs)
    return ", ".join(f"{counts[stage]} {WORDS[stage]}" for stage in STAGES if counts[stage])
