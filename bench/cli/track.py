"""The command ``track``: training curves and metrics into TensorBoard or Weights & Biases.

It reads what lies in the store, during a run or later, and sends what it has not sent yet; what was
sent is noted in ``tracked.json`` beside the tables.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from bench.cli.exit_status import DONE, WRONG
from bench.cli.options import Command, add_suite
from bench.cli.study import Study
from bench.execute.lease import running_driver
from bench.files import write
from bench.printable import say

if TYPE_CHECKING:
    from bench.report.results import Results

LOOK_SECONDS = 10.0


class Value(NamedTuple):
    """A number of a training: a series, how many training images were seen, the number."""

    series: str
    images: int
    value: float


class Tracker(Protocol):
    """Where numbers go: one of its runs is one training."""

    def send(self, run: str, values: list[Value]) -> None:
        """Adds numbers to a run."""

    def close(self) -> None:
        """Makes sure that all of it is kept."""


class TensorBoard:
    """Event files, a folder for each training."""

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._make = SummaryWriter
        self._folder = folder
        self._writers: dict[str, Any] = {}

    def send(self, run: str, values: list[Value]) -> None:
        if run not in self._writers:
            self._writers[run] = self._make(str(self._folder / run))
        for value in values:
            self._writers[run].add_scalar(value.series, value.value, value.images)
        self._writers[run].flush()

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()


class WandB:
    """Runs of a project of Weights & Biases, in a group named like the suite."""

    def __init__(self, project: str, suite: str) -> None:
        import wandb

        self._wandb, self._project, self._suite = wandb, project, suite
        self._runs: dict[str, Any] = {}

    def send(self, run: str, values: list[Value]) -> None:
        if run not in self._runs:
            told = {"project": self._project, "group": self._suite, "name": run}
            name = "".join(c if c.isalnum() else "-" for c in f"{self._suite}-{run}")
            self._runs[run] = self._wandb.init(**told, id=name, resume="allow", reinit="create_new")
            self._runs[run].define_metric("images")
            self._runs[run].define_metric("*", step_metric="images")
        for value in values:
            self._runs[run].log({value.series: value.value, "images": value.images})

    def close(self) -> None:
        for run in self._runs.values():
            run.finish()


def numbers(results: "Results", study: Study) -> Iterator[tuple[str, list[Value]]]:
    """Yields for each training its losses, then the mean over sample seeds of each metric of its
    weights, those of its snapshots at their images, once all seeds are done.
    """
    from bench.report.figures.training import LOSSES, read_log
    from bench.report.records import Records
    from bench.spec import TrainSpec

    records = Records(study.store)
    rows = results.rows
    for label, specs in study.suite.train.items():
        for spec in specs:
            if not isinstance(spec, TrainSpec):
                continue
            log = read_log(spec, records)
            values = [
                Value(name, int(images), float(value))
                for name in LOSSES
                for images, value in zip(log["images"], log[name], strict=True)
            ]
            own = rows.loc[(rows["train"] == label) & (rows["train_seed"] == spec.seed)]
            for (group, images), points in own.groupby(["group", "training_images"], sort=False):
                if (points["state"] != "done").any():
                    continue
                sampler = str(group).partition(" · ")[2] or str(group)
                for metric in results.metrics:
                    series = f"{metric}/{sampler}"
                    values.append(Value(series, int(images), float(points[metric].mean())))
            yield f"{label} seed {spec.seed}", [v for v in values if math.isfinite(v.value)]


class Sent:
    """What was sent already, a file beside the tables.

    Args:
        path: The file.
        target: Where it was sent to.

    Raises:
        ValueError: The file holds something else.
    """

    def __init__(self, path: Path, target: str) -> None:
        self.path, self.target = path, target
        self.all: dict[str, dict[str, dict[str, list[float]]]] = {}
        if path.exists():
            self.all = json.loads(path.read_text())

    def new(self, run: str, values: list[Value]) -> list[Value]:
        """Returns the values that were not sent."""
        sent = self.all.get(self.target, {}).get(run, {})
        return [value for value in values if value.images not in sent.get(value.series, ())]

    def note(self, run: str, values: list[Value]) -> None:
        """Notes that values were sent."""
        runs = self.all.setdefault(self.target, {}).setdefault(run, {})
        for value in values:
            runs.setdefault(value.series, []).append(value.images)
        write(self.path, json.dumps(self.all).encode())


def send_new(study: Study, tracker: Tracker, sent: Sent) -> int:
    """Sends what is new; returns how many numbers."""
    from bench.report.results import read_results

    count = 0
    for run, values in numbers(read_results(study.suite, study.store), study):
        if new := sent.new(run, values):
            tracker.send(run, new)
            sent.note(run, new)
            count += len(new)
    return count


def _tracker(options: argparse.Namespace, study: Study) -> tuple[Tracker, str]:
    if options.tensorboard is not None:
        folder = Path(options.tensorboard)
        return TensorBoard(folder), f"tensorboard {folder.absolute()}"
    return WandB(options.wandb, study.suite.name), f"wandb {options.wandb}"


def _track(options: argparse.Namespace) -> int:
    study = Study(options)
    package = "tensorboard" if options.tensorboard is not None else "wandb"
    path = study.results / "tracked.json"
    try:
        tracker, target = _tracker(options, study)
        sent = Sent(path, target)
    except ImportError as error:
        why = f"--{package}: {package} cannot be imported ({error}): pip install {package}"
        say(why, file=sys.stderr)
        return WRONG
    except ValueError as error:
        say(f"{path}: {error}; delete it, and all is sent again", file=sys.stderr)
        return WRONG
    try:
        while True:
            goes_on = running_driver(study.results) is not None
            count = send_new(study, tracker, sent)
            if count or not options.watch:
                say(f"{count} new numbers sent to {target}", flush=True)
            if not (options.watch and goes_on):
                return DONE
            time.sleep(LOOK_SECONDS)
    except KeyboardInterrupt:
        say("\nno longer tracked; what runs goes on")
        return DONE
    finally:
        tracker.close()


def _options(parser: argparse.ArgumentParser) -> None:
    add_suite(parser)
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("--tensorboard", metavar="DIR", help="event files below this folder")
    target.add_argument("--wandb", metavar="PROJECT", help="runs of this Weights & Biases project")
    parser.add_argument("--watch", action="store_true", help="go on until the run ends")


COMMAND = Command(_track, _options)
