"""Stored results as one tidy table, and the leaderboard made of it.

A row of the tidy table is a point: one model (a training seed) sampled by one sampler with one
sample seed. A row of the leaderboard is a group: the points that differ in their seeds alone. Rows
whose metric has another identity (extractor, weights, count, reference, ...) are never averaged or
ranked together.

Only finished units are read, so an unfinished suite gives the same table with fewer numbers in it,
and each row says what it lacks and why.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from bench.card import Card, cards
from bench.data.conditioning import RESTORATIONS, SPLIT, condition
from bench.data.conditioning import describe as describe_given
from bench.data.registry import data_card
from bench.data.subset import ALL, describe_copies, describe_part
from bench.execute.outcome import outcome
from bench.files import sha256
from bench.files import write as put
from bench.metrics.card import MetricCard
from bench.metrics.registry import METRICS
from bench.plan import METRICS_PART
from bench.report.contrast import contrast
from bench.report.statistics import Estimate, estimate
from bench.schema import build, differences, plain
from bench.spec import (
    ImagesSpec,
    InspectSpec,
    LikelihoodSpec,
    ModelSpec,
    Point,
    SampleSpec,
    ScoreSpec,
    Spec,
    key,
    part_name,
    place,
)
from bench.store import Store, UnitId

if TYPE_CHECKING:
    from bench.suite.resolved import Suite

BITS = "bits_per_dim"
BITS_TITLE = "NLL of dequantised data (bits/dim)"
BITS_ERROR = f"{BITS}_image_error"
DRAW_SD, DRAW_ERROR = f"{BITS}_draw_sd", f"{BITS}_draw_error"
"""What random draws (dequantisations, probes) make of one image's bits/dim, and of the mean over
the images.
"""
EXACT_BITS = f"exact_{BITS}"
"""What the distribution that the data are drawn from gives the same images, where it is known."""
HELD_OUT = "heldout_loss"
LOSS = (0.0, math.inf)
"""Bounds of a held-out loss."""
SECONDS = "sampling_seconds_per_image"
COLD = "no batch was warm"
LIKENESS = 0.01
"""By how much models of a controlled comparison may differ in parameters and in FLOPs, as a
fraction.
"""

LEADING = (
    *(
        "label",
        "group",
        "train",
        "method",
        "variant",
        "weights",
        "sampler",
        "times",
        "settings",
        "steps",
        "tolerance",
    ),
    *("adaptive", "budget", "nfe", "nfe_min", "nfe_max", SECONDS, "sampling_gflops_per_image"),
    *(
        "network_gflops_per_row",
        "snapshot",
        "ema",
        "training_images",
        "training_flops",
        "training_seconds",
    ),
    *("parameters", "device"),
)
TRAILING = (
    *(BITS, BITS_ERROR, DRAW_ERROR, DRAW_SD, EXACT_BITS, f"{BITS}_note", f"{SECONDS}_note"),
    *("likelihood_nfe", "likelihood_gflops_per_image", "clipped_fraction"),
    *("train_seed", "sample_seed", "count", "batch", "drawn"),
    *(
        "state",
        "cause",
        "log",
        "key",
        "train_key",
        "versions",
        "identity",
        "commit",
        "dirty",
        "host",
    ),
    *("records", "unproven"),
)
WHOLE = (
    "steps",
    "budget",
    "snapshot",
    "training_images",
    "parameters",
    "train_seed",
    "sample_seed",
    "count",
    "batch",
)
TRUTHS = ("adaptive", "dirty")
NUMBERS = (
    *(
        "tolerance",
        "ema",
        "nfe",
        "nfe_min",
        "nfe_max",
        SECONDS,
        "sampling_gflops_per_image",
        "network_gflops_per_row",
    ),
    *("training_flops", "training_seconds", BITS, BITS_ERROR, DRAW_ERROR, DRAW_SD, EXACT_BITS),
    *("likelihood_nfe", "likelihood_gflops_per_image", "clipped_fraction"),
)

GROUP_LEADING = (
    *(
        "rank",
        "group",
        "state",
        "train",
        "method",
        "variant",
        "weights",
        "sampler",
        "times",
        "settings",
        "steps",
    ),
    *("tolerance", "snapshot", "ema", "adaptive", "budget", "nfe", "nfe_min", "nfe_max"),
    *("train_seeds", "sample_seeds", "points", "points_done"),
)
GROUP_TRAILING = (
    *(SECONDS, f"{SECONDS} sd", "sampling_gflops_per_image"),
    *(
        "training_images",
        "training_flops",
        "training_seconds",
        "parameters",
        "device",
        BITS,
        f"{BITS} sd",
    ),
    *(BITS_ERROR, DRAW_ERROR, DRAW_SD, EXACT_BITS, f"{BITS}_note", f"{SECONDS}_note"),
    *("likelihood_nfe", "likelihood_gflops_per_image", "clipped_fraction"),
    *(
        "count",
        "drawn",
        "versions",
        "identity",
        "commit",
        "dirty",
        "cause",
        "log",
        "keys",
        "train_keys",
    ),
)


UNCERTAINTY = [
    *("group", "metric", "identity", "trainings", "sample seeds", "sample sets", "interval over"),
    *(
        "mean",
        "low",
        "high",
        "values",
        "error",
        "df",
        "sd retraining",
        "sd resampling",
        "sd shared by trainings",
    ),
    "share of retraining",
]


def tabulate(
    suite: "Suite",
    store: Store,
    *,
    methods: Mapping[str, Card] | None = None,
    metrics: Mapping[str, MetricCard] = METRICS,
) -> pd.DataFrame:
    """Returns the tidy table: a row for each point of the suite, finished or not.

    ``attrs`` of the table hold ``metrics`` (whether higher is better, by column; the first one
    ranks), ``bounds`` (of a value, by column), ``identities`` (what each number depends on, by the
    short hash that stands in column ``identity``), ``floors`` (what a metric says of real images,
    by column and that hash, where it was measured), ``controlled`` (whether the suite says so),
    ``claims`` (those that it states) and ``inspections`` (what :meth:`Reader.inspection` returns of
    each model). Columns ``heldout_loss@t=...`` hold the held-out loss of a row's model at each
    time. Column ``records`` names the file of each number in the store, ``unproven`` how many of
    the records behind a row do not say of which commit they are.

    Args:
        suite: What to read.
        store: Where it lies.
        methods: Cards by name; those found in ``methods/`` by default.
        metrics: Metric cards by name.
    """
    methods = cards() if methods is None else methods
    reader = Reader(store, metrics)
    inspections = [
        reader.inspection(label, spec, methods)
        for label, specs in suite.inspections.items()
        for spec in specs
    ]
    heldout = list(dict.fromkeys(name for shown in inspections for name in shown["losses"]))
    heldout.sort(key=lambda name: float(name.partition("=")[2]))
    heldout += [f"{HELD_OUT}_note"] if inspections else []
    records = [reader.row(point, methods) for point in suite.points]
    columns = {
        reader.column(score): metrics[score.metric]
        for point in suite.points
        for score in point.scores
    }
    rows = pd.DataFrame(records, columns=[*LEADING, *columns, *heldout, *TRAILING])
    kinds = {name: "Int64" for name in WHOLE} | {name: "boolean" for name in TRUTHS}
    kinds |= {name: "float64" for name in (*NUMBERS, *columns, *heldout[:-1])}
    rows = rows.astype(kinds)
    rows.attrs["metrics"] = {name: card.higher_is_better for name, card in columns.items()}
    rows.attrs["bounds"] = {name: card.bounds for name, card in columns.items()}
    rows.attrs["identities"] = dict(sorted(reader.identities.items()))
    rows.attrs["floors"] = reader.floors
    rows.attrs["controlled"] = suite.controlled
    rows.attrs["claims"] = suite.claims
    rows.attrs["inspections"] = inspections
    return rows


class Reader:
    """Reads the finished units of points, each once however many points share it."""

    def __init__(self, store: Store, metrics: Mapping[str, MetricCard]) -> None:
        self.store = store
        self.metrics = metrics
        self.identities: dict[str, Any] = {}
        self.floors: dict[str, dict[str, dict[str, Any]]] = {}
        self.records: dict[UnitId, dict[str, Any] | None] = {}
        self.places: dict[int, tuple[Spec, UnitId]] = {}
        self.shown: dict[str, dict[str, Any]] = {}

    def row(self, point: Point, methods: Mapping[str, Card]) -> dict[str, Any]:
        """Returns one row of the table as plain values."""
        row: dict[str, Any] = {"label": point.label, "group": point.group, "train": point.train}
        row |= {"budget": point.budget, "count": point.count, "key": self.place(point.sample)[1]}
        units = self._units(point)
        if isinstance(point.sample, ImagesSpec):
            row |= {"method": "images made elsewhere", f"{BITS}_note": "no model here"}
        else:
            row |= describe(point, methods) | {"train_key": self.place(point.sample.model)[1]}
            row |= self._training(point.sample.model) | self._sampling(point)
            row |= self._likelihood(point, methods[point.sample.train.method])
            if (shown := self.shown.get(row["train_key"])) is not None:
                row |= {**shown["losses"], f"{HELD_OUT}_note": shown["cause"] or shown["drawn"]}
        row |= self._scores(point)
        row["drawn"] = "; ".join(filter(None, self._drawn(point)))
        row["versions"] = versions(point)
        return row | self._provenance(point, units) | self._state(units)

    def place(self, spec: Spec) -> UnitId:
        """Returns where a spec's result lies, hashed once (points share the very objects)."""
        if id(spec) not in self.places:
            where = ("images", key(spec), "") if isinstance(spec, ImagesSpec) else place(spec)
            self.places[id(spec)] = (spec, UnitId(*where))
        return self.places[id(spec)][1]

    def batches(self, spec: SampleSpec | LikelihoodSpec, count: int) -> list[UnitId]:
        """Returns the units that hold the first ``count`` images."""
        stage, name, _ = self.place(spec)
        return [
            UnitId(stage, name, part_name(index)) for index in range(math.ceil(count / spec.batch))
        ]

    def column(self, score: ScoreSpec) -> str:
        """Returns the name of a metric's column."""
        card = self.metrics[score.metric]
        return card.column(build(card.params, score.params))

    def record(self, unit: UnitId) -> dict[str, Any] | None:
        """Returns the record of a unit, None where it is not finished."""
        if unit not in self.records:
            self.records[unit] = self.store.record(*unit)
        return self.records[unit]

    def _units(self, point: Point) -> dict[str, list[UnitId]]:
        """Returns the units that a point needs, by stage, in the order in which they are made."""
        units: dict[str, list[UnitId]] = {}
        if not isinstance(point.sample, ImagesSpec):
            units["training"] = [self.place(point.sample.model)]
            units["samples"] = self.batches(point.sample, point.count)
        if point.likelihood is not None:
            units["likelihood"] = self.batches(point.likelihood, point.likelihood.images)
        units["metrics"] = [self.place(score) for score in point.scores]
        return units

    def _training(self, spec: ModelSpec) -> dict[str, Any]:
        record = self.record(self.place(spec)) or {}
        names = {
            "training_images": "images",
            "training_flops": "flops",
            "training_seconds": "seconds",
        }
        row = {column: record.get(name) for column, name in names.items()} | {
            "parameters": record.get("parameters")
        }
        return row | ({"weights": taken_over(record["imported"])} if "imported" in record else {})

    def _sampling(self, point: Point) -> dict[str, Any]:
        """Returns what sampling cost, over the batches that the point's count asks for."""
        units = self.batches(point.sample, point.count)
        records = [record for unit in units if (record := self.record(unit)) is not None]
        if not records:
            return {}
        warm = [record for record in records if record["warm"]]
        # Of a record without it, no network's call cost more than the score's forward pass.
        priced = [
            {"flops_per_image": record["nfe"] * record["flops_per_row"], **record}
            for record in records
        ]
        return {
            "nfe": _mean(records, "nfe"),
            "nfe_min": min(record["nfe"] for record in records),
            "nfe_max": max(record["nfe"] for record in records),
            SECONDS: sum(r["seconds"] for r in warm) / sum(r["images"] for r in warm)
            if warm
            else None,
            f"{SECONDS}_note": "" if warm else COLD,
            "sampling_gflops_per_image": _mean(priced, "flops_per_image") / 1e9,
            "network_gflops_per_row": _mean(records, "flops_per_row") / 1e9,
            "clipped_fraction": None
            if records[0]["clipped"] is None
            else _mean(records, "clipped"),
            "device": _joined(record["provenance"].get("device") for record in records),
        }

    def _likelihood(self, point: Point, card: Card) -> dict[str, Any]:
        """Returns the mean over images once every batch is there, and why there is none
        otherwise.
        """
        if card.likelihood is None:
            return {f"{BITS}_note": card.no_likelihood or f"{card.title} has no likelihood"}
        if point.likelihood is None:
            params = build(card.params, point.sample.train.params)
            return {
                f"{BITS}_note": "; ".join(card.likelihood.refuse(params))
                or "the suite asks for none"
            }
        measured = self.likelihood(point.likelihood)
        if measured is None:
            return {f"{BITS}_note": "not finished"}
        return {
            BITS: measured["mean"],
            BITS_ERROR: measured["error"],
            DRAW_ERROR: measured["draw_error"],
            DRAW_SD: measured["draw_sd"],
            EXACT_BITS: measured["exact"],
            "likelihood_nfe": measured["nfe"],
            "likelihood_gflops_per_image": measured["gflops"],
            f"{BITS}_note": card.likelihood.kind,
        }

    def likelihood(self, spec: LikelihoodSpec) -> dict[str, Any] | None:
        """Returns bits/dim (mean over images), its standard errors, cost and identity; None until
        every batch is there.

        The error is the sample standard deviation over the images divided by the square root of
        their number, NaN for one image: how far the mean over other images of the same kind, with
        draws of their own, would lie. ``draw_error`` is the part that draws (dequantisations,
        probes) have in it, ``draw_sd`` what they make of one image; both None where nothing tells.
        """
        records = [self.record(unit) for unit in self.batches(spec, spec.images)]
        if any(record is None for record in records):
            return None
        values = np.concatenate(
            [np.asarray(record["values"][BITS], dtype=np.float64) for record in records]
        )
        known = all(EXACT_BITS in record["values"] for record in records)
        exact = (
            [np.asarray(record["values"][EXACT_BITS], dtype=np.float64) for record in records]
            if known
            else None
        )
        weighed = [{**record, "images": len(record["values"][BITS])} for record in records]
        priced = all("flops_per_image" in record for record in records)
        draw_sd = _draw_deviation(records)
        return {
            "mean": float(values.mean()),
            "error": float(values.std(ddof=1) / math.sqrt(len(values)))
            if len(values) > 1
            else math.nan,
            "draw_sd": draw_sd,
            "draw_error": None if draw_sd is None else draw_sd / math.sqrt(len(values)),
            "exact": None if exact is None else float(np.concatenate(exact).mean()),
            "nfe": _mean(weighed, "nfe"),
            "gflops": _mean(weighed, "flops_per_image") / 1e9 if priced else None,
            "identity": records[0]["identity"],
        }

    def inspection(
        self, label: str, spec: InspectSpec, methods: Mapping[str, Card]
    ) -> dict[str, Any]:
        """Returns what the inspection of a model shows, as plain values.

        ``losses`` are the mean losses by column name, ``times`` and ``noise_levels`` where they
        were taken; ``cause`` says why there are none, and is empty where there are.
        """
        unit, record = self.place(spec), self.record(self.place(spec))
        shown = {
            "train": label,
            "method": methods[spec.train.method].title,
            "seed": spec.train.seed,
        }
        shown |= {
            "snapshot": spec.snapshot,
            "ema": spec.ema,
            "images": spec.images,
            "split": spec.split,
        }
        shown |= {"file": self._file(unit), "losses": {}, "cause": "", "drawn": ""}
        if record is None:
            found = outcome(self.store, unit)
            failed = f"inspect failed: {found.cause or 'cause unknown'}"
            shown["cause"] = failed if found.state == "failed" else "not finished"
        else:
            names = (f"{HELD_OUT}@t={name}" for name in distinct(record["times"]))
            shown["losses"] = dict(zip(names, record["losses"], strict=True))
            shown |= {name: record[name] for name in ("times", "noise_levels", "strips", "curves")}
            shown["weighting"] = record["identity"]["weighting"]
            shown["drawn"] = _part_of(record["identity"])
        return self.shown.setdefault(self.place(spec.model)[1], shown) | {"train": label}

    def _scores(self, point: Point) -> dict[str, Any]:
        row: dict[str, Any] = {}
        named = []
        for score in point.scores:
            record = self.record(self.place(score))
            if record is not None:
                column, short = self.column(score), self.identify(record["identity"])
                row[column] = record["value"]
                named.append(f"{column}={short}")
                if record.get("floor") is not None:
                    self.floors.setdefault(column, {}).setdefault(short, record["floor"])
        if (
            point.likelihood is not None
            and (measured := self.likelihood(point.likelihood)) is not None
        ):
            named.append(f"{BITS}={self.identify(measured['identity'])}")
        return row | {"identity": "; ".join(named)}

    def _drawn(self, point: Point) -> Iterator[str]:
        """Yields which part of a set was taken wherever it was not all of it, and what repeats in
        it.
        """
        if isinstance(point.sample, ImagesSpec):
            records = (self.record(self.place(score)) for score in point.scores)
            source = next((record["source"] for record in records if record is not None), None)
            if source is not None:
                yield describe_part(source["drawn"], source["images"])
                yield describe_copies(source["copies"])
        elif (given := point.sample.given) is not None and given["task"] in RESTORATIONS:
            splits = data_card(point.sample.train.dataset).splits
            yield _headed("given", describe_part(condition(given).images, splits[SPLIT]))
        if (
            point.likelihood is not None
            and (measured := self.likelihood(point.likelihood)) is not None
        ):
            yield _headed("bits/dim", _part_of(measured["identity"]))

    def identify(self, identity: Mapping[str, Any]) -> str:
        """Returns the short hash of an identity, remembering what it stands for."""
        text = json.dumps(identity, sort_keys=True, separators=(",", ":"), default=str)
        short = sha256(text)[:8]
        self.identities[short] = dict(identity)
        return short

    def _provenance(self, point: Point, units: Mapping[str, list[UnitId]]) -> dict[str, Any]:
        """Returns where a row's numbers lie, the code they are of, and which of them do not say
        so.
        """
        wanted = [unit for stage in units.values() for unit in stage]
        found = {unit: record for unit in wanted if (record := self.record(unit)) is not None}
        provenance = {unit: record.get("provenance") or {} for unit, record in found.items()}
        files = {
            self.column(score): self._file(unit)
            for score, unit in zip(point.scores, units["metrics"], strict=True)
            if unit in found
        }
        if any(unit in found for unit in units.get("likelihood", ())):
            files[BITS] = self._file(units["likelihood"][0]._replace(part="*"))
        if (
            shown := self.shown.get(units["training"][0].key if "training" in units else "")
        ) and not shown["cause"]:
            files[HELD_OUT] = shown["file"]
        unproven = {
            stage: sum(not provenance[unit].get("commit") for unit in made)
            for stage, made in (
                (stage, [unit for unit in asked if unit in found]) for stage, asked in units.items()
            )
        }
        lacking = [f"{count} of {stage}" for stage, count in unproven.items() if count]
        lacking += ["the images"] if isinstance(point.sample, ImagesSpec) else []
        row = {
            "records": "; ".join(f"{name}={file}" for name, file in files.items()),
            "unproven": ", ".join(lacking),
        }
        if not found:
            return row
        return row | {
            "commit": _joined((entry.get("commit") or "")[:12] for entry in provenance.values()),
            "dirty": any(entry.get("dirty") for entry in provenance.values()),
            "host": _joined(entry.get("host") for entry in provenance.values()),
        }

    def _file(self, unit: UnitId) -> str:
        """Returns where a record lies in the store."""
        return self.store.path(unit, ".json").relative_to(self.store.root).as_posix()

    def _state(self, units: Mapping[str, list[UnitId]]) -> dict[str, Any]:
        """Returns state, cause and log: of the first unit that failed, else of the first stage not
        finished.
        """
        open_stage: dict[str, Any] = {}
        for name, stage in units.items():
            missing = [unit for unit in stage if self.record(unit) is None]
            if missing and name == "metrics":
                missing = [
                    stage[0]._replace(part=METRICS_PART)
                ]  # one pass over the images makes them all
            for unit in missing:
                found = outcome(self.store, unit, results=stage if name == "metrics" else ())
                where = (
                    f"{name} {unit.part}"
                    if name in ("samples", "likelihood") and len(stage) > 1
                    else name
                )
                if found.state == "failed":
                    cause = f"{where} failed: {found.cause or 'cause unknown'}"
                    return {"state": "failed", "cause": cause, "log": _shown(found.log)}
                if found.state == "running" and open_stage.get("state") in (None, "waiting"):
                    open_stage = {
                        "state": "running",
                        "cause": f"{where} under way",
                        "log": _shown(found.log),
                    }
            if missing and not open_stage:
                done = (
                    f" ({len(stage) - len(missing)} of {len(stage)} done)" if len(stage) > 1 else ""
                )
                open_stage = {"state": "waiting", "cause": f"waits for {name}{done}", "log": ""}
        return open_stage or {"state": "done", "cause": "", "log": ""}


def _headed(head: str, text: str) -> str:
    return f"{head}: {text}" if text else ""


def _part_of(identity: Mapping[str, Any]) -> str:
    """Returns which part of a split a number is of, empty where it is of all."""
    drawn = identity.get("drawn", ALL)
    return "" if drawn == ALL else drawn


def describe(point: Point, methods: Mapping[str, Card]) -> dict[str, Any]:
    """Returns what a point is, in the words of its method's card; no stored result is needed."""
    spec = point.sample
    card = methods[spec.train.method]
    sampler = card.samplers[spec.sampler]
    params = build(sampler.params, spec.params)
    swept = {sampler.effort.name(params)}
    settings = {name: value for name, value in differences(params).items() if name not in swept}
    values = plain(params)
    condition = [describe_given(spec.given)] if spec.given else []
    condition += [] if spec.precision == "float32" else [f"precision={spec.precision}"]
    steps = next(
        (values[name] for name in sorted(swept) if isinstance(values.get(name), int)), None
    )
    return {
        "method": card.title,
        "variant": card.variant(build(card.params, spec.train.params)),
        "weights": "trained"
        if spec.train.checkpoint is None
        else f"checkpoint, {spec.train.weights}",
        "sampler": spec.sampler,
        "times": spec.times,
        "settings": ", ".join([f"{name}={value}" for name, value in settings.items()] + condition),
        "steps": steps,
        "tolerance": values.get("tolerance") if "tolerance" in swept else None,
        "snapshot": spec.snapshot,
        "ema": spec.ema,
        "adaptive": not sampler.effort.exact,
        "train_seed": spec.train.seed,
        "sample_seed": spec.seed,
        "batch": spec.batch,
    }


def taken_over(imported: Mapping[str, Any]) -> str:
    """Returns which weights of a checkpoint a model has, and what its reader noted of them."""
    note = f" ({imported['note']})" if "note" in imported else ""
    return f"checkpoint, {imported['weights']}{note}"


def versions(point: Point) -> str:
    """Returns the versions that a row's numbers depend on: ``sde 1, flow_heun 1, digits 1, fd
    1``.
    """
    spec = point.sample
    data = spec if isinstance(spec, ImagesSpec) else spec.train
    other = f" (sha256 {data.dataset_sha256[:12]}...)" if data.dataset_sha256 else ""
    named = {data.dataset: f"{data.dataset_version}{other}"}
    if not isinstance(spec, ImagesSpec):
        named = {
            spec.train.method: spec.train.method_version,
            spec.sampler: spec.sampler_version,
            **named,
        }
    named |= {score.metric: score.metric_version for score in point.scores}
    if point.likelihood is not None:
        named["likelihood"] = point.likelihood.version
    return ", ".join(f"{name} {version}" for name, version in named.items())


def leaderboard(rows: pd.DataFrame) -> pd.DataFrame:
    """Returns a row for each group: means and spreads over its seeds, ranked within equal budgets.

    A metric's mean counts each training once; ``<metric> low`` and ``<metric> high`` are its 95 %
    interval (:func:`bench.report.statistics.estimate`), ``<metric> interval over`` what that holds
    for, and ``<metric> values`` the values where they are too few for one. ``<metric> tied`` says
    of complete groups whether the interval of the difference from the best of their budget and
    identity holds 0; blank of the best, and where there is no interval. A spread is a sample
    standard deviation, blank with one value: ``<metric> sd`` over all finished points of the group,
    ``<metric> sd over trainings`` over the means of its training seeds; :func:`uncertainty` has its
    parts. Bits/dim and training cost count each model once; ``bits_per_dim_image_error`` is the
    mean of the models' errors over images, never less than the error of their mean, for they score
    the same images. The rank is by the first metric, among groups of one budget and one identity of
    that metric whose points are all done: a group is not ranked on the seeds that happened to
    survive. The budget is the one asked for; a fixed-step group that was given its steps instead
    stands at the NFE it measured. Adaptive samplers and images made elsewhere have no budget and no
    rank.
    """
    metrics: dict[str, bool] = rows.attrs["metrics"]
    attrs, rows = rows.attrs, bare(rows)
    members = list(buckets(rows))
    records = [_group(bucket, metrics, attrs["bounds"]) for bucket in members]
    columns = [
        f"{name}{what}"
        for name in metrics
        for what in ("", " low", " high", " sd", " sd over trainings")
    ]
    notes = [f"{name}{what}" for name in metrics for what in (" interval over", " values", " tied")]
    board = pd.DataFrame(records, columns=[*GROUP_LEADING, *columns, *notes, *GROUP_TRAILING])
    whole = {"rank", "train_seeds", "sample_seeds", "points", "points_done", *WHOLE} & set(
        board.columns
    )
    board = board.astype({name: "Int64" for name in whole} | {name: "boolean" for name in TRUTHS})
    board = board.astype(
        {name: "float64" for name in board.columns if name in NUMBERS or name in columns}
    )
    board["budget"] = [_budget(record) for record in board.to_dict("records")]
    board["budget"] = board["budget"].astype("float64")
    for name, higher in metrics.items():
        board[f"{name} tied"] = _ties(board, members, name, higher, attrs["bounds"][name])
    board = _ranked(board, metrics)
    board.attrs = attrs
    return board


def bare(rows: pd.DataFrame) -> pd.DataFrame:
    """Returns the table without its ``attrs``, which pandas would copy deeply with every slice."""
    rows = rows.copy(deep=False)
    rows.attrs = {}
    return rows


def drawn_lines(rows: pd.DataFrame) -> list[str]:
    """Returns a line for each part of a set that rows are of: ``Images of a, b: 300 of 1,797, drawn
    at random.``
    """
    known = rows[rows["drawn"] != ""].drop_duplicates(["train", "drawn"])
    parts = known.groupby("drawn", sort=False)["train"]
    return [f"Images of {', '.join(dict.fromkeys(labels))}: {text}." for text, labels in parts]


def uncontrolled(rows: pd.DataFrame) -> str:
    """Returns why a comparison that its suite calls controlled is none, empty where nothing speaks
    against it.

    Its models may differ by no more than 1 % in parameters and in the forward FLOPs of one row
    through the network, as far as these are known by now.

    Args:
        rows: The tidy table of :func:`tabulate`.
    """
    if not rows.attrs["controlled"]:
        return ""
    models = bare(rows).groupby("train", sort=False)
    sizes = {
        "parameters": (models["parameters"].max().dropna().astype(float), ",.0f"),
        "forward GFLOPs a row": (models["network_gflops_per_row"].max().dropna(), ".4g"),
    }
    unlike = [
        f"{what} differ{f' by {values.max() / values.min() - 1:.1%}' if values.min() else ''} "
        f"({values.idxmin()}: {values.min():{form}}, {values.idxmax()}: {values.max():{form}})"
        for what, (values, form) in sizes.items()
        if len(values) and values.max() > (1 + LIKENESS) * values.min()
    ]
    return f"not a controlled comparison: {'; '.join(unlike)}" if unlike else ""


def distinct(values: Sequence[float]) -> list[str]:
    """Returns numbers as texts of two significant digits, or of as many more as tell them apart."""
    texts = [[f"{value:.{digits}g}" for value in values] for digits in range(2, 18)]
    return next((found for found in texts if len(set(found)) == len(found)), texts[-1])


def identities(text: str) -> dict[str, str]:
    """Returns the column ``identity`` of a row as hashes by metric column."""
    return dict(item.rsplit("=", 1) for item in text.split("; ") if item)


def buckets(rows: pd.DataFrame) -> Iterable[pd.DataFrame]:
    """Yields the rows of each group; a group whose metrics have several identities is split."""
    for _, group in rows.groupby("group", sort=False):
        found: list[tuple[dict[str, str], list[Any]]] = []
        for index, text in group["identity"].items():
            known = {name: value for name, value in identities(text).items() if name != BITS}
            for seen, members in found:
                if all(seen.get(name, value) == value for name, value in known.items()):
                    seen |= known
                    members.append(index)
                    break
            else:
                found.append((known, [index]))
        for _, members in found:
            yield group.loc[members]


def best_of(groups: pd.DataFrame, name: str, higher: bool) -> list[pd.Index]:
    """Returns which complete groups are best in a metric, for each budget and identity that more
    than one of them has.

    Args:
        groups: Rows of the leaderboard.
        name: The metric's column.
        higher: Whether a higher value is better.
    """
    known = groups[(groups["state"] == "done") & groups[name].notna() & groups["budget"].notna()]
    same = [identities(text).get(name, "") for text in known["identity"]]
    return [
        part.index[part[name] == (part[name].max() if higher else part[name].min())]
        for _, part in known.groupby([known["budget"], np.array(same, object)])
        if len(part) > 1
    ]


def _ties(
    board: pd.DataFrame,
    members: Sequence[pd.DataFrame],
    name: str,
    higher: bool,
    bounds: tuple[float, float],
) -> pd.Series:
    """Returns whether a group cannot be told from the best one, blank where that is not known.

    Args:
        board: The leaderboard, unsorted.
        members: The rows of each of its groups.
    """
    tied = pd.Series(pd.NA, index=board.index, dtype="boolean")
    same = [identities(text).get(name, "") for text in board["identity"]]
    for best in best_of(board, name, higher):
        leader = best[0]
        for index in board.index[
            (board["budget"] == board.loc[leader, "budget"]) & (board["state"] == "done")
        ]:
            if index in best or same[index] != same[leader]:
                continue
            found = difference_of(members[index], members[leader], name, bounds)
            if found is not None and found.scope:
                tied[index] = bool(found.low <= 0 <= found.high)
    return tied


def _group(
    rows: pd.DataFrame, metrics: Mapping[str, bool], bounds: Mapping[str, tuple[float, float]]
) -> dict[str, Any]:
    """Returns one row of the leaderboard."""
    first = rows.iloc[0].to_dict()
    models = rows.drop_duplicates("train_key")
    record = {
        name: first[name]
        for name in (*LEADING, *TRAILING)
        if name in GROUP_LEADING + GROUP_TRAILING
    }
    record |= {
        "state": _tally(rows["state"]),
        "nfe": rows["nfe"].mean(),
        "nfe_min": rows["nfe_min"].min(),
        "nfe_max": rows["nfe_max"].max(),
        "train_seeds": rows["train_seed"].nunique(),
        "sample_seeds": rows["sample_seed"].nunique(),
        "points": len(rows),
        "points_done": int((rows["state"] == "done").sum()),
        "device": _joined(rows["device"].dropna()),
        "identity": max(rows["identity"], key=len),
        "drawn": max(rows["drawn"], key=len),
        "commit": _joined(
            commit for text in rows["commit"].dropna() for commit in text.split(" + ")
        ),
        "dirty": rows["dirty"].any(),
        "keys": " ".join(rows["key"].drop_duplicates()),
        "train_keys": " ".join(models["train_key"].dropna()),
        f"{BITS}_note": _joined(models[f"{BITS}_note"].dropna()),
    }
    if cold := int((rows[f"{SECONDS}_note"] == COLD).sum()):
        record[f"{SECONDS}_note"] = f"{COLD} in {cold} of {len(rows)} points"
    named = ("training_images", "training_flops", "training_seconds", "parameters")
    for name in (*named, "likelihood_nfe", "likelihood_gflops_per_image"):
        record[name] = _blank(models[name].mean())
    record["training_images"] = _rounded(record["training_images"])
    record["parameters"] = _rounded(record["parameters"])
    if (
        len({identities(text).get(BITS) for text in models.loc[models[BITS].notna(), "identity"]})
        <= 1
    ):
        record |= {BITS: models[BITS].mean(), f"{BITS} sd": models[BITS].std(ddof=1)}
        record[BITS_ERROR] = models[BITS_ERROR].mean()
        record |= {name: _blank(models[name].mean()) for name in (DRAW_ERROR, DRAW_SD)}
        record[EXACT_BITS] = _blank(models[EXACT_BITS].mean())
    else:
        record |= {BITS: None, f"{BITS}_note": "several identities, see results.csv"}
    record |= {"sampling_gflops_per_image": rows["sampling_gflops_per_image"].mean()}
    record["clipped_fraction"] = rows["clipped_fraction"].mean()
    seconds = rows["sampling_seconds_per_image"]
    if rows["device"].nunique() <= 1:  # seconds of unlike devices have no mean
        record |= {seconds.name: seconds.mean(), f"{seconds.name} sd": seconds.std(ddof=1)}
    else:
        record |= {
            seconds.name: None,
            f"{seconds.name} sd": None,
            f"{SECONDS}_note": "several devices",
        }
    for name in metrics:
        record |= {name: None, f"{name} sd": rows[name].std(ddof=1)}
        if (found := seeds_of(rows, name, bounds[name])) is not None:
            record |= {name: found.mean, f"{name} low": found.low, f"{name} high": found.high}
            record |= {f"{name} interval over": found.scope, f"{name} values": found.values}
        record[f"{name} sd over trainings"] = (
            rows.groupby("train_key", sort=False)[name].mean().std(ddof=1)
        )
    unfinished = rows[rows["state"] != "done"].sort_values(
        "state", key=lambda s: s.map(_URGENCY), kind="stable"
    )
    record |= (
        {"cause": "", "log": ""}
        if unfinished.empty
        else unfinished.iloc[0][["cause", "log"]].to_dict()
    )
    return record


def seed_table(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    """Returns a column's values of one group, a row a training and a column a sample seed, NaN
    where one is missing.
    """
    keyed = rows.assign(
        train_key=rows["train_key"].fillna(""), sample_seed=rows["sample_seed"].fillna(0)
    )
    return keyed.pivot_table(name, "train_key", "sample_seed", dropna=False, sort=False)


class Measured(NamedTuple):
    """What the seeds of one group tell of a metric: what the table, the figures and the terminal
    show of it.

    Args:
        low: NaN where there is no interval.
        scope: What the interval holds for, empty without one
            (:data:`bench.report.statistics.Scope`).
        values: The values, where they are several and too few for an interval; else empty.
    """

    mean: float
    low: float
    high: float
    scope: str
    values: tuple[float, ...]


def measured(values: np.ndarray, bounds: tuple[float, float]) -> Measured:
    """Returns what values of shape (I, J) tell, I trainings by J sample seeds; NaN where one is
    missing.
    """
    found, known = estimate(values, bounds), values[np.isfinite(values)]
    scope = found.scope if np.isfinite(found.low) else ""
    shown = tuple(map(float, known)) if not found.scope and len(known) > 1 else ()
    return Measured(float(found.mean), float(found.low), float(found.high), scope, shown)


def seeds_of(rows: pd.DataFrame, name: str, bounds: tuple[float, float]) -> Measured | None:
    """Returns what the seeds of one group tell of a metric, None where none of them has a finite
    value.
    """
    known = rows[np.isfinite(rows[name].astype(float))]
    return measured(seed_table(known, name).to_numpy(float), bounds) if len(known) else None


def tables_of(
    first: pd.DataFrame, second: pd.DataFrame, name: str
) -> tuple[np.ndarray, np.ndarray, bool] | None:
    """Returns the values of two groups that can be subtracted, and whether their trainings are the
    same ones.

    None where a value is missing, where the sample seeds are unlike, or where some trainings are on
    both sides and some are not.
    """
    tables = [seed_table(group, name) for group in (first, second)]
    if set(tables[0].columns) != set(tables[1].columns):
        return None
    tables[1] = tables[1][tables[0].columns]
    paired = set(tables[0].index) == set(tables[1].index)
    if paired:
        tables[1] = tables[1].loc[tables[0].index]
    elif set(tables[0].index) & set(tables[1].index):
        return None
    values = [table.to_numpy(float) for table in tables]
    return (*values, paired) if all(np.isfinite(part).all() for part in values) else None


def difference_of(
    first: pd.DataFrame, second: pd.DataFrame, name: str, bounds: tuple[float, float]
) -> Estimate | None:
    """Returns first minus second with its interval, None where two groups cannot be subtracted."""
    if (found := tables_of(first, second, name)) is None:
        return None
    return contrast(*found[:2], paired=found[2], bounds=bounds)


def uncertainty(rows: pd.DataFrame) -> pd.DataFrame:
    """Returns a row a group and metric: the mean, its interval and what that holds for, and what
    the spread comes from.

    ``sd retraining`` and ``sd resampling`` are square roots of components of variance: what another
    training would change with one sample set, and what another sample set would change of one
    training; ``sd shared by trainings`` is the part of the latter that a sample seed does to all
    trainings alike, ``share of retraining`` that of retraining in the sum. Blank where the design
    cannot tell: one training, or one sample set of each. ``values`` stand where they are too few
    for an interval.

    Args:
        rows: The tidy table of :func:`tabulate`.
    """
    bounds, rows, records = rows.attrs["bounds"], bare(rows), []
    for bucket in buckets(rows):
        for name in bounds:
            if (shown := seeds_of(bucket, name, bounds[name])) is None:
                continue
            known = bucket[np.isfinite(bucket[name].astype(float))]
            found = estimate(seed_table(known, name).to_numpy(float), bounds[name])
            record = {"group": bucket["group"].iloc[0], "metric": name}
            record["identity"] = identities(max(bucket["identity"], key=len)).get(name, "")
            record |= {
                "trainings": bucket["train_key"].nunique(),
                "sample seeds": bucket["sample_seed"].nunique(),
            }
            record |= {
                "sample sets": len(known),
                "interval over": shown.scope,
                "values": shown.values or "",
            }
            record |= {
                part: float(getattr(found, part)) for part in ("mean", "low", "high", "error", "df")
            }
            record |= {
                f"sd {part}": float(getattr(found, part)) ** 0.5
                for part in ("retraining", "resampling")
            }
            total = found.retraining + found.resampling
            record["sd shared by trainings"] = float(found.shared) ** 0.5
            record["share of retraining"] = (
                float(found.retraining / total) if total > 0 else math.nan
            )
            records.append(record)
    return pd.DataFrame(records, columns=UNCERTAINTY)


_URGENCY = {"failed": 0, "running": 1, "waiting": 2, "done": 3}


def _tally(states: pd.Series) -> str:
    """Returns "done", or what the points of a group are: "1 of 4 failed, 2 of 4 waiting"."""
    counts = states.value_counts()
    if len(counts) == 1:
        return str(counts.index[0])
    parts = sorted((state for state in counts.index if state != "done"), key=_URGENCY.__getitem__)
    return ", ".join(f"{counts[state]} of {len(states)} {state}" for state in parts)


def _budget(group: Mapping[str, Any]) -> float:
    """Returns the budget at which a group is ranked, NaN for none."""
    if not pd.isna(group["budget"]):
        return float(group["budget"])
    fixed = not pd.isna(group["adaptive"]) and not group["adaptive"]
    return group["nfe"] if fixed and group["nfe_min"] == group["nfe_max"] else math.nan


def _ranked(board: pd.DataFrame, metrics: Mapping[str, bool]) -> pd.DataFrame:
    """Returns the leaderboard with ranks, sorted by budget and rank; what has none comes last."""
    if not metrics or board.empty:
        return board
    name, higher = next(iter(metrics.items()))
    comparable = (board["state"] == "done") & board["budget"].notna() & board[name].notna()
    ranked = board[comparable].copy()
    ranked["same"] = [identities(text).get(name, "") for text in ranked["identity"]]
    ranks = ranked.groupby(["budget", "same"])[name].rank(method="min", ascending=not higher)
    board["rank"] = ranks.reindex(board.index).astype("Int64")
    board["order"] = range(len(board))
    board = board.sort_values(
        ["budget", "rank", "order"], na_position="last", kind="stable", ignore_index=True
    )
    return board.drop(columns="order")


def write(suite: "Suite", store: Store, folder: Path | str, **sources: Any) -> pd.DataFrame:
    """Writes the report of a suite and returns the tidy table.

    ``results.csv``, ``leaderboard.csv``, ``uncertainty.csv``, ``claims.csv`` (where the suite
    states claims), ``leaderboard.md``, ``identities.json``, ``report.html`` and
    ``figures/*.png|svg``. The tables are written before anything is drawn; a picture that cannot be
    drawn is named with its cause on the page and the error stream, and the others are drawn all the
    same. Each file appears whole or not at all, and equal results give equal bytes. The folder
    ``figures`` is the report's own: pictures that it no longer makes are deleted from it.

    Args:
        suite: What to report.
        store: Where its results lie.
        folder: Where to write, usually ``results/<suite>``.
        sources: ``methods`` and ``metrics`` as :func:`tabulate` takes them.
    """
    from bench.report import markdown, page, verdicts

    folder = Path(folder)
    rows = tabulate(suite, store, **sources)
    board = leaderboard(rows)
    texts = {
        "results.csv": rows.to_csv(index=False, lineterminator="\n"),
        "leaderboard.csv": board.to_csv(index=False, lineterminator="\n"),
        "uncertainty.csv": uncertainty(rows).to_csv(index=False, lineterminator="\n"),
        "leaderboard.md": markdown.markdown(suite, rows, board),
        "identities.json": json.dumps(
            rows.attrs["identities"], indent=1, sort_keys=True, default=str
        )
        + "\n",
    }
    if suite.claims:
        texts["claims.csv"] = verdicts.judge(rows).to_csv(index=False, lineterminator="\n")
    else:
        (folder / "claims.csv").unlink(missing_ok=True)  # of an earlier suite of this name
    for name, text in texts.items():
        put(folder / name, text.encode(errors="backslashreplace"))
    pictures = []
    if suite.figures != "none":
        from bench.report.figures import summary

        pictures = summary.write(suite, store, rows, folder / "figures", **sources)
    drawn = {picture.name for picture in pictures if not picture.fault}
    _tidy(folder / "figures", {f"{name}.{kind}" for name in drawn for kind in ("png", "svg")})
    put(folder / "report.html", page.html(suite, rows, board, pictures).encode())
    return rows


def _tidy(folder: Path, kept: set[str]) -> None:
    """Deletes pictures of earlier reports: a stale figure would contradict the table beside it."""
    for path in sorted(folder.glob("*")):
        if path.suffix in (".png", ".svg") and path.name not in kept:
            path.unlink()


def _mean(records: list[dict[str, Any]], name: str) -> float:
    """Returns the mean of a value over images."""
    return sum(record[name] * record["images"] for record in records) / sum(
        record["images"] for record in records
    )


def _draw_deviation(records: list[dict[str, Any]]) -> float | None:
    """Returns the standard deviation of one image's bits/dim over its random draws; None where
    nothing tells.

    It is that of images with several draws each, or of the first ones, which are scored by a second
    draw where there is one alone.
    """
    variances = [
        value for record in records for value in record["values"].get(f"{BITS}_draw_variance", ())
    ]
    if not variances:
        pairs = [
            pair
            for record in records
            for pair in zip(record["values"][BITS], record.get("again", ()), strict=False)
        ]
        variances = [(first - second) ** 2 / 2 for first, second in pairs]
    return math.sqrt(sum(variances) / len(variances)) if variances else None


def _joined(values: Iterable[Any]) -> str:
    """Returns the distinct non-empty values in the order of their first appearance."""
    return " + ".join(dict.fromkeys(str(value) for value in values if value))


def _blank(value: Any) -> Any:
    return math.nan if pd.isna(value) else float(value)


def _rounded(value: float) -> int | None:
    return None if math.isnan(value) else round(value)


def _shown(path: str | None) -> str:
    """Returns a path as seen from the current folder where it lies below it."""
    if not path:
        return ""
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else str(path)
