"""The sections of a suite file, checked one by one against what is known, each read into its own
type.

Nothing here stops at the first mistake: every problem is noted with its key path, and reading goes
on with what is left. Sections are only whole where no problem was noted.

Standard library only.
"""

import itertools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from bench.card import Card, LikelihoodCard, SamplerCard
from bench.data import conditioning as conditions
from bench.data.card import DataCard
from bench.data.digest import checkpoint_files
from bench.data.external import count_images, what_is_left_out
from bench.data.gallery import KINDS as GALLERIES
from bench.data.gallery_files import settle
from bench.data.registry import data_card
from bench.data.root import data_root
from bench.metrics.card import MetricCard
from bench.metrics.registry import METRICS, SHORTHANDS, choose
from bench.schema import Problem, build, check, differences, field_types, merge, names
from bench.spec import Values
from bench.suite.document import check_keys
from bench.suite.fault import KeyPath

REQUIRED = ("name", "dataset", "metrics", "samples", "train")
OPTIONAL = (
    "likelihood",
    "inspect",
    "points",
    "claims",
    "keep",
    "figures",
    "controlled",
    "most_nfe",
    "profiles",
)
MODEL = ("method", "preset", "params", "seeds", "snapshots", "ema", "checkpoint", "weights")
ELSEWHERE = ("samples_from", "scale")
CLAIM = ("metric", "smallest_effect", "pairs", "vs")
SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
MOST_IMAGES = 10_000_000
MOST_POINTS = MOST_UNITS = 1_000_000
"""Bounds on what one suite may ask for: beyond them, it is a slip of the pen."""
SMOKE_IMAGES = 4
SMOKE_LIKELIHOOD_IMAGES = 2
INSPECTED = 256
"""Held-out images that a model is inspected on where a suite does not say how many, or all where
there are fewer.
"""


@dataclass(frozen=True)
class Known:
    """What a suite may name."""

    cards: Mapping[str, Card]
    datasets: Mapping[str, DataCard]
    metrics: Mapping[str, MetricCard]


@dataclass(frozen=True, kw_only=True)
class Samples:
    """How many images a point has, in batches of what size, with which seeds, and how pixels become
    levels.

    ``quantise`` is "none" for data sets of real values, and for them alone.
    """

    count: int
    batch: int = 500
    seeds: tuple[int, ...] = (0,)
    quantise: Literal["round", "truncate", "none"] = "round"
    precision: Literal["float32", "bfloat16"] = "float32"


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """The held-out images whose likelihood is computed; parameters of the methods stand beside
    these keys.
    """

    images: int
    batch: int = 128
    split: str = "test"
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Inspect:
    """The held-out images that models are inspected on."""

    images: int
    split: str = "test"
    seed: int = 0


@dataclass(frozen=True)
class Likelihood:
    """The likelihood section.

    Args:
        params: The parameters for each method that has a likelihood.
        axes: The values of each swept parameter.
        sweep: The parameters of each method at each point of the sweep.
    """

    held_out: HeldOut
    params: Mapping[str, Any]
    axes: Mapping[str, tuple[Any, ...]]
    sweep: Mapping[str, Sequence[Any]]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One metric as a suite asks for it: ``params`` are its differences from the defaults."""

    name: str
    version: int
    params: Values
    column: str
    tasks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Model:
    """A train entry that is trained, or whose weights are those of a checkpoint.

    ``snapshots`` are the training images after which weights are kept, rising; ``ema`` the relative
    widths of the averages of the weights that are made beside the training's own.
    """

    card: Card
    preset: str | None
    params: Any
    seeds: tuple[int, ...]
    snapshots: tuple[int, ...] = ()
    checkpoint: Path | None = None
    weights: str = "ema"
    ema: tuple[float, ...] = ()


@dataclass(frozen=True)
class Source:
    """A train entry whose images were made elsewhere.

    Args:
        path: Where they lie.
        count: How many there are; 0 where they are not there.
        scale: The values of black and white in them; None: as usual.
    """

    path: Path
    count: int = 0
    scale: tuple[float, float] | None = None


@dataclass(frozen=True)
class Sweep:
    """A point entry for one train label: a sampler, the parameters given, and the axes of its grid.

    ``task`` is what it samples under, with its parameters ``given``
    (:data:`bench.data.conditioning.TASKS`).
    """

    path: KeyPath
    label: str
    sampler: str = ""
    times: str | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    axes: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    task: str | None = None
    given: Any = None


@dataclass(frozen=True, kw_only=True)
class Claims:
    """Claims about one metric, stated before the run: which rows are compared, and what difference
    is of interest.

    Args:
        column: The metric's column.
        smallest_effect: The least difference that is of interest, in units of the metric.
        pairs: What is claimed to be better, and than what; each names groups as ``--only`` does.
        vs: What every other group of its budget is compared with, in place of ``pairs``.
    """

    path: KeyPath
    column: str
    smallest_effect: float
    pairs: tuple[tuple[str, str], ...] = ()
    vs: str | None = None


@dataclass(frozen=True, kw_only=True)
class Sections:
    """A suite file, section by section.

    Args:
        most_nfe: The largest budget of network evaluations; points of larger ones are left out.
            None: all are there.
    """

    name: str
    dataset: str
    data: DataCard
    samples: Samples
    metrics: Sequence[Metric]
    train: Mapping[str, Model | Source]
    likelihood: Likelihood | None
    inspect: Inspect | None
    sweeps: Sequence[Sweep]
    claims: Sequence[Claims]
    keep: int | None
    figures: Literal["default", "none"]
    controlled: bool
    most_nfe: int | None


class Reader:
    """Reads the sections of a suite; :attr:`problems` and :attr:`notes` say what it met.

    Args:
        tree: The suite as plain values.
        known: What it may name.
        smoke: Whether every size is cut to a trial run.
        only: What ``--only`` asks for; checkpoints of models that it leaves out need not be there.
        cache: Folder that remembers digests of pictures.
        absent: Whether checkpoints and images made elsewhere need not be there.
    """

    def __init__(
        self,
        tree: Any,
        known: Known,
        *,
        smoke: bool = False,
        only: Sequence[str] = (),
        cache: Path | None = None,
        absent: bool = False,
    ) -> None:
        self.problems: list[Problem] = []
        self.notes: list[str] = []
        self.data: DataCard | None = None
        self.known = known
        self.smoke = smoke
        self.only = only
        self.cache = cache
        self.absent = absent
        self.tree = check_keys(self.problems, (), tree, (*REQUIRED, *OPTIONAL), REQUIRED)

    def read(self) -> Sections:
        """Returns the sections, whole where :attr:`problems` is empty."""
        dataset = self._dataset()
        samples = self._samples()
        train = self._train()
        self._profiles()
        metrics, sweeps = self._metrics(samples), self._points(train)
        self._conditional(metrics, sweeps)
        if not self.problems:
            self._check_size(samples, train, sweeps)
        return Sections(
            name=self._name(),
            dataset=dataset,
            data=self.data,
            samples=samples,
            metrics=metrics,
            train=train,
            likelihood=self._likelihood(
                [entry for entry in train.values() if isinstance(entry, Model)]
            ),
            inspect=self._inspect(),
            sweeps=sweeps,
            claims=self._claims(metrics),
            keep=self._keep(),
            figures=self._plain(Literal["default", "none"], "figures", "default"),
            controlled=self._plain(bool, "controlled", True),
            most_nfe=self._most_nfe(sweeps),
        )

    def _dataset(self) -> str | None:
        """Returns the name of the data set and notes its card: one that is known, or pictures that
        are described.
        """
        if "dataset" not in self.tree:
            return None
        path, given = ("dataset",), self.tree["dataset"]
        if not isinstance(given, Mapping):
            if isinstance(given, str) and given in GALLERIES:
                shown = "{" + f"name: {given}, ..." + "}"
                self._refuse(
                    path,
                    given,
                    f"needs to be told more: {shown} with {', '.join(names(GALLERIES[given]))}",
                )
            elif self._choice(path, given, (*self.known.datasets, *GALLERIES), "data set"):
                self.data = self.known.datasets[given]
                return given
            return None
        name, values = (
            given.get("name"),
            {key: value for key, value in given.items() if key != "name"},
        )
        if "name" not in given:
            self._refuse(path, None, "has no name", (*GALLERIES, *self.known.datasets))
        elif isinstance(name, str) and name in self.known.datasets:
            self._refuse(path, None, f"takes no parameters: write dataset: {name}")
        elif self._choice((*path, "name"), name, GALLERIES, "data set with parameters"):
            params = self._typed(GALLERIES[name], path, values)
            if params is None:
                return None
            try:
                settled, line = settle(name, params, self.cache)
            except ValueError as error:
                self._refuse(path, None, str(error))
                return None
            self.data = data_card(settled)
            self.notes.append(line)
            return settled
        return None

    def _refuse(self, path: KeyPath, value: Any, why: str, allowed: Iterable[str] = ()) -> None:
        self.problems.append(Problem(path, value, why, tuple(allowed)))

    def _choice(self, path: KeyPath, value: Any, allowed: Iterable[str], what: str) -> bool:
        """Whether ``value`` is one of the ``allowed`` words."""
        allowed = tuple(allowed)
        if isinstance(value, str) and value in allowed:
            return True
        if isinstance(value, str):
            self._refuse(path, value, f"unknown {what}", allowed)
        else:
            kind = {list: "a list", dict: "a mapping", type(None): "empty"}.get(
                type(value), "not a text"
            )
            self._refuse(path, value, f"should be the name of one {what}, and is {kind}", allowed)
        return False

    def _typed(self, kind: Any, path: KeyPath, value: Any) -> Any:
        """Returns ``value`` as ``kind``, or None where it is not of that kind."""
        before = len(self.problems)
        result = check(kind, value, self.problems, path)
        return result if len(self.problems) == before else None

    def _plain(self, kind: Any, name: str, default: Any) -> Any:
        return self._typed(kind, (name,), self.tree.get(name, default))

    def _items(self, path: KeyPath, value: Any) -> list[Any]:
        """Returns a list that has items, each once."""
        if not isinstance(value, list):
            self._refuse(path, value, "should be a list")
            return []
        if not value:
            self._refuse(path, value, "should not be empty")
        seen = set()
        for index, item in enumerate(value):
            if repr(item) in seen:
                self._refuse((*path, str(index)), item, "stands in this list twice")
            seen.add(repr(item))
        return value

    def _at_least(self, path: KeyPath, value: int, least: int) -> None:
        if value < least:
            self._refuse(path, value, f"should be at least {least}")

    def _at_most(self, path: KeyPath, value: int, most: int, what: str) -> bool:
        """Whether a run of so many could ever end."""
        if value > most:
            self._refuse(path, value, f"makes {value:,} {what}: more than {most:,} are refused")
        return value <= most

    def _safe(self, path: KeyPath, value: str) -> None:
        if not SAFE_NAME.fullmatch(value):
            why = "should be a name for files: at most 80 letters, digits, '.', '_' and '-', a letter or digit first"
            self._refuse(path, value, why)

    def _seeds(self, path: KeyPath, given: Any) -> tuple[int, ...]:
        seeds = []
        for index, seed in enumerate(self._items(path, given)):
            seeds.append(self._typed(int, (*path, str(index)), seed))
            if seeds[-1] is not None:
                self._at_least((*path, str(index)), seed, 0)
        return tuple(seeds[:1] if self.smoke else seeds)

    def _name(self) -> str:
        name = self._plain(str, "name", "unnamed") or "unnamed"
        self._safe(("name",), name)
        if name.casefold() == "store":
            self._refuse(
                ("name",), name, "is the folder of the store, results/store: take another name"
            )
        return f"{name}-smoke" if self.smoke else name

    def _keep(self) -> int | None:
        keep = check_keys(self.problems, ("keep",), self.tree.get("keep", {}), ("samples",)).get(
            "samples", "all"
        )
        count = self._typed(Literal["all"] | int, ("keep", "samples"), keep)
        if isinstance(count, int):
            self._at_least(("keep", "samples"), count, 0)
        return count if isinstance(count, int) else None

    def _most_nfe(self, sweeps: Sequence[Sweep]) -> int | None:
        """Returns the largest budget that a profile, say, leaves of the grids; none may lose all of
        them.
        """
        most = self._plain(int | None, "most_nfe", None)
        if most is not None:
            self._at_least(("most_nfe",), most, 1)
            for sweep in sweeps:
                budgets = [budget for budget in sweep.axes.get("nfe", ()) if budget is not None]
                if budgets and min(budgets) > most:
                    path = ".".join(sweep.path)
                    self._refuse(
                        ("most_nfe",),
                        most,
                        f"leaves no budget of {path}, whose smallest is {min(budgets)}",
                    )
        return most

    def _profiles(self) -> None:
        profiles = self.tree.get("profiles", {})
        if not isinstance(profiles, Mapping):
            self._refuse(("profiles",), profiles, "should be a mapping")
            return
        for name, values in profiles.items():
            if not isinstance(values, Mapping):
                self._refuse(
                    ("profiles", name),
                    values,
                    "should be a mapping of sections to lay over the suite",
                )
            elif "profiles" in values:
                self._refuse(
                    ("profiles", name, "profiles"), values["profiles"], "a profile has no profiles"
                )

    def _samples(self) -> Samples | None:
        path = ("samples",)
        if "samples" not in self.tree:
            return None
        given = check_keys(self.problems, path, self.tree["samples"], names(Samples), ("count",))
        if not isinstance(self.tree["samples"], Mapping):
            return None
        seeds = self._seeds((*path, "seeds"), given.get("seeds", [0]))
        known = self._without_levels() | {
            name: value for name, value in given.items() if name in names(Samples)
        }
        samples = self._typed(Samples, path, {"count": 1, **known, "seeds": [0]})
        if samples is None:
            return None
        self._check_quantise((*path, "quantise"), samples.quantise)
        self._at_least((*path, "count"), samples.count, 1)
        self._at_least((*path, "batch"), samples.batch, 1)
        self._at_most((*path, "count"), samples.count, MOST_IMAGES, "images a point")
        self._at_most((*path, "batch"), samples.batch, MOST_IMAGES, "images at a time")
        count, batch = samples.count, samples.batch
        if self.smoke:
            count = batch = min(SMOKE_IMAGES, count)
        elif batch > count > 0:
            self.notes.append(
                f"samples.batch: {batch} images are made at a time and only {count} are used"
            )
        return Samples(
            count=count,
            batch=batch,
            seeds=seeds,
            quantise=samples.quantise,
            precision=samples.precision,
        )

    def _without_levels(self) -> dict[str, Any]:
        """Returns the defaults of samples that are other for real values."""
        return {"quantise": "none"} if self.data is not None and self.data.kind == "real" else {}

    def _check_quantise(self, path: KeyPath, rule: str) -> None:
        if self.data is not None and (rule == "none") != (self.data.kind == "real"):
            if self.data.kind == "real":
                self._refuse(
                    path,
                    rule,
                    "the values of the data set are real: they are stored as they are",
                    ("none",),
                )
            else:
                self._refuse(path, rule, "pixels have levels to take", ("round", "truncate"))

    def _metrics(self, samples: Samples | None) -> list[Metric]:
        metrics: list[Metric] = []
        if self.tree.get("metrics", []) == []:  # none is fine: samples or likelihoods alone
            return metrics
        for index, given in enumerate(self._items(("metrics",), self.tree["metrics"])):
            path = ("metrics", str(index))
            for metric in self._asked(path, given, samples):
                if metric.column in [other.column for other in metrics]:
                    self._refuse(path, given, f"the column {metric.column} is there already")
                else:
                    metrics.append(metric)
        self._note_one_sided(metrics)
        return metrics

    def _note_one_sided(self, metrics: Sequence[Metric]) -> None:
        """Notes distances that are asked to training or to held-out images alone, where both can be
        had.
        """
        cards = {metric.column: self.known.metrics[metric.name] for metric in metrics}
        both = {
            m.column: build(cards[m.column].params, m.params)
            for m in metrics
            if cards[m.column].both
        }
        asked = {
            (params.extractor, params.reference)
            for params in both.values()
            if not params.statistics
        }
        for column, params in both.items():
            other = "train" if params.reference == "test" else "test"
            twin = replace(params, reference=other)
            if params.statistics or self.smoke or (params.extractor, other) in asked:
                continue
            if not cards[column].refuse(twin, self.data):
                images = "training" if other == "test" else "held-out"
                self.notes.append(
                    f"{column}: to {images} images alone; ask for reference: {other} too"
                )

    def _asked(self, path: KeyPath, given: Any, samples: Samples | None) -> list[Metric]:
        """Returns the metrics of one entry: a shorthand may stand for several."""
        name, options = given, {}
        if isinstance(given, Mapping):
            name, options = (
                given.get("metric"),
                {key: value for key, value in given.items() if key != "metric"},
            )
            path = (*path, "metric") if "metric" in given else path
        known = self.known.metrics
        short = {
            word: meant
            for word, meant in SHORTHANDS.items()
            if all(known.get(m) is METRICS[m] for m, _ in meant)
        }
        if not self._choice(path, name, (*known, *short), "metric"):
            return []
        meant = short.get(name, ((name, {}),))
        metrics = [
            self._metric(path[:2], given, one, {**preset, **options}, samples)
            for one, preset in meant
        ]
        return [metric for metric in metrics if metric is not None]

    def _metric(
        self,
        path: KeyPath,
        given: Any,
        name: str,
        options: Mapping[str, Any],
        samples: Samples | None,
    ) -> Metric | None:
        card = self.known.metrics[name]
        if self.data is not None:
            options = choose(card, options, self.data)
        params = self._typed(card.params, path, options)
        if params is None or self.data is None:
            return None
        if self.smoke and samples is not None and card.needs(params, self.data)[0] > samples.count:
            params = replace(params, allow_few=True) if hasattr(params, "allow_few") else params
        for reason in card.refuse(params, self.data):
            self._refuse(path, given, reason)
        if (
            samples is not None
            and not card.tasks
            and not self._is_enough(path, given, card, params, samples)
        ):
            return None
        own = {"params": differences(params), "column": card.column(params), "tasks": card.tasks}
        return Metric(name=name, version=card.version, **own)

    def _is_enough(
        self, path: KeyPath, given: Any, card: MetricCard, params: Any, samples: Samples
    ) -> bool:
        """Whether there are images enough for a metric to have a value; notes where it would be no
        evidence.
        """
        needs, why = card.needs(params, self.data)
        least, column = card.least_count(params, self.data), card.column(params)
        asked = self.tree["samples"].get("count", 0)  # 0 is refused already
        if 0 < asked < needs:
            text = f"{column} needs {needs} images, and samples.count asks for {asked}"
            self._refuse(path, given, f"{text}: {why}" if why else text)
        elif samples.count < needs:
            self.notes.append(
                f"{column}: left out of the trial run, whose {samples.count} images are not the {needs}"
            )
            return False
        elif samples.count < least and not self.smoke:
            self.notes.append(
                f"{column}: {samples.count} images are few, {least} are asked for evidence"
            )
        return True

    def _claims(self, metrics: Sequence[Metric]) -> list[Claims]:
        """Returns the claims; whether there are such groups is told once the points are known."""
        claims = []
        for index, given in enumerate(
            self._items(("claims",), self.tree["claims"]) if "claims" in self.tree else ()
        ):
            path = ("claims", str(index))
            given = check_keys(self.problems, path, given, CLAIM, ("metric", "smallest_effect"))
            if ("pairs" in given) == ("vs" in given) and given:
                self._refuse(path, None, "should have either pairs or vs")
            effect = self._typed(
                float, (*path, "smallest_effect"), given.get("smallest_effect", 1.0)
            )
            if effect is not None and not effect > 0:
                self._refuse((*path, "smallest_effect"), effect, "should be positive")
            pairs = self._pairs((*path, "pairs"), given["pairs"]) if "pairs" in given else ()
            vs = self._typed(str, (*path, "vs"), given["vs"]) if "vs" in given else None
            column = (
                self._claimed((*path, "metric"), given["metric"], metrics)
                if "metric" in given
                else None
            )
            if column is not None and effect is not None:
                claims.append(
                    Claims(path=path, column=column, smallest_effect=effect, pairs=pairs, vs=vs)
                )
        return claims

    def _pairs(self, path: KeyPath, given: Any) -> tuple[tuple[str, str], ...]:
        pairs = [
            self._typed(tuple[str, str], (*path, str(i)), pair)
            for i, pair in enumerate(self._items(path, given))
        ]
        return tuple(pair for pair in pairs if pair is not None)

    def _claimed(self, path: KeyPath, given: Any, metrics: Sequence[Metric]) -> str | None:
        """Returns the column that a claim is about, which a metric's name tells where the suite has
        it once.
        """
        columns = [metric.column for metric in metrics]
        found = (
            [given]
            if given in columns
            else [metric.column for metric in metrics if metric.name == given]
        )
        if len(found) == 1:
            return found[0]
        if found:
            self._refuse(path, given, "names several columns: give the one that is meant", found)
        elif self.smoke and given in self.known.metrics:
            self.notes.append(f"{'.'.join(path)}: {given} is left out of the trial run")
        else:
            self._refuse(
                path,
                given,
                "is no metric of the suite",
                (*dict.fromkeys(m.name for m in metrics), *columns),
            )
        return None

    def _train(self) -> dict[str, Model | Source | None]:
        """Returns the entries by label; None for those that cannot be told."""
        given = self.tree.get("train", {})
        if not isinstance(given, Mapping) or ("train" in self.tree and not given):
            self._refuse(
                ("train",), given, "should be a mapping of labels to models, with at least one"
            )
            return {}
        entries = {}
        for label, entry in given.items():
            self._safe(("train", label), label)
            entries[label] = self._entry(("train", label), entry)
        return entries

    def _entry(self, path: KeyPath, given: Any) -> Model | Source | None:
        if isinstance(given, Mapping) and "samples_from" in given:
            check_keys(self.problems, path, given, ELSEWHERE)
            scale = self._scale((*path, "scale"), given["scale"]) if "scale" in given else None
            return self._source((*path, "samples_from"), given["samples_from"], scale)
        given = check_keys(self.problems, path, given, (*MODEL, "samples_from"))
        if "method" not in given:
            self._refuse((*path, "method"), None, "is missing", self.known.cards)
            return None
        if not self._choice((*path, "method"), given["method"], self.known.cards, "method"):
            return None
        return self._model(path, given, self.known.cards[given["method"]])

    def _model(self, path: KeyPath, given: Mapping[str, Any], card: Card) -> Model:
        seeds = self._seeds((*path, "seeds"), given.get("seeds", [0]))
        preset = given.get("preset")
        if preset is not None and not self._choice(
            (*path, "preset"), preset, card.presets, "preset"
        ):
            preset = None
        values = given.get("params", {})
        if not isinstance(values, Mapping):
            self._refuse((*path, "params"), values, "should be a mapping", names(card.params))
            values = {}
        imported = (
            "checkpoint" in given
        )  # and then nothing is trained that a trial run could cut short
        layers = [
            card.presets[preset] if preset else {},
            values,
            card.smoke if self.smoke and not imported else {},
        ]
        params = self._typed(card.params, (*path, "params"), merge(*layers))
        if params is not None and self.data is not None:
            for reason in card.refuse(params, self.data.shape):
                self._refuse((*path, "params"), None, reason)
        if (
            preset in card.shapes
            and self.data is not None
            and self.data.shape != card.shapes[preset]
        ):
            made, has = (
                " x ".join(map(str, shape)) for shape in (card.shapes[preset], self.data.shape)
            )
            self._refuse(
                (*path, "preset"),
                preset,
                f"is for images of {made} (channels x height x width), not {has}",
            )
        snapshots = ()
        if "snapshots" in given and not imported:
            snapshots = self._snapshots((*path, "snapshots"), given["snapshots"], card, params)
        ema = ()
        if "ema" in given and not imported:
            ema = self._averages((*path, "ema"), given["ema"], card, params)
        if params is not None and card.needs_classes(params):
            if self.data is not None and not self.data.classes:
                self._refuse(
                    (*path, "params"),
                    None,
                    "a classifier is trained on classes, which the data set has not",
                )
            if "checkpoint" in given:
                why = "a classifier is asked for, which a checkpoint does not hold"
                self._refuse((*path, "checkpoint"), given["checkpoint"], why)
        if (
            params is not None
            and card.needs_levels(params)
            and self.data is not None
            and self.data.kind == "real"
        ):
            why = "dequantisation is of discrete levels, and the values of the data set are real"
            self._refuse((*path, "params"), None, why)
        checkpoint, weights = self._checkpoint(path, given, card)
        return Model(card, preset, params, seeds, snapshots, checkpoint, weights, ema)

    def _checkpoint(
        self, path: KeyPath, given: Mapping[str, Any], card: Card
    ) -> tuple[Path | None, str]:
        """Returns where the weights of a model that is not trained here lie, and which of them are
        taken.
        """
        weights = given.get("weights", "ema")
        if "checkpoint" not in given:
            if "weights" in given:
                self._refuse(
                    (*path, "weights"),
                    weights,
                    "says which weights of a checkpoint: there is none here",
                )
            return None, "ema"
        self._choice((*path, "weights"), weights, ("ema", "raw"), "kind of weights")
        if not card.checkpoints:
            why = f"{card.name} imports no published checkpoints"
            self._refuse((*path, "checkpoint"), given["checkpoint"], why)
            return None, "ema"
        for name in ("seeds", "snapshots", "ema"):
            if name in given:
                self._refuse(
                    (*path, name),
                    given[name],
                    "belongs to a training, and a checkpoint is not trained here",
                )
        found = self._find(
            (*path, "checkpoint"),
            given["checkpoint"],
            needed=not self.absent and self._wants(path[-1]),
        )
        if found is not None and found.exists():
            try:
                checkpoint_files(found)
            except ValueError as error:
                self._refuse((*path, "checkpoint"), given["checkpoint"], str(error))
        return found, weights

    def _snapshots(self, path: KeyPath, given: Any, card: Card, params: Any) -> tuple[int, ...]:
        """Returns the snapshots of a training; under a trial run one in its middle stands for
        all.
        """
        counts = [
            self._typed(int, (*path, str(index)), item)
            for index, item in enumerate(self._items(path, given))
        ]
        if card.training is None:
            self._refuse(path, given, f"{card.name} keeps no snapshots of its training")
        elif params is not None:
            end = card.training.images(params)
            if self.smoke:
                return (max(1, end // 2),)
            for index, count in enumerate(counts):
                if count is not None and not 0 < count < end:
                    why = f"should lie inside the training, which sees {end} images (its end is a point anyway)"
                    self._refuse((*path, str(index)), count, why)
        return tuple(sorted(count for count in counts if count is not None))

    def _averages(self, path: KeyPath, given: Any, card: Card, params: Any) -> tuple[float, ...]:
        """Returns the relative widths of averages; under a trial run the first stands for all."""
        widths = [
            self._typed(float, (*path, str(index)), item)
            for index, item in enumerate(self._items(path, given))
        ]
        for index, width in enumerate(widths):
            if width is not None and not 0 < width < 12**-0.5:
                why = "is a relative width: it should lie between 0 and 12^-1/2 = 0.2887, that of a mean of all weights"
                self._refuse((*path, str(index)), width, why)
        if card.training is None:
            self._refuse(path, given, f"{card.name} keeps no averages of its weights")
        elif params is not None and not card.training.averages(
            params, card.training.images(params)
        ):
            why = f"is made of averages that a training keeps, and this one keeps none: see `show {card.name}`"
            self._refuse(path, given, why)
        known = tuple(width for width in widths if width is not None)
        return known[:1] if self.smoke else known

    def _scale(self, path: KeyPath, given: Any) -> tuple[float, float] | None:
        """Returns the values of black and white in images made elsewhere: one number is white, and
        black is 0.
        """
        if self.data is not None and self.data.kind == "real":
            self._refuse(
                path,
                given,
                "is of pictures, and the values of the data set are real: they have no white",
            )
            return None
        scale = self._typed(float | tuple[float, float], path, given)
        if scale is None:
            return None
        black, white = scale if isinstance(scale, tuple) else (0.0, scale)
        if not (math.isfinite(black) and math.isfinite(white) and black < white):
            self._refuse(
                path,
                given,
                "should be the value of white, above 0, or a list of those of black and white",
            )
            return None
        return black, white

    def _source(
        self, path: KeyPath, given: Any, scale: tuple[float, float] | None
    ) -> Source | None:
        found = self._find(path, given, needed=not self.absent)
        if found is None:
            return None
        if self.absent and not found.exists():
            return Source(found, scale=scale)
        try:
            count, left_out = count_images(found), what_is_left_out(found)
        except ValueError as error:
            self._refuse(path, given, str(error))
            return None
        if left_out:
            self.notes.append(f"{'.'.join(path)}: {count:,} pictures; {left_out}")
        samples = self.tree.get("samples")
        asked = samples.get("count") if isinstance(samples, Mapping) else None
        if isinstance(asked, int) and count < asked and not self.smoke:
            self._refuse(path, given, f"holds {count} images, and samples.count asks for {asked}")
        return Source(found, count, scale)

    def _wants(self, label: str) -> bool:
        """Whether ``--only`` may ask for a train entry: it does not where it names other entries
        alone.
        """
        train = self.tree.get("train", {})
        return not self.only or label in self.only or not all(name in train for name in self.only)

    def _find(self, path: KeyPath, given: Any, *, needed: bool = True) -> Path | None:
        """Returns where a path of the suite leads, under the data root or else the working
        folder.
        """
        given = self._typed(str, path, given)
        if given is None:
            return None
        if not given.strip():
            self._refuse(path, given, "is empty, and should be a path")
            return None
        places = dict.fromkeys([data_root() / given, Path.cwd() / given])
        try:
            found = next((place for place in places if place.exists()), None)
        except OSError as error:  # too long a name, a loop of links, a folder that may not be read
            self._refuse(path, given, f"cannot be a path: {error.strerror}")
            return None
        if found is None and not needed:
            return data_root() / given
        if found is None:
            self._refuse(path, given, f"nothing lies at {' or at '.join(map(str, places))}")
        return found

    def _likelihood(self, models: Sequence[Model]) -> Likelihood | None:
        path, given = ("likelihood",), self.tree.get("likelihood", "none")
        known = {
            model.card.name: model.card.likelihood for model in models if model.card.likelihood
        }
        if given == "none" or not self._methods_are_known():
            return None
        if not known:
            reasons = sorted({f"{model.card.name}: {model.card.no_likelihood}" for model in models})
            self._refuse(
                path,
                None,
                f"no method here has a likelihood ({'; '.join(reasons) or 'none is trained'})",
            )
            return None
        options = list(
            dict.fromkeys(name for card in known.values() for name in names(card.params))
        )
        given = check_keys(
            self.problems, path, given, (*names(HeldOut), "sweep", *options), ("images",)
        )
        held_out = self._held_out(
            path, {key: value for key, value in given.items() if key in names(HeldOut)}
        )
        params, sweep, before = {}, {}, len(self.problems)
        axes = (
            self._likelihood_axes((*path, "sweep"), given["sweep"], known)
            if "sweep" in given
            else {}
        )
        axes = axes if len(self.problems) == before else {}
        for name, card in known.items():
            written = {
                key: (value, (*path, key))
                for key, value in given.items()
                if key in names(card.params)
            }
            params[name] = self._likelihood_params(card, written)
            swept = {axis: values for axis, values in axes.items() if axis in names(card.params)}
            many = math.prod(map(len, swept.values()))
            if (
                params[name] is None
                or not swept
                or not self._at_most((*path, "sweep"), many, MOST_POINTS, "points")
            ):
                continue
            written_steps = [
                [
                    (axis, (value, (*path, "sweep", axis, str(index))))
                    for index, value in enumerate(values)
                ]
                for axis, values in swept.items()
            ]
            sweep[name] = [
                self._likelihood_params(card, {**written, **dict(step)})
                for step in itertools.product(*written_steps)
            ]
        return Likelihood(held_out, params, axes, {} if self.smoke else sweep)

    def _likelihood_params(
        self, card: LikelihoodCard, written: Mapping[str, tuple[Any, KeyPath]]
    ) -> Any:
        """Returns a method's parameters, or None; what is wrong is noted where the value at fault
        was written.

        Args:
            card: The method's likelihood.
            written: The value of each parameter that is given, and its key path.
        """
        found: list[Problem] = []
        params = check(card.params, {name: value for name, (value, _) in written.items()}, found)
        for problem in found:
            # A rule of the parameters together names those that break it in its message.
            named = [name for name in written if re.search(rf"\b{name}\b", problem.why)]
            name, *rest = problem.path or named[:1] or [""]
            value, path = written.get(name, (None, ("likelihood",)))
            self._refuse(
                (*path, *rest), problem.value if rest else value, problem.why, problem.allowed
            )
        return None if found else params

    def _methods_are_known(self) -> bool:
        """Whether every method can be told; where not, what its likelihood takes cannot be told
        either.
        """
        train = self.tree.get("train")
        entries = list(train.values()) if isinstance(train, Mapping) else [None]
        methods = [
            e.get("method") for e in entries if isinstance(e, Mapping) and "samples_from" not in e
        ]
        return all(isinstance(e, Mapping) for e in entries) and set(map(str, methods)) <= set(
            self.known.cards
        )

    def _held_out(self, path: KeyPath, given: Mapping[str, Any]) -> HeldOut | None:
        held_out = self._typed(HeldOut, path, {"images": 1, **given})
        if held_out is None:
            return None
        for name, least in (("images", 1), ("batch", 1), ("seed", 0)):
            self._at_least((*path, name), getattr(held_out, name), least)
        if self.data is not None and self._choice(
            (*path, "split"), held_out.split, self.data.splits, "split"
        ):
            most = self.data.splits[held_out.split]
            if held_out.images > most:
                self._refuse(
                    (*path, "images"),
                    held_out.images,
                    f"the split {held_out.split} has {most} images",
                )
        images = min(SMOKE_LIKELIHOOD_IMAGES, held_out.images) if self.smoke else held_out.images
        # a last, smaller batch has other noise: equal work should have equal batches, and so an
        # equal key
        batch = min(held_out.batch, images)
        return HeldOut(images=images, batch=batch, split=held_out.split, seed=held_out.seed)

    def _inspect(self) -> Inspect | None:
        """Returns what models are inspected on: by default some held-out images, nothing where null
        is given.
        """
        path, given = ("inspect",), self.tree.get("inspect", {})
        if given is None or self.data is None:
            return None
        given = check_keys(self.problems, path, given, names(Inspect))
        split = given.get("split", Inspect.split)
        if not self._choice((*path, "split"), split, self.data.splits, "split"):
            return None
        most = self.data.splits[split]
        inspect = self._typed(Inspect, path, {"images": min(INSPECTED, most), **given})
        if inspect is None:
            return None
        self._at_least((*path, "images"), inspect.images, 1)
        self._at_least((*path, "seed"), inspect.seed, 0)
        if inspect.images > most:
            self._refuse((*path, "images"), inspect.images, f"the split {split} has {most} images")
        return replace(inspect, images=min(SMOKE_IMAGES, inspect.images)) if self.smoke else inspect

    def _likelihood_axes(
        self, path: KeyPath, given: Any, known: Mapping[str, LikelihoodCard]
    ) -> dict[str, tuple[Any, ...]]:
        kinds = {
            name: kind for card in known.values() for name, kind in field_types(card.params).items()
        }
        given = check_keys(self.problems, path, given, tuple(kinds))
        if not given:
            self._refuse(path, None, "should not be empty", kinds)
        return {
            axis: self._axis((*path, axis), values, kinds[axis])
            for axis, values in given.items()
            if axis in kinds
        }

    def _axis(self, path: KeyPath, given: Any, kind: Any) -> tuple[Any, ...]:
        items = self._items(path, given)
        return tuple(
            self._typed(kind, (*path, str(index)), item) for index, item in enumerate(items)
        )

    def _points(self, train: Mapping[str, Model | Source | None]) -> list[Sweep]:
        sweeps: list[Sweep] = []
        if "points" in self.tree:
            for index, given in enumerate(self._items(("points",), self.tree["points"])):
                sweeps += self._point(("points", str(index)), given, train)
        elif all(isinstance(entry, Model) for entry in train.values()):
            self._refuse(("points",), None, "is missing")
        shown = {sweep.label for sweep in sweeps}
        for label, entry in train.items():
            if isinstance(entry, Source) and label not in shown:
                sweeps.append(Sweep(("train", label), label))
            elif isinstance(entry, Model) and label not in shown:
                self.notes.append(f"train.{label}: no point samples from it")
        return sweeps

    def _check_size(
        self, samples: Samples, train: Mapping[str, Model | Source | None], sweeps: Sequence[Sweep]
    ) -> None:
        """Refuses more points, or batches of images, than could ever be made, before they are
        written out.
        """
        points = units = 0
        for sweep in sweeps:
            made, count = math.prod(map(len, sweep.axes.values())), samples.count
            if isinstance(model := train[sweep.label], Model):
                made *= (
                    len(model.seeds)
                    * (1 + len(model.snapshots))
                    * (1 + len(model.ema))
                    * len(samples.seeds)
                )
            if sweep.task in conditions.RESTORATIONS:
                count = sweep.given.images * sweep.given.repeats
            points, units = points + made, units + made * -(-count // samples.batch)
        if self._at_most(("points",), points, MOST_POINTS, "points"):
            self._at_most(("samples",), units, MOST_UNITS, "batches of images")

    def _conditional(self, metrics: Sequence[Metric], sweeps: Sequence[Sweep]) -> None:
        """Refuses metrics of conditional samples that no point could have."""
        tasks = {sweep.task for sweep in sweeps}
        for metric in metrics:
            if metric.tasks and not tasks & set(metric.tasks):
                what = " or ".join(metric.tasks)
                why = f"measures what samples make of what is given: no point has {what}"
                self._refuse(("metrics",), metric.column, why)

    def _point(
        self, path: KeyPath, given: Any, train: Mapping[str, Model | Source | None]
    ) -> list[Sweep]:
        keys = ("train", "sampler", "params", "times", "grid", "given")
        given = check_keys(self.problems, path, given, keys, ("train",))
        labels = given.get("train", [])
        listed = isinstance(labels, list)
        if listed and "train" in given:
            self._items((*path, "train"), labels)
        sweeps = []
        for index, label in enumerate(labels if listed else [labels]):
            here = (*path, "train", str(index)) if listed else (*path, "train")
            if not self._choice(here, label, train, "train label"):
                continue
            match train[label]:
                case Model() as model:
                    sweeps.append(self._sweep(path, label, given, model.card))
                case Source():
                    for name in given.keys() - {"train"}:
                        self._refuse(
                            (*path, name),
                            given[name],
                            f"{label} holds images made elsewhere, nothing to set",
                        )
                    sweeps.append(Sweep(path, label))
        return sweeps

    def _sweep(self, path: KeyPath, label: str, given: Mapping[str, Any], method: Card) -> Sweep:
        name = given.get("sampler")
        if "sampler" not in given:
            self._refuse((*path, "sampler"), None, "is missing", method.samplers)
        elif self._choice((*path, "sampler"), name, method.samplers, f"sampler of {method.name}"):
            card = method.samplers[name]
            kinds = field_types(card.params)
            values = check_keys(
                self.problems, (*path, "params"), given.get("params", {}), tuple(kinds)
            )
            values = {
                key: self._typed(kinds[key], (*path, "params", key), value)
                for key, value in values.items()
                if key in kinds
            }
            if "times" in given:
                self._times((*path, "times"), given["times"], name, card.times)
            axes = (
                self._grid(
                    (*path, "grid"),
                    given["grid"],
                    {*values, *({"times"} & given.keys())},
                    name,
                    card,
                )
                if "grid" in given
                else {}
            )
            task, condition = None, None
            if "given" in given:
                task, condition = self._given((*path, "given"), given["given"], name, card)
            return Sweep(path, label, name, given.get("times"), values, axes, task, condition)
        return Sweep(path, label)

    def _given(
        self, path: KeyPath, given: Any, sampler: str, card: SamplerCard
    ) -> tuple[str | None, Any]:
        """Returns the task of a condition and its parameters, None where they cannot be told."""
        if not isinstance(given, Mapping) or "task" not in given:
            self._refuse(path, given, "should be a mapping with a task", conditions.TASKS)
            return None, None
        task = given["task"]
        if not self._choice((*path, "task"), task, conditions.TASKS, "task"):
            return None, None
        if task not in card.conditions:
            known = ", ".join(card.conditions) or "nothing"
            self._refuse(
                (*path, "task"), task, f"{sampler} cannot sample under it (what it can: {known})"
            )
        params = self._typed(
            conditions.TASKS[task], path, {key: v for key, v in given.items() if key != "task"}
        )
        if params is None:
            return None, None
        for reason in conditions.refuse(task, params, self.data) if self.data is not None else ():
            self._refuse(path, None, reason)
        if task in conditions.RESTORATIONS:
            self._at_most(
                (*path, "repeats"), params.images * params.repeats, MOST_IMAGES, "images a point"
            )
        if self.smoke and task in conditions.RESTORATIONS:
            params = replace(params, images=SMOKE_IMAGES // 2, repeats=2)
        return task, params

    def _times(self, path: KeyPath, value: Any, sampler: str, allowed: Sequence[str]) -> str | None:
        if not allowed:
            self._refuse(path, value, f"{sampler} takes no time grid")
        elif self._choice(path, value, allowed, f"time grid of {sampler}"):
            return value
        return None

    def _grid(
        self, path: KeyPath, given: Any, outside: set[str], name: str, card: SamplerCard
    ) -> dict[str, tuple[Any, ...]]:
        kinds = {"nfe": int, **field_types(card.params)}
        given = check_keys(self.problems, path, given, (*kinds, "times"))
        if not given:
            self._refuse(path, None, "should not be empty", (*kinds, "times"))
        axes = {}
        for axis, values in given.items():
            here = (*path, axis)
            if axis == "times":
                items = self._items(here, values)
                axes[axis] = tuple(
                    self._times((*here, str(i)), v, name, card.times) for i, v in enumerate(items)
                )
            elif axis in kinds:
                axes[axis] = self._axis(here, values, kinds[axis])
            if axis in outside:
                self._refuse(here, values, "is given outside the grid as well")
        if "nfe" in axes:
            self._budgets((*path, "nfe"), axes["nfe"], name, not card.effort.exact)
        return axes

    def _budgets(
        self, path: KeyPath, budgets: Sequence[int | None], name: str, adaptive: bool
    ) -> None:
        if adaptive:
            self._refuse(
                path,
                list(budgets),
                f"{name} is adaptive: it has no budget, sweep its tolerance instead",
            )
        for index, budget in enumerate(budgets):
            if budget is not None:
                self._at_least((*path, str(index)), budget, 1)
